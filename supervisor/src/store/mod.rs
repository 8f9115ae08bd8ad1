//! Ledger and audit log in one SQLite file: one writer at a time, commits that last, append-only records.
//!
//! Owns the schema and every statement: one file per table. Invariants: one write at a time, in order;
//! a write that has answered outlives the process, and unless it was one that may be late, a power cut; what a power
//! cut takes is the newest tenth of a second, never something before it; a failed write leaves nothing behind. Must
//! not decide anything: callers bring what is to be written.

pub mod adjustments;
pub mod corrections;
mod db;
pub mod facts;
pub mod frozen;
pub mod hold;
pub mod ledger;
pub mod meta;
pub mod own_policies;
pub mod records;
pub mod reported;
pub mod runs;
pub mod time;
mod transaction;
pub mod upstream;
pub mod usage;
mod writer;

use std::path::Path;
use std::sync::Arc;

pub use rusqlite::Connection;

pub use transaction::Transaction;
pub use writer::{CommitError, WriteQueueError};

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite refused.
    #[error("the store failed: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The store was written by a newer version.
    #[error("the store has schema {found}, this version knows up to {known}")]
    Newer {
        /// The schema found.
        found: i64,
        /// The newest schema known.
        known: i64,
    },
    /// A row does not hold what it should.
    #[error("the store holds a bad {what}: {text}")]
    Corrupt {
        /// What kind of value.
        what: &'static str,
        /// The value or the parser's words.
        text: String,
    },
    /// The writer has ended; nothing can be written any more.
    #[error("the store is closed")]
    Closed,
    /// A value has no canonical form.
    #[error(transparent)]
    Canonical(#[from] crate::core::canonical::CanonicalError),
    /// No randomness for a new id.
    #[error(transparent)]
    Random(#[from] crate::sys::ids::RandomError),
    /// The batch that held this write could not be committed.
    #[error("the commit failed: {0}")]
    Commit(CommitError),
}

impl StoreError {
    /// Whether the file is damaged, as opposed to out of reach.
    pub fn is_damage(&self) -> bool {
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
        match self {
            Self::Corrupt { .. } => true,
            Self::Sqlite(error) => matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase)),
            _ => false,
        }
    }

    pub(crate) fn corrupt(what: &'static str, text: impl ToString) -> Self {
        Self::Corrupt { what, text: text.to_string() }
    }
}

/// What SQLite itself finds wrong with the file; none if nothing is.
///
/// # Errors
/// Those of the database.
pub fn damage(connection: &Connection) -> Result<Option<String>, StoreError> {
    let found: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    Ok((found != "ok").then_some(found))
}

/// The open store. Clones share it.
#[derive(Clone)]
pub struct Store {
    writer: writer::Writer,
    readers: Arc<db::Readers>,
}

impl Store {
    /// Opens or creates the store at `path`; its directory must exist.
    ///
    /// # Errors
    /// When the file cannot be opened or was written by a newer version.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let connection = db::open_writer(path)?;
        Ok(Self {
            writer: writer::Writer::start(connection, path)?,
            readers: Arc::new(db::Readers::new(path)),
        })
    }

    /// Runs `work` in the writer's next transaction and answers once that is on the disk. If `work` fails, nothing
    /// of it remains, while the writes beside it do.
    ///
    /// # Errors
    /// Those of `work`, of the commit, or [`StoreError::Closed`].
    pub async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        self.writer.write(work, |_| true).await
    }

    /// As [`Store::write`], but answers once it is committed: on the disk it is a tenth of a second later. For what
    /// is worth no more than the process that did it, or means the worse if it is lost.
    ///
    /// # Errors
    /// As [`Store::write`].
    pub async fn write_soon<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        self.writer.write(work, |_| false).await
    }

    /// As [`Store::write_soon`], but `work` has its place when this returns: whatever is written from then on is written
    /// after it, and whatever is read sees it. It is written once the future is polled or gone, or somebody else writes.
    /// Gives `work` back where too much waits already.
    ///
    /// # Errors
    /// Of the future, as [`Store::write`].
    pub fn write_behind<T, F>(
        &self,
        work: F,
    ) -> Result<impl Future<Output = Result<T, StoreError>> + Send + use<T, F>, F>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        self.writer.write_behind(work)
    }

    /// As [`Store::write`] where `needs_sync` says so of what `work` answers, else as [`Store::write_soon`].
    ///
    /// # Errors
    /// As [`Store::write`].
    pub async fn write_synced_if<T, F, S>(&self, needs_sync: S, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
        S: Fn(&T) -> bool + Send + 'static,
    {
        self.writer.write(work, needs_sync).await
    }

    /// Answers once everything written so far is on the disk: before anybody else relies on it.
    ///
    /// # Errors
    /// As [`Store::write`].
    pub async fn sync(&self) -> Result<(), StoreError> {
        self.writer.sync().await
    }

    /// Queues `work` as [`Store::write_soon`] does, without waiting for it: for destructors, where nobody can wait.
    ///
    /// # Errors
    /// When the queue is full or closed; `work` was not run.
    pub fn enqueue<F>(&self, work: F) -> Result<(), WriteQueueError>
    where
        F: FnOnce(&Transaction<'_>) -> Result<(), StoreError> + Send + 'static,
    {
        self.writer.enqueue(work)
    }

    /// Runs `work` on a read-only connection, on a thread that may block. It sees all that was queued before.
    ///
    /// # Errors
    /// Those of `work`, or when no connection can be opened.
    pub async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        self.writer.catch_up().await;
        db::Readers::read(&self.readers, work).await
    }
}
