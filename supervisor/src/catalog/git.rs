//! The registry in git: looked at in the background and when somebody asks, proposed to, its news on the record.
//!
//! One look at a time. A look that fails changes nothing, and the next one comes by itself.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::core::error::{Code, Failure};
use crate::core::principal::AgentRef;
use crate::core::record::EventEntry;
use crate::gate::Gate;
use crate::registry::register::Registration;
use crate::registry::{
    self, Break, Config, Found, Looked, Proposal, Registry, Source, Synced, propose_agent,
    propose_retirement, short,
};
use crate::sys::paths::Home;
use crate::sys::{alarm, clock, ids};

/// How many times as long as usual is waited at most after looks that failed.
const MOST_TIMES: u64 = 4;
/// The part of the wait by which machines differ, so that they do not all come at once.
const JITTER_PART: u64 = 10;

/// The registry in git: a cheap clone.
#[derive(Clone)]
pub struct GitRegistry {
    inner: Arc<Inner>,
}

struct Inner {
    home: Home,
    registry: Registry,
    gate: Gate,
    looking: Mutex<()>,
}

impl GitRegistry {
    /// Of this home; what is found comes into force in `registry`.
    pub fn new(home: Home, registry: Registry, gate: Gate) -> Self {
        Self { inner: Arc::new(Inner { home, registry, gate, looking: Mutex::new(()) }) }
    }

    /// The repository that the configuration names, whether or not anything of it is in force.
    pub async fn source(&self) -> Result<Option<Source>, Failure> {
        Ok(self.configured().await?.registry)
    }

    async fn configured(&self) -> Result<Config, Failure> {
        let registry = self.inner.registry.clone();
        blocking(move || Ok(registry.configured())).await
    }

    /// Looks at the repository now. `accepted` is the commit that may come after one that it does not go on from, and
    /// who says so.
    ///
    /// # Errors
    /// When there is none, or it cannot be had: then what was in force stays.
    pub async fn sync(&self, accepted: Option<(String, String)>) -> Result<Synced, Failure> {
        let _one_at_a_time = self.inner.looking.lock().await;
        self.look(accepted).await
    }

    async fn look(&self, accepted: Option<(String, String)>) -> Result<Synced, Failure> {
        let config = self.configured().await?;
        let source = config.registry.clone().ok_or_else(not_configured)?;
        let (commit, by) = accepted.unzip();
        let (home, of) = (self.inner.home.clone(), source.clone());
        let look = move || Ok(registry::look(&home, &of, &config, commit.as_deref(), clock::now_ms())?);
        let synced = match blocking(look).await {
            Ok(looked) => self.conclude(looked, by.as_deref()).await,
            Err(failure) => Err(failure),
        };
        // Also what a look before this one has kept, should it not have come that far.
        let (registry, is_news) = (self.inner.registry.clone(), synced.as_ref().is_ok_and(Synced::is_news));
        let reload = move || {
            if is_news || registry.is_behind(&source) {
                registry.reload();
            }
            Ok(())
        };
        blocking(reload).await?;
        synced
    }

    /// Lets come into force what was found, once it is on the record.
    async fn conclude(&self, looked: Looked, accepted_by: Option<&str>) -> Result<Synced, Failure> {
        for event in events(looked.synced(), accepted_by) {
            self.inner.gate.note(event).await?;
        }
        let home = self.inner.home.clone();
        blocking(move || Ok(looked.conclude(&home)?)).await
    }

    /// Proposes an agent on a branch of its own, on top of what the repository has now.
    ///
    /// # Errors
    /// Then nothing was pushed.
    pub async fn propose(&self, registration: Registration) -> Result<Proposal, Failure> {
        self.change(move |home, source, config| {
            Ok(propose_agent(home, source, config, &registration, clock::now_ms())?)
        })
        .await
    }

    /// Proposes on a branch of its own that an agent is retired, which the file declares.
    ///
    /// # Errors
    /// Then nothing was pushed.
    pub async fn propose_retirement(&self, agent: AgentRef, file: PathBuf) -> Result<Proposal, Failure> {
        self.change(move |home, source, config| {
            Ok(propose_retirement(home, source, config, &agent, &file, clock::now_ms())?)
        })
        .await
    }

    async fn change(
        &self,
        propose: impl FnOnce(&Home, &Source, &Config) -> Result<Proposal, Failure> + Send + 'static,
    ) -> Result<Proposal, Failure> {
        let _one_at_a_time = self.inner.looking.lock().await;
        let synced = self.look(None).await?;
        if let Some(problem) = synced.look.problems().first() {
            let message = format!("nothing is proposed while the registry has a problem: {problem}");
            let failure = Failure::new(Code::ConfigInvalid, message);
            return Err(failure.hint(problem.hint.clone().unwrap_or_else(|| "agentsup sync".to_owned())));
        }
        let config = self.configured().await?;
        let source = config.registry.clone().ok_or_else(not_configured)?;
        let home = self.inner.home.clone();
        blocking(move || propose(&home, &source, &config)).await
    }

    /// Looks at the repository now and then, until the daemon ends; at once where the configuration names another.
    pub(super) async fn follow(self, shutdown: CancellationToken) {
        let mut changes = self.inner.registry.watch();
        let mut failures = 0;
        loop {
            changes.mark_unchanged();
            let source = self.source().await.ok().flatten();
            if source.is_some() {
                match self.sync(None).await {
                    Ok(_) => failures = 0,
                    Err(failure) => {
                        failures = u64::min(failures + 1, MOST_TIMES);
                        tracing::info!(%failure, "the registry was not reached; what is in force stays");
                    }
                }
            }
            let wait_ms = source.as_ref().map(|source| wait_ms(source.every_ms, failures));
            let mut next = std::pin::pin!(after(wait_ms));
            loop {
                tokio::select! {
                    () = &mut next => break,
                    () = shutdown.cancelled() => return,
                    changed = changes.changed() => {
                        if changed.is_err() {
                            return;
                        }
                        if self.source().await.ok().flatten() != source {
                            failures = 0;
                            break;
                        }
                    }
                }
            }
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Failure::internal(&error))?
}

fn not_configured() -> Failure {
    Failure::new(Code::Usage, "no registry in git is configured")
        .hint("write `[registry]` and `git = \"URL\"` into config.toml")
}

/// Longer after looks that failed, within a bound, and never the same for two machines.
fn wait_ms(every_ms: u64, failures: u64) -> u64 {
    let wait_ms = every_ms.saturating_mul((failures + 1).min(MOST_TIMES));
    // Without random bytes they all come at once, which is no reason not to look.
    wait_ms.saturating_add(ids::below(wait_ms / JITTER_PART).unwrap_or(0))
}

/// Completes when that time has passed, also while the machine slept or its clock was set; never without one.
async fn after(wait_ms: Option<u64>) {
    let Some(wait_ms) = wait_ms else { return std::future::pending().await };
    let at_ms = clock::now_ms().saturating_add(i64::try_from(wait_ms).unwrap_or(i64::MAX));
    let until = tokio::time::Instant::now() + Duration::from_millis(wait_ms);
    tokio::select! {
        () = alarm::wait_until(Some(at_ms)) => {}
        () = tokio::time::sleep_until(until) => {}
    }
}

/// What an auditor wants to know of a look. That another commit is in force is told by whoever sees it come.
fn events(synced: &Synced, accepted_by: Option<&str>) -> Vec<EventEntry> {
    let source = &synced.look.source;
    let event = |kind: &str, text: String, commit: &str| {
        EventEntry::new(kind, text)
            .fact("git", &source.git)
            .fact("branch", &source.branch)
            .fact("commit", commit)
    };
    let stays = synced.in_force.as_ref().map_or("nothing", |in_force| short(&in_force.commit));
    let refused = match &synced.look.found {
        _ if !synced.is_news() => None,
        Found::Rewound { commit } => {
            let text = format!(
                "the registry's branch was rewound to {}, which was refused: {stays} stays in force",
                short(commit)
            );
            Some(event("registry-rewound", text, commit))
        }
        Found::Invalid { commit, problems } => {
            let text = format!(
                "the registry's commit {} has {} problem(s) and was refused: {stays} stays in force",
                short(commit),
                problems.len()
            );
            Some(event("registry-refused", text, commit))
        }
        Found::Current | Found::Unreachable { .. } => None,
    };
    let restored = synced.in_force.as_ref().filter(|_| synced.was_restored()).map(|in_force| {
        let text = format!(
            "what was kept of the registry's commit {} was not what had been fetched any more, and was fetched anew",
            short(&in_force.commit)
        );
        event("registry-restored", text, &in_force.commit)
    });
    let accepted = synced.in_force.as_ref().zip(synced.accepted).zip(accepted_by);
    let accepted = accepted.map(|((in_force, accepted), who)| {
        let commit = short(&in_force.commit);
        let (kind, text) = match accepted {
            Break::Rewound => (
                "registry-rewind-accepted",
                format!("{who} accepted that the registry's branch was rewound to {commit}"),
            ),
            Break::Forgotten => (
                "registry-commit-accepted",
                format!(
                    "{who} accepted the registry's commit {commit}, without knowing what was in force before"
                ),
            ),
        };
        event(kind, text, &in_force.commit)
    });
    refused.into_iter().chain(restored).chain(accepted).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_grows_with_failures_within_a_bound_and_machines_differ() {
        for (failures, times) in [(0, 1), (1, 2), (3, 4), (4, 4), (1000, 4)] {
            for _ in 0..50 {
                let waits = wait_ms(300_000, failures);
                let least = 300_000 * times;
                assert!((least..=least + least / 10).contains(&waits), "{failures}: {waits}");
            }
        }
        let waits: std::collections::BTreeSet<u64> = (0..50).map(|_| wait_ms(300_000, 0)).collect();
        assert!(waits.len() > 1);
        assert!(wait_ms(u64::MAX, 9) > 0);
    }
}
