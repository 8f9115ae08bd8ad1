//! The figures of one run: what it spent, and what is left to it.

use serde::{Deserialize, Serialize};

use super::usage::{self as spending, BurnView, UsageRow};
use crate::api::App;
use crate::core::billing::Billing;
use crate::core::error::{Code, Failure};
use crate::core::ids::RunId;
use crate::core::run::Run;
use crate::store::{records, runs, usage};
use crate::sys::clock;

/// What a run spent, and what is left to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunFigures {
    /// The run.
    pub run: RunId,
    /// Who pays for its model calls. On a subscription amounts are list-price equivalents: metered, not enforced.
    #[serde(default)]
    pub billing: Billing,
    /// Its closed model calls.
    pub usage: UsageRow,
    /// Of the budgets that pay for it the one that will be empty first; none if its agent is not registered any more.
    pub budget: Option<BurnView>,
    /// The budgets that pay for it and have crossed their edge.
    #[serde(default)]
    pub alerted: Vec<String>,
}

/// All that there is to say about a run when it is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunSummary {
    /// What it spent.
    #[serde(flatten)]
    pub figures: RunFigures,
    /// How many of its actions were denied.
    pub denials: u64,
}

/// Parameters of [`summary`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SummaryParams {
    /// The run.
    pub run: RunId,
}

/// What a run spent and what it was denied.
pub async fn summary(app: &App, params: SummaryParams) -> Result<RunSummary, Failure> {
    let id = params.run;
    let read = app
        .store
        .read(move |connection| Ok((runs::by_id(connection, id)?, records::denials(connection, id)?)));
    let (Some(row), denials) = read.await? else {
        return Err(Failure::new(Code::NotFound, format!("no run `{id}`")).hint("agentsup ps --all"));
    };
    Ok(RunSummary { figures: of_run(app, &row.run).await?, denials })
}

/// The figures of a run.
pub(in crate::api) async fn of_run(app: &App, run: &Run) -> Result<RunFigures, Failure> {
    let id = run.id;
    let sum = app.store.read(move |connection| usage::of_run(connection, id)).await?;
    let chain = app.gate.chain(run).unwrap_or_default();
    let rates = spending::rates(app, chain, clock::now_ms()).await?;
    let alerted = app.gate.alerted(run).await?;
    Ok(RunFigures { run: id, billing: run.billing, usage: sum.into(), budget: tightest(rates), alerted })
}

/// The one that is empty first, else the one with the least left.
fn tightest(rates: Vec<BurnView>) -> Option<BurnView> {
    rates.into_iter().min_by_key(|rate| {
        let left = rate.left_nano_usd.unwrap_or(i64::MAX);
        (rate.runs_out_at_ms.unwrap_or(i64::MAX), left, rate.left_tokens)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_that_is_empty_first_is_the_one_that_matters() {
        let rate = |budget: &str, left: i64, runs_out_at_ms| BurnView {
            budget: budget.into(),
            period_id: "total".into(),
            period_ends_at_ms: None,
            left_nano_usd: Some(left),
            burn_nano_usd_per_hour: Some(0),
            left_tokens: None,
            burn_tokens_per_hour: None,
            runs_out_at_ms,
        };
        let name = |rates: Vec<BurnView>| tightest(rates).map(|rate| rate.budget);
        let (own, team) = (rate("own", 5, None), rate("team", 3, None));
        assert_eq!(name(vec![own.clone(), team.clone()]).as_deref(), Some("team"));
        assert_eq!(name(vec![rate("own", 5, Some(9)), team]).as_deref(), Some("own"));
        assert_eq!(name(vec![own.clone(), rate("team", 5, None)]).as_deref(), Some("own"));
        assert_eq!(name(Vec::new()), None);
    }
}
