//! Calls on a user's own subscription: told of afterwards, posted to the budgets of the run at list prices, and what
//! follows from that. They were not asked for here, so nothing could be held or refused.
//!
//! Invariants: only runs on a subscription are believed; a call counts once; a run whose budget is used up may do nothing
//! any more, from the moment that this is known, and whoever ends runs is told.

use tokio::sync::watch;

use super::permit::tell_alerts;
use super::reserve::ledger_time;
use super::{Alert, Gate, LiveRun, account};
use crate::core::billing::Billing;
use crate::core::budget::{self, Balance};
use crate::core::manifest::{Cap, TokenBudget};
use crate::core::money::NanoUsd;
use crate::core::record::{Entry, EventEntry};
use crate::core::run::{OVER_BUDGET, Run, RunState};
use crate::core::usage::Usage;
use crate::store::hold::Account;
use crate::store::reported::{self, Row};
use crate::store::{StoreError, Transaction, ledger, records, time};
use crate::sys::ids;

/// Calls in one transaction at most; whoever knows of more tells in several.
pub const CALLS_MAX: usize = 512;

/// A call as its client tells of it, priced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reported {
    /// What tells it from the run's other calls.
    pub call: String,
    /// The provider whose list prices count.
    pub provider: String,
    /// The model.
    pub model: String,
    /// The model whose price counts, where it is not its own.
    pub priced_as: Option<String>,
    /// The version of the prices.
    pub prices: String,
    /// Its tokens.
    pub usage: Usage,
    /// What they cost at list price.
    pub cost: NanoUsd,
}

/// How a suspension for that begins.
const SILENT: &str = "its telemetry is silent";

/// What became of calls that were told of.
struct Posted {
    news: usize,
    alerts: Vec<Alert>,
    over: Option<String>,
}

impl Gate {
    /// Posts calls that a run on a subscription made past the gateway. Answers how many were not known.
    ///
    /// # Errors
    /// Those of the store; then none of them is posted, and its client tells of them again or they are missed.
    pub async fn report(&self, live: &LiveRun, mut calls: Vec<Reported>) -> Result<usize, StoreError> {
        if live.run.billing != Billing::Subscription {
            return Ok(0);
        }
        calls.truncate(CALLS_MAX);
        // Without a budget there is none to post to; the calls stay on the record.
        let chain = self.chain(&live.run).unwrap_or_default();
        let (run, now_ms) = (live.run.clone(), self.now_ms());
        let write = move |tx: &Transaction<'_>| post(tx, &run, &chain, calls, now_ms);
        let posted = self.store().write(write).await?;
        if posted.news > 0 {
            live.hear_telemetry();
        }
        self.tell(posted.alerts);
        if let Some(over) = posted.over {
            self.tell_overspent(live, &over);
        }
        Ok(posted.news)
    }

    /// Why a run's budgets leave it nothing; none while they do.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn used_up(&self, run: &Run) -> Result<Option<String>, StoreError> {
        let Some(chain) = self.chain(run) else { return Ok(None) };
        let now_ms = self.now_ms();
        let read = self.store().read(move |connection| {
            let at_ms = time::at(connection, now_ms)?;
            let mut over = None;
            for budget in &chain {
                let account = account(budget, at_ms);
                over = over.or(over_text(budget, &ledger::balance(connection, &account)?, &account));
            }
            Ok(over)
        });
        read.await
    }

    /// Why nothing more may go to a model past the gateway; none while something may.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn refuse_prompt(&self, live: &LiveRun) -> Result<Option<String>, StoreError> {
        if let Some(over) = live.overspent() {
            return Ok(Some(over));
        }
        let state = live.state();
        if state == RunState::Suspended {
            let why = live.suspension().unwrap_or_default();
            return Ok(Some(format!("the run is suspended: {why}")));
        }
        if !state.may_act() {
            return Ok(Some(format!("the run is over ({})", state.name())));
        }
        self.used_up(&live.run).await
    }

    /// Looks again at a run that outlived an earlier daemon.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn weigh(&self, live: &LiveRun) -> Result<(), StoreError> {
        if live.run.billing == Billing::Subscription
            && let Some(over) = self.used_up(&live.run).await?
        {
            self.tell_overspent(live, &over);
        }
        Ok(())
    }

    /// Changes whenever a run has used its budgets up.
    pub fn overspending(&self) -> watch::Receiver<u64> {
        self.inner.overspent.subscribe()
    }

    /// A run on a subscription whose client calls tools and tells nothing of its models is suspended: what it costs is
    /// not known any more. What cannot be stored is told in the daemon's log.
    pub(super) async fn watch_telemetry(&self, live: &LiveRun) {
        if live.run.billing != Billing::Subscription {
            return;
        }
        let tools = live.count_untold_tool();
        if tools != live.run.untold_tools_max {
            return;
        }
        self.close(live, &format!("{tools} tool calls, and no word of what its model calls cost")).await;
    }

    /// Suspends a run on a subscription whose client made model calls and did not tell what they used.
    pub async fn miss(&self, live: &LiveRun) {
        if live.run.billing != Billing::Subscription {
            return;
        }
        let text = "made model calls past the gateway, and no word of what they used";
        if let Err(error) = self.note(EventEntry::of_run(&live.run, "usage-untold", text)).await {
            tracing::error!(%error, run = %live.run.id, "calls that were not counted could not be recorded");
        }
        self.close(live, "its model calls ended, and no word of what they used").await;
    }

    async fn close(&self, live: &LiveRun, what: &str) {
        let why = format!("{SILENT}: {what}");
        if let Err(error) = self.suspend(live, &why).await {
            tracing::error!(%error, run = %live.run.id, "a suspended run could not be recorded");
        }
    }

    fn tell_overspent(&self, live: &LiveRun, over: &str) {
        live.set_overspent(over);
        self.inner.overspent.send_modify(|count| *count = count.wrapping_add(1));
    }
}

fn post(
    tx: &Transaction<'_>,
    run: &Run,
    chain: &[TokenBudget],
    calls: Vec<Reported>,
    now_ms: i64,
) -> Result<Posted, StoreError> {
    let period_ms = ledger_time(tx, now_ms)?;
    let accounts: Vec<Account> = chain.iter().map(|budget| account(budget, period_ms)).collect();
    let mut posted = Posted { news: 0, alerts: Vec::new(), over: None };
    for call in calls {
        if reported::is_known(tx, run.id, &call.call)? {
            continue;
        }
        let record = ids::new_record_id()?;
        let event = event(run, &call, &accounts);
        let Reported { call, provider, model, prices, usage, cost, .. } = call;
        let row = Row { run: run.id, call, record, at_ms: now_ms, provider, model, prices, usage, cost };
        reported::post(tx, &row, &accounts)?;
        records::append_as(tx, record, now_ms, Entry::Event(event))?;
        posted.news += 1;
    }
    if posted.news > 0 {
        posted.alerts = tell_alerts(tx, chain, &accounts)?;
    }
    for (budget, account) in chain.iter().zip(&accounts) {
        let over = over_text(budget, &ledger::balance(tx, account)?, account);
        posted.over = posted.over.or(over);
    }
    Ok(posted)
}

/// Its facts are what `audit verify` compares with the ledger.
fn event(run: &Run, call: &Reported, accounts: &[Account]) -> EventEntry {
    let priced =
        call.priced_as.as_ref().map_or_else(String::new, |model| format!("; at the price of `{model}`"));
    let text = format!(
        "called the model `{}` past the gateway on a subscription (list-price equivalent, metered, not enforced{priced})",
        call.model
    );
    let named: Vec<String> =
        accounts.iter().map(|account| format!("{} {}", account.budget, account.period)).collect();
    EventEntry::of_run(run, reported::EVENT, text)
        .fact("call", &call.call)
        .fact("provider", &call.provider)
        .fact("model", &call.model)
        .fact("prices", &call.prices)
        .fact("tokens", call.usage.total())
        .fact("nano_usd", call.cost.nano())
        .fact("accounts", named.join(", "))
}

/// That nothing is left of a budget, in words.
fn over_text(budget: &TokenBudget, balance: &Balance, account: &Account) -> Option<String> {
    let posted = match budget.cap {
        Cap::Money { .. } => i128::from(balance.posted.nano()),
        Cap::Tokens { .. } => i128::from(balance.posted_tokens),
    };
    (posted >= budget::ceiling(&budget.cap, balance)).then(|| {
        format!(
            "{OVER_BUDGET}: {} of {} are spent in {} of {}",
            budget::posted_text(&budget.cap, balance),
            budget::ceiling_text(&budget.cap, balance),
            account.budget,
            account.period,
        )
    })
}
