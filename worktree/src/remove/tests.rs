use std::fs;
use std::path::Path;

use super::*;
use crate::fixture::{Fixture, signature, tree};
use crate::{Operation, Repository};

/// Runs a `remove_clean` that must fail, and checks that nothing changed.
#[track_caller]
fn refused(fixture: &Fixture, worktree: &Worktree) -> WorktreeError {
    let before = fixture.state(worktree);
    let error = worktree.remove_clean(&fixture.trash()).unwrap_err();
    assert_eq!(fixture.state(worktree), before, "{error}");
    assert_eq!(fs::read_dir(fixture.trash().directory()).unwrap().count(), 0);
    error
}

#[test]
fn a_worktree_with_changes_is_not_removed() {
    let fixture = Fixture::new();
    let worktree = fixture.add("one");
    fixture.write(worktree.path(), "new", "x");
    fixture.write(worktree.path(), "README", "x");
    let error = refused(&fixture, &worktree);
    let expected = format!("`{}` has uncommitted changes: `README`, `new`", worktree.path().display());
    assert_eq!(error.to_string(), expected);
}

#[test]
fn changes_hidden_by_index_flags_are_found() {
    let fixture = Fixture::new();
    for flag in ["--assume-unchanged", "--skip-worktree"] {
        let worktree = fixture.add(flag.trim_start_matches('-'));
        fixture.run(worktree.path(), ["update-index", flag, "README"]);
        fixture.write(worktree.path(), "README", "hidden change\n");
        assert!(matches!(refused(&fixture, &worktree), WorktreeError::Dirty { .. }), "{flag}");
    }
    let worktree = fixture.add("unchanged");
    fixture.run(worktree.path(), ["update-index", "--assume-unchanged", "README"]);
    worktree.remove_clean(&fixture.trash()).unwrap();
}

#[test]
fn an_unfinished_operation_is_not_removed() {
    let fixture = Fixture::new();
    let worktree = fixture.add("one");
    fixture.run(worktree.path(), ["bisect", "start"]);
    let error = refused(&fixture, &worktree);
    assert!(matches!(error, WorktreeError::Unfinished { operation: Operation::Bisect, .. }), "{error}");
}

#[test]
fn commits_on_no_branch_are_not_removed() {
    let fixture = Fixture::new();
    let worktree = fixture.add("one");
    fixture.run(worktree.path(), ["checkout", "-q", "--detach"]);
    let commit = fixture.commit(worktree.path(), "on no branch");
    let error = refused(&fixture, &worktree);
    assert!(matches!(error, WorktreeError::OffBranch { commit: named, .. } if named == commit));
    fixture.run(worktree.path(), ["branch", "kept"]);
    worktree.remove_clean(&fixture.trash()).unwrap();
}

#[test]
fn a_locked_worktree_is_neither_removed_nor_discarded() {
    let fixture = Fixture::new();
    let worktree = fixture.add("one");
    let path = worktree.path().to_str().unwrap();
    fixture.run(&fixture.main(), ["worktree", "lock", "--reason", "in use", path]);
    let error = refused(&fixture, &worktree);
    assert!(error.to_string().ends_with("is locked: in use"), "{error}");
    let before = fixture.state(&worktree);
    assert!(matches!(worktree.discard(&fixture.trash(), &signature()), Err(WorktreeError::Locked { .. })));
    assert_eq!(fixture.state(&worktree), before);
}

#[test]
fn a_trash_out_of_reach_removes_nothing() {
    let fixture = Fixture::new();
    let worktree = fixture.add("one");
    let Ok(other) = tempfile::tempdir_in("/dev/shm") else { return };
    let trash = Trash::at(other.path()).unwrap();
    match worktree.remove_clean(&trash) {
        Err(WorktreeError::CrossDevice { .. }) => assert!(worktree.status().unwrap().is_clean()),
        // Both are on one file system here.
        outcome => assert!(outcome.is_ok(), "{outcome:?}"),
    }
}

#[test]
fn a_clean_worktree_without_commits_leaves_nothing_behind() {
    let fixture = Fixture::new();
    let refs = fixture.refs();
    let worktree = fixture.add("one");
    fixture.write(worktree.path(), "x.log", "ignored, yet kept\n");
    let removed = worktree.remove_clean(&fixture.trash()).unwrap();
    let tip = worktree.base().clone();
    let trashed_to = fixture.root().join("trash/one-1");
    assert_eq!(
        removed,
        Removed { trashed_to: trashed_to.clone(), branch: BranchFate::Deleted { tip }, kept: vec![] }
    );
    assert_eq!(fs::read_to_string(trashed_to.join("x.log")).unwrap(), "ignored, yet kept\n");
    assert_eq!(fixture.refs(), refs);
    assert_eq!(fixture.run(&fixture.main(), ["worktree", "list"]).lines().count(), 1);
    assert!(matches!(worktree.remove_clean(&fixture.trash()), Err(WorktreeError::WorktreeMissing { .. })));
    // Path and branch are free again.
    assert_eq!(fixture.add("one"), worktree);
}

#[test]
fn a_branch_with_commits_is_left() {
    let fixture = Fixture::new();
    let worktree = fixture.add("one");
    fixture.write(worktree.path(), "new", "x");
    let first = fixture.commit(worktree.path(), "first try");
    fixture.run(worktree.path(), ["commit", "-q", "--amend", "-m", "second try"]);
    let tip = fixture.tip(worktree.path(), "HEAD");
    let removed = worktree.remove_clean(&fixture.trash()).unwrap();
    assert_eq!(removed.branch, BranchFate::Left { tip: tip.clone(), commits_ahead: 1 });
    assert_eq!(fixture.tip(&fixture.main(), "agentsup/one"), tip);
    // The amended commit was only in reflogs, one of which is gone.
    assert_eq!(removed.kept, std::slice::from_ref(&first));
    assert!(fixture.refs().contains(&format!("refs/agentsup/kept/one/{first} {first}")));
}

#[test]
fn a_branch_that_another_checkout_needs_is_left() {
    let fixture = Fixture::new();
    let worktree = fixture.add("one");
    fixture.run(worktree.path(), ["checkout", "-q", "--detach"]);
    fixture.run(&fixture.main(), ["checkout", "-q", "agentsup/one"]);
    let discarded = worktree.discard(&fixture.trash(), &signature()).unwrap();
    let tip = worktree.base().clone();
    assert_eq!(discarded.branch, BranchFate::Left { tip, commits_ahead: 0 });
    assert_eq!(fixture.repository().head().unwrap().branch(), Some("agentsup/one"));
}

#[test]
fn a_base_that_nothing_else_reaches_is_kept() {
    let fixture = Fixture::new();
    let first = fixture.tip(&fixture.main(), "HEAD");
    let base = fixture.commit(&fixture.main(), "taken back later");
    let worktree = fixture.add("one");
    fixture.run(&fixture.main(), ["reset", "-q", "--hard", first.as_str()]);
    let removed = worktree.remove_clean(&fixture.trash()).unwrap();
    assert_eq!((removed.branch, removed.kept), (BranchFate::Deleted { tip: base.clone() }, vec![base]));
}

#[test]
fn discard_keeps_everything_and_restore_brings_it_back() {
    let fixture = Fixture::new();
    let worktree = fixture.add("one");
    let path = worktree.path();
    fixture.write(path, "committed", "x\n");
    let tip = fixture.commit(path, "work");
    fixture.write(path, "README", "not committed\n");
    fixture.write(path, "new", "untracked\n");
    fixture.write(path, "x.log", "ignored\n");
    let mut files = tree(path);

    let discarded = worktree.discard(&fixture.trash(), &signature()).unwrap();

    assert!(!path.exists());
    assert_eq!(tree(discarded.trashed_to.as_deref().unwrap()), files);
    assert_eq!(discarded.branch, BranchFate::Deleted { tip: tip.clone() });
    assert_eq!(discarded.kept, std::slice::from_ref(&tip));
    let snapshot = discarded.snapshot.unwrap();
    let refs = format!(
        "refs/agentsup/kept/one/{tip} {tip}\nrefs/agentsup/snapshots/one/1 {}\nrefs/heads/main {}",
        snapshot.commit,
        worktree.base()
    );
    assert_eq!(fixture.refs(), refs);
    assert_eq!(fixture.run(&fixture.main(), ["worktree", "list"]).lines().count(), 1);

    let back =
        fixture.repository().restore(&snapshot, path.to_owned(), "agentsup/one", &fixture.trash()).unwrap();
    files.remove(Path::new("x.log"));
    assert_eq!(tree(back.path()), files);
    assert_eq!(back.head().unwrap().commit(), Some(&tip));
    assert_eq!(back.status().unwrap().commits_ahead, 1);
    assert_eq!(back, worktree);
}

#[test]
fn a_restore_that_fails_leaves_nothing_behind() {
    let fixture = Fixture::new();
    let worktree = fixture.add("one");
    fixture.write(worktree.path(), ".gitattributes", "*.bad filter=bad\n");
    fixture.write(worktree.path(), "x.bad", "x");
    let snapshot = worktree.discard(&fixture.trash(), &signature()).unwrap().snapshot.unwrap();
    fixture.run(&fixture.main(), ["config", "filter.bad.smudge", "false"]);
    fixture.run(&fixture.main(), ["config", "filter.bad.required", "true"]);
    let refs = fixture.refs();
    let restore = |snapshot: &Snapshot, branch: &str| {
        fixture.repository().restore(snapshot, fixture.path("back"), branch, &fixture.trash()).unwrap_err()
    };
    assert!(matches!(restore(&snapshot, "back"), WorktreeError::Git { .. }));
    assert!(matches!(restore(&snapshot, "main"), WorktreeError::BranchExists { .. }));
    let commit = CommitId::parse(&"1".repeat(40)).unwrap();
    let gone = Snapshot { commit, ..snapshot };
    assert!(matches!(restore(&gone, "back"), WorktreeError::SnapshotMissing { .. }));
    assert_eq!(fixture.refs(), refs);
    assert!(!fixture.path("back").exists());
}

#[test]
fn an_interrupted_discard_is_finished_later() {
    let fixture = Fixture::new();
    let worktree = fixture.add("one");
    let path = worktree.path();
    let tip = fixture.commit(path, "work");
    fixture.write(path, "staged", "only in the index\n");
    fixture.run(path, ["add", "staged"]);
    fs::rename(path, fixture.root().join("trash-by-hand")).unwrap();

    let repository = Repository::discover(fixture.git.clone(), &fixture.main()).unwrap();
    let again = repository.open(path, "agentsup/one", worktree.base().clone()).unwrap();
    let discarded = again.discard(&fixture.trash(), &signature()).unwrap();

    assert_eq!((discarded.snapshot, discarded.trashed_to), (None, None));
    assert_eq!(discarded.branch, BranchFate::Deleted { tip: tip.clone() });
    assert!(discarded.kept.contains(&tip));
    let staged = discarded.kept.iter().filter(|commit| {
        let file = format!("{commit}:staged");
        fixture.git.discover(&fixture.main()).args(["cat-file", "-e", &file]).outcome().unwrap().code
            == Some(0)
    });
    assert_eq!(staged.count(), 1);
    assert_eq!(fixture.run(&fixture.main(), ["worktree", "list"]).lines().count(), 1);
}

#[test]
fn a_rebases_stash_survives_discard() {
    let fixture = Fixture::new();
    let worktree = fixture.add("one");
    let path = worktree.path();
    fixture.write(path, "README", "ours\n");
    fixture.commit(path, "ours");
    fixture.write(&fixture.main(), "README", "theirs\n");
    fixture.commit(&fixture.main(), "theirs");
    fixture.write(path, "src/lib.rs", "stashed away\n");
    let rebase = ["rebase", "-q", "--autostash", "main"];
    let rebase = fixture.git.discover(path).signature(&signature()).args(rebase).outcome().unwrap();
    assert_ne!(rebase.code, Some(0));
    let stash = fs::read_to_string(worktree.git_dir.join("rebase-merge/autostash")).unwrap();
    let discarded = worktree.discard(&fixture.trash(), &signature()).unwrap();
    assert!(discarded.kept.contains(&CommitId::parse(stash.trim()).unwrap()), "{discarded:?}");
    // The branch was to be moved by the rebase; with that gone, so may the branch be.
    assert!(matches!(discarded.branch, BranchFate::Deleted { .. }));
}

#[test]
fn a_branch_is_forgotten_only_when_another_has_all_of_it() {
    let fixture = Fixture::new();
    let worktree = fixture.add("one");
    fixture.write(worktree.path(), "file", "x");
    let tip = fixture.commit(worktree.path(), "work");
    worktree.remove_clean(&fixture.trash()).unwrap();
    assert!(!worktree.forget_landed("main").unwrap(), "main has nothing of it");
    assert!(!worktree.forget_landed("agentsup/one").unwrap(), "not for itself");
    assert!(!worktree.forget_landed("absent").unwrap());
    fixture.run(&fixture.main(), ["merge", "-q", "--ff-only", tip.as_str()]);
    fixture.run(&fixture.main(), ["worktree", "add", "-q", "../elsewhere", "agentsup/one"]);
    assert!(!worktree.forget_landed("main").unwrap(), "somebody has it checked out");
    fixture.run(&fixture.main(), ["worktree", "remove", "../elsewhere"]);
    assert!(worktree.forget_landed("main").unwrap());
    assert_eq!(fixture.refs(), format!("refs/heads/main {tip}"));
}
