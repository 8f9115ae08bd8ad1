//! Finding a repository and reading its `HEAD` and refs. Must not change anything but refs under
//! `refs/agentsup/` and, on behalf of `create`, `remove` and `land`, branches.

use std::path::{Path, PathBuf};

use crate::git::{Call, Git, Location};
use crate::names::path_of;
use crate::{CommitId, Head, WorktreeError, registration};

/// Below it the crate keeps what it needs in a git directory: scratch indexes and retired registrations.
pub(crate) const OWN_DIRECTORY: &str = "agentsup";

/// What `rev-parse` is asked for where a checkout is: first what kind of place it is, then [`PLACES`].
const PLACE_QUESTIONS: &[&str] = &[
    "--is-bare-repository",
    "--is-inside-work-tree",
    "--path-format=absolute",
    "--git-common-dir",
    "--git-dir",
    "--show-toplevel",
];
const PLACES: [&str; 3] = ["--git-common-dir", "--git-dir", "--show-toplevel"];

/// What `rev-parse` is asked for `HEAD`: two lines, of which [`head_of`] makes one.
const HEAD_QUESTIONS: &[&str] = &["HEAD^{commit}", "--symbolic-full-name", "HEAD"];

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
    /// worktree or any directory below. The repository and everything made from it keep using `git`.
    ///
    /// # Errors
    /// `NotARepository`, `BareRepository`, `NotACheckout` (inside `.git`), and `Git` when git refuses for
    /// reasons of its own, such as a directory that belongs to another user.
    pub fn discover(git: Git, path: &Path) -> Result<Self, WorktreeError> {
        Self::look(git, path, &[]).map(|(repository, _)| repository)
    }

    /// As [`Repository::discover`], together with the `HEAD` of the checkout: one process instead of two.
    ///
    /// # Errors
    /// As [`Repository::discover`] and [`Repository::head`].
    pub fn discover_with_head(git: Git, path: &Path) -> Result<(Self, Head), WorktreeError> {
        let (repository, head) = Self::look(git, path, HEAD_QUESTIONS)?;
        match head {
            Some(head) => Ok((repository, head)),
            None => repository.head().map(|head| (repository, head)),
        }
    }

    /// One process says where everything is and answers `more`, unless a path contains a newline.
    fn look(
        git: Git,
        path: &Path,
        more: &'static [&'static str],
    ) -> Result<(Self, Option<Head>), WorktreeError> {
        let not_found = || WorktreeError::NotARepository { path: path.to_owned() };
        if !path.is_dir() {
            return Err(not_found());
        }
        let ask = |questions: &[&str]| git.discover(path).args(["rev-parse"]).args(questions);
        let all = ask(PLACE_QUESTIONS).args(more).outcome()?;
        let lines = all.stdout.split(|byte| *byte == b'\n').collect::<Vec<_>>();
        match lines.as_slice() {
            [b"false", b"true", ..] => {}
            [b"false", b"false", ..] => return Err(WorktreeError::NotACheckout { path: path.to_owned() }),
            [b"true", ..] => return Err(WorktreeError::BareRepository { path: path.to_owned() }),
            _ if all.stderr.contains("not a git repository") => return Err(not_found()),
            _ => return Err(all.failure()),
        }
        // What follows the places is there only if all of `more` was answered; the last line end is one more piece.
        let expected = if more.is_empty() { 6 } else { 8 };
        let whole = all.code == Some(0) && lines.len() == expected;
        let (places, head) = if whole {
            (lines[2..5].iter().map(|line| path_of(line)).collect(), head_of(&lines[5..]))
        } else {
            // A path contains a newline, or there is no commit: one path per question.
            let ask = |question| Ok(ask(&["--path-format=absolute", question]).run()?.path());
            (PLACES.iter().copied().map(ask).collect::<Result<Vec<PathBuf>, WorktreeError>>()?, None)
        };
        let resolved = |place: &PathBuf| place.canonicalize().map_err(WorktreeError::io("resolve", place));
        let [common_dir, checkout_git_dir, checkout] = places.as_slice() else {
            return Err(all.unreadable());
        };
        let (common_dir, checkout_git_dir) = (resolved(common_dir)?, resolved(checkout_git_dir)?);
        let checkout = resolved(checkout)?;
        Ok((Self { git, common_dir, checkout, checkout_git_dir }, head))
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
        self.setting(&format!("remote.{remote}.url"))
    }

    /// The name and address under which the user commits here; `None` unless both are configured.
    ///
    /// # Errors
    /// `Git` when the configuration can't be read.
    pub fn identity(&self) -> Result<Option<(String, String)>, WorktreeError> {
        Ok(self.setting("user.name")?.zip(self.setting("user.email")?))
    }

    fn setting(&self, key: &str) -> Result<Option<String>, WorktreeError> {
        let found = self.at_refs().args(["config", "--get", key]).outcome()?;
        match found.code {
            Some(0) => found.line().map(Some),
            Some(1) => Ok(None),
            _ => Err(found.failure()),
        }
    }

    /// Whether there is such a local branch.
    ///
    /// # Errors
    /// `Git` when refs can't be read.
    pub fn has_branch(&self, branch: &str) -> Result<bool, WorktreeError> {
        Ok(self.branch_commit(branch)?.is_some())
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
        let both = self.git.at(location).args(["rev-parse"]).args(HEAD_QUESTIONS).outcome()?;
        let lines = both.stdout.split(|byte| *byte == b'\n').collect::<Vec<_>>();
        if let Some(head) = head_of(&lines).filter(|_| both.code == Some(0)) {
            return Ok(head);
        }
        // No commit yet, or another ref of that name: one question at a time.
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
        let ask = || self.at_refs().args(["for-each-ref", "--format=%(worktreepath)", &full]);
        let path = registration::read_all(ask)?.path();
        Ok((!path.as_os_str().is_empty()).then_some(path))
    }

    /// Deletes a branch if it still points at `tip`. Commits it alone reaches must have been kept before.
    pub(crate) fn delete_branch(&self, branch: &str, tip: &CommitId) -> Result<(), WorktreeError> {
        let full = format!("refs/heads/{branch}");
        self.at_refs().args(["update-ref", "-d", &full, tip.as_str()]).run().map(drop)
    }
}

/// Reads the answer to [`HEAD_QUESTIONS`].
fn head_of(lines: &[&[u8]]) -> Option<Head> {
    let [commit, name, b""] = lines else { return None };
    let commit = CommitId::parse(std::str::from_utf8(commit).ok()?)?;
    let name = std::str::from_utf8(name).ok()?;
    Some(match name.strip_prefix("refs/heads/") {
        Some(branch) => Head::Branch { name: branch.to_owned(), commit },
        None if name == "HEAD" => Head::Detached { commit },
        None => return None,
    })
}

#[cfg(test)]
mod tests;
