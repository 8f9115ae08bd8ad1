//! Runs in memory: what a token stands for, and whether it still may act.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::core::ids::RunId;
use crate::core::label::Labels;
use crate::core::policy::own::Own;
use crate::core::run::{HookDuty, Run, RunState};

/// A run that is not over, or only just.
pub struct LiveRun {
    /// What stays the same about it.
    pub run: Run,
    own: Own,
    state: watch::Sender<RunState>,
    hooks_heard: AtomicBool,
    questions: AtomicUsize,
    suspension: Mutex<Option<String>>,
    overspent: OnceLock<String>,
    ending: OnceLock<String>,
    /// Tools that were decided since its client last told what its models cost.
    untold_tools: AtomicU32,
    /// What the fullest of its budgets has left, in percent; more than a hundred before that is known.
    budget_left_percent: AtomicU8,
    /// What it has seen, as bits.
    labels: AtomicU8,
}

/// Stands for a share that is not known.
const UNKNOWN: u8 = u8::MAX;

impl LiveRun {
    pub(super) fn new(run: Run, state: RunState, own: Own) -> Self {
        let heard = run.hooks == HookDuty::None;
        Self {
            run,
            own,
            state: watch::Sender::new(state),
            hooks_heard: AtomicBool::new(heard),
            questions: AtomicUsize::new(0),
            suspension: Mutex::default(),
            overspent: OnceLock::new(),
            ending: OnceLock::new(),
            untold_tools: AtomicU32::new(0),
            budget_left_percent: AtomicU8::new(UNKNOWN),
            labels: AtomicU8::new(Labels::NONE.bits()),
        }
    }

    /// The policies of its repository.
    pub fn own(&self) -> &Own {
        &self.own
    }

    /// Why it was suspended last.
    pub fn suspension(&self) -> Option<String> {
        self.suspension.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_suspension(&self, why: &str) {
        *self.suspension.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.to_owned());
    }

    /// Why its budgets leave it nothing, once that is known of a run on a subscription. It stays so.
    pub fn overspent(&self) -> Option<String> {
        self.overspent.get().cloned()
    }

    pub(super) fn set_overspent(&self, why: &str) {
        // The first reason is as good as the next.
        let _known = self.overspent.set(why.to_owned());
    }

    /// Why it is being ended, where nobody asked for it by hand.
    pub fn ending(&self) -> Option<String> {
        self.ending.get().cloned()
    }

    /// Tells why it is being ended; the first reason stays.
    pub fn set_ending(&self, why: &str) {
        let _known = self.ending.set(why.to_owned());
    }

    /// How many tools it called since its client last told what its models cost.
    pub fn untold_tools(&self) -> u32 {
        self.untold_tools.load(Ordering::Acquire)
    }

    pub(super) fn count_untold_tool(&self) -> u32 {
        self.untold_tools.fetch_add(1, Ordering::AcqRel).saturating_add(1)
    }

    pub(super) fn hear_telemetry(&self) {
        self.untold_tools.store(0, Ordering::Release);
    }

    /// What the fullest of its budgets had left at its last model call, in percent; none before the first.
    pub fn budget_left_percent(&self) -> Option<u8> {
        Some(self.budget_left_percent.load(Ordering::Relaxed)).filter(|left| *left != UNKNOWN)
    }

    pub(super) fn set_budget_left(&self, percent: u8) {
        self.budget_left_percent.store(percent, Ordering::Relaxed);
    }

    /// Labels of what it has seen.
    pub fn labels(&self) -> Labels {
        Labels::from_bits(self.labels.load(Ordering::Acquire))
    }

    /// From now on it has these too.
    pub(super) fn gain(&self, labels: Labels) {
        self.labels.fetch_or(labels.bits(), Ordering::AcqRel);
    }

    /// Its state; a running one with an open question is `waiting`.
    pub fn state(&self) -> RunState {
        let state = *self.state.borrow();
        if state == RunState::Running && self.questions.load(Ordering::Acquire) > 0 {
            RunState::Waiting
        } else {
            state
        }
    }

    /// Whether its hooks have announced themselves, or need not.
    pub fn hooks_heard(&self) -> bool {
        self.hooks_heard.load(Ordering::Acquire)
    }

    pub(super) fn hear_hooks(&self) {
        self.hooks_heard.store(true, Ordering::Release);
    }

    /// Completes when the run is over: whoever works for it stops then, at once.
    pub async fn cancelled(&self) {
        let mut state = self.state.subscribe();
        // The sender lives as long as `self`, so this cannot fail before the state is final.
        let _ = state.wait_for(|state| state.is_final()).await;
    }

    /// Completes when it may not ask models any more, for good or for now, and says why: whatever it is being told by one
    /// ends then, at once.
    pub async fn closed(&self) -> &'static str {
        let mut state = self.state.subscribe();
        let is_closed = |state: &RunState| state.is_final() || *state == RunState::Suspended;
        // As above.
        match state.wait_for(is_closed).await.map(|state| *state) {
            Ok(RunState::Suspended) => "the run is suspended",
            _ => "the run is over",
        }
    }

    /// Changes the state if the change makes sense; answers whether it did.
    pub(super) fn become_state(&self, next: RunState) -> bool {
        self.state.send_if_modified(|state| {
            let may = state.may_become(next);
            if may {
                *state = next;
            }
            may
        })
    }

    pub(super) fn question(&self) -> OpenQuestion<'_> {
        self.questions.fetch_add(1, Ordering::AcqRel);
        OpenQuestion(self)
    }
}

/// Makes the run `waiting` while it lives.
pub(super) struct OpenQuestion<'a>(&'a LiveRun);

impl Drop for OpenQuestion<'_> {
    fn drop(&mut self) {
        self.0.questions.fetch_sub(1, Ordering::AcqRel);
    }
}

/// SHA-256 of a token: what is stored and compared, never the token itself.
pub fn token_hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

#[derive(Default)]
struct Tables {
    by_token: HashMap<[u8; 32], RunId>,
    by_id: HashMap<RunId, Arc<LiveRun>>,
}

/// All live runs.
#[derive(Default)]
pub(super) struct LiveRuns {
    tables: RwLock<Tables>,
}

impl LiveRuns {
    pub(super) fn add(&self, run: Run, state: RunState, token_hash: [u8; 32], own: Own) -> Arc<LiveRun> {
        let live = Arc::new(LiveRun::new(run, state, own));
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        tables.by_token.insert(token_hash, live.run.id);
        tables.by_id.insert(live.run.id, Arc::clone(&live));
        live
    }

    /// From then on its token stands for nothing.
    pub(super) fn remove(&self, id: RunId) {
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        tables.by_id.remove(&id);
        tables.by_token.retain(|_, run| *run != id);
    }

    pub(super) fn by_token(&self, token: &str) -> Option<Arc<LiveRun>> {
        let hash = token_hash(token);
        let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        tables.by_token.get(&hash).and_then(|id| tables.by_id.get(id)).cloned()
    }

    pub(super) fn by_id(&self, id: RunId) -> Option<Arc<LiveRun>> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner).by_id.get(&id).cloned()
    }

    pub(super) fn all(&self) -> Vec<Arc<LiveRun>> {
        let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        let mut runs: Vec<_> = tables.by_id.values().cloned().collect();
        runs.sort_by_key(|live| live.run.id);
        runs
    }
}
