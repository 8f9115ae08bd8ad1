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

/// Starts a keeper from this very program and waits until its agent has been executed, or says why it was not.
///
/// Blocks for a few milliseconds as a rule and ten seconds at most: call it from `spawn_blocking`. The keeper is
/// nobody's child, so there is nothing to collect; [`KeeperClient`](super::KeeperClient) tells when it ends.
pub fn start(spec: &KeeperSpec) -> Result<KeeperRecord, StartError> {
    start_from(&spawn::self_exe(), spec)
}

/// As [`start`], from another file of the same program (tests start the daemon in-process).
pub fn start_from(exe: &Path, spec: &KeeperSpec) -> Result<KeeperRecord, StartError> {
    let input =
        serde_json::to_vec(spec).map_err(|error| StartError::Specification { reason: error.to_string() })?;
    let answer = spawn::ask_detached(exe, VERB, &input, ANSWER_MAX, START_TIMEOUT)
        .map_err(|error| StartError::NoAnswer { reason: error.to_string() })?;
    match serde_json::from_slice(&answer) {
        Ok(Answer::Ready(record)) => Ok(record),
        Ok(Answer::Failed(error)) => Err(error),
        Err(_) if answer.is_empty() => {
            Err(StartError::NoAnswer { reason: "it ended before the agent was started".to_owned() })
        }
        Err(error) => Err(StartError::NoAnswer { reason: error.to_string() }),
    }
}
