//! Processes on Linux: `/proc/<pid>/stat` and pidfds.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use nix::sys::signal::Signal;

use super::{Life, ProcessRef, ProcessStat, Signalled};

pub(super) fn stat(pid: u32) -> io::Result<Option<ProcessStat>> {
    match fs::read(format!("/proc/{pid}/stat")) {
        Ok(text) => parse(pid, &text).map(Some).ok_or_else(|| io::ErrorKind::InvalidData.into()),
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

pub(super) fn processes() -> io::Result<Vec<ProcessStat>> {
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        if let Some(pid) = name.to_str().and_then(|name| name.parse().ok())
            && let Some(found) = stat(pid)?
        {
            all.push(found);
        }
    }
    Ok(all)
}

pub(super) fn signal(process: ProcessRef, signal: Signal) -> io::Result<Signalled> {
    let Some(fd) = pidfd_open(process.pid)? else {
        return Ok(Signalled::Gone);
    };
    // The descriptor now pins whoever has the pid; only then does the start time tell who that is.
    if stat(process.pid)?.map(|stat| stat.process) != Some(process) {
        return Ok(Signalled::Gone);
    }
    // SAFETY: plain system call on a descriptor that we own; a null siginfo means "as kill(2) would".
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            fd.as_raw_fd(),
            signal as libc::c_int,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    match result {
        0 => Ok(Signalled::Sent),
        _ => match io::Error::last_os_error() {
            error if is_gone(&error) => Ok(Signalled::Gone),
            error => Err(error),
        },
    }
}

pub(super) fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// A descriptor for the process that has `pid` now; `None` when there is none.
pub(crate) fn pidfd_open(pid: u32) -> io::Result<Option<OwnedFd>> {
    let pid = libc::pid_t::try_from(pid).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: plain system call without pointers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 {
        let error = io::Error::last_os_error();
        return if is_gone(&error) { Ok(None) } else { Err(error) };
    }
    let fd = i32::try_from(fd).map_err(|_| io::ErrorKind::InvalidData)?;
    // SAFETY: the kernel has just handed us this descriptor and nobody else holds it.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) }))
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH))
}

/// The name in parentheses may hold anything, so fields are counted from the last closing one.
fn parse(pid: u32, text: &[u8]) -> Option<ProcessStat> {
    let end = text.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(text.get(end + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let life = match fields.next()? {
        "Z" | "X" | "x" => Life::Zombie,
        _ => Life::Alive,
    };
    let parent = fields.next()?.parse().ok()?;
    let start_time = fields.nth(17)?.parse().ok()?;
    Some(ProcessStat { process: ProcessRef { pid, start_time }, parent, life })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_does_not_shift_the_fields() {
        let line = b"77 (a) b) Z (c) S 5 77 77 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 123456 1000 2\n";
        assert_eq!(
            parse(77, line),
            Some(ProcessStat {
                process: ProcessRef { pid: 77, start_time: 123_456 },
                parent: 5,
                life: Life::Alive
            })
        );
        assert_eq!(parse(77, b"77 (cut"), None);
    }
}
