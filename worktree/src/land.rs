//! Landing: a worktree's commits onto a target branch, as fast-forward or merge commit.
//!
//! The result is computed as an object before anything changes, so a conflict changes nothing. A checkout of
//! the target branch is only updated when it has no tracked change and no file in the way (`checkout.rs`).

mod checkout;

use std::path::PathBuf;

use checkout::Checkout;

use crate::names::path_of;
use crate::registration;
use crate::{CommitId, Head, Signature, Worktree, WorktreeError};

/// What to land on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The branch checked out in [`crate::Repository::checkout`].
    Checkout,
    /// A local branch, without `refs/heads/`, checked out somewhere or not.
    Branch(String),
}

/// What landing did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LandedAs {
    /// The target had all the commits already.
    AlreadyThere,
    /// The target moved forward to the worktree's commit.
    FastForward,
    /// A merge commit was made.
    Merge,
}

/// A branch that has the worktree's commits now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Landed {
    /// The target.
    pub branch: String,
    /// Where it was.
    pub before: CommitId,
    /// Where it is.
    pub after: CommitId,
    /// How it got there.
    pub how: LandedAs,
    /// The checkout whose files were updated, if the target is checked out.
    pub checkout: Option<PathBuf>,
}

impl Worktree {
    /// Brings the commits checked out in the worktree onto `target`. A merge commit is made by `signature` and
    /// carries `trailers` as `Key: value` lines.
    ///
    /// # Errors
    /// On the worktree: `Dirty`, `Unfinished`, `LeftBranch` (its own branch has commits that are not checked
    /// out), `WorktreeMissing`. On the target: `TargetMissing`, `TargetDetached`, `TargetIsSource`,
    /// `TargetInUse`, `UnbornHead`, and for its checkout `Dirty`, `Unfinished`, `WouldOverwrite`. `Conflict`,
    /// `TargetMoved`, `TrailerInvalid`, `GitTooOld`. Nothing was changed then.
    pub fn land(
        &self,
        target: &Target,
        signature: &Signature,
        trailers: &[(String, String)],
    ) -> Result<Landed, WorktreeError> {
        let trailers = trailer_lines(trailers)?;
        self.require_clean()?;
        let head = self.head()?;
        let source = self.require_own_commits(&head)?;
        let (branch, before) = self.require_target(target, &head)?;
        let found = Checkout::of_branch(&self.repository, &branch)?;
        let landed = |after: &CommitId, how| Landed {
            branch: branch.clone(),
            before: before.clone(),
            after: after.clone(),
            how,
            checkout: found.as_ref().filter(|_| how != LandedAs::AlreadyThere).map(|at| at.path.clone()),
        };
        if self.repository.contains(&before, &source)? {
            return Ok(landed(&before, LandedAs::AlreadyThere));
        }
        let (after, how) = if self.repository.contains(&source, &before)? {
            (source, LandedAs::FastForward)
        } else {
            let name = head.branch().unwrap_or(&self.branch);
            let message = format!("Merge branch '{name}' into {branch}\n{trailers}");
            (self.merged(&branch, &before, &source, &message, signature)?, LandedAs::Merge)
        };
        match &found {
            Some(checkout) => checkout.fast_forward(&branch, &before, &after, signature)?,
            None => self.move_branch(&branch, &before, &after, signature)?,
        }
        Ok(landed(&after, how))
    }

    /// The commit to land: what is checked out, if that has all of the worktree's own branch.
    fn require_own_commits(&self, head: &Head) -> Result<CommitId, WorktreeError> {
        let left = || WorktreeError::LeftBranch {
            path: self.path.clone(),
            branch: self.branch.clone(),
            head: head.clone(),
        };
        let commit = head.commit().ok_or_else(left)?;
        match self.repository.branch_commit(&self.branch)? {
            Some(tip) if !self.repository.contains(commit, &tip)? => Err(left()),
            _ => Ok(commit.clone()),
        }
    }

    fn require_target(&self, target: &Target, head: &Head) -> Result<(String, CommitId), WorktreeError> {
        let (branch, commit) = match target {
            Target::Branch(branch) => {
                let missing = || WorktreeError::TargetMissing { branch: branch.clone() };
                (branch.clone(), self.repository.branch_commit(branch)?.ok_or_else(missing)?)
            }
            Target::Checkout => match self.repository.head()? {
                Head::Branch { name, commit } => (name, commit),
                Head::Unborn { branch } => return Err(WorktreeError::UnbornHead { branch }),
                Head::Detached { .. } => {
                    return Err(WorktreeError::TargetDetached {
                        path: self.repository.checkout().to_owned(),
                    });
                }
            },
        };
        if branch == self.branch || head.branch() == Some(branch.as_str()) {
            return Err(WorktreeError::TargetIsSource { branch });
        }
        Ok((branch, commit))
    }

    /// A merge commit of both, made without any checkout.
    fn merged(
        &self,
        branch: &str,
        target: &CommitId,
        source: &CommitId,
        message: &str,
        signature: &Signature,
    ) -> Result<CommitId, WorktreeError> {
        // In the worktree, whose attributes name the merge drivers.
        let args = ["merge-tree", "--write-tree", "-z", "--name-only", "--no-messages"];
        let merge = self.at_files().args(args).args([target.as_str(), source.as_str()]).outcome()?;
        let mut records = merge.records();
        let tree = records.next().and_then(|id| CommitId::parse(std::str::from_utf8(id).ok()?));
        match (merge.code, tree) {
            (Some(0), Some(tree)) => {
                self.repository.commit_tree(&tree, &[target, source], message, signature)
            }
            (Some(1), Some(_)) => Err(WorktreeError::Conflict {
                branch: branch.to_owned(),
                paths: records.map(path_of).collect(),
            }),
            (Some(129), _) => {
                Err(WorktreeError::GitTooOld { needed: "2.38", purpose: "merge without a checkout" })
            }
            _ => {
                drop(records);
                Err(merge.failure())
            }
        }
    }

    /// Moves a branch that is checked out nowhere.
    fn move_branch(
        &self,
        branch: &str,
        before: &CommitId,
        after: &CommitId,
        signature: &Signature,
    ) -> Result<(), WorktreeError> {
        if let Some(path) = registration::awaiting(&self.repository, branch) {
            return Err(WorktreeError::TargetInUse { branch: branch.to_owned(), path });
        }
        let reason = format!("land {}", self.branch);
        let full = format!("refs/heads/{branch}");
        let args = ["update-ref", "-m", &reason, &full, after.as_str(), before.as_str()];
        let moved = self.repository.at_refs().signature(signature).args(args).outcome()?;
        if moved.code == Some(0) {
            return Ok(());
        }
        let raced = self.repository.branch_commit(branch)?.as_ref() != Some(before);
        Err(if raced { WorktreeError::TargetMoved { branch: branch.to_owned() } } else { moved.failure() })
    }
}

/// The caller's trailers as the last paragraph of a message.
fn trailer_lines(trailers: &[(String, String)]) -> Result<String, WorktreeError> {
    let mut text = String::new();
    for (key, value) in trailers {
        let named = key.starts_with(|c: char| c.is_ascii_alphabetic())
            && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        if !named || value.trim().is_empty() || value.chars().any(char::is_control) {
            return Err(WorktreeError::TrailerInvalid { key: key.clone() });
        }
        text.push_str(&format!("\n{key}: {value}"));
    }
    if !text.is_empty() {
        text.push('\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
