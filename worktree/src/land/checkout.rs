//! Updating the files of a checkout that is somebody's own: only when nothing of theirs is in the way.
//!
//! Looked at first, for an answer that names the files; then git's own fast-forward, told to overwrite neither
//! changed, untracked nor ignored files, decides again at the moment it writes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::git::Location;
use crate::names::path_of;
use crate::status::{ChangeKind, paths, require_finished};
use crate::{CommitId, Repository, Signature, WorktreeError, registration};

pub(super) struct Checkout<'a> {
    repository: &'a Repository,
    location: Location,
    pub(super) path: PathBuf,
}

impl<'a> Checkout<'a> {
    /// The checkout that has `branch` checked out, if there is one.
    pub(super) fn of_branch(repository: &'a Repository, branch: &str) -> Result<Option<Self>, WorktreeError> {
        let own = repository.checkout_location();
        if repository.head_at(&own)?.branch() == Some(branch) {
            let path = repository.checkout().to_owned();
            return Ok(Some(Self { repository, location: own, path }));
        }
        let Some(path) = repository.checked_out_at(branch)? else { return Ok(None) };
        let common_dir = repository.common_dir.clone();
        let git_dir = if path.join(".git").canonicalize().is_ok_and(|git| git == common_dir) {
            Some(common_dir.clone())
        } else {
            registration::find(repository, &path)?
        };
        let Some(git_dir) = git_dir.filter(|_| path.is_dir()) else {
            return Err(WorktreeError::TargetInUse { branch: branch.to_owned(), path });
        };
        let location = Location { git_dir, common_dir, work_tree: Some(path.clone()) };
        Ok(Some(Self { repository, location, path }))
    }

    /// Moves branch, index and files forward from `before` to `after`.
    pub(super) fn fast_forward(
        &self,
        branch: &str,
        before: &CommitId,
        after: &CommitId,
        signature: &Signature,
    ) -> Result<(), WorktreeError> {
        self.require_untouched()?;
        self.require_free(before, after)?;
        // Options of its own against what the user's configuration may say about merges.
        let args = [
            "merge",
            "--ff-only",
            "--no-overwrite-ignore",
            "--no-autostash",
            "--no-squash",
            "--no-verify-signatures",
            "--no-stat",
            "-q",
            after.as_str(),
        ];
        let call = self.repository.git.at(&self.location).writes_files().signature(signature);
        let merged = call.args(args).outcome()?;
        let now = self.repository.branch_commit(branch)?;
        match (merged.code, now.as_ref() == Some(after)) {
            (Some(0), true) => Ok(()),
            (Some(0), false) => Err(WorktreeError::TargetMoved { branch: branch.to_owned() }),
            _ if now.as_ref() != Some(before) => {
                Err(WorktreeError::TargetMoved { branch: branch.to_owned() })
            }
            _ => Err(match in_the_way(&merged.stderr) {
                paths if paths.is_empty() => merged.failure(),
                paths => WorktreeError::WouldOverwrite { path: self.path.clone(), paths },
            }),
        }
    }

    fn require_untouched(&self) -> Result<(), WorktreeError> {
        require_finished(&self.location.git_dir, &self.path)?;
        let mut changes = self.repository.listing(&self.location)?.changes;
        changes.retain(|change| change.kind != ChangeKind::Untracked);
        if changes.is_empty() {
            return Ok(());
        }
        Err(WorktreeError::Dirty { path: self.path.clone(), paths: paths(&changes) })
    }

    /// Refuses when a file that comes would replace one that is in no commit, ignored or not.
    fn require_free(&self, before: &CommitId, after: &CommitId) -> Result<(), WorktreeError> {
        let list = |filter: &str| -> Result<Vec<PathBuf>, WorktreeError> {
            let args = ["diff-tree", "-r", "-z", "--no-renames", "--name-only", filter];
            let call = self.repository.at_refs().args(args).args([before.as_str(), after.as_str()]);
            Ok(call.run()?.records().map(path_of).collect())
        };
        let going = list("--diff-filter=D")?.into_iter().collect::<BTreeSet<_>>();
        let paths = list("--diff-filter=A")?.iter().filter_map(|new| self.blocker(new, &going)).collect();
        let paths = BTreeSet::into_iter(paths).collect::<Vec<_>>();
        if paths.is_empty() {
            return Ok(());
        }
        Err(WorktreeError::WouldOverwrite { path: self.path.clone(), paths })
    }

    /// What stands where `new` or one of its directories has to be. Directories are left to git.
    fn blocker(&self, new: &Path, going: &BTreeSet<PathBuf>) -> Option<PathBuf> {
        let places = new.ancestors().filter(|place| !place.as_os_str().is_empty());
        let mut taken = places.filter(|place| {
            let there = fs::symlink_metadata(self.path.join(place));
            there.is_ok_and(|there| !there.is_dir()) && !going.contains(*place)
        });
        taken.next().map(Path::to_owned)
    }
}

/// The files git names when it refuses to overwrite: one a line, behind a tab.
fn in_the_way(stderr: &str) -> Vec<PathBuf> {
    stderr.lines().filter_map(|line| line.strip_prefix('\t')).map(PathBuf::from).collect()
}
