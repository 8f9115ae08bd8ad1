//! `agentsup logs`: what a run has written to its terminal, from disk; also long after its end.

use std::process::ExitCode;

use super::output;
use super::{Outcome, ask};
use crate::api::ops::RunShow;
use crate::core::error::{Code, Failure};
use crate::run::attach::{self, Attached};
use crate::run::keeper::read_scrollback;
use crate::run::view::RunParams;

/// Show what a run has written, colours and all
///
/// The newest eight MiB are kept. The output is the terminal's own bytes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  agentsup logs 5a5a5a5a
  agentsup logs --follow 5a5a5a5a
  agentsup logs 5a5a5a5a | less -R")]
pub(super) struct Args {
    /// The run: its id, an end of it, its branch, or `latest`
    run: String,
    /// Go on until the run ends
    #[arg(long, short)]
    follow: bool,
}

pub(super) fn perform(args: &Args) -> Outcome {
    let view = ask(async |client| client.call::<RunShow>(RunParams { run: args.run.clone() }).await)?;
    if !args.follow {
        let kept = read_scrollback(&view.dir, u64::MAX).map_err(|error| {
            Failure::new(Code::Internal, format!("the output of `{}` cannot be read: {error}", view.id))
        })?;
        // Whoever read this has gone away.
        let _gone = output::with_terminal(|out| out.write_all(&kept));
        return Ok(ExitCode::SUCCESS);
    }
    let mut skipped = 0;
    let followed =
        output::with_terminal(|out| attach::observe(&view.dir, out, &mut |bytes| skipped += bytes));
    if skipped > 0 {
        output::warn(format_args!("{skipped} bytes were gone before they could be shown"));
    }
    match followed.map_err(|error| Failure::new(Code::Internal, error.to_string()))? {
        Attached::Exited { .. } | Attached::Detached | Attached::Unread => Ok(ExitCode::SUCCESS),
        Attached::Lost => Err(Failure::new(Code::Internal, format!("the keeper of `{}` is gone", view.id))
            .hint("agentsup ps shows what became of the run")),
    }
}
