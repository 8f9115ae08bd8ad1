//! Making a worktree and opening one made before.
//!
//! A worktree is made in steps, each of which fails if somebody else was there first: claim the directory,
//! claim the branch, register and check out. If a step fails, the steps before it are taken back, and only
//! those. Checkout runs no hook (see the crate's fifth invariant).

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::git::{Call, Interrupt, Location};
use crate::names::worktree_name;
use crate::registration::{self, is_inside};
use crate::trash::Trash;
use crate::{CommitId, Head, Repository, WorktreeError};

/// A worktree to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewWorktree {
    /// Where: absolute, not existing, outside the main checkout. Its last component names the worktree's
    /// hidden refs, so it should be unique over time (a run's id). Missing parents are made.
    pub path: PathBuf,
    /// The branch to make, without `refs/heads/`.
    pub branch: String,
    /// The commit to start from.
    pub base: CommitId,
}

/// A linked worktree on a branch of its own.
///
/// The value is only a name for it: keep `path`, `branch` and `base` and get it back with
/// [`Repository::open`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worktree {
    pub(crate) repository: Repository,
    pub(crate) path: PathBuf,
    pub(crate) name: String,
    pub(crate) branch: String,
    pub(crate) base: CommitId,
    pub(crate) git_dir: PathBuf,
}

/// Whether a new worktree starts with the files of its commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Files {
    CheckedOut,
    Absent,
}

impl Repository {
    /// Makes branch and worktree.
    ///
    /// # Errors
    /// `PathInvalid`, `PathExists`, `PathInsideRepository` before anything is done; `BranchInvalid`, `BranchExists`,
    /// `CommitMissing`, `Git` and `Io` after what had been made was taken back (files into `trash`).
    pub fn add(&self, new: &NewWorktree, trash: &Trash) -> Result<Worktree, WorktreeError> {
        self.add_with(new, Files::CheckedOut, trash, &Interrupt::default())
    }

    /// As [`Repository::add`], until `interrupt` is raised: a checkout may take minutes.
    ///
    /// # Errors
    /// As [`Repository::add`], and `Interrupted`; what had been made was taken back.
    pub fn add_unless(
        &self,
        new: &NewWorktree,
        trash: &Trash,
        interrupt: &Interrupt,
    ) -> Result<Worktree, WorktreeError> {
        self.add_with(new, Files::CheckedOut, trash, interrupt)
    }

    /// Takes back what an [`Repository::add`] left behind whose process was ended in the middle: an empty directory, a
    /// checkout that git had not finished, a branch at its base. Nothing else is touched, a finished worktree least of all.
    ///
    /// # Errors
    /// `PathInvalid`, and `Io` when the registrations can't be read.
    pub fn take_back_unfinished(&self, new: &NewWorktree, trash: &Trash) -> Result<(), WorktreeError> {
        let name = worktree_name(&new.path)?;
        let unfinished = match registration::find(self, &new.path)? {
            Some(git_dir) => registration::is_initializing(&git_dir),
            // Without a registration git has not written anything: whatever is in there is somebody else's.
            None => match fs::symlink_metadata(&new.path) {
                Ok(there) => there.is_dir() && fs::remove_dir(&new.path).is_ok(),
                Err(_) => true,
            },
        };
        if unfinished {
            let branch = Some((new.branch.as_str(), &new.base));
            Made { repository: self, path: &new.path, name: &name, branch }.take_back(trash);
        }
        Ok(())
    }

    /// The worktree at `path`, made earlier with this branch and base. The directory may be missing, so that
    /// an interrupted [`Worktree::discard`] can be finished.
    ///
    /// # Errors
    /// `NotAWorktree` when there is a directory that is not registered, `WorktreeMissing` when there is neither.
    pub fn open(&self, path: &Path, branch: &str, base: CommitId) -> Result<Worktree, WorktreeError> {
        let name = worktree_name(path)?;
        let Some(git_dir) = registration::find(self, path)? else {
            let path = path.to_owned();
            let exists = fs::symlink_metadata(&path).is_ok();
            return Err(if exists {
                WorktreeError::NotAWorktree { path }
            } else {
                WorktreeError::WorktreeMissing { path }
            });
        };
        let (path, branch) = (path.to_owned(), branch.to_owned());
        Ok(Worktree { repository: self.clone(), path, name, branch, base, git_dir })
    }

    pub(crate) fn add_with(
        &self,
        new: &NewWorktree,
        files: Files,
        trash: &Trash,
        interrupt: &Interrupt,
    ) -> Result<Worktree, WorktreeError> {
        let name = worktree_name(&new.path)?;
        self.require_outside(&new.path)?;
        let path = claim_directory(&new.path)?;
        let mut made = Made { repository: self, path: &path, name: &name, branch: None };
        let outcome = self.claim_branch(new).and_then(|()| {
            made.branch = Some((&new.branch, &new.base));
            self.register(&path, &new.branch, files, interrupt)
        });
        match outcome {
            Ok(git_dir) => {
                let (branch, base) = (new.branch.clone(), new.base.clone());
                Ok(Worktree { repository: self.clone(), path, name, branch, base, git_dir })
            }
            Err(error) => {
                made.take_back(trash);
                Err(error)
            }
        }
    }

    /// Refuses paths that exist or are inside the repository.
    fn require_outside(&self, path: &Path) -> Result<(), WorktreeError> {
        if fs::symlink_metadata(path).is_ok() {
            return Err(WorktreeError::PathExists { path: path.to_owned() });
        }
        let existing = path.ancestors().skip(1).find_map(|ancestor| ancestor.canonicalize().ok());
        let main = self.common_dir.parent().filter(|_| self.common_dir.ends_with(".git"));
        let own = [Some(self.checkout()), main, Some(self.common_dir.as_path())];
        for inside in own.into_iter().flatten() {
            if existing.as_deref().is_some_and(|existing| is_inside(existing, inside)) {
                let (path, inside) = (path.to_owned(), inside.to_owned());
                return Err(WorktreeError::PathInsideRepository { path, inside });
            }
        }
        Ok(())
    }

    /// Makes the branch in one step that checks everything: an empty old value means that it must not exist. Only
    /// a failure is looked into.
    fn claim_branch(&self, new: &NewWorktree) -> Result<(), WorktreeError> {
        let branch = new.branch.clone();
        // What git would take for something else than a branch, or never see.
        if branch.starts_with('-') || branch == "HEAD" || branch.contains('\0') {
            return Err(WorktreeError::BranchInvalid { branch });
        }
        let full = format!("refs/heads/{branch}");
        let reason = format!("branch: Created from {}", new.base);
        let made =
            self.at_refs().args(["update-ref", "-m", &reason, &full, new.base.as_str(), ""]).outcome()?;
        if made.code == Some(0) {
            return Ok(());
        }
        if self.at_refs().args(["check-ref-format", &full]).outcome()?.code != Some(0) {
            return Err(WorktreeError::BranchInvalid { branch });
        }
        if self.branch_commit(&branch)?.is_some() {
            return Err(WorktreeError::BranchExists { branch });
        }
        if !self.has_commit(&new.base)? {
            return Err(WorktreeError::CommitMissing { commit: new.base.clone() });
        }
        Err(made.failure())
    }

    fn register(
        &self,
        path: &Path,
        branch: &str,
        files: Files,
        interrupt: &Interrupt,
    ) -> Result<PathBuf, WorktreeError> {
        let how: &[&str] = if files == Files::Absent { &["--no-checkout"] } else { &[] };
        registration::read_all(|| {
            let call = self.at_refs().writes_files().interrupted_by(interrupt);
            call.args(["worktree", "add"]).args(how).args([path.as_os_str()]).args([branch])
        })?;
        let found = registration::find(self, path)?;
        found.ok_or_else(|| WorktreeError::NotAWorktree { path: path.to_owned() })
    }
}

/// Makes an empty directory that was not there before, and returns its canonical path.
fn claim_directory(path: &Path) -> Result<PathBuf, WorktreeError> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(WorktreeError::io("make", parent))?;
    }
    match fs::create_dir(path) {
        Ok(()) => path.canonicalize().map_err(WorktreeError::io("resolve", path)),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            Err(WorktreeError::PathExists { path: path.to_owned() })
        }
        Err(error) => Err(WorktreeError::io("make", path)(error)),
    }
}

/// What one call of `add` has made so far.
struct Made<'a> {
    repository: &'a Repository,
    path: &'a Path,
    name: &'a str,
    branch: Option<(&'a str, &'a CommitId)>,
}

impl Made<'_> {
    /// Best effort: the error that led here is the one to report.
    fn take_back(self, trash: &Trash) {
        if let Ok(Some(git_dir)) = registration::find(self.repository, self.path) {
            let _retired = registration::retire(self.repository, &git_dir);
        }
        // Git may have removed the directory already, or left it empty.
        if fs::remove_dir(self.path).is_err() && self.path.exists() {
            let _moved = trash.take(self.path, self.name);
        }
        if let Some((branch, base)) = self.branch {
            let _deleted = self.repository.delete_branch(branch, base);
        }
    }
}

impl Worktree {
    /// Takes back a worktree that has just been made and that nobody was given yet.
    pub(crate) fn take_back(&self, trash: &Trash) {
        let branch = Some((self.branch.as_str(), &self.base));
        Made { repository: &self.repository, path: &self.path, name: &self.name, branch }.take_back(trash);
    }

    /// The repository it belongs to.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// Its directory, with symbolic links resolved when it was made by [`Repository::add`].
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What its hidden refs go by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The branch it was made with. What is checked out now is in [`Worktree::status`].
    pub fn branch(&self) -> &str {
        &self.branch
    }

    /// The commit it was made from.
    pub fn base(&self) -> &CommitId {
        &self.base
    }

    /// `HEAD` of the worktree.
    ///
    /// # Errors
    /// `WorktreeMissing`, or `Git` when it can't be read.
    pub fn head(&self) -> Result<Head, WorktreeError> {
        self.require_directory()?;
        self.repository.head_at(&self.location())
    }

    pub(crate) fn location(&self) -> Location {
        Location {
            git_dir: self.git_dir.clone(),
            common_dir: self.repository.common_dir.clone(),
            work_tree: Some(self.path.clone()),
        }
    }

    /// A call in the worktree.
    pub(crate) fn at_files(&self) -> Call {
        self.repository.git.at(&self.location())
    }

    /// A call that reads the worktree's `HEAD` and refs and works without its directory.
    pub(crate) fn at_registration(&self) -> Call {
        self.repository.git.at(&Location { work_tree: None, ..self.location() })
    }

    /// Refuses when the directory is gone or was replaced by something else, such as a symbolic link.
    pub(crate) fn require_directory(&self) -> Result<(), WorktreeError> {
        match fs::symlink_metadata(&self.path) {
            Ok(metadata) if metadata.is_dir() => Ok(()),
            _ => Err(WorktreeError::WorktreeMissing { path: self.path.clone() }),
        }
    }
}

#[cfg(test)]
mod tests;
