//! What a gateway adds to a model call, LiteLLM's proxy and agentsup side by side before the same scripted provider. LiteLLM
//! runs as its documentation starts it, with one worker and without a database, so without budgets or a durable record.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::fakes::home::{ANTHROPIC_KEY, Home, Manifest};
use super::fakes::model::{ModelServer, Script, Turn, Usage};
use super::fakes::server::dead_url;
use super::fakes::wait;
use super::hops::Run;
use super::http::Connection;
use super::runs::resident_kib;
use super::streams::{Ends, at_once, body};
use super::{median, ratio, row, tell};

const BLOCKS: usize = 5;
const BLOCKS_AT_ONCE: usize = 3;
/// Calls in a block.
const CALLS: usize = 20;
/// How long the machine is left alone before each block.
const AFTERMATH: Duration = Duration::from_millis(500);
/// Importing all of it takes a while.
const START_TIMEOUT: Duration = Duration::from_secs(120);
const KEY: &str = "sk-bench";

/// Prints the rows; what is missing is said instead.
pub(crate) fn print() {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/bench/.litellm/bin/litellm");
    if !program.exists() {
        println!("(LiteLLM is not installed: tests/bench/setup)");
        return;
    }
    let text = |_: &_| Turn::text("a short answer").usage(Usage::new(20, 5));
    let model = ModelServer::start(Script::new(ANTHROPIC_KEY).then(text));
    let mut home = Home::new();
    home.anthropic(&model);
    home.agent("bench", &Manifest::default().cap("1000000.00 USD"));
    let ends = Ends { model: format!("{}/v1/messages", model.url()), run: Run::start(&home) };
    let other = LiteLlm::start(&program, &home, &model);
    whole(&ends, &other);
    streamed(&ends, &other);
    let daemon = home.run(&["daemon", "status", "--json"]).ok().json()["pid"].as_u64().unwrap();
    let (theirs, ours) = (resident_kib(other.child.id().into()), resident_kib(daemon));
    let kib = |amount: u64| format!("{amount} KiB");
    row("memory: LiteLLM / agentsup", &kib(theirs), &kib(ours), &ratio(theirs.into(), ours.into()));
}

/// LiteLLM's proxy, until it is dropped.
struct LiteLlm {
    child: Child,
    url: String,
}

impl LiteLlm {
    fn start(program: &Path, home: &Home, model: &ModelServer) -> Self {
        let config: PathBuf = home.path("litellm.yaml");
        let text = format!(
            "model_list:\n- model_name: claude-sonnet-5\n  litellm_params:\n    model: anthropic/claude-sonnet-5\n    \
             api_base: {}\n    api_key: {ANTHROPIC_KEY}\ngeneral_settings:\n  master_key: {KEY}\n",
            model.url()
        );
        std::fs::write(&config, text).unwrap();
        let url = dead_url();
        let (_, port) = url.rsplit_once(':').unwrap();
        let child = Command::new(program)
            .args(["--host", "127.0.0.1", "--num_workers", "1", "--telemetry", "False", "--port"])
            .arg(port)
            .arg("--config")
            .arg(config)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", home.path(""))
            .env("LITELLM_LOCAL_MODEL_COST_MAP", "True")
            .env("LITELLM_LOG", "ERROR")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let address = url.trim_start_matches("http://").to_owned();
        let started = Self { child, url };
        let ready = || std::net::TcpStream::connect(&address).is_ok();
        assert!(wait::until(START_TIMEOUT, ready), "LiteLLM does not start");
        started
    }

    fn connection(&self) -> Connection {
        let bearer = format!("Bearer {KEY}");
        Connection::to(
            &format!("{}/v1/messages", self.url),
            &[("anthropic-version", "2023-06-01"), ("authorization", &bearer)],
        )
    }
}

impl Drop for LiteLlm {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Prints what each adds to the median without either.
fn tell_added(name: &str, times: [Vec<Duration>; 3]) {
    let [direct, theirs, ours] = times.map(median);
    tell(name, theirs.saturating_sub(direct), ours.saturating_sub(direct));
}

/// The times of direct, theirs and ours, a block of each in turn. What one goes on to do after its answers must not
/// meet the next one's calls.
fn in_turn(blocks: usize, mut block: impl FnMut(usize) -> Vec<Duration>) -> [Vec<Duration>; 3] {
    let mut times = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..blocks {
        for (who, times) in times.iter_mut().enumerate() {
            wait::until(AFTERMATH, || false);
            times.extend(block(who));
        }
    }
    times
}

fn whole(ends: &Ends, other: &LiteLlm) {
    let mut connections = [ends.direct(), other.connection(), ends.through()];
    let body = body("hello").replace("\"stream\":true", "\"stream\":false");
    let mut block = |who: usize| {
        let call = |_| {
            let start = Instant::now();
            drop(connections[who].post(&body));
            start.elapsed()
        };
        (0..CALLS).map(call).collect()
    };
    // The first calls load what was not needed before.
    in_turn(1, &mut block);
    tell_added("added to a model call: LiteLLM / agentsup", in_turn(BLOCKS, block));
}

fn streamed(ends: &Ends, other: &LiteLlm) {
    let mut connections = [ends.direct(), other.connection(), ends.through()];
    let body = body("hello");
    let block = |who: usize| (0..CALLS).map(|_| connections[who].first_byte(&body)).collect();
    tell_added("added to a stream's first byte: LiteLLM / agentsup", in_turn(BLOCKS, block));
    let block = |who: usize| match who {
        0 => at_once(|| ends.direct()),
        1 => at_once(|| other.connection()),
        _ => at_once(|| ends.through()),
    };
    tell_added("the same, 50 at once", in_turn(BLOCKS_AT_ONCE, block));
}
