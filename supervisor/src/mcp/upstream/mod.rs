//! The servers' side: one shared connection per configured server, started when it is first needed.
//!
//! Owns: connections and their transports, how a server is started, watched, left alone after failures and stopped.
//! Invariants: no wait is unbounded; what happens to one server touches no other; only what the user's
//! configuration names is ever started. Must not know agents, runs or policies.

mod connection;
mod error;
pub(super) mod hello;
mod http;
mod leftover;
mod logfile;
mod server;
pub(super) mod sse;
mod stdio;

use std::path::PathBuf;
use std::time::Duration;

use tokio_util::task::TaskTracker;

use crate::sys::upstream::Upstream;

pub(super) use connection::Connection;
pub use error::ServerError;
pub(super) use leftover::end_all;
pub(super) use server::Server;
pub use server::{ServerState, ServerStatus};

/// How long things may take and how large they may be.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// From the start of a server to its first list of tools.
    pub start: Duration,
    /// From the start of a server until agents' lists are served without it.
    pub patience: Duration,
    /// One call of a tool.
    pub call: Duration,
    /// One answer that is not a call's: a page of tools, a ping.
    pub answer: Duration,
    /// The first rest after repeated failures; it doubles each time.
    pub rest: Duration,
    /// The longest rest.
    pub rest_max: Duration,
    /// A connection that lived this long counts as good: failures before it are forgotten.
    pub settled: Duration,
    /// How long tools listed over HTTP stay current, because such a server has no way to say that they changed.
    pub list_age: Duration,
    /// One message of a server's, in bytes.
    pub message_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            start: Duration::from_secs(60),
            patience: Duration::from_secs(8),
            call: Duration::from_secs(600),
            answer: Duration::from_secs(10),
            rest: Duration::from_millis(500),
            rest_max: Duration::from_secs(60),
            settled: Duration::from_secs(30),
            list_age: Duration::from_secs(60),
            message_max: 32 * 1024 * 1024,
        }
    }
}

/// What all servers share.
#[derive(Clone)]
pub(super) struct Surroundings {
    pub(super) limits: Limits,
    pub(super) client: Upstream,
    /// Where servers are started and their standard errors kept.
    pub(super) dir: PathBuf,
    /// Everything that runs for servers, to be waited for at the end.
    pub(super) tracker: TaskTracker,
}

/// Tells a server that nobody waits for an answer any more.
fn cancelled(id: u64) -> String {
    format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#)
}
