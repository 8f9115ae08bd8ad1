//! Writing: one connection, one writer at a time. Whoever finds it free writes at once, on its own thread; what comes
//! meanwhile is queued for the writer's thread, which runs it in one transaction, commits and answers. That thread
//! alone waits for the disk.
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
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::hooks::Wal;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Timeout, timeout};

use super::StoreError;

/// Writes waiting at most; beyond that writers wait for room.
const QUEUE: usize = 1024;
/// Writes in one commit at most, so that the first of them does not wait long.
const GROUP: usize = 64;
/// The longest that a commit is not on the disk, but for the time that the sync itself takes.
const SYNC_WITHIN: Duration = Duration::from_millis(100);
/// The length of the log at which it is moved into the main file.
const CHECKPOINT_PAGES: usize = 1000;

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

/// The writing side.
#[derive(Clone)]
pub(super) struct Writer {
    queue: mpsc::Sender<Box<dyn Work>>,
    shared: Arc<Shared>,
}

/// What whoever writes has in common with the thread.
struct Shared {
    disk: Mutex<Disk>,
    /// Writes queued and not yet committed: nobody overtakes them.
    queued: AtomicUsize,
    /// Tells the thread that something is unsynced now.
    unsynced: Notify,
}

impl Writer {
    /// The thread ends when the last clone is gone and the queue is empty.
    pub(super) fn start(connection: Connection, database: &Path) -> Result<Self, StoreError> {
        let (queue, received) = mpsc::channel(QUEUE);
        let shared = Arc::new(Shared::of(Disk::new(connection, LogFile::of(database))?));
        let writer = Self { queue, shared: Arc::clone(&shared) };
        let write = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
            runtime.block_on(write_until_closed(shared, received));
            Ok::<_, io::Error>(())
        };
        let write = move || {
            if let Err(error) = write() {
                tracing::error!(%error, "the store's writer could not be started");
            }
        };
        if let Err(error) = std::thread::Builder::new().name("store-writer".to_owned()).spawn(write) {
            // The receiver is gone with the closure, so nothing gets onto the disk, and everything is denied.
            tracing::error!(%error, "the store's writer could not be started");
        }
        Ok(writer)
    }

    /// `needs_sync` is asked about what `work` answers: whether that must be on the disk first.
    pub(super) async fn write<T, F, S>(&self, work: F, needs_sync: S) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
        S: Fn(&T) -> bool + Send + 'static,
    {
        let work = match self.write_here(work, &needs_sync) {
            Here::Busy(work) => work,
            Here::Done(result, OnDisk::Soon) => return result,
            Here::Done(result, OnDisk::BeforeAnswer) => {
                self.queue(|_| Ok(()), |()| true).await?;
                return result;
            }
        };
        self.queue(work, needs_sync).await
    }

    async fn queue<T, F, S>(&self, work: F, needs_sync: S) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
        S: Fn(&T) -> bool + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let pending = Pending { work: Some(work), needs_sync, result: None, reply: Some(reply) };
        let room = self.queue.reserve().await.map_err(|_| StoreError::Closed)?;
        self.shared.queued.fetch_add(1, Ordering::AcqRel);
        room.send(Box::new(pending));
        answer.await.map_err(|_| StoreError::Closed)?
    }

    pub(super) fn enqueue<F>(&self, work: F) -> Result<(), WriteQueueError>
    where
        F: FnOnce(&Transaction<'_>) -> Result<(), StoreError> + Send + 'static,
    {
        let needs_sync = |_: &()| false;
        let pending = Pending { work: Some(work), needs_sync, result: None, reply: None };
        let room = self.queue.try_reserve().map_err(|_| WriteQueueError)?;
        self.shared.queued.fetch_add(1, Ordering::AcqRel);
        room.send(Box::new(pending));
        Ok(())
    }

    /// Writes on this thread where nobody else is writing or about to: that takes less than telling another thread.
    /// It never waits, neither for the lock nor for the disk.
    fn write_here<T, F, S>(&self, work: F, needs_sync: &S) -> Here<T, F>
    where
        F: FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
        S: Fn(&T) -> bool,
    {
        if self.shared.queued.load(Ordering::Acquire) > 0 || self.queue.is_closed() {
            return Here::Busy(work);
        }
        let Ok(mut disk) = self.shared.disk.try_lock() else { return Here::Busy(work) };
        if disk.log.failed.is_some() {
            return Here::Busy(work);
        }
        let was_synced = !disk.unsynced;
        let result = disk.run_one(work);
        drop(disk);
        if was_synced {
            self.shared.unsynced.notify_one();
        }
        let needs_sync = result.as_ref().is_ok_and(needs_sync);
        Here::Done(result, if needs_sync { OnDisk::BeforeAnswer } else { OnDisk::Soon })
    }
}

/// What came of writing on the caller's thread.
enum Here<T, F> {
    /// Somebody else is at it; nothing was done.
    Busy(F),
    Done(Result<T, StoreError>, OnDisk),
}

type Deadline = Pin<Box<Timeout<Never<()>>>>;

async fn write_until_closed(shared: Arc<Shared>, mut queue: mpsc::Receiver<Box<dyn Work>>) {
    let mut group: Vec<Box<dyn Work>> = Vec::with_capacity(GROUP);
    let mut due: Option<Deadline> = None;
    loop {
        let late = async {
            match &mut due {
                Some(deadline) => drop(deadline.await),
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            () = late => {
                shared.sync_late();
                due = None;
            }
            first = queue.recv() => {
                let Some(first) = first else { break };
                group.push(first);
            }
            // Somebody has written without this thread.
            () = shared.unsynced.notified() => {}
        }
        while group.len() < GROUP {
            let Ok(next) = queue.try_recv() else { break };
            group.push(next);
        }
        if !group.is_empty() {
            let commit = shared.commit(&mut group);
            for work in group.drain(..) {
                work.answer(commit.clone());
            }
        }
        shared.checkpoint();
        // The oldest unsynced commit counts.
        let arm = || Box::pin(timeout(SYNC_WITHIN, pending()));
        due = if shared.is_unsynced() { due.or_else(|| Some(arm())) } else { None };
    }
    shared.sync_late();
}

impl Shared {
    fn of(disk: Disk) -> Self {
        Self { disk: Mutex::new(disk), queued: AtomicUsize::new(0), unsynced: Notify::new() }
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_unsynced(&self) -> bool {
        let disk = self.disk();
        disk.unsynced && disk.log.failed.is_none()
    }

    fn commit(&self, group: &mut [Box<dyn Work>]) -> Result<(), CommitError> {
        let committed = self.disk().run(group);
        self.queued.fetch_sub(group.len(), Ordering::AcqRel);
        let on_disk = committed.map_err(|error| CommitError::Sqlite(Arc::new(error)))?;
        if on_disk == OnDisk::BeforeAnswer || self.disk().log.failed.is_some() {
            self.sync().map_err(CommitError::Disk)?;
        }
        Ok(())
    }

    /// Syncs what is committed by now. Others may write meanwhile.
    fn sync(&self) -> Result<(), Arc<io::Error>> {
        let file = {
            let mut disk = self.disk();
            disk.unsynced = false;
            disk.log.file()?
        };
        file.sync_data().map_err(|error| self.disk().log.fail(error))
    }

    fn sync_late(&self) {
        if self.is_unsynced()
            && let Err(error) = self.sync()
        {
            tracing::error!(%error, "the store could not be synced; nothing is allowed any more");
        }
    }

    /// Moves what the log holds into the main file, so that the log begins anew; between writes, not within one.
    fn checkpoint(&self) {
        let disk = self.disk();
        if disk.log_pages.load(Ordering::Acquire) < CHECKPOINT_PAGES {
            return;
        }
        disk.log_pages.store(0, Ordering::Release);
        let moved = disk.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
        if let Err(error) = moved {
            tracing::warn!(%error, "the store's log could not be moved into its main file");
        }
    }
}

/// The database as whoever writes has it.
struct Disk {
    connection: Connection,
    log: LogFile,
    /// How long the log is.
    log_pages: Arc<AtomicUsize>,
    /// Whether something is committed that is not on the disk, or not for certain.
    unsynced: bool,
}

impl Disk {
    fn new(mut connection: Connection, log: LogFile) -> Result<Self, StoreError> {
        let log_pages = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&log_pages);
        // This takes the place of SQLite's own checkpoints, which would come within a commit.
        connection.wal_hook(Some(move |_: &mut Wal, pages| {
            counted.store(usize::try_from(pages).unwrap_or(0), Ordering::Release);
            Ok(())
        }))?;
        Ok(Self { connection, log, log_pages, unsynced: false })
    }

    fn run(&mut self, group: &mut [Box<dyn Work>]) -> Result<OnDisk, rusqlite::Error> {
        let tx = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut on_disk = OnDisk::Soon;
        for work in group {
            on_disk = on_disk.max(work.run(&tx));
        }
        tx.commit()?;
        self.unsynced = true;
        Ok(on_disk)
    }

    fn run_one<T>(
        &mut self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let tx = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let result = work(&tx)?;
        tx.commit().map_err(|error| StoreError::Commit(CommitError::Sqlite(Arc::new(error))))?;
        self.unsynced = true;
        Ok(result)
    }
}

/// SQLite's write-ahead log as a file, which exists as long as the connection that writes does.
struct LogFile {
    path: PathBuf,
    file: Option<Arc<File>>,
    /// Why a sync failed: from then on none succeeds.
    failed: Option<Arc<io::Error>>,
    #[cfg(test)]
    syncs: Arc<AtomicUsize>,
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

    /// The file, to be synced.
    fn file(&mut self) -> Result<Arc<File>, Arc<io::Error>> {
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

    fn fail(&mut self, error: io::Error) -> Arc<io::Error> {
        let error = Arc::new(error);
        self.failed = Some(Arc::clone(&error));
        error
    }
}

#[cfg(test)]
#[path = "writer/tests.rs"]
mod tests;
