//! Suspending a run and letting it go on. Its processes are left as they are: everything they ask for is denied.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Runs;
use super::view::{self, RunParams, RunView};
use crate::core::error::{Code, Failure};
use crate::core::run::RunState;
use crate::gate::LiveRun;

/// Parameters of [`suspend`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuspendParams {
    /// Which run.
    pub run: String,
    /// Why, for the record.
    #[serde(default)]
    pub reason: Option<String>,
}

/// The longest reason, in characters.
const REASON_MAX: usize = 200;

/// Closes models and tools to a run.
pub async fn suspend(runs: &Runs, params: SuspendParams) -> Result<RunView, Failure> {
    let live = require_live(runs, &params.run).await?;
    let reason: String = params.reason.unwrap_or_default().chars().take(REASON_MAX).collect();
    let why = if reason.trim().is_empty() { "its owner wants it so".to_owned() } else { reason };
    if !runs.gate().suspend(&live, &why).await? {
        return Err(cannot(&params.run, live.state(), "suspended"));
    }
    view::show(runs, RunParams { run: live.run.id.to_string() }).await
}

/// Opens them again.
pub async fn resume(runs: &Runs, params: RunParams) -> Result<RunView, Failure> {
    let live = require_live(runs, &params.run).await?;
    if !runs.gate().resume(&live).await? {
        return Err(cannot(&params.run, live.state(), "resumed"));
    }
    view::show(runs, RunParams { run: live.run.id.to_string() }).await
}

async fn require_live(runs: &Runs, name: &str) -> Result<Arc<LiveRun>, Failure> {
    let row = view::require(runs, name).await?;
    runs.gate().live(row.run.id).ok_or_else(|| {
        Failure::new(Code::Conflict, format!("`{name}` is over ({})", row.state.name())).hint("agentsup ps")
    })
}

fn cannot(name: &str, state: RunState, done: &str) -> Failure {
    Failure::new(Code::Conflict, format!("`{name}` is {} and cannot be {done}", state.name()))
        .hint("agentsup ps")
}
