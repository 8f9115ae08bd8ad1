//! `agentsup diff`: what a run changed.

use std::process::ExitCode;

use super::output::{self, Answer, Format};
use super::{Outcome, ask};
use crate::api::ops::RunDiff;
use crate::run::view::RunParams;

/// Show everything a run changed, uncommitted files included
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  agentsup diff 5a5a5a5a
  agentsup diff 5a5a5a5a | delta
  agentsup diff --json 5a5a5a5a | jq '.files[].path'")]
pub(super) struct Args {
    /// The run: its id, an end of it, its branch, or `latest`
    run: String,
    #[command(flatten)]
    answer: Answer,
}

pub(super) fn perform(args: &Args) -> Outcome {
    let changes = ask(async |client| client.call::<RunDiff>(RunParams { run: args.run.clone() }).await)?;
    match args.answer.format() {
        Format::Json => output::json(&changes),
        Format::Text => {
            output::raw(&changes.patch());
            if let Some(note) = &changes.note {
                output::warn(note);
            }
            output::narrate(format_args!(
                "{} changed, {}, {}, {}, {} uncommitted",
                output::count(u64::try_from(changes.files.len()).unwrap_or(u64::MAX), "file"),
                output::count(changes.insertions, "insertion"),
                output::count(changes.deletions, "deletion"),
                output::count(changes.commits, "commit"),
                output::count(changes.uncommitted, "file"),
            ));
        }
    }
    Ok(ExitCode::SUCCESS)
}
