//! `agentsup suspend` and `agentsup resume`: closes models and tools to a run, and opens them again.

use super::output::{self, Answer};
use super::{Outcome, ask};
use crate::api::ops::{RunResume, RunSuspend};
use crate::run::suspend::SuspendParams;
use crate::run::view::RunParams;

/// Deny a run its models and tools until it is resumed
///
/// Its processes go on and find every call refused; a model's answer under way ends at once. A run that behaves like a runaway is suspended by itself; the limits
/// are in `[breakers]` of config.toml.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  agentsup suspend 5a5a5a5a
  agentsup suspend --reason 'I want to look first' latest")]
pub(super) struct SuspendArgs {
    /// The run: its id, an end of it, its branch, or `latest`
    run: String,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    answer: Answer,
}

/// Give a suspended run its models and tools again
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  agentsup resume 5a5a5a5a")]
pub(super) struct ResumeArgs {
    /// The run: its id, an end of it, its branch, or `latest`
    run: String,
    #[command(flatten)]
    answer: Answer,
}

pub(super) fn suspend(args: SuspendArgs) -> Outcome {
    let params = SuspendParams { run: args.run, reason: args.reason };
    let view = ask(async |client| client.call::<RunSuspend>(params).await)?;
    Ok(args.answer.give(&view, |view| {
        output::line(format_args!("{} is suspended", view.id));
        output::hint(format_args!("agentsup resume {}", view.id.short()));
    }))
}

pub(super) fn resume(args: ResumeArgs) -> Outcome {
    let view = ask(async |client| client.call::<RunResume>(RunParams { run: args.run }).await)?;
    Ok(args.answer.give(&view, |view| output::line(format_args!("{} goes on", view.id))))
}
