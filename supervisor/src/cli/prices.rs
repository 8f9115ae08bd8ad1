//! `agentsup prices`: what models cost, and bringing that up to date from a file.

use std::path::PathBuf;

use super::output::{self, Answer, Cell, Format, Tone, cell};
use super::{Outcome, absolute, ask};
use crate::api::answers::prices::{
    Amounts, FileParams, FrozenView, PriceChange, PriceList, PriceSource, RefreshParams,
};
use crate::api::ops::{self, Nothing};
use crate::core::error::{Code, Failure};
use crate::sys::clock;

/// Show what models cost, and bring it up to date
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    List(ListArgs),
    Frozen(FrozenArgs),
    Diff(DiffArgs),
    Refresh(RefreshArgs),
}

/// List the prices in force
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  agentsup prices list
  agentsup prices list sonnet
  agentsup prices list --json | jq '.models[] | select(.model == \"claude-opus-5-5\")'

Amounts are USD per million tokens; in JSON and in configuration nano-USD per token, a thousand
times that number. A call's row in the ledger keeps the version of its price.")]
struct ListArgs {
    /// Only models with this in their name
    #[arg(value_name = "MODEL")]
    part: Option<String>,
    /// As rows of the built-in table
    #[arg(long, conflicts_with = "json")]
    toml: bool,
    #[command(flatten)]
    answer: Answer,
}

/// List models that were frozen, and what thaws them
///
/// A model is frozen when a call of it cost more than was held for it: its prices are too low, so no bound made with
/// them is to be believed. Other prices thaw it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  agentsup prices frozen
  agentsup prices frozen --json | jq '.[] | select(.is_frozen)'")]
struct FrozenArgs {
    #[command(flatten)]
    answer: Answer,
}

/// Show what a file says otherwise
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  curl -o api.json https://models.dev/api.json
  agentsup prices diff api.json

The file is in the form of models.dev's api.json. Prices of anthropic, openai and google are read
from it.")]
struct DiffArgs {
    /// The file
    file: PathBuf,
    #[command(flatten)]
    answer: Answer,
}

/// Put a file's prices in force, after they were shown
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  agentsup prices refresh api.json
  agentsup prices refresh --yes api.json

Only what changed is written, to prices.toml beside config.toml. [prices] in config.toml wins over
it.")]
struct RefreshArgs {
    /// The file
    file: PathBuf,
    /// Without asking
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    answer: Answer,
}

pub(super) fn perform(args: Args) -> Outcome {
    match args.verb {
        Verb::List(args) => list(&args),
        Verb::Frozen(args) => frozen(&args),
        Verb::Diff(args) => diff(&args),
        Verb::Refresh(args) => refresh(&args),
    }
}

fn list(args: &ListArgs) -> Outcome {
    let mut prices = ask(async |client| client.call::<ops::PriceList>(Nothing {}).await)?;
    if let Some(part) = &args.part {
        prices.models.retain(|price| price.model.contains(part));
    }
    Ok(args.answer.give(&prices, |prices| {
        if args.toml {
            prices.models.iter().for_each(|price| output::line(price.amounts.row(&price.model)));
        } else {
            show(prices);
        }
    }))
}

fn frozen(args: &FrozenArgs) -> Outcome {
    let frozen = ask(async |client| client.call::<ops::PriceFrozen>(Nothing {}).await)?;
    Ok(args.answer.give(&frozen, |frozen| {
        let now_ms = clock::now_ms();
        let row = |view: &FrozenView| {
            let state = match view.is_frozen {
                true => cell("frozen").tone(Tone::Bad),
                false => cell("thawed").tone(Tone::Good),
            };
            vec![
                cell(&view.model).tone(Tone::Strong),
                cell(&view.provider),
                cell(&view.prices),
                cell(output::dollars(view.bound_nano_usd)),
                cell(output::dollars(view.billed_nano_usd)),
                cell(&view.overrun),
                cell(clock::shown(view.at_ms, now_ms)),
                cell(view.call),
                state,
            ]
        };
        let rows: Vec<Vec<Cell>> = frozen.iter().map(row).collect();
        let columns =
            ["MODEL", "PROVIDER", "PRICES", "BOUND", "BILLED", "TOO MUCH", "SINCE", "CALL", "STATE"];
        output::table(&columns, &rows, "no model was ever frozen");
        for view in frozen.iter().filter(|view| view.is_frozen) {
            output::line(format_args!(
                "{}: {}",
                output::printable(&view.model),
                output::printable(&view.thaws)
            ));
        }
    }))
}

fn show(prices: &PriceList) {
    let rows: Vec<Vec<Cell>> = prices
        .models
        .iter()
        .map(|price| {
            let source = match price.source {
                PriceSource::Table => cell("built in").tone(Tone::Faint),
                PriceSource::Refreshed => cell("prices.toml"),
                PriceSource::Config => cell("config.toml"),
            };
            let long = price.amounts.long.map_or_else(String::new, |long| output::tokens(long.above));
            let mut row = vec![cell(&price.model).tone(Tone::Strong)];
            row.extend(five(&price.amounts).map(|(_, amount)| cell(per_million(amount))));
            row.extend([cell(long), source]);
            row
        })
        .collect();
    let columns =
        ["MODEL", "INPUT", "OUTPUT", "WRITE 5M", "WRITE 1H", "CACHE READ", "DEARER ABOVE", "SOURCE"];
    output::table(&columns, &rows, "no such model");
    output::narrate(format_args!(
        "USD per million tokens; the built-in table is version {}",
        output::printable(&prices.version)
    ));
    for (provider, bp) in &prices.multipliers_bp {
        output::narrate(format_args!("{provider} takes {}.{:02} % of that", bp / 100, bp % 100));
    }
}

/// `2.50`, `0.075`: nano-USD per token are thousandths of USD per million tokens.
fn per_million(amount: i64) -> String {
    let text = format!("{}.{:03}", amount / 1000, amount % 1000);
    text.strip_suffix('0').map_or(text.clone(), str::to_owned)
}

fn five(amounts: &Amounts) -> [(&'static str, i64); 5] {
    [
        ("input", amounts.input),
        ("output", amounts.output),
        ("cache_write_5m", amounts.cache_write_5m),
        ("cache_write_1h", amounts.cache_write_1h),
        ("cache_read", amounts.cache_read),
    ]
}

fn diff(args: &DiffArgs) -> Outcome {
    let file = absolute(&args.file)?;
    let changes = ask(async |client| client.call::<ops::PriceDiff>(FileParams { file }).await)?;
    Ok(args.answer.give(&changes, |changes| tell(changes)))
}

fn tell(changes: &[PriceChange]) {
    if changes.is_empty() {
        output::narrate("nothing is told otherwise");
    }
    for change in changes {
        output::line(sentence(change));
    }
}

/// `claude-x: input 3000 -> 4000, output 15000 -> 12000 (cheaper)`.
fn sentence(change: &PriceChange) -> String {
    let model = output::printable(&change.model);
    let Some(before) = &change.before else {
        let amounts = five(&change.after).map(|(name, amount)| format!("{name} {amount}"));
        return format!("{model}: new, {}", amounts.join(", "));
    };
    let pairs = five(before).into_iter().zip(five(&change.after));
    let mut parts: Vec<String> = pairs
        .filter(|((_, old), (_, new))| old != new)
        .map(|((name, old), (_, new))| {
            let cheaper = if new < old { " (cheaper)" } else { "" };
            format!("{name} {old} -> {new}{cheaper}")
        })
        .collect();
    let limit = |limit: Option<u64>| limit.map_or_else(|| "unknown".to_owned(), |limit| limit.to_string());
    for (name, old, new) in [
        ("max_output", before.max_output, change.after.max_output),
        ("context", before.context, change.after.context),
    ] {
        if old != new {
            parts.push(format!("{name} {} -> {}", limit(old), limit(new)));
        }
    }
    if before.long != change.after.long {
        parts.push("other prices of long prompts".to_owned());
    }
    format!("{model}: {}", parts.join(", "))
}

fn refresh(args: &RefreshArgs) -> Outcome {
    let file = absolute(&args.file)?;
    let params = FileParams { file: file.clone() };
    let shown = ask(async |client| client.call::<ops::PriceDiff>(params).await)?;
    if args.answer.format() == Format::Text {
        tell(&shown);
    }
    if !shown.is_empty() && !args.yes {
        agree(&shown)?;
    }
    let refreshed =
        ask(async |client| client.call::<ops::PriceRefresh>(RefreshParams { file, shown }).await)?;
    Ok(args.answer.give(&refreshed, |refreshed| {
        let count = u64::try_from(refreshed.changes.len()).unwrap_or(u64::MAX);
        if count > 0 {
            output::narrate(format_args!(
                "{} in force, in {}",
                output::count(count, "price"),
                refreshed.file.display()
            ));
        }
    }))
}

fn agree(shown: &[PriceChange]) -> Result<(), Failure> {
    let not_agreed =
        |message: &str| Failure::new(Code::Usage, message).hint("agentsup prices refresh --yes FILE");
    if !output::is_interactive() {
        return Err(not_agreed("nobody can be asked whether these prices are right"));
    }
    let cheaper = shown.iter().filter(|change| change.is_cheaper()).count();
    output::ask(format_args!("Put these prices in force? {cheaper} of {} are cheaper. [y/N]", shown.len()));
    match output::read_answer() {
        Ok(Some(answer)) if ["y", "yes"].contains(&answer.as_str()) => Ok(()),
        _ => Err(not_agreed("the prices stay as they are")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_are_shown_by_the_million() {
        assert_eq!([3000, 300, 75, 12_500, 0].map(per_million), ["3.00", "0.30", "0.075", "12.50", "0.00"]);
    }

    #[test]
    fn a_change_is_told_amount_by_amount() {
        let before = Amounts {
            input: 3000,
            output: 15_000,
            cache_write_5m: 3750,
            cache_write_1h: 6000,
            cache_read: 300,
            max_output: None,
            context: Some(200_000),
            long: None,
        };
        let after = Amounts { input: 4000, output: 12_000, max_output: Some(64_000), ..before };
        let change = PriceChange { model: "m".into(), before: Some(before), after };
        assert_eq!(
            sentence(&change),
            "m: input 3000 -> 4000, output 15000 -> 12000 (cheaper), max_output unknown -> 64000"
        );
        assert_eq!(
            sentence(&PriceChange { before: None, ..change }),
            "m: new, input 4000, output 12000, cache_write_5m 3750, cache_write_1h 6000, cache_read 300"
        );
    }
}
