//! `agentsup schema`: the published form of manifests and policies.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::Outcome;
use super::output::{self, Answer, Format};
use crate::api::schema;
use crate::core::error::Failure;

/// Print the JSON Schema of manifests, or the Cedar schema of policies
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  agentsup schema > manifest.schema.json     any document; editors check YAML files with it
  agentsup schema agent
  agentsup schema budget
  agentsup schema policy                     documents of the kind Policy, which give labels
  agentsup schema cedar > agentsup.cedarschema

In an editor with a YAML language server, the first line of a manifest can name it:
  # yaml-language-server: $schema=manifest.schema.json

agentsup itself checks more than a schema can say; `agentsup doctor` tells it with file and line.")]
pub(super) struct Args {
    /// Of what; any document of a manifest if absent
    #[arg(value_enum)]
    of: Option<Of>,
    #[command(flatten)]
    answer: Answer,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Of {
    /// An Agent, in JSON Schema 2020-12
    Agent,
    /// A TokenBudget, in JSON Schema 2020-12
    Budget,
    /// A Policy, which gives labels, in JSON Schema 2020-12
    Policy,
    /// What policies in Cedar can ask, in Cedar's language for schemas
    Cedar,
}

pub(super) fn perform(args: &Args) -> Outcome {
    let schema: Value = match args.of {
        None => schema::manifest(),
        Some(Of::Agent) => schema::agent(),
        Some(Of::Budget) => schema::budget(),
        Some(Of::Policy) => schema::policy(),
        Some(Of::Cedar) => {
            match args.answer.format() {
                Format::Json => output::json(&json!({ "cedarschema": schema::cedar() })),
                Format::Text => output::raw(schema::cedar().as_bytes()),
            }
            return Ok(ExitCode::SUCCESS);
        }
    };
    match args.answer.format() {
        Format::Json => output::json(&schema),
        Format::Text => {
            output::line(serde_json::to_string_pretty(&schema).map_err(|error| Failure::internal(&error))?);
        }
    }
    Ok(ExitCode::SUCCESS)
}
