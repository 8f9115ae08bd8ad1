use std::fs;
use std::path::Path;

use super::*;
use crate::fixture::{Fixture, signature, tree};

#[test]
fn a_snapshot_that_can_not_be_taken_leaves_no_ref() {
    let fixture = Fixture::new();
    let worktree = fixture.add("one");
    fixture.write(worktree.path(), ".gitattributes", "*.bad filter=bad\n");
    fixture.write(worktree.path(), "x.bad", "x");
    fixture.run(&fixture.main(), ["config", "filter.bad.clean", "false"]);
    fixture.run(&fixture.main(), ["config", "filter.bad.required", "true"]);
    let before = fixture.state(&worktree);
    assert!(matches!(worktree.snapshot("why", &signature()), Err(WorktreeError::Git { .. })));
    assert!(matches!(worktree.discard(&fixture.trash(), &signature()), Err(WorktreeError::Git { .. })));
    assert_eq!(fixture.state(&worktree), before);

    fs::rename(worktree.path(), fixture.root().join("away")).unwrap();
    assert!(matches!(worktree.snapshot("why", &signature()), Err(WorktreeError::WorktreeMissing { .. })));
}

#[test]
fn an_unknown_snapshot_is_typed() {
    let fixture = Fixture::new();
    fixture.add("one").snapshot("why", &signature()).unwrap();
    for name in ["", "one", "one/2", "one/01", "two/1", "/1"] {
        let found = fixture.repository().require_snapshot(name);
        assert!(matches!(found, Err(WorktreeError::SnapshotMissing { .. })), "{name:?}: {found:?}");
    }
}

#[test]
fn foreign_refs_do_not_hide_snapshots() {
    let fixture = Fixture::new();
    let worktree = fixture.add("one");
    let snapshot = worktree.snapshot("why", &signature()).unwrap();
    let blob = fixture.run(&fixture.main(), ["rev-parse", "HEAD:README"]);
    for name in ["one/0", "one/x", "one/2/deep", "one/7"] {
        fixture.run(&fixture.main(), ["update-ref", &format!("refs/agentsup/snapshots/{name}"), &blob]);
    }
    fixture.run(&fixture.main(), ["update-ref", "refs/agentsup/snapshots/one/8", "HEAD"]);
    assert_eq!(worktree.snapshots().unwrap(), [snapshot]);
    for _ in 0..6 {
        worktree.snapshot("next", &signature()).unwrap();
    }
    let numbers = worktree.snapshots().unwrap().iter().map(|snapshot| snapshot.number).collect::<Vec<_>>();
    assert_eq!(numbers, [1, 3, 4, 5, 6, 9, 10]);
}

#[test]
fn it_holds_every_file_and_touches_nothing() {
    let fixture = Fixture::new();
    let worktree = fixture.add("one");
    let path = worktree.path();
    fixture.write(path, "README", "staged\n");
    fixture.run(path, ["add", "README"]);
    fixture.write(path, "README", "changed after\n");
    fs::remove_file(path.join("src/lib.rs")).unwrap();
    fixture.write(path, "new/file", "new\n");
    fixture.write(path, "x.log", "ignored\n");
    let before = fixture.state(&worktree);

    let snapshot = worktree.snapshot("before a\nrisky step", &signature()).unwrap();

    let after = fixture.state(&worktree);
    assert_eq!((&after.0, &after.1, &after.2), (&before.0, &before.1, &before.2));
    assert_eq!(
        after.3,
        format!("refs/agentsup/snapshots/one/1 {}\n{}", snapshot.commit, before.3).trim_end()
    );
    let main = fixture.main();
    let files = fixture.run(&main, ["ls-tree", "-r", "--name-only", snapshot.commit.as_str()]);
    assert_eq!(files, ".gitignore\nREADME\nnew/file");
    let readme = |commit: &CommitId| fixture.run(&main, ["show", &format!("{commit}:README")]);
    assert_eq!(readme(&snapshot.commit), "changed after");
    assert_eq!(readme(snapshot.index.as_ref().unwrap()), "staged");
    let author =
        fixture.run(&main, ["log", "-1", "--format=%an <%ae> %at %cn %ct", snapshot.commit.as_str()]);
    assert_eq!(author, "Alice <alice@example.invalid> 1790000000 Alice 1790000000");
    assert_eq!(snapshot.name(), "one/1");
    assert_eq!((snapshot.reason.as_str(), snapshot.at_s), ("before a risky step", 1_790_000_000));
    assert_eq!((snapshot.branch.as_deref(), &snapshot.head), (Some("agentsup/one"), worktree.base()));
    assert_eq!(worktree.snapshots().unwrap(), std::slice::from_ref(&snapshot));
    assert_eq!(fixture.repository().snapshots().unwrap(), std::slice::from_ref(&snapshot));
    assert_eq!(fixture.repository().require_snapshot("one/1").unwrap(), snapshot);
    assert_eq!(fs::read_dir(main.join(".git/agentsup/scratch")).unwrap().count(), 0);
}

#[test]
fn changes_in_the_same_instant_as_the_index_are_seen() {
    // Same size and same time as when it was staged: only the index's own time, no later than the file's,
    // tells git that it must read the file.
    let fixture = Fixture::new();
    let worktree = fixture.add("one");
    fixture.run(&fixture.main(), ["config", "core.trustCtime", "false"]);
    let instant = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_600_000_000);
    let set =
        |path: &Path| fs::File::options().write(true).open(path).unwrap().set_modified(instant).unwrap();
    let readme = worktree.path().join("README");
    fs::write(&readme, "before\n").unwrap();
    set(&readme);
    fixture.run(worktree.path(), ["add", "README"]);
    fs::write(&readme, "after.\n").unwrap();
    set(&readme);
    set(&worktree.git_dir.join("index"));
    let snapshot = worktree.snapshot("race", &signature()).unwrap();
    let held = fixture.run(&fixture.main(), ["show", &format!("{}:README", snapshot.commit)]);
    assert_eq!(held, "after.");
}

/// Takes a snapshot, restores it elsewhere, and compares files, index and status.
#[track_caller]
fn comes_back(fixture: &Fixture, worktree: &Worktree) -> Snapshot {
    let snapshot = worktree.snapshot("test", &signature()).unwrap();
    let name = format!("back-{}", snapshot.number);
    let path = fixture.path(&name);
    let back = fixture.repository().restore(&snapshot, path, &name, &fixture.trash()).unwrap();
    let mut expected = tree(worktree.path());
    expected.retain(|path, _| !path.starts_with("nested") && path.extension() != Some("log".as_ref()));
    assert_eq!(tree(back.path()), expected);
    assert_eq!(back.base(), worktree.base());
    let staged = |path: &Path| fixture.run(path, ["ls-files", "-s"]);
    if !worktree.status().unwrap().changes.iter().any(|change| change.kind == ChangeKind::Conflicted) {
        assert_eq!(staged(back.path()), staged(worktree.path()));
    }
    snapshot
}

#[test]
fn bytes_that_a_filter_drops_come_back() {
    let fixture = Fixture::new();
    let attributes =
        "*.txt text=auto\n*.id ident\n*.nb filter=strip\n*.u16 working-tree-encoding=UTF-16LE-BOM\n";
    fixture.write(&fixture.main(), ".gitattributes", attributes);
    fixture.write(&fixture.main(), "tracked.txt", "one\ntwo\n");
    fixture.commit(&fixture.main(), "attributes");
    fixture.run(&fixture.main(), ["config", "filter.strip.clean", "grep -v output"]);
    fixture.run(&fixture.main(), ["config", "filter.strip.smudge", "cat"]);
    fixture.run(&fixture.main(), ["config", "core.safecrlf", "true"]);
    let worktree = fixture.add("one");
    let path = worktree.path();
    fixture.write(path, "tracked.txt", "one\r\ntwo\nthree\r\n");
    fixture.write(path, "new \"quoted\"\nline\\.txt", "a\r\nb\n");
    fixture.write(path, "x.id", "$Id: mine $\n");
    fixture.write(path, "x.nb", "code\noutput: 42\n");
    let snapshot = comes_back(&fixture, &worktree);
    assert!(snapshot.exact.is_some());

    // A commit drops them too.
    fixture.run(path, ["-c", "core.safecrlf=false", "add", "-A"]);
    fixture.run(path, ["commit", "-q", "-m", "work"]);
    comes_back(&fixture, &worktree);
}

#[test]
fn bytes_that_the_configuration_drops_come_back() {
    let fixture = Fixture::new();
    fixture.run(&fixture.main(), ["config", "core.autocrlf", "true"]);
    let worktree = fixture.add("one");
    assert_eq!(fs::read(worktree.path().join("README")).unwrap(), b"hello\r\n");
    fixture.write(worktree.path(), "README", "only\nnewlines\n");
    fixture.write(worktree.path(), "mixed", "a\r\nb\n");
    assert!(comes_back(&fixture, &worktree).exact.is_some());
}

#[test]
fn hidden_conflicted_and_half_added_files_come_back() {
    let fixture = Fixture::new();
    for name in ["assumed", "skipped"] {
        fixture.write(&fixture.main(), name, "1\n");
    }
    fixture.commit(&fixture.main(), "files");
    let worktree = fixture.add("one");
    let path = worktree.path();
    fixture.run(path, ["update-index", "--assume-unchanged", "assumed"]);
    fixture.run(path, ["update-index", "--skip-worktree", "skipped"]);
    fixture.write(path, "assumed", "2\n");
    fixture.write(path, "skipped", "2\n");
    comes_back(&fixture, &worktree);

    fixture.write(path, "README", "ours\n");
    fixture.run(path, ["commit", "-q", "-m", "ours", "README"]);
    fixture.write(&fixture.main(), "README", "theirs\n");
    fixture.commit(&fixture.main(), "theirs");
    let merge = fixture.git.discover(path).signature(&signature()).args(["merge", "-q", "main"]);
    assert_eq!(merge.outcome().unwrap().code, Some(1));
    fixture.write(path, "staged only", "kept\n");
    fixture.run(path, ["add", "staged only"]);
    fixture.write(path, "staged only", "changed after\n");
    let snapshot = comes_back(&fixture, &worktree);
    let staged = fixture.run(path, ["show", &format!("{}:staged only", snapshot.index.unwrap())]);
    assert_eq!(staged, "kept");
}

#[test]
fn files_and_directories_that_change_places_come_back() {
    let fixture = Fixture::new();
    fixture.write(&fixture.main(), "a/deep/file", "1\n");
    fixture.write(&fixture.main(), "b", "1\n");
    fixture.write(&fixture.main(), "c/file", "1\n");
    fixture.commit(&fixture.main(), "files");
    let worktree = fixture.add("one");
    let path = worktree.path();
    fs::remove_dir_all(path.join("a")).unwrap();
    fixture.write(path, "a", "now a file\n");
    fs::remove_file(path.join("b")).unwrap();
    fixture.write(path, "b/now/a dir", "2\n");
    fs::rename(path.join("c"), path.join("d")).unwrap();
    std::os::unix::fs::symlink("d", path.join("c")).unwrap();
    fixture.write(path, "half", "added\n");
    fixture.run(path, ["add", "-N", "half"]);
    let snapshot = worktree.snapshot("test", &signature()).unwrap();
    let back =
        fixture.repository().restore(&snapshot, fixture.path("back"), "back", &fixture.trash()).unwrap();
    assert_eq!(tree(back.path()), tree(path));
}

#[test]
fn a_branch_without_commits_comes_back_on_the_base() {
    let fixture = Fixture::new();
    let worktree = fixture.add("one");
    fixture.run(worktree.path(), ["checkout", "-q", "--orphan", "new"]);
    fixture.write(worktree.path(), "new", "x\n");
    let snapshot = comes_back(&fixture, &worktree);
    assert_eq!((snapshot.branch.as_deref(), &snapshot.head), (Some("new"), worktree.base()));
}

#[test]
fn what_is_not_covered_is_named() {
    let fixture = Fixture::new();
    let worktree = fixture.add("one");
    fixture.run(worktree.path(), ["init", "-q", "nested"]);
    fixture.write(worktree.path(), "nested/file", "x");
    fixture.write(worktree.path(), "beside", "x");
    let snapshot = comes_back(&fixture, &worktree);
    assert_eq!(snapshot.uncovered, [PathBuf::from("nested/")]);
    assert_eq!(fixture.repository().require_snapshot("one/1").unwrap(), snapshot);
}

#[test]
fn snapshots_taken_at_once_get_numbers_of_their_own() {
    let fixture = Fixture::new();
    let worktree = fixture.add("one");
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| worktree.snapshot("at once", &signature()).unwrap());
        }
    });
    let numbers = worktree.snapshots().unwrap().iter().map(|snapshot| snapshot.number).collect::<Vec<_>>();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6]);
}

#[test]
fn sparse_checkouts_keep_their_files_outside_the_patterns() {
    let fixture = Fixture::new();
    let worktree = fixture.add("one");
    fixture.run(worktree.path(), ["sparse-checkout", "set", "--cone", "other"]);
    assert!(!worktree.path().join("src").exists());
    fixture.write(worktree.path(), "src/new.rs", "outside\n");
    let snapshot = worktree.snapshot("sparse", &signature()).unwrap();
    let files = fixture.run(&fixture.main(), ["ls-tree", "-r", "--name-only", snapshot.commit.as_str()]);
    assert_eq!(files, ".gitignore\nREADME\nsrc/lib.rs\nsrc/new.rs");
    let back =
        fixture.repository().restore(&snapshot, fixture.path("back"), "back", &fixture.trash()).unwrap();
    assert_eq!(fs::read_to_string(back.path().join("src/lib.rs")).unwrap(), "one\ntwo\nthree\n");
}
