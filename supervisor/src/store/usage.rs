//! What each model call used: one row a reservation that costs something, for people's views of what was spent on what.
//!
//! Invariants: a row is written in the transaction that opens or closes its reservation, so that the two never tell
//! different sums; a call that was not billed has no row once it is closed; agent, repository and branch are those of
//! the run, which is never deleted. Must not decide anything: what may be spent is the ledger's.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params, params_from_iter};

use super::StoreError;
use super::ledger::Hold;
use crate::core::ids::{ReservationId, RunId};
use crate::core::usage::{Charge, Grouping, Usage};

/// In order of time, so that a span of time is read from one place.
pub(super) const SCHEMA: &str = "
CREATE TABLE usage (
  opened_at_ms          INTEGER NOT NULL,
  reservation           TEXT NOT NULL,
  run                   TEXT NOT NULL,
  provider              TEXT NOT NULL,
  model                 TEXT NOT NULL,
  prices                TEXT NOT NULL,
  state                 TEXT NOT NULL CHECK (state IN ('open', 'counted', 'assumed')),
  input_tokens          INTEGER NOT NULL CHECK (input_tokens >= 0),
  cache_write_5m_tokens INTEGER NOT NULL DEFAULT 0 CHECK (cache_write_5m_tokens >= 0),
  cache_write_1h_tokens INTEGER NOT NULL DEFAULT 0 CHECK (cache_write_1h_tokens >= 0),
  cache_read_tokens     INTEGER NOT NULL DEFAULT 0 CHECK (cache_read_tokens >= 0),
  output_tokens         INTEGER NOT NULL CHECK (output_tokens >= 0),
  cost_nano_usd         INTEGER NOT NULL CHECK (cost_nano_usd >= 0),
  PRIMARY KEY (opened_at_ms, reservation)
) STRICT, WITHOUT ROWID;
CREATE INDEX usage_by_run ON usage (run, opened_at_ms);
";

/// Rows for the calls of before: the provider and the kinds of tokens are in their records. Where nobody counted, all
/// tokens are taken for input; which prices were in force is not known.
pub(super) const FROM_RECORDS: &str = "
INSERT INTO usage
WITH said AS MATERIALIZED (
  SELECT json_extract(CAST(body AS TEXT), '$.entry.of') AS of, CAST(body AS TEXT) AS body
  FROM records WHERE json_extract(CAST(body AS TEXT), '$.entry.kind') = 'outcome'
)
SELECT r.opened_at_ms, r.id, r.run,
  COALESCE(json_extract(CAST(d.body AS TEXT), '$.entry.on'), ''), r.model, '',
  CASE r.state WHEN 'settled' THEN 'counted' WHEN 'assumed' THEN 'assumed' ELSE 'open' END,
  COALESCE(json_extract(said.body, '$.entry.usage.input_tokens'),
           IIF(r.state = 'forwarding', r.reserved_tokens, r.posted_tokens)),
  COALESCE(json_extract(said.body, '$.entry.usage.cache_write_5m_tokens'), 0),
  COALESCE(json_extract(said.body, '$.entry.usage.cache_write_1h_tokens'), 0),
  COALESCE(json_extract(said.body, '$.entry.usage.cache_read_tokens'), 0),
  COALESCE(json_extract(said.body, '$.entry.usage.output_tokens'), 0),
  IIF(r.state = 'forwarding', r.reserved_nano_usd, r.posted_nano_usd)
FROM reservations r
LEFT JOIN records d ON d.id = r.record
LEFT JOIN said ON said.of = r.record
WHERE r.state <> 'void' AND (r.reserved_tokens > 0 OR r.reserved_nano_usd > 0);
";

/// What to sum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// From this time on, milliseconds since 1970. A call belongs to when it was let through, as in its budget.
    pub since_ms: i64,
    /// Before this time.
    pub until_ms: i64,
    /// Only this agent's calls, by its whole reference.
    pub agent: Option<String>,
}

/// The calls that have something in common, together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sum {
    /// What they have in common: a day (`2026-11-22`), a model, a branch; empty where nothing was asked for.
    pub key: String,
    /// How many calls.
    pub calls: u64,
    /// Of these, how many nobody counted: what was held for them counts in full.
    pub assumed_calls: u64,
    /// Their tokens.
    pub usage: Usage,
    /// What they cost.
    pub cost_nano_usd: i64,
}

fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Adds the row of a call that was let through, with the most that it can use. What is free has none.
pub(super) fn open(tx: &Transaction<'_>, hold: &Hold) -> Result<(), StoreError> {
    if !hold.bound.is_billed() {
        return Ok(());
    }
    tx.prepare_cached(
        "INSERT INTO usage (opened_at_ms, reservation, run, provider, model, prices, state, input_tokens,
           output_tokens, cost_nano_usd) VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'open', ?7, ?8, ?9)",
    )?
    .execute(params![
        hold.at_ms,
        hold.id.to_string(),
        hold.run.to_string(),
        hold.provider,
        hold.model,
        hold.prices,
        int(hold.bound.input_tokens),
        int(hold.bound.output_tokens),
        hold.bound.cost.nano(),
    ])?;
    Ok(())
}

/// Says in the row of a call what became of it.
pub(super) fn close(
    tx: &Transaction<'_>,
    id: ReservationId,
    opened_at_ms: i64,
    charge: Charge,
) -> Result<(), StoreError> {
    let id = id.to_string();
    match charge {
        Charge::Settled { usage, cost } => tx
            .prepare_cached(
                "UPDATE usage SET state = 'counted', input_tokens = ?3, cache_write_5m_tokens = ?4,
                   cache_write_1h_tokens = ?5, cache_read_tokens = ?6, output_tokens = ?7, cost_nano_usd = ?8
                 WHERE opened_at_ms = ?1 AND reservation = ?2",
            )?
            .execute(params![
                opened_at_ms,
                id,
                int(usage.input_tokens),
                int(usage.cache_write_5m_tokens),
                int(usage.cache_write_1h_tokens),
                int(usage.cache_read_tokens),
                int(usage.output_tokens),
                cost.nano(),
            ])?,
        Charge::Assumed => tx
            .prepare_cached(
                "UPDATE usage SET state = 'assumed' WHERE opened_at_ms = ?1 AND reservation = ?2",
            )?
            .execute(params![opened_at_ms, id])?,
        Charge::Void => tx
            .prepare_cached("DELETE FROM usage WHERE opened_at_ms = ?1 AND reservation = ?2")?
            .execute(params![opened_at_ms, id])?,
    };
    Ok(())
}

const SUMS: &str = "COUNT(*) AS calls, SUM(state = 'assumed') AS assumed, SUM(input_tokens) AS input,
  SUM(cache_write_5m_tokens) AS write_5m, SUM(cache_write_1h_tokens) AS write_1h,
  SUM(cache_read_tokens) AS read, SUM(output_tokens) AS output, SUM(cost_nano_usd) AS cost";

const SUMS_OF_PARTS: &str =
    "SUM(calls), SUM(assumed), SUM(input), SUM(write_5m), SUM(write_1h), SUM(read), SUM(output), SUM(cost)";

/// Closed calls, summed, in order of key. Days and months are those of UTC.
///
/// # Errors
/// Those of the database.
pub fn sums(connection: &Connection, by: Grouping, selection: &Selection) -> Result<Vec<Sum>, StoreError> {
    let mut filter = "opened_at_ms >= ? AND opened_at_ms < ? AND state <> 'open'".to_owned();
    let mut values: Vec<Value> = vec![selection.since_ms.into(), selection.until_ms.into()];
    if let Some(agent) = &selection.agent {
        filter.push_str(" AND run IN (SELECT id FROM runs WHERE json_extract(run, '$.agent') = ?)");
        values.push(agent.clone().into());
    }
    // What is dear to work out, a date or a run's branch, is worked out once a day or run and not once a call.
    let (part, key, join) = match by {
        Grouping::Day => ("opened_at_ms / 86400000", "date(part * 86400, 'unixepoch')", ""),
        Grouping::Month => ("opened_at_ms / 86400000", "strftime('%Y-%m', part * 86400, 'unixepoch')", ""),
        Grouping::Model => ("model", "part", ""),
        Grouping::Run => ("run", "part", ""),
        Grouping::Agent => ("run", "json_extract(runs.run, '$.agent')", OF_RUNS),
        Grouping::Repository => ("run", "json_extract(runs.run, '$.repository')", OF_RUNS),
        Grouping::Branch => ("run", "json_extract(runs.run, '$.branch')", OF_RUNS),
    };
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {key} AS key, {SUMS_OF_PARTS}
         FROM (SELECT {part} AS part, {SUMS} FROM usage WHERE {filter} GROUP BY part) AS parts {join}
         GROUP BY key ORDER BY key"
    ))?;
    let rows = statement.query_map(params_from_iter(values), read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

const OF_RUNS: &str = "JOIN runs ON runs.id = parts.part";

/// The closed calls of one run; all zero if there are none.
///
/// # Errors
/// Those of the database.
pub fn of_run(connection: &Connection, run: RunId) -> Result<Sum, StoreError> {
    let sql = format!(
        "SELECT run, {SUMS_OF_PARTS} FROM (SELECT run, {SUMS} FROM usage
         WHERE run = ?1 AND state <> 'open' GROUP BY run) GROUP BY run"
    );
    Ok(connection.prepare_cached(&sql)?.query_row([run.to_string()], read).optional()?.unwrap_or_default())
}

fn read(row: &Row<'_>) -> rusqlite::Result<Sum> {
    let nat = |index: usize| row.get(index).map(|value: i64| u64::try_from(value).unwrap_or(0));
    Ok(Sum {
        key: row.get(0)?,
        calls: nat(1)?,
        assumed_calls: nat(2)?,
        usage: Usage {
            input_tokens: nat(3)?,
            cache_write_5m_tokens: nat(4)?,
            cache_write_1h_tokens: nat(5)?,
            cache_read_tokens: nat(6)?,
            output_tokens: nat(7)?,
        },
        cost_nano_usd: row.get(8)?,
    })
}

#[cfg(test)]
#[path = "usage/tests.rs"]
mod tests;
