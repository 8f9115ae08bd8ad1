//! What is kept beside records: it is what they say it is, or it is gone.

use crate::core::judged::digest;
use crate::core::record::Entry;
use crate::store::records::StoredRecord;
use crate::store::{Connection, StoreError, facts};

/// How what is kept beside a record is not what the record says; gone is well.
pub(super) fn differs(connection: &Connection, stored: &StoredRecord) -> Result<Option<String>, StoreError> {
    let Some(kept) = facts::of(connection, stored.seq)? else { return Ok(None) };
    let named = match stored.record()?.entry {
        Entry::Decision(decision) => decision.facts,
        Entry::Outcome(_) | Entry::Event(_) => None,
    };
    Ok(match named {
        Some(named) if named == digest(&kept) => None,
        Some(_) => Some("what is kept beside it is not what was decided about".to_owned()),
        None => Some("something stands beside it that it does not name".to_owned()),
    })
}

/// What stands beside records that the log does not have.
pub(super) fn stray(connection: &Connection, last: u64) -> Result<Option<String>, StoreError> {
    let newest = facts::newest(connection)?;
    Ok((newest > last).then(|| format!("something is kept of record {newest}, which the log does not have")))
}
