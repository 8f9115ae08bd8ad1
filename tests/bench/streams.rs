//! Streamed answers: how much later the first byte comes through the gateway, alone and with many at once, what a piece
//! of the stream costs on its way, and what open streams weigh.

use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use serde_json::json;

use super::fakes::faults::Fault;
use super::fakes::home::{ANTHROPIC_KEY, Home, Manifest};
use super::fakes::model::{ModelServer, Script, Turn, Usage};
use super::hops::Run;
use super::http::Connection;
use super::runs::resident_kib;
use super::{median, ratio, row, tell};

const ROUNDS: usize = 100;
const AT_ONCE: usize = 50;
const ROUNDS_AT_ONCE: usize = 6;
const OPEN: usize = 200;
/// Pieces of the long answer.
const WORDS: usize = 2_000;

/// Prints the rows.
pub(crate) fn print() {
    let long = "word ".repeat(WORDS);
    let answer = move |ask: &super::fakes::ask::Ask| match ask.request.contains("hold on") {
        true => Turn::text("a short answer").fault(Fault::HangAfter(2)),
        false if ask.request.contains("at length") => Turn::text(&long).usage(Usage::new(20, 2_000)),
        false => Turn::text("a short answer").usage(Usage::new(20, 5)),
    };
    let model = ModelServer::start(Script::new(ANTHROPIC_KEY).then(answer));
    let mut home = Home::new();
    home.anthropic(&model);
    home.agent("bench", &Manifest::default().cap("1000000.00 USD"));
    let run = Run::start(&home);
    let ends = Ends { model: format!("{}/v1/messages", model.url()), run };
    first_byte(&ends);
    first_byte_at_once(&ends);
    whole(&ends);
    memory(&home, &ends);
}

/// Both ways to the model.
pub(crate) struct Ends {
    pub(crate) model: String,
    pub(crate) run: Run,
}

impl Ends {
    pub(crate) fn direct(&self) -> Connection {
        Connection::to(&self.model, &[("anthropic-version", "2023-06-01"), ("x-api-key", ANTHROPIC_KEY)])
    }

    pub(crate) fn through(&self) -> Connection {
        let bearer = format!("Bearer {}", self.run.token);
        let url = format!("{}/v1/messages", self.run.model_url);
        Connection::to(&url, &[("anthropic-version", "2023-06-01"), ("authorization", &bearer)])
    }
}

/// The request for a streamed answer to these words.
pub(crate) fn body(words: &str) -> String {
    json!({ "model": "claude-sonnet-5", "max_tokens": 4000, "stream": true,
        "messages": [{ "role": "user", "content": words }] })
    .to_string()
}

fn first_byte(ends: &Ends) {
    let (mut direct, mut through) = (ends.direct(), ends.through());
    let body = body("hello");
    through.first_byte(&body);
    let (mut base, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        base.push(direct.first_byte(&body));
        ours.push(through.first_byte(&body));
    }
    tell("first byte of a stream through the gateway / direct", median(base), median(ours));
}

fn first_byte_at_once(ends: &Ends) {
    let (mut base, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS_AT_ONCE {
        base.extend(at_once(|| ends.direct()));
        ours.extend(at_once(|| ends.through()));
    }
    tell(&format!("the same, {AT_ONCE} at once"), median(base), median(ours));
}

/// The times to the first byte of so many streams that are asked for at once.
pub(crate) fn at_once(connection: impl Fn() -> Connection) -> Vec<Duration> {
    let start = Arc::new(Barrier::new(AT_ONCE));
    let threads: Vec<_> = (0..AT_ONCE)
        .map(|_| {
            let mut connection = connection();
            let start = Arc::clone(&start);
            std::thread::spawn(move || {
                start.wait();
                connection.first_byte(&body("hello"))
            })
        })
        .collect();
    threads.into_iter().map(|thread| thread.join().unwrap()).collect()
}

fn whole(ends: &Ends) {
    let (mut direct, mut through) = (ends.direct(), ends.through());
    let body = body("at length");
    let time = |connection: &mut Connection| {
        let start = Instant::now();
        let length = connection.post(&body).len();
        assert!(length > WORDS, "{length} bytes");
        start.elapsed()
    };
    let (mut base, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..20 {
        base.push(time(&mut direct));
        ours.push(time(&mut through));
    }
    tell(&format!("a whole stream of {WORDS} words"), median(base), median(ours));
}

fn memory(home: &Home, ends: &Ends) {
    let status = home.run(&["daemon", "status", "--json"]).ok().json();
    let daemon = status["pid"].as_u64().unwrap();
    let alone = resident_kib(daemon);
    let body = body("hold on");
    let mut open: Vec<Connection> = (0..OPEN).map(|_| ends.through()).collect();
    open.iter_mut().for_each(|connection| connection.begin(&body));
    let with = resident_kib(daemon);
    row(
        &format!("daemon's memory with {OPEN} open streams / before"),
        &format!("{alone} KiB"),
        &format!("{with} KiB"),
        &ratio(alone.into(), with.into()),
    );
}
