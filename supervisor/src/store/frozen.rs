//! Models at prices that turned out too low: a call was billed more than the most it could cost, so the bound is not to
//! be believed until the prices change.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::{StoreError, Transaction};
use crate::core::ids::{RecordId, ReservationId};
use crate::core::money::NanoUsd;

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

/// A frozen model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frozen {
    /// The model at its prices.
    pub priced: Priced,
    /// The provider that billed the call, by its name in the configuration.
    pub provider: String,
    /// The call that cost more than it could.
    pub reservation: ReservationId,
    /// The record of the call's decision.
    pub record: RecordId,
    /// By how much, in words.
    pub overrun: String,
    /// What was held for the call.
    pub bound: NanoUsd,
    /// What it was billed.
    pub billed: NanoUsd,
    /// When it was frozen, milliseconds since 1970.
    pub at_ms: i64,
}

/// Every model that ever was frozen, the latest first.
///
/// # Errors
/// Those of the database.
pub fn list(connection: &Connection) -> Result<Vec<Frozen>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT f.model, f.prices, COALESCE(u.provider, ''), f.reservation, r.record, f.overrun, r.reserved_nano_usd,
           r.posted_nano_usd, f.at_ms
         FROM frozen f JOIN reservations r ON r.id = f.reservation
         LEFT JOIN usage u ON u.opened_at_ms = r.opened_at_ms AND u.reservation = r.id
         ORDER BY f.at_ms DESC, f.model",
    )?;
    let mut rows = statement.query([])?;
    let mut frozen = Vec::new();
    while let Some(row) = rows.next()? {
        let id = |index: usize| row.get::<_, String>(index);
        let money = |index: usize| {
            NanoUsd::new(row.get(index)?).map_err(|error| StoreError::corrupt("amount", error))
        };
        frozen.push(Frozen {
            priced: Priced { model: id(0)?, prices: id(1)? },
            provider: id(2)?,
            reservation: id(3)?.parse().map_err(|error| StoreError::corrupt("reservation id", error))?,
            record: id(4)?.parse().map_err(|error| StoreError::corrupt("record id", error))?,
            overrun: id(5)?,
            bound: money(6)?,
            billed: money(7)?,
            at_ms: row.get(8)?,
        });
    }
    Ok(frozen)
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
