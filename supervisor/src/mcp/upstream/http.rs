//! A server reached over streamable HTTP: one POST a message, answered with JSON or with an event stream.
//!
//! Owns the session: the server's id for it goes with every request, and when the server has forgotten it, it is
//! begun anew, once, by whichever call notices first. Redirects are not followed, so configured headers go only
//! where they were meant to. Must not open a stream of its own: what a server says outside an answer is not heard.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use tokio::sync::{Mutex, mpsc, watch};

use super::error::ServerError;
use super::hello;
use super::sse::{EventError, Events};
use super::stdio::{answer, progress_token};
use crate::mcp::wire::Message;
use crate::sys::upstream::Upstream;

const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
/// How long a notification or the rest of an answered stream may take.
const ASIDE: Duration = Duration::from_secs(5);
/// Ids of `initialize` requests begin here, far from those of calls.
const FIRST_BEGINNING: u64 = 1 << 48;

/// A connection to a server, over however many TCP connections.
pub(super) struct HttpLink {
    client: Upstream,
    url: Uri,
    headers: HeaderMap,
    session: RwLock<Session>,
    beginning: Mutex<()>,
    begun: AtomicU64,
    over: watch::Sender<Option<ServerError>>,
    tools_changed: AtomicU64,
    message_max: usize,
}

#[derive(Clone, Default)]
struct Session {
    id: Option<HeaderValue>,
    version: Option<HeaderValue>,
    /// Counts the beginnings.
    generation: u64,
}

impl HttpLink {
    pub(super) fn new(client: Upstream, url: Uri, headers: HeaderMap, message_max: usize) -> Self {
        Self {
            client,
            url,
            headers,
            session: RwLock::default(),
            beginning: Mutex::default(),
            begun: AtomicU64::new(FIRST_BEGINNING),
            over: watch::Sender::new(None),
            tools_changed: AtomicU64::new(0),
            message_max,
        }
    }

    pub(super) fn tools_changed(&self) -> u64 {
        self.tools_changed.load(Ordering::Acquire)
    }

    fn session(&self) -> Session {
        self.session.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Begins a session: `initialize`, its answer, `notifications/initialized`. Gives the answer.
    pub(super) async fn begin(&self) -> Result<String, ServerError> {
        let id = self.begun.fetch_add(1, Ordering::Relaxed);
        let generation = self.session().generation;
        let fresh = Session::default();
        let response = self.post(hello::initialize(id), &fresh).await?;
        let session = response.headers().get(&SESSION).cloned();
        let text = self.answer(response, id, None).await?;
        let version = hello::version(&text)?;
        let version = HeaderValue::from_str(&version).map_err(|_| ServerError::Version(version))?;
        let session = Session { id: session, version: Some(version), generation: generation + 1 };
        *self.session.write().unwrap_or_else(PoisonError::into_inner) = session;
        self.notify(hello::INITIALIZED.to_owned()).await?;
        Ok(text)
    }

    /// Sends a request with our id and waits for its answer. Dropped before that, the server is told.
    pub(super) async fn exchange(
        &self,
        id: u64,
        message: String,
        progress: Option<mpsc::Sender<String>>,
    ) -> Result<String, ServerError> {
        let session = self.session();
        let mut call = OpenCall { link: self, id, is_open: true };
        let mut text = self.ask(&message, &session, id, progress.clone()).await;
        // 404 by the specification; some servers say 400. Either way nothing was done yet.
        if session.id.is_some() && matches!(text, Err(ServerError::Status(404 | 400))) {
            text = match self.begin_again(session.generation).await {
                Ok(()) => self.ask(&message, &self.session(), id, progress).await,
                Err(error) => Err(error),
            };
        }
        // Only a call that nobody waits for any more is cancelled, not one that went wrong by itself.
        call.is_open = false;
        text
    }

    /// Sends a notification.
    pub(super) async fn notify(&self, message: String) -> Result<(), ServerError> {
        let response = self.post(message, &self.session()).await?;
        let status = response.status();
        drain(response, self.message_max).await;
        if status.is_success() { Ok(()) } else { Err(ServerError::Status(status.as_u16())) }
    }

    /// Whether it was given up.
    pub(super) fn is_over(&self) -> bool {
        self.over.borrow().is_some()
    }

    /// Ends the connection for this reason.
    pub(super) fn give_up(&self, reason: ServerError) {
        self.over.send_if_modified(|over| {
            over.is_none() && {
                *over = Some(reason);
                true
            }
        });
    }

    /// Waits until it was given up, tells the server that its session is over, and says why.
    pub(super) async fn gone(&self) -> ServerError {
        let mut over = self.over.subscribe();
        let reason = over.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
        let session = self.session();
        if session.id.is_some()
            && let Ok(request) = self.request("DELETE", Bytes::new(), &session)
        {
            // Told out of politeness: a server forgets idle sessions anyway.
            let _ = tokio::time::timeout(ASIDE, self.client.send(request)).await;
        }
        reason.unwrap_or(ServerError::Closed)
    }

    async fn begin_again(&self, generation: u64) -> Result<(), ServerError> {
        let _one = self.beginning.lock().await;
        if self.session().generation == generation {
            self.begin().await?;
        }
        Ok(())
    }

    async fn ask(
        &self,
        message: &str,
        session: &Session,
        id: u64,
        progress: Option<mpsc::Sender<String>>,
    ) -> Result<String, ServerError> {
        let response = self.post(message.to_owned(), session).await?;
        self.answer(response, id, progress).await
    }

    fn request(
        &self,
        method: &str,
        body: Bytes,
        session: &Session,
    ) -> Result<Request<Full<Bytes>>, ServerError> {
        let mut request = Request::builder()
            .method(method)
            .uri(self.url.clone())
            .body(Full::new(body))
            .map_err(|error| ServerError::Protocol(error.to_string()))?;
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("agentsup/", env!("CARGO_PKG_VERSION"))));
        for (name, value) in &self.headers {
            headers.insert(name.clone(), value.clone());
        }
        let own = [(SESSION, &session.id), (VERSION, &session.version)];
        for (name, value) in own.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))) {
            headers.insert(name, value);
        }
        Ok(request)
    }

    async fn post(&self, message: String, session: &Session) -> Result<Response<Incoming>, ServerError> {
        let request = self.request("POST", message.into(), session)?;
        self.client.send(request).await.map_err(|error| match error {
            error if error.nothing_sent() => ServerError::Unreachable(error.to_string()),
            _ => ServerError::Closed,
        })
    }

    async fn answer(
        &self,
        response: Response<Incoming>,
        id: u64,
        progress: Option<mpsc::Sender<String>>,
    ) -> Result<String, ServerError> {
        let status = response.status();
        let content_type =
            response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match kind.as_str() {
            // Also with status 400: an error that names our request is the answer to it.
            "application/json" if status.is_success() || status == StatusCode::BAD_REQUEST => {
                let text = self.whole(response.into_body()).await?;
                match is_answer(&text, id) {
                    true => Ok(text),
                    false if status.is_success() => Err(protocol("an answer to something else")),
                    false => Err(ServerError::Status(status.as_u16())),
                }
            }
            "text/event-stream" if status.is_success() => {
                self.stream(response.into_body(), id, progress).await
            }
            _ if status.is_success() => {
                Err(ServerError::Protocol(format!("the content type `{}`", kind.escape_debug())))
            }
            _ => {
                drain(response, self.message_max).await;
                Err(ServerError::Status(status.as_u16()))
            }
        }
    }

    async fn whole(&self, mut body: Incoming) -> Result<String, ServerError> {
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| ServerError::Closed)?;
            let Some(data) = frame.data_ref() else { continue };
            if data.len() > self.message_max - bytes.len() {
                return Err(ServerError::TooLarge(self.message_max));
            }
            bytes.extend_from_slice(data);
        }
        String::from_utf8(bytes).map_err(|_| protocol("an answer that is not UTF-8"))
    }

    async fn stream(
        &self,
        mut body: Incoming,
        id: u64,
        progress: Option<mpsc::Sender<String>>,
    ) -> Result<String, ServerError> {
        let mut events = Events::new(self.message_max);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| ServerError::Closed)?;
            let Some(data) = frame.data_ref() else { continue };
            events.push(data);
            while let Some(data) = events.next_data().map_err(|error| match error {
                EventError::TooLarge(limit) => ServerError::TooLarge(limit),
                EventError::Encoding => protocol("an event that is not UTF-8"),
            })? {
                if is_answer(&data, id) {
                    let max = self.message_max;
                    tokio::spawn(async move { read_rest(body, max).await });
                    return Ok(data);
                }
                self.aside(data, id, progress.as_ref()).await;
            }
        }
        Err(ServerError::Closed)
    }

    /// What a server says before it answers.
    async fn aside(&self, text: String, id: u64, progress: Option<&mpsc::Sender<String>>) {
        let Ok(message) = Message::parse(&text) else { return };
        match (message.method.as_deref(), message.id) {
            (Some("notifications/tools/list_changed"), None) => {
                self.tools_changed.fetch_add(1, Ordering::AcqRel);
            }
            (Some("notifications/progress"), None) if progress_token(&message) == Some(id) => {
                // Progress may be lost: a slow reader must not hold up the answer.
                let _ = progress.map(|progress| progress.try_send(text));
            }
            (Some(method), Some(theirs)) => {
                let reply = answer(method, theirs);
                let told = tokio::time::timeout(ASIDE, self.notify(reply)).await;
                if !matches!(told, Ok(Ok(()))) {
                    tracing::debug!("a server's request could not be answered");
                }
            }
            _ => {}
        }
    }
}

fn protocol(what: &str) -> ServerError {
    ServerError::Protocol(what.to_owned())
}

fn is_answer(text: &str, id: u64) -> bool {
    Message::parse(text).is_ok_and(|message| {
        message.method.is_none() && message.id.and_then(|raw| raw.parse().ok()) == Some(id)
    })
}

/// Reads an answer that nobody needs, so that its connection can be used again.
async fn drain(response: Response<Incoming>, max: usize) {
    read_rest(response.into_body(), max).await;
}

async fn read_rest(mut body: Incoming, max: usize) {
    let reading = async {
        let mut length = 0;
        while let Some(Ok(frame)) = body.frame().await {
            length += frame.data_ref().map_or(0, Bytes::len);
            if length > max {
                return;
            }
        }
    };
    // What is not over by then costs its connection, no more.
    let _ = tokio::time::timeout(ASIDE, reading).await;
}

/// A request that waits for its answer.
struct OpenCall<'a> {
    link: &'a HttpLink,
    id: u64,
    is_open: bool,
}

impl Drop for OpenCall<'_> {
    fn drop(&mut self) {
        let session = self.link.session();
        if !self.is_open || session.version.is_none() {
            return;
        }
        let Ok(request) = self.link.request("POST", super::cancelled(self.id).into(), &session) else {
            return;
        };
        let client = self.link.client.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                // A server that cannot be told will notice at its own timeout.
                let _ = tokio::time::timeout(ASIDE, client.send(request)).await;
            });
        }
    }
}
