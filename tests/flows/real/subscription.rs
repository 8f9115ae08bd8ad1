//! Claude Code on a login of the user's own, made up here, straight to its provider: what it cost is told afterwards.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::{RUN_TIMEOUT, assert_denied, price};
use crate::fakes::cli::Output;
use crate::fakes::home::{Home, Manifest, agent_binary, search_path};
use crate::fakes::model::{ModelServer, Script, Turn, Usage};
use crate::fakes::server::dead_url;

/// A made-up login, as Claude Code keeps one.
const LOGIN: &str = "sk-ant-oat01-made-up-login";
const MODEL: &str = "claude-opus-5-5";

/// A user who is logged in, and a provider that is not behind the gateway.
struct World {
    home: Home,
    model: ModelServer,
    programs: PathBuf,
}

impl World {
    fn new(manifest: &Manifest, script: Script, before: &str) -> Self {
        let mut home = Home::new();
        let model = ModelServer::start(script);
        home.providers(&dead_url(), &(dead_url() + "/v1"));
        home.agent("bot", manifest);
        let user = home.path("user");
        let credentials = json!({ "claudeAiOauth": {
            "accessToken": LOGIN, "refreshToken": "sk-ant-ort01-made-up", "expiresAt": 4_102_444_800_000_u64,
            "scopes": ["user:inference", "user:profile"], "subscriptionType": "max",
        } });
        let hooks = json!({ "hooks": { "UserPromptSubmit": [{ "hooks": [{
            "type": "command", "command": format!("touch {}", user.join("own-hook-ran").display()) }] }] } });
        std::fs::create_dir_all(user.join(".claude")).unwrap();
        std::fs::write(user.join(".claude/.credentials.json"), credentials.to_string()).unwrap();
        std::fs::write(user.join(".claude/settings.json"), hooks.to_string()).unwrap();
        std::fs::write(user.join(".claude.json"), r#"{"hasCompletedOnboarding":true}"#).unwrap();
        // Where its own provider is would be built in; here a program of that name says it.
        let programs = home.path("programs");
        std::fs::create_dir_all(&programs).unwrap();
        let real = agent_binary("claude");
        let script = format!(
            "#!/bin/sh\nexport ANTHROPIC_BASE_URL='{}'\n{before}\nexec '{}' \"$@\"\n",
            model.url(),
            real.display()
        );
        let wrapper = programs.join("claude");
        std::fs::write(&wrapper, script).unwrap();
        std::fs::set_permissions(&wrapper, std::fs::Permissions::from_mode(0o755)).unwrap();
        Self { home, model, programs }
    }

    fn run(&self, args: &[&str]) -> Output {
        let path = format!("{}:{}", self.programs.display(), search_path());
        self.home.cli(args).env("PATH", &path).timeout(RUN_TIMEOUT).run()
    }

    fn show(&self, args: &[&str]) -> Value {
        self.home.run(args).ok().json()
    }

    fn sentences(&self) -> Vec<String> {
        let lines = self.home.run(&["audit", "list", "--json"]).ok().json_lines();
        lines.iter().filter_map(|line| line["sentence"].as_str()).map(str::to_owned).collect()
    }

    /// Asserts that the ledger has what the provider would bill at its list prices, and that log and ledger agree.
    fn assert_books(&self) -> u64 {
        let billed = self.model.billed_nano_usd(price);
        let budget = self.show(&["budget", "show", "bot", "--json"]);
        let ledger = (&budget["posted_nano_usd"], &budget["pending_nano_usd"], &budget["reported_nano_usd"]);
        assert_eq!(ledger, (&json!(billed), &json!(0), &json!(billed)), "{budget}");
        self.home.run(&["audit", "verify"]).ok();
        billed
    }
}

fn read() -> Turn {
    Turn::tool("Bash", json!({ "command": "cat README.md" })).usage(Usage::new(200, 40).cache(5000, 60, 10))
}

#[test]
fn its_calls_are_counted_afterwards_its_tools_are_decided_and_its_login_is_left_alone() {
    let manifest = Manifest::default().billing("either");
    let script = Script::new(LOGIN)
        .turn(read())
        .turn(Turn::tool("Bash", json!({ "command": "cat ~/.ssh/id_rsa" })).usage(Usage::new(100, 50)))
        .step(|ask| {
            assert_denied(ask);
            Turn::text("All is done but the secret.").usage(Usage::new(20, 30))
        });
    let world = World::new(&manifest, script, "env > \"$HOME/environment\"");
    std::fs::create_dir_all(world.home.path("user/.ssh")).unwrap();
    std::fs::write(world.home.path("user/.ssh/id_rsa"), super::SECRET).unwrap();
    let run = world.run(&["run", "--subscription", "claude", "--", "-p", "Look", "--output-format", "json"]);
    assert_eq!(run.ok().json()["result"], "All is done but the secret.", "{run}");
    assert!(
        run.stderr.contains(" at list price on a subscription (metered, not enforced), 3 model calls"),
        "{run}"
    );

    let billed = world.assert_books();
    assert_eq!(world.model.bills().len(), 3);
    assert!(world.model.seen().iter().all(|seen| seen.key_ok), "only the user's own login was used");
    let total = &world.show(&["usage", "--json"])["total"];
    assert_eq!((&total["reported_calls"], &total["reported_nano_usd"]), (&json!(3), &json!(billed)));
    let runs = world.show(&["ps", "--json"]);
    assert_eq!((&runs[0]["billing"], &runs[0]["spend_nano_usd"]), (&json!("subscription"), &json!(billed)));
    let sentences = world.sentences();
    let told =
        format!("called the model `{MODEL}` past the gateway on a subscription (list-price equivalent");
    assert_eq!(sentences.iter().filter(|line| line.contains(&told)).count(), 3, "{sentences:#?}");
    assert!(
        sentences.iter().any(|line| line.contains("wanted to call `Bash`") && line.contains("denied by"))
    );

    let environment = std::fs::read_to_string(world.home.path("user/environment")).unwrap();
    for name in ["ANTHROPIC_AUTH_TOKEN", "OPENAI_", "GEMINI_", "CLAUDE_CONFIG_DIR", "FAKE_"] {
        assert!(!environment.lines().any(|line| line.starts_with(name)), "{name} in {environment}");
    }
    assert!(!world.home.path("user/own-hook-ran").exists(), "of the user's settings nothing is read");
    let mut files = Vec::new();
    super::collect(&world.home.agentsup(), &mut files);
    for file in files {
        let bytes = std::fs::read(&file).unwrap_or_default();
        let found = bytes.windows(LOGIN.len()).any(|window| window == LOGIN.as_bytes());
        assert!(!found, "the user's login in `{}`", file.display());
    }
}

#[test]
fn at_the_budgets_end_it_is_killed() {
    let manifest = Manifest::default().billing("subscription").cap("0.05 USD");
    // 0.01 USD a call, for ever.
    let script = Script::new(LOGIN)
        .then(|_| Turn::tool("Bash", json!({ "command": "cat README.md" })).usage(Usage::new(0, 500)));
    let world = World::new(&manifest, script, "");
    let run = world.run(&["run", "claude", "--", "-p", "Look"]);
    run.exits(92);
    assert!(run.stderr.contains("killed, over budget: "), "{run}");
    let runs = world.show(&["ps", "--json"]);
    assert_eq!(runs[0]["state"], "killed");
    let budget = world.show(&["budget", "show", "bot", "--json"]);
    let posted = budget["posted_nano_usd"].as_i64().unwrap();
    assert!(posted >= 50_000_000, "{budget}");
    assert_eq!((&budget["alerted"], &budget["reported_nano_usd"]), (&json!(true), &json!(posted)));
    world.home.run(&["audit", "verify"]).ok();
    // Nothing is left, so no other one begins.
    let again = world.run(&["run", "claude", "--", "-p", "Look"]);
    assert!(again.exits(92).stderr.contains("over budget: "), "{again}");
}

#[test]
fn one_that_tells_nothing_is_suspended() {
    let manifest = Manifest::default().billing("subscription");
    let script = (0..55).fold(Script::new(LOGIN), |script, _| script.turn(read()));
    let world = World::new(&manifest, script, "unset CLAUDE_CODE_ENABLE_TELEMETRY");
    let run = world.run(&["run", "claude", "--", "-p", "Look"]);
    run.ok();
    let sentences = world.sentences();
    let told =
        "was suspended: its telemetry is silent: 50 tool calls, and no word of what its model calls cost";
    assert!(sentences.iter().any(|line| line.contains(told)), "{sentences:#?}");
    let denied = sentences.iter().filter(|line| line.contains("wanted to call `Bash`")).count();
    assert_eq!(denied, 5, "{sentences:#?}");
}

#[test]
fn a_manifest_that_says_nothing_lets_no_subscription_pay() {
    let world = World::new(&Manifest::default(), Script::new(LOGIN), "");
    let run = world.run(&["run", "--subscription", "claude", "--", "-p", "Look"]);
    run.exits(90);
    assert!(run.stderr.contains("`billing: subscription` is not in the agent's manifest"), "{run}");
    assert!(run.stderr.contains("hint: `billing: either` in the manifest of agent/bot@team-test"), "{run}");
    let run = world.run(&["run", "--subscription", "command", "--", "true"]);
    assert_eq!(run.exits(90).stdout, "");
    assert_eq!(world.model.seen().len(), 0);
}
