//! Peers on macOS: `LOCAL_PEERPID` and `KERN_PROCARGS2`. Written from the headers, not yet run on a Mac.

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};

use nix::sys::socket::{getsockopt, sockopt::LocalPeerPid};

/// A longer argument area is refused, not searched.
const ARGUMENTS_MAX: usize = 8 * 1024 * 1024;

pub(super) struct Credentials {
    pub(super) uid: u32,
    pub(super) pid: u32,
    pub(super) pin: Option<OwnedFd>,
}

pub(super) fn credentials(stream: BorrowedFd<'_>) -> io::Result<Credentials> {
    let mut uid = 0;
    let mut gid = 0;
    // SAFETY: both pointers are to locals that live through the call.
    if unsafe { libc::getpeereid(stream.as_raw_fd(), &raw mut uid, &raw mut gid) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let pid = u32::try_from(getsockopt(&stream, LocalPeerPid)?).map_err(|_| io::ErrorKind::InvalidData)?;
    Ok(Credentials { uid, pid, pin: None })
}

pub(super) fn has_ended(_pin: &OwnedFd) -> io::Result<bool> {
    Ok(false)
}

/// The argument area holds the number of arguments, the executable, padding, the arguments and then the
/// environment, all zero-terminated; an entry that looks like the variable counts wherever it stands.
pub(super) fn environment_value(pid: u32, name: &str) -> io::Result<Option<String>> {
    let pid = c_int::try_from(pid).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut query = [libc::CTL_KERN, libc::KERN_PROCARGS2, pid];
    let mut bytes = vec![0u8; ARGUMENTS_MAX];
    let mut length = bytes.len();
    // SAFETY: the buffer is as long as we say and the query has three elements.
    let result = unsafe {
        libc::sysctl(
            query.as_mut_ptr(),
            3,
            bytes.as_mut_ptr().cast(),
            &raw mut length,
            std::ptr::null_mut(),
            0,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    bytes.truncate(length);
    Ok(bytes
        .split(|byte| *byte == 0)
        .filter_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
        .next()
        .map(|value| String::from_utf8_lossy(&value[..value.len().min(64)]).into_owned()))
}

pub(super) fn foreign_namespace(_pid: u32) -> io::Result<Option<&'static str>> {
    Ok(None)
}

/// There is no limit here that can carry a mark.
#[derive(Debug, Clone, Copy)]
pub struct RunMark;

impl RunMark {
    /// Does nothing.
    pub(in crate::sys) fn set(self) -> io::Result<()> {
        Ok(())
    }
}

pub(super) fn run_mark() -> io::Result<RunMark> {
    Ok(RunMark)
}

pub(super) fn mark_holds() -> io::Result<bool> {
    Ok(false)
}

pub(super) fn has_run_mark(_pid: u32) -> io::Result<bool> {
    Ok(false)
}
