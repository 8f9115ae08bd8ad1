use super::*;
use crate::ChangeKind;
use crate::fixture::{Fixture, tree};

/// Runs an `add` that must fail, and checks that nothing is left of it.
fn refused(fixture: &Fixture, new: &NewWorktree) -> WorktreeError {
    let before = (fixture.refs(), fixture.run(&fixture.main(), ["worktree", "list", "--porcelain"]));
    let existed = new.path.exists();
    let error = fixture.repository().add(new, &fixture.trash()).unwrap_err();
    let after = (fixture.refs(), fixture.run(&fixture.main(), ["worktree", "list", "--porcelain"]));
    assert_eq!(after, before, "{error}");
    assert_eq!(new.path.exists(), existed, "{error}");
    error
}

#[test]
fn an_existing_path_is_refused_whatever_it_is() {
    let fixture = Fixture::new();
    let new = fixture.new_worktree("one");
    fs::create_dir_all(&new.path).unwrap();
    assert!(matches!(refused(&fixture, &new), WorktreeError::PathExists { .. }));
    let link = NewWorktree { path: fixture.root().join("dangling"), ..new.clone() };
    std::os::unix::fs::symlink("/nonexistent", &link.path).unwrap();
    assert!(matches!(
        fixture.repository().add(&link, &fixture.trash()),
        Err(WorktreeError::PathExists { .. })
    ));
    assert!(matches!(claim_directory(&new.path), Err(WorktreeError::PathExists { .. })));
}

#[test]
fn a_path_inside_the_repository_is_refused() {
    let fixture = Fixture::new();
    let shortcut = fixture.root().join("shortcut");
    std::os::unix::fs::symlink(fixture.main(), &shortcut).unwrap();
    for parent in [fixture.main(), fixture.main().join("src"), fixture.main().join(".git/x"), shortcut] {
        let new = NewWorktree { path: parent.join("one"), ..fixture.new_worktree("one") };
        assert!(matches!(refused(&fixture, &new), WorktreeError::PathInsideRepository { .. }), "{parent:?}");
    }
    // Also when the repository is seen from a linked worktree.
    let linked = fixture.add("linked");
    let repository = Repository::discover(fixture.git.clone(), linked.path()).unwrap();
    for parent in [fixture.main(), linked.path().to_owned()] {
        let new = NewWorktree { path: parent.join("two"), ..fixture.new_worktree("two") };
        let error = repository.add(&new, &fixture.trash()).unwrap_err();
        assert!(matches!(error, WorktreeError::PathInsideRepository { .. }), "{error}");
    }
}

#[test]
fn bad_and_existing_branches_are_refused() {
    let fixture = Fixture::new();
    for branch in ["", "-x", "a..b", "a b", "a.lock", "HEAD", "@{-1}", "a\nb", "a\0b", "refs/heads/"] {
        let new = NewWorktree { branch: branch.into(), ..fixture.new_worktree("one") };
        assert!(matches!(refused(&fixture, &new), WorktreeError::BranchInvalid { .. }), "{branch:?}");
    }
    let new = NewWorktree { branch: "main".into(), ..fixture.new_worktree("one") };
    assert!(matches!(refused(&fixture, &new), WorktreeError::BranchExists { .. }));
    assert!(matches!(fixture.repository().claim_branch(&new), Err(WorktreeError::BranchExists { .. })));
    let new = NewWorktree { branch: "main/below".into(), ..fixture.new_worktree("one") };
    assert!(matches!(refused(&fixture, &new), WorktreeError::Git { .. }));
}

#[test]
fn a_commit_that_is_not_there_is_refused() {
    let fixture = Fixture::new();
    let base = CommitId::parse(&"1".repeat(40)).unwrap();
    let new = NewWorktree { base, ..fixture.new_worktree("one") };
    assert!(matches!(refused(&fixture, &new), WorktreeError::CommitMissing { .. }));
}

#[test]
fn a_checkout_that_fails_half_way_is_taken_back() {
    let fixture = Fixture::new();
    fixture.write(&fixture.main(), "zz.bin", "x");
    fixture.write(&fixture.main(), ".gitattributes", "*.bin filter=broken\n");
    fixture.commit(&fixture.main(), "needs a filter");
    fixture.run(&fixture.main(), ["config", "filter.broken.required", "true"]);
    fixture.run(&fixture.main(), ["config", "filter.broken.smudge", "false"]);
    let error = refused(&fixture, &fixture.new_worktree("one"));
    assert!(error.to_string().contains("smudge filter broken failed"), "{error}");

    fixture.run(&fixture.main(), ["config", "filter.broken.smudge", "cat"]);
    assert!(fixture.add("one").path().join("zz.bin").exists());
}

#[test]
fn an_interrupted_checkout_is_taken_back() {
    let fixture = Fixture::new();
    fixture.write(&fixture.main(), "zz.bin", "x");
    fixture.write(&fixture.main(), ".gitattributes", "*.bin filter=slow\n");
    fixture.commit(&fixture.main(), "needs a filter");
    let started = fixture.root().join("started");
    let smudge = format!("echo > '{}'; sleep 1000", started.display());
    fixture.run(&fixture.main(), ["config", "filter.slow.smudge", &smudge]);
    let new = fixture.new_worktree("one");
    let before = (fixture.refs(), fixture.run(&fixture.main(), ["worktree", "list", "--porcelain"]));
    let interrupt = Interrupt::default();
    let error = std::thread::scope(|scope| {
        let adding =
            scope.spawn(|| fixture.repository().add_unless(&new, &fixture.trash(), &interrupt).unwrap_err());
        while !started.exists() {
            std::thread::yield_now();
        }
        interrupt.raise();
        adding.join().unwrap()
    });
    assert!(matches!(error, WorktreeError::Interrupted { .. }), "{error}");
    let after = (fixture.refs(), fixture.run(&fixture.main(), ["worktree", "list", "--porcelain"]));
    assert_eq!((after, new.path.exists()), (before, false));
}

#[test]
fn what_a_process_left_that_was_ended_half_way_is_taken_back_and_nothing_else() {
    let fixture = Fixture::new();
    let repository = fixture.repository();
    let before = fixture.refs();
    // After the first step.
    let new = fixture.new_worktree("one");
    fs::create_dir_all(&new.path).unwrap();
    repository.take_back_unfinished(&new, &fixture.trash()).unwrap();
    assert!(!new.path.exists());
    // After the second.
    fs::create_dir_all(&new.path).unwrap();
    repository.claim_branch(&new).unwrap();
    repository.take_back_unfinished(&new, &fixture.trash()).unwrap();
    assert_eq!((new.path.exists(), fixture.refs()), (false, before.clone()));
    // In the third: git holds such a lock while it checks out.
    let worktree = fixture.add("one");
    fs::write(worktree.git_dir.join("locked"), "initializing").unwrap();
    fs::remove_file(worktree.git_dir.join("index")).unwrap();
    repository.take_back_unfinished(&new, &fixture.trash()).unwrap();
    assert_eq!((new.path.exists(), worktree.git_dir.exists(), fixture.refs()), (false, false, before));

    // A finished one, and a directory that somebody else has filled.
    let finished = fixture.add("two");
    repository.take_back_unfinished(&fixture.new_worktree("two"), &fixture.trash()).unwrap();
    assert!(finished.status().unwrap().is_clean());
    let foreign = fixture.new_worktree("three");
    fixture.write(&foreign.path, "file", "x");
    repository.take_back_unfinished(&foreign, &fixture.trash()).unwrap();
    assert!(foreign.path.join("file").exists());
}

#[test]
fn half_made_worktrees_go_to_the_trash_with_everything_in_them() {
    let fixture = Fixture::new();
    let worktree = fixture.add("one");
    fixture.write(worktree.path(), "file", "x");
    worktree.take_back(&fixture.trash());
    assert!(!worktree.path().exists());
    assert_eq!(fixture.refs().lines().count(), 1);
    assert_eq!(fs::read_to_string(fixture.root().join("trash/one-1/file")).unwrap(), "x");
}

#[test]
fn a_worktree_is_a_branch_and_the_files_of_its_commit() {
    let fixture = Fixture::new();
    fixture.write(&fixture.main(), "README", "changed, not committed\n");
    fixture.write(&fixture.main(), "untracked", "stays here\n");
    let worktree = fixture.add("one");
    let status = worktree.status().unwrap();
    assert_eq!(status.head.branch(), Some("agentsup/one"));
    assert_eq!((status.is_clean(), status.commits_ahead), (true, 0));
    assert_eq!(fs::read_to_string(worktree.path().join("README")).unwrap(), "hello\n");
    assert!(!worktree.path().join("untracked").exists());
    assert_eq!(fs::read_to_string(fixture.main().join("README")).unwrap(), "changed, not committed\n");
}

#[test]
fn it_starts_from_a_detached_head() {
    let fixture = Fixture::new();
    let first = fixture.tip(&fixture.main(), "HEAD");
    fixture.commit(&fixture.main(), "second");
    fixture.run(&fixture.main(), ["checkout", "-q", "--detach", first.as_str()]);
    let worktree = fixture.add("one");
    assert_eq!(worktree.head().unwrap(), Head::Branch { name: "agentsup/one".into(), commit: first });
}

#[test]
fn hooks_do_not_run() {
    let fixture = Fixture::new();
    fixture.hook("post-checkout", "#!/bin/sh\ntouch hooked\n");
    assert!(!fixture.add("one").path().join("hooked").exists());
}

#[test]
fn submodules_are_no_obstacle() {
    let fixture = Fixture::new();
    fixture.run(&fixture.root(), ["clone", "-q", "my repo", "library"]);
    let add = ["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", "../library", "vendor"];
    fixture.run(&fixture.main(), add);
    fixture.commit(&fixture.main(), "with a submodule");
    let worktree = fixture.add("one");
    assert!(worktree.status().unwrap().is_clean());

    let update = ["-c", "protocol.file.allow=always", "submodule", "--quiet", "update", "--init"];
    fixture.run(worktree.path(), update);
    fixture.write(&worktree.path().join("vendor"), "README", "changed inside\n");
    let changes = worktree.status().unwrap().changes;
    assert_eq!(changes.iter().map(|change| change.kind).collect::<Vec<_>>(), [ChangeKind::Submodule]);
    let discarded = worktree.discard(&fixture.trash(), &crate::fixture::signature()).unwrap();
    assert_eq!(discarded.snapshot.unwrap().uncovered, [PathBuf::from("vendor")]);
    let trashed = discarded.trashed_to.unwrap();
    assert_eq!(fs::read_to_string(trashed.join("vendor/README")).unwrap(), "changed inside\n");
    // The submodule's repository was in the registration; it is still there.
    assert!(fixture.main().join(".git/agentsup/trash/one-1/modules/vendor/HEAD").exists());
}

#[test]
fn open_finds_what_was_made_and_only_that() {
    let fixture = Fixture::new();
    let worktree = fixture.add("one");
    let repository = fixture.repository();
    let open = |path: &Path| repository.open(path, "agentsup/one", worktree.base().clone());
    assert_eq!(open(worktree.path()).unwrap(), worktree);
    assert!(matches!(open(&fixture.path("absent")), Err(WorktreeError::WorktreeMissing { .. })));
    assert!(matches!(open(&fixture.main()), Err(WorktreeError::NotAWorktree { .. })));
    assert!(matches!(open(Path::new("relative")), Err(WorktreeError::PathInvalid { .. })));
    // Found although its directory is gone, and although its `.git` file says something else.
    fs::write(worktree.path().join(".git"), "gitdir: /elsewhere\n").unwrap();
    assert_eq!(open(worktree.path()).unwrap(), worktree);
    assert!(worktree.status().unwrap().is_clean());
    fs::rename(worktree.path(), fixture.root().join("away")).unwrap();
    assert_eq!(open(worktree.path()).unwrap(), worktree);
    assert!(matches!(worktree.status(), Err(WorktreeError::WorktreeMissing { .. })));
    assert!(matches!(worktree.head(), Err(WorktreeError::WorktreeMissing { .. })));
}

#[test]
fn a_directory_replaced_by_a_link_is_not_followed() {
    let fixture = Fixture::new();
    let worktree = fixture.add("one");
    fs::rename(worktree.path(), fixture.root().join("away")).unwrap();
    std::os::unix::fs::symlink(fixture.main(), worktree.path()).unwrap();
    let before = tree(&fixture.main());
    assert!(matches!(worktree.status(), Err(WorktreeError::WorktreeMissing { .. })));
    let discard = worktree.discard(&fixture.trash(), &crate::fixture::signature());
    assert!(matches!(discard, Err(WorktreeError::WorktreeMissing { .. })));
    assert!(worktree.path().is_symlink());
    assert_eq!(tree(&fixture.main()), before);
}

/// What git leaves for a moment: it makes `commondir` and writes into it afterwards.
#[test]
#[expect(clippy::disallowed_methods, reason = "nothing to see of a git that has failed and is tried again")]
fn a_registration_that_is_just_being_written_is_waited_for() {
    let fixture = Fixture::new();
    fixture.add("one");
    let commondir = fixture.main().join(".git/worktrees/one/commondir");
    let text = fs::read(&commondir).unwrap();
    let half_written = |call: &dyn Fn()| {
        fs::write(&commondir, "").unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(std::time::Duration::from_millis(100));
                fs::write(&commondir, &text).unwrap();
            });
            call();
        });
    };
    half_written(&|| assert!(fixture.add("two").status().unwrap().is_clean()));
    fs::write(&commondir, "").unwrap();
    let damaged = fixture.repository().add(&fixture.new_worktree("three"), &fixture.trash());
    assert!(matches!(damaged, Err(WorktreeError::Git { .. })), "{damaged:?}");
    assert!(!fixture.path("three").exists());
    half_written(&|| {
        let place = fixture.repository().checked_out_at("agentsup/two").unwrap();
        assert_eq!(place, Some(fixture.path("two")));
    });
}

#[test]
fn many_at_once_do_not_disturb_each_other() {
    let fixture = Fixture::new();
    let names = (0..8).map(|n| format!("run-{n}")).collect::<Vec<_>>();
    std::thread::scope(|scope| {
        for name in &names {
            scope.spawn(|| fixture.add(name).status().unwrap());
        }
    });
    let listed = fixture.run(&fixture.main(), ["worktree", "list"]);
    assert_eq!(listed.lines().count(), 9, "{listed}");
}
