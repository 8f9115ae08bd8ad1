//! Models at prices that turned out too low: a call was billed more than the most it could cost, so the bound is not to
//! be believed until the prices change.

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use super::StoreError;
use crate::core::ids::ReservationId;

pub(super) const SCHEMA: &str = "
CREATE TABLE frozen (
  model       TEXT NOT NULL,
  prices      TEXT NOT NULL,
  reservation TEXT NOT NULL REFERENCES reservations (id),
  overrun     TEXT NOT NULL,
  at_ms       INTEGER NOT NULL,
  PRIMARY KEY (model, prices)
) STRICT, WITHOUT ROWID;
";

/// A model, by the version of its prices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Priced {
    /// The model as the agent named it.
    pub model: String,
    /// The version of the prices.
    pub prices: String,
}

/// Freezes it; the first overrun is the one that is kept. `overrun` is by how much, in words.
///
/// # Errors
/// Those of the database.
pub fn insert(
    tx: &Transaction<'_>,
    priced: &Priced,
    reservation: ReservationId,
    overrun: &str,
    at_ms: i64,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO frozen (model, prices, reservation, overrun, at_ms) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT DO NOTHING",
    )?
    .execute(params![priced.model, priced.prices, reservation.to_string(), overrun, at_ms])?;
    Ok(())
}

/// By how much it overran, in words, if it is frozen.
///
/// # Errors
/// Those of the database.
pub fn overrun(connection: &Connection, priced: &Priced) -> Result<Option<String>, StoreError> {
    Ok(connection
        .prepare_cached("SELECT overrun FROM frozen WHERE model = ?1 AND prices = ?2")?
        .query_row([&priced.model, &priced.prices], |row| row.get(0))
        .optional()?)
}
