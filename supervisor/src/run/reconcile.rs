//! Finding runs again: after a launch, and after a daemon that is no more. Both follow a keeper to its end.

use std::sync::Arc;

use super::finish::{self, End};
use super::keeper::{self, ExitRecord, Found, KeeperClient, KeeperError, KeeperRecord};
use super::view::WorktreeState;
use super::{Runs, stop, view};
use crate::core::run::{Run, RunState};
use crate::gate::LiveRun;
use crate::store::StoreError;
use crate::store::runs::{self, KeeperRef, RunRow};
use crate::sys::lock::FileLock;

/// How often a lost connection to a living keeper is made again.
const RECONNECTS: u32 = 5;
/// Ended runs whose worktree is looked at again.
const ENDED_MAX: u32 = 1000;

/// What was found at the start of a daemon.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// Runs that go on.
    pub alive: usize,
    /// Runs that ended while no daemon was there.
    pub ended: usize,
}

/// Takes every run of an earlier daemon up again.
///
/// # Errors
/// Those of the store: without knowing its runs a daemon must not serve.
pub async fn reconcile(runs: &Runs) -> Result<Reconciled, StoreError> {
    let rows = runs.store().read(runs::unfinished).await?;
    let mut found = Reconciled::default();
    for row in rows {
        let live = runs.gate().readmit(&row);
        runs.begin(row.run.id);
        match find(&row.run) {
            Ok(Found::Running(record)) => {
                found.alive += 1;
                adopt(runs, &live, &record).await?;
                follow(runs.clone(), live);
            }
            Ok(Found::Exited(exit)) => {
                found.ended += 1;
                finish::finish(runs, &live, End::of(&exit)).await;
            }
            Ok(Found::Vanished(_)) => {
                found.ended += 1;
                stop::end_orphans(row.run.id).await;
                finish::finish(runs, &live, End::failed("its keeper is gone")).await;
            }
            Ok(Found::Nothing) => {
                found.ended += 1;
                follow_lock(runs.clone(), live);
            }
            Err(error) => {
                found.ended += 1;
                finish::finish(runs, &live, End::failed(error.to_string())).await;
            }
        }
    }
    Ok(found)
}

/// Takes away worktrees that an earlier daemon did not come to, because it was killed between two steps.
pub async fn tidy_ended(runs: &Runs) -> Result<(), StoreError> {
    let rows = runs.store().read(|connection| runs::list(connection, ENDED_MAX)).await?;
    for row in rows.into_iter().filter(|row| row.state.is_final()) {
        if has_worktree(&row) && !finish::was_kept(&row.run) {
            finish::tidy(runs, &row.run).await;
        }
    }
    Ok(())
}

fn has_worktree(row: &RunRow) -> bool {
    view::RunView::from(row.clone()).worktree_state == WorktreeState::Present
}

fn find(run: &Run) -> Result<Found, KeeperError> {
    keeper::find(&run.dir)
}

/// Makes a keeper's run a running one.
pub(super) async fn adopt(runs: &Runs, live: &LiveRun, record: &KeeperRecord) -> Result<bool, StoreError> {
    runs.know_keeper(live.run.id, record.keeper);
    let keeper = KeeperRef {
        pid: record.keeper.pid,
        start_time: record.keeper.start_time,
        agent_pid: Some(record.agent.pid),
    };
    runs.gate().set_keeper(live, keeper).await?;
    if live.state() == RunState::Starting {
        return runs.gate().set_state(live, RunState::Running, None).await;
    }
    Ok(!live.state().is_final())
}

/// Follows a keeper to its end, in the background.
pub(super) fn follow(runs: Runs, live: Arc<LiveRun>) {
    tokio::spawn(async move {
        let end = match wait(&live.run).await {
            Ok(exit) => End::of(&exit),
            Err(error) => {
                stop::end_orphans(live.run.id).await;
                End::failed(format!("its keeper is lost: {error}"))
            }
        };
        finish::finish(&runs, &live, end).await;
    });
}

async fn wait(run: &Run) -> Result<ExitRecord, KeeperError> {
    let mut last = KeeperError::Lost;
    for _ in 0..RECONNECTS {
        let waited = match KeeperClient::connect(&run.dir).await {
            Ok(mut client) => client.wait().await,
            Err(error) => Err(error),
        };
        match waited {
            Ok(exit) => return Ok(exit),
            Err(error) => last = error,
        }
        match find(run)? {
            Found::Exited(exit) => return Ok(exit),
            Found::Running(_) => {}
            Found::Vanished(_) | Found::Nothing => return Err(last),
        }
    }
    // It lives and cannot be asked, so its run goes on: the lock tells when it has ended.
    tracing::warn!(error = %last, run = %run.id, "a keeper does not answer");
    drop(keeper_lock(run).await);
    keeper::load_exit(&run.dir)?.ok_or(last)
}

/// The lock that a keeper holds for as long as it lives, waited for on a thread of its own; none if it cannot be had.
async fn keeper_lock(run: &Run) -> Option<FileLock> {
    let path = run.dir.join(keeper::files::LOCK);
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let spawned = std::thread::Builder::new().name("keeper-lock".into()).spawn(move || {
        let _daemon_ended = sender.send(FileLock::wait(&path).ok());
    });
    match spawned {
        Ok(_) => receiver.await.ok().flatten(),
        Err(_) => None,
    }
}

/// The former daemon died while it launched. Whoever holds the keeper's lock is a keeper that lives, and while we hold it
/// none can come to life: so the lock is waited for.
fn follow_lock(runs: Runs, live: Arc<LiveRun>) {
    tokio::spawn(async move {
        let lock = keeper_lock(&live.run).await;
        let end = match find(&live.run) {
            Ok(Found::Exited(exit)) => End::of(&exit),
            _ => End::failed("the daemon ended while it was launched"),
        };
        finish::finish(&runs, &live, end).await;
        drop(lock);
    });
}
