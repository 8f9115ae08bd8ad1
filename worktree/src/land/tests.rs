use std::fs;

use super::*;
use crate::fixture::{Fixture, signature, tree};
use crate::{CommitId, Operation};

fn land(worktree: &Worktree) -> Result<Landed, WorktreeError> {
    worktree.land(&Target::Checkout, &signature(), &[])
}

/// Runs a `land` that must fail, and checks that neither side changed.
#[track_caller]
fn refused(fixture: &Fixture, worktree: &Worktree, target: &Target) -> WorktreeError {
    let state = || {
        let index = fs::read(fixture.main().join(".git/index")).unwrap();
        (
            fixture.state(worktree),
            tree(&fixture.main()),
            index,
            fixture.run(&fixture.main(), ["stash", "list"]),
        )
    };
    let before = state();
    let error = worktree.land(target, &signature(), &[]).unwrap_err();
    assert_eq!(state(), before, "{error}");
    error
}

/// A worktree with one commit that adds `new` and changes `README`.
fn worked(fixture: &Fixture) -> (Worktree, CommitId) {
    let worktree = fixture.add("one");
    fixture.write(worktree.path(), "new", "from the run\n");
    fixture.write(worktree.path(), "README", "hello\nworld\n");
    let commit = fixture.commit(worktree.path(), "work");
    (worktree, commit)
}

#[test]
fn a_worktree_that_is_not_ready_is_refused() {
    let fixture = Fixture::new();
    let (worktree, _) = worked(&fixture);
    fixture.write(worktree.path(), "left over", "x");
    let error = refused(&fixture, &worktree, &Target::Checkout);
    assert!(error.to_string().ends_with("has uncommitted changes: `left over`"), "{error}");
    fs::remove_file(worktree.path().join("left over")).unwrap();
    fixture.run(worktree.path(), ["bisect", "start"]);
    let error = refused(&fixture, &worktree, &Target::Checkout);
    assert!(matches!(error, WorktreeError::Unfinished { operation: Operation::Bisect, .. }), "{error}");
    fixture.run(worktree.path(), ["bisect", "reset"]);
    fixture.run(worktree.path(), ["checkout", "-q", "--detach", worktree.base().as_str()]);
    let error = refused(&fixture, &worktree, &Target::Checkout);
    assert!(matches!(error, WorktreeError::LeftBranch { .. }), "{error}");
    fixture.run(worktree.path(), ["checkout", "-q", "--orphan", "empty"]);
    fixture.run(worktree.path(), ["rm", "-rfq", "."]);
    assert!(matches!(refused(&fixture, &worktree, &Target::Checkout), WorktreeError::LeftBranch { .. }));
}

#[test]
fn a_target_that_can_not_be_is_refused() {
    let fixture = Fixture::new();
    let (worktree, _) = worked(&fixture);
    let missing = refused(&fixture, &worktree, &Target::Branch("absent".into()));
    assert!(matches!(missing, WorktreeError::TargetMissing { .. }));
    let own = refused(&fixture, &worktree, &Target::Branch("agentsup/one".into()));
    assert!(matches!(own, WorktreeError::TargetIsSource { .. }));
    fixture.run(&fixture.main(), ["checkout", "-q", "--detach"]);
    assert!(matches!(refused(&fixture, &worktree, &Target::Checkout), WorktreeError::TargetDetached { .. }));
    fixture.run(&fixture.main(), ["checkout", "-q", "--orphan", "unborn"]);
    assert!(matches!(refused(&fixture, &worktree, &Target::Checkout), WorktreeError::UnbornHead { .. }));
}

#[test]
fn trailers_that_would_not_be_one_line_are_refused() {
    let fixture = Fixture::new();
    let (worktree, _) = worked(&fixture);
    for (key, value) in
        [("", "x"), ("a b", "x"), ("a:", "x"), ("1", "x"), ("Run", ""), ("Run", "a\nb"), ("Run", " ")]
    {
        let error =
            worktree.land(&Target::Checkout, &signature(), &[(key.into(), value.into())]).unwrap_err();
        assert!(matches!(error, WorktreeError::TrailerInvalid { .. }), "{key:?} {value:?}");
    }
    assert_eq!(&fixture.tip(&fixture.main(), "main"), worktree.base());
}

#[test]
fn a_checkout_with_tracked_changes_is_refused() {
    let fixture = Fixture::new();
    let (worktree, _) = worked(&fixture);
    fixture.run(&fixture.main(), ["config", "merge.autoStash", "true"]);
    fixture.write(&fixture.main(), "src/lib.rs", "the user's own\n");
    let error = refused(&fixture, &worktree, &Target::Checkout);
    let expected = format!("`{}` has uncommitted changes: `src/lib.rs`", fixture.main().display());
    assert_eq!(error.to_string(), expected);
    fixture.run(&fixture.main(), ["add", "src/lib.rs"]);
    assert!(matches!(
        refused(&fixture, &worktree, &Target::Branch("main".into())),
        WorktreeError::Dirty { .. }
    ));
    fixture.run(&fixture.main(), ["reset", "-q", "--hard"]);
    fs::write(fixture.main().join(".git/MERGE_HEAD"), format!("{}\n", worktree.base())).unwrap();
    assert!(matches!(refused(&fixture, &worktree, &Target::Checkout), WorktreeError::Unfinished { .. }));
}

#[test]
fn changes_hidden_in_the_checkout_are_not_overwritten() {
    let fixture = Fixture::new();
    let (worktree, _) = worked(&fixture);
    for flag in ["assume-unchanged", "skip-worktree"] {
        fixture.run(&fixture.main(), ["update-index", &format!("--{flag}"), "README"]);
        fixture.write(&fixture.main(), "README", "hidden change\n");
        let error = refused(&fixture, &worktree, &Target::Checkout);
        assert!(matches!(error, WorktreeError::WouldOverwrite { .. }), "{flag}: {error:?}");
        fixture.run(&fixture.main(), ["update-index", &format!("--no-{flag}"), "README"]);
        fixture.run(&fixture.main(), ["reset", "-q", "--hard"]);
    }
}

#[test]
fn files_in_the_way_are_named_and_kept_even_if_ignored() {
    let fixture = Fixture::new();
    let worktree = fixture.add("one");
    for name in ["untracked", "secret.log", "dir/file", "plain/deep/file", "odd \n name"] {
        fixture.write(worktree.path(), name, "from the run\n");
    }
    fixture.run(worktree.path(), ["add", "-f", "-A", "."]);
    fixture.run(worktree.path(), ["add", "-f", "secret.log"]);
    fixture.commit(worktree.path(), "work");
    fixture.write(&fixture.main(), "untracked", "mine\n");
    fixture.write(&fixture.main(), "secret.log", "mine\n");
    fixture.write(&fixture.main(), "dir", "mine, a file\n");
    fixture.write(&fixture.main(), "odd \n name", "mine\n");
    std::os::unix::fs::symlink("elsewhere", fixture.main().join("plain")).unwrap();
    fixture.write(&fixture.main(), "not in the way", "mine\n");
    let WorktreeError::WouldOverwrite { paths, .. } = refused(&fixture, &worktree, &Target::Checkout) else {
        panic!("another error");
    };
    let expected = ["dir", "odd \n name", "plain", "secret.log", "untracked"];
    assert_eq!(paths, expected.map(PathBuf::from));
}

#[test]
fn a_directory_with_files_of_its_own_in_the_way_is_kept() {
    let fixture = Fixture::new();
    let worktree = fixture.add("one");
    fixture.write(worktree.path(), "place", "a file now\n");
    fixture.commit(worktree.path(), "work");
    fixture.write(&fixture.main(), "place/mine.log", "ignored, in a directory\n");
    let error = refused(&fixture, &worktree, &Target::Checkout);
    assert!(matches!(error, WorktreeError::WouldOverwrite { .. } | WorktreeError::Git { .. }), "{error:?}");
}

#[test]
fn a_conflict_names_the_files_and_changes_nothing() {
    let fixture = Fixture::new();
    let (worktree, _) = worked(&fixture);
    fixture.write(&fixture.main(), "README", "hello\nthere\n");
    fixture.commit(&fixture.main(), "meanwhile");
    let error = refused(&fixture, &worktree, &Target::Checkout);
    assert_eq!(error.to_string(), "conflicts with `main` in `README`");
}

#[test]
fn a_branch_in_the_middle_of_a_rebase_is_not_moved() {
    let fixture = Fixture::new();
    let (worktree, _) = worked(&fixture);
    fixture.run(&fixture.main(), ["checkout", "-q", "--detach"]);
    let rebase = fixture.main().join(".git/rebase-merge");
    fs::create_dir(&rebase).unwrap();
    fs::write(rebase.join("head-name"), "refs/heads/main\n").unwrap();
    let error = refused(&fixture, &worktree, &Target::Branch("main".into()));
    assert!(matches!(error, WorktreeError::TargetInUse { .. }), "{error:?}");
}

#[test]
fn it_moves_the_checked_out_branch_forward() {
    let fixture = Fixture::new();
    let (worktree, commit) = worked(&fixture);
    fixture.write(&fixture.main(), "mine", "untracked, not in the way\n");
    let landed = land(&worktree).unwrap();
    let expected = Landed {
        branch: "main".into(),
        before: worktree.base().clone(),
        after: commit.clone(),
        how: LandedAs::FastForward,
        checkout: Some(fixture.main()),
    };
    assert_eq!(landed, expected);
    assert_eq!(fs::read_to_string(fixture.main().join("new")).unwrap(), "from the run\n");
    assert_eq!(fixture.run(&fixture.main(), ["status", "--porcelain"]), "?? mine");
    assert_eq!(fixture.tip(&fixture.main(), "main"), commit);

    let again = land(&worktree).unwrap();
    assert_eq!((again.how, again.checkout, again.after), (LandedAs::AlreadyThere, None, commit));
}

#[test]
fn it_merges_with_the_callers_signature_and_trailers() {
    let fixture = Fixture::new();
    let (worktree, commit) = worked(&fixture);
    fixture.write(&fixture.main(), "src/lib.rs", "meanwhile\n");
    let meanwhile = fixture.commit(&fixture.main(), "meanwhile");
    fixture.run(&fixture.main(), ["config", "branch.main.mergeOptions", "--squash --no-ff"]);
    let trailers = [("Run".to_owned(), "run_1".to_owned()), ("Owner".to_owned(), "user:alice".to_owned())];
    let landed = worktree.land(&Target::Checkout, &signature(), &trailers).unwrap();
    assert_eq!((landed.how, &landed.before), (LandedAs::Merge, &meanwhile));
    let log = fixture.run(&fixture.main(), ["log", "-1", "--format=%H|%P|%an|%ct|%B"]);
    let message = "Merge branch 'agentsup/one' into main\n\nRun: run_1\nOwner: user:alice";
    assert_eq!(log, format!("{}|{meanwhile} {commit}|Alice|1790000000|{message}", landed.after));
    let parsed = fixture.run(&fixture.main(), ["log", "-1", "--format=%(trailers:key=Run,valueonly)"]);
    assert_eq!(parsed, "run_1");
    assert_eq!(fixture.run(&fixture.main(), ["status", "--porcelain"]), "");
    assert_eq!(fs::read_to_string(fixture.main().join("README")).unwrap(), "hello\nworld\n");
    assert_eq!(fs::read_to_string(fixture.main().join("src/lib.rs")).unwrap(), "meanwhile\n");
}

#[test]
fn a_branch_checked_out_nowhere_moves_without_touching_files() {
    let fixture = Fixture::new();
    let (worktree, commit) = worked(&fixture);
    fixture.run(&fixture.main(), ["branch", "release"]);
    fixture.write(&fixture.main(), "README", "dirty, and left alone\n");
    let before = tree(&fixture.main());
    let landed = worktree.land(&Target::Branch("release".into()), &signature(), &[]).unwrap();
    assert_eq!((landed.how, landed.checkout), (LandedAs::FastForward, None));
    assert_eq!(fixture.tip(&fixture.main(), "release"), commit);
    assert_eq!(tree(&fixture.main()), before);
}

#[test]
fn a_branch_checked_out_in_a_linked_worktree_is_updated_there() {
    let fixture = Fixture::new();
    let (worktree, commit) = worked(&fixture);
    let other = fixture.root().join("other place");
    fixture.run(&fixture.main(), ["worktree", "add", "-q", "-b", "release", other.to_str().unwrap()]);
    let landed = worktree.land(&Target::Branch("release".into()), &signature(), &[]).unwrap();
    assert_eq!((landed.after, landed.checkout), (commit, Some(other.clone())));
    assert_eq!(fs::read_to_string(other.join("new")).unwrap(), "from the run\n");
    assert_eq!(fixture.run(&other, ["status", "--porcelain"]), "");
}

#[test]
fn commits_on_a_branch_that_was_made_in_the_worktree_land() {
    let fixture = Fixture::new();
    let (worktree, _) = worked(&fixture);
    fixture.run(worktree.path(), ["checkout", "-q", "-b", "fix/typo"]);
    fixture.write(worktree.path(), "more", "x\n");
    let commit = fixture.commit(worktree.path(), "more work");
    assert_eq!(land(&worktree).unwrap().after, commit);
}

#[test]
fn a_directory_of_the_checkout_may_become_a_file() {
    let fixture = Fixture::new();
    let worktree = fixture.add("one");
    fs::remove_dir_all(worktree.path().join("src")).unwrap();
    fixture.write(worktree.path(), "src", "a file now\n");
    fs::remove_file(worktree.path().join("README")).unwrap();
    fixture.write(worktree.path(), "README/now a directory", "x\n");
    fixture.commit(worktree.path(), "work");
    land(&worktree).unwrap();
    assert_eq!(tree(&fixture.main()), tree(worktree.path()));
}
