//! The ledger: what budgets have spent and what is held for calls under way.
//!
//! Invariant: for every account, `posted + pending` never exceeds the ceiling it was admitted under, because a
//! reservation is admitted and added in the same transaction of the one writer. `pending` is the sum of the open
//! reservations, `posted` that of the closed ones.

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use super::{StoreError, usage};
use crate::core::action::Bound;
use crate::core::budget::{Balance, Fit, fit};
use crate::core::ids::{RecordId, ReservationId, RunId};
use crate::core::manifest::Cap;
use crate::core::money::NanoUsd;
use crate::core::usage::Charge;

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

/// A budget in a period.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Account {
    /// `<namespace>/<name>`.
    pub budget: String,
    /// As [`crate::core::budget::period_id`] gives it.
    pub period: String,
}

/// What is to be held.
#[derive(Debug, Clone)]
pub struct Hold {
    /// The id it gets.
    pub id: ReservationId,
    /// The record of the decision that it belongs to.
    pub record: RecordId,
    /// The run that pays.
    pub run: RunId,
    /// The budget and period it is held in, fixed for good.
    pub account: Account,
    /// The budget's cap at this moment.
    pub cap: Cap,
    /// The provider that bills it, by its name in the configuration.
    pub provider: String,
    /// The model it is for.
    pub model: String,
    /// The version of the prices that the bound was made with.
    pub prices: String,
    /// How much.
    pub bound: Bound,
    /// Now.
    pub at_ms: i64,
}

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
    /// The account it belongs to.
    pub account: Account,
    /// What was posted.
    pub posted: NanoUsd,
    /// Tokens posted.
    pub tokens: u64,
    /// By how much the posted amount exceeds what was held: zero unless a bound was wrong.
    pub overrun: NanoUsd,
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
    let row: Option<(i64, i64, i64, i64)> = connection
        .prepare_cached(
            "SELECT posted_nano_usd, pending_nano_usd, posted_tokens, pending_tokens
             FROM accounts WHERE budget = ?1 AND period = ?2",
        )?
        .query_row([&account.budget, &account.period], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })
        .optional()?;
    let Some((posted, pending, posted_tokens, pending_tokens)) = row else { return Ok(Balance::default()) };
    Ok(Balance {
        posted: money(posted)?,
        pending: money(pending)?,
        posted_tokens: nat(posted_tokens),
        pending_tokens: nat(pending_tokens),
    })
}

/// Holds the amount if it fits; otherwise changes nothing. Answers how it fitted and what the account had before.
///
/// # Errors
/// Those of the database.
pub fn reserve(tx: &Transaction<'_>, hold: &Hold) -> Result<(Fit, Balance), StoreError> {
    let balance = balance(tx, &hold.account)?;
    let fits = fit(&hold.cap, &balance, &hold.bound);
    if fits != Fit::Now {
        return Ok((fits, balance));
    }
    let cost = hold.bound.cost.nano();
    let tokens = int(hold.bound.tokens());
    let Account { budget, period } = &hold.account;
    tx.prepare_cached(
        "INSERT INTO accounts (budget, period, pending_nano_usd, pending_tokens) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (budget, period) DO UPDATE SET
           pending_nano_usd = pending_nano_usd + excluded.pending_nano_usd,
           pending_tokens = pending_tokens + excluded.pending_tokens",
    )?
    .execute(params![budget, period, cost, tokens])?;
    tx.prepare_cached(
        "INSERT INTO reservations
           (id, record, run, budget, period, model, reserved_nano_usd, reserved_tokens, state, opened_at_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 'forwarding', ?9)",
    )?
    .execute(params![
        hold.id.to_string(),
        hold.record.to_string(),
        hold.run.to_string(),
        budget,
        period,
        hold.model,
        cost,
        tokens,
        hold.at_ms
    ])?;
    usage::open(tx, hold)?;
    Ok((fits, balance))
}

/// Closes a reservation. Closing it again changes nothing and answers `None`.
///
/// # Errors
/// Those of the database.
pub fn close(
    tx: &Transaction<'_>,
    id: ReservationId,
    charge: Charge,
    at_ms: i64,
) -> Result<Option<Closed>, StoreError> {
    let open: Option<(String, String, i64, i64, i64)> = tx
        .prepare_cached(
            "SELECT budget, period, reserved_nano_usd, reserved_tokens, opened_at_ms
             FROM reservations WHERE id = ?1 AND state = 'forwarding'",
        )?
        .query_row([id.to_string()], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
        })
        .optional()?;
    let Some((budget, period, held, held_tokens, opened_at_ms)) = open else { return Ok(None) };
    let (state, posted, tokens) = match charge {
        Charge::Settled { usage, cost } => ("settled", cost.nano(), int(usage.total())),
        Charge::Assumed => ("assumed", held, held_tokens),
        Charge::Void => ("void", 0, 0),
    };
    tx.prepare_cached(
        "UPDATE reservations SET state = ?2, posted_nano_usd = ?3, posted_tokens = ?4, closed_at_ms = ?5
         WHERE id = ?1",
    )?
    .execute(params![id.to_string(), state, posted, tokens, at_ms])?;
    usage::close(tx, id, opened_at_ms, charge)?;
    tx.prepare_cached(
        "UPDATE accounts SET
           pending_nano_usd = pending_nano_usd - ?3, posted_nano_usd = posted_nano_usd + ?4,
           pending_tokens = pending_tokens - ?5, posted_tokens = posted_tokens + ?6
         WHERE budget = ?1 AND period = ?2",
    )?
    .execute(params![budget, period, held, posted, held_tokens, tokens])?;
    Ok(Some(Closed {
        account: Account { budget, period },
        posted: money(posted)?,
        tokens: nat(tokens),
        overrun: money(posted)?.minus(money(held)?),
    }))
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

/// The first account that is not the sum of its reservations.
///
/// # Errors
/// Those of the database.
pub fn unbalanced(connection: &Connection) -> Result<Option<Account>, StoreError> {
    Ok(connection
        .query_row(
            "SELECT a.budget, a.period FROM accounts a LEFT JOIN (
               SELECT budget, period,
                 SUM(posted_nano_usd) AS posted, SUM(posted_tokens) AS tokens,
                 SUM(IIF(state = 'forwarding', reserved_nano_usd, 0)) AS held,
                 SUM(IIF(state = 'forwarding', reserved_tokens, 0)) AS held_tokens
               FROM reservations GROUP BY budget, period
             ) r ON r.budget = a.budget AND r.period = a.period
             WHERE a.posted_nano_usd <> COALESCE(r.posted, 0) OR a.posted_tokens <> COALESCE(r.tokens, 0)
               OR a.pending_nano_usd <> COALESCE(r.held, 0) OR a.pending_tokens <> COALESCE(r.held_tokens, 0)
             ORDER BY a.budget, a.period LIMIT 1",
            [],
            |row| Ok(Account { budget: row.get(0)?, period: row.get(1)? }),
        )
        .optional()?)
}

/// A reservation's amounts, for checking them against the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Booked {
    /// The record of the decision.
    pub record: String,
    /// Where it is held.
    pub account: Account,
    /// What was held.
    pub reserved_nano_usd: i64,
    /// What was posted; none while it is open.
    pub posted_nano_usd: Option<i64>,
}

/// Every reservation ever made.
///
/// # Errors
/// Those of the database.
pub fn booked(connection: &Connection) -> Result<Vec<Booked>, StoreError> {
    let mut statement = connection.prepare(
        "SELECT record, reserved_nano_usd, state, posted_nano_usd, budget, period FROM reservations",
    )?;
    let rows = statement.query_map([], |row| {
        let state: String = row.get(2)?;
        let posted: i64 = row.get(3)?;
        let open = state == "forwarding";
        Ok(Booked {
            record: row.get(0)?,
            account: Account { budget: row.get(4)?, period: row.get(5)? },
            reserved_nano_usd: row.get(1)?,
            posted_nano_usd: (!open).then_some(posted),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
