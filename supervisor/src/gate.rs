//! The gate: every action of every run is decided here, and nowhere else is a [`Permit`] made.
//!
//! In order: the run's state, the policies (all layers, every reason kept, the strictest in force), a person's answer
//! where one is asked for, the budget, the record. Everything fails closed: what cannot be decided, paid for or
//! recorded does not happen. Must not perform effects, speak a wire format or know an agent or provider by name.

mod acs;
mod adjust;
mod ask;
mod breaker;
mod draft;
mod drift;
mod labels;
mod line;
mod live;
mod news;
mod permit;
mod reconcile;
mod refuse;
mod reported;
mod reserve;
#[cfg(test)]
mod tests;
mod unanswered;

use std::sync::Arc;

use tokio::sync::watch;

use crate::approvals::Approvals;
use crate::core::action::Action;
use crate::core::billing::Billing;
use crate::core::breaker::Seen;
use crate::core::canonical;
use crate::core::decision::{Decision, Evaluation, Reason, Refusal, RefusalKind};
use crate::core::ids::{RecordId, RunId};
use crate::core::manifest::Agent;
use crate::core::policy::Circumstances;
use crate::core::policy::own::{Own, OwnFile};
use crate::core::record::{Entry, EventEntry};
use crate::core::rules::Case;
use crate::core::run::{Run, RunState};
use crate::core::scope;
use crate::core::usage::{Charge, Outcome};
use crate::registry::{Registry, Snapshot};
use crate::store::facts::{self, Draft};
use crate::store::ledger::{self};
use crate::store::runs::{self, KeeperRef, RunChange, RunRow};
use crate::store::{Store, StoreError, Transaction, own_policies, records};
use crate::sys::clock::Clock;

use acs::Considered;
pub use acs::{Arguments, Told};
pub use adjust::{AdjustError, Change, Direction};
pub use ask::Show;
pub use drift::{Accepted, ClockError};
pub use live::{LiveRun, token_hash};
pub use news::Alert;
use permit::Claim;
pub use permit::Permit;
pub use reconcile::{Reconciled, Statement};
pub use reported::{CALLS_MAX, Reported};
pub use reserve::account;

/// The gate. Clones share it.
#[derive(Clone)]
pub struct Gate {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    registry: Registry,
    approvals: Approvals,
    live: live::LiveRuns,
    settled: watch::Sender<u64>,
    line: line::Line,
    breakers: breaker::Breakers,
    news: news::News,
    overspent: watch::Sender<u64>,
    clock: Clock,
    drift: drift::Drift,
}

impl Gate {
    /// A gate over a store and what the registry has in force.
    pub fn new(store: Store, registry: Registry) -> Self {
        Self::by_clock(store, registry, Clock::wall())
    }

    fn by_clock(store: Store, registry: Registry, clock: Clock) -> Self {
        let inner = Inner {
            store,
            registry,
            approvals: Approvals::default(),
            breakers: breaker::Breakers::default(),
            live: live::LiveRuns::default(),
            news: news::News::default(),
            settled: watch::Sender::new(0),
            overspent: watch::Sender::new(0),
            line: line::Line::default(),
            clock,
            drift: drift::Drift::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Takes calls that an earlier daemon left open as spent: they went out, and nobody will ever report.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn recover(&self) -> Result<usize, StoreError> {
        let at_ms = self.now_ms();
        let write = self.inner.store.write(move |tx| {
            let orphans = ledger::orphans(tx)?;
            for orphan in &orphans {
                let closed = ledger::close(tx, orphan.id, Charge::Assumed, at_ms)?;
                let entry = crate::core::record::OutcomeEntry {
                    of: orphan.record,
                    run: orphan.run,
                    status: "assumed after a crash".to_owned(),
                    usage: None,
                    assumed: true,
                    tokens: closed.as_ref().map(|closed| closed.tokens),
                    cost_nano_usd: closed.as_ref().map(|closed| closed.posted.nano()),
                };
                records::append(tx, Entry::Outcome(entry))?;
            }
            Ok(orphans.len())
        });
        write.await
    }

    /// The open questions to people.
    pub fn approvals(&self) -> &Approvals {
        &self.inner.approvals
    }

    /// The run a token stands for; none if it is unknown or its run is over. Touches memory only.
    pub fn authenticate(&self, token: &str) -> Option<Arc<LiveRun>> {
        self.inner.live.by_token(token).filter(|live| !live.state().is_final())
    }

    /// A live run.
    pub fn live(&self, id: RunId) -> Option<Arc<LiveRun>> {
        self.inner.live.by_id(id)
    }

    /// All live runs, oldest first.
    pub fn live_runs(&self) -> Vec<Arc<LiveRun>> {
        self.inner.live.all()
    }

    /// Lets a new run in, in the state `starting`; its token works from now on.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn admit(&self, run: Run, token: &str) -> Result<Arc<LiveRun>, StoreError> {
        self.admit_under(run, token, Vec::new(), Own::None).await
    }

    /// As [`Gate::admit`], under its repository's own policies: their files and what was loaded from them.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn admit_under(
        &self,
        run: Run,
        token: &str,
        files: Vec<OwnFile>,
        own: Own,
    ) -> Result<Arc<LiveRun>, StoreError> {
        let hash = token_hash(token);
        let stored = run.clone();
        let insert = move |tx: &Transaction<'_>| {
            runs::insert(tx, &stored, hash)?;
            own_policies::insert(tx, stored.id, &files)
        };
        self.inner.store.write(insert).await?;
        Ok(self.inner.live.add(run, RunState::Starting, hash, own))
    }

    /// Takes a run that outlived an earlier daemon back in. Its hooks were heard if a model was ever open to it.
    pub fn readmit(&self, row: &RunRow) -> Arc<LiveRun> {
        let own = Own::restore(&row.own, &row.run.base);
        let live = self.inner.live.add(row.run.clone(), row.state, row.token_hash, own);
        if row.calls > 0 {
            live.hear_hooks();
        }
        if let Some(why) = row.exit.as_deref().filter(|_| row.state == RunState::Suspended) {
            live.set_suspension(why);
        }
        live.gain(row.labels);
        live
    }

    /// Stores where a run's keeper is.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn set_keeper(&self, live: &LiveRun, keeper: KeeperRef) -> Result<(), StoreError> {
        let id = live.run.id;
        self.inner.store.write(move |tx| runs::set_keeper(tx, id, keeper)).await
    }

    /// Changes a run's state, in memory first, so that a killed run is stopped even where the disk is slow. Entering
    /// a final state revokes the token at once. `exit` says how it ended. Answers whether the change made sense.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn set_state(
        &self,
        live: &LiveRun,
        state: RunState,
        exit: Option<String>,
    ) -> Result<bool, StoreError> {
        let changed = live.become_state(state);
        if state.is_final() {
            self.inner.live.remove(live.run.id);
            self.inner.breakers.forget(live.run.id);
            self.inner.approvals.forget(live.run.id);
        }
        if !changed {
            return Ok(false);
        }
        let ended_at_ms = state.is_final().then(|| self.now_ms());
        let (id, change) = (live.run.id, RunChange { state, ended_at_ms, exit });
        self.inner.store.write(move |tx| runs::set_state(tx, id, &change)).await?;
        if state.is_final() {
            self.observe_end(live);
        }
        Ok(true)
    }

    /// The run's hooks have announced themselves: models are open to it.
    pub fn hear_hooks(&self, live: &LiveRun) {
        live.hear_hooks();
    }

    /// Records an event.
    ///
    /// # Errors
    /// Those of the store; then the event's cause must not go on.
    pub async fn note(&self, event: EventEntry) -> Result<RecordId, StoreError> {
        self.inner.store.write(move |tx| records::append(tx, Entry::Event(event))).await
    }

    /// What the registry has in force: flows hold texts against its rules about data, the gate decides by what they found.
    pub fn in_force(&self) -> Arc<Snapshot> {
        self.inner.registry.current()
    }

    /// What policy alone would say. No record, no reservation: only to leave out of lists what would be denied.
    pub fn preview(&self, live: &LiveRun, action: &Action) -> Decision {
        self.evaluate(&self.inner.registry.current(), live, action, &self.circumstances(live)).decision
    }

    /// Decides about an action. A permit means: allowed, recorded and, where it costs money, reserved.
    ///
    /// # Errors
    /// The refusal, already recorded.
    pub async fn decide(&self, live: &Arc<LiveRun>, action: Action) -> Result<Permit, Refusal> {
        self.decide_told(live, action, Told::default()).await
    }

    /// As [`Gate::decide`], by somebody who can tell more about the action.
    ///
    /// # Errors
    /// As [`Gate::decide`].
    pub async fn decide_told(
        &self,
        live: &Arc<LiveRun>,
        action: Action,
        told: Told,
    ) -> Result<Permit, Refusal> {
        let digest = hex::encode(digest(&action).map_err(|error| refuse::unavailable(&error))?);
        let mut considered = self.consider(live, &action, &told).await;
        let mut kind = RefusalKind::Denied;
        if considered.evaluation.decision == Decision::Ask {
            let wanted = ask::Wanted { action: &action, digest: &digest, told: &told };
            (considered, kind) = self.ask(live, &wanted, considered).await;
        }
        let Considered { snapshot, now, evaluation } = considered;
        if live.state().is_final() {
            kind = RefusalKind::Killed;
        }
        let draft = draft::draft(&snapshot, live, &action, now, (&evaluation, digest))?;
        if evaluation.decision != Decision::Allow {
            return Err(self.record_refusal(live, draft, kind, &evaluation, &action).await);
        }
        let permit = match &action {
            Action::Llm(llm) => {
                let reserved = self.reserve(live, llm, draft).await;
                match &reserved {
                    Err(_) => self.watch(live, Seen::Refused).await,
                    Ok(_) if llm.bound.is_some_and(|bound| bound.is_billed()) => {
                        self.watch(live, Seen::Called).await;
                    }
                    Ok(_) => {}
                }
                reserved?
            }
            _ => {
                let gain = labels::Gain::of_source(&snapshot, live, &action, evaluation.brings);
                self.record(live, &action, draft, gain).await?
            }
        };
        if let Action::Tool(_) = &action {
            self.watch_telemetry(live).await;
        }
        // What fell between the decision and its record comes first: a kill, and for what costs money a suspension, which
        // this very call may have brought about.
        let state = live.state();
        let asks_model = matches!(action, Action::Llm(_));
        if state.is_final() || (asks_model && state == RunState::Suspended) {
            let status = format!("{} before it began", state.name());
            let outcome = Outcome { status, charge: asks_model.then_some(Charge::Void) };
            let settled = permit.settle(outcome).await;
            return Err(settled.map_or_else(|error| refuse::unwritten(&error), |()| refuse::closed(live)));
        }
        Ok(permit)
    }

    fn evaluate(
        &self,
        snapshot: &Snapshot,
        live: &LiveRun,
        action: &Action,
        now: &Circumstances,
    ) -> Evaluation {
        let mut reasons = state_reasons(live, action);
        let name = live.run.agent.to_string();
        match snapshot.agent(&name) {
            None => reasons.push(deny("registry", format!("`{name}` is no longer registered"))),
            Some(agent) => {
                if scope::expired(agent, self.now_ms()) {
                    reasons.push(deny("registry", format!("the time of `{name}` is over")));
                }
                if let Some(reason) = budget_reason(snapshot, agent) {
                    reasons.push(reason);
                }
                let case = Case { agent, run: &live.run, action, now };
                reasons.extend(snapshot.rules().with(live.own()).judge(case).reasons);
            }
        }
        Evaluation::of(reasons)
    }

    /// What is the case while a run acts.
    pub fn circumstances(&self, live: &LiveRun) -> Circumstances {
        Circumstances {
            session: live.labels().names().map(str::to_owned).collect(),
            budget_left_percent: live.budget_left_percent(),
            ..Circumstances::at(self.now_ms())
        }
    }

    async fn record(
        &self,
        live: &LiveRun,
        action: &Action,
        draft: Draft,
        gain: Option<labels::Gain>,
    ) -> Result<Permit, Refusal> {
        // An agent calls many tools and waits for each; what it starts or whom it calls is rarer and weighs more.
        let may_be_late = matches!(action, Action::Tool(_));
        let kept = gain.clone();
        let append = move |tx: &Transaction<'_>| {
            let record = facts::append(tx, draft)?;
            kept.map_or(Ok(()), |gain| gain.keep(tx, Some(record)))?;
            Ok(record)
        };
        let written = self.inner.store.write_synced_if(move |_| !may_be_late, append).await;
        let record = written.map_err(|error| refuse::unwritten(&error))?;
        self.gained(gain.as_ref());
        Ok(Permit::new(self.clone(), Claim::free(record, live.run.id)))
    }

    async fn record_refusal(
        &self,
        live: &LiveRun,
        mut draft: Draft,
        kind: RefusalKind,
        evaluation: &Evaluation,
        action: &Action,
    ) -> Refusal {
        // Whatever was asked, what is refused is denied.
        draft.entry.decision = Decision::Deny;
        let written = self.inner.store.write_soon(move |tx| facts::append(tx, draft)).await;
        if matches!(action, Action::Llm(_)) {
            self.watch(live, Seen::Refused).await;
        }
        match written {
            Ok(record) => refuse::denied(kind, evaluation, action, record),
            Err(error) => refuse::unwritten(&error),
        }
    }

    pub(super) fn store(&self) -> &Store {
        &self.inner.store
    }

    pub(super) fn now_ms(&self) -> i64 {
        self.inner.clock.now_ms()
    }

    pub(super) fn tell_settled(&self) {
        self.inner.settled.send_modify(|count| *count = count.wrapping_add(1));
    }
}

fn state_text(live: &LiveRun, state: RunState) -> String {
    let name = state.name();
    match live.suspension() {
        Some(why) if state == RunState::Suspended => {
            format!("the run is {name}: {why}; `agentsup resume {}` lets it go on", live.run.id.short())
        }
        _ => format!("the run is {name}"),
    }
}

fn state_reasons(live: &LiveRun, action: &Action) -> Vec<Reason> {
    let mut reasons = Vec::with_capacity(8);
    let state = live.state();
    if !state.may_act() {
        reasons.push(deny("state", state_text(live, state)));
    }
    if let Some(over) = live.overspent() {
        reasons.push(deny("budget", over));
    }
    if let Action::Llm(llm) = action {
        if live.run.billing == Billing::Subscription {
            let text = "the run is paid by a subscription, so the organisation's keys are closed to it";
            reasons.push(deny("billing", text.to_owned()));
        }
        if !live.hooks_heard() {
            let text = "the agent's hooks have not announced themselves, so its own tools would go undecided";
            reasons.push(deny("hooks", text.to_owned()));
        }
        if let Some(objection) = &llm.objection {
            reasons.push(deny("gateway", objection.reason.clone()));
        } else if llm.bound.is_none() {
            reasons.push(deny("gateway", "the cost of the call cannot be bounded".to_owned()));
        }
    }
    reasons
}

fn budget_reason(snapshot: &Snapshot, agent: &Agent) -> Option<Reason> {
    let missing = match snapshot.budget_of(agent) {
        Some(budget) if snapshot.chain(budget).is_some() => return None,
        Some(budget) => format!("a budget above `{}` does not exist", budget.name),
        None => format!("the budget `{}` does not exist", agent.budget),
    };
    Some(deny("budget", missing))
}

fn deny(source: &str, text: String) -> Reason {
    Reason::new(source, Decision::Deny, text)
}

/// The digest of a normalised action: what an approval is bound to. Everything that is decided about is in it.
fn digest(action: &Action) -> Result<[u8; 32], canonical::CanonicalError> {
    let mut parts = vec![action.kind().to_owned(), action.name(), action.target()];
    match action {
        Action::Tool(tool) => {
            parts.push(hex::encode(tool.args_digest));
            parts.push(tool.facts.command.clone().unwrap_or_default());
            parts.push(tool.facts.hosts.join(" "));
            let named = tool.facts.parts.iter().flat_map(|part| &part.paths);
            parts.extend(
                tool.facts.paths.iter().chain(named).map(|fact| fact.path.to_string_lossy().into_owned()),
            );
        }
        Action::Launch(launch) => {
            parts.push(launch.billing.name().to_owned());
            parts.extend(launch.remote.clone());
        }
        // The same secret in a longer conversation is the same question, whatever the call costs.
        Action::Llm(llm) => parts.extend(match llm.asked {
            Some(asked) => Some(hex::encode(asked)),
            None => llm.bound.map(|bound| bound.cost.nano().to_string()),
        }),
        Action::Egress(_) => {}
    }
    canonical::digest(&parts)
}
