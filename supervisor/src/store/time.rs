//! The ledger's time: what says in which period a budget is. A clock that is set back does not open a past period again.
//!
//! Invariant: it never goes back by more than [`TOLERANCE_MS`] behind the greatest time at which the ledger was asked,
//! unless a person accepts the clock as it is.

use rusqlite::Connection;

use super::{StoreError, Transaction, meta};

/// So much a clock may be corrected backwards without more ado.
pub const TOLERANCE_MS: i64 = 5 * 60 * 1000;
/// The kept time is written anew after so long, not with every call.
const GRAIN_MS: i64 = 1000;

const GREATEST: &str = "greatest-time-ms";
const TOLD: &str = "clock-told-ms";
const FORWARD: &str = "clock-forward-ms";

/// The ledger's time, and whether the clock was found to be set back for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passed {
    /// What periods are computed from.
    pub at_ms: i64,
    /// Whether nobody has been told yet that this is not what the clock shows.
    pub is_news: bool,
}

/// What is kept of the clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The greatest time at which the ledger was asked; none if it never was.
    pub greatest_ms: Option<i64>,
    /// What periods are computed from now.
    pub at_ms: i64,
    /// The last time that the clock was set forward into another period, from when and to when, until somebody accepts it.
    pub forward: Option<(i64, i64)>,
}

/// What is kept of the clock that shows `now_ms`.
///
/// # Errors
/// Those of the database.
pub fn kept(connection: &Connection, now_ms: i64) -> Result<Kept, StoreError> {
    let greatest_ms = greatest(connection)?;
    let forward = match meta::load(connection, FORWARD)?.filter(|text| !text.is_empty()) {
        None => None,
        Some(text) => {
            let both =
                text.split_once(' ').and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
            Some(both.ok_or_else(|| StoreError::corrupt("time", text))?)
        }
    };
    Ok(Kept { greatest_ms, at_ms: effective(greatest_ms, now_ms), forward })
}

/// Keeps that the clock was set forward.
///
/// # Errors
/// Those of the database.
pub fn set_forward(tx: &Transaction<'_>, from_ms: i64, to_ms: i64) -> Result<(), StoreError> {
    meta::set(tx, FORWARD, &format!("{from_ms} {to_ms}"))
}

/// From now on the clock that shows `now_ms` is right, whatever it showed before.
///
/// # Errors
/// Those of the database.
pub fn accept(tx: &Transaction<'_>, now_ms: i64) -> Result<(), StoreError> {
    meta::set(tx, GREATEST, &now_ms.to_string())?;
    meta::set(tx, FORWARD, "")
}

/// The ledger's time when the clock shows `now_ms`.
///
/// # Errors
/// Those of the database.
pub fn at(connection: &Connection, now_ms: i64) -> Result<i64, StoreError> {
    Ok(effective(greatest(connection)?, now_ms))
}

/// As [`at`], and keeps the clock's time if it is the greatest.
///
/// # Errors
/// Those of the database.
pub fn pass(tx: &Transaction<'_>, now_ms: i64) -> Result<Passed, StoreError> {
    let greatest = greatest(tx)?;
    if greatest.is_none_or(|greatest| now_ms.saturating_sub(greatest) >= GRAIN_MS) {
        meta::set(tx, GREATEST, &now_ms.to_string())?;
    }
    let at_ms = effective(greatest, now_ms);
    let mut is_news = false;
    if at_ms != now_ms {
        let kept = at_ms.to_string();
        is_news = meta::load(tx, TOLD)?.as_ref() != Some(&kept);
        if is_news {
            meta::set(tx, TOLD, &kept)?;
        }
    }
    Ok(Passed { at_ms, is_news })
}

fn greatest(connection: &Connection) -> Result<Option<i64>, StoreError> {
    let text = meta::load(connection, GREATEST)?;
    text.map(|text| text.parse().map_err(|_| StoreError::corrupt("time", text))).transpose()
}

fn effective(greatest: Option<i64>, now_ms: i64) -> i64 {
    match greatest {
        Some(greatest) if now_ms < greatest.saturating_sub(TOLERANCE_MS) => greatest,
        _ => now_ms,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::store::Store;

    #[tokio::test]
    async fn a_clock_that_is_set_back_is_told_once_and_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("agentsup.db")).unwrap();
        let start = 1_764_543_599_000;
        let later = start + 86_400_000;
        for (now_ms, at_ms, is_news) in [
            (start, start, false),
            (later, later, false),
            (later - TOLERANCE_MS, later - TOLERANCE_MS, false),
            (later - TOLERANCE_MS - 1, later, true),
            (start, later, false),
            (later + GRAIN_MS, later + GRAIN_MS, false),
            (start, later + GRAIN_MS, true),
        ] {
            assert_eq!(store.write(move |tx| pass(tx, now_ms)).await.unwrap(), Passed { at_ms, is_news });
            assert_eq!(store.read(move |connection| at(connection, now_ms)).await.unwrap(), at_ms);
        }
    }
}
