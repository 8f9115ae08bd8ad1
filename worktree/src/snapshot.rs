//! Snapshots: commits on hidden refs that hold what a worktree had, taken without touching it.
//!
//! A snapshot's tree is the working directory (tracked and untracked files, ignored ones excepted) as git
//! would commit it. Its first parent is what was checked out; further parents hold the index where that
//! differs, and the exact bytes of files that a filter would not give back (`exact.rs`). The message
//! (`message.rs`) says which is which. A number is claimed by creating its ref, so snapshots never overwrite
//! one another.

mod exact;
mod message;

use std::path::PathBuf;

pub(crate) use exact::write_exact;
use message::Message;

use crate::scratch::ScratchIndex;
use crate::status::ChangeKind;
use crate::{CommitId, Head, Repository, Signature, Worktree, WorktreeError};

/// Below it: `<worktree name>/<number>`.
const SNAPSHOTS: &str = "refs/agentsup/snapshots/";
/// How often another process may claim the number first.
const CLAIM_ATTEMPTS: u64 = 64;

/// A recorded state of a worktree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The ref that keeps it.
    pub ref_name: String,
    /// The name of the worktree.
    pub worktree: String,
    /// Counts from 1 in each worktree.
    pub number: u64,
    /// The snapshot's commit; its tree is the working directory.
    pub commit: CommitId,
    /// When, in seconds since the Unix epoch, as the caller's signature said.
    pub at_s: u64,
    /// Why, in the caller's words.
    pub reason: String,
    /// What was checked out; the worktree's base while that was nothing.
    pub head: CommitId,
    /// The branch checked out, `None` when detached.
    pub branch: Option<String>,
    /// The worktree's base.
    pub base: CommitId,
    /// Nested repositories and changed submodules, whose insides are not in the snapshot.
    pub uncovered: Vec<PathBuf>,
    /// The index, where it differs from both `HEAD` and the files.
    pub(crate) index: Option<CommitId>,
    /// The exact bytes of files that a filter would not give back.
    pub(crate) exact: Option<CommitId>,
}

impl Snapshot {
    /// The name to show and to find it by: `<worktree>/<number>`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.worktree, self.number)
    }
}

impl Worktree {
    /// Records all tracked and untracked files. Index, `HEAD`, branch and files stay as they are.
    ///
    /// # Errors
    /// `WorktreeMissing`; `Git` when a file can't be read. There is no snapshot then.
    pub fn snapshot(&self, reason: &str, signature: &Signature) -> Result<Snapshot, WorktreeError> {
        self.require_directory()?;
        let listing = self.repository.listing(&self.location())?;
        let head = listing.head.commit().unwrap_or(&self.base).clone();
        let scratch = ScratchIndex::copy_of(self)?;
        let staged = scratch.tree()?;
        let staged = match staged {
            Some(tree) => Some(tree),
            None => scratch.tree_without_conflicts()?,
        };
        let mut uncovered = scratch.add_everything()?;
        uncovered.extend(
            listing
                .changes
                .iter()
                .filter(|change| change.kind == ChangeKind::Submodule)
                .map(|c| c.path.clone()),
        );
        let tree = scratch
            .tree()?
            .ok_or_else(|| WorktreeError::GitUnreadable { command: "git write-tree".into() })?;
        let exact = exact::tree(self, &scratch, &head)?;
        let index = self.index_commit(staged, &tree, &head, signature)?;
        let exact = match exact {
            Some(exact) => Some(self.commit(&exact, &[&head], "exact bytes of a snapshot\n", signature)?),
            None => None,
        };
        let branch = match listing.head {
            Head::Branch { name, .. } | Head::Unborn { branch: name } => Some(name),
            Head::Detached { .. } => None,
        };
        let message = Message { reason, head, branch, base: self.base.clone(), index, exact, uncovered };
        self.record(&tree, message, signature)
    }

    /// The snapshots of this worktree, oldest first.
    ///
    /// # Errors
    /// `Git` when refs can't be read.
    pub fn snapshots(&self) -> Result<Vec<Snapshot>, WorktreeError> {
        self.repository.snapshots_under(&format!("{SNAPSHOTS}{}/", self.name))
    }

    /// A commit of the index, unless the files or `HEAD` say the same.
    fn index_commit(
        &self,
        staged: Option<CommitId>,
        tree: &CommitId,
        head: &CommitId,
        signature: &Signature,
    ) -> Result<Option<CommitId>, WorktreeError> {
        let Some(staged) = staged.filter(|staged| staged != tree) else { return Ok(None) };
        let head_tree = format!("{head}^{{tree}}");
        let head_tree = self.at_registration().args(["rev-parse", "--verify", &head_tree]).run()?.id()?;
        if staged == head_tree {
            return Ok(None);
        }
        self.commit(&staged, &[head], "index of a snapshot\n", signature).map(Some)
    }

    fn commit(
        &self,
        tree: &CommitId,
        parents: &[&CommitId],
        message: &str,
        signature: &Signature,
    ) -> Result<CommitId, WorktreeError> {
        self.repository.commit_tree(tree, parents, message, signature)
    }

    fn record(
        &self,
        tree: &CommitId,
        message: Message<&str>,
        signature: &Signature,
    ) -> Result<Snapshot, WorktreeError> {
        let parents = [Some(&message.head), message.index.as_ref(), message.exact.as_ref()];
        let parents = parents.into_iter().flatten().collect::<Vec<_>>();
        let commit = self.commit(tree, &parents, &message.to_text(), signature)?;
        let first = self.snapshots()?.last().map_or(1, |last| last.number.saturating_add(1));
        let mut failure = None;
        for number in first..first.saturating_add(CLAIM_ATTEMPTS) {
            let ref_name = format!("{SNAPSHOTS}{}/{number}", self.name);
            let claim = ["update-ref", &ref_name, commit.as_str(), ""];
            let claimed = self.repository.at_refs().args(claim).signature(signature).outcome()?;
            if claimed.code == Some(0) {
                return Ok(message.into_snapshot(
                    ref_name,
                    self.name.clone(),
                    number,
                    commit,
                    signature.at_s,
                ));
            }
            // Somebody was first, or a ref of somebody else's is in the way: the next number may be free.
            failure = Some(claimed.failure());
        }
        Err(failure.unwrap_or(WorktreeError::TooMany { what: "snapshots", limit: u32::MAX as usize }))
    }
}

impl Repository {
    /// The snapshots of all worktrees, those removed included; of each worktree oldest first.
    ///
    /// # Errors
    /// `Git` when refs can't be read.
    pub fn snapshots(&self) -> Result<Vec<Snapshot>, WorktreeError> {
        self.snapshots_under(SNAPSHOTS)
    }

    /// The snapshot of that name, `<worktree>/<number>`.
    ///
    /// # Errors
    /// `SnapshotMissing`, or `Git` when refs can't be read.
    pub fn require_snapshot(&self, name: &str) -> Result<Snapshot, WorktreeError> {
        let missing = || WorktreeError::SnapshotMissing { name: name.to_owned() };
        let (worktree, _) = name.rsplit_once('/').ok_or_else(missing)?;
        let all = self.snapshots_under(&format!("{SNAPSHOTS}{worktree}/"))?;
        all.into_iter().find(|snapshot| snapshot.name() == name).ok_or_else(missing)
    }

    fn snapshots_under(&self, prefix: &str) -> Result<Vec<Snapshot>, WorktreeError> {
        let format = "--format=%(refname)%00%(objectname)%00%(committerdate:unix)%00%(contents)%00";
        let output = self.at_refs().args(["for-each-ref", format, prefix]).run()?;
        let mut snapshots = Vec::new();
        let fields = output.stdout.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect::<Vec<_>>();
        for record in fields.chunks_exact(4) {
            // Each record but the first follows the line end of the one before it.
            let ref_name = record[0].trim_start_matches('\n');
            // A ref that somebody else put there is none of ours.
            snapshots.extend(read(ref_name, &record[1], &record[2], &record[3]));
        }
        snapshots.sort_by(|a, b| a.worktree.cmp(&b.worktree).then(a.number.cmp(&b.number)));
        Ok(snapshots)
    }

    /// Makes a commit object; no ref points at it yet.
    pub(crate) fn commit_tree(
        &self,
        tree: &CommitId,
        parents: &[&CommitId],
        message: &str,
        signature: &Signature,
    ) -> Result<CommitId, WorktreeError> {
        let mut call = self.at_refs().signature(signature).args(["commit-tree", tree.as_str()]);
        for parent in parents {
            call = call.args(["-p", parent.as_str()]);
        }
        call.args(["-F", "-"]).input(message.as_bytes().to_vec()).run()?.id()
    }
}

fn read(ref_name: &str, commit: &str, at_s: &str, text: &str) -> Option<Snapshot> {
    let (worktree, number) = ref_name.strip_prefix(SNAPSHOTS)?.rsplit_once('/')?;
    let (worktree, number) = (worktree.to_owned(), number.parse::<u32>().ok()?.into());
    let message = Message::parse(text)?;
    Some(message.into_snapshot(
        ref_name.to_owned(),
        worktree,
        number,
        CommitId::parse(commit)?,
        at_s.parse().ok()?,
    ))
}

#[cfg(test)]
mod tests;
