//! Prices: those in force, a file's beside them, and putting a file's in force.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::mcp::replace;
use crate::api::App;
use crate::core::error::{Code, Failure};
use crate::core::ids::{RecordId, ReservationId};
use crate::core::record::EventEntry;
use crate::gateway::prices;
use crate::registry::Config;
use crate::store::frozen::{self, Frozen, Priced};

pub use crate::gateway::prices::{Amounts, PriceChange, PriceList, PriceSource, PriceView};

/// The largest file that is read, in bytes; models.dev's has about three million.
const FILE_MAX: u64 = 32 * 1024 * 1024;

/// Parameters of [`diff`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileParams {
    /// An absolute path.
    pub file: PathBuf,
}

/// Parameters of [`refresh`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefreshParams {
    /// An absolute path.
    pub file: PathBuf,
    /// What [`diff`] said: nothing else is put in force.
    pub shown: Vec<PriceChange>,
}

/// What was put in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refreshed {
    /// The file that holds it now.
    pub file: PathBuf,
    /// What is in force.
    pub changes: Vec<PriceChange>,
}

/// The prices in force.
pub async fn list(app: &App) -> Result<PriceList, Failure> {
    Ok(prices::list(&app.registry.current().config))
}

/// A model that was frozen, because one of its calls cost more than its prices allow for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrozenView {
    /// The model as the agent named it.
    pub model: String,
    /// The provider, by its name in the configuration.
    pub provider: String,
    /// The version of the prices that were too low.
    pub prices: String,
    /// The version in force; none if the model has no price any more.
    pub prices_in_force: Option<String>,
    /// Whether it still is: other prices thaw it.
    pub is_frozen: bool,
    /// The record of the call.
    pub call: RecordId,
    /// The call's reservation.
    pub reservation: ReservationId,
    /// What was held for the call.
    pub bound_nano_usd: i64,
    /// What it was billed.
    pub billed_nano_usd: i64,
    /// By how much that was too much, in words.
    pub overrun: String,
    /// When, milliseconds since 1970.
    pub at_ms: i64,
    /// What thaws it; empty if it is not frozen any more.
    pub thaws: String,
}

/// Models that were frozen, the latest first.
pub async fn frozen(app: &App) -> Result<Vec<FrozenView>, Failure> {
    let rows = app.store.read(frozen::list).await?;
    let config = &app.registry.current().config;
    let view = |row: Frozen| {
        let Frozen { priced: Priced { model, prices }, provider, reservation, record, .. } = row;
        let prices_in_force = prices::version_in_force(&provider, &model, config);
        let is_frozen = prices_in_force.as_ref() == Some(&prices);
        let table = format!("[prices.\"{}\"]", model.escape_default());
        let thaws = match is_frozen {
            true => format!("correct its price: {table} in config.toml, or agentsup prices refresh FILE"),
            false => String::new(),
        };
        FrozenView {
            model,
            provider,
            prices,
            prices_in_force,
            is_frozen,
            call: record,
            reservation,
            bound_nano_usd: row.bound.nano(),
            billed_nano_usd: row.billed.nano(),
            overrun: row.overrun,
            at_ms: row.at_ms,
            thaws,
        }
    };
    Ok(rows.into_iter().map(view).collect())
}

/// What the file tells otherwise than the list prices in force.
pub async fn diff(app: &App, params: FileParams) -> Result<Vec<PriceChange>, Failure> {
    let registry = app.registry.clone();
    blocking(move || read(&params.file, &registry.current().config)).await
}

/// Puts into `prices.toml` what the file tells otherwise, if that is what was shown. The rest of it stays.
pub async fn refresh(app: &App, params: RefreshParams) -> Result<Refreshed, Failure> {
    let (registry, target) = (app.registry.clone(), app.home.prices_file());
    let file = target.clone();
    let work = move || {
        let snapshot = registry.reload();
        if let Some(problem) = snapshot.problems.first() {
            return Err(Failure::new(Code::ConfigInvalid, problem.to_string()).hint("agentsup doctor"));
        }
        let changes = read(&params.file, &snapshot.config)?;
        if changes != params.shown {
            let message = format!("`{}` has changed since it was shown", params.file.display());
            return Err(Failure::new(Code::Conflict, message)
                .hint(format!("agentsup prices diff {}", params.file.display())));
        }
        if changes.is_empty() {
            return Ok(changes);
        }
        let before = std::fs::read_to_string(&target).unwrap_or_default();
        replace(&target, &text(&before, &changes))?;
        let snapshot = registry.reload();
        match snapshot.problems.first() {
            None => Ok(changes),
            Some(problem) => {
                replace(&target, &before)?;
                registry.reload();
                Err(Failure::new(Code::ConfigInvalid, format!("the prices stay as they were: {problem}")))
            }
        }
    };
    let changes = blocking(work).await?;
    if !changes.is_empty() {
        let event = EventEntry::new("prices-refreshed", "list prices were put in force")
            .fact("changed", changes.iter().filter(|change| change.before.is_some()).count())
            .fact("new", changes.iter().filter(|change| change.before.is_none()).count())
            .fact("cheaper", changes.iter().filter(|change| change.is_cheaper()).count());
        app.gate.note(event).await?;
    }
    Ok(Refreshed { file, changes })
}

const HEADER: &str = "\
# List prices that are newer than those built in, in nano-USD per token, written by `agentsup prices refresh`.
# A provider's `multiplier` applies to them. Take a row out and the built-in price is in force again.
";

/// The file with these rows: others stay as they are, in order of name.
fn text(before: &str, changes: &[PriceChange]) -> String {
    let known: toml::Table = toml::from_str(before).unwrap_or_default();
    let kept = known.iter().filter(|(model, _)| changes.iter().all(|change| change.model != **model));
    let mut rows: Vec<String> =
        kept.map(|(model, row)| format!("{} = {row}", toml::Value::String(model.clone()))).collect();
    rows.extend(changes.iter().map(|change| change.after.row(&change.model)));
    rows.sort_unstable();
    let mut text = HEADER.to_owned();
    for row in rows {
        // Writing to a string cannot fail.
        let _written = writeln!(text, "{row}");
    }
    text
}

fn read(file: &Path, config: &Config) -> Result<Vec<PriceChange>, Failure> {
    let unreadable = |why: String| Failure::new(Code::Usage, format!("`{}`: {why}", file.display()));
    if !file.is_absolute() || !file.is_file() {
        return Err(unreadable("is not a file".to_owned()));
    }
    let mut text = String::new();
    std::fs::File::open(file)
        .and_then(|open| open.take(FILE_MAX + 1).read_to_string(&mut text))
        .map_err(|error| unreadable(error.to_string()))?;
    if text.len() as u64 > FILE_MAX {
        return Err(unreadable(format!("is larger than {FILE_MAX} bytes")));
    }
    prices::diff(&text, config).map_err(|error| {
        unreadable(error.to_string()).hint("curl -o api.json https://models.dev/api.json, whose form is read")
    })
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Failure::internal(&error))?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amounts(input: i64) -> Amounts {
        Amounts {
            input,
            output: 4,
            cache_write_5m: 5,
            cache_write_1h: 6,
            cache_read: 1,
            max_output: Some(7),
            context: None,
            long: None,
        }
    }

    #[test]
    fn rows_that_are_not_refreshed_stay() {
        let change =
            |model: &str, input| PriceChange { model: model.into(), before: None, after: amounts(input) };
        let first = text("", &[change("b.2", 1), change("a", 2)]);
        let second = text(&first, &[change("a", 3)]);
        let rows = "\"a\" = { input = 3, output = 4, cache_write_5m = 5, cache_write_1h = 6, cache_read = 1, max_output = 7 }\n";
        let table: toml::Table = toml::from_str(&second).unwrap_or_default();
        assert!(second.starts_with(HEADER) && second.contains(rows), "{second}");
        assert_eq!((table.len(), table["b.2"]["input"].as_integer()), (2, Some(1)));
    }
}
