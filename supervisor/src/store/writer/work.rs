//! One piece of writing on its way: what is to be run, when it must be on the disk, and who waits for it.

use std::io;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::super::{StoreError, Transaction};

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
pub(super) enum OnDisk {
    Soon,
    BeforeAnswer,
}

/// What the thread is asked for.
pub(super) enum Asked {
    Write(Box<dyn Work>),
    /// That what is committed by now be on the disk.
    Sync(oneshot::Sender<Result<(), CommitError>>),
}

impl Asked {
    pub(super) fn answer(self, commit: Result<(), CommitError>) {
        match self {
            Self::Write(work) => work.answer(commit),
            // Who hung up does not need the answer; it is on the disk all the same.
            Self::Sync(reply) => drop(reply.send(commit)),
        }
    }
}

pub(super) trait Work: Send {
    fn run(&mut self, tx: &Transaction<'_>) -> OnDisk;
    fn answer(self: Box<Self>, commit: Result<(), CommitError>);
}

pub(super) struct Pending<T, F, S> {
    work: Option<F>,
    needs_sync: S,
    result: Option<Result<T, StoreError>>,
    reply: Option<oneshot::Sender<Result<T, StoreError>>>,
}

impl<T, F, S> Pending<T, F, S> {
    /// Work that somebody waits for, and where they hear of it.
    pub(super) fn awaited(work: F, needs_sync: S) -> (Self, oneshot::Receiver<Result<T, StoreError>>) {
        let (reply, answer) = oneshot::channel();
        (Self { work: Some(work), needs_sync, result: None, reply: Some(reply) }, answer)
    }

    /// Work that nobody waits for.
    pub(super) const fn unawaited(work: F, needs_sync: S) -> Self {
        Self { work: Some(work), needs_sync, result: None, reply: None }
    }
}

impl<T, F, S> Work for Pending<T, F, S>
where
    T: Send,
    F: FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send,
    S: Fn(&T) -> bool + Send,
{
    fn run(&mut self, tx: &Transaction<'_>) -> OnDisk {
        let Some(work) = self.work.take() else { return OnDisk::Soon };
        let result = tx.savepoint(work);
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
