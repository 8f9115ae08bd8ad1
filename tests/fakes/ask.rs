//! What a model request is: which wire, main conversation or side call, which turn, what the last tools answered.
//! Reads the request only; must not decide any answer.

use serde_json::Value;

use super::server::Recorded;

/// The wires the server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    Anthropic,
    Chat,
    Responses,
    Gemini,
}

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// A turn of a conversation.
    Main,
    /// A title, classifier or router call that an agent makes beside its conversation.
    Side,
    CountTokens,
    Models,
    /// `HEAD` or `/api/hello`.
    Probe,
    /// `GET …/responses`: an attempt to open a WebSocket.
    Upgrade,
    Unknown,
}

/// One request, read.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) request: Recorded,
    pub(crate) body: Value,
    pub(crate) wire: Wire,
    pub(crate) kind: Kind,
    /// Main requests of the same conversation that came before this one.
    pub(crate) turn: usize,
}

impl Ask {
    pub(crate) fn new(request: Recorded) -> Self {
        let body = request.json();
        let path = request.path.split('?').next().unwrap_or_default().to_owned();
        let method = path.rsplit_once(':').map_or("", |(_, method)| method);
        let wire = if ["generateContent", "streamGenerateContent", "countTokens"].contains(&method) {
            Wire::Gemini
        } else if path.ends_with("/chat/completions") {
            Wire::Chat
        } else if path.contains("/responses") || (path.ends_with("/models") && !is_anthropic(&request)) {
            Wire::Responses
        } else {
            Wire::Anthropic
        };
        let kind = match (request.method.as_str(), path.as_str()) {
            ("HEAD", _) | ("GET", "/" | "/api/hello") => Kind::Probe,
            ("GET", path) if path.ends_with("/models") => Kind::Models,
            ("GET", path) if path.ends_with("/responses") => Kind::Upgrade,
            ("POST", path) if path.ends_with("/messages/count_tokens") || path.ends_with("/input_tokens") => {
                Kind::CountTokens
            }
            ("POST", path)
                if ["/messages", "/responses", "/chat/completions"].iter().any(|end| path.ends_with(end)) =>
            {
                if is_side(&request, &body) {
                    Kind::Side
                } else {
                    Kind::Main
                }
            }
            ("POST", _) if method == "countTokens" => Kind::CountTokens,
            ("POST", _) if wire == Wire::Gemini => {
                if is_side(&request, &body) {
                    Kind::Side
                } else {
                    Kind::Main
                }
            }
            _ => Kind::Unknown,
        };
        Self { request, body, wire, kind, turn: 0 }
    }

    /// The credential the request carries.
    pub(crate) fn key(&self) -> Option<&str> {
        let bearer = self.request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        self.request.header("x-api-key").or(self.request.header("x-goog-api-key")).or(bearer)
    }

    pub(crate) fn model(&self) -> String {
        if self.wire == Wire::Gemini {
            let named = self.request.path.rsplit('/').next().and_then(|rest| rest.split(':').next());
            return named.unwrap_or_default().to_owned();
        }
        self.body["model"].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn streams(&self) -> bool {
        if self.wire == Wire::Gemini {
            return self.request.path.contains("alt=sse");
        }
        self.body["stream"].as_bool().unwrap_or(false)
    }

    /// What keeps the conversations of one server apart: the agents' own session headers.
    pub(crate) fn conversation(&self) -> String {
        ["x-claude-code-session-id", "x-claude-code-agent-id", "thread-id", "x-session-id"]
            .iter()
            .filter_map(|name| self.request.header(name))
            .collect::<Vec<_>>()
            .join("/")
    }

    /// The names of the tools on offer, namespaced ones as `namespace/name`.
    pub(crate) fn tools(&self) -> Vec<String> {
        let mut names = Vec::new();
        collect_tools(&self.body["tools"], None, &mut names);
        for item in self.body["input"].as_array().into_iter().flatten() {
            if item["type"] == "additional_tools" {
                collect_tools(&item["tools"], None, &mut names);
            }
        }
        names
    }

    /// The full name of the tool on offer that ends with `end`.
    pub(crate) fn require_tool(&self, end: &str) -> String {
        let tools = self.tools();
        tools
            .iter()
            .find(|name| name.ends_with(end))
            .cloned()
            .unwrap_or_else(|| panic!("no tool `…{end}` on offer, only {tools:?}"))
    }

    /// What the tools answered since the model last spoke, as text.
    pub(crate) fn results(&self) -> Vec<String> {
        match self.wire {
            Wire::Anthropic => {
                let last = self.body["messages"]
                    .as_array()
                    .and_then(|messages| messages.iter().rev().find(|message| message["role"] == "user"));
                let blocks = last.and_then(|message| message["content"].as_array());
                blocks
                    .into_iter()
                    .flatten()
                    .filter(|block| block["type"] == "tool_result")
                    .map(|block| text_of(&block["content"]))
                    .collect()
            }
            Wire::Chat => {
                let messages = self.body["messages"].as_array().cloned().unwrap_or_default();
                let last = messages.iter().rev().take_while(|message| message["role"] == "tool");
                let mut results: Vec<String> = last.map(|message| text_of(&message["content"])).collect();
                results.reverse();
                results
            }
            Wire::Responses => {
                let items = self.body["input"].as_array().cloned().unwrap_or_default();
                let mut results: Vec<String> = items
                    .iter()
                    .rev()
                    .take_while(|item| !item["type"].as_str().is_some_and(|kind| kind.ends_with("_call")))
                    .filter(|item| item["type"].as_str().is_some_and(|kind| kind.ends_with("_call_output")))
                    .map(|item| text_of(&item["output"]))
                    .collect();
                results.reverse();
                results
            }
            Wire::Gemini => {
                let last = self.body["contents"].as_array().and_then(|contents| contents.last());
                let parts = last.and_then(|content| content["parts"].as_array());
                let answers = parts.into_iter().flatten().map(|part| &part["functionResponse"]["response"]);
                answers.filter(|answer| !answer.is_null()).map(ToString::to_string).collect()
            }
        }
    }
}

fn is_anthropic(request: &Recorded) -> bool {
    request.header("anthropic-version").is_some() || request.header("x-api-key").is_some()
}

/// Agents make side calls without tools; anything else without tools (a plain client) is a main request.
fn is_side(request: &Recorded, body: &Value) -> bool {
    // Google's plain SDK ends like another agent's.
    let agent = request.header("user-agent").unwrap_or_default().replace("google-genai-sdk", "");
    let is_agent =
        ["claude-cli", "codex", "opencode", "ai-sdk", "GeminiCLI"].iter().any(|name| agent.contains(name))
            || request.header("originator").is_some();
    let metadata = request.header("x-codex-turn-metadata").unwrap_or_default();
    let has_tools = body["tools"].as_array().is_some_and(|tools| !tools.is_empty())
        || body["input"].as_array().into_iter().flatten().any(|item| item["type"] == "additional_tools");
    metadata.contains("thread_title") || (is_agent && !has_tools)
}

fn collect_tools(tools: &Value, namespace: Option<&str>, names: &mut Vec<String>) {
    for tool in tools.as_array().into_iter().flatten() {
        let name = tool["name"]
            .as_str()
            .or_else(|| tool["function"]["name"].as_str())
            .or_else(|| tool["type"].as_str())
            .unwrap_or_default();
        if tool["functionDeclarations"].is_array() {
            collect_tools(&tool["functionDeclarations"], namespace, names);
        } else if tool["type"] == "namespace" {
            collect_tools(&tool["tools"], Some(name), names);
        } else {
            names.push(namespace.map_or_else(|| name.to_owned(), |space| format!("{space}/{name}")));
        }
    }
}

/// The text in a string or in a list of `{"text": …}` blocks.
fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(blocks) => {
            blocks.iter().filter_map(|block| block["text"].as_str()).collect::<Vec<_>>().join("\n")
        }
        other => other.to_string(),
    }
}
