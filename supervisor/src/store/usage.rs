//! What each model call used: one row a reservation that costs something, for people's views of what was spent on what.
//!
//! Invariants: a row is written in the transaction that opens or closes its reservation, so that the two never tell
//! different sums; a call that was not billed has no row once it is closed; agent, repository and branch are those of
//! the run, which is never deleted. Must not decide anything: what may be spent is the ledger's.

use std::collections::{BTreeMap, HashMap};

use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, OptionalExtension as _, Row, Rows, params, params_from_iter};

use super::hold::{Account, Hold};
use super::{StoreError, Transaction};
use crate::core::breaker::Usual;
use crate::core::ids::{ReservationId, RunId};
use crate::core::money::NanoUsd;
use crate::core::principal::AgentRef;
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

/// How many minutes an agent called models in since then, and what it did in such a minute; `None` if it never did.
///
/// # Errors
/// Those of the database.
pub fn usual(
    connection: &Connection,
    agent: &str,
    since_ms: i64,
) -> Result<Option<(u64, Usual)>, StoreError> {
    let (minutes, calls, cost): (i64, i64, i64) = connection
        .prepare_cached(
            "SELECT COUNT(DISTINCT u.opened_at_ms / 60000), COUNT(*), COALESCE(SUM(u.cost_nano_usd), 0)
             FROM usage u JOIN runs r ON r.id = u.run
             WHERE u.opened_at_ms >= ?1 AND json_extract(r.run, '$.agent') = ?2",
        )?
        .query_row(params![since_ms, agent], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    if minutes == 0 {
        return Ok(None);
    }
    let spend = NanoUsd::new(cost / minutes).map_err(|error| StoreError::corrupt("amount", error))?;
    let whole = |value: i64| u64::try_from(value).unwrap_or(0);
    Ok(Some((whole(minutes), Usual { spend, calls: whole(calls / minutes) })))
}

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
    /// Of these, how many nobody counted: the most that they can have cost counts.
    pub assumed_calls: u64,
    /// What is assumed for those.
    pub assumed_nano_usd: i64,
    /// Their tokens.
    pub usage: Usage,
    /// What they cost.
    pub cost_nano_usd: i64,
    /// Of the calls, how many went past the gateway and were told of afterwards.
    pub reported_calls: u64,
    /// What those would have cost at list price; it is part of the cost.
    pub reported_nano_usd: i64,
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
    let (reservation, id) = (id, id.to_string());
    match charge {
        Charge::Settled { usage, cost } => set(tx, (opened_at_ms, reservation), "counted", &usage, cost)?,
        Charge::AtMost { usage, cost } => set(tx, (opened_at_ms, reservation), "assumed", &usage, cost)?,
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

fn set(
    tx: &Transaction<'_>,
    (opened_at_ms, reservation): (i64, ReservationId),
    state: &str,
    usage: &Usage,
    cost: NanoUsd,
) -> Result<usize, StoreError> {
    Ok(tx
        .prepare_cached(
            "UPDATE usage SET state = ?9, input_tokens = ?3, cache_write_5m_tokens = ?4,
               cache_write_1h_tokens = ?5, cache_read_tokens = ?6, output_tokens = ?7, cost_nano_usd = ?8
             WHERE opened_at_ms = ?1 AND reservation = ?2",
        )?
        .execute(params![
            opened_at_ms,
            reservation.to_string(),
            int(usage.input_tokens),
            int(usage.cache_write_5m_tokens),
            int(usage.cache_write_1h_tokens),
            int(usage.cache_read_tokens),
            int(usage.output_tokens),
            cost.nano(),
            state,
        ])?)
}

/// Says in the row of a call what a provider stated afterwards; tokens that it did not state stay as they were.
pub(super) fn correct(
    tx: &Transaction<'_>,
    (opened_at_ms, reservation): (i64, ReservationId),
    cost: NanoUsd,
    usage: Option<&Usage>,
) -> Result<(), StoreError> {
    if let Some(usage) = usage {
        return set(tx, (opened_at_ms, reservation), "counted", usage, cost).map(drop);
    }
    tx.prepare_cached(
        "UPDATE usage SET state = 'counted', cost_nano_usd = ?3 WHERE opened_at_ms = ?1 AND reservation = ?2",
    )?
    .execute(params![opened_at_ms, reservation.to_string(), cost.nano()])?;
    Ok(())
}

/// What is summed, in the order in which [`add`] reads it from the second column on.
const SUMMED: &str = "1, state = 'assumed', input_tokens, cache_write_5m_tokens, cache_write_1h_tokens,
  cache_read_tokens, output_tokens, cost_nano_usd, state = 'reported'";

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
    let part = match by {
        Grouping::Day | Grouping::Month => "opened_at_ms / 86400000",
        Grouping::Model => "model",
        Grouping::Agent | Grouping::Repository | Grouping::Branch | Grouping::Run => "run",
    };
    // The database would sort all calls to group them, which takes longer than all the rest.
    let mut statement =
        connection.prepare_cached(&format!("SELECT {part}, {SUMMED} FROM calls WHERE {filter}"))?;
    let parts = parts(statement.query(params_from_iter(values))?)?;
    let mut sums: BTreeMap<String, Sum> = BTreeMap::new();
    for part in parts {
        let key = key(connection, by, &part.key)?;
        let whole = sums.entry(key.clone()).or_default();
        *whole = Sum { key, ..whole.plus(&part) };
    }
    Ok(sums.into_values().collect())
}

/// Sums by the first column, in no particular order.
fn parts(mut rows: Rows<'_>) -> Result<Vec<Sum>, StoreError> {
    let (mut parts, mut places) = (Vec::<Sum>::new(), HashMap::<String, usize>::new());
    // Mostly it is the one of the row before.
    let mut place = 0;
    let mut day = None;
    while let Some(row) = rows.next()? {
        match row.get_ref(0)? {
            ValueRef::Integer(number) if day == Some(number) => {}
            ValueRef::Integer(number) => {
                day = Some(number);
                place = place_of(&number.to_string(), &mut parts, &mut places);
            }
            text => {
                let text = text.as_str().map_err(|error| StoreError::corrupt("usage", error))?;
                if parts.get(place).is_none_or(|part| part.key != text) {
                    place = place_of(text, &mut parts, &mut places);
                }
            }
        }
        if let Some(part) = parts.get_mut(place) {
            let key = std::mem::take(&mut part.key);
            *part = Sum { key, ..part.plus(&read(row)?) };
        }
    }
    Ok(parts)
}

fn place_of(key: &str, parts: &mut Vec<Sum>, places: &mut HashMap<String, usize>) -> usize {
    if let Some(place) = places.get(key) {
        return *place;
    }
    parts.push(Sum { key: key.to_owned(), ..Sum::default() });
    places.insert(key.to_owned(), parts.len() - 1);
    parts.len() - 1
}

/// What is shown of a day since 1970, a model or a run.
fn key(connection: &Connection, by: Grouping, part: &str) -> Result<String, StoreError> {
    let ask = |sql: &str| -> Result<String, StoreError> {
        let found = connection.prepare_cached(sql)?.query_row([part], |row| row.get(0)).optional()?;
        Ok(found.unwrap_or_default())
    };
    match by {
        Grouping::Day => ask("SELECT date(?1 * 86400, 'unixepoch')"),
        Grouping::Month => ask("SELECT strftime('%Y-%m', ?1 * 86400, 'unixepoch')"),
        Grouping::Model | Grouping::Run => Ok(part.to_owned()),
        Grouping::Agent => ask("SELECT json_extract(run, '$.agent') FROM runs WHERE id = ?1"),
        Grouping::Repository => ask("SELECT json_extract(run, '$.repository') FROM runs WHERE id = ?1"),
        Grouping::Branch => ask("SELECT json_extract(run, '$.branch') FROM runs WHERE id = ?1"),
    }
}

/// The closed calls of one run; all zero if there are none.
///
/// # Errors
/// Those of the database.
pub fn of_run(connection: &Connection, run: RunId) -> Result<Sum, StoreError> {
    let sql = format!("SELECT run, {SUMMED} FROM calls WHERE run = ?1 AND state <> 'open'");
    let mut statement = connection.prepare_cached(&sql)?;
    let sum = parts(statement.query([run.to_string()])?)?.pop();
    Ok(Sum { key: run.to_string(), ..sum.unwrap_or_default() })
}

/// What was spent lately from one account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recent {
    /// The budget and its period.
    pub account: Account,
    /// When the first of the calls was let through.
    pub first_ms: i64,
    /// What they cost.
    pub cost_nano_usd: i64,
    /// Their tokens.
    pub tokens: u64,
}

/// What closed calls that were let through since then cost, by each account that paid.
///
/// # Errors
/// Those of the database.
pub fn recent(connection: &Connection, since_ms: i64) -> Result<Vec<Recent>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT budget, period, MIN(at_ms), SUM(nano_usd), SUM(tokens) FROM (
           SELECT h.budget, h.period, u.opened_at_ms AS at_ms, u.cost_nano_usd AS nano_usd,
             r.posted_tokens AS tokens
           FROM usage u JOIN reservations r ON r.id = u.reservation JOIN holds h ON h.reservation = r.id
           WHERE u.opened_at_ms >= ?1 AND u.state <> 'open'
           UNION ALL
           SELECT p.budget, p.period, t.at_ms, p.nano_usd, p.tokens
           FROM reported t JOIN reported_posts p ON p.record = t.record WHERE t.at_ms >= ?1
         ) GROUP BY budget, period",
    )?;
    let rows = statement.query_map([since_ms], |row| {
        Ok(Recent {
            account: Account { budget: row.get(0)?, period: row.get(1)? },
            first_ms: row.get(2)?,
            cost_nano_usd: row.get(3)?,
            tokens: row.get(4).map(|tokens: i64| u64::try_from(tokens).unwrap_or(0))?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// One call's row, for checking it against the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Noted {
    /// The provider.
    pub provider: String,
    /// The model.
    pub model: String,
    /// The version of its prices; empty if it is not known.
    pub prices: String,
    /// `open`, `counted` or `assumed`.
    pub state: String,
    /// Its tokens.
    pub usage: Usage,
    /// What it cost.
    pub cost_nano_usd: i64,
}

/// Every row there is, by its reservation.
///
/// # Errors
/// Those of the database.
pub fn noted(connection: &Connection) -> Result<HashMap<String, Noted>, StoreError> {
    let mut statement = connection.prepare(
        "SELECT reservation, 0, 0, input_tokens, cache_write_5m_tokens, cache_write_1h_tokens, cache_read_tokens,
           output_tokens, cost_nano_usd, 0, provider, model, prices, state FROM usage",
    )?;
    let rows = statement.query_map([], |row| {
        let Sum { usage, cost_nano_usd, .. } = read(row)?;
        let (provider, model, prices, state) = (row.get(10)?, row.get(11)?, row.get(12)?, row.get(13)?);
        Ok((row.get(0)?, Noted { provider, model, prices, state, usage, cost_nano_usd }))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The agents that ever ran here, by their whole references.
///
/// # Errors
/// Those of the database.
pub fn agents(connection: &Connection) -> Result<Vec<AgentRef>, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT DISTINCT json_extract(run, '$.agent') FROM runs ORDER BY 1")?;
    let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
    rows.map(|row| row?.parse().map_err(|error| StoreError::corrupt("agent", error))).collect()
}

impl Sum {
    /// Both together, under no key.
    #[must_use]
    pub const fn plus(&self, other: &Self) -> Self {
        Self {
            key: String::new(),
            calls: self.calls.saturating_add(other.calls),
            assumed_calls: self.assumed_calls.saturating_add(other.assumed_calls),
            assumed_nano_usd: self.assumed_nano_usd.saturating_add(other.assumed_nano_usd),
            usage: self.usage.plus(&other.usage),
            cost_nano_usd: self.cost_nano_usd.saturating_add(other.cost_nano_usd),
            reported_calls: self.reported_calls.saturating_add(other.reported_calls),
            reported_nano_usd: self.reported_nano_usd.saturating_add(other.reported_nano_usd),
        }
    }
}

/// A row of [`SUMMED`].
fn read(row: &Row<'_>) -> rusqlite::Result<Sum> {
    let nat = |index: usize| row.get(index).map(|value: i64| u64::try_from(value).unwrap_or(0));
    let (cost, reported_calls): (i64, u64) = (row.get(8)?, nat(9)?);
    Ok(Sum {
        key: String::new(),
        calls: nat(1)?,
        assumed_calls: nat(2)?,
        assumed_nano_usd: if nat(2)? > 0 { row.get(8)? } else { 0 },
        usage: Usage {
            input_tokens: nat(3)?,
            cache_write_5m_tokens: nat(4)?,
            cache_write_1h_tokens: nat(5)?,
            cache_read_tokens: nat(6)?,
            output_tokens: nat(7)?,
        },
        cost_nano_usd: cost,
        reported_calls,
        reported_nano_usd: if reported_calls > 0 { cost } else { 0 },
    })
}

#[cfg(test)]
#[path = "usage/tests.rs"]
mod tests;
