//! A streamable HTTP server for tests, in this process.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// What the server has seen and how it behaves.
#[derive(Default)]
pub(super) struct State {
    sessions: Mutex<BTreeSet<String>>,
    begun: AtomicUsize,
    /// The status for requests with an unknown session.
    pub(super) unknown: AtomicU16,
    pub(super) seen: Mutex<Vec<(Method, HeaderMap, String)>>,
}

pub(super) struct Fake {
    pub(super) url: String,
    pub(super) state: Arc<State>,
}

impl Fake {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://127.0.0.1:{}/mcp", listener.local_addr().unwrap().port());
        let state = Arc::new(State::default());
        state.unknown.store(404, Ordering::Relaxed);
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                socket.set_nodelay(true).unwrap();
                let state = Arc::clone(&shared);
                let answer = service_fn(move |request| {
                    let state = Arc::clone(&state);
                    async move { Ok::<_, Infallible>(answer(&state, request).await) }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), answer),
                );
            }
        });
        Self { url, state }
    }

    /// All sessions are forgotten, as after a restart.
    pub(super) fn forget(&self) {
        self.state.sessions.lock().unwrap().clear();
    }

    pub(super) fn begun(&self) -> usize {
        self.state.begun.load(Ordering::Relaxed)
    }

    /// The bodies seen that contain `text`.
    pub(super) fn bodies(&self, text: &str) -> Vec<String> {
        let seen = self.state.seen.lock().unwrap();
        seen.iter().map(|(_, _, body)| body.clone()).filter(|body| body.contains(text)).collect()
    }
}

fn full(status: u16, kind: &str, text: impl Into<Bytes>) -> Response<Body> {
    let body = Full::new(text.into()).boxed_unsync();
    Response::builder().status(status).header("content-type", kind).body(body).unwrap()
}

async fn answer(state: &Arc<State>, request: Request<Incoming>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    let session = head.headers.get("mcp-session-id").map(|id| id.to_str().unwrap().to_owned());
    state.seen.lock().unwrap().push((head.method.clone(), head.headers, text.clone()));
    if head.method == Method::DELETE {
        return full(200, "text/plain", "");
    }
    let message: Value = serde_json::from_str(&text).unwrap();
    if message["method"] == "initialize" {
        let id = format!("s{}", state.begun.fetch_add(1, Ordering::Relaxed));
        state.sessions.lock().unwrap().insert(id.clone());
        let result = r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"f","version":"1"}}"#;
        let mut response = full(200, "application/json", respond(&message, result));
        response.headers_mut().insert("mcp-session-id", id.parse().unwrap());
        return response;
    }
    if !session.is_some_and(|id| state.sessions.lock().unwrap().contains(&id)) {
        let error = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"no session"}}"#;
        return full(state.unknown.load(Ordering::Relaxed), "application/json", error);
    }
    match message["method"].as_str().unwrap_or_default() {
        "tools/list" => full(
            200,
            "application/json; charset=utf-8",
            respond(&message, r#"{"tools":[{"name":"echo","x":1.0}]}"#),
        ),
        "tools/call" => call(&message, &text).await,
        _ => full(202, "text/plain", ""),
    }
}

fn respond(message: &Value, result: &str) -> String {
    format!("{{\n  \"jsonrpc\": \"2.0\",\n  \"id\": {},\n  \"result\": {result}\n}}", message["id"])
}

async fn call(message: &Value, text: &str) -> Response<Body> {
    let result = format!(r#"{{"content":[{{"type":"text","text":{}}}],"n":1.50}}"#, Value::from(text));
    let answer = respond(message, &result);
    match message["params"]["name"].as_str().unwrap() {
        "echo" => full(200, "application/json", answer),
        "refuse" => {
            let error = format!(
                r#"{{"jsonrpc":"2.0","id":{},"error":{{"code":-32602,"message":"no"}}}}"#,
                message["id"]
            );
            full(400, "application/json", error)
        }
        "busy" => full(503, "text/plain", "later"),
        "page" => full(200, "text/html", "<html>"),
        "garbage" => full(200, "application/json", "{\"jsonrpc\""),
        "other" => full(200, "application/json", r#"{"jsonrpc":"2.0","id":0,"result":{}}"#),
        "hang" => std::future::pending().await,
        "stream" => stream(message, Some(answer)),
        "cut" => stream(message, None),
        other => panic!("{other}"),
    }
}

/// Progress, something asked of the client, and the answer if there is one, all in pieces.
fn stream(message: &Value, answer: Option<String>) -> Response<Body> {
    let token = &message["params"]["_meta"]["progressToken"];
    let mut text = String::from("\u{feff}: hello\r\n\r\n");
    let progress = format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":1.0}}}}"#
    );
    text.push_str(&format!("event: message\r\ndata: {progress}\r\n\r\n"));
    text.push_str("data: {\"jsonrpc\":\"2.0\",\"id\":\"t\",\"method\":\"roots/list\"}\n\n");
    if let Some(answer) = answer {
        for line in answer.lines() {
            text.push_str(&format!("data: {line}\n"));
        }
        text.push('\n');
    }
    let (send, mut receive) = mpsc::channel::<Bytes>(1);
    tokio::spawn(async move {
        for piece in text.into_bytes().chunks(7) {
            if send.send(Bytes::copy_from_slice(piece)).await.is_err() {
                return;
            }
        }
    });
    let pieces = futures_util::stream::poll_fn(move |context| {
        receive.poll_recv(context).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    });
    let body = StreamBody::new(pieces).boxed_unsync();
    Response::builder().header("content-type", "text/event-stream").body(body).unwrap()
}
