//! The process tree below the keeper: collecting the dead, ending the living, and the proof that none is left.
//!
//! The proof is the kernel's: the keeper is a child subreaper, so as long as any descendant lives, the keeper has a
//! child, living or dead. "No child at all" from `waitpid` therefore means that the tree is empty. Lists of processes
//! only say whom to signal.

use std::collections::HashSet;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::files::Exit;
use crate::sys::process::{self, Life, ProcessError, ProcessRef, ProcessStat, Signalled};

/// More dead children at once than any machine has processes.
const REAP_MAX: usize = 1 << 22;

/// The tree below one keeper.
#[derive(Debug)]
pub(super) struct Tree {
    keeper: ProcessRef,
    killed: HashSet<ProcessRef>,
}

/// Whether the keeper has children.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    Some,
    None,
}

/// What was collected.
#[derive(Debug)]
pub(super) struct Reaped {
    pub(super) left: Left,
    /// How the awaited process ended, if it was among the dead.
    pub(super) exit: Option<Exit>,
    /// Whether the awaited process was stopped by a signal.
    pub(super) stopped: Stopped,
}

/// Whether a process was stopped by a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stopped {
    No,
    Yes,
}

impl Tree {
    pub(super) fn new(keeper: ProcessRef) -> Self {
        Self { keeper, killed: HashSet::new() }
    }

    /// How many processes were alive when they were killed here.
    pub(super) fn killed_count(&self) -> u32 {
        u32::try_from(self.killed.len()).unwrap_or(u32::MAX)
    }

    /// Collects every dead child and says how `awaited` fared.
    pub(super) fn reap(&self, awaited: u32) -> Reaped {
        let mut reaped = Reaped { left: Left::Some, exit: None, stopped: Stopped::No };
        let is_awaited = |pid: Pid| u32::try_from(pid.as_raw()) == Ok(awaited);
        for _ in 0..REAP_MAX {
            match waitpid(None, Some(flags())) {
                Ok(WaitStatus::Exited(pid, code)) if is_awaited(pid) => {
                    reaped.exit = Some(Exit::Code(code));
                }
                Ok(WaitStatus::Signaled(pid, signal, _)) if is_awaited(pid) => {
                    reaped.exit = Some(Exit::Signal(signal as i32));
                }
                Ok(WaitStatus::Stopped(pid, Signal::SIGSTOP | Signal::SIGTSTP)) if is_awaited(pid) => {
                    reaped.stopped = Stopped::Yes;
                }
                Ok(WaitStatus::StillAlive) => return reaped,
                Err(Errno::ECHILD) => {
                    reaped.left = Left::None;
                    return reaped;
                }
                Ok(_) | Err(_) => {}
            }
        }
        reaped
    }

    /// Sends `signal` to everything alive below the keeper; how many there were.
    pub(super) fn signal(&self, signal: Signal) -> Result<u32, ProcessError> {
        let sent = each_alive(process::descendants(self.keeper)?, |process| process.signal(signal));
        Ok(u32::try_from(sent.len()).unwrap_or(u32::MAX))
    }

    /// Kills everything alive below the keeper once; to be repeated until nothing is left, because what is killed
    /// may have had children in the meantime.
    pub(super) fn kill(&mut self) -> Result<(), ProcessError> {
        let sent = each_alive(process::descendants(self.keeper)?, |process| process.signal(Signal::SIGKILL));
        self.killed.extend(sent);
        Ok(())
    }

    /// How many live below the keeper.
    pub(super) fn alive_count(&self) -> Result<u32, ProcessError> {
        let alive =
            process::descendants(self.keeper)?.iter().filter(|found| found.life == Life::Alive).count();
        Ok(u32::try_from(alive).unwrap_or(u32::MAX))
    }
}

/// Signals every living process; those that were there. One that refuses, because it runs as somebody else (`sudo`), does
/// not protect the others.
fn each_alive(
    found: Vec<ProcessStat>,
    signal: impl Fn(ProcessRef) -> Result<Signalled, ProcessError>,
) -> Vec<ProcessRef> {
    let alive = found.into_iter().filter(|stat| stat.life == Life::Alive).map(|stat| stat.process);
    alive.filter(|process| matches!(signal(*process), Ok(Signalled::Sent))).collect()
}

fn flags() -> WaitPidFlag {
    let flags = WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED;
    #[cfg(target_os = "linux")]
    let flags = flags | WaitPidFlag::__WALL;
    flags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_refuses_a_signal_does_not_protect_the_others() {
        let entry = |pid, life| ProcessStat { process: ProcessRef { pid, start_time: 1 }, parent: 1, life };
        let found =
            vec![entry(1, Life::Alive), entry(2, Life::Alive), entry(3, Life::Zombie), entry(4, Life::Alive)];
        let refused = |pid| ProcessError::refused(pid);
        let sent = each_alive(found, |process| match process.pid {
            1 => Err(refused(1)),
            2 => Ok(Signalled::Sent),
            _ => Ok(Signalled::Gone),
        });
        assert_eq!(sent, [ProcessRef { pid: 2, start_time: 1 }]);
    }
}
