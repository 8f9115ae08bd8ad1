#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::registry::source::Local;

const ONE: &str = "1111111111111111111111111111111111111111";
const TWO: &str = "2222222222222222222222222222222222222222";

struct World {
    _dir: tempfile::TempDir,
    home: Home,
}

fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::rooted(dir.path());
    World { _dir: dir, home }
}

fn source() -> Source {
    let (git, branch) = ("/srv/agents".into(), "main".into());
    Source { git, branch, path: PathBuf::new(), every_ms: 300_000, local: Local::Policies }
}

fn some_files() -> Files {
    let file = |path: &str, text: &str| (PathBuf::from(path), text.to_owned());
    Files(BTreeMap::from([
        file("org.cedar", "forbid"),
        file("teams/a/b.yaml", "kind"),
        file("teams/c.yml", ""),
    ]))
}

impl World {
    fn put(&self, commit: &str, files: &Files) -> Kept {
        keep(&self.home, &CommitId::parse(commit).unwrap(), files).unwrap();
        let in_force = InForce { source: source(), commit: commit.into(), since_ms: 7 };
        let kept = Kept { in_force, digest: digest(files) };
        set_state(&self.home, &State { in_force: Some(kept.clone()), last: None }).unwrap();
        kept
    }

    fn problem(&self, source: &Source) -> String {
        let remote = load(&self.home, source);
        assert!(remote.kept.is_none());
        remote.problem.unwrap().to_string()
    }
}

#[test]
fn what_is_kept_is_read_back_and_nothing_else() {
    let world = world();
    assert_eq!(world.problem(&source()), "/srv/agents: nothing of it is in force yet");
    let kept = world.put(ONE, &some_files());
    let often = Source { every_ms: 60_000, local: Local::Personal, ..source() };
    let remote = load(&world.home, &often);
    let in_force = InForce { source: often, ..kept.in_force.clone() };
    assert_eq!((remote.kept, remote.problem), (Some((in_force, some_files())), None));
    for other in [
        Source { git: "/srv/others".into(), ..source() },
        Source { branch: "next".into(), ..source() },
        Source { path: "agents".into(), ..source() },
    ] {
        assert!(world.problem(&other).ends_with("nothing of it is in force yet"));
    }
    assert_eq!(state(&world.home).unwrap().in_force, Some(kept));
}

#[test]
fn a_set_that_is_not_whole_any_more_is_not_used() {
    let changes: [fn(&Path); 5] = [
        |root| fs::remove_file(root.join("org.cedar")).unwrap(),
        |root| fs::write(root.join("org.cedar"), "permit").unwrap(),
        |root| fs::write(root.join("more.yaml"), "").unwrap(),
        |root| fs::rename(root.join("teams/c.yml"), root.join("teams/a/c.yml")).unwrap(),
        |root| fs::remove_dir_all(root).unwrap(),
    ];
    for change in changes {
        let world = world();
        world.put(ONE, &some_files());
        change(&world.home.registry_dir().join(ONE));
        assert_eq!(world.problem(&source()), "/srv/agents: what was fetched from it is not whole any more");
        // The same commit is kept anew over what is left of it.
        world.put(ONE, &some_files());
        assert!(load(&world.home, &source()).kept.is_some());
    }
}

#[test]
fn a_state_that_is_there_and_cannot_be_read_is_not_that_of_nothing() {
    let world = world();
    let kept = world.put(ONE, &some_files());
    let path = state_file(&world.home);
    let large = " ".repeat(usize::try_from(MAX_STATE_BYTES).unwrap() + 1);
    for text in ["{", "", large.as_str(), "\u{0}"] {
        fs::write(&path, text).unwrap();
        assert!(state(&world.home).is_err());
        let said = world.problem(&source());
        assert!(said.starts_with("/srv/agents: what was in force of it is not known: `"), "{said}");
        assert_eq!(last_look(&world.home, &source()), None);
    }
    // A path that is no commit's leads nowhere.
    let elsewhere = InForce { commit: "../..".into(), ..kept.in_force };
    let kept = Kept { in_force: elsewhere, ..kept };
    set_state(&world.home, &State { in_force: Some(kept), last: None }).unwrap();
    assert!(world.problem(&source()).contains("not whole"));
}

#[test]
fn a_state_that_is_gone_is_that_of_nothing_only_where_nothing_else_is() {
    let world = world();
    assert_eq!(state(&world.home).unwrap(), State::default());
    world.put(ONE, &some_files());
    fs::remove_file(state_file(&world.home)).unwrap();
    let said = world.problem(&source());
    assert!(said.contains("is not known") && said.contains("is gone"), "{said}");
    let set = world.home.registry_dir().join(ONE);
    for left in [mirror_dir(&world.home), world.home.registry_dir().join(ASIDE_NAME)] {
        fs::rename(&set, &left).unwrap();
        assert!(state(&world.home).is_err());
        fs::rename(&left, &set).unwrap();
    }
    fs::remove_dir_all(&set).unwrap();
    assert_eq!(state(&world.home).unwrap(), State::default());
}

#[test]
fn what_a_commit_says_never_makes_the_state_too_large_to_be_read_again() {
    let world = world();
    let kept = world.put(ONE, &some_files());
    // The longest when it is escaped, and one whose letters are cut between.
    for letter in ["\u{1}", "é€"] {
        let text = letter.repeat(1 << 16);
        let problem = Problem {
            file: PathBuf::from(&text),
            line: 1,
            column: 1,
            field: text.clone(),
            message: text.clone(),
            hint: Some(text),
        };
        let look = Look::new(source(), 1, Found::Invalid { commit: TWO.into(), problems: vec![problem; 60] });
        let problems = look.problems();
        assert!((1..=MAX_PROBLEMS).contains(&problems.len()));
        for problem in &problems {
            let hint = problem.hint.as_ref().unwrap();
            let file = problem.file.to_str().unwrap();
            for text in [file, &problem.field, &problem.message, hint] {
                assert!((MAX_TEXT_BYTES - 3..=MAX_TEXT_BYTES).contains(&text.len()));
            }
        }
        let state_now = State { in_force: Some(kept.clone()), last: Some(look) };
        set_state(&world.home, &state_now).unwrap();
        assert_eq!(state(&world.home).unwrap(), state_now, "what is read is what was found");
    }
    let why = "x".repeat(1 << 21);
    let look = Look::new(source(), 1, Found::Unreachable { why });
    set_state(&world.home, &State { in_force: Some(kept.clone()), last: Some(look.clone()) }).unwrap();

    // Whatever else is too large is not written.
    let large = Source { path: "x".repeat(1 << 20).into(), ..source() };
    let before = state(&world.home).unwrap();
    let last = Some(Look { source: large, ..look });
    assert!(set_state(&world.home, &State { last, ..before.clone() }).is_err());
    assert_eq!(state(&world.home).unwrap(), before);
}

#[test]
fn only_sets_of_commits_that_nobody_needs_are_removed() {
    let world = world();
    world.put(ONE, &some_files());
    world.put(TWO, &Files::default());
    let root = world.home.registry_dir();
    fs::create_dir(root.join(MIRROR_NAME)).unwrap();
    remove_others(&world.home, &[TWO, ""]).unwrap();
    let mut left: Vec<_> =
        fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    left.sort();
    assert_eq!(left, [TWO, MIRROR_NAME, STATE_NAME]);
    assert_eq!(load(&world.home, &source()).kept.unwrap().1, Files::default());
}

#[test]
fn being_out_of_reach_is_no_problem_and_a_rewind_is_one_until_it_is_accepted() {
    let look = |found| Look::new(source(), 1, found).problems();
    assert_eq!(look(Found::Current), []);
    assert_eq!(look(Found::Unreachable { why: "offline".into() }), []);
    let rewound = look(Found::Rewound { commit: ONE.into() });
    assert_eq!(rewound[0].hint.as_deref(), Some("agentsup sync --accept 111111111111, once it is known why"));
    let problems: Vec<Problem> = (0..60).map(|_| of_source(&source(), "x".into(), None)).collect();
    assert_eq!(look(Found::Invalid { commit: ONE.into(), problems }).len(), MAX_PROBLEMS);
}
