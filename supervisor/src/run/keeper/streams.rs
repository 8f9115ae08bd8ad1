//! The agent's standard streams, from the keeper's side. Never blocks.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::process::{ChildStderr, ChildStdin, ChildStdout};

use nix::poll::PollFlags;

use super::message::Streams;
use crate::sys::spawn::AgentStreams;
use crate::sys::terminal::{self, Size};

/// Which stream of the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    /// Standard input; for a terminal also its output.
    Input,
    /// The terminal's output, or standard output.
    Output,
    /// Standard error, with pipes.
    Errors,
}

/// What a read gave.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Got {
    Bytes(usize),
    Later,
    End,
}

/// The keeper's ends.
#[derive(Debug)]
pub(super) enum AgentIo {
    Pty {
        outer: OwnedFd,
        /// Held while the agent lives, so that closing and opening its terminal again is not the end of it.
        inner: Option<OwnedFd>,
        ended: Ended,
    },
    Pipes {
        stdin: Option<ChildStdin>,
        stdout: Option<ChildStdout>,
        stderr: Option<ChildStderr>,
    },
}

/// Whether the terminal has said that there is no more to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    No,
    Yes,
}

impl AgentIo {
    pub(super) fn new(terminal: Option<terminal::Pty>, streams: AgentStreams) -> Option<Self> {
        match (terminal, streams) {
            (Some(terminal::Pty { outer, inner }), AgentStreams::Pty) => {
                Some(Self::Pty { outer, inner: Some(inner), ended: Ended::No })
            }
            (None, AgentStreams::Pipes { stdin, stdout, stderr }) => {
                Some(Self::Pipes { stdin: Some(stdin), stdout: Some(stdout), stderr: Some(stderr) })
            }
            _ => None,
        }
    }

    pub(super) fn kind(&self) -> Streams {
        match self {
            Self::Pty { .. } => Streams::Pty,
            Self::Pipes { .. } => Streams::Pipes,
        }
    }

    /// What to poll when output is wanted.
    pub(super) fn readable(&self) -> Vec<(Stream, BorrowedFd<'_>)> {
        match self {
            Self::Pty { outer, ended: Ended::No, .. } => vec![(Stream::Output, outer.as_fd())],
            Self::Pty { .. } => Vec::new(),
            Self::Pipes { stdout, stderr, .. } => {
                let stdout = stdout.iter().map(|pipe| (Stream::Output, pipe.as_fd()));
                let stderr = stderr.iter().map(|pipe| (Stream::Errors, pipe.as_fd()));
                stdout.chain(stderr).collect()
            }
        }
    }

    /// What to poll when there is input to write.
    pub(super) fn writable(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Pty { outer, ended: Ended::No, .. } => Some(outer.as_fd()),
            Self::Pty { .. } => None,
            Self::Pipes { stdin, .. } => stdin.as_ref().map(|pipe| pipe.as_fd()),
        }
    }

    /// Whether everything the agent wrote has been read.
    pub(super) fn is_drained(&self) -> bool {
        self.readable().is_empty()
    }

    /// The agent and all its tree are gone: what is left to read is all there will be.
    pub(super) fn release(&mut self) {
        if let Self::Pty { inner, .. } = self {
            *inner = None;
        }
    }

    /// Gives up on what may still come.
    pub(super) fn close_output(&mut self) {
        self.close_output_of(Stream::Output);
        self.close_output_of(Stream::Errors);
    }

    /// Gives up on what may still come from one stream.
    pub(super) fn close_output_of(&mut self, stream: Stream) {
        match (self, stream) {
            (Self::Pty { ended, .. }, _) => *ended = Ended::Yes,
            (Self::Pipes { stderr, .. }, Stream::Errors) => *stderr = None,
            (Self::Pipes { stdout, .. }, _) => *stdout = None,
        }
    }

    /// Reads what is there.
    pub(super) fn read(&mut self, stream: Stream, into: &mut [u8]) -> Got {
        let got = match (&mut *self, stream) {
            (Self::Pty { outer, .. }, _) => nix::unistd::read(&*outer, into).map_err(io::Error::from),
            (Self::Pipes { stdout: Some(pipe), .. }, Stream::Output) => pipe.read(into),
            (Self::Pipes { stderr: Some(pipe), .. }, Stream::Errors) => pipe.read(into),
            (Self::Pipes { .. }, _) => Ok(0),
        };
        match got {
            Ok(0) => {}
            Ok(count) => return Got::Bytes(count),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Got::Later;
            }
            // A terminal whose inner end is closed everywhere answers with EIO.
            Err(_) => {}
        }
        self.close_output_of(stream);
        Got::End
    }

    /// Writes what fits; an error means that the agent will never read more.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let outcome = match self {
            Self::Pty { outer, .. } => nix::unistd::write(&*outer, bytes).map_err(io::Error::from),
            Self::Pipes { stdin: Some(pipe), .. } => pipe.write(bytes),
            Self::Pipes { stdin: None, .. } => Err(ErrorKind::BrokenPipe.into()),
        };
        match outcome {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(0),
            other => other,
        }
    }

    /// Ends the agent's standard input; a terminal has no such end.
    pub(super) fn close_input(&mut self) {
        if let Self::Pipes { stdin, .. } = self {
            *stdin = None;
        }
    }

    /// Gives the agent's terminal a size.
    pub(super) fn set_size(&self, size: Size) -> io::Result<()> {
        match self {
            Self::Pty { outer, .. } => terminal::set_size(outer.as_fd(), size),
            Self::Pipes { .. } => Ok(()),
        }
    }
}

/// Whether a poll said that something can be read, also when that is the end.
pub(super) fn can_read(flags: PollFlags) -> bool {
    flags.intersects(PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR)
}

/// Whether a poll said that something can be written, also when that is an error.
pub(super) fn can_write(flags: PollFlags) -> bool {
    flags.intersects(PollFlags::POLLOUT | PollFlags::POLLHUP | PollFlags::POLLERR)
}
