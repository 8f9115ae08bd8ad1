//! The user's window to a run: their terminal, or the three pipes of a pipeline, joined to the keeper's.
//!
//! [`attach`] feels as if the program had been started right here: every byte passes untouched in both directions
//! (paste, mouse, colours), the size follows the window, and whatever way it ends (detach, exit, a signal, a panic) the
//! terminal is left as it was found. The only bytes that do not reach the agent are the [`DetachKeys`], and what is typed
//! on the page that shows what waits for the user ([`asking`]).
//! [`observe`] only reads.
//!
//! Both block and own the thread; both write only through the writers they are given. [`attach`] catches signals for
//! as long as it runs.

mod asking;
pub mod keys;
mod link;
mod pipes;
mod terminal;

pub use asking::{Asker, Verdict};
pub use keys::{DetachKeys, KeysError};

use std::io::{self, Write};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;

use nix::poll::PollFlags;
use nix::sys::signal::Signal;

use super::keeper::message::{Exited, FromKeeper, Hello, Mode, Streams, VERSION};
use super::keeper::{EndCause, Exit, Found, KeeperError, find, load_exit, read_scrollback};
use crate::sys::signals::SignalPipe;
use crate::sys::socket::SocketError;
use crate::sys::terminal::size;
use link::Link;

/// How an attached session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attached {
    /// The run has ended.
    Exited {
        /// The code or the signal of the agent's first process.
        exit: Exit,
        /// Whether it ended by itself, was stopped or was killed.
        cause: EndCause,
    },
    /// The user detached, or their terminal went away; the run goes on.
    Detached,
    /// The reader of the pipeline went away, so the run was asked to stop, as a closed pipe would.
    Unread,
    /// The keeper is gone without a word, or has cut us off.
    Lost,
}

/// The user's side of a session.
pub struct Ends<'a> {
    /// What the user types, as a rule standard input.
    pub input: BorrowedFd<'a>,
    /// Where the agent's output goes.
    pub out: &'a mut dyn Write,
    /// Where the agent's standard error goes, if it is apart.
    pub err: &'a mut dyn Write,
}

/// Joins the user to the run in `dir` until the run ends or the user leaves.
///
/// Needs the process's signals (`SIGWINCH`, `SIGINT`, `SIGTERM`, `SIGHUP`, `SIGQUIT`) for as long as it runs.
pub fn attach(
    dir: &Path,
    ends: Ends<'_>,
    keys: &DetachKeys,
    asker: Option<Box<dyn Asker>>,
) -> Result<Attached, KeeperError> {
    // First, so that a signal during the handshake is not lost.
    let signals = SignalPipe::install(&[
        Signal::SIGWINCH,
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGHUP,
        Signal::SIGQUIT,
    ])
    .map_err(KeeperError::Connection)?;
    let size = size(ends.input);
    let (cols, rows) = size.map_or((0, 0), |size| (size.cols, size.rows));
    let hello = Hello { version: VERSION, mode: Mode::Attach, cols, rows };
    let Some((mut link, welcome)) = connect(dir, hello)? else {
        return Ok(ended(dir)?.unwrap_or(Attached::Lost));
    };
    let outcome = match welcome.streams {
        Streams::Pty => {
            let means = terminal::Means { dir, signals: &signals, keys, asker };
            terminal::run(&mut link, means, ends, size)
        }
        Streams::Pipes => pipes::run(&mut link, &signals, ends),
    };
    resolve(dir, outcome)
}

/// Writes everything that is kept of the run's output to `out`, and then what follows, until the run ends or the user
/// has enough (`SIGINT`, `SIGTERM`, `SIGHUP`). `on_skip` hears of bytes that were gone before they could be read.
pub fn observe(
    dir: &Path,
    out: &mut dyn Write,
    on_skip: &mut dyn FnMut(u64),
) -> Result<Attached, KeeperError> {
    let signals = SignalPipe::install(&[Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP])
        .map_err(KeeperError::Connection)?;
    let hello = Hello { version: VERSION, mode: Mode::Observe, cols: 0, rows: 0 };
    let Some((mut link, _)) = connect(dir, hello)? else {
        let kept = read_scrollback(dir, u64::MAX).map_err(KeeperError::Connection)?;
        return match out.write_all(&kept).and_then(|()| out.flush()) {
            Ok(()) => Ok(ended(dir)?.unwrap_or(Attached::Lost)),
            Err(_) => Ok(Attached::Detached),
        };
    };
    resolve(dir, follow(&mut link, &signals, out, on_skip))
}

fn follow(
    link: &mut Link,
    signals: &SignalPipe,
    out: &mut dyn Write,
    on_skip: &mut dyn FnMut(u64),
) -> Result<Attached, KeeperError> {
    loop {
        while let Some(message) = link.next_message()? {
            match message {
                FromKeeper::Output(bytes) if out.write_all(&bytes).is_err() => return Ok(Attached::Detached),
                FromKeeper::Skipped { bytes } => on_skip(bytes),
                FromKeeper::Exited(exited) => {
                    let _ = out.flush();
                    return Ok(exited.into());
                }
                FromKeeper::Error(refused) => return Err(KeeperError::Refused(refused.reason)),
                _ => {}
            }
        }
        if out.flush().is_err() {
            return Ok(Attached::Detached);
        }
        link.wait(&mut [(signals.as_fd(), PollFlags::POLLIN)])?;
        if !signals.take().is_empty() {
            return Ok(Attached::Detached);
        }
    }
}

impl From<Exited> for Attached {
    fn from(exited: Exited) -> Self {
        Self::Exited { exit: exited.exit, cause: exited.cause }
    }
}

/// `None` when nobody listens (any more).
fn connect(dir: &Path, hello: Hello) -> Result<Option<(Link, super::keeper::message::Welcome)>, KeeperError> {
    match Link::open(dir, hello) {
        Ok(opened) => Ok(Some(opened)),
        Err(KeeperError::Socket(SocketError::NotListening { .. }) | KeeperError::Lost) => {
            match find(dir)? {
                // It listens before it is known and until it has told everybody, so this is a fault.
                Found::Running(_) => Err(KeeperError::Lost),
                _ => Ok(None),
            }
        }
        Err(error) => Err(error),
    }
}

/// A keeper that was gone before it could say so has written it down.
fn resolve(dir: &Path, outcome: Result<Attached, KeeperError>) -> Result<Attached, KeeperError> {
    match outcome {
        Ok(Attached::Lost) | Err(KeeperError::Lost | KeeperError::Connection(_)) => {
            Ok(ended(dir)?.unwrap_or(Attached::Lost))
        }
        other => other,
    }
}

fn ended(dir: &Path) -> Result<Option<Attached>, KeeperError> {
    Ok(load_exit(dir)?.map(|record| Attached::Exited { exit: record.exit, cause: record.cause }))
}

/// What came of an attempt to read from the user.
enum Typed {
    Bytes(Vec<u8>),
    End,
}

fn read_input(input: BorrowedFd<'_>) -> io::Result<Typed> {
    let mut bytes = vec![0; 16 * 1024];
    match nix::unistd::read(input, &mut bytes) {
        Ok(0) => Ok(Typed::End),
        Ok(count) => {
            bytes.truncate(count);
            Ok(Typed::Bytes(bytes))
        }
        Err(nix::errno::Errno::EINTR | nix::errno::Errno::EAGAIN) => Ok(Typed::Bytes(Vec::new())),
        // A terminal that has hung up.
        Err(nix::errno::Errno::EIO) => Ok(Typed::End),
        Err(errno) => Err(errno.into()),
    }
}
