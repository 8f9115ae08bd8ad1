//! Secrets and personal data in prompts.

use super::*;
use crate::approvals::{Answer, Lasts};
use crate::core::data::{Rules, Treatment};
use crate::core::detect::{Class, Kind};

/// In one piece it would look like somebody's.
fn token() -> String {
    format!("{}_{}", "npm", "q7Xv2LmZ0pRtYw9KbN4sDcJ6hGf1Ae8UoTi3")
}

async fn world(fake: &Fake, cap: i64, secrets: Treatment) -> World {
    let change = |config: &mut crate::registry::Config| {
        config.data.providers.insert(
            "anthropic".into(),
            Rules { classes: [(Class::Secret, secrets)].into(), ..Rules::default() },
        );
    };
    World::with(fake.port, cap, STYLE, change).await
}

fn request() -> String {
    REQUEST.replace("Gr\\u00fc\\u00dfe", &format!("publish with {}", token()))
}

#[tokio::test]
async fn unless_somebody_says_otherwise_a_prompt_goes_as_it_is() {
    let fake = Fake::start(|_| streamed(STREAM)).await;
    let world = World::new(fake.port, PLENTY, STYLE).await;
    assert_eq!(bytes(world.post(MESSAGES, request()).await).await, STREAM);
    assert_eq!(fake.seen()[0].body, request().as_bytes());
}

#[tokio::test]
async fn what_is_blocked_goes_nowhere_and_is_told_by_its_kind() {
    let fake = Fake::start(|_| streamed(STREAM)).await;
    let world = world(&fake, PLENTY, Treatment::Block).await;
    let (status, body) = text(world.post(MESSAGES, request()).await).await;
    assert_eq!(status, 402, "{body}");
    let words = "it holds 1 × npm-token, which `data.providers.anthropic.secrets` keeps from the models of `anthropic`";
    assert!(body.contains(words) && !body.contains(&token()), "{body}");
    // Nor is it counted there.
    let counted =
        world.post("/anthropic/v1/messages/count_tokens", request().replace("\"stream\":true,", "")).await;
    assert_eq!(counted.status(), StatusCode::PAYMENT_REQUIRED);
    assert_eq!((fake.seen().len(), world.balance().await), (0, (0, 0)));
    let sentences = world.sentences().await.join("\n");
    assert!(sentences.contains("npm-token") && !sentences.contains(&token()), "{sentences}");
    assert_eq!(bytes(world.post(MESSAGES, REQUEST).await).await, STREAM);
}

/// Where the prompt has to be counted, it is counted as it will be sent; where it must not be sent, it is not counted.
#[tokio::test]
async fn a_prompt_that_must_stay_is_not_sent_to_be_counted() {
    let fake = Fake::start(|_| whole("200 OK", "application/json", br#"{"input_tokens":21900}"#)).await;
    let world = world(&fake, 160_000_000, Treatment::Block).await;
    let long = request().replace("publish", &"x".repeat(40_000));
    assert_eq!(world.post(MESSAGES, long).await.status(), StatusCode::PAYMENT_REQUIRED);
    assert_eq!(fake.seen().len(), 0);
}

#[tokio::test]
async fn what_is_redacted_is_held_and_sent_as_it_is_then() {
    let go_on = Arc::new(Notify::new());
    let wait = Arc::clone(&go_on);
    let fake = Fake::start(move |_| {
        let (first, last) = STREAM.split_at(STREAM.len() - 30);
        vec![stream_head(), chunk(first), Step::Wait(Arc::clone(&wait)), chunk(last), stream_end()]
    })
    .await;
    let world = world(&fake, PLENTY, Treatment::Redact).await;
    let mut body = world.post(MESSAGES, request()).await.into_body();
    assert!(body.frame().await.is_some());
    let expected = request().replace(&token(), &format!("[redacted: {}]", Kind::NpmToken.name()));
    assert_eq!(fake.seen()[0].body, expected.as_bytes());
    let input = i64::try_from(expected.len()).unwrap() + 2048;
    assert_eq!(world.balance().await, (0, (input * 4000 + 1000 * 20_000) * 11 / 10));
    go_on.notify_one();
    assert!(body.collect().await.is_ok());
    let reasons = world.listed().await.into_iter().flat_map(|line| line.reasons);
    let told: Vec<String> =
        reasons.filter(|reason| reason.source == "data").map(|reason| reason.text).collect();
    assert_eq!(told, ["1 × npm-token redacted (`data.providers.anthropic.secrets`)"]);
}

#[tokio::test]
async fn a_person_who_lets_a_secret_through_for_the_run_is_not_asked_about_it_again() {
    let fake = Fake::start(|_| streamed(STREAM)).await;
    let world = Arc::new(world(&fake, PLENTY, Treatment::Ask).await);
    let asking = Arc::clone(&world);
    let first = tokio::spawn(async move { bytes(asking.post(MESSAGES, request()).await).await });
    let mut questions = world.gate.approvals().watch();
    while world.gate.approvals().questions().is_empty() {
        tokio::time::timeout(Duration::from_secs(10), questions.changed()).await.unwrap().unwrap();
    }
    let question = world.gate.approvals().questions().remove(0);
    let why = question.why.join(" ");
    assert!(why.contains("it holds npm-token") && !why.contains(&token()), "{why}");
    let taken = world.gate.approvals().take(question.id, Lasts::Run, 0).unwrap();
    taken.give(Answer::Allow { by: "user:a".into(), lasts: Lasts::Run }, std::time::Instant::now()).unwrap();
    assert_eq!(first.await.unwrap(), STREAM);
    let again = format!("and once more {} with many more words, publish with", token());
    let longer = request().replace("publish with", &again);
    assert_eq!(bytes(world.post(MESSAGES, longer).await).await, STREAM);
    assert_eq!(world.gate.approvals().standing(0)[0].used, 1);
}
