//! What hooks say and what they are answered, independent of the agent. Each adapter translates its own wire.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::core::manifest::BuiltinClass;
use crate::core::usage::Usage;

/// An adapter's translation.
#[derive(Debug)]
pub struct HookWire {
    /// Reads what a hook sent.
    pub read: fn(&Value) -> Result<HookCall, HookError>,
    /// Writes the answer to a tool call; the text goes to the agent.
    pub answer: fn(&HookAnswer<'_>) -> Value,
    /// Writes the answer to a prompt; the text goes to the person.
    pub prompt: fn(&HookAnswer<'_>) -> Value,
    /// What a hook that is a command prints where there is nothing to say.
    pub silence: &'static [u8],
}

impl HookWire {
    /// The wire of an agent whose prompts are not asked about and whose hooks may stay silent.
    pub(super) const fn new(
        read: fn(&Value) -> Result<HookCall, HookError>,
        answer: fn(&HookAnswer<'_>) -> Value,
    ) -> Self {
        Self { read, answer, prompt: unasked, silence: b"" }
    }
}

fn unasked(_: &HookAnswer<'_>) -> Value {
    Value::Object(serde_json::Map::new())
}

/// How an adapter tells what its model calls on a subscription cost.
#[derive(Debug, Clone, Copy)]
pub struct Telemetry {
    /// The provider whose list prices count.
    pub provider: &'static str,
    /// Reads an event of OTLP logs by its name and attributes; none where its hooks tell.
    pub events: Option<ReadEvent>,
    /// How many tools it may call without telling anything: beyond that, it tells nothing any more.
    pub untold_tools_max: u32,
    /// The name under which it tells of a model that it chose by itself, if that is one without a list price.
    pub unlisted: Option<&'static str>,
}

/// Reads an event by its name and attributes; none if it is about something else.
pub type ReadEvent = fn(&str, &Attributes) -> Option<Result<Spent, HookError>>;

/// The attributes of an event: texts, and numbers as they were written.
pub type Attributes = BTreeMap<String, String>;

/// A model call that went past the gateway, or a turn of several, as its client tells of it: counts and names, nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spent {
    /// The provider's id of the call, if the client knows it.
    pub call: Option<String>,
    /// The model.
    pub model: String,
    /// Under which names its list price may stand, where that is not the model's own.
    pub listed_as: Vec<String>,
    /// Its tokens.
    pub usage: Usage,
}

/// What a hook reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookCall {
    /// The hooks are alive.
    Announced,
    /// A prompt is about to go to a model, or a session begins that will send one. The hooks are alive.
    Prompt,
    /// The agent wants to call one of its tools.
    Before(ToolCall),
    /// A tool has ended.
    After {
        /// The agent's id of the call.
        call_id: String,
        /// How it ended.
        status: ToolEnd,
    },
    /// What model calls past the gateway used.
    Spent(Spent),
    /// Model calls past the gateway are over, and their client does not say what they used.
    Untold,
    /// A headless agent has ended, and this is what its model calls used, if it says so.
    Ended(Option<Spent>),
    /// The agent's own output says that a tool was called: by then its hooks were heard, if there are any.
    Acting,
    /// Nothing to decide.
    Other,
}

/// How an agent's own tool ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToolEnd {
    /// It did what it should.
    Done,
    /// It failed.
    Failed,
}

/// A call of one of the agent's tools.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCall {
    /// The tool's name.
    pub tool: String,
    /// What kind it is.
    pub class: ToolKind,
    /// The agent's id of the call.
    pub call_id: Option<String>,
    /// Its working directory; the worktree if the hook does not say.
    pub cwd: Option<String>,
    /// Paths it touches, as the agent wrote them.
    pub paths: Vec<String>,
    /// Addresses it fetches.
    pub urls: Vec<String>,
    /// The command line it runs.
    pub command: Option<String>,
    /// All its arguments.
    pub args: Value,
}

/// Which gate a tool passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToolKind {
    /// One of the agent's own, decided here.
    Builtin(BuiltinClass),
    /// Served by the MCP proxy, which decides it.
    Proxied,
    /// Without an effect outside the conversation.
    Conversation,
    /// Served by an MCP server that is not ours: always denied.
    Foreign,
}

/// The answer to a tool call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookAnswer<'a> {
    /// It may be called.
    Allow,
    /// It may not.
    Deny {
        /// For the agent.
        reason: &'a str,
    },
}

/// Why a hook's message cannot be read; the call it may be about is denied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the hook's message has no usable `{0}`")]
pub struct HookError(pub &'static str);

/// The text of a field.
pub(crate) fn text<'a>(value: &'a Value, field: &'static str) -> Result<&'a str, HookError> {
    value.get(field).and_then(Value::as_str).ok_or(HookError(field))
}

/// The texts of those fields that are there.
pub(crate) fn texts(value: &Value, fields: &[&str]) -> Vec<String> {
    fields.iter().filter_map(|field| value.get(field)?.as_str()).map(str::to_owned).collect()
}

/// The files that a patch in the form of `apply_patch` names.
pub(crate) fn patched(patch: &str) -> Vec<String> {
    const MARKS: [&str; 4] = ["*** Add File: ", "*** Update File: ", "*** Delete File: ", "*** Move to: "];
    patch
        .lines()
        .filter_map(|line| MARKS.iter().find_map(|mark| line.trim_start().strip_prefix(mark)))
        .map(|path| path.trim_end().to_owned())
        .collect()
}

/// What of a glob is a path: everything before the part with its first sign.
pub(crate) fn fixed_part(glob: &str) -> String {
    let until = glob.find(['*', '?', '[', '{']).and_then(|sign| glob.get(..sign)).unwrap_or(glob);
    let directory =
        if until.len() == glob.len() { until } else { until.rfind('/').map_or("", |end| &until[..=end]) };
    if directory.is_empty() { ".".to_owned() } else { directory.to_owned() }
}

/// More tokens than any call has: beyond it a number is not believed.
pub(super) const TOKENS_MAX: u64 = 100_000_000;

/// The number of tokens in an attribute; zero if it is not there.
pub(crate) fn tokens(attributes: &Attributes, name: &'static str) -> Result<u64, HookError> {
    let Some(text) = attributes.get(name) else { return Ok(0) };
    text.parse().ok().filter(|tokens| *tokens <= TOKENS_MAX).ok_or(HookError(name))
}
