//! Agents as manifests declare them: shown, retired, expired, and what becomes of their runs.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::daemon::{detached, registered, view};
use crate::fakes::home::Home;
use crate::fakes::pty::Pty;
use crate::fakes::wait::until;

const PATIENCE: Duration = Duration::from_secs(20);
/// Ends when it is asked to, and says so.
const POLITE: &str = "trap 'exit 7' TERM; echo up; while :; do sleep 1000 & wait; done";

fn manifest(home: &Home) -> std::path::PathBuf {
    home.agentsup().join("manifests/bot.yaml")
}

fn edit(home: &Home, from: &str, to: &str) {
    let text = std::fs::read_to_string(manifest(home)).unwrap();
    assert!(text.contains(from), "{text}");
    home.manifest("bot.yaml", &text.replacen(from, to, 1));
}

/// How the record tells of an event of this kind.
fn told(home: &Home, event: &str) -> Vec<String> {
    let lines = home.run(&["audit", "list", "--json"]).ok().json_lines();
    let of_kind = lines.iter().filter(|line| line["action"] == event);
    of_kind.map(|line| line["sentence"].as_str().unwrap().to_owned()).collect()
}

/// Waits until the run is over; its state and how it ended.
fn end_of(home: &Home, run: &Value) -> (String, String) {
    let id = run["id"].as_str().unwrap();
    let is_over = || !view(home, id)["ended_at_ms"].is_null();
    assert!(until(PATIENCE, is_over), "{}", view(home, id));
    let over = view(home, id);
    (over["state"].as_str().unwrap().to_owned(), over["exit"].as_str().unwrap().to_owned())
}

fn field(agent: &Value, name: &str) -> Value {
    let fields = agent["fields"].as_array().unwrap();
    let field = fields.iter().find(|field| field["field"] == name).unwrap_or_else(|| panic!("no {name}"));
    json!([field["value"], field["line"], field["default"]])
}

#[test]
fn an_agent_is_shown_with_what_says_each_thing_of_it() {
    let home = registered();
    edit(&home, "  lifecycle: experimental\n", "");
    edit(&home, "  credentials: { ttl: 15m }\n", "  deprovision: { at: 2027-06-30 }\n");
    let run = detached(&home, POLITE);
    let agent = home.run(&["agent", "show", "bot", "--json"]).ok().json();
    let expected = json!({
        "agent": "agent/bot@team-test",
        "owner": "user:default/tester",
        "standing": "active",
        "file": manifest(&home),
        "line": 4,
        "runs": [run["id"]],
        "expires_at_ms": 1_814_313_600_000_i64,
        "budget": "team-test/bot",
        "problems": [],
    });
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(agent[key], *value, "{key}");
    }
    assert_eq!(field(&agent, "spec.owner"), json!(["user:default/tester", 7, null]));
    let why = "an agent is tried before it is relied upon";
    assert_eq!(field(&agent, "spec.lifecycle"), json!(["experimental", null, why]));
    assert_eq!(field(&agent, "spec.credentials.ttl"), json!(["15m", null, "short-lived"]));
    assert_eq!(field(&agent, "spec.deprovision.at"), json!(["2027-06-30 00:00:00Z", 18, null]));
    assert_eq!(agent["budgets"][0]["remaining_nano_usd"], 10_000_000_000_i64);
    assert_eq!(agent["ends"].as_array().unwrap().len(), 2, "the period's end comes before the agent's");

    let text = home.run(&["agent", "show", "bot"]).ok().stdout.clone();
    for words in ["default: an agent is tried before", "line 7", "bot.yaml:4", "2027"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let list = home.run(&["agent", "list", "--json"]).ok().json();
    assert_eq!((&list[0]["agent"], list.as_array().unwrap().len()), (&agent["agent"], 1));
    home.run(&["agent", "show", "nobody"]).exits(2);

    // A broken file beside it: what is shown is what is in force, and it says so.
    home.manifest("broken.yaml", "kind: Agent\n");
    let problem = || home.run(&["agent", "show", "bot", "--json"]).ok().json()["problems"][0].clone();
    assert!(until(PATIENCE, || problem().as_str().is_some_and(|text| text.contains("broken.yaml:1:1"))));
}

#[test]
fn a_retired_agent_starts_nothing_and_its_runs_are_stopped() {
    let home = registered();
    let before = std::fs::read_to_string(manifest(&home)).unwrap();
    let run = detached(&home, POLITE);
    assert!(until(PATIENCE, || home.run(&["logs", "latest"]).stdout.contains("up")));

    let retired = home.run(&["agent", "retire", "bot"]);
    assert_eq!(retired.ok().stdout, "agent/bot@team-test is retired\n");
    assert!(retired.stderr.contains("to undo it, write `lifecycle: experimental` into"), "{retired}");
    let after = before.replace("lifecycle: experimental", "lifecycle: retired");
    assert_eq!(std::fs::read_to_string(manifest(&home)).unwrap(), after, "one word of the file changed");

    let why = "agent/bot@team-test is retired";
    assert_eq!(end_of(&home, &run), ("exited".into(), format!("exit 7, because {why}")));
    let stopped = told(&home, "run-deprovisioned");
    assert_eq!(stopped.len(), 1, "{stopped:?}");
    assert!(stopped[0].contains(&format!("is being stopped, because {why}")), "{stopped:?}");
    assert_eq!(told(&home, "agent-retired").len(), 1);

    let refused = home.run(&["run", "--agent", "bot", "command", "--", "true"]);
    refused.exits(90);
    assert!(refused.stderr.contains("retired"), "{refused}");
    home.run(&["agent", "retire", "bot"]).exits(2);
    assert_eq!(home.run(&["agent", "list", "--json"]).ok().json()[0]["standing"], "retired");

    home.manifest("bot.yaml", &before);
    let runs_again = || home.run(&["run", "command", "--", "true"]).status.success();
    assert!(until(PATIENCE, runs_again), "undone by hand");
    home.run(&["audit", "verify"]).ok();
}

#[test]
fn a_run_ends_when_its_agents_time_does() {
    let home = registered();
    let run = detached(&home, POLITE);
    assert!(until(PATIENCE, || home.run(&["logs", "latest"]).stdout.contains("up")));
    let at_ms =
        u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap() + 2000;
    let at = text_of(at_ms);
    edit(&home, "  credentials: { ttl: 15m }\n", &format!("  deprovision: {{ at: {at} }}\n"));
    assert_eq!(
        end_of(&home, &run),
        ("exited".into(), "exit 7, because the time of agent/bot@team-test is over".into())
    );
    let ended_at_ms = view(&home, run["id"].as_str().unwrap())["ended_at_ms"].as_u64().unwrap();
    assert!(ended_at_ms >= at_ms, "not before its time");
    let refused = home.run(&["run", "command", "--", "true"]);
    refused.exits(90);
    assert!(refused.stderr.contains("is over"), "{refused}");
}

#[test]
fn a_daemon_stops_what_expired_while_there_was_none() {
    let home = registered();
    let run = detached(&home, POLITE);
    assert!(until(PATIENCE, || home.run(&["logs", "latest"]).stdout.contains("up")));
    home.run(&["daemon", "stop"]).ok();
    edit(&home, "  credentials: { ttl: 15m }\n", "  deprovision: { at: 2020-01-01 }\n");
    let (state, how) = end_of(&home, &run);
    assert_eq!((state.as_str(), how.contains("is over")), ("exited", true), "{how}");
}

/// Flags that say everything that must be said, but for the name.
const SAID: [&str; 12] = [
    "--purpose",
    "Review: \"all\" of it",
    "--owner",
    "user:default/alice",
    "--tools",
    "read,shell,notes/*",
    "--environments",
    "dev",
    "--cap",
    "5.00 USD",
    "--expires",
    "2100-01-01",
];

#[test]
fn an_agent_is_registered_once_the_reader_has_nothing_against_it() {
    let home = Home::new();
    let register = |home: &Home, name: &str, more: &[&str]| {
        home.run(&[&["agent", "register", name], SAID.as_slice(), more].concat())
    };
    let file = home.agentsup().join("manifests/teams/team-a/reviewer.yaml");
    let silent = home.run(&["agent", "register", "reviewer@team-a", "--purpose", "x"]);
    silent.exits(2);
    let missing = "nobody is there to be asked for --owner, --tools, --environments, --cap, --expires";
    assert!(silent.stderr.contains(missing), "{silent}");
    for bad in [["--models", "[a]"], ["--adapters", "Claude"], ["--repositories", "!x"]] {
        let refused = register(&home, "reviewer@team-a", &bad);
        refused.exits(2);
        assert!(refused.stderr.contains(&bad[0][2..]), "{refused}");
    }
    register(&home, "Reviewer", &[]).exits(2);
    home.manifest("broken.yaml", "kind: Agent\n");
    let refused = register(&home, "reviewer@team-a", &[]);
    refused.exits(96);
    assert!(
        refused.stderr.contains("so nothing is written") && refused.stderr.contains("broken.yaml"),
        "{refused}"
    );
    assert!(!home.agentsup().join("manifests/teams").exists(), "nothing was written");
    std::fs::remove_file(home.agentsup().join("manifests/broken.yaml")).unwrap();

    let registered = register(&home, "reviewer@team-a", &["--adapters", "command", "--json"]).ok().json();
    assert_eq!((&registered["agent"], &registered["file"]), (&json!("agent/reviewer@team-a"), &json!(file)));
    let agent = home.run(&["agent", "show", "reviewer", "--json"]).ok().json();
    assert_eq!(agent["purpose"], "Review: \"all\" of it");
    assert_eq!(field(&agent, "spec.tools.builtin")[0], json!(["read", "shell"]));
    assert_eq!(agent["problems"], json!(["no MCP server `notes` is configured"]));
    assert_eq!(agent["budgets"][0]["remaining_nano_usd"], 5_000_000_000_i64);
    home.run(&["run", "--agent", "reviewer", "command", "--", "true"]).ok();
    assert_eq!(told(&home, "agent-registered").len(), 1);

    let before = std::fs::read_to_string(&file).unwrap();
    let again = register(&home, "reviewer@team-a", &[]);
    again.exits(2);
    assert!(again.stderr.contains("is registered in"), "{again}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), before);
}

#[test]
fn what_no_flag_says_is_asked_for() {
    let home = Home::new();
    let cli = home.cli(&["agent", "register", "--cap", "5.00 USD", "--expires", "2100-01-01"]);
    let form = Pty::start(&cli, 40, 140);
    for (question, answer) in [
        ("of which team", "helper@team-a\r"),
        ("What is it for?", "Help out\r"),
        ("Who answers for it? [me]", "group:default/all\r"),
        ("cannot be accountable", "user:default/bob\r"),
        ("Which tools", "\r"),
        ("Where may it act? [dev]", "\r"),
    ] {
        form.wait_for(question, PATIENCE);
        form.keys(answer);
    }
    assert_eq!(form.wait_exit(PATIENCE), 0, "{}", form.screen());
    let agent = home.run(&["agent", "show", "helper@team-a", "--json"]).ok().json();
    assert_eq!((&agent["owner"], &agent["purpose"]), (&json!("user:default/bob"), &json!("Help out")));
    assert_eq!(field(&agent, "spec.tools.builtin")[0], json!(["read", "edit", "shell"]));
}

#[test]
fn the_published_schemas_name_their_dialect() {
    let home = Home::new();
    for (of, id) in
        [("agent", "agent.json"), ("budget", "budget.json"), ("policy", "policy.json"), ("", "manifest.json")]
    {
        let args: Vec<&str> = ["schema", of].into_iter().filter(|word| !word.is_empty()).collect();
        let schema = home.run(&args).ok().json();
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
        assert!(schema["$id"].as_str().unwrap().ends_with(id), "{schema}");
    }
    assert!(home.run(&["schema", "cedar"]).ok().stdout.contains("entity"));
    assert!(!home.agentsup().join("state").exists(), "no daemon was started");
}

/// The time as a manifest has it, in UTC.
fn text_of(at_ms: u64) -> String {
    let seconds = format!("{}.{:03}", at_ms / 1000, at_ms % 1000);
    let sql = "SELECT strftime('%Y-%m-%dT%H:%M:%fZ', ?1, 'unixepoch')";
    let clock = rusqlite::Connection::open_in_memory().unwrap();
    clock.query_row(sql, [seconds], |row| row.get(0)).unwrap()
}
