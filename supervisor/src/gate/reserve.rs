//! Holding money for a model call: the reservation and the record of the decision are one transaction.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::permit::{Claim, Held};
use super::{Gate, LiveRun, Permit, deny, refuse};
use crate::core::action::{Bound, LlmAction};
use crate::core::budget::{self, Balance, Fit};
use crate::core::decision::{Decision, Refusal};
use crate::core::ids::RecordId;
use crate::core::manifest::TokenBudget;
use crate::core::record::{DecisionEntry, Entry};
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
        matches!(self, Self::Held(_, bound) if bound.is_billed())
    }
}

/// What a try may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Try {
    /// Others were here first: it may only learn that waiting is of no use.
    Behind,
    /// Nobody is before it.
    First,
    /// As [`Try::First`], and it will not wait any more.
    Last,
}

/// Those who wait for headroom, in the order they came, by budget. A small call does not overtake a large one, or the
/// large one would be refused although there is money left.
#[derive(Default)]
pub(super) struct Lines {
    by_budget: Mutex<HashMap<String, Weak<Turn>>>,
}

/// Held by whoever is first in a line.
type Turn = tokio::sync::Mutex<()>;

impl Lines {
    pub(super) fn is_waiting(&self, budget: &str) -> bool {
        let lines = self.by_budget.lock().unwrap_or_else(PoisonError::into_inner);
        lines.get(budget).is_some_and(|line| line.strong_count() > 0)
    }

    fn line(&self, budget: &str) -> Arc<Turn> {
        let mut lines = self.by_budget.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = lines.get(budget).and_then(Weak::upgrade) {
            return line;
        }
        lines.retain(|_, line| line.strong_count() > 0);
        let line = Arc::default();
        lines.insert(budget.to_owned(), Arc::downgrade(&line));
        line
    }
}

impl Gate {
    /// Holds the bound and records the decision in one transaction; waits, bounded and in line, while money is only
    /// pending. The budget is the one in force at each try.
    pub(super) async fn reserve(
        &self,
        live: &LiveRun,
        llm: &LlmAction,
        entry: DecisionEntry,
    ) -> Result<Permit, Refusal> {
        let deadline = Instant::now() + HEADROOM_WAIT;
        let mut settled = self.inner.settled.subscribe();
        let mut turn = None;
        loop {
            settled.mark_unchanged();
            let snapshot = self.inner.registry.current();
            let budget =
                snapshot.agent(&live.run.agent.to_string()).and_then(|agent| snapshot.budget_of(agent));
            // The evaluation has denied calls without a budget or a bound; here they end the call all the same.
            let (Some(budget), Some(bound)) = (budget.cloned(), llm.bound) else {
                return Err(refuse::unavailable(&"the call has no budget or no bound"));
            };
            let hold = self.hold(live, llm, &budget, bound).map_err(|error| refuse::unavailable(&error))?;
            let line = hold.account.budget.clone();
            let attempt = match &turn {
                _ if Instant::now() >= deadline => Try::Last,
                // What is free waits for nobody.
                None if bound.is_billed() && self.inner.lines.is_waiting(&line) => Try::Behind,
                _ => Try::First,
            };
            let (entry, of_budget) = (entry.clone(), budget.clone());
            let admit = move |tx: &Transaction<'_>| admit_call(tx, &hold, entry, of_budget, attempt);
            let admission = self.inner.store.write_synced_if(Admission::holds_money, admit).await;
            match admission.map_err(|error| refuse::unavailable(&error))? {
                Admission::Held(claim, _) => return Ok(Permit::new(self.clone(), claim)),
                Admission::Refused(balance, record) => {
                    return Err(refuse::over_budget(&budget, &balance, &bound, &live.run, record));
                }
                Admission::Later => {}
            }
            let wait = async {
                if turn.is_some() {
                    drop(settled.changed().await);
                } else {
                    turn = Some(self.inner.lines.line(&line).lock_owned().await);
                }
            };
            tokio::select! {
                waited = timeout_at(deadline, wait) => drop(waited),
                () = live.cancelled() => return Err(refuse::killed()),
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
            provider: llm.provider.clone(),
            model: llm.model.clone(),
            prices: llm.prices.clone(),
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
    attempt: Try,
) -> Result<Admission, StoreError> {
    entry.budget = Some(hold.account.budget.clone());
    entry.period = Some(hold.account.period.clone());
    let (fit, balance) = if attempt == Try::Behind {
        let balance = ledger::balance(tx, &hold.account)?;
        (budget::fit(&hold.cap, &balance, &hold.bound), balance)
    } else {
        ledger::reserve(tx, hold)?
    };
    match fit {
        Fit::Now | Fit::Later if attempt == Try::Behind => Ok(Admission::Later),
        Fit::Now => {
            entry.reserved_nano_usd = Some(hold.bound.cost.nano());
            records::append_as(tx, hold.record, hold.at_ms, Entry::Decision(entry))?;
            let held = Held { reservation: hold.id, budget };
            let claim = Claim { record: hold.record, run: hold.run, held: Some(held) };
            Ok(Admission::Held(claim, hold.bound))
        }
        Fit::Later if attempt == Try::First => Ok(Admission::Later),
        Fit::Later | Fit::Never => {
            entry.decision = Decision::Deny;
            entry.reasons.push(deny("budget", refuse::budget_text(&budget, &balance, &hold.bound)));
            records::append_as(tx, hold.record, hold.at_ms, Entry::Decision(entry))?;
            Ok(Admission::Refused(balance, hold.record))
        }
    }
}
