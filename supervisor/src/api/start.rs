//! Starting the daemon with the first command that needs it.
//!
//! However many commands come at once, one of them starts it: they take turns on a lock of their own, and whoever comes
//! after finds the socket served. The daemon reports on a pipe when it serves or why it cannot.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::core::error::{Code, Failure};
use crate::sys::detach;
use crate::sys::env::Env;
use crate::sys::lock::FileLock;
use crate::sys::paths::Home;
use crate::sys::socket;

/// The hidden argument that makes this program the daemon.
pub const DAEMON_ARGUMENT: &str = "__daemon";
/// How long a start may take, reconciliation of old runs included.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// What a starting daemon reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Readiness {
    /// It serves the socket.
    Ready,
    /// It gave up.
    Failed(Failure),
}

/// Returns when a daemon serves the home's socket, started by this call or by another.
pub async fn ensure_running(home: &Home) -> Result<(), Failure> {
    if Env::current().var("AGENTSUP_RUN_ID").is_some() {
        return Err(Failure::new(Code::Denied, "the daemon is not running, and a run may not start it")
            .hint("agentsup daemon start, from a terminal outside the run"));
    }
    home.prepare()?;
    let home = home.clone();
    let (sender, receiver) = tokio::sync::oneshot::channel();
    // A thread of its own: it may wait for a lock, and nothing can end such a wait but the process's end.
    std::thread::Builder::new()
        .name("daemon-start".into())
        .spawn(move || {
            let _caller_gone = sender.send(start_in_turn(&home));
        })
        .map_err(|error| Failure::internal(&error))?;
    match tokio::time::timeout(START_TIMEOUT * 2, receiver).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) | Err(_) => Err(failed_to_start(&"another start has not ended")),
    }
}

fn start_in_turn(home: &Home) -> Result<(), Failure> {
    let turn: PathBuf = home.state_dir().join("start.lock");
    let _turn = FileLock::wait(&turn).map_err(|error| failed_to_start(&error))?;
    if socket::connect(&home.socket()).is_ok() {
        return Ok(());
    }
    let log = home.log_file();
    let report = detach::start(DAEMON_ARGUMENT, START_TIMEOUT)
        .map_err(|error| failed_to_start(&error).hint(format!("see `{}`", log.display())))?;
    match serde_json::from_str(report.trim()) {
        Ok(Readiness::Ready) => Ok(()),
        Ok(Readiness::Failed(failure)) => Err(failure),
        Err(_) => Err(failed_to_start(&format_args!("it said `{}`", report.trim()))),
    }
}

fn failed_to_start(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(Code::DaemonUnreachable, format!("the daemon did not start: {error}"))
}
