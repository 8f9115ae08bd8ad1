//! `agentsup policy import`: documents of the Agent Governance Toolkit as policies.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::api::policy::{self, Imported};
use crate::cli::Outcome;
use crate::cli::output::{self, Answer};
use crate::core::error::{Code, Failure};
use crate::core::principal::AgentRef;

/// Write a governance.toolkit/v1 document of the Agent Governance Toolkit as policies
///
/// They forbid or ask as its govern() decides and permit nothing, so they can stand in any layer. What
/// the toolkit reads otherwise than it is written (parentheses, `not`, what follows a condition, `warn`),
/// and what policies cannot say (rate limits, approvers, facts that are unknown here), is refused with
/// its line, and then nothing is written. Exit 96 if there is a problem.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  agentsup policy import governance.yaml
  agentsup policy import governance.yaml --out governance.cedar
  agentsup policy import governance.yaml --agent agent/reviewer@team-platform")]
pub(super) struct Args {
    /// The document
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Whom it is to be about, instead of those that it names; may be said more than once
    #[arg(long = "agent", value_name = "AGENT")]
    agents: Vec<AgentRef>,
    /// Write the policies into this new file, instead of showing them
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    answer: Answer,
}

pub(super) fn perform(args: &Args) -> Outcome {
    let imported = policy::import(&args.file, &args.agents)?;
    let failed = !imported.problems.is_empty();
    if let Some(out) = args.out.as_deref().filter(|_| !failed) {
        write(out, &imported.cedar)?;
    }
    let code = args.answer.give(&imported, |imported| tell(imported, args.out.as_deref()));
    Ok(if failed { ExitCode::from(Code::ConfigInvalid.exit_code()) } else { code })
}

fn tell(imported: &Imported, out: Option<&Path>) {
    for problem in &imported.problems {
        output::line(output::printable(&problem.to_string()));
        problem.hint.iter().for_each(output::hint);
    }
    imported.notes.iter().for_each(|note| output::narrate(output::printable(note)));
    if !imported.problems.is_empty() {
        return;
    }
    match out {
        None => output::line(imported.cedar.trim_end()),
        Some(out) => {
            output::line(format_args!(
                "{}: {} policies",
                output::printable(&out.to_string_lossy()),
                imported.policies
            ));
            output::hint("agentsup policy check FILE, then put it beside the manifests");
        }
    }
}

/// Into a file that is not there yet.
fn write(out: &Path, text: &str) -> Result<(), Failure> {
    let written = OpenOptions::new().write(true).create_new(true).open(out).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.map_err(|error| {
        Failure::new(Code::Usage, format!("`{}` cannot be written: {error}", out.display()))
            .hint("name a file that is not there yet, in a directory that is")
    })
}
