use http_body_util::{BodyExt as _, Full};

use super::fake::{Fake, Step, TOKEN, World, text};
use super::*;
use crate::core::refusal::{Form, RefusalStyle};
use crate::sys::secrets::SecretRef;

async fn untouched() -> (Fake, World) {
    let fake = Fake::start(|_| vec![Step::Cut]).await;
    let world = World::new(fake.port, PLENTY, STYLE).await;
    (fake, world)
}

fn message(body: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(body).unwrap();
    value["error"]["message"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn without_a_token_that_lives_nothing_is_done() {
    let (fake, world) = untouched().await;
    let ask = |header: &'static str, value: String| {
        let request = Request::post("/").header(header, value).body(Full::from(REQUEST)).unwrap();
        world.gateway.serve(request, MESSAGES)
    };
    for (header, value) in [
        ("x-api-key", "ast_other".to_owned()),
        ("x-api-key", String::new()),
        ("authorization", format!("Basic {TOKEN}")),
    ] {
        let response = ask(header, value).await;
        assert_eq!(response.headers()["x-should-retry"], "false");
        let (status, body) = text(response).await;
        assert_eq!(status, 401);
        assert!(body.starts_with(r#"{"type":"error","error":{"type":"authentication_error","#), "{body}");
    }
    world.gate.set_state(&world.live, RunState::Killed, None).await.unwrap();
    assert_eq!(ask("x-api-key", TOKEN.to_owned()).await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!((fake.seen().len(), world.balance().await), (0, (0, 0)));
}

#[tokio::test]
async fn what_cannot_be_metered_is_refused_and_recorded() {
    let (fake, world) = untouched().await;
    let unpriced = r#"{"model":"claude-9","max_tokens":1,"messages":[]}"#;
    let searching = r#"{"model":"claude-opus-5-5","max_tokens":1,"messages":[],"tools":[{"type":"web_search_20260412"}]}"#;
    for (rest, body, words) in [
        ("/anthropic/v1/files", REQUEST, "`POST /anthropic/v1/files` is not a call that can be metered"),
        ("/anthropic/v1/messages/batches", REQUEST, "is not a call that can be metered"),
        ("/mistral/v1/messages", REQUEST, "`POST /mistral/v1/messages` is not a call that can be metered"),
        ("/", REQUEST, "is not a call that can be metered"),
        ("/anthropic/v1/messages?key=ast_the_token_of_the_run", REQUEST, "is not a call that can be metered"),
        (MESSAGES, unpriced, "no price is known for the model `claude-9`"),
        (MESSAGES, searching, "what `tools: web_search_20260412` costs has no upper bound"),
    ] {
        let (status, body) = text(world.post(rest, body).await).await;
        assert_eq!(status, 402, "{body}");
        assert!(message(&body).contains(words), "{body}");
        let sentences = world.sentences().await;
        let last = sentences.last().unwrap();
        assert!(last.starts_with("wanted to call the model `") && last.contains(words), "{last}");
    }
    assert_eq!(world.sentences().await.len(), 7);
    let (_, body) = text(world.post(MESSAGES, unpriced).await).await;
    assert!(message(&body).contains("[prices.\"claude-9\"] input = … output = … max_output = …"), "{body}");
    assert_eq!((fake.seen().len(), world.balance().await), (0, (0, 0)));
}

/// Names come from the agent and go into the record: they are cut, and the token is not among them.
#[tokio::test]
async fn what_is_recorded_holds_no_prompt_and_no_token() {
    let (fake, world) = untouched().await;
    let secret = "s3cret".repeat(1000);
    let request = |field: &str, value: serde_json::Value| {
        let mut request = serde_json::json!({"model": "claude-opus-5-5", "max_tokens": 1, "messages": []});
        request[field] = value;
        request.to_string()
    };
    for (rest, body) in [
        (MESSAGES.to_owned(), request("model", serde_json::json!(secret))),
        (MESSAGES.to_owned(), request("speed", serde_json::json!(secret))),
        (MESSAGES.to_owned(), request("tools", serde_json::json!([{"type": secret}]))),
        (format!("/anthropic/{secret}"), request("speed", serde_json::json!("x"))),
        (format!("/{secret}/v1/messages"), request("speed", serde_json::json!("x"))),
        (format!("/anthropic/v1/{TOKEN}/x"), request("speed", serde_json::json!("x"))),
        (format!("/{TOKEN}/v1/x"), request("speed", serde_json::json!("x"))),
    ] {
        let (status, _) = text(world.post(&rest, body).await).await;
        assert!([400, 402].contains(&status), "{status}");
    }
    let told = world.sentences().await.join("\n");
    assert!(told.len() < 7 * 600, "{told}");
    assert!(!told.contains(TOKEN), "{told}");
    assert!(fake.seen().is_empty());
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_told_apart_and_recorded() {
    let (fake, world) = untouched().await;
    let (status, body) = text(world.post(MESSAGES, "{\"model\":").await).await;
    assert_eq!(status, 400);
    assert!(body.contains("invalid_request_error") && body.contains("it ends too early at line 1"), "{body}");
    let (status, body) = text(world.post("/openai/v1/responses", "[]").await).await;
    assert_eq!(status, 400);
    assert!(body.starts_with(r#"{"error":{"message":""#), "{body}");
    let (status, body) = text(world.post(MESSAGES, vec![b' '; LARGEST_BODY + 1]).await).await;
    assert_eq!(status, 413);
    assert!(body.contains("request_too_large") && body.contains("larger than 33554432 bytes"), "{body}");
    assert_eq!(world.sentences().await.len(), 3);
    assert_eq!((fake.seen().len(), world.balance().await), (0, (0, 0)));
}

#[tokio::test]
async fn the_end_of_the_budget_stops_the_client_in_its_own_way() {
    let fake = Fake::start(|_| vec![Step::Cut]).await;
    for (terminal, status) in
        [(Form::PaymentRequiredJson, 402), (Form::BadRequestJson, 400), (Form::BadRequestText, 400)]
    {
        let style = RefusalStyle { terminal, ..STYLE };
        let world = World::new(fake.port, held() - 1, style).await;
        let response = world.post(MESSAGES, REQUEST).await;
        assert_eq!(
            (response.status().as_u16(), response.headers()["x-should-retry"].as_bytes()),
            (status, &b"false"[..])
        );
        let plain = response.headers()["content-type"] == "text/plain; charset=utf-8";
        assert_eq!(plain, terminal == Form::BadRequestText);
        let (_, body) = text(response).await;
        let words = if plain { body } else { message(&body) };
        assert!(words.starts_with("agentsup: budget exhausted"), "{words}");
        assert!(words.contains("Nothing was billed"), "{words}");
        assert_eq!(world.balance().await, (0, 0));
        assert_eq!(world.sentences().await.len(), 1);
    }
    assert!(fake.seen().is_empty());
    // one more nano-dollar, and it goes out
    let world = World::new(fake.port, held(), STYLE).await;
    world.post(MESSAGES, REQUEST).await;
    assert_eq!(fake.seen().len(), 1);
}

#[tokio::test]
async fn a_provider_that_is_not_there_costs_nothing() {
    let (fake, _) = untouched().await;
    let port = fake.port;
    drop(fake);
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dead = gone.local_addr().unwrap().port();
    drop(gone);
    assert_ne!(port, dead);
    let world = World::new(dead, PLENTY, STYLE).await;
    let response = world.post(MESSAGES, REQUEST).await;
    assert_eq!(response.headers()["retry-after"], "20", "a network that is gone for a moment ends no work");
    assert_eq!(response.headers().get("x-should-retry"), None);
    let (status, body) = text(response).await;
    assert_eq!(status, 429);
    assert!(
        message(&body).starts_with("agentsup: provider `anthropic`: cannot be reached: Connection refused"),
        "{body}"
    );
    let end = "; nothing was sent to the provider. Please try again in 20s.";
    assert!(message(&body).ends_with(end), "{body}");
    assert_eq!(world.balance().await, (0, 0));
    let sentences = world.sentences().await;
    assert!(sentences[0].contains(&format!("failed: cannot connect to `127.0.0.1:{dead}`")), "{sentences:?}");
}

#[tokio::test]
async fn without_a_key_nothing_is_sent_and_the_command_is_named() {
    let fake = Fake::start(|_| vec![Step::Cut]).await;
    let world = World::with(fake.port, PLENTY, STYLE, |config| {
        let provider = config.providers.get_mut("anthropic").unwrap();
        provider.key = Some(SecretRef::Env("AGENTSUP_TEST_NO_SUCH_VARIABLE".to_owned()));
    })
    .await;
    let (status, body) = text(world.post(MESSAGES, REQUEST).await).await;
    assert_eq!(status, 402);
    let words = message(&body);
    assert!(
        words.starts_with("agentsup: provider `anthropic`: no key: the environment variable `AGENTSUP_TEST_NO_SUCH_VARIABLE` is not set; nothing was sent to the provider. Hint: "),
        "{words}"
    );
    assert_eq!((fake.seen().len(), world.balance().await), (0, (0, 0)));
}

#[tokio::test]
async fn a_provider_that_bills_what_has_no_price_counts_in_full() {
    let answer = br#"{"usage":{"input_tokens":1,"output_tokens":1,"speed":"fast"}}"#;
    let fake = Fake::start(|_| fake::whole("200 OK", "application/json", answer)).await;
    let world = World::new(fake.port, PLENTY, STYLE).await;
    let response = world.post(MESSAGES, REQUEST).await;
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), answer.as_slice());
    assert_eq!(world.balance().await, (held(), 0));
}
