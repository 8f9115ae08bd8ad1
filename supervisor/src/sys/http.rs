//! The server side of HTTP that every loopback flow shares: the bearer, a body read with a cap and a deadline, and
//! plain responses.
//!
//! Invariant: no body is read without a cap, and none is waited for without an end.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full};
use serde::Serialize;

/// The body of every response: whole or streamed.
pub type Body = UnsyncBoxBody<Bytes, BodyError>;

/// Why a streamed body ended early; the connection is cut so that the client cannot take it for complete.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// The longest silence within a request body.
const BODY_SILENCE: Duration = Duration::from_secs(60);
/// The longest that a whole one may take: a client that sends a byte a minute is none.
const BODY_WITHIN: Duration = Duration::from_secs(300);

/// Memory taken for a body before any of it has arrived; an announced length alone earns no more.
const FIRST_ALLOCATION: usize = 64 * 1024;

/// Why a request body was not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadBodyError {
    /// More than the cap; answer 413.
    #[error("the request body is larger than {cap} bytes")]
    TooLarge {
        /// The cap in bytes.
        cap: usize,
    },
    /// The client stopped sending; answer 408.
    #[error("the request body did not arrive within {} seconds of silence", BODY_SILENCE.as_secs())]
    Silence,
    /// The client sends too slowly; answer 408.
    #[error("the request body did not arrive within {} seconds", BODY_WITHIN.as_secs())]
    Slow,
    /// The client went away.
    #[error("the request body broke off: {0}")]
    Broken(#[source] BodyError),
}

impl ReadBodyError {
    /// The status that says so.
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Silence | Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::Broken(_) => StatusCode::BAD_REQUEST,
        }
    }
}

/// The credential of a request, from the first of the headers that clients use for it: `Authorization: Bearer`,
/// `x-api-key`, `x-goog-api-key`.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let authorization = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|text| {
        let (scheme, token) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    let named = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).map(str::trim);
    authorization
        .or_else(|| named("x-api-key"))
        .or_else(|| named("x-goog-api-key"))
        .filter(|token| !token.is_empty())
}

/// Reads a whole body of at most `cap` bytes. A body that announces more is refused without being read.
pub async fn read_body<B>(body: B, cap: usize) -> Result<Bytes, ReadBodyError>
where
    B: hyper::body::Body<Data = Bytes> + Unpin,
    B::Error: Into<BodyError>,
{
    read_body_within(body, cap, BODY_WITHIN).await
}

async fn read_body_within<B>(body: B, cap: usize, within: Duration) -> Result<Bytes, ReadBodyError>
where
    B: hyper::body::Body<Data = Bytes> + Unpin,
    B::Error: Into<BodyError>,
{
    tokio::time::timeout(within, read_frames(body, cap)).await.unwrap_or(Err(ReadBodyError::Slow))
}

async fn read_frames<B>(body: B, cap: usize) -> Result<Bytes, ReadBodyError>
where
    B: hyper::body::Body<Data = Bytes> + Unpin,
    B::Error: Into<BodyError>,
{
    let too_large = ReadBodyError::TooLarge { cap };
    let mut body = body;
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > cap {
        return Err(too_large);
    }
    let mut whole = BytesMut::with_capacity(announced.min(FIRST_ALLOCATION));
    loop {
        let frame =
            tokio::time::timeout(BODY_SILENCE, body.frame()).await.map_err(|_| ReadBodyError::Silence)?;
        match frame {
            None => return Ok(whole.freeze()),
            Some(Err(error)) => return Err(ReadBodyError::Broken(error.into())),
            Some(Ok(frame)) => {
                let Some(data) = frame.data_ref() else { continue };
                if data.len() > cap - whole.len() {
                    return Err(too_large);
                }
                whole.extend_from_slice(data);
            }
        }
    }
}

/// A body of these bytes.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A response without a body.
pub fn empty(status: StatusCode) -> Response<Body> {
    respond(status, None, Empty::new().map_err(|never| match never {}).boxed_unsync())
}

/// A response of UTF-8 text.
pub fn text(status: StatusCode, text: impl Into<String>) -> Response<Body> {
    respond(status, Some("text/plain; charset=utf-8"), full(text.into()))
}

/// A whole stream of events.
pub fn events(events: impl Into<Bytes>) -> Response<Body> {
    respond(StatusCode::OK, Some("text/event-stream"), full(events.into()))
}

/// A response of JSON.
pub fn json<T: Serialize + ?Sized>(status: StatusCode, value: &T) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(bytes) => json_bytes(status, bytes),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("the answer is not JSON: {error}")),
    }
}

/// A response of bytes that are JSON already.
pub fn json_bytes(status: StatusCode, bytes: impl Into<Bytes>) -> Response<Body> {
    respond(status, Some("application/json"), full(bytes))
}

fn respond(status: StatusCode, content_type: Option<&'static str>, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    if let Some(content_type) = content_type {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    response
}

#[cfg(test)]
mod tests {
    use http_body_util::StreamBody;
    use hyper::body::Frame;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn the_bearer_is_found_where_clients_put_it() {
        for (pairs, expected) in [
            (&[("authorization", "Bearer one")][..], Some("one")),
            (&[("authorization", "bearer  one ")], Some("one")),
            (&[("x-api-key", "two")], Some("two")),
            (&[("x-goog-api-key", "three")], Some("three")),
            (&[("authorization", "Basic abc"), ("x-api-key", "two")], Some("two")),
            (&[("authorization", "Bearer ")], None),
            (&[("x-api-key", "")], None),
            (&[], None),
        ] {
            assert_eq!(bearer(&headers(pairs)), expected, "{pairs:?}");
        }
    }

    fn chunks(chunks: &[&'static str]) -> impl hyper::body::Body<Data = Bytes, Error = BodyError> + Unpin {
        let frames: Vec<_> = chunks
            .iter()
            .map(|chunk| Ok::<_, BodyError>(Frame::data(Bytes::from_static(chunk.as_bytes()))))
            .collect();
        StreamBody::new(futures_util::stream::iter(frames))
    }

    #[tokio::test]
    async fn a_body_ends_at_its_cap() {
        assert_eq!(read_body(chunks(&["abc", "de"]), 5).await.unwrap(), "abcde");
        let error = read_body(chunks(&["abc", "def"]), 5).await.unwrap_err();
        assert_eq!(error.status(), StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(error.to_string(), "the request body is larger than 5 bytes");
        // announced by its length, so not read at all
        let error = read_body(Full::new(Bytes::from_static(b"abcdef")), 5).await.unwrap_err();
        assert!(matches!(error, ReadBodyError::TooLarge { cap: 5 }));
    }

    #[tokio::test]
    async fn a_body_that_trickles_comes_to_an_end() {
        let trickle = futures_util::stream::unfold((), |()| async {
            tokio::task::yield_now().await;
            Some((Ok::<_, BodyError>(Frame::data(Bytes::new())), ()))
        });
        let body = StreamBody::new(Box::pin(trickle));
        let error = read_body_within(body, 5, Duration::from_millis(50)).await.unwrap_err();
        assert!(matches!(error, ReadBodyError::Slow), "{error}");
        assert_eq!(error.status(), StatusCode::REQUEST_TIMEOUT);
    }

    #[tokio::test]
    async fn a_broken_body_is_an_error() {
        let frames = [Ok(Frame::data(Bytes::from_static(b"a"))), Err::<_, BodyError>("gone".into())];
        let error = read_body(StreamBody::new(futures_util::stream::iter(frames)), 5).await.unwrap_err();
        assert_eq!(error.to_string(), "the request body broke off: gone");
    }
}
