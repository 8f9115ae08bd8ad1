use std::fs;

use super::*;
use crate::fixture::Fixture;

#[test]
fn a_commit_that_is_not_there_is_refused() {
    let fixture = Fixture::new();
    let worktree = fixture.add("one");
    let commit = CommitId::parse(&"1".repeat(40)).unwrap();
    assert!(matches!(worktree.diff(&commit), Err(WorktreeError::CommitMissing { .. })));
    fs::rename(worktree.path(), fixture.root().join("away")).unwrap();
    assert!(matches!(worktree.diff(worktree.base()), Err(WorktreeError::WorktreeMissing { .. })));
}

#[test]
fn commits_changes_and_untracked_files_are_in_it_and_nothing_is_written() {
    let fixture = Fixture::new();
    let worktree = fixture.add("one");
    let path = worktree.path();
    fixture.write(path, "committed", "c\n");
    fixture.commit(path, "work");
    fixture.write(path, "README", "hello\nworld\n");
    fixture.write(path, "new file", "n1\nn2\n");
    fixture.write(path, "image", b"\0\x01\x02");
    fixture.write(path, "x.log", "ignored\n");
    fs::remove_file(path.join("src/lib.rs")).unwrap();
    let before = fixture.state(&worktree);
    let objects = || fixture.run(&fixture.main(), ["count-objects"]);
    // Git wants the empty file's object once in a repository.
    worktree.diff(worktree.base()).unwrap();
    let objects_before = objects();

    let diff = worktree.diff(worktree.base()).unwrap();

    assert_eq!(fixture.state(&worktree), before);
    assert_eq!(objects(), objects_before);
    let file = |path: &str, lines| FileStat { path: path.into(), renamed_from: None, lines };
    assert_eq!(
        diff.stat,
        DiffStat {
            files: vec![
                file("README", Some((1, 0))),
                file("committed", Some((1, 0))),
                file("image", None),
                file("new file", Some((2, 0))),
                file("src/lib.rs", Some((0, 3))),
            ],
            insertions: 4,
            deletions: 3,
        }
    );
    let patch = String::from_utf8(diff.patch).unwrap();
    assert!(patch.contains("diff --git a/README b/README\n") && patch.contains("\n+n1\n+n2\n"), "{patch}");
    assert!(!patch.contains("ignored") && !diff.cut, "{patch}");
}

#[test]
fn renames_conflicts_and_hidden_changes_are_shown() {
    let fixture = Fixture::new();
    fixture.write(&fixture.main(), "hidden", "1\n");
    fixture.commit(&fixture.main(), "hidden");
    let worktree = fixture.add("one");
    let path = worktree.path();
    fs::rename(path.join("src/lib.rs"), path.join("src/other.rs")).unwrap();
    fixture.run(path, ["update-index", "--assume-unchanged", "hidden"]);
    fixture.write(path, "hidden", "2\n");
    fixture.write(path, "README", "ours\n");
    fixture.run(path, ["commit", "-q", "-m", "ours", "README"]);
    fixture.write(&fixture.main(), "README", "theirs\n");
    fixture.commit(&fixture.main(), "theirs");
    let merge =
        fixture.git.discover(path).signature(&crate::fixture::signature()).args(["merge", "-q", "main"]);
    assert_eq!(merge.outcome().unwrap().code, Some(1));

    let diff = worktree.diff(worktree.base()).unwrap();
    let patch = String::from_utf8(diff.patch).unwrap();
    assert!(patch.contains("\n+<<<<<<< HEAD\n+ours\n") && patch.contains("\n+2\n"), "{patch}");
    let renamed = diff.stat.files.last().unwrap();
    assert_eq!((renamed.path.as_path(), renamed.lines), (std::path::Path::new("src/other.rs"), Some((0, 0))));
    assert_eq!(renamed.renamed_from.as_deref(), Some(std::path::Path::new("src/lib.rs")));
}

#[test]
fn programs_and_styles_from_the_configuration_have_no_say() {
    let fixture = Fixture::new();
    let worktree = fixture.add("one");
    let settings = [
        ("diff.external", "false"),
        ("diff.noprefix", "true"),
        ("color.ui", "always"),
        ("diff.up.textconv", "tr a-z A-Z <"),
        ("core.fsmonitor", "false"),
        ("core.pager", "false"),
    ];
    for (key, value) in settings {
        fixture.run(&fixture.main(), ["config", key, value]);
    }
    fixture.write(worktree.path(), ".gitattributes", "* diff=up\n");
    fixture.write(worktree.path(), "README", "hello\nworld\n");
    let patch = String::from_utf8(worktree.diff(worktree.base()).unwrap().patch).unwrap();
    assert!(patch.contains("--- a/README\n+++ b/README\n") && patch.contains("\n+world\n"), "{patch}");
}

#[test]
fn a_long_diff_is_cut_at_a_line_and_says_so() {
    let fixture = Fixture::new();
    let worktree = fixture.add("one");
    fixture.write(worktree.path(), "big", "0123456789abcde\n".repeat(400_000));
    let diff = worktree.diff(worktree.base()).unwrap();
    assert!(diff.cut && diff.patch.len() <= PATCH_LIMIT_BYTES && diff.patch.ends_with(b"abcde\n"));
    assert_eq!(diff.stat.insertions, 400_000);
    assert!(diff.note().is_some());
    assert_eq!(worktree.diff(worktree.base()).unwrap().note().is_some(), diff.cut);
}
