//! The ledger: what budgets have spent and what is held for calls under way.
//!
//! A reservation is held in every budget of a chain, in all of them or in none. Invariant: for every account,
//! `posted + pending` never exceeds the ceiling it was admitted under, because a reservation is admitted and added in
//! the same transaction of the one writer. `pending` is the sum of the holds of open reservations, `posted` what the
//! closed ones came to.

use rusqlite::{Connection, OptionalExtension as _, params};

pub use super::hold::{Account, Hold, Paying};
use super::{StoreError, Transaction, usage};
use crate::core::budget::{Balance, Fit, fit};
use crate::core::ids::{RecordId, ReservationId, RunId};
use crate::core::money::NanoUsd;
use crate::core::usage::{Charge, Usage};

pub(super) const SCHEMA: &str = "
CREATE TABLE accounts (
  budget           TEXT NOT NULL,
  period           TEXT NOT NULL,
  posted_nano_usd  INTEGER NOT NULL DEFAULT 0 CHECK (posted_nano_usd >= 0),
  pending_nano_usd INTEGER NOT NULL DEFAULT 0 CHECK (pending_nano_usd >= 0),
  posted_tokens    INTEGER NOT NULL DEFAULT 0 CHECK (posted_tokens >= 0),
  pending_tokens   INTEGER NOT NULL DEFAULT 0 CHECK (pending_tokens >= 0),
  alerted          INTEGER NOT NULL DEFAULT 0 CHECK (alerted IN (0, 1)),
  PRIMARY KEY (budget, period)
) STRICT, WITHOUT ROWID;
CREATE TABLE reservations (
  id                TEXT PRIMARY KEY,
  record            TEXT NOT NULL UNIQUE,
  run               TEXT NOT NULL,
  budget            TEXT NOT NULL,
  period            TEXT NOT NULL,
  model             TEXT NOT NULL,
  reserved_nano_usd INTEGER NOT NULL CHECK (reserved_nano_usd >= 0),
  reserved_tokens   INTEGER NOT NULL CHECK (reserved_tokens >= 0),
  state             TEXT NOT NULL CHECK (state IN ('forwarding', 'settled', 'assumed', 'void')),
  posted_nano_usd   INTEGER NOT NULL DEFAULT 0 CHECK (posted_nano_usd >= 0),
  posted_tokens     INTEGER NOT NULL DEFAULT 0 CHECK (posted_tokens >= 0),
  opened_at_ms      INTEGER NOT NULL,
  closed_at_ms      INTEGER,
  FOREIGN KEY (budget, period) REFERENCES accounts (budget, period)
) STRICT, WITHOUT ROWID;
CREATE INDEX reservations_by_run ON reservations (run);
CREATE INDEX reservations_open ON reservations (state) WHERE state = 'forwarding';
";

/// One reservation is held in a chain of budgets. What an earlier version held in its one budget stays held there.
pub(super) const CHAINS: &str = "
ALTER TABLE reservations RENAME TO reservations_1;
CREATE TABLE reservations (
  id                TEXT PRIMARY KEY,
  record            TEXT NOT NULL UNIQUE,
  run               TEXT NOT NULL,
  model             TEXT NOT NULL,
  reserved_nano_usd INTEGER NOT NULL CHECK (reserved_nano_usd >= 0),
  reserved_tokens   INTEGER NOT NULL CHECK (reserved_tokens >= 0),
  state             TEXT NOT NULL CHECK (state IN ('forwarding', 'settled', 'assumed', 'void')),
  posted_nano_usd   INTEGER NOT NULL DEFAULT 0 CHECK (posted_nano_usd >= 0),
  posted_tokens     INTEGER NOT NULL DEFAULT 0 CHECK (posted_tokens >= 0),
  opened_at_ms      INTEGER NOT NULL,
  closed_at_ms      INTEGER
) STRICT, WITHOUT ROWID;
INSERT INTO reservations
  SELECT id, record, run, model, reserved_nano_usd, reserved_tokens, state, posted_nano_usd, posted_tokens,
    opened_at_ms, closed_at_ms FROM reservations_1;
CREATE TABLE holds (
  reservation TEXT NOT NULL REFERENCES reservations (id),
  budget      TEXT NOT NULL,
  period      TEXT NOT NULL,
  nano_usd    INTEGER NOT NULL CHECK (nano_usd >= 0),
  tokens      INTEGER NOT NULL CHECK (tokens >= 0),
  PRIMARY KEY (reservation, budget),
  FOREIGN KEY (budget, period) REFERENCES accounts (budget, period)
) STRICT, WITHOUT ROWID;
INSERT INTO holds SELECT id, budget, period, reserved_nano_usd, reserved_tokens FROM reservations_1;
DROP TABLE reservations_1;
CREATE INDEX reservations_by_run ON reservations (run);
CREATE INDEX reservations_open ON reservations (state) WHERE state = 'forwarding';
";

/// An open reservation found at start: its call went out and nobody will ever report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphan {
    /// The reservation.
    pub id: ReservationId,
    /// The record of its decision.
    pub record: RecordId,
    /// The run that pays.
    pub run: RunId,
}

/// What closing a reservation came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// The accounts it was held in and is posted to.
    pub accounts: Vec<Account>,
    /// What was posted.
    pub posted: NanoUsd,
    /// Tokens posted.
    pub tokens: u64,
    /// By how much the posted amount exceeds what was held: zero unless a bound was wrong.
    pub overrun: NanoUsd,
    /// By how many the posted tokens exceed those that were held.
    pub overrun_tokens: u64,
    /// The kinds of these tokens, as far as they are known.
    pub usage: Option<Usage>,
    /// Whether nobody counted it.
    pub is_assumed: bool,
}

fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn nat(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

fn money(value: i64) -> Result<NanoUsd, StoreError> {
    NanoUsd::new(value).map_err(|error| StoreError::corrupt("amount", error))
}

/// What an account has; all zero if it was never used.
///
/// # Errors
/// Those of the database.
pub fn balance(connection: &Connection, account: &Account) -> Result<Balance, StoreError> {
    let row: Option<[i64; 6]> = connection
        .prepare_cached(
            "SELECT posted_nano_usd, pending_nano_usd, posted_tokens, pending_tokens,
               (SELECT COALESCE(SUM(nano_usd), 0) FROM adjustments WHERE budget = ?1 AND period = ?2),
               (SELECT COALESCE(SUM(tokens), 0) FROM adjustments WHERE budget = ?1 AND period = ?2)
             FROM accounts WHERE budget = ?1 AND period = ?2",
        )?
        .query_row([&account.budget, &account.period], |row| {
            Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?])
        })
        .optional()?;
    let Some([posted, pending, posted_tokens, pending_tokens, adjusted_nano_usd, adjusted_tokens]) = row
    else {
        return Ok(Balance::default());
    };
    Ok(Balance {
        posted: money(posted)?,
        pending: money(pending)?,
        posted_tokens: nat(posted_tokens),
        pending_tokens: nat(pending_tokens),
        adjusted_nano_usd,
        adjusted_tokens,
    })
}

/// How a call fits into each of its budgets, in their order, and what those have.
///
/// # Errors
/// Those of the database.
pub fn weigh(connection: &Connection, hold: &Hold) -> Result<Vec<(Fit, Balance)>, StoreError> {
    let weigh = |paying: &Paying| {
        let balance = balance(connection, &paying.account)?;
        Ok((fit(&paying.cap, &balance, &hold.bound), balance))
    };
    hold.payers.iter().map(weigh).collect()
}

/// Holds the amount in every budget if it fits into all of them; otherwise changes nothing. Answers how it fitted into
/// each, in their order, and what they had before.
///
/// # Errors
/// Those of the database.
pub fn reserve(tx: &Transaction<'_>, hold: &Hold) -> Result<Vec<(Fit, Balance)>, StoreError> {
    let weighed = weigh(tx, hold)?;
    if weighed.iter().any(|(fit, _)| *fit != Fit::Now) {
        return Ok(weighed);
    }
    let (id, cost, tokens) = (hold.id.to_string(), hold.bound.cost.nano(), int(hold.bound.tokens()));
    tx.prepare_cached(
        "INSERT INTO reservations
           (id, record, run, model, reserved_nano_usd, reserved_tokens, state, opened_at_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'forwarding', ?7)",
    )?
    .execute(params![
        id,
        hold.record.to_string(),
        hold.run.to_string(),
        hold.model,
        cost,
        tokens,
        hold.at_ms
    ])?;
    usage::open(tx, hold)?;
    for Paying { account: Account { budget, period }, .. } in &hold.payers {
        tx.prepare_cached(
            "INSERT INTO accounts (budget, period, pending_nano_usd, pending_tokens) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (budget, period) DO UPDATE SET
               pending_nano_usd = pending_nano_usd + excluded.pending_nano_usd,
               pending_tokens = pending_tokens + excluded.pending_tokens",
        )?
        .execute(params![budget, period, cost, tokens])?;
        tx.prepare_cached(
            "INSERT INTO holds (reservation, budget, period, nano_usd, tokens) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![id, budget, period, cost, tokens])?;
    }
    Ok(weighed)
}

/// Closes a reservation in every budget it is held in. Closing it again changes nothing and answers `None`.
///
/// # Errors
/// Those of the database.
pub fn close(
    tx: &Transaction<'_>,
    id: ReservationId,
    charge: Charge,
    at_ms: i64,
) -> Result<Option<Closed>, StoreError> {
    let (reservation, id) = (id, id.to_string());
    let open: Option<(i64, i64, i64)> = tx
        .prepare_cached(
            "SELECT reserved_nano_usd, reserved_tokens, opened_at_ms
             FROM reservations WHERE id = ?1 AND state = 'forwarding'",
        )?
        .query_row([&id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let Some((held, held_tokens, opened_at_ms)) = open else { return Ok(None) };
    let (state, posted, tokens) = match charge {
        Charge::Settled { usage, cost } => ("settled", cost.nano(), int(usage.total())),
        Charge::Assumed => ("assumed", held, held_tokens),
        Charge::AtMost { usage, cost } => ("assumed", cost.nano(), int(usage.total())),
        Charge::Void => ("void", 0, 0),
    };
    tx.prepare_cached(
        "UPDATE reservations SET state = ?2, posted_nano_usd = ?3, posted_tokens = ?4, closed_at_ms = ?5
         WHERE id = ?1",
    )?
    .execute(params![id, state, posted, tokens, at_ms])?;
    usage::close(tx, reservation, opened_at_ms, charge)?;
    tx.prepare_cached(
        "UPDATE accounts SET
           pending_nano_usd = pending_nano_usd - h.nano_usd, posted_nano_usd = posted_nano_usd + ?2,
           pending_tokens = pending_tokens - h.tokens, posted_tokens = posted_tokens + ?3
         FROM holds h
         WHERE h.reservation = ?1 AND accounts.budget = h.budget AND accounts.period = h.period",
    )?
    .execute(params![id, posted, tokens])?;
    Ok(Some(Closed {
        accounts: held_in(tx, &id)?,
        posted: money(posted)?,
        tokens: nat(tokens),
        overrun: money(posted)?.minus(money(held)?),
        overrun_tokens: nat(tokens).saturating_sub(nat(held_tokens)),
        usage: match charge {
            Charge::Settled { usage, .. } | Charge::AtMost { usage, .. } => Some(usage),
            Charge::Assumed | Charge::Void => None,
        },
        is_assumed: state == "assumed",
    }))
}

pub(super) fn held_in(connection: &Connection, reservation: &str) -> Result<Vec<Account>, StoreError> {
    let mut statement = connection
        .prepare_cached("SELECT budget, period FROM holds WHERE reservation = ?1 ORDER BY budget")?;
    let rows =
        statement.query_map([reservation], |row| Ok(Account { budget: row.get(0)?, period: row.get(1)? }))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Reservations that an earlier daemon left open.
///
/// # Errors
/// Those of the database.
pub fn orphans(connection: &Connection) -> Result<Vec<Orphan>, StoreError> {
    let mut statement = connection
        .prepare("SELECT id, record, run FROM reservations WHERE state = 'forwarding' ORDER BY id")?;
    let rows = statement.query_map([], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?))
    })?;
    rows.map(|row| {
        let (id, record, run) = row?;
        Ok(Orphan {
            id: id.parse().map_err(|error| StoreError::corrupt("reservation id", error))?,
            record: record.parse().map_err(|error| StoreError::corrupt("record id", error))?,
            run: run.parse().map_err(|error| StoreError::corrupt("run id", error))?,
        })
    })
    .collect()
}

/// How many calls are under way.
///
/// # Errors
/// Those of the database.
pub fn under_way(connection: &Connection) -> Result<u64, StoreError> {
    let count: i64 = connection
        .prepare_cached("SELECT COUNT(*) FROM reservations WHERE state = 'forwarding'")?
        .query_row([], |row| row.get(0))?;
    Ok(nat(count))
}

/// The periods of a budget in which something was spent, held or changed, in order.
///
/// # Errors
/// Those of the database.
pub fn periods(connection: &Connection, budget: &str) -> Result<Vec<Account>, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT budget, period FROM accounts WHERE budget = ?1 ORDER BY period")?;
    let rows =
        statement.query_map([budget], |row| Ok(Account { budget: row.get(0)?, period: row.get(1)? }))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Marks the account as alerted; answers whether it was not before.
///
/// # Errors
/// Those of the database.
pub fn mark_alerted(tx: &Transaction<'_>, account: &Account) -> Result<bool, StoreError> {
    let changed = tx
        .prepare_cached("UPDATE accounts SET alerted = 1 WHERE budget = ?1 AND period = ?2 AND alerted = 0")?
        .execute([&account.budget, &account.period])?;
    Ok(changed == 1)
}

/// Lets the account's alert be given again.
///
/// # Errors
/// Those of the database.
pub fn rearm(tx: &Transaction<'_>, account: &Account) -> Result<(), StoreError> {
    tx.prepare_cached("UPDATE accounts SET alerted = 0 WHERE budget = ?1 AND period = ?2")?
        .execute([&account.budget, &account.period])?;
    Ok(())
}

/// Whether the account's alert was given.
///
/// # Errors
/// Those of the database.
pub fn alerted(connection: &Connection, account: &Account) -> Result<bool, StoreError> {
    Ok(connection
        .prepare_cached("SELECT alerted FROM accounts WHERE budget = ?1 AND period = ?2")?
        .query_row([&account.budget, &account.period], |row| row.get(0))
        .optional()?
        .unwrap_or(false))
}

/// The first account that is not the sum of its reservations and of what was told of afterwards.
///
/// # Errors
/// Those of the database.
pub fn unbalanced(connection: &Connection) -> Result<Option<Account>, StoreError> {
    Ok(connection
        .query_row(
            "SELECT a.budget, a.period FROM accounts a LEFT JOIN (
               SELECT h.budget, h.period,
                 SUM(r.posted_nano_usd) AS posted, SUM(r.posted_tokens) AS tokens,
                 SUM(IIF(r.state = 'forwarding', h.nano_usd, 0)) AS held,
                 SUM(IIF(r.state = 'forwarding', h.tokens, 0)) AS held_tokens
               FROM holds h JOIN reservations r ON r.id = h.reservation GROUP BY h.budget, h.period
             ) s ON s.budget = a.budget AND s.period = a.period LEFT JOIN (
               SELECT budget, period, SUM(nano_usd) AS posted, SUM(tokens) AS tokens
               FROM reported_posts GROUP BY budget, period
             ) t ON t.budget = a.budget AND t.period = a.period
             WHERE a.posted_nano_usd <> COALESCE(s.posted, 0) + COALESCE(t.posted, 0)
               OR a.posted_tokens <> COALESCE(s.tokens, 0) + COALESCE(t.tokens, 0)
               OR a.pending_nano_usd <> COALESCE(s.held, 0) OR a.pending_tokens <> COALESCE(s.held_tokens, 0)
             ORDER BY a.budget, a.period LIMIT 1",
            [],
            |row| Ok(Account { budget: row.get(0)?, period: row.get(1)? }),
        )
        .optional()?)
}

/// A reservation's amounts, for checking them against the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Booked {
    /// The reservation.
    pub id: String,
    /// The record of the decision.
    pub record: String,
    /// The model as the agent named it.
    pub model: String,
    /// Where it is held, in order.
    pub accounts: Vec<Account>,
    /// Whether every hold is of the whole amount.
    pub is_held_whole: bool,
    /// What was held.
    pub reserved_nano_usd: i64,
    /// Tokens held.
    pub reserved_tokens: i64,
    /// What is posted; none while it is open.
    pub posted_nano_usd: Option<i64>,
    /// Tokens posted.
    pub posted_tokens: i64,
    /// Whether nothing was billed.
    pub is_void: bool,
}

/// Every reservation ever made.
///
/// # Errors
/// Those of the database.
pub fn booked(connection: &Connection) -> Result<Vec<Booked>, StoreError> {
    let mut statement = connection.prepare(
        "SELECT r.record, r.reserved_nano_usd, r.state, r.posted_nano_usd, h.budget, h.period,
           COALESCE(h.nano_usd = r.reserved_nano_usd AND h.tokens = r.reserved_tokens, 1),
           r.id, r.model, r.reserved_tokens, r.posted_tokens
         FROM reservations r LEFT JOIN holds h ON h.reservation = r.id ORDER BY r.id, h.budget, h.period",
    )?;
    let mut rows = statement.query([])?;
    let mut booked: Vec<Booked> = Vec::new();
    while let Some(row) = rows.next()? {
        let record: String = row.get(0)?;
        let (state, posted): (String, i64) = (row.get(2)?, row.get(3)?);
        if booked.last().is_none_or(|last| last.record != record) {
            booked.push(Booked {
                id: row.get(7)?,
                record,
                model: row.get(8)?,
                accounts: Vec::new(),
                is_held_whole: true,
                reserved_nano_usd: row.get(1)?,
                reserved_tokens: row.get(9)?,
                posted_nano_usd: (state != "forwarding").then_some(posted),
                posted_tokens: row.get(10)?,
                is_void: state == "void",
            });
        }
        let (budget, period): (Option<String>, Option<String>) = (row.get(4)?, row.get(5)?);
        let is_whole: bool = row.get(6)?;
        if let (Some(last), Some(budget), Some(period)) = (booked.last_mut(), budget, period) {
            last.accounts.push(Account { budget, period });
            last.is_held_whole &= is_whole;
        }
    }
    Ok(booked)
}

#[cfg(test)]
mod tests;
