//! What clients and keeper say to each other: a length, a kind and a payload.
//!
//! `u32` big-endian length of what follows, one kind byte, payload. Terminal bytes travel raw; everything else is a
//! small JSON object. A kind or field that is added later does not break an older peer: unknown kinds are answered
//! with an error, unknown fields are ignored.

use serde::{Deserialize, Serialize};

use super::files::{EndCause, Exit};
use super::frame::{Frame, FrameError};
use crate::core::ids::RunId;
use crate::sys::process::ProcessRef;

/// The protocol spoken here.
pub const VERSION: u32 = 1;

/// What a client wants to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// A terminal: gets the screen and all output, may type and resize.
    Attach,
    /// A reader: gets what is on disk and then all further output; may not type.
    Observe,
    /// No output; gets answers, and hears when the agent has ended.
    Control,
}

/// The first thing a client says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`VERSION`].
    pub version: u32,
    /// What the client wants to be.
    pub mode: Mode,
    /// Columns of the client's terminal; zero if it has none.
    #[serde(default)]
    pub cols: u16,
    /// Rows of the client's terminal; zero if it has none.
    #[serde(default)]
    pub rows: u16,
}

/// A signal that a client may send to the agent's process group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentSignal {
    /// Ctrl-C where there is no terminal to turn the byte into a signal.
    Interrupt,
    /// The user's terminal went away.
    Hangup,
}

/// What a client says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToKeeper {
    /// First, and once.
    Hello(Hello),
    /// Bytes for the agent's terminal or standard input.
    Input(Vec<u8>),
    /// The client's terminal has this size now.
    Resize {
        /// Columns.
        cols: u16,
        /// Rows.
        rows: u16,
    },
    /// End of the agent's standard input (pipes only).
    CloseStdin,
    /// A signal for the agent's process group.
    Signal(AgentSignal),
    /// Ask the agent to end, kill what is left after `grace_ms`.
    Stop {
        /// Milliseconds until the kill; at most five minutes.
        grace_ms: u64,
    },
    /// Kill the whole tree now.
    Kill,
    /// Ask for a [`Status`].
    Status,
}

/// The keeper's first answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// [`VERSION`].
    pub version: u32,
    /// The run.
    pub run: RunId,
    /// The keeper.
    pub keeper: ProcessRef,
    /// The agent's first process.
    pub agent: ProcessRef,
    /// What the agent's standard streams are.
    pub streams: Streams,
}

/// What the agent's standard streams are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Streams {
    /// One terminal.
    Pty,
    /// Three pipes.
    Pipes,
}

/// A look at a keeper.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The agent's first process.
    pub agent: ProcessRef,
    /// Living processes below the keeper.
    pub processes: u32,
    /// Attached clients.
    pub attached: u32,
    /// Columns of the agent's terminal; zero for pipes.
    pub cols: u16,
    /// Rows of the agent's terminal; zero for pipes.
    pub rows: u16,
    /// Bytes the agent has written so far.
    pub output_bytes: u64,
    /// When the agent last wrote, in milliseconds since 1970; zero if never.
    pub last_output_at_ms: i64,
    /// When a client last typed, in milliseconds since 1970; zero if never.
    pub last_input_at_ms: i64,
    /// The title that the agent gave its terminal.
    pub title: String,
    /// How the agent's first process ended, if it has.
    pub exit: Option<Exit>,
}

/// The agent has ended and nothing of its tree is left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exited {
    /// The code or the signal of the agent's first process.
    #[serde(flatten)]
    pub exit: Exit,
    /// Why.
    pub cause: EndCause,
    /// Processes that had to be killed.
    pub killed_processes: u32,
}

/// What a kill did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Killed {
    /// Processes that were alive and were killed.
    pub processes_killed: u32,
    /// Processes still there when the keeper gave up waiting; zero means verified empty.
    pub survivors: u32,
    /// From the request to the verified end, in microseconds.
    pub elapsed_us: u64,
}

/// Why the keeper does not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{reason}")]
pub struct Refused {
    /// A lowercase fragment.
    pub reason: String,
}

/// What the keeper says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromKeeper {
    /// The answer to [`ToKeeper::Hello`].
    Welcome(Welcome),
    /// Bytes from the agent's terminal or standard output.
    Output(Vec<u8>),
    /// Bytes from the agent's standard error (pipes only).
    OutputErr(Vec<u8>),
    /// Take the terminal back to its base state, then write these bytes: they and the output after them draw the
    /// present screen.
    Redraw(Vec<u8>),
    /// An observer was slower than the scrollback is long; this many bytes are gone.
    Skipped {
        /// Bytes that were not delivered.
        bytes: u64,
    },
    /// The end of the run.
    Exited(Exited),
    /// The answer to [`ToKeeper::Kill`].
    Killed(Killed),
    /// The answer to [`ToKeeper::Status`].
    Status(Status),
    /// The keeper refuses; it may close the connection.
    Error(Refused),
}

#[derive(Serialize, Deserialize)]
struct Size {
    cols: u16,
    rows: u16,
}

#[derive(Serialize, Deserialize)]
struct Stop {
    grace_ms: u64,
}

#[derive(Serialize, Deserialize)]
struct Skipped {
    bytes: u64,
}

fn json<T: Serialize>(kind: u8, value: &T) -> Result<Frame, FrameError> {
    Ok(Frame { kind, payload: serde_json::to_vec(value).map_err(FrameError::Payload)? })
}

fn parse<'de, T: Deserialize<'de>>(frame: &'de Frame) -> Result<T, FrameError> {
    serde_json::from_slice(&frame.payload).map_err(FrameError::Payload)
}

impl ToKeeper {
    /// As a frame.
    pub fn into_frame(self) -> Result<Frame, FrameError> {
        match self {
            Self::Hello(hello) => json(b'H', &hello),
            Self::Input(payload) => Ok(Frame { kind: b'I', payload }),
            Self::Resize { cols, rows } => json(b'R', &Size { cols, rows }),
            Self::CloseStdin => Ok(Frame { kind: b'C', payload: Vec::new() }),
            Self::Signal(signal) => json(b'G', &signal),
            Self::Stop { grace_ms } => json(b'S', &Stop { grace_ms }),
            Self::Kill => Ok(Frame { kind: b'K', payload: Vec::new() }),
            Self::Status => Ok(Frame { kind: b'T', payload: Vec::new() }),
        }
    }

    /// From a frame.
    pub fn from_frame(frame: Frame) -> Result<Self, FrameError> {
        Ok(match frame.kind {
            b'H' => Self::Hello(parse(&frame)?),
            b'I' => Self::Input(frame.payload),
            b'R' => {
                let Size { cols, rows } = parse(&frame)?;
                Self::Resize { cols, rows }
            }
            b'C' => Self::CloseStdin,
            b'G' => Self::Signal(parse(&frame)?),
            b'S' => Self::Stop { grace_ms: parse::<Stop>(&frame)?.grace_ms },
            b'K' => Self::Kill,
            b'T' => Self::Status,
            kind => return Err(FrameError::Kind(kind)),
        })
    }
}

impl FromKeeper {
    /// As a frame.
    pub fn into_frame(self) -> Result<Frame, FrameError> {
        match self {
            Self::Welcome(welcome) => json(b'w', &welcome),
            Self::Output(payload) => Ok(Frame { kind: b'o', payload }),
            Self::OutputErr(payload) => Ok(Frame { kind: b'e', payload }),
            Self::Redraw(payload) => Ok(Frame { kind: b'r', payload }),
            Self::Skipped { bytes } => json(b'p', &Skipped { bytes }),
            Self::Exited(exited) => json(b'x', &exited),
            Self::Killed(killed) => json(b'k', &killed),
            Self::Status(status) => json(b't', &status),
            Self::Error(refused) => json(b'!', &refused),
        }
    }

    /// From a frame.
    pub fn from_frame(frame: Frame) -> Result<Self, FrameError> {
        Ok(match frame.kind {
            b'w' => Self::Welcome(parse(&frame)?),
            b'o' => Self::Output(frame.payload),
            b'e' => Self::OutputErr(frame.payload),
            b'r' => Self::Redraw(frame.payload),
            b'p' => Self::Skipped { bytes: parse::<Skipped>(&frame)?.bytes },
            b'x' => Self::Exited(parse(&frame)?),
            b'k' => Self::Killed(parse(&frame)?),
            b't' => Self::Status(parse(&frame)?),
            b'!' => Self::Error(parse(&frame)?),
            kind => return Err(FrameError::Kind(kind)),
        })
    }
}
