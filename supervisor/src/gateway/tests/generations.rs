//! What a router is asked afterwards, and what becomes of its answer.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio_util::sync::CancellationToken;

use super::fake::{Fake, KEY, Seen, Step, World, bytes, chunk, send, whole};
use super::*;
use crate::core::money::NanoUsd;
use crate::registry::{Config, PriceOverride, ProviderConfig, Reconcile};
use crate::sys::secrets::SecretRef;

const ASKS: &str = r#"{"model":"own/model","messages":[],"stream":true}"#;
const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-generation-id: gen-7\r\n\
                      transfer-encoding: chunked\r\n\r\n";
const FIRST: &[u8] = b"data: {\"id\":\"gen-7\",\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\n";

fn router(port: u16, config: &mut Config) {
    let base_url = format!("http://127.0.0.1:{port}/api/v1").parse().unwrap();
    let provider = ProviderConfig {
        base_url,
        key: Some(SecretRef::Env(super::fake::KEY_VARIABLE.to_owned())),
        wire: Some("openai".to_owned()),
        multiplier_bp: 10_000,
        reconcile: Some(Reconcile::OpenRouter),
        max_price: None,
    };
    config.providers.insert("router".to_owned(), provider);
    let price = PriceOverride {
        input: NanoUsd::new(1000).unwrap(),
        output: NanoUsd::new(10_000).unwrap(),
        max_output: Some(4096),
        ..PriceOverride::default()
    };
    config.prices.insert("own/model".to_owned(), price);
}

fn generation(number: usize) -> Vec<Step> {
    let over = |reason: &str, cost: &str| {
        let data = format!(
            "\"id\":\"gen-7\",\"model\":\"own/model\",\"finish_reason\":{reason},\"total_cost\":{cost},\
             \"native_tokens_prompt\":12,\"native_tokens_completion\":3"
        );
        whole("200 OK", "application/json", format!("{{\"data\":{{{data}}}}}").as_bytes())
    };
    match number {
        0 => whole("404 Not Found", "application/json", b"{}"),
        1 => whole("500 Internal Server Error", "application/json", b"{}"),
        2 => over("null", "0"),
        3 => whole("200 OK", "application/json", b"not JSON"),
        _ => over("\"stop\"", "0.000042"),
    }
}

/// A router that cuts every answer off, and knows of it what `generation` says.
async fn cut_off(say: fn(usize) -> Vec<Step>) -> (Fake, World) {
    let asked = AtomicUsize::new(0);
    let fake = Fake::start(move |seen: &Seen| {
        if seen.head.starts_with("GET /api/v1/generation?id=gen-7 HTTP/1.1\r\n") {
            return say(asked.fetch_add(1, Ordering::SeqCst));
        }
        vec![send(HEAD), chunk(FIRST), Step::Cut]
    })
    .await;
    let port = fake.port;
    let world = World::with(port, PLENTY, STYLE, |config| router(port, config)).await;
    let response = world.post("/router/v1/chat/completions", ASKS).await;
    assert!(bytes(response).await.starts_with(FIRST));
    (fake, world)
}

#[tokio::test]
async fn a_call_that_nobody_counted_is_asked_for_until_somebody_knows() {
    let (fake, world) = cut_off(generation).await;
    let (assumed, pending) = world.balance().await;
    assert!(assumed > 42_000 && pending == 0, "{assumed}");
    let end = CancellationToken::new();
    let asking = tokio::spawn(world.gateway.clone().reconcile(end.clone()));
    let known = async {
        while world.balance().await.0 != 42_000 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), known).await.unwrap();
    end.cancel();
    asking.await.unwrap();
    let asked: Vec<Seen> = fake.seen().into_iter().filter(|seen| seen.head.starts_with("GET ")).collect();
    assert_eq!(asked.len(), 5, "and not again");
    assert_eq!(asked[0].header("authorization"), Some(format!("Bearer {KEY}").as_str()));
    let told = "agentsup lowered what a call of `own/model` cost from";
    let lines = world.sentences().await;
    let line = lines.iter().find(|line| line.starts_with(told)).unwrap();
    assert!(line.ends_with("to 0.000042 USD, as router, asked for `gen-7`, states at TIME."), "{line}");
}

#[tokio::test]
async fn a_router_that_never_knows_is_not_asked_for_ever() {
    let (fake, world) = cut_off(|_| generation(0)).await;
    let assumed = world.balance().await;
    let end = CancellationToken::new();
    let asking = tokio::spawn(world.gateway.clone().reconcile(end.clone()));
    let asked = || fake.seen().iter().filter(|seen| seen.head.starts_with("GET ")).count();
    let all = async {
        while asked() < 6 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), all).await.unwrap();
    let more = tokio::time::timeout(Duration::from_millis(200), async {
        while asked() == 6 {
            tokio::task::yield_now().await;
        }
    });
    assert!(more.await.is_err());
    end.cancel();
    asking.await.unwrap();
    assert_eq!(world.balance().await, assumed);
}
