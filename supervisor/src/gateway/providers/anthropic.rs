//! The Anthropic Messages API.
//!
//! Usage comes twice: `message_start` has the prompt, the last `message_delta` has totals so far; of each field the
//! value seen last counts. `input_tokens` excludes cached input. `iterations`, where present, is the bill and the top
//! level is not: it leaves out compaction and other models' turns.

use std::borrow::Cow;

use http::{HeaderName, Method, StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{OutputField, Provider, Route, Wire, only};
use crate::core::usage::Usage;
use crate::gateway::bound::Surcharge;
use crate::gateway::call::{self, Call, Counting, MalformedError, Place, shown};
use crate::gateway::meter::{Bill, Line, Reader, UnreadableError};
use crate::gateway::scan::{self, CacheWrites, Kinds};

/// A workspace may be bound to a region, which costs this much, without the request saying so.
const REGIONAL: Surcharge = Surcharge { numerator: 110, denominator: 100 };

static WIRE: Wire = Wire {
    name: "anthropic",
    routes: &[
        (Method::POST, "/v1/messages", Route::Call),
        (Method::POST, "/v1/messages/count_tokens", Route::Free),
        (Method::GET, "/v1/models", Route::List),
        (Method::GET, "/v1/models/*", Route::List),
        (Method::HEAD, "/", Route::Probe),
        (Method::HEAD, "", Route::Probe),
        (Method::GET, "/", Route::Probe),
        (Method::GET, "", Route::Probe),
        (Method::GET, "/api/hello", Route::Probe),
        (Method::HEAD, "/api/hello", Route::Probe),
    ],
    in_base_url: "",
    key: Some((HeaderName::from_static("x-api-key"), "")),
    surcharge: REGIONAL,
    output_field: Some(OutputField { name: "max_tokens", least: 1024 }),
};

const KINDS: Kinds = Kinds {
    images: &["image"],
    image_tokens: 16_384,
    references: &["tool_reference"],
    fleeting: &["thinking", "redacted_thinking"],
    opaque: &["document", "container_upload"],
    ..Kinds::TEXT
};

/// Kinds of tools that run where the agent runs. Any other kind runs at the provider, as often as it likes.
const CLIENT_TOOLS: [&str; 5] = ["custom", "bash_", "text_editor_", "computer_", "memory_"];
/// More than the provider's own words about a tool of its own making, which are not in the request: 1 234 tokens are
/// published for the longest, `computer_`.
const TOOL_TOKENS: u64 = 2048;

/// The path of a call.
const MESSAGES: &str = "/v1/messages";
/// Fields that `count_tokens` takes, and those that have no say in it.
const COUNTED: [&str; 8] = [
    "model",
    "messages",
    "system",
    "tools",
    "tool_choice",
    "thinking",
    "output_config",
    "context_management",
];
const NOT_COUNTED: [&str; 10] = [
    "max_tokens",
    "stream",
    "metadata",
    "temperature",
    "top_p",
    "top_k",
    "stop_sequences",
    "service_tier",
    "inference_geo",
    "cache_control",
];

pub(super) struct Anthropic;

impl Provider for Anthropic {
    fn wire(&self) -> &'static Wire {
        &WIRE
    }

    fn read_call<'a>(&self, _path: &'a str, body: &'a [u8]) -> Result<Call<'a>, MalformedError> {
        let request: Request<'a> = serde_json::from_str(call::text(body)?)?;
        let mut tools = Tools::default();
        request.tools.iter().flatten().for_each(|tool| tools.see(tool));
        for message in scan::elements(request.messages.get().as_bytes()) {
            tools.see_message(message)?;
        }
        let unbounded = tools.at_provider.or_else(|| request.unbounded());
        let mut marks = scan::Content::default();
        if let Some(mark) = request.cache_control {
            marks.cache = CacheWrites::Short;
            marks.add(mark.get().as_bytes(), KINDS);
        }
        let mut call = Call {
            unbounded,
            max_output: request.max_tokens,
            cache: marks.cache,
            added_tokens: tools.added_tokens,
            ..Call::of(request.model, KINDS)
        };
        call.take_fields(body, |name| match name {
            b"messages" | b"system" => Place::Prompt,
            b"tools" => Place::Tools,
            b"max_tokens" | b"stream" | b"metadata" | b"cache_control" => Place::Aside,
            _ => Place::Setting,
        })?;
        let thinking = call.settings.iter().find(|(name, _)| *name == b"thinking");
        call.fixed_output = thinking.map_or(0, |(_, value)| thinking_tokens(value));
        Ok(call)
    }

    fn counting(&self, path: &str, body: &[u8]) -> Option<Counting> {
        let body = (path == MESSAGES).then(|| only(body, &COUNTED, &NOT_COUNTED))??;
        Some(Counting { path: format!("{MESSAGES}/count_tokens"), body, member: "input_tokens" })
    }

    fn reader(&self, call: &Call<'_>) -> Box<dyn Reader> {
        Box::new(MessageReader { asked: call.cache, ..MessageReader::default() })
    }

    fn error(&self, status: StatusCode, message: &str) -> Vec<u8> {
        let kind = match status {
            StatusCode::UNAUTHORIZED => "authentication_error",
            StatusCode::PAYMENT_REQUIRED => "billing_error",
            StatusCode::NOT_FOUND => "not_found_error",
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            StatusCode::PAYLOAD_TOO_LARGE => "request_too_large",
            status if status.is_server_error() => "api_error",
            _ => "invalid_request_error",
        };
        let error = serde_json::json!({"type": "error", "error": {"type": kind, "message": message}});
        error.to_string().into_bytes()
    }

    fn stream_error(&self, message: &str) -> Vec<u8> {
        let data = self.error(StatusCode::PAYMENT_REQUIRED, message);
        [b"event: error\ndata: ", data.as_slice(), b"\n\n"].concat()
    }
}

/// What is read of a request; the rest is passed on unread.
#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    model: Cow<'a, str>,
    /// Required by `/v1/messages`, absent from `count_tokens`.
    max_tokens: Option<u64>,
    #[serde(borrow)]
    messages: &'a RawValue,
    #[serde(borrow, default)]
    cache_control: Option<&'a RawValue>,
    #[serde(borrow, default)]
    tools: Option<Vec<Tool<'a>>>,
    #[serde(borrow, default)]
    mcp_servers: Option<Vec<&'a RawValue>>,
    #[serde(borrow, default)]
    fallbacks: Option<Vec<&'a RawValue>>,
    #[serde(borrow, default)]
    container: Option<&'a RawValue>,
    #[serde(borrow, default)]
    speed: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    service_tier: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    inference_geo: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    context_management: Option<ContextManagement<'a>>,
}

#[derive(Deserialize)]
struct Thinking {
    #[serde(default)]
    budget_tokens: Option<u64>,
}

/// The answer must be allowed more than its thinking. What cannot be understood leaves no room to lower it.
fn thinking_tokens(setting: &[u8]) -> u64 {
    match serde_json::from_slice::<Option<Thinking>>(setting) {
        Ok(thinking) => thinking.and_then(|thinking| thinking.budget_tokens).unwrap_or(0),
        Err(_) => u64::MAX,
    }
}

#[derive(Deserialize)]
struct Tool<'a> {
    #[serde(borrow, rename = "type", default)]
    kind: Option<Cow<'a, str>>,
}

/// A message, of which only the tools it may bring along are read: `content[].tool.definition`.
#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    content: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Block<'a> {
    #[serde(borrow, default)]
    tool: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Addition<'a> {
    #[serde(borrow, default)]
    definition: Option<&'a RawValue>,
}

/// What a request's tools come to.
#[derive(Default)]
struct Tools {
    /// The first one that runs at the provider.
    at_provider: Option<String>,
    added_tokens: u64,
}

impl Tools {
    fn see(&mut self, tool: &Tool<'_>) {
        let Some(kind) = tool.kind.as_deref().filter(|kind| *kind != "custom") else { return };
        self.added_tokens = self.added_tokens.saturating_add(TOOL_TOKENS);
        let client = CLIENT_TOOLS.iter().any(|known| kind.starts_with(known));
        if !client && self.at_provider.is_none() {
            self.at_provider = Some(format!("tools: {}", shown(kind)));
        }
    }

    /// Sees the tools that a message adds.
    fn see_message(&mut self, message: &[u8]) -> Result<(), MalformedError> {
        let message: Message<'_> = serde_json::from_slice(message)?;
        let blocks: Vec<Block<'_>> = match message.content.map(RawValue::get) {
            Some(content) if content.starts_with('[') => serde_json::from_str(content)?,
            _ => return Ok(()),
        };
        for tool in blocks.iter().filter_map(|block| block.tool) {
            // Other blocks may have a `tool` that is no addition.
            let Ok(addition) = serde_json::from_str::<Addition<'_>>(tool.get()) else { continue };
            let Some(definition) = addition.definition else { continue };
            self.see(&serde_json::from_str(definition.get())?);
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct ContextManagement<'a> {
    #[serde(borrow, default)]
    edits: Vec<Edit<'a>>,
}

#[derive(Deserialize)]
struct Edit<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
}

impl Request<'_> {
    /// The first thing asked for that has no upper bound or no price.
    fn unbounded(&self) -> Option<String> {
        let given = |name: &str, list: &Option<Vec<&RawValue>>| {
            list.as_ref().is_some_and(|list| !list.is_empty()).then(|| name.to_owned())
        };
        let other = |name: &str, value: &Option<Cow<'_, str>>, known: &[&str]| {
            let value = value.as_ref().filter(|value| !known.contains(&value.as_ref()))?;
            Some(format!("{name}: {}", shown(value)))
        };
        let edits = self.context_management.iter().flat_map(|context| &context.edits);
        given("mcp_servers", &self.mcp_servers)
            .or_else(|| given("fallbacks", &self.fallbacks))
            .or_else(|| self.container.map(|_| "container".to_owned()))
            .or_else(|| other("speed", &self.speed, &["standard"]))
            .or_else(|| other("service_tier", &self.service_tier, &["auto", "standard_only"]))
            .or_else(|| other("inference_geo", &self.inference_geo, &["global", "us"]))
            .or_else(|| {
                let mut edits = edits.filter(|edit| !edit.kind.starts_with("clear_"));
                edits.next().map(|edit| format!("context_management: {}", shown(&edit.kind)))
            })
    }
}

/// Token counts; absent ones keep what was seen before.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
struct Counts {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_creation: Option<CacheCreation>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
struct CacheCreation {
    #[serde(default)]
    ephemeral_5m_input_tokens: u64,
    #[serde(default)]
    ephemeral_1h_input_tokens: u64,
}

impl Counts {
    fn update(&mut self, newer: &Self) {
        self.input_tokens = newer.input_tokens.or(self.input_tokens);
        self.output_tokens = newer.output_tokens.or(self.output_tokens);
        self.cache_creation_input_tokens =
            newer.cache_creation_input_tokens.or(self.cache_creation_input_tokens);
        self.cache_read_input_tokens = newer.cache_read_input_tokens.or(self.cache_read_input_tokens);
        self.cache_creation = newer.cache_creation.or(self.cache_creation);
    }

    /// Cache writes that the split does not explain count as what was asked for, at worst.
    fn usage(&self, asked: CacheWrites) -> Usage {
        let split = self.cache_creation.unwrap_or_default();
        let written = self.cache_creation_input_tokens.unwrap_or(0);
        let unexplained = written
            .saturating_sub(split.ephemeral_5m_input_tokens)
            .saturating_sub(split.ephemeral_1h_input_tokens);
        let (short, long) = if asked == CacheWrites::Long { (0, unexplained) } else { (unexplained, 0) };
        Usage {
            input_tokens: self.input_tokens.unwrap_or(0),
            cache_write_5m_tokens: split.ephemeral_5m_input_tokens.saturating_add(short),
            cache_write_1h_tokens: split.ephemeral_1h_input_tokens.saturating_add(long),
            cache_read_tokens: self.cache_read_input_tokens.unwrap_or(0),
            output_tokens: self.output_tokens.unwrap_or(0),
        }
    }
}

/// One turn of several that an answer took, each with its own bill.
#[derive(Debug, Clone, Deserialize)]
struct Iteration {
    model: Option<String>,
    #[serde(flatten)]
    counts: Counts,
}

/// An answer's `usage`.
#[derive(Debug, Clone, Default, Deserialize)]
struct Billed {
    #[serde(flatten)]
    counts: Counts,
    iterations: Option<Vec<Iteration>>,
    server_tool_use: Option<ServerToolUse>,
    speed: Option<String>,
    inference_geo: Option<String>,
    service_tier: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct ServerToolUse {
    web_search_requests: Option<u64>,
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: String,
    message: Option<Answer>,
    usage: Option<Billed>,
    context_management: Option<Applied>,
}

#[derive(Deserialize)]
struct Answer {
    usage: Billed,
    context_management: Option<Applied>,
}

/// What the provider took out of the prompt before it counted it.
#[derive(Deserialize)]
struct Applied {
    #[serde(default)]
    applied_edits: Vec<serde::de::IgnoredAny>,
}

#[derive(Default)]
struct MessageReader {
    asked: CacheWrites,
    counts: Counts,
    iterations: Vec<Iteration>,
    regional: bool,
    edited: bool,
}

impl MessageReader {
    fn see(&mut self, billed: Billed, applied: Option<&Applied>) -> Result<(), UnreadableError> {
        self.counts.update(&billed.counts);
        self.iterations = billed.iterations.unwrap_or_else(|| std::mem::take(&mut self.iterations));
        self.regional |= billed.inference_geo.as_deref() == Some("us");
        self.edited |= applied.is_some_and(|applied| !applied.applied_edits.is_empty());
        let searches = billed.server_tool_use.and_then(|used| used.web_search_requests).unwrap_or(0);
        if searches > 0 {
            return Err(UnreadableError::Unpriced("web_search".to_owned()));
        }
        // `priority` is paid for in advance and `batch` is cheaper; the list price is on the safe side.
        for (name, value, priced) in [
            ("speed", billed.speed, &["standard"][..]),
            ("service_tier", billed.service_tier, &["standard", "priority", "batch"]),
            ("inference_geo", billed.inference_geo, &["us", "global", "not_available"]),
        ] {
            if let Some(value) = value.filter(|value| !priced.contains(&value.as_str())) {
                return Err(UnreadableError::Unpriced(format!("{name}: {}", shown(&value))));
            }
        }
        Ok(())
    }
}

impl Reader for MessageReader {
    fn event(&mut self, data: &[u8]) -> Result<bool, UnreadableError> {
        // The many events between have nothing to count and are not read whole.
        if scan::kind(data).is_some_and(|kind| kind.starts_with(b"content_block") || kind == b"ping") {
            return Ok(false);
        }
        let event: Event = serde_json::from_slice(data).map_err(|_| UnreadableError::Malformed)?;
        let (billed, applied) = match event.message {
            Some(message) => (Some(message.usage), message.context_management),
            None => (event.usage, event.context_management),
        };
        self.see(billed.unwrap_or_default(), applied.as_ref())?;
        Ok(event.kind == "message_stop")
    }

    fn answer(&mut self, json: &[u8]) -> Result<(), UnreadableError> {
        let message: Answer = serde_json::from_slice(json).map_err(|_| UnreadableError::Malformed)?;
        self.see(message.usage, message.context_management.as_ref())
    }

    /// Counted at the start of a stream: only tools at the provider and compaction, which are refused, add to it.
    fn prompt(&self) -> Option<Usage> {
        self.counts.input_tokens?;
        self.iterations.is_empty().then(|| Usage { output_tokens: 0, ..self.counts.usage(self.asked) })
    }

    fn bill(&self) -> Option<Bill> {
        // Both are in every answer; without them nothing is known.
        self.counts.input_tokens?;
        self.counts.output_tokens?;
        let top = self.counts.usage(self.asked);
        let turn =
            |turn: &Iteration| Line { model: turn.model.clone(), usage: turn.counts.usage(self.asked) };
        let turns: Vec<Line> = self.iterations.iter().map(turn).collect();
        let in_turns = turns.iter().map(|line| line.usage.total()).fold(0, u64::saturating_add);
        // Turns that say less than the whole are not all of it; another model's are never in it.
        let by_turn = !turns.is_empty() && in_turns >= top.total();
        let lines = if by_turn {
            turns
        } else {
            let others = turns.into_iter().filter(|line| line.model.is_some());
            std::iter::once(Line { model: None, usage: top }).chain(others).collect()
        };
        let one_prompt = !self.edited && self.iterations.len() <= 1;
        Some(Bill {
            lines,
            surcharge: if self.regional { REGIONAL } else { Surcharge::NONE },
            told: None,
            prompt_tokens: one_prompt.then(|| top.total().saturating_sub(top.output_tokens)),
        })
    }
}
