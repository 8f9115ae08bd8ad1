//! Providers: one file per wire, and the list of them. All that is particular to a provider is in its file: routes,
//! what its requests ask for, how it says what it bills, and how it says no.
//!
//! Invariant: nothing outside a provider's file asks which provider it is.

mod anthropic;
mod demo;
mod gemini;
mod openai;

use http::header::{InvalidHeaderValue, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use zeroize::Zeroizing;

use super::bound::Surcharge;
use super::call::{Call, Counting, MalformedError};
use super::meter::Reader;
use super::scan;
use super::splice::Splice;
use crate::registry::Config;

/// Every provider.
pub(super) const PROVIDERS: &[&dyn Provider] =
    &[&anthropic::Anthropic, &demo::Demo, &gemini::Gemini, &openai::OPENAI];

/// The provider with a file of its own of that name.
pub(super) fn by_name(name: &str) -> Option<&'static dyn Provider> {
    PROVIDERS.iter().copied().find(|provider| provider.name() == name)
}

/// What is spoken at a path below a name of the configuration: the provider's own wire, or the one that the
/// configuration says an endpoint speaks.
pub(super) fn spoken(config: &Config, name: &str, path: &str) -> Option<&'static dyn Provider> {
    let wire = config.providers.get(name).and_then(|provider| provider.wire.as_deref());
    let provider = match wire {
        Some(wire) => by_name(wire).map(|provider| provider.elsewhere().unwrap_or(provider))?,
        None => by_name(name)?,
    };
    Some(provider.dialect(path).unwrap_or(provider))
}

/// What may come on top of the list price of a call to a provider of the configuration.
pub(super) fn surcharge(config: &Config, name: &str) -> Option<Surcharge> {
    Some(spoken(config, name, "")?.surcharge())
}

/// Every wire, dialects among them.
#[cfg(test)]
pub(super) fn wires() -> Vec<&'static dyn Provider> {
    let dialects = [openai::OPENAI.dialect("/v1/chat/completions")];
    PROVIDERS.iter().copied().chain(dialects.into_iter().flatten()).collect()
}

/// What a method and path mean to a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    /// A call that is billed.
    Call,
    /// A call with a body like [`Route::Call`] that the provider answers for nothing.
    Free,
    /// A list without a body, for nothing.
    List,
    /// A client asking whether anybody is there; answered here.
    Probe,
    /// A request for a WebSocket, declined so that the client falls back to HTTP.
    Upgrade,
    /// Nothing that could be metered.
    Unknown,
}

/// What a method and a path mean; `*` in a path stands for one name.
pub(super) type RouteRow = (Method, &'static str, Route);

/// What is data about a wire.
pub(super) struct Wire {
    /// The name in the configuration and in the path.
    name: &'static str,
    /// All that can be asked of it.
    routes: &'static [RouteRow],
    /// What the configured base URL has of every path already.
    in_base_url: &'static str,
    /// The header for the key and what stands before it there; none where there is no key.
    key: Option<(HeaderName, &'static str)>,
    /// What may come on top of the list price of a call.
    surcharge: Surcharge,
    /// The field that limits the answer, which can be lowered near the end of a budget; none if it is not to be touched.
    output_field: Option<OutputField>,
}

/// The field of a request that limits the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OutputField {
    /// Its name at the top of the body.
    pub(super) name: &'static str,
    /// The fewest tokens that are of any use to clients of this wire.
    pub(super) least: u64,
}

/// One wire: its data, and what it takes to read it.
pub(super) trait Provider: Sync {
    /// What is data about it.
    fn wire(&self) -> &'static Wire;

    /// What is spoken at a path, where that is not this.
    fn dialect(&self, _path: &str) -> Option<&'static dyn Provider> {
        None
    }

    /// What is spoken by others who have taken this wire over, where that is not the same.
    fn elsewhere(&self) -> Option<&'static dyn Provider> {
        None
    }

    /// Whether a request with this query is what its path says, and can be read.
    fn admits_query(&self, _query: &str) -> bool {
        true
    }

    /// The status at which clients of this wire stop at once and show the message.
    fn stop_status(&self) -> StatusCode {
        StatusCode::PAYMENT_REQUIRED
    }

    /// A stream that fails with its first event, at which clients of this wire come again after the pause that the message
    /// names; none where the wire has no such event.
    fn failed_stream(&self, _message: &str) -> Option<Vec<u8>> {
        None
    }

    /// Reads a call to a path.
    fn read_call<'a>(&self, path: &'a str, body: &'a [u8]) -> Result<Call<'a>, MalformedError>;

    /// What lowers the limit of a call's answers to so many tokens together; none where that cannot be done.
    fn lowered(&self, body: &[u8], tokens: u64) -> Option<Vec<Splice>> {
        let field = self.wire().output_field?;
        Some(vec![Splice::set(body, body, field.name, &tokens.to_string())?])
    }

    /// What has the provider count a call's prompt for nothing; none where it cannot, or would leave something out.
    fn counting(&self, _path: &str, _body: &[u8]) -> Option<Counting> {
        None
    }

    /// A reader of the answer.
    fn reader(&self, call: &Call<'_>) -> Box<dyn Reader>;

    /// An error in the wire's own shape.
    fn error(&self, status: StatusCode, message: &str) -> Vec<u8>;

    /// An event that ends a stream with an error, after which the client stops at once.
    fn stream_error(&self, message: &str) -> Vec<u8>;
}

impl dyn Provider + '_ {
    /// The name in the configuration and in the path, where that does not say otherwise.
    pub(super) fn name(&self) -> &'static str {
        self.wire().name
    }

    /// What may come on top of the list price of a call.
    pub(super) fn surcharge(&self) -> Surcharge {
        self.wire().surcharge
    }

    pub(super) fn output_field(&self) -> Option<OutputField> {
        self.wire().output_field
    }

    /// What a request is. The path is what comes after the provider's name, without the query.
    pub(super) fn route(&self, method: &Method, path: &str, headers: &HeaderMap) -> Route {
        let rows = self.wire().routes;
        let is = |named: &str| match named.split_once('*') {
            Some((before, after)) => has_a_name_between(before, after, path),
            None => named == path,
        };
        let calls = rows.iter().any(|(_, named, route)| *route == Route::Call && is(named));
        if calls && *method == Method::GET && headers.contains_key(UPGRADE) {
            return Route::Upgrade;
        }
        let found = rows.iter().find(|(by, named, _)| by == method && is(named));
        found.map_or(Route::Unknown, |(_, _, route)| *route)
    }

    /// The path below the configured base URL.
    pub(super) fn upstream_path<'a>(&self, path: &'a str) -> &'a str {
        path.strip_prefix(self.wire().in_base_url).unwrap_or(path)
    }

    /// Puts the key where this provider wants it, as a value that is not shown.
    pub(super) fn set_key(&self, headers: &mut HeaderMap, key: &str) -> Result<(), InvalidHeaderValue> {
        let Some((name, before)) = &self.wire().key else { return Ok(()) };
        let whole = Zeroizing::new([before, key].concat());
        let mut value = HeaderValue::from_str(&whole)?;
        value.set_sensitive(true);
        headers.insert(name, value);
        Ok(())
    }
}

/// The object's members of these names, as an object of their own. None if it has any that are neither these nor
/// known to have no say in how a prompt is counted.
fn only(body: &[u8], counted: &[&str], aside: &[&str]) -> Option<Vec<u8>> {
    let mut kept = Vec::with_capacity(body.len());
    for (name, value) in scan::members(body) {
        let is = |names: &[&str]| names.iter().any(|known| known.as_bytes() == name);
        if is(counted) {
            kept.extend_from_slice(if kept.is_empty() { b"{\"" } else { b",\"" });
            kept.extend_from_slice(name);
            kept.extend_from_slice(b"\":");
            kept.extend_from_slice(value);
        } else if !is(aside) {
            return None;
        }
    }
    kept.push(b'}');
    Some(kept)
}

/// Whether a path has one name between these, and no more levels. Where something follows the name after a colon, the
/// name has none itself.
fn has_a_name_between(before: &str, after: &str, path: &str) -> bool {
    let plain = |byte: u8| {
        byte.is_ascii_alphanumeric() || b"-_.".contains(&byte) || (byte == b':' && after.is_empty())
    };
    let name = path.strip_prefix(before).and_then(|rest| rest.strip_suffix(after)).unwrap_or_default();
    !name.is_empty() && name.bytes().all(plain) && !name.starts_with('.')
}

#[cfg(test)]
mod tests;
