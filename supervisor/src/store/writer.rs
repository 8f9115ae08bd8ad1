//! The one thread that writes: takes what is queued, runs it in one transaction, commits, answers.
//!
//! Each piece of work has a savepoint, so that one failure does not take its neighbours down. Nobody is answered
//! before the commit.

use std::sync::Arc;

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use super::StoreError;

/// Writes waiting at most; beyond that writers wait for room.
const QUEUE: usize = 1024;
/// Writes in one commit at most, so that the first of them does not wait long.
const GROUP: usize = 64;

/// Why a write could not be queued.
#[derive(Debug, thiserror::Error)]
#[error("the queue of the store's writer is full or closed")]
pub struct WriteQueueError;

trait Work: Send {
    fn run(&mut self, tx: &Transaction<'_>);
    fn answer(self: Box<Self>, commit: Result<(), Arc<rusqlite::Error>>);
}

struct Pending<T, F> {
    work: Option<F>,
    result: Option<Result<T, StoreError>>,
    reply: Option<oneshot::Sender<Result<T, StoreError>>>,
}

impl<T, F> Work for Pending<T, F>
where
    T: Send,
    F: FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send,
{
    fn run(&mut self, tx: &Transaction<'_>) {
        if let Some(work) = self.work.take() {
            self.result = Some(in_savepoint(tx, work));
        }
    }

    fn answer(self: Box<Self>, commit: Result<(), Arc<rusqlite::Error>>) {
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
    tx.execute_batch("SAVEPOINT work")?;
    match work(tx) {
        Ok(value) => {
            tx.execute_batch("RELEASE work")?;
            Ok(value)
        }
        Err(error) => {
            tx.execute_batch("ROLLBACK TO work; RELEASE work")?;
            Err(error)
        }
    }
}

/// The sending side.
#[derive(Clone)]
pub(super) struct Writer {
    queue: mpsc::Sender<Box<dyn Work>>,
}

impl Writer {
    /// The thread ends when the last clone is gone and the queue is empty.
    pub(super) fn start(connection: Connection) -> Self {
        let (queue, received) = mpsc::channel(QUEUE);
        let spawned = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || write_until_closed(connection, received));
        if let Err(error) = spawned {
            // The receiver is gone with the closure: every write answers `Closed`, so everything is denied.
            tracing::error!(%error, "the store's writer could not be started");
        }
        Self { queue }
    }

    pub(super) async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let pending = Pending { work: Some(work), result: None, reply: Some(reply) };
        self.queue.send(Box::new(pending)).await.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    pub(super) fn enqueue<F>(&self, work: F) -> Result<(), WriteQueueError>
    where
        F: FnOnce(&Transaction<'_>) -> Result<(), StoreError> + Send + 'static,
    {
        let pending: Pending<(), F> = Pending { work: Some(work), result: None, reply: None };
        self.queue.try_send(Box::new(pending)).map_err(|_| WriteQueueError)
    }
}

fn write_until_closed(mut connection: Connection, mut queue: mpsc::Receiver<Box<dyn Work>>) {
    let mut group: Vec<Box<dyn Work>> = Vec::with_capacity(GROUP);
    while let Some(first) = queue.blocking_recv() {
        group.push(first);
        while group.len() < GROUP {
            let Ok(next) = queue.try_recv() else { break };
            group.push(next);
        }
        let commit = commit_group(&mut connection, &mut group).map_err(Arc::new);
        for work in group.drain(..) {
            work.answer(commit.clone());
        }
    }
}

fn commit_group(connection: &mut Connection, group: &mut [Box<dyn Work>]) -> Result<(), rusqlite::Error> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for work in group.iter_mut() {
        work.run(&tx);
    }
    tx.commit()
}
