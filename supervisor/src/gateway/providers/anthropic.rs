//! The Anthropic Messages API.
//!
//! Usage comes twice: `message_start` has the prompt, the last `message_delta` has totals so far; of each field the
//! value seen last counts. `input_tokens` excludes cached input. `iterations`, where present, is the bill and the top
//! level is not: it leaves out compaction and other models' turns.

use std::borrow::Cow;

use http::{HeaderMap, Method, StatusCode, header};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Provider, Route, secret};
use crate::core::usage::Usage;
use crate::gateway::bound::Surcharge;
use crate::gateway::call::{Call, MalformedError};
use crate::gateway::meter::{Bill, Line, Reader, UnreadableError};
use crate::gateway::scan::{self, CacheWrites, Kinds};

/// A workspace may be bound to a region, which costs this much, without the request saying so.
const REGIONAL: Surcharge = Surcharge { numerator: 110, denominator: 100 };

const KINDS: Kinds = Kinds { images: &["image"], opaque: &["document", "container_upload"] };

/// Kinds of tools that run where the agent runs. Any other kind runs at the provider, as often as it likes.
const CLIENT_TOOLS: [&str; 5] = ["custom", "bash_", "text_editor_", "computer_", "memory_"];

pub(super) struct Anthropic;

impl Provider for Anthropic {
    fn name(&self) -> &'static str {
        "anthropic"
    }

    fn route(&self, method: &Method, path: &str, _headers: &HeaderMap) -> Route {
        match (method, path) {
            (&Method::POST, "/v1/messages") => Route::Call,
            (&Method::POST, "/v1/messages/count_tokens") => Route::Free,
            (&Method::GET, "/v1/models") => Route::List,
            (&Method::GET, path) if super::is_entry_of("/v1/models/", path) => Route::List,
            (&Method::HEAD, "/" | "") | (&Method::GET | &Method::HEAD, "/api/hello") => Route::Probe,
            _ => Route::Unknown,
        }
    }

    fn upstream_path<'a>(&self, path: &'a str) -> &'a str {
        path
    }

    fn set_key(&self, headers: &mut HeaderMap, key: &str) -> Result<(), header::InvalidHeaderValue> {
        headers.insert("x-api-key", secret(key)?);
        Ok(())
    }

    fn read_call<'a>(&self, body: &'a [u8]) -> Result<Call<'a>, MalformedError> {
        let request: Request<'a> = serde_json::from_slice(body)?;
        let mut call = Call {
            unbounded: request.unbounded(),
            model: request.model,
            max_output: request.max_tokens,
            cache: CacheWrites::None,
            parts: Vec::new(),
            settings: Vec::new(),
            kinds: KINDS,
        };
        let mut marks = scan::Content::default();
        for (name, value) in scan::members(body) {
            match name {
                _ if name.contains(&b'\\') => call.unbounded = Some(super::ESCAPED_NAME.to_owned()),
                b"messages" => {
                    for message in scan::elements(value) {
                        call.unbounded = call.unbounded.or(tool_of_message(message)?);
                        call.parts.push(message);
                    }
                }
                b"system" | b"tools" => call.parts.extend(scan::elements(value)),
                b"max_tokens" | b"stream" | b"metadata" => {}
                b"cache_control" => {
                    marks.cache = CacheWrites::Short;
                    marks.add(value, KINDS);
                }
                _ => call.settings.push((name, value)),
            }
        }
        call.cache = marks.cache;
        Ok(call)
    }

    fn surcharge(&self) -> Surcharge {
        REGIONAL
    }

    fn reader(&self, call: &Call<'_>) -> Box<dyn Reader> {
        Box::new(MessageReader { asked: call.cache, ..MessageReader::default() })
    }

    fn error(&self, status: StatusCode, message: &str) -> Vec<u8> {
        let kind = match status {
            StatusCode::UNAUTHORIZED => "authentication_error",
            StatusCode::PAYMENT_REQUIRED => "billing_error",
            StatusCode::NOT_FOUND => "not_found_error",
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
    #[expect(dead_code, reason = "a request without messages is refused here, not by the provider")]
    messages: &'a RawValue,
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
struct Tool<'a> {
    #[serde(borrow, rename = "type", default)]
    kind: Option<Cow<'a, str>>,
}

impl Tool<'_> {
    fn at_provider(&self) -> Option<String> {
        let kind = self.kind.as_deref()?;
        let client = CLIENT_TOOLS.iter().any(|known| kind.starts_with(known));
        (!client).then(|| format!("tools: {kind}"))
    }
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

/// The first tool that a message adds and that runs at the provider.
fn tool_of_message(message: &[u8]) -> Result<Option<String>, MalformedError> {
    let message: Message<'_> = serde_json::from_slice(message)?;
    let blocks: Vec<Block<'_>> = match message.content.map(RawValue::get) {
        Some(content) if content.starts_with('[') => serde_json::from_str(content)?,
        _ => return Ok(None),
    };
    for tool in blocks.iter().filter_map(|block| block.tool) {
        // Other blocks may have a `tool` that is no addition.
        let Ok(addition) = serde_json::from_str::<Addition<'_>>(tool.get()) else { continue };
        let Some(definition) = addition.definition else { continue };
        if let Some(kind) = serde_json::from_str::<Tool<'_>>(definition.get())?.at_provider() {
            return Ok(Some(kind));
        }
    }
    Ok(None)
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
            Some(format!("{name}: {value}"))
        };
        let edits = self.context_management.iter().flat_map(|context| &context.edits);
        let mut tools = self.tools.iter().flatten();
        tools
            .find_map(Tool::at_provider)
            .or_else(|| given("mcp_servers", &self.mcp_servers))
            .or_else(|| given("fallbacks", &self.fallbacks))
            .or_else(|| self.container.map(|_| "container".to_owned()))
            .or_else(|| other("speed", &self.speed, &["standard"]))
            .or_else(|| other("service_tier", &self.service_tier, &["auto", "standard_only"]))
            .or_else(|| other("inference_geo", &self.inference_geo, &["global", "us"]))
            .or_else(|| {
                let mut edits = edits.filter(|edit| !edit.kind.starts_with("clear_"));
                edits.next().map(|edit| format!("context_management: {}", edit.kind))
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
        match billed.speed.as_deref() {
            _ if searches > 0 => Err(UnreadableError::Unpriced("web_search".to_owned())),
            None | Some("standard") => Ok(()),
            Some(speed) => Err(UnreadableError::Unpriced(format!("speed: {speed}"))),
        }
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

    fn bill(&self) -> Option<Bill> {
        // Both are in every answer; without them nothing is known.
        self.counts.input_tokens?;
        self.counts.output_tokens?;
        let top = self.counts.usage(self.asked);
        let turn =
            |turn: &Iteration| Line { model: turn.model.clone(), usage: turn.counts.usage(self.asked) };
        let turns: Vec<Line> = self.iterations.iter().map(turn).collect();
        let in_turns = turns.iter().map(|line| line.usage.total()).fold(0, u64::saturating_add);
        // Turns that say less than the whole are not all of it.
        let by_turn = !turns.is_empty() && in_turns >= top.total();
        let one_prompt = !self.edited && self.iterations.len() <= 1;
        Some(Bill {
            lines: if by_turn { turns } else { vec![Line { model: None, usage: top }] },
            surcharge: if self.regional { REGIONAL } else { Surcharge::NONE },
            prompt_tokens: one_prompt.then(|| top.total().saturating_sub(top.output_tokens)),
        })
    }
}
