//! Calls on a subscription, from what a client tells of them to the ledger.

use super::*;
use crate::core::billing::Billing;

/// As Claude Code 2.1.330 sent it, the prompt and the person made up.
const EXPORT: &str = include_str!("../golden/claude-telemetry.json");
/// 200 at 4000, 5000 at 200, 60 at 5000, 10 at 8000, 40 at 20 000 nano-USD.
const COST: i64 = 800_000 + 1_000_000 + 300_000 + 80_000 + 800_000;

async fn world(billing: Billing, cap: i64) -> World {
    World::billed("claude", cap, billing).await
}

async fn tell(world: &World, token: &str, path: &str, kind: &str, body: &str) -> (u16, String) {
    let request = Request::post("/")
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", kind)
        .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
        .unwrap();
    let response = world.gateway.hear(request, path).await;
    text(response).await
}

async fn told(world: &World, body: &str) -> (u16, String) {
    tell(world, TOKEN, "/v1/logs", "application/json", body).await
}

#[tokio::test]
async fn a_call_is_posted_once_at_list_price_and_nothing_of_the_person_is_kept() {
    let world = world(Billing::Subscription, 100_000_000).await;
    for _ in 0..2 {
        assert_eq!(told(&world, EXPORT).await, (200, "{}".into()));
    }
    assert_eq!(world.balance().await, (COST, 0));
    let sentences = world.sentences().await;
    assert_eq!(
        sentences,
        [
            "called the model `claude-opus-5-5` past the gateway on a subscription (list-price equivalent, metered, \
          not enforced) in dev at TIME, 5310 tokens, 0.00298 USD."
        ]
    );
    let bytes = world.database();
    for secret in ["secret prompt", "person@example.invalid"] {
        assert!(EXPORT.contains(secret));
        assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "{secret}");
    }
    world.verified().await;
}

/// As Codex 0.169.0 sent it, over HTTP and over WebSocket, the person and the file made up: 300 at 2000, 600 at 100, 100 at
/// 2500, 50 at 10 000 nano-USD, twice.
const CODEX: &str = include_str!("../golden/codex-telemetry.json");

#[tokio::test]
async fn codexs_calls_are_told_apart_without_an_id_and_count_once() {
    let world = World::billed("codex", 100_000_000, Billing::Subscription).await;
    for _ in 0..2 {
        assert_eq!(told(&world, CODEX).await, (200, "{}".into()));
    }
    assert_eq!(world.balance().await, (2 * (600_000 + 60_000 + 250_000 + 500_000), 0));
    let told = "called the model `gpt-6.1-sol` past the gateway on a subscription (list-price equivalent, metered, not \
                enforced) in dev at TIME, 1050 tokens, 0.00141 USD.";
    assert_eq!(world.sentences().await, [told; 2]);
    let bytes = world.database();
    for secret in ["secret output", "secret file", "person@example.invalid", "acc-made-up"] {
        assert!(CODEX.contains(secret));
        assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "{secret}");
    }
    world.verified().await;
}

/// However many calls an export tells of, all of them count.
#[tokio::test]
async fn an_export_of_many_calls_is_posted_whole() {
    const CALLS: i64 = 1100;
    let world = world(Billing::Subscription, 100_000_000_000).await;
    let mut export: serde_json::Value = serde_json::from_str(EXPORT).unwrap();
    let records =
        export.pointer_mut("/resourceLogs/0/scopeLogs/0/logRecords").unwrap().as_array_mut().unwrap();
    let call = records
        .iter()
        .find(|record| record["body"]["stringValue"] == "claude_code.api_request")
        .unwrap()
        .to_string();
    let numbered =
        |number| serde_json::from_str(&call.replace("req_fake_1", &format!("req_{number}"))).unwrap();
    *records = (0..CALLS).map(numbered).collect();
    assert_eq!(told(&world, &export.to_string()).await.0, 200);
    assert_eq!(world.balance().await, (CALLS * COST, 0));
}

#[tokio::test]
async fn nobody_but_a_run_on_a_subscription_is_heard() {
    let keys = world(Billing::Keys, 100_000_000).await;
    assert_eq!(told(&keys, EXPORT).await.0, 404);
    assert_eq!(keys.balance().await, (0, 0));
    let world = world(Billing::Subscription, 100_000_000).await;
    let json = "application/json";
    assert_eq!(tell(&world, "ast_other", "/v1/logs", json, EXPORT).await.0, 401);
    assert_eq!(tell(&world, TOKEN, "/v1/traces", json, EXPORT).await.0, 404);
    let binary = tell(&world, TOKEN, "/v1/logs", "application/x-protobuf", EXPORT).await;
    assert_eq!(binary.0, 415);
    assert_eq!(told(&world, "{").await.0, 400);
    assert_eq!(told(&world, r#"{"resourceLogs":[{"scopeLogs":7},3]}"#).await.0, 200);
    assert_eq!(told(&world, &" ".repeat(5 * 1024 * 1024)).await.0, 413);
    assert_eq!(world.balance().await, (0, 0));
}

#[tokio::test]
async fn a_model_without_a_price_is_never_free() {
    let world = world(Billing::Subscription, 1_000_000_000_000).await;
    told(&world, &EXPORT.replace("claude-opus-5-5", "a-model-of-tomorrow")).await;
    let (posted, _) = world.balance().await;
    assert!(posted >= COST, "{posted}");
}

#[tokio::test]
async fn the_organisations_keys_are_closed_to_it_and_a_used_up_budget_closes_everything() {
    let world = world(Billing::Subscription, COST).await;
    let body = r#"{"model":"claude-opus-5-5","max_tokens":1,"messages":[]}"#;
    let closed = text(world.post("/anthropic/v1/messages", body).await).await.1;
    assert!(closed.contains("the organisation's keys are closed to it"), "{closed}");
    let mut overspending = world.gate.overspending();
    told(&world, EXPORT).await;
    assert!(overspending.has_changed().unwrap());
    overspending.mark_unchanged();
    let over = world.live.overspent().unwrap();
    assert!(over.starts_with("over budget: 0.00298 USD of 0.00298 USD are spent in "), "{over}");
}
