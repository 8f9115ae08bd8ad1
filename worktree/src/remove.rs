//! Taking a worktree away. Order: refuse, keep, move the directory, retire the registration, delete the
//! branch. Interrupted between two steps, nothing is lost, and calling `discard` again finishes it as long as
//! the registration is there.

use std::path::PathBuf;

use crate::keep::Branch;
use crate::registration;
use crate::scratch::ScratchIndex;
use crate::status::{paths, require_finished};
use crate::trash::Trash;
use crate::{CommitId, Head, Signature, Snapshot, Worktree, WorktreeError};

/// What became of a worktree's branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BranchFate {
    /// Deleted. Its tip stays reachable.
    Deleted {
        /// Where it pointed.
        tip: CommitId,
    },
    /// Left alone: it has commits of its own, or it is checked out elsewhere.
    Left {
        /// Where it points.
        tip: CommitId,
        /// Commits it has and the base does not.
        commits_ahead: u64,
    },
    /// It was gone already.
    Gone,
}

/// A worktree that was clean and is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// Where its directory is now; ignored files are in there.
    pub trashed_to: PathBuf,
    /// What became of the branch.
    pub branch: BranchFate,
    /// Commits now kept under `refs/agentsup/kept/<name>/`, which nothing else reaches.
    pub kept: Vec<CommitId>,
}

/// A worktree that was given up. `Repository::restore` undoes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discarded {
    /// Its last state. `None` when its directory was missing.
    pub snapshot: Option<Snapshot>,
    /// Where its directory is now. `None` when it was missing.
    pub trashed_to: Option<PathBuf>,
    /// What became of the branch.
    pub branch: BranchFate,
    /// Commits now kept under `refs/agentsup/kept/<name>/`: the branch's tip and what nothing else reaches.
    pub kept: Vec<CommitId>,
}

impl Worktree {
    /// Removes the worktree if that loses nothing: no uncommitted change, nothing unfinished, all commits on
    /// a branch. The branch is deleted if it has no commit beyond the base, and left otherwise.
    ///
    /// # Errors
    /// `Dirty`, `Unfinished`, `OffBranch`, `Locked`, `WorktreeMissing`, `CrossDevice`: nothing was removed.
    pub fn remove_clean(&self, trash: &Trash) -> Result<Removed, WorktreeError> {
        registration::require_unlocked(&self.git_dir, &self.path)?;
        self.require_clean()?;
        if let Head::Detached { commit } = self.head()? {
            self.require_on_branch(commit)?;
        }
        let tip = self.repository.branch_commit(&self.branch)?;
        let commits_ahead = match &tip {
            Some(tip) => self.repository.count(&self.base, tip)?,
            None => 0,
        };
        let branch = if commits_ahead > 0 { Branch::Stays } else { Branch::Goes };
        let kept = self.keep([], branch)?;
        let trashed_to = trash.take(&self.path, &self.name)?;
        registration::retire(&self.repository, &self.git_dir)?;
        let branch = match tip {
            Some(tip) if commits_ahead > 0 => BranchFate::Left { tip, commits_ahead },
            tip => self.end_branch(tip)?,
        };
        Ok(Removed { trashed_to, branch, kept })
    }

    /// Gives the worktree up whatever is in it: snapshot, then directory to the trash, registration and branch
    /// away. Everything it had stays reachable.
    ///
    /// # Errors
    /// `Locked`, `CrossDevice`, and `Git` or `Io` when the snapshot can't be taken: nothing was removed.
    pub fn discard(&self, trash: &Trash, signature: &Signature) -> Result<Discarded, WorktreeError> {
        registration::require_unlocked(&self.git_dir, &self.path)?;
        let tip = self.repository.branch_commit(&self.branch)?;
        let mut keep = tip.iter().cloned().collect::<Vec<_>>();
        let snapshot = match self.snapshot("discard", signature) {
            Ok(snapshot) => Some(snapshot),
            Err(WorktreeError::WorktreeMissing { .. }) if std::fs::symlink_metadata(&self.path).is_err() => {
                keep.extend(self.index_of_missing(signature)?);
                None
            }
            Err(error) => return Err(error),
        };
        let kept = self.keep(keep, Branch::Goes)?;
        let trashed_to = match &snapshot {
            Some(_) => Some(trash.take(&self.path, &self.name)?),
            None => None,
        };
        registration::retire(&self.repository, &self.git_dir)?;
        let branch = self.end_branch(tip)?;
        Ok(Discarded { snapshot, trashed_to, branch, kept })
    }

    /// Deletes the branch of a removed worktree if the branch `into` has all of its commits and no checkout needs it.
    /// Answers whether it did.
    ///
    /// # Errors
    /// `Git` when refs can't be read, or the branch moved meanwhile.
    pub fn forget_landed(&self, into: &str) -> Result<bool, WorktreeError> {
        let repository = &self.repository;
        let (tip, target) = (repository.branch_commit(&self.branch)?, repository.branch_commit(into)?);
        let (Some(tip), Some(target)) = (tip, target) else { return Ok(false) };
        if into == self.branch || !repository.contains(&target, &tip)? {
            return Ok(false);
        }
        Ok(matches!(self.end_branch(Some(tip))?, BranchFate::Deleted { .. }))
    }

    pub(crate) fn require_clean(&self) -> Result<(), WorktreeError> {
        self.require_directory()?;
        let listing = self.repository.listing(&self.location())?;
        let dirty = |paths| Err(WorktreeError::Dirty { path: self.path.clone(), paths });
        if !listing.changes.is_empty() || listing.truncated {
            return dirty(paths(&listing.changes));
        }
        require_finished(&self.git_dir, &self.path)?;
        // Changes may hide behind index flags; looking costs a listing of the index, so only when it matters.
        let scratch = ScratchIndex::copy_of(self)?;
        if scratch.hidden()?.is_empty() {
            return Ok(());
        }
        scratch.show_hidden()?;
        let shown = scratch.call().args(["diff-index", "--cached", "--name-only", "-z", "HEAD"]).run()?;
        let changed = shown.records().map(crate::names::path_of).collect::<Vec<_>>();
        if changed.is_empty() { Ok(()) } else { dirty(changed) }
    }

    /// What was staged in a worktree whose directory is gone, as a commit. `None` when it had no index.
    fn index_of_missing(&self, signature: &Signature) -> Result<Option<CommitId>, WorktreeError> {
        if !self.git_dir.join("index").exists() {
            return Ok(None);
        }
        let scratch = ScratchIndex::copy_of(self)?;
        let tree = match scratch.tree()? {
            Some(tree) => Some(tree),
            None => scratch.tree_without_conflicts()?,
        };
        let Some(tree) = tree else { return Ok(None) };
        let message = format!("index of {}, whose directory is gone\n", self.name);
        self.repository.commit_tree(&tree, &[&self.base], &message, signature).map(Some)
    }

    fn require_on_branch(&self, commit: CommitId) -> Result<(), WorktreeError> {
        let contains = format!("--contains={commit}");
        let args =
            ["for-each-ref", "--count=1", "--format=%(refname)", &contains, "refs/heads", "refs/remotes"];
        let on = self.repository.at_refs().args(args).run()?;
        if on.stdout.is_empty() {
            return Err(WorktreeError::OffBranch { path: self.path.clone(), commit });
        }
        Ok(())
    }

    /// Deletes the branch unless another checkout has it. `tip` is what was kept; if the branch has moved
    /// since, git refuses.
    fn end_branch(&self, tip: Option<CommitId>) -> Result<BranchFate, WorktreeError> {
        let Some(tip) = tip else { return Ok(BranchFate::Gone) };
        let elsewhere = self.repository.checked_out_at(&self.branch)?.is_some();
        if elsewhere || registration::awaiting(&self.repository, &self.branch).is_some() {
            let commits_ahead = self.repository.count(&self.base, &tip)?;
            return Ok(BranchFate::Left { tip, commits_ahead });
        }
        self.repository.delete_branch(&self.branch, &tip)?;
        Ok(BranchFate::Deleted { tip })
    }
}

#[cfg(test)]
mod tests;
