use std::fs;

use super::*;
use crate::fixture::Fixture;

#[test]
fn every_kind_of_change_is_told() {
    let fixture = Fixture::new();
    for name in ["modified", "deleted", "removed", "type", "flag", "staged then changed"] {
        fixture.write(&fixture.main(), name, "1\n");
    }
    fixture.commit(&fixture.main(), "files");
    let worktree = fixture.add("one");
    let path = worktree.path();
    fixture.write(path, "modified", "2\n");
    fs::remove_file(path.join("deleted")).unwrap();
    fixture.run(path, ["rm", "-q", "removed"]);
    fs::remove_file(path.join("type")).unwrap();
    std::os::unix::fs::symlink("modified", path.join("type")).unwrap();
    fixture.write(path, "added", "1\n");
    fixture.run(path, ["add", "added"]);
    fixture.write(path, "a dir/with space\nand line", "1\n");
    fixture.write(path, "x.log", "ignored");
    fixture.run(path, ["init", "-q", "nested"]);
    let status = worktree.status().unwrap();
    let told = status.changes.iter().map(|c| (c.path.to_str().unwrap(), c.kind)).collect::<Vec<_>>();
    assert_eq!(
        told,
        [
            ("added", ChangeKind::Added),
            ("deleted", ChangeKind::Deleted),
            ("modified", ChangeKind::Modified),
            ("removed", ChangeKind::Deleted),
            ("type", ChangeKind::TypeChanged),
            ("a dir/with space\nand line", ChangeKind::Untracked),
            ("nested/", ChangeKind::Untracked),
        ]
    );
    assert!(!status.is_clean() && !status.truncated);
}

#[test]
fn looking_does_not_write_the_index() {
    let fixture = Fixture::new();
    let worktree = fixture.add("one");
    fixture.write(worktree.path(), "README", "hello\n");
    let before = fixture.state(&worktree);
    assert!(worktree.status().unwrap().is_clean());
    assert_eq!(fixture.state(&worktree), before);
}

#[test]
fn commits_branch_and_unfinished_merge_are_told() {
    let fixture = Fixture::new();
    let worktree = fixture.add("one");
    let path = worktree.path();
    fixture.write(path, "README", "ours\n");
    fixture.commit(path, "ours");
    fixture.write(&fixture.main(), "README", "theirs\n");
    fixture.commit(&fixture.main(), "theirs");
    assert_eq!(worktree.status().unwrap().commits_ahead, 1);
    let merge =
        fixture.git.discover(path).signature(&crate::fixture::signature()).args(["merge", "-q", "main"]);
    assert_eq!(merge.outcome().unwrap().code, Some(1));
    let status = worktree.status().unwrap();
    assert_eq!(status.operation, Some(Operation::Merge));
    assert_eq!(status.changes, [Change { path: "README".into(), kind: ChangeKind::Conflicted }]);
    fixture.run(path, ["checkout", "-q", "--ours", "README"]);
    fixture.run(path, ["add", "README"]);
    let status = worktree.status().unwrap();
    assert!(status.changes.is_empty() && !status.is_clean());

    fixture.run(path, ["merge", "--abort"]);
    fixture.run(path, ["checkout", "-q", "--detach"]);
    assert!(matches!(worktree.status().unwrap().head, Head::Detached { .. }));
    fixture.run(path, ["checkout", "-q", "--orphan", "new"]);
    let status = worktree.status().unwrap();
    assert_eq!((status.head, status.commits_ahead), (Head::Unborn { branch: "new".into() }, 1));
}

#[test]
fn configuration_cannot_hide_untracked_files() {
    let fixture = Fixture::new();
    let worktree = fixture.add("one");
    fixture.run(&fixture.main(), ["config", "status.showUntrackedFiles", "no"]);
    fixture.write(worktree.path(), "new", "x");
    assert!(!worktree.status().unwrap().is_clean());
}

#[test]
fn records_of_unknown_form_are_not_guessed() {
    for record in [b"".as_slice(), b"1 MM", b"2 R. N... x", b"?", b"u UU N..."] {
        assert_eq!(change(record), None, "{record:?}");
    }
}

#[test]
fn commits_on_the_own_branch_count_although_something_else_is_checked_out() {
    let fixture = Fixture::new();
    let worktree = fixture.add("one");
    fixture.write(worktree.path(), "file", "x");
    fixture.commit(worktree.path(), "work");
    fixture.run(worktree.path(), ["checkout", "-q", "--detach", "HEAD~1"]);
    let status = worktree.status().unwrap();
    assert_eq!((status.is_clean(), status.commits_ahead), (true, 1));
    // Nor does it matter that the branch itself is gone.
    fixture.run(worktree.path(), ["update-ref", "-d", "refs/heads/agentsup/one"]);
    assert_eq!(worktree.status().unwrap().commits_ahead, 0);
}
