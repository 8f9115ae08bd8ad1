//! The database and its log as whoever writes has them.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rusqlite::Connection;
use rusqlite::hooks::Wal;

use super::super::{StoreError, Transaction};
use super::work::{OnDisk, Work};

/// The length of the log at which it is moved into the main file.
const CHECKPOINT_PAGES: usize = 1000;

/// The database.
pub(super) struct Disk {
    connection: Connection,
    pub(super) log: LogFile,
    /// How long the log is.
    log_pages: Arc<AtomicUsize>,
    /// Whether something is committed that is not on the disk, or not for certain.
    pub(super) unsynced: bool,
    /// Whether the writer's thread looks at that in time without being told.
    pub(super) watched: bool,
}

impl Disk {
    pub(super) fn new(mut connection: Connection, log: LogFile) -> Result<Self, StoreError> {
        let log_pages = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&log_pages);
        // This takes the place of SQLite's own checkpoints, which would come within a commit.
        connection.wal_hook(Some(move |_: &mut Wal, pages| {
            counted.store(usize::try_from(pages).unwrap_or(0), Ordering::Release);
            Ok(())
        }))?;
        Ok(Self { connection, log, log_pages, unsynced: false, watched: false })
    }

    /// Commits all of these together.
    pub(super) fn run<'a>(
        &mut self,
        writes: impl Iterator<Item = &'a mut Box<dyn Work>>,
    ) -> Result<OnDisk, rusqlite::Error> {
        let tx = Transaction::begin(&mut self.connection)?;
        let on_disk = writes.map(|work| work.run(&tx)).max().unwrap_or(OnDisk::Soon);
        tx.commit()?;
        self.unsynced = true;
        Ok(on_disk)
    }

    /// Commits what is `behind`, and `work` after it. What `work` answers is there only if all of it is committed.
    pub(super) fn run_one<T>(
        &mut self,
        behind: &mut [Box<dyn Work>],
        work: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<Result<T, StoreError>, rusqlite::Error> {
        let tx = Transaction::begin(&mut self.connection)?;
        let result = if behind.is_empty() {
            work(&tx)
        } else {
            for work in behind.iter_mut() {
                let _on_disk_soon = work.run(&tx);
            }
            tx.savepoint(work)
        };
        if behind.is_empty() && result.is_err() {
            return Ok(result);
        }
        tx.commit()?;
        self.unsynced = true;
        Ok(result)
    }

    /// Moves what the log holds into the main file, so that the log begins anew; between writes, not within one.
    pub(super) fn checkpoint(&self) {
        if self.log_pages.load(Ordering::Acquire) < CHECKPOINT_PAGES {
            return;
        }
        self.log_pages.store(0, Ordering::Release);
        let moved = self.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
        if let Err(error) = moved {
            tracing::warn!(%error, "the store's log could not be moved into its main file");
        }
    }
}

/// SQLite's write-ahead log as a file, which exists as long as the connection that writes does.
pub(super) struct LogFile {
    pub(super) path: PathBuf,
    file: Option<Arc<File>>,
    /// Why a sync failed: from then on none succeeds.
    pub(super) failed: Option<Arc<io::Error>>,
    #[cfg(test)]
    pub(super) syncs: Arc<AtomicUsize>,
}

impl LogFile {
    pub(super) fn of(database: &Path) -> Self {
        let mut path = OsString::from(database);
        path.push("-wal");
        Self {
            path: path.into(),
            file: None,
            failed: None,
            #[cfg(test)]
            syncs: Arc::default(),
        }
    }

    /// The file, to be synced.
    pub(super) fn file(&mut self) -> Result<Arc<File>, Arc<io::Error>> {
        #[cfg(test)]
        self.syncs.fetch_add(1, Ordering::SeqCst);
        if let Some(error) = &self.failed {
            return Err(Arc::clone(error));
        }
        if let Some(file) = &self.file {
            return Ok(Arc::clone(file));
        }
        match self.open() {
            Ok(file) => Ok(Arc::clone(self.file.insert(Arc::new(file)))),
            Err(error) => Err(self.fail(error)),
        }
    }

    /// Opens it and puts its name on the disk, without which its content would be nobody's after a power cut.
    fn open(&self) -> io::Result<File> {
        let file = File::options().write(true).open(&self.path)?;
        if let Some(dir) = self.path.parent() {
            File::open(dir)?.sync_all()?;
        }
        Ok(file)
    }

    pub(super) fn fail(&mut self, error: io::Error) -> Arc<io::Error> {
        let error = Arc::new(error);
        self.failed = Some(Arc::clone(&error));
        error
    }
}
