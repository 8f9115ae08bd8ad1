//! Permits of tools under way, until their hooks report the end.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::core::ids::RunId;
use crate::gate::Permit;

/// Tools under way at once, over all runs.
const MOST: usize = 4096;

#[derive(Default)]
pub(super) struct Pending {
    permits: Mutex<VecDeque<(RunId, String, Permit)>>,
}

impl Pending {
    fn lock(&self) -> MutexGuard<'_, VecDeque<(RunId, String, Permit)>> {
        self.permits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a permit. Gives back one that has to make room: the one it replaces, or the oldest of too many.
    pub(super) fn put(&self, run: RunId, call_id: String, permit: Permit) -> Option<Permit> {
        let mut permits = self.lock();
        let same = permits.iter().position(|(other, id, _)| *other == run && *id == call_id);
        let displaced = match same {
            Some(index) => permits.remove(index),
            None if permits.len() >= MOST => permits.pop_front(),
            None => None,
        };
        permits.push_back((run, call_id, permit));
        displaced.map(|(_, _, permit)| permit)
    }

    /// The permit of a call that ended.
    pub(super) fn take(&self, run: RunId, call_id: &str) -> Option<Permit> {
        let mut permits = self.lock();
        let index = permits.iter().position(|(other, id, _)| *other == run && id == call_id)?;
        permits.remove(index).map(|(_, _, permit)| permit)
    }

    /// Whether anything of a run is under way.
    pub(super) fn has(&self, run: RunId) -> bool {
        self.lock().iter().any(|(other, _, _)| *other == run)
    }

    /// All permits of a run that is over.
    pub(super) fn take_all(&self, run: RunId) -> Vec<Permit> {
        let mut permits = self.lock();
        let (of_run, others) = permits.drain(..).partition::<VecDeque<_>, _>(|(other, _, _)| *other == run);
        *permits = others;
        of_run.into_iter().map(|(_, _, permit)| permit).collect()
    }
}
