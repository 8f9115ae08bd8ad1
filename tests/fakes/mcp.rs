//! Scripted MCP servers. [`McpServer`] is a streamable HTTP one (2025-06-18 and 2025-11-25) that runs in the test;
//! [`Stdio`] describes the command of one that a product starts itself (`mcp_stdio.mjs`, run by node).
//!
//! Both offer the same tools (`golden/mcp-tools.json`), with fields and numbers that only raw forwarding preserves.
//! Must not know agentsup.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::Response;
use serde_json::{Value, json};

use super::server::{Answer, Recorded, Server, StreamBody, pace};

/// The tool list as its bytes are sent.
pub(crate) const TOOLS: &str = include_str!("golden/mcp-tools.json");

/// What goes wrong with the HTTP server.
#[derive(Debug, Clone)]
pub(crate) enum McpFault {
    /// Every request gets this status.
    Status(u16),
    /// `initialize` is never answered.
    HangAtStart,
    /// `tools/call` is never answered.
    HangOnCall,
    /// `tools/call` is answered after this long.
    SlowOnCall(Duration),
    /// `tools/call` is answered with text that is not JSON.
    GarbageOnCall,
    /// `tools/call` breaks the connection in the middle of its answer.
    CutOnCall,
    /// `tools/call` is answered with a JSON-RPC error.
    ErrorOnCall,
    /// `tools/call` is answered with a text of this many bytes.
    HugeOnCall(usize),
}

/// How the HTTP server behaves.
#[derive(Debug, Clone, Default)]
pub(crate) struct McpScript {
    /// The bearer that must come with every request.
    pub(crate) bearer: Option<String>,
    /// Issues `Mcp-Session-Id` and insists on it afterwards.
    pub(crate) sessions: bool,
    /// Answers requests as an event stream, with a notification before the answer.
    pub(crate) streams: bool,
    /// Sends the tool list one tool a page.
    pub(crate) pages: bool,
    pub(crate) fault: Option<McpFault>,
    /// Where notes are written; without it `write_note` is an error.
    pub(crate) notes: Option<PathBuf>,
}

#[derive(Default)]
struct Log {
    requests: Vec<Recorded>,
    sessions: HashSet<String>,
}

struct State {
    script: McpScript,
    log: Mutex<Log>,
}

impl State {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The running server. Dropping it closes its port.
pub(crate) struct McpServer {
    state: Arc<State>,
    server: Server,
}

impl McpServer {
    pub(crate) fn start(script: McpScript) -> Self {
        let state = Arc::new(State { script, log: Mutex::default() });
        let answering = state.clone();
        let server = Server::start(move |request| answer(answering.clone(), request));
        Self { state, server }
    }

    /// The endpoint, `http://127.0.0.1:PORT/mcp`.
    pub(crate) fn url(&self) -> String {
        self.server.url() + "/mcp"
    }

    /// Dies: closes its port and every connection.
    pub(crate) fn stop(&mut self) {
        self.server.stop();
    }

    /// Everything that arrived, oldest first.
    pub(crate) fn requests(&self) -> Vec<Recorded> {
        self.state.log().requests.clone()
    }

    /// The `tools/call` messages that arrived, whole.
    pub(crate) fn calls(&self) -> Vec<Value> {
        self.requests().iter().map(Recorded::json).filter(|body| body["method"] == "tools/call").collect()
    }
}

async fn answer(state: Arc<State>, request: Recorded) -> Response<StreamBody> {
    state.log().requests.push(request.clone());
    let script = &state.script;
    if let Some(McpFault::Status(code)) = script.fault {
        return Answer::full(code, &[("content-type", "text/plain")], "the fake refuses");
    }
    let bearer = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    if script.bearer.is_some() && bearer != script.bearer.as_deref() {
        return Answer::full(401, &[("www-authenticate", "Bearer")], "unauthorized");
    }
    let session = request.header("mcp-session-id").map(str::to_owned);
    match request.method.as_str() {
        "POST" => {}
        "DELETE" => {
            let known = session.is_some_and(|id| state.log().sessions.remove(&id));
            return Answer::full(if known { 200 } else { 404 }, &[], "");
        }
        _ => return Answer::full(405, &[("allow", "POST, DELETE")], ""),
    }
    let message = request.json();
    let method = message["method"].as_str().unwrap_or_default().to_owned();
    if script.sessions && method != "initialize" {
        match &session {
            None => return Answer::full(400, &[], "Mcp-Session-Id is missing"),
            Some(id) if !state.log().sessions.contains(id) => {
                return Answer::full(404, &[], "no such session");
            }
            Some(_) => {}
        }
    }
    let Some(id) = message.get("id").cloned() else {
        return Answer::full(202, &[], "");
    };
    if let Some(broken) = break_off(script, &method).await {
        return broken;
    }
    let (field, body) = reply(script, &method, &message["params"]);
    let text = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"{field}\":{}}}", body.replace('\n', " "));
    let issued = (script.sessions && method == "initialize").then(|| {
        let mut log = state.log();
        let session = format!("session-{}", log.sessions.len() + 1);
        log.sessions.insert(session.clone());
        session
    });
    respond(script.streams && method != "initialize", issued.as_deref(), text)
}

/// The faults that replace an answer; a slow one only delays it.
async fn break_off(script: &McpScript, method: &str) -> Option<Response<StreamBody>> {
    match (&script.fault, method) {
        (Some(McpFault::HangAtStart), "initialize") | (Some(McpFault::HangOnCall), "tools/call") => {
            std::future::pending().await
        }
        (Some(McpFault::SlowOnCall(delay)), "tools/call") => {
            pace(*delay).await;
            None
        }
        (Some(McpFault::GarbageOnCall), "tools/call") => {
            Some(Answer::full(200, &[("content-type", "application/json")], "<html>this is not JSON"))
        }
        (Some(McpFault::CutOnCall), "tools/call") => {
            let answer = Answer::head(200, &[("content-type", "application/json")]);
            Some(answer.stream(|sink| async move {
                sink.send("{\"jsonrpc\":\"2.0\",").await;
                sink.cut().await;
            }))
        }
        _ => None,
    }
}

/// The field (`result` or `error`) and its bytes.
fn reply(script: &McpScript, method: &str, params: &Value) -> (&'static str, String) {
    match method {
        "initialize" => {
            let asked = params["protocolVersion"].as_str().unwrap_or_default();
            let version = if asked == "2025-06-18" { asked } else { "2025-11-25" };
            let result = json!({
                "protocolVersion": version,
                "capabilities": { "tools": { "listChanged": true } },
                "serverInfo": { "name": "fake-http", "version": "1.0.0" },
                "instructions": "A scripted server.",
            });
            ("result", result.to_string())
        }
        "ping" => ("result", "{}".to_owned()),
        "tools/list" => ("result", tool_page(script.pages, params["cursor"].as_str())),
        "tools/call" => call(script, params),
        other => {
            ("error", json!({ "code": -32601, "message": format!("Method not found: {other}") }).to_string())
        }
    }
}

fn tool_page(pages: bool, cursor: Option<&str>) -> String {
    if !pages {
        return format!("{{\"tools\":{TOOLS},\"_meta\":{{\"x-vendor/page\":1}}}}");
    }
    let tools: Vec<Box<serde_json::value::RawValue>> =
        serde_json::from_str(TOOLS).expect("the tool list is valid JSON");
    let page: usize = cursor.and_then(|cursor| cursor.parse().ok()).unwrap_or(0);
    let next = page + 1;
    let more = if next < tools.len() { format!(",\"nextCursor\":\"{next}\"") } else { String::new() };
    format!("{{\"tools\":[{}]{more}}}", tools.get(page).map_or("", |tool| tool.get()))
}

/// A result with fields and numbers that only raw forwarding preserves.
fn text(text: &str, is_error: bool) -> (&'static str, String) {
    let text = json!(text);
    let extra = "\"x-vendor\":{\"weight\":9007199254740993,\"ratio\":1.50}";
    (
        "result",
        format!("{{\"content\":[{{\"type\":\"text\",\"text\":{text}}}],\"isError\":{is_error},{extra}}}"),
    )
}

fn call(script: &McpScript, params: &Value) -> (&'static str, String) {
    if let Some(McpFault::ErrorOnCall) = script.fault {
        return ("error", json!({ "code": -32000, "message": "the fake refuses" }).to_string());
    }
    if let Some(McpFault::HugeOnCall(bytes)) = script.fault {
        return text(&"x".repeat(bytes), false);
    }
    let arguments = &params["arguments"];
    let argument = |name: &str| arguments[name].as_str().unwrap_or_default().to_owned();
    let file = || {
        let name = PathBuf::from(argument("name"));
        let name = name.file_name().map(Path::new).map(Path::to_path_buf);
        script.notes.as_ref().zip(name).map(|(directory, name)| directory.join(name))
    };
    match params["name"].as_str().unwrap_or_default() {
        "echo" => text(&format!("echo: {}", argument("text")), false),
        "write_note" => match file().map(|path| std::fs::write(path, argument("text"))) {
            Some(Ok(())) => text(&format!("wrote {}", argument("name")), false),
            other => text(&format!("cannot write: {other:?}"), true),
        },
        "read_note" => match file().map(std::fs::read_to_string) {
            Some(Ok(note)) => text(&note, false),
            other => text(&format!("cannot read: {other:?}"), true),
        },
        other => {
            ("error", json!({ "code": -32602, "message": format!("Unknown tool: {other}") }).to_string())
        }
    }
}

fn respond(streams: bool, session: Option<&str>, message: String) -> Response<StreamBody> {
    let (content_type, body) = if streams {
        let note = json!({ "jsonrpc": "2.0", "method": "notifications/message",
            "params": { "level": "info", "data": "working" } });
        (
            "text/event-stream",
            format!("event: message\ndata: {note}\n\nid: 1\nevent: message\ndata: {message}\n\n"),
        )
    } else {
        ("application/json", message)
    };
    let mut headers = vec![("content-type", content_type)];
    if let Some(session) = session {
        headers.push(("mcp-session-id", session));
    }
    Answer::full(200, &headers, body)
}

/// The command of the stdio server, and what it left behind.
#[derive(Debug, Clone)]
pub(crate) struct Stdio {
    directory: PathBuf,
    fault: String,
}

impl Stdio {
    /// Notes and log go into `directory`, which is created.
    pub(crate) fn new(directory: &Path) -> Self {
        std::fs::create_dir_all(directory.join("notes")).expect("create the notes directory");
        Self { directory: directory.to_path_buf(), fault: String::new() }
    }

    /// One of the faults that `mcp_stdio.mjs` names.
    pub(crate) fn fault(mut self, fault: &str) -> Self {
        self.fault = fault.to_owned();
        self
    }

    pub(crate) fn command() -> Vec<String> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fakes/mcp_stdio.mjs");
        let script = script.canonicalize().expect("the stdio server's script");
        vec!["node".to_owned(), script.display().to_string()]
    }

    pub(crate) fn env(&self) -> Vec<(String, String)> {
        vec![
            ("FAKE_MCP_NOTES".to_owned(), self.notes().display().to_string()),
            ("FAKE_MCP_LOG".to_owned(), self.directory.join("log").display().to_string()),
            ("FAKE_MCP_FAULT".to_owned(), self.fault.clone()),
        ]
    }

    pub(crate) fn notes(&self) -> PathBuf {
        self.directory.join("notes")
    }

    /// What it wrote down: `{pid, started, env}`, `{pid, received}`, `{pid, ended}`.
    pub(crate) fn log(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.directory.join("log")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).expect("a log line is JSON")).collect()
    }

    /// The processes that were ever started, in order.
    pub(crate) fn pids(&self) -> Vec<u64> {
        self.log()
            .iter()
            .filter(|entry| entry["started"].is_array())
            .filter_map(|e| e["pid"].as_u64())
            .collect()
    }

    /// The `tools/call` messages that arrived.
    pub(crate) fn calls(&self) -> Vec<Value> {
        self.log()
            .iter()
            .filter_map(|entry| entry["received"].as_str())
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|message| message["method"] == "tools/call")
            .collect()
    }
}
