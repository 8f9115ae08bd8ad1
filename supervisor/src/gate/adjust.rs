//! Raising and lowering budgets: an adjustment of the present period and its record are one transaction.

use super::permit::tell_alert;
use super::reserve::ledger_time;
use super::{Alert, Gate, account};
use crate::core::amount::Amount;
use crate::core::budget::{self, Balance};
use crate::core::manifest::{Cap, TokenBudget};
use crate::core::record::{Entry, EventEntry};
use crate::store::adjustments::{self, Adjustment};
use crate::store::{StoreError, Transaction, ledger, records};
use crate::sys::ids;

/// The longest reason, in characters.
const REASON_MAX: usize = 200;

/// Up or down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// More may be spent.
    Raise,
    /// Less may be spent.
    Lower,
}

/// What is to be changed.
#[derive(Debug, Clone)]
pub struct Change {
    /// The budget as it is in force.
    pub budget: TokenBudget,
    /// Up or down.
    pub direction: Direction,
    /// By how much.
    pub amount: Amount,
    /// Who wants it: `user:alice`.
    pub by: String,
    /// Why, in their words.
    pub reason: Option<String>,
}

/// Why a budget was not changed.
#[derive(Debug, thiserror::Error)]
pub enum AdjustError {
    /// Money for a budget in tokens, or the other way round.
    #[error("the budget `{budget}` is not counted in the unit of `{amount}`")]
    Unit {
        /// Which.
        budget: String,
        /// What was asked for.
        amount: Amount,
    },
    /// Nothing to do.
    #[error("`{0}` changes nothing")]
    Nothing(Amount),
    /// More than there is, or than can be counted.
    #[error("the budget `{budget}` ends at {ceiling}, which cannot be changed by {amount}")]
    Range {
        /// Which.
        budget: String,
        /// Its hard ceiling now.
        ceiling: String,
        /// What was asked for.
        amount: Amount,
    },
    /// The reason is no line of text.
    #[error("the reason must be one line of at most {REASON_MAX} characters")]
    Reason,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Gate {
    /// Changes what a budget may spend in its present period, and lets those who wait for it try again.
    ///
    /// # Errors
    /// When the change makes no sense, or those of the store.
    pub async fn adjust(&self, change: Change) -> Result<(), AdjustError> {
        let signed = signed(&change)?;
        let is_line = |reason: &String| {
            reason.chars().count() <= REASON_MAX
                && !reason.is_empty()
                && !reason.chars().any(char::is_control)
        };
        if !change.reason.as_ref().is_none_or(is_line) {
            return Err(AdjustError::Reason);
        }
        let at_ms = self.look_at_clock().await?;
        let written = self.store().write(move |tx| write(tx, &change, signed, at_ms)).await?;
        self.tell_settled();
        self.tell(written?.into_iter().collect());
        Ok(())
    }
}

/// Nano-USD and tokens, below zero to lower.
fn signed(change: &Change) -> Result<(i64, i64), AdjustError> {
    let Change { budget, amount, direction, .. } = change;
    let (nano_usd, tokens) = match (budget.cap, *amount) {
        (Cap::Money { .. }, Amount::Money(money)) => (money.nano(), 0),
        (Cap::Tokens { .. }, Amount::Tokens(tokens)) => (0, i64::try_from(tokens).unwrap_or(i64::MAX)),
        _ => return Err(AdjustError::Unit { budget: budget.reference().to_string(), amount: *amount }),
    };
    match direction {
        _ if (nano_usd, tokens) == (0, 0) => Err(AdjustError::Nothing(*amount)),
        Direction::Raise => Ok((nano_usd, tokens)),
        Direction::Lower => Ok((-nano_usd, -tokens)),
    }
}

fn write(
    tx: &Transaction<'_>,
    change: &Change,
    (nano_usd, tokens): (i64, i64),
    at_ms: i64,
) -> Result<Result<Option<Alert>, AdjustError>, StoreError> {
    let Change { budget, direction, amount, by, reason } = change;
    let account = account(budget, ledger_time(tx, at_ms)?);
    let before = ledger::balance(tx, &account)?;
    let ceiling = budget::ceiling(&budget.cap, &before);
    let after = ceiling + i128::from(nano_usd) + i128::from(tokens);
    if after < 0 || after > i128::from(i64::MAX) {
        let ceiling = budget::ceiling_text(&budget.cap, &before);
        return Ok(Err(AdjustError::Range { budget: account.budget, ceiling, amount: *amount }));
    }
    let record = ids::new_record_id()?;
    let adjustment = Adjustment {
        record,
        account: account.clone(),
        nano_usd,
        tokens,
        by: by.clone(),
        reason: reason.clone(),
        at_ms,
    };
    let verb = match direction {
        Direction::Raise => "raised",
        Direction::Lower => "lowered",
    };
    let adjusted = Balance {
        adjusted_nano_usd: before.adjusted_nano_usd.saturating_add(nano_usd),
        adjusted_tokens: before.adjusted_tokens.saturating_add(tokens),
        ..before
    };
    let ceiling = budget::ceiling_text(&budget.cap, &adjusted);
    let because = reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
    let text = format!(
        "{by} {verb} the budget {} by {amount} to {ceiling} in {}{because}",
        account.budget, account.period
    );
    record_adjustment(tx, &adjustment, text)?;
    match direction {
        // What was told is told again when the new edge is crossed.
        Direction::Raise => {
            ledger::rearm(tx, &account)?;
            Ok(Ok(None))
        }
        Direction::Lower => tell_alert(tx, budget, &account).map(Ok),
    }
}

/// Puts a change in force, with the record that tells of it.
pub(super) fn record_adjustment(
    tx: &Transaction<'_>,
    adjustment: &Adjustment,
    text: String,
) -> Result<(), StoreError> {
    adjustments::insert(tx, adjustment)?;
    let event = EventEntry::new(adjustments::EVENT, text)
        .fact("budget", &adjustment.account.budget)
        .fact("period", &adjustment.account.period)
        .fact("nano_usd", adjustment.nano_usd)
        .fact("tokens", adjustment.tokens);
    records::append_as(tx, adjustment.record, adjustment.at_ms, Entry::Event(event)).map(drop)
}
