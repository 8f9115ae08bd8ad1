//! The client side of HTTP: one pool of connections to providers and remote MCP servers, over TLS that trusts what
//! the platform trusts, or plain where the address says `http`.
//!
//! Invariants: connecting and waiting for the response's head end in time; an error says whether anything can have
//! reached the other side, because money hangs on it. Redirects are not followed: a key goes only where it was sent.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tower_service::Service;

/// TCP and TLS together.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// From the request's last byte to the response's head: models think before they answer.
const HEAD_WITHIN: Duration = Duration::from_secs(600);
/// How long an idle connection is kept for the next request.
const KEEP_IDLE: Duration = Duration::from_secs(90);
const IDLE_PER_HOST: usize = 32;

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// The platform's certificates or the TLS library cannot be used.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] io::Error),
    /// No connection, so nothing was sent.
    #[error("cannot connect to `{authority}`: {reason}")]
    Connect {
        /// Host and port.
        authority: String,
        /// The innermost cause.
        reason: String,
    },
    /// The connection failed after something may have been sent.
    #[error("the connection to `{authority}` failed: {reason}")]
    Broken {
        /// Host and port.
        authority: String,
        /// The innermost cause.
        reason: String,
    },
    /// No response in time.
    #[error("`{authority}` sent no response within {} seconds", HEAD_WITHIN.as_secs())]
    Silence {
        /// Host and port.
        authority: String,
    },
}

impl UpstreamError {
    /// Whether it is certain that the other side has received nothing.
    pub const fn nothing_sent(&self) -> bool {
        matches!(self, Self::Tls(_) | Self::Connect { .. })
    }
}

/// The pool of connections; clones share it.
#[derive(Clone)]
pub struct Upstream {
    client: Client<Timely<HttpsConnector<HttpConnector>>, Full<Bytes>>,
}

impl Upstream {
    /// A new pool.
    pub fn new() -> Result<Self, UpstreamError> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(Duration::from_secs(60)));
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .try_with_platform_verifier()
            .map_err(io::Error::other)?
            .with_no_client_auth();
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(KEEP_IDLE)
            .pool_max_idle_per_host(IDLE_PER_HOST)
            .build(Timely(connector));
        Ok(Self { client })
    }

    /// Sends a request and waits for the response's head; the caller bounds its own reading of the body.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, UpstreamError> {
        let authority = authority(request.uri());
        match tokio::time::timeout(HEAD_WITHIN, self.client.request(request)).await {
            Err(_) => Err(UpstreamError::Silence { authority }),
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(describe(&error, authority)),
        }
    }
}

/// Host and port without credentials that an address may carry.
fn authority(uri: &Uri) -> String {
    let host = uri.host().unwrap_or_default();
    uri.port_u16().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn describe(error: &Error, authority: String) -> UpstreamError {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    let reason = innermost.to_string();
    if error.is_connect() {
        UpstreamError::Connect { authority, reason }
    } else {
        UpstreamError::Broken { authority, reason }
    }
}

/// A connector that gives up in time, TLS included.
#[derive(Clone)]
struct Timely<C>(C);

impl<C> Service<Uri> for Timely<C>
where
    C: Service<Uri>,
    C::Future: Send + 'static,
    C::Response: 'static,
    C::Error: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
{
    type Response = C::Response;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.0.call(uri);
        Box::pin(async move {
            let late = || format!("no connection within {} seconds", CONNECT_WITHIN.as_secs());
            tokio::time::timeout(CONNECT_WITHIN, connecting).await.map_err(|_| late())?.map_err(Into::into)
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpListener;

    use super::*;

    fn request(port: u16) -> Request<Full<Bytes>> {
        Request::post(format!("http://127.0.0.1:{port}/v1"))
            .body(Full::new(Bytes::from_static(b"{}")))
            .unwrap()
    }

    #[tokio::test]
    async fn a_refused_connection_has_sent_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let error = Upstream::new().unwrap().send(request(port)).await.unwrap_err();
        assert!(error.nothing_sent(), "{error}");
        assert!(error.to_string().starts_with(&format!("cannot connect to `127.0.0.1:{port}`: ")), "{error}");
    }

    #[tokio::test]
    async fn a_connection_cut_after_the_request_may_have_been_billed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut seen = vec![0; 1024];
            assert!(socket.read(&mut seen).await.unwrap() > 0);
        });
        let error = Upstream::new().unwrap().send(request(port)).await.unwrap_err();
        assert!(!error.nothing_sent(), "{error}");
        server.await.unwrap();
    }
}
