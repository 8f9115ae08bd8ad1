//! Processes by identity: a pid together with its start time, so that a reused pid is never mistaken for the process
//! it once named.
//!
//! Owns: identity, liveness, parents and descendants, signals. Nothing here looks at a process name. Linux reads
//! `/proc` and signals through pidfds; the macOS half is written against `libproc` and has not been run.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "macos")]
mod macos;

#[cfg(target_os = "linux")]
use linux as os;
#[cfg(target_os = "macos")]
use macos as os;

use std::collections::{HashMap, HashSet};
use std::io;

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

/// More levels between a process and its ancestor than any real tree has; a walk that gets here gives up.
pub const ANCESTRY_MAX: usize = 256;

/// The operating system did not let us look at or signal a process.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} process {pid}: {source}")]
pub struct ProcessError {
    action: &'static str,
    pid: u32,
    source: io::Error,
}

impl ProcessError {
    fn new(action: &'static str, pid: u32, source: io::Error) -> Self {
        Self { action, pid, source }
    }

    #[cfg(test)]
    pub(crate) fn refused(pid: u32) -> Self {
        Self::new("signal", pid, io::ErrorKind::PermissionDenied.into())
    }
}

/// One process, for as long as it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProcessRef {
    /// The process id in our own pid namespace.
    pub pid: u32,
    /// When it started: clock ticks since boot on Linux, microseconds since 1970 on macOS. Opaque: compare only.
    pub start_time: u64,
}

/// What the operating system knows about a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessStat {
    /// Who it is.
    pub process: ProcessRef,
    /// Its parent's pid; zero when it has none that we can see.
    pub parent: u32,
    /// Whether it still runs.
    pub life: Life,
}

/// Whether a process that the operating system lists still runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// It runs, sleeps or is stopped.
    Alive,
    /// It has ended and its parent has not collected it yet.
    Zombie,
}

/// What became of a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signalled {
    /// The process was there and the signal was sent to it.
    Sent,
    /// The process had already ended.
    Gone,
}

impl ProcessRef {
    /// This process.
    pub fn current() -> Result<Self, ProcessError> {
        let pid = std::process::id();
        stat(pid)?
            .map(|stat| stat.process)
            .ok_or_else(|| ProcessError::new("find", pid, io::ErrorKind::NotFound.into()))
    }

    /// Whether it still runs; a zombie does not.
    pub fn is_alive(&self) -> Result<bool, ProcessError> {
        let found = stat(self.pid)?;
        Ok(found.is_some_and(|stat| stat.process == *self && stat.life == Life::Alive))
    }

    /// Sends `signal` to exactly this process.
    pub fn signal(&self, signal: Signal) -> Result<Signalled, ProcessError> {
        os::signal(*self, signal).map_err(|error| ProcessError::new("signal", self.pid, error))
    }
}

/// Looks one process up; `None` when there is no such process.
pub fn stat(pid: u32) -> Result<Option<ProcessStat>, ProcessError> {
    os::stat(pid).map_err(|error| ProcessError::new("look at", pid, error))
}

/// Every process that we can see. Not one instant: processes may come and go while the list is made.
pub fn processes() -> Result<Vec<ProcessStat>, ProcessError> {
    os::processes()
        .map_err(|error| ProcessError::new("list the processes seen by", std::process::id(), error))
}

/// Everything below `root` in the tree, zombies included and `root` excluded, whatever its session or process group.
pub fn descendants(root: ProcessRef) -> Result<Vec<ProcessStat>, ProcessError> {
    Ok(below(root.pid, processes()?))
}

/// The chain from the parent of `pid` upwards, nearest first, ending where the next parent cannot be seen.
///
/// Each parent must be no younger than its child, otherwise the pid was reused between two reads and the chain
/// ends there: a caller that must know the whole chain checks that the last entry is pid 1.
pub fn ancestors(of: ProcessStat) -> Result<Vec<ProcessStat>, ProcessError> {
    let mut chain: Vec<ProcessStat> = Vec::new();
    let mut child = of;
    while chain.len() < ANCESTRY_MAX && child.parent != 0 {
        match stat(child.parent)? {
            Some(parent) if parent.process.start_time <= child.process.start_time => {
                chain.push(parent);
                child = parent;
            }
            _ => break,
        }
    }
    Ok(chain)
}

fn below(root: u32, all: Vec<ProcessStat>) -> Vec<ProcessStat> {
    let mut children: HashMap<u32, Vec<ProcessStat>> = HashMap::new();
    for stat in all {
        children.entry(stat.parent).or_default().push(stat);
    }
    let mut seen = HashSet::from([root]);
    let mut open = vec![root];
    let mut found = Vec::new();
    while let Some(parent) = open.pop() {
        for child in children.remove(&parent).unwrap_or_default() {
            if seen.insert(child.process.pid) {
                open.push(child.process.pid);
                found.push(child);
            }
        }
    }
    found
}

/// Tells one boot of this machine from the next: pids and start times begin again after a reboot.
pub fn boot_id() -> Result<String, ProcessError> {
    os::boot_id().map_err(|error| ProcessError::new("read the boot identity for", std::process::id(), error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    fn entry(pid: u32, parent: u32) -> ProcessStat {
        ProcessStat { process: ProcessRef { pid, start_time: u64::from(pid) }, parent, life: Life::Alive }
    }

    #[test]
    fn a_process_is_alive_until_it_ends_and_a_reused_pid_is_another_process() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let process = stat(child.id()).unwrap().unwrap().process;
        assert!(process.is_alive().unwrap());
        let imposter = ProcessRef { start_time: process.start_time + 1, ..process };
        assert!(!imposter.is_alive().unwrap());
        assert_eq!(imposter.signal(Signal::SIGKILL).unwrap(), Signalled::Gone);
        assert!(process.is_alive().unwrap());
        assert_eq!(process.signal(Signal::SIGKILL).unwrap(), Signalled::Sent);
        child.wait().unwrap();
        assert!(!process.is_alive().unwrap());
        assert_eq!(process.signal(Signal::SIGKILL).unwrap(), Signalled::Gone);
    }

    #[test]
    fn a_child_is_a_descendant_and_we_are_its_ancestor() {
        let us = ProcessRef::current().unwrap();
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let found = stat(child.id()).unwrap().unwrap();
        assert!(descendants(us).unwrap().contains(&found));
        assert_eq!(ancestors(found).unwrap()[0].process, us);
        drop(child.stdin.take());
        child.wait().unwrap();
    }

    #[test]
    fn a_listing_that_names_a_loop_ends() {
        let all = vec![entry(10, 1), entry(11, 10), entry(12, 13), entry(13, 12), entry(1, 1)];
        let mut pids: Vec<u32> = below(1, all).iter().map(|stat| stat.process.pid).collect();
        pids.sort_unstable();
        assert_eq!(pids, [10, 11]);
    }
}
