//! `agentsup init`: a personal agent and its budget, asked for.

use std::path::Path;

use super::output::{self, Answer};
use super::{Outcome, ask};
use crate::api::answers::manifests::{InitParams, InitState, Initialised};
use crate::api::ops::ManifestInit;
use crate::core::error::{Code, Failure};

/// What the question offers.
const USUAL_CAP: &str = "20.00 USD";

/// Register a personal agent and its monthly budget
///
/// Nothing may run without a registered agent and a budget. This writes both to one file in the manifests directory,
/// after asking what may be spent.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  agentsup init
  agentsup init --cap '50.00 USD'     without a question")]
pub(super) struct Args {
    /// What may be spent in a calendar month
    #[arg(long, value_name = "AMOUNT")]
    cap: Option<String>,
    #[command(flatten)]
    answer: Answer,
}

pub(super) fn perform(args: &Args) -> Outcome {
    let mut written = write(args.cap.clone())?;
    if written.state == InitState::Absent {
        written = write(Some(ask_cap()?))?;
    }
    Ok(args.answer.give(&written, |written| {
        output::line(format_args!("{}, owned by {}", written.agent, written.owner));
        let file = written.file.as_deref().unwrap_or(Path::new("")).display();
        match written.state {
            InitState::New | InitState::Absent => output::narrate(format_args!("written to `{file}`")),
            InitState::Kept => output::warn(format_args!("`{file}` was there and stays as it is")),
        }
        output::hint("agentsup key set anthropic, then agentsup run claude in a git repository");
    }))
}

fn write(cap: Option<String>) -> Result<Initialised, Failure> {
    ask(async |client| client.call::<ManifestInit>(InitParams { cap }).await)
}

fn ask_cap() -> Result<String, Failure> {
    if !output::is_interactive() {
        return Err(Failure::new(Code::Usage, "nobody is there to be asked what may be spent")
            .hint(format!("agentsup init --cap '{USUAL_CAP}'")));
    }
    output::ask(format_args!("What may your agents spend in a calendar month? [{USUAL_CAP}]"));
    let answer = output::read_answer().map_err(|error| Failure::internal(&error))?;
    match answer.as_deref() {
        Some("") => Ok(USUAL_CAP.to_owned()),
        Some(amount) if amount.ends_with("USD") => Ok(amount.to_owned()),
        Some(amount) => Ok(format!("{} USD", amount.trim_start_matches('$'))),
        None => Err(Failure::new(Code::Usage, "no answer, nothing is written")),
    }
}
