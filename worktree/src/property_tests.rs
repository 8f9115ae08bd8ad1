//! Whatever happens in a worktree: a snapshot gives it back byte for byte, and discarding it loses nothing.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use proptest::prelude::*;

use crate::Worktree;
use crate::fixture::{Fixture, signature, tree};

/// Names that collide as files and directories, and that git would quote.
const NAMES: &[&str] = &[
    "README",
    "src/lib.rs",
    "a",
    "a/b",
    "a/b/c",
    "src",
    "x y.txt",
    "n\nl.txt",
    "größe.txt",
    "\"q\\.id",
    "-d",
];

#[derive(Debug, Clone)]
enum Step {
    Write(usize, Content),
    Delete(usize),
    Link(usize, usize),
    MakeExecutable(usize),
    Rename(usize, usize),
    Stage(usize),
    StageAll,
    Commit,
    Amend,
    ResetSoft,
    ResetHard,
    Detach,
    NewBranch,
    Status,
    Stash,
}

/// What to write. Text is made unique: a file that differs from its commit in line endings only is one that
/// git calls unchanged.
#[derive(Debug, Clone)]
enum Content {
    Empty,
    Unix,
    Windows,
    Mixed,
    Ident,
    Bytes(Vec<u8>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let name = 0..NAMES.len();
    let content = prop_oneof![
        Just(Content::Empty),
        Just(Content::Unix),
        Just(Content::Windows),
        Just(Content::Mixed),
        Just(Content::Ident),
        proptest::collection::vec(any::<u8>(), 1..64).prop_map(Content::Bytes),
    ];
    let step = prop_oneof![
        8 => (name.clone(), content).prop_map(|(name, content)| Step::Write(name, content)),
        3 => name.clone().prop_map(Step::Delete),
        1 => (name.clone(), name.clone()).prop_map(|(from, to)| Step::Link(from, to)),
        1 => name.clone().prop_map(Step::MakeExecutable),
        1 => (name.clone(), name.clone()).prop_map(|(from, to)| Step::Rename(from, to)),
        2 => name.prop_map(Step::Stage),
        1 => Just(Step::StageAll),
        3 => Just(Step::Commit),
        1 => Just(Step::Amend),
        1 => Just(Step::ResetSoft),
        1 => Just(Step::ResetHard),
        1 => Just(Step::Detach),
        1 => Just(Step::NewBranch),
        1 => Just(Step::Status),
        1 => Just(Step::Stash),
    ];
    proptest::collection::vec(step, 1..16)
}

fn bytes(content: &Content, number: usize) -> Vec<u8> {
    match content {
        Content::Empty => Vec::new(),
        Content::Unix => format!("{number}\nunix\n").into(),
        Content::Windows => format!("{number}\r\nwindows\r\n").into(),
        Content::Mixed => format!("{number}\r\nmixed\n").into(),
        Content::Ident => format!("{number} $Id: {number} $\n").into(),
        Content::Bytes(bytes) => [number.to_string().as_bytes(), bytes].concat(),
    }
}

/// Takes one step. Steps that make no sense just now fail, as they would for anybody.
fn take(fixture: &Fixture, worktree: &Worktree, step: &Step, number: usize) {
    let path = |name: &usize| worktree.path().join(NAMES[*name]);
    let git = |args: &[&str]| {
        let call = fixture.git.discover(worktree.path()).signature(&signature()).args(args);
        call.setting("core.safecrlf=false").outcome().unwrap();
    };
    match step {
        Step::Write(name, content) => {
            let _blocked = fs::create_dir_all(path(name).parent().unwrap());
            let _blocked = fs::write(path(name), bytes(content, number));
        }
        Step::Delete(name) => {
            let _directory = fs::remove_file(path(name)).or_else(|_| fs::remove_dir_all(path(name)));
        }
        Step::Link(to, name) => {
            let _blocked = std::os::unix::fs::symlink(format!("{}-{number}", NAMES[*to]), path(name));
        }
        Step::MakeExecutable(name) => {
            if fs::symlink_metadata(path(name)).is_ok_and(|there| there.is_file()) {
                fs::set_permissions(path(name), fs::Permissions::from_mode(0o755)).unwrap();
            }
        }
        Step::Rename(from, to) => {
            let _blocked = fs::rename(path(from), path(to));
        }
        Step::Stage(name) => git(&["add", "--", NAMES[*name]]),
        Step::StageAll => git(&["add", "-A"]),
        Step::Commit => {
            git(&["add", "-A"]);
            git(&["commit", "-q", "-m", &format!("commit {number}")]);
        }
        Step::Amend => git(&["commit", "-q", "--amend", "-m", &format!("amended {number}")]),
        Step::ResetSoft => git(&["reset", "-q", "HEAD~1"]),
        Step::ResetHard => git(&["reset", "-q", "--hard", "HEAD~1"]),
        Step::Detach => git(&["checkout", "-q", "--detach"]),
        Step::NewBranch => git(&["checkout", "-q", "-b", &format!("branch-{number}")]),
        Step::Status => git(&["-c", "core.fsmonitor=false", "status", "--short"]),
        Step::Stash => git(&["stash", "-q"]),
    }
}

/// Everything the worktree can name: commits in `HEAD`, branch and reflogs, objects in the index.
fn named(fixture: &Fixture, worktree: &Worktree) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    for name in ["HEAD", "refs/heads/agentsup/one"] {
        let log = fixture.run(worktree.path(), ["rev-list", "--walk-reflogs", name, "--"]);
        named.extend(log.lines().map(str::to_owned));
    }
    named.insert(fixture.run(worktree.path(), ["rev-parse", "HEAD"]));
    let staged = fixture.run(worktree.path(), ["ls-files", "-s"]);
    named.extend(staged.lines().filter_map(|line| line.split(' ').nth(1)).map(str::to_owned));
    named
}

fn staged(fixture: &Fixture, path: &Path) -> String {
    fixture.run(path, ["ls-files", "-s"])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost(steps in steps()) {
        let fixture = Fixture::new();
        fixture.write(&fixture.main(), ".gitattributes", "*.txt text=auto\n*.id ident\n");
        fixture.commit(&fixture.main(), "attributes");
        let worktree = fixture.add("one");
        for (number, step) in steps.iter().enumerate() {
            take(&fixture, &worktree, step, number);
        }
        let repository = fixture.repository();

        // A snapshot changes nothing and gives everything back.
        let before = fixture.state(&worktree);
        let snapshot = worktree.snapshot("property", &signature()).unwrap();
        let after = fixture.state(&worktree);
        prop_assert_eq!((&after.0, &after.1, &after.2), (&before.0, &before.1, &before.2));
        let back = repository.restore(&snapshot, fixture.path("back"), "back", &fixture.trash()).unwrap();
        prop_assert_eq!(tree(back.path()), before.0.clone());
        prop_assert_eq!(staged(&fixture, back.path()), staged(&fixture, worktree.path()));
        prop_assert_eq!(back.head().unwrap().commit().cloned(), worktree.head().unwrap().commit().cloned());

        // After discard, and after git has cleaned up, everything that had a name can be reached.
        let named = named(&fixture, &worktree);
        let index = staged(&fixture, worktree.path());
        let discarded = worktree.discard(&fixture.trash(), &signature()).unwrap();
        prop_assert_eq!(tree(&discarded.trashed_to.unwrap()), before.0.clone());
        back.discard(&fixture.trash(), &signature()).unwrap();
        fixture.run(&fixture.main(), ["reflog", "expire", "--expire=all", "--all"]);
        fixture.run(&fixture.main(), ["prune", "--expire=now"]);
        let reachable = fixture.run(&fixture.main(), ["rev-list", "--objects", "--glob=refs/*"]);
        let reachable = reachable.lines().filter_map(|line| line.split(' ').next().map(str::to_owned));
        let reachable = reachable.collect::<BTreeSet<_>>();
        let lost = named.difference(&reachable).collect::<Vec<_>>();
        prop_assert!(lost.is_empty(), "lost {:?}", lost);

        let last = discarded.snapshot.unwrap();
        let again = repository.restore(&last, fixture.path("again"), "again", &fixture.trash()).unwrap();
        prop_assert_eq!(tree(again.path()), before.0);
        prop_assert_eq!(staged(&fixture, again.path()), index);
    }
}
