//! The fakes prove themselves here, so that a red flow is the product's fault.

use std::time::Duration;

use serde_json::{Value, json};

use super::ask::Kind;
use super::cli::Cli;
use super::client::{Call, Reply};
use super::faults::Fault;
use super::home::{ANTHROPIC_KEY, Home, OPENAI_KEY, search_path};
use super::mcp::{McpFault, McpScript, McpServer, Stdio};
use super::model::{Bill, Block, ModelServer, Price, Script, Turn, Usage};
use super::pty::Pty;
use super::scripted;
use super::server::dead_url;

fn messages(server: &ModelServer, body: &Value) -> Call {
    Call::post(&(server.url() + "/v1/messages"), body).header("x-api-key", ANTHROPIC_KEY)
}

fn responses(server: &ModelServer, body: &Value) -> Call {
    Call::post(&(server.openai_url() + "/responses"), body).bearer(OPENAI_KEY)
}

fn ask(stream: bool) -> Value {
    json!({ "model": "claude-sonnet-5", "max_tokens": 100, "stream": stream,
        "messages": [{ "role": "user", "content": "hello" }] })
}

fn types(reply: &Reply) -> Vec<String> {
    reply.events().iter().map(|event| event["type"].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn anthropic_answers_in_order_and_bills_each_answer() {
    let usage = Usage::new(10, 7).cache(100, 20, 3);
    let server = ModelServer::start(
        Script::new(ANTHROPIC_KEY)
            .turn(Turn::tool("Edit", json!({ "file_path": "a" })).usage(usage))
            .turn(Turn::text("done").usage(Usage::new(1, 2))),
    );
    let first = messages(&server, &ask(true)).send();
    assert_eq!(
        types(&first),
        [
            "message_start",
            "ping",
            "content_block_start",
            "content_block_delta",
            "content_block_delta",
            "content_block_stop",
            "content_block_start",
            "content_block_delta",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop"
        ]
    );
    let events = first.events();
    assert_eq!(events[0]["message"]["usage"]["cache_creation"]["ephemeral_1h_input_tokens"], 3);
    assert_eq!(events[10]["usage"]["output_tokens"], 7);
    assert_eq!(events[10]["delta"]["stop_reason"], "tool_use");
    let input: String =
        events[6..9].iter().filter_map(|event| event["delta"]["partial_json"].as_str()).collect();
    assert_eq!(input, r#"{"file_path":"a"}"#);

    let second = messages(&server, &ask(false)).send().json();
    assert_eq!(second["content"], json!([{ "type": "text", "text": "done" }]));
    assert_eq!(second["usage"]["output_tokens"], 2);

    let bill = |usage| Bill { model: "claude-sonnet-5".to_owned(), usage, complete: true };
    assert_eq!(server.bills(), [bill(usage), bill(Usage::new(1, 2))]);
    let price =
        Price { input: 1000, output: 5000, cache_read: 100, cache_write_5m: 1250, cache_write_1h: 2000 };
    assert_eq!(server.billed_nano_usd(|_| price), 10_000 + 35_000 + 10_000 + 25_000 + 6000 + 1000 + 10_000);
}

#[test]
fn responses_stream_carries_tools_and_the_whole_usage() {
    let server = ModelServer::start(Script::new(OPENAI_KEY).turn(
        Turn::text("look").usage(Usage { reasoning: 4, ..Usage::new(10, 7).cache(100, 20, 0) }).and(
            Block::Tool {
                namespace: Some("mcp__agentsup".to_owned()),
                name: "echo".to_owned(),
                input: json!({ "text": "x" }),
            },
        ),
    ));
    let body = json!({ "model": "gpt-6.1-sol", "stream": true, "input": [] });
    let reply = responses(&server, &body).send();
    let events = reply.events();
    let last = events.last().expect("a last event");
    assert_eq!(last["type"], "response.completed");
    assert_eq!(
        last["response"]["usage"],
        json!({ "input_tokens": 130, "input_tokens_details": { "cached_tokens": 100, "cache_write_tokens": 20 },
            "output_tokens": 7, "output_tokens_details": { "reasoning_tokens": 4 }, "total_tokens": 137 })
    );
    assert_eq!(last["response"]["output"][1]["namespace"], "mcp__agentsup");
    assert_eq!(last["response"]["output"][1]["arguments"], r#"{"text":"x"}"#);
    let upgrade = Call::new("GET", &(server.openai_url() + "/responses")).bearer(OPENAI_KEY).send();
    assert_eq!(upgrade.status, 426);
}

#[test]
fn a_wrong_key_is_refused_recorded_and_not_billed() {
    let server = ModelServer::start(Script::new(ANTHROPIC_KEY).turn(Turn::text("first")));
    let url = server.url() + "/v1/messages";
    assert_eq!(Call::post(&url, &ask(false)).header("x-api-key", "run-token").send().status, 401);
    assert_eq!(Call::post(&url, &ask(false)).send().status, 401);
    assert_eq!(server.bills(), []);
    assert_eq!(server.seen().iter().map(|seen| seen.key_ok).collect::<Vec<_>>(), [false, false]);
    // The refused requests took no turn of the script.
    let right = Call::post(&url, &ask(false)).bearer(ANTHROPIC_KEY).send().json();
    assert_eq!(right["content"][0]["text"], "first");
}

#[test]
fn side_calls_of_an_agent_take_no_turn() {
    let server = ModelServer::start(Script::new(ANTHROPIC_KEY).turn(Turn::text("main")));
    let side = messages(&server, &ask(false)).header("user-agent", "claude-cli/2.1.330").send().json();
    assert_eq!(side["content"][0]["text"], "A short title");
    let main = messages(&server, &ask(false)).send().json();
    assert_eq!(main["content"][0]["text"], "main");
    assert_eq!(server.wait_seen(Kind::Side, 1, Duration::from_secs(1)).len(), 1);
    let count = server.url() + "/v1/messages/count_tokens";
    let counted = Call::post(&count, &json!({ "a": 1 })).header("x-api-key", ANTHROPIC_KEY).send().json();
    assert_eq!(counted, json!({ "input_tokens": 1 }));
}

/// What one faulty answer looks like to a client.
fn fault(fault: Fault) -> (std::io::Result<Reply>, Vec<Bill>) {
    let server = ModelServer::start(Script::new(ANTHROPIC_KEY).turn(Turn::text("Good day").fault(fault)));
    let reply = messages(&server, &ask(true)).timeout(Duration::from_millis(700)).try_send();
    (reply, server.bills())
}

#[test]
fn faults_before_the_answer_bill_nothing() {
    let (reply, bills) = fault(Fault::Status(529, "overloaded_error", vec![("retry-after", "7")]));
    let reply = reply.expect("an answer");
    assert_eq!((reply.status, reply.header("retry-after"), bills), (529, Some("7"), vec![]));
    assert_eq!(reply.json()["error"]["type"], "overloaded_error");
    let (reply, bills) = fault(Fault::Raw(500, "text/html", "<html>"));
    assert_eq!((reply.expect("an answer").text(), bills), ("<html>".to_owned(), vec![]));
    let (reply, bills) = fault(Fault::HangBeforeHead);
    assert!(reply.is_err() && bills.is_empty());
    assert!(Call::post(&dead_url(), &ask(true)).try_send().is_err());
}

#[test]
fn faults_within_the_answer_are_billed_and_marked_incomplete() {
    for (broken, events, complete) in [
        (Fault::HangAfter(3), 3, false),
        (Fault::CutAfter(3), 3, false),
        (Fault::EndAfter(3), 3, true),
        (Fault::ErrorAfter(3), 4, true),
    ] {
        let (reply, bills) = fault(broken.clone());
        let reply = reply.expect("a head");
        assert_eq!(
            (reply.events().len(), reply.complete),
            (events, complete),
            "{broken:?}: {}",
            reply.text()
        );
        assert_eq!(bills.iter().map(|bill| bill.complete).collect::<Vec<_>>(), [false], "{broken:?}");
    }
    let (reply, bills) = fault(Fault::MalformedAfter(3));
    let reply = reply.expect("a head");
    assert_eq!((reply.events().len(), reply.text().matches("data:").count(), reply.complete), (8, 9, true));
    assert!(bills[0].complete);
    let (reply, _) = fault(Fault::Huge(3 << 20));
    assert!(reply.expect("a head").body.len() > 3 << 20);
    let (reply, _) = fault(Fault::Trickle(200, Duration::from_millis(1)));
    assert_eq!(types(&reply.expect("a head")).last().map(String::as_str), Some("message_stop"));
}

fn mcp(server: &McpServer, message: &Value) -> Call {
    Call::post(&server.url(), message).header("accept", "application/json, text/event-stream")
}

fn request(id: u64, method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
}

#[test]
fn the_http_mcp_server_keeps_sessions_and_streams() {
    let script =
        McpScript { sessions: true, streams: true, bearer: Some("t".to_owned()), ..McpScript::default() };
    let server = McpServer::start(script);
    let start = request(1, "initialize", json!({ "protocolVersion": "2025-11-25" }));
    assert_eq!(mcp(&server, &start).send().status, 401);
    let started = mcp(&server, &start).bearer("t").send();
    let session = started.header("mcp-session-id").expect("a session").to_owned();
    assert_eq!(started.json()["result"]["protocolVersion"], "2025-11-25");
    let list = request(2, "tools/list", json!({}));
    assert_eq!(mcp(&server, &list).bearer("t").send().status, 400);
    let list = mcp(&server, &list).bearer("t").header("mcp-session-id", &session).send();
    assert_eq!(list.events()[0]["method"], "notifications/message");
    assert_eq!(list.events()[1]["result"]["tools"][0]["name"], "echo");
    assert!(list.text().contains(r#""x-vendor": { "weight": 9007199254740993, "ratio": 1.50 }"#));
    let discover = request(3, "server/discover", json!({}));
    let discover = mcp(&server, &discover).bearer("t").header("mcp-session-id", &session).send();
    assert_eq!(discover.events()[1]["error"]["code"], -32601);
    assert_eq!(Call::new("GET", &server.url()).bearer("t").send().status, 405);
    let end = Call::new("DELETE", &server.url()).bearer("t").header("mcp-session-id", &session);
    assert_eq!((end.send().status, end.send().status), (200, 404));
}

#[test]
fn the_http_mcp_server_writes_notes_and_fails_as_told() {
    let home = Home::new();
    let call = request(
        1,
        "tools/call",
        json!({ "name": "write_note", "arguments": { "name": "../n", "text": "hi" } }),
    );
    let notes = Some(home.path("user"));
    let server = McpServer::start(McpScript { notes: notes.clone(), ..McpScript::default() });
    assert_eq!(mcp(&server, &call).send().json()["result"]["isError"], false);
    assert_eq!(std::fs::read_to_string(home.path("user/n")).expect("the note"), "hi");
    assert_eq!(server.calls(), std::slice::from_ref(&call));
    for (fault, expected) in [
        (McpFault::Status(503), (Some(503), true)),
        (McpFault::GarbageOnCall, (Some(200), true)),
        (McpFault::CutOnCall, (Some(200), false)),
        (McpFault::ErrorOnCall, (Some(200), true)),
        (McpFault::HugeOnCall(1 << 20), (Some(200), true)),
        (McpFault::SlowOnCall(Duration::from_millis(50)), (Some(200), true)),
        (McpFault::HangOnCall, (None, false)),
    ] {
        let server = McpServer::start(McpScript { fault: Some(fault.clone()), ..McpScript::default() });
        let reply = mcp(&server, &call).timeout(Duration::from_millis(500)).try_send().ok();
        let seen = (reply.as_ref().map(|reply| reply.status), reply.is_some_and(|reply| reply.complete));
        assert_eq!(seen, expected, "{fault:?}");
    }
    let pages = McpServer::start(McpScript { pages: true, ..McpScript::default() });
    let page = |cursor: Value| mcp(&pages, &request(1, "tools/list", cursor)).send().json()["result"].clone();
    assert_eq!(page(json!({}))["nextCursor"], "1");
    assert_eq!(page(json!({ "cursor": "2" }))["tools"][0]["name"], "read_note");
    assert_eq!(page(json!({ "cursor": "2" })).get("nextCursor"), None);
}

#[test]
fn the_stdio_mcp_server_speaks_lines_and_keeps_a_log() {
    let home = Home::new();
    let server = Stdio::new(&home.path("mcp"));
    let call =
        request(2, "tools/call", json!({ "name": "write_note", "arguments": { "name": "n", "text": "hi" } }));
    let lines = format!("{}\n{}\n{call}\n", request(1, "initialize", json!({})), json!({ "method": "x" }));
    let run = |server: &Stdio| {
        let command = Stdio::command();
        let mut cli =
            Cli::new(&command[0], &home.path("mcp")).args(&[&command[1]]).env("PATH", &search_path());
        for (name, value) in server.env() {
            cli = cli.env(&name, &value);
        }
        cli.stdin(&lines).run()
    };
    let output = run(&server);
    let answers = output.ok().json_lines();
    assert_eq!(answers.iter().map(|answer| answer["id"].clone()).collect::<Vec<_>>(), [1, 2]);
    assert!(output.stdout.contains(r#""x-vendor":{"weight":9007199254740993,"ratio":1.50}"#));
    assert_eq!(std::fs::read_to_string(server.notes().join("n")).expect("the note"), "hi");
    assert_eq!((server.calls(), server.pids().len()), (vec![call], 1));
    run(&Stdio::new(&home.path("dead")).fault("die-on-call")).exits(3);
}

#[test]
fn the_terminal_types_reads_answers_and_ends() {
    let home = Home::new();
    let script = r#"printf '\033[6n'; IFS= read -rsd R place; printf 'at %s\n' "${place#*[}"; read -r word; echo "got $word"; exit 7"#;
    let pty = Pty::start(&home.program("bash").args(&["-c", script]), 24, 80);
    pty.wait_for("at 1;1", Duration::from_secs(5));
    pty.keys("hello\r");
    pty.wait_for("got hello", Duration::from_secs(5));
    assert_eq!(pty.wait_exit(Duration::from_secs(5)), 7);
}

#[test]
fn a_program_runs_in_a_clean_environment_with_a_deadline() {
    let home = Home::new();
    let names: Vec<String> = home
        .program("env")
        .run()
        .ok()
        .stdout
        .lines()
        .filter_map(|line| line.split_once('=').map(|(name, _)| name.to_owned()))
        .collect();
    let expected = [
        "AGENTSUP_HOME",
        "DBUS_SESSION_BUS_ADDRESS",
        "FAKE_ANTHROPIC_KEY",
        "FAKE_GEMINI_KEY",
        "FAKE_OPENAI_KEY",
        "GIT_CONFIG_NOSYSTEM",
        "HOME",
        "LANG",
        "PATH",
        "TERM",
    ];
    assert_eq!(names, expected);
    assert_eq!(home.git(&["rev-list", "--count", "HEAD"]), "1");
    let slow = home.program("sleep").args(&["20"]).timeout(Duration::from_millis(100));
    assert!(std::panic::catch_unwind(|| slow.run()).is_err());
    assert!(super::wait::until(Duration::from_secs(5), || home.processes().is_empty()));
}

#[test]
fn the_scripted_agent_calls_models_and_tools() {
    let home = Home::new();
    let model = ModelServer::start(Script::new(ANTHROPIC_KEY).turn(Turn::text("hi")));
    let tools = McpServer::start(McpScript {
        sessions: true,
        streams: true,
        bearer: Some("run-token".to_owned()),
        ..McpScript::default()
    });
    let steps = json!([
        { "llm": ask(true) },
        { "llm": "not json", "path": "/v1/nowhere", "headers": { "x-api-key": "" } },
        { "mcp": "tools/call", "params": { "name": "echo", "arguments": { "text": "x" } } },
        { "write": "made/file", "text": "new" },
        { "read": true },
        { "shell": "cat made/file; exit 4" },
        { "wait_file": "made/file" },
        { "llm": {}, "url": dead_url() },
        { "exit": 5 },
    ]);
    let agent = scripted::agent(&steps);
    let output = home
        .program(&agent[0])
        .args(&[&agent[1], &agent[2]])
        .env("ANTHROPIC_BASE_URL", &model.url())
        .env("ANTHROPIC_AUTH_TOKEN", ANTHROPIC_KEY)
        .env("AGENTSUP_MCP_URL", &tools.url())
        .env("AGENTSUP_RUN_TOKEN", "run-token")
        .stdin("a line\n")
        .run();
    let lines = output.exits(5).json_lines();
    assert_eq!((&lines[0]["status"], &lines[1]["status"]), (&json!(200), &json!(404)));
    assert!(lines[0]["body"].as_str().expect("a body").ends_with("{\"type\":\"message_stop\"}\n\n"));
    assert!(lines[2]["body"].as_str().expect("a body").contains("echo: x"), "{output}");
    assert_eq!(lines[4], json!({ "line": "a line" }));
    assert_eq!(lines[5], json!({ "code": 4, "stdout": "new", "stderr": "" }));
    assert!(lines[7]["failed"].as_str().expect("a failure").contains("ECONNREFUSED"), "{output}");
}
