//! Who may say what beside a registry in git, and what comes into force where one of them is wrong.

use super::*;
use crate::core::policy::Pack;
use crate::core::policy::labels::DescribedRule;
use crate::registry::live::Registry;
use crate::registry::remote::kept::{self, Kept, State};
use crate::registry::remote::{Files, InForce};
use agentsup_worktree::CommitId;

const COMMIT: &str = "1a2b3c4d5e6f1a2b3c4d5e6f1a2b3c4d5e6f1a2b";
const FORBID: &str = "@id(\"f\")\nforbid (principal, action == Action::\"launch\", resource);\n";
const OTHER: &str = "2222222222222222222222222222222222222222";

/// A home whose configuration names a registry of which these files are kept.
fn with(more: &str, registry: &[(&str, &str)], machine: &[(&str, &str)]) -> Fixture {
    let config = format!("[registry]\ngit = \"/srv/agents\"\npath = \"in\"\n{more}\n");
    let fixture = Fixture::new(&[&[("config.toml", config.as_str())], machine].concat());
    fixture.fetched(COMMIT, registry);
    fixture
}

impl Fixture {
    fn fetched(&self, commit: &str, files: &[(&str, &str)]) {
        let file = |(path, text): &(&str, &str)| ((*path).into(), (*text).to_owned());
        let files = Files(files.iter().map(file).collect());
        kept::keep(&self.home, &CommitId::parse(commit).unwrap(), &files).unwrap();
        let source = config_source(&self.home);
        let in_force = InForce { source, commit: commit.into(), since_ms: 1 };
        let kept = Kept { in_force, digest: kept::digest(&files) };
        kept::set_state(&self.home, &State { in_force: Some(kept), last: None }).unwrap();
    }
}

fn config_source(home: &Home) -> Source {
    load::load_config(home, &mut Vec::new()).registry.unwrap()
}

/// Writes a file in one step: the registry watches, and half a file is a file as well.
fn put(path: &Path, text: impl AsRef<str>) {
    let beside = path.with_file_name(".new");
    fs::write(&beside, text.as_ref()).unwrap();
    fs::rename(beside, path).unwrap();
}

fn both(namespace: &str) -> String {
    let of = |text: String| text.replace("namespace: t ", &format!("namespace: {namespace} "));
    format!("{}---\n{}", of(agent(GOOD_AGENT)), of(budget("b", GOOD_BUDGET)))
}

#[test]
fn what_comes_from_a_registry_says_from_where() {
    let fixture = with(
        "",
        &[("teams/t/a.yaml", &both("t")), ("org.cedar", FORBID)],
        &[("manifests/user/u.cedar", FORBID)],
    );
    let snapshot = fixture.load();
    assert_eq!(snapshot.problems, []);
    let origin = &snapshot.origins[&AgentRef::new("a", "t").unwrap()];
    assert_eq!(
        (origin.file.as_path(), origin.commit.as_deref()),
        (Path::new("in/teams/t/a.yaml"), Some(COMMIT))
    );
    assert_eq!(snapshot.registry.as_ref().unwrap().commit, COMMIT);
    let written: Vec<String> = snapshot
        .policies
        .policies()
        .iter()
        .filter(|policy| policy.source.ends_with("/f"))
        .map(|policy| format!("{} {}", policy.source, policy.origin.file.display()))
        .collect();
    let user = fixture.dir.path().join("manifests/user/u.cedar");
    assert_eq!(written, ["org/f in/org.cedar@1a2b3c4d5e6f".to_owned(), format!("user/f {}", user.display())]);
    let before = snapshot.digest;
    fixture.fetched(OTHER, &[("teams/t/a.yaml", &both("t")), ("org.cedar", FORBID)]);
    assert_ne!(fixture.load().digest, before, "the same files of another commit");
}

#[test]
fn a_directory_that_is_looked_at_instead_stands_for_all_of_it() {
    let fixture = with("", &[("a.yaml", &both("t")), ("o.cedar", FORBID)], &[]);
    let elsewhere = fixture.dir.path().join("checkout");
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join("org.cedar"), FORBID.replace("\"f\"", "\"g\"")).unwrap();
    let other = |root: Option<&Path>| {
        let set = Registry::read_other(&fixture.home, root, Some(Pack::Strict));
        assert_eq!(set.problems, []);
        let own = set.policies.policies().into_iter().filter(|policy| policy.source.starts_with("org/"));
        (own.map(|policy| policy.source.to_owned()).collect::<Vec<_>>(), set.registry.is_some())
    };
    assert_eq!(other(Some(&elsewhere)), (vec!["org/g".to_owned()], false));
    assert_eq!(other(None), (vec!["org/f".to_owned()], true));
}

#[test]
fn a_machine_only_tightens_what_a_registry_says() {
    let (team, personal) = (both("t"), both("personal"));
    let declared = |kind: &str, namespace: &str| {
        format!(
            "{kind} of `{namespace}` is declared on this machine, but agents and budgets come from `/srv/agents`"
        )
    };
    let of = |namespace: &str| vec![declared("Agent `a`", namespace), declared("TokenBudget `b`", namespace)];
    let policies =
        vec!["policies come from `/srv/agents`; on this machine they can only be the user's own".to_owned()];
    let others = FORBID.replace("\"f\"", "\"others\"");
    for (more, file, text, expected) in [
        ("", "a.yaml", team.as_str(), of("t")),
        ("", "a.yaml", &personal, of("personal")),
        ("", "user/a.yaml", &personal, of("personal")),
        ("", "o.cedar", FORBID, policies.clone()),
        ("", "teams/t/o.cedar", FORBID, policies.clone()),
        ("", "user/o.cedar", FORBID, vec![]),
        ("local = \"personal\"", "a.yaml", &personal, vec![]),
        ("local = \"personal\"", "a.yaml", &team, of("t")),
        ("local = \"personal\"", "o.cedar", FORBID, policies),
    ] {
        let file = format!("manifests/{file}");
        let fixture = with(more, &[("teams/x/o.cedar", &others)], &[(&file, text)]);
        let problems = fixture.load().problems;
        let mut found: Vec<&String> = problems.iter().map(|problem| &problem.message).collect();
        found.sort();
        assert_eq!(found, expected.iter().collect::<Vec<_>>(), "{more} {file}");
        assert!(problems.iter().all(|problem| problem.file == fixture.dir.path().join(&file)));
    }
}

#[test]
fn a_registry_speaks_for_each_team_in_its_own_directory_and_for_nobodys_machine() {
    let shown = |files: &[(&str, &str)]| with("", files, &[]).problems();
    let (t, personal) = (both("t"), both("personal"));
    assert_eq!(shown(&[("anywhere/a.yaml", &t)]), Vec::<String>::new());
    assert_eq!(shown(&[("teams/all.yaml", &t)]), Vec::<String>::new());
    let elsewhere = shown(&[("teams/other/deep/a.yaml", &t)]);
    assert_eq!(elsewhere.len(), 2, "{elsewhere:?}");
    assert!(elsewhere[0].starts_with("in/teams/other/deep/a.yaml@1a2b3c4d5e6f:"), "{elsewhere:?}");
    assert!(elsewhere[0].ends_with("`t` cannot be declared in the directory of `other`"), "{elsewhere:?}");
    let own = shown(&[("a.yaml", &personal)]);
    assert!(own.len() == 2 && own[0].contains("is for agents of a user's own machine"), "{own:?}");
    let user = shown(&[("user/u.cedar", FORBID)]);
    assert!(user.len() == 1 && user[0].contains("are for a user's own machine"), "{user:?}");
}

const LABELS: &str = "apiVersion: agentsup.dev/v1alpha1\nkind: Policy\nmetadata:\n  name: l\n  namespace: t\n\
                      spec:\n  paths:\n    infra/**: [internal]\n";

#[test]
fn labels_come_from_where_policies_do() {
    let given = |fixture: &Fixture| -> Vec<String> {
        let snapshot = fixture.load();
        assert_eq!(snapshot.problems, []);
        let shown = |rule: DescribedRule<'_>| {
            let file = rule
                .origin
                .unwrap()
                .file
                .strip_prefix(fixture.dir.path())
                .unwrap_or(&rule.origin.unwrap().file);
            format!("{} {:?} {} {}", rule.layer.name(), rule.team, rule.pattern, file.display())
        };
        snapshot.policies.labels().unwrap().rules().map(shown).collect()
    };
    let fixture =
        with("", &[("l.yaml", LABELS), ("teams/t/l.yaml", LABELS)], &[("manifests/user/l.yaml", LABELS)]);
    assert_eq!(
        given(&fixture),
        [
            "org None infra/** in/l.yaml@1a2b3c4d5e6f",
            "team Some(\"t\") infra/** in/teams/t/l.yaml@1a2b3c4d5e6f",
            "user None infra/** manifests/user/l.yaml",
        ]
    );
    for (registry, machine, said) in [
        (vec![("user/l.yaml", LABELS)], vec![], "are for a user's own machine, not for a registry"),
        (vec![("teams/x/l.yaml", LABELS)], vec![], "in the directory of a team it is that team's: `x`"),
        (vec![], vec![("manifests/l.yaml", LABELS)], "on this machine they can only be the user's own"),
        (
            vec![],
            vec![("manifests/teams/t/l.yaml", LABELS)],
            "on this machine they can only be the user's own",
        ),
    ] {
        let found = with("local = \"personal\"", &registry, &machine).problems();
        assert!(found.len() == 1 && found[0].contains(said), "{found:?}");
    }
}

#[test]
fn what_an_own_policy_looks_at_stays_with_it() {
    let personal = both("personal").replace("  cap:", "  parent: t/b\n  cap:");
    let fixture = with("local = \"personal\"", &[("a.yaml", &both("t"))], &[]);
    let user = fixture.dir.path().join("manifests/user");
    fs::create_dir_all(&user).unwrap();
    put(&user.join("own.yaml"), format!("{personal}---\n{LABELS}"));
    let registry = Registry::start(&fixture.home).unwrap();
    assert_eq!((registry.current().agents.len(), &registry.current().problems), (2, &Vec::new()));
    // The budget that pays for its agent goes; its labels stay.
    fixture.fetched(OTHER, &[]);
    let now = registry.reload();
    assert_eq!((now.agents.len(), now.registry.as_ref().unwrap().commit.as_str()), (0, OTHER));
    assert_eq!(now.policies.labels().unwrap().rules().count(), 1);

    // As many rules as there may be: they hold up nothing, and are not dropped.
    let many: String = (0..2000).map(|number| format!("    d{number}/**: [internal]\n")).collect();
    put(&user.join("own.yaml"), LABELS.replace("    infra/**: [internal]\n", &many));
    assert_eq!(registry.reload().problems, []);
    fixture.fetched(COMMIT, &[("a.yaml", &both("t")), ("l.yaml", LABELS)]);
    let now = registry.reload();
    assert_eq!((now.agents.len(), now.registry.is_none(), now.problems.len()), (0, true, 1));
    fs::remove_file(user.join("own.yaml")).unwrap();
    let now = registry.reload();
    assert_eq!((now.agents.len(), &now.problems), (1, &Vec::new()));
}

#[test]
fn what_is_wrong_on_a_machine_keeps_nothing_of_a_registry_from_coming_into_force() {
    let retired = both("t").replace("  owner:", "  lifecycle: retired\n  owner:");
    let fixture =
        with("local = \"personal\"", &[("a.yaml", &both("t"))], &[("manifests/user/u.cedar", FORBID)]);
    let registry = Registry::start(&fixture.home).unwrap();
    let own = fixture.dir.path().join("manifests/own.yaml");
    put(&own, both("personal"));
    let good = registry.reload();
    assert_eq!((good.agents.len(), &good.problems), (2, &Vec::new()));

    // The file breaks, and the registry retires its agent in the same moment.
    put(&own, "kind: Agent\n");
    fixture.fetched(OTHER, &[("a.yaml", &retired)]);
    let now = registry.reload();
    let standing = |snapshot: &Snapshot| -> Vec<(String, Lifecycle)> {
        let all = snapshot.agents.iter();
        all.map(|agent| (agent.reference.to_string(), agent.lifecycle)).collect()
    };
    let expected = [
        ("agent/a@personal".to_owned(), Lifecycle::Experimental),
        ("agent/a@t".to_owned(), Lifecycle::Retired),
    ];
    assert_eq!(standing(&now), expected);
    assert_eq!((now.problems.is_empty(), now.registry.as_ref().unwrap().commit.as_str()), (false, OTHER));

    // A budget that its own depends on goes: then it goes as well, its policies stay.
    let child = both("personal").replace("  cap:", "  parent: t/b\n  cap:");
    put(&own, child);
    assert_eq!(registry.reload().problems, []);
    fixture.fetched(COMMIT, &[("org.cedar", FORBID)]);
    let now = registry.reload();
    assert_eq!((standing(&now), now.problems.is_empty()), (Vec::new(), false));
    assert!(now.policies.policies().iter().any(|policy| policy.source == "user/f"));

    // A daemon that starts beside it has the registry and the user's own policies as well, unless those are what is wrong.
    fs::write(fixture.dir.path().join("manifests/org.cedar"), FORBID.replace("\"f\"", "\"g\"")).unwrap();
    let started = Registry::start(&fixture.home).unwrap().current();
    assert_eq!((started.registry.is_some(), started.problems.is_empty()), (true, false));
    let sources = |snapshot: &Snapshot, id: &str| -> Vec<String> {
        let all = snapshot.policies.policies();
        all.iter().map(|policy| policy.source.to_owned()).filter(|source| source.ends_with(id)).collect()
    };
    assert_eq!(
        (sources(&started, "/f"), sources(&started, "/g")),
        (vec!["org/f".into(), "user/f".into()], vec![])
    );
    let user = fixture.dir.path().join("manifests/user/u.cedar");
    put(&user, "forbid (");
    let started = Registry::start(&fixture.home).unwrap().current();
    assert_eq!((started.registry.is_some(), started.policies.policies().len()), (false, 0));
    put(&user, FORBID);

    // What was fetched is damaged: nothing of it is used, what is in force stays.
    fs::write(fixture.home.registry_dir().join(COMMIT).join("org.cedar"), "").unwrap();
    let damaged = registry.reload();
    assert!(damaged.problems.iter().any(|problem| problem.message.contains("not whole")));
    assert!(damaged.policies.policies().iter().any(|policy| policy.source == "org/f"));
}

#[test]
fn what_is_kept_may_be_ahead_of_what_is_in_force() {
    let fixture = with("", &[("org.cedar", FORBID)], &[]);
    let registry = Registry::start(&fixture.home).unwrap();
    let is_behind = || registry.is_behind(&config_source(&fixture.home));
    assert!(!is_behind());
    fixture.fetched(OTHER, &[("org.cedar", FORBID)]);
    assert!(is_behind());
    registry.reload();
    assert!(!is_behind());
    // Nor is it known to be the same where nobody knows what is kept.
    fs::write(fixture.home.registry_dir().join("state.json"), "{").unwrap();
    assert!(is_behind());
    let now = registry.reload();
    assert_eq!((now.registry.as_ref().unwrap().commit.as_str(), now.problems.len()), (OTHER, 1));
}

#[test]
fn a_file_that_cannot_be_read_keeps_out_at_a_start_only_what_goes_by_the_users_own() {
    let deep =
        |of: &str| format!("{of}/{}/a.yaml", (0..20).map(|at| at.to_string()).collect::<Vec<_>>().join("/"));
    let binary = |file: &str| (file.to_owned(), &b"\xff"[..]);
    for ((file, bytes), is_held) in [
        (binary("bad.yaml"), false),
        (binary("teams/t/bad.cedar"), false),
        ((deep("teams"), &b""[..]), false),
        (binary("user/bad.cedar"), true),
        ((deep("user"), &b""[..]), true),
    ] {
        let fixture = with("", &[("a.yaml", &both("t"))], &[("manifests/user/u.cedar", FORBID)]);
        let path = fixture.dir.path().join("manifests").join(&file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        let started = Registry::start(&fixture.home).unwrap().current();
        assert_eq!(started.problems.len(), 1, "{file}: {:?}", started.problems);
        assert_eq!((started.registry.is_none(), started.agents.is_empty()), (is_held, is_held), "{file}");
        assert_eq!(
            started.policies.policies().iter().any(|policy| policy.source == "user/f"),
            !is_held,
            "{file}"
        );
    }
    // Where nothing below it can be listed, nobody knows what the user says.
    let fixture = with("", &[("a.yaml", &both("t"))], &[("manifests", "")]);
    let started = Registry::start(&fixture.home).unwrap().current();
    assert_eq!((started.registry.is_none(), started.problems.len()), (true, 1), "{:?}", started.problems);
}
