//! A loopback HTTP/1.1 server on a thread of its own, so that synchronous tests can use it; what it answers is the
//! caller's business ([`Answer`]).
//!
//! Invariants: binds 127.0.0.1 only; ends when dropped, with every connection it still has. Must not know any wire.

use std::convert::Infallible;
use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::sync::{mpsc, oneshot};

/// The largest request body a fake reads; larger ones are cut off with 413, so that a test notices.
const MAX_BODY_BYTES: usize = 64 << 20;

/// One request as it came in, whole.
#[derive(Debug, Clone)]
pub(crate) struct Recorded {
    pub(crate) at: Instant,
    pub(crate) method: String,
    /// Path with its query.
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
}

impl Recorded {
    /// The first header of this name (names are lower case).
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON; `null` when it is none.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or(serde_json::Value::Null)
    }

    /// Whether `needle` occurs in the path, a header value or the body.
    pub(crate) fn contains(&self, needle: &str) -> bool {
        self.path.contains(needle)
            || self.headers.iter().any(|(_, value)| value.contains(needle))
            || String::from_utf8_lossy(&self.body).contains(needle)
    }
}

/// A response body: frames through a channel of one, so that a reader's slowness is felt by the writer.
pub(crate) struct StreamBody(mpsc::Receiver<Result<Bytes, std::io::Error>>);

impl hyper::body::Body for StreamBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        self.0.poll_recv(context).map(|chunk| chunk.map(|chunk| chunk.map(Frame::data)))
    }
}

/// The sending half of a streamed body.
pub(crate) struct Sink(mpsc::Sender<Result<Bytes, std::io::Error>>);

impl Sink {
    /// Sends one chunk. `false` when the client has gone.
    pub(crate) async fn send(&self, chunk: impl Into<Bytes>) -> bool {
        self.0.send(Ok(chunk.into())).await.is_ok()
    }

    /// Breaks the connection without ending the body properly.
    pub(crate) async fn cut(self) {
        let _ = self.0.send(Err(std::io::Error::other("cut by the script"))).await;
    }

    /// Sends nothing more and waits until the client goes away.
    pub(crate) async fn hang(self) {
        self.0.closed().await;
    }
}

/// What a fake answers: a head, then a body that is written by a future running beside the connection.
pub(crate) struct Answer {
    response: Response<StreamBody>,
    sink: Sink,
}

impl Answer {
    /// An answer whose body is streamed through [`Answer::stream`].
    pub(crate) fn head(status: u16, headers: &[(&str, &str)]) -> Self {
        let (sender, receiver) = mpsc::channel(1);
        let mut builder = Response::builder().status(status);
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        let response = builder.body(StreamBody(receiver)).expect("the fake's own headers are valid");
        Self { response, sink: Sink(sender) }
    }

    /// Hands the body to `write`, which runs on its own.
    pub(crate) fn stream<F: Future<Output = ()> + Send + 'static>(
        self,
        write: impl FnOnce(Sink) -> F,
    ) -> Response<StreamBody> {
        tokio::spawn(write(self.sink));
        self.response
    }

    /// A whole body with its length.
    pub(crate) fn full(
        status: u16,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Response<StreamBody> {
        let body = body.into();
        let mut answer = Self::head(status, headers);
        if let Ok(length) = body.len().to_string().parse() {
            answer.response.headers_mut().insert(hyper::header::CONTENT_LENGTH, length);
        }
        answer.stream(|sink| async move {
            if !body.is_empty() {
                sink.send(body).await;
            }
        })
    }

    /// A JSON body.
    pub(crate) fn json(status: u16, body: &serde_json::Value) -> Response<StreamBody> {
        Self::full(status, &[("content-type", "application/json")], body.to_string())
    }
}

/// How long a script wants to wait. A pace, not a synchronisation: tests wait for what they assert.
pub(crate) async fn pace(delay: Duration) {
    let _ = tokio::time::timeout(delay, std::future::pending::<()>()).await;
}

/// The server's thread. Dropping it closes the port and every connection.
pub(crate) struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Binds a free port and answers every request through `answer`.
    pub(crate) fn start<F>(answer: impl Fn(Recorded) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Response<StreamBody>> + Send + 'static,
    {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("bind loopback");
        listener.set_nonblocking(true).expect("set non-blocking");
        let address = listener.local_addr().expect("local address");
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).expect("listener");
                let accept = accept(listener, Arc::new(answer));
                tokio::select! { () = accept => {}, _ = stopped => {} }
            });
            runtime.shutdown_timeout(Duration::from_secs(1));
        });
        Self { address, stop: Some(stop), thread: Some(thread) }
    }

    /// `http://127.0.0.1:PORT`, without a final slash.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Closes the port and all connections now.
    pub(crate) fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn accept<F>(
    listener: tokio::net::TcpListener,
    answer: Arc<impl Fn(Recorded) -> F + Send + Sync + 'static>,
) where
    F: Future<Output = Response<StreamBody>> + Send + 'static,
{
    while let Ok((stream, _)) = listener.accept().await {
        // Otherwise an answer in two pieces waits for the other side's delayed acknowledgement.
        stream.set_nodelay(true).expect("set TCP_NODELAY");
        let answer = answer.clone();
        let answering = service_fn(move |request: Request<Incoming>| {
            let answer = answer.clone();
            async move {
                let response = match record(request).await {
                    Some(recorded) => answer(recorded).await,
                    None => Answer::full(413, &[], "body too large for the fake"),
                };
                Ok::<_, Infallible>(response)
            }
        });
        tokio::spawn(
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answering),
        );
    }
}

async fn record(request: Request<Incoming>) -> Option<Recorded> {
    let at = Instant::now();
    let (head, body) = request.into_parts();
    let body = Limited::new(body, MAX_BODY_BYTES).collect().await.ok()?.to_bytes();
    let path = head.uri.path_and_query().map_or_else(|| head.uri.to_string(), ToString::to_string);
    let headers = head
        .headers
        .iter()
        .map(|(name, value)| {
            (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        })
        .collect();
    Some(Recorded { at, method: head.method.to_string(), path, headers, body })
}

/// An address where nothing listens: a port that was free a moment ago.
pub(crate) fn dead_url() -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("bind loopback");
    format!("http://{}", listener.local_addr().expect("local address"))
}
