//! The demo's agent loop: asks the model, does what it says, tells it what came of that. It knows what any agent
//! knows: two addresses and a token from its environment.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::sys::capture;
use crate::sys::env::Env;
use crate::sys::http::read_body;
use crate::sys::upstream::Upstream;

/// An answer's bytes at most.
const ANSWER_MAX: usize = 4 * 1024 * 1024;
/// Turns at most; the script needs four.
const TURNS: usize = 8;
/// Output of an ordinary turn, in tokens.
const MAX_TOKENS: u32 = 256;
/// Output of the report that no demo budget covers.
const REPORT_TOKENS: u32 = 64_000;
const GIT_TIMEOUT: Duration = Duration::from_secs(20);

/// Why the demo ended early.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// It was not started by agentsup.
    #[error("`{0}` is not set: the demo agent runs under `agentsup run demo` only")]
    Environment(&'static str),
    /// A request failed.
    #[error("the request to {0} failed: {1}")]
    Request(&'static str, String),
    /// The terminal is gone.
    #[error("cannot write to the terminal: {0}")]
    Terminal(#[from] std::io::Error),
}

/// The agent's own end: what its loop has learned.
struct Agent<'a, W: Write> {
    upstream: Upstream,
    model_url: String,
    mcp_url: String,
    hook_url: String,
    token: String,
    worktree: &'a Path,
    out: W,
    messages: Vec<Value>,
    calls: u32,
}

/// Runs the demo in `worktree`, telling what it does on `out`.
///
/// # Errors
/// When it is not under agentsup, or a request fails for another reason than a refusal.
pub async fn run(env: &Env, worktree: &Path, out: impl Write) -> Result<(), DemoError> {
    let var = |name: &'static str| env.text(name).map(str::to_owned).ok_or(DemoError::Environment(name));
    let upstream = Upstream::new().map_err(|error| DemoError::Request("the gateway", error.to_string()))?;
    let mcp_url = var("AGENTSUP_MCP_URL")?;
    let mut agent = Agent {
        upstream,
        model_url: format!("{}/v1/messages", var("ANTHROPIC_BASE_URL")?),
        hook_url: mcp_url.trim_end_matches("/mcp").to_owned() + "/hook/demo",
        mcp_url,
        token: var("AGENTSUP_RUN_TOKEN")?,
        worktree,
        out,
        messages: vec![
            json!({ "role": "user", "content": "Leave a note in this repository and commit it." }),
        ],
        calls: 0,
    };
    agent.converse().await
}

impl<W: Write> Agent<'_, W> {
    async fn converse(&mut self) -> Result<(), DemoError> {
        self.tell("agent", "I was asked to leave a note in this repository and to commit it.")?;
        self.greet().await?;
        for _ in 0..TURNS {
            let Some(answer) = self.ask_model(MAX_TOKENS).await? else { return Ok(()) };
            let Some(call) = answer.tool.clone() else { break };
            let (text, is_error) = self.perform(&call).await?;
            self.messages.push(json!({ "role": "assistant", "content": answer.content() }));
            self.messages.push(json!({ "role": "user", "content": [{
                "type": "tool_result", "tool_use_id": call.id, "content": text, "is_error": is_error,
            }] }));
        }
        self.tell("agent", "The report would need up to 64000 tokens of output. I ask all the same.")?;
        if self.ask_model(REPORT_TOKENS).await?.is_some() {
            self.tell("agent", "The budget was large enough for the report.")?;
        }
        self.tell("agent", "I am done.")
    }

    /// Opens the MCP session and looks at the tools.
    async fn greet(&mut self) -> Result<(), DemoError> {
        let hello = json!({ "protocolVersion": "2025-06-18", "capabilities": {},
            "clientInfo": { "name": "agentsup-demo", "version": env!("CARGO_PKG_VERSION") } });
        self.mcp("initialize", hello).await?;
        let tools = self.mcp("tools/list", json!({})).await?;
        let names: Vec<&str> = tools
            .pointer("/result/tools")
            .and_then(Value::as_array)
            .map(|tools| tools.iter().filter_map(|tool| tool.get("name")?.as_str()).collect())
            .unwrap_or_default();
        let shown = format!("MCP tools I am shown: {}.", names.join(", "));
        self.tell("agent", &shown)
    }

    /// One model call; nothing if it was refused.
    async fn ask_model(&mut self, max_tokens: u32) -> Result<Option<Answer>, DemoError> {
        let body = json!({ "model": super::MODEL, "max_tokens": max_tokens, "stream": true, "messages": self.messages });
        let (status, bytes) = self.post("the gateway", &self.model_url, &body).await?;
        if status == StatusCode::OK {
            let answer = Answer::read(&bytes);
            self.tell("model", &answer.text)?;
            return Ok(Some(answer));
        }
        let refusal: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let message = refusal.pointer("/error/message").and_then(Value::as_str).unwrap_or("no message");
        let line = format!("model call refused ({status}): {message}");
        self.tell("gate", &line)?;
        Ok(None)
    }

    async fn perform(&mut self, call: &ToolUse) -> Result<(String, bool), DemoError> {
        let path = |name: &str| {
            let relative = call.input.get(name).and_then(Value::as_str).unwrap_or_default();
            self.worktree.join(relative).to_string_lossy().into_owned()
        };
        if call.name == "commit" {
            return self.commit(call).await;
        }
        let mut arguments = call.input.clone();
        arguments["path"] = json!(path("path"));
        let name = format!("{}_{}", super::NAME, call.name);
        let line = format!("calling the MCP tool `{name}`");
        self.tell("agent", &line)?;
        let params =
            json!({ "name": name, "arguments": arguments, "_meta": { "claudecode/toolUseId": call.id } });
        let answer = self.mcp("tools/call", params).await?;
        let text = answer
            .pointer("/result/content/0/text")
            .or_else(|| answer.pointer("/error/message"))
            .and_then(Value::as_str)
            .unwrap_or("no answer")
            .to_owned();
        let is_error = answer.pointer("/result/isError").and_then(Value::as_bool).unwrap_or(true);
        self.tell(if is_error { "gate" } else { "tool" }, &text)?;
        Ok((text, is_error))
    }

    /// The agent's own tool: asks the hook as any agent's shell does, then runs git in the worktree.
    async fn commit(&mut self, call: &ToolUse) -> Result<(String, bool), DemoError> {
        let message = call.input.get("message").and_then(Value::as_str).unwrap_or("Demo").to_owned();
        let asked = json!({ "event": "before", "tool": "shell", "call_id": call.id,
            "command": format!("git add -A && git commit -m {message:?}") });
        let (_, answer) = self.post("the hook", &self.hook_url, &asked).await?;
        let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
        if answer.get("decision").and_then(Value::as_str) != Some("allow") {
            let reason =
                answer.get("reason").and_then(Value::as_str).unwrap_or("no reason was given").to_owned();
            self.tell("gate", &reason)?;
            return Ok((reason, true));
        }
        let git = |args: Vec<String>| capture::Command {
            program: "git".into(),
            args,
            env: None,
            dir: self.worktree.to_owned(),
            timeout: GIT_TIMEOUT,
        };
        let identity = ["-c", "user.name=demo agent", "-c", "user.email=demo@agentsup.invalid"];
        let mut commit: Vec<String> = identity.into_iter().map(str::to_owned).collect();
        commit.extend(["commit", "-q", "-m"].map(str::to_owned));
        commit.push(message.clone());
        let mut done = captured(git(vec!["add".into(), "-A".into()])).await;
        if done.as_ref().is_ok_and(|output| output.status.success()) {
            done = captured(git(commit)).await;
        }
        let (text, is_error) = match done {
            Ok(output) if output.status.success() => (format!("committed: {message}"), false),
            Ok(output) => (output.stderr, true),
            Err(error) => (error.to_string(), true),
        };
        let report = json!({ "event": "after", "call_id": call.id, "failed": is_error });
        self.post("the hook", &self.hook_url, &report).await?;
        self.tell("tool", &text)?;
        Ok((text, is_error))
    }

    async fn mcp(&mut self, method: &str, params: Value) -> Result<Value, DemoError> {
        self.calls += 1;
        let message = json!({ "jsonrpc": "2.0", "id": self.calls, "method": method, "params": params });
        let (_, bytes) = self.post("the MCP proxy", &self.mcp_url, &message).await?;
        serde_json::from_slice(&bytes).map_err(|error| DemoError::Request("the MCP proxy", error.to_string()))
    }

    async fn post(
        &self,
        whom: &'static str,
        url: &str,
        body: &Value,
    ) -> Result<(StatusCode, Bytes), DemoError> {
        let failed = |error: &dyn std::fmt::Display| DemoError::Request(whom, error.to_string());
        let request = Request::builder()
            .method(Method::POST)
            .uri(url)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json")
            .body(Full::new(Bytes::from(body.to_string())))
            .map_err(|error| failed(&error))?;
        let response = self.upstream.send(request).await.map_err(|error| failed(&error))?;
        let status = response.status();
        let bytes = read_body(response.into_body(), ANSWER_MAX).await.map_err(|error| failed(&error))?;
        Ok((status, bytes))
    }

    fn tell(&mut self, who: &str, text: &str) -> Result<(), DemoError> {
        writeln!(self.out, "{who:>6} │ {text}")?;
        self.out.flush()?;
        Ok(())
    }
}

/// A tool that the model wants called.
#[derive(Debug, Clone)]
struct ToolUse {
    id: String,
    name: String,
    input: Value,
}

/// What the model said.
#[derive(Debug, Default)]
struct Answer {
    text: String,
    tool: Option<ToolUse>,
}

impl Answer {
    /// Reads the whole stream of one answer.
    fn read(stream: &[u8]) -> Self {
        let mut answer = Self::default();
        let mut input = String::new();
        for line in String::from_utf8_lossy(stream).lines() {
            let Some(event) = line.strip_prefix("data: ") else { continue };
            let event: Value = serde_json::from_str(event).unwrap_or_default();
            let text =
                |path: &str| event.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
            answer.text.push_str(&text("/delta/text"));
            input.push_str(&text("/delta/partial_json"));
            if text("/content_block/type") == "tool_use" {
                let (id, name) = (text("/content_block/id"), text("/content_block/name"));
                answer.tool = Some(ToolUse { id, name, input: Value::Null });
            }
        }
        if let Some(tool) = &mut answer.tool {
            tool.input = serde_json::from_str(&input).unwrap_or_default();
        }
        answer
    }

    fn content(&self) -> Vec<Value> {
        let mut blocks = vec![json!({ "type": "text", "text": self.text })];
        if let Some(tool) = &self.tool {
            blocks.push(json!({ "type": "tool_use", "id": tool.id, "name": tool.name, "input": tool.input }));
        }
        blocks
    }
}
async fn captured(command: capture::Command) -> std::io::Result<capture::Output> {
    let ran = tokio::task::spawn_blocking(move || capture::run(&command)).await;
    ran.map_err(std::io::Error::other)?.map_err(std::io::Error::other)
}
