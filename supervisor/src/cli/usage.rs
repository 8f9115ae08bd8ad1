//! `agentsup usage`: what was spent on what, how fast it goes and until when it lasts.

use super::output::{self, Answer, Cell, Tone, cell};
use super::{Outcome, ask};
use crate::api::answers::usage::{BurnView, Grouping, UsageParams, UsageRow, UsageView};
use crate::api::ops::UsageShow;
use crate::core::error::{Code, Failure};
use crate::core::instant;
use crate::sys::clock;

/// Show what was spent on what
///
/// Days and months are those of UTC, and a call belongs to the time at which it was let through, as in its budget. Calls
/// under way are not counted. The last lines say how fast each budget was spent within the last hour and when it is
/// empty at that rate.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  agentsup usage                            the last 30 days
  agentsup usage --by model --since 7d
  agentsup usage --by branch --agent code-review-bot
  agentsup usage --by month --json | jq .total.cost_nano_usd
  agentsup usage --since 2026-11-01 --until 2026-11-15

CACHED is the share of all input that was read from a cache. Calls that nobody counted (the daemon
or the provider was cut off) are in there as the most that they can have cost, which is told apart:
`assumed_nano_usd` in --json. agentsup budget reconcile lowers it to what the provider states.")]
pub(super) struct Args {
    /// What to sum by
    #[arg(long, value_enum, default_value_t = By::Day)]
    by: By,
    /// From then on: `2026-11-01`, `2026-11-01T08:00:00Z`, `7d`, `12h` [default: 30 days, 12 months by month]
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Until then; a date includes its day
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only this agent's calls
    #[arg(long, value_name = "NAME")]
    agent: Option<String>,
    #[command(flatten)]
    answer: Answer,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum By {
    Day,
    Month,
    Agent,
    Repository,
    Branch,
    Model,
    Run,
}

impl From<By> for Grouping {
    fn from(by: By) -> Self {
        match by {
            By::Day => Self::Day,
            By::Month => Self::Month,
            By::Agent => Self::Agent,
            By::Repository => Self::Repository,
            By::Branch => Self::Branch,
            By::Model => Self::Model,
            By::Run => Self::Run,
        }
    }
}

pub(super) fn perform(args: Args) -> Outcome {
    let now_ms = clock::now_ms();
    let read = |text: Option<String>, read: fn(&str, i64) -> Result<i64, String>| {
        let read = text.map(|text| read(&text, now_ms)).transpose();
        read.map_err(|message| Failure::new(Code::Usage, message).hint("agentsup usage --help"))
    };
    let params = UsageParams {
        by: args.by.into(),
        since_ms: read(args.since, instant::since_ms)?,
        until_ms: read(args.until, instant::until_ms)?,
        agent: args.agent,
    };
    let usage = ask(async |client| client.call::<UsageShow>(params).await)?;
    Ok(args.answer.give(&usage, |usage| show(usage, now_ms)))
}

fn show(usage: &UsageView, now_ms: i64) {
    let mut rows: Vec<Vec<Cell>> =
        usage.rows.iter().map(|row| cells(row, cell(key(usage.by, row)))).collect();
    if !rows.is_empty() {
        let total = cells(&usage.total, cell("total"));
        rows.push(total.into_iter().map(|cell| cell.tone(Tone::Strong)).collect());
    }
    let title = match usage.by {
        Grouping::Day => "DAY (UTC)",
        Grouping::Month => "MONTH (UTC)",
        Grouping::Agent => "AGENT",
        Grouping::Repository => "REPOSITORY",
        Grouping::Branch => "BRANCH",
        Grouping::Model => "MODEL",
        Grouping::Run => "RUN",
    };
    let columns = [title, "CALLS", "INPUT", "CACHE WRITE", "CACHE READ", "CACHED", "OUTPUT", "COST"];
    output::table(&columns, &rows, "nothing was spent in that time");
    if usage.left_off > 0 {
        let left_off = u64::try_from(usage.left_off).unwrap_or(u64::MAX);
        output::narrate(format_args!("{} left off; the total has them", output::count(left_off, "row")));
    }
    if usage.total.reported_calls > 0 {
        let (calls, worth) = (usage.total.reported_calls, output::dollars(usage.total.reported_nano_usd));
        let calls = output::count(calls, "call");
        output::line(format_args!("of these {calls} for {worth} {}", output::ON_SUBSCRIPTIONS));
    }
    if usage.total.assumed_calls > 0 {
        let (assumed, calls) = (output::dollars(usage.total.assumed_nano_usd), usage.total.assumed_calls);
        output::line(format_args!(
            "{assumed} of it is assumed, for {}",
            output::count(calls, "uncounted call")
        ));
        output::hint("agentsup budget reconcile FILE lowers it to what the provider states");
    }
    for burn in &usage.burning {
        output::line(burn_line(burn, now_ms));
    }
}

/// Ids as `ps` shows them.
fn key(by: Grouping, row: &UsageRow) -> String {
    match by {
        Grouping::Run => row.key.chars().rev().take(8).collect::<Vec<_>>().into_iter().rev().collect(),
        _ => row.key.clone(),
    }
}

fn cells(row: &UsageRow, key: Cell) -> Vec<Cell> {
    let written = row.cache_write_5m_tokens.saturating_add(row.cache_write_1h_tokens);
    vec![
        key,
        cell(row.calls),
        cell(output::tokens(row.input_tokens)),
        cell(output::tokens(written)),
        cell(output::tokens(row.cache_read_tokens)),
        cell(row.cache_read_percent.map_or_else(|| "-".to_owned(), |percent| format!("{percent} %"))),
        cell(output::tokens(row.output_tokens)),
        cell(output::dollars(row.cost_nano_usd)),
    ]
}

fn burn_line(burn: &BurnView, now_ms: i64) -> String {
    let (rate, left) = match (burn.burn_tokens_per_hour, burn.left_tokens) {
        (Some(rate), Some(left)) => {
            (format!("{} tokens", output::tokens(rate)), format!("{} tokens", output::tokens(left)))
        }
        _ => (
            output::dollars(burn.burn_nano_usd_per_hour.unwrap_or(0)),
            output::dollars(burn.left_nano_usd.unwrap_or(0)),
        ),
    };
    let end = match (burn.runs_out_at_ms, burn.period_ends_at_ms) {
        (Some(at), _) if at <= now_ms => "which is all of it".to_owned(),
        (Some(at), _) => format!("empty by {} at that rate", clock::shown(at, now_ms)),
        (None, Some(end)) => format!("lasts until the period ends {}", clock::shown(end, now_ms)),
        (None, None) => "lasts".to_owned(),
    };
    format!("{}: {rate} an hour, {left} left, {end}", output::printable(&burn.budget))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn burn() -> BurnView {
        BurnView {
            budget: "team/purse".into(),
            period_id: "2026-11@UTC".into(),
            period_ends_at_ms: None,
            left_nano_usd: Some(50_000_000_000),
            burn_nano_usd_per_hour: Some(3_100_000_000),
            left_tokens: None,
            burn_tokens_per_hour: None,
            runs_out_at_ms: None,
        }
    }

    #[test]
    fn a_rate_is_told_with_its_end() {
        assert_eq!(burn_line(&burn(), 0), "team/purse: $3.10 an hour, $50.00 left, lasts");
        let out = BurnView { runs_out_at_ms: Some(0), left_nano_usd: Some(0), ..burn() };
        assert_eq!(burn_line(&out, 1), "team/purse: $3.10 an hour, $0.00 left, which is all of it");
        let tokens = BurnView { burn_tokens_per_hour: Some(1200), left_tokens: Some(5), ..burn() };
        assert_eq!(burn_line(&tokens, 0), "team/purse: 1.2k tokens an hour, 5 tokens left, lasts");
        let at = BurnView { runs_out_at_ms: Some(1000), ..burn() };
        assert!(burn_line(&at, 0).ends_with(" at that rate"), "{}", burn_line(&at, 0));
    }
}
