//! What was spent on what, how fast it goes, and when budgets are empty at that rate.

use serde::{Deserialize, Serialize};

use super::budgets::{self, BudgetView};
use crate::api::App;
use crate::core::budget::period_end_ms;
use crate::core::burn;
use crate::core::error::{Code, Failure};
use crate::core::instant;
use crate::core::manifest::TokenBudget;
use crate::core::principal::AgentRef;
use crate::store::ledger::Account;
use crate::store::usage::{self, Recent, Selection, Sum};
use crate::sys::clock;

pub use crate::core::usage::Grouping;

/// The most rows of an answer; the dearest are kept, or of days and months the latest.
const ROWS_MAX: usize = 1000;
/// Days that are shown unless others are asked for, the present one counted.
const DAYS: i64 = 30;
/// Months, likewise.
const MONTHS: i32 = 12;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Parameters of [`show`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageParams {
    /// What calls are summed by.
    #[serde(default)]
    pub by: Grouping,
    /// From this time on; absent: the last 30 days, or 12 months.
    #[serde(default)]
    pub since_ms: Option<i64>,
    /// Before this time; absent: until now.
    #[serde(default)]
    pub until_ms: Option<i64>,
    /// Only this agent's calls.
    #[serde(default)]
    pub agent: Option<String>,
}

/// What was spent on what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageView {
    /// What calls are summed by.
    pub by: Grouping,
    /// From this time on, milliseconds since 1970.
    pub since_ms: i64,
    /// Before this time.
    pub until_ms: i64,
    /// Only this agent's calls.
    pub agent: Option<AgentRef>,
    /// Days and months in their order; all else the dearest first.
    pub rows: Vec<UsageRow>,
    /// How many more rows there are.
    pub left_off: usize,
    /// Everything together, rows that are left off included.
    pub total: UsageRow,
    /// The budgets that calls within the last hour were paid from.
    pub burning: Vec<BurnView>,
}

/// Calls that have something in common, together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageRow {
    /// What they have in common; empty in the total.
    pub key: String,
    /// How many calls.
    pub calls: u64,
    /// Of these, how many nobody counted: they count as the most that they can have cost.
    pub assumed_calls: u64,
    /// What is assumed for those; a provider's statement may lower it.
    pub assumed_nano_usd: i64,
    /// Input neither read from nor written to a cache.
    pub input_tokens: u64,
    /// Input written to the five-minute cache.
    pub cache_write_5m_tokens: u64,
    /// Input written to the one-hour cache.
    pub cache_write_1h_tokens: u64,
    /// Input read from a cache.
    pub cache_read_tokens: u64,
    /// Output, thinking included.
    pub output_tokens: u64,
    /// How much of all input was read from a cache, in percent, rounded down; none without input.
    pub cache_read_percent: Option<u64>,
    /// What they cost.
    pub cost_nano_usd: i64,
    /// Of the calls, how many were on a subscription: metered, not enforced.
    #[serde(default)]
    pub reported_calls: u64,
    /// What those would have cost at list price; it is part of the cost.
    #[serde(default)]
    pub reported_nano_usd: i64,
}

/// How fast a budget is spent. Amounts are in its own unit: those of the other unit are absent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BurnView {
    /// `<namespace>/<name>`.
    pub budget: String,
    /// The present period, such as `2026-11@UTC`.
    pub period_id: String,
    /// When it ends; none if never.
    pub period_ends_at_ms: Option<i64>,
    /// What is left below the ceiling.
    pub left_nano_usd: Option<i64>,
    /// What goes in an hour, as in the last one.
    pub burn_nano_usd_per_hour: Option<i64>,
    /// Tokens left below the ceiling.
    pub left_tokens: Option<u64>,
    /// Tokens that go in an hour, as in the last one.
    pub burn_tokens_per_hour: Option<u64>,
    /// When nothing is left at that rate; none if the period ends before.
    pub runs_out_at_ms: Option<i64>,
}

impl From<Sum> for UsageRow {
    fn from(sum: Sum) -> Self {
        let usage = sum.usage;
        let input = usage.total().saturating_sub(usage.output_tokens);
        let percent = u128::from(usage.cache_read_tokens) * 100 / u128::from(input.max(1));
        Self {
            key: sum.key,
            calls: sum.calls,
            assumed_calls: sum.assumed_calls,
            assumed_nano_usd: sum.assumed_nano_usd,
            input_tokens: usage.input_tokens,
            cache_write_5m_tokens: usage.cache_write_5m_tokens,
            cache_write_1h_tokens: usage.cache_write_1h_tokens,
            cache_read_tokens: usage.cache_read_tokens,
            output_tokens: usage.output_tokens,
            cache_read_percent: (input > 0).then(|| u64::try_from(percent).unwrap_or(100)),
            cost_nano_usd: sum.cost_nano_usd,
            reported_calls: sum.reported_calls,
            reported_nano_usd: sum.reported_nano_usd,
        }
    }
}

impl UsageRow {
    /// All tokens.
    pub const fn tokens(&self) -> u64 {
        self.input_tokens
            .saturating_add(self.cache_write_5m_tokens)
            .saturating_add(self.cache_write_1h_tokens)
            .saturating_add(self.cache_read_tokens)
            .saturating_add(self.output_tokens)
    }
}

/// What was spent on what.
pub async fn show(app: &App, params: UsageParams) -> Result<UsageView, Failure> {
    let now_ms = clock::now_ms();
    let by = params.by;
    let since_ms = params.since_ms.unwrap_or_else(|| match by {
        Grouping::Month => instant::month_ms(now_ms, MONTHS - 1),
        _ => instant::day_ms(now_ms).saturating_sub((DAYS - 1) * DAY_MS),
    });
    // What has just been let through counts.
    let until_ms = params.until_ms.unwrap_or_else(|| now_ms.saturating_add(1));
    if since_ms >= until_ms {
        return Err(Failure::new(Code::Usage, "the span of time ends before it begins")
            .hint("agentsup usage --since 7d"));
    }
    let agent = match &params.agent {
        Some(text) => Some(require_agent(app, text).await?),
        None => None,
    };
    let selection = Selection { since_ms, until_ms, agent: agent.as_ref().map(ToString::to_string) };
    let sums = app.store.read(move |connection| usage::sums(connection, by, &selection)).await?;
    let total = sums.iter().fold(Sum::default(), |total, sum| total.plus(sum));
    let (rows, left_off) = kept(by, sums);
    let rows = rows.into_iter().map(UsageRow::from).collect();
    let burning = burning(app, agent.as_ref(), now_ms).await?;
    Ok(UsageView { by, since_ms, until_ms, agent, rows, left_off, total: total.into(), burning })
}

/// An agent that is registered or ever ran.
async fn require_agent(app: &App, text: &str) -> Result<AgentRef, Failure> {
    let mut found = app.store.read(usage::agents).await?;
    found.retain(|agent| agent.answers_to(text));
    match found.as_slice() {
        [agent] => Ok(agent.clone()),
        [] => Ok(app.registry.current().require_agent(text)?.reference.clone()),
        many => {
            let names: Vec<String> = many.iter().map(ToString::to_string).collect();
            Err(Failure::new(
                Code::Usage,
                format!("`{text}` means more than one agent: {}", names.join(", ")),
            )
            .hint(format!("--agent {}", names[0])))
        }
    }
}

/// In the order in which people look for them, and not more than they can read.
fn kept(by: Grouping, mut sums: Vec<Sum>) -> (Vec<Sum>, usize) {
    let left_off = sums.len().saturating_sub(ROWS_MAX);
    match by {
        Grouping::Day | Grouping::Month => drop(sums.drain(..left_off)),
        Grouping::Agent | Grouping::Repository | Grouping::Branch | Grouping::Model | Grouping::Run => {
            sums.sort_by(|a, b| b.cost_nano_usd.cmp(&a.cost_nano_usd).then_with(|| a.key.cmp(&b.key)));
            sums.truncate(ROWS_MAX);
        }
    }
    (sums, left_off)
}

/// The budgets that were paid from within the last hour; with an agent only those that pay for it.
async fn burning(app: &App, agent: Option<&AgentRef>, now_ms: i64) -> Result<Vec<BurnView>, Failure> {
    let snapshot = app.registry.current();
    let budgets = match agent {
        None => snapshot.budgets.clone(),
        Some(agent) => {
            let registered = snapshot.agent(&agent.to_string());
            let chain = registered.and_then(|agent| snapshot.chain(snapshot.budget_of(agent)?));
            chain.unwrap_or_default().into_iter().cloned().collect()
        }
    };
    let mut burning = rates(app, budgets, now_ms).await?;
    burning.retain(|view| {
        view.burn_nano_usd_per_hour.is_some_and(|rate| rate > 0)
            || view.burn_tokens_per_hour.is_some_and(|rate| rate > 0)
    });
    Ok(burning)
}

/// How fast each of these budgets is spent, in their order.
pub(super) async fn rates(
    app: &App,
    budgets: Vec<TokenBudget>,
    now_ms: i64,
) -> Result<Vec<BurnView>, Failure> {
    let recent =
        app.store.read(move |connection| usage::recent(connection, now_ms - burn::WINDOW_MS)).await?;
    let views = budgets::views(app, budgets.clone()).await?;
    let rate = |(budget, view): (&TokenBudget, &BudgetView)| {
        let account = Account { budget: budget.reference().to_string(), period: view.period_id.clone() };
        let none = Recent { account, first_ms: now_ms, cost_nano_usd: 0, tokens: 0 };
        let recent = recent.iter().find(|recent| recent.account == none.account).unwrap_or(&none);
        burn_view(view, recent, period_end_ms(&budget.period, now_ms), now_ms)
    };
    Ok(budgets.iter().zip(&views).map(rate).collect())
}

fn burn_view(budget: &BudgetView, recent: &Recent, period_ends_at_ms: Option<i64>, now_ms: i64) -> BurnView {
    let rate = |spent: i64| burn::per_hour(spent, recent.first_ms, now_ms);
    let within_period = |at_ms: &i64| period_ends_at_ms.is_none_or(|end| *at_ms < end);
    let runs_out = |left, rate| burn::runs_out_at_ms(left, rate, now_ms).filter(within_period);
    let view = BurnView {
        budget: recent.account.budget.clone(),
        period_id: budget.period_id.clone(),
        period_ends_at_ms,
        left_nano_usd: None,
        burn_nano_usd_per_hour: None,
        left_tokens: None,
        burn_tokens_per_hour: None,
        runs_out_at_ms: None,
    };
    match (budget.cap_tokens, budget.burst_tokens) {
        (Some(cap), Some(burst)) => {
            let int = |tokens: u64| i64::try_from(tokens).unwrap_or(i64::MAX);
            let ceiling = cap.saturating_add(burst).saturating_add_signed(budget.adjusted_tokens);
            let left = ceiling.saturating_sub(budget.posted_tokens);
            let rate = rate(int(recent.tokens));
            BurnView {
                left_tokens: Some(left),
                burn_tokens_per_hour: u64::try_from(rate).ok(),
                runs_out_at_ms: runs_out(int(left), rate),
                ..view
            }
        }
        _ => {
            let ceiling = budget.cap_nano_usd.saturating_add(budget.burst_nano_usd);
            let ceiling = ceiling.saturating_add(budget.adjusted_nano_usd);
            let left = ceiling.saturating_sub(budget.posted_nano_usd).max(0);
            let rate = rate(recent.cost_nano_usd);
            BurnView {
                left_nano_usd: Some(left),
                burn_nano_usd_per_hour: Some(rate),
                runs_out_at_ms: runs_out(left, rate),
                ..view
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::core::usage::Usage;

    const HOUR_MS: i64 = 60 * 60 * 1000;

    fn budget() -> BudgetView {
        BudgetView {
            name: "purse".into(),
            namespace: "team".into(),
            parent: None,
            adjusted_nano_usd: 0,
            adjusted_tokens: 0,
            remaining_nano_usd: None,
            remaining_tokens: None,
            period: "monthly".into(),
            period_id: "2026-11@UTC".into(),
            cap_nano_usd: 100,
            burst_nano_usd: 10,
            posted_nano_usd: 60,
            reported_nano_usd: 0,
            pending_nano_usd: 7,
            cap_tokens: None,
            burst_tokens: None,
            posted_tokens: 500,
            pending_tokens: 0,
            alert_at_percent: 80,
            alerted: false,
        }
    }

    fn recent() -> Recent {
        let account = Account { budget: "team/purse".into(), period: "2026-11@UTC".into() };
        Recent { account, first_ms: 0, cost_nano_usd: 25, tokens: 200 }
    }

    #[test]
    fn a_budget_runs_out_at_the_rate_of_the_last_hour_unless_its_period_ends_before() {
        let now = HOUR_MS;
        let out = burn_view(&budget(), &recent(), Some(now + 3 * HOUR_MS), now);
        let expected = BurnView {
            budget: "team/purse".into(),
            period_id: "2026-11@UTC".into(),
            period_ends_at_ms: Some(now + 3 * HOUR_MS),
            left_nano_usd: Some(50),
            burn_nano_usd_per_hour: Some(25),
            left_tokens: None,
            burn_tokens_per_hour: None,
            runs_out_at_ms: Some(now + 2 * HOUR_MS),
        };
        assert_eq!(out, expected);
        let early = burn_view(&budget(), &recent(), Some(now + HOUR_MS), now);
        assert_eq!(early.runs_out_at_ms, None);
    }

    #[test]
    fn a_budget_in_tokens_burns_tokens() {
        let tokens = BudgetView { cap_tokens: Some(800), burst_tokens: Some(100), ..budget() };
        let view = burn_view(&tokens, &recent(), None, HOUR_MS);
        assert_eq!(
            (view.left_nano_usd, view.left_tokens, view.burn_tokens_per_hour, view.runs_out_at_ms),
            (None, Some(400), Some(200), Some(3 * HOUR_MS))
        );
    }

    #[test]
    fn the_share_of_the_cache_is_of_all_input() {
        let usage = Usage {
            input_tokens: 10,
            cache_write_5m_tokens: 20,
            cache_write_1h_tokens: 3,
            cache_read_tokens: 66,
            output_tokens: 1000,
        };
        let row = |usage| UsageRow::from(Sum { usage, ..Sum::default() }).cache_read_percent;
        assert_eq!((row(usage), row(Usage::default())), (Some(66), None));
    }

    #[test]
    fn the_latest_days_and_the_dearest_of_all_else_are_kept() {
        let sum = |number: usize| Sum {
            key: format!("{number:04}"),
            cost_nano_usd: i64::try_from(number % 3).unwrap(),
            ..Sum::default()
        };
        let sums: Vec<Sum> = (0..ROWS_MAX + 2).map(sum).collect();
        let (days, left_off) = kept(Grouping::Day, sums.clone());
        assert_eq!((days.len(), days[0].key.as_str(), left_off), (ROWS_MAX, "0002", 2));
        let (runs, left_off) = kept(Grouping::Run, sums);
        assert_eq!((runs.len(), runs[0].key.as_str(), left_off), (ROWS_MAX, "0002", 2));
        assert_eq!(runs.last().unwrap().cost_nano_usd, 0);
    }
}
