//! A user's terminal joined to the agent's.

use std::io::{self, Write};
use std::os::fd::AsFd as _;

use nix::poll::PollFlags;
use nix::sys::signal::Signal;

use super::keys::{DetachKeys, Detaching, Filter};
use super::link::Link;
use super::{Attached, Ends, Typed, read_input};
use crate::run::keeper::KeeperError;
use crate::run::keeper::message::{FromKeeper, ToKeeper};
use crate::run::keeper::modes::Tracker;
use crate::sys::signals::SignalPipe;
use crate::sys::terminal::{self, RawMode, Size};

/// What the user sees, and how to take it back.
struct Window<'a> {
    out: &'a mut dyn Write,
    modes: Tracker,
    /// `None` when the output is no terminal of a known size.
    size: Option<Size>,
    drawn: Drawn,
}

/// Whether the agent's screen has been drawn over the user's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Drawn {
    No,
    Yes,
}

/// Whether the user's input is still open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Input {
    Open,
    Ended,
}

pub(super) fn run(
    link: &mut Link,
    signals: &SignalPipe,
    ends: Ends<'_>,
    size: Option<Size>,
    keys: &DetachKeys,
) -> Result<Attached, KeeperError> {
    let Ends { input, out, .. } = ends;
    // Dropped last: bytes that the terminal answers while it is taken back must not be echoed.
    let raw = size.and_then(|_| RawMode::enter(&input).ok());
    let mut window = Window { out, modes: Tracker::default(), size, drawn: Drawn::No };
    window.begin().map_err(KeeperError::Connection)?;
    let outcome = converse(link, signals, input, &mut window, keys);
    window.end(matches!(outcome, Ok(Attached::Exited { .. })));
    drop(raw);
    outcome
}

fn converse(
    link: &mut Link,
    signals: &SignalPipe,
    input: std::os::fd::BorrowedFd<'_>,
    window: &mut Window<'_>,
    keys: &DetachKeys,
) -> Result<Attached, KeeperError> {
    let mut filter = Filter::new(keys);
    let mut open = Input::Open;
    loop {
        // First, because some of it may have come together with the welcome.
        while let Some(message) = link.next_message()? {
            let written = match message {
                FromKeeper::Output(bytes) => window.show(&bytes),
                FromKeeper::Redraw(bytes) => window.redraw(&bytes),
                FromKeeper::Exited(exited) => return Ok(exited.into()),
                FromKeeper::Error(refused) => return Err(KeeperError::Refused(refused.reason)),
                _ => Ok(()),
            };
            if written.is_err() {
                return Ok(Attached::Detached);
            }
        }
        if window.out.flush().is_err() {
            return Ok(Attached::Detached);
        }
        // Bytes that are not read while there is no room stay where they are.
        let wanted = open == Input::Open && link.has_room();
        let mut others = vec![(signals.as_fd(), PollFlags::POLLIN)];
        if wanted {
            others.push((input, PollFlags::POLLIN));
        }
        link.wait(&mut others)?;
        for signal in signals.take() {
            match signal {
                Signal::SIGWINCH => {
                    if let Some(size) = terminal::size(input) {
                        window.size = Some(size);
                        link.say(ToKeeper::Resize { cols: size.cols, rows: size.rows })?;
                    }
                }
                _ => return Ok(Attached::Detached),
            }
        }
        if others.get(1).is_some_and(|(_, flags)| !flags.is_empty()) {
            match read_input(input).map_err(KeeperError::Connection)? {
                Typed::Bytes(bytes) => {
                    let (forward, detaching) = filter.push(&bytes);
                    if !forward.is_empty() {
                        link.say(ToKeeper::Input(forward))?;
                    }
                    if detaching == Detaching::Yes {
                        link.drain();
                        return Ok(Attached::Detached);
                    }
                }
                // A terminal that is gone; without one, there is just nothing more to say.
                Typed::End if window.size.is_some() => return Ok(Attached::Detached),
                Typed::End => open = Input::Ended,
            }
        }
    }
}

impl Window<'_> {
    fn begin(&mut self) -> io::Result<()> {
        if self.size.is_some() {
            // Puts the title aside.
            self.out.write_all(b"\x1b[22;0t")?;
        }
        Ok(())
    }

    fn show(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.modes.feed(bytes);
        self.out.write_all(bytes)
    }

    fn redraw(&mut self, bytes: &[u8]) -> io::Result<()> {
        let base = self.modes.leave();
        self.modes = Tracker::default();
        self.out.write_all(&base)?;
        if let (Drawn::No, Some(size)) = (self.drawn, self.size) {
            // What the user had on the screen goes to the scrollback instead of being drawn over.
            self.out.write_all(format!("\x1b[{};1H", size.rows).as_bytes())?;
            self.out.write_all(&b"\n".repeat(usize::from(size.rows)))?;
        }
        self.drawn = Drawn::Yes;
        self.show(bytes)
    }

    /// Best effort: where the terminal is gone there is nothing to take back.
    fn end(&mut self, exited: bool) {
        let was_alternate = self.modes.is_alternate();
        let mut bytes = self.modes.leave();
        if let Some(size) = self.size {
            if !exited && !was_alternate {
                // Below whatever the agent has drawn.
                bytes.extend(format!("\x1b[{};1H\r\n", size.rows).bytes());
            }
            bytes.extend(b"\x1b[23;0t");
        }
        // Input that is no terminal does not mean that the output is none.
        if self.size.is_some() || self.modes.is_altered() {
            let _ = self.out.write_all(&bytes);
        }
        let _ = self.out.flush();
    }
}

impl Drop for Window<'_> {
    /// Only a panic gets here with modes still set; `leave` of a base terminal is harmless.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.end(false);
        }
    }
}
