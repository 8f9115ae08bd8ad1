//! Opening the database: pragmas, schema, the pool of readers.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::Semaphore;

use super::StoreError;

/// One step per schema version; a step is never changed once released.
pub(super) const MIGRATIONS: &[&[&str]] = &[
    &[super::meta::SCHEMA, super::records::SCHEMA, super::runs::SCHEMA, super::ledger::SCHEMA],
    &[super::usage::SCHEMA, super::usage::FROM_RECORDS],
    &[super::ledger::CHAINS],
    &[super::adjustments::SCHEMA],
    &[super::frozen::SCHEMA],
    &[super::upstream::SCHEMA, super::corrections::SCHEMA],
    &[super::reported::SCHEMA],
    &[super::facts::SCHEMA],
    &[super::runs::LABELS],
    &[super::own_policies::SCHEMA],
];

const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
const READERS: usize = 4;
/// Statements that the writer keeps prepared: all of them.
const STATEMENTS: usize = 96;

/// Opens the one connection that writes.
pub(super) fn open_writer(path: &Path) -> Result<Connection, StoreError> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // The writer syncs the log itself, when it must be; SQLite keeps the order around checkpoints.
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "fullfsync", true)?;
    connection.pragma_update(None, "checkpoint_fullfsync", true)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // Else SQLite plans some statements anew for each value that is given to them.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    // Else what a savepoint may have to put back goes through a file once a few writes share a commit.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    migrate(&mut connection)?;
    Ok(connection)
}

fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found > known {
        return Err(StoreError::Newer { found, known });
    }
    let done = usize::try_from(found).unwrap_or(0);
    for (index, step) in MIGRATIONS.iter().enumerate().skip(done) {
        let tx = connection.transaction()?;
        for sql in *step {
            tx.execute_batch(sql)?;
        }
        tx.pragma_update(None, "user_version", i64::try_from(index + 1).unwrap_or(i64::MAX))?;
        tx.commit()?;
    }
    Ok(())
}

/// A bounded pool of read-only connections.
pub(super) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    permits: Semaphore,
}

impl Readers {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), idle: Mutex::new(Vec::new()), permits: Semaphore::new(READERS) }
    }

    pub(super) async fn read<T, F>(this: &Arc<Self>, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let _permit = this.permits.acquire().await.map_err(|_| StoreError::Closed)?;
        let readers = Arc::clone(this);
        tokio::task::spawn_blocking(move || {
            let idle = readers.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let connection = match idle {
                Some(connection) => connection,
                None => open_reader(&readers.path)?,
            };
            let result = work(&connection);
            readers.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            result
        })
        .await
        .map_err(|_| StoreError::Closed)?
    }
}

fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(connection)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use rusqlite::StatementStatus;

    use super::*;

    /// A file as the first version left it: a run, its records and its reservations.
    const FIRST: &str = r#"
INSERT INTO runs (id, state, token_hash, run) VALUES ('run_1', 'exited', X'01', '{"agent":"agent/bot@team"}');
INSERT INTO accounts (budget, period, posted_nano_usd, pending_nano_usd, posted_tokens, pending_tokens)
  VALUES ('team/purse', 'total', 125, 40, 119, 90);
INSERT INTO reservations (id, record, run, budget, period, model, reserved_nano_usd, reserved_tokens, state,
    posted_nano_usd, posted_tokens, opened_at_ms, closed_at_ms) VALUES
  ('rsv_counted', 'rec_1', 'run_1', 'team/purse', 'total', 'm', 100, 99, 'settled', 25, 19, 10, 11),
  ('rsv_assumed', 'rec_2', 'run_1', 'team/purse', 'total', 'm', 100, 100, 'assumed', 100, 100, 20, 21),
  ('rsv_void', 'rec_3', 'run_1', 'team/purse', 'total', 'm', 100, 99, 'void', 0, 0, 30, 31),
  ('rsv_free', 'rec_4', 'run_1', 'team/purse', 'total', 'm', 0, 0, 'settled', 0, 0, 40, 41),
  ('rsv_open', 'rec_5', 'run_1', 'team/purse', 'total', 'm', 40, 90, 'forwarding', 0, 0, 50, NULL);
INSERT INTO records (seq, id, at_ms, run, body, hash) VALUES
  (1, 'rec_1', 10, 'run_1', CAST('{"entry":{"kind":"decision","on":"anthropic"}}' AS BLOB), X'00'),
  (2, 'rec_2', 20, 'run_1', CAST('{"entry":{"kind":"decision","on":"openai"}}' AS BLOB), X'00'),
  (3, 'rec_o', 21, 'run_1', CAST('{"entry":{"kind":"outcome","of":"rec_1","usage":{"input_tokens":1,'
    || '"cache_write_5m_tokens":2,"cache_write_1h_tokens":3,"cache_read_tokens":6,"output_tokens":7}}}' AS BLOB), X'00'),
  (4, 'rec_p', 22, 'run_1', CAST('{"entry":{"kind":"outcome","of":"rec_2","tokens":100}}' AS BLOB), X'00');
"#;

    #[test]
    fn calls_of_a_file_from_before_keep_what_their_records_say() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agentsup.db");
        let mut connection = Connection::open(&path).unwrap();
        for sql in MIGRATIONS[0] {
            connection.execute_batch(sql).unwrap();
        }
        connection.execute_batch(FIRST).unwrap();
        connection.pragma_update(None, "user_version", 1).unwrap();
        migrate(&mut connection).unwrap();
        let mut statement = connection
            .prepare(
                "SELECT reservation || ' ' || provider || ' ' || state || ' ' || opened_at_ms, input_tokens,
                   cache_write_5m_tokens, cache_write_1h_tokens, cache_read_tokens, output_tokens, cost_nano_usd
                 FROM usage ORDER BY opened_at_ms",
            )
            .unwrap();
        let rows = statement.query_map([], |row| {
            let numbers: Result<Vec<i64>, _> = (1..7).map(|index| row.get(index)).collect();
            Ok((row.get(0)?, numbers?))
        });
        let rows: Vec<(String, Vec<i64>)> = rows.unwrap().collect::<Result<_, _>>().unwrap();
        assert_eq!(
            rows,
            [
                ("rsv_counted anthropic counted 10".to_owned(), vec![1, 2, 3, 6, 7, 25]),
                ("rsv_assumed openai assumed 20".to_owned(), vec![100, 0, 0, 0, 0, 100]),
                ("rsv_open  open 50".to_owned(), vec![90, 0, 0, 0, 0, 40]),
            ]
        );
    }

    #[test]
    fn a_statement_that_is_kept_is_not_prepared_again_for_other_values() {
        let dir = tempfile::tempdir().unwrap();
        let connection = open_writer(&dir.path().join("agentsup.db")).unwrap();
        let ask = |reservation: &str| {
            let sql = "SELECT budget, period FROM holds WHERE reservation = ?1 ORDER BY budget";
            let mut statement = connection.prepare_cached(sql).unwrap();
            assert!(!statement.exists([reservation]).unwrap());
            statement.get_status(StatementStatus::RePrepare)
        };
        assert_eq!(["rsv_1", "rsv_2", "rsv_3"].map(ask), [0, 0, 0]);
    }

    #[test]
    fn a_file_of_a_newer_version_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agentsup.db");
        drop(open_writer(&path).unwrap());
        let connection = Connection::open(&path).unwrap();
        connection.pragma_update(None, "user_version", 99).unwrap();
        assert!(matches!(open_writer(&path), Err(StoreError::Newer { found: 99, .. })));
    }
}
