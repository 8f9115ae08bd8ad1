//! Google's Gemini API: `generateContent`, streamed or not.
//!
//! The model is in the path. Field names may be written in either of two ways, as this API allows. A stream has no
//! event that ends it: it is whole where it ends after the model said that it is done. Usage comes with every piece, so
//! far; of each field the value seen last counts. The prompt includes what was read from a cache; thinking and what
//! tools at the provider put into the prompt come on top. Sound, files at the provider, stored caches and tools that run
//! there have no bound or no price here, and are refused.

use std::borrow::Cow;
use std::collections::BTreeSet;

use bytes::Bytes;
use http::{HeaderName, Method, StatusCode};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::{OutputField, Provider, Route, Wire};
use crate::core::usage::Usage;
use crate::gateway::bound::Surcharge;
use crate::gateway::call::{self, Call, Counting, MalformedError, Place, shown};
use crate::gateway::meter::{Bill, Line, Reader, UnreadableError};
use crate::gateway::scan::{self, Kinds};
use crate::gateway::splice::{self, Splice};

/// What stands before a model's name: Gemini CLI speaks the first, Google's SDK since its third version the other.
const MODELS: [&str; 2] = ["/v1beta/models/", "/v1/models/"];

static WIRE: Wire = Wire {
    name: "gemini",
    routes: &[
        (Method::POST, "/v1beta/models/*:generateContent", Route::Call),
        (Method::POST, "/v1beta/models/*:streamGenerateContent", Route::Call),
        (Method::POST, "/v1beta/models/*:countTokens", Route::Free),
        (Method::GET, "/v1beta/models", Route::List),
        (Method::GET, "/v1beta/models/*", Route::List),
        (Method::POST, "/v1/models/*:generateContent", Route::Call),
        (Method::POST, "/v1/models/*:streamGenerateContent", Route::Call),
        (Method::POST, "/v1/models/*:countTokens", Route::Free),
        (Method::GET, "/v1/models", Route::List),
        (Method::GET, "/v1/models/*", Route::List),
    ],
    in_base_url: "",
    key: Some((HeaderName::from_static("x-goog-api-key"), "")),
    surcharge: Surcharge::NONE,
    // Much of a short answer would be thinking.
    output_field: Some(OutputField { name: "maxOutputTokens", least: 4096 }),
};

const KINDS: Kinds = Kinds {
    tags: &["mimeType", "mime_type"],
    images: &["image/*"],
    // 258 for each of at most 28 tiles, or 2240 at the highest resolution that can be asked for.
    image_tokens: 16_384,
    fleeting_members: &["thoughtSignature", "thought_signature"],
    opaque: &["*"],
    unpriced: &["audio/*", "video/*"],
    unpriced_members: &["fileUri", "file_uri"],
    ..Kinds::TEXT
};

/// Query parameters that change nothing about what is called and how it can be read.
const QUERY: [&str; 6] = ["alt=sse", "alt=json", "pageSize=", "pageToken=", "prettyPrint=", "filter="];

pub(super) struct Gemini;

impl Provider for Gemini {
    fn wire(&self) -> &'static Wire {
        &WIRE
    }

    fn admits_query(&self, query: &str) -> bool {
        let is_plain = |pair: &str| {
            let known = |one: &str| if one.ends_with('=') { pair.starts_with(one) } else { pair == one };
            pair.is_empty() || QUERY.iter().any(|one| known(one))
        };
        query.split('&').all(is_plain)
    }

    fn read_call<'a>(&self, path: &'a str, body: &'a [u8]) -> Result<Call<'a>, MalformedError> {
        let (model, method) = named(path).ok_or_else(|| MalformedError::whole("its path names no model"))?;
        let text = call::text(body)?;
        let mut call = Call::of(Cow::Borrowed(model), KINDS);
        if method == "countTokens" {
            return Ok(call);
        }
        let request: Request<'a> = serde_json::from_str(text)?;
        if request.model.as_ref().is_some_and(|other| other.strip_prefix("models/").unwrap_or(other) != model)
        {
            return Err(MalformedError::whole("its path names another model"));
        }
        let config = request.generation_config.as_ref();
        call.max_output = config.and_then(|config| config.max_output_tokens);
        call.answers = config.and_then(|config| config.candidate_count).unwrap_or(1);
        call.refuse(request.unbounded());
        for tool in request.tools.iter().flat_map(|tools| scan::elements(tools.get().as_bytes())) {
            call.refuse(tool_at_provider(tool)?);
        }
        call.take_fields(body, |name| match name {
            b"contents" | b"systemInstruction" | b"system_instruction" => Place::Prompt,
            b"tools" => Place::Tools,
            b"model" | b"labels" | b"safetySettings" | b"safety_settings" => Place::Aside,
            _ => Place::Setting,
        })?;
        Ok(call)
    }

    /// In the member of the body that the call has, by the names that it has them.
    fn lowered(&self, body: &[u8], tokens: u64) -> Option<Vec<Splice>> {
        let request: Request<'_> = serde_json::from_slice(body).ok()?;
        let answers = request.generation_config.and_then(|config| config.candidate_count).unwrap_or(1).max(1);
        let each = (tokens / answers).to_string();
        let splice = match member(body, ["generationConfig", "generation_config"]) {
            Some((_, config)) if config != b"null" => {
                let limit = member(config, ["maxOutputTokens", "max_output_tokens"]);
                Splice::set(body, config, limit.map_or("maxOutputTokens", |(name, _)| name), &each)
            }
            other => {
                let name = other.map_or("generationConfig", |(name, _)| name);
                Splice::set(body, body, name, &format!("{{\"maxOutputTokens\":{each}}}"))
            }
        };
        Some(vec![splice?])
    }

    /// The count takes a whole call, and the call's model in it.
    fn counting(&self, path: &str, body: &[u8]) -> Option<Counting> {
        let (model, method) = named(path)?;
        let call = if scan::members(body).iter().any(|(name, _)| *name == b"model") {
            body.to_vec()
        } else {
            let named = Splice::set(body, body, "model", &format!("\"models/{model}\""))?;
            splice::apply(Bytes::copy_from_slice(body), &[named]).to_vec()
        };
        let body = [b"{\"generateContentRequest\":", call.as_slice(), b"}"].concat();
        Some(Counting {
            path: format!("{}countTokens", path.strip_suffix(method)?),
            body,
            member: "totalTokens",
        })
    }

    fn reader(&self, call: &Call<'_>) -> Box<dyn Reader> {
        Box::new(ContentReader { answers: call.answers, ..ContentReader::default() })
    }

    fn stop_status(&self) -> StatusCode {
        StatusCode::FORBIDDEN
    }

    fn error(&self, status: StatusCode, message: &str) -> Vec<u8> {
        let name = match status {
            StatusCode::UNAUTHORIZED => "UNAUTHENTICATED",
            StatusCode::FORBIDDEN | StatusCode::PAYMENT_REQUIRED => "PERMISSION_DENIED",
            StatusCode::NOT_FOUND => "NOT_FOUND",
            StatusCode::TOO_MANY_REQUESTS => "RESOURCE_EXHAUSTED",
            status if status.is_server_error() => "INTERNAL",
            _ => "INVALID_ARGUMENT",
        };
        let error = serde_json::json!({
            "error": {"code": status.as_u16(), "message": message, "status": name}
        });
        error.to_string().into_bytes()
    }

    /// Bare, as the provider itself breaks a stream off: within an event Google's client takes it for an answer without
    /// an end, and asks three times more.
    fn stream_error(&self, message: &str) -> Vec<u8> {
        self.error(StatusCode::FORBIDDEN, message)
    }
}

/// The model in a path and what is asked of it.
fn named(path: &str) -> Option<(&str, &str)> {
    MODELS.iter().find_map(|before| path.strip_prefix(before))?.rsplit_once(':')
}

/// A member of an object that may have either name, with the one that it has.
fn member<'a>(object: &'a [u8], names: [&'static str; 2]) -> Option<(&'static str, &'a [u8])> {
    let named = |(found, value)| Some((names.into_iter().find(|name| name.as_bytes() == found)?, value));
    scan::members(object).into_iter().find_map(named)
}

/// The first tool of a set that does not run where the agent runs.
fn tool_at_provider(tools: &[u8]) -> Result<Option<String>, MalformedError> {
    let mut found = None;
    for (name, value) in scan::members(tools) {
        if name.contains(&b'\\') {
            return Err(MalformedError::whole("a field's name has escapes"));
        }
        let client = [&b"functionDeclarations"[..], b"function_declarations"].contains(&name);
        if !client && value != b"null" && found.is_none() {
            found = Some(format!("tools: {}", shown(&String::from_utf8_lossy(name))));
        }
    }
    Ok(found)
}

/// What is read of a request; the rest is passed on unread.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    #[serde(borrow)]
    model: Option<Cow<'a, str>>,
    #[serde(borrow)]
    tools: Option<&'a RawValue>,
    #[serde(borrow, alias = "generation_config")]
    generation_config: Option<GenerationConfig<'a>>,
    #[serde(borrow, alias = "cached_content")]
    cached_content: Option<Cow<'a, str>>,
    #[serde(borrow, alias = "service_tier")]
    service_tier: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GenerationConfig<'a> {
    #[serde(alias = "max_output_tokens")]
    max_output_tokens: Option<u64>,
    #[serde(alias = "candidate_count")]
    candidate_count: Option<u64>,
    #[serde(borrow, alias = "response_modalities")]
    response_modalities: Option<Vec<Cow<'a, str>>>,
    #[serde(borrow, alias = "speech_config")]
    speech_config: Option<&'a RawValue>,
    #[serde(borrow, alias = "image_config")]
    image_config: Option<&'a RawValue>,
    #[serde(borrow, alias = "service_tier")]
    service_tier: Option<Cow<'a, str>>,
}

/// Whether a tier is the ordinary one.
fn is_ordinary(tier: &str) -> bool {
    ["standard", "unspecified", "default", "service_tier_unspecified"]
        .iter()
        .any(|known| known.eq_ignore_ascii_case(tier))
}

impl Request<'_> {
    /// The first thing asked for that has no upper bound or no price.
    fn unbounded(&self) -> Option<String> {
        let config = self.generation_config.as_ref();
        let cached = self.cached_content.as_deref().filter(|name| !name.is_empty());
        let modalities = config.and_then(|config| config.response_modalities.as_ref()).into_iter().flatten();
        let mut modalities = modalities.filter(|modality| !modality.eq_ignore_ascii_case("text"));
        let tiers = [self.service_tier.as_deref(), config.and_then(|config| config.service_tier.as_deref())];
        let tier = tiers.into_iter().flatten().find(|tier| !is_ordinary(tier));
        cached
            .map(|_| "cachedContent".to_owned())
            .or_else(|| modalities.next().map(|modality| format!("responseModalities: {}", shown(modality))))
            .or_else(|| config?.speech_config.map(|_| "speechConfig".to_owned()))
            .or_else(|| config?.image_config.map(|_| "imageConfig".to_owned()))
            .or_else(|| tier.map(|tier| format!("serviceTier: {}", shown(tier))))
    }
}

/// One piece of an answer, or all of it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    candidates: Option<Vec<Candidate>>,
    prompt_feedback: Option<Feedback>,
    usage_metadata: Option<Counts>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Candidate {
    index: Option<u64>,
    finish_reason: Option<IgnoredAny>,
    grounding_metadata: Option<Grounding>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Grounding {
    web_search_queries: Option<Vec<IgnoredAny>>,
}

/// Why there is no answer.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Feedback {
    block_reason: Option<IgnoredAny>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Counts {
    prompt_token_count: Option<u64>,
    cached_content_token_count: Option<u64>,
    candidates_token_count: Option<u64>,
    thoughts_token_count: Option<u64>,
    tool_use_prompt_token_count: Option<u64>,
    total_token_count: Option<u64>,
    prompt_tokens_details: Option<Vec<Share>>,
    candidates_tokens_details: Option<Vec<Share>>,
    service_tier: Option<String>,
}

/// The tokens of one kind of content.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Share {
    modality: Option<String>,
    token_count: Option<u64>,
}

impl Counts {
    fn update(&mut self, newer: &Self) {
        self.prompt_token_count = newer.prompt_token_count.or(self.prompt_token_count);
        self.cached_content_token_count =
            newer.cached_content_token_count.or(self.cached_content_token_count);
        self.candidates_token_count = newer.candidates_token_count.or(self.candidates_token_count);
        self.thoughts_token_count = newer.thoughts_token_count.or(self.thoughts_token_count);
        self.tool_use_prompt_token_count =
            newer.tool_use_prompt_token_count.or(self.tool_use_prompt_token_count);
        self.total_token_count = newer.total_token_count.or(self.total_token_count);
    }

    /// Refuses what is billed at a rate that is not known. `flex` and `batch` are cheaper; the list price is on the
    /// safe side.
    fn check_priced(&self) -> Result<(), UnreadableError> {
        let unpriced = |what: String| Err(UnreadableError::Unpriced(what));
        let tier = self.service_tier.as_deref().filter(|tier| !is_ordinary(tier));
        if let Some(tier) =
            tier.filter(|tier| !["flex", "batch"].iter().any(|it| it.eq_ignore_ascii_case(tier)))
        {
            return unpriced(format!("serviceTier: {}", shown(tier)));
        }
        let other = |details: &Option<Vec<Share>>, priced: &[&str]| {
            let mut shares = details.iter().flatten().filter(|share| share.token_count.unwrap_or(0) > 0);
            let kind = shares
                .find_map(|share| share.modality.clone().filter(|kind| !priced.contains(&kind.as_str())));
            kind.map(|kind| shown(&kind))
        };
        let read = other(&self.prompt_tokens_details, &["TEXT", "IMAGE", "DOCUMENT"]);
        match read.or_else(|| other(&self.candidates_tokens_details, &["TEXT"])) {
            Some(kind) => unpriced(kind),
            None => Ok(()),
        }
    }
}

#[derive(Default)]
struct ContentReader {
    answers: u64,
    done: BTreeSet<u64>,
    blocked: bool,
    counts: Counts,
}

impl ContentReader {
    fn see(&mut self, json: &[u8]) -> Result<(), UnreadableError> {
        let piece: Answer = serde_json::from_slice(json).map_err(|_| UnreadableError::Malformed)?;
        for candidate in piece.candidates.iter().flatten() {
            let searches =
                candidate.grounding_metadata.as_ref().and_then(|it| it.web_search_queries.as_ref());
            if searches.is_some_and(|queries| !queries.is_empty()) {
                return Err(UnreadableError::Unpriced("googleSearch".to_owned()));
            }
            if candidate.finish_reason.is_some() {
                self.done.insert(candidate.index.unwrap_or(0));
            }
        }
        self.blocked |= piece.prompt_feedback.is_some_and(|feedback| feedback.block_reason.is_some());
        if let Some(counts) = piece.usage_metadata {
            counts.check_priced()?;
            self.counts.update(&counts);
        }
        Ok(())
    }
}

impl Reader for ContentReader {
    fn event(&mut self, data: &[u8]) -> Result<bool, UnreadableError> {
        self.see(data).map(|()| false)
    }

    fn may_end(&self) -> bool {
        self.blocked || self.done.len() as u64 >= self.answers.max(1)
    }

    /// A whole answer, or all pieces of a streamed one as a list.
    fn answer(&mut self, json: &[u8]) -> Result<(), UnreadableError> {
        serde_json::from_slice::<IgnoredAny>(json).map_err(|_| UnreadableError::Malformed)?;
        scan::elements(json).into_iter().try_for_each(|piece| self.see(piece))
    }

    fn bill(&self) -> Option<Bill> {
        let counts = &self.counts;
        let prompt = counts.prompt_token_count.filter(|_| self.may_end())?;
        let cached = counts.cached_content_token_count.unwrap_or(0);
        let by_tools = counts.tool_use_prompt_token_count.unwrap_or(0);
        let said = counts.candidates_token_count.unwrap_or(0);
        let output = said.saturating_add(counts.thoughts_token_count.unwrap_or(0));
        let rest = counts.total_token_count.unwrap_or(0).saturating_sub(prompt).saturating_sub(by_tools);
        let usage = Usage {
            input_tokens: prompt.saturating_sub(cached).saturating_add(by_tools),
            cache_read_tokens: cached,
            output_tokens: output.max(rest),
            ..Usage::default()
        };
        Some(Bill {
            lines: vec![Line { model: None, usage }],
            surcharge: Surcharge::NONE,
            told: None,
            prompt_tokens: Some(prompt),
        })
    }
}

#[cfg(test)]
mod tests;
