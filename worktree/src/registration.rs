//! The registration of a linked worktree: the directory `<common dir>/worktrees/<id>`.
//!
//! It holds the worktree's `HEAD`, index, reflog and submodule repositories, so it is never deleted, only
//! moved into the git directory's own trash. It is found by what it says itself (`gitdir`), not by the
//! worktree's `.git` file, which whatever ran in the worktree could have written.

use std::fs;
use std::path::{Path, PathBuf};

use crate::git::{Call, Output};
use crate::names::{bytes_of, path_of};
use crate::trash::Trash;
use crate::{Operation, Repository, WorktreeError};

/// No repository has this many worktrees by intent.
const WORKTREES_LIMIT: usize = 100_000;
/// So often a registration may be found half-written before that counts as damage. Each look is a git of its own, so that
/// a busy machine gives whoever writes it more time.
const LOOKS: usize = 300;

/// Runs a call for which git reads every worktree's registration. Git makes its `commondir` and fills it in a moment
/// later, and a git that reads it in between ends with an error before it has done anything: such a call is made again.
///
/// # Errors
/// As [`Call::run`]; the half-written registration's when it stays so.
pub(crate) fn read_all(call: impl Fn() -> Call) -> Result<Output, WorktreeError> {
    for _ in 1..LOOKS {
        match call().run() {
            Err(WorktreeError::Git { stderr, .. }) if is_half_written(&stderr) => {}
            outcome => return outcome,
        }
    }
    call().run()
}

/// Git's complaint about an empty `commondir`. The reason that it adds is some earlier one: reading went well.
fn is_half_written(complaint: &str) -> bool {
    let tells = |line: &str| line.starts_with("fatal: failed to read ") && line.contains("/commondir: ");
    complaint.lines().any(tells)
}

/// Finds the registration of the worktree at `path`, which must be canonical as far as it exists.
pub(crate) fn find(repository: &Repository, path: &Path) -> Result<Option<PathBuf>, WorktreeError> {
    let all = repository.common_dir.join("worktrees");
    let entries = match fs::read_dir(&all) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(WorktreeError::io("read", &all)(error)),
    };
    let wanted = resolved(&path.join(".git"));
    for (seen, entry) in entries.enumerate() {
        if seen >= WORKTREES_LIMIT {
            return Err(WorktreeError::TooMany { what: "worktrees", limit: WORKTREES_LIMIT });
        }
        let git_dir = entry.map_err(WorktreeError::io("read", &all))?.path();
        let Ok(text) = fs::read(git_dir.join("gitdir")) else { continue };
        // Relative since git 2.48 when the user wants that.
        let says = git_dir.join(path_of(text.trim_ascii_end()));
        if resolved(&says) == wanted {
            return Ok(Some(git_dir));
        }
    }
    Ok(None)
}

/// The path with its directory resolved; the `.git` file itself need not exist.
fn resolved(git_file: &Path) -> PathBuf {
    let Some(parent) = git_file.parent() else { return git_file.to_owned() };
    parent.canonicalize().map_or_else(|_| git_file.to_owned(), |parent| parent.join(".git"))
}

/// Refuses a worktree that somebody locked.
pub(crate) fn require_unlocked(git_dir: &Path, path: &Path) -> Result<(), WorktreeError> {
    match fs::read(git_dir.join("locked")) {
        Ok(reason) => Err(WorktreeError::Locked {
            path: path.to_owned(),
            reason: String::from_utf8_lossy(&reason).trim().to_owned(),
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(WorktreeError::io("read", git_dir)(error)),
    }
}

/// Whether `git worktree add` has begun this registration and not come to its end.
pub(crate) fn is_initializing(git_dir: &Path) -> bool {
    fs::read(git_dir.join("locked")).is_ok_and(|reason| reason.trim_ascii() == b"initializing")
}

/// Moves a registration into the git directory's own trash: the worktree is then unknown to git. The trash is
/// in the git directory because the caller's may be on another file system.
pub(crate) fn retire(repository: &Repository, git_dir: &Path) -> Result<PathBuf, WorktreeError> {
    let trash = Trash::at(repository.own_directory("trash")?)?;
    let id = git_dir.file_name().map_or_else(|| "worktree".into(), |id| id.to_string_lossy());
    trash.take(git_dir, &id)
}

/// What is unfinished in a checkout, told by the files git keeps for it.
pub(crate) fn operation(git_dir: &Path) -> Option<Operation> {
    const SIGNS: &[(&str, Operation)] = &[
        ("rebase-merge", Operation::Rebase),
        ("rebase-apply", Operation::Rebase),
        ("MERGE_HEAD", Operation::Merge),
        ("CHERRY_PICK_HEAD", Operation::CherryPick),
        ("REVERT_HEAD", Operation::Revert),
        ("BISECT_LOG", Operation::Bisect),
    ];
    SIGNS.iter().find(|(file, _)| git_dir.join(file).exists()).map(|(_, operation)| *operation)
}

/// The git directories of all checkouts: the main one and every linked one.
fn git_dirs(repository: &Repository) -> Vec<PathBuf> {
    let linked = fs::read_dir(repository.common_dir.join("worktrees")).into_iter().flatten();
    let linked = linked.take(WORKTREES_LIMIT).filter_map(Result::ok).map(|entry| entry.path());
    std::iter::once(repository.common_dir.clone()).chain(linked).collect()
}

/// The git directory of the checkout in which a rebase or bisect will come back to this branch, so that it
/// must be neither moved nor deleted.
pub(crate) fn awaiting(repository: &Repository, branch: &str) -> Option<PathBuf> {
    let full = format!("refs/heads/{branch}");
    let names = |git_dir: &Path, file: &str, name: &str| {
        fs::read(git_dir.join(file)).is_ok_and(|text| text.trim_ascii() == name.as_bytes())
    };
    git_dirs(repository).into_iter().find(|git_dir| {
        names(git_dir, "rebase-merge/head-name", &full)
            || names(git_dir, "rebase-apply/head-name", &full)
            || names(git_dir, "BISECT_START", branch)
    })
}

/// Whether `path` is `directory` or inside it. Both must be canonical.
pub(crate) fn is_inside(path: &Path, directory: &Path) -> bool {
    bytes_of(directory) != b"" && path.starts_with(directory)
}
