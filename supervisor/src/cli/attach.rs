//! `agentsup attach`: the user's terminal, joined to a run that is alive.

use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::ExitCode;

use super::asker::{Hearing, Listener};
use super::output;
use super::{Outcome, ask};
use crate::api::ops::RunShow;
use crate::core::error::{Code, Failure};
use crate::core::ids::RunId;
use crate::core::run::OVER_BUDGET;
use crate::run::attach::{self, Asker, Attached, DetachKeys, Ends};
use crate::run::keeper::{EndCause, Exit};
use crate::run::view::{RunParams, RunView};

/// Join this terminal to a run
///
/// The screen is drawn as it is now; several terminals may be attached at once. When the run ends, the exit code is the
/// agent's own.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  agentsup attach 5a5a5a5a              by an ending of its id
  agentsup attach agentsup/claude-5a5a5a5a
  agentsup attach 5a5a --detach-keys ctrl-p,ctrl-q

Ctrl-\\ then d detaches and leaves the run alone. When something waits for your answer, the bell
rings and the title says so; Ctrl-\\ then a shows it and takes the answer.")]
pub(super) struct Args {
    /// The run: its id, an end of it, its branch, or `latest`
    run: String,
    /// Keys that detach
    #[arg(long, value_name = "KEYS", default_value = "ctrl-\\,d")]
    detach_keys: DetachKeys,
}

pub(super) fn perform(args: &Args) -> Outcome {
    let view = ask(async |client| client.call::<RunShow>(RunParams { run: args.run.clone() }).await)?;
    if view.state.is_final() {
        let how = view.exit.unwrap_or_default();
        return Err(Failure::new(Code::Conflict, format!("`{}` is over ({how})", args.run))
            .hint(format!("agentsup logs {}", view.id.short())));
    }
    match join(view.id, &view.dir, &args.detach_keys)? {
        Attached::Detached => {
            output::narrate("detached; the run goes on");
            output::hint(format_args!("agentsup attach {}", view.id.short()));
            Ok(ExitCode::SUCCESS)
        }
        Attached::Exited { exit, cause } => {
            // Why it was killed is the daemon's to know; without it the agent's own end counts.
            let params = RunParams { run: view.id.to_string() };
            let view = ask(async |client| client.call::<RunShow>(params).await).unwrap_or(view);
            Ok(exit_code_of(&view, exit, cause))
        }
        Attached::Unread => Ok(unread()),
        Attached::Lost => Err(Failure::new(Code::Internal, format!("the keeper of `{}` is gone", view.id))
            .hint("agentsup ps shows what became of the run")),
    }
}

/// Joins this process's streams to the keeper in `dir`. Needs no daemon; where there is one, it tells what waits for the
/// user.
pub(super) fn join(run: RunId, dir: &Path, keys: &DetachKeys) -> Result<Attached, Failure> {
    let stdin = io::stdin();
    let is_terminal = output::is_terminal();
    let listener = if is_terminal { Listener::start(run) } else { None };
    let _hearing = if is_terminal { None } else { Hearing::narrate(run) };
    let asker = listener.map(|listener| Box::new(listener) as Box<dyn Asker>);
    output::with_streams(|out, err| attach::attach(dir, Ends { input: stdin.as_fd(), out, err }, keys, asker))
        .map_err(|error| Failure::new(Code::Internal, error.to_string()))
}

/// As a shell says it of a program whose reader went away.
pub(super) fn unread() -> ExitCode {
    output::narrate("nobody reads the output any more; the run was asked to stop");
    ExitCode::from(128 + 13)
}

/// As [`exit_code`], but 92 if it was killed because its budget was used up.
pub(super) fn exit_code_of(view: &RunView, exit: Exit, cause: EndCause) -> ExitCode {
    let over = |why: &String| why.starts_with(OVER_BUDGET);
    match cause {
        EndCause::Kill if view.exit.as_ref().is_some_and(over) => ExitCode::from(Code::Budget.exit_code()),
        _ => exit_code(exit, cause),
    }
}

/// The agent's own code; 128 and the signal's number as a shell would say; 93 if somebody killed it.
pub(super) fn exit_code(exit: Exit, cause: EndCause) -> ExitCode {
    match (cause, exit) {
        (EndCause::Kill, _) => ExitCode::from(Code::Killed.exit_code()),
        (_, Exit::Code(code)) => ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)),
        (_, Exit::Signal(signal)) => ExitCode::from(u8::try_from(128 + signal).unwrap_or(u8::MAX)),
    }
}
