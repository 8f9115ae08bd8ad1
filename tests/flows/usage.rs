//! What people see of spending: the views over the ledger agree with the budget and the record.

use serde_json::Value;

use super::daemon::registered;
use crate::fakes::home::Home;

/// The demo's calls: 612 + 731 + 842 + 935 tokens in at 3000, 74 + 58 + 63 + 31 out at 15 000 nano-USD.
const SPENT: i64 = 3120 * 3000 + 226 * 15_000;

fn usage(home: &Home, args: &[&str]) -> Value {
    home.run(&[&["usage", "--json"], args].concat()).ok().json()
}

#[test]
fn what_was_spent_is_shown_by_what_it_was_spent_on() {
    let home = Home::new();
    let empty = usage(&home, &[]);
    assert_eq!((&empty["rows"], &empty["total"]["cost_nano_usd"]), (&Value::Array(Vec::new()), &0.into()));
    assert_eq!(empty["total"]["cache_read_percent"], Value::Null);
    home.run(&["run", "demo"]).ok();
    let run = home.run(&["ps", "--all", "--json"]).ok().json()[0].clone();
    for (by, key) in [
        ("run", run["id"].as_str().unwrap()),
        ("branch", run["branch"].as_str().unwrap()),
        ("repository", run["repository"].as_str().unwrap()),
        ("agent", run["agent"].as_str().unwrap()),
        ("model", "agentsup-demo-1"),
    ] {
        let usage = usage(&home, &["--by", by]);
        let expected = serde_json::json!([{
            "key": key, "calls": 4, "assumed_calls": 0, "assumed_nano_usd": 0, "input_tokens": 3120, "cache_write_5m_tokens": 0,
            "cache_write_1h_tokens": 0, "cache_read_tokens": 0, "output_tokens": 226, "cache_read_percent": 0,
            "cost_nano_usd": SPENT, "reported_calls": 0, "reported_nano_usd": 0,
        }]);
        assert_eq!(usage["rows"], expected, "{by}");
    }
    let days = usage(&home, &["--agent", "demo"]);
    assert_eq!(days["total"]["cost_nano_usd"], SPENT);
    let burning = &days["burning"][0];
    assert_eq!(
        (&burning["left_nano_usd"], days["burning"].as_array().unwrap().len()),
        (&(250_000_000 - SPENT).into(), 1)
    );
    // Of the shortest span that a rate is taken from.
    assert_eq!(burning["burn_nano_usd_per_hour"], SPENT * 12);

    let shown = home.run(&["usage", "--by", "model"]).ok().stdout.clone();
    let words: Vec<Vec<&str>> = shown.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(words[1], ["agentsup-demo-1", "4", "3.1k", "0", "0", "0", "%", "226", "$0.01"], "{shown}");
    assert_eq!(words[2][0], "total");
    assert!(words[3].join(" ").contains("$0.15 an hour, $0.24 left, "), "{shown}");

    assert_eq!(usage(&home, &["--until", "1h"])["rows"], Value::Array(Vec::new()));
    home.run(&["usage", "--agent", "nobody"]).exits(2);
    home.run(&["usage", "--since", "soon"]).exits(2);
    home.run(&["usage", "--since", "1h", "--until", "2h"]).exits(2);
}

/// The program itself, as a run's agent would start it.
const AGENTSUP: &str = env!("CARGO_BIN_EXE_agentsup");

#[test]
fn a_run_sees_its_own_figures_and_gives_no_orders() {
    let home = registered();
    let session = "{\"model\":{\"display_name\":\"Opus\"}}";
    let shown = home.cli(&["run", "command", "--", AGENTSUP, "statusline"]).stdin(session).run();
    assert_eq!(shown.ok().stdout, "Opus · $0.00 spent · $10.00 left\n");
    home.run(&["run", "command", "--", AGENTSUP, "usage"]).exits(90);

    let ask = |request: &str| {
        let script = format!("curl -s -w '%{{http_code}}' {request} \"${{AGENTSUP_MCP_URL%/mcp}}/figures\"");
        home.run(&["run", "command", "--", "sh", "-c", &script]).ok().stdout.clone()
    };
    let mine = ask("-H \"Authorization: Bearer $AGENTSUP_RUN_TOKEN\"");
    assert!(mine.starts_with("{\"run\":\"run_") && mine.ends_with("200"), "{mine}");
    assert!(ask("").ends_with("401"));
    assert!(ask("-H 'Authorization: Bearer ast_other'").ends_with("401"));
    assert!(ask("-X POST -H \"Authorization: Bearer $AGENTSUP_RUN_TOKEN\"").ends_with("405"));
}

#[test]
fn outside_a_run_there_are_no_figures() {
    let home = Home::new();
    let refused = home.cli(&["statusline"]).stdin("{}").run();
    refused.exits(2);
    assert!(refused.stderr.contains("`AGENTSUP_MCP_URL` is not set"), "{refused}");
    assert!(!home.agentsup().join("state/agentsup.sock").exists(), "no daemon was started");
}

#[test]
fn a_run_ends_with_what_it_cost_and_changed() {
    let home = Home::new();
    let run = home.run(&["run", "demo"]);
    let last = run.ok().stderr.lines().find(|line| line.contains(" spent")).unwrap().to_owned();
    let told = "exit 0 · 1 file changed (+3 -0), 1 commit · $0.01 spent, 4 model calls, 3.3k tokens, 2 denials · kept in ";
    assert!(last.contains(told), "{last}");
    let again = home.run(&["run", "--json", "demo"]);
    let ended: Value = serde_json::from_str(again.ok().stdout.lines().last().unwrap()).unwrap();
    assert_eq!(ended["state"], "exited");
    assert_eq!(
        (&ended["summary"]["usage"]["cost_nano_usd"], &ended["summary"]["denials"]),
        (&SPENT.into(), &2.into())
    );
    assert_eq!(ended["diff"]["files"], 1);
}

#[test]
fn newer_prices_come_into_force_after_they_were_shown() {
    let home = Home::new();
    let file = home.path("api.json");
    let file = file.to_str().unwrap();
    let model = |output: i64| {
        format!(
            r#"{{"anthropic": {{"models": {{"claude-opus-5": {{"cost": {{"input": 5, "output": {output},
            "cache_read": 0.5, "cache_write": 6.25}}, "limit": {{"context": 1000000, "output": 128000}}}}}}}}}}"#
        )
    };
    std::fs::write(file, model(20)).unwrap();
    let shown = home.run(&["prices", "diff", file]);
    assert_eq!(shown.ok().stdout, "claude-opus-5: output 25000 -> 20000 (cheaper)\n");
    home.run(&["prices", "refresh", file]).exits(2);
    let prices = || home.run(&["prices", "list", "--json"]).ok().json();
    let of = |prices: &Value| {
        let models = prices["models"].as_array().unwrap().clone();
        models.into_iter().find(|price| price["model"] == "claude-opus-5").unwrap()
    };
    let before = of(&prices());
    assert_eq!((&before["source"], &before["output"]), (&"table".into(), &25_000.into()));

    let refreshed = home.run(&["prices", "refresh", "--yes", "--json", file]).ok().json();
    assert_eq!(refreshed["changes"].as_array().unwrap().len(), 1);
    let after = of(&prices());
    assert_eq!((&after["source"], &after["output"]), (&"refreshed".into(), &20_000.into()));
    assert_ne!(after["version"], before["version"]);
    assert_eq!(home.run(&["prices", "diff", file]).ok().stdout, "");
    let told = home.run(&["audit", "list", "--json"]).ok().json_lines();
    assert!(told.iter().any(|line| line["action"] == "prices-refreshed"), "{told:?}");

    std::fs::write(file, "{}").unwrap();
    home.run(&["prices", "diff", file]).exits(2);
    let rows = home.run(&["prices", "list", "--toml"]).ok().stdout.clone();
    assert!(
        rows.lines().any(|row| row.starts_with("claude-opus-5 =") || row.starts_with("\"claude-opus-5\" ="))
    );
}
