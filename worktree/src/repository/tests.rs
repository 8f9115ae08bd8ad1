use std::fs;

use super::*;
use crate::fixture::{Fixture, signature};

#[test]
fn what_is_not_a_checkout_is_refused_by_kind() {
    let fixture = Fixture::new();
    let discover = |path: &Path| Repository::discover(fixture.git.clone(), path).unwrap_err();
    let root = fixture.root();
    for path in [&root, &root.join("absent"), &fixture.main().join("README")] {
        assert!(matches!(discover(path), WorktreeError::NotARepository { .. }), "{path:?}");
    }
    assert!(matches!(discover(&fixture.main().join(".git")), WorktreeError::NotACheckout { .. }));
    fixture.run(&root, ["init", "-q", "--bare", "bare.git"]);
    assert!(matches!(discover(&root.join("bare.git")), WorktreeError::BareRepository { .. }));
}

#[test]
fn a_broken_repository_is_reported_in_gits_words() {
    let fixture = Fixture::new();
    fs::write(fixture.main().join(".git/config"), "[core\n").unwrap();
    let error = Repository::discover(fixture.git.clone(), &fixture.main()).unwrap_err();
    assert!(error.to_string().contains("bad config line"), "{error}");
}

#[test]
fn an_unborn_head_is_typed() {
    let fixture = Fixture::unborn(&[]);
    let repository = fixture.repository();
    assert_eq!(repository.head().unwrap(), Head::Unborn { branch: "main".into() });
    let error = repository.require_commit().unwrap_err();
    assert_eq!(error.to_string(), "branch `main` has no commit yet");
    assert!(matches!(error, WorktreeError::UnbornHead { .. }));
}

#[test]
fn head_is_a_branch_or_detached() {
    let fixture = Fixture::new();
    let commit = fixture.tip(&fixture.main(), "HEAD");
    assert_eq!(
        fixture.repository().head().unwrap(),
        Head::Branch { name: "main".into(), commit: commit.clone() }
    );
    fixture.run(&fixture.main(), ["checkout", "-q", "--detach"]);
    assert_eq!(fixture.repository().head().unwrap(), Head::Detached { commit: commit.clone() });
    assert_eq!(fixture.repository().require_commit().unwrap(), commit);
}

#[test]
fn it_is_found_from_below_and_from_a_linked_worktree() {
    let fixture = Fixture::new();
    let below = Repository::discover(fixture.git.clone(), &fixture.main().join("src")).unwrap();
    assert_eq!(below, fixture.repository());
    assert_eq!(below.checkout(), fixture.main());

    let worktree = fixture.add("one");
    let linked = Repository::discover(fixture.git.clone(), worktree.path()).unwrap();
    assert_eq!((linked.checkout(), linked.common_dir()), (worktree.path(), below.common_dir()));
    assert_eq!(linked.head().unwrap().branch(), Some("agentsup/one"));
}

#[test]
fn odd_paths_work() {
    for name in ["a b", "new\nline", "größe 漢字", "-dash", "quote\"'", "end \n"] {
        let fixture = Fixture::new();
        let odd = fixture.root().join(name);
        fs::rename(fixture.main(), &odd).unwrap();
        let repository = Repository::discover(fixture.git.clone(), &odd.join("src")).unwrap();
        assert_eq!(repository.checkout(), odd, "{name:?}");
        let base = repository.require_commit().unwrap();
        let path = fixture.root().join(format!("{}-w", name.trim())).join("run 1");
        let new = crate::NewWorktree { path: path.clone(), branch: "run".into(), base: base.clone() };
        let worktree = repository.add(&new, &fixture.trash()).unwrap();
        assert_eq!(worktree.path(), path);
        assert_eq!(repository.open(&path, "run", base).unwrap(), worktree);
        fixture.write(&path, "odd \n name", "x");
        assert_eq!(worktree.status().unwrap().changes.len(), 1, "{name:?}");
        let discarded = worktree.discard(&fixture.trash(), &signature()).unwrap();
        let restored =
            repository.restore(&discarded.snapshot.unwrap(), path, "run", &fixture.trash()).unwrap();
        assert_eq!(fs::read_to_string(restored.path().join("odd \n name")).unwrap(), "x");
    }
}

#[test]
fn bare_with_worktrees_works_from_a_worktree() {
    let fixture = Fixture::new();
    let root = fixture.root();
    fixture.run(&root, ["clone", "-q", "--bare", "my repo", "bare.git"]);
    fixture.run(&root.join("bare.git"), ["worktree", "add", "-q", "../checkout", "main"]);
    let repository = Repository::discover(fixture.git.clone(), &root.join("checkout")).unwrap();
    let base = repository.require_commit().unwrap();
    let new = crate::NewWorktree { path: fixture.path("one"), branch: "one".into(), base };
    let worktree = repository.add(&new, &fixture.trash()).unwrap();
    fixture.write(worktree.path(), "new", "x");
    fixture.commit(worktree.path(), "work");
    let landed = worktree.land(&crate::Target::Checkout, &signature(), &[]).unwrap();
    assert_eq!(landed.checkout, Some(root.join("checkout")));
    assert!(root.join("checkout/new").exists());
}

#[test]
fn sha_256_repositories_work() {
    let fixture = Fixture::unborn(&["--object-format=sha256"]);
    fixture.write(&fixture.main(), "file", "x\n");
    fixture.commit(&fixture.main(), "first");
    let worktree = fixture.add("one");
    assert_eq!(worktree.base().as_str().len(), 64);
    fixture.write(worktree.path(), "file", "y\n");
    assert_eq!(worktree.diff(worktree.base()).unwrap().stat.insertions, 1);
    let discarded = worktree.discard(&fixture.trash(), &signature()).unwrap();
    let snapshot = discarded.snapshot.unwrap();
    let restored =
        fixture.repository().restore(&snapshot, fixture.path("two"), "two", &fixture.trash()).unwrap();
    assert_eq!(fs::read_to_string(restored.path().join("file")).unwrap(), "y\n");
}

#[test]
fn a_remotes_address_is_what_the_configuration_says() {
    let fixture = Fixture::new();
    let repository = fixture.repository();
    assert_eq!(repository.remote_url("origin").unwrap(), None);
    fixture.run(&fixture.main(), ["config", "remote.origin.url", "git@example.invalid:a/b c.git"]);
    assert_eq!(repository.remote_url("origin").unwrap().as_deref(), Some("git@example.invalid:a/b c.git"));
}
