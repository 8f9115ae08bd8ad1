//! Processes on macOS: `libproc`. Written from the headers, not yet run on a Mac.

use std::ffi::c_int;
use std::io;
use std::mem;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Life, ProcessRef, ProcessStat, Signalled};

pub(super) fn stat(pid: u32) -> io::Result<Option<ProcessStat>> {
    let raw = c_int::try_from(pid).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: a plain C struct of integers, for which all zeroes is a value.
    let mut info: libc::proc_bsdinfo = unsafe { mem::zeroed() };
    let size = c_int::try_from(size_of::<libc::proc_bsdinfo>()).map_err(|_| io::ErrorKind::InvalidData)?;
    // SAFETY: the buffer is as long as we say.
    let got = unsafe { libc::proc_pidinfo(raw, libc::PROC_PIDTBSDINFO, 0, (&raw mut info).cast(), size) };
    if got != size {
        let error = io::Error::last_os_error();
        return if error.raw_os_error() == Some(libc::ESRCH) { Ok(None) } else { Err(error) };
    }
    let life = if info.pbi_status == libc::SZOMB { Life::Zombie } else { Life::Alive };
    let start_time = info.pbi_start_tvsec * 1_000_000 + info.pbi_start_tvusec;
    Ok(Some(ProcessStat { process: ProcessRef { pid, start_time }, parent: info.pbi_ppid, life }))
}

pub(super) fn processes() -> io::Result<Vec<ProcessStat>> {
    // SAFETY: a null buffer asks for the number of processes.
    let count = unsafe { libc::proc_listallpids(std::ptr::null_mut(), 0) };
    let room = usize::try_from(count).map_err(|_| io::Error::last_os_error())? + 64;
    let mut pids: Vec<c_int> = vec![0; room];
    let bytes = c_int::try_from(room * size_of::<c_int>()).map_err(|_| io::ErrorKind::InvalidData)?;
    // SAFETY: the buffer is as long as we say.
    let count = unsafe { libc::proc_listallpids(pids.as_mut_ptr().cast(), bytes) };
    let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
    let mut all = Vec::with_capacity(count);
    for pid in pids.into_iter().take(count).filter_map(|pid| u32::try_from(pid).ok()).filter(|pid| *pid != 0)
    {
        // A process of another user may not be looked at; it cannot be below us.
        if let Ok(Some(found)) = stat(pid) {
            all.push(found);
        }
    }
    Ok(all)
}

pub(super) fn signal(process: ProcessRef, signal: Signal) -> io::Result<Signalled> {
    if stat(process.pid)?.map(|stat| stat.process) != Some(process) {
        return Ok(Signalled::Gone);
    }
    let pid = i32::try_from(process.pid).map_err(|_| io::ErrorKind::InvalidInput)?;
    match kill(Pid::from_raw(pid), signal) {
        Ok(()) => Ok(Signalled::Sent),
        Err(nix::errno::Errno::ESRCH) => Ok(Signalled::Gone),
        Err(error) => Err(error.into()),
    }
}

/// Start times are wall-clock times here, so one boot needs no telling from the next.
pub(super) fn boot_id() -> io::Result<String> {
    Ok(String::new())
}
