//! The clock that periods are computed from: noticing that it was set forward, and a person's word that it is right.
//!
//! Invariants: nothing is taken for the present but what the clock shows or showed; whoever accepts a clock that goes
//! back takes along what was spent in the periods that had not come, so that no period has more than its ceiling.

use std::sync::{Mutex, PoisonError};

use super::adjust::record_adjustment;
use super::{Gate, account};
use crate::core::amount::Amount;
use crate::core::budget::{self, is_later_period};
use crate::core::manifest::{Cap, TokenBudget};
use crate::core::money::NanoUsd;
use crate::core::record::{Entry, EventEntry};
use crate::store::adjustments::{self, Adjustment};
use crate::store::ledger::{self, Account};
use crate::store::time::{self, Kept, TOLERANCE_MS};
use crate::store::{StoreError, Transaction, records};
use crate::sys::ids;

/// Who makes the changes that follow from an accepted clock; no person has this name.
const BY: &str = "clock";

/// What both clocks showed when they were looked at last.
#[derive(Default)]
pub(super) struct Drift {
    last: Mutex<Option<(i64, i64)>>,
}

/// The clock was set forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Jump {
    /// What it should have shown.
    pub(super) from_ms: i64,
    /// What it showed.
    pub(super) to_ms: i64,
}

impl Drift {
    /// Whether the clock has gone faster than the one that nobody sets.
    fn look(&self, now_ms: i64, boot_ms: i64) -> Option<Jump> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let (before_ms, before_boot_ms) = last.replace((now_ms, boot_ms))?;
        let from_ms = before_ms.saturating_add(boot_ms.saturating_sub(before_boot_ms));
        (now_ms.saturating_sub(from_ms) > TOLERANCE_MS).then_some(Jump { from_ms, to_ms: now_ms })
    }
}

/// What became of a clock that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// What the clock shows.
    pub now_ms: i64,
    /// What periods were computed from before.
    pub kept_ms: i64,
    /// What was spent in periods that have not come, by the account whose present period pays for it.
    pub carried: Vec<(Account, Amount)>,
}

/// Why a clock was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum ClockError {
    /// Money is held in periods that may not be the right ones.
    #[error("calls are under way ({0}), and money is held for them in the periods of the old time")]
    UnderWay(u64),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Gate {
    /// The time for a decision. That the clock was set forward into another period of a budget is recorded first.
    ///
    /// # Errors
    /// Those of the store.
    pub(super) async fn look_at_clock(&self) -> Result<i64, StoreError> {
        let now_ms = self.now_ms();
        let Some(jump) = self.inner.drift.look(now_ms, self.inner.clock.boot_ms()) else { return Ok(now_ms) };
        let snapshot = self.inner.registry.current();
        let crosses = |budget: &TokenBudget| {
            budget::period_id(&budget.period, jump.from_ms) != budget::period_id(&budget.period, jump.to_ms)
        };
        let budgets: Vec<String> = snapshot
            .budgets
            .iter()
            .filter(|budget| crosses(budget))
            .map(|budget| budget.reference().to_string())
            .collect();
        if !budgets.is_empty() {
            self.store().write(move |tx| tell_forward(tx, jump, &budgets)).await?;
        }
        Ok(now_ms)
    }

    /// What is kept of the clock.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn clock(&self) -> Result<(i64, Kept), StoreError> {
        let now_ms = self.look_at_clock().await?;
        let kept = self.store().read(move |connection| time::kept(connection, now_ms)).await?;
        Ok((now_ms, kept))
    }

    /// Takes a person's word that the clock is right. Only while nothing is under way.
    ///
    /// # Errors
    /// [`ClockError::UnderWay`], or those of the store.
    pub async fn accept_clock(&self, by: String) -> Result<Accepted, ClockError> {
        let now_ms = self.look_at_clock().await?;
        let budgets = self.inner.registry.current().budgets.clone();
        let accepted = self.store().write(move |tx| accept(tx, &by, &budgets, now_ms)).await?;
        self.tell_settled();
        accepted
    }
}

fn tell_forward(tx: &Transaction<'_>, jump: Jump, budgets: &[String]) -> Result<(), StoreError> {
    let Jump { from_ms, to_ms } = jump;
    time::set_forward(tx, from_ms, to_ms)?;
    let text = format!(
        "the clock was set forward from {} to {}, into another period of {}",
        budget::instant_text(from_ms),
        budget::instant_text(to_ms),
        budgets.join(", ")
    );
    let event = EventEntry::new("clock-set-forward", text).fact("from_ms", from_ms).fact("to_ms", to_ms);
    records::append(tx, Entry::Event(event)).map(drop)
}

fn accept(
    tx: &Transaction<'_>,
    by: &str,
    budgets: &[TokenBudget],
    now_ms: i64,
) -> Result<Result<Accepted, ClockError>, StoreError> {
    let under_way = ledger::under_way(tx)?;
    if under_way > 0 {
        return Ok(Err(ClockError::UnderWay(under_way)));
    }
    let kept_ms = time::at(tx, now_ms)?;
    time::accept(tx, now_ms)?;
    let text = format!(
        "{by} accepted the clock, which shows {}; budgets were in the periods of {}",
        budget::instant_text(now_ms),
        budget::instant_text(kept_ms)
    );
    let event = EventEntry::new("clock-accepted", text).fact("now_ms", now_ms).fact("kept_ms", kept_ms);
    records::append_as(tx, ids::new_record_id()?, now_ms, Entry::Event(event))?;
    let mut carried = Vec::new();
    for budget in budgets {
        let present = account(budget, now_ms);
        for later in ledger::periods(tx, &present.budget)? {
            if is_later_period(&later.period, &present.period) {
                carried.extend(carry(tx, budget, &later, &present, now_ms)?);
            }
        }
    }
    Ok(Ok(Accepted { now_ms, kept_ms, carried }))
}

/// What was spent in a period that has not come was spent now: the present period can spend so much less, and that one
/// so much more. What was carried away before is not carried again, and what was carried into it is.
fn carry(
    tx: &Transaction<'_>,
    budget: &TokenBudget,
    later: &Account,
    present: &Account,
    now_ms: i64,
) -> Result<Option<(Account, Amount)>, StoreError> {
    let balance = ledger::balance(tx, later)?;
    let before = adjustments::made_by(tx, later, BY)?;
    let (nano_usd, tokens) = match budget.cap {
        Cap::Money { .. } => (balance.posted.nano().saturating_sub(before.0).max(0), 0),
        Cap::Tokens { .. } => {
            let posted = i64::try_from(balance.posted_tokens).unwrap_or(i64::MAX);
            (0, posted.saturating_sub(before.1).max(0))
        }
    };
    let amount = match (NanoUsd::new(nano_usd), u64::try_from(tokens)) {
        _ if (nano_usd, tokens) == (0, 0) => return Ok(None),
        (Ok(money), _) if nano_usd > 0 => Amount::Money(money),
        (_, tokens) => Amount::Tokens(tokens.unwrap_or(0)),
    };
    for (account, sign, said) in [(present, -1, "less"), (later, 1, "more")] {
        let record = ids::new_record_id()?;
        let reason = format!("spent in {} while the clock was ahead", later.period);
        let adjustment = Adjustment {
            record,
            account: account.clone(),
            nano_usd: sign * nano_usd,
            tokens: sign * tokens,
            by: BY.to_owned(),
            reason: Some(reason.clone()),
            at_ms: now_ms,
        };
        let text =
            format!("the budget {} has {amount} {said} in {} ({reason})", account.budget, account.period);
        record_adjustment(tx, &adjustment, text)?;
    }
    Ok(Some((present.clone(), amount)))
}

/// A call of a period from which spending was carried away turned out cheaper. What it frees there was never spent of
/// that period's own, so there is no more to spend of it than before.
pub(super) fn uncarry(
    tx: &Transaction<'_>,
    account: &Account,
    (money, tokens): (NanoUsd, u64),
    now_ms: i64,
) -> Result<(), StoreError> {
    let carried = adjustments::made_by(tx, account, BY)?;
    let nano_usd = money.nano().min(carried.0.max(0));
    let tokens = i64::try_from(tokens).unwrap_or(i64::MAX).min(carried.1.max(0));
    if (nano_usd, tokens) == (0, 0) {
        return Ok(());
    }
    let reason = "less was spent in it while the clock was ahead";
    let adjustment = Adjustment {
        record: ids::new_record_id()?,
        account: account.clone(),
        nano_usd: -nano_usd,
        tokens: -tokens,
        by: BY.to_owned(),
        reason: Some(reason.to_owned()),
        at_ms: now_ms,
    };
    let amount = match NanoUsd::new(nano_usd) {
        Ok(money) if nano_usd > 0 => money.to_string(),
        _ => format!("{tokens} tokens"),
    };
    let text = format!("the budget {} has {amount} less in {} ({reason})", account.budget, account.period);
    record_adjustment(tx, &adjustment, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_goes_faster_than_the_other_was_set() {
        let drift = Drift::default();
        let hour = 60 * 60 * 1000;
        for (now_ms, boot_ms, jump) in [
            (1000, 0, None),
            (1000 + hour, hour, None),
            // the machine slept: both went on
            (1000 + 9 * hour, 9 * hour, None),
            (1000 + 9 * hour + TOLERANCE_MS, 9 * hour, None),
            (
                1000 + 20 * hour,
                9 * hour,
                Some(Jump { from_ms: 1000 + 9 * hour + TOLERANCE_MS, to_ms: 1000 + 20 * hour }),
            ),
            (1000 + 21 * hour, 10 * hour, None),
            // set back
            (1000, 10 * hour, None),
        ] {
            assert_eq!(drift.look(now_ms, boot_ms), jump);
        }
    }
}
