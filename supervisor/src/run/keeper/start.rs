//! The spawner's side: start a keeper and hear whether its agent runs.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::files::KeeperRecord;
use super::spec::{KeeperSpec, StartError};
use crate::sys::spawn;

/// The hidden argument that makes the binary a keeper.
pub const VERB: &str = "__keeper";

/// Longer than exec can take on a machine that still works.
const START_TIMEOUT: Duration = Duration::from_secs(10);

const ANSWER_MAX: usize = 64 * 1024;

/// What a keeper says to its spawner, once.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    Ready(KeeperRecord),
    Failed(StartError),
}

/// A keeper that was started and does not know its run yet. Dropped, it ends.
#[derive(Debug)]
pub struct Nascent(spawn::Nascent);

impl Nascent {
    /// Starts one from this very program, or from another file of it (tests start the daemon in-process).
    pub fn start(exe: &Path) -> Result<Self, StartError> {
        spawn::Nascent::start(exe, VERB).map(Self).map_err(|error| no_answer(&error))
    }

    /// Gives it its run and waits until the agent has been executed, or says why it was not.
    ///
    /// Blocks for a few milliseconds as a rule and ten seconds at most: call it from `spawn_blocking`. The keeper is
    /// nobody's child, so there is nothing to collect; [`KeeperClient`](super::KeeperClient) tells when it ends.
    pub fn begin(self, spec: &KeeperSpec) -> Result<KeeperRecord, StartError> {
        let input = serde_json::to_vec(spec)
            .map_err(|error| StartError::Specification { reason: error.to_string() })?;
        let answer = self.0.ask(&input, ANSWER_MAX, START_TIMEOUT).map_err(|error| no_answer(&error))?;
        match serde_json::from_slice(&answer) {
            Ok(Answer::Ready(record)) => Ok(record),
            Ok(Answer::Failed(error)) => Err(error),
            Err(_) if answer.is_empty() => Err(no_answer(&"it ended before the agent was started")),
            Err(error) => Err(no_answer(&error)),
        }
    }
}

/// Starts a keeper from `exe` for the run that `spec` describes.
pub fn start_from(exe: &Path, spec: &KeeperSpec) -> Result<KeeperRecord, StartError> {
    Nascent::start(exe)?.begin(spec)
}

fn no_answer(reason: &dyn std::fmt::Display) -> StartError {
    StartError::NoAnswer { reason: reason.to_string() }
}
