//! The MCP proxy: the only MCP server that agents know, in front of all that the user configured.
//!
//! Owns: the endpoint for agents, one shared connection per server, the merged list of tools, calls. Invariants: every
//! call passes the gate, and lists are filtered by the policy that decides calls; other people's JSON is passed on as
//! bytes, with only ids and names exchanged; whatever one server does, the others go on; only what the user's
//! configuration names is ever started, so nothing that reaches this endpoint can start anything else. Must not know
//! an agent by name, or keep anything of an agent between two requests.
//!
//! Walk: `endpoint` reads a message → `answers` for everything but calls → `call` asks the gate → `fleet` finds the
//! server → `upstream` talks to it. Names are made in `naming`, JSON is cut in `wire`.
//!
//! Not served yet: prompts and resources (empty lists), requests that servers make of clients (refused), the stream of
//! GET, MCP 2026-07-28 (its probe is answered so that clients turn to 2025-11-25).

mod answers;
mod call;
mod canonical;
mod catalogue;
mod endpoint;
mod facts;
mod fleet;
mod in_flight;
mod naming;
mod upstream;
mod wire;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::gate::Gate;
use crate::registry::Registry;
use crate::sys::env::Env;
use crate::sys::grounds::Homes;
use crate::sys::paths::Home;
use crate::sys::upstream::Upstream;

pub use call::suppose;
pub use endpoint::{MESSAGE_MAX, serve};
use fleet::Fleet;
use in_flight::InFlight;
use upstream::Surroundings;
pub use upstream::{Limits, ServerError, ServerState, ServerStatus};

/// How long the end of all servers is waited for.
const SHUTDOWN: Duration = Duration::from_secs(8);

/// The proxy. Clones share it.
#[derive(Clone)]
pub struct Proxy {
    inner: Arc<Inner>,
}

struct Inner {
    gate: Gate,
    homes: Homes,
    fleet: Fleet,
    in_flight: InFlight,
    stop: CancellationToken,
    tracker: TaskTracker,
}

impl Proxy {
    /// A proxy in front of the servers that the registry has in force; follows its changes. Starts no server yet, and
    /// ends those that a killed daemon of this home left behind. Must be called inside a runtime.
    pub fn new(gate: Gate, registry: &Registry, home: &Home, client: Upstream) -> Self {
        Self::with_limits(gate, registry, home, client, Limits::default())
    }

    /// As [`Proxy::new`], with other limits.
    pub fn with_limits(
        gate: Gate,
        registry: &Registry,
        home: &Home,
        client: Upstream,
        limits: Limits,
    ) -> Self {
        let tracker = TaskTracker::new();
        let dir: PathBuf = home.state_dir().join("mcp");
        upstream::end_all(&dir);
        let fleet = Fleet::new(Surroundings { limits, client, dir, tracker: tracker.clone() });
        let inner = Arc::new(Inner {
            gate,
            homes: Homes::new(home, Env::current()),
            fleet,
            in_flight: InFlight::default(),
            stop: CancellationToken::new(),
            tracker,
        });
        let mut changes = registry.watch();
        inner.fleet.apply(&changes.borrow_and_update().config.mcp_servers);
        let following = Arc::clone(&inner);
        inner.tracker.spawn(async move {
            loop {
                tokio::select! {
                    changed = changes.changed() => if changed.is_err() { return },
                    () = following.stop.cancelled() => return,
                }
                let snapshot = changes.borrow_and_update().clone();
                following.fleet.apply(&snapshot.config.mcp_servers);
            }
        });
        Self { inner }
    }

    /// Every configured server and what it is doing, in order of name.
    pub fn servers(&self) -> Vec<ServerStatus> {
        self.inner.fleet.statuses()
    }

    /// Stops all servers, waits, bounded, until their processes are gone, and starts none any more.
    pub async fn shutdown(&self) {
        self.inner.stop.cancel();
        self.inner.fleet.close();
        self.inner.tracker.close();
        if tokio::time::timeout(SHUTDOWN, self.inner.tracker.wait()).await.is_err() {
            tracing::error!("not every MCP server ended in time");
        }
    }
}
