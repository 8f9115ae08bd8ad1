//! The permit: proof of a decision. Made only by the gate, consumed by exactly one effect, settled with its outcome.

use super::labels::Gain;
use super::{Alert, Gate};
use crate::core::action::Bound;
use crate::core::breaker::Seen;
use crate::core::budget::{self, Gauge};
use crate::core::ids::{RecordId, ReservationId, RunId};
use crate::core::label::Labels;
use crate::core::manifest::{Cap, TokenBudget};
use crate::core::money::NanoUsd;
use crate::core::record::{Entry, EventEntry, OutcomeEntry};
use crate::core::usage::{Charge, Outcome};
use crate::store::frozen::{self, Priced};
use crate::store::ledger::{self, Account, Closed};
use crate::store::{StoreError, Transaction, records, upstream};

/// The longest name of a call that is kept, in bytes.
const UPSTREAM_ID_MAX: usize = 200;

/// Proof that an action was decided, recorded and, where it costs money, reserved. Whoever holds it may perform
/// exactly that effect, and then settles it. Dropped unsettled, it records `abandoned` and what was reserved is
/// taken as spent.
///
/// An effect takes it by value and gives it up:
///
/// ```
/// use agentsup_supervisor::{core::usage::Outcome, gate::{Gate, Permit}, store::StoreError};
/// async fn effect(_gate: Gate, permit: Permit) -> Result<(), StoreError> {
///     permit.settle(Outcome::free("ok")).await
/// }
/// ```
///
/// Nobody but the gate makes one, neither of its parts:
///
/// ```compile_fail,E0451
/// use agentsup_supervisor::{core::usage::Outcome, gate::{Gate, Permit}, store::StoreError};
/// async fn effect(gate: Gate) -> Result<(), StoreError> {
///     let permit = Permit { claim: None, gate };
///     permit.settle(Outcome::free("ok")).await
/// }
/// ```
///
/// nor by its constructor:
///
/// ```compile_fail,E0624
/// use agentsup_supervisor::{core::usage::Outcome, gate::{Gate, Permit}, store::StoreError};
/// async fn effect(gate: Gate) -> Result<(), StoreError> {
///     let permit = Permit::new(gate, todo!());
///     permit.settle(Outcome::free("ok")).await
/// }
/// ```
///
/// It cannot be kept for a second effect:
///
/// ```compile_fail,E0599
/// use agentsup_supervisor::{core::usage::Outcome, gate::{Gate, Permit}, store::StoreError};
/// async fn effect(_gate: Gate, permit: Permit) -> Result<(), StoreError> {
///     permit.clone().settle(Outcome::free("ok")).await?;
///     permit.settle(Outcome::free("ok")).await
/// }
/// ```
///
/// nor used for one:
///
/// ```compile_fail,E0382
/// use agentsup_supervisor::{core::usage::Outcome, gate::{Gate, Permit}, store::StoreError};
/// async fn effect(_gate: Gate, permit: Permit) -> Result<(), StoreError> {
///     permit.settle(Outcome::free("ok")).await?;
///     permit.settle(Outcome::free("ok")).await
/// }
/// ```
#[must_use = "an effect is performed under its permit and settles it"]
pub struct Permit {
    claim: Option<Claim>,
    gate: Gate,
}

/// What a permit stands for.
#[derive(Debug, Clone)]
pub(super) struct Claim {
    pub(super) record: RecordId,
    pub(super) run: RunId,
    pub(super) held: Option<Held>,
    /// The output tokens that were granted instead of what was asked for.
    pub(super) granted_output: Option<u64>,
    /// Names that the provider has for the call and that are not kept yet.
    pub(super) names: Vec<String>,
    /// Labels that the result brings.
    pub(super) gain: Option<Box<Gain>>,
}

impl Claim {
    /// One that nothing is held for.
    pub(super) const fn free(record: RecordId, run: RunId) -> Self {
        Self { record, run, held: None, granted_output: None, names: Vec::new(), gain: None }
    }
}

/// An amount held in every budget of a chain.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) reservation: ReservationId,
    pub(super) chain: Vec<TokenBudget>,
    /// How much it is.
    pub(super) bound: Bound,
    /// What would be frozen if it cost more than was held.
    pub(super) priced: Priced,
    /// How full the fullest of the budgets was before.
    pub(super) gauge: Option<Gauge>,
}

impl Permit {
    pub(super) fn new(gate: Gate, claim: Claim) -> Self {
        Self { claim: Some(claim), gate }
    }

    /// The record of the decision.
    pub fn record(&self) -> Option<RecordId> {
        self.claim.as_ref().map(|claim| claim.record)
    }

    /// The most output tokens that the call may ask for, where that is less than it did: no more fitted into the budget.
    pub fn granted_output(&self) -> Option<u64> {
        self.claim.as_ref().and_then(|claim| claim.granted_output)
    }

    /// How full the fullest of the budgets that pay for the call was before it.
    pub fn gauge(&self) -> Option<Gauge> {
        self.claim.as_ref()?.held.as_ref()?.gauge
    }

    /// Says what was found in the result: the run has these labels from now on, and they are kept with the outcome.
    pub fn bring(&mut self, labels: Labels) {
        let Some(claim) = &mut self.claim else { return };
        let live = self.gate.live(claim.run);
        claim.gain = live.and_then(|live| Gain::of_result(&live, labels)).map(Box::new);
        self.gate.gained(claim.gain.as_deref());
    }

    /// Takes note of a name that the provider has for the call, for its statements; it is kept when the call is settled.
    pub fn name_upstream(&mut self, id: &str) {
        let is_name =
            (1..=UPSTREAM_ID_MAX).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
        let names = self.claim.as_mut().filter(|claim| claim.held.is_some()).map(|claim| &mut claim.names);
        if let Some(names) = names.filter(|names| is_name && names.iter().all(|known| known != id)) {
            names.push(id.to_owned());
        }
    }

    /// Keeps the names that are known by now, without waiting for it: for calls that may never be settled.
    pub fn keep_names(&mut self) {
        let Some(claim) = &mut self.claim else { return };
        let Some(held) = claim.held.as_ref().filter(|_| !claim.names.is_empty()) else { return };
        let (reservation, names) = (held.reservation, std::mem::take(&mut claim.names));
        let insert =
            move |tx: &Transaction<'_>| names.iter().try_for_each(|id| upstream::insert(tx, reservation, id));
        if let Err(error) = self.gate.store().enqueue(insert) {
            tracing::warn!(%error, "a call's name at its provider was not kept");
        }
    }

    /// Records how the effect ended and closes the reservation. A power cut in the next tenth of a second may undo
    /// it: then the reservation is open at the daemon's next start and taken as spent, which is never less, because
    /// an amount beyond the reservation is on the disk first.
    ///
    /// # Errors
    /// Those of the store. The reservation then stays open and is taken as spent at the daemon's next start.
    pub async fn settle(mut self, outcome: Outcome) -> Result<(), StoreError> {
        let Some(claim) = self.claim.take() else { return Ok(()) };
        let (gate, at_ms) = (self.gate.clone(), self.gate.now_ms());
        let (run, seen) = (claim.run, seen(&claim, &outcome));
        let overrun = |closing: &Closing| closing.overran;
        let work = move |tx: &Transaction<'_>| close(tx, &claim, &outcome, at_ms);
        let closed = gate.store().write_synced_if(overrun, work).await;
        gate.settled(run, seen, closed).await
    }

    /// As [`Permit::settle`] for what the reservation [covers](Permit::covers), without waiting for the commit: once this
    /// returns, whatever is decided is decided after it. Until the commit a crash leaves the reservation open, as a
    /// power cut does.
    ///
    /// # Errors
    /// Of the future, as [`Permit::settle`].
    pub fn settle_behind(
        mut self,
        outcome: Outcome,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + 'static {
        let gate = self.gate.clone();
        let queued = self.claim.take().map(|claim| {
            let at_ms = gate.now_ms();
            let (run, seen) = (claim.run, seen(&claim, &outcome));
            let work = move |tx: &Transaction<'_>| close(tx, &claim, &outcome, at_ms);
            (run, seen, gate.store().write_behind(work))
        });
        async move {
            let Some((run, seen, queued)) = queued else { return Ok(()) };
            let closed = match queued {
                Ok(written) => written.await,
                Err(work) => gate.store().write_soon(work).await,
            };
            gate.settled(run, seen, closed).await
        }
    }

    /// Whether no more is posted for this charge than was held.
    pub fn covers(&self, charge: &Charge) -> bool {
        let Some(held) = self.claim.as_ref().and_then(|claim| claim.held.as_ref()) else { return true };
        match charge {
            Charge::Settled { usage, cost } | Charge::AtMost { usage, cost } => {
                *cost <= held.bound.cost && usage.total() <= held.bound.tokens()
            }
            Charge::Assumed | Charge::Void => true,
        }
    }
}

/// What the run's breaker sees of a call that ends so.
fn seen(claim: &Claim, outcome: &Outcome) -> Option<Seen> {
    claim.held.as_ref().filter(|held| held.bound.is_billed())?;
    match outcome.charge {
        Some(Charge::Settled { cost, .. }) => Some(Seen::Answered(cost)),
        Some(Charge::Void) => Some(Seen::Failed),
        // Broken off, by whomever: that says nothing about the run.
        Some(Charge::Assumed | Charge::AtMost { .. }) | None => None,
    }
}

impl Gate {
    /// Tells whom it concerns that a permit was settled.
    async fn settled(
        &self,
        run: RunId,
        seen: Option<Seen>,
        closed: Result<Closing, StoreError>,
    ) -> Result<(), StoreError> {
        self.tell_settled();
        if let (Some(live), Some(seen)) = (self.live(run), seen) {
            self.watch(&live, seen).await;
        }
        closed.map(|closing| self.tell(closing.alerts))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Some(claim) = self.claim.take() else { return };
        let at_ms = self.gate.now_ms();
        let outcome =
            Outcome { status: "abandoned".to_owned(), charge: claim.held.as_ref().map(|_| Charge::Assumed) };
        let record = claim.record;
        let gate = self.gate.clone();
        let closing = move |tx: &Transaction<'_>| {
            // Nobody waits for the commit; told of what it undoes is better than not told.
            close(tx, &claim, &outcome, at_ms).map(|closing| gate.tell(closing.alerts))
        };
        if let Err(error) = self.gate.store().enqueue(closing) {
            // Safe: the reservation stays pending, and the daemon's next start takes it as spent.
            tracing::error!(%error, %record, "an abandoned permit could not be recorded");
        }
        self.gate.tell_settled();
    }
}

/// What follows from an effect's end.
#[derive(Debug, Default)]
struct Closing {
    /// Whether it cost more than was held.
    overran: bool,
    /// Whom its cost took across an edge.
    alerts: Vec<Alert>,
}

/// Closes the reservation and appends the outcome, the alert and the overrun that follow from it.
fn close(tx: &Transaction<'_>, claim: &Claim, outcome: &Outcome, at_ms: i64) -> Result<Closing, StoreError> {
    let closed = match (&claim.held, outcome.charge) {
        (Some(held), charge) => {
            // A flow that forgot to say what was billed must not make it free.
            let closed = ledger::close(tx, held.reservation, charge.unwrap_or(Charge::Assumed), at_ms)?;
            claim.names.iter().try_for_each(|id| upstream::insert(tx, held.reservation, id))?;
            closed
        }
        (None, _) => None,
    };
    let entry = OutcomeEntry {
        of: claim.record,
        run: claim.run,
        status: outcome.status.clone(),
        usage: closed.as_ref().and_then(|closed| closed.usage),
        assumed: closed.as_ref().is_some_and(|closed| closed.is_assumed),
        tokens: closed.as_ref().map(|closed| closed.tokens),
        cost_nano_usd: closed.as_ref().map(|closed| closed.posted.nano()),
    };
    records::append(tx, Entry::Outcome(entry))?;
    claim.gain.as_ref().map_or(Ok(()), |gain| gain.keep(tx, Some(claim.record)))?;
    let (Some(held), Some(closed)) = (&claim.held, closed) else { return Ok(Closing::default()) };
    tell_overrun(tx, held, &closed, at_ms)?;
    let alerts = tell_alerts(tx, &held.chain, &closed.accounts)?;
    Ok(Closing { overran: overrun(held, &closed).is_some(), alerts })
}

/// A bound was wrong: the truth is posted, and the model is not called again at these prices.
fn tell_overrun(tx: &Transaction<'_>, held: &Held, closed: &Closed, at_ms: i64) -> Result<(), StoreError> {
    let Some(overrun) = overrun(held, closed) else { return Ok(()) };
    let Priced { model, prices } = &held.priced;
    let budgets: Vec<&str> = closed.accounts.iter().map(|account| account.budget.as_str()).collect();
    let budgets = budgets.join(", ");
    tracing::error!(budgets, model, prices, reservation = %held.reservation, overrun,
        "a model call cost more than its bound");
    frozen::insert(tx, &held.priced, held.reservation, &overrun, at_ms)?;
    let text = format!(
        "a call of the model `{model}` cost {overrun} more than was held for it in {budgets}, and the model was frozen \
         until its prices change"
    );
    let event = EventEntry::new("budget-overrun", text)
        .fact("reservation", held.reservation)
        .fact("model", model)
        .fact("prices", prices)
        .fact("overrun_nano_usd", closed.overrun.nano())
        .fact("overrun_tokens", closed.overrun_tokens);
    records::append(tx, Entry::Event(event)).map(drop)
}

/// By how much a call cost more than was held, in words. Tokens count where a budget is in tokens.
fn overrun(held: &Held, closed: &Closed) -> Option<String> {
    let counts_tokens = held.chain.iter().any(|budget| matches!(budget.cap, Cap::Tokens { .. }));
    if closed.overrun != NanoUsd::ZERO {
        Some(closed.overrun.to_string())
    } else if counts_tokens && closed.overrun_tokens > 0 {
        Some(format!("{} tokens", closed.overrun_tokens))
    } else {
        None
    }
}

/// Records those of a chain's budgets that have crossed their edge.
pub(super) fn tell_alerts(
    tx: &Transaction<'_>,
    chain: &[TokenBudget],
    accounts: &[Account],
) -> Result<Vec<Alert>, StoreError> {
    let mut alerts = Vec::new();
    for budget in chain {
        let name = budget.reference().to_string();
        if let Some(account) = accounts.iter().find(|account| account.budget == name) {
            alerts.extend(tell_alert(tx, budget, account)?);
        }
    }
    Ok(alerts)
}

/// Records, once in a period, that a budget has crossed its edge.
pub(super) fn tell_alert(
    tx: &Transaction<'_>,
    budget: &TokenBudget,
    account: &Account,
) -> Result<Option<Alert>, StoreError> {
    let balance = ledger::balance(tx, account)?;
    if !budget::alerts(budget, &balance) || !ledger::mark_alerted(tx, account)? {
        return Ok(None);
    }
    let text = format!(
        "budget {} reached {} % of its cap in {}: {} spent",
        account.budget,
        budget.alert_at_percent,
        account.period,
        budget::posted_text(&budget.cap, &balance),
    );
    let event =
        EventEntry::new("budget-alert", text).fact("budget", &account.budget).fact("period", &account.period);
    records::append(tx, Entry::Event(event))?;
    let (posted, ceiling) =
        (budget::posted_text(&budget.cap, &balance), budget::ceiling_text(&budget.cap, &balance));
    Ok(Some(Alert {
        budget: account.budget.clone(),
        at_percent: budget.alert_at_percent,
        text: format!("{posted} of {ceiling} spent in {}", account.period),
    }))
}
