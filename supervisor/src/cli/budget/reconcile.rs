//! `agentsup budget reconcile`: what a provider states of its calls, set against the ledger.

use std::path::PathBuf;

use crate::api::answers::reconcile::{Finding, ReconcileParams, ReconciledRow, Reconciliation};
use crate::api::ops::BudgetReconcile;
use crate::cli::output::{self, Answer, Cell, Tone, cell};
use crate::cli::{Outcome, absolute, ask};

/// Lower what was assumed for calls to what their provider states
///
/// Where an answer broke off or the daemon died, the most that the call can have cost is posted (`agentsup usage --json`
/// has it as `assumed_nano_usd`). A statement lowers that, in every budget that paid and in the period of the call, on
/// the record. It raises nothing silently: what is stated above it is posted, told, and the model frozen. No run can do
/// this, only a person outside of one; doing it again changes nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  agentsup budget reconcile --dry-run statement.csv
  agentsup budget reconcile statement.jsonl --json | jq .counts

The file is a CSV with a head, or a JSON object a line, with these columns:
  request_id   what the provider calls the call: Anthropic's request-id, OpenAI's x-request-id,
               the id of the answer, OpenRouter's generation, or the call's own record (rec_...)
  cost_usd     what it is billed
  input_tokens, output_tokens, cache_read_tokens, cache_write_5m_tokens, cache_write_1h_tokens
               its tokens; input is what was neither read from nor written to a cache
  model        if it is there, it must be the call's
A line has a cost, tokens or both; without a cost, the tokens are priced as the call was. A JSON
line may also be what OpenRouter answers to GET /api/v1/generation?id=...; the daemon asks that
by itself where [providers.NAME] has reconcile = \"openrouter\".")]
pub(super) struct Args {
    /// The statement
    file: PathBuf,
    /// Show what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    answer: Answer,
}

pub(super) fn perform(args: Args) -> Outcome {
    let params = ReconcileParams { file: absolute(&args.file)?, dry_run: args.dry_run };
    let told = ask(async |client| client.call::<BudgetReconcile>(params).await)?;
    Ok(args.answer.give(&told, show))
}

fn show(told: &Reconciliation) {
    let rows: Vec<Vec<Cell>> = told.rows.iter().map(row).collect();
    let columns = ["LINE", "REQUEST", "MODEL", "POSTED", "STATED", "FINDING"];
    output::table(&columns, &rows, "the ledger agrees with every line");
    if told.left_off > 0 {
        let left_off = u64::try_from(told.left_off).unwrap_or(u64::MAX);
        output::narrate(format_args!("{} left off", output::count(left_off, "row")));
    }
    output::line(sentence(told));
    if told.overrun_nano_usd > 0 && !told.dry_run {
        output::warn("calls cost more than their prices allow for, and their models were frozen");
        output::hint("agentsup prices frozen");
    }
}

fn sentence(told: &Reconciliation) -> String {
    let counts: Vec<String> =
        told.counts.iter().map(|(finding, count)| format!("{count} {}", word(*finding))).collect();
    let would = if told.dry_run { "nothing was done; would be " } else { "" };
    let over = match told.overrun_nano_usd {
        0 => String::new(),
        over => format!(", {} more than was posted", output::dollars(over)),
    };
    format!(
        "{would}{}: {} less than was assumed{over}",
        counts.join(", "),
        output::dollars(told.lowered_nano_usd)
    )
}

fn row(row: &ReconciledRow) -> Vec<Cell> {
    let amount = |nano: Option<i64>| nano.map_or_else(|| "-".to_owned(), output::dollars);
    let tone = match row.finding {
        Finding::Lowered | Finding::Confirmed => Tone::Good,
        Finding::Overrun => Tone::Bad,
        Finding::Agrees => Tone::Faint,
        _ => Tone::Warning,
    };
    vec![
        cell(row.line),
        cell(&row.request_id).tone(Tone::Strong),
        cell(row.model.as_deref().unwrap_or("-")),
        cell(amount(row.old_nano_usd)),
        cell(amount(row.new_nano_usd)),
        cell(word(row.finding)).tone(tone),
    ]
}

const fn word(finding: Finding) -> &'static str {
    match finding {
        Finding::Lowered => "lowered",
        Finding::Confirmed => "confirmed",
        Finding::Overrun => "overrun",
        Finding::Agrees => "known",
        Finding::Contradicts => "contradicting",
        Finding::Open => "under way",
        Finding::Unknown => "unknown",
        Finding::Ambiguous => "ambiguous",
        Finding::OtherModel => "for another model",
        Finding::Unpriced => "without a price",
    }
}
