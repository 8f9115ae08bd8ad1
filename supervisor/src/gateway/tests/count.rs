//! Prompts that the provider counts, because their bytes do not fit into what a budget has left.

use std::sync::atomic::{AtomicU64, Ordering};

use super::fake::Seen;
use super::*;
use crate::core::data::Treatment;
use crate::core::detect::Class;
use crate::registry::Snapshot;

const COUNT: &str = "POST /v1/messages/count_tokens HTTP/1.1";
const CALL: &str = "POST /v1/messages?beta=true HTTP/1.1";

/// A token a byte would be 100 000 of them; what 1000 of output and the frame cost comes on top.
fn prompt() -> String {
    REQUEST.replace("Gr\\u00fc\\u00dfe", &"x".repeat(100_000)).replace(",\"unknown\":{\"a\":[1.0,null]}", "")
}

/// Fewer nano-USD than the prompt's bytes would need, and more than the tokens of it do.
const CAP: i64 = 250_000_000;

/// Answers counts with `count`, calls with [`STREAM`].
fn answers(count: &str) -> impl Fn(&Seen) -> Vec<Step> + Send + Sync + 'static {
    let count = count.to_owned();
    move |seen| {
        if seen.head.contains("count_tokens") {
            whole("200 OK", "application/json", count.as_bytes())
        } else {
            streamed(STREAM)
        }
    }
}

fn lines(fake: &Fake) -> Vec<String> {
    fake.seen().iter().map(|seen| seen.head.lines().next().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_prompt_that_does_not_fit_by_its_bytes_is_counted_and_fits() {
    let fake = Fake::start(answers(r#"{"input_tokens":21900}"#)).await;
    let world = World::new(fake.port, CAP, STYLE).await;
    let response = world.post(MESSAGES, prompt()).await;
    assert!(response.headers().get("agentsup-output-tokens").is_none(), "its answer is not cut");
    assert_eq!(bytes(response).await, STREAM);
    assert_eq!(lines(&fake), [COUNT, CALL]);
    let [counted, called] = &fake.seen()[..] else { panic!("two requests") };
    let expected = format!(
        r#"{{"model":"claude-opus-5-5","messages":[{{"role":"user","content":"{}"}}]}}"#,
        "x".repeat(100_000)
    );
    assert_eq!(std::str::from_utf8(&counted.body).unwrap(), expected);
    assert_eq!((counted.header("x-api-key"), called.body.len()), (Some(KEY), prompt().len()));
    assert_eq!(world.balance().await, (STREAM_COST, 0));
    assert_eq!(
        world.sentences().await,
        [
            "called the model `claude-opus-5-5` of anthropic in dev at TIME, 0 tokens, 0.00 USD, allowed by \
             default/in-scope, 200 OK, the provider counted a prompt of 21900 tokens.",
            "called the model `claude-opus-5-5` of anthropic in dev at TIME, 22051 tokens, 0.015792 USD, allowed \
             by default/in-scope, 200 OK.",
        ]
    );
    // it was short by 94 of 21 900, which is 5 in a thousand
    let most = world.gateway.learnt.counts.most("anthropic", "claude-opus-5-5", 1000);
    assert_eq!(most, Some(1060));
}

#[tokio::test]
async fn what_fits_is_not_counted() {
    let fake = Fake::start(answers(r#"{"input_tokens":21900}"#)).await;
    let world = World::new(fake.port, PLENTY, STYLE).await;
    assert_eq!(world.post(MESSAGES, prompt()).await.status(), StatusCode::OK);
    assert_eq!(lines(&fake), [CALL]);
    // too short to be worth it, whatever is left
    let poor = World::new(fake.port, 1000, STYLE).await;
    assert_eq!(poor.post(MESSAGES, REQUEST).await.status(), StatusCode::PAYMENT_REQUIRED);
    assert_eq!(lines(&fake), [CALL]);
}

#[tokio::test]
async fn what_does_not_fit_either_way_is_refused_and_counted_once() {
    let fake = Fake::start(answers(r#"{"input_tokens":99000}"#)).await;
    let world = World::new(fake.port, CAP, STYLE).await;
    assert_eq!(world.post(MESSAGES, prompt()).await.status(), StatusCode::PAYMENT_REQUIRED);
    assert_eq!(lines(&fake), [COUNT]);
    assert_eq!(world.balance().await, (0, 0));
}

/// Whoever asks again and again at the end of its budget reaches nobody.
#[tokio::test]
async fn where_no_count_could_help_nobody_is_asked() {
    let fake = Fake::start(answers(r#"{"input_tokens":1}"#)).await;
    // 12 500 tokens at 4000 and 1000 at 20 000 nano-USD, less one
    let world = World::new(fake.port, 69_999_999, STYLE).await;
    assert_eq!(world.post(MESSAGES, prompt()).await.status(), StatusCode::PAYMENT_REQUIRED);
    assert_eq!(lines(&fake), [""; 0]);
}

/// Whatever is wrong with a count, the bound by bytes stays.
#[tokio::test]
async fn a_count_that_cannot_be_had_changes_nothing() {
    for answer in ["", "{}", r#"{"input_tokens":-1}"#, r#"{"input_tokens":"9"}"#, "null"] {
        let fake = Fake::start(answers(answer)).await;
        let world = World::new(fake.port, CAP, STYLE).await;
        assert_eq!(world.post(MESSAGES, prompt()).await.status(), StatusCode::PAYMENT_REQUIRED, "{answer}");
        assert_eq!(lines(&fake), [COUNT]);
    }
    // a field that nobody knows might be counted, too
    let fake = Fake::start(answers(r#"{"input_tokens":1}"#)).await;
    let world = World::new(fake.port, CAP, STYLE).await;
    let strange = prompt().replacen('{', r#"{"unknown":1,"#, 1);
    assert_eq!(world.post(MESSAGES, strange).await.status(), StatusCode::PAYMENT_REQUIRED);
    assert_eq!(lines(&fake), [""; 0]);
}

/// Other rules about data that come while a prompt is read hold for its count, too: that goes to the same provider.
#[tokio::test]
async fn a_prompt_is_not_counted_under_rules_that_it_was_not_held_against() {
    let fake = Fake::start(answers(r#"{"input_tokens":21900}"#)).await;
    let world = World::new(fake.port, CAP, STYLE).await;
    let registry = world.gateway.registry.clone();
    let body = Full::new(Bytes::from(prompt())).map_frame(move |frame| {
        let mut changed = Snapshot::clone(&registry.current());
        changed.config.data.model.classes.insert(Class::Secret, Treatment::Block);
        registry.replace(changed);
        frame
    });
    let request = Request::post("/").header("x-api-key", TOKEN).body(body).unwrap();
    let (_, told) = text(world.gateway.serve(request, MESSAGES).await).await;
    assert!(told.contains("the rules about data changed while it was decided"), "{told}");
    assert_eq!(lines(&fake), [""; 0]);
}

#[tokio::test]
async fn a_model_that_is_counted_short_is_not_believed_again() {
    let count = Arc::new(AtomicU64::new(20_000));
    let counted = Arc::clone(&count);
    let fake = Fake::start(move |seen| {
        let count = format!(r#"{{"input_tokens":{}}}"#, counted.load(Ordering::SeqCst));
        answers(&count)(seen)
    })
    .await;
    let world = World::new(fake.port, CAP, STYLE).await;
    // it is billed for 21 994, within what was held, and 99 in a thousand more than counted
    assert_eq!(bytes(world.post(MESSAGES, prompt()).await).await, STREAM);
    assert_eq!(world.gateway.learnt.counts.most("anthropic", "claude-opus-5-5", 1), None);
    let other = prompt().replace('x', "y");
    assert_eq!(world.post(MESSAGES, other).await.status(), StatusCode::PAYMENT_REQUIRED);
}

#[tokio::test]
async fn a_count_waits_for_nobody_whose_run_is_over() {
    let never = Arc::new(Notify::new());
    let arrived = Arc::new(Notify::new());
    let (wait, tell) = (Arc::clone(&never), Arc::clone(&arrived));
    let fake = Fake::start(move |_| vec![Step::Tell(Arc::clone(&tell)), Step::Wait(Arc::clone(&wait))]).await;
    let world = Arc::new(World::new(fake.port, CAP, STYLE).await);
    let asking = Arc::clone(&world);
    let call = tokio::spawn(async move { text(asking.post(MESSAGES, prompt()).await).await });
    arrived.notified().await;
    world.gate.set_state(&world.live, RunState::Killed, None).await.unwrap();
    let (status, body) = call.await.unwrap();
    assert_eq!(status, 402);
    assert!(body.contains("the run is killed"), "{body}");
    assert_eq!(lines(&fake), [COUNT]);
}
