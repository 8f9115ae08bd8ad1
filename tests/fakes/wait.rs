//! Waiting for something that cannot be waited on (a process table, a file of another process), with a deadline.
//! Where an event exists (a request, a line on a screen, an exit), wait for that instead.

use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

/// How often the condition is asked.
const INTERVAL: Duration = Duration::from_millis(20);

/// Asks until the condition holds (true) or the time is over (false).
pub(crate) fn until(timeout: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + timeout;
    let (_open, never) = sync_channel::<()>(1);
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        let _ = never.recv_timeout(INTERVAL);
    }
}
