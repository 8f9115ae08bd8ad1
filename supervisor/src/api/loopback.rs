//! The front door for agents: one listener on 127.0.0.1 that checks where a request claims to come from and go to, and
//! hands it to the flow that its first path segment names. Each flow authenticates for itself.
//!
//! Invariants: a foreign `Host` or `Origin` never reaches a flow, so that a web page cannot speak to it through the
//! user's browser; heads are bounded in size and time, connections in number.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::header::{HOST, ORIGIN};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::server::ACCEPT_PAUSE;
use super::{SharedApp, answers};
use crate::demo;
use crate::gateway::Gateway;
use crate::hooks::Hooks;
use crate::mcp::{self, Proxy};
use crate::sys::http::{self as reply, Body};

/// Connections served at once. Twenty busy agents have about a hundred.
const CONNECTIONS: usize = 512;
/// The longest request head, in bytes.
const HEAD_LIMIT: usize = 64 * 1024;
/// The most header lines.
const HEADERS: usize = 128;
/// How long a client may take to send a head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long calls under way may take when the daemon ends.
const END_TIMEOUT: Duration = Duration::from_secs(2);

/// The scripted model of the demo, which the gateway reaches here like any provider.
const DEMO_MODEL: &str = "demo-model";

/// What stands behind the door.
pub struct Doors {
    /// The port, as `Host` must name it.
    pub port: u16,
    /// `/llm/<provider>/…`, and `/otlp/…` of runs on a subscription.
    pub gateway: Gateway,
    /// `/mcp`.
    pub mcp: Proxy,
    /// `/hook/<adapter>`.
    pub hooks: Hooks,
    /// `/figures`: a run's own figures and nothing else.
    pub app: SharedApp,
}

/// Serves until the daemon is told to end.
pub async fn serve(listener: TcpListener, doors: Arc<Doors>, shutdown: CancellationToken) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let (doors, shutdown) = (Arc::clone(&doors), shutdown.clone());
                tokio::spawn(async move {
                    connection(stream, doors, shutdown).await;
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                let _not_yet = timeout(ACCEPT_PAUSE, shutdown.cancelled()).await;
            }
        }
    }
    let all = u32::try_from(CONNECTIONS).unwrap_or(u32::MAX);
    let _cut_off = timeout(END_TIMEOUT, slots.acquire_many(all)).await;
}

async fn connection(stream: TcpStream, doors: Arc<Doors>, shutdown: CancellationToken) {
    // Small events of a stream must not wait for more.
    let _still_works = stream.set_nodelay(true);
    let answering = service_fn(move |request| {
        let doors = Arc::clone(&doors);
        async move { Ok::<_, Infallible>(route(&doors, request).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_LIMIT)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(stream), answering);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            match timeout(END_TIMEOUT, connection).await {
                Ok(ended) => ended,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a loopback connection broke");
    }
}

async fn route(doors: &Doors, request: Request<Incoming>) -> Response<Body> {
    if let Err(why) = require_local(request.headers(), doors.port) {
        return problem(StatusCode::FORBIDDEN, "forbidden", why);
    }
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str()).to_owned();
    let (first, rest) = split(&target);
    match first {
        "llm" => doors.gateway.serve(request, rest).await,
        "otlp" => doors.gateway.hear(request, rest).await,
        DEMO_MODEL => demo::model::serve(request, rest).await,
        "mcp" => mcp::serve(&doors.mcp, request, rest).await,
        "figures" => figures(&doors.app, &request).await,
        "hook" => doors.hooks.serve(request, rest.trim_start_matches('/')).await,
        _ => problem(StatusCode::NOT_FOUND, "not_found", "there is nothing at this path"),
    }
}

/// What the run that the token stands for has spent, for its own eyes. Changes nothing.
async fn figures(app: &SharedApp, request: &Request<Incoming>) -> Response<Body> {
    let token = reply::bearer(request.headers());
    let Some(live) = token.and_then(|token| app.gate.authenticate(token)) else {
        let why = "the run's token is missing, unknown or revoked";
        return problem(StatusCode::UNAUTHORIZED, "unauthorized", why);
    };
    if request.method() != Method::GET {
        return problem(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "figures are read");
    }
    match answers::figures::of_run(app, &live.run).await {
        Ok(figures) => reply::json(StatusCode::OK, &figures),
        Err(failure) => problem(StatusCode::SERVICE_UNAVAILABLE, "unavailable", &failure.message),
    }
}

/// The first segment of a path, and the rest with its query.
fn split(target: &str) -> (&str, &str) {
    let target = target.strip_prefix('/').unwrap_or(target);
    let end = target.find(['/', '?']).unwrap_or(target.len());
    target.split_at(end)
}

/// Refuses what a browser would send on behalf of a page.
fn require_local(headers: &HeaderMap, port: u16) -> Result<(), &'static str> {
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return Err("exactly one `Host` header is needed");
    };
    if !is_ours(host.as_bytes(), port) {
        return Err("the `Host` header names another machine");
    }
    for origin in headers.get_all(ORIGIN) {
        let ours = origin.as_bytes().strip_prefix(b"http://").is_some_and(|host| is_ours(host, port));
        if !ours {
            return Err("the `Origin` header names a foreign page");
        }
    }
    Ok(())
}

fn is_ours(authority: &[u8], port: u16) -> bool {
    let Ok(text) = std::str::from_utf8(authority) else { return false };
    let Some((host, text)) = text.rsplit_once(':') else { return false };
    let is_port =
        text.len() <= 5 && text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse() == Ok(port);
    is_port && ["127.0.0.1", "localhost", "[::1]"].iter().any(|ours| host.eq_ignore_ascii_case(ours))
}

fn problem(status: StatusCode, kind: &str, message: &str) -> Response<Body> {
    reply::json(status, &json!({ "error": { "type": kind, "message": message } }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(http::HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_path_is_split_after_its_first_segment() {
        for (target, split_target) in [
            ("/", ("", "")),
            ("/mcp", ("mcp", "")),
            ("/mcp?a=/b", ("mcp", "?a=/b")),
            ("/llm/openai/v1/responses?x=1", ("llm", "/openai/v1/responses?x=1")),
            ("//mcp", ("", "/mcp")),
        ] {
            assert_eq!(split(target), split_target, "{target}");
        }
    }

    #[test]
    fn only_this_machine_and_this_port_are_meant() {
        for host in ["127.0.0.1:4711", "localhost:4711", "LOCALHOST:4711", "[::1]:4711"] {
            assert_eq!(require_local(&headers(&[("host", host)]), 4711), Ok(()), "{host}");
        }
        let foreign = [
            "evil.example:4711",
            "127.0.0.1",
            "127.0.0.1:80",
            "127.0.0.1:+4711",
            "127.0.0.1.evil.example:4711",
            "localhost:47110",
            "0.0.0.0:4711",
            "",
        ];
        for host in foreign {
            assert!(require_local(&headers(&[("host", host)]), 4711).is_err(), "{host}");
        }
        assert!(require_local(&headers(&[]), 4711).is_err());
        let twice = [("host", "127.0.0.1:4711"), ("host", "evil.example")];
        assert!(require_local(&headers(&twice), 4711).is_err());
    }

    #[test]
    fn a_page_is_refused_whatever_host_it_names() {
        let host = ("host", "127.0.0.1:4711");
        assert_eq!(require_local(&headers(&[host, ("origin", "http://localhost:4711")]), 4711), Ok(()));
        for origin in ["http://evil.example", "null", "https://127.0.0.1:4711", "http://localhost:3000", ""] {
            assert!(require_local(&headers(&[host, ("origin", origin)]), 4711).is_err(), "{origin}");
        }
    }
}
