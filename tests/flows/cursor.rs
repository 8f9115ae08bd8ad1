//! Cursor CLI on a login of the user's own, made up here. The client is a stand-in that keeps to what is published,
//! because the real one cannot be had for tests (`fakes/cursor.mjs`); everything else is real.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::fakes::cli::{Cli, Output};
use crate::fakes::home::{Home, Manifest, search_path};
use crate::fakes::mcp::{McpScript, McpServer};
use crate::fakes::pty::Pty;
use crate::fakes::server::dead_url;
use crate::fakes::wait::until;

const PATIENCE: Duration = Duration::from_secs(60);
/// A made-up login.
const LOGIN: &str = "made-up-cursor-login";
const SECRET: &str = "the-private-key-of-the-user";
/// Prices of Auto, in nano-USD a token; an override that tells no more takes the cache's to be those of input.
const AUTO: &str = "[prices.\"cursor/default\"]\ninput = 1000\noutput = 6000\ncache_read = 250\n";

/// A user who is logged in, and the stand-in for their client.
struct World {
    home: Home,
    programs: PathBuf,
}

impl World {
    fn new(manifest: &Manifest, script: Value) -> Self {
        Self::priced(manifest, script, AUTO)
    }

    fn priced(manifest: &Manifest, script: Value, prices: &str) -> Self {
        let mut home = Home::new();
        home.providers(&dead_url(), &(dead_url() + "/v1")).config(prices);
        home.agent("bot", manifest);
        let write = |path: &str, text: &str| {
            let path = home.path(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("user/.config/cursor/auth.json", LOGIN);
        write("user/.ssh/id_rsa", SECRET);
        let own = format!("touch {}", home.path("own-hook-ran").display());
        write(
            "user/.cursor/hooks.json",
            &json!({ "version": 1, "hooks": { "sessionStart": [{ "command": own }] } }).to_string(),
        );
        let mut script = script;
        script["log"] = json!(home.path("log"));
        write("script.json", &script.to_string());
        let stand_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fakes/cursor.mjs");
        let program = format!(
            "#!/bin/sh\nexport FAKE_CURSOR='{}'\nexec node '{}' \"$@\"\n",
            home.path("script.json").display(),
            stand_in.display()
        );
        write("programs/cursor-agent", &program);
        let programs = home.path("programs");
        let executable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(programs.join("cursor-agent"), executable).unwrap();
        Self { home, programs }
    }

    fn cli(&self, args: &[&str]) -> Cli {
        let path = format!("{}:{}", self.programs.display(), search_path());
        self.home.cli(args).env("PATH", &path).timeout(PATIENCE)
    }

    fn run(&self, args: &[&str]) -> Output {
        self.cli(args).run()
    }

    /// What the stand-in wrote down.
    fn log(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.home.path("log")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn tools(&self) -> Vec<Value> {
        self.log().into_iter().filter(|entry| entry["tool"].is_string()).collect()
    }

    /// The steps that were called, with how their hook answered.
    fn hooks(&self) -> Vec<String> {
        let log = self.log();
        let hooks = log.iter().filter(|entry| entry["hook"].is_string());
        hooks
            .map(|hook| {
                format!(
                    "{} {} {}",
                    hook["hook"].as_str().unwrap(),
                    hook["code"],
                    hook["out"].as_str().unwrap()
                )
            })
            .collect()
    }

    fn ps(&self) -> Value {
        self.home.run(&["ps", "--all", "--json"]).ok().json()[0].clone()
    }

    fn sentences(&self) -> Vec<String> {
        let lines = self.home.run(&["audit", "list", "--json"]).ok().json_lines();
        lines.iter().filter_map(|line| line["sentence"].as_str()).map(str::to_owned).collect()
    }

    /// Asserts that the ledger has exactly this, and that log and ledger agree.
    fn assert_posted(&self, nano_usd: u64) {
        let budget = self.home.run(&["budget", "show", "bot", "--json"]).ok().json();
        let ledger = (&budget["posted_nano_usd"], &budget["pending_nano_usd"], &budget["reported_nano_usd"]);
        assert_eq!(ledger, (&json!(nano_usd), &json!(0), &json!(nano_usd)), "{budget}");
        self.home.run(&["audit", "verify"]).ok();
    }

    fn terminal(&self) -> Pty {
        let terminal = Pty::start(&self.cli(&["run", "cursor"]), 30, 200);
        terminal.wait_for("Cursor Agent", PATIENCE);
        terminal
    }
}

fn subscribed() -> Manifest {
    Manifest::default().billing("either")
}

fn turn(steps: Value, usage: Value) -> Value {
    json!({ "steps": steps, "usage": usage, "text": "All is done." })
}

#[test]
fn headless_its_tools_are_decided_and_its_turn_is_counted_by_what_it_prints() {
    let mut notes = McpServer::start(McpScript::default());
    let steps = json!([
        { "write": "new.txt", "text": "new\n" },
        { "shell": "cat ~/.ssh/id_rsa" },
        { "mcp": "docs_echo", "args": { "text": "hello" } },
        { "mcp": "echo", "args": {}, "server": "https://evil.example/mcp" },
        { "shell": "git config user.name; ls ~/.cursor" },
        { "shell": "cat ~/.config/cursor/auth.json" },
    ]);
    let mut world =
        World::new(&subscribed(), json!({ "turns": [turn(steps, json!([14_125, 111, 28_224, 0]))] }));
    world.home.mcp_http("docs", &notes.url());
    let run = world.run(&["run", "cursor", "--", "-p", "Look"]);
    assert_eq!(run.ok().stdout, "All is done.\n", "{run}");
    assert!(
        run.stderr.contains(" at list price on a subscription (metered, not enforced), 1 model call"),
        "{run}"
    );
    world.assert_posted(14_125 * 1000 + 111 * 6000 + 28_224 * 250);
    let tools = world.tools();
    assert_eq!(tools[0]["output"], "{}");
    let denied = tools[1]["denied"].as_str().unwrap();
    assert!(denied.contains("denied"), "{denied}");
    assert!(tools[2]["output"].as_str().unwrap().contains("hello"), "{tools:?}");
    assert!(tools[3]["denied"].is_string(), "a server that is not ours: {tools:?}");
    assert_eq!(tools[4]["output"], "Test User\nhooks.json\nmcp.json\n", "the rest of its home is the user's");
    assert!(tools[5]["denied"].is_string(), "its own login: {tools:?}");
    notes.stop();

    let sentences = world.sentences();
    let told = "called the model `cursor/default` past the gateway on a subscription (list-price equivalent, metered, not enforced)";
    assert!(sentences.iter().any(|line| line.contains(told)), "{sentences:#?}");
    assert!(!world.home.path("own-hook-ran").exists(), "of the user's hooks none is called");
    let own = std::fs::read_dir(world.home.path("user/.cursor")).unwrap().count();
    assert_eq!(own, 1, "nothing is written where the user's own configuration is");
    let environment = world.log()[0]["env"].to_string();
    assert!(!environment.contains("_API_KEY") && !environment.contains("_BASE_URL"), "{environment}");
    let begun: Vec<String> = world.hooks().into_iter().take(2).collect();
    assert_eq!(begun, [r#"sessionStart 0 {"continue":true}"#, r#"preToolUse 0 {"permission":"allow"}"#]);
    assert_eq!((&world.ps()["billing"], &world.ps()["state"]), (&json!("subscription"), &json!("exited")));
}

#[test]
fn in_a_terminal_each_turn_counts_once_and_a_prompt_is_refused_when_nothing_is_left() {
    let turns = json!([
        turn(json!([{ "read": "README.md" }]), json!([1000, 100, 0, 0])),
        turn(json!([]), json!([2000, 0, 0, 0]))
    ]);
    let world = World::new(&subscribed(), json!({ "turns": turns }));
    let terminal = world.terminal();
    terminal.keys("Look\r");
    terminal.wait_for("All is done.", PATIENCE);
    world.assert_posted(1000 * 1000 + 100 * 6000);
    world.home.run(&["budget", "lower", "bot", "9.999 USD", "--reason", "a test"]).ok();
    terminal.keys("More\r");
    terminal.wait_for("Prompt refused: agentsup: over budget: 0.0016 USD of 0.001 USD are spent", PATIENCE);
    terminal.keys("/exit\r");
    assert_eq!(terminal.wait_exit(PATIENCE), 0, "{}", terminal.screen());
    let hooks = world.hooks();
    let steps: Vec<&str> = hooks.iter().map(|hook| hook.split(' ').next().unwrap()).collect();
    let expected =
        ["sessionStart", "beforeSubmitPrompt", "preToolUse", "postToolUse", "stop", "beforeSubmitPrompt"];
    assert_eq!(steps, expected);
    assert_eq!(hooks[4], "stop 0 {}");
    // The next one does not even begin.
    let refused = world.run(&["run", "cursor", "--", "-p", "More"]);
    refused.exits(92);
    world.assert_posted(1_600_000);
}

#[test]
fn at_the_budgets_end_it_is_killed() {
    let turns = json!([turn(json!([{ "read": "README.md" }]), json!([60_000, 0, 0, 0]))]);
    let world = World::new(&subscribed().cap("0.05 USD"), json!({ "turns": turns }));
    let terminal = world.terminal();
    terminal.keys("Look\r");
    assert_eq!(terminal.wait_exit(PATIENCE), 92, "{}", terminal.screen());
    assert_eq!(world.ps()["state"], "killed");
    world.assert_posted(60_000_000);

    let headless = World::new(
        &subscribed().cap("0.05 USD"),
        json!({ "model": "claude-opus-5-5-thinking-high", "turns": [turn(json!([]), json!([10_000, 1000, 0, 0]))] }),
    );
    headless.run(&["run", "cursor", "--", "-p", "Look"]).exits(92);
    headless.assert_posted(10_000 * 4000 + 1000 * 20_000);
    let priced =
        headless.sentences().iter().any(|line| line.contains("; at the price of `claude-opus-5-5`)"));
    assert!(priced, "{:#?}", headless.sentences());
}

#[test]
fn without_a_price_for_what_it_chooses_itself_the_dearest_counts_and_that_is_told_before() {
    let turns = json!([turn(json!([]), json!([1000, 0, 0, 0]))]);
    let world = World::priced(&subscribed(), json!({ "turns": turns }), "");
    let run = world.run(&["run", "cursor", "--", "-p", "Look"]);
    let told = "counts as the dearest that is known, unless [prices.\"cursor/default\"] in config.toml says";
    assert!(run.ok().stderr.contains(told), "{run}");
    let sentences = world.sentences();
    assert!(sentences.iter().any(|line| line.contains("; at the price of `gpt-5.5-pro`)")), "{sentences:#?}");
    world.assert_posted(1000 * 30_000);
}

#[test]
fn a_turn_that_tells_nothing_and_one_that_never_ends_suspend_the_run() {
    let told = json!([1, 1, 0, 0]);
    let turns = json!([
        turn(json!([{ "many": 199 }]), told.clone()),
        turn(json!([{ "many": 201 }]), told),
        turn(json!([]), Value::Null),
    ]);
    let world = World::new(&subscribed(), json!({ "turns": turns }));
    let terminal = world.terminal();
    terminal.keys("Look\r");
    terminal.wait_for("All is done.", PATIENCE * 2);
    assert_eq!(world.ps()["state"], "running", "so many tools in a turn are nothing special");
    terminal.keys("More\r");
    assert!(until(PATIENCE * 2, || world.ps()["state"] == "suspended"));
    let last = || world.tools().last().unwrap()["denied"].as_str().unwrap_or_default().to_owned();
    assert!(until(PATIENCE, || last().contains("suspended")), "{}", last());
    let id = world.ps()["id"].as_str().unwrap().to_owned();
    world.home.run(&["resume", &id]).ok();
    assert!(until(PATIENCE, || world.hooks().iter().filter(|hook| hook.starts_with("stop ")).count() == 2));
    terminal.keys("Even more\r");
    assert!(until(PATIENCE, || world.ps()["state"] == "suspended"));
    let silent =
        "was suspended: its telemetry is silent: its model calls ended, and no word of what they used";
    assert!(world.sentences().iter().any(|line| line.contains(silent)), "{:#?}", world.sentences());
    terminal.keys("And more\r");
    terminal.wait_for("Prompt refused: agentsup: the run is suspended: its telemetry is silent", PATIENCE);
    terminal.keys("/exit\r");
    terminal.wait_exit(PATIENCE);
}

#[test]
fn hooks_that_are_not_called_end_a_headless_run_and_a_turn_without_a_count_is_told() {
    let turns = json!([turn(
        json!([{ "write": "new.txt", "text": "x" }, { "wait_file": "never" }]),
        json!([1, 1, 1, 1])
    )]);
    let world = World::new(&subscribed(), json!({ "void": true, "turns": turns }));
    let run = world.run(&["run", "cursor", "--", "-p", "Look"]);
    run.exits(90);
    assert!(run.stderr.contains("it was killed, because its hooks do not work: "), "{run}");

    let world = World::new(&subscribed(), json!({ "turns": [turn(json!([]), Value::Null)] }));
    let run = world.run(&["run", "cursor", "--", "-p", "Look", "--output-format", "json"]);
    run.exits(90);
    assert_eq!(run.json()["result"], "All is done.", "{run}");
    assert!(run.stderr.contains("its telemetry is silent"), "{run}");
}

#[test]
fn a_headless_run_that_is_stopped_tells_that_nobody_counted() {
    let turns =
        json!([turn(json!([{ "read": "README.md" }, { "wait_file": "never" }]), json!([1, 1, 1, 1]))]);
    let world = World::new(&subscribed(), json!({ "turns": turns }));
    world.run(&["run", "--detach", "cursor", "--", "-p", "Look"]).ok();
    assert!(until(PATIENCE, || !world.tools().is_empty()));
    assert_eq!(world.home.run(&["stop", "latest", "--json"]).ok().json()["state"], "exited");
    let untold = "made model calls past the gateway, and no word of what they used";
    assert!(world.sentences().iter().any(|line| line.contains(untold)), "{:#?}", world.sentences());
}

#[test]
fn it_is_not_started_without_leave_without_a_login_or_where_a_repository_brings_hooks() {
    let world = World::new(&Manifest::default(), json!({ "turns": [] }));
    let seen = world.run(&["doctor", "--json"]).json();
    let cursor = seen["agents"].as_array().unwrap().iter().find(|agent| agent["name"] == "cursor").unwrap();
    let told = (&cursor["version"], &cursor["tested"], &cursor["state"]);
    assert_eq!(told, (&json!("2026.09.23-86fc751"), &Value::Null, &json!("untested")));
    let refused = world.run(&["run", "cursor", "--", "-p", "Look"]);
    refused.exits(90);
    assert!(refused.stderr.contains("hint: `billing: either` in the manifest of "), "{refused}");

    let world = World::new(&subscribed(), json!({ "turns": [] }));
    world.home.commit(".cursor/hooks.json", "{}", "Hooks");
    let refused = world.run(&["run", "cursor", "--", "-p", "Look"]);
    refused.exits(2);
    let why =
        "error: the repository's `.cursor/hooks.json` would run inside the agent, past its hooks\nhint: ";
    assert!(refused.stderr.contains(why), "{refused}");
    assert_eq!(world.log(), Vec::<Value>::new());
    world.home.git(&["rm", "--quiet", ".cursor/hooks.json"]);
    world.home.git(&["commit", "--quiet", "--message", "None"]);

    std::fs::remove_file(world.home.path("user/.config/cursor/auth.json")).unwrap();
    let refused = world.run(&["run", "cursor", "--", "-p", "Look"]);
    assert!(refused.stderr.contains("Please run 'agent login' first."), "{refused}");
}

/// As others recorded them, the person and the places made up.
#[test]
fn each_recorded_message_gets_an_answer_that_its_step_understands() {
    let messages: Vec<Value> =
        serde_json::from_str(include_str!("../fakes/golden/cursor-hooks.json")).unwrap();
    let steps: Vec<Value> = messages.iter().map(|message| json!({ "message": message })).collect();
    let world = World::new(&subscribed(), json!({ "turns": [turn(json!(steps), json!([0, 0, 0, 0]))] }));
    let terminal = world.terminal();
    terminal.keys("Look\r");
    terminal.wait_for("All is done.", PATIENCE);
    let hooks = world.hooks();
    let answers: Vec<&str> = hooks[2..hooks.len() - 1].iter().map(String::as_str).collect();
    assert_eq!(
        answers,
        [
            r#"sessionStart 0 {"continue":true}"#,
            r#"beforeSubmitPrompt 0 {"continue":true}"#,
            r#"preToolUse 0 {"permission":"allow"}"#,
            "postToolUse 0 {}",
            r#"preToolUse 0 {"permission":"allow"}"#,
            r#"beforeMCPExecution 0 {"permission":"allow"}"#,
            "postToolUseFailure 0 {}",
            "stop 0 {}",
            "stop 0 {}",
            "preToolUse 2 ",
        ]
    );
    // The turn that was told twice counts once, at 1000, 6000 and 250 nano-USD.
    world.assert_posted(20_152 * 1000 + 15 * 6000 + 8704 * 250);
    terminal.keys("/exit\r");
    assert_eq!(terminal.wait_exit(PATIENCE), 0);
}
