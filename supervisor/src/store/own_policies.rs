//! The repository's own policies that a run was started with: what it is judged by until it ends, whatever becomes of
//! the repository. Written with the run and never changed.

use rusqlite::{Row, params};

use super::{StoreError, Transaction};
use crate::core::ids::RunId;
use crate::core::policy::own::OwnFile;

pub(super) const SCHEMA: &str = "
CREATE TABLE own_policies (
  run   TEXT PRIMARY KEY,
  files TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TRIGGER own_policies_never_change BEFORE UPDATE ON own_policies
  BEGIN SELECT RAISE(ABORT, 'the policies of a run do not change'); END;
";

/// Adds those of a run; nothing where there are none.
///
/// # Errors
/// Those of the database.
pub fn insert(tx: &Transaction<'_>, run: RunId, files: &[OwnFile]) -> Result<(), StoreError> {
    if files.is_empty() {
        return Ok(());
    }
    let json = serde_json::to_string(files).map_err(|error| StoreError::corrupt("own policies", error))?;
    tx.prepare_cached("INSERT INTO own_policies (run, files) VALUES (?1, ?2)")?
        .execute(params![run.to_string(), json])?;
    Ok(())
}

/// Those in a column of a row.
pub(super) fn read(row: &Row<'_>, column: usize) -> Result<Vec<OwnFile>, StoreError> {
    match row.get::<_, Option<String>>(column)? {
        Some(json) => serde_json::from_str(&json).map_err(|error| StoreError::corrupt("own policies", error)),
        None => Ok(Vec::new()),
    }
}
