//! What decisions were about, kept beside the log for a while: enough to judge them again, and gone without a trace in
//! the chain when its time is over.
//!
//! Invariants: a row is written in its record's transaction and never changed; the record has the digest of its bytes,
//! so a changed one is known and a missing one is no damage.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::{StoreError, Transaction, records};
use crate::core::ids::RecordId;
use crate::core::judged::digest;
use crate::core::record::{DecisionEntry, Entry};
use crate::sys::{clock, ids};

pub(super) const SCHEMA: &str = "
CREATE TABLE facts (
  seq   INTEGER PRIMARY KEY,
  at_ms INTEGER NOT NULL,
  body  BLOB NOT NULL
) STRICT;
CREATE TRIGGER facts_never_change BEFORE UPDATE ON facts
  BEGIN SELECT RAISE(ABORT, 'facts do not change'); END;
";

/// The most decisions whose facts are kept, by the number of records since.
pub const RECORDS_MAX: u64 = 2_000_000;

/// A decision that is to be recorded, and what it was about, if that is kept.
#[derive(Debug, Clone)]
pub struct Draft {
    /// The record.
    pub entry: Box<DecisionEntry>,
    /// The bytes beside it.
    pub facts: Option<Vec<u8>>,
}

/// As [`records::append`], with what the decision was about.
///
/// # Errors
/// Those of the database, or no randomness for the id.
pub fn append(tx: &Transaction<'_>, draft: Draft) -> Result<RecordId, StoreError> {
    let id = ids::new_record_id()?;
    append_as(tx, id, clock::now_ms(), draft)?;
    Ok(id)
}

/// As [`records::append_as`], with what the decision was about.
///
/// # Errors
/// Those of the database.
pub fn append_as(tx: &Transaction<'_>, id: RecordId, at_ms: i64, draft: Draft) -> Result<u64, StoreError> {
    let Draft { mut entry, facts } = draft;
    entry.facts = facts.as_deref().map(digest);
    let seq = records::append_as(tx, id, at_ms, Entry::Decision(entry))?;
    if let Some(body) = facts {
        tx.prepare_cached("INSERT INTO facts (seq, at_ms, body) VALUES (?1, ?2, ?3)")?.execute(params![
            number(seq)?,
            at_ms,
            body
        ])?;
    }
    Ok(seq)
}

/// What is kept of one record.
///
/// # Errors
/// Those of the database.
pub fn of(connection: &Connection, seq: u64) -> Result<Option<Vec<u8>>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT body FROM facts WHERE seq = ?1")?;
    Ok(statement.query_row([number(seq)?], |row| row.get(0)).optional()?)
}

/// The newest record that something is kept of; zero if nothing is.
///
/// # Errors
/// Those of the database.
pub fn newest(connection: &Connection) -> Result<u64, StoreError> {
    let newest: Option<i64> = connection.query_row("SELECT MAX(seq) FROM facts", [], |row| row.get(0))?;
    u64::try_from(newest.unwrap_or(0)).map_err(|error| StoreError::corrupt("sequence", error))
}

/// Erases what is kept of decisions before an instant, or of more than [`RECORDS_MAX`] records ago: the oldest `step` at
/// most. Answers whether there may be more.
///
/// # Errors
/// Those of the database.
pub fn prune(tx: &Transaction<'_>, before_ms: i64, step: u32) -> Result<bool, StoreError> {
    let first = number(records::head(tx)?.seq.saturating_sub(RECORDS_MAX))?;
    // What is erased is not to stay in free pages of the file.
    tx.pragma_update(None, "secure_delete", true)?;
    let erased = tx
        .prepare_cached(
            "DELETE FROM facts WHERE seq IN (SELECT seq FROM facts ORDER BY seq LIMIT ?3)
             AND (at_ms < ?1 OR seq <= ?2)",
        )?
        .execute(params![before_ms, first, step]);
    tx.pragma_update(None, "secure_delete", false)?;
    Ok(u32::try_from(erased?).unwrap_or(u32::MAX) >= step)
}

fn number(seq: u64) -> Result<i64, StoreError> {
    i64::try_from(seq).map_err(|error| StoreError::corrupt("sequence", error))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::core::decision::Decision;
    use crate::core::fixture;
    use crate::core::record::Who;
    use crate::store::Store;

    fn draft(facts: Option<&[u8]>) -> Draft {
        let entry = Box::new(DecisionEntry {
            who: Who::from(&fixture::run()),
            action: "tool".into(),
            target: "t".into(),
            on: String::new(),
            decision: Decision::Allow,
            reasons: Vec::new(),
            digest: String::new(),
            facts: None,
            call_id: None,
            reserved_nano_usd: None,
            budget: None,
            period: None,
            prices: None,
            also: Vec::new(),
        });
        Draft { entry, facts: facts.map(<[u8]>::to_vec) }
    }

    #[tokio::test]
    async fn facts_stand_beside_their_record_and_go_in_steps() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("agentsup.db")).unwrap();
        let write = |at_ms: i64, facts: Option<&'static [u8]>| {
            let store = store.clone();
            async move {
                let id = ids::new_record_id().unwrap();
                store.write(move |tx| append_as(tx, id, at_ms, draft(facts))).await.unwrap()
            }
        };
        for (at_ms, facts) in [(10, Some(&b"a"[..])), (20, None), (30, Some(b"c")), (40, Some(b"d"))] {
            write(at_ms, facts).await;
        }
        let kept = async || {
            let read = |connection: &Connection| (1..6).map(|seq| of(connection, seq)).collect();
            let kept: Vec<Option<Vec<u8>>> = store.read(read).await.unwrap();
            kept.into_iter().map(|body| body.map(|body| String::from_utf8(body).unwrap())).collect::<Vec<_>>()
        };
        let is =
            |all: [&str; 5]| all.map(|text| Some(text.to_owned()).filter(|text| !text.is_empty())).to_vec();
        assert_eq!(kept().await, is(["a", "", "c", "d", ""]));
        assert_eq!(store.read(newest).await.unwrap(), 4);
        let page = store.read(|connection| records::page(connection, 0, 9)).await.unwrap();
        let named = page.iter().map(|stored| match stored.record().unwrap().entry {
            Entry::Decision(entry) => entry.facts,
            _ => None,
        });
        let named: Vec<_> = named.collect();
        assert_eq!(named, [Some(digest(b"a")), None, Some(digest(b"c")), Some(digest(b"d"))]);

        // One at a time, until what is left is young enough.
        let mut more = Vec::new();
        for _ in 0..3 {
            more.push(store.write(|tx| prune(tx, 31, 1)).await.unwrap());
        }
        assert_eq!(more, [true, true, false]);
        assert_eq!(kept().await, is(["", "", "", "d", ""]));
        let changed = store.write(|tx| Ok(tx.execute("UPDATE facts SET body = X'00'", [])?)).await;
        assert!(changed.unwrap_err().to_string().contains("facts do not change"));
    }
}
