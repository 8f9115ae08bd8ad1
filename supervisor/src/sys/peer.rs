//! Who is at the other end of a Unix socket, and whether it may give orders.
//!
//! Agents run as the user and can reach the user's sockets, so a uid says nothing. [`require_outside`] refuses
//! whatever descends from a run, by every trace that we can see: ancestry up to a keeper, the run mark, the run id in
//! its environment, a namespace of its own. What cannot be determined is refused too.
//!
//! **The run mark.** A process can drop its environment and, once it has killed its keeper, its ancestry. What an
//! unprivileged process can never do is raise a hard resource limit. Every agent starts with a hard limit for POSIX
//! message queues that is one byte below the keeper's own ([`run_mark`]), and its whole tree inherits that: whoever
//! has less than we have ourselves comes from a run. (An agent that runs as root can undo this, as it can
//! undo everything else.)

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "macos")]
mod macos;

#[cfg(target_os = "linux")]
use linux as os;
#[cfg(target_os = "macos")]
use macos as os;

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use super::process::{self, Life, ProcessError, ProcessRef, ProcessStat};

pub use os::RunMark;

/// The variable in every agent's environment that names its run.
pub const RUN_ID_VARIABLE: &str = "AGENTSUP_RUN_ID";

/// How often the ancestry is read again because a process in it ended meanwhile.
const ANCESTRY_TRIES: usize = 5;

/// Why a peer may not speak to us.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// It belongs to another user.
    #[error("it belongs to user {uid}")]
    OtherUser {
        /// That user.
        uid: u32,
    },
    /// It descends from a process that it must not descend from: a keeper, as a rule.
    #[error("process {pid} was started inside a run")]
    Descends {
        /// The peer.
        pid: u32,
        /// The keeper (or whatever else was given) that it descends from.
        from: ProcessRef,
    },
    /// Its environment names a run.
    #[error("process {pid} carries {RUN_ID_VARIABLE}=`{run}`")]
    CarriesRunId {
        /// The peer.
        pid: u32,
        /// What the variable says; the peer may have made it up.
        run: String,
    },
    /// It lives in another namespace, as sandboxed agents do.
    #[error("process {pid} is in another {kind} namespace")]
    OtherNamespace {
        /// The peer.
        pid: u32,
        /// Which kind: `pid`, `mnt` or `user`.
        kind: &'static str,
    },
    /// It carries the run mark.
    #[error("process {pid} carries the mark of a run (its message queue limit is below ours)")]
    RunMarked {
        /// The peer.
        pid: u32,
    },
    /// It ended before it could be looked at.
    #[error("it has ended")]
    Gone,
    /// It cannot be told where it comes from.
    #[error("it cannot be told where it comes from: {reason}")]
    Undetermined {
        /// What could not be seen.
        reason: String,
    },
}

impl From<ProcessError> for PeerError {
    fn from(error: ProcessError) -> Self {
        Self::Undetermined { reason: error.to_string() }
    }
}

fn unseen(what: &'static str) -> impl FnOnce(io::Error) -> PeerError {
    move |error| PeerError::Undetermined { reason: format!("{what}: {error}") }
}

/// The process that connected.
#[derive(Debug)]
pub struct Peer {
    /// Its effective user.
    pub uid: u32,
    /// Who it is.
    pub process: ProcessRef,
    /// Pins the pid for as long as we look, where the kernel can do that.
    pin: Option<OwnedFd>,
}

impl Peer {
    /// The peer of an accepted stream (`std` or `tokio`), as the kernel saw it when it connected.
    pub fn of(stream: &impl AsFd) -> Result<Self, PeerError> {
        let os::Credentials { uid, pid, pin } =
            os::credentials(stream.as_fd()).map_err(unseen("its credentials"))?;
        let process = process::stat(pid)?.ok_or(PeerError::Gone)?.process;
        let peer = Self { uid, process, pin };
        peer.require_alive()?;
        Ok(peer)
    }

    /// That it is still the process that connected: what was read about its pid in the meantime is about it.
    fn require_alive(&self) -> Result<(), PeerError> {
        if let Some(pin) = &self.pin
            && os::has_ended(pin).map_err(unseen("whether it lives"))?
        {
            return Err(PeerError::Gone);
        }
        if self.process.is_alive()? { Ok(()) } else { Err(PeerError::Gone) }
    }
}

/// Refuses a peer of another user and one that comes from a run, or might.
///
/// `roots` are the processes nothing below which may speak to us: all keepers that the caller knows, and for the
/// daemon also itself, so that an MCP server it has started cannot give orders on behalf of an agent. The calling
/// process itself is not refused.
pub fn require_outside(peer: &Peer, roots: &[ProcessRef]) -> Result<(), PeerError> {
    if peer.uid != nix::unistd::geteuid().as_raw() {
        return Err(PeerError::OtherUser { uid: peer.uid });
    }
    let pid = peer.process.pid;
    // Most telling first: who the ancestor is names the run.
    let chain = ancestry(peer)?;
    let mut line = std::iter::once(peer.process).chain(chain.iter().map(|stat| stat.process));
    if let Some(from) = line.find(|process| roots.contains(process) && *process != peer.process) {
        return Err(PeerError::Descends { pid, from });
    }
    if let Some(run) = look("its environment", os::environment_value(pid, RUN_ID_VARIABLE))? {
        return Err(PeerError::CarriesRunId { pid, run });
    }
    if os::has_run_mark(pid).map_err(unseen("its limits"))? {
        return Err(PeerError::RunMarked { pid });
    }
    if let Some(kind) = look("its namespaces", os::foreign_namespace(pid))? {
        return Err(PeerError::OtherNamespace { pid, kind });
    }
    peer.require_alive()
}

/// A process that keeps its memory to itself (our own daemon does) hides these two from its own user. Ancestry and
/// mark are visible all the same and cannot be shed, so where the mark holds they are enough.
fn look<T>(what: &'static str, seen: io::Result<Option<T>>) -> Result<Option<T>, PeerError> {
    match seen {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            if os::mark_holds().map_err(unseen(what))? { Ok(None) } else { Err(unseen(what)(error)) }
        }
        other => other.map_err(unseen(what)),
    }
}

/// Living processes whose environment names the run: what is left of it when its keeper is gone. One that has dropped
/// the variable is not found.
pub fn carriers(run: &str) -> Result<Vec<ProcessRef>, ProcessError> {
    let carries = |stat: &ProcessStat| {
        let named = os::environment_value(stat.process.pid, RUN_ID_VARIABLE);
        stat.life == Life::Alive && named.is_ok_and(|named| named.as_deref() == Some(run))
    };
    Ok(process::processes()?.into_iter().filter(carries).map(|stat| stat.process).collect())
}

/// What an agent is marked with before it is executed; async-signal-safe to set.
pub(super) fn run_mark() -> io::Result<RunMark> {
    os::run_mark()
}

fn ancestry(peer: &Peer) -> Result<Vec<ProcessStat>, PeerError> {
    for _ in 0..ANCESTRY_TRIES {
        let Some(start) = process::stat(peer.process.pid)? else {
            return Err(PeerError::Gone);
        };
        if start.process != peer.process {
            return Err(PeerError::Gone);
        }
        let chain = process::ancestors(start)?;
        let top = chain.last().unwrap_or(&start);
        if top.parent == 0 {
            return Ok(chain);
        }
    }
    Err(PeerError::Undetermined { reason: "its ancestry does not lead to the first process".to_owned() })
}
