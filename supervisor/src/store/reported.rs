//! Model calls that went past the gateway, as their clients tell of them afterwards: what they would have cost at list
//! prices, posted to the same accounts.
//!
//! Invariants: a call is posted once, however often it is told of, in every budget of the chain or in none, with its
//! record in one transaction; a row never changes. Nothing was held for it, so an account may pass its ceiling here and
//! only here.

use rusqlite::{Connection, params};

use super::hold::Account;
use super::{StoreError, Transaction};
use crate::core::ids::{RecordId, RunId};
use crate::core::money::NanoUsd;
use crate::core::usage::Usage;

/// The event's name in the log; the facts of such a record say the same as its row here.
pub const EVENT: &str = "usage-reported";

pub(super) const SCHEMA: &str = "
CREATE TABLE reported (
  run                   TEXT NOT NULL,
  call                  TEXT NOT NULL,
  record                TEXT NOT NULL UNIQUE,
  at_ms                 INTEGER NOT NULL,
  provider              TEXT NOT NULL,
  model                 TEXT NOT NULL,
  prices                TEXT NOT NULL,
  input_tokens          INTEGER NOT NULL CHECK (input_tokens >= 0),
  cache_write_5m_tokens INTEGER NOT NULL CHECK (cache_write_5m_tokens >= 0),
  cache_write_1h_tokens INTEGER NOT NULL CHECK (cache_write_1h_tokens >= 0),
  cache_read_tokens     INTEGER NOT NULL CHECK (cache_read_tokens >= 0),
  output_tokens         INTEGER NOT NULL CHECK (output_tokens >= 0),
  cost_nano_usd         INTEGER NOT NULL CHECK (cost_nano_usd >= 0),
  PRIMARY KEY (run, call)
) STRICT, WITHOUT ROWID;
CREATE INDEX reported_by_time ON reported (at_ms);
CREATE TABLE reported_posts (
  record   TEXT NOT NULL REFERENCES reported (record),
  budget   TEXT NOT NULL,
  period   TEXT NOT NULL,
  nano_usd INTEGER NOT NULL CHECK (nano_usd >= 0),
  tokens   INTEGER NOT NULL CHECK (tokens >= 0),
  PRIMARY KEY (record, budget),
  FOREIGN KEY (budget, period) REFERENCES accounts (budget, period)
) STRICT, WITHOUT ROWID;
CREATE INDEX reported_posts_by_account ON reported_posts (budget, period);
CREATE VIEW calls AS
  SELECT opened_at_ms, run, model, state, input_tokens, cache_write_5m_tokens, cache_write_1h_tokens,
    cache_read_tokens, output_tokens, cost_nano_usd FROM usage
  UNION ALL
  SELECT at_ms, run, model, 'reported', input_tokens, cache_write_5m_tokens, cache_write_1h_tokens,
    cache_read_tokens, output_tokens, cost_nano_usd FROM reported;
";

/// A call that is told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The run that made it.
    pub run: RunId,
    /// What tells it from the run's other calls.
    pub call: String,
    /// The record that tells of it.
    pub record: RecordId,
    /// When it was told, milliseconds since 1970.
    pub at_ms: i64,
    /// The provider whose list prices count.
    pub provider: String,
    /// The model.
    pub model: String,
    /// The version of the prices.
    pub prices: String,
    /// Its tokens.
    pub usage: Usage,
    /// What they cost at list price.
    pub cost: NanoUsd,
}

/// Whether this call of the run was told of before.
///
/// # Errors
/// Those of the database.
pub fn is_known(connection: &Connection, run: RunId, call: &str) -> Result<bool, StoreError> {
    Ok(connection
        .prepare_cached("SELECT 1 FROM reported WHERE run = ?1 AND call = ?2")?
        .exists(params![run.to_string(), call])?)
}

/// Adds a call and posts it to these accounts.
///
/// # Errors
/// Those of the database; a call that is known.
pub fn post(tx: &Transaction<'_>, row: &Row, accounts: &[Account]) -> Result<(), StoreError> {
    let int = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let (record, usage) = (row.record.to_string(), &row.usage);
    tx.prepare_cached(
        "INSERT INTO reported (run, call, record, at_ms, provider, model, prices, input_tokens,
           cache_write_5m_tokens, cache_write_1h_tokens, cache_read_tokens, output_tokens, cost_nano_usd)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
    )?
    .execute(params![
        row.run.to_string(),
        row.call,
        record,
        row.at_ms,
        row.provider,
        row.model,
        row.prices,
        int(usage.input_tokens),
        int(usage.cache_write_5m_tokens),
        int(usage.cache_write_1h_tokens),
        int(usage.cache_read_tokens),
        int(usage.output_tokens),
        row.cost.nano(),
    ])?;
    for Account { budget, period } in accounts {
        tx.prepare_cached(
            "INSERT INTO accounts (budget, period, posted_nano_usd, posted_tokens) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (budget, period) DO UPDATE SET
               posted_nano_usd = posted_nano_usd + excluded.posted_nano_usd,
               posted_tokens = posted_tokens + excluded.posted_tokens",
        )?
        .execute(params![budget, period, row.cost.nano(), int(usage.total())])?;
        tx.prepare_cached(
            "INSERT INTO reported_posts (record, budget, period, nano_usd, tokens) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![record, budget, period, row.cost.nano(), int(usage.total())])?;
    }
    Ok(())
}

/// How much of what an account has spent was told of afterwards, in nano-USD at list price.
///
/// # Errors
/// Those of the database.
pub fn of_account(connection: &Connection, account: &Account) -> Result<i64, StoreError> {
    Ok(connection
        .prepare_cached(
            "SELECT COALESCE(SUM(nano_usd), 0) FROM reported_posts WHERE budget = ?1 AND period = ?2",
        )?
        .query_row([&account.budget, &account.period], |row| row.get(0))?)
}

/// A call as the ledger has it, for checking it against the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posted {
    /// What it cost.
    pub nano_usd: i64,
    /// Its tokens.
    pub tokens: i64,
    /// Where it is posted, in order.
    pub accounts: Vec<Account>,
}

/// All of them, each by its record. Amounts are those of every account, or zero where they differ.
///
/// # Errors
/// Those of the database.
pub fn list(connection: &Connection) -> Result<Vec<(String, Posted)>, StoreError> {
    let mut statement = connection.prepare(
        "SELECT r.record, r.cost_nano_usd, r.input_tokens + r.cache_write_5m_tokens + r.cache_write_1h_tokens
           + r.cache_read_tokens + r.output_tokens, p.budget, p.period, p.nano_usd, p.tokens
         FROM reported r LEFT JOIN reported_posts p ON p.record = r.record ORDER BY r.record, p.budget",
    )?;
    let mut rows = statement.query([])?;
    let mut posted: Vec<(String, Posted)> = Vec::new();
    while let Some(row) = rows.next()? {
        let (record, nano_usd, tokens): (String, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        if posted.last().is_none_or(|(last, _)| *last != record) {
            posted.push((record, Posted { nano_usd, tokens, accounts: Vec::new() }));
        }
        let (budget, period): (Option<String>, Option<String>) = (row.get(3)?, row.get(4)?);
        if let (Some((_, last)), Some(budget), Some(period)) = (posted.last_mut(), budget, period) {
            last.accounts.push(Account { budget, period });
            if (row.get::<_, i64>(5)?, row.get::<_, i64>(6)?) != (nano_usd, tokens) {
                (last.nano_usd, last.tokens) = (0, 0);
            }
        }
    }
    Ok(posted)
}
