//! The one thread that writes: takes what is queued, runs it in one transaction, commits, answers.
//!
//! A commit is in the write-ahead log, where it outlives the process. On the disk, where it outlives a power cut too,
//! it is once that file is synced: before the answer for what asks for it, within [`SYNC_WITHIN`] for the rest. A power
//! cut takes the log's unsynced end, never something before it. Each piece of work has a savepoint, so that one failure
//! does not take its neighbours down. Nobody is answered before the commit; if the disk fails, everybody is told.

use std::ffi::OsString;
use std::fs::File;
use std::future::{Pending as Never, pending};
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Timeout, timeout};

use super::StoreError;

/// Writes waiting at most; beyond that writers wait for room.
const QUEUE: usize = 1024;
/// Writes in one commit at most, so that the first of them does not wait long.
const GROUP: usize = 64;
/// The longest that a commit is not on the disk, but for the time that the sync itself takes.
const SYNC_WITHIN: Duration = Duration::from_millis(100);

/// Why a write could not be queued.
#[derive(Debug, thiserror::Error)]
#[error("the queue of the store's writer is full or closed")]
pub struct WriteQueueError;

/// Why what was written may not be there tomorrow.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CommitError {
    /// SQLite did not commit.
    #[error("{0}")]
    Sqlite(Arc<rusqlite::Error>),
    /// It is committed, but the disk did not take it. Nothing is believed of that file any more: after a failed sync
    /// the system may call pages clean that it has lost.
    #[error("the disk did not take it: {0}; restart the daemon once the disk works")]
    Disk(Arc<io::Error>),
}

/// When a piece of work must be on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum OnDisk {
    Soon,
    BeforeAnswer,
}

trait Work: Send {
    fn run(&mut self, tx: &Transaction<'_>) -> OnDisk;
    fn answer(self: Box<Self>, commit: Result<(), CommitError>);
}

struct Pending<T, F, S> {
    work: Option<F>,
    needs_sync: S,
    result: Option<Result<T, StoreError>>,
    reply: Option<oneshot::Sender<Result<T, StoreError>>>,
}

impl<T, F, S> Work for Pending<T, F, S>
where
    T: Send,
    F: FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send,
    S: Fn(&T) -> bool + Send,
{
    fn run(&mut self, tx: &Transaction<'_>) -> OnDisk {
        let Some(work) = self.work.take() else { return OnDisk::Soon };
        let result = in_savepoint(tx, work);
        let needs_sync = result.as_ref().is_ok_and(&self.needs_sync);
        self.result = Some(result);
        if needs_sync { OnDisk::BeforeAnswer } else { OnDisk::Soon }
    }

    fn answer(self: Box<Self>, commit: Result<(), CommitError>) {
        let result = match (self.result, commit) {
            (Some(Ok(value)), Ok(())) => Ok(value),
            (Some(Ok(_)), Err(error)) => Err(StoreError::Commit(error)),
            (Some(Err(error)), _) => Err(error),
            (None, _) => Err(StoreError::Closed),
        };
        match self.reply {
            // Who hung up does not need the answer; the write is done all the same.
            Some(reply) => drop(reply.send(result)),
            None => {
                if let Err(error) = result {
                    tracing::error!(%error, "a write that nobody waits for failed");
                }
            }
        }
    }
}

fn in_savepoint<T, F>(tx: &Transaction<'_>, work: F) -> Result<T, StoreError>
where
    F: FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
{
    run_cached(tx, "SAVEPOINT work")?;
    match work(tx) {
        Ok(value) => {
            run_cached(tx, "RELEASE work")?;
            Ok(value)
        }
        Err(error) => {
            tx.execute_batch("ROLLBACK TO work; RELEASE work")?;
            Err(error)
        }
    }
}

fn run_cached(tx: &Transaction<'_>, sql: &str) -> Result<(), rusqlite::Error> {
    tx.prepare_cached(sql)?.execute([]).map(drop)
}

/// The sending side.
#[derive(Clone)]
pub(super) struct Writer {
    queue: mpsc::Sender<Box<dyn Work>>,
}

impl Writer {
    /// The thread ends when the last clone is gone and the queue is empty.
    pub(super) fn start(connection: Connection, database: &Path) -> Self {
        let (queue, received) = mpsc::channel(QUEUE);
        let disk = Disk { connection, log: LogFile::of(database), unsynced: false };
        let write = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
            runtime.block_on(write_until_closed(disk, received));
            Ok::<_, io::Error>(())
        };
        let write = move || {
            if let Err(error) = write() {
                tracing::error!(%error, "the store's writer could not be started");
            }
        };
        if let Err(error) = std::thread::Builder::new().name("store-writer".to_owned()).spawn(write) {
            // The receiver is gone with the closure: every write answers `Closed`, so everything is denied.
            tracing::error!(%error, "the store's writer could not be started");
        }
        Self { queue }
    }

    /// `needs_sync` is asked about what `work` answers: whether that must be on the disk first.
    pub(super) async fn write<T, F, S>(&self, work: F, needs_sync: S) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
        S: Fn(&T) -> bool + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let pending = Pending { work: Some(work), needs_sync, result: None, reply: Some(reply) };
        self.queue.send(Box::new(pending)).await.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    pub(super) fn enqueue<F>(&self, work: F) -> Result<(), WriteQueueError>
    where
        F: FnOnce(&Transaction<'_>) -> Result<(), StoreError> + Send + 'static,
    {
        let needs_sync = |_: &()| false;
        let pending = Pending { work: Some(work), needs_sync, result: None, reply: None };
        self.queue.try_send(Box::new(pending)).map_err(|_| WriteQueueError)
    }
}

/// The database as the writer has it.
struct Disk {
    connection: Connection,
    log: LogFile,
    /// Whether something is committed that is not on the disk.
    unsynced: bool,
}

type Deadline = Pin<Box<Timeout<Never<()>>>>;

async fn write_until_closed(mut disk: Disk, mut queue: mpsc::Receiver<Box<dyn Work>>) {
    let mut group: Vec<Box<dyn Work>> = Vec::with_capacity(GROUP);
    let mut due: Option<Deadline> = None;
    loop {
        let first = match &mut due {
            None => queue.recv().await,
            Some(deadline) => tokio::select! {
                biased;
                _ = deadline => {
                    disk.sync_late();
                    due = disk.deadline();
                    continue;
                }
                first = queue.recv() => first,
            },
        };
        let Some(first) = first else { break };
        group.push(first);
        while group.len() < GROUP {
            let Ok(next) = queue.try_recv() else { break };
            group.push(next);
        }
        let commit = disk.commit(&mut group);
        for work in group.drain(..) {
            work.answer(commit.clone());
        }
        // The oldest unsynced commit counts.
        due = if disk.unsynced { due.or_else(|| disk.deadline()) } else { None };
    }
    disk.sync_late();
}

impl Disk {
    fn commit(&mut self, group: &mut [Box<dyn Work>]) -> Result<(), CommitError> {
        let on_disk = self.run(group).map_err(|error| CommitError::Sqlite(Arc::new(error)))?;
        self.unsynced = true;
        if on_disk == OnDisk::BeforeAnswer || self.log.failed.is_some() {
            self.sync().map_err(CommitError::Disk)?;
        }
        Ok(())
    }

    fn run(&mut self, group: &mut [Box<dyn Work>]) -> Result<OnDisk, rusqlite::Error> {
        let tx = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut on_disk = OnDisk::Soon;
        for work in group {
            on_disk = on_disk.max(work.run(&tx));
        }
        tx.commit()?;
        Ok(on_disk)
    }

    fn sync(&mut self) -> Result<(), Arc<io::Error>> {
        self.log.sync()?;
        self.unsynced = false;
        Ok(())
    }

    fn sync_late(&mut self) {
        if self.unsynced
            && let Err(error) = self.sync()
        {
            tracing::error!(%error, "the store could not be synced; nothing is allowed any more");
        }
    }

    fn deadline(&self) -> Option<Deadline> {
        (self.unsynced && self.log.failed.is_none()).then(|| Box::pin(timeout(SYNC_WITHIN, pending())))
    }
}

/// SQLite's write-ahead log as a file, which exists as long as the writer's connection does.
struct LogFile {
    path: PathBuf,
    file: Option<File>,
    /// Why a sync failed: from then on none succeeds.
    failed: Option<Arc<io::Error>>,
    #[cfg(test)]
    syncs: Arc<std::sync::atomic::AtomicUsize>,
}

impl LogFile {
    fn of(database: &Path) -> Self {
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

    fn sync(&mut self) -> Result<(), Arc<io::Error>> {
        if let Some(error) = &self.failed {
            return Err(Arc::clone(error));
        }
        #[cfg(test)]
        self.syncs.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        self.file().and_then(File::sync_data).map_err(|error| {
            let error = Arc::new(error);
            self.failed = Some(Arc::clone(&error));
            error
        })
    }

    fn file(&mut self) -> io::Result<&File> {
        match &mut self.file {
            Some(file) => Ok(file),
            none => Ok(none.insert(File::options().write(true).open(&self.path)?)),
        }
    }
}

#[cfg(test)]
#[path = "writer/tests.rs"]
mod tests;
