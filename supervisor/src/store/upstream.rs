//! By what names providers know the calls that went out to them: what a statement of theirs is matched by.
//!
//! Invariants: a name is the provider's word and may be anything, so that two calls may have the same; it is written
//! late, because a lost name only means that a call cannot be found in a statement.

use rusqlite::{Connection, params};

use super::{StoreError, Transaction};
use crate::core::ids::ReservationId;

pub(super) const SCHEMA: &str = "
CREATE TABLE upstream_ids (
  id          TEXT NOT NULL,
  reservation TEXT NOT NULL REFERENCES reservations (id),
  PRIMARY KEY (id, reservation)
) STRICT, WITHOUT ROWID;
CREATE INDEX upstream_ids_by_reservation ON upstream_ids (reservation);
";

/// Keeps one more name of a call.
///
/// # Errors
/// Those of the database.
pub fn insert(tx: &Transaction<'_>, reservation: ReservationId, id: &str) -> Result<(), StoreError> {
    tx.prepare_cached("INSERT INTO upstream_ids (id, reservation) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
        .execute(params![id, reservation.to_string()])?;
    Ok(())
}

/// The names of a call, in order.
///
/// # Errors
/// Those of the database.
pub fn of(connection: &Connection, reservation: ReservationId) -> Result<Vec<String>, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT id FROM upstream_ids WHERE reservation = ?1 ORDER BY id")?;
    let rows = statement.query_map([reservation.to_string()], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
