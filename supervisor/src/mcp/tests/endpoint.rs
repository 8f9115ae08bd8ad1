//! What agents are answered: who is let in, what is refused, what is listed, what is denied.

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::json;

use super::world::{TOKEN, World, call, python, text, whole};
use crate::core::run::RunState;
use crate::mcp::MESSAGE_MAX;

async fn empty() -> World {
    World::new(|_| String::new()).await
}

fn body(text: &str) -> Full<Bytes> {
    Full::new(Bytes::copy_from_slice(text.as_bytes()))
}

const PING: &str = r#"{"jsonrpc":"2.0","id":"p","method":"ping"}"#;

#[tokio::test]
async fn without_the_token_of_a_live_run_nothing_is_answered() {
    let world = empty().await;
    for token in ["", "Bearer ", "Bearer ast_other", "Basic YTpi"] {
        let request = Request::post(&world.url).header("authorization", token).body(body(PING)).unwrap();
        let response = world.send(request).await;
        assert_eq!(response.headers()["www-authenticate"], "Bearer realm=\"agentsup\"");
        assert_eq!(whole(response).await.0, 401, "{token}");
    }
    assert_eq!(world.ask(PING).await, json!({"jsonrpc":"2.0","id":"p","result":{}}));
    world.gate.set_state(&world.live, RunState::Killed, None).await.unwrap();
    assert_eq!(world.post(PING).await.0, 401);
}

#[tokio::test]
async fn other_methods_and_paths() {
    let world = empty().await;
    let send = async |method: &str, url: &str| {
        let request =
            Request::builder().method(method).uri(url).header("authorization", format!("Bearer {TOKEN}"));
        let response = world.send(request.body(body("")).unwrap()).await;
        (response.status().as_u16(), response.headers().get("allow").cloned())
    };
    let allow = Some("POST, DELETE".parse().unwrap());
    assert_eq!(send("GET", &world.url).await, (405, allow.clone()));
    assert_eq!(send("PUT", &world.url).await, (405, allow));
    assert_eq!(send("DELETE", &world.url).await, (200, None));
}

#[tokio::test]
async fn what_is_no_message_is_refused_in_json_rpc() {
    let world = empty().await;
    for (sent, status, code) in [
        ("{", 400, -32700),
        ("[]", 400, -32600),
        (r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#, 400, -32600),
        (r#"{"jsonrpc":"2.0","id":1}"#, 400, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call"}"#, 400, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{}}"#, 200, -32601),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#, 200, -32602),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":7}}"#, 200, -32602),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a_b","Name":"a_c"}}"#,
            200,
            -32602,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a_b","arguments":[]}}"#,
            200,
            -32602,
        ),
        (&call(1, "a_b", r#"{"path":"x","Path":"y"}"#), 200, -32602),
        (&call(1, "plain", "{}"), 200, -32602),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"cursor":"x"}}"#, 200, -32602),
    ] {
        let (got, answer) = world.post(sent).await;
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        assert_eq!((got, answer["error"]["code"].as_i64()), (status, Some(code)), "{sent}: {answer}");
    }
    let huge = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{}"}}"#, "x".repeat(MESSAGE_MAX));
    assert_eq!(world.post(&huge).await.0, 413);
    let request = world.request("").body(Full::new(Bytes::from_static(b"{\"a\":\"\xff\"}"))).unwrap();
    assert_eq!(whole(world.send(request).await).await.0, 400);
    // Nothing of this was an action.
    assert_eq!(world.sentences().await, [""; 0]);
}

#[tokio::test]
async fn notifications_and_answers_are_taken_without_a_word() {
    let world = empty().await;
    for sent in [
        r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":99}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
    ] {
        assert_eq!(world.post(sent).await, (202, String::new()), "{sent}");
    }
}

#[tokio::test]
async fn versions_are_negotiated_and_the_newest_era_is_turned_back() {
    let world = empty().await;
    let initialize = |version: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{{"protocolVersion":"{version}","capabilities":{{}}}}}}"#
        )
    };
    for (asked, given) in [
        ("2025-03-26", "2025-03-26"),
        ("2025-06-18", "2025-06-18"),
        ("2025-11-25", "2025-11-25"),
        ("2026-07-28", "2025-11-25"),
        ("2024-11-05", "2025-11-25"),
    ] {
        let answer = world.ask(&initialize(asked)).await;
        assert_eq!(answer["result"]["protocolVersion"], given);
        assert_eq!(answer["result"]["capabilities"], json!({"tools": {}}));
    }
    let send = async |version: &str, sent: &str| {
        let request = world.request(sent).header("mcp-protocol-version", version);
        whole(world.send(request.body(body(sent)).unwrap()).await).await
    };
    let discover = r#"{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{}}"#;
    let (status, answer) = send("2026-07-28", discover).await;
    assert_eq!((status, answer.contains("-32601")), (200, true));
    assert_eq!(send("2026-07-28", PING).await.0, 400);
    assert_eq!(send("2025-06-18", PING).await.0, 200);
    let first = world.send(world.request("").body(body(&initialize("2025-06-18"))).unwrap()).await;
    let second = world.send(world.request("").body(body(&initialize("2025-06-18"))).unwrap()).await;
    assert_ne!(first.headers()["mcp-session-id"], second.headers()["mcp-session-id"]);
}

#[tokio::test]
async fn what_is_not_served_is_empty_and_not_advertised() {
    let world = empty().await;
    for (method, result) in [
        ("prompts/list", json!({"prompts": []})),
        ("resources/list", json!({"resources": []})),
        ("resources/templates/list", json!({"resourceTemplates": []})),
        ("tools/list", json!({"tools": []})),
    ] {
        let sent = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{}}}}"#);
        assert_eq!(world.ask(&sent).await["result"], result, "{method}");
    }
}

#[tokio::test]
async fn a_denied_tool_is_neither_listed_nor_called_and_the_denial_is_a_result() {
    let world = World::new(|dir| python("a", dir, "one") + &python("b", dir, "two")).await;
    let names = world.names().await;
    assert!(names.contains(&"a_fail".to_owned()) && names.contains(&"b_echo".to_owned()), "{names:?}");
    assert!(!names.contains(&"b_fail".to_owned()), "{names:?}");
    assert!(names.is_sorted(), "{names:?}");

    for (tool, named) in [("b_fail", "b/fail"), ("b_nothing", "b/nothing"), ("nowhere_tool", "nowhere/tool")]
    {
        let answer = world.call(tool, "{}").await;
        assert_eq!(answer["result"]["isError"], true, "{answer}");
        let said = text(&answer);
        assert!(said.starts_with(&format!("agentsup denied `{named}`: ")) && said.contains("rec_"), "{said}");
    }
    let denied = world.sentences().await;
    assert_eq!(
        denied[0],
        "agent/bot@team, owned by user:alice, wanted to call `b/fail` in dev at TIME, denied by scope: the tool \
         `b/fail` is not in the agent's scope."
    );
    assert_eq!(denied.len(), 3);
    world.proxy.shutdown().await;
}

#[tokio::test]
async fn instructions_are_merged_and_attributed() {
    let world = World::new(|dir| {
        python("a", dir, "one") + &python("b", dir, "two") + &python("hidden", dir, "three")
    })
    .await;
    // All have been started before the introduction, which itself waits only briefly.
    world.names().await;
    let answer = world
        .ask(r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18"}}"#)
        .await;
    let said = answer["result"]["instructions"].as_str().unwrap();
    assert!(said.contains("\n\n# Server `a` (tools `a_…`)\nUse one well."), "{said}");
    assert!(said.contains("\n\n# Server `b` (tools `b_…`)\nUse two well."), "{said}");
    // The agent may use nothing of it, so it hears nothing of it.
    assert!(!said.contains("three"), "{said}");
    world.proxy.shutdown().await;
}

#[tokio::test]
async fn a_path_among_secrets_denies_whatever_the_tool() {
    let world = World::new(|dir| python("a", dir, "one")).await;
    let secret = world.home.database();
    let answer = world.call("a_echo", &format!(r#"{{"anything":{{"x":["{}"]}}}}"#, secret.display())).await;
    assert!(text(&answer).contains("credentials and agentsup's own files are out of bounds"), "{answer}");
    let answer = world.call("a_echo", r#"{"path":"src/main.rs"}"#).await;
    assert!(answer["result"]["isError"].is_null(), "{answer}");
    let path = world.dir().join("worktree/src/main.rs");
    let last = world.sentences().await.pop().unwrap();
    assert_eq!(
        last,
        format!(
            "agent/bot@team, owned by user:alice, called `a/echo` on {} in dev at TIME, allowed by default/in-scope, ok.",
            path.display()
        )
    );
    world.proxy.shutdown().await;
}
