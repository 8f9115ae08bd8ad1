//! Hidden refs for commits that only a worktree's registration or branch could reach.
//!
//! One ref a commit, named after it: `refs/agentsup/kept/<worktree name>/<commit>`. Keeping twice is keeping
//! once. Must run before anything is removed.

use std::collections::BTreeSet;
use std::fs;

use crate::{CommitId, Worktree, WorktreeError};

/// More tips than this are not a history but an accident; nothing is removed then.
const TIPS_LIMIT: usize = 10_000;

/// Files in a registration that name commits.
const NAMING: &[&str] = &[
    "ORIG_HEAD",
    "MERGE_HEAD",
    "MERGE_AUTOSTASH",
    "CHERRY_PICK_HEAD",
    "REVERT_HEAD",
    "REBASE_HEAD",
    "BISECT_HEAD",
    "rebase-merge/orig-head",
    "rebase-merge/autostash",
    "rebase-apply/orig-head",
    "rebase-apply/autostash",
];

/// Whether the worktree's branch goes away with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Branch {
    Goes,
    Stays,
}

impl Worktree {
    /// Keeps these commits, and every one that nothing reaches once the worktree is gone. Returns what is
    /// now kept.
    pub(crate) fn keep(
        &self,
        commits: impl IntoIterator<Item = CommitId>,
        branch: Branch,
    ) -> Result<Vec<CommitId>, WorktreeError> {
        let named = self.commits_named()?;
        let mut keep = self.unreachable_tips(&named, branch)?;
        keep.extend(commits);
        if keep.len() > TIPS_LIMIT {
            return Err(WorktreeError::TooMany { what: "commits to keep", limit: TIPS_LIMIT });
        }
        let refs =
            keep.iter().map(|commit| format!("update refs/agentsup/kept/{}/{commit} {commit}\n", self.name));
        let refs = refs.collect::<String>();
        if !refs.is_empty() {
            self.repository.at_refs().args(["update-ref", "--stdin"]).input(refs.into_bytes()).run()?;
        }
        Ok(keep.into_iter().collect())
    }

    /// Every commit that the registration or the branch names, now or in a reflog.
    fn commits_named(&self) -> Result<BTreeSet<CommitId>, WorktreeError> {
        let branch = format!("refs/heads/{}", self.branch);
        let mut words = vec!["HEAD".to_owned(), branch.clone()];
        let reflogs = [("HEAD", self.at_registration()), (branch.as_str(), self.repository.at_refs())];
        for (name, call) in reflogs {
            // No such ref, or no log for it: nothing named.
            let exists = self.at_registration().args(["rev-parse", "--verify", "-q", name]).outcome()?;
            if exists.code == Some(0) {
                let log = call.args(["rev-list", "--walk-reflogs", name, "--"]).run()?;
                words.extend(log.line()?.lines().map(str::to_owned));
            }
        }
        for file in NAMING {
            let text = fs::read_to_string(self.git_dir.join(file)).unwrap_or_default();
            words.extend(text.lines().map(|line| line.trim().to_owned()));
        }
        let own =
            ["for-each-ref", "--format=%(objectname)", "refs/bisect", "refs/worktree", "refs/rewritten"];
        words.extend(self.at_registration().args(own).run()?.line()?.lines().map(str::to_owned));

        let questions = words.iter().filter(|word| !word.is_empty() && !word.contains(char::is_whitespace));
        let questions = questions.map(|word| format!("{word}^{{commit}}\n")).collect::<String>();
        let call = self.at_registration().args(["cat-file", "--batch-check=%(objectname) %(objecttype)"]);
        let answers = call.input(questions.into_bytes()).run()?;
        let text = answers.line()?;
        let commits =
            text.lines().filter_map(|line| line.strip_suffix(" commit")).filter_map(CommitId::parse);
        Ok(commits.collect())
    }

    /// Of these commits and their ancestors, the ones without children that no ref reaches.
    fn unreachable_tips(
        &self,
        named: &BTreeSet<CommitId>,
        branch: Branch,
    ) -> Result<BTreeSet<CommitId>, WorktreeError> {
        if named.is_empty() {
            return Ok(BTreeSet::new());
        }
        let input = named.iter().map(|commit| format!("{commit}\n")).collect::<String>();
        // `--glob` and not `--all`, which would count the HEADs of worktrees, this one's included.
        let mut call = self.repository.at_refs().args(["rev-list", "--parents", "--stdin", "--not"]);
        if branch == Branch::Goes {
            call = call.args([format!("--exclude=refs/heads/{}", self.branch)]);
        }
        let output = call.args(["--glob=refs/*"]).input(input.into_bytes()).run()?;
        let text = output.line()?;
        let (mut tips, mut parents) = (BTreeSet::new(), BTreeSet::new());
        for line in text.lines() {
            let mut ids = line.split(' ').filter_map(CommitId::parse);
            tips.extend(ids.next());
            parents.extend(ids);
        }
        Ok(tips.difference(&parents).cloned().collect())
    }
}
