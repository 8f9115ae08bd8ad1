//! `agentsup kill`: ends runs at once, and verifies it.

use std::process::ExitCode;

use super::output::{self, Answer, Format};
use super::{Outcome, ask};
use crate::api::ops::RunKill;
use crate::core::error::{Code, Failure};
use crate::run::stop::{KillParams, Target};

/// Kill runs at once: credential revoked, model calls cut off, every process ended
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  agentsup kill 5a5a5a5a
  agentsup kill --agent code-review-bot
  agentsup kill --all

Worktrees with changes in them are kept.")]
#[command(group = clap::ArgGroup::new("target").required(true).args(["run", "agent", "all"]))]
pub(super) struct Args {
    /// The run: its id, an end of it, its branch, or `latest`
    run: Option<String>,
    /// Every run of this agent
    #[arg(long, value_name = "NAME")]
    agent: Option<String>,
    /// Every run
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    answer: Answer,
}

pub(super) fn perform(args: Args) -> Outcome {
    let target = match (args.run, args.agent) {
        (Some(run), _) => Target::Run(run),
        (None, Some(agent)) => Target::Agent(agent),
        (None, None) => Target::All,
    };
    let killed = ask(async |client| client.call::<RunKill>(KillParams { target }).await)?;
    match args.answer.format() {
        Format::Json => output::json(&killed),
        Format::Text => {
            let runs = u64::try_from(killed.killed.len()).unwrap_or(u64::MAX);
            output::line(format_args!(
                "killed {}, {} in {} ms",
                output::count(runs, "run"),
                processes(killed.processes_killed),
                killed.elapsed_ms
            ));
        }
    }
    if killed.survivors > 0 {
        let message = format!("{} did not die", processes(killed.survivors));
        return Err(Failure::new(Code::Internal, message)
            .hint("they are stuck in the kernel; look at their state with ps"));
    }
    Ok(ExitCode::SUCCESS)
}

fn processes(number: u64) -> String {
    if number == 1 { "1 process".to_owned() } else { format!("{number} processes") }
}
