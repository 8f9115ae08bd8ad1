//! One configured server through all its lives: idle, starting, ready, failed.
//!
//! Started at the first need and again at the next need after it went; after repeated failures it rests, longer each
//! time up to a limit, so that a crash loop costs nothing. Nothing starts it in the background.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Surroundings;
use super::connection::{Connection, Link};
use super::error::ServerError;
use super::http::HttpLink;
use super::stdio::StdioLink;
use crate::registry::{McpServerConfig, Setting};
use crate::sys::child::ChildSpec;
use crate::sys::secrets::load_secret;

/// What a server is doing, as `mcp list` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServerState {
    /// Nobody has needed it yet.
    Idle,
    /// It is being started.
    Starting,
    /// It serves.
    Ready,
    /// It could not be started or has ended; the next need starts it again, after a rest.
    Failed,
}

/// A server, as `mcp list` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerStatus {
    /// Its name in the configuration.
    pub name: String,
    /// `stdio` or `http`.
    pub transport: String,
    /// What it is doing.
    pub state: ServerState,
    /// How many tools it has, once they are known.
    pub tools: Option<usize>,
    /// Why it last failed.
    pub last_error: Option<String>,
    /// The process, for a running stdio server.
    pub pid: Option<u32>,
    /// How often it was started again.
    pub restarts: u32,
}

/// One configured server.
pub(in crate::mcp) struct Server {
    pub(in crate::mcp) name: String,
    /// What stands for it in front of its tools' names.
    pub(in crate::mcp) prefix: String,
    pub(in crate::mcp) config: McpServerConfig,
    surroundings: Surroundings,
    phase: watch::Sender<Phase>,
    closing: CancellationToken,
    starts: AtomicU32,
    failures: AtomicU32,
    last_error: Mutex<Option<String>>,
}

#[derive(Clone)]
enum Phase {
    Idle,
    Starting { since: Instant },
    Ready(Arc<Connection>),
    Failed { error: ServerError, until: Instant },
}

impl Server {
    pub(in crate::mcp) fn new(
        name: String,
        prefix: String,
        config: McpServerConfig,
        surroundings: Surroundings,
    ) -> Arc<Self> {
        Arc::new(Self {
            name,
            prefix,
            config,
            surroundings,
            phase: watch::Sender::new(Phase::Idle),
            closing: CancellationToken::new(),
            starts: AtomicU32::new(0),
            failures: AtomicU32::new(0),
            last_error: Mutex::default(),
        })
    }

    /// What `mcp list` shows.
    pub(in crate::mcp) fn status(&self) -> ServerStatus {
        let phase = self.phase.borrow().clone();
        let (state, connection) = match &phase {
            Phase::Idle => (ServerState::Idle, None),
            Phase::Starting { .. } => (ServerState::Starting, None),
            Phase::Ready(connection) => (ServerState::Ready, Some(connection)),
            Phase::Failed { .. } => (ServerState::Failed, None),
        };
        let transport = match self.config {
            McpServerConfig::Stdio { .. } => "stdio",
            McpServerConfig::Http { .. } => "http",
        };
        ServerStatus {
            name: self.name.clone(),
            transport: transport.to_owned(),
            state,
            tools: connection.map(|connection| connection.known_tools().len()),
            last_error: self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            pid: connection.and_then(|connection| connection.pid()),
            restarts: self.starts.load(Ordering::Relaxed).saturating_sub(1),
        }
    }

    /// Starts it if it is not running and not resting; does not wait.
    pub(in crate::mcp) fn rouse(self: &Arc<Self>) {
        let starts = self.phase.send_if_modified(|phase| {
            let may = match phase {
                Phase::Idle => true,
                Phase::Failed { until, .. } => Instant::now() >= *until,
                Phase::Starting { .. } | Phase::Ready(_) => false,
            };
            if may && !self.closing.is_cancelled() {
                *phase = Phase::Starting { since: Instant::now() };
                return true;
            }
            false
        });
        if starts {
            self.starts.fetch_add(1, Ordering::Relaxed);
            let server = Arc::clone(self);
            self.surroundings.tracker.spawn(async move { server.live().await });
        }
    }

    /// The connection; started if need be and waited for until `patience` after the beginning of the start.
    pub(in crate::mcp) async fn connection(
        self: &Arc<Self>,
        patience: Duration,
    ) -> Result<Arc<Connection>, ServerError> {
        let mut phase = self.phase.subscribe();
        // What was going when we came may have to end first; then one start is all that we wait for.
        let ending =
            phase.wait_for(|phase| !matches!(phase, Phase::Ready(connection) if connection.is_over()));
        if tokio::time::timeout(patience, ending).await.is_err() {
            return Err(ServerError::Closed);
        }
        if self.closing.is_cancelled() {
            return Err(ServerError::Stopped);
        }
        self.rouse();
        let until = match &*phase.borrow_and_update() {
            Phase::Ready(connection) => return Ok(Arc::clone(connection)),
            Phase::Failed { error, until } => return Err(resting(error, *until)),
            Phase::Starting { since } => *since + patience,
            Phase::Idle => return Err(ServerError::Stopped),
        };
        let started = phase.wait_for(|phase| !matches!(phase, Phase::Starting { .. }));
        let started = tokio::time::timeout_at(until, started).await;
        match started.map(|phase| phase.map(|phase| phase.clone())) {
            Ok(Ok(Phase::Ready(connection))) => Ok(connection),
            Ok(Ok(Phase::Failed { error, .. })) => Err(error),
            Ok(_) => Err(ServerError::Stopped),
            Err(_) => Err(ServerError::Starting),
        }
    }

    /// How long lists wait for it, from the beginning of its start: one that keeps failing delays nobody for long.
    pub(in crate::mcp) fn patience(&self) -> Duration {
        let patience = self.surroundings.limits.patience;
        if self.failures.load(Ordering::Relaxed) > 1 { patience / 8 } else { patience }
    }

    /// Calls a tool; `make` builds the request that bears the given id.
    pub(in crate::mcp) async fn call(
        self: &Arc<Self>,
        make: impl FnOnce(u64) -> String,
        progress: Option<mpsc::Sender<String>>,
    ) -> Result<String, ServerError> {
        let connection = self.connection(self.surroundings.limits.start).await?;
        let id = connection.next_id();
        let answer = connection.call(id, make(id), progress).await;
        match &answer {
            Ok(_) => {}
            Err(ServerError::Timeout { .. }) => self.suspect(Arc::clone(&connection)),
            Err(error) => {
                self.remember(error);
                if matches!(error, ServerError::Unreachable(_)) {
                    connection.give_up(error.clone());
                }
            }
        }
        answer
    }

    /// Stops it for good.
    pub(in crate::mcp) fn close(&self) {
        self.closing.cancel();
    }

    fn remember(&self, error: &ServerError) {
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
    }

    /// From the start to the end of one connection.
    async fn live(self: Arc<Self>) {
        let limits = self.surroundings.limits;
        let opening = tokio::time::timeout(limits.start, self.open());
        let opened = tokio::select! {
            opened = opening => opened.unwrap_or_else(|_| Err(ServerError::Timeout {
                method: "initialize".to_owned(),
                timeout_ms: u64::try_from(limits.start.as_millis()).unwrap_or(u64::MAX),
            })),
            () = self.closing.cancelled() => Err(ServerError::Stopped),
        };
        match opened {
            Err(error) => self.fail(error),
            Ok(connection) => self.serve(Arc::new(connection)).await,
        }
    }

    async fn serve(&self, connection: Arc<Connection>) {
        tracing::info!(server = self.name, tools = connection.known_tools().len(), "an MCP server is ready");
        self.phase.send_replace(Phase::Ready(Arc::clone(&connection)));
        let mut gone = Box::pin(connection.gone());
        let reason = tokio::select! {
            reason = &mut gone => reason,
            () = self.closing.cancelled() => {
                connection.give_up(ServerError::Stopped);
                gone.await
            }
        };
        if connection.since.elapsed() >= self.surroundings.limits.settled {
            self.failures.store(0, Ordering::Relaxed);
        }
        self.fail(reason);
    }

    async fn open(&self) -> Result<Connection, ServerError> {
        let link = match &self.config {
            McpServerConfig::Stdio { command, env, cwd } => {
                let env = settings(env.iter()).await?;
                let dir = self.surroundings.dir.join(&self.prefix);
                let made = std::fs::create_dir_all(&dir);
                made.map_err(|error| spawn_error(command, &error.to_string()))?;
                let (program, args) =
                    command.split_first().ok_or_else(|| spawn_error(command, "empty command"))?;
                let spec = ChildSpec { program, args, env: &env, dir: cwd.as_deref().unwrap_or(&dir) };
                let log = dir.with_extension("log");
                let max = self.surroundings.limits.message_max;
                Link::Stdio(StdioLink::start(&spec, &log, max, &self.surroundings.tracker)?)
            }
            McpServerConfig::Http { url, headers } => {
                let headers = header_map(settings(headers.iter()).await?)?;
                let address = url.as_str().parse();
                let address =
                    address.map_err(|_| ServerError::Unreachable(format!("`{url}` is not an address")))?;
                let max = self.surroundings.limits.message_max;
                Link::Http(Box::new(HttpLink::new(self.surroundings.client.clone(), address, headers, max)))
            }
        };
        Connection::open(&self.prefix, link, self.surroundings.limits).await
    }

    /// A call got no answer: if a ping gets none either, the server hangs and is given up.
    fn suspect(&self, connection: Arc<Connection>) {
        self.surroundings.tracker.spawn(async move {
            if !connection.is_responsive().await {
                connection.give_up(ServerError::Hung);
            }
        });
    }

    fn fail(&self, error: ServerError) {
        let name = &self.name;
        if error == ServerError::Stopped {
            self.phase.send_replace(Phase::Idle);
            return;
        }
        tracing::warn!(server = name, %error, "an MCP server failed");
        self.remember(&error);
        self.phase.send_replace(Phase::Failed { error, until: Instant::now() + self.next_rest() });
    }

    /// None after the first failure, then doubling.
    fn next_rest(&self) -> Duration {
        let limits = self.surroundings.limits;
        match self.failures.fetch_add(1, Ordering::Relaxed) {
            0 => Duration::ZERO,
            repeated => limits.rest.saturating_mul(1 << (repeated - 1).min(16)).min(limits.rest_max),
        }
    }
}

fn resting(error: &ServerError, until: Instant) -> ServerError {
    let wait = until.saturating_duration_since(Instant::now());
    ServerError::Resting {
        cause: error.to_string(),
        wait_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
    }
}

fn spawn_error(command: &[String], problem: &str) -> ServerError {
    ServerError::Spawn { program: command.first().cloned().unwrap_or_default(), problem: problem.to_owned() }
}

/// Settings with their secrets filled in.
async fn settings<'a>(
    settings: impl Iterator<Item = (&'a String, &'a Setting)>,
) -> Result<Vec<(String, String)>, ServerError> {
    let wanted: Vec<(String, Setting)> =
        settings.map(|(name, value)| (name.clone(), value.clone())).collect();
    let load = move || {
        let mut loaded = Vec::with_capacity(wanted.len());
        for (name, value) in wanted {
            let value = match value {
                Setting::Plain(text) => text,
                Setting::Secret(place) => match load_secret(&place) {
                    Ok(secret) => secret.reveal().to_owned(),
                    Err(error) => {
                        let hint = error.hint().map(|hint| format!(" (hint: {hint})")).unwrap_or_default();
                        return Err(ServerError::Setting {
                            setting: name,
                            problem: format!("{error}{hint}"),
                        });
                    }
                },
            };
            loaded.push((name, value));
        }
        Ok(loaded)
    };
    // The keyring blocks.
    let loaded = tokio::task::spawn_blocking(load).await;
    loaded.unwrap_or_else(|error| {
        Err(ServerError::Setting { setting: "secrets".to_owned(), problem: error.to_string() })
    })
}

fn header_map(headers: Vec<(String, String)>) -> Result<HeaderMap, ServerError> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let unusable = |what: &str| ServerError::Setting { setting: name.clone(), problem: what.to_owned() };
        let key = HeaderName::try_from(&name).map_err(|_| unusable("not a header name"))?;
        // A bare token is no valid `Authorization`, and a keyring holds tokens.
        let is_bare = key == AUTHORIZATION && !value.contains(' ');
        let value = if is_bare { format!("Bearer {value}") } else { value };
        let mut value = HeaderValue::try_from(value).map_err(|_| unusable("not a header value"))?;
        value.set_sensitive(true);
        map.insert(key, value);
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_token_becomes_a_bearer_and_no_header_shows_its_value() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let map = header_map(vec![pair("authorization", "tok"), pair("X-Key", "k")]).unwrap();
        assert_eq!(
            (map["authorization"].to_str().unwrap(), map["x-key"].to_str().unwrap()),
            ("Bearer tok", "k")
        );
        assert_eq!(format!("{map:?}"), r#"{"authorization": Sensitive, "x-key": Sensitive}"#);
        let map = header_map(vec![pair("Authorization", "Basic YTpi")]).unwrap();
        assert_eq!(map["authorization"], "Basic YTpi");
        for (name, value) in [("a b", "x"), ("a", "x\ny")] {
            let error = header_map(vec![pair(name, value)]).unwrap_err();
            assert!(!error.to_string().contains(value) || name == "a b", "{error}");
        }
    }
}
