//! Budgets as people see them: chains, a run's own cap, raising and lowering, and who may not.

mod reconcile;
mod storm;

use std::time::Duration;

use serde_json::Value;

use super::daemon::{registered, view};
use crate::fakes::home::{ANTHROPIC_KEY, Home, Manifest};
use crate::fakes::model::{ModelServer, Price, Script, Turn, Usage};

const PRICE: Price = Price { input: 1000, output: 1000, cache_read: 0, cache_write_5m: 0, cache_write_1h: 0 };

fn with_parent(cap: &str) -> String {
    format!(
        "apiVersion: agentsup.dev/v1alpha1\nkind: TokenBudget\nmetadata:\n  name: all\n  namespace: team-test\nspec:\n  \
         period: monthly\n  cap: {cap}\n---\napiVersion: agentsup.dev/v1alpha1\nkind: TokenBudget\nmetadata:\n  name: \
         below\n  namespace: team-test\nspec:\n  period: monthly\n  cap: 20.00 USD\n  parent: all\n"
    )
}

fn budget(home: &Home, name: &str) -> Value {
    home.run(&["budget", "show", name, "--json"]).ok().json()
}

/// A program that calls the model a number of times and says the status of each answer.
pub(super) fn calls(times: u32, max_tokens: u32) -> String {
    format!(
        r#"
import json, os, sys, urllib.request, urllib.error
for _ in range({times}):
    body = json.dumps({{"model": "m", "max_tokens": {max_tokens}, "messages": [{{"role": "user", "content": "hi"}}]}}).encode()
    ask = urllib.request.Request(os.environ["ANTHROPIC_BASE_URL"] + "/v1/messages", body,
        {{"content-type": "application/json", "authorization": "Bearer " + os.environ["AGENTSUP_RUN_TOKEN"]}})
    try:
        print(urllib.request.urlopen(ask, timeout=90).status, flush=True)
    except urllib.error.HTTPError as error:
        print(error.code, error.read().decode(), flush=True)
"#
    )
}

#[test]
fn a_chain_shows_its_parent_and_what_it_leaves() {
    let home = registered();
    home.manifest("chain.yaml", &with_parent("12.00 USD"));
    let below = budget(&home, "below");
    assert_eq!(below["parent"], "team-test/all");
    assert_eq!(below["remaining_nano_usd"], 12_000_000_000_i64);
    assert_eq!(below["adjusted_nano_usd"], 0);
    assert_eq!(budget(&home, "all")["parent"], Value::Null);

    let raised = home.run(&["budget", "raise", "all", "3.00 USD", "--reason", "more", "--json"]).ok().json();
    assert_eq!(
        (&raised["adjusted_nano_usd"], &raised["cap_nano_usd"]),
        (&3_000_000_000_i64.into(), &12_000_000_000_i64.into())
    );
    assert_eq!(budget(&home, "below")["remaining_nano_usd"], 15_000_000_000_i64);
    let lowered = home.run(&["budget", "lower", "team-test/all", "5 USD"]);
    assert!(lowered.ok().stdout.contains("-$2.00"), "{lowered}");
    assert_eq!(budget(&home, "below")["remaining_nano_usd"], 10_000_000_000_i64);
    home.run(&["budget", "lower", "all", "11 USD"]).exits(2);
    home.run(&["budget", "raise", "all", "5 tokens"]).exits(2);
    home.run(&["budget", "raise", "all", "much"]).exits(2);
    home.run(&["budget", "raise", "nobody", "1 USD"]).exits(2);
    let log = home.run(&["audit", "list"]).ok().stdout.clone();
    assert!(log.contains("raised the budget team-test/all by 3.00 USD to 15.00 USD in "), "{log}");
    assert!(
        log.contains("(more)") && log.contains("lowered the budget team-test/all by 5.00 USD to 10.00 USD"),
        "{log}"
    );
    home.run(&["audit", "verify"]).ok();
}

#[test]
fn a_run_cannot_raise_its_own_budget() {
    let home = registered();
    let script = format!("{} budget raise bot '5.00 USD'", env!("CARGO_BIN_EXE_agentsup"));
    let run = home.run(&["run", "command", "--", "sh", "-c", &script]);
    run.exits(90);
    assert!(run.stderr.contains("takes no orders from inside a run"), "{run}");
    assert_eq!(budget(&home, "bot")["adjusted_nano_usd"], 0);
    let lines = home.run(&["audit", "list", "--json"]).ok().json_lines();
    assert!(lines.iter().any(|line| line["action"] == "peer-refused"));
    assert!(!lines.iter().any(|line| line["action"] == "budget-adjusted"));
}

#[test]
fn a_run_ends_at_its_own_cap_and_says_so() {
    let turn = |_: &crate::fakes::ask::Ask| Turn::text("Done.").usage(Usage::new(500, 500));
    let server = ModelServer::start(Script::new(ANTHROPIC_KEY).then(turn));
    let mut home = Home::new();
    home.anthropic(&server).price("m", &PRICE);
    home.agent("bot", &Manifest::default());
    // A call is bounded by some 3.5 million nano-USD and billed one million.
    let program = calls(12, 1000);
    let run = home
        .cli(&["run", "--cap", "0.01 USD", "command", "--", "python3", "-c", &program])
        .timeout(Duration::from_secs(60))
        .run();
    let lines: Vec<&str> = run.ok().stdout.lines().collect();
    assert_eq!(lines.len(), 12, "{run}");
    let refused = lines.iter().find(|line| !line.starts_with("200")).expect("one is refused");
    assert!(refused.contains("of its own cap of 0.01 USD"), "{run}");
    let id = home.run(&["ps", "--json"]).ok().json()[0]["id"].as_str().unwrap().to_owned();
    let seen = view(&home, &id);
    assert_eq!((&seen["cap_nano_usd"], &seen["cap_tokens"]), (&10_000_000.into(), &Value::Null));
    let billed = server.billed_nano_usd(|_| PRICE);
    assert_eq!(seen["spend_nano_usd"], billed);
    assert!(billed <= 10_000_000 && billed > 5_000_000, "{billed}");
    let own = budget(&home, &format!("run/{id}"));
    assert_eq!((&own["posted_nano_usd"], &own["parent"]), (&billed.into(), &"team-test/bot".into()));
    assert_eq!(own["period"], "total");
    home.run(&["run", "--cap", "much", "command", "--", "true"]).exits(2);
    home.run(&["audit", "verify"]).ok();
}

#[test]
fn an_alert_is_told_at_the_end_of_the_run_that_crosses_it() {
    let turn = |_: &crate::fakes::ask::Ask| Turn::text("Done.").usage(Usage::new(500, 500));
    let server = ModelServer::start(Script::new(ANTHROPIC_KEY).then(turn));
    let mut home = Home::new();
    home.anthropic(&server).price("m", &PRICE);
    home.agent("bot", &Manifest::default().cap("0.005 USD"));
    let run = home.cli(&["run", "command", "--", "python3", "-c", &calls(1, 1000)]).run();
    assert!(!run.ok().stderr.contains("alert threshold"), "{run}");
    home.run(&["budget", "lower", "bot", "0.004 USD"]).ok();
    let run = home.run(&["run", "command", "--", "true"]);
    assert!(run.ok().stderr.contains("the budget team-test/bot has crossed its alert threshold"), "{run}");
    assert_eq!(budget(&home, "bot")["alerted"], true);
    let alive = home.run(&["run", "--detach", "command", "--", "sleep", "600"]).ok().stdout.trim().to_owned();
    assert_eq!(view(&home, &alive)["alerted"], serde_json::json!(["team-test/bot"]));
    assert!(home.run(&["ps"]).ok().stdout.contains("alert: team-test/bot"));
}
