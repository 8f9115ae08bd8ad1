//! Claude Code.

use serde_json::json;

use super::super::{SECRET, assert_denied};
use super::World;
use crate::fakes::home::Manifest;
use crate::fakes::model::{Script, Turn, Usage};

/// A made-up login, as Claude Code keeps one.
const LOGIN: &str = "sk-ant-oat01-made-up-login";
const MODEL: &str = "claude-opus-5-5";

fn set_up(manifest: &Manifest, script: Script, before: &str) -> World {
    let world = World::new("claude", manifest, script, before, |model| {
        format!("export ANTHROPIC_BASE_URL='{}'", model.url())
    });
    let user = world.home.path("user");
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
    world
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
    let world = set_up(&manifest, script, "env > \"$HOME/environment\"");
    std::fs::create_dir_all(world.home.path("user/.ssh")).unwrap();
    std::fs::write(world.home.path("user/.ssh/id_rsa"), SECRET).unwrap();
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
    world.assert_no_login_inside(LOGIN);
}

#[test]
fn at_the_budgets_end_it_is_killed() {
    let manifest = Manifest::default().billing("subscription").cap("0.05 USD");
    // 0.01 USD a call, for ever.
    let script = Script::new(LOGIN)
        .then(|_| Turn::tool("Bash", json!({ "command": "cat README.md" })).usage(Usage::new(0, 500)));
    let world = set_up(&manifest, script, "");
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
    let world = set_up(&manifest, script, "unset CLAUDE_CODE_ENABLE_TELEMETRY");
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
    let world = set_up(&Manifest::default(), Script::new(LOGIN), "");
    let run = world.run(&["run", "--subscription", "claude", "--", "-p", "Look"]);
    run.exits(90);
    assert!(run.stderr.contains("`billing: subscription` is not in the agent's manifest"), "{run}");
    assert!(run.stderr.contains("hint: `billing: either` in the manifest of agent/bot@team-test"), "{run}");
    let run = world.run(&["run", "--subscription", "command", "--", "true"]);
    assert_eq!(run.exits(90).stdout, "");
    assert_eq!(world.model.seen().len(), 0);
}
