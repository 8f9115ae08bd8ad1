//! Servers over streamable HTTP: JSON and event streams, sessions, headers, failures.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http_body_util::{BodyExt as _, Full};
use serde_json::Value;

use super::http::Fake;
use super::world::{World, call, python, text};
use crate::mcp::ServerState;

fn config(fake: &Fake) -> String {
    format!(
        "[mcp.servers.web]\nurl = \"{}\"\nheaders = {{ X-Key = \"plain\", X-Secret = \"env:PATH\" }}\n",
        fake.url
    )
}

async fn worlds() -> (Fake, World) {
    let fake = Fake::start().await;
    let config = config(&fake);
    let world = World::with_limits(
        move |dir| config + &python("a", dir, "x"),
        |limits| (limits.call, limits.answer) = (Duration::from_millis(1_500), Duration::from_secs(5)),
    );
    let world = world.await;
    (fake, world)
}

#[tokio::test]
async fn a_call_goes_with_session_version_and_configured_headers() {
    let (fake, world) = worlds().await;
    let (_, answer) = world.post(&call(9, "web_echo", r#"{"n":1.50}"#)).await;
    assert!(
        answer.starts_with("{\n  \"jsonrpc\": \"2.0\",\n  \"id\": 9,\n  \"result\": {")
            && answer.contains("\"n\":1.50"),
        "{answer}"
    );
    let seen = fake.bodies("tools/call");
    assert!(seen[0].contains(r#""params":{"name":"echo","arguments":{"n":1.50}}"#), "{seen:?}");
    {
        let seen = fake.state.seen.lock().unwrap();
        let (_, headers, _) = seen.last().unwrap();
        let header = |name: &str| headers[name].to_str().unwrap().to_owned();
        assert_eq!(
            (header("mcp-session-id"), header("mcp-protocol-version")),
            ("s0".into(), "2025-11-25".into())
        );
        assert_eq!((header("x-key"), header("x-secret")), ("plain".into(), std::env::var("PATH").unwrap()));
        assert_eq!(header("accept"), "application/json, text/event-stream");
        assert!(headers.get("authorization").is_none());
        let methods: Vec<String> = seen
            .iter()
            .map(|(_, _, body)| {
                serde_json::from_str::<Value>(body).unwrap()["method"].as_str().unwrap().to_owned()
            })
            .collect();
        assert_eq!(methods, ["initialize", "notifications/initialized", "tools/list", "tools/call"]);
        assert!(seen[0].1.get("mcp-session-id").is_none() && seen[0].1.get("mcp-protocol-version").is_none());
    }
    world.proxy.shutdown().await;
    let seen = fake.state.seen.lock().unwrap();
    assert_eq!(seen.last().unwrap().0, Method::DELETE);
}

#[tokio::test]
async fn a_streamed_answer_arrives_and_its_progress_with_it() {
    let (fake, world) = worlds().await;
    let answer = world.call("web_stream", "{}").await;
    assert!(text(&answer).contains("\"stream\""), "{answer}");
    assert!(fake.bodies("\"id\":\"t\"")[0].contains("-32601"));

    let message = r#"{"jsonrpc":"2.0","id":4,"method":"tools/call","params":{"name":"web_stream","_meta":{"progressToken":88}}}"#;
    let request = world.request("").body(Full::new(Bytes::from(message))).unwrap();
    let response = world.send(request).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let body = std::str::from_utf8(&body).unwrap();
    assert!(body.starts_with("event: message\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"progressToken\":88,\"progress\":1.0}}\n\n"), "{body}");
    assert!(body.contains("\ndata:   \"id\": 4,\n"), "{body}");
    world.proxy.shutdown().await;
}

#[tokio::test]
async fn a_forgotten_session_is_begun_again_without_the_agent_noticing() {
    let (fake, world) = worlds().await;
    world.call("web_echo", "{}").await;
    for (status, begun) in [(404, 2), (400, 3)] {
        fake.state.unknown.store(status, Ordering::Relaxed);
        fake.forget();
        // Many calls notice at once; one begins anew.
        let messages: Vec<String> = (0..10).map(|n| call(n, "web_echo", "{}")).collect();
        let answers = futures_util::future::join_all(messages.iter().map(|message| world.ask(message))).await;
        for answer in answers {
            assert!(text(&answer).contains("echo"), "{answer}");
        }
        assert_eq!(fake.begun(), begun);
    }
    assert_eq!(world.status("web").restarts, 0);
    world.proxy.shutdown().await;
}

#[tokio::test]
async fn what_goes_wrong_names_the_server_and_stays_with_the_call() {
    let (_fake, world) = worlds().await;
    for (tool, said) in [
        ("web_busy", "the server answered HTTP 503"),
        ("web_page", "the server sent something that is not MCP: the content type `text/html`"),
        ("web_garbage", "the server sent something that is not MCP: an answer to something else"),
        ("web_other", "the server sent something that is not MCP: an answer to something else"),
        ("web_cut", "the server closed the connection"),
        ("web_hang", "no answer to `tools/call` within 1500 ms"),
    ] {
        let answer = world.call(tool, "{}").await;
        assert_eq!(answer["result"]["isError"], true, "{answer}");
        assert_eq!(text(&answer), format!("the MCP server `web` failed: {said}"));
        assert!(!text(&world.call("web_echo", "{}").await).is_empty());
    }
    assert_eq!(world.call("web_refuse", "{}").await["error"]["code"], -32602);
    assert_eq!((world.status("web").state, world.status("web").restarts), (ServerState::Ready, 0));
    assert!(!text(&world.call("a_echo", "{}").await).is_empty());
    world.proxy.shutdown().await;
}

#[tokio::test]
async fn a_call_that_nobody_waits_for_is_cancelled_at_the_server() {
    let (fake, world) = worlds().await;
    world.call("web_echo", "{}").await;
    let answer = world.call("web_hang", "{}").await;
    assert!(text(&answer).contains("within 1500 ms"), "{answer}");
    world.until(|_| !fake.bodies("notifications/cancelled").is_empty()).await;
    let called: Value = serde_json::from_str(&fake.bodies("\"hang\"")[0]).unwrap();
    let cancelled: Value = serde_json::from_str(&fake.bodies("notifications/cancelled")[0]).unwrap();
    assert_eq!(cancelled["params"]["requestId"], called["id"]);
    world.proxy.shutdown().await;
}
