//! Writing: one connection, one writer at a time. Whoever finds it free writes at once, on its own thread; what comes
//! meanwhile is queued for the writer's thread, which runs it in one transaction, commits and answers. That thread
//! alone waits for the disk. What nobody waits for yet is left behind, for whoever writes next, and first in their
//! transaction.
//!
//! A commit is in the write-ahead log, where it outlives the process. On the disk, where it outlives a power cut too,
//! it is once that file is synced: before the answer for what asks for it, within [`SYNC_WITHIN`] for the rest. A power
//! cut takes the log's unsynced end, never something before it. Each piece of work has a savepoint, so that one failure
//! does not take its neighbours down. Nobody is answered before the commit; if the disk fails, everybody is told.

mod disk;
mod work;

use std::future::{Pending as Never, pending};
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Timeout, timeout};

use super::{StoreError, Transaction};
use disk::{Disk, LogFile};
pub use work::CommitError;
use work::{Asked, OnDisk, Pending, Work};

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

/// The writing side.
#[derive(Clone)]
pub(super) struct Writer {
    queue: mpsc::Sender<Asked>,
    shared: Arc<Shared>,
}

/// What whoever writes has in common with the thread.
struct Shared {
    disk: Mutex<Disk>,
    /// Writes queued and not yet committed: nobody overtakes them.
    queued: AtomicUsize,
    /// Writes for whoever writes next: nobody overtakes them either. Emptied by who has the disk.
    behind: Mutex<Vec<Box<dyn Work>>>,
    /// How many of those are not yet committed.
    left: AtomicUsize,
    /// Tells the thread that there is something to be done that is not in its queue.
    told: Notify,
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
                self.sync().await?;
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
        let (pending, answer) = Pending::awaited(work, needs_sync);
        let room = self.queue.reserve().await.map_err(|_| StoreError::Closed)?;
        self.shared.queued.fetch_add(1, Ordering::AcqRel);
        room.send(Asked::Write(Box::new(pending)));
        answer.await.map_err(|_| StoreError::Closed)?
    }

    pub(super) fn enqueue<F>(&self, work: F) -> Result<(), WriteQueueError>
    where
        F: FnOnce(&Transaction<'_>) -> Result<(), StoreError> + Send + 'static,
    {
        let pending = Pending::unawaited(work, |_: &()| false);
        let room = self.queue.try_reserve().map_err(|_| WriteQueueError)?;
        self.shared.queued.fetch_add(1, Ordering::AcqRel);
        room.send(Asked::Write(Box::new(pending)));
        Ok(())
    }

    /// Leaves `work` behind for whoever writes next: at the latest for the thread, once its future is polled or gone.
    /// Gives `work` back where that would be too much or too late.
    pub(super) fn write_behind<T, F>(&self, work: F) -> Result<Behind<T>, F>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let mut behind = self.shared.behind();
        if behind.len() >= QUEUE || self.queue.is_closed() {
            return Err(work);
        }
        let (pending, answer) = Pending::awaited(work, |_: &T| false);
        self.shared.left.fetch_add(1, Ordering::AcqRel);
        behind.push(Box::new(pending));
        drop(behind);
        Ok(Behind { answer, shared: Arc::clone(&self.shared), has_told: false })
    }

    /// Answers once what is committed by now is on the disk.
    pub(super) async fn sync(&self) -> Result<(), StoreError> {
        let (reply, answer) = oneshot::channel();
        // Asked before anything is waited for: who gives up waiting has asked all the same.
        if let Err(TrySendError::Full(asked)) = self.queue.try_send(Asked::Sync(reply)) {
            self.shared.told.notify_one();
            let _closed = self.queue.send(asked).await;
        }
        let synced = answer.await.map_err(|_| StoreError::Closed)?;
        synced.map_err(StoreError::Commit)
    }

    /// Waits until what was queued or left behind is committed.
    pub(super) async fn catch_up(&self) {
        if self.shared.queued.load(Ordering::Acquire) > 0 || self.shared.left.load(Ordering::Acquire) > 0 {
            // A reader is not the one to be told that a write failed.
            let _written = self.queue(|_| Ok(()), |()| false).await;
        }
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
        let mut behind = self.shared.take_behind();
        let committed = disk.run_one(&mut behind, work);
        self.shared.left.fetch_sub(behind.len(), Ordering::AcqRel);
        let (result, commit) = match committed {
            Ok(result) => (result, Ok(())),
            Err(error) => {
                let error = CommitError::Sqlite(Arc::new(error));
                (Err(StoreError::Commit(error.clone())), Err(error))
            }
        };
        let needs_sync = result.as_ref().is_ok_and(needs_sync);
        let is_news = disk.unsynced && !disk.watched && !needs_sync;
        disk.watched |= is_news;
        drop(disk);
        behind.into_iter().for_each(|work| work.answer(commit.clone()));
        if is_news {
            self.shared.told.notify_one();
        }
        Here::Done(result, if needs_sync { OnDisk::BeforeAnswer } else { OnDisk::Soon })
    }
}

/// What came of writing on the caller's thread.
enum Here<T, F> {
    /// Somebody else is at it; nothing was done.
    Busy(F),
    Done(Result<T, StoreError>, OnDisk),
}

/// The answer to what was left behind.
pub(super) struct Behind<T> {
    answer: oneshot::Receiver<Result<T, StoreError>>,
    shared: Arc<Shared>,
    /// Whether the thread knows of it.
    has_told: bool,
}

impl<T> Behind<T> {
    fn tell(&mut self) {
        if !std::mem::replace(&mut self.has_told, true) {
            self.shared.told.notify_one();
        }
    }
}

impl<T> Future for Behind<T> {
    type Output = Result<T, StoreError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = Pin::new(&mut self.answer).poll(context);
        match polled {
            Poll::Pending => self.tell(),
            // Somebody else wrote it.
            Poll::Ready(_) => self.has_told = true,
        }
        polled.map(|answer| answer.unwrap_or(Err(StoreError::Closed)))
    }
}

impl<T> Drop for Behind<T> {
    fn drop(&mut self) {
        self.tell();
    }
}

type Deadline = Pin<Box<Timeout<Never<()>>>>;

async fn write_until_closed(shared: Arc<Shared>, mut queue: mpsc::Receiver<Asked>) {
    let mut group: Vec<Asked> = Vec::with_capacity(GROUP);
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
                shared.look();
                due = None;
            }
            first = queue.recv() => {
                let Some(first) = first else { break };
                group.push(first);
            }
            () = shared.told.notified() => {}
        }
        while group.len() < GROUP {
            let Ok(next) = queue.try_recv() else { break };
            group.push(next);
        }
        shared.write(&mut group);
        shared.disk().checkpoint();
        let arm = || Box::pin(timeout(SYNC_WITHIN, pending()));
        due = if shared.is_watched() { due.or_else(|| Some(arm())) } else { None };
    }
    shared.write(&mut group);
    shared.look();
}

impl Shared {
    fn of(disk: Disk) -> Self {
        Self {
            disk: Mutex::new(disk),
            queued: AtomicUsize::new(0),
            behind: Mutex::default(),
            left: AtomicUsize::new(0),
            told: Notify::new(),
        }
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn behind(&self) -> MutexGuard<'_, Vec<Box<dyn Work>>> {
        self.behind.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_behind(&self) -> Vec<Box<dyn Work>> {
        std::mem::take(&mut *self.behind())
    }

    /// Commits what was left behind and asked for, and answers. Empties the group.
    fn write(&self, group: &mut Vec<Asked>) {
        let mut disk = self.disk();
        let mut behind = self.take_behind();
        let commit = self.commit(&mut disk, &mut behind, group);
        drop(disk);
        let commit = commit.and_then(|on_disk| match on_disk {
            OnDisk::BeforeAnswer => self.sync().map_err(CommitError::Disk),
            OnDisk::Soon => Ok(()),
        });
        behind.into_iter().for_each(|work| work.answer(commit.clone()));
        group.drain(..).for_each(|asked| asked.answer(commit.clone()));
    }

    fn commit(
        &self,
        disk: &mut Disk,
        behind: &mut [Box<dyn Work>],
        group: &mut [Asked],
    ) -> Result<OnDisk, CommitError> {
        let mut asked_for = OnDisk::Soon;
        let mut writes = Vec::with_capacity(group.len());
        for asked in group {
            match asked {
                Asked::Write(work) => writes.push(work),
                Asked::Sync(_) => asked_for = OnDisk::BeforeAnswer,
            }
        }
        let (queued, left) = (writes.len(), behind.len());
        let is_empty = queued + left == 0;
        if !is_empty {
            let committed = disk.run(behind.iter_mut().chain(writes));
            self.queued.fetch_sub(queued, Ordering::AcqRel);
            self.left.fetch_sub(left, Ordering::AcqRel);
            asked_for = asked_for.max(committed.map_err(|error| CommitError::Sqlite(Arc::new(error)))?);
        }
        // Then everybody is to be told.
        let has_failed = disk.log.failed.is_some() && !is_empty;
        Ok(if has_failed { OnDisk::BeforeAnswer } else { asked_for })
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

    /// Syncs what is unsynced; if nothing is, it need not be looked at again until somebody tells.
    fn look(&self) {
        {
            let mut disk = self.disk();
            if !disk.unsynced || disk.log.failed.is_some() {
                disk.watched = false;
                return;
            }
        }
        if let Err(error) = self.sync() {
            tracing::error!(%error, "the store could not be synced; nothing is allowed any more");
        }
    }

    /// Whether there is something to be looked at in time.
    fn is_watched(&self) -> bool {
        let mut disk = self.disk();
        disk.watched |= disk.unsynced;
        disk.watched && disk.log.failed.is_none()
    }
}

#[cfg(test)]
#[path = "writer/tests.rs"]
mod tests;
