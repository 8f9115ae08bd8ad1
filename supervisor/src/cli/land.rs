//! `agentsup land`: brings a run's commits onto a branch.

use std::process::ExitCode;

use super::output::{self, Answer, Format};
use super::{Outcome, ask};
use crate::api::ops::RunLand;
use crate::run::changes::{How, LandParams};

/// Bring a run's commits onto the branch it started from
///
/// Forward if possible, else with a merge commit. A conflict changes nothing. When the run is over and everything in
/// its worktree has landed, the worktree goes. What the agent left uncommitted is committed first if you give a message.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  agentsup land 5a5a5a5a
  agentsup land 5a5a5a5a -m 'Fix the tests'     commit what is uncommitted, then land
  agentsup land --onto release 5a5a5a5a")]
pub(super) struct Args {
    /// The run: its id, an end of it, its branch, or `latest`
    run: String,
    /// Another branch to land on
    #[arg(long, value_name = "BRANCH")]
    onto: Option<String>,
    /// Commit what is uncommitted in the worktree first, with this message; hooks do not run
    #[arg(long, short, value_name = "TEXT")]
    message: Option<String>,
    #[command(flatten)]
    answer: Answer,
}

pub(super) fn perform(args: Args) -> Outcome {
    let params = LandParams { run: args.run, onto: args.onto, message: args.message };
    let landed = ask(async |client| client.call::<RunLand>(params).await)?;
    match args.answer.format() {
        Format::Json => output::json(&landed),
        Format::Text => {
            let short = landed.after.get(..12).unwrap_or(&landed.after);
            let how = match landed.how {
                How::AlreadyThere => "had everything already",
                How::FastForward => "moved forward",
                How::Merge => "got a merge commit",
            };
            output::line(format_args!("{} {how}: {short}", landed.branch));
            if landed.worktree_removed {
                output::narrate("the worktree is gone, nothing else was in it");
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
