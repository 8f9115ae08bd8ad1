//! Starting this same program again as a process of its own that keeps the caller's environment: the daemon.
//!
//! The child forks away ([`spawn::detach`]) and says once on a pipe whether it is ready ([`spawn::answer`]). The caller waits for that with a
//! deadline, never by looking again and again.

use std::io::{self, Read};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use super::spawn;

/// The longest report of a starting child, in bytes.
const REPORT_LIMIT: u64 = 64 * 1024;

/// Why a detached child did not report.
#[derive(Debug, thiserror::Error)]
pub enum DetachError {
    /// It ended without a word.
    #[error("it ended before it was ready")]
    Ended,
    /// It is still silent.
    #[error("it was not ready after {} s", .0.as_secs())]
    Silent(Duration),
    /// It could not be started or talked to.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Runs this program with one argument and returns what it reports before it closes its standard output. Blocks.
pub fn start(argument: &str, timeout: Duration) -> Result<String, DetachError> {
    let mut child = Command::new(spawn::self_exe())
        .arg0("agentsup")
        .arg(argument)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let report = report(&mut child, timeout);
    // It forks away at once; only a child that never got so far is left to be ended here.
    if report.is_err() {
        let _forked_away = child.kill();
    }
    child.wait()?;
    report
}

fn report(child: &mut Child, timeout: Duration) -> Result<String, DetachError> {
    let pipe = child.stdout.take().ok_or_else(|| io::Error::from(io::ErrorKind::BrokenPipe))?;
    let (sender, receiver) = sync_channel(1);
    std::thread::Builder::new().name("readiness".into()).spawn(move || {
        let mut text = String::new();
        let read = pipe.take(REPORT_LIMIT).read_to_string(&mut text).map(|_| text);
        // Nobody listens any more once the deadline has passed.
        let _late = sender.try_send(read);
    })?;
    match receiver.recv_timeout(timeout) {
        Ok(Ok(text)) if text.is_empty() => Err(DetachError::Ended),
        Ok(report) => Ok(report?),
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Err(DetachError::Silent(timeout)),
    }
}
