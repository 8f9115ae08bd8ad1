//! The daemon's ops: one table, from which the server's dispatch, the client's types and the list of names follow.
//!
//! The command line and the window use [`client`] and nothing else. Must not hold rules of its own: an op calls its flow.

pub mod answers;
pub mod client;
pub mod doctor;
mod failure;
pub mod loopback;
pub mod ops;
pub mod policy;
pub mod replay;
pub mod schema;
pub mod server;
pub mod start;
pub mod wire;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::catalog::git::GitRegistry;
use crate::gate::Gate;
use crate::mcp::Proxy;
use crate::registry::Registry;
use crate::run::Runs;
use crate::store::Store;
use crate::sys::paths::Home;

/// What the ops work on: the daemon's parts, put together by its composition root.
pub struct App {
    /// Where everything lives.
    pub home: Home,
    /// Ledger and log.
    pub store: Store,
    /// What is in force.
    pub registry: Registry,
    /// The registry in git.
    pub catalog: GitRegistry,
    /// The gate.
    pub gate: Gate,
    /// The life cycle of runs.
    pub runs: Runs,
    /// The MCP servers.
    pub proxy: Proxy,
    /// The front door for agents.
    pub port: u16,
    /// When the daemon started, milliseconds since 1970.
    pub started_at_ms: i64,
    /// Ends the daemon.
    pub shutdown: CancellationToken,
}

/// The parts, shared by all connections.
pub type SharedApp = Arc<App>;
