//! A program whose standard output is read while it runs, by the process that stands in its place: it has that process's
//! other streams, its environment and its directory.
//!
//! Invariants: it does not outlive the process that stands for it (on Linux); it is always waited for. Must not interpret
//! a command through a shell.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, ChildStdout, Command, Stdio};

use nix::sys::signal::{SigHandler, Signal};

/// A program that runs.
pub struct Piped {
    child: Child,
    stdout: ChildStdout,
}

impl Piped {
    /// Starts a program that is looked for in `PATH`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(program: &str, args: &[OsString]) -> io::Result<Self> {
        let mut command = Command::new(program);
        command.args(args).stdout(Stdio::piped());
        let parent = nix::unistd::getpid();
        // SAFETY: the closure only makes system calls.
        unsafe {
            command.pre_exec(move || {
                super::spawn::default_signals();
                #[cfg(target_os = "linux")]
                if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) != 0 {
                    return Err(io::Error::last_os_error());
                }
                // It may have died before the line above took effect.
                if nix::unistd::getppid() == parent { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
            });
        }
        let mut child = command.spawn()?;
        match child.stdout.take() {
            Some(stdout) => Ok(Self { child, stdout }),
            None => Err(io::Error::other("its standard output is missing")),
        }
    }

    /// From then on this process outlives what asks both to end, as a stop does, so that it can tell how that went.
    ///
    /// # Errors
    /// When the system does not allow it.
    pub fn outlive(&self) -> io::Result<()> {
        for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM] {
            // SAFETY: ignoring a signal runs no code of ours.
            unsafe { nix::sys::signal::signal(signal, SigHandler::SigIgn) }?;
        }
        Ok(())
    }

    /// What it writes.
    pub fn output(&mut self) -> &mut impl Read {
        &mut self.stdout
    }

    /// Waits for its end; its code, or 128 and the signal's number as a shell would say.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn wait(&mut self) -> io::Result<u8> {
        let status = self.child.wait()?;
        let code = status.code().or_else(|| Some(128 + status.signal()?));
        Ok(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX))
    }

    /// Ends it at once.
    ///
    /// # Errors
    /// When it cannot be ended or waited for.
    pub fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(script: &str) -> Piped {
        Piped::start("sh", &["-c".into(), script.into()]).unwrap()
    }

    #[test]
    fn its_output_is_read_and_its_end_told_as_a_shell_would() {
        let mut text = String::new();
        let mut piped = started("echo one; exit 7");
        piped.output().read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), piped.wait().unwrap()), ("one\n", 7));
        assert_eq!(started("kill -9 $$").wait().unwrap(), 137);
        let mut endless = started("exec sleep 1000");
        endless.kill().unwrap();
        assert_eq!(endless.wait().unwrap(), 137);
    }
}
