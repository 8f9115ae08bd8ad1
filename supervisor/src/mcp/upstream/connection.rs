//! One connection to a server: its introduction, its tools, calls through it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::error::ServerError;
use super::hello::{self, Hello};
use super::http::HttpLink;
use super::stdio::StdioLink;
use super::{Limits, Surroundings};
use crate::mcp::catalogue::{self, TOOLS_MAX, Tool};

/// More pages of tools than this are refused.
const PAGES_MAX: usize = 200;

pub(super) enum Link {
    Stdio(StdioLink),
    Http(Box<HttpLink>),
}

/// A connection that has been introduced and whose tools are known.
pub(in crate::mcp) struct Connection {
    prefix: String,
    link: Link,
    limits: Limits,
    hello: Hello,
    ids: AtomicU64,
    tools: watch::Sender<Listed>,
    /// When it was made, for telling a good connection from a crash loop.
    pub(super) since: Instant,
}

#[derive(Clone)]
struct Listed {
    tools: Arc<[Tool]>,
    /// The link's count of changes that the list reflects.
    changes: u64,
    at: Instant,
    is_refreshing: bool,
}

impl Connection {
    /// Introduces us over a new link and fetches the tools.
    pub(super) async fn open(prefix: &str, link: Link, limits: Limits) -> Result<Self, ServerError> {
        let ids = AtomicU64::new(1);
        let answer = match &link {
            Link::Http(link) => link.begin().await?,
            Link::Stdio(link) => {
                let id = ids.fetch_add(1, Ordering::Relaxed);
                let answer = link.exchange(id, hello::initialize(id), None).await?;
                hello::version(&answer)?;
                link.notify(hello::INITIALIZED.to_owned()).await?;
                answer
            }
        };
        let now = Instant::now();
        let listed =
            Listed { tools: Arc::from([]), changes: link.tools_changed(), at: now, is_refreshing: false };
        let connection = Self {
            prefix: prefix.to_owned(),
            hello: hello::hello(&answer)?,
            link,
            limits,
            ids,
            tools: watch::Sender::new(listed),
            since: now,
        };
        let changes = connection.link.tools_changed();
        let tools = connection.fetch_tools().await?;
        connection.tools.send_modify(|listed| (listed.tools, listed.changes) = (tools, changes));
        Ok(connection)
    }

    pub(super) fn pid(&self) -> Option<u32> {
        match &self.link {
            Link::Stdio(link) => link.pid(),
            Link::Http(_) => None,
        }
    }

    /// Waits until the server and its processes are gone, and says why.
    pub(super) async fn gone(&self) -> ServerError {
        match &self.link {
            Link::Stdio(link) => link.gone().await,
            Link::Http(link) => link.gone().await,
        }
    }

    /// Whether nothing more is answered through it.
    pub(super) fn is_over(&self) -> bool {
        match &self.link {
            Link::Stdio(link) => link.is_over(),
            Link::Http(link) => link.is_over(),
        }
    }

    /// Ends it for this reason.
    pub(super) fn give_up(&self, reason: ServerError) {
        match &self.link {
            Link::Stdio(link) => link.give_up(reason),
            Link::Http(link) => link.give_up(reason),
        }
    }

    /// What the server says about its use.
    pub(in crate::mcp) fn instructions(&self) -> Option<&str> {
        self.hello.instructions.as_deref().map(str::trim).filter(|text| !text.is_empty())
    }

    /// The tools as last listed.
    pub(in crate::mcp) fn known_tools(&self) -> Arc<[Tool]> {
        Arc::clone(&self.tools.borrow().tools)
    }

    /// The tools, listed anew if they have changed. Where that takes too long, the ones known before.
    pub(in crate::mcp) async fn tools(self: &Arc<Self>, surroundings: &Surroundings) -> Arc<[Tool]> {
        if !self.is_outdated(&self.tools.borrow()) {
            return self.known_tools();
        }
        let mut changed = self.tools.subscribe();
        let is_first =
            self.tools.send_if_modified(|listed| !std::mem::replace(&mut listed.is_refreshing, true));
        if is_first {
            let connection = Arc::clone(self);
            surroundings.tracker.spawn(async move { connection.refresh().await });
        }
        let done = changed.wait_for(|listed| !listed.is_refreshing);
        if tokio::time::timeout(self.limits.patience, done).await.is_err() {
            tracing::warn!(server = self.prefix, "the list of tools is late; the known one is served");
        }
        self.known_tools()
    }

    fn is_outdated(&self, listed: &Listed) -> bool {
        let aged = matches!(self.link, Link::Http(_)) && listed.at.elapsed() > self.limits.list_age;
        self.hello.has_tools && (aged || listed.changes != self.link.tools_changed())
    }

    async fn refresh(&self) {
        let changes = self.link.tools_changed();
        let fetched = tokio::time::timeout(self.limits.start, self.fetch_tools()).await;
        self.tools.send_modify(|listed| {
            listed.is_refreshing = false;
            match fetched {
                Ok(Ok(tools)) => {
                    *listed = Listed { tools, changes, at: Instant::now(), is_refreshing: false };
                }
                Ok(Err(error)) => tracing::warn!(server = self.prefix, %error, "tools could not be listed"),
                Err(_) => tracing::warn!(server = self.prefix, "tools could not be listed in time"),
            }
        });
    }

    async fn fetch_tools(&self) -> Result<Arc<[Tool]>, ServerError> {
        let mut tools = Vec::new();
        let mut cursor: Option<String> = None;
        if !self.hello.has_tools {
            return Ok(Arc::from([]));
        }
        for _ in 0..PAGES_MAX {
            let id = self.next_id();
            let params = cursor.map_or_else(|| "{}".to_owned(), |raw| format!(r#"{{"cursor":{raw}}}"#));
            let request = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/list","params":{params}}}"#);
            let answer = self.exchange("tools/list", self.limits.answer, id, request, None).await?;
            let result = hello::result(&answer, "tools/list")?;
            let page = catalogue::page(&self.prefix, result)
                .map_err(|error| ServerError::Protocol(error.to_string()))?;
            tools.extend(page.tools);
            if tools.len() > TOOLS_MAX {
                return Err(ServerError::Protocol(format!("more than {TOOLS_MAX} tools")));
            }
            cursor = page.next;
            if cursor.is_none() {
                return Ok(catalogue::list(tools).into());
            }
        }
        Err(ServerError::Protocol(format!("more than {PAGES_MAX} pages of tools")))
    }

    /// An id for a request through this connection.
    pub(in crate::mcp) fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }

    /// Sends a `tools/call` that bears our id, and gives the whole answer.
    pub(in crate::mcp) async fn call(
        &self,
        id: u64,
        request: String,
        progress: Option<mpsc::Sender<String>>,
    ) -> Result<String, ServerError> {
        self.exchange("tools/call", self.limits.call, id, request, progress).await
    }

    /// Whether the server still answers anything at all.
    pub(super) async fn is_responsive(&self) -> bool {
        let id = self.next_id();
        let ping = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
        // Any answer will do, an error included: somebody is there.
        let answer = self.exchange("ping", self.limits.answer, id, ping, None).await;
        !matches!(answer, Err(ServerError::Timeout { .. }))
    }

    async fn exchange(
        &self,
        method: &str,
        within: Duration,
        id: u64,
        request: String,
        progress: Option<mpsc::Sender<String>>,
    ) -> Result<String, ServerError> {
        let exchange = async {
            match &self.link {
                Link::Stdio(link) => link.exchange(id, request, progress).await,
                Link::Http(link) => link.exchange(id, request, progress).await,
            }
        };
        let late = |_| ServerError::Timeout {
            method: method.to_owned(),
            timeout_ms: u64::try_from(within.as_millis()).unwrap_or(u64::MAX),
        };
        tokio::time::timeout(within, exchange).await.map_err(late)?
    }
}

impl Link {
    fn tools_changed(&self) -> u64 {
        match self {
            Self::Stdio(link) => link.tools_changed(),
            Self::Http(link) => link.tools_changed(),
        }
    }
}
