//! The end of an agent's time: its runs are asked to end at that instant, and killed if they do not.
//!
//! The gate denies such an agent every new action by itself; here its processes end as well. Waits for the next end that
//! a manifest names and for other manifests, nothing else, so a daemon that comes later finds what an earlier one left.

use std::collections::HashSet;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::Runs;
use super::stop::{self, StopParams};
use crate::core::ids::RunId;
use crate::core::manifest::Lifecycle;
use crate::core::principal::AgentRef;
use crate::core::record::EventEntry;
use crate::core::run::RunState;
use crate::core::scope;
use crate::gate::LiveRun;
use crate::registry::Snapshot;
use crate::sys::{alarm, clock};

/// How long a run may take to end by itself, as with `agentsup stop`.
const GRACE_MS: u64 = 10_000;

/// Stops runs of agents whose time is over, until the daemon ends.
pub async fn follow(runs: Runs, shutdown: CancellationToken) {
    let mut changes = runs.registry().watch();
    // Whoever is being stopped is not told again by the next change of a file.
    let mut stopping: HashSet<RunId> = HashSet::new();
    loop {
        let snapshot = Arc::clone(&changes.borrow_and_update());
        let now_ms = clock::now_ms();
        let live = runs.gate().live_runs();
        stopping.retain(|id| live.iter().any(|live| live.run.id == *id));
        for live in live {
            let Some(why) = over(&snapshot, &live.run.agent, now_ms) else { continue };
            if stopping.insert(live.run.id) {
                tokio::spawn(end(runs.clone(), live, why));
            }
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = alarm::wait_until(next_end_ms(&snapshot, now_ms)) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

/// Why the agent may not go on. One that no manifest declares any more gets no model and no tool, but keeps its
/// processes: its file may only be on its way to another place.
fn over(snapshot: &Snapshot, agent: &AgentRef, now_ms: i64) -> Option<String> {
    let declared = snapshot.agents.iter().find(|declared| declared.reference == *agent)?;
    if declared.lifecycle == Lifecycle::Retired {
        return Some(format!("{agent} is retired"));
    }
    scope::expired(declared, now_ms).then(|| format!("the time of {agent} is over"))
}

/// The next instant at which an agent's time ends; none if none does.
fn next_end_ms(snapshot: &Snapshot, now_ms: i64) -> Option<i64> {
    snapshot.agents.iter().filter_map(|agent| agent.deprovision_at_ms).filter(|at_ms| *at_ms > now_ms).min()
}

async fn end(runs: Runs, live: Arc<LiveRun>, why: String) {
    live.set_ending(&why);
    let text = format!("is being stopped, because {why}");
    let event = EventEntry::of_run(&live.run, "run-deprovisioned", text).fact("why", &why);
    if let Err(error) = runs.gate().note(event).await {
        // Its authority is gone whether or not that can be written.
        tracing::error!(%error, run = %live.run.id, "the end of an agent's time could not be recorded");
    }
    if live.state() == RunState::Starting {
        // There is nobody to be asked yet.
        return kill(&runs, &live, &why).await;
    }
    let params = StopParams { run: live.run.id.to_string(), grace_ms: GRACE_MS };
    let stopped = stop::stop(&runs, params).await;
    if let Err(failure) = stopped
        && runs.gate().live(live.run.id).is_some()
    {
        tracing::warn!(%failure, run = %live.run.id, "a run does not stop and is killed");
        kill(&runs, &live, &why).await;
    }
}

async fn kill(runs: &Runs, live: &Arc<LiveRun>, why: &str) {
    if let Err(failure) = stop::end_by_force(runs, live, why).await {
        tracing::error!(%failure, run = %live.run.id, "a run of an agent whose time is over could not be ended");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::fixture::agent;
    use crate::core::manifest::Agent;
    use crate::registry::Registry;
    use crate::sys::paths::Home;

    fn snapshot(agents: Vec<Agent>) -> Snapshot {
        let empty = Registry::read(&Home::rooted(std::path::Path::new("/nonexistent")));
        Snapshot { agents, ..empty }
    }

    #[test]
    fn an_agent_goes_on_until_it_is_retired_or_its_time_is_over() {
        let until = |at_ms| Agent { deprovision_at_ms: Some(at_ms), ..agent() };
        let over = |declared: Agent, now_ms| over(&snapshot(vec![declared]), &agent().reference, now_ms);
        assert_eq!(over(agent(), i64::MAX), None);
        assert_eq!(over(until(1000), 999), None);
        assert_eq!(over(until(1000), 1000), Some("the time of agent/bot@team is over".into()));
        let retired = Agent { lifecycle: Lifecycle::Retired, ..until(1000) };
        assert_eq!(over(retired, 2000), Some("agent/bot@team is retired".into()));
        let other = Agent { reference: AgentRef::new("other", "team").unwrap(), ..until(1000) };
        assert_eq!(over(other, 2000), None);
    }

    #[test]
    fn the_next_end_is_waited_for() {
        let until = |at_ms| Agent { deprovision_at_ms: Some(at_ms), ..agent() };
        let ends = snapshot(vec![until(3000), agent(), until(2000), until(1000)]);
        let next: Vec<_> =
            [0, 1000, 2500, 3000].into_iter().map(|now_ms| next_end_ms(&ends, now_ms)).collect();
        assert_eq!(next, [Some(1000), Some(2000), Some(3000), None]);
    }
}
