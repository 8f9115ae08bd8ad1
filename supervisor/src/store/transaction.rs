//! A transaction of the connection that writes. Begun and ended by statements that stay prepared: SQLite would parse
//! them anew each time.
//!
//! Invariant: what is not committed is rolled back.

use std::ops::Deref;

use rusqlite::Connection;

/// A transaction under way. Reads as its connection does.
pub struct Transaction<'a> {
    connection: &'a Connection,
}

impl<'a> Transaction<'a> {
    /// Begins to write. Exclusive, so that none is within another.
    pub(super) fn begin(connection: &'a mut Connection) -> Result<Self, rusqlite::Error> {
        run(connection, "BEGIN IMMEDIATE")?;
        Ok(Self { connection })
    }

    pub(super) fn commit(self) -> Result<(), rusqlite::Error> {
        run(self.connection, "COMMIT")
    }

    /// What `work` does remains only if it succeeds.
    pub(super) fn savepoint<T, E>(&self, work: impl FnOnce(&Self) -> Result<T, E>) -> Result<T, E>
    where
        E: From<rusqlite::Error>,
    {
        run(self.connection, "SAVEPOINT work")?;
        match work(self) {
            Ok(value) => {
                run(self.connection, "RELEASE work")?;
                Ok(value)
            }
            Err(error) => {
                run(self.connection, "ROLLBACK TO work")?;
                run(self.connection, "RELEASE work")?;
                Err(error)
            }
        }
    }
}

impl Deref for Transaction<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        // Committed, or rolled back by SQLite itself.
        if self.connection.is_autocommit() {
            return;
        }
        if let Err(error) = run(self.connection, "ROLLBACK") {
            tracing::error!(%error, "a transaction could not be rolled back");
        }
    }
}

fn run(connection: &Connection, sql: &str) -> Result<(), rusqlite::Error> {
    connection.prepare_cached(sql)?.execute([]).map(drop)
}
