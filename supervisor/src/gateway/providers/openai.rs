//! OpenAI, and everybody who took its wire over: the Responses API here, Chat Completions in `chat`.
//!
//! Usage comes in the event that ends a stream. `input_tokens` includes what was read from and written to the cache;
//! `output_tokens` includes reasoning. A call that goes on from an earlier response is bounded by what that one came to, or
//! by all that the model accepts; other state kept at the provider (a conversation, a stored prompt, work in the
//! background) has no bound that the request shows, so it is refused. At OpenAI itself a project may
//! be set to a dearer tier without the request saying so; calls that leave the tier open are pinned to the ordinary one.

mod chat;

use std::borrow::Cow;

use http::header::AUTHORIZATION;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{OutputField, Provider, Route, Wire, only};
use crate::core::money::NanoUsd;
use crate::core::usage::Usage;
use crate::gateway::bound::Surcharge;
use crate::gateway::call::{self, Call, Counting, MalformedError, Place as Member, shown};
use crate::gateway::meter::{Bill, Line, Reader, UnreadableError};
use crate::gateway::scan::{self, CacheWrites, Kinds};

static WIRE: Wire = Wire {
    name: "openai",
    routes: &[
        (Method::POST, "/v1/responses", Route::Call),
        (Method::POST, "/v1/responses/compact", Route::Call),
        (Method::POST, "/v1/responses/input_tokens", Route::Free),
        (Method::POST, CHAT, Route::Call),
        (Method::GET, "/v1/models", Route::List),
        (Method::GET, "/v1/models/*", Route::List),
    ],
    in_base_url: "/v1",
    key: Some((AUTHORIZATION, "Bearer ")),
    surcharge: Surcharge::NONE,
    // Much of a short answer would be reasoning.
    output_field: Some(OutputField { name: "max_output_tokens", least: 4096 }),
};

/// The path of a call.
const RESPONSES: &str = "/v1/responses";
/// Fields that `input_tokens` takes, and those that have no say in it.
const COUNTED: [&str; 10] = [
    "model",
    "input",
    "previous_response_id",
    "instructions",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "reasoning",
    "text",
    "truncation",
];
const NOT_COUNTED: [&str; 17] = [
    "max_output_tokens",
    "stream",
    "stream_options",
    "metadata",
    "client_metadata",
    "store",
    "include",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "user",
    "service_tier",
    "temperature",
    "top_p",
    "top_logprobs",
    "max_tool_calls",
    "background",
];

/// The path of Chat Completions.
const CHAT: &str = "/v1/chat/completions";

/// Models that count by tiles take up to 48 169 tokens for one image.
const IMAGE_TOKENS: u64 = 49_152;

const KINDS: Kinds = Kinds {
    images: &["input_image", "computer_screenshot"],
    image_tokens: IMAGE_TOKENS,
    fleeting: &["reasoning"],
    opaque: &["input_file", "item_reference", "image_generation_call"],
    unpriced: &["input_audio"],
    ..Kinds::TEXT
};

/// Kinds of tools that run where the agent runs. Any other kind runs at the provider, as often as it likes.
const CLIENT_TOOLS: [&str; 5] = ["function", "custom", "namespace", "local_shell", "apply_patch"];
/// More than the provider's own words about a tool of its own making, which are not in the request.
const TOOL_TOKENS: u64 = 2048;

/// The Responses API.
pub(super) struct OpenAi {
    place: Place,
}

/// Where the wire is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// At OpenAI.
    Home,
    /// Anywhere else.
    Elsewhere,
}

pub(super) static OPENAI: OpenAi = OpenAi { place: Place::Home };
static COMPATIBLE: OpenAi = OpenAi { place: Place::Elsewhere };

impl Place {
    /// Pins a call that leaves the tier open, where that could make it dearer.
    fn pin_tier(self, call: &mut Call<'_>, body: &[u8], tier: Option<&str>) {
        if self == Self::Home && tier.is_none_or(|tier| tier == "auto") {
            call.set(body, "service_tier", "\"default\"");
        }
    }
}

impl Provider for OpenAi {
    fn wire(&self) -> &'static Wire {
        &WIRE
    }

    fn dialect(&self, path: &str) -> Option<&'static dyn Provider> {
        let chat: &'static dyn Provider = match self.place {
            Place::Home => &chat::OPENAI,
            Place::Elsewhere => &chat::COMPATIBLE,
        };
        (path == CHAT).then_some(chat)
    }

    fn elsewhere(&self) -> Option<&'static dyn Provider> {
        Some(&COMPATIBLE)
    }

    fn read_call<'a>(&self, _path: &'a str, body: &'a [u8]) -> Result<Call<'a>, MalformedError> {
        let request: Request<'a> = serde_json::from_str(call::text(body)?)?;
        let mut call = Call {
            unbounded: request.unbounded(),
            continues: request.previous_response_id,
            max_output: request.max_output_tokens,
            // Writing to the cache needs no asking for.
            cache: CacheWrites::Short,
            added_tokens: added_tokens(request.tools.iter().flatten()),
            ..Call::of(request.model, KINDS)
        };
        self.place.pin_tier(&mut call, body, request.service_tier.as_deref());
        call.take_fields(body, |name| match name {
            b"input" | b"instructions" => Member::Prompt,
            b"tools" => Member::Tools,
            b"max_output_tokens" | b"stream" | b"metadata" | b"client_metadata" => Member::Aside,
            _ => Member::Setting,
        })?;
        let long = |(name, value): &(&[u8], &[u8])| {
            name.starts_with(b"prompt_cache_") && *name != b"prompt_cache_key" && *value != b"null"
        };
        if call.settings.iter().any(long) {
            call.cache = CacheWrites::Long;
        }
        let mut referring = Vec::new();
        for json in scan::elements(request.input.get().as_bytes()) {
            let Some(item) = Item::of(json)? else { continue };
            let tools = || item.tools.iter().flatten();
            call.refuse(tools().find_map(Tool::at_provider));
            call.added_tokens = call.added_tokens.saturating_add(added_tokens(tools()));
            if item.is_kept_at_provider() {
                referring.push(json);
            }
        }
        let mut parts = call.parts.iter_mut();
        for json in referring {
            if let Some(part) = parts.find(|part| std::ptr::eq(part.json, json)) {
                part.is_reference = true;
            }
        }
        Ok(call)
    }

    fn counting(&self, path: &str, body: &[u8]) -> Option<Counting> {
        let is_known = self.place == Place::Home && path == RESPONSES;
        let body = is_known.then(|| only(body, &COUNTED, &NOT_COUNTED))??;
        Some(Counting { path: format!("{RESPONSES}/input_tokens"), body, member: "input_tokens" })
    }

    fn reader(&self, call: &Call<'_>) -> Box<dyn Reader> {
        let truncates = call.settings.contains(&(b"truncation", br#""auto""#));
        Box::new(ResponseReader { asked: call.cache, truncates, seen: None })
    }

    fn error(&self, status: StatusCode, message: &str) -> Vec<u8> {
        error(status, message)
    }

    /// `invalid_prompt` is the one code that ends a turn at once with the message as it is.
    fn stream_error(&self, message: &str) -> Vec<u8> {
        failed("invalid_prompt", message)
    }

    /// `rate_limit_exceeded` is the one code at which the pause is read from the message.
    fn failed_stream(&self, message: &str) -> Option<Vec<u8>> {
        Some(failed("rate_limit_exceeded", message))
    }
}

/// The event of a response that failed.
fn failed(code: &str, message: &str) -> Vec<u8> {
    let data = serde_json::json!({
        "type": "response.failed",
        "response": {
            "id": "resp_agentsup",
            "object": "response",
            "status": "failed",
            "output": [],
            "error": {"code": code, "message": message},
        },
    });
    format!("event: response.failed\ndata: {data}\n\n").into_bytes()
}

/// An error as both dialects have it.
fn error(status: StatusCode, message: &str) -> Vec<u8> {
    let (kind, code) = match status {
        StatusCode::UNAUTHORIZED => ("invalid_request_error", Some("invalid_api_key")),
        StatusCode::PAYMENT_REQUIRED => ("insufficient_quota", Some("insufficient_quota")),
        StatusCode::TOO_MANY_REQUESTS => ("requests", Some("rate_limit_exceeded")),
        status if status.is_server_error() => ("server_error", None),
        _ => ("invalid_request_error", None),
    };
    let error = serde_json::json!({
        "error": {"message": message, "type": kind, "param": null, "code": code}
    });
    error.to_string().into_bytes()
}

/// The name of a tier in a request that has no price here.
fn unpriced_tier(tier: Option<&str>) -> Option<String> {
    let tier = tier.filter(|tier| !["auto", "default"].contains(tier))?;
    Some(format!("service_tier: {}", shown(tier)))
}

/// Checks the tier that an answer was billed at. `flex` is cheaper, and `on_demand` is another's word for the ordinary
/// one; the list price is on the safe side.
fn check_billed_tier(tier: Option<&str>) -> Result<(), UnreadableError> {
    match tier {
        None | Some("auto" | "default" | "standard" | "flex" | "on_demand") => Ok(()),
        Some(tier) => Err(UnreadableError::Unpriced(format!("service_tier: {}", shown(tier)))),
    }
}

/// What an aggregator says a call cost, if it says so as a number of dollars.
fn told(cost: Option<&RawValue>) -> Option<NanoUsd> {
    NanoUsd::from_usd_number(cost?.get())
}

/// What is read of a request; the rest is passed on unread.
#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    model: Cow<'a, str>,
    max_output_tokens: Option<u64>,
    #[serde(borrow)]
    input: &'a RawValue,
    #[serde(borrow, default)]
    tools: Option<Vec<Tool<'a>>>,
    background: Option<bool>,
    #[serde(borrow, default)]
    previous_response_id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    conversation: Option<&'a RawValue>,
    #[serde(borrow, default)]
    prompt: Option<&'a RawValue>,
    #[serde(borrow, default)]
    context_management: Option<Vec<&'a RawValue>>,
    #[serde(borrow, default)]
    service_tier: Option<Cow<'a, str>>,
}

/// An item of the input; some bring tools of their own, and some are only named here and kept at the provider.
#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow, rename = "type", default)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    role: Option<&'a RawValue>,
    #[serde(borrow, default)]
    encrypted_content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    tools: Option<Vec<Tool<'a>>>,
}

impl<'a> Item<'a> {
    fn of(item: &'a [u8]) -> Result<Option<Self>, MalformedError> {
        if item.starts_with(b"{") { Ok(Some(serde_json::from_slice(item)?)) } else { Ok(None) }
    }

    /// Whether the provider takes its content from what it has stored, so that its size does not show here.
    fn is_kept_at_provider(&self) -> bool {
        match self.kind.as_deref() {
            // A message need not say that it is one, and neither need a reference; but a message has a role.
            None => self.role.is_none(),
            Some("reasoning" | "compaction") => self.encrypted_content.is_none(),
            Some(_) => false,
        }
    }
}

fn added_tokens<'a>(tools: impl Iterator<Item = &'a Tool<'a>>) -> u64 {
    let own =
        |tool: &&Tool<'_>| !matches!(tool.kind.as_deref(), None | Some("function" | "custom" | "namespace"));
    TOOL_TOKENS.saturating_mul(tools.filter(own).count() as u64)
}

#[derive(Deserialize)]
struct Tool<'a> {
    #[serde(borrow, rename = "type", default)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    execution: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    tools: Option<Vec<Tool<'a>>>,
}

impl Tool<'_> {
    fn at_provider(&self) -> Option<String> {
        let inner = || self.tools.iter().flatten().find_map(Tool::at_provider);
        let kind = self.kind.as_deref()?;
        let client = CLIENT_TOOLS.contains(&kind) || self.execution.as_deref() == Some("client");
        if client { inner() } else { Some(format!("tools: {}", shown(kind))) }
    }
}

impl Request<'_> {
    /// The first thing asked for that has no upper bound or no price.
    fn unbounded(&self) -> Option<String> {
        let given = |name: &str, value: Option<&RawValue>| value.map(|_| name.to_owned());
        (self.background == Some(true))
            .then(|| "background".to_owned())
            .or_else(|| self.tools.iter().flatten().find_map(Tool::at_provider))
            .or_else(|| given("conversation", self.conversation))
            .or_else(|| given("prompt", self.prompt))
            .or_else(|| given("context_management", self.context_management.iter().flatten().next().copied()))
            .or_else(|| unpriced_tier(self.service_tier.as_deref()))
    }
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(borrow)]
    response: Option<Response<'a>>,
}

#[derive(Deserialize)]
struct Response<'a> {
    #[serde(borrow)]
    usage: Option<Counts<'a>>,
    service_tier: Option<String>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct Counts<'a> {
    input_tokens: u64,
    output_tokens: u64,
    input_tokens_details: Option<InputDetails>,
    #[serde(borrow)]
    cost: Option<&'a RawValue>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
struct InputDetails {
    cached_tokens: Option<u64>,
    audio_tokens: Option<u64>,
    cache_write_tokens: Option<u64>,
}

struct ResponseReader {
    asked: CacheWrites,
    truncates: bool,
    seen: Option<Bill>,
}

impl ResponseReader {
    fn see(&mut self, response: &Response<'_>) -> Result<(), UnreadableError> {
        if let Some(counts) = response.usage {
            self.seen = Some(self.bill_of(&counts));
        }
        check_billed_tier(response.service_tier.as_deref())
    }

    fn bill_of(&self, counts: &Counts<'_>) -> Bill {
        let details = counts.input_tokens_details.unwrap_or_default();
        let cached = details.cached_tokens.unwrap_or(0);
        let written = details.cache_write_tokens.unwrap_or(0);
        let (short, long) = if self.asked == CacheWrites::Long { (0, written) } else { (written, 0) };
        let usage = Usage {
            input_tokens: counts.input_tokens.saturating_sub(cached).saturating_sub(written),
            cache_write_5m_tokens: short,
            cache_write_1h_tokens: long,
            cache_read_tokens: cached,
            output_tokens: counts.output_tokens,
        };
        Bill {
            lines: vec![Line { model: None, usage }],
            surcharge: Surcharge::NONE,
            told: told(counts.cost),
            prompt_tokens: (!self.truncates).then_some(counts.input_tokens),
        }
    }
}

impl Reader for ResponseReader {
    fn event(&mut self, data: &[u8]) -> Result<bool, UnreadableError> {
        const ENDS: [&[u8]; 3] = [b"response.completed", b"response.incomplete", b"response.failed"];
        // The many events between have nothing to count and are not read whole.
        if data == b"[DONE]" || scan::kind(data).is_some_and(|kind| !ENDS.contains(&kind)) {
            return Ok(false);
        }
        let event: Event<'_> = serde_json::from_slice(data).map_err(|_| UnreadableError::Malformed)?;
        let Some(response) = event.response.filter(|_| ENDS.contains(&event.kind.as_bytes())) else {
            return Ok(false);
        };
        self.see(&response)?;
        Ok(true)
    }

    fn answer(&mut self, json: &[u8]) -> Result<(), UnreadableError> {
        let response: Response<'_> = serde_json::from_slice(json).map_err(|_| UnreadableError::Malformed)?;
        self.see(&response)
    }

    fn bill(&self) -> Option<Bill> {
        self.seen.clone()
    }
}

#[cfg(test)]
mod tests;
