//! Committing what a worktree holds, for agents that leave their work uncommitted.
//!
//! The commit's tree is made in a scratch index, so that until the branch moves nothing has changed. No hook runs:
//! whatever works in a worktree can write those.

use crate::scratch::ScratchIndex;
use crate::status::require_finished;
use crate::{CommitId, Signature, Worktree, WorktreeError};

impl Worktree {
    /// Commits all tracked and untracked files, ignored ones excepted, onto what is checked out. `None` when there is
    /// nothing to commit. Nested repositories are left out.
    ///
    /// # Errors
    /// `WorktreeMissing`, `Unfinished`, `LeftBranch` when nothing is checked out, `Dirty` when files are in conflict,
    /// `TargetMoved` when somebody else commits at the same moment. Nothing was changed then.
    pub fn commit_everything(
        &self,
        message: &str,
        signature: &Signature,
    ) -> Result<Option<CommitId>, WorktreeError> {
        self.require_directory()?;
        require_finished(&self.git_dir, &self.path)?;
        let head = self.head()?;
        let Some(before) = head.commit() else {
            return Err(WorktreeError::LeftBranch {
                path: self.path.clone(),
                branch: self.branch.clone(),
                head,
            });
        };
        let scratch = ScratchIndex::copy_of(self)?;
        scratch.add_everything()?;
        let Some(tree) = scratch.tree()? else {
            let paths = self.repository.listing(&self.location())?.changes;
            let paths = paths.into_iter().map(|change| change.path).collect();
            return Err(WorktreeError::Dirty { path: self.path.clone(), paths });
        };
        let of_head = self.at_files().args(["rev-parse", "--verify", "HEAD^{tree}"]).run()?.id()?;
        if tree == of_head {
            return Ok(None);
        }
        let commit = self.repository.commit_tree(&tree, &[before], message, signature)?;
        let args = ["update-ref", "-m", "commit everything", "HEAD", commit.as_str(), before.as_str()];
        let moved = self.at_files().signature(signature).args(args).outcome()?;
        if moved.code != Some(0) {
            let raced = self.head()?.commit() != Some(before);
            let branch = head.branch().unwrap_or(&self.branch).to_owned();
            return Err(if raced { WorktreeError::TargetMoved { branch } } else { moved.failure() });
        }
        // A crash before this leaves an index that is behind; the files and the branch are right all the same.
        self.at_files().args(["reset", "--quiet", "--mixed"]).run()?;
        Ok(Some(commit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Operation;
    use crate::fixture::{Fixture, signature, tree};

    #[test]
    fn everything_but_what_is_ignored_becomes_one_commit() {
        let fixture = Fixture::new();
        let worktree = fixture.add("one");
        fixture.write(worktree.path(), "new/file", "new\n");
        fixture.write(worktree.path(), "README", "changed\n");
        fixture.write(worktree.path(), "build.log", "ignored\n");
        std::fs::remove_file(worktree.path().join("src/lib.rs")).unwrap();
        fixture.write(worktree.path(), "staged", "staged\n");
        fixture.run(worktree.path(), ["add", "staged"]);
        fixture.write(worktree.path(), "staged", "and changed again\n");
        let files = tree(worktree.path());

        let commit = worktree.commit_everything("All of it\n\nRun: x\n", &signature()).unwrap().unwrap();
        assert_eq!(fixture.tip(worktree.path(), "agentsup/one"), commit);
        assert_eq!(fixture.tip(worktree.path(), "HEAD^"), *worktree.base());
        assert_eq!(fixture.run(worktree.path(), ["status", "--porcelain"]), "");
        assert_eq!(tree(worktree.path()), files);
        let shown =
            fixture.run(worktree.path(), ["show", "--no-renames", "--format=%an %ae%n%B", "--name-status"]);
        assert_eq!(
            shown,
            "Alice alice@example.invalid\nAll of it\n\nRun: x\n\n\nM\tREADME\nA\tnew/file\nD\tsrc/lib.rs\nA\tstaged"
        );
        assert_eq!(fixture.run(worktree.path(), ["show", "HEAD:staged"]), "and changed again");
        assert_eq!(worktree.commit_everything("again\n", &signature()).unwrap(), None);
        assert_eq!(fixture.tip(worktree.path(), "HEAD"), commit);
    }

    #[test]
    fn no_hook_runs() {
        let fixture = Fixture::new();
        let worktree = fixture.add("one");
        let trap = fixture.root().join("trap");
        for hook in ["pre-commit", "post-commit", "reference-transaction", "post-index-change"] {
            fixture.hook(hook, &format!("#!/bin/sh\ntouch '{}'\n", trap.display()));
        }
        fixture.write(worktree.path(), "new", "new\n");
        worktree.commit_everything("new\n", &signature()).unwrap().unwrap();
        assert!(!trap.exists());
    }

    #[test]
    fn what_cannot_be_committed_is_left_as_it_is() {
        let fixture = Fixture::new();
        let worktree = fixture.add("one");
        fixture.write(worktree.path(), "new", "new\n");
        fixture.run(worktree.path(), ["bisect", "start"]);
        let before = fixture.state(&worktree);
        let error = worktree.commit_everything("x\n", &signature()).unwrap_err();
        assert!(matches!(error, WorktreeError::Unfinished { operation: Operation::Bisect, .. }), "{error}");
        assert_eq!(fixture.state(&worktree), before);
        fixture.run(worktree.path(), ["bisect", "reset"]);
        fixture.run(worktree.path(), ["checkout", "-q", "--orphan", "empty"]);
        let error = worktree.commit_everything("x\n", &signature()).unwrap_err();
        assert!(matches!(error, WorktreeError::LeftBranch { .. }), "{error}");
    }
}
