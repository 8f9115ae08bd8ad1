//! Which headers cross the gateway. Everything passes but what belongs to one connection, what is a credential, and
//! what would stop the meter from reading or mislead the client.

use http::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderName,
    HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};

/// Headers that concern one connection and not the message.
const HOP_BY_HOP: [HeaderName; 7] =
    [CONNECTION, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE];

/// What a client puts its credential into, and what is written anew.
const REPLACED: [HeaderName; 5] = [HOST, CONTENT_LENGTH, AUTHORIZATION, ACCEPT_ENCODING, EXPECT];
const CREDENTIALS: [&str; 2] = ["x-api-key", "x-goog-api-key"];

/// With these, a provider might take a request for another than its method says.
const OVERRIDES: [&str; 3] = ["x-http-method-override", "x-http-method", "x-method-override"];

/// The provider's own limits are those of the organisation's key, not of this run.
const LIMITS: [&str; 3] = ["anthropic-ratelimit-", "x-ratelimit-", "x-codex-"];

/// Tells the client that its answer is limited to so many tokens, because no more fitted into the budget.
pub(super) const OUTPUT_GRANTED: HeaderName = HeaderName::from_static("agentsup-output-tokens");

/// What providers call an answer by, where they say it ahead of it.
const NAMES: [&str; 3] = ["request-id", "x-request-id", "x-generation-id"];

/// The names that a provider has for a call.
pub(super) fn names(from: &HeaderMap) -> impl Iterator<Item = &str> {
    NAMES.iter().filter_map(|name| from.get(*name)?.to_str().ok())
}

/// A request's headers as the provider gets them, still without its key.
pub(super) fn to_provider(from: &HeaderMap, token: &str) -> HeaderMap {
    let named = named_by_connection(from);
    let holds_token = |value: &HeaderValue| {
        !token.is_empty() && memchr::memmem::find(value.as_bytes(), token.as_bytes()).is_some()
    };
    let mut to: HeaderMap = from
        .iter()
        .filter(|(name, value)| {
            !concerns_connection(name, &named)
                && !REPLACED.contains(name)
                && !CREDENTIALS.contains(&name.as_str())
                && !OVERRIDES.contains(&name.as_str())
                && !holds_token(value)
        })
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    // A compressed answer could not be metered.
    to.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    to
}

/// A response's headers as the client gets them.
pub(super) fn to_client(from: &HeaderMap) -> HeaderMap {
    let named = named_by_connection(from);
    from.iter()
        .filter(|(name, _)| {
            !concerns_connection(name, &named) && !LIMITS.iter().any(|limit| name.as_str().starts_with(limit))
        })
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn concerns_connection(name: &HeaderName, named: &[String]) -> bool {
    HOP_BY_HOP.contains(name)
        || matches!(name.as_str(), "keep-alive" | "proxy-connection")
        || named.iter().any(|other| name.as_str() == other)
}

/// Headers that `Connection` declares to concern the connection.
fn named_by_connection(headers: &HeaderMap) -> Vec<String> {
    let lists = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).map(|name| name.trim().to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        pairs.collect()
    }

    #[test]
    fn credentials_and_the_connection_stay_here() {
        let from = headers(&[
            ("host", "127.0.0.1:1"),
            ("authorization", "Bearer ast_1"),
            ("x-api-key", "ast_1"),
            ("x-goog-api-key", "ast_1"),
            ("x-hidden", "--ast_1--"),
            ("x-http-method-override", "POST"),
            ("connection", "keep-alive, X-Mine"),
            ("x-mine", "1"),
            ("keep-alive", "1"),
            ("transfer-encoding", "chunked"),
            ("content-length", "3"),
            ("expect", "100-continue"),
            ("accept-encoding", "gzip, br"),
            ("anthropic-beta", "a,b"),
            ("anthropic-version", "2023-06-01"),
            ("user-agent", "claude-cli/2"),
            ("content-type", "application/json"),
        ]);
        let expected = headers(&[
            ("anthropic-beta", "a,b"),
            ("anthropic-version", "2023-06-01"),
            ("user-agent", "claude-cli/2"),
            ("content-type", "application/json"),
            ("accept-encoding", "identity"),
        ]);
        assert_eq!(to_provider(&from, "ast_1"), expected);
    }

    #[test]
    fn answers_keep_all_but_the_connection_and_the_limits_of_the_key() {
        let from = headers(&[
            ("content-type", "text/event-stream"),
            ("request-id", "req_1"),
            ("retry-after", "2"),
            ("content-length", "10"),
            ("connection", "close"),
            ("transfer-encoding", "chunked"),
            ("anthropic-ratelimit-unified-status", "allowed_warning"),
            ("x-ratelimit-remaining-tokens", "1"),
            ("x-codex-primary-used-percent", "1"),
        ]);
        let expected = headers(&[
            ("content-type", "text/event-stream"),
            ("request-id", "req_1"),
            ("retry-after", "2"),
            ("content-length", "10"),
        ]);
        assert_eq!(to_client(&from), expected);
    }
}
