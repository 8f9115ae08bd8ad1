//! A server that is a child of ours: one JSON-RPC message a line, in both directions.
//!
//! Many calls are in flight at once; answers come in any order and find their call by our id. Invariants: a line is
//! written whole or the connection ends; whoever waits is woken when the connection ends; when the last user lets
//! go of it, the process group is ended and waited for.

use std::collections::HashMap;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::process::{ChildStdin, ChildStdout};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::codec::{FramedRead, LinesCodec, LinesCodecError};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::error::ServerError;
use super::{leftover, logfile};
use crate::mcp::wire::{self, METHOD_NOT_FOUND, Message, Object};
use crate::sys::child::{ChildSpec, GroupChild, Started, spawn};

/// Messages on their way to the server's input.
const QUEUE: usize = 64;
/// Calls that may wait for one server.
const WAITING_MAX: usize = 1_024;
/// How long a server may take to end when asked.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long the rest of a dead server's output is read.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A running server.
pub(super) struct StdioLink {
    queue: mpsc::Sender<String>,
    shared: Arc<Shared>,
    pid: Option<u32>,
    stop: DropGuard,
}

struct Shared {
    waiting: Mutex<HashMap<u64, Waiting>>,
    life: watch::Sender<Life>,
    /// Why we gave the server up, if we did.
    verdict: Mutex<Option<ServerError>>,
    tools_changed: AtomicU64,
    message_max: usize,
}

#[derive(Clone)]
enum Life {
    Up,
    /// It answers nothing more; its processes may still be ending.
    Ending(ServerError),
    /// Its processes have been waited for.
    Gone(ServerError),
}

struct Waiting {
    reply: oneshot::Sender<String>,
    progress: Option<mpsc::Sender<String>>,
}

impl StdioLink {
    /// Starts the program; its standard error goes to `log`.
    pub(super) fn start(
        spec: &ChildSpec<'_>,
        log: &Path,
        message_max: usize,
        tracker: &TaskTracker,
    ) -> Result<Self, ServerError> {
        let started = spawn(spec).map_err(|error| ServerError::Spawn {
            program: spec.program.to_owned(),
            problem: error.to_string(),
        })?;
        let (queue, lines) = mpsc::channel(QUEUE);
        let shared = Arc::new(Shared {
            waiting: Mutex::default(),
            life: watch::channel(Life::Up).0,
            verdict: Mutex::default(),
            tools_changed: AtomicU64::new(0),
            message_max,
        });
        let stop = CancellationToken::new();
        let pid = started.child.pid();
        let note = pid.map(|pid| leftover::note(log, pid));
        let pump = pump(started, log.to_owned(), lines, queue.clone(), Arc::clone(&shared), stop.clone());
        tracker.spawn(async move {
            pump.await;
            drop(note);
        });
        Ok(Self { queue, shared, pid, stop: stop.drop_guard() })
    }

    pub(super) fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// How often the server has said that its tools changed.
    pub(super) fn tools_changed(&self) -> u64 {
        self.shared.tools_changed.load(Ordering::Acquire)
    }

    /// Whether it answers nothing more.
    pub(super) fn is_over(&self) -> bool {
        !matches!(*self.shared.life.borrow(), Life::Up)
    }

    /// Ends the server for this reason.
    pub(super) fn give_up(&self, reason: ServerError) {
        self.shared.verdict.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(reason);
        self.stop.token().cancel();
    }

    /// Waits until the server and its processes are gone, and says why.
    pub(super) async fn gone(&self) -> ServerError {
        let mut life = self.shared.life.subscribe();
        match life.wait_for(|life| matches!(life, Life::Gone(_))).await.as_deref() {
            Ok(Life::Gone(reason)) => reason.clone(),
            _ => ServerError::Closed,
        }
    }

    /// Sends a request with our id and waits for its answer. Dropped before that, the server is told.
    pub(super) async fn exchange(
        &self,
        id: u64,
        message: String,
        progress: Option<mpsc::Sender<String>>,
    ) -> Result<String, ServerError> {
        let (reply, answer) = oneshot::channel();
        {
            let mut waiting = self.shared.waiting();
            if waiting.len() >= WAITING_MAX {
                return Err(ServerError::Busy(WAITING_MAX));
            }
            waiting.insert(id, Waiting { reply, progress });
        }
        let mut call = OpenCall { link: self, id, sent: false };
        if self.queue.send(wire::one_line(message)).await.is_err() {
            return Err(self.why());
        }
        call.sent = true;
        let answer = answer.await;
        call.sent = false;
        answer.map_err(|_| self.why())
    }

    /// Sends a notification.
    pub(super) async fn notify(&self, message: String) -> Result<(), ServerError> {
        self.queue.send(wire::one_line(message)).await.map_err(|_| self.why())
    }

    fn why(&self) -> ServerError {
        match &*self.shared.life.borrow() {
            Life::Up => ServerError::Closed,
            Life::Ending(reason) | Life::Gone(reason) => reason.clone(),
        }
    }
}

/// A request that waits for its answer.
struct OpenCall<'a> {
    link: &'a StdioLink,
    id: u64,
    sent: bool,
}

impl Drop for OpenCall<'_> {
    fn drop(&mut self) {
        let waited = self.link.shared.waiting().remove(&self.id).is_some();
        if self.sent && waited {
            // A full queue means that the server does not read; it will not miss this line.
            let _ = self.link.queue.try_send(super::cancelled(self.id));
        }
    }
}

impl Shared {
    fn waiting(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one line of the server's; gives the answer that we owe it, if any.
    fn take(&self, line: String) -> Option<String> {
        let Ok(message) = Message::parse(&line) else {
            tracing::debug!("a line that is no message was skipped");
            return None;
        };
        match (message.method.as_deref(), message.id) {
            (None, id) => {
                let id = id.and_then(|id| id.parse().ok())?;
                let waiting = self.waiting().remove(&id)?;
                // Whoever waited may have gone; then nobody misses the answer.
                let _ = waiting.reply.send(line);
                None
            }
            (Some("notifications/tools/list_changed"), None) => {
                self.tools_changed.fetch_add(1, Ordering::AcqRel);
                None
            }
            (Some("notifications/progress"), None) => {
                let token = progress_token(&message)?;
                let progress = self.waiting().get(&token)?.progress.clone()?;
                // Progress may be lost, answers may not: a slow reader must not hold up the others.
                let _ = progress.try_send(line);
                None
            }
            (Some(_), None) => None,
            (Some(method), Some(id)) => Some(answer(method, id)),
        }
    }
}

/// Our id in a progress notification.
pub(super) fn progress_token(message: &Message<'_>) -> Option<u64> {
    Object::parse(message.params?).ok()?.member("progressToken")?.parse().ok()
}

/// What we answer to a server's own request: nothing is served to servers yet.
pub(super) fn answer(method: &str, id: &str) -> String {
    match method {
        "ping" => wire::response(id, "{}"),
        _ => wire::error(id, METHOD_NOT_FOUND, "not served by this client"),
    }
}

async fn pump(
    started: Started,
    log: std::path::PathBuf,
    lines: mpsc::Receiver<String>,
    replies: mpsc::Sender<String>,
    shared: Arc<Shared>,
    stop: CancellationToken,
) {
    let Started { mut child, stdin, stdout, stderr } = started;
    let mut reading = Box::pin(read(stdout, &shared, replies));
    let mut writing = Box::pin(write(stdin, lines));
    let mut logging = Box::pin(logfile::keep(stderr, log));
    let mut is_logging = true;
    let reason = loop {
        tokio::select! {
            reason = &mut reading => break reason,
            () = &mut writing => break ServerError::Closed,
            status = child.wait() => {
                // Answers that it gave with its last breath still count.
                let _ = tokio::time::timeout(LAST_WORDS, &mut reading).await;
                break exited(status);
            }
            () = stop.cancelled() => {
                let verdict = shared.verdict.lock().unwrap_or_else(PoisonError::into_inner).clone();
                break verdict.unwrap_or(ServerError::Stopped);
            }
            () = &mut logging, if is_logging => is_logging = false,
        }
    };
    // Nothing is sent from here on, so that a sender learns of the end now and not at its timeout.
    drop(writing);
    let reason = match reason {
        ServerError::Closed => match tokio::time::timeout(LAST_WORDS, child.wait()).await {
            Ok(status) => exited(status),
            Err(_) => ServerError::Closed,
        },
        other => other,
    };
    shared.life.send_replace(Life::Ending(reason.clone()));
    shared.waiting().clear();
    let mut ending = Box::pin(end(&mut child));
    loop {
        tokio::select! {
            () = &mut ending => break,
            () = &mut logging, if is_logging => is_logging = false,
        }
    }
    shared.life.send_replace(Life::Gone(reason));
}

async fn end(child: &mut GroupChild) {
    if child.pid().is_some()
        && let Err(error) = child.end(PATIENCE).await
    {
        tracing::warn!(%error, "a server's process group could not be waited for");
    }
}

fn exited(status: std::io::Result<ExitStatus>) -> ServerError {
    ServerError::Exited(status.map_or_else(|error| error.to_string(), |status| status.to_string()))
}

async fn read(stdout: ChildStdout, shared: &Shared, replies: mpsc::Sender<String>) -> ServerError {
    let mut lines = FramedRead::new(stdout, LinesCodec::new_with_max_length(shared.message_max));
    while let Some(line) = lines.next().await {
        match line {
            Ok(line) => {
                if let Some(answer) = shared.take(line) {
                    // A server that asks and does not read gets no answer rather than all our memory.
                    let _ = replies.try_send(answer);
                }
            }
            Err(LinesCodecError::MaxLineLengthExceeded) => return ServerError::TooLarge(shared.message_max),
            Err(LinesCodecError::Io(error)) if error.kind() == std::io::ErrorKind::InvalidData => {
                tracing::debug!("a line that is not UTF-8 was skipped");
            }
            Err(LinesCodecError::Io(_)) => return ServerError::Closed,
        }
    }
    ServerError::Closed
}

async fn write(mut stdin: ChildStdin, mut lines: mpsc::Receiver<String>) {
    while let Some(mut line) = lines.recv().await {
        line.push('\n');
        if stdin.write_all(line.as_bytes()).await.is_err() || stdin.flush().await.is_err() {
            return;
        }
    }
}
