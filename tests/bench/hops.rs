//! What the way through agentsup adds to a call, against the same call made directly. A metered call is decided,
//! reserved and recorded durably, before and after: that is what its hop costs.

use std::fs::File;
use std::io::Write as _;

use serde_json::json;

use super::fakes::home::{ANTHROPIC_KEY, Home, Manifest};
use super::fakes::mcp::{McpScript, McpServer};
use super::fakes::model::{ModelServer, Script, Turn, Usage};
use super::http::Connection;
use super::{compare, median, tell, time};

const ROUNDS: usize = 300;

/// Prints the rows.
pub(crate) fn print() {
    let text = |_: &_| Turn::text("a short answer").usage(Usage::new(20, 5));
    let model = ModelServer::start(Script::new(ANTHROPIC_KEY).then(text));
    let server = McpServer::start(McpScript::default());
    let mut home = Home::new();
    home.anthropic(&model).mcp_http("notes", &server.url());
    home.agent("bench", &Manifest::default().cap("1000000.00 USD"));
    let run = Run::start(&home);
    gateway(&home, &model, &run);
    proxy(&server, &run);
}

fn gateway(home: &Home, model: &ModelServer, run: &Run) {
    let body = json!({ "model": "claude-sonnet-5", "max_tokens": 16, "stream": false,
        "messages": [{ "role": "user", "content": "hello" }] })
    .to_string();
    let version = ("anthropic-version", "2023-06-01");
    let bearer = format!("Bearer {}", run.token);
    let mut direct =
        Connection::to(&format!("{}/v1/messages", model.url()), &[version, ("x-api-key", ANTHROPIC_KEY)]);
    let mut through =
        Connection::to(&format!("{}/v1/messages", run.model_url), &[version, ("authorization", &bearer)]);
    let (mut calls, mut metered) = (|| drop(direct.post(&body)), || drop(through.post(&body)));
    calls();
    metered();
    // What the disk takes to keep something for good, which a metered call waits for once.
    let mut disk = Disk::new(home);
    let mut sync = || disk.sync();
    let mut times = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        times[0].push(time(&mut calls));
        times[1].push(time(&mut metered));
        times[2].push(time(&mut sync));
    }
    let [base, ours, synced] = times.map(median);
    tell("model call through the gateway / direct", base, ours);
    tell("the same without one sync to the disk, measured in turn", base, ours.saturating_sub(synced));
}

/// A file that is written to and kept for good.
pub(super) struct Disk(File);

impl Disk {
    pub(super) fn new(home: &Home) -> Self {
        Self(File::create(home.path("synced")).unwrap())
    }

    pub(super) fn sync(&mut self) {
        self.0.write_all(&[7; 4096]).unwrap();
        self.0.sync_data().unwrap();
    }
}

fn proxy(server: &McpServer, run: &Run) {
    let call = |tool: &str| {
        json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call",
            "params": { "name": tool, "arguments": { "text": "hello" } } })
        .to_string()
    };
    let hello = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": { "name": "bench", "version": "1" } } })
    .to_string();
    let bearer = format!("Bearer {}", run.token);
    let mut direct = Connection::to(&server.url(), &[]);
    let mut through = Connection::to(&run.mcp_url, &[("authorization", &bearer)]);
    direct.post(&hello);
    through.post(&hello);
    let list = json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/list" }).to_string();
    let listed = String::from_utf8_lossy(&through.post(&list)).into_owned();
    let name = listed
        .split('"')
        .find(|word| word.starts_with("notes") && word.ends_with("echo"))
        .unwrap()
        .to_owned();
    let (own, proxied) = (call("echo"), call(&name));
    compare(
        "MCP tool call through the proxy / direct",
        ROUNDS,
        || drop(direct.post(&own)),
        || drop(through.post(&proxied)),
    );
}

/// A run that does nothing but live, for its credential.
pub(crate) struct Run {
    pub(crate) token: String,
    pub(crate) model_url: String,
    mcp_url: String,
}

impl Run {
    pub(crate) fn start(home: &Home) -> Self {
        let told = home.path("told");
        let script = format!(
            "printf '%s\\n' \"$AGENTSUP_RUN_TOKEN\" \"$ANTHROPIC_BASE_URL\" \"$AGENTSUP_MCP_URL\" >{0}.new && \
             mv {0}.new {0} && exec tail -f /dev/null",
            told.display()
        );
        home.run(&["run", "--detach", "command", "--", "sh", "-c", &script]).ok();
        let told = || std::fs::read_to_string(&told).unwrap_or_default();
        assert!(super::fakes::wait::until(std::time::Duration::from_secs(20), || !told().is_empty()));
        let text = told();
        let mut lines = text.lines().map(str::to_owned);
        let mut next = || lines.next().unwrap();
        Self { token: next(), model_url: next(), mcp_url: next() }
    }
}
