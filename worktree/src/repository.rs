//! Finding a repository and reading its `HEAD` and refs. Must not change anything but refs under
//! `refs/agentsup/` and, on behalf of `create`, `remove` and `land`, branches.

use std::path::{Path, PathBuf};

use crate::git::{Call, Git, Location};
use crate::{CommitId, Head, WorktreeError};

/// Below it the crate keeps what it needs in a git directory: scratch indexes and retired registrations.
pub(crate) const OWN_DIRECTORY: &str = "agentsup";

/// A git repository, seen from the checkout it was discovered in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    pub(crate) git: Git,
    pub(crate) common_dir: PathBuf,
    checkout: PathBuf,
    checkout_git_dir: PathBuf,
}

impl Repository {
    /// Finds the repository that `path`, a directory in a checkout, belongs to: the main checkout, a linked
    /// worktree or any directory below.
    ///
    /// # Errors
    /// `NotARepository`, `BareRepository`, `NotACheckout` (inside `.git`), and `Git` when git refuses for
    /// reasons of its own, such as a directory that belongs to another user.
    pub fn discover(path: &Path) -> Result<Self, WorktreeError> {
        Self::discover_with(Git::default(), path)
    }

    /// Like [`Repository::discover`], with a git program and environment of the caller's choice. The
    /// repository and everything made from it keep using it.
    ///
    /// # Errors
    /// As [`Repository::discover`].
    pub fn discover_with(git: Git, path: &Path) -> Result<Self, WorktreeError> {
        let not_found = || WorktreeError::NotARepository { path: path.to_owned() };
        if !path.is_dir() {
            return Err(not_found());
        }
        let ask = |question: &[&str]| git.discover(path).args(["rev-parse"]).args(question);
        let kind = ask(&["--is-bare-repository", "--is-inside-work-tree"]).outcome()?;
        if kind.code != Some(0) {
            let absent = kind.stderr.contains("not a git repository");
            return Err(if absent { not_found() } else { kind.failure() });
        }
        match kind.line()?.as_str() {
            "false\ntrue" => {}
            "false\nfalse" => return Err(WorktreeError::NotACheckout { path: path.to_owned() }),
            _ => return Err(WorktreeError::BareRepository { path: path.to_owned() }),
        }
        // One path per question: a path may contain newlines.
        let absolute = |question: &str| -> Result<PathBuf, WorktreeError> {
            let found = ask(&["--path-format=absolute", question]).run()?.path();
            found.canonicalize().map_err(WorktreeError::io("resolve", &found))
        };
        let common_dir = absolute("--git-common-dir")?;
        let checkout_git_dir = absolute("--git-dir")?;
        let checkout = absolute("--show-toplevel")?;
        Ok(Self { git, common_dir, checkout, checkout_git_dir })
    }

    /// The top of the checkout the repository was discovered in: its main checkout, or a linked worktree.
    pub fn checkout(&self) -> &Path {
        &self.checkout
    }

    /// The directory with refs, objects and configuration, which all checkouts share. Identifies the
    /// repository.
    pub fn common_dir(&self) -> &Path {
        &self.common_dir
    }

    /// `HEAD` of [`Repository::checkout`].
    ///
    /// # Errors
    /// `Git` when the repository can't be read.
    pub fn head(&self) -> Result<Head, WorktreeError> {
        self.head_at(&self.checkout_location())
    }

    /// The commit checked out, which is what a new worktree usually starts from.
    ///
    /// # Errors
    /// `UnbornHead` in a repository without commits.
    pub fn require_commit(&self) -> Result<CommitId, WorktreeError> {
        match self.head()? {
            Head::Branch { commit, .. } | Head::Detached { commit } => Ok(commit),
            Head::Unborn { branch } => Err(WorktreeError::UnbornHead { branch }),
        }
    }

    /// The fetch address of a remote as it is configured, without what `insteadOf` makes of it. `None` without such a
    /// remote.
    ///
    /// # Errors
    /// `Git` when the configuration can't be read.
    pub fn remote_url(&self, remote: &str) -> Result<Option<String>, WorktreeError> {
        let key = format!("remote.{remote}.url");
        let found = self.at_refs().args(["config", "--get", &key]).outcome()?;
        match found.code {
            Some(0) => found.line().map(Some),
            Some(1) => Ok(None),
            _ => Err(found.failure()),
        }
    }

    /// For calls that need refs and objects only.
    pub(crate) fn at_refs(&self) -> Call {
        self.git.at(&self.refs_location())
    }

    fn refs_location(&self) -> Location {
        Location { git_dir: self.common_dir.clone(), common_dir: self.common_dir.clone(), work_tree: None }
    }

    pub(crate) fn checkout_location(&self) -> Location {
        Location {
            git_dir: self.checkout_git_dir.clone(),
            common_dir: self.common_dir.clone(),
            work_tree: Some(self.checkout.clone()),
        }
    }

    /// The crate's own directory in the git directory, made if needed.
    pub(crate) fn own_directory(&self, name: &str) -> Result<PathBuf, WorktreeError> {
        let directory = self.common_dir.join(OWN_DIRECTORY).join(name);
        std::fs::create_dir_all(&directory).map_err(WorktreeError::io("make", &directory))?;
        Ok(directory)
    }

    pub(crate) fn head_at(&self, location: &Location) -> Result<Head, WorktreeError> {
        let symbolic = self.git.at(location).args(["symbolic-ref", "-q", "HEAD"]).outcome()?;
        let branch = match symbolic.code {
            Some(0) => {
                let name = symbolic.line()?;
                Some(name.strip_prefix("refs/heads/").unwrap_or(&name).to_owned())
            }
            Some(1) => None,
            _ => return Err(symbolic.failure()),
        };
        let verify = ["rev-parse", "--verify", "-q", "HEAD^{commit}"];
        let found = self.git.at(location).args(verify).outcome()?;
        match (branch, found.code) {
            (Some(name), Some(0)) => Ok(Head::Branch { name, commit: found.id()? }),
            (None, Some(0)) => Ok(Head::Detached { commit: found.id()? }),
            (Some(branch), Some(1)) => Ok(Head::Unborn { branch }),
            _ => Err(found.failure()),
        }
    }

    /// The commit a full ref name points at, `None` if there is no such ref.
    pub(crate) fn commit_of(&self, full_ref: &str) -> Result<Option<CommitId>, WorktreeError> {
        let peeled = format!("{full_ref}^{{commit}}");
        let found =
            self.at_refs().args(["rev-parse", "--verify", "-q", "--end-of-options", &peeled]).outcome()?;
        match found.code {
            Some(0) => found.id().map(Some),
            Some(1) => Ok(None),
            _ => Err(found.failure()),
        }
    }

    pub(crate) fn branch_commit(&self, branch: &str) -> Result<Option<CommitId>, WorktreeError> {
        self.commit_of(&format!("refs/heads/{branch}"))
    }

    pub(crate) fn has_commit(&self, commit: &CommitId) -> Result<bool, WorktreeError> {
        // A full id is "valid" for rev-parse without being there; cat-file looks.
        let object = format!("{commit}^{{commit}}");
        Ok(self.at_refs().args(["cat-file", "-e", &object]).outcome()?.code == Some(0))
    }

    /// Whether everything in `ancestor` is in `descendant`.
    pub(crate) fn contains(&self, descendant: &CommitId, ancestor: &CommitId) -> Result<bool, WorktreeError> {
        let args = ["merge-base", "--is-ancestor", ancestor.as_str(), descendant.as_str()];
        let answer = self.at_refs().args(args).outcome()?;
        match answer.code {
            Some(0) => Ok(true),
            Some(1) => Ok(false),
            _ => Err(answer.failure()),
        }
    }

    /// The number of commits in `to` that are not in `from`.
    pub(crate) fn count(&self, from: &CommitId, to: &CommitId) -> Result<u64, WorktreeError> {
        let range = format!("{from}..{to}");
        let output = self.at_refs().args(["rev-list", "--count", &range]).run()?;
        output.line()?.parse().map_err(|_| output.unreadable())
    }

    /// Where a branch is checked out, if anywhere. Asked of git, so it covers every checkout.
    pub(crate) fn checked_out_at(&self, branch: &str) -> Result<Option<PathBuf>, WorktreeError> {
        let full = format!("refs/heads/{branch}");
        let path = self.at_refs().args(["for-each-ref", "--format=%(worktreepath)", &full]).run()?.path();
        Ok((!path.as_os_str().is_empty()).then_some(path))
    }

    /// Deletes a branch if it still points at `tip`. Commits it alone reaches must have been kept before.
    pub(crate) fn delete_branch(&self, branch: &str, tip: &CommitId) -> Result<(), WorktreeError> {
        let full = format!("refs/heads/{branch}");
        self.at_refs().args(["update-ref", "-d", &full, tip.as_str()]).run().map(drop)
    }
}

#[cfg(test)]
mod tests;
