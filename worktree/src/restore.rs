//! A worktree out of a snapshot: the undo of `discard`.

use std::path::PathBuf;

use crate::create::{Files, NewWorktree};
use crate::git::Interrupt;
use crate::snapshot::write_exact;
use crate::trash::Trash;
use crate::{Repository, Snapshot, Worktree, WorktreeError};

impl Repository {
    /// Makes a new worktree at `path` on the new branch `branch`, with commit, index and files as they were
    /// when the snapshot was taken. The worktree's base is the one of the original.
    ///
    /// # Errors
    /// As [`Repository::add`].
    pub fn restore(
        &self,
        snapshot: &Snapshot,
        path: PathBuf,
        branch: &str,
        trash: &Trash,
    ) -> Result<Worktree, WorktreeError> {
        if !self.has_commit(&snapshot.commit)? {
            return Err(WorktreeError::SnapshotMissing { name: snapshot.name() });
        }
        let new = NewWorktree { path, branch: branch.to_owned(), base: snapshot.head.clone() };
        let mut worktree = self.add_with(&new, Files::Absent, trash, &Interrupt::default())?;
        match worktree.fill(snapshot) {
            Ok(()) => {
                worktree.base = snapshot.base.clone();
                Ok(worktree)
            }
            Err(error) => {
                worktree.take_back(trash);
                Err(error)
            }
        }
    }
}

impl Worktree {
    fn fill(&self, snapshot: &Snapshot) -> Result<(), WorktreeError> {
        let files = ["read-tree", "--reset", "-u", "--no-sparse-checkout", snapshot.commit.as_str()];
        self.at_files().writes_files().args(files).run()?;
        let index = snapshot.index.as_ref().unwrap_or(&snapshot.head);
        self.at_files().args(["read-tree", "-m", "--no-sparse-checkout", index.as_str()]).run()?;
        // Last: to git these files look changed since it wrote them.
        match &snapshot.exact {
            Some(exact) => write_exact(self, exact),
            None => Ok(()),
        }
    }
}
