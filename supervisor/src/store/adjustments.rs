//! Adjustments: by how much people raised or lowered a budget in one of its periods.
//!
//! Invariant: a row is written with its record in one transaction, and never changes.

use rusqlite::{Connection, params};

use super::ledger::Account;
use super::{StoreError, Transaction};
use crate::core::ids::RecordId;

/// The event's name in the log; the facts of such a record say the same as its row here.
pub const EVENT: &str = "budget-adjusted";

pub(super) const SCHEMA: &str = "
CREATE TABLE adjustments (
  record   TEXT PRIMARY KEY,
  budget   TEXT NOT NULL,
  period   TEXT NOT NULL,
  nano_usd INTEGER NOT NULL,
  tokens   INTEGER NOT NULL,
  made_by  TEXT NOT NULL,
  reason   TEXT,
  at_ms    INTEGER NOT NULL,
  FOREIGN KEY (budget, period) REFERENCES accounts (budget, period)
) STRICT, WITHOUT ROWID;
CREATE INDEX adjustments_by_account ON adjustments (budget, period);
";

/// A change of what a budget may spend in a period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adjustment {
    /// The record that tells of it.
    pub record: RecordId,
    /// The budget and the period.
    pub account: Account,
    /// Money, below zero where it was lowered.
    pub nano_usd: i64,
    /// Tokens, below zero where it was lowered.
    pub tokens: i64,
    /// Who did it: `user:alice`.
    pub by: String,
    /// Why, in their words.
    pub reason: Option<String>,
    /// When, milliseconds since 1970.
    pub at_ms: i64,
}

/// Adds one; the account exists from then on.
///
/// # Errors
/// Those of the database.
pub fn insert(tx: &Transaction<'_>, adjustment: &Adjustment) -> Result<(), StoreError> {
    let Account { budget, period } = &adjustment.account;
    tx.prepare_cached("INSERT INTO accounts (budget, period) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
        .execute([budget, period])?;
    tx.prepare_cached(
        "INSERT INTO adjustments (record, budget, period, nano_usd, tokens, made_by, reason, at_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?
    .execute(params![
        adjustment.record.to_string(),
        budget,
        period,
        adjustment.nano_usd,
        adjustment.tokens,
        adjustment.by,
        adjustment.reason,
        adjustment.at_ms,
    ])?;
    Ok(())
}

/// What one party changed in an account, money and tokens.
///
/// # Errors
/// Those of the database.
pub fn made_by(connection: &Connection, account: &Account, by: &str) -> Result<(i64, i64), StoreError> {
    Ok(connection
        .prepare_cached(
            "SELECT COALESCE(SUM(nano_usd), 0), COALESCE(SUM(tokens), 0) FROM adjustments
             WHERE budget = ?1 AND period = ?2 AND made_by = ?3",
        )?
        .query_row([&account.budget, &account.period, by], |row| Ok((row.get(0)?, row.get(1)?)))?)
}

/// All of them, in order: the record, and what it says in the ledger.
///
/// # Errors
/// Those of the database.
pub fn list(connection: &Connection) -> Result<Vec<(String, Account, i64, i64)>, StoreError> {
    let mut statement = connection
        .prepare("SELECT record, budget, period, nano_usd, tokens FROM adjustments ORDER BY record")?;
    let rows = statement.query_map([], |row| {
        Ok((row.get(0)?, Account { budget: row.get(1)?, period: row.get(2)? }, row.get(3)?, row.get(4)?))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
