//! The audit log: append-only rows of canonical bytes, chained by hash.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::{StoreError, Transaction};
use crate::core::ids::{RecordId, RunId};
use crate::core::record::{Entry, GENESIS, Record, hash};
use crate::sys::{clock, ids};

pub(super) const SCHEMA: &str = "
CREATE TABLE records (
  seq   INTEGER PRIMARY KEY,
  id    TEXT NOT NULL UNIQUE,
  at_ms INTEGER NOT NULL,
  run   TEXT,
  body  BLOB NOT NULL,
  hash  BLOB NOT NULL
) STRICT;
CREATE INDEX records_by_run ON records (run, seq);
CREATE TRIGGER records_never_change BEFORE UPDATE ON records
  BEGIN SELECT RAISE(ABORT, 'records are append-only'); END;
CREATE TRIGGER records_never_go BEFORE DELETE ON records
  BEGIN SELECT RAISE(ABORT, 'records are append-only'); END;
CREATE TRIGGER records_have_no_gaps BEFORE INSERT ON records
  WHEN NEW.seq <> (SELECT COALESCE(MAX(seq), 0) + 1 FROM records)
  BEGIN SELECT RAISE(ABORT, 'records have no gaps'); END;
";

/// The newest record's number and hash; zero and [`GENESIS`] in an empty log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Its number.
    pub seq: u64,
    /// Its hash.
    pub hash: [u8; 32],
}

/// A stored record: its bytes as they were hashed, and the hash that was stored beside them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRecord {
    /// The row's number.
    pub seq: u64,
    /// The row's id.
    pub id: String,
    /// The row's time.
    pub at_ms: i64,
    /// The row's run.
    pub run: Option<String>,
    /// The canonical bytes.
    pub body: Vec<u8>,
    /// The stored hash.
    pub hash: Vec<u8>,
}

impl StoredRecord {
    /// The record that the bytes hold.
    ///
    /// # Errors
    /// When they hold none.
    pub fn record(&self) -> Result<Record, StoreError> {
        read(&self.body)
    }
}

fn read(body: &[u8]) -> Result<Record, StoreError> {
    serde_json::from_slice(body).map_err(|error| StoreError::corrupt("record", error))
}

/// Appends an entry; the id is new, the time is now.
///
/// # Errors
/// Those of the database, or no randomness for the id.
pub fn append(tx: &Transaction<'_>, entry: Entry) -> Result<RecordId, StoreError> {
    let id = ids::new_record_id()?;
    append_as(tx, id, clock::now_ms(), entry)?;
    Ok(id)
}

/// Appends an entry under an id that was made before, because a reservation names it.
///
/// # Errors
/// Those of the database.
pub fn append_as(tx: &Transaction<'_>, id: RecordId, at_ms: i64, entry: Entry) -> Result<u64, StoreError> {
    let head = head(tx)?;
    let record = Record { v: 1, seq: head.seq + 1, id, at_ms, prev: hex::encode(head.hash), entry };
    let body = record.to_bytes()?;
    tx.prepare_cached(
        "INSERT INTO records (seq, id, at_ms, run, body, hash) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![
        i64::try_from(record.seq).map_err(|error| StoreError::corrupt("sequence", error))?,
        id.to_string(),
        at_ms,
        record.run().map(|run| run.to_string()),
        body,
        hash(&body).as_slice(),
    ])?;
    Ok(record.seq)
}

/// The end of the log.
///
/// # Errors
/// Those of the database.
pub fn head(connection: &Connection) -> Result<Head, StoreError> {
    let row: Option<(i64, Vec<u8>)> = connection
        .prepare_cached("SELECT seq, hash FROM records ORDER BY seq DESC LIMIT 1")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    match row {
        None => Ok(Head { seq: 0, hash: GENESIS }),
        Some((seq, hash)) => Ok(Head {
            seq: u64::try_from(seq).map_err(|error| StoreError::corrupt("sequence", error))?,
            hash: hash.try_into().map_err(|_| StoreError::corrupt("hash", seq))?,
        }),
    }
}

/// Up to `limit` records after number `after`, oldest first.
///
/// # Errors
/// Those of the database.
pub fn page(connection: &Connection, after: u64, limit: u32) -> Result<Vec<StoredRecord>, StoreError> {
    let after = i64::try_from(after).map_err(|error| StoreError::corrupt("sequence", error))?;
    let mut statement = connection.prepare_cached(
        "SELECT seq, id, at_ms, run, body, hash FROM records WHERE seq > ?1 ORDER BY seq LIMIT ?2",
    )?;
    let rows = statement.query_map(params![after, limit], |row| {
        let seq: i64 = row.get(0)?;
        let (id, at_ms, run) = (row.get(1)?, row.get(2)?, row.get(3)?);
        Ok((seq, StoredRecord { seq: 0, id, at_ms, run, body: row.get(4)?, hash: row.get(5)? }))
    })?;
    rows.map(|row| {
        let (seq, stored) = row?;
        let seq = u64::try_from(seq).map_err(|error| StoreError::corrupt("sequence", error))?;
        Ok(StoredRecord { seq, ..stored })
    })
    .collect()
}

/// The number of the last record before an instant, found by halving: records have no gaps and their times go forward,
/// but for a clock that is set back.
///
/// # Errors
/// Those of the database.
pub fn last_before(connection: &Connection, at_ms: i64, newest: u64) -> Result<u64, StoreError> {
    let mut statement = connection.prepare_cached("SELECT at_ms FROM records WHERE seq = ?1")?;
    let (mut before, mut after) = (0, newest + 1);
    while before + 1 < after {
        let middle = before + (after - before) / 2;
        let number = i64::try_from(middle).map_err(|error| StoreError::corrupt("sequence", error))?;
        let found: i64 = statement.query_row([number], |row| row.get(0))?;
        if found < at_ms {
            before = middle;
        } else {
            after = middle;
        }
    }
    Ok(before)
}

/// The records whose id begins like this, from its kind on, or else ends like this: the newest first, two at most, one or
/// too many.
///
/// # Errors
/// Those of the database.
pub fn named(connection: &Connection, part: &str) -> Result<Vec<Record>, StoreError> {
    let sql = if part.starts_with(RecordId::PREFIX) {
        "SELECT body FROM records WHERE id >= ?1 AND id < ?1 || '~' ORDER BY seq DESC LIMIT 2"
    } else {
        "SELECT body FROM records WHERE substr(id, -length(?1)) = ?1 ORDER BY seq DESC LIMIT 2"
    };
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map([part], |row| row.get::<_, Vec<u8>>(0))?;
    rows.map(|body| read(&body?)).collect()
}

/// The newest decision that denied, of a run or of any.
///
/// # Errors
/// Those of the database.
pub fn last_denial(connection: &Connection, run: Option<RunId>) -> Result<Option<Record>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT body FROM records WHERE (?1 IS NULL OR run = ?1)
         AND json_extract(CAST(body AS TEXT), '$.entry.kind') = 'decision'
         AND json_extract(CAST(body AS TEXT), '$.entry.decision') = 'deny'
         ORDER BY seq DESC LIMIT 1",
    )?;
    let body =
        statement.query_row([run.map(|run| run.to_string())], |row| row.get::<_, Vec<u8>>(0)).optional()?;
    body.map(|body| read(&body)).transpose()
}

/// How many actions of a run were denied.
///
/// # Errors
/// Those of the database.
pub fn denials(connection: &Connection, run: RunId) -> Result<u64, StoreError> {
    let count: i64 = connection
        .prepare_cached(
            "SELECT COUNT(*) FROM records WHERE run = ?1
             AND json_extract(CAST(body AS TEXT), '$.entry.kind') = 'decision'
             AND json_extract(CAST(body AS TEXT), '$.entry.decision') = 'deny'",
        )?
        .query_row([run.to_string()], |row| row.get(0))?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// Whether the triggers that keep the log append-only are all there.
///
/// # Errors
/// Those of the database.
pub fn is_guarded(connection: &Connection) -> Result<bool, StoreError> {
    let guards: i64 = connection.query_row(
        "SELECT COUNT(*) FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = 'records'
         AND name IN ('records_never_change', 'records_never_go', 'records_have_no_gaps')",
        [],
        |row| row.get(0),
    )?;
    Ok(guards == 3)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::core::record::EventEntry;
    use crate::store::Store;

    #[tokio::test]
    async fn records_are_found_by_their_time() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("agentsup.db")).unwrap();
        for at_ms in [10, 20, 20, 30] {
            let id = ids::new_record_id().unwrap();
            let entry = Entry::Event(EventEntry::new("mark", "a mark was made"));
            store.write(move |tx| append_as(tx, id, at_ms, entry)).await.unwrap();
        }
        for (at_ms, before) in [(0, 0), (10, 0), (11, 1), (20, 1), (21, 3), (30, 3), (31, 4), (i64::MAX, 4)] {
            let found = store.read(move |connection| last_before(connection, at_ms, 4)).await.unwrap();
            assert_eq!(found, before, "{at_ms}");
        }
        let none = store.read(|connection| last_before(connection, 5, 0)).await.unwrap();
        assert_eq!(none, 0);
    }

    #[tokio::test]
    async fn records_are_found_by_a_part_of_their_id() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("agentsup.db")).unwrap();
        let ids = [(1, [1; 10]), (1, [2; 10]), (1 << 40, [1; 10])]
            .map(|(ms, random)| RecordId::from_parts(ms, random));
        for id in ids {
            let entry = Entry::Event(EventEntry::new("mark", "a mark was made"));
            store.write(move |tx| append_as(tx, id, 1, entry)).await.unwrap();
        }
        let [first, second, third] = ids.map(|id| id.to_string());
        for (part, expected) in [
            (first.clone(), vec![ids[0]]),
            (first[..first.len() - 8].to_owned(), vec![ids[0]]),
            (first[..10].to_owned(), vec![ids[1], ids[0]]),
            (third[..12].to_owned(), vec![ids[2]]),
            ("02020202".to_owned(), vec![ids[1]]),
            ("01010101".to_owned(), vec![ids[2], ids[0]]),
            ("rec_".to_owned(), vec![ids[2], ids[1]]),
            (second[4..12].to_owned(), vec![]),
            ("rec_%".to_owned(), vec![]),
        ] {
            let wanted = part.clone();
            let found = store.read(move |connection| named(connection, &wanted)).await.unwrap();
            assert_eq!(found.iter().map(|record| record.id).collect::<Vec<_>>(), expected, "{part}");
        }
    }
}
