//! `agentsup sync`: what the registry in git has now, and whether that is in force.

use std::process::ExitCode;

use super::output::{self, Answer, Cell, Format, Tone, cell};
use super::{Outcome, ask_slowly};
use crate::api::answers::registry::{Change, How, SyncParams, SyncState, SyncView, What, short};
use crate::api::ops::RegistrySync;
use crate::core::error::Code;

/// Fetch the registry now, and tell what changed
///
/// The registry is the git repository that `[registry]` in config.toml names. What is on its branch comes into force if
/// all of it is good and it goes on from what is in force; otherwise that stays, and this says why. The daemon does the
/// same by itself every few minutes. Exit 96 if what is on the branch does not come into force, 97 if the repository
/// cannot be had.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  agentsup sync
  agentsup sync --json | jq '.changes[]'
  agentsup sync --accept 1a2b3c4d5e6f      after the branch was rewound, once it is known why")]
pub(super) struct Args {
    /// Let this commit follow one that it does not go on from, or that is not known any more
    #[arg(long, value_name = "COMMIT")]
    accept: Option<String>,
    #[command(flatten)]
    answer: Answer,
}

pub(super) fn perform(args: Args) -> Outcome {
    let params = SyncParams { accept: args.accept };
    let synced = ask_slowly("asking the registry", async |client| client.call::<RegistrySync>(params).await)?;
    match args.answer.format() {
        Format::Json => output::json(&synced),
        Format::Text => tell(&synced),
    }
    let is_well = synced.state == SyncState::Current && synced.problems.is_empty();
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::from(Code::ConfigInvalid.exit_code()) })
}

fn tell(synced: &SyncView) {
    let rows: Vec<_> = synced.changes.iter().map(row).collect();
    if !rows.is_empty() {
        output::table(&["", "WHAT", "NAME"], &rows, "");
    }
    let stands = match (&synced.commit, &synced.before) {
        (None, _) => "nothing of it is in force".to_owned(),
        (Some(now), Some(before)) if now == before => format!("{} stays in force", short(now)),
        (Some(now), None) => format!("{} is in force", short(now)),
        (Some(now), Some(before)) => format!("{} is in force, after {}", short(now), short(before)),
    };
    let (git, branch) = (output::printable(&synced.git), output::printable(&synced.branch));
    output::narrate(format_args!("{git}, branch {branch}: {stands}"));
    for problem in &synced.problems {
        output::warn(output::printable(&problem.to_string()));
        if let Some(hint) = &problem.hint {
            output::hint(output::printable(hint));
        }
    }
}

fn row(change: &Change) -> Vec<Cell> {
    let how = match change.how {
        How::Added => cell("added").tone(Tone::Good),
        How::Changed => cell("changed").tone(Tone::Warning),
        How::Retired => cell("retired").tone(Tone::Bad),
        How::Removed => cell("removed").tone(Tone::Bad),
    };
    let what = match change.what {
        What::Agent => "agent",
        What::Budget => "budget",
        What::Policies => "policies",
        What::Label => "label",
    };
    vec![how, cell(what), cell(&change.name).tone(Tone::Strong)]
}
