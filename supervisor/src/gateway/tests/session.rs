//! A long conversation, like those of coding agents, up to the end of its budget: how much of it can be spent, and that
//! what the provider bills is what the budget says.

use std::fmt::Write as _;
use std::sync::Mutex;

use serde_json::{Value, json};

use super::*;
use crate::core::money::NanoUsd;

/// 5 USD.
const CAP: i64 = 5_000_000_000;
const MODEL: &str = "claude-sonnet-5";
const ASKED: u64 = 32_000;

/// A provider that counts a token for four bytes, caches every prompt, and adds up what it bills.
#[derive(Default)]
struct Oracle {
    cached: Vec<u8>,
    billed: i64,
    calls: u64,
    lowered: Vec<u64>,
    counted: u64,
}

impl Oracle {
    fn count(&mut self, body: &[u8]) -> Value {
        let request: Value = serde_json::from_slice(body).unwrap();
        self.counted += 1;
        json!({"input_tokens": request["messages"].to_string().len().div_ceil(4) + 3})
    }

    fn answer(&mut self, body: &[u8]) -> Value {
        let request: Value = serde_json::from_slice(body).unwrap();
        let prompt = request["messages"].to_string().into_bytes();
        let same = prompt.iter().zip(&self.cached).take_while(|(a, b)| a == b).count() as u64;
        let fresh = prompt.len() as u64 - same;
        let limit = request["max_tokens"].as_u64().unwrap();
        self.lowered.extend((limit != ASKED).then_some(limit));
        self.calls += 1;
        // 200 to 1 200 tokens, as it comes
        let output = (200 + self.calls * 7919 % 1000).min(limit);
        let (read, written) = (same / 4, fresh.div_ceil(4));
        self.billed += i64::try_from(read * 200 + written * 2500 + output * 10_000).unwrap();
        self.cached = prompt;
        json!({
            "id": "msg_1", "type": "message", "role": "assistant", "model": MODEL, "stop_reason": "tool_use",
            "content": [{"type": "text", "text": "x".repeat(usize::try_from(output * 4).unwrap())}],
            "usage": {
                "input_tokens": 3, "output_tokens": output, "cache_read_input_tokens": read,
                "cache_creation_input_tokens": written,
                "cache_creation": {"ephemeral_5m_input_tokens": written, "ephemeral_1h_input_tokens": 0},
            },
        })
    }
}

/// The agent's side: instructions and tools, and what was said since they were last summed up.
struct Conversation {
    messages: Vec<Value>,
    turns: u64,
}

impl Conversation {
    fn begin() -> Self {
        let mut instructions = String::new();
        for line in 0..1000 {
            writeln!(instructions, "Instruction {line}: be careful with what you are asked to do.").unwrap();
        }
        Self { messages: vec![json!({"role": "user", "content": instructions})], turns: 0 }
    }

    fn body(&self) -> String {
        let messages = Value::from(self.messages.clone());
        format!(
            r#"{{"model":"{MODEL}","max_tokens":{ASKED},"cache_control":{{"type":"ephemeral"}},"messages":{messages}}}"#
        )
    }

    fn hear(&mut self, answer: &Value) {
        self.turns += 1;
        self.messages.push(json!({"role": "assistant", "content": answer["content"]}));
        let length = usize::try_from(500 + self.turns * 104_729 % 5000).unwrap();
        let result = format!("{} {}", self.turns, "y".repeat(length));
        self.messages.push(json!({"role": "user", "content": [{"type": "text", "text": result}]}));
        if self.messages.len() > 60 {
            self.messages.truncate(1);
            self.messages.push(json!({"role": "user", "content": "All of it summed up. ".repeat(100)}));
        }
    }
}

#[tokio::test]
async fn a_long_conversation_spends_its_budget_to_the_end() {
    let oracle = Arc::new(Mutex::new(Oracle::default()));
    let provider = Arc::clone(&oracle);
    let fake = Fake::start(move |seen| {
        let mut oracle = provider.lock().unwrap();
        let is_count = seen.head.contains("count_tokens");
        let answer = if is_count { oracle.count(&seen.body) } else { oracle.answer(&seen.body) }.to_string();
        whole("200 OK", "application/json", answer.as_bytes())
    })
    .await;
    let world = World::new(fake.port, CAP, STYLE).await;
    let mut conversation = Conversation::begin();
    let refusal = loop {
        let response = world.post(MESSAGES, conversation.body()).await;
        let granted = response.headers().get("agentsup-output-tokens").cloned();
        let (status, body) = text(response).await;
        if status != 200 {
            break body;
        }
        let lowered = oracle.lock().unwrap().lowered.last().copied();
        assert!(granted.is_none_or(|granted| granted.to_str().unwrap().parse() == Ok(lowered.unwrap())));
        conversation.hear(&serde_json::from_str(&body).unwrap());
        assert!(conversation.turns < 1000, "the budget has no end");
    };
    assert!(refusal.contains("budget exhausted"), "{refusal}");
    world.settled().await;
    let (posted, pending) = world.balance().await;
    let oracle = oracle.lock().unwrap();
    // 3 tokens at the price of plain input, which the oracle leaves out of its bill.
    let billed = oracle.billed + i64::try_from(oracle.calls * 3 * 2000).unwrap();
    assert_eq!((posted, pending), (billed, 0));
    assert!(posted <= CAP);
    let shown = NanoUsd::new(posted).unwrap();
    assert!(posted * 100 >= CAP * 97, "only {shown} of 5 USD in {} turns", conversation.turns);
    assert!(conversation.turns >= 200, "{} turns", conversation.turns);
    assert!(!oracle.lowered.is_empty() && oracle.lowered.iter().all(|limit| (1024..ASKED).contains(limit)));
    let (turns, lowered, counted) = (conversation.turns, oracle.lowered.len(), oracle.counted);
    eprintln!("{shown} of 5 USD in {turns} turns, {lowered} of them lowered, {counted} counted");
}

#[tokio::test]
async fn the_limit_is_lowered_in_the_body_and_nowhere_else() {
    const ANSWER: &[u8] = include_bytes!("../golden/openai-answer.json");
    let body = "{ \"model\":\"gpt-5-mini\",\t\"input\":\"h\\u00edi\" , \"x\":1.0}";
    let fake = Fake::start(|_| whole("200 OK", "application/json", ANSWER)).await;
    // 128 000 tokens of output would be 0.256 USD.
    let world = World::new(fake.port, 20_000_000, STYLE).await;
    let response = world.post("/openai/v1/responses", body).await;
    assert_eq!(response.headers()["agentsup-output-tokens"], "9737");
    assert_eq!(text(response).await.0, 200);
    let expected = body.replace("{ ", "{\"service_tier\":\"default\",\"max_output_tokens\":9737, ");
    assert_eq!(String::from_utf8(fake.seen()[0].body.clone()).unwrap(), expected);
    assert_eq!(
        world.sentences().await,
        ["called the model `gpt-5-mini` of openai in dev at TIME, 91 tokens, 0.00005075 USD, allowed by \
          default/in-scope, 200 OK."]
    );
}

#[tokio::test]
async fn thinking_is_not_cut_into() {
    let fake = Fake::start(|_| streamed(STREAM)).await;
    let world = World::new(fake.port, 100_000_000, STYLE).await;
    let body = |thinking: u64| {
        format!(
            r#"{{"model":"claude-opus-5-5","max_tokens":32000,"thinking":{{"type":"enabled","budget_tokens":{thinking}}},"messages":[]}}"#
        )
    };
    let refused = text(world.post(MESSAGES, body(10_000)).await).await;
    assert_eq!(refused.0, 402, "{}", refused.1);
    let unclear = body(0).replace(r#""budget_tokens":0"#, r#""budget_tokens":"many""#);
    assert_eq!(world.post(MESSAGES, unclear).await.status(), StatusCode::PAYMENT_REQUIRED);
    assert_eq!(world.post(MESSAGES, body(1024)).await.status(), StatusCode::OK);
    assert_eq!(fake.seen().len(), 1);
}
