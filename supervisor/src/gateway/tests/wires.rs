//! Each wire from end to end: what the client gets, what the provider gets, and what is billed.

use super::fake::{Fake, KEY, Seen, Step, World, bytes, chunk, send, stream_end, stream_head, text, whole};
use super::*;
use crate::core::money::NanoUsd;
use crate::registry::{Config, PriceOverride, ProviderConfig};
use crate::sys::secrets::SecretRef;

const CHAT: &str = "/openai/v1/chat/completions";
const CHAT_STREAM: &[u8] = include_bytes!("../golden/chat-stream.sse");
const CHAT_ANSWER: &[u8] = include_bytes!("../golden/chat-answer.json");
/// 29 at 250, 100 written at 250, 11 904 read at 25, 44 at 2000 nano-USD.
const CHAT_COST: i64 = 29 * 250 + 100 * 250 + 11_904 * 25 + 44 * 2000;
const ASKS: &str = r#"{"model":"gpt-5-mini","messages":[{"role":"user","content":"hi"}],"stream":true,"service_tier":"default"}"#;
const OPENROUTER: &[u8] = include_bytes!("../golden/chat-openrouter.sse");

/// The golden stream without the chunk that only comes because the usage is asked for.
fn without_usage() -> Vec<u8> {
    let text = std::str::from_utf8(CHAT_STREAM).unwrap();
    let events = text.split_inclusive("\n\n").filter(|event| !event.contains("\"choices\":[]"));
    events.collect::<String>().into_bytes()
}

fn streamed_in(pieces: &[&[u8]]) -> Vec<Step> {
    let mut steps = vec![stream_head()];
    steps.extend(pieces.iter().filter(|piece| !piece.is_empty()).map(|piece| chunk(piece)));
    steps.push(stream_end());
    steps
}

/// An endpoint on this machine that takes no key, and a price for its model.
fn local(port: u16, config: &mut Config) {
    let base_url = format!("http://127.0.0.1:{port}/api/v1").parse().unwrap();
    config.providers.insert(
        "local".to_owned(),
        ProviderConfig {
            base_url,
            key: None,
            wire: Some("openai".to_owned()),
            multiplier_bp: 10_000,
            reconcile: None,
            max_price: None,
        },
    );
    let price = PriceOverride {
        input: NanoUsd::new(1000).unwrap(),
        output: NanoUsd::new(10_000).unwrap(),
        cache_read: NanoUsd::new(100).ok(),
        max_output: Some(4096),
        ..PriceOverride::default()
    };
    config.prices.insert("own/model".to_owned(), price);
}

#[tokio::test]
async fn a_chat_that_did_not_ask_for_usage_does_not_see_it_and_is_metered_by_it() {
    let fake = Fake::start(|_| streamed_in(&[CHAT_STREAM])).await;
    let world = World::new(fake.port, PLENTY, STYLE).await;
    let response = world.post(CHAT, ASKS).await;
    assert_eq!(bytes(response).await, without_usage());
    let seen = &fake.seen()[0];
    assert!(seen.head.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"), "{}", seen.head);
    assert_eq!(seen.header("authorization"), Some(format!("Bearer {KEY}").as_str()));
    let spliced = ASKS.replacen('{', r#"{"stream_options":{"include_usage":true},"#, 1);
    assert_eq!(std::str::from_utf8(&seen.body).unwrap(), spliced);
    assert_eq!(seen.header("content-length"), Some(spliced.len().to_string().as_str()));
    assert_eq!(world.balance().await, (CHAT_COST, 0));
}

#[tokio::test]
async fn a_chat_that_asked_for_usage_sees_all_and_is_passed_on_as_it_is() {
    let fake = Fake::start(|_| streamed_in(&[CHAT_STREAM])).await;
    let world = World::new(fake.port, PLENTY, STYLE).await;
    let asks = ASKS.replacen('{', r#"{ "stream_options" : { "include_usage" : true },"#, 1);
    assert_eq!(bytes(world.post(CHAT, asks.clone()).await).await, CHAT_STREAM);
    assert_eq!(fake.seen()[0].body, asks.as_bytes());
    assert_eq!(world.balance().await, (CHAT_COST, 0));
}

/// Wherever the provider's stream is cut into pieces, client and ledger get the same.
#[tokio::test]
async fn a_chat_stream_cut_at_any_byte_gives_the_same_bytes_and_bill() {
    let turn = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let cut = Arc::clone(&turn);
    let fake = Fake::start(move |_| {
        let at = cut.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let (one, two) = CHAT_STREAM.split_at(at % (CHAT_STREAM.len() + 1));
        streamed_in(&[one, two])
    })
    .await;
    let world = World::new(fake.port, PLENTY, STYLE).await;
    let expected = without_usage();
    // A prime step visits every kind of place without a thousand calls.
    let mut calls = 0;
    for at in (0..=CHAT_STREAM.len()).step_by(23) {
        turn.store(at, std::sync::atomic::Ordering::SeqCst);
        assert_eq!(bytes(world.post(CHAT, ASKS).await).await, expected, "cut at {at}");
        calls += 1;
    }
    assert_eq!(world.balance().await, (calls * CHAT_COST, 0));
}

#[tokio::test]
async fn a_chat_answer_that_is_not_streamed_is_metered_too() {
    let fake = Fake::start(|_| whole("200 OK", "application/json", CHAT_ANSWER)).await;
    let world = World::new(fake.port, PLENTY, STYLE).await;
    let response = world.post(CHAT, r#"{"model":"gpt-5-mini","messages":[]}"#).await;
    assert_eq!(bytes(response).await, CHAT_ANSWER);
    assert_eq!(
        std::str::from_utf8(&fake.seen()[0].body).unwrap(),
        r#"{"service_tier":"default","model":"gpt-5-mini","messages":[]}"#
    );
    assert_eq!(world.balance().await, (75 * 250 + 16 * 2000, 0));
}

#[tokio::test]
async fn a_chat_stream_that_breaks_off_ends_with_an_error_and_counts_in_full() {
    let cut = CHAT_STREAM.len() - b"data: [DONE]\n\n".len();
    let fake =
        Fake::start(move |_| vec![stream_head(), chunk(&CHAT_STREAM[..cut]), stream_end(), Step::Cut]).await;
    let world = World::new(fake.port, PLENTY, STYLE).await;
    let (_, body) = text(world.post(CHAT, ASKS).await).await;
    let last = body.rsplit("\n\n").nth(1).unwrap();
    assert!(
        last.starts_with(r#"data: {"error":{"message":"agentsup: the provider ended its answer too early"#),
        "{last}"
    );
    assert!(
        last.ends_with(r#""type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#),
        "{last}"
    );
    // A token a byte and the frame at 250, 128 000 at 2000.
    let held = (i64::try_from(ASKS.len()).unwrap() + 2048) * 250 + 128_000 * 2000;
    assert_eq!(world.balance().await, (held, 0));
}

/// Status, code and header at which plain OpenAI clients stop at once.
#[tokio::test]
async fn the_end_of_the_budget_stops_plain_openai_clients() {
    let fake = Fake::start(|_| vec![Step::Cut]).await;
    let world = World::new(fake.port, 1, STYLE).await;
    let response = world.post(CHAT, ASKS).await;
    assert_eq!(response.headers()["x-should-retry"], "false");
    let (status, body) = text(response).await;
    assert_eq!(status, 402);
    assert!(body.starts_with(r#"{"error":{"message":"agentsup: budget exhausted"#), "{body}");
    assert!(
        body.contains(r#""type":"insufficient_quota","param":null,"code":"insufficient_quota""#),
        "{body}"
    );
    assert!(fake.seen().is_empty());
}

#[tokio::test]
async fn an_endpoint_is_a_row_of_configuration() {
    let fake = Fake::start(|seen: &Seen| match seen.head.lines().next().unwrap() {
        "POST /api/v1/chat/completions HTTP/1.1" => streamed_in(&[OPENROUTER]),
        "POST /api/v1/responses HTTP/1.1" => {
            whole("200 OK", "application/json", include_bytes!("../golden/openai-answer.json"))
        }
        "GET /api/v1/models HTTP/1.1" => whole("200 OK", "application/json", b"{\"data\":[]}"),
        other => panic!("{other}"),
    })
    .await;
    let world = World::with(fake.port, PLENTY, STYLE, |config| local(fake.port, config)).await;
    let asks = r#"{"model":"own/model","messages":[],"stream":true}"#;
    // The usage comes with the last chunk of the answer, so nothing is taken out.
    assert_eq!(bytes(world.post("/local/v1/chat/completions", asks).await).await, OPENROUTER);
    // The provider says 0.014000001 USD where its price makes 1000 at 1000, 200 at 100 and 330 at 10 000.
    let first = 14_000_001;
    assert_eq!(world.balance().await, (first, 0));
    let asks = r#"{"model":"own/model","input":"hi"}"#;
    bytes(world.post("/local/v1/responses", asks).await).await;
    assert_eq!(fake.seen()[1].body, asks.as_bytes());
    let second = 75 * 1000 + 16 * 10_000;
    assert_eq!(world.balance().await, (first + second, 0));
    let get = Request::get("/").header("x-api-key", super::fake::TOKEN).body(Full::default()).unwrap();
    assert_eq!(text(world.gateway.serve(get, "/local/v1/models").await).await.0, 200);
    assert!(fake.seen().iter().all(|seen| seen.header("authorization").is_none()));
    let sentences = world.sentences().await;
    assert!(
        sentences[0]
            .ends_with("200 OK, billed 0.014000001 USD by the provider where its price makes 0.00432 USD."),
        "{sentences:?}"
    );
    assert!(sentences[1].starts_with("called the model `own/model` of local in dev"), "{sentences:?}");
}

#[tokio::test]
async fn a_model_without_a_price_is_refused_with_the_lines_to_add() {
    let fake = Fake::start(|_| vec![Step::Cut]).await;
    let world = World::with(fake.port, PLENTY, STYLE, |config| local(fake.port, config)).await;
    let (status, body) =
        text(world.post("/local/v1/chat/completions", r#"{"model":"llama","messages":[]}"#).await).await;
    assert_eq!(status, 402);
    assert!(body.contains("no price is known for the model `llama`"), "{body}");
    assert!(body.contains(r#"[prices.\"llama\"] input = … output = … max_output = …"#), "{body}");
    for path in ["/local/v1/embeddings", "/nowhere/v1/chat/completions"] {
        let (_, body) = text(world.post(path, ASKS).await).await;
        assert!(body.contains("is not a call that can be metered"), "{body}");
    }
    assert_eq!((fake.seen().len(), world.balance().await), (0, (0, 0)));
}

/// A provider whose key is missing is told by its name in the configuration.
#[tokio::test]
async fn the_key_of_an_endpoint_goes_by_its_name() {
    let fake = Fake::start(|_| vec![send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")]).await;
    let world = World::with(fake.port, PLENTY, STYLE, |config| {
        local(fake.port, config);
        let provider = config.providers.get_mut("local").unwrap();
        provider.key = Some(SecretRef::Env("CARGO_PKG_NAME".to_owned()));
    })
    .await;
    world.post("/local/v1/chat/completions", r#"{"model":"own/model","messages":[]}"#).await;
    assert_eq!(fake.seen()[0].header("authorization"), Some(format!("Bearer {KEY}").as_str()));
}

const GEMINI: &str = "/gemini/v1beta/models/gemini-2.5-pro";
const GEMINI_STREAM: &[u8] = include_bytes!("../golden/gemini-stream.sse");
/// 4033 at 1250, 8000 read at 125, 344 at 10 000 nano-USD.
const GEMINI_COST: i64 = 4033 * 1250 + 8000 * 125 + 344 * 10_000;
const GEMINI_ASKS: &str = "{ \"contents\":[{\"parts\":[{\"text\":\"h\\u00ed\"}]}] , \"x\":1.0}";

fn google(port: u16, config: &mut Config) {
    let provider = config.providers.get_mut("gemini").unwrap();
    provider.base_url = format!("http://127.0.0.1:{port}").parse().unwrap();
    provider.key = Some(SecretRef::Env("CARGO_PKG_NAME".to_owned()));
}

async fn gemini(world: &World, rest: &str, body: &'static str) -> Response<Body> {
    let request =
        Request::post("/").header("x-goog-api-key", super::fake::TOKEN).body(Full::from(body)).unwrap();
    world.gateway.serve(request, rest).await
}

#[tokio::test]
async fn gemini_streams_pass_as_they_are_and_are_metered_wherever_they_are_cut() {
    let turn = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let cut = Arc::clone(&turn);
    let fake = Fake::start(move |_| {
        let (one, two) = GEMINI_STREAM.split_at(cut.load(std::sync::atomic::Ordering::SeqCst));
        streamed_in(&[one, two])
    })
    .await;
    let world = World::with(fake.port, PLENTY, STYLE, |config| google(fake.port, config)).await;
    let mut calls = 0;
    for at in (0..=GEMINI_STREAM.len()).step_by(31) {
        turn.store(at, std::sync::atomic::Ordering::SeqCst);
        let path = format!("{GEMINI}:streamGenerateContent?alt=sse");
        assert_eq!(bytes(gemini(&world, &path, GEMINI_ASKS).await).await, GEMINI_STREAM, "cut at {at}");
        calls += 1;
    }
    assert_eq!(world.balance().await, (calls * GEMINI_COST, 0));
    let seen = &fake.seen()[0];
    assert!(
        seen.head
            .starts_with("POST /v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse HTTP/1.1\r\n"),
        "{}",
        seen.head
    );
    assert_eq!((seen.header("x-goog-api-key"), seen.body.as_slice()), (Some(KEY), GEMINI_ASKS.as_bytes()));
    assert!(!seen.head.contains(super::fake::TOKEN));
}

#[tokio::test]
async fn gemini_answers_lists_and_counts() {
    let fake = Fake::start(|seen: &Seen| {
        let body: &[u8] = match seen.head.lines().next().unwrap().split(' ').nth(1).unwrap() {
            "/v1beta/models/gemini-2.5-pro:generateContent" => include_bytes!("../golden/gemini-answer.json"),
            "/v1beta/models/gemini-2.5-pro:streamGenerateContent" => {
                include_bytes!("../golden/gemini-array.json")
            }
            "/v1beta/models/gemini-2.5-pro:countTokens" => b"{\"totalTokens\":3}",
            "/v1beta/models?pageSize=5" => b"{\"models\":[]}",
            other => panic!("{other}"),
        };
        whole("200 OK", "application/json; charset=UTF-8", body)
    })
    .await;
    let world = World::with(fake.port, PLENTY, STYLE, |config| google(fake.port, config)).await;
    let mut posted = 0;
    for (method, billed) in [
        ("generateContent", 75 * 1250 + 160_000),
        ("streamGenerateContent", 75 * 1250 + 160_000),
        ("countTokens", 0),
    ] {
        let response = gemini(&world, &format!("{GEMINI}:{method}"), GEMINI_ASKS).await;
        assert_eq!(response.status(), StatusCode::OK);
        bytes(response).await;
        posted += billed;
        assert_eq!(world.balance().await, (posted, 0), "{method}");
    }
    let get = Request::get("/").header("x-goog-api-key", super::fake::TOKEN).body(Full::default()).unwrap();
    let listed = text(world.gateway.serve(get, "/gemini/v1beta/models?pageSize=5").await).await;
    assert_eq!(listed, (200, "{\"models\":[]}".to_owned()));
}

#[tokio::test]
async fn gemini_streams_that_end_too_early_count_in_full() {
    let fake = Fake::start(|_| streamed_in(&[include_bytes!("../golden/gemini-cut.sse")])).await;
    let world = World::with(fake.port, PLENTY, STYLE, |config| google(fake.port, config)).await;
    let path = format!("{GEMINI}:streamGenerateContent?alt=sse");
    let (_, body) = text(gemini(&world, &path, GEMINI_ASKS).await).await;
    let last = body.rsplit("\n\n").next().unwrap();
    let broken_off = r#"{"error":{"code":403,"message":"agentsup: the provider ended"#;
    assert!(last.starts_with(broken_off), "{last}");
    let held = (i64::try_from(GEMINI_ASKS.len()).unwrap() + 2048) * 1250 + 65_536 * 10_000;
    assert_eq!(world.balance().await, (held, 0));
}

#[tokio::test]
async fn gemini_is_refused_in_googles_shape_and_sends_no_key_in_the_query() {
    let fake = Fake::start(|_| vec![Step::Cut]).await;
    let world = World::with(fake.port, 1, STYLE, |config| google(fake.port, config)).await;
    let search = r#"{"contents":[],"tools":[{"googleSearch":{}}]}"#;
    for (rest, body, words) in [
        (":generateContent", GEMINI_ASKS, "agentsup: budget exhausted"),
        (":generateContent", search, "what `tools: googleSearch` costs has no upper bound"),
        (":generateContent?key=AIzaUsersOwn", GEMINI_ASKS, "is not a call that can be metered"),
        (":generateContent?fields=candidates", GEMINI_ASKS, "is not a call that can be metered"),
        (":batchEmbedContents", GEMINI_ASKS, "is not a call that can be metered"),
    ] {
        let (status, body) = text(gemini(&world, &format!("{GEMINI}{rest}"), body).await).await;
        let error: serde_json::Value = serde_json::from_str(&body).unwrap();
        let code = (&error["error"]["code"], error["error"]["status"].as_str());
        assert_eq!((status, code), (403, (&serde_json::json!(403), Some("PERMISSION_DENIED"))));
        assert!(error["error"]["message"].as_str().unwrap().contains(words), "{body}");
    }
    let wrong = Request::post("/").header("x-goog-api-key", "x").body(Full::from(GEMINI_ASKS)).unwrap();
    let (status, body) = text(world.gateway.serve(wrong, &format!("{GEMINI}:generateContent")).await).await;
    assert!(status == 401 && body.contains("UNAUTHENTICATED"), "{body}");
    assert!(fake.seen().is_empty());
}

#[tokio::test]
async fn a_call_that_goes_on_from_an_answer_is_bounded_by_that_answer_or_counted() {
    const ANSWER: &[u8] = include_bytes!("../golden/openai-answer.json");
    const COUNT: &str = "POST /v1/responses/input_tokens HTTP/1.1";
    const CALL: &str = "POST /v1/responses HTTP/1.1";
    let fake = Fake::start(|seen| {
        let is_count = seen.head.starts_with(COUNT);
        let body = if is_count { br#"{"object":"response.input_tokens","input_tokens":80}"# } else { ANSWER };
        whole("200 OK", "application/json", body)
    })
    .await;
    // All that the model accepts would be 0.1 USD.
    let world = World::new(fake.port, 5_000_000, STYLE).await;
    let call = async |model: &str, before: &str| {
        let before =
            if before.is_empty() { String::new() } else { format!(r#","previous_response_id":"{before}""#) };
        let body = format!(
            r#"{{"model":"{model}","input":"hi","max_output_tokens":100,"service_tier":"default"{before}}}"#
        );
        let status = world.post("/openai/v1/responses", body).await.status();
        let lines = fake.seen().iter().map(|seen| seen.head.lines().next().unwrap().to_owned()).collect();
        (status, lines)
    };
    let mut expected: Vec<String> = Vec::new();
    for (model, before, then) in [
        ("gpt-5-mini", "", &[CALL][..]),
        ("gpt-5-mini", "resp_3", &[CALL]),
        // another's, and another model's, which may count differently
        ("gpt-5-mini", "resp_4", &[COUNT, CALL]),
        ("gpt-5", "resp_3", &[COUNT, CALL]),
    ] {
        expected.extend(then.iter().map(|line| (*line).to_owned()));
        assert_eq!(call(model, before).await, (StatusCode::OK, expected.clone()), "{model} {before}");
    }
    assert_eq!(
        std::str::from_utf8(&fake.seen()[2].body).unwrap(),
        r#"{"model":"gpt-5-mini","input":"hi","previous_response_id":"resp_4"}"#
    );
}

#[tokio::test]
async fn a_router_is_told_the_price_that_it_may_not_exceed() {
    let fake = Fake::start(|_| streamed_in(&[CHAT_STREAM])).await;
    let router = |config: &mut Config| {
        local(fake.port, config);
        config.providers.get_mut("local").unwrap().max_price = Some(crate::registry::Ceiling::OpenRouter);
    };
    let world = World::with(fake.port, PLENTY, STYLE, router).await;
    let path = "/local/v1/chat/completions";
    let asks = |provider: &str| {
        format!(
            r#"{{"model":"own/model","messages":[],"stream":true,"stream_options":{{"include_usage":true}}{provider}}}"#
        )
    };
    assert_eq!(world.post(path, asks("")).await.status(), StatusCode::OK);
    let ceiling = r#"{"provider":{"max_price":{"prompt":1,"completion":10}},"model""#;
    let expected = asks("").replace(r#"{"model""#, ceiling);
    assert_eq!(std::str::from_utf8(&fake.seen()[0].body).unwrap(), expected);
    let refused = text(world.post(path, asks(r#","provider":["x"]"#)).await).await;
    assert_eq!(refused.0, 402, "{refused:?}");
    assert!(refused.1.contains("the call's `provider` is no object, so its price cannot be limited"));
    assert_eq!(fake.seen().len(), 1);
}
