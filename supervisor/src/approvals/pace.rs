//! How often a run asks people, and what they said no to a moment ago.
//!
//! Bounded: a run has so many questions a minute, and a denial is remembered for a minute.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::core::ids::RunId;

/// Questions of one run within [`WINDOW`].
pub const PER_MINUTE: usize = 20;
/// How far back questions are counted and denials remembered.
const WINDOW: Duration = Duration::from_secs(60);
/// Denials that are remembered at most; older ones make room.
const DENIALS: usize = 1024;

/// A no that still holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    /// Who said it.
    pub by: String,
    /// For the agent.
    pub reason: Option<String>,
    /// How long ago, in seconds.
    pub ago_s: u64,
}

struct Denial {
    run: RunId,
    digest: String,
    by: String,
    reason: Option<String>,
    at: Instant,
}

#[derive(Default)]
pub(super) struct Pace {
    asked: HashMap<RunId, VecDeque<Instant>>,
    denials: VecDeque<Denial>,
}

impl Pace {
    /// Counts a question; in how many seconds to ask again if there were too many.
    pub(super) fn count(&mut self, run: RunId, now: Instant) -> Result<(), u64> {
        let recent = |at: &Instant| now.saturating_duration_since(*at) < WINDOW;
        self.asked.retain(|_, times| {
            times.retain(recent);
            !times.is_empty()
        });
        let times = self.asked.entry(run).or_default();
        match times.front().filter(|_| times.len() >= PER_MINUTE) {
            Some(first) => {
                let left = WINDOW.saturating_sub(now.saturating_duration_since(*first));
                Err(left.as_secs() + 1)
            }
            None => {
                times.push_back(now);
                Ok(())
            }
        }
    }

    pub(super) fn remember(
        &mut self,
        run: RunId,
        digest: &str,
        by: &str,
        reason: Option<String>,
        at: Instant,
    ) {
        if self.denials.len() >= DENIALS {
            self.denials.pop_front();
        }
        let (digest, by) = (digest.to_owned(), by.to_owned());
        self.denials.push_back(Denial { run, digest, by, reason, at });
    }

    /// What was said no to, in this run and within the minute.
    pub(super) fn denied(&mut self, run: RunId, digest: &str, now: Instant) -> Option<Denied> {
        self.denials.retain(|denial| now.saturating_duration_since(denial.at) < WINDOW);
        let found = self.denials.iter().rev().find(|denial| denial.run == run && denial.digest == digest)?;
        let ago_s = now.saturating_duration_since(found.at).as_secs();
        Some(Denied { by: found.by.clone(), reason: found.reason.clone(), ago_s })
    }

    pub(super) fn forget(&mut self, run: RunId) {
        self.asked.remove(&run);
        self.denials.retain(|denial| denial.run != run);
    }
}
