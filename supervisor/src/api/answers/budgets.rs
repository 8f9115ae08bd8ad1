//! Budgets and what is left of them.

use serde::{Deserialize, Serialize};

use crate::api::App;
use crate::core::error::{Code, Failure};
use crate::core::manifest::{Cap, TokenBudget};
use crate::gate;
use crate::store::StoreError;
use crate::store::ledger;
use crate::sys::clock;

/// A budget with its balance in the present period. Of a budget in tokens the amounts of money are what the tokens cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetView {
    /// Its name.
    pub name: String,
    /// The team.
    pub namespace: String,
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

/// All budgets.
pub async fn list(app: &App) -> Result<Vec<BudgetView>, Failure> {
    let budgets = app.registry.current().budgets.clone();
    views(app, budgets).await
}

/// One budget.
pub async fn show(app: &App, params: ShowParams) -> Result<BudgetView, Failure> {
    let snapshot = app.registry.current();
    let answers = |budget: &&TokenBudget| match params.name.split_once('/') {
        Some((namespace, name)) => budget.namespace == namespace && budget.name == name,
        None => budget.name == params.name,
    };
    let found: Vec<TokenBudget> = snapshot.budgets.iter().filter(answers).cloned().collect();
    let message = match found.len() {
        1 => None,
        0 => Some((Code::NotFound, format!("no budget `{}`", params.name))),
        _ => Some((Code::Usage, format!("`{}` means more than one budget", params.name))),
    };
    if let Some((code, message)) = message {
        return Err(Failure::new(code, message).hint("agentsup budget list"));
    }
    let view = views(app, found).await?.pop();
    view.ok_or_else(|| Failure::new(Code::NotFound, format!("no budget `{}`", params.name)))
}

async fn views(app: &App, budgets: Vec<TokenBudget>) -> Result<Vec<BudgetView>, Failure> {
    let at_ms = clock::now_ms();
    let read = app.store.read(move |connection| {
        let one = |budget: &TokenBudget| -> Result<BudgetView, StoreError> {
            let account = gate::account(budget, at_ms);
            let balance = ledger::balance(connection, &account)?;
            let alerted = ledger::alerted(connection, &account)?;
            let (cap_nano_usd, burst_nano_usd, cap_tokens, burst_tokens) = match budget.cap {
                Cap::Money { cap, burst } => (cap.nano(), burst.nano(), None, None),
                Cap::Tokens { cap, burst } => (0, 0, Some(cap), Some(burst)),
            };
            Ok(BudgetView {
                name: budget.name.clone(),
                namespace: budget.namespace.clone(),
                period: budget.period.name().to_owned(),
                period_id: account.period,
                cap_nano_usd,
                burst_nano_usd,
                posted_nano_usd: balance.posted.nano(),
                pending_nano_usd: balance.pending.nano(),
                cap_tokens,
                burst_tokens,
                posted_tokens: balance.posted_tokens,
                pending_tokens: balance.pending_tokens,
                alert_at_percent: budget.alert_at_percent,
                alerted,
            })
        };
        budgets.iter().map(one).collect()
    });
    Ok(read.await?)
}
