//! The agents' side: MCP over HTTP. One POST a message, the bearer is the run's token.
//!
//! Invariants: no body without a cap, nothing without a token; an answer that takes long or has progress becomes an
//! event stream where the agent can read one, kept alive so that no client gives up waiting. An agent that hangs up
//! drops its call, and the server is told. Host and Origin have been checked by the front door.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::unfold;
use http::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::answers;
use super::call::{self, Call};
use super::in_flight::Key;
use super::upstream::sse;
use super::wire::{self, Edit, INVALID_REQUEST, METHOD_NOT_FOUND, Message, Object, PARSE_ERROR, WireError};
use super::{Inner, Proxy};
use crate::gate::LiveRun;
use crate::sys::http::{self as answer, Body, BodyError, bearer, read_body};
use crate::sys::ids;

/// The largest message an agent may send, in bytes.
pub const MESSAGE_MAX: usize = 8 * 1024 * 1024;
/// How long an answer may take before it becomes a stream, and between two signs of life in one.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);
/// Progress on its way to an agent.
const PROGRESS_QUEUE: usize = 16;
const SESSION: &str = "mcp-session-id";
const VERSION: &str = "mcp-protocol-version";

/// Answers one request; `rest` is its path after `/mcp`.
pub async fn serve<B>(proxy: &Proxy, request: Request<B>, rest: &str) -> Response<Body>
where
    B: hyper::body::Body<Data = Bytes> + Unpin,
    B::Error: Into<BodyError>,
{
    if !matches!(rest.split('?').next(), None | Some("" | "/")) {
        return answer::json_bytes(StatusCode::NOT_FOUND, r#"{"error":"the MCP endpoint is /mcp"}"#);
    }
    let is_known = [Method::POST, Method::DELETE].contains(request.method());
    if !is_known {
        // There is no stream to listen to: what servers say outside answers stays here.
        let mut response = answer::empty(StatusCode::METHOD_NOT_ALLOWED);
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST, DELETE"));
        return response;
    }
    let inner = &proxy.inner;
    let Some(live) = bearer(request.headers()).and_then(|token| inner.gate.authenticate(token)) else {
        return unauthenticated();
    };
    if request.method() == Method::DELETE {
        // Nothing is kept for a session, so there is nothing to end.
        return answer::empty(StatusCode::OK);
    }
    let (head, body) = request.into_parts();
    let text = match read_body(body, MESSAGE_MAX).await {
        Ok(bytes) => String::from_utf8(bytes.into()),
        Err(error) => return refused(error.status(), INVALID_REQUEST, &error.to_string()),
    };
    match text {
        Ok(text) => take(inner, live, &head.headers, text).await,
        Err(_) => refused(StatusCode::BAD_REQUEST, PARSE_ERROR, "the message is not UTF-8"),
    }
}

fn unauthenticated() -> Response<Body> {
    let text = r#"{"error":"the run's token is missing, unknown or revoked"}"#;
    let mut response = answer::json_bytes(StatusCode::UNAUTHORIZED, text);
    let challenge = HeaderValue::from_static(r#"Bearer realm="agentsup""#);
    response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    response
}

fn refused(status: StatusCode, code: i32, message: &str) -> Response<Body> {
    answer::json_bytes(status, wire::error("null", code, message))
}

async fn take(inner: &Arc<Inner>, live: Arc<LiveRun>, headers: &HeaderMap, text: String) -> Response<Body> {
    let message = match Message::parse(&text) {
        Ok(message) => message,
        Err(error @ WireError::Syntax(_)) => {
            return refused(StatusCode::BAD_REQUEST, PARSE_ERROR, &error.to_string());
        }
        Err(error) => return refused(StatusCode::BAD_REQUEST, INVALID_REQUEST, &error.to_string()),
    };
    let (Some(method), Some(id)) = (message.method.as_deref(), message.id) else {
        if message.method.as_deref() == Some("notifications/cancelled") {
            inner.in_flight.cancel(&live.run.id, session(headers), message.params);
        }
        return answer::empty(StatusCode::ACCEPTED);
    };
    if let Some(response) = unspoken(headers, method, id) {
        return response;
    }
    if method != "tools/call" {
        let text = answers::respond(inner, &live, method, id, message.params).await;
        let mut response = answer::json_bytes(StatusCode::OK, text);
        if method == "initialize"
            && let Some(session) = ids::new_session_id().ok().and_then(|id| HeaderValue::try_from(id).ok())
        {
            response.headers_mut().insert(SESSION, session);
        }
        return response;
    }
    let key = Key::new(live.run.id, session(headers), id);
    let token = progress_token(&message).map(str::to_owned);
    let streams = accepts_events(headers);
    drop(message);
    carry_out(Arc::clone(inner), live, text, key, token, streams).await
}

/// A client whose version we do not speak is told so, except that its first look around must end in "no such method",
/// because that is what makes it turn to a version that we do speak.
fn unspoken(headers: &HeaderMap, method: &str, id: &str) -> Option<Response<Body>> {
    let version = headers.get(VERSION)?.to_str().unwrap_or("?");
    if answers::is_spoken(version) || method == "initialize" {
        return None;
    }
    if method == "server/discover" {
        let text = wire::error(id, METHOD_NOT_FOUND, "method not found");
        return Some(answer::json_bytes(StatusCode::OK, text));
    }
    let text = wire::error(id, INVALID_REQUEST, &format!("unsupported protocol version: {version}"));
    Some(answer::json_bytes(StatusCode::BAD_REQUEST, text))
}

fn session(headers: &HeaderMap) -> &str {
    headers
        .get(SESSION)
        .and_then(|value| value.to_str().ok())
        .filter(|id| id.len() <= 128)
        .unwrap_or_default()
}

fn accepts_events(headers: &HeaderMap) -> bool {
    let mut accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.any(|value| value.contains("text/event-stream"))
}

fn progress_token<'a>(message: &Message<'a>) -> Option<&'a str> {
    let meta = Object::parse(message.params?).ok()?.member("_meta")?;
    Object::parse(meta).ok()?.member("progressToken")
}

type Answering = Pin<Box<dyn Future<Output = String> + Send>>;

async fn carry_out(
    inner: Arc<Inner>,
    live: Arc<LiveRun>,
    text: String,
    key: Key,
    token: Option<String>,
    streams: bool,
) -> Response<Body> {
    let cancelled = CancellationToken::new();
    let (send, mut progress) = mpsc::channel(PROGRESS_QUEUE);
    let open = inner.in_flight.open(key, cancelled.clone());
    let wants = streams && token.is_some();
    let call = Call { text, live, progress: wants.then_some(send), cancelled };
    let mut answering: Answering = Box::pin(async move {
        let _open = open;
        call::run(&inner, call).await
    });
    if !streams {
        return answer::json_bytes(StatusCode::OK, answering.await);
    }
    let first = tokio::time::timeout(SIGN_OF_LIFE, async {
        tokio::select! {
            biased;
            Some(first) = progress.recv() => Err(first),
            answer = &mut answering => Ok(answer),
        }
    });
    let first = match first.await {
        Ok(Ok(text)) => return answer::json_bytes(StatusCode::OK, text),
        Ok(Err(progress)) => Some(progress),
        Err(_) => None,
    };
    stream(Streaming { answering: Some(answering), progress, first, token: token.unwrap_or_default() })
}

struct Streaming {
    /// Gone once it has answered.
    answering: Option<Answering>,
    progress: mpsc::Receiver<String>,
    first: Option<String>,
    token: String,
}

impl Streaming {
    /// The next piece of the stream; `None` after the answer.
    async fn next(&mut self) -> Option<String> {
        if let Some(first) = self.first.take() {
            return Some(sse::event(&with_token(&first, &self.token)));
        }
        let answering = self.answering.as_mut()?;
        let next = tokio::time::timeout(SIGN_OF_LIFE, async {
            tokio::select! {
                biased;
                Some(progress) = self.progress.recv() => Err(progress),
                answer = answering => Ok(answer),
            }
        });
        match next.await {
            Ok(Ok(text)) => {
                self.answering = None;
                Some(sse::event(&text))
            }
            Ok(Err(progress)) => Some(sse::event(&with_token(&progress, &self.token))),
            Err(_) => Some(":\n\n".to_owned()),
        }
    }
}

/// A progress notification with the agent's own token in place of ours.
fn with_token(text: &str, token: &str) -> String {
    let Ok(message) = Message::parse(text) else { return text.to_owned() };
    let params = message.params.and_then(|params| Object::parse(params).ok());
    let ours = params.and_then(|params| params.member("progressToken"));
    let edits: Vec<Edit<'_>> = ours.map(|what| Edit { what, with: token }).into_iter().collect();
    message.splice(&edits)
}

fn stream(streaming: Streaming) -> Response<Body> {
    let pieces = unfold(streaming, async |mut streaming| {
        let piece = streaming.next().await?;
        Some((Ok::<_, BodyError>(Frame::data(Bytes::from(piece))), streaming))
    });
    let mut response = Response::new(StreamBody::new(pieces).boxed_unsync());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}
