//! A provider on loopback that does what a test says and remembers every byte it got, and the gateway before it.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::super::*;
use crate::audit::{self, List};
use crate::core::billing::Billing;
use crate::core::fixture::{self, purse};
use crate::core::manifest::{Agent, TokenBudget};
use crate::core::policy::{Pack, PolicySet, PolicySource};
use crate::core::refusal::RefusalStyle;
use crate::core::run::{HookDuty, Run, RunState};
use crate::registry::{Config, Snapshot};
use crate::store::Store;
use crate::store::ledger::{Account, balance};
use crate::sys::secrets::SecretRef;

pub(super) const TOKEN: &str = "ast_the_token_of_the_run";
/// Every test has this variable; its value stands for the provider's key.
pub(super) const KEY_VARIABLE: &str = "CARGO_PKG_NAME";
pub(super) const KEY: &str = env!("CARGO_PKG_NAME");

/// What the provider does once it has a whole request.
#[derive(Clone)]
pub(super) enum Step {
    /// Sends these bytes.
    Send(Bytes),
    /// Waits for the test.
    Wait(Arc<Notify>),
    /// Tells the test that it has come this far.
    Tell(Arc<Notify>),
    /// Cuts the connection.
    Cut,
}

pub(super) fn send(bytes: impl Into<Bytes>) -> Step {
    Step::Send(bytes.into())
}

/// A response with a body of known length.
pub(super) fn whole(status: &str, kind: &str, body: &[u8]) -> Vec<Step> {
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\nrequest-id: req_1\r\nx-ratelimit-limit: 1\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    vec![send(head), send(body.to_vec())]
}

/// The head of a stream; its pieces follow as [`chunk`]s.
pub(super) fn stream_head() -> Step {
    send(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n",
    )
}

pub(super) fn chunk(bytes: &[u8]) -> Step {
    let framed = [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
    send(framed)
}

pub(super) fn stream_end() -> Step {
    send("0\r\n\r\n")
}

/// A request as the provider got it.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Seen {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

type Plan = Arc<dyn Fn(&Seen) -> Vec<Step> + Send + Sync>;

pub(super) struct Fake {
    pub(super) port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Fake {
    pub(super) async fn start(plan: impl Fn(&Seen) -> Vec<Step> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (plan, log): (Plan, _) = (Arc::new(plan), Arc::clone(&seen));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(talk(socket, Arc::clone(&plan), Arc::clone(&log)));
            }
        });
        Self { port, seen }
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

async fn talk(mut socket: TcpStream, plan: Plan, log: Arc<Mutex<Vec<Seen>>>) {
    let mut buffer = Vec::new();
    while let Some(seen) = read_request(&mut socket, &mut buffer).await {
        log.lock().unwrap().push(seen.clone());
        for step in plan(&seen) {
            match step {
                Step::Send(bytes) => {
                    if socket.write_all(&bytes).await.is_err() {
                        return;
                    }
                }
                Step::Wait(notify) => notify.notified().await,
                Step::Tell(notify) => notify.notify_one(),
                Step::Cut => return,
            }
        }
    }
}

async fn read_request(socket: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Seen> {
    let head_end = loop {
        if let Some(end) = memchr::memmem::find(buffer, b"\r\n\r\n") {
            break end;
        }
        if socket.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(buffer[..head_end].to_vec()).unwrap();
    let mut seen = Seen { head, body: Vec::new() };
    let length = seen.header("content-length").map_or(0, |length| length.parse().unwrap());
    while buffer.len() < head_end + 4 + length {
        if socket.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    seen.body = buffer[head_end + 4..head_end + 4 + length].to_vec();
    buffer.drain(..head_end + 4 + length);
    Some(seen)
}

/// A gateway before a provider, with one run and its budget.
pub(super) struct World {
    pub(super) gateway: Gateway,
    pub(super) live: Arc<LiveRun>,
    pub(super) gate: Gate,
    store: Store,
    dir: TempDir,
}

impl World {
    /// `cap` is in nano-USD.
    pub(super) async fn new(port: u16, cap: i64, style: RefusalStyle) -> Self {
        Self::with(port, cap, style, |_| {}).await
    }

    pub(super) async fn with(
        port: u16,
        cap: i64,
        style: RefusalStyle,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let mut config = Config::default();
        for (name, below) in [("anthropic", ""), ("openai", "/v1")] {
            let provider = config.providers.get_mut(name).unwrap();
            provider.base_url = format!("http://127.0.0.1:{port}{below}").parse().unwrap();
            provider.key = Some(SecretRef::Env(KEY_VARIABLE.to_owned()));
        }
        change(&mut config);
        Self::of(config, cap, run(style)).await
    }

    /// With a run of this agent that is paid like this, and no provider.
    pub(super) async fn billed(adapter: &str, cap: i64, billing: Billing) -> Self {
        let run = Run { adapter: adapter.into(), billing, ..run(RefusalStyle::PLAIN) };
        Self::of(Config::default(), cap, run).await
    }

    async fn of(config: Config, cap: i64, run: Run) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("agentsup.db")).unwrap();
        let registry = Registry::fixed(snapshot(config, cap));
        let gate = Gate::new(store.clone(), registry.clone());
        let live = gate.admit(run, TOKEN).await.unwrap();
        assert!(gate.set_state(&live, RunState::Running, None).await.unwrap());
        let gateway = Gateway::new(gate.clone(), registry).unwrap();
        Self { gateway, live, gate, store, dir }
    }

    pub(super) async fn post(&self, rest: &str, body: impl Into<Bytes>) -> Response<Body> {
        let request = Request::post("/").header("x-api-key", TOKEN).body(Full::new(body.into())).unwrap();
        self.gateway.serve(request, rest).await
    }

    /// Posted and pending, in nano-USD.
    pub(super) async fn balance(&self) -> (i64, i64) {
        let account = Account { budget: "team/purse".into(), period: "total".into() };
        let balance = self.store.read(move |connection| balance(connection, &account)).await.unwrap();
        (balance.posted.nano(), balance.pending.nano())
    }

    /// The lines of the log.
    pub(super) async fn listed(&self) -> Vec<audit::Listed> {
        self.store.read(|connection| audit::list(connection, &List::default())).await.unwrap()
    }

    /// The log as sentences, without what differs from run to run.
    pub(super) async fn sentences(&self) -> Vec<String> {
        let lines = self.listed().await.into_iter().map(|line| {
            let time = format!("{}Z", &line.at[11..19]);
            line.sentence.replace(&time, "TIME").replace("agent/bot@team, owned by user:alice, ", "")
        });
        lines.collect()
    }

    /// Asserts that log and ledger agree.
    pub(super) async fn verified(&self) {
        let verified = self.store.read(audit::verify).await.unwrap();
        assert!(verified.is_ok(), "{verified:?}");
    }

    /// Everything that was kept.
    pub(super) fn database(&self) -> Vec<u8> {
        let files = std::fs::read_dir(self.dir.path()).unwrap();
        files.flat_map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect()
    }

    /// Waits until nothing is under way any more.
    pub(super) async fn settled(&self) {
        self.gateway.finish(Duration::from_secs(20)).await;
    }
}

pub(super) async fn bytes(response: Response<Body>) -> Bytes {
    response.into_body().collect().await.unwrap().to_bytes()
}

pub(super) async fn text(response: Response<Body>) -> (u16, String) {
    let status = response.status().as_u16();
    (status, String::from_utf8(bytes(response).await.to_vec()).unwrap())
}

fn run(refusal: RefusalStyle) -> Run {
    Run { adapter: "command".into(), hooks: HookDuty::None, refusal, ..fixture::run() }
}

fn snapshot(config: Config, cap: i64) -> Snapshot {
    let agent = Agent {
        adapters: vec!["claude".into(), "command".into()],
        models: vec!["*".into()],
        budget: "purse".into(),
        ..fixture::agent()
    };
    Snapshot {
        config,
        agents: vec![agent],
        budgets: vec![TokenBudget { alert_at_percent: 100, ..purse(cap, 0) }],
        policies: PolicySet::load(&[PolicySource::pack(Pack::Standard)]).unwrap(),
        acs: None,
        origins: std::collections::BTreeMap::new(),
        digest: [0; 32],
        registry: None,
        problems: Vec::new(),
    }
}
