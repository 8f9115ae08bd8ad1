//! `agentsup budget`: what may be spent, what is left, and changing it for the present period.

mod clock;
mod reconcile;

use super::output::{self, Answer, Cell, Tone, cell};
use super::{Outcome, ask};
use crate::api::answers::budgets::{AdjustParams, BudgetView, ShowParams};
use crate::api::ops::{BudgetList, BudgetLower, BudgetRaise, BudgetShow, Nothing};
use crate::core::amount::Amount;

/// Show budgets and what is left of them, raise and lower them
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    List(ListArgs),
    Show(ShowArgs),
    Raise(RaiseArgs),
    Lower(LowerArgs),
    Reconcile(reconcile::Args),
    Clock(clock::Args),
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

/// Let a budget spend more in its present period
///
/// Its cap stays what its manifest says, and so do the periods after this one. The change is recorded, calls that wait
/// for headroom go on, and the alert is given again at the new edge. No run can do this, only a person outside of one.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  agentsup budget raise default '5.00 USD'
  agentsup budget raise team-platform/code-review-bot '10 USD' --reason 'release week'
  agentsup budget raise run/run_019aaaac260077078707070707070707 '1 USD'")]
struct RaiseArgs {
    #[command(flatten)]
    change: ChangeArgs,
}

/// Let a budget spend less in its present period
///
/// Below what is spent and held, new calls are refused at once; those under way go on.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  agentsup budget lower default '5.00 USD' --reason 'back to normal'")]
struct LowerArgs {
    #[command(flatten)]
    change: ChangeArgs,
}

#[derive(Debug, clap::Args)]
struct ChangeArgs {
    /// Its name, with its namespace if the name alone is not enough
    name: String,
    /// By how much: `5.00 USD`, or `100000 tokens`
    amount: Amount,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    answer: Answer,
}

pub(super) fn perform(args: Args) -> Outcome {
    match args.verb {
        Verb::List(args) => list(&args),
        Verb::Show(args) => show(args),
        Verb::Raise(args) => {
            let (params, answer) = args.change.split();
            Ok(answer.give(&ask(async |client| client.call::<BudgetRaise>(params).await)?, tell))
        }
        Verb::Reconcile(args) => reconcile::perform(args),
        Verb::Clock(args) => clock::perform(&args),
        Verb::Lower(args) => {
            let (params, answer) = args.change.split();
            Ok(answer.give(&ask(async |client| client.call::<BudgetLower>(params).await)?, tell))
        }
    }
}

impl ChangeArgs {
    fn split(self) -> (AdjustParams, Answer) {
        (AdjustParams { name: self.name, amount: self.amount, reason: self.reason }, self.answer)
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
    Ok(args.answer.give(&budget, tell))
}

fn tell(budget: &BudgetView) {
    let amounts = Amounts::of(budget);
    let mut facts = vec![
        ("budget", cell(format_args!("{}/{}", budget.namespace, budget.name)).tone(Tone::Strong)),
        ("period", cell(format_args!("{} ({})", budget.period, budget.period_id))),
        ("cap", cell(&amounts.cap)),
        ("burst", cell(&amounts.burst)),
    ];
    if let Some(adjusted) = &amounts.adjusted {
        facts.push(("adjusted", cell(adjusted)));
    }
    facts.push(("spent", spent(budget, &amounts.posted)));
    if budget.reported_nano_usd > 0 {
        let reported = output::dollars(budget.reported_nano_usd);
        facts.push(("of that", cell(format_args!("{reported} {}", output::ON_SUBSCRIPTIONS))));
    }
    facts.extend([
        ("held", cell(&amounts.pending)),
        ("alert at", cell(format_args!("{} %", budget.alert_at_percent))),
    ]);
    if let Some(parent) = &budget.parent {
        facts.push(("parent", cell(parent)));
    }
    facts.push(("left", cell(left(budget))));
    output::facts(&facts);
}

/// What its chain leaves, in each unit that one of the chain is counted in.
fn left(budget: &BudgetView) -> String {
    let money = budget.remaining_nano_usd.map(output::dollars);
    let tokens = budget.remaining_tokens.map(|tokens| format!("{tokens} tokens"));
    money.into_iter().chain(tokens).collect::<Vec<_>>().join(" and ")
}

fn row(budget: &BudgetView) -> Vec<Cell> {
    let amounts = Amounts::of(budget);
    vec![
        cell(format_args!("{}/{}", budget.namespace, budget.name)).tone(Tone::Strong),
        cell(&budget.period_id),
        spent(budget, &amounts.posted),
        cell(amounts.pending),
        cell(amounts.cap),
        cell(amounts.burst),
    ]
}

fn spent(budget: &BudgetView, text: &str) -> Cell {
    cell(text).tone(if budget.alerted { Tone::Warning } else { Tone::Plain })
}

/// The amounts in the budget's own unit.
struct Amounts {
    cap: String,
    burst: String,
    posted: String,
    pending: String,
    /// None where nobody changed anything.
    adjusted: Option<String>,
}

impl Amounts {
    fn of(budget: &BudgetView) -> Self {
        match (budget.cap_tokens, budget.burst_tokens) {
            (Some(cap), Some(burst)) => Self {
                cap: format!("{cap} tokens"),
                burst: format!("{burst} tokens"),
                posted: format!("{} tokens", budget.posted_tokens),
                pending: format!("{} tokens", budget.pending_tokens),
                adjusted: signed(budget.adjusted_tokens, |amount| format!("{amount} tokens")),
            },
            _ => Self {
                cap: output::dollars(budget.cap_nano_usd),
                burst: output::dollars(budget.burst_nano_usd),
                posted: output::dollars(budget.posted_nano_usd),
                pending: output::dollars(budget.pending_nano_usd),
                adjusted: signed(budget.adjusted_nano_usd, output::dollars),
            },
        }
    }
}

/// With its sign; none for zero.
fn signed(amount: i64, text: impl Fn(i64) -> String) -> Option<String> {
    let sign = if amount < 0 { '-' } else { '+' };
    (amount != 0).then(|| format!("{sign}{}", text(amount.saturating_abs())))
}
