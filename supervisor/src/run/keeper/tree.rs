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
use crate::sys::process::{self, Life, ProcessError, ProcessRef, Signalled};

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
        let mut count = 0;
        for found in process::descendants(self.keeper)? {
            if found.life == Life::Alive && found.process.signal(signal)? == Signalled::Sent {
                count += 1;
            }
        }
        Ok(count)
    }

    /// Kills everything alive below the keeper once; to be repeated until nothing is left, because what is killed
    /// may have had children in the meantime.
    pub(super) fn kill(&mut self) -> Result<(), ProcessError> {
        for found in process::descendants(self.keeper)? {
            if found.life == Life::Alive && found.process.signal(Signal::SIGKILL)? == Signalled::Sent {
                self.killed.insert(found.process);
            }
        }
        Ok(())
    }

    /// How many live below the keeper.
    pub(super) fn alive_count(&self) -> Result<u32, ProcessError> {
        let alive =
            process::descendants(self.keeper)?.iter().filter(|found| found.life == Life::Alive).count();
        Ok(u32::try_from(alive).unwrap_or(u32::MAX))
    }
}

fn flags() -> WaitPidFlag {
    let flags = WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED;
    #[cfg(target_os = "linux")]
    let flags = flags | WaitPidFlag::__WALL;
    flags
}
