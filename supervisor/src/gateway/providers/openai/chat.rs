//! OpenAI's Chat Completions, as OpenAI and everybody else who has it speaks it.
//!
//! A stream says its usage only where it was asked to, in one more chunk before the end; whoever did not ask does not
//! see it. `prompt_tokens` includes what was read from and written to the cache. Some count thinking in the total alone,
//! so output is at least the total less the prompt. Only text and images have a price here: audio, searches,
//! predictions and other models than the one that is named are refused.

use std::borrow::Cow;

use http::StatusCode;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::{
    IMAGE_TOKENS, InputDetails, Place, Provider, TOOL_TOKENS, Tool, WIRE, Wire, check_billed_tier, error,
    told, unpriced_tier,
};
use crate::core::usage::Usage;
use crate::gateway::bound::Surcharge;
use crate::gateway::call::{self, Call, MalformedError, Place as Member, shown};
use crate::gateway::meter::{Bill, Line, Reader, UnreadableError};
use crate::gateway::scan::{self, CacheWrites, Kinds};
use crate::gateway::splice::Splice;

const KINDS: Kinds = Kinds {
    images: &["image_url"],
    image_tokens: IMAGE_TOKENS,
    fleeting: &["reasoning*", "thinking"],
    fleeting_members: &["reasoning", "reasoning_content", "reasoning_details"],
    opaque: &["file"],
    unpriced: &["input_audio", "video_url", "input_video"],
    ..Kinds::TEXT
};

/// Tools that run where the agent runs; a tool need not say that it is a function.
const CLIENT_TOOLS: [&str; 2] = ["function", "custom"];

/// Chat Completions.
pub(super) struct Chat {
    place: Place,
}

pub(super) static OPENAI: Chat = Chat { place: Place::Home };
pub(super) static COMPATIBLE: Chat = Chat { place: Place::Elsewhere };

impl Provider for Chat {
    fn wire(&self) -> &'static Wire {
        &WIRE
    }

    fn read_call<'a>(&self, _path: &'a str, body: &'a [u8]) -> Result<Call<'a>, MalformedError> {
        let request: Request<'a> = serde_json::from_str(call::text(body)?)?;
        let own = request.tools.iter().flatten().filter(|tool| !tool.is_function()).count() as u64;
        let mut call = Call {
            unbounded: request.unbounded(),
            max_output: request.max_completion_tokens.max(request.max_tokens),
            answers: request.n.unwrap_or(1),
            // Writing to the cache needs no asking for.
            cache: CacheWrites::Short,
            added_tokens: TOOL_TOKENS.saturating_mul(own),
            ..Call::of(request.model.clone(), KINDS)
        };
        for message in scan::elements(request.messages.get().as_bytes()) {
            let message: Message<'_> = serde_json::from_slice(message)?;
            call.refuse(message.audio.map(|_| "messages: audio".to_owned()));
        }
        call.take_fields(body, |name| match name {
            b"messages" => Member::Prompt,
            b"tools" | b"functions" => Member::Tools,
            b"max_tokens"
            | b"max_completion_tokens"
            | b"n"
            | b"stream"
            | b"stream_options"
            | b"metadata"
            | b"store"
            | b"user"
            | b"seed" => Member::Aside,
            _ => Member::Setting,
        })?;
        let long = |(name, value): &(&[u8], &[u8])| *name == b"prompt_cache_retention" && *value != b"null";
        if call.settings.iter().any(long) {
            call.cache = CacheWrites::Long;
        }
        self.place.pin_tier(&mut call, body, request.service_tier.as_deref());
        if request.stream == Some(true) {
            ask_for_usage(&mut call, body, request.stream_options)?;
        }
        Ok(call)
    }

    /// In the field that the call has, else in the one that is known where it goes.
    fn lowered(&self, body: &[u8], tokens: u64) -> Option<Vec<Splice>> {
        let members = scan::members(body);
        let given =
            |name: &str| members.iter().any(|(found, value)| *found == name.as_bytes() && *value != b"null");
        let number = |name: &[u8]| {
            let (_, value) = members.iter().find(|(found, value)| *found == name && *value != b"null")?;
            serde_json::from_slice::<u64>(value).ok()
        };
        let each = (tokens / number(b"n").unwrap_or(1).max(1)).to_string();
        let mut fields = ["max_tokens", "max_completion_tokens"].to_vec();
        fields.retain(|name| given(name));
        if fields.is_empty() {
            fields.push(match self.place {
                Place::Home => "max_completion_tokens",
                Place::Elsewhere => "max_tokens",
            });
        }
        fields.into_iter().map(|name| Splice::set(body, body, name, &each)).collect()
    }

    fn reader(&self, call: &Call<'_>) -> Box<dyn Reader> {
        let shortens = call.settings.iter().any(|(name, value)| *name == b"transforms" && *value != b"[]");
        Box::new(ChatReader { asked: call.cache, shortens, seen: None })
    }

    fn error(&self, status: StatusCode, message: &str) -> Vec<u8> {
        error(status, message)
    }

    /// Clients take a chunk that is an error for the end, and show its message.
    fn stream_error(&self, message: &str) -> Vec<u8> {
        let data = error(StatusCode::PAYMENT_REQUIRED, message);
        [b"data: ", data.as_slice(), b"\n\n"].concat()
    }
}

/// Has the stream say its usage, if the client has not asked for that itself.
fn ask_for_usage<'a>(
    call: &mut Call<'a>,
    body: &'a [u8],
    options: Option<&'a RawValue>,
) -> Result<(), MalformedError> {
    let Some(options) = options else {
        call.set(body, "stream_options", r#"{"include_usage":true}"#);
        call.unasked = Some(is_usage_alone);
        return Ok(());
    };
    let asked: StreamOptions = serde_json::from_str(options.get())?;
    if asked.include_usage != Some(true) {
        let options = options.get().as_bytes();
        if scan::members(options).iter().any(|(name, _)| name.contains(&b'\\')) {
            return Err(MalformedError::whole("a field's name has escapes"));
        }
        call.splices.extend(Splice::set(body, options, "include_usage", "true"));
        call.unasked = Some(is_usage_alone);
    }
    Ok(())
}

/// Whether a chunk is the one that comes only because the usage was asked for.
fn is_usage_alone(data: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Chunk {
        choices: Vec<IgnoredAny>,
        usage: Option<IgnoredAny>,
    }
    serde_json::from_slice(data).is_ok_and(|chunk: Chunk| chunk.choices.is_empty() && chunk.usage.is_some())
}

/// What is read of a request; the rest is passed on unread.
#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    model: Cow<'a, str>,
    #[serde(borrow)]
    messages: &'a RawValue,
    max_tokens: Option<u64>,
    max_completion_tokens: Option<u64>,
    n: Option<u64>,
    stream: Option<bool>,
    #[serde(borrow)]
    stream_options: Option<&'a RawValue>,
    #[serde(borrow)]
    tools: Option<Vec<Tool<'a>>>,
    #[serde(borrow)]
    modalities: Option<Vec<Cow<'a, str>>>,
    #[serde(borrow, rename = "service_tier")]
    service_tier: Option<Cow<'a, str>>,
    #[serde(borrow)]
    audio: Option<&'a RawValue>,
    #[serde(borrow)]
    prediction: Option<&'a RawValue>,
    #[serde(borrow)]
    web_search_options: Option<&'a RawValue>,
    #[serde(borrow)]
    search_parameters: Option<&'a RawValue>,
    enable_search: Option<bool>,
    background: Option<bool>,
    deferred: Option<bool>,
    #[serde(borrow)]
    preset: Option<&'a RawValue>,
    #[serde(borrow)]
    plugins: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    models: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

/// A message, of which only an earlier answer in sound is read, which it names and does not hold.
#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    audio: Option<&'a RawValue>,
}

impl Tool<'_> {
    fn is_function(&self) -> bool {
        self.kind.as_deref().is_none_or(|kind| CLIENT_TOOLS.contains(&kind))
    }
}

impl Request<'_> {
    /// The first thing asked for that has no upper bound or no price.
    fn unbounded(&self) -> Option<String> {
        let given = |name: &str, is: bool| is.then(|| name.to_owned());
        let some = |name: &str, value: Option<&RawValue>| given(name, value.is_some());
        let listed = |name: &str, list: &Option<Vec<&RawValue>>| {
            given(name, list.as_ref().is_some_and(|list| !list.is_empty()))
        };
        let tool = || {
            let tool = self.tools.iter().flatten().find(|tool| !tool.is_function())?;
            Some(format!("tools: {}", shown(tool.kind.as_deref().unwrap_or_default())))
        };
        let modality = || self.modalities.iter().flatten().find(|modality| *modality != "text");
        some("audio", self.audio)
            .or_else(|| modality().map(|modality| format!("modalities: {}", shown(modality))))
            .or_else(|| some("prediction", self.prediction))
            .or_else(|| some("web_search_options", self.web_search_options))
            .or_else(|| some("search_parameters", self.search_parameters))
            .or_else(|| given("enable_search", self.enable_search == Some(true)))
            .or_else(|| given("background", self.background == Some(true)))
            .or_else(|| given("deferred", self.deferred == Some(true)))
            .or_else(|| some("preset", self.preset))
            .or_else(|| listed("plugins", &self.plugins))
            .or_else(|| listed("models", &self.models))
            // An aggregator's way to ask for a search.
            .or_else(|| given("model: …:online", self.model.ends_with(":online")))
            .or_else(tool)
            .or_else(|| unpriced_tier(self.service_tier.as_deref()))
    }
}

/// A chunk, or a whole answer.
#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    usage: Option<Counts<'a>>,
    service_tier: Option<String>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct Counts<'a> {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: Option<u64>,
    prompt_tokens_details: Option<InputDetails>,
    completion_tokens_details: Option<OutputDetails>,
    #[serde(borrow)]
    cost: Option<&'a RawValue>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
struct OutputDetails {
    audio_tokens: Option<u64>,
}

struct ChatReader {
    asked: CacheWrites,
    /// The provider may leave out of the prompt what it likes.
    shortens: bool,
    seen: Option<Bill>,
}

impl ChatReader {
    fn see(&mut self, answer: &Answer<'_>) -> Result<(), UnreadableError> {
        check_billed_tier(answer.service_tier.as_deref())?;
        let Some(counts) = answer.usage else { return Ok(()) };
        let details = counts.prompt_tokens_details.unwrap_or_default();
        let spoken = counts.completion_tokens_details.and_then(|details| details.audio_tokens);
        if details.audio_tokens.max(spoken).is_some_and(|tokens| tokens > 0) {
            return Err(UnreadableError::Unpriced("audio".to_owned()));
        }
        let cached = details.cached_tokens.unwrap_or(0);
        let written = details.cache_write_tokens.unwrap_or(0);
        let (short, long) = if self.asked == CacheWrites::Long { (0, written) } else { (written, 0) };
        let hidden = counts.total_tokens.unwrap_or(0).saturating_sub(counts.prompt_tokens);
        let usage = Usage {
            input_tokens: counts.prompt_tokens.saturating_sub(cached).saturating_sub(written),
            cache_write_5m_tokens: short,
            cache_write_1h_tokens: long,
            cache_read_tokens: cached,
            output_tokens: counts.completion_tokens.max(hidden),
        };
        self.seen = Some(Bill {
            lines: vec![Line { model: None, usage }],
            surcharge: Surcharge::NONE,
            told: told(counts.cost),
            prompt_tokens: (!self.shortens).then_some(counts.prompt_tokens),
        });
        Ok(())
    }
}

impl Reader for ChatReader {
    fn event(&mut self, data: &[u8]) -> Result<bool, UnreadableError> {
        if data == b"[DONE]" {
            return Ok(true);
        }
        // The many chunks between have nothing to count and are not read whole.
        if memchr::memmem::find(data, b"\"usage\"").is_some() {
            let chunk: Answer<'_> = serde_json::from_slice(data).map_err(|_| UnreadableError::Malformed)?;
            self.see(&chunk)?;
        }
        Ok(false)
    }

    fn answer(&mut self, json: &[u8]) -> Result<(), UnreadableError> {
        let answer: Answer<'_> = serde_json::from_slice(json).map_err(|_| UnreadableError::Malformed)?;
        self.see(&answer)
    }

    fn bill(&self) -> Option<Bill> {
        self.seen.clone()
    }
}
