//! Corrections: what became of the amounts of calls that nobody had counted, once a provider stated them.
//!
//! Invariants: a row is written with its record and with every account of the call in one transaction, in the periods
//! that were fixed when the call was held, and never changes.

use rusqlite::{Connection, Row, params};

use super::ledger::{Account, held_in};
use super::{StoreError, Transaction, runs, usage};
use crate::core::ids::{RecordId, ReservationId, RunId};
use crate::core::money::NanoUsd;
use crate::core::reconcile::{Known, Standing};
use crate::core::record::Who;
use crate::core::usage::Usage;

/// The event's name in the log; the facts of such a record say the same as its row here.
pub const EVENT: &str = "call-reconciled";

pub(super) const SCHEMA: &str = "
CREATE TABLE corrections (
  record                TEXT PRIMARY KEY,
  reservation           TEXT NOT NULL REFERENCES reservations (id),
  old_nano_usd          INTEGER NOT NULL CHECK (old_nano_usd >= 0),
  new_nano_usd          INTEGER NOT NULL CHECK (new_nano_usd >= 0),
  old_tokens            INTEGER NOT NULL CHECK (old_tokens >= 0),
  new_tokens            INTEGER NOT NULL CHECK (new_tokens >= 0),
  input_tokens          INTEGER CHECK (input_tokens >= 0),
  cache_write_5m_tokens INTEGER CHECK (cache_write_5m_tokens >= 0),
  cache_write_1h_tokens INTEGER CHECK (cache_write_1h_tokens >= 0),
  cache_read_tokens     INTEGER CHECK (cache_read_tokens >= 0),
  output_tokens         INTEGER CHECK (output_tokens >= 0),
  source                TEXT NOT NULL,
  made_by               TEXT NOT NULL,
  at_ms                 INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX corrections_by_reservation ON corrections (reservation);
CREATE TRIGGER corrections_never_change BEFORE UPDATE ON corrections
  BEGIN SELECT RAISE(ABORT, 'corrections are append-only'); END;
CREATE TRIGGER corrections_never_go BEFORE DELETE ON corrections
  BEGIN SELECT RAISE(ABORT, 'corrections are append-only'); END;
CREATE INDEX reservations_assumed ON reservations (id) WHERE state = 'assumed';
";

/// A call that a statement may be about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Its reservation.
    pub reservation: ReservationId,
    /// The record of its decision.
    pub record: RecordId,
    /// The run.
    pub run: RunId,
    /// The provider, by its name in the configuration; empty where nothing was billed.
    pub provider: String,
    /// The model as the agent named it.
    pub model: String,
    /// The version of the prices that it was bounded with.
    pub prices: String,
    /// What the ledger has of it.
    pub standing: Standing,
    /// When it was let through, milliseconds since 1970.
    pub opened_at_ms: i64,
}

/// A correcting entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Correction {
    /// The record that tells of it.
    pub record: RecordId,
    /// The call.
    pub reservation: ReservationId,
    /// What was posted before.
    pub before: Standing,
    /// What is posted from now on.
    pub after: Standing,
    /// The tokens as they were stated, if they count from now on.
    pub usage: Option<Usage>,
    /// Who states it: a file's name, or a provider.
    pub source: String,
    /// Who brought it in: `user:alice`, or `agentsup`.
    pub by: String,
    /// When, milliseconds since 1970.
    pub at_ms: i64,
}

fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn nat(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

const CALL: &str =
    "SELECT r.id, r.record, r.run, COALESCE(u.provider, ''), r.model, COALESCE(u.prices, ''), r.state,
    r.posted_nano_usd, r.posted_tokens, r.opened_at_ms,
    (SELECT COUNT(*) FROM corrections c WHERE c.reservation = r.id),
    (SELECT COUNT(c.input_tokens) FROM corrections c WHERE c.reservation = r.id)
  FROM reservations r LEFT JOIN usage u ON u.opened_at_ms = r.opened_at_ms AND u.reservation = r.id";

/// The calls that have this name, be it the provider's or that of their record here.
///
/// # Errors
/// Those of the database.
pub fn calls(connection: &Connection, name: &str) -> Result<Vec<Call>, StoreError> {
    let mut statement = connection.prepare_cached(&format!(
        "{CALL} WHERE r.record = ?1 OR r.id IN (SELECT reservation FROM upstream_ids WHERE id = ?1) ORDER BY r.id"
    ))?;
    let rows = statement.query_map([name], |row| Ok(read(row)))?;
    rows.map(|row| row?).collect()
}

/// Calls let through since then that nobody counted, by the provider and the names that it has for them.
///
/// # Errors
/// Those of the database.
pub fn assumed(connection: &Connection, since_ms: i64) -> Result<Vec<(Call, Vec<String>)>, StoreError> {
    let mut statement = connection.prepare_cached(&format!(
        "{CALL} WHERE r.state = 'assumed' AND r.opened_at_ms >= ?1
           AND NOT EXISTS (SELECT 1 FROM corrections c WHERE c.reservation = r.id) ORDER BY r.id"
    ))?;
    let rows = statement.query_map([since_ms], |row| Ok(read(row)))?;
    let calls: Vec<Call> = rows.map(|row| row?).collect::<Result<_, _>>()?;
    let named = |call: Call| {
        let names = super::upstream::of(connection, call.reservation)?;
        Ok((call, names))
    };
    calls.into_iter().map(named).collect()
}

fn read(row: &Row<'_>) -> Result<Call, StoreError> {
    let id = |index: usize| row.get::<_, String>(index);
    let state: String = row.get(6)?;
    let (corrected, counted): (i64, i64) = (row.get(10)?, row.get(11)?);
    let known = match state.as_str() {
        "forwarding" => Known::Open,
        "void" => Known::Void,
        "settled" => Known::Whole,
        _ if counted > 0 => Known::Whole,
        _ if corrected > 0 => Known::Cost,
        _ => Known::Assumed,
    };
    let cost = NanoUsd::new(row.get(7)?).map_err(|error| StoreError::corrupt("amount", error))?;
    Ok(Call {
        reservation: id(0)?.parse().map_err(|error| StoreError::corrupt("reservation id", error))?,
        record: id(1)?.parse().map_err(|error| StoreError::corrupt("record id", error))?,
        run: id(2)?.parse().map_err(|error| StoreError::corrupt("run id", error))?,
        provider: row.get(3)?,
        model: row.get(4)?,
        prices: row.get(5)?,
        standing: Standing { known, cost, tokens: nat(row.get(8)?) },
        opened_at_ms: row.get(9)?,
    })
}

/// Whose run made the call.
///
/// # Errors
/// Those of the database.
pub fn who(connection: &Connection, call: &Call) -> Result<Option<Who>, StoreError> {
    Ok(runs::by_id(connection, call.run)?.map(|row| Who::from(&row.run)))
}

/// Puts a correction in force in every budget that paid, and answers which those are.
///
/// # Errors
/// Those of the database.
pub fn insert(
    tx: &Transaction<'_>,
    call: &Call,
    correction: &Correction,
) -> Result<Vec<Account>, StoreError> {
    let Correction { record, reservation, before, after, usage, source, by, at_ms } = correction;
    let id = reservation.to_string();
    let (old, new) = (before.cost.nano(), after.cost.nano());
    let (old_tokens, new_tokens) = (int(before.tokens), int(after.tokens));
    let class = |of: fn(&Usage) -> u64| usage.as_ref().map(of).map(int);
    tx.prepare_cached(
        "INSERT INTO corrections (record, reservation, old_nano_usd, new_nano_usd, old_tokens, new_tokens, input_tokens,
           cache_write_5m_tokens, cache_write_1h_tokens, cache_read_tokens, output_tokens, source, made_by, at_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
    )?
    .execute(params![
        record.to_string(),
        id,
        old,
        new,
        old_tokens,
        new_tokens,
        class(|usage| usage.input_tokens),
        class(|usage| usage.cache_write_5m_tokens),
        class(|usage| usage.cache_write_1h_tokens),
        class(|usage| usage.cache_read_tokens),
        class(|usage| usage.output_tokens),
        source,
        by,
        at_ms,
    ])?;
    tx.prepare_cached("UPDATE reservations SET posted_nano_usd = ?2, posted_tokens = ?3 WHERE id = ?1")?
        .execute(params![id, new, new_tokens])?;
    tx.prepare_cached(
        "UPDATE accounts SET posted_nano_usd = posted_nano_usd + ?2, posted_tokens = posted_tokens + ?3
         FROM holds h
         WHERE h.reservation = ?1 AND accounts.budget = h.budget AND accounts.period = h.period",
    )?
    .execute(params![id, new - old, new_tokens - old_tokens])?;
    usage::correct(tx, (call.opened_at_ms, *reservation), after.cost, usage.as_ref())?;
    held_in(tx, &id)
}

/// A correction as it is checked against the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entered {
    /// The record that tells of it.
    pub record: String,
    /// The call's reservation.
    pub reservation: String,
    /// Nano-USD before and after.
    pub nano_usd: (i64, i64),
    /// Tokens before and after.
    pub tokens: (i64, i64),
    /// The tokens as they were stated.
    pub usage: Option<Usage>,
}

/// All of them, in order of their records.
///
/// # Errors
/// Those of the database.
pub fn list(connection: &Connection) -> Result<Vec<Entered>, StoreError> {
    let mut statement = connection.prepare(
        "SELECT record, reservation, old_nano_usd, new_nano_usd, old_tokens, new_tokens, input_tokens,
           cache_write_5m_tokens, cache_write_1h_tokens, cache_read_tokens, output_tokens
         FROM corrections ORDER BY record",
    )?;
    let rows = statement.query_map([], |row| {
        let class = |index: usize| row.get::<_, Option<i64>>(index).map(|value| value.map(nat));
        let usage = class(6)?.zip(class(7)?).zip(class(8)?).zip(class(9)?).zip(class(10)?);
        Ok(Entered {
            record: row.get(0)?,
            reservation: row.get(1)?,
            nano_usd: (row.get(2)?, row.get(3)?),
            tokens: (row.get(4)?, row.get(5)?),
            usage: usage.map(|((((input, write_5m), write_1h), read), output)| Usage {
                input_tokens: input,
                cache_write_5m_tokens: write_5m,
                cache_write_1h_tokens: write_1h,
                cache_read_tokens: read,
                output_tokens: output,
            }),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
