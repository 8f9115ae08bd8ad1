//! `agentsup ps`: the runs.

use std::process::ExitCode;

use super::output::{self, Answer, Format, Tone, cell};
use super::{Outcome, ask};
use crate::api::ops::RunList;
use crate::core::billing::Billing;
use crate::core::run::RunState;
use crate::run::view::{ListParams, RunView, Scope, WorktreeState};
use crate::sys::clock;

/// List runs: those alive and those whose worktree is still there
///
/// With --json always all, up to a thousand, whatever their state.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  agentsup ps
  agentsup ps --all
  agentsup ps --json | jq -r '.[] | select(.state == \"running\") | .id'

SEEN is what has come before it, as policies see it: `untrusted` content from outside, or
what is `internal`, `confidential` or `secret`.

A run is named by its id, an end of it (the ID column), its branch, or `latest`.")]
pub(super) struct Args {
    /// Ended runs too, up to a thousand
    #[arg(long, short)]
    all: bool,
    #[command(flatten)]
    answer: Answer,
}

pub(super) fn perform(args: &Args) -> Outcome {
    let scope = match args.answer.format() {
        Format::Text if !args.all => Scope::Open,
        _ => Scope::All,
    };
    let runs = ask(async |client| client.call::<RunList>(ListParams { scope }).await)?;
    match args.answer.format() {
        Format::Json => output::json(&runs),
        Format::Text => show(&runs),
    }
    Ok(ExitCode::SUCCESS)
}

fn show(runs: &[RunView]) {
    let now = clock::now_ms();
    let rows: Vec<_> = runs
        .iter()
        .map(|run| {
            let state = match &run.exit {
                Some(exit)
                    if exit != run.state.name()
                        && matches!(
                            run.state,
                            RunState::Exited | RunState::Failed | RunState::Suspended | RunState::Killed
                        ) =>
                {
                    format!("{} ({})", run.state.name(), brief(exit))
                }
                _ => run.state.name().to_owned(),
            };
            let worktree = match run.worktree_state {
                WorktreeState::Present => cell(run.worktree.display()),
                WorktreeState::Removed => cell("removed").tone(Tone::Faint),
            };
            vec![
                cell(run.id.short()).tone(Tone::Strong),
                cell(state).tone(tone(run.state)),
                cell(&run.adapter),
                cell(&run.agent),
                cell(spent(run)).tone(if run.alerted.is_empty() { Tone::Plain } else { Tone::Warning }),
                cell(run.labels.join(" ")),
                cell(output::ago(run.started_at_ms, now)),
                cell(&run.branch),
                worktree,
            ]
        })
        .collect();
    let columns = ["ID", "STATE", "ADAPTER", "AGENT", "SPENT", "SEEN", "STARTED", "BRANCH", "WORKTREE"];
    output::table(
        &columns,
        &rows,
        "no runs; agentsup run claude starts one, agentsup ps --all shows those that are over",
    );
}

/// What it cost, of what it may cost itself, and which of its budgets have crossed their edge.
fn spent(run: &RunView) -> String {
    let spent = output::dollars(run.spend_nano_usd);
    let of = run.cap_nano_usd.map(|cap| format!(" of {}", output::dollars(cap))).unwrap_or_default();
    let alert =
        if run.alerted.is_empty() { String::new() } else { format!(", alert: {}", run.alerted.join(" ")) };
    let equivalent = match run.billing {
        Billing::Keys => "",
        Billing::Subscription => " at list price, not enforced",
    };
    format!("{spent}{of}{equivalent}{alert}")
}

/// Reasons of any length still leave room for the other columns.
fn brief(text: &str) -> String {
    const MAX: usize = 40;
    if text.chars().count() <= MAX {
        text.to_owned()
    } else {
        text.chars().take(MAX).chain(['…']).collect()
    }
}

pub(super) fn tone(state: RunState) -> Tone {
    match state {
        RunState::Running => Tone::Good,
        RunState::Waiting | RunState::Suspended | RunState::Stopping | RunState::Starting => Tone::Warning,
        RunState::Killed | RunState::Failed => Tone::Bad,
        RunState::Exited => Tone::Faint,
    }
}
