//! What providers state afterwards: files that people bring, and what the daemon asks for by itself.

use super::*;
use crate::fakes::ask::Ask;
use crate::fakes::faults::Fault;
use crate::fakes::server::{Answer, Server};
use crate::fakes::wait::until;

/// A budget and an agent, and a provider whose answers break off after their first events.
fn cut_off() -> (Home, ModelServer) {
    let turn = |_: &Ask| Turn::text("Done.").usage(Usage::new(500, 500)).fault(Fault::CutAfter(1));
    let server = ModelServer::start(Script::new(ANTHROPIC_KEY).then(turn).side(turn));
    let mut home = Home::new();
    home.anthropic(&server).price("m", &PRICE);
    home.agent("bot", &Manifest::default());
    (home, server)
}

/// A program that asks for streams and does not mind that they break off.
fn streamed(times: u32) -> String {
    format!(
        r#"
import json, os, urllib.request
for _ in range({times}):
    body = json.dumps({{"model": "m", "max_tokens": 1000, "stream": True, "messages": [{{"role": "user", "content": "hi"}}]}}).encode()
    ask = urllib.request.Request(os.environ["ANTHROPIC_BASE_URL"] + "/v1/messages", body,
        {{"content-type": "application/json", "authorization": "Bearer " + os.environ["AGENTSUP_RUN_TOKEN"]}})
    try:
        urllib.request.urlopen(ask, timeout=90).read()
    except Exception as error:
        print(error, flush=True)
"#
    )
}

fn statement(home: &Home, text: &str) -> String {
    let file = home.path("statement.csv");
    std::fs::write(&file, text).unwrap();
    file.display().to_string()
}

fn reconcile(home: &Home, args: &[&str]) -> Value {
    home.run(&[&["budget", "reconcile", "--json"], args].concat()).ok().json()
}

#[test]
fn a_statement_lowers_what_was_assumed_and_nothing_else() {
    let (home, server) = cut_off();
    home.run(&["run", "command", "--", "python3", "-c", &streamed(2)]).ok();
    assert_eq!(server.bills().len(), 2);
    let total = || home.run(&["usage", "--json"]).ok().json()["total"].clone();
    let before = total();
    assert_eq!(
        (&before["assumed_calls"], &before["assumed_nano_usd"]),
        (&2.into(), &before["cost_nano_usd"])
    );
    let assumed = before["assumed_nano_usd"].as_i64().unwrap();
    assert!(assumed > 2_000_000, "more than was billed: {assumed}");

    let text = "request_id,model,cost_usd,input_tokens,output_tokens\n\
                req_fake_0001,m,0.001,500,500\nreq_fake_0002,other,0.001,,\nreq_strange,,1,,\n";
    let file = statement(&home, text);
    let dry = reconcile(&home, &["--dry-run", &file]);
    assert_eq!(dry["counts"], serde_json::json!({"lowered": 1, "other-model": 1, "unknown": 1}));
    assert_eq!(total(), before, "a dry run does nothing");
    let done = reconcile(&home, &[&file]);
    assert_eq!((&done["counts"], &done["dry_run"]), (&dry["counts"], &false.into()));
    let lowered = done["lowered_nano_usd"].as_i64().unwrap();
    assert_eq!(budget(&home, "bot")["posted_nano_usd"], assumed - lowered);
    let after = total();
    assert_eq!((&after["assumed_calls"], &after["cost_nano_usd"]), (&1.into(), &(assumed - lowered).into()));
    assert_eq!(reconcile(&home, &[&file])["counts"]["agrees"], 1, "once is enough");

    // The other call by its record here and its tokens alone: as the call was priced.
    let call = done["rows"].as_array().unwrap().iter().find(|row| row["finding"] == "other-model").unwrap();
    let call = call["call"].as_str().unwrap();
    let file = statement(&home, &format!("request_id,input_tokens,output_tokens\n{call},500,500\n"));
    let shown = home.run(&["budget", "reconcile", &file]);
    assert!(shown.ok().stdout.contains("lowered"), "{shown}");
    // Anthropic may add a tenth for a region without saying so.
    assert_eq!(budget(&home, "bot")["posted_nano_usd"], 1_000_000 + 1_100_000);
    assert_eq!(total()["assumed_nano_usd"], 0);
    let log = home.run(&["audit", "list"]).ok().stdout.clone();
    assert!(log.contains("lowered what a call of `m` cost from"), "{log}");
    home.run(&["audit", "verify"]).ok();
    home.run(&["budget", "reconcile", "/nowhere.csv"]).exits(2);
    home.run(&["budget", "reconcile", &statement(&home, "id,cost\n1,2\n")]).exits(2);
}

#[test]
fn a_statement_above_the_bound_is_posted_and_freezes_the_model() {
    let (home, _server) = cut_off();
    home.run(&["run", "command", "--", "python3", "-c", &streamed(1)]).ok();
    assert_eq!(home.run(&["prices", "frozen", "--json"]).ok().json(), serde_json::json!([]));
    let file = statement(&home, "request_id,cost_usd\nreq_fake_0001,1.5\n");
    let done = reconcile(&home, &[&file]);
    assert_eq!(done["counts"], serde_json::json!({"overrun": 1}));
    assert_eq!(budget(&home, "bot")["posted_nano_usd"], 1_500_000_000);
    let frozen = home.run(&["prices", "frozen", "--json"]).ok().json();
    assert_eq!((&frozen[0]["model"], &frozen[0]["is_frozen"]), (&"m".into(), &true.into()));
    assert_eq!(frozen[0]["billed_nano_usd"], 1_500_000_000);
    let run = home.run(&["run", "command", "--", "python3", "-c", &calls(1, 1000)]);
    assert!(run.ok().stdout.contains("the model `m` is frozen"), "{run}");
    // Another price thaws it.
    let config = home.agentsup().join("config.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("output = 1000", "output = 2000")).unwrap();
    let thawed = || home.run(&["prices", "frozen", "--json"]).ok().json()[0]["is_frozen"] == false;
    assert!(until(Duration::from_secs(20), thawed));
    home.run(&["audit", "verify"]).ok();
}

#[test]
fn a_run_cannot_state_what_its_calls_cost() {
    let (home, _server) = cut_off();
    let file = statement(&home, "request_id,cost_usd\nreq_fake_0001,0\n");
    let script = format!("{} budget reconcile {file}", env!("CARGO_BIN_EXE_agentsup"));
    let run = home.run(&["run", "command", "--", "sh", "-c", &script]);
    run.exits(90);
    assert!(run.stderr.contains("takes no orders from inside a run"), "{run}");
}

/// A router whose answers break off, and who knows afterwards what they cost.
fn router() -> Server {
    Server::start(|request| async move {
        if request.path == "/api/v1/generation?id=gen-7" {
            let data = serde_json::json!({ "id": "gen-7", "model": "m", "total_cost": 0.000042, "finish_reason": "stop",
                "native_tokens_prompt": 12, "native_tokens_completion": 3 });
            return Answer::json(200, &serde_json::json!({ "data": data }));
        }
        let headers = [("content-type", "text/event-stream"), ("x-generation-id", "gen-7")];
        Answer::head(200, &headers).stream(|sink| async move {
            sink.send("data: {\"id\":\"gen-7\",\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\n").await;
            sink.cut().await;
        })
    })
}

#[test]
fn the_daemon_asks_a_router_for_what_nobody_counted() {
    let server = router();
    let mut home = Home::new();
    home.config(&format!(
        "[providers.router]\nbase_url = \"{}/api/v1\"\nwire = \"openai\"\nkey = \"none\"\nreconcile = \"openrouter\"",
        server.url()
    ));
    home.price("m", &PRICE);
    home.agent("bot", &Manifest::default());
    let body = "{\"model\":\"m\",\"max_tokens\":1000,\"stream\":true,\"messages\":[]}";
    let script = format!(
        "curl -sN -H \"Authorization: Bearer $AGENTSUP_RUN_TOKEN\" -H 'content-type: application/json' -d '{body}' \
         \"${{AGENTSUP_MCP_URL%/mcp}}/llm/router/v1/chat/completions\""
    );
    let run = home.run(&["run", "command", "--", "sh", "-c", &script]);
    assert!(run.ok().stdout.contains("\"content\":\"Hi\""), "{run}");
    let posted = || budget(&home, "bot")["posted_nano_usd"].as_i64().unwrap();
    assert!(until(Duration::from_secs(30), || posted() == 42_000), "{} posted", posted());
    let log = home.run(&["audit", "list"]).ok().stdout.clone();
    assert!(log.contains("agentsup lowered what a call of `m` cost from"), "{log}");
    home.run(&["audit", "verify"]).ok();
}

/// A clock cannot be set here; what the command does with one that is right can be tried.
#[test]
fn a_clock_that_is_right_is_accepted_by_a_person_and_not_by_a_run() {
    let home = registered();
    let clock = |args: &[&str]| home.run(&[&["budget", "clock", "--json"], args].concat()).ok().json();
    let shown = clock(&[]);
    assert_eq!((&shown["is_behind"], &shown["forward_from_ms"]), (&false.into(), &Value::Null));
    assert_eq!(clock(&["--accept"])["carried"], serde_json::json!([]));
    assert!(home.run(&["audit", "list"]).ok().stdout.contains("accepted the clock, which shows "));
    let script = format!("{} budget clock --accept", env!("CARGO_BIN_EXE_agentsup"));
    home.run(&["run", "command", "--", "sh", "-c", &script]).exits(90);
    assert!(home.run(&["doctor"]).stderr.lines().all(|line| !line.contains("clock")));
    home.run(&["audit", "verify"]).ok();
}
