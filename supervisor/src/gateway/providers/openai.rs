//! The OpenAI Responses API, as coding agents use it.
//!
//! Usage comes in the event that ends a stream. `input_tokens` includes what was read from and written to the cache;
//! `output_tokens` includes reasoning. State kept at the provider (an earlier response, a conversation, a stored
//! prompt, work in the background) has no bound that the request shows, so it is refused.

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

const KINDS: Kinds = Kinds {
    images: &["input_image", "computer_screenshot"],
    opaque: &["input_file", "input_audio", "item_reference"],
};

/// Kinds of tools that run where the agent runs. Any other kind runs at the provider, as often as it likes.
const CLIENT_TOOLS: [&str; 5] = ["function", "custom", "namespace", "local_shell", "apply_patch"];

pub(super) struct OpenAi;

impl Provider for OpenAi {
    fn name(&self) -> &'static str {
        "openai"
    }

    fn route(&self, method: &Method, path: &str, headers: &HeaderMap) -> Route {
        match (method, path) {
            (&Method::POST, "/v1/responses") => Route::Call,
            (&Method::GET, "/v1/responses") if headers.contains_key(header::UPGRADE) => Route::Upgrade,
            (&Method::GET, "/v1/models") => Route::List,
            (&Method::GET, path) if super::is_entry_of("/v1/models/", path) => Route::List,
            _ => Route::Unknown,
        }
    }

    /// The base URL in the configuration has the version already.
    fn upstream_path<'a>(&self, path: &'a str) -> &'a str {
        path.strip_prefix("/v1").unwrap_or(path)
    }

    fn set_key(&self, headers: &mut HeaderMap, key: &str) -> Result<(), header::InvalidHeaderValue> {
        headers.insert(header::AUTHORIZATION, secret(&format!("Bearer {key}"))?);
        Ok(())
    }

    fn read_call<'a>(&self, body: &'a [u8]) -> Result<Call<'a>, MalformedError> {
        let request: Request<'a> = serde_json::from_slice(body)?;
        let mut call = Call {
            unbounded: request.unbounded(),
            model: request.model,
            max_output: request.max_output_tokens,
            // Writing to the cache needs no asking for.
            cache: CacheWrites::Short,
            parts: Vec::new(),
            settings: Vec::new(),
            kinds: KINDS,
        };
        for (name, value) in scan::members(body) {
            match name {
                _ if name.contains(&b'\\') => call.unbounded = Some(super::ESCAPED_NAME.to_owned()),
                b"input" => {
                    for item in scan::elements(value) {
                        call.unbounded = call.unbounded.or(tools_of_item(item)?);
                        call.parts.push(item);
                    }
                }
                b"instructions" | b"tools" => call.parts.extend(scan::elements(value)),
                b"max_output_tokens" | b"stream" | b"metadata" | b"client_metadata" => {}
                _ => {
                    if name.starts_with(b"prompt_cache_") && name != b"prompt_cache_key" && value != b"null" {
                        call.cache = CacheWrites::Long;
                    }
                    call.settings.push((name, value));
                }
            }
        }
        Ok(call)
    }

    fn surcharge(&self) -> Surcharge {
        Surcharge::NONE
    }

    fn reader(&self, call: &Call<'_>) -> Box<dyn Reader> {
        let truncates = call.settings.contains(&(b"truncation", br#""auto""#));
        Box::new(ResponseReader { asked: call.cache, truncates, seen: None })
    }

    fn error(&self, status: StatusCode, message: &str) -> Vec<u8> {
        let (kind, code) = match status {
            StatusCode::UNAUTHORIZED => ("invalid_request_error", Some("invalid_api_key")),
            StatusCode::PAYMENT_REQUIRED => ("insufficient_quota", Some("insufficient_quota")),
            status if status.is_server_error() => ("server_error", None),
            _ => ("invalid_request_error", None),
        };
        let error = serde_json::json!({
            "error": {"message": message, "type": kind, "param": null, "code": code}
        });
        error.to_string().into_bytes()
    }

    /// `invalid_prompt` is the one code that ends a turn at once with the message as it is.
    fn stream_error(&self, message: &str) -> Vec<u8> {
        let data = serde_json::json!({
            "type": "response.failed",
            "response": {
                "id": "resp_agentsup",
                "object": "response",
                "status": "failed",
                "output": [],
                "error": {"code": "invalid_prompt", "message": message},
            },
        });
        format!("event: response.failed\ndata: {data}\n\n").into_bytes()
    }
}

/// What is read of a request; the rest is passed on unread.
#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    model: Cow<'a, str>,
    max_output_tokens: Option<u64>,
    #[serde(borrow)]
    #[expect(dead_code, reason = "a request without input is refused here, not by the provider")]
    input: &'a RawValue,
    #[serde(borrow, default)]
    tools: Option<Vec<Tool<'a>>>,
    background: Option<bool>,
    #[serde(borrow, default)]
    previous_response_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    conversation: Option<&'a RawValue>,
    #[serde(borrow, default)]
    prompt: Option<&'a RawValue>,
    #[serde(borrow, default)]
    context_management: Option<Vec<&'a RawValue>>,
    #[serde(borrow, default)]
    service_tier: Option<Cow<'a, str>>,
}

/// An item of the input; some bring tools of their own.
#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow, default)]
    tools: Option<Vec<Tool<'a>>>,
}

/// The first tool that an item brings along and that runs at the provider.
fn tools_of_item(item: &[u8]) -> Result<Option<String>, MalformedError> {
    if !item.starts_with(b"{") {
        return Ok(None);
    }
    let item: Item<'_> = serde_json::from_slice(item)?;
    Ok(item.tools.iter().flatten().find_map(Tool::at_provider))
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
        if client { inner() } else { Some(format!("tools: {kind}")) }
    }
}

impl Request<'_> {
    /// The first thing asked for that has no upper bound or no price.
    fn unbounded(&self) -> Option<String> {
        let given = |name: &str, value: Option<&RawValue>| value.map(|_| name.to_owned());
        let tier = self.service_tier.as_deref().filter(|tier| !["auto", "default"].contains(tier));
        (self.background == Some(true))
            .then(|| "background".to_owned())
            .or_else(|| self.tools.iter().flatten().find_map(Tool::at_provider))
            .or_else(|| given("previous_response_id", self.previous_response_id))
            .or_else(|| given("conversation", self.conversation))
            .or_else(|| given("prompt", self.prompt))
            .or_else(|| given("context_management", self.context_management.iter().flatten().next().copied()))
            .or_else(|| tier.map(|tier| format!("service_tier: {tier}")))
    }
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: String,
    response: Option<Response>,
}

#[derive(Deserialize)]
struct Response {
    usage: Option<Counts>,
    service_tier: Option<String>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct Counts {
    input_tokens: u64,
    output_tokens: u64,
    input_tokens_details: Option<InputDetails>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
struct InputDetails {
    cached_tokens: Option<u64>,
    cache_write_tokens: Option<u64>,
}

struct ResponseReader {
    asked: CacheWrites,
    truncates: bool,
    seen: Option<Counts>,
}

impl ResponseReader {
    fn see(&mut self, response: &Response) -> Result<(), UnreadableError> {
        self.seen = response.usage.or(self.seen);
        match response.service_tier.as_deref() {
            // `flex` is cheaper; the list price is on the safe side.
            None | Some("auto" | "default" | "standard" | "flex") => Ok(()),
            Some(tier) => Err(UnreadableError::Unpriced(format!("service_tier: {tier}"))),
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
        let event: Event = serde_json::from_slice(data).map_err(|_| UnreadableError::Malformed)?;
        let Some(response) = event.response.filter(|_| ENDS.contains(&event.kind.as_bytes())) else {
            return Ok(false);
        };
        self.see(&response)?;
        Ok(true)
    }

    fn answer(&mut self, json: &[u8]) -> Result<(), UnreadableError> {
        let response: Response = serde_json::from_slice(json).map_err(|_| UnreadableError::Malformed)?;
        self.see(&response)
    }

    fn bill(&self) -> Option<Bill> {
        let counts = self.seen?;
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
        Some(Bill {
            lines: vec![Line { model: None, usage }],
            surcharge: Surcharge::NONE,
            prompt_tokens: (!self.truncates).then_some(counts.input_tokens),
        })
    }
}
