//! Holding money for a model call: the reservation in every budget of the chain and the record of the decision are one
//! transaction.

use tokio::time::{Instant, timeout_at};

use super::line::Place;
use super::permit::{Claim, Held};
use super::refuse::Shortage;
use super::{Gate, LiveRun, Permit, deny, refuse};
use crate::core::action::{Bound, Elastic, LlmAction};
use crate::core::budget::{self, Balance, Fit, Patience};
use crate::core::decision::{Decision, Reason, Refusal};
use crate::core::ids::{RecordId, RunId};
use crate::core::manifest::{RUN, TokenBudget};
use crate::core::record::{DecisionEntry, Entry, EventEntry, Payer};
use crate::core::run::Run;
use crate::store::facts::{self, Draft};
use crate::store::frozen::{self, Priced};
use crate::store::ledger::{self, Account, Hold, Paying};
use crate::store::time::{self, Passed};
use crate::store::{StoreError, Transaction, records};
use crate::sys::ids;

/// What became of asking the ledger.
enum Admission {
    Held(Box<Claim>, Bound),
    /// There is no headroom in these budgets yet.
    Later(Vec<String>),
    Refused(Box<Shortage>, RecordId),
    /// The model's bounds are not to be believed, and why.
    Frozen(String, RecordId),
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

impl Gate {
    /// Holds the bound and records the decision in one transaction; waits, bounded and in line, while money is only
    /// pending. The budgets are those in force at each try.
    pub(super) async fn reserve(
        &self,
        live: &LiveRun,
        llm: &LlmAction,
        draft: Draft,
    ) -> Result<Permit, Refusal> {
        let deadline = Instant::now() + self.inner.line.patience();
        let mut settled = self.inner.settled.subscribe();
        let mut place: Option<Place> = None;
        loop {
            settled.mark_unchanged();
            // The evaluation has denied calls without a budget or a bound; here they end the call all the same.
            let (Some(chain), Some(bound)) = (self.chain(&live.run), llm.bound) else {
                return Err(refuse::unavailable(&"the call has no budget or no bound"));
            };
            let budgets: Vec<String> = chain.iter().map(|budget| budget.reference().to_string()).collect();
            // What is free waits for nobody.
            let before =
                if bound.is_billed() { self.inner.line.before(place.as_ref(), &budgets) } else { Vec::new() };
            let attempt = match before.is_empty() {
                _ if Instant::now() >= deadline => Try::Last,
                true => Try::First,
                false => Try::Behind,
            };
            if attempt != Try::Behind || place.is_none() {
                match self.attempt(live, llm, draft.clone(), chain, bound, attempt).await? {
                    Admission::Held(claim, _) => {
                        if let Some(gauge) = claim.held.as_ref().and_then(|held| held.gauge) {
                            live.set_budget_left(100_u8.saturating_sub(gauge.used_percent));
                        }
                        return Ok(Permit::new(self.clone(), *claim));
                    }
                    Admission::Refused(shortage, record) => {
                        return Err(refuse::over_budget(&shortage, &bound, &live.run, record));
                    }
                    Admission::Frozen(text, record) => return Err(refuse::frozen(&llm.model, &text, record)),
                    Admission::Later(mut wanted) => {
                        wanted.extend(before);
                        match &place {
                            Some(place) => place.wait_for(wanted),
                            None => place = Some(Place::new(self, wanted)),
                        }
                    }
                }
            }
            tokio::select! {
                waited = timeout_at(deadline, settled.changed()) => drop(waited),
                _ = live.closed() => return Err(refuse::closed(live)),
            }
        }
    }

    /// Whether a call of the run would find the money for this bound now. Says nothing about what is decided later: only
    /// to find out whether a tighter bound is worth asking for.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn has_room(&self, live: &LiveRun, bound: &Bound) -> Result<bool, StoreError> {
        let Some(chain) = self.chain(&live.run) else { return Ok(false) };
        let (now_ms, bound) = (self.now_ms(), *bound);
        let read = self.inner.store.read(move |connection| {
            let at_ms = time::at(connection, now_ms)?;
            for budget in &chain {
                let balance = ledger::balance(connection, &account(budget, at_ms))?;
                if budget::fit(&budget.cap, &balance, &bound) != Fit::Now {
                    return Ok(false);
                }
            }
            Ok(true)
        });
        read.await
    }

    /// What a call of the run is admitted against, its own cap first; none if its agent has no budget.
    pub fn chain(&self, run: &Run) -> Option<Vec<TokenBudget>> {
        let snapshot = self.inner.registry.current();
        let budget = snapshot.budget_of(snapshot.agent(&run.agent.to_string())?)?;
        let own = run.cap.map(|cap| TokenBudget::of_run(run.id, cap, budget.reference()));
        let chain = snapshot.chain(own.as_ref().unwrap_or(budget))?;
        Some(chain.into_iter().cloned().collect())
    }

    /// The budgets that pay for a run and have crossed their edge in the present period.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn alerted(&self, run: &Run) -> Result<Vec<String>, StoreError> {
        let Some(chain) = self.chain(run) else { return Ok(Vec::new()) };
        let now_ms = self.now_ms();
        let read = self.inner.store.read(move |connection| {
            let at_ms = time::at(connection, now_ms)?;
            let accounts = chain.iter().map(|budget| account(budget, at_ms));
            let told = accounts.map(|account| Ok((ledger::alerted(connection, &account)?, account.budget)));
            told.collect::<Result<Vec<_>, StoreError>>()
        });
        Ok(read.await?.into_iter().filter(|(told, _)| *told).map(|(_, budget)| budget).collect())
    }

    async fn attempt(
        &self,
        live: &LiveRun,
        llm: &LlmAction,
        draft: Draft,
        chain: Vec<TokenBudget>,
        bound: Bound,
        attempt: Try,
    ) -> Result<Admission, Refusal> {
        let now_ms = self.look_at_clock().await.map_err(|error| refuse::unwritten(&error))?;
        let (run, llm) = (live.run.id, llm.clone());
        let admit = move |tx: &Transaction<'_>| {
            let hold = hold(run, &llm, &chain, bound, (now_ms, ledger_time(tx, now_ms)?))?;
            admit_call(tx, hold, llm.elastic, draft, chain, attempt)
        };
        let admission = self.inner.store.write_synced_if(Admission::holds_money, admit).await;
        admission.map_err(|error| refuse::unwritten(&error))
    }
}

/// What is to be held, now and in the periods of the ledger's time.
fn hold(
    run: RunId,
    llm: &LlmAction,
    chain: &[TokenBudget],
    bound: Bound,
    (at_ms, period_ms): (i64, i64),
) -> Result<Hold, ids::RandomError> {
    let paying = |budget: &TokenBudget| Paying { account: account(budget, period_ms), cap: budget.cap };
    Ok(Hold {
        id: ids::new_reservation_id()?,
        record: ids::new_record_id()?,
        run,
        payers: chain.iter().map(paying).collect(),
        provider: llm.provider.clone(),
        model: llm.model.clone(),
        prices: llm.prices.clone(),
        bound,
        at_ms,
    })
}

/// The account that a budget has at an instant.
pub fn account(budget: &TokenBudget, at_ms: i64) -> Account {
    Account { budget: budget.reference().to_string(), period: budget::period_id(&budget.period, at_ms) }
}

/// What periods are computed from. That the clock was set back is recorded once.
pub(super) fn ledger_time(tx: &Transaction<'_>, now_ms: i64) -> Result<i64, StoreError> {
    let Passed { at_ms, is_news } = time::pass(tx, now_ms)?;
    if is_news {
        let text = format!(
            "the clock was set back to {}, and budgets stayed in the periods of {}",
            budget::instant_text(now_ms),
            budget::instant_text(at_ms)
        );
        let event = EventEntry::new("clock-set-back", text).fact("now_ms", now_ms).fact("kept_ms", at_ms);
        records::append(tx, Entry::Event(event))?;
    }
    Ok(at_ms)
}

/// How each budget of the chain takes the call, and the bound that all of them take if they do: cut down where the whole
/// does not fit.
fn weigh(
    tx: &Transaction<'_>,
    hold: &Hold,
    elastic: Option<&Elastic>,
    attempt: Try,
) -> Result<(Vec<(Fit, Balance)>, Bound), StoreError> {
    let patience = if attempt == Try::Last { Patience::IsOver } else { Patience::Waits };
    let mut least = hold.bound;
    let mut weighed = Vec::with_capacity(hold.payers.len());
    for ((_, balance), paying) in ledger::weigh(tx, hold)?.into_iter().zip(&hold.payers) {
        let (fit, bound) = budget::fit_elastic(&paying.cap, &balance, &hold.bound, elastic, patience);
        if bound.output_tokens < least.output_tokens {
            least = bound;
        }
        weighed.push((fit, balance));
    }
    Ok((weighed, least))
}

fn admit_call(
    tx: &Transaction<'_>,
    hold: Hold,
    elastic: Option<Elastic>,
    mut draft: Draft,
    chain: Vec<TokenBudget>,
    attempt: Try,
) -> Result<Admission, StoreError> {
    let priced = Priced { model: hold.model.clone(), prices: hold.prices.clone() };
    let overrun = if hold.bound.is_billed() { frozen::overrun(tx, &priced)? } else { None };
    if let Some(overrun) = overrun {
        let text = refuse::frozen_text(&priced, &overrun);
        draft.entry.decision = Decision::Deny;
        draft.entry.reasons.push(deny("ledger", text.clone()));
        facts::append_as(tx, hold.record, hold.at_ms, draft)?;
        return Ok(Admission::Frozen(text, hold.record));
    }
    let (weighed, bound) = weigh(tx, &hold, elastic.as_ref(), attempt)?;
    let worst = weighed.iter().map(|(fit, _)| *fit).max().unwrap_or(Fit::Never);
    match worst {
        Fit::Now if attempt != Try::Behind => {
            let granted_output = (bound != hold.bound).then_some(bound.output_tokens);
            let hold = Hold { bound, ..hold };
            if ledger::reserve(tx, &hold)?.iter().any(|(fit, _)| *fit != Fit::Now) {
                return Err(StoreError::corrupt("chain of budgets", "what fits into it does not"));
            }
            if let Some(tokens) = granted_output {
                let text = format!("no more than {tokens} output tokens fit into the budget");
                draft.entry.reasons.push(Reason::new("budget", Decision::Allow, text));
            }
            name_payers(&mut draft.entry, hold.payers.iter().map(|paying| &paying.account));
            draft.entry.reserved_nano_usd = Some(hold.bound.cost.nano());
            draft.entry.prices = Some(hold.prices.clone()).filter(|prices| !prices.is_empty());
            facts::append_as(tx, hold.record, hold.at_ms, draft)?;
            let gauges =
                chain.iter().zip(&weighed).map(|(of, (_, balance))| budget::gauge(of, balance, hold.at_ms));
            let gauge = gauges.max_by_key(|gauge| gauge.used_percent);
            let held = Held { reservation: hold.id, chain, bound: hold.bound, priced, gauge };
            let claim = Claim { held: Some(held), granted_output, ..Claim::free(hold.record, hold.run) };
            Ok(Admission::Held(Box::new(claim), hold.bound))
        }
        Fit::Now | Fit::Later if attempt != Try::Last => {
            let full = weighed.iter().zip(&hold.payers).filter(|((fit, _), _)| *fit != Fit::Now);
            Ok(Admission::Later(full.map(|(_, paying)| paying.account.budget.clone()).collect()))
        }
        Fit::Now | Fit::Later | Fit::Never => {
            let short =
                weighed.into_iter().zip(chain).zip(&hold.payers).find(|(((fit, _), _), _)| *fit == worst);
            let Some((((fit, balance), budget), paying)) = short else {
                return Err(StoreError::corrupt("chain of budgets", "it is empty"));
            };
            let least = elastic.and_then(|elastic| elastic.least(&hold.bound));
            let shortage =
                Shortage { budget, balance, fit, least: least.filter(|least| *least != hold.bound) };
            name_payers(&mut draft.entry, std::iter::once(&paying.account));
            draft.entry.decision = Decision::Deny;
            draft.entry.reasons.push(deny("budget", refuse::budget_text(&shortage, &hold.bound)));
            facts::append_as(tx, hold.record, hold.at_ms, draft)?;
            Ok(Admission::Refused(Box::new(shortage), hold.record))
        }
    }
}

/// Says in the record who pays, or who cannot.
fn name_payers<'a>(entry: &mut DecisionEntry, accounts: impl Iterator<Item = &'a Account>) {
    let payer =
        |Account { budget, period }: &Account| Payer { budget: budget.clone(), period: period.clone() };
    let mut payers: Vec<Payer> = accounts.map(payer).collect();
    // The agent's budget is the one that people know; the run's own cap is beside it.
    let is_run = |payer: &Payer| payer.budget.strip_prefix(RUN).is_some_and(|rest| rest.starts_with("/run_"));
    let known = payers.iter().position(|payer| !is_run(payer)).unwrap_or(0);
    if known < payers.len() {
        let Payer { budget, period } = payers.remove(known);
        (entry.budget, entry.period) = (Some(budget), Some(period));
    }
    entry.also = payers;
}
