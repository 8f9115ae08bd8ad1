//! `agentsup stop`: asks a run to end.

use std::process::ExitCode;

use super::output::{self, Answer, Format};
use super::{Outcome, ask};
use crate::api::ops::RunStop;
use crate::run::stop::StopParams;
use crate::run::view::WorktreeState;

/// Ask a run to end, and kill what is left after a while
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  agentsup stop 5a5a5a5a
  agentsup stop --grace 60 5a5a5a5a

Its worktree is kept if anything was changed in it.")]
pub(super) struct Args {
    /// The run: its id, an end of it, its branch, or `latest`
    run: String,
    /// How long it may take to end by itself, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    grace: u64,
    #[command(flatten)]
    answer: Answer,
}

pub(super) fn perform(args: &Args) -> Outcome {
    let params = StopParams { run: args.run.clone(), grace_ms: args.grace.saturating_mul(1000) };
    let view = ask(async |client| client.call::<RunStop>(params).await)?;
    match args.answer.format() {
        Format::Json => output::json(&view),
        Format::Text => {
            let how = view.exit.as_deref().unwrap_or_default();
            output::line(format_args!("{} is over: {} ({how})", view.id, view.state.name()));
            if view.worktree_state == WorktreeState::Present {
                output::hint(format_args!("its work is in `{}`", view.worktree.display()));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
