//! The daemon's Unix socket: who may speak, one request at a time on each connection, everything bounded.
//!
//! A peer of another user, or one that comes from a run, is refused before it has been heard; the latter goes on the
//! record. An op that has begun is finished, even if its client has gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, Semaphore};
use tokio::time::timeout;

use super::SharedApp;
use super::ops::{self, Op as _};
use super::wire::{self, Hello, LineError, PROTOCOL, Reply, Request};
use crate::core::error::{Code, Failure};
use crate::core::ids::RunId;
use crate::core::record::EventEntry;
use crate::sys::peer::{self, Peer, PeerError};
use crate::sys::process::{self, ProcessRef};

/// Connections served at once; more wait in the socket's own queue.
const CONNECTIONS: usize = 64;
/// How long a client may take to say hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may lie idle between two requests.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long nobody is let in after a failed accept: out of descriptors, as a rule, and the next one would fail as well.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// How long a client may take to read an answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// Whether anybody needs the daemon.
#[derive(Clone, Default)]
pub struct Activity {
    inner: Arc<Counters>,
}

#[derive(Default)]
struct Counters {
    connections: AtomicUsize,
    changed: Notify,
}

impl Activity {
    /// Connections that are open now.
    pub fn connections(&self) -> usize {
        self.inner.connections.load(Ordering::Acquire)
    }

    /// Completes when a connection was opened or closed.
    pub async fn changed(&self) {
        self.inner.changed.notified().await;
    }

    fn begin(&self) -> Present {
        self.inner.connections.fetch_add(1, Ordering::AcqRel);
        self.inner.changed.notify_waiters();
        Present(self.clone())
    }
}

/// One open connection.
struct Present(Activity);

impl Drop for Present {
    fn drop(&mut self) {
        self.0.inner.connections.fetch_sub(1, Ordering::AcqRel);
        self.0.inner.changed.notify_waiters();
    }
}

/// Serves until the daemon is told to end, then waits for the ops that have begun.
pub async fn serve(listener: UnixListener, app: SharedApp, activity: Activity) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    let shutdown = app.shutdown.clone();
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let (app, present) = (Arc::clone(&app), activity.begin());
                tokio::spawn(async move {
                    connection(stream, app).await;
                    drop((present, slot));
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                let _not_yet = timeout(ACCEPT_PAUSE, shutdown.cancelled()).await;
            }
        }
    }
    // All slots free: nobody is being served any more.
    let all = u32::try_from(CONNECTIONS).unwrap_or(u32::MAX);
    let _still_busy = timeout(WRITE_TIMEOUT, slots.acquire_many(all)).await;
}

async fn connection(stream: UnixStream, app: SharedApp) {
    let refused = admit(&stream, &app).await;
    let mut stream = BufReader::new(stream);
    if let Err(failure) = refused {
        send(&mut stream, &Reply::Error(failure)).await;
        return;
    }
    let client = match timeout(HELLO_TIMEOUT, wire::read_line(&mut stream, wire::REQUEST_LIMIT)).await {
        Ok(Ok(line)) => serde_json::from_slice::<Hello>(&line),
        Ok(Err(_)) | Err(_) => return,
    };
    let Ok(client) = client else {
        send(&mut stream, &Reply::Error(Failure::new(Code::Usage, "this is not agentsup's protocol"))).await;
        return;
    };
    if !send(&mut stream, &Hello::ours()).await {
        return;
    }
    loop {
        let line = tokio::select! {
            line = timeout(IDLE_TIMEOUT, wire::read_line(&mut stream, wire::REQUEST_LIMIT)) => line,
            () = app.shutdown.cancelled() => return,
        };
        let reply = match line {
            Ok(Ok(line)) => answer(&app, &client, &line).await,
            Ok(Err(error @ LineError::TooLong(_))) => {
                send(&mut stream, &Reply::Error(Failure::new(Code::Usage, error.to_string()))).await;
                return;
            }
            Ok(Err(_)) | Err(_) => return,
        };
        if !send(&mut stream, &reply).await {
            return;
        }
    }
}

async fn send(stream: &mut BufReader<UnixStream>, document: &impl serde::Serialize) -> bool {
    let Ok(line) = wire::line_of(document) else { return false };
    matches!(timeout(WRITE_TIMEOUT, stream.write_all(&line)).await, Ok(Ok(())))
}

async fn answer(app: &SharedApp, client: &Hello, line: &[u8]) -> Reply {
    match run(app, client, line).await {
        Ok(answer) => Reply::Ok(answer),
        Err(failure) => Reply::Error(failure),
    }
}

async fn run(
    app: &SharedApp,
    client: &Hello,
    line: &[u8],
) -> Result<Box<serde_json::value::RawValue>, Failure> {
    let request: Request = serde_json::from_slice(line)
        .map_err(|error| Failure::new(Code::Usage, format!("this is not a request: {error}")))?;
    if client.protocol != PROTOCOL && request.op != ops::DaemonStop::NAME {
        let message = format!("protocol {} is not spoken here, but {PROTOCOL}", client.protocol);
        return Err(Failure::new(Code::DaemonUnreachable, message).hint("agentsup daemon stop"));
    }
    let op = ops::dispatch(Arc::clone(app), &request.op, &request.params)?;
    // On its own: whatever becomes of the client, what has begun comes to its end.
    tokio::spawn(op).await.map_err(|error| Failure::internal(&error))?
}

/// Lets in who may give orders.
async fn admit(stream: &UnixStream, app: &SharedApp) -> Result<(), Failure> {
    let keepers = app.runs.keepers();
    let checked = Peer::of(stream).and_then(|peer| {
        let mut roots = keepers;
        roots.push(ProcessRef::current()?);
        peer::require_outside(&peer, &roots)
    });
    match checked {
        Ok(()) => Ok(()),
        // A client that has gone has nothing to ask.
        Err(PeerError::Gone) => Err(Failure::new(Code::Denied, "the peer has ended")),
        Err(error) => Err(refuse(app, &error).await),
    }
}

/// The run that a process was started in, if its keeper is still above it.
fn run_above(app: &SharedApp, pid: u32) -> Option<RunId> {
    let stat = process::stat(pid).ok()??;
    process::ancestors(stat).ok()?.iter().find_map(|above| app.runs.of_keeper(above.process))
}

async fn refuse(app: &SharedApp, error: &PeerError) -> Failure {
    let run = match error {
        PeerError::Descends { from, .. } => app.runs.of_keeper(*from),
        PeerError::RunMarked { pid } | PeerError::OtherNamespace { pid, .. } => run_above(app, *pid),
        PeerError::CarriesRunId { pid, run } => run_above(app, *pid).or_else(|| run.parse().ok()),
        PeerError::OtherUser { .. } | PeerError::Gone | PeerError::Undetermined { .. } => None,
    };
    let live = run.and_then(|id| app.gate.live(id));
    let text = format!("tried to give orders to the daemon and was refused: {error}");
    let event = match live {
        Some(live) => EventEntry::of_run(&live.run, "peer-refused", text),
        None => EventEntry::new("peer-refused", format!("somebody {text}")),
    };
    if let Err(error) = app.gate.note(event).await {
        tracing::error!(%error, "a refused peer could not be recorded");
    }
    tracing::warn!(%error, "a peer was refused");
    Failure::new(Code::Denied, format!("agentsup takes no orders from inside a run: {error}"))
        .hint("run the command in a terminal outside the run")
}
