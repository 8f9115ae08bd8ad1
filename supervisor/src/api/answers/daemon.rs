//! The daemon itself: what it is, and its end.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::api::App;
use crate::api::wire::Hello;
use crate::core::error::Failure;

/// What the daemon is and does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Its process.
    pub pid: u32,
    /// Its release.
    pub version: String,
    /// The version of its protocol.
    pub protocol: u32,
    /// When it started, milliseconds since 1970.
    pub started_at_ms: i64,
    /// Its socket.
    pub socket: PathBuf,
    /// The loopback port at which agents reach it.
    pub port: u16,
    /// Runs that are not over.
    pub runs: u64,
    /// Registered agents.
    pub agents: u64,
    /// What is wrong with configuration and manifests.
    pub problems: Vec<String>,
    /// What is wrong with the clock that periods are computed from.
    #[serde(default)]
    pub clock_problems: Vec<String>,
}

/// The daemon is about to end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopping {
    /// Its process.
    pub pid: u32,
    /// Runs that go on, without models and tools until the next daemon.
    pub runs: u64,
}

/// What the daemon is and does.
pub async fn status(app: &App) -> Result<Status, Failure> {
    let snapshot = app.registry.current();
    let Hello { protocol, version } = Hello::ours();
    Ok(Status {
        pid: std::process::id(),
        version,
        protocol,
        started_at_ms: app.started_at_ms,
        socket: app.home.socket(),
        port: app.port,
        runs: count(app.gate.live_runs().len()),
        agents: count(snapshot.agents.len()),
        problems: snapshot.problems.iter().map(ToString::to_string).collect(),
        clock_problems: super::clock::show(app).await?.problems(),
    })
}

/// Ends the daemon.
pub async fn stop(app: &App) -> Result<Stopping, Failure> {
    app.shutdown.cancel();
    Ok(Stopping { pid: std::process::id(), runs: count(app.gate.live_runs().len()) })
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
