//! Holding money for a model call: the reservation and the record of the decision are one transaction.

use std::time::Duration;

use tokio::time::Instant;

use super::permit::{Claim, Held};
use super::{Gate, LiveRun, Permit, deny, refuse};
use crate::core::action::{Bound, LlmAction};
use crate::core::budget::{self, Balance, Fit};
use crate::core::decision::{Decision, Refusal};
use crate::core::ids::RecordId;
use crate::core::manifest::TokenBudget;
use crate::core::money::NanoUsd;
use crate::core::record::{DecisionEntry, Entry};
use crate::registry::Snapshot;
use crate::store::ledger::{self, Account, Hold};
use crate::store::{StoreError, Transaction, records};
use crate::sys::{clock, ids};

/// How long a call waits for others under way to turn out cheaper than what is held for them.
const HEADROOM_WAIT: Duration = Duration::from_secs(60);

/// What became of asking the ledger.
enum Admission {
    Held(Claim, Bound),
    Later,
    Refused(Balance, RecordId),
}

impl Admission {
    /// Then it must be on the disk before the provider sees the first byte.
    fn holds_money(&self) -> bool {
        matches!(self, Self::Held(_, bound) if bound.cost != NanoUsd::ZERO || bound.tokens() > 0)
    }
}

impl Gate {
    /// Holds the bound and records the decision in one transaction; waits, bounded, while money is only pending.
    pub(super) async fn reserve(
        &self,
        snapshot: &Snapshot,
        live: &LiveRun,
        llm: &LlmAction,
        entry: DecisionEntry,
    ) -> Result<Permit, Refusal> {
        let budget = snapshot.agent(&live.run.agent.to_string()).and_then(|agent| snapshot.budget_of(agent));
        // The evaluation has denied calls without a budget or a bound; here they end the call all the same.
        let (Some(budget), Some(bound)) = (budget.cloned(), llm.bound) else {
            return Err(refuse::unavailable(&"the call has no budget or no bound"));
        };
        let deadline = Instant::now() + HEADROOM_WAIT;
        let mut settled = self.inner.settled.subscribe();
        loop {
            settled.mark_unchanged();
            let last_try = Instant::now() >= deadline;
            let hold = self.hold(live, llm, &budget, bound).map_err(|error| refuse::unavailable(&error))?;
            let (entry, of_budget) = (entry.clone(), budget.clone());
            let admission = self
                .inner
                .store
                .write_synced_if(Admission::holds_money, move |tx| {
                    admit_call(tx, &hold, entry, of_budget, last_try)
                })
                .await
                .map_err(|error| refuse::unavailable(&error))?;
            match admission {
                Admission::Held(claim, _) => return Ok(Permit::new(self.clone(), claim)),
                Admission::Refused(balance, record) => {
                    return Err(refuse::over_budget(&budget, &balance, &bound, &live.run, record));
                }
                Admission::Later => {
                    tokio::select! {
                        changed = tokio::time::timeout_at(deadline, settled.changed()) => drop(changed),
                        () = live.cancelled() => return Err(refuse::killed()),
                    }
                }
            }
        }
    }

    fn hold(
        &self,
        live: &LiveRun,
        llm: &LlmAction,
        budget: &TokenBudget,
        bound: Bound,
    ) -> Result<Hold, ids::RandomError> {
        let at_ms = clock::now_ms();
        Ok(Hold {
            id: ids::new_reservation_id()?,
            record: ids::new_record_id()?,
            run: live.run.id,
            account: account(budget, at_ms),
            cap: budget.cap,
            model: llm.model.clone(),
            bound,
            at_ms,
        })
    }
}

/// The account that a budget has at an instant.
pub fn account(budget: &TokenBudget, at_ms: i64) -> Account {
    Account {
        budget: format!("{}/{}", budget.namespace, budget.name),
        period: budget::period_id(&budget.period, at_ms),
    }
}

fn admit_call(
    tx: &Transaction<'_>,
    hold: &Hold,
    mut entry: DecisionEntry,
    budget: TokenBudget,
    last_try: bool,
) -> Result<Admission, StoreError> {
    let (fit, balance) = ledger::reserve(tx, hold)?;
    match fit {
        Fit::Now => {
            entry.reserved_nano_usd = Some(hold.bound.cost.nano());
            records::append_as(tx, hold.record, hold.at_ms, Entry::Decision(entry))?;
            let held = Held { reservation: hold.id, budget };
            let claim = Claim { record: hold.record, run: hold.run, held: Some(held) };
            Ok(Admission::Held(claim, hold.bound))
        }
        Fit::Later if !last_try => Ok(Admission::Later),
        Fit::Later | Fit::Never => {
            entry.decision = Decision::Deny;
            entry.reasons.push(deny("budget", refuse::budget_text(&budget, &balance, &hold.bound)));
            records::append_as(tx, hold.record, hold.at_ms, Entry::Decision(entry))?;
            Ok(Admission::Refused(balance, hold.record))
        }
    }
}
