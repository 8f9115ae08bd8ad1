//! Reconciliation: what a provider states of a call is set against what the ledger has of it. Correction, accounts and
//! record are one transaction.
//!
//! Invariants: only what nobody counted is lowered, in every budget that paid and in the periods fixed when the call
//! was held; what is stated above it is posted and freezes the model. Only ops and the daemon itself come here, never an
//! agent.

use tokio::sync::watch;

use super::news::Alert;
use super::permit::tell_alerts;
use super::{Gate, drift};
use crate::core::ids::RecordId;
use crate::core::manifest::{Cap, TokenBudget};
use crate::core::money::NanoUsd;
use crate::core::reconcile::{Known, Standing, Stated, Verdict, judge};
use crate::core::record::{Entry, EventEntry};
use crate::core::usage::Usage;
use crate::store::corrections::{self, Call, Correction};
use crate::store::frozen::{self, Priced};
use crate::store::ledger::Account;
use crate::store::{StoreError, Transaction, records};
use crate::sys::ids;

/// The longest name of a source, in characters.
const SOURCE_MAX: usize = 200;

/// A statement about one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The record of the call's decision.
    pub record: RecordId,
    /// What is stated of it.
    pub stated: Stated,
    /// Who states it: a file's name, or a provider.
    pub source: String,
    /// Who brings it in: `user:alice`, or `agentsup`.
    pub by: String,
}

/// What a statement came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reconciled {
    /// The call as it was before.
    pub call: Call,
    /// What the statement means.
    pub verdict: Verdict,
    /// What is posted from now on.
    pub after: Standing,
    /// The record of the correction, where there is one.
    pub record: Option<RecordId>,
}

impl Gate {
    /// Sets a statement against the ledger; none if there is no such call. What it frees may be spent at once.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn reconcile(&self, statement: Statement) -> Result<Option<Reconciled>, StoreError> {
        let at_ms = self.now_ms();
        let budgets = self.inner.registry.current().budgets.clone();
        let (done, alerts) = self.store().write(move |tx| write(tx, &statement, &budgets, at_ms)).await?;
        if done.as_ref().is_some_and(|done| done.record.is_some()) {
            self.tell_settled();
        }
        self.tell(alerts);
        Ok(done)
    }

    /// The calls let through within this time that nobody counted, with the names that their providers have for them.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn assumed(&self, within_ms: i64) -> Result<Vec<(Call, Vec<String>)>, StoreError> {
        let since_ms = self.now_ms().saturating_sub(within_ms);
        self.store().read(move |connection| corrections::assumed(connection, since_ms)).await
    }

    /// Changes whenever a call was settled or a place became free.
    pub fn settlements(&self) -> watch::Receiver<u64> {
        self.inner.settled.subscribe()
    }

    /// As [`Gate::reconcile`], and changes nothing.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn preview_statement(&self, statement: Statement) -> Result<Option<Reconciled>, StoreError> {
        let read = self.store().read(move |connection| {
            let call = corrections::calls(connection, &statement.record.to_string())?.pop();
            Ok(call.map(|call| weigh(call, &statement.stated)))
        });
        read.await
    }
}

fn weigh(call: Call, stated: &Stated) -> Reconciled {
    let (verdict, after) = judge(&call.standing, stated);
    Reconciled { call, verdict, after, record: None }
}

fn write(
    tx: &Transaction<'_>,
    statement: &Statement,
    budgets: &[TokenBudget],
    at_ms: i64,
) -> Result<(Option<Reconciled>, Vec<Alert>), StoreError> {
    let call = corrections::calls(tx, &statement.record.to_string())?.pop();
    let Some(call) = call else { return Ok((None, Vec::new())) };
    let done = weigh(call, &statement.stated);
    if !done.verdict.corrects() {
        return Ok((Some(done), Vec::new()));
    }
    let Reconciled { call, after, .. } = &done;
    let record = ids::new_record_id()?;
    let counted = after.known != call.standing.known && after.known == Known::Whole;
    let correction = Correction {
        record,
        reservation: call.reservation,
        before: call.standing,
        after: *after,
        usage: statement.stated.usage.filter(|_| counted),
        source: statement.source.chars().filter(|letter| !letter.is_control()).take(SOURCE_MAX).collect(),
        by: statement.by.clone(),
        at_ms,
    };
    let accounts = corrections::insert(tx, call, &correction)?;
    records::append_as(tx, record, at_ms, Entry::Event(event(call, &correction)))?;
    let freed = (call.standing.cost.minus(after.cost), call.standing.tokens.saturating_sub(after.tokens));
    accounts.iter().try_for_each(|account| drift::uncarry(tx, account, freed, at_ms))?;
    let paying = |account: &Account| {
        budgets.iter().find(|budget| budget.reference().to_string() == account.budget).cloned()
    };
    if done.verdict == Verdict::Overrun {
        let counts_tokens =
            accounts.iter().filter_map(paying).any(|budget| matches!(budget.cap, Cap::Tokens { .. }));
        freeze(tx, call, &correction, counts_tokens)?;
    }
    let alerts = tell_alerts(tx, budgets, &accounts)?;
    Ok((Some(Reconciled { record: Some(record), ..done }), alerts))
}

/// What the record of a correction says.
fn event(call: &Call, correction: &Correction) -> EventEntry {
    let Correction { before, after, by, source, usage, .. } = correction;
    let model = &call.model;
    let text = if before.cost == after.cost {
        format!("{by} confirmed what a call of `{model}` cost, {}, as {source} states", after.cost)
    } else {
        let verb = if after.cost < before.cost { "lowered" } else { "raised" };
        format!(
            "{by} {verb} what a call of `{model}` cost from {} to {}, as {source} states",
            before.cost, after.cost
        )
    };
    let event = EventEntry::new(corrections::EVENT, text)
        .fact("call", call.record)
        .fact("run", call.run)
        .fact("reservation", call.reservation)
        .fact("old_nano_usd", before.cost.nano())
        .fact("new_nano_usd", after.cost.nano())
        .fact("old_tokens", before.tokens)
        .fact("new_tokens", after.tokens);
    let Some(Usage {
        input_tokens,
        cache_write_5m_tokens,
        cache_write_1h_tokens,
        cache_read_tokens,
        output_tokens,
    }) = usage
    else {
        return event;
    };
    event
        .fact("input_tokens", input_tokens)
        .fact("cache_write_5m_tokens", cache_write_5m_tokens)
        .fact("cache_write_1h_tokens", cache_write_1h_tokens)
        .fact("cache_read_tokens", cache_read_tokens)
        .fact("output_tokens", output_tokens)
}

/// The bound of the call was wrong: the model is not called again at these prices.
fn freeze(
    tx: &Transaction<'_>,
    call: &Call,
    correction: &Correction,
    counts_tokens: bool,
) -> Result<(), StoreError> {
    let Correction { before, after, .. } = correction;
    let over = after.cost.minus(before.cost);
    let overrun = if over != NanoUsd::ZERO {
        over.to_string()
    } else if counts_tokens {
        format!("{} tokens", after.tokens.saturating_sub(before.tokens))
    } else {
        return Ok(());
    };
    let priced = Priced { model: call.model.clone(), prices: call.prices.clone() };
    frozen::insert(tx, &priced, call.reservation, &overrun, correction.at_ms)?;
    let Priced { model, prices } = &priced;
    tracing::error!(model, prices, reservation = %call.reservation, overrun, "a model call cost more than its bound");
    let text = format!(
        "a call of the model `{model}` was billed {overrun} more than its prices allow for, and the model was frozen \
         until its prices change"
    );
    let event = EventEntry::new("budget-overrun", text)
        .fact("reservation", call.reservation)
        .fact("model", model)
        .fact("prices", prices)
        .fact("overrun_nano_usd", over.nano())
        .fact("overrun_tokens", after.tokens.saturating_sub(before.tokens));
    records::append(tx, Entry::Event(event)).map(drop)
}
