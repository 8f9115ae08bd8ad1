//! `agentsup budget`: what may be spent and what is left.

use super::output::{self, Answer, Cell, Tone, cell};
use super::{Outcome, ask};
use crate::api::answers::budgets::{BudgetView, ShowParams};
use crate::api::ops::{BudgetList, BudgetShow, Nothing};

/// Show budgets and what is left of them
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    List(ListArgs),
    Show(ShowArgs),
}

/// List all budgets
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  agentsup budget list")]
struct ListArgs {
    #[command(flatten)]
    answer: Answer,
}

/// Show one budget
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  agentsup budget show default
  agentsup budget show --json team-platform/code-review-bot")]
struct ShowArgs {
    /// Its name, with its namespace if the name alone is not enough
    name: String,
    #[command(flatten)]
    answer: Answer,
}

pub(super) fn perform(args: Args) -> Outcome {
    match args.verb {
        Verb::List(args) => list(&args),
        Verb::Show(args) => show(args),
    }
}

fn list(args: &ListArgs) -> Outcome {
    let budgets = ask(async |client| client.call::<BudgetList>(Nothing {}).await)?;
    Ok(args.answer.give(&budgets, |budgets| {
        let rows: Vec<_> = budgets.iter().map(row).collect();
        let columns = ["BUDGET", "PERIOD", "SPENT", "HELD", "CAP", "BURST"];
        output::table(&columns, &rows, "no budgets; agentsup init writes one");
    }))
}

fn show(args: ShowArgs) -> Outcome {
    let budget = ask(async |client| client.call::<BudgetShow>(ShowParams { name: args.name }).await)?;
    Ok(args.answer.give(&budget, |budget| {
        let amounts = Amounts::of(budget);
        output::facts(&[
            ("budget", cell(format_args!("{}/{}", budget.namespace, budget.name)).tone(Tone::Strong)),
            ("period", cell(format_args!("{} ({})", budget.period, budget.period_id))),
            ("cap", cell(amounts.cap)),
            ("burst", cell(amounts.burst)),
            ("spent", spent(budget, amounts.posted)),
            ("held", cell(amounts.pending)),
            ("alert at", cell(format_args!("{} %", budget.alert_at_percent))),
        ]);
    }))
}

fn row(budget: &BudgetView) -> Vec<Cell> {
    let amounts = Amounts::of(budget);
    vec![
        cell(format_args!("{}/{}", budget.namespace, budget.name)).tone(Tone::Strong),
        cell(&budget.period_id),
        spent(budget, amounts.posted),
        cell(amounts.pending),
        cell(amounts.cap),
        cell(amounts.burst),
    ]
}

fn spent(budget: &BudgetView, text: String) -> Cell {
    cell(text).tone(if budget.alerted { Tone::Warning } else { Tone::Plain })
}

/// The amounts in the budget's own unit.
struct Amounts {
    cap: String,
    burst: String,
    posted: String,
    pending: String,
}

impl Amounts {
    fn of(budget: &BudgetView) -> Self {
        match (budget.cap_tokens, budget.burst_tokens) {
            (Some(cap), Some(burst)) => Self {
                cap: format!("{cap} tokens"),
                burst: format!("{burst} tokens"),
                posted: format!("{} tokens", budget.posted_tokens),
                pending: format!("{} tokens", budget.pending_tokens),
            },
            _ => Self {
                cap: output::dollars(budget.cap_nano_usd),
                burst: output::dollars(budget.burst_nano_usd),
                posted: output::dollars(budget.posted_nano_usd),
                pending: output::dollars(budget.pending_nano_usd),
            },
        }
    }
}
