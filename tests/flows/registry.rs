//! The registry in git, with real git against a repository on this machine: proposed, reviewed, in force, and not.

mod ends;
mod kept;
mod remotes;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::daemon::detached;
use crate::fakes::home::{Home, Manifest};
use crate::fakes::wait::until;

const PATIENCE: Duration = Duration::from_secs(20);
const POLITE: &str = "trap 'exit 7' TERM; echo up; while :; do sleep 1000 & wait; done";
const ORG: &str = "@id(\"no-tools\")\nforbid (principal, action == Action::\"llm\", resource);\n";
const NO_RUNS: &str = "@id(\"no-runs\")\nforbid (principal, action == Action::\"launch\", resource);\n";

/// An organisation's repository, a checkout of it, and a home that takes its agents from there.
struct Org {
    home: Home,
}

impl Org {
    fn new(more: &str) -> Self {
        let mut home = Home::new();
        std::fs::create_dir_all(home.path("org")).unwrap();
        home.git_in(&home.path("org"), &["init", "--quiet", "--bare", "--initial-branch=main", "agents.git"]);
        home.git_in(&home.path("org"), &["clone", "--quiet", "agents.git", "checkout"]);
        let identity = "[user]\n\tname = Alice Example\n\temail = alice@example.invalid\n";
        std::fs::write(home.path("user/.gitconfig"), identity).unwrap();
        let git = home.path("org/agents.git").display().to_string();
        home.config(&format!("[registry]\ngit = \"{git}\"\npath = \"agents\"\n{more}"));
        let org = Self { home };
        org.merge("agents/teams/team-test/bot.yaml", &Manifest::default().text("bot"), "Register bot");
        org
    }

    fn checkout(&self) -> PathBuf {
        self.home.path("org/checkout")
    }

    fn git(&self, args: &[&str]) -> String {
        self.home.git_in(&self.checkout(), args)
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.checkout().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Commits what the checkout holds and pushes it to `main`.
    fn push(&self, message: &str) -> String {
        self.git(&["add", "--all", "."]);
        self.git(&["commit", "--quiet", "--message", message]);
        self.git(&["push", "--quiet", "origin", "HEAD:main"]);
        self.git(&["rev-parse", "HEAD"])
    }

    fn merge(&self, file: &str, text: &str, message: &str) -> String {
        self.write(file, text);
        self.push(message)
    }

    /// What a reviewer does with a branch.
    fn merge_branch(&self, branch: &str) -> String {
        self.git(&["fetch", "--quiet", "origin"]);
        self.git(&["merge", "--quiet", "--no-edit", "--no-ff", &format!("origin/{branch}")]);
        self.git(&["push", "--quiet", "origin", "HEAD:main"]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// Looks at the repository now, which must end with this exit code.
    fn sync(&self, code: i32, args: &[&str]) -> Value {
        let output = self.home.run(&[&["sync", "--json"], args].concat());
        output.exits(code);
        serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{output}"))
    }

    fn agents(&self) -> Vec<String> {
        let agents = self.home.run(&["agent", "list", "--json"]).ok().json();
        let names = agents.as_array().unwrap().iter();
        names
            .map(|agent| {
                format!("{} {}", agent["name"].as_str().unwrap(), agent["standing"].as_str().unwrap())
            })
            .collect()
    }

    fn events(&self, kind: &str) -> Vec<String> {
        let lines = self.home.run(&["audit", "list", "--json"]).ok().json_lines();
        let of_kind = lines.iter().filter(|line| line["action"] == kind);
        of_kind.map(|line| line["sentence"].as_str().unwrap().to_owned()).collect()
    }

    fn doctor(&self, code: i32) -> Value {
        let output = self.home.run(&["doctor", "--json"]);
        output.exits(code);
        serde_json::from_str(&output.stdout).unwrap()
    }
}

fn changes(synced: &Value) -> Vec<String> {
    let words = |change: &Value| {
        ["how", "what", "name"].map(|key| change[key].as_str().unwrap().to_owned()).join(" ")
    };
    synced["changes"].as_array().unwrap().iter().map(words).collect()
}

const SAID: [&str; 14] = [
    "--purpose",
    "Review pull requests",
    "--owner",
    "user:default/alice",
    "--tools",
    "read,shell",
    "--environments",
    "dev",
    "--cap",
    "5.00 USD",
    "--expires",
    "2100-01-01",
    "--adapters",
    "command",
];

#[test]
fn an_agent_is_proposed_reviewed_and_in_force() {
    let org = Org::new("");
    let first = org.git(&["rev-parse", "HEAD"]);
    let home = &org.home;
    let proposed = home
        .run(&[&["agent", "register", "reviewer@team-a", "--json"], SAID.as_slice()].concat())
        .ok()
        .json();
    assert_eq!(
        (&proposed["agent"], &proposed["standing"]),
        (&json!("agent/reviewer@team-a"), &json!("proposed"))
    );
    let proposal = &proposed["proposal"];
    assert_eq!(
        (&proposal["branch"], &proposal["onto"]),
        (&json!("register/team-a-reviewer"), &json!("main"))
    );
    assert_eq!(proposal["file"], "agents/teams/team-a/reviewer.yaml");
    assert_eq!(proposal["review"], Value::Null, "a directory has no page for reviews");
    org.git(&["fetch", "--quiet", "origin"]);
    let shown = org.git(&[
        "log",
        "-1",
        "--format=%an <%ae> %s %P",
        "--name-status",
        "origin/register/team-a-reviewer",
    ]);
    let expected = format!(
        "Alice Example <alice@example.invalid> Register agent/reviewer@team-a {first}\n\n\
         A\tagents/teams/team-a/reviewer.yaml"
    );
    assert_eq!(shown, expected);
    assert_eq!(org.git(&["rev-parse", "origin/main"]), first, "main is where it was");

    // Nothing of it is in force before a person has merged it and it was fetched.
    assert_eq!(org.agents(), ["bot active"]);
    home.run(&["run", "--agent", "reviewer", "command", "--", "true"]).exits(2);
    let again = home.run(&[&["agent", "register", "reviewer@team-a"], SAID.as_slice()].concat());
    again.exits(2);
    assert!(again.stderr.contains("has a branch `register/team-a-reviewer` already"), "{again}");

    let merged = org.merge_branch("register/team-a-reviewer");
    let synced = org.sync(0, &[]);
    assert_eq!((&synced["commit"], &synced["before"]), (&json!(merged), &json!(first)));
    assert_eq!(changes(&synced), ["added agent agent/reviewer@team-a", "added budget team-a/reviewer"]);
    let agent = home.run(&["agent", "show", "reviewer", "--json"]).ok().json();
    assert_eq!(
        (&agent["file"], &agent["commit"], &agent["line"]),
        (&json!("agents/teams/team-a/reviewer.yaml"), &json!(merged), &json!(5))
    );
    let text = home.run(&["agent", "show", "reviewer"]).ok().stdout.clone();
    assert!(text.contains(&format!("agents/teams/team-a/reviewer.yaml@{}:5", &merged[..12])), "{text}");
    home.run(&["run", "--agent", "reviewer", "command", "--", "true"]).ok();
    let told = org.events("registry-in-force");
    assert!(
        told.last().unwrap().contains(&format!("the registry's commit {} came into force", &merged[..12]))
    );

    assert_eq!(org.events("agent-proposed").len(), 1);
    home.run(&["audit", "verify"]).ok();
}

#[test]
fn what_is_broken_stays_out_and_the_last_good_one_in_force_also_offline_and_over_a_restart() {
    let org = Org::new("");
    // The daemon looks by itself when it starts.
    assert!(until(PATIENCE, || org.agents() == ["bot active"]));
    let good = org.git(&["rev-parse", "HEAD"]);
    let bot = Manifest::default().text("bot");
    let cases: [(&str, u64, &dyn Fn()); 4] = [
        ("agents/teams/team-test/bot.yaml@", 9, &|| {
            org.write("agents/teams/team-test/bot.yaml", &bot.replace("lifecycle:", "lifecycel:"));
        }),
        ("agents/teams/other/bot.yaml@", 4, &|| {
            org.write(
                "agents/teams/other/bot.yaml",
                &bot.replace("name: bot", "name: other").replace("budget: bot", "budget: other"),
            );
        }),
        ("agents/link.cedar@", 0, &|| {
            std::os::unix::fs::symlink("/etc/passwd", org.checkout().join("agents/link.cedar")).unwrap();
        }),
        ("agents/mine.yaml@", 4, &|| org.write("agents/mine.yaml", &bot.replace("team-test", "personal"))),
    ];
    for (named, line, breaks) in cases {
        breaks();
        let bad = org.push("Break it");
        let synced = org.sync(96, &[]);
        assert_eq!((&synced["state"], &synced["commit"]), (&json!("invalid"), &json!(good)), "{synced}");
        let first = &synced["problems"][0];
        assert_eq!(
            (&first["file"], &first["line"]),
            (&json!(format!("{named}{}", &bad[..12])), &json!(line))
        );
        assert_eq!(org.agents(), ["bot active"]);
        let doctor = org.doctor(96);
        assert!(doctor["problems"][0].as_str().unwrap().starts_with(named), "{doctor}");
        org.git(&["revert", "--no-edit", "HEAD"]);
        org.git(&["push", "--quiet", "origin", "HEAD:main"]);
    }
    assert_eq!(org.events("registry-refused").len(), cases.len());
    org.merge("agents/org.cedar", ORG, "Forbid tools");
    assert_eq!(changes(&org.sync(0, &[])), ["added policies org.cedar"]);
    let listed = org.home.run(&["policy", "list", "--json"]).ok().json();
    let org_wide =
        listed.as_array().unwrap().iter().find(|policy| policy["source"] == "org/no-tools").unwrap();
    assert!(org_wide.to_string().contains("agents/org.cedar@"), "{org_wide}");

    // Out of reach: what was fetched last holds, and is there for the next daemon.
    let good = org.git(&["rev-parse", "HEAD"]);
    let (there, away) = (org.home.path("org/agents.git"), org.home.path("org/away.git"));
    std::fs::rename(&there, &away).unwrap();
    let offline = org.home.run(&["sync"]);
    offline.exits(97);
    assert!(offline.stderr.contains("cannot be had"), "{offline}");
    org.home.run(&["daemon", "stop"]).ok();
    assert_eq!(org.agents(), ["bot active"]);
    org.home.run(&["run", "command", "--", "true"]).ok();
    let doctor = org.doctor(0);
    assert_eq!((&doctor["registry"]["commit"], &doctor["problems"]), (&json!(good), &json!([])));
    assert_eq!(doctor["registry"]["look"]["found"]["state"], "unreachable");
    std::fs::rename(&away, &there).unwrap();
    assert_eq!(org.sync(0, &[])["changes"], json!([]));

    // A file that is gone from what was kept could be the one that forbids: nothing of it is used, and it is fetched anew.
    org.home.run(&["daemon", "stop"]).ok();
    let kept = org.home.agentsup().join("state/registry").join(&good);
    std::fs::remove_file(kept.join("org.cedar")).unwrap();
    assert!(org.doctor(96)["problems"][0].as_str().unwrap().contains("not whole any more"));
    assert_eq!(org.sync(0, &[])["commit"], json!(good));
    assert!(kept.join("org.cedar").exists());
    assert_eq!((org.agents(), org.events("registry-restored").len()), (vec!["bot active".to_owned()], 1));
}

#[test]
fn a_rewound_branch_is_refused_until_somebody_accepts_it() {
    let org = Org::new("");
    let first = org.git(&["rev-parse", "HEAD"]);
    let second = org.merge("agents/org.cedar", ORG, "Forbid tools");
    assert_eq!(org.sync(0, &[])["commit"], json!(second));
    let rewind = |to: &str| {
        org.git(&["push", "--quiet", "--force", "origin", &format!("{to}:main")]);
    };
    rewind(&first);
    for _ in 0..2 {
        let synced = org.sync(96, &[]);
        assert_eq!((&synced["state"], &synced["commit"]), (&json!("rewound"), &json!(second)));
    }
    let told = org.events("registry-rewound");
    assert_eq!(told.len(), 1, "told once: {told:?}");
    assert!(told[0].contains(&format!("was rewound to {}", &first[..12])), "{told:?}");
    assert!(org.doctor(96)["problems"][0].as_str().unwrap().contains("was rewound"));
    let text = org.home.run(&["sync"]);
    assert!(text.stderr.contains(&format!("agentsup sync --accept {}", &first[..12])), "{text}");
    let proposal = org.home.run(&[&["agent", "register", "x@team-a"], SAID.as_slice()].concat());
    proposal.exits(96);

    // What is accepted is a commit, not whatever comes.
    for other in [&second[..12], "", &first[..6]] {
        org.home.run(&["sync", "--accept", other]).exits(2);
    }
    let accepted = org.sync(0, &["--accept", &first[..12]]);
    assert_eq!(
        (&accepted["commit"], changes(&accepted)),
        (&json!(first), vec!["removed policies org.cedar".to_owned()])
    );
    let told = org.events("registry-rewind-accepted");
    assert!(
        told.len() == 1 && told[0].contains("accepted that the registry's branch was rewound"),
        "{told:?}"
    );
    // Accepting is for once.
    rewind(&second);
    assert_eq!(org.sync(0, &[])["commit"], json!(second), "it goes on from the first");
    rewind(&first);
    assert_eq!(org.sync(96, &[])["state"], "rewound");
}

#[test]
fn files_on_the_machine_tighten_and_never_add_to_a_registry() {
    let mut org = Org::new("");
    assert_eq!(org.sync(0, &[])["state"], "current");
    let problem = |org: &Org| org.doctor(96)["problems"][0].as_str().unwrap().to_owned();
    let file = |org: &Org, name: &str| org.home.agentsup().join("manifests").join(name);
    for (name, text, said) in [
        (
            "mine.yaml",
            Manifest::default().text("mine"),
            "Agent `mine` of `team-test` is declared on this machine",
        ),
        (
            "default.yaml",
            Manifest::default().text("mine").replace("team-test", "personal"),
            "is declared on this machine",
        ),
        ("more.cedar", ORG.to_owned(), "policies come from"),
        ("teams/team-test/more.cedar", ORG.to_owned(), "policies come from"),
    ] {
        org.home.manifest(name, &text);
        assert!(problem(&org).contains(said), "{name}: {}", problem(&org));
        assert!(until(PATIENCE, || !org.home.run(&["daemon", "status", "--json"]).ok().json()["problems"]
            .as_array()
            .unwrap()
            .is_empty()));
        assert_eq!(org.agents(), ["bot active"]);
        if name == "mine.yaml" {
            // It does not keep what the registry says from coming into force either.
            let retired = Manifest::default().text("bot").replace("experimental", "retired");
            org.merge("agents/teams/team-test/bot.yaml", &retired, "Retire it");
            assert_eq!(changes(&org.sync(96, &[])), ["retired agent agent/bot@team-test"]);
            assert_eq!(org.agents(), ["bot retired"]);
            org.merge("agents/teams/team-test/bot.yaml", &Manifest::default().text("bot"), "Undo it");
            org.sync(96, &[]);
            assert_eq!(org.agents(), ["bot active"]);
        }
        std::fs::remove_file(file(&org, name)).unwrap();
    }
    let refused = org.home.run(&["init", "--cap", "5.00 USD"]);
    refused.exits(96);
    assert!(refused.stderr.contains("local = \"personal\""), "{refused}");
    assert!(!file(&org, "personal.yaml").exists(), "nothing was written that would only be a problem");

    org.home.manifest("user/own.cedar", NO_RUNS);
    assert!(until(PATIENCE, || !org.home.run(&["run", "command", "--", "true"]).status.success()));
    std::fs::remove_file(file(&org, "user/own.cedar")).unwrap();

    // The user's own agents, where the configuration lets them in: under the policies of the registry.
    org.home.config("local = \"personal\"");
    assert!(until(PATIENCE, || org.home.run(&["init", "--cap", "5.00 USD"]).status.success()));
    assert_eq!(org.agents(), ["default active", "bot active"]);
    let own = org
        .home
        .run(&[&["agent", "register", "own@personal", "--json"], SAID.as_slice()].concat())
        .ok()
        .json();
    assert_eq!((&own["standing"], &own["proposal"]), (&json!("active"), &Value::Null));
    org.merge("agents/org.cedar", NO_RUNS, "Forbid runs");
    org.sync(0, &[]);
    org.home.run(&["run", "--agent", "default", "command", "--", "true"]).exits(90);
}

#[test]
fn nothing_is_in_force_before_something_was_fetched_and_leaving_a_registry_is_on_the_record() {
    let mut home = Home::new();
    home.run(&["sync"]).exits(2);
    home.config(&format!("[registry]\ngit = \"{}\"", home.path("nowhere").display()));
    let refused = || home.run(&["run", "command", "--", "true"]);
    assert!(until(PATIENCE, || refused().stderr.contains("nothing of it is in force yet")), "{}", refused());
    drop(home);

    let org = Org::new("");
    org.sync(0, &[]);
    let run = detached(&org.home, POLITE);
    std::fs::write(org.home.agentsup().join("config.toml"), "").unwrap();
    assert!(until(PATIENCE, || org.agents().is_empty()));
    assert!(until(PATIENCE, || org.events("registry-left").len() == 1));
    let id = run["id"].as_str().unwrap();
    org.home.run(&["kill", id]).ok();
    assert!(!Path::new(&org.home.agentsup().join("manifests/teams")).exists());
}
