//! Ending runs: asked to (`stop`), or at once and verified (`kill`).
//!
//! A kill revokes the credential first, so that model and tool calls break off, then empties the process tree.

use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout};

use super::keeper::{self, Found, KeeperClient};
use super::view::{self, RunParams, RunView};
use super::{Runs, WAIT_MAX};
use crate::core::error::{Code, Failure};
use crate::core::ids::RunId;
use crate::core::record::EventEntry;
use crate::core::run::RunState;
use crate::gate::LiveRun;
use crate::sys::peer;
use crate::sys::process::{self, ProcessError, ProcessRef, Signalled};

/// Longer than a keeper needs to empty a tree after the grace is over.
const AFTER_GRACE: Duration = Duration::from_secs(30);
/// How often orphans are killed again, because what is killed may have had children meanwhile.
const ORPHAN_PASSES: u32 = 64;
/// The longest grace.
const GRACE_MAX_MS: u64 = 300_000;

/// Parameters of [`stop`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopParams {
    /// Which run.
    pub run: String,
    /// How long it may take to end by itself, in milliseconds, at most five minutes.
    pub grace_ms: u64,
}

/// Parameters of [`wait`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitParams {
    /// Which run.
    pub run: String,
    /// How long to wait, in milliseconds, at most ten minutes.
    pub timeout_ms: u64,
}

/// Whom to kill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// One run.
    Run(String),
    /// Every run of an agent.
    Agent(String),
    /// Every run.
    All,
}

/// Parameters of [`kill`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KillParams {
    /// Whom.
    pub target: Target,
}

/// What a kill did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Killed {
    /// The runs that were alive.
    pub killed: Vec<RunId>,
    /// Processes that were killed.
    pub processes_killed: u64,
    /// Processes that did not die; zero means verified.
    pub survivors: u64,
    /// From the request to the verified end, in milliseconds.
    pub elapsed_ms: u64,
}

/// Asks a run to end, kills what is left after the grace, and answers when it is over.
pub async fn stop(runs: &Runs, params: StopParams) -> Result<RunView, Failure> {
    let row = view::require(runs, &params.run).await?;
    let Some(live) = runs.gate().live(row.run.id) else {
        return Err(over(&params.run, row.state));
    };
    if live.state() == RunState::Starting {
        // There is nobody to be asked yet; the launch is undone.
        kill(runs, KillParams { target: Target::Run(live.run.id.to_string()) }).await?;
        return view::show(runs, RunParams { run: live.run.id.to_string() }).await;
    }
    let grace = Duration::from_millis(params.grace_ms.min(GRACE_MAX_MS));
    runs.gate().set_state(&live, RunState::Stopping, None).await?;
    let mut keeper = connect(&live).await?;
    keeper.stop(grace).await.map_err(|error| Failure::internal(&error))?;
    if timeout(grace + AFTER_GRACE, runs.finished(live.run.id)).await.is_err() {
        return Err(Failure::new(Code::Conflict, format!("`{}` has not ended", params.run))
            .hint(format!("agentsup kill {}", live.run.id)));
    }
    view::show(runs, RunParams { run: live.run.id.to_string() }).await
}

/// Waits until a run is over and its worktree dealt with.
pub async fn wait(runs: &Runs, params: WaitParams) -> Result<RunView, Failure> {
    let row = view::require(runs, &params.run).await?;
    let limit = Duration::from_millis(params.timeout_ms).min(WAIT_MAX);
    // Whoever asked sees from the state whether it is over.
    let _still_alive = timeout(limit, runs.finished(row.run.id)).await;
    view::show(runs, RunParams { run: row.run.id.to_string() }).await
}

/// Kills runs and verifies that nothing of them is left.
pub async fn kill(runs: &Runs, params: KillParams) -> Result<Killed, Failure> {
    let began = Instant::now();
    let targets = targets(runs, &params.target).await?;
    for live in &targets {
        revoke(runs, live, "killed").await?;
    }
    let mut result = Killed { killed: Vec::new(), processes_killed: 0, survivors: 0, elapsed_ms: 0 };
    let mut kills = tokio::task::JoinSet::new();
    for live in targets {
        let runs = runs.clone();
        kills.spawn(async move { (live.run.id, empty(&runs, &live).await) });
    }
    while let Some(kill) = kills.join_next().await {
        let (id, emptied) = kill.map_err(|error| Failure::internal(&error))?;
        let (killed, survivors) = emptied?;
        result.killed.push(id);
        result.processes_killed += killed;
        result.survivors += survivors;
    }
    result.killed.sort_unstable();
    result.elapsed_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(result)
}

/// Kills runs on a subscription whose budgets are used up: their model calls cannot be refused.
pub async fn kill_overspent(runs: &Runs) {
    for live in runs.gate().live_runs() {
        let Some(why) = live.overspent().filter(|_| !live.state().is_final()) else { continue };
        if let Err(failure) = end_by_force(runs, &live, &why).await {
            tracing::error!(%failure, run = %live.run.id, "a run that is over its budget could not be ended");
        }
    }
}

/// Kills one run, for a reason that goes on the record.
pub(super) async fn end_by_force(runs: &Runs, live: &Arc<LiveRun>, why: &str) -> Result<(), Failure> {
    revoke(runs, live, why).await?;
    empty(runs, live).await.map(drop)
}

async fn targets(runs: &Runs, target: &Target) -> Result<Vec<Arc<LiveRun>>, Failure> {
    match target {
        Target::All => Ok(runs.gate().live_runs()),
        Target::Agent(name) => {
            let of = |live: &Arc<LiveRun>| live.run.agent.answers_to(name);
            Ok(runs.gate().live_runs().into_iter().filter(of).collect())
        }
        Target::Run(text) => {
            let row = view::require(runs, text).await?;
            match runs.gate().live(row.run.id) {
                Some(live) => Ok(vec![live]),
                None => Err(over(text, row.state)),
            }
        }
    }
}

/// From then on its token stands for nothing, and whoever works for the run stops. The record comes second: a kill is
/// not held up by a disk.
async fn revoke(runs: &Runs, live: &Arc<LiveRun>, why: &str) -> Result<(), Failure> {
    let revoked = runs.gate().set_state(live, RunState::Killed, Some(why.to_owned())).await;
    let event = EventEntry::of_run(&live.run, "run-killed", "was told to die, its credential revoked")
        .fact("why", why);
    if let Err(error) = runs.gate().note(event).await {
        tracing::error!(%error, run = %live.run.id, "a kill could not be recorded");
    }
    if let Err(error) = revoked {
        tracing::error!(%error, run = %live.run.id, "a kill could not be stored");
    }
    Ok(())
}

/// Empties the run's process tree: how many processes were killed, and how many would not die.
async fn empty(runs: &Runs, live: &Arc<LiveRun>) -> Result<(u64, u64), Failure> {
    let asked = match KeeperClient::connect(&live.run.dir).await {
        Ok(mut keeper) => keeper.kill().await,
        Err(error) => Err(error),
    };
    let emptied = match asked {
        Ok(killed) => (u64::from(killed.processes_killed), u64::from(killed.survivors)),
        Err(error) => {
            tracing::warn!(%error, run = %live.run.id, "the keeper does not kill");
            empty_by_force(live).await?
        }
    };
    let _slow_disk = timeout(AFTER_GRACE, runs.finished(live.run.id)).await;
    Ok(emptied)
}

/// A keeper that does not answer is killed with everything below it. Without a keeper there is nothing to kill: the run
/// ended by itself in this moment, or is only being started, and its launch sees the state and ends it.
async fn empty_by_force(live: &Arc<LiveRun>) -> Result<(u64, u64), Failure> {
    let dir = live.run.dir.clone();
    let work = move || -> Result<(u64, u64), Failure> {
        let Ok(Found::Running(record)) = keeper::find(&dir) else { return Ok((0, 0)) };
        let failed = |error| Failure::internal(&error);
        let mut tree: Vec<ProcessRef> = process::descendants(record.keeper)
            .map_err(failed)?
            .into_iter()
            .map(|stat| stat.process)
            .collect();
        tree.push(record.keeper);
        let mut counts = (0, 0);
        for process in tree {
            match process.signal(Signal::SIGKILL) {
                Ok(Signalled::Sent) => counts.0 += 1,
                Ok(Signalled::Gone) => {}
                Err(_) => counts.1 += 1,
            }
        }
        Ok(counts)
    };
    tokio::task::spawn_blocking(work).await.map_err(|error| Failure::internal(&error))?
}

/// Kills what is left of a run whose keeper is gone: the agent died with it, what the agent started did not.
pub(super) async fn end_orphans(id: RunId) {
    let work = move || -> Result<(), ProcessError> {
        for _ in 0..ORPHAN_PASSES {
            let left = peer::carriers(&id.to_string())?;
            if left.is_empty() {
                return Ok(());
            }
            for process in left {
                // Who is gone is gone, and one of another user is not ours to end.
                let _sent = process.signal(Signal::SIGKILL);
            }
        }
        tracing::warn!(run = %id, "processes of a run without a keeper do not end");
        Ok(())
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, run = %id, "orphans cannot be looked for"),
        Err(error) => tracing::warn!(%error, run = %id, "orphans were not looked for"),
    }
}

async fn connect(live: &LiveRun) -> Result<KeeperClient, Failure> {
    KeeperClient::connect(&live.run.dir).await.map_err(|error| {
        Failure::new(Code::Conflict, format!("the keeper of `{}` cannot be reached: {error}", live.run.id))
            .hint(format!("agentsup kill {}", live.run.id))
    })
}

fn over(text: &str, state: RunState) -> Failure {
    Failure::new(Code::Conflict, format!("`{text}` is over ({})", state.name())).hint("agentsup ps --all")
}
