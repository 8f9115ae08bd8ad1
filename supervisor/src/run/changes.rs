//! What a run did to its worktree: looking at it, landing it, giving it up. Each leaves a record.

use std::path::PathBuf;

use agentsup_worktree::{BranchFate, CommitId, LandedAs, Target};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::Runs;
use super::view::{self, RunParams};
use super::worktrees::{self, blocking, failure};
use crate::core::error::{Code, Failure};
use crate::core::ids::RunId;
use crate::core::record::EventEntry;
use crate::core::run::Run;
use crate::store::runs::RunRow;

/// Everything a run changed since it started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// The run.
    pub id: RunId,
    /// The changed files.
    pub files: Vec<FileChange>,
    /// Lines added.
    pub insertions: u64,
    /// Lines removed.
    pub deletions: u64,
    /// Commits beyond the base.
    pub commits: u64,
    /// Files that are in no commit yet.
    pub uncommitted: u64,
    /// The patch, base64: files may hold any bytes.
    pub patch: String,
    /// Why the patch ends early, if it does.
    pub note: Option<String>,
}

/// The numbers of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileChange {
    /// Relative to the worktree; what is not UTF-8 is replaced.
    pub path: String,
}

impl Changes {
    /// The patch's bytes.
    pub fn patch(&self) -> Vec<u8> {
        STANDARD.decode(&self.patch).unwrap_or_default()
    }
}

/// Everything that differs from the run's base, uncommitted files included.
pub async fn diff(runs: &Runs, params: RunParams) -> Result<Changes, Failure> {
    let run = view::require(runs, &params.run).await?.run;
    blocking(move || {
        let worktree = worktrees::open(&run)?;
        let base = worktree.base().clone();
        let diff = worktree.diff(&base).map_err(failure)?;
        let status = worktree.status().map_err(failure)?;
        let path = |file: &agentsup_worktree::FileStat| file.path.to_string_lossy().into_owned();
        Ok(Changes {
            id: run.id,
            files: diff.stat.files.iter().map(|file| FileChange { path: path(file) }).collect(),
            insertions: diff.stat.insertions,
            deletions: diff.stat.deletions,
            commits: status.commits_ahead,
            uncommitted: u64::try_from(status.changes.len()).unwrap_or(u64::MAX),
            note: diff.note(),
            patch: STANDARD.encode(&diff.patch),
        })
    })
    .await
}

/// Parameters of [`land`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LandParams {
    /// Which run.
    pub run: String,
    /// Onto which branch; the one the run started from if absent.
    #[serde(default)]
    pub onto: Option<String>,
    /// Commit what is uncommitted first, with this message.
    #[serde(default)]
    pub message: Option<String>,
}

/// A landed run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Landed {
    /// The run.
    pub id: RunId,
    /// The branch that has the run's commits now.
    pub branch: String,
    /// Where it was.
    pub before: String,
    /// Where it is.
    pub after: String,
    /// How it got there.
    pub how: How,
    /// The checkout whose files were updated.
    pub checkout: Option<PathBuf>,
    /// Whether the run's worktree was taken away, because everything in it has landed.
    pub worktree_removed: bool,
}

/// How a branch got a run's commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// It had them already.
    AlreadyThere,
    /// It moved forward.
    FastForward,
    /// A merge commit was made.
    Merge,
}

/// Brings a run's commits onto a branch. The worktree goes if the run is over and nothing is left in it.
pub async fn land(runs: &Runs, params: LandParams) -> Result<Landed, Failure> {
    let row = view::require(runs, &params.run).await?;
    // Not whatever the checkout is on by now.
    let target = params.onto.or_else(|| row.run.onto.clone()).map_or(Target::Checkout, Target::Branch);
    note(runs, &row, "run-landing", "is to be landed".to_owned(), &[]).await?;
    let (home, run, over) = (runs.home().clone(), row.run.clone(), row.state.is_final());
    let landed = blocking(move || {
        let worktree = worktrees::open(&run)?;
        let trailers = [("Agentsup-Run".to_owned(), run.id.to_string())];
        let signature = worktrees::user_signature(&worktree, &run)?;
        if let Some(message) = &params.message {
            let message = format!("{}\n\nAgentsup-Run: {}\n", require_message(message)?, run.id);
            worktree.commit_everything(&message, &signature).map_err(failure)?;
        }
        let landed =
            worktree.land(&target, &signature, &trailers).map_err(|error| uncommitted(&run, error))?;
        // A worktree in which somebody still works, or that holds anything else, stays.
        let worktree_removed = over && worktree.remove_clean(&worktrees::trash(&home)?).is_ok();
        if worktree_removed && let Err(error) = worktree.forget_landed(&landed.branch) {
            tracing::warn!(%error, run = %run.id, "the branch of a landed run stays");
        }
        Ok(Landed {
            id: run.id,
            branch: landed.branch,
            before: landed.before.to_string(),
            after: landed.after.to_string(),
            how: match landed.how {
                LandedAs::AlreadyThere => How::AlreadyThere,
                LandedAs::FastForward => How::FastForward,
                LandedAs::Merge => How::Merge,
            },
            checkout: landed.checkout,
            worktree_removed,
        })
    })
    .await?;
    let text = format!("was landed on {} ({})", landed.branch, short(&landed.after));
    note(runs, &row, "run-landed", text, &[("before", &landed.before), ("after", &landed.after)]).await?;
    Ok(landed)
}

/// A message as it is committed: without what git would strip.
fn require_message(message: &str) -> Result<&str, Failure> {
    match message.trim() {
        "" => Err(Failure::new(Code::Usage, "the commit message is empty")),
        message if message.contains('\0') => {
            Err(Failure::new(Code::Usage, "the commit message has a byte that no message can have"))
        }
        message => Ok(message),
    }
}

/// An agent that did not commit is the usual case: the way out is a commit in its worktree.
fn uncommitted(run: &Run, error: agentsup_worktree::WorktreeError) -> Failure {
    let dirty =
        matches!(&error, agentsup_worktree::WorktreeError::Dirty { path, .. } if *path == run.worktree);
    let failure = failure(error);
    if dirty {
        return failure
            .hint(format!("agentsup land {} -m 'MESSAGE' commits everything first", run.id.short()));
    }
    failure
}

/// A run that was given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Discarded {
    /// The run.
    pub id: RunId,
    /// The name of the snapshot that holds its last state.
    pub snapshot: Option<String>,
    /// The snapshot's ref.
    pub snapshot_ref: Option<String>,
    /// Where its directory is now.
    pub trashed_to: Option<PathBuf>,
    /// Whether its branch is gone; its commits are kept under a hidden ref.
    pub branch_deleted: bool,
}

/// Gives a run's worktree up. Everything in it stays reachable through a hidden ref.
pub async fn discard(runs: &Runs, params: RunParams) -> Result<Discarded, Failure> {
    let row = view::require(runs, &params.run).await?;
    if !row.state.is_final() {
        return Err(Failure::new(Code::Conflict, format!("`{}` is still {}", params.run, row.state.name()))
            .hint(format!("agentsup stop {}", row.run.id)));
    }
    note(runs, &row, "run-discarding", "is to be discarded".to_owned(), &[]).await?;
    let (home, run) = (runs.home().clone(), row.run.clone());
    let discarded = blocking(move || {
        let worktree = worktrees::open(&run)?;
        let discarded =
            worktree.discard(&worktrees::trash(&home)?, &worktrees::signature(&run)).map_err(failure)?;
        Ok(Discarded {
            id: run.id,
            snapshot: discarded.snapshot.as_ref().map(agentsup_worktree::Snapshot::name),
            snapshot_ref: discarded.snapshot.map(|snapshot| snapshot.ref_name),
            trashed_to: discarded.trashed_to,
            branch_deleted: matches!(discarded.branch, BranchFate::Deleted { .. }),
        })
    })
    .await?;
    let kept = discarded.snapshot_ref.clone().unwrap_or_default();
    note(runs, &row, "run-discarded", "was discarded".to_owned(), &[("snapshot", &kept)]).await?;
    Ok(discarded)
}

async fn note(
    runs: &Runs,
    row: &RunRow,
    event: &str,
    text: String,
    facts: &[(&str, &String)],
) -> Result<(), Failure> {
    let entry = EventEntry::of_run(&row.run, event, text);
    let entry = facts.iter().fold(entry, |entry, (name, value)| entry.fact(name, value));
    runs.gate().note(entry).await?;
    Ok(())
}

fn short(commit: &str) -> &str {
    CommitId::parse(commit).map_or(commit, |_| commit.get(..12).unwrap_or(commit))
}
