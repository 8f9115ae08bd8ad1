//! The one error type. Texts are fragments without advice: what to do next is the caller's to say.

use std::io;
use std::path::PathBuf;

use crate::names::{shown, shown_list};
use crate::{CommitId, Head, Operation};

/// Why something was refused or failed. Where it says "refused", nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorktreeError {
    /// The git program can't be started.
    #[error("git can't be started: {source}")]
    GitMissing {
        /// What the system said.
        source: io::Error,
    },
    /// A git command failed for a reason that has no variant of its own.
    #[error("`{command}` failed: {stderr}")]
    Git {
        /// The command's first words.
        command: String,
        /// Exit code, `None` when a signal ended it.
        code: Option<i32>,
        /// What git said, cut to a few KiB.
        stderr: String,
    },
    /// A git command was ended because it took too long.
    #[error("`{command}` was ended after {timeout_s} s")]
    GitTimeout {
        /// The command's first words.
        command: String,
        /// The limit, in seconds.
        timeout_s: u64,
    },
    /// A git command was ended because the caller raised its interrupt.
    #[error("`{command}` was interrupted")]
    Interrupted {
        /// The command's first words.
        command: String,
    },
    /// A git command said more than the bound allows.
    #[error("`{command}` printed more than {limit_bytes} bytes")]
    GitOutput {
        /// The command's first words.
        command: String,
        /// The limit.
        limit_bytes: usize,
    },
    /// A git command printed something this version can't read.
    #[error("the output of `{command}` can't be read")]
    GitUnreadable {
        /// The command's first words.
        command: String,
    },
    /// The installed git lacks something.
    #[error("git {needed} or newer is needed to {purpose}")]
    GitTooOld {
        /// The first version that has it.
        needed: &'static str,
        /// What for.
        purpose: &'static str,
    },
    /// A file operation failed.
    #[error("can't {action} `{}`: {source}", shown(path))]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },

    /// No git repository there.
    #[error("`{}` is not in a git repository", shown(path))]
    NotARepository {
        /// Where was looked.
        path: PathBuf,
    },
    /// The repository is bare and has no checkout to work beside.
    #[error("`{}` is a bare repository", shown(path))]
    BareRepository {
        /// Where was looked.
        path: PathBuf,
    },
    /// The path is inside a git directory, not in a checkout.
    #[error("`{}` is inside a git directory, not in a checkout", shown(path))]
    NotACheckout {
        /// Where was looked.
        path: PathBuf,
    },
    /// The repository has no commit yet.
    #[error("branch `{branch}` has no commit yet")]
    UnbornHead {
        /// The branch the first commit would make.
        branch: String,
    },

    /// The path given for a worktree can't be used. Refused.
    #[error("worktree path `{}` {why}", shown(path))]
    PathInvalid {
        /// The path given.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The path given for a worktree exists. Refused.
    #[error("`{}` exists", shown(path))]
    PathExists {
        /// The path given.
        path: PathBuf,
    },
    /// The path given for a worktree or a trash is inside a checkout or the git directory. Refused.
    #[error("`{}` is inside `{}`", shown(path), shown(inside))]
    PathInsideRepository {
        /// The path given.
        path: PathBuf,
        /// What it is inside of.
        inside: PathBuf,
    },
    /// The branch name is not one git accepts. Refused.
    #[error("`{branch}` is not a branch name")]
    BranchInvalid {
        /// The name given.
        branch: String,
    },
    /// The branch exists. Refused.
    #[error("branch `{branch}` exists")]
    BranchExists {
        /// The name given.
        branch: String,
    },
    /// The repository does not have that commit.
    #[error("commit `{commit}` is not in the repository")]
    CommitMissing {
        /// The commit named.
        commit: CommitId,
    },
    /// The repository does not have that snapshot.
    #[error("snapshot `{name}` does not exist")]
    SnapshotMissing {
        /// The name given.
        name: String,
    },

    /// The directory is not a worktree of this repository.
    #[error("`{}` is not a worktree of this repository", shown(path))]
    NotAWorktree {
        /// The path given.
        path: PathBuf,
    },
    /// The worktree's directory is gone, or something else is in its place.
    #[error("the worktree's directory `{}` is gone", shown(path))]
    WorktreeMissing {
        /// The worktree's path.
        path: PathBuf,
    },
    /// Somebody locked the worktree with `git worktree lock`. Refused.
    #[error("the worktree `{}` is locked: {reason}", shown(path))]
    Locked {
        /// The worktree's path.
        path: PathBuf,
        /// What they wrote.
        reason: String,
    },
    /// The worktree has changes that are in no commit. Refused.
    #[error("`{}` has uncommitted changes: {}", shown(path), shown_list(paths))]
    Dirty {
        /// The worktree's path.
        path: PathBuf,
        /// The changed files, relative to it.
        paths: Vec<PathBuf>,
    },
    /// A merge, rebase or the like is unfinished in the checkout. Refused.
    #[error("`{}` is in the middle of a {operation}", shown(path))]
    Unfinished {
        /// The checkout's path.
        path: PathBuf,
        /// What is unfinished.
        operation: Operation,
    },
    /// `HEAD` of the worktree is detached at commits that no branch has. Refused.
    #[error("`{}` is on commit `{commit}`, which is on no branch", shown(path))]
    OffBranch {
        /// The worktree's path.
        path: PathBuf,
        /// The commit.
        commit: CommitId,
    },
    /// What is checked out in the worktree does not contain the worktree's own branch. Refused.
    #[error("`{}` has left its branch `{branch}`", shown(path))]
    LeftBranch {
        /// The worktree's path.
        path: PathBuf,
        /// The branch it was made with.
        branch: String,
        /// What it is on.
        head: Head,
    },

    /// The target branch does not exist. Refused.
    #[error("branch `{branch}` does not exist")]
    TargetMissing {
        /// The target named.
        branch: String,
    },
    /// The checkout to land on is on no branch. Refused.
    #[error("`{}` is on no branch", shown(path))]
    TargetDetached {
        /// The checkout.
        path: PathBuf,
    },
    /// The target is the worktree's own branch. Refused.
    #[error("branch `{branch}` can't land on itself")]
    TargetIsSource {
        /// The branch.
        branch: String,
    },
    /// The target branch is checked out where this crate can't update it safely. Refused.
    #[error("branch `{branch}` is in use at `{}`", shown(path))]
    TargetInUse {
        /// The target.
        branch: String,
        /// Where.
        path: PathBuf,
    },
    /// The target branch moved while landing. Nothing was landed.
    #[error("branch `{branch}` moved while landing")]
    TargetMoved {
        /// The target.
        branch: String,
    },
    /// Files that are in no commit would be overwritten by landing. Refused.
    #[error("landing would overwrite files in `{}`: {}", shown(path), shown_list(paths))]
    WouldOverwrite {
        /// The checkout of the target branch.
        path: PathBuf,
        /// The files, relative to it.
        paths: Vec<PathBuf>,
    },
    /// The branches change the same places. Nothing was changed.
    #[error("conflicts with `{branch}` in {}", shown_list(paths))]
    Conflict {
        /// The target.
        branch: String,
        /// The files, relative to the repository's root.
        paths: Vec<PathBuf>,
    },
    /// A commit trailer given by the caller is not one line. Refused.
    #[error("`{key}` is not a usable commit trailer")]
    TrailerInvalid {
        /// The trailer's key.
        key: String,
    },

    /// The trash is on another file system, so a rename can't reach it. Nothing was removed.
    #[error("`{}` and the trash `{}` are on different file systems", shown(path), shown(trash))]
    CrossDevice {
        /// What was to be moved.
        path: PathBuf,
        /// The trash.
        trash: PathBuf,
    },
    /// So many of something that the bound says stop.
    #[error("more than {limit} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
}

impl WorktreeError {
    /// For `map_err` on file operations.
    pub(crate) fn io(action: &'static str, path: &std::path::Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}
