//! Who waits for headroom, in the order they came. A small call does not overtake a large one that waits for the same
//! budget, or the large one would be refused although there is money left; calls that wait for other budgets pass.
//!
//! Invariant: every place is in the line exactly as long as it exists.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Gate;

/// How long a call waits for others under way to turn out cheaper than what is held for them.
const HEADROOM_WAIT: Duration = Duration::from_secs(60);

/// The line before a gate.
#[derive(Default)]
pub(super) struct Line {
    waiting: Mutex<Waiting>,
}

struct Waiting {
    patience: Duration,
    next: u64,
    /// By arrival: the budgets in which there is no headroom yet.
    places: BTreeMap<u64, Vec<String>>,
}

impl Default for Waiting {
    fn default() -> Self {
        Self { patience: HEADROOM_WAIT, next: 0, places: BTreeMap::new() }
    }
}

impl Line {
    /// How long a place in it is kept.
    pub(super) fn patience(&self) -> Duration {
        self.waiting().patience
    }

    #[cfg(test)]
    pub(super) fn set_patience(&self, patience: Duration) {
        self.waiting().patience = patience;
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many places there ever were.
    #[cfg(test)]
    pub(super) fn arrivals(&self) -> u64 {
        self.waiting().next
    }

    /// Those of `budgets` for which somebody waits who came earlier than `place`; a newcomer has none.
    pub(super) fn before(&self, place: Option<&Place>, budgets: &[String]) -> Vec<String> {
        let waiting = self.waiting();
        let number = place.map_or(waiting.next, |place| place.number);
        let taken =
            |budget: &&String| waiting.places.range(..number).any(|(_, wanted)| wanted.contains(budget));
        budgets.iter().filter(taken).cloned().collect()
    }
}

/// A place in the line. Whoever leaves it, for whatever reason, lets those behind try.
pub(super) struct Place {
    number: u64,
    gate: Gate,
}

impl Place {
    /// At the end of the line, waiting for these budgets.
    pub(super) fn new(gate: &Gate, budgets: Vec<String>) -> Self {
        let mut waiting = gate.inner.line.waiting();
        let number = waiting.next;
        waiting.next += 1;
        waiting.places.insert(number, budgets);
        Self { number, gate: gate.clone() }
    }

    /// Waits for these budgets from now on.
    pub(super) fn wait_for(&self, budgets: Vec<String>) {
        let before = self.gate.inner.line.waiting().places.insert(self.number, budgets.clone());
        if before != Some(budgets) {
            self.gate.tell_settled();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.gate.inner.line.waiting().places.remove(&self.number);
        self.gate.tell_settled();
    }
}
