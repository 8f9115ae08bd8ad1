//! `agentsup discard`: gives a run's worktree up.

use std::process::ExitCode;

use super::output::{self, Answer, Format};
use super::{Outcome, ask};
use crate::api::ops::RunDiscard;
use crate::run::view::RunParams;

/// Give a run's worktree up, keeping a snapshot of everything in it
///
/// Nothing is deleted: the files go to the trash directory, and a hidden ref keeps commits and uncommitted files.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  agentsup discard 5a5a5a5a
  git show refs/agentsup/snapshots/…     looks at what was given up")]
pub(super) struct Args {
    /// The run: its id, an end of it, its branch, or `latest`
    run: String,
    #[command(flatten)]
    answer: Answer,
}

pub(super) fn perform(args: &Args) -> Outcome {
    let discarded = ask(async |client| client.call::<RunDiscard>(RunParams { run: args.run.clone() }).await)?;
    match args.answer.format() {
        Format::Json => output::json(&discarded),
        Format::Text => {
            output::line(format_args!("{} is discarded", discarded.id));
            if let Some(name) = &discarded.snapshot_ref {
                output::hint(format_args!("git show {name} has its last state"));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
