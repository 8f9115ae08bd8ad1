//! Suspending a run: by its circuit breaker, or because a person wants it. A suspended run keeps its processes and its
//! token, and everything it asks for is denied until it is resumed.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::{Gate, LiveRun};
use crate::core::breaker::{Breaker, Seen, Usual};
use crate::core::ids::RunId;
use crate::core::record::EventEntry;
use crate::core::run::RunState;
use crate::store::{StoreError, usage};
use crate::sys::clock;

/// How far back an agent's usual behaviour is looked for: a week.
const USUAL_MS: i64 = 7 * 24 * 60 * 60 * 1000;
/// Fewer minutes with model calls say nothing about what is usual.
const USUAL_MINUTES: u64 = 30;

/// The breakers of all live runs.
pub(super) struct Breakers {
    began: Instant,
    runs: Mutex<HashMap<RunId, Watched>>,
}

#[derive(Default)]
struct Watched {
    breaker: Breaker,
    /// Looked up once a run; the inner one is absent where too little is known.
    usual: Option<Option<Usual>>,
}

impl Default for Breakers {
    fn default() -> Self {
        Self { began: Instant::now(), runs: Mutex::default() }
    }
}

impl Breakers {
    fn runs(&self) -> MutexGuard<'_, HashMap<RunId, Watched>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What happened before is forgotten.
    pub(super) fn forget(&self, run: RunId) {
        self.runs().remove(&run);
    }

    fn at_s(&self) -> i64 {
        i64::try_from(self.began.elapsed().as_secs()).unwrap_or(i64::MAX)
    }
}

impl Gate {
    /// Takes note of what a run did, and suspends it if that looks like a runaway. What cannot be stored is told in the
    /// daemon's log: the run is suspended in memory all the same.
    pub(super) async fn watch(&self, live: &LiveRun, seen: Seen) {
        let breakers = &self.inner.breakers;
        let limits = self.inner.registry.current().config.breakers;
        let usual = self.usual(live).await;
        let objection = {
            let at_s = breakers.at_s();
            let mut runs = breakers.runs();
            let watched = runs.entry(live.run.id).or_default();
            watched.usual = Some(usual);
            watched.breaker.see(at_s, seen);
            watched.breaker.objection(at_s, &limits, usual.as_ref())
        };
        if let Some(why) = objection
            && let Err(error) = self.suspend(live, &why).await
        {
            tracing::error!(%error, run = %live.run.id, "a suspended run could not be recorded");
        }
    }

    async fn usual(&self, live: &LiveRun) -> Option<Usual> {
        let known = self.inner.breakers.runs().get(&live.run.id).and_then(|watched| watched.usual);
        if let Some(known) = known {
            return known;
        }
        let (agent, since_ms) = (live.run.agent.to_string(), clock::now_ms() - USUAL_MS);
        let read = self.inner.store.read(move |connection| usage::usual(connection, &agent, since_ms)).await;
        // Without it the plain limits hold, which are tighter.
        let (minutes, usual) = read.ok()??;
        (minutes >= USUAL_MINUTES).then_some(usual)
    }

    /// Denies a run everything until it is resumed. Answers whether it was running.
    ///
    /// # Errors
    /// Those of the store; the run is suspended in memory all the same.
    pub async fn suspend(&self, live: &LiveRun, why: &str) -> Result<bool, StoreError> {
        live.set_suspension(why);
        if !self.set_state(live, RunState::Suspended, Some(why.to_owned())).await? {
            return Ok(false);
        }
        self.note(EventEntry::of_run(&live.run, "run-suspended", format!("was suspended: {why}"))).await?;
        Ok(true)
    }

    /// Lets a suspended run go on, its breaker as new. Answers whether it was suspended.
    ///
    /// # Errors
    /// Those of the store; nothing is resumed that is not recorded.
    pub async fn resume(&self, live: &LiveRun) -> Result<bool, StoreError> {
        if live.state() != RunState::Suspended {
            return Ok(false);
        }
        self.note(EventEntry::of_run(&live.run, "run-resumed", "was resumed")).await?;
        self.inner.breakers.forget(live.run.id);
        live.hear_telemetry();
        self.set_state(live, RunState::Running, None).await
    }
}
