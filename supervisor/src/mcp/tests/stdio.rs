//! Servers that are children of ours: passing through, sharing, failing, ending.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};

use super::world::{World, call, python, text};
use crate::mcp::ServerState;

async fn one(mode: &str) -> World {
    let mode = mode.to_owned();
    World::new(move |dir| python("a", dir, &mode)).await
}

/// Asks the server until what it saw hanging and cancelled is as it should be; gives what hung.
async fn until_seen(world: &World, holds: impl Fn(&[u64], &[u64]) -> bool) -> Vec<u64> {
    let asking = async {
        loop {
            let seen = world.call("a_seen", "{}").await;
            let (hanging, cancelled): (Vec<u64>, Vec<u64>) = serde_json::from_str(text(&seen)).unwrap();
            if holds(&hanging, &cancelled) {
                return hanging;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), asking).await.unwrap()
}

fn is_alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap().trim_start().starts_with('Z'))
}

#[tokio::test]
async fn a_call_and_its_answer_keep_every_byte_but_ids_and_name() {
    let world = one("x").await;
    let sent = "{ \"x-top\":1.50,\"jsonrpc\":\"2.0\",\r\n \"id\":\"i\\u0064\",\"method\":\"tools/call\",\"params\":{\"x\":[1E2, -0],\"name\":\"a_echo\",\"arguments\":{\"n\":1.0,\"s\":\"\\u0041\"},\"_meta\":{\"progressToken\":\"tok\",\"claudecode/toolUseId\":\"toolu_9\",\"y\":{}}} }";
    let (status, answer) = world.post(sent).await;
    assert_eq!(status, 200);
    let (start, end) = (
        "{\"jsonrpc\":\"2.0\",\"x-extension\":1.50,\"id\":\"i\\u0064\",\"result\":",
        "\"x\":1.0}],\"structuredContent\":{\"n\":1E2},\"_meta\":{\"t\":-0}}}",
    );
    assert!(answer.starts_with(start) && answer.ends_with(end), "{answer}");
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let seen = text(&answer);
    let id = seen.split("\"id\":").nth(1).unwrap().split(',').next().unwrap();
    assert!(id.parse::<u64>().is_ok(), "{seen}");
    let expected = sent
        .replace("\r\n", "  ")
        .replace("\"i\\u0064\"", id)
        .replace("\"a_echo\"", "\"echo\"")
        .replace("\"tok\"", id);
    assert_eq!(seen, expected);
    world.proxy.shutdown().await;
}

#[tokio::test]
async fn descriptions_pass_with_the_name_exchanged() {
    let world = one("x").await;
    let (_, listed) = world.post(r#"{"jsonrpc":"2.0","id":5,"method":"tools/list"}"#).await;
    let expected = "{\"x-first\":1.50,\"name\":\"a_ask\",\"inputSchema\":{\"type\":\"object\",\"$schema\":\"s\"},\"annotations\":{\"readOnlyHint\":true}},";
    assert!(
        listed.starts_with(&format!("{{\"jsonrpc\":\"2.0\",\"id\":5,\"result\":{{\"tools\":[{expected}")),
        "{listed}"
    );
    assert_eq!(world.names().await.len(), 16);
    world.proxy.shutdown().await;
}

#[tokio::test]
async fn a_shortened_name_reaches_its_tool_and_is_decided_under_the_real_one() {
    let world = one("x").await;
    let names = world.names().await;
    for (start, tool) in [
        ("a_dotted_name_x_", "dotted.name/x"),
        ("a_one_with_a_name", "one_with_a_name_that_goes_on_and_on_and_on_without_end"),
        ("a_plain_deadbeef", "plain_deadbeef"),
    ] {
        let name = names.iter().find(|name| name.starts_with(start)).unwrap();
        let answer = world.call(name, "{}").await;
        assert!(text(&answer).contains(&format!("\"name\":\"{tool}\"")), "{answer}");
        let last = world.sentences().await.pop().unwrap();
        assert!(last.contains(&format!("called `a/{tool}`")), "{last}");
    }
    world.proxy.shutdown().await;
}

#[tokio::test]
async fn errors_of_tools_and_of_the_protocol_pass_and_are_recorded() {
    let world = one("x").await;
    assert_eq!(world.call("a_fail", "{}").await["result"], json!({"content": [], "isError": true}));
    let error = world.call("a_error", "{}").await;
    assert_eq!(error["error"], json!({"code": -32000, "message": "no", "data": {"n": 1.0}}));
    assert_eq!(world.call("a_unknown", "{}").await["error"]["code"], -32602);
    let ends: Vec<String> =
        world.sentences().await.iter().map(|line| line.rsplit(", ").next().unwrap().to_owned()).collect();
    assert_eq!(ends, ["tool error.", "error -32000.", "error -32602."]);
    world.proxy.shutdown().await;
}

#[tokio::test]
async fn calls_overtake_each_other_in_one_shared_process() {
    let world = one("x").await;
    let pid = async |world: &World| {
        let answer = world.call("a_env", "{}").await;
        assert!(text(&answer).contains("OWN"));
        world.status("a").pid.unwrap()
    };
    let first = pid(&world).await;
    let (slow, quick) = (call(1, "a_wait", "{}"), call(1, "a_quick", "{}"));
    // The first answers only after the second has been called.
    let (slow, quick) = tokio::join!(world.ask(&slow), async {
        world.until(|world| world.status("a").state == ServerState::Ready).await;
        world.ask(&quick).await
    });
    assert_eq!((text(&slow), text(&quick)), ("waited", "quick"));
    let messages: Vec<String> = (0..50).map(|n| call(n, "a_echo", &format!(r#"{{"n":{n}}}"#))).collect();
    let many = futures_util::future::join_all(messages.iter().map(|message| world.ask(message))).await;
    for (n, answer) in many.iter().enumerate() {
        assert_eq!(answer["id"], n);
        assert!(text(answer).contains(&format!("{{\"n\":{n}}}")), "{answer}");
    }
    assert_eq!(pid(&world).await, first);
    world.proxy.shutdown().await;
    assert!(!is_alive(first));
}

#[tokio::test]
async fn progress_reaches_the_agent_under_its_own_token() {
    let world = one("x").await;
    let message = r#"{"jsonrpc":"2.0","id":"q","method":"tools/call","params":{"name":"a_progress","arguments":{},"_meta":{"progressToken":"mine"}}}"#;
    let request = world.request("").body(Full::new(Bytes::from(message))).unwrap();
    let response = world.send(request).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let events: Vec<&str> =
        std::str::from_utf8(&body).unwrap().split("\n\n").filter(|event| !event.is_empty()).collect();
    let progress = |n: u8| {
        format!(
            "event: message\ndata: {{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{{\"progress\":{n}.0,\"progressToken\":\"mine\",\"x\":1.0}}}}"
        )
    };
    assert_eq!(events[..2], [progress(0), progress(1)]);
    let answer: Value =
        serde_json::from_str(events[2].strip_prefix("event: message\ndata: ").unwrap()).unwrap();
    assert_eq!((&answer["id"], text(&answer)), (&json!("q"), "progressed"));
    assert_eq!(events.len(), 3);

    // An agent that reads no streams gets the answer alone.
    let request = http::Request::post(&world.url)
        .header("authorization", format!("Bearer {}", super::world::TOKEN))
        .header("accept", "application/json")
        .body(Full::new(Bytes::from(message)))
        .unwrap();
    let response = world.send(request).await;
    assert_eq!(response.headers()["content-type"], "application/json");
    world.proxy.shutdown().await;
}

#[tokio::test]
async fn what_a_server_asks_of_us_is_refused() {
    let world = one("x").await;
    let answer = world.call("a_ask", "{}").await;
    let told: Value = serde_json::from_str(text(&answer)).unwrap();
    assert_eq!((&told["id"], &told["error"]["code"]), (&json!("theirs"), &json!(-32601)));
    world.proxy.shutdown().await;
}

#[tokio::test]
async fn a_changed_list_is_fetched_anew() {
    let world = one("x").await;
    assert!(!world.names().await.contains(&"a_grown".to_owned()));
    world.call("a_grow", "{}").await;
    assert!(world.names().await.contains(&"a_grown".to_owned()));
    world.proxy.shutdown().await;
}

#[tokio::test]
async fn a_childs_environment_is_what_was_configured() {
    let world = one("x").await;
    let answer = world.call("a_env", "{}").await;
    let env: serde_json::Map<String, Value> = serde_json::from_str(text(&answer)).unwrap();
    assert_eq!(env["OWN"], "given");
    // Test runners set these; a user's shell sets others.
    assert!(!env.keys().any(|name| name.starts_with("CARGO")
        || name.starts_with("NEXTEST")
        || name.starts_with("AGENTSUP")));
    world.proxy.shutdown().await;
    let log = std::fs::read_to_string(world.home.state_dir().join("mcp/a.log")).unwrap();
    assert_eq!(log, "hello from stderr\n");
}

#[tokio::test]
async fn servers_that_fail_leave_the_others_alone() {
    let config = |dir: &std::path::Path| {
        python("a", dir, "x")
            + &python("down-deaf", dir, "deaf")
            + &python("down-exit", dir, "exit")
            + &python("down-future", dir, "future")
            + "[mcp.servers.down-missing]\ncommand = [\"/no/such/program\"]\n"
            + "[mcp.servers.down-secret]\ncommand = [\"python3\"]\nenv = { X = \"env:AGENTSUP_TEST_UNSET\" }\n"
            + "[mcp.servers.down-web]\nurl = \"http://127.0.0.1:9/mcp\"\n"
    };
    let world = World::with_limits(config, |limits| limits.patience = Duration::from_secs(3)).await;
    let began = Instant::now();
    assert_eq!(world.names().await.len(), 16);
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(2) && took < Duration::from_secs(8), "{took:?}");
    // The deaf one is not waited for a second time.
    let began = Instant::now();
    assert!(!text(&world.call("a_echo", "{}").await).is_empty());
    assert_eq!(world.names().await.len(), 16);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    let errors: Vec<(String, ServerState, Option<String>)> =
        world.proxy.servers().into_iter().skip(1).map(|s| (s.name, s.state, s.last_error)).collect();
    let failed = |name: &str, error: &str| (name.to_owned(), ServerState::Failed, Some(error.to_owned()));
    assert_eq!(errors[0], ("down-deaf".to_owned(), ServerState::Starting, None));
    assert_eq!(errors[1], failed("down-exit", "the server ended (exit status: 3)"));
    assert_eq!(
        errors[2],
        failed("down-future", "the server speaks MCP `2026-07-28`, which is not supported")
    );
    assert_eq!(
        errors[3],
        failed("down-missing", "cannot start `/no/such/program`: No such file or directory (os error 2)")
    );
    assert!(
        errors[4]
            .2
            .as_ref()
            .unwrap()
            .starts_with("`X`: the environment variable `AGENTSUP_TEST_UNSET` is not set"),
        "{errors:?}"
    );
    assert!(errors[5].2.as_ref().unwrap().starts_with("cannot connect to `127.0.0.1:9`"), "{errors:?}");
    world.proxy.shutdown().await;
}

#[tokio::test]
async fn a_crash_fails_its_calls_and_the_next_call_starts_it_again() {
    let world = one("x").await;
    let first = world.call("a_crash", "{}").await;
    assert_eq!(first["result"]["isError"], true);
    assert_eq!(text(&first), "the MCP server `a` failed: the server ended (exit status: 7)");
    let second = world.call("a_echo", "{}").await;
    assert!(second["result"]["isError"].is_null(), "{second}");
    let status = world.status("a");
    assert_eq!((status.state, status.restarts, status.tools), (ServerState::Ready, 1, Some(16)));
    // Again and again: it rests, and says so at once.
    world.call("a_crash", "{}").await;
    world.until(|world| world.status("a").state == ServerState::Failed).await;
    let resting = world.call("a_echo", "{}").await;
    assert!(text(&resting).contains("the server ended (exit status: 7); next attempt in "), "{resting}");
    let last = world.sentences().await.pop().unwrap();
    assert!(last.contains("failed: the server ended (exit status: 7); next attempt in"), "{last}");
    world.proxy.shutdown().await;
}

#[tokio::test]
async fn a_slow_call_times_out_and_a_hung_server_is_ended() {
    let short = |limits: &mut crate::mcp::Limits| {
        limits.call = Duration::from_millis(300);
        limits.answer = Duration::from_millis(700);
    };
    let world = World::with_limits(|dir| python("a", dir, "x") + &python("b", dir, "mute"), short).await;
    let answer = world.call("a_hang", "{}").await;
    assert_eq!(text(&answer), "the MCP server `a` failed: no answer to `tools/call` within 300 ms");
    // It answers pings, so it lives on, and it was told that nobody waits.
    until_seen(&world, |hanging, cancelled| hanging.len() == 1 && hanging == cancelled).await;
    assert_eq!(world.status("a").restarts, 0);

    let pid = {
        world.names().await;
        world.status("b").pid.unwrap()
    };
    let answer = world.call("b_echo", "{}").await;
    assert!(text(&answer).contains("no answer to `tools/call` within 300 ms"), "{answer}");
    world.until(|world| world.status("b").state == ServerState::Failed).await;
    assert_eq!(world.status("b").last_error.as_deref(), Some("the server hangs and is restarted"));
    assert!(!is_alive(pid));
    assert_eq!(world.status("a").state, ServerState::Ready);
    world.proxy.shutdown().await;
}

#[tokio::test]
async fn an_answer_beyond_the_limit_ends_the_connection_not_the_proxy() {
    let world = World::with_limits(|dir| python("a", dir, "x"), |limits| limits.message_max = 100_000).await;
    assert_eq!(text(&world.call("a_flood", r#"{"bytes":90000}"#).await).len(), 90_000);
    let answer = world.call("a_flood", r#"{"bytes":200000}"#).await;
    assert_eq!(
        text(&answer),
        "the MCP server `a` failed: the server sent a message larger than 100000 bytes"
    );
    assert!(!text(&world.call("a_echo", "{}").await).is_empty());
    world.proxy.shutdown().await;
}

#[tokio::test]
async fn an_agent_that_hangs_up_or_takes_back_cancels_at_the_server() {
    let world = one("x").await;
    world.names().await;
    // Hanging up: the connection is closed while the call waits.
    let message = call(1, "a_hang", "{}");
    let request = world.request("").body(Full::new(Bytes::from(message))).unwrap();
    let hanging = tokio::time::timeout(Duration::from_millis(300), world.send(request)).await;
    assert!(hanging.is_err());
    let first = until_seen(&world, |hanging, cancelled| hanging.len() == 1 && hanging == cancelled).await;
    // Taking back: by the id that the agent gave.
    let message = call(77, "a_hang", "{}");
    let (answer, ()) = tokio::join!(world.ask(&message), async {
        until_seen(&world, |hanging, _| hanging.len() == 2).await;
        let taken = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":77}}"#;
        assert_eq!(world.post(taken).await.0, 202);
    });
    assert_eq!(answer["error"]["message"], "cancelled by the client");
    let both = until_seen(&world, |hanging, cancelled| hanging.len() == 2 && hanging == cancelled).await;
    assert_eq!(both[..1], first);
    let lines = world.sentences().await;
    assert!(lines.iter().any(|line| line.contains("`a/hang`") && line.ends_with("abandoned.")), "{lines:?}");
    assert!(lines.iter().any(|line| line.ends_with("cancelled by the agent.")), "{lines:?}");
    world.proxy.shutdown().await;
}

#[tokio::test]
async fn a_killed_run_ends_its_calls() {
    use crate::core::run::RunState;
    let world = one("x").await;
    world.names().await;
    let message = call(1, "a_hang", "{}");
    let (answer, ()) = tokio::join!(world.ask(&message), async {
        let begun = async { while world.sentences().await.is_empty() {} };
        tokio::time::timeout(Duration::from_secs(10), begun).await.unwrap();
        world.gate.set_state(&world.live, RunState::Killed, None).await.unwrap();
    });
    assert!(text(&answer).contains("run is over") || text(&answer).contains("killed"), "{answer}");
    world.proxy.shutdown().await;
}

#[tokio::test]
async fn servers_follow_the_configuration() {
    let world = one("x").await;
    world.names().await;
    let first = world.status("a").pid.unwrap();
    let both = python("a", world.dir(), "x") + &python("b", world.dir(), "y");
    world.configure(&both);
    world.until(|world| world.proxy.servers().len() == 2).await;
    assert_eq!(world.status("b").state, ServerState::Idle);
    assert_eq!(world.names().await.len(), 17);
    assert_eq!(world.status("a").pid, Some(first));
    world.configure(&python("b", world.dir(), "y"));
    world.until(|_| !is_alive(first)).await;
    assert_eq!(world.names().await, ["b_echo"]);
    let second = world.status("b").pid.unwrap();
    world.proxy.shutdown().await;
    assert!(!is_alive(second));
    assert_eq!(world.proxy.servers(), []);
    assert_eq!(world.names().await, [""; 0]);
}
