//! The scripted model provider: a loopback server that speaks Anthropic Messages, OpenAI Responses and Chat Completions,
//! and Gemini, answers from a script, records every request, counts what a real provider would bill, and misbehaves when
//! told to.
//!
//! Invariants: a request without the provider's own key gets 401 and is never billed; a bill is opened before the first
//! byte is sent. The bytes of each wire are in a file beside this one. Must not know agentsup.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hyper::Response;
use serde_json::Value;

use super::ask::{Ask, Kind, Wire};
use super::faults::{self, Fault};
use super::server::{Answer, Recorded, Server, StreamBody};
use super::{anthropic, chat, gemini, openai};

/// Tokens as a provider bills them; no count is contained in another one, except `reasoning` in `output`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Input that was neither read from nor written to a cache.
    pub(crate) input: u64,
    pub(crate) output: u64,
    pub(crate) cache_read: u64,
    pub(crate) cache_write_5m: u64,
    pub(crate) cache_write_1h: u64,
    pub(crate) reasoning: u64,
}

impl Usage {
    pub(crate) const fn new(input: u64, output: u64) -> Self {
        Self { input, output, cache_read: 0, cache_write_5m: 0, cache_write_1h: 0, reasoning: 0 }
    }

    pub(crate) const fn cache(mut self, read: u64, write_5m: u64, write_1h: u64) -> Self {
        self.cache_read = read;
        self.cache_write_5m = write_5m;
        self.cache_write_1h = write_1h;
        self
    }

    /// What this costs, in nano-USD.
    pub(crate) fn cost_nano_usd(&self, price: &Price) -> u64 {
        self.input * price.input
            + self.output * price.output
            + self.cache_read * price.cache_read
            + self.cache_write_5m * price.cache_write_5m
            + self.cache_write_1h * price.cache_write_1h
    }
}

/// Nano-USD per token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Price {
    pub(crate) input: u64,
    pub(crate) output: u64,
    pub(crate) cache_read: u64,
    pub(crate) cache_write_5m: u64,
    pub(crate) cache_write_1h: u64,
}

/// One piece of what the model says.
#[derive(Debug, Clone)]
pub(crate) enum Block {
    Text(String),
    Thinking(String),
    /// A tool call with JSON input. OpenAI tools that live in a namespace carry it here.
    Tool {
        namespace: Option<String>,
        name: String,
        input: Value,
    },
    /// An OpenAI custom tool call: its input is text.
    Custom {
        name: String,
        input: String,
    },
}

/// One answer of the model.
#[derive(Debug, Clone)]
pub(crate) struct Turn {
    pub(crate) blocks: Vec<Block>,
    pub(crate) usage: Usage,
    pub(crate) fault: Option<Fault>,
}

impl Turn {
    pub(crate) fn text(text: &str) -> Self {
        Self { blocks: vec![Block::Text(text.to_owned())], usage: Usage::new(100, 20), fault: None }
    }

    pub(crate) fn tool(name: &str, input: Value) -> Self {
        Self::text("I will use a tool.").and(Block::Tool { namespace: None, name: name.to_owned(), input })
    }

    pub(crate) fn and(mut self, block: Block) -> Self {
        self.blocks.push(block);
        self
    }

    pub(crate) fn usage(mut self, usage: Usage) -> Self {
        self.usage = usage;
        self
    }

    pub(crate) fn fault(mut self, fault: Fault) -> Self {
        self.fault = Some(fault);
        self
    }

    /// Nothing but a fault.
    pub(crate) fn broken(fault: Fault) -> Self {
        Self::text("This answer is broken off.").fault(fault)
    }

    /// Whether the answer asks for a tool.
    pub(crate) fn calls_tool(&self) -> bool {
        self.blocks.iter().any(|block| matches!(block, Block::Tool { .. } | Block::Custom { .. }))
    }
}

type Step = Box<dyn Fn(&Ask) -> Turn + Send + Sync>;

/// What the server answers. Main requests of one conversation take the steps in order, then `then` for ever; side calls
/// (titles, classifiers) take `side`.
pub(crate) struct Script {
    key: String,
    steps: Vec<Step>,
    then: Step,
    side: Step,
    models: Vec<String>,
    count: Option<u64>,
}

impl Script {
    /// `key` is the provider key that must arrive with every request.
    pub(crate) fn new(key: &str) -> Self {
        Self {
            key: key.to_owned(),
            steps: Vec::new(),
            then: Box::new(|_| Turn::text("Nothing more to do.")),
            side: Box::new(|_| Turn::text("A short title").usage(Usage::new(30, 5))),
            models: vec!["claude-sonnet-5".to_owned(), "gpt-6.1-sol".to_owned()],
            count: None,
        }
    }

    /// The next step is this answer.
    pub(crate) fn turn(self, turn: Turn) -> Self {
        self.step(move |_| turn.clone())
    }

    /// The next step decides from the request.
    pub(crate) fn step(mut self, step: impl Fn(&Ask) -> Turn + Send + Sync + 'static) -> Self {
        self.steps.push(Box::new(step));
        self
    }

    /// What main requests get after the last step.
    pub(crate) fn then(mut self, step: impl Fn(&Ask) -> Turn + Send + Sync + 'static) -> Self {
        self.then = Box::new(step);
        self
    }

    /// What side calls get.
    pub(crate) fn side(mut self, step: impl Fn(&Ask) -> Turn + Send + Sync + 'static) -> Self {
        self.side = Box::new(step);
        self
    }

    /// The models that `GET /v1/models` lists.
    pub(crate) fn models(mut self, models: &[&str]) -> Self {
        self.models = models.iter().map(|&model| model.to_owned()).collect();
        self
    }

    /// What token counting answers; a quarter of the body's bytes unless set.
    pub(crate) fn count(mut self, tokens: u64) -> Self {
        self.count = Some(tokens);
        self
    }
}

/// One request as the server understood it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) request: Recorded,
    pub(crate) wire: Wire,
    pub(crate) kind: Kind,
    /// Whether it carried the provider's key.
    pub(crate) key_ok: bool,
}

impl Seen {
    pub(crate) fn model(&self) -> String {
        self.request.json()["model"].as_str().unwrap_or_default().to_owned()
    }
}

/// What one answer would be billed. An answer that broke off is billed whole: no provider bills more than that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bill {
    pub(crate) model: String,
    pub(crate) usage: Usage,
    /// Whether the answer was sent to its end.
    pub(crate) complete: bool,
}

#[derive(Default)]
struct Log {
    seen: Vec<Seen>,
    bills: Vec<Bill>,
    turns: HashMap<String, usize>,
    /// What steps panicked with.
    failures: Vec<String>,
}

struct State {
    script: Script,
    log: Mutex<Log>,
    changed: Condvar,
}

impl State {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The running server. Dropping it closes its port.
pub(crate) struct ModelServer {
    state: Arc<State>,
    server: Server,
}

impl ModelServer {
    pub(crate) fn start(script: Script) -> Self {
        let state = Arc::new(State { script, log: Mutex::default(), changed: Condvar::new() });
        let answering = state.clone();
        let server = Server::start(move |request| {
            let response = answer(&answering, request);
            async move {
                match response {
                    Some(response) => response,
                    None => std::future::pending().await,
                }
            }
        });
        Self { state, server }
    }

    /// `http://127.0.0.1:PORT`: the base URL for Anthropic.
    pub(crate) fn url(&self) -> String {
        self.server.url()
    }

    /// `http://127.0.0.1:PORT/v1`: the base URL for OpenAI.
    pub(crate) fn openai_url(&self) -> String {
        self.server.url() + "/v1"
    }

    /// Closes the port, as a provider that is down.
    pub(crate) fn stop(&mut self) {
        self.server.stop();
    }

    /// Everything that arrived, oldest first.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state.log().seen.clone()
    }

    /// What arrived of one kind.
    pub(crate) fn seen_kind(&self, kind: Kind) -> Vec<Seen> {
        self.state.log().seen.iter().filter(|seen| seen.kind == kind).cloned().collect()
    }

    /// Waits until `count` requests of this kind have arrived.
    pub(crate) fn wait_seen(&self, kind: Kind, count: usize, timeout: Duration) -> Vec<Seen> {
        let deadline = Instant::now() + timeout;
        let mut log = self.state.log();
        loop {
            let seen: Vec<Seen> = log.seen.iter().filter(|seen| seen.kind == kind).cloned().collect();
            let left = deadline.saturating_duration_since(Instant::now());
            if seen.len() >= count {
                return seen;
            }
            assert!(!left.is_zero(), "{} of {count} {kind:?} requests arrived in {timeout:?}", seen.len());
            log = self.state.changed.wait_timeout(log, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// What the provider would bill, in the order of the requests.
    pub(crate) fn bills(&self) -> Vec<Bill> {
        self.state.log().bills.clone()
    }

    /// The whole bill in nano-USD.
    pub(crate) fn billed_nano_usd(&self, price: impl Fn(&str) -> Price) -> u64 {
        self.bills().iter().map(|bill| bill.usage.cost_nano_usd(&price(&bill.model))).sum()
    }

    /// Asserts that every request carried the provider's key and none carried `token`.
    pub(crate) fn assert_only_its_key(&self, token: &str) {
        for seen in self.seen() {
            let what = format!("{} {}", seen.request.method, seen.request.path);
            assert!(seen.key_ok, "{what} arrived without the provider's key: {:?}", seen.request.headers);
            assert!(!seen.request.contains(token), "{what} carried the run's token to the provider");
        }
    }
}

impl Drop for ModelServer {
    fn drop(&mut self) {
        self.server.stop();
        let failures = std::mem::take(&mut self.state.log().failures);
        assert!(std::thread::panicking() || failures.is_empty(), "the script failed: {failures:?}");
    }
}

/// The answer to one request; none when the script wants silence.
fn answer(state: &Arc<State>, request: Recorded) -> Option<Response<StreamBody>> {
    let script = &state.script;
    let mut ask = Ask::new(request);
    let key_ok = ask.key().is_some_and(|key| key == script.key);
    let conversation = ask.conversation();
    {
        let mut log = state.log();
        if key_ok && ask.kind == Kind::Main {
            let turns = log.turns.entry(conversation).or_default();
            ask.turn = *turns;
            *turns += 1;
        }
        log.seen.push(Seen { request: ask.request.clone(), wire: ask.wire, kind: ask.kind, key_ok });
    }
    state.changed.notify_all();
    let fixed = match ask.kind {
        Kind::Probe => Some(Answer::full(200, &[], "")),
        Kind::Upgrade => Some(faults::status(ask.wire, 426, "websocket_unsupported", &[])),
        Kind::Unknown => Some(faults::status(ask.wire, 404, "not_found_error", &[])),
        _ if !key_ok => Some(faults::status(ask.wire, 401, "authentication_error", &[])),
        Kind::Models => Some(Answer::json(200, &models(ask.wire, &script.models))),
        Kind::CountTokens => {
            let tokens = script.count.unwrap_or(ask.request.body.len() as u64 / 4);
            let name = if ask.wire == Wire::Gemini { "totalTokens" } else { "input_tokens" };
            Some(Answer::json(200, &serde_json::json!({ name: tokens })))
        }
        Kind::Main | Kind::Side => None,
    };
    if fixed.is_some() {
        return fixed;
    }
    let step = match ask.kind {
        Kind::Side => &script.side,
        _ => script.steps.get(ask.turn).unwrap_or(&script.then),
    };
    let turn = match catch_unwind(AssertUnwindSafe(|| step(&ask))) {
        Ok(turn) => turn,
        Err(panic) => {
            let text =
                panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "a step panicked".to_owned());
            state.log().failures.push(text);
            return Some(faults::status(ask.wire, 400, "script_failed", &[]));
        }
    };
    match &turn.fault {
        Some(Fault::HangBeforeHead) => None,
        Some(fault) => fault.before_answer(ask.wire).or_else(|| Some(send(state, &ask, &turn))),
        None => Some(send(state, &ask, &turn)),
    }
}

/// Sends an answer and keeps its bill.
fn send(state: &Arc<State>, ask: &Ask, turn: &Turn) -> Response<StreamBody> {
    let number = {
        let mut log = state.log();
        log.bills.push(Bill { model: ask.model(), usage: turn.usage, complete: false });
        log.bills.len()
    };
    let (content_type, chunks) = match (ask.wire, ask.streams()) {
        (Wire::Anthropic, true) => ("text/event-stream; charset=utf-8", anthropic::events(ask, turn, number)),
        (Wire::Anthropic, false) => {
            ("application/json", vec![anthropic::message(ask, turn, number).to_string()])
        }
        (Wire::Chat, true) => ("text/event-stream; charset=utf-8", chat::events(ask, turn, number)),
        (Wire::Chat, false) => ("application/json", vec![chat::answer(ask, turn, number).to_string()]),
        (Wire::Responses, true) => ("text/event-stream; charset=utf-8", openai::events(ask, turn, number)),
        (Wire::Responses, false) => {
            ("application/json", vec![openai::response(ask, turn, number).to_string()])
        }
        (Wire::Gemini, true) => ("text/event-stream", gemini::events(turn)),
        (Wire::Gemini, false) => {
            ("application/json; charset=UTF-8", vec![gemini::response(turn).to_string()])
        }
    };
    let id = format!("req_fake_{number:04}");
    let headers =
        [("content-type", content_type), ("request-id", id.as_str()), ("x-request-id", id.as_str())];
    let (fault, wire, state) = (turn.fault.clone(), ask.wire, state.clone());
    Answer::head(200, &headers).stream(move |sink| async move {
        if faults::write(sink, chunks, fault, wire).await {
            state.log().bills[number - 1].complete = true;
            state.changed.notify_all();
        }
    })
}

fn models(wire: Wire, models: &[String]) -> Value {
    let data: Vec<Value> = models
        .iter()
        .map(|id| match wire {
            Wire::Anthropic => serde_json::json!({
                "type": "model", "id": id, "display_name": id, "created_at": "2026-01-01T00:00:00Z" }),
            Wire::Chat | Wire::Responses => {
                serde_json::json!({ "object": "model", "id": id, "owned_by": "fake", "created": 0 })
            }
            Wire::Gemini => serde_json::json!({ "name": format!("models/{id}") }),
        })
        .collect();
    match wire {
        Wire::Anthropic => serde_json::json!({
            "data": data, "has_more": false, "first_id": models.first(), "last_id": models.last() }),
        Wire::Chat | Wire::Responses => serde_json::json!({ "object": "list", "data": data }),
        Wire::Gemini => serde_json::json!({ "models": data }),
    }
}
