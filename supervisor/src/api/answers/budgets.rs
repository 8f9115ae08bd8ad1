//! Budgets and what is left of them.

use serde::{Deserialize, Serialize};

use crate::api::App;
use crate::core::amount::Amount;
use crate::core::budget;
use crate::core::error::{Code, Failure};
use crate::core::ids::RunId;
use crate::core::manifest::{Cap, RUN, TokenBudget};
use crate::gate::{self, AdjustError, Change, Direction};
use crate::store::{Connection, StoreError, ledger, reported, runs, time};
use crate::sys::clock;
use crate::sys::env::Env;

/// A budget with its balance in the present period. Of a budget in tokens the amounts of money are what the tokens cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetView {
    /// Its name.
    pub name: String,
    /// The team; `run` for the cap of a run.
    pub namespace: String,
    /// The budget that pays as well, as `<namespace>/<name>`.
    pub parent: Option<String>,
    /// `daily`, `weekly`, `monthly` or `total`.
    pub period: String,
    /// The present period, such as `2026-11@UTC`.
    pub period_id: String,
    /// What is meant to be spent; zero in a budget in tokens.
    pub cap_nano_usd: i64,
    /// What may be spent above it.
    pub burst_nano_usd: i64,
    /// Spent for good.
    pub posted_nano_usd: i64,
    /// Of that, the list-price equivalent of calls on subscriptions: metered, not enforced.
    #[serde(default)]
    pub reported_nano_usd: i64,
    /// Held for calls under way.
    pub pending_nano_usd: i64,
    /// The cap in tokens, of a budget in tokens.
    pub cap_tokens: Option<u64>,
    /// The burst in tokens, of a budget in tokens.
    pub burst_tokens: Option<u64>,
    /// Tokens spent for good.
    pub posted_tokens: u64,
    /// Tokens held for calls under way.
    pub pending_tokens: u64,
    /// By how much people raised it in this period; below zero where they lowered it.
    pub adjusted_nano_usd: i64,
    /// The same in tokens.
    pub adjusted_tokens: i64,
    /// What a call can still cost: the least that any budget in money of the chain has left. None without one.
    pub remaining_nano_usd: Option<i64>,
    /// The same in tokens.
    pub remaining_tokens: Option<u64>,
    /// The edge at which people are told, in percent of the cap.
    pub alert_at_percent: u8,
    /// Whether they were told in this period.
    pub alerted: bool,
}

/// Parameters of [`show`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShowParams {
    /// `name` or `namespace/name`.
    pub name: String,
}

/// Parameters of [`raise`] and [`lower`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdjustParams {
    /// `name`, `namespace/name` or `run/<run id>`.
    pub name: String,
    /// By how much.
    pub amount: Amount,
    /// Why, for the record.
    #[serde(default)]
    pub reason: Option<String>,
}

/// All budgets.
pub async fn list(app: &App) -> Result<Vec<BudgetView>, Failure> {
    let budgets = app.registry.current().budgets.clone();
    views(app, budgets).await
}

/// One budget.
pub async fn show(app: &App, params: ShowParams) -> Result<BudgetView, Failure> {
    let budget = require(app, &params.name).await?;
    let view = views(app, vec![budget]).await?.pop();
    view.ok_or_else(|| unknown(&params.name))
}

/// Lets a budget spend more in its present period.
pub async fn raise(app: &App, params: AdjustParams) -> Result<BudgetView, Failure> {
    adjust(app, params, Direction::Raise).await
}

/// Lets a budget spend less in its present period.
pub async fn lower(app: &App, params: AdjustParams) -> Result<BudgetView, Failure> {
    adjust(app, params, Direction::Lower).await
}

async fn adjust(app: &App, params: AdjustParams, direction: Direction) -> Result<BudgetView, Failure> {
    let budget = require(app, &params.name).await?;
    let change = Change { budget, direction, amount: params.amount, by: by(), reason: params.reason };
    match app.gate.adjust(change).await {
        Ok(()) => show(app, ShowParams { name: params.name }).await,
        Err(AdjustError::Store(error)) => Err(error.into()),
        Err(error) => Err(Failure::new(Code::Usage, error.to_string())
            .hint(format!("agentsup budget show {}", params.name))),
    }
}

/// Who gives orders here.
pub(super) fn by() -> String {
    format!("user:{}", Env::current().user_name().unwrap_or_else(|| "unknown".into()))
}

/// The budget that the user means.
async fn require(app: &App, text: &str) -> Result<TokenBudget, Failure> {
    let snapshot = app.registry.current();
    if let Some(id) = text.strip_prefix(RUN).and_then(|rest| rest.strip_prefix('/')?.parse::<RunId>().ok()) {
        let row = app.store.read(move |connection| runs::by_id(connection, id)).await?;
        let run = row.map(|row| row.run).ok_or_else(|| unknown(text))?;
        // The agent's budget may be gone; then nothing above the cap is known.
        let own = app.gate.chain(&run).and_then(|chain| chain.into_iter().next());
        return own.filter(|own| own.run().is_some()).ok_or_else(|| unknown(text));
    }
    let answers = |budget: &&TokenBudget| match text.split_once('/') {
        Some((namespace, name)) => budget.namespace == namespace && budget.name == name,
        None => budget.name == text,
    };
    let mut found = snapshot.budgets.iter().filter(answers);
    match (found.next(), found.next()) {
        (Some(budget), None) => Ok(budget.clone()),
        (None, _) => Err(unknown(text)),
        (Some(_), Some(_)) => Err(Failure::new(Code::Usage, format!("`{text}` means more than one budget"))
            .hint("agentsup budget list")),
    }
}

fn unknown(text: &str) -> Failure {
    Failure::new(Code::NotFound, format!("no budget `{text}`")).hint("agentsup budget list")
}

/// A budget with all that pay with it.
type Chain = Vec<TokenBudget>;

/// Budgets with their balances, in their order.
pub(super) async fn views(app: &App, budgets: Vec<TokenBudget>) -> Result<Vec<BudgetView>, Failure> {
    let now_ms = clock::now_ms();
    let snapshot = app.registry.current();
    let chain = |budget: &TokenBudget| -> Chain {
        // Without an end there is nothing in force, and nobody spends anything.
        let chain = snapshot.chain(budget).unwrap_or_else(|| vec![budget]);
        chain.into_iter().cloned().collect()
    };
    let chains: Vec<(TokenBudget, Chain)> =
        budgets.into_iter().map(|budget| (budget.clone(), chain(&budget))).collect();
    let read = app.store.read(move |connection| {
        let at_ms = time::at(connection, now_ms)?;
        chains.iter().map(|(budget, chain)| view(connection, budget, chain, at_ms)).collect()
    });
    Ok(read.await?)
}

fn view(
    connection: &Connection,
    budget: &TokenBudget,
    chain: &[TokenBudget],
    at_ms: i64,
) -> Result<BudgetView, StoreError> {
    let account = gate::account(budget, at_ms);
    let balance = ledger::balance(connection, &account)?;
    let alerted = ledger::alerted(connection, &account)?;
    let reported_nano_usd = reported::of_account(connection, &account)?;
    let (mut remaining_nano_usd, mut remaining_tokens) = (None::<i64>, None::<u64>);
    for above in chain {
        match budget::left(&above.cap, &ledger::balance(connection, &gate::account(above, at_ms))?) {
            Amount::Money(left) => {
                remaining_nano_usd =
                    Some(remaining_nano_usd.map_or(left.nano(), |least| least.min(left.nano())));
            }
            Amount::Tokens(left) => {
                remaining_tokens = Some(remaining_tokens.map_or(left, |least| least.min(left)));
            }
        }
    }
    let (cap_nano_usd, burst_nano_usd, cap_tokens, burst_tokens) = match budget.cap {
        Cap::Money { cap, burst } => (cap.nano(), burst.nano(), None, None),
        Cap::Tokens { cap, burst } => (0, 0, Some(cap), Some(burst)),
    };
    Ok(BudgetView {
        name: budget.name.clone(),
        namespace: budget.namespace.clone(),
        parent: budget.parent.as_ref().map(ToString::to_string),
        period: budget.period.name().to_owned(),
        period_id: account.period,
        cap_nano_usd,
        burst_nano_usd,
        posted_nano_usd: balance.posted.nano(),
        reported_nano_usd,
        pending_nano_usd: balance.pending.nano(),
        cap_tokens,
        burst_tokens,
        posted_tokens: balance.posted_tokens,
        pending_tokens: balance.pending_tokens,
        adjusted_nano_usd: balance.adjusted_nano_usd,
        adjusted_tokens: balance.adjusted_tokens,
        remaining_nano_usd,
        remaining_tokens,
        alert_at_percent: budget.alert_at_percent,
        alerted,
    })
}
