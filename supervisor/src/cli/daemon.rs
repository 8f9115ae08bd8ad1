//! `agentsup daemon`: the process behind all commands. It starts by itself; this is for looking and for ending it.

use std::process::ExitCode;

use super::output::{self, Answer, Tone, cell};
use super::{Outcome, ask_of};
use crate::api::answers::daemon::Status;
use crate::api::client::Absent;
use crate::api::ops::{DaemonStatus, DaemonStop, Nothing};
use crate::core::error::{Code, Failure};
use crate::sys::paths::Home;
use crate::sys::{clock, socket};

/// Start, stop or look at the daemon
///
/// It starts with the first command that needs it and ends by itself when nothing runs. Runs outlive it: without it
/// they have no models and no tools, and the next one finds them again.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Start it, if it is not running
    #[command(after_help = "Examples:\n  agentsup daemon start")]
    Start(Answered),
    /// End it; runs go on without models and tools until the next command
    #[command(after_help = "Examples:\n  agentsup daemon stop")]
    Stop(Answered),
    /// Show whether it runs; exit 94 if not
    #[command(after_help = "Examples:\n  agentsup daemon status --json")]
    Status(Answered),
}

#[derive(Debug, clap::Args)]
struct Answered {
    #[command(flatten)]
    answer: Answer,
}

pub(super) fn perform(args: &Args) -> Outcome {
    match &args.verb {
        Verb::Start(args) => Ok(args.answer.give(&status(Absent::Start)?, show)),
        Verb::Status(args) => Ok(args.answer.give(&status(Absent::Fail)?, show)),
        Verb::Stop(args) => stop(&args.answer),
    }
}

fn status(absent: Absent) -> Result<Status, Failure> {
    ask_of(absent, async |client| client.call::<DaemonStatus>(Nothing {}).await)
}

fn show(status: &Status) {
    output::facts(&[
        ("daemon", cell(format_args!("running, process {}", status.pid)).tone(Tone::Good)),
        ("version", cell(&status.version)),
        ("started", cell(output::ago(status.started_at_ms, clock::now_ms()))),
        ("socket", cell(status.socket.display())),
        ("port", cell(status.port)),
        ("runs", cell(status.runs)),
        ("agents", cell(status.agents)),
    ]);
    for problem in &status.problems {
        output::warn(problem);
    }
}

fn stop(answer: &Answer) -> Outcome {
    let stopped = ask_of(Absent::Fail, async |client| {
        let stopping = client.call::<DaemonStop>(Nothing {}).await?;
        client.gone().await?;
        Ok(stopping)
    });
    let stopping = match stopped {
        Ok(stopping) => stopping,
        Err(failure) if failure.code == Code::DaemonUnreachable && !socket_answers()? => {
            output::narrate("no daemon is running");
            return Ok(ExitCode::SUCCESS);
        }
        Err(failure) => return Err(failure),
    };
    Ok(answer.give(&stopping, |stopping| {
        output::line(format_args!("the daemon (process {}) has ended", stopping.pid));
        if stopping.runs > 0 {
            let runs = output::count(stopping.runs, "run");
            output::warn(format_args!("{runs} without models and tools until the next command"));
        }
    }))
}

fn socket_answers() -> Result<bool, Failure> {
    Ok(socket::connect(&Home::from_env()?.socket()).is_ok())
}
