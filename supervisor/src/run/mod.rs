//! Runs: one supervised process tree each. The keeper owns it; attach is a window to it; the rest is its life cycle.
//!
//! A run goes one way: `launch` admits it, makes its worktree and starts its keeper; a watch on the keeper hears of its
//! end; `finish` ends it, whatever the reason, and is the same code for a run that ends, one that was killed, one whose
//! launch failed half way and one that ended while no daemon was there (`reconcile`).
//!
//! Must not: fall back to the main checkout, remove work, or know an adapter by name.

pub mod attach;
pub mod changes;
pub mod deprovision;
mod finish;
pub mod keeper;
pub mod launch;
mod means;
mod names;
mod own;
mod private;
pub mod reconcile;
pub mod stop;
pub mod supposed;
pub mod suspend;
pub mod view;
mod worktrees;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::core::ids::RunId;
use crate::gate::{Gate, LiveRun};
use crate::registry::Registry;
use crate::store::Store;
use crate::sys::paths::Home;
use crate::sys::process::ProcessRef;

/// What another part does when a run is over, its credential revoked: the composition root knows the parts, runs do not.
pub type AfterRun = Box<dyn Fn(Arc<LiveRun>) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// The life cycle of all runs. Clones share it.
#[derive(Clone)]
pub struct Runs {
    inner: Arc<Inner>,
}

struct Inner {
    home: Home,
    store: Store,
    registry: Registry,
    gate: Gate,
    /// Where agents reach the daemon: `http://127.0.0.1:PORT`.
    origin: String,
    /// Runs that are being launched or watched; each sender goes when its run is finished for good.
    watched: Mutex<HashMap<RunId, Watched>>,
    count: watch::Sender<usize>,
    after_run: AfterRun,
}

struct Watched {
    finished: watch::Sender<()>,
    keeper: Option<ProcessRef>,
}

impl Runs {
    /// The life cycle over the parts that it is made of; `port` is where agents reach the daemon.
    pub fn new(
        home: Home,
        store: Store,
        registry: Registry,
        gate: Gate,
        port: u16,
        after_run: AfterRun,
    ) -> Self {
        let inner = Inner {
            home,
            store,
            registry,
            gate,
            origin: format!("http://127.0.0.1:{port}"),
            watched: Mutex::new(HashMap::new()),
            count: watch::Sender::new(0),
            after_run,
        };
        Self { inner: Arc::new(inner) }
    }

    /// How many runs are not finished; the daemon stays as long as there are some.
    pub fn count(&self) -> watch::Receiver<usize> {
        self.inner.count.subscribe()
    }

    /// The keepers of all live runs: nothing below them may give orders.
    pub fn keepers(&self) -> Vec<ProcessRef> {
        self.learn_keepers();
        self.watched().values().filter_map(|watched| watched.keeper).collect()
    }

    /// The run whose keeper this is.
    pub fn of_keeper(&self, keeper: ProcessRef) -> Option<RunId> {
        self.learn_keepers();
        self.watched().iter().find(|(_, watched)| watched.keeper == Some(keeper)).map(|(id, _)| *id)
    }

    /// A keeper's agent may act before its launch has heard that it is there.
    fn learn_keepers(&self) {
        for (id, watched) in self.watched().iter_mut().filter(|(_, watched)| watched.keeper.is_none()) {
            if let Ok(keeper::Found::Running(record)) = keeper::find(&self.run_dir(*id)) {
                watched.keeper = Some(record.keeper);
            }
        }
    }

    /// Completes when the run is finished for good, its worktree dealt with; at once if it is.
    pub(crate) async fn finished(&self, id: RunId) {
        let receiver = self.watched().get(&id).map(|watched| watched.finished.subscribe());
        if let Some(mut receiver) = receiver {
            // The sender is dropped, never used: an error is the answer.
            let _finished = receiver.changed().await;
        }
    }

    /// Answers whether there was no such run yet.
    fn begin(&self, id: RunId) -> bool {
        let new = match self.watched().entry(id) {
            Entry::Occupied(_) => false,
            Entry::Vacant(place) => {
                place.insert(Watched { finished: watch::Sender::new(()), keeper: None });
                true
            }
        };
        self.tell_count();
        new
    }

    fn know_keeper(&self, id: RunId, keeper: ProcessRef) {
        if let Some(watched) = self.watched().get_mut(&id) {
            watched.keeper = Some(keeper);
        }
    }

    fn end(&self, id: RunId) {
        self.watched().remove(&id);
        self.tell_count();
    }

    fn tell_count(&self) {
        let count = self.watched().len();
        self.inner.count.send_replace(count);
    }

    fn watched(&self) -> std::sync::MutexGuard<'_, HashMap<RunId, Watched>> {
        self.inner.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn home(&self) -> &Home {
        &self.inner.home
    }

    fn store(&self) -> &Store {
        &self.inner.store
    }

    fn registry(&self) -> &Registry {
        &self.inner.registry
    }

    fn gate(&self) -> &Gate {
        &self.inner.gate
    }

    fn run_dir(&self, id: RunId) -> PathBuf {
        self.inner.home.runs_dir().join(id.to_string())
    }
}

/// What a newer size of the scrollback would cost in disk for each run: 8 MiB.
const SCROLLBACK_MAX_BYTES: u64 = 8 * 1024 * 1024;
/// The longest wait for a run's end that one op makes.
const WAIT_MAX: Duration = Duration::from_secs(600);
