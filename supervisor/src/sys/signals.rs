//! Signals as bytes on a pipe, so that a poll loop sees them like any other input.
//!
//! One pipe per process at a time; dropping it puts the former dispositions back.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

static WRITE_END: AtomicI32 = AtomicI32::new(-1);

extern "C" fn on_signal(signal: libc::c_int) {
    let errno = Errno::last_raw();
    let byte = [signal.to_le_bytes()[0]];
    let fd = WRITE_END.load(Ordering::Relaxed);
    // SAFETY: write(2) is async-signal-safe. A full pipe drops the byte: the reader is awake anyway.
    unsafe {
        libc::write(fd, byte.as_ptr().cast(), 1);
    }
    Errno::set_raw(errno);
}

/// Delivers the chosen signals as readable bytes.
#[derive(Debug)]
pub struct SignalPipe {
    read: OwnedFd,
    _write: OwnedFd,
    former: Vec<(Signal, SigAction)>,
}

impl SignalPipe {
    /// Catches `signals` from now on. An error if this process already has such a pipe.
    pub fn install(signals: &[Signal]) -> io::Result<Self> {
        let (read, write) = pipe()?;
        WRITE_END
            .compare_exchange(-1, write.as_raw_fd(), Ordering::SeqCst, Ordering::SeqCst)
            .map_err(|_| io::ErrorKind::AlreadyExists)?;
        let mut pipe = Self { read, _write: write, former: Vec::with_capacity(signals.len()) };
        let action = SigAction::new(SigHandler::Handler(on_signal), SaFlags::SA_RESTART, SigSet::empty());
        for signal in signals {
            // SAFETY: the handler only calls async-signal-safe functions.
            let former = unsafe { sigaction(*signal, &action) }?;
            pipe.former.push((*signal, former));
        }
        Ok(pipe)
    }

    /// Completes when a signal has come. Needs a tokio runtime with I/O.
    pub async fn next(&self) -> io::Result<()> {
        // SAFETY: the descriptor is open as long as `self`, which outlives the registration.
        let readable = unsafe { AsyncFd::register_with_interest(self.read.as_fd(), Interest::READABLE) }?;
        let mut guard = readable.readable().await?;
        guard.clear_ready();
        drop(self.take());
        Ok(())
    }

    /// The signals that came since the last call, several of one kind perhaps as one. Never blocks.
    pub fn take(&self) -> Vec<Signal> {
        let mut bytes = [0; 256];
        match nix::unistd::read(&self.read, &mut bytes) {
            Ok(count) => {
                bytes[..count].iter().filter_map(|byte| Signal::try_from(i32::from(*byte)).ok()).collect()
            }
            Err(_) => Vec::new(),
        }
    }
}

impl AsFd for SignalPipe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.read.as_fd()
    }
}

impl Drop for SignalPipe {
    fn drop(&mut self) {
        for (signal, former) in &self.former {
            // SAFETY: puts back what was there before.
            let _ = unsafe { sigaction(*signal, former) };
        }
        WRITE_END.store(-1, Ordering::SeqCst);
    }
}

#[cfg(target_os = "linux")]
fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?)
}

#[cfg(not(target_os = "linux"))]
fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    use nix::fcntl::{FcntlArg, FdFlag, fcntl};
    let (read, write) = nix::unistd::pipe()?;
    for end in [&read, &write] {
        fcntl(end, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        fcntl(end, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    }
    Ok((read, write))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caught_signal_arrives_once_and_the_former_disposition_returns() {
        let pipe = SignalPipe::install(&[Signal::SIGUSR2]).unwrap();
        assert_eq!(SignalPipe::install(&[]).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        nix::sys::signal::raise(Signal::SIGUSR2).unwrap();
        assert_eq!(pipe.take(), [Signal::SIGUSR2]);
        assert_eq!(pipe.take(), []);
        drop(pipe);
        let probe = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
        // SAFETY: ignoring a signal runs no code.
        let former = unsafe { sigaction(Signal::SIGUSR2, &probe) }.unwrap();
        assert!(matches!(former.handler(), SigHandler::SigDfl));
    }
}
