//! The data path, from the client's request to the settled call, before a provider that does what the test says.

mod count;
mod fake;
mod generations;
mod prompts;
mod refusals;
mod session;
mod telemetry;
mod wires;

use http_body_util::{BodyExt as _, Full};
use tokio::sync::Notify;

use super::*;
use crate::core::refusal::RefusalStyle;
use crate::core::run::RunState;
use fake::{Fake, KEY, Step, TOKEN, World, bytes, chunk, stream_end, stream_head, text, whole};

const STYLE: RefusalStyle = RefusalStyle::PLAIN;
/// 100 USD.
const PLENTY: i64 = 100_000_000_000;
const MESSAGES: &str = "/anthropic/v1/messages?beta=true";
const REQUEST: &str = "{ \"model\":\"claude-opus-5-5\",\"max_tokens\" : 1000, \"stream\":true,\n\t\"messages\":[{\"role\":\"user\",\"content\":\"Gr\\u00fc\\u00dfe\"}] ,\"unknown\":{\"a\":[1.0,null]}}\n";
const STREAM: &[u8] = include_bytes!("golden/anthropic-stream.sse");
/// 14 at 4000, 500 at 5000, 1000 at 8000, 20 480 at 200, 57 at 20 000 nano-USD.
const STREAM_COST: i64 = 56_000 + 2_500_000 + 8_000_000 + 4_096_000 + 1_140_000;

/// What the gateway holds for [`REQUEST`]: a token a byte and the frame at 4000, 1000 at 20 000, and a tenth on top.
fn held() -> i64 {
    let input = i64::try_from(REQUEST.len()).unwrap() + 2048;
    (input * 4000 + 1000 * 20_000) * 11 / 10
}

/// [`REQUEST`] with as long a prompt as [`STREAM`] says it had.
fn long_request() -> String {
    REQUEST.replace("Gr\\u00fc\\u00dfe", &"x".repeat(25_000))
}

/// What counts of [`STREAM`] where it broke off after so many plain tokens of its prompt: the prompt as counted, all of
/// 1000 tokens of output, and a tenth on top.
const fn broken_off(plain: i64) -> i64 {
    (plain * 4000 + 500 * 5000 + 1000 * 8000 + 20_480 * 200 + 1000 * 20_000) * 11 / 10
}

fn streamed(bytes: &[u8]) -> Vec<Step> {
    vec![stream_head(), chunk(bytes), stream_end()]
}

#[tokio::test]
async fn bytes_pass_as_they_are_and_the_key_is_swapped() {
    let fake = Fake::start(|_| streamed(STREAM)).await;
    let world = World::new(fake.port, PLENTY, STYLE).await;
    let request = Request::post("/")
        .header("authorization", format!("Bearer {TOKEN}"))
        .header("x-hidden", format!("a {TOKEN} b"))
        .header("host", "127.0.0.1:9")
        .header("anthropic-beta", "context-management-2025-06-27")
        .header("x-claude-code-session-id", "s-1")
        .header("accept-encoding", "gzip")
        .body(Full::new(Bytes::from_static(REQUEST.as_bytes())))
        .unwrap();
    let response = world.gateway.serve(request, MESSAGES).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "text/event-stream; charset=utf-8");
    assert_eq!(bytes(response).await, STREAM);

    let seen = &fake.seen()[0];
    assert_eq!(seen.body, REQUEST.as_bytes());
    assert!(seen.head.starts_with("POST /v1/messages?beta=true HTTP/1.1\r\n"), "{}", seen.head);
    assert_eq!(seen.header("x-api-key"), Some(KEY));
    assert_eq!(seen.header("host"), Some(format!("127.0.0.1:{}", fake.port).as_str()));
    assert_eq!(seen.header("anthropic-beta"), Some("context-management-2025-06-27"));
    assert_eq!(seen.header("x-claude-code-session-id"), Some("s-1"));
    assert_eq!(seen.header("accept-encoding"), Some("identity"));
    assert_eq!((seen.header("authorization"), seen.header("x-hidden")), (None, None));
    assert!(!seen.head.contains(TOKEN));

    assert_eq!(world.balance().await, (STREAM_COST, 0));
    assert_eq!(
        world.sentences().await,
        ["called the model `claude-opus-5-5` of anthropic in dev at TIME, 22051 tokens, 0.015792 USD, \
          allowed by default/in-scope, 200 OK."]
    );
}

#[tokio::test]
async fn an_answer_that_is_not_streamed_is_metered_too() {
    const ANSWER: &[u8] = include_bytes!("golden/openai-answer.json");
    let fake = Fake::start(|_| whole("200 OK", "application/json", ANSWER)).await;
    let world = World::new(fake.port, PLENTY, STYLE).await;
    let response = world.post("/openai/v1/responses", r#"{"model":"gpt-5-mini","input":"hi"}"#).await;
    assert_eq!(response.headers()["request-id"], "req_1");
    assert_eq!(response.headers()["content-length"], ANSWER.len().to_string());
    assert!(!response.headers().contains_key("x-ratelimit-limit"));
    assert_eq!(bytes(response).await, ANSWER);
    let seen = &fake.seen()[0];
    assert!(seen.head.starts_with("POST /v1/responses HTTP/1.1\r\n"), "{}", seen.head);
    assert_eq!(seen.header("authorization"), Some(format!("Bearer {KEY}").as_str()));
    assert_eq!(seen.header("x-api-key"), None);
    assert_eq!(world.balance().await, (75 * 250 + 16 * 2000, 0));
}

#[tokio::test]
async fn chunks_pass_as_they_come_and_the_bill_is_posted_before_the_last() {
    let go_on = Arc::new(Notify::new());
    let wait = Arc::clone(&go_on);
    let end = STREAM.len() - 30;
    let fake = Fake::start(move |_| {
        let (first, last) = STREAM.split_at(end);
        vec![
            stream_head(),
            chunk(first),
            Step::Wait(Arc::clone(&wait)),
            chunk(last),
            Step::Wait(Arc::clone(&wait)),
            stream_end(),
        ]
    })
    .await;
    let world = World::new(fake.port, PLENTY, STYLE).await;
    let mut body = world.post(MESSAGES, REQUEST).await.into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(first, &STREAM[..end]);
    assert_eq!(world.balance().await, (0, held()));
    go_on.notify_one();
    let last = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(last, &STREAM[end..]);
    // The provider has not even ended its answer.
    assert_eq!(world.balance().await, (STREAM_COST, 0));
    go_on.notify_one();
    assert!(body.frame().await.is_none());
}

#[tokio::test]
async fn what_the_provider_refuses_passes_and_costs_nothing() {
    const ERROR: &[u8] = br#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    let fake = Fake::start(|_| whole("529 Overloaded", "application/json", ERROR)).await;
    let world = World::new(fake.port, PLENTY, STYLE).await;
    let response = world.post(MESSAGES, REQUEST).await;
    assert!(!response.headers().contains_key("x-should-retry"));
    let (status, body) = text(response).await;
    assert_eq!((status, body.as_bytes()), (529, ERROR));
    assert_eq!(world.balance().await, (0, 0));
    let sentences = world.sentences().await;
    assert!(
        sentences[0].ends_with("allowed by default/in-scope, 529 <unknown status code>."),
        "{sentences:?}"
    );
}

/// Something between here and the provider lost patience; the provider may have gone on.
#[tokio::test]
async fn a_time_out_on_the_way_counts_in_full() {
    for (status, posted) in [("504 Gateway Timeout", held()), ("503 Service Unavailable", 0)] {
        let fake = Fake::start(move |_| whole(status, "text/html", b"late")).await;
        let world = World::new(fake.port, PLENTY, STYLE).await;
        let (_, body) = text(world.post(MESSAGES, REQUEST).await).await;
        assert_eq!((body.as_str(), world.balance().await), ("late", (posted, 0)));
    }
}

/// An answer that was compressed although it was not to be: it passes, nothing is put into it, and it counts in full.
#[tokio::test]
async fn a_compressed_answer_passes_and_counts_in_full() {
    const BODY: &[u8] = b"\x1f\x8b\x08 not to be read\n\n";
    let fake = Fake::start(|_| {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-encoding: gzip\r\n\
                    transfer-encoding: chunked\r\n\r\n";
        vec![fake::send(head), chunk(BODY), stream_end()]
    })
    .await;
    let world = World::new(fake.port, PLENTY, STYLE).await;
    let response = world.post(MESSAGES, REQUEST).await;
    assert_eq!(bytes(response).await, BODY);
    assert_eq!(world.balance().await, (held(), 0));
}

/// 200, and then an error for an answer: nothing is known, so it counts in full.
#[tokio::test]
async fn a_success_that_is_an_error_counts_in_full() {
    const ERROR: &[u8] = br#"{"type":"error","error":{"type":"api_error","message":"Internal"}}"#;
    for body in [ERROR, b"", b"null", b"<html>"] {
        let fake = Fake::start(|_| whole("200 OK", "application/json", body)).await;
        let world = World::new(fake.port, PLENTY, STYLE).await;
        assert_eq!(bytes(world.post(MESSAGES, REQUEST).await).await, body);
        assert_eq!(world.balance().await, (held(), 0));
    }
}

#[tokio::test]
async fn a_stream_cut_between_events_ends_with_an_error_and_counts_at_most() {
    let cut = STREAM.len() - b"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n".len();
    for ending in [Step::Cut, stream_end()] {
        let fake =
            Fake::start(move |_| vec![stream_head(), chunk(&STREAM[..cut]), ending.clone(), Step::Cut]).await;
        let world = World::new(fake.port, PLENTY, STYLE).await;
        let (_, body) = text(world.post(MESSAGES, long_request()).await).await;
        let rest = body.strip_prefix(std::str::from_utf8(&STREAM[..cut]).unwrap()).unwrap();
        assert!(rest.starts_with("event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"billing_error\",\"message\":\"agentsup: the provider"), "{rest}");
        assert!(rest.ends_with("; the call counts as spent\"}}\n\n"), "{rest}");
        assert_eq!(world.balance().await, (broken_off(14), 0));
    }
}

#[tokio::test]
async fn a_stream_cut_within_an_event_breaks_off() {
    let fake = Fake::start(|_| vec![stream_head(), chunk(&STREAM[..500]), Step::Cut]).await;
    let world = World::new(fake.port, PLENTY, STYLE).await;
    let response = world.post(MESSAGES, long_request()).await;
    assert!(response.into_body().collect().await.is_err());
    assert_eq!(world.balance().await, (broken_off(12), 0));
}

#[tokio::test]
async fn an_answer_cut_before_its_end_counts_in_full() {
    let fake = Fake::start(|_| {
        let mut steps = whole("200 OK", "application/json", include_bytes!("golden/anthropic-answer.json"));
        if let Some(Step::Send(body)) = steps.last_mut() {
            body.truncate(100);
        }
        steps.push(Step::Cut);
        steps
    })
    .await;
    let world = World::new(fake.port, PLENTY, STYLE).await;
    assert!(world.post(MESSAGES, REQUEST).await.into_body().collect().await.is_err());
    world.settled().await;
    assert_eq!(world.balance().await, (held(), 0));
}

#[tokio::test]
async fn a_connection_cut_before_the_answer_counts_in_full() {
    let fake = Fake::start(|_| vec![Step::Cut]).await;
    let world = World::new(fake.port, PLENTY, STYLE).await;
    let (status, body) = text(world.post(MESSAGES, REQUEST).await).await;
    assert_eq!(status, 402);
    assert!(body.contains("agentsup: provider `anthropic`: the connection failed"), "{body}");
    assert!(body.contains("; the call counts as spent"), "{body}");
    assert_eq!((fake.seen().len(), world.balance().await), (1, (held(), 0)));
}

#[tokio::test]
async fn a_client_that_leaves_still_pays_what_it_cost() {
    let go_on = Arc::new(Notify::new());
    let wait = Arc::clone(&go_on);
    let fake = Fake::start(move |_| {
        let (first, last) = STREAM.split_at(700);
        vec![stream_head(), chunk(first), Step::Wait(Arc::clone(&wait)), chunk(last), stream_end()]
    })
    .await;
    let world = World::new(fake.port, PLENTY, STYLE).await;
    let mut body = world.post(MESSAGES, REQUEST).await.into_body();
    assert!(body.frame().await.is_some());
    drop(body);
    assert_eq!(world.balance().await, (0, held()));
    go_on.notify_one();
    world.settled().await;
    assert_eq!(world.balance().await, (STREAM_COST, 0));
    let sentences = world.sentences().await;
    assert!(sentences[0].ends_with("200 OK, the client left."), "{sentences:?}");
}

#[tokio::test]
async fn a_client_that_leaves_before_the_answer_still_pays_what_it_cost() {
    let (arrived, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tell, wait) = (Arc::clone(&arrived), Arc::clone(&go_on));
    let fake = Fake::start(move |_| {
        let mut steps = vec![Step::Tell(Arc::clone(&tell)), Step::Wait(Arc::clone(&wait))];
        steps.extend(streamed(STREAM));
        steps
    })
    .await;
    let world = World::new(fake.port, PLENTY, STYLE).await;
    tokio::select! {
        _ = world.post(MESSAGES, REQUEST) => panic!("there is no answer yet"),
        () = arrived.notified() => {}
    }
    go_on.notify_one();
    world.settled().await;
    assert_eq!(world.balance().await, (STREAM_COST, 0));
}

#[tokio::test]
async fn a_run_that_is_killed_or_suspended_ends_its_calls_at_once_and_at_most() {
    let never = Arc::new(Notify::new());
    let boundary = memchr::memmem::find(STREAM, b"\n\n").unwrap() + 2;
    let states = [(RunState::Killed, "over"), (RunState::Suspended, "suspended")];
    for (cut, (state, said)) in [boundary, 500].into_iter().flat_map(|cut| states.map(|state| (cut, state))) {
        let wait = Arc::clone(&never);
        let fake =
            Fake::start(move |_| vec![stream_head(), chunk(&STREAM[..cut]), Step::Wait(Arc::clone(&wait))])
                .await;
        let world = World::new(fake.port, PLENTY, STYLE).await;
        let mut body = world.post(MESSAGES, long_request()).await.into_body();
        assert!(body.frame().await.is_some());
        world.gate.set_state(&world.live, state, None).await.unwrap();
        let rest = body.collect().await.map(|rest| rest.to_bytes());
        if cut == boundary {
            let rest = String::from_utf8(rest.unwrap().to_vec()).unwrap();
            let words = format!("agentsup: the run is {said}; the call counts as spent");
            assert!(rest.contains(&words), "{rest}");
        } else {
            assert!(rest.is_err());
        }
        world.settled().await;
        assert_eq!(world.balance().await, (broken_off(12), 0));
    }
}

#[tokio::test]
async fn a_suspended_run_waits_for_no_answer_and_asks_anew_when_it_goes_on() {
    let (arrived, never) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let steps = {
        let silent = vec![Step::Tell(Arc::clone(&arrived)), Step::Wait(never)];
        std::sync::Mutex::new(vec![vec![stream_head(), chunk(STREAM), stream_end()], silent])
    };
    let fake = Fake::start(move |_| steps.lock().unwrap().pop().unwrap()).await;
    let world = World::new(fake.port, PLENTY, STYLE).await;
    let (answer, ()) = tokio::join!(world.post(MESSAGES, REQUEST), async {
        arrived.notified().await;
        assert!(world.gate.suspend(&world.live, "look first").await.unwrap());
    });
    let (_, words) = text(answer).await;
    assert!(words.contains("the run is suspended; the call counts as spent"), "{words}");
    assert_eq!(world.balance().await, (held(), 0));
    assert!(world.gate.resume(&world.live).await.unwrap());
    assert_eq!(bytes(world.post(MESSAGES, REQUEST).await).await, STREAM);
    world.settled().await;
    assert_eq!(world.balance().await, (held() + STREAM_COST, 0));
}

#[tokio::test]
async fn what_is_free_passes_and_costs_nothing() {
    let fake = Fake::start(|seen| {
        let body = if seen.head.starts_with("GET") { &b"{\"data\":[]}"[..] } else { b"{\"input_tokens\":9}" };
        whole("200 OK", "application/json", body)
    })
    .await;
    let world = World::new(fake.port, PLENTY, STYLE).await;
    let body = r#"{"model":"claude-opus-5-5","messages":[]}"#;
    let counted = text(world.post("/anthropic/v1/messages/count_tokens?beta=true", body).await).await;
    assert_eq!(counted, (200, "{\"input_tokens\":9}".to_owned()));
    let get = |rest: &'static str| {
        let request = Request::get("/").header("x-api-key", TOKEN).body(Full::default()).unwrap();
        world.gateway.serve(request, rest)
    };
    assert_eq!(text(get("/anthropic/v1/models?limit=1").await).await, (200, "{\"data\":[]}".to_owned()));
    assert_eq!(text(get("/openai/v1/models/gpt-5").await).await, (200, "{\"data\":[]}".to_owned()));
    assert_eq!(world.balance().await, (0, 0));
    let lines: Vec<String> =
        fake.seen().iter().map(|seen| seen.head.lines().next().unwrap().to_owned()).collect();
    assert_eq!(
        lines,
        [
            "POST /v1/messages/count_tokens?beta=true HTTP/1.1",
            "GET /v1/models?limit=1 HTTP/1.1",
            "GET /v1/models/gpt-5 HTTP/1.1",
        ]
    );
    assert!(fake.seen().iter().all(|seen| !seen.head.contains(TOKEN)));
}

#[tokio::test]
async fn probes_and_upgrades_are_answered_here() {
    let fake = Fake::start(|_| vec![Step::Cut]).await;
    let world = World::new(fake.port, PLENTY, STYLE).await;
    let head = Request::head("/").body(Full::<Bytes>::default()).unwrap();
    assert_eq!(world.gateway.serve(head, "/anthropic/api/hello").await.status(), StatusCode::OK);
    let upgrade = Request::get("/").header("upgrade", "websocket").body(Full::<Bytes>::default()).unwrap();
    let response = world.gateway.serve(upgrade, "/openai/v1/responses").await;
    assert_eq!(response.status(), StatusCode::UPGRADE_REQUIRED);
    assert!(fake.seen().is_empty());
}

#[tokio::test]
async fn a_conversation_holds_little_more_than_it_adds() {
    let fake = Fake::start(|_| streamed(STREAM)).await;
    // The byte bound of 200 kB is about one dollar; the provider counts 21 994 tokens.
    let world = World::new(fake.port, PLENTY, STYLE).await;
    let padding = "x".repeat(200_000);
    let request = |more: &str| {
        format!(
            r#"{{"model":"claude-opus-5-5","max_tokens":100,"system":"{padding}","messages":[{{"role":"user","content":"hi"}}{more}]}}"#
        )
    };
    bytes(world.post(MESSAGES, request("")).await).await;
    let snapshot = world.gateway.registry.current();
    let body = request(r#",{"role":"assistant","content":"hello"}"#);
    let provider = providers::by_name("anthropic").unwrap();
    let call = provider.read_call("", body.as_bytes()).unwrap();
    let headers = headers::to_provider(&http::HeaderMap::new(), TOKEN);
    let prompt = anchor::Prompt::of(world.live.run.id, "anthropic", &call, &headers);
    let price = prices::price("anthropic", "claude-opus-5-5", &snapshot.config).unwrap();
    let anchored = world.gateway.learnt.anchors.measure(&prompt);
    let bound = bound::bound(&call, &prompt, body.len(), &[anchored], &price, provider.surcharge()).unwrap();
    assert_eq!(bound.input_tokens, 21_994 + 39 + 2048);
}

/// Many calls at once: what the provider bills never exceeds the cap, and what is left is used.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_calls_never_exceed_the_cap() {
    let fake = Fake::start(|_| streamed(STREAM)).await;
    let cap = 10 * STREAM_COST + held();
    let world = Arc::new(World::new(fake.port, cap, STYLE).await);
    let calls: Vec<_> = (0..40)
        .map(|_| {
            let world = Arc::clone(&world);
            tokio::spawn(async move { text(world.post(MESSAGES, REQUEST).await).await.0 })
        })
        .collect();
    let mut statuses = Vec::new();
    for call in calls {
        statuses.push(call.await.unwrap());
    }
    let billed = i64::try_from(fake.seen().len()).unwrap() * STREAM_COST;
    let served = statuses.iter().filter(|status| **status == 200).count();
    assert_eq!(served, fake.seen().len());
    assert!(billed <= cap, "{billed} of {cap}");
    assert!(billed > cap - held() - STREAM_COST, "{billed} of {cap}");
    assert_eq!(world.balance().await, (billed, 0));
    assert!(statuses.iter().all(|status| [200, 402].contains(status)), "{statuses:?}");
}
