//! Providers: one file per wire, and the list of them. All that is particular to a provider is in its file: routes,
//! what its requests ask for, how it says what it bills, and how it says no.
//!
//! Invariant: nothing outside a provider's file asks which provider it is.

mod anthropic;
mod demo;
mod openai;

use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::bound::Surcharge;
use super::call::{Call, MalformedError};
use super::meter::Reader;

/// Every provider.
pub(super) const PROVIDERS: &[&dyn Provider] = &[&anthropic::Anthropic, &demo::Demo, &openai::OpenAi];

/// The provider that a name in the configuration stands for.
pub(super) fn by_name(name: &str) -> Option<&'static dyn Provider> {
    PROVIDERS.iter().copied().find(|provider| provider.name() == name)
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

/// One wire.
pub(super) trait Provider: Sync {
    /// The name in the configuration and in the path.
    fn name(&self) -> &'static str;

    /// What a request is. The path is what comes after the provider's name, without the query.
    fn route(&self, method: &Method, path: &str, headers: &HeaderMap) -> Route;

    /// The path below the configured base URL.
    fn upstream_path<'a>(&self, path: &'a str) -> &'a str;

    /// Puts the key where this provider wants it.
    fn set_key(&self, headers: &mut HeaderMap, key: &str) -> Result<(), http::header::InvalidHeaderValue>;

    /// Reads a call.
    fn read_call<'a>(&self, body: &'a [u8]) -> Result<Call<'a>, MalformedError>;

    /// What may come on top of the list price of this call.
    fn surcharge(&self) -> Surcharge;

    /// A reader of the answer.
    fn reader(&self, call: &Call<'_>) -> Box<dyn Reader>;

    /// An error in the wire's own shape.
    fn error(&self, status: StatusCode, message: &str) -> Vec<u8>;

    /// An event that ends a stream with an error, after which the client stops at once.
    fn stream_error(&self, message: &str) -> Vec<u8>;
}

/// Why a body is not read further: no client spells its fields so, and one that does may hide something.
const ESCAPED_NAME: &str = "a field whose name has escapes";

/// Whether a path is one entry below a list, and not further down.
fn is_entry_of(list: &str, path: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    let entry = path.strip_prefix(list).unwrap_or_default();
    !entry.is_empty() && entry.bytes().all(plain) && !entry.starts_with('.')
}

/// A header value that is not shown.
fn secret(value: &str) -> Result<HeaderValue, http::header::InvalidHeaderValue> {
    let mut value = HeaderValue::from_str(value)?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests;
