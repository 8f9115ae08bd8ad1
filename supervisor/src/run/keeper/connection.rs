//! One client of a keeper: its connection, what waits to be sent to it, and how it falls behind.
//!
//! The queue is bounded. Terminal output that does not fit is dropped with all the rest and the client is marked as
//! lagging; once it has taken what was on its way it gets the whole screen. Answers are small and are never dropped:
//! a client that asks without ever reading is closed.

use std::collections::VecDeque;
use std::io::{ErrorKind, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use super::frame::{CHUNK_MAX, Decoder, FrameError};
use super::message::{FromKeeper, Mode, ToKeeper};
use super::scrollback::Scrollback;
use crate::sys::terminal::Size;

/// Bytes that may wait for one client.
const QUEUE_MAX: usize = 1024 * 1024;

/// Answers may go beyond by this much.
const ANSWERS_MAX: usize = 64 * 1024;

/// Frames that may wait for one client, whatever their size.
const FRAMES_MAX: usize = 8192;

/// What a client is to the keeper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// It has not said hello yet.
    Unknown,
    Attach,
    /// It reads the scrollback; the next byte it gets is this one.
    Observe {
        cursor: u64,
    },
    Control,
}

/// How a client stands with the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    Live,
    /// Its queue was dropped; it gets a redraw when it has drained.
    Lagging,
}

/// Whether a client still reads. One that does not may have said something before it left, which counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hears {
    Yes,
    No,
}

/// Whether a client has heard of the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    No,
    Yes,
}

/// Whether the connection goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    On,
    Over,
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: u64,
    pub(super) since: Instant,
    pub(super) role: Role,
    pub(super) size: Option<Size>,
    pub(super) told: Told,
    /// Answers to `Kill` that it waits for, and since when.
    pub(super) kills: VecDeque<Instant>,
    stream: UnixStream,
    decoder: Decoder,
    queue: VecDeque<Vec<u8>>,
    queued: usize,
    /// How much of the first frame has been sent.
    sent: usize,
    pace: Pace,
    hears: Hears,
}

impl Connection {
    pub(super) fn new(id: u64, stream: UnixStream, since: Instant) -> Self {
        Self {
            id,
            since,
            role: Role::Unknown,
            size: None,
            told: Told::No,
            kills: VecDeque::new(),
            stream,
            decoder: Decoder::default(),
            queue: VecDeque::new(),
            queued: 0,
            sent: 0,
            pace: Pace::Live,
            hears: Hears::Yes,
        }
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Bytes that wait to be sent.
    pub(super) fn waiting(&self) -> usize {
        self.queued - self.sent
    }

    /// Whether a client that must get every byte can take more.
    pub(super) fn has_room(&self) -> bool {
        self.queued < QUEUE_MAX / 2
    }

    /// Whether it has fallen behind and has taken what was on its way, so that it needs a redraw now.
    pub(super) fn wants_redraw(&self) -> bool {
        self.pace == Pace::Lagging && self.queue.is_empty() && self.hears == Hears::Yes
    }

    /// Reads once and returns what was said.
    pub(super) fn receive(&mut self) -> Result<(Flow, Vec<ToKeeper>), FrameError> {
        let flow = match self.decoder.read_from(&mut self.stream) {
            Ok(true) => Flow::On,
            Ok(false) => Flow::Over,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Flow::On,
            Err(error) => return Err(error.into()),
        };
        let mut messages = Vec::new();
        while let Some(frame) = self.decoder.next_frame()? {
            messages.push(ToKeeper::from_frame(frame)?);
        }
        Ok((flow, messages))
    }

    /// Sends what the connection takes.
    pub(super) fn flush(&mut self) {
        while let Some(first) = self.queue.front() {
            match self.stream.write(&first[self.sent..]) {
                Ok(count) => {
                    self.sent += count;
                    if self.sent == first.len() {
                        self.queued -= first.len();
                        self.sent = 0;
                        self.queue.pop_front();
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => self.stop_hearing(),
            }
        }
    }

    fn stop_hearing(&mut self) {
        self.hears = Hears::No;
        self.queue.clear();
        (self.queued, self.sent) = (0, 0);
    }

    /// An answer or a notice.
    pub(super) fn say(&mut self, message: FromKeeper) -> Flow {
        if self.queued > QUEUE_MAX + ANSWERS_MAX || self.queue.len() > FRAMES_MAX + 64 {
            return Flow::Over;
        }
        self.push(message)
    }

    /// Live output. Falls behind rather than keep more than the bound.
    pub(super) fn output(&mut self, message: FromKeeper, length: usize) {
        if self.pace == Pace::Lagging {
            return;
        }
        if self.queued + length > QUEUE_MAX || self.queue.len() >= FRAMES_MAX {
            let begun = if self.sent > 0 { self.queue.pop_front() } else { None };
            self.queue.clear();
            self.queue.extend(begun);
            self.queued = self.queue.iter().map(Vec::len).sum();
            self.pace = Pace::Lagging;
            return;
        }
        self.push(message);
    }

    /// The whole screen, in place of whatever was missed. As large as the screen is, which is bounded.
    pub(super) fn redraw(&mut self, bytes: &[u8]) {
        self.pace = Pace::Live;
        let (first, rest) = bytes.split_at(bytes.len().min(CHUNK_MAX));
        self.push(FromKeeper::Redraw(first.to_vec()));
        for piece in rest.chunks(CHUNK_MAX) {
            self.push(FromKeeper::Output(piece.to_vec()));
        }
    }

    /// Gives an observer the next piece once it has taken the last one.
    pub(super) fn pump(&mut self, scrollback: &Scrollback) {
        let Role::Observe { cursor } = self.role else {
            return;
        };
        if self.hears == Hears::No || !self.queue.is_empty() || cursor >= scrollback.end() {
            return;
        }
        let start = scrollback.start();
        if cursor < start {
            self.push(FromKeeper::Skipped { bytes: start - cursor });
        }
        let from = cursor.max(start);
        let mut piece = vec![0; CHUNK_MAX];
        let count = scrollback.read_at(from, &mut piece).unwrap_or(0);
        piece.truncate(count);
        // What could not be kept or read back is gone.
        let next = if count == 0 { scrollback.end() } else { from + count as u64 };
        self.role = Role::Observe { cursor: next };
        if count > 0 {
            self.push(FromKeeper::Output(piece));
        }
    }

    /// Whether everything that was ever for this client is in its queue.
    pub(super) fn is_caught_up(&self, scrollback: &Scrollback) -> bool {
        match self.role {
            _ if self.hears == Hears::No => true,
            Role::Observe { cursor } => cursor >= scrollback.end(),
            _ => self.pace == Pace::Live,
        }
    }

    fn push(&mut self, message: FromKeeper) -> Flow {
        if self.hears == Hears::No {
            return Flow::On;
        }
        let mut bytes = Vec::new();
        match message.into_frame().and_then(|frame| frame.encode(&mut bytes)) {
            Ok(()) => {
                self.queued += bytes.len();
                self.queue.push_back(bytes);
                Flow::On
            }
            Err(_) => Flow::Over,
        }
    }
}

impl From<Mode> for Role {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Attach => Self::Attach,
            Mode::Observe => Self::Observe { cursor: 0 },
            Mode::Control => Self::Control,
        }
    }
}
