//! What changed in a worktree, in one look. Must not write, not even to refresh the index.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::git::Location;
use crate::names::path_of;
use crate::registration;
use crate::{CommitId, Head, Repository, Worktree, WorktreeError};

/// More changed paths than this are cut off: 8 MiB of names.
const LISTING_LIMIT_BYTES: usize = 8 << 20;

/// The state of a worktree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// What is checked out.
    pub head: Head,
    /// Paths that differ from `HEAD`, ignored ones excepted.
    pub changes: Vec<Change>,
    /// There were more changes than fit; `changes` has the first ones.
    pub truncated: bool,
    /// A merge, rebase or the like that is not finished.
    pub operation: Option<Operation>,
    /// Commits that `HEAD` or the worktree's own branch has and its base does not.
    pub commits_ahead: u64,
}

impl Status {
    /// Nothing uncommitted, nothing unfinished. Commits do not matter.
    pub fn is_clean(&self) -> bool {
        self.changes.is_empty() && !self.truncated && self.operation.is_none()
    }
}

/// One path that differs from `HEAD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Relative to the worktree. Ends in `/` for a nested repository.
    pub path: PathBuf,
    /// How it differs.
    pub kind: ChangeKind,
}

/// How a path differs from `HEAD`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// Other content or mode.
    Modified,
    /// New and known to the index.
    Added,
    /// Gone.
    Deleted,
    /// Another type of file.
    TypeChanged,
    /// In conflict.
    Conflicted,
    /// Not known to the index.
    Untracked,
    /// A submodule with another commit or with changes inside.
    Submodule,
}

/// What can be unfinished in a checkout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// `git merge`
    Merge,
    /// `git rebase` or `git am`
    Rebase,
    /// `git cherry-pick`
    CherryPick,
    /// `git revert`
    Revert,
    /// `git bisect`
    Bisect,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Merge => "merge",
            Self::Rebase => "rebase",
            Self::CherryPick => "cherry-pick",
            Self::Revert => "revert",
            Self::Bisect => "bisect",
        })
    }
}

impl Worktree {
    /// What changed: uncommitted files, commits beyond the base, and what is checked out.
    ///
    /// # Errors
    /// `WorktreeMissing`, or `Git` when it can't be read.
    pub fn status(&self) -> Result<Status, WorktreeError> {
        self.require_directory()?;
        let Listing { head, changes, truncated } = self.repository.listing(&self.location())?;
        let commits_ahead = self.commits_ahead(&head)?;
        Ok(Status {
            head,
            changes,
            truncated,
            operation: registration::operation(&self.git_dir),
            commits_ahead,
        })
    }
}

impl Worktree {
    /// Counts commits that are checked out, and those on the worktree's own branch, which may not be.
    fn commits_ahead(&self, head: &Head) -> Result<u64, WorktreeError> {
        let own = format!("refs/heads/{}", self.branch);
        let mut args = vec!["rev-list", "--count", "--ignore-missing", &own];
        args.extend(head.commit().map(CommitId::as_str));
        let not = format!("^{}", self.base);
        args.push(&not);
        let output = self.repository.at_refs().args(args).run()?;
        output.line()?.parse().map_err(|_| output.unreadable())
    }
}

/// The part of a status that needs no base.
pub(crate) struct Listing {
    pub(crate) head: Head,
    pub(crate) changes: Vec<Change>,
    pub(crate) truncated: bool,
}

impl Repository {
    pub(crate) fn listing(&self, location: &Location) -> Result<Listing, WorktreeError> {
        let args = [
            "status",
            "--porcelain=v2",
            "--branch",
            "-z",
            "--untracked-files=all",
            "--ignore-submodules=none",
            "--no-renames",
        ];
        let output = self.git.at(location).args(args).cut_at(LISTING_LIMIT_BYTES).run()?;
        let (mut branch, mut commit) = (None, None);
        let mut changes = Vec::new();
        for record in output.records() {
            if let Some(name) = record.strip_prefix(b"# branch.head ") {
                branch = Some(std::str::from_utf8(name).map_err(|_| output.unreadable())?.to_owned());
            } else if let Some(id) = record.strip_prefix(b"# branch.oid ") {
                commit = std::str::from_utf8(id).ok().and_then(CommitId::parse);
            } else if !record.starts_with(b"# ") {
                changes.push(change(record).ok_or_else(|| output.unreadable())?);
            }
        }
        let head = match (branch, commit) {
            (Some(branch), Some(commit)) if branch == "(detached)" => Head::Detached { commit },
            (Some(name), Some(commit)) => Head::Branch { name, commit },
            (Some(branch), None) => Head::Unborn { branch },
            (None, _) => return Err(output.unreadable()),
        };
        Ok(Listing { head, changes, truncated: output.cut })
    }
}

/// Reads one record of porcelain version 2: a sign, fields separated by spaces, then the path.
fn change(record: &[u8]) -> Option<Change> {
    let (fields, kind) = match record.first()? {
        b'?' => (1, ChangeKind::Untracked),
        b'u' => (10, ChangeKind::Conflicted),
        b'1' => (8, ordinary(record)?),
        _ => return None,
    };
    let path = record.splitn(fields + 1, |byte| *byte == b' ').nth(fields)?;
    Some(Change { path: path_of(path), kind })
}

fn ordinary(record: &[u8]) -> Option<ChangeKind> {
    let mut fields = record.split(|byte| *byte == b' ').skip(1);
    let (staged, unstaged) = match fields.next()? {
        [staged, unstaged] => (*staged, *unstaged),
        _ => return None,
    };
    Some(match (fields.next()?.first()?, staged, unstaged) {
        (b'S', ..) => ChangeKind::Submodule,
        (_, _, b'D') | (_, b'D', b'.') => ChangeKind::Deleted,
        (_, b'A', _) | (_, _, b'A') => ChangeKind::Added,
        (_, b'T', _) | (_, _, b'T') => ChangeKind::TypeChanged,
        _ => ChangeKind::Modified,
    })
}

/// The paths of changes, for an error.
pub(crate) fn paths(changes: &[Change]) -> Vec<PathBuf> {
    changes.iter().map(|change| change.path.clone()).collect()
}

/// Refuses a checkout in which something is unfinished.
pub(crate) fn require_finished(git_dir: &Path, path: &Path) -> Result<(), WorktreeError> {
    match registration::operation(git_dir) {
        Some(operation) => Err(WorktreeError::Unfinished { path: path.to_owned(), operation }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
