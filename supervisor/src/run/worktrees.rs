//! The worktree library as runs use it: off the async threads, its errors with a way out.

use std::path::Path;

use agentsup_worktree::{
    CommitId, Interrupt, NewWorktree, Repository, Signature, Status, Trash, Worktree, WorktreeError,
};

use super::own;
use crate::core::error::{Code, Failure};
use crate::core::run::Run;
use crate::sys::env::Env;
use crate::sys::paths::Home;
use crate::sys::{clock, git};

/// Runs blocking work on a thread that may block.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Failure::internal(&error))?
}

/// Where a run would start: the checkout the user is in, and its commit.
pub(super) struct Start {
    /// The repository, seen from the checkout.
    pub(super) repository: Repository,
    /// The branch checked out; none when detached.
    pub(super) branch: Option<String>,
    /// Its commit.
    pub(super) base: CommitId,
    /// The fetch address of `origin`.
    pub(super) remote: Option<String>,
    /// The commit's own policies, or why there can be no run under them.
    pub(super) own: Result<own::Read, Failure>,
}

/// Looks at the directory that a run is to start from.
pub(super) fn look(directory: &Path) -> Result<Start, Failure> {
    let (repository, head) = Repository::discover_with_head(git::local(), directory).map_err(failure)?;
    let base = match head.commit() {
        Some(commit) => commit.clone(),
        None => repository.require_commit().map_err(failure)?,
    };
    let remote = repository.remote_url("origin").map_err(failure)?;
    let branch = head.branch().map(str::to_owned);
    let own = own::read(&repository, &base);
    Ok(Start { repository, branch, base, remote: remote.map(|url| without_password(&url)), own })
}

/// What people put into a remote's address to log in is no business of policies and records.
fn without_password(url: &str) -> String {
    match url::Url::parse(url) {
        Ok(mut parsed) if parsed.has_authority() && parsed.password().is_some() => {
            let _no_authority = parsed.set_password(None);
            parsed.to_string()
        }
        _ => url.to_owned(),
    }
}

/// Makes the run's worktree on its branch, unless it is interrupted.
pub(super) fn create(
    home: &Home,
    repository: &Repository,
    run: &Run,
    interrupt: &Interrupt,
) -> Result<(), Failure> {
    repository.add_unless(&new(run)?, &trash(home)?, interrupt).map_err(failure)?;
    Ok(())
}

fn new(run: &Run) -> Result<NewWorktree, Failure> {
    Ok(NewWorktree { path: run.worktree.clone(), branch: run.branch.clone(), base: base(run)? })
}

/// The run's worktree.
pub(super) fn open(run: &Run) -> Result<Worktree, Failure> {
    let repository = Repository::discover(git::local(), &run.repository).map_err(failure)?;
    let opened = base(run).map(|base| repository.open(&run.worktree, &run.branch, base))?;
    match opened {
        Err(WorktreeError::WorktreeMissing { .. }) => Err(gone(&repository, run)),
        opened => opened.map_err(failure),
    }
}

/// What is left of a run whose worktree was taken away.
fn gone(repository: &Repository, run: &Run) -> Failure {
    let (id, branch) = (run.id, &run.branch);
    match repository.has_branch(branch) {
        Ok(true) => {
            Failure::new(Code::NotFound, format!("the worktree of `{id}` is gone, its branch is not"))
                .hint(format!("git log {branch}, git merge {branch}"))
        }
        _ => Failure::new(
            Code::NotFound,
            format!("the worktree of `{id}` is gone: unchanged, landed or given up"),
        )
        .hint(format!("agentsup audit list --run {} tells which", id.short())),
    }
}

/// What became of a worktree at the run's end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    /// It was clean and had no commits.
    Removed,
    /// It holds work, or cannot be judged.
    Kept(String),
    /// There was none.
    Absent,
}

/// Takes a worktree away if nothing was done in it; keeps it in every other case, doubt included.
pub(super) fn tidy(home: &Home, run: &Run) -> Fate {
    if run.worktree.symlink_metadata().is_err() {
        return Fate::Absent;
    }
    match try_tidy(home, run) {
        Ok(fate) => fate,
        Err(failure) => Fate::Kept(failure.message),
    }
}

/// Takes back what the launch of a run left whose agent never came to life.
pub(super) fn take_back(home: &Home, run: &Run) -> Result<(), Failure> {
    let repository = Repository::discover(git::local(), &run.repository).map_err(failure)?;
    repository.take_back_unfinished(&new(run)?, &trash(home)?).map_err(failure)
}

fn try_tidy(home: &Home, run: &Run) -> Result<Fate, Failure> {
    let worktree = open(run)?;
    let status = worktree.status().map_err(failure)?;
    if !status.is_clean() || status.commits_ahead > 0 {
        return Ok(Fate::Kept(summary(&status)));
    }
    worktree.remove_clean(&trash(home)?).map_err(failure)?;
    Ok(Fate::Removed)
}

/// `2 changed files, 1 commit`.
pub(super) fn summary(status: &Status) -> String {
    let count = |number: usize, noun: &str| match number {
        0 => None,
        1 => Some(format!("1 {noun}")),
        _ => Some(format!("{number} {noun}s")),
    };
    let commits = usize::try_from(status.commits_ahead).unwrap_or(usize::MAX);
    let parts = [count(status.changes.len(), "changed file"), count(commits, "commit")];
    let text = parts.into_iter().flatten().collect::<Vec<_>>().join(", ");
    if text.is_empty() { "nothing changed".to_owned() } else { text }
}

/// Where removed worktrees go.
pub(super) fn trash(home: &Home) -> Result<Trash, Failure> {
    Trash::at(home.trash_dir()).map_err(failure)
}

fn base(run: &Run) -> Result<CommitId, Failure> {
    CommitId::parse(&run.base)
        .ok_or_else(|| Failure::new(Code::Internal, format!("`{}` is not a commit id", run.base)))
}

/// In whose name agentsup commits: the run's accountable human, through agentsup.
pub(super) fn signature(run: &Run) -> Signature {
    Signature {
        name: run.owner.name().to_owned(),
        email: format!(
            "{}@{}.agentsup.invalid",
            run.owner.name(),
            Env::current().user_name().unwrap_or_default()
        ),
        at_s: u64::try_from(clock::now_ms() / 1000).unwrap_or(0),
    }
}

/// Who commits and merges for the user: as they are known to git, else as [`signature`].
pub(super) fn user_signature(worktree: &Worktree, run: &Run) -> Result<Signature, Failure> {
    let identity = worktree.repository().identity().map_err(failure)?;
    let usual = signature(run);
    Ok(match identity {
        Some((name, email)) => Signature { name, email, ..usual },
        None => usual,
    })
}

/// What a person reads when the library refuses.
pub(super) fn failure(error: WorktreeError) -> Failure {
    use WorktreeError as E;
    let (code, hint) = match &error {
        E::GitMissing { .. } => (Code::Conflict, Some("install git 2.38 or newer".to_owned())),
        E::GitTooOld { needed, .. } => (Code::Conflict, Some(format!("install git {needed} or newer"))),
        E::NotARepository { .. } => {
            (Code::Usage, Some("cd into a git repository, or git init and commit".into()))
        }
        E::BareRepository { .. } => (Code::Usage, Some("git clone it, then run from the clone".into())),
        E::NotACheckout { .. } => (Code::Usage, Some("cd out of the git directory".into())),
        E::UnbornHead { .. } => {
            (Code::Usage, Some("git commit --allow-empty -m \"Begin\" makes the first commit".into()))
        }
        E::WorktreeMissing { .. } | E::NotAWorktree { .. } => {
            (Code::NotFound, Some("agentsup ps --all".into()))
        }
        E::Dirty { path, .. } => (Code::Conflict, Some(format!("git -C '{}' status", path.display()))),
        E::Unfinished { path, .. } => (Code::Conflict, Some(format!("git -C '{}' status", path.display()))),
        E::Conflict { branch, .. } => (
            Code::Conflict,
            Some(format!("git merge it by hand, or git rebase onto `{branch}` in the worktree")),
        ),
        E::WouldOverwrite { path, .. } => {
            (Code::Conflict, Some(format!("git -C '{}' stash -u, then land again", path.display())))
        }
        E::TargetDetached { .. } => (Code::Conflict, Some("git switch to the branch to land on".into())),
        E::TargetMissing { .. } => (Code::NotFound, Some("agentsup land --onto BRANCH RUN".into())),
        E::TargetMoved { .. } => (Code::Conflict, Some("land again".into())),
        E::Interrupted { .. } => (Code::Killed, None),
        E::Locked { path, .. } => (Code::Conflict, Some(format!("git worktree unlock '{}'", path.display()))),
        E::Io { .. }
        | E::Git { .. }
        | E::GitOutput { .. }
        | E::GitTimeout { .. }
        | E::GitUnreadable { .. } => (Code::Internal, None),
        _ => (Code::Conflict, None),
    };
    let failure = Failure::new(code, error.to_string());
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remote_is_known_without_its_password() {
        for (url, shown) in [
            ("https://alice:ghp_secret@example.com/a/b.git", "https://alice@example.com/a/b.git"),
            ("https://example.com/a/b", "https://example.com/a/b"),
            ("git@example.com:a/b.git", "git@example.com:a/b.git"),
            ("/srv/git/a b.git", "/srv/git/a b.git"),
        ] {
            assert_eq!(without_password(url), shown);
        }
    }
}
