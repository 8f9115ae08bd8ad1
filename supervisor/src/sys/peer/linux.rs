//! Peers on Linux: `SO_PEERCRED`, `SO_PEERPIDFD` where the kernel has it (6.5), and `/proc`.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

/// A longer environment is refused, not searched.
const ENVIRONMENT_MAX: u64 = 8 * 1024 * 1024;

pub(super) struct Credentials {
    pub(super) uid: u32,
    pub(super) pid: u32,
    pub(super) pin: Option<OwnedFd>,
}

pub(super) fn credentials(stream: BorrowedFd<'_>) -> io::Result<Credentials> {
    let credentials = getsockopt(&stream, PeerCredentials)?;
    // Zero is a process outside of our pid namespace.
    let pid = u32::try_from(credentials.pid()).ok().filter(|pid| *pid != 0);
    let pid = pid.ok_or_else(|| io::Error::other("it is not in our pid namespace"))?;
    Ok(Credentials { uid: credentials.uid(), pid, pin: peer_pidfd(stream)? })
}

fn peer_pidfd(stream: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
    let mut fd: libc::c_int = -1;
    let mut length = libc::socklen_t::try_from(size_of::<libc::c_int>()).unwrap_or(4);
    // SAFETY: both pointers are to locals of the sizes that we say.
    let result = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERPIDFD,
            (&raw mut fd).cast(),
            &raw mut length,
        )
    };
    if result == 0 {
        // SAFETY: the kernel has just handed us this descriptor and nobody else holds it.
        return Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) }));
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        // A kernel before 6.5: the pid and its start time have to do.
        Some(libc::ENOPROTOOPT) => Ok(None),
        _ => Err(error),
    }
}

pub(super) fn has_ended(pin: &OwnedFd) -> io::Result<bool> {
    let mut fds = [PollFd::new(pin.as_fd(), PollFlags::POLLIN)];
    Ok(poll(&mut fds, PollTimeout::ZERO)? > 0)
}

pub(super) fn environment_value(pid: u32, name: &str) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    File::open(format!("/proc/{pid}/environ"))?.take(ENVIRONMENT_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > ENVIRONMENT_MAX {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(bytes
        .split(|byte| *byte == 0)
        .filter_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
        .next()
        .map(|value| String::from_utf8_lossy(&value[..value.len().min(64)]).into_owned()))
}

pub(super) fn foreign_namespace(pid: u32) -> io::Result<Option<&'static str>> {
    for kind in ["pid", "mnt", "user"] {
        let ours = fs::read_link(format!("/proc/self/ns/{kind}"))?;
        if fs::read_link(format!("/proc/{pid}/ns/{kind}"))? != ours {
            return Ok(Some(kind));
        }
    }
    Ok(None)
}

/// A hard limit for message queues one below our own.
#[derive(Debug, Clone, Copy)]
pub struct RunMark(Option<libc::rlimit>);

impl RunMark {
    /// Marks the calling process and all that will descend from it.
    pub(in crate::sys) fn set(self) -> io::Result<()> {
        let Some(limit) = self.0 else {
            return Ok(());
        };
        // SAFETY: the pointer is to a local that lives through the call.
        if unsafe { libc::setrlimit(libc::RLIMIT_MSGQUEUE, &raw const limit) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}

/// Where our own limit is zero already there is nothing to lower, and the other traces have to do.
pub(super) fn run_mark() -> io::Result<RunMark> {
    let own = own_limit()?;
    Ok(RunMark(
        own.rlim_max
            .checked_sub(1)
            .map(|hard| libc::rlimit { rlim_cur: own.rlim_cur.min(hard), rlim_max: hard }),
    ))
}

/// Whether nobody whom we might mark could shed it: there is a limit to lower, and we are not root.
pub(super) fn mark_holds() -> io::Result<bool> {
    Ok(own_limit()?.rlim_max > 0 && !nix::unistd::geteuid().is_root())
}

fn own_limit() -> io::Result<libc::rlimit> {
    let mut own = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a local that lives through the call.
    if unsafe { libc::getrlimit(libc::RLIMIT_MSGQUEUE, &raw mut own) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(own)
}

pub(super) fn has_run_mark(pid: u32) -> io::Result<bool> {
    let own = own_limit()?.rlim_max;
    let text = fs::read_to_string(format!("/proc/{pid}/limits"))?;
    let hard = hard_limit(&text).ok_or(io::ErrorKind::InvalidData)?;
    Ok(hard < own)
}

fn hard_limit(text: &str) -> Option<libc::rlim_t> {
    let line = text.lines().find_map(|line| line.strip_prefix("Max msgqueue size"))?;
    match line.split_ascii_whitespace().nth(1)? {
        "unlimited" => Some(libc::RLIM_INFINITY),
        number => number.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hard_limit_is_the_second_column() {
        let text = "Limit  Soft Limit  Hard Limit  Units\n\
                    Max pending signals       9   10    signals\n\
                    Max msgqueue size         819200               819199               bytes\n";
        assert_eq!(hard_limit(text), Some(819_199));
        assert_eq!(hard_limit("Max msgqueue size  7  unlimited  bytes"), Some(libc::RLIM_INFINITY));
        assert_eq!(hard_limit("Max nothing 1 2"), None);
    }
}
