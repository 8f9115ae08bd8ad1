//! A user's terminal joined to the agent's, and the page in front of it on which the user answers.

use std::io::{self, Write};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;

use nix::poll::PollFlags;
use nix::sys::signal::Signal;

use super::asking::{self, Asker, Page, Pressed};
use super::keys::{DetachKeys, Detaching, Filter};
use super::link::Link;
use super::{Attached, Ends, Typed, connect, read_input};
use crate::approvals::Question;
use crate::core::ids::ApprovalId;
use crate::run::keeper::KeeperError;
use crate::run::keeper::message::{FromKeeper, Hello, Mode, ToKeeper, VERSION};
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
    /// The title in place of the agent's, while something waits.
    notice: Option<Notice>,
    /// What is in front of the agent's screen.
    page: Option<Page>,
}

/// A title, and what is still to be written of it.
struct Notice {
    title: String,
    due: Due,
}

/// What is still to be written, because the agent stood in the middle of a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    Nothing,
    Title,
    TitleAndBell,
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

/// What a session is about.
pub(super) struct Means<'a> {
    pub(super) dir: &'a Path,
    pub(super) signals: &'a SignalPipe,
    pub(super) keys: &'a DetachKeys,
    pub(super) asker: Option<Box<dyn Asker>>,
}

pub(super) fn run(
    link: &mut Link,
    means: Means<'_>,
    ends: Ends<'_>,
    size: Option<Size>,
) -> Result<Attached, KeeperError> {
    let Ends { input, out, .. } = ends;
    // Dropped last: bytes that the terminal answers while it is taken back must not be echoed.
    let raw = size.and_then(|_| RawMode::enter(&input).ok());
    let mut window =
        Window { out, modes: Tracker::default(), size, drawn: Drawn::No, notice: None, page: None };
    window.begin().map_err(KeeperError::Connection)?;
    let Means { dir, signals, keys, asker } = means;
    let filter = Filter::new(keys);
    let asker = asker.filter(|_| size.is_some());
    let (open, told, input_state) = (Vec::new(), Vec::new(), Input::Open);
    let session = Session { link, dir, window: &mut window, filter, keys, asker, open, told, input_state };
    let outcome = session.converse(signals, input);
    window.end(matches!(outcome, Ok(Attached::Exited { .. })));
    drop(raw);
    outcome
}

struct Session<'s, 'a> {
    link: &'s mut Link,
    dir: &'s Path,
    window: &'s mut Window<'a>,
    filter: Filter<'s>,
    keys: &'s DetachKeys,
    asker: Option<Box<dyn Asker>>,
    /// What waits for the user.
    open: Vec<Question>,
    /// What the bell has rung for.
    told: Vec<ApprovalId>,
    input_state: Input,
}

impl Session<'_, '_> {
    fn converse(mut self, signals: &SignalPipe, input: BorrowedFd<'_>) -> Result<Attached, KeeperError> {
        loop {
            if let Some(end) = self.hear()? {
                return Ok(end);
            }
            // Bytes that are not read while there is no room stay where they are.
            let wants_input = self.input_state == Input::Open && self.link.has_room();
            let mut others = vec![(signals.as_fd(), PollFlags::POLLIN)];
            others.extend(wants_input.then_some((input, PollFlags::POLLIN)));
            others.extend(self.asker.as_ref().map(|asker| (asker.changed(), PollFlags::POLLIN)));
            self.link.wait(&mut others)?;
            let has_input = wants_input && others.get(1).is_some_and(|(_, flags)| !flags.is_empty());
            let has_news = others
                .get(1 + usize::from(wants_input))
                .is_some_and(|(_, flags)| flags.contains(PollFlags::POLLIN));
            for signal in signals.take() {
                match signal {
                    Signal::SIGWINCH => {
                        if let Some(size) = terminal::size(input) {
                            self.window.resize(size).map_err(KeeperError::Connection)?;
                            self.link.say(ToKeeper::Resize { cols: size.cols, rows: size.rows })?;
                        }
                    }
                    _ => return Ok(Attached::Detached),
                }
            }
            let mut end = None;
            if has_news {
                end = self.tell_open()?;
            }
            if has_input && end.is_none() {
                end = self.take_input(input)?;
            }
            if let Some(end) = end {
                return Ok(end);
            }
        }
    }

    /// What the keeper has said; how the session ended, if it has.
    fn hear(&mut self) -> Result<Option<Attached>, KeeperError> {
        while let Some(message) = self.link.next_message()? {
            let written = match message {
                // The whole screen comes again when the page is left.
                FromKeeper::Output(_) | FromKeeper::Redraw(_) if self.window.page.is_some() => Ok(()),
                FromKeeper::Output(bytes) => self.window.show(&bytes),
                FromKeeper::Redraw(bytes) => self.window.redraw(&bytes),
                FromKeeper::Exited(exited) => return Ok(Some(exited.into())),
                FromKeeper::Error(refused) => return Err(KeeperError::Refused(refused.reason)),
                _ => Ok(()),
            };
            if written.is_err() {
                return Ok(Some(Attached::Detached));
            }
        }
        Ok(self.window.out.flush().is_err().then_some(Attached::Detached))
    }

    fn take_input(&mut self, input: BorrowedFd<'_>) -> Result<Option<Attached>, KeeperError> {
        match read_input(input).map_err(KeeperError::Connection)? {
            Typed::Bytes(bytes) if self.window.page.is_some() => return self.press(&bytes),
            Typed::Bytes(bytes) => {
                let (forward, detaching) = self.filter.push(&bytes);
                if !forward.is_empty() {
                    self.link.say(ToKeeper::Input(forward))?;
                }
                match detaching {
                    Detaching::No => {}
                    Detaching::Yes => {
                        self.link.drain();
                        return Ok(Some(Attached::Detached));
                    }
                    Detaching::Answer => {
                        if let (Some(question), Some(size)) = (self.open.first(), self.window.size) {
                            let page = Page::new(question.clone(), size);
                            self.window.turn_to(page).map_err(KeeperError::Connection)?;
                        }
                    }
                }
            }
            // A terminal that is gone; without one, there is just nothing more to say.
            Typed::End if self.window.size.is_some() => return Ok(Some(Attached::Detached)),
            Typed::End => self.input_state = Input::Ended,
        }
        Ok(None)
    }

    /// Something was opened or closed.
    fn tell_open(&mut self) -> Result<Option<Attached>, KeeperError> {
        let Some(asker) = &mut self.asker else { return Ok(None) };
        self.open = asker.open();
        let is_new = self.open.iter().any(|question| !self.told.contains(&question.id));
        self.told = self.open.iter().map(|question| question.id).collect();
        let keys = self.keys.answer_keys();
        self.filter.answers = keys.is_some() && !self.open.is_empty();
        let title = asking::title(&self.open, keys.as_deref());
        self.window.tell(title, is_new).map_err(KeeperError::Connection)?;
        let shown = self.window.page.as_ref().map(Page::id);
        match shown {
            // Answered elsewhere, or too late.
            Some(id) if !self.told.contains(&id) => self.turn_back(),
            _ => Ok(None),
        }
    }

    fn press(&mut self, bytes: &[u8]) -> Result<Option<Attached>, KeeperError> {
        let Some(page) = &mut self.window.page else { return Ok(None) };
        match (page.press(bytes), &mut self.asker) {
            (Pressed::Leave, _) => return self.turn_back(),
            (Pressed::Answer(verdict), Some(asker)) => match asker.answer(page.id(), verdict) {
                Ok(()) => return self.turn_back(),
                Err(why) => page.set_note(why),
            },
            (Pressed::Answer(_) | Pressed::Nothing, _) => {}
        }
        self.window.draw_page().map_err(KeeperError::Connection)?;
        Ok(None)
    }

    /// Back to the agent. The keeper shows its whole screen to whoever comes, so we come anew.
    fn turn_back(&mut self) -> Result<Option<Attached>, KeeperError> {
        self.window.leave_page().map_err(KeeperError::Connection)?;
        let (cols, rows) = self.window.size.map_or((0, 0), |size| (size.cols, size.rows));
        let hello = Hello { version: VERSION, mode: Mode::Attach, cols, rows };
        match connect(self.dir, hello)? {
            Some((link, _)) => {
                *self.link = link;
                Ok(None)
            }
            None => Ok(Some(Attached::Lost)),
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
        self.out.write_all(bytes)?;
        if let Some(notice) = &mut self.notice
            && notice.due == Due::Nothing
            && bytes.contains(&b']')
        {
            // That may have been a title.
            notice.due = Due::Title;
        }
        self.write_notice()
    }

    /// Rings and sets the title, or gives the agent's back.
    fn tell(&mut self, title: Option<String>, rings: bool) -> io::Result<()> {
        let Some(title) = title else {
            if self.notice.take().is_some() {
                self.give_title_back()?;
            }
            return self.out.flush();
        };
        let due = if rings { Due::TitleAndBell } else { Due::Title };
        self.notice = Some(Notice { title, due });
        self.write_notice()?;
        self.out.flush()
    }

    fn write_notice(&mut self) -> io::Result<()> {
        let Some(notice) = &mut self.notice else { return Ok(()) };
        // Within a sequence of the agent's it would be part of that.
        if notice.due == Due::Nothing || (self.page.is_none() && !self.modes.is_between()) {
            return Ok(());
        }
        let bell = if notice.due == Due::TitleAndBell { "\x07" } else { "" };
        notice.due = Due::Nothing;
        self.out.write_all(format!("\x1b]2;{}\x1b\\{bell}", notice.title).as_bytes())
    }

    /// The agent's own title, or the one from before.
    fn give_title_back(&mut self) -> io::Result<()> {
        if !self.modes.is_between() && self.page.is_none() {
            // Its next one will do.
            return Ok(());
        }
        let title = self.modes.title();
        let bytes = if title.is_empty() {
            "\x1b[23;0t\x1b[22;0t".to_owned()
        } else {
            format!("\x1b]2;{title}\x1b\\")
        };
        self.out.write_all(bytes.as_bytes())
    }

    fn resize(&mut self, size: Size) -> io::Result<()> {
        self.size = Some(size);
        match &mut self.page {
            Some(page) => {
                page.resize(size);
                self.draw_page()
            }
            None => Ok(()),
        }
    }

    /// Puts a page in front of the agent's screen.
    fn turn_to(&mut self, page: Page) -> io::Result<()> {
        let base = self.modes.leave();
        self.modes = Tracker::default();
        self.out.write_all(&base)?;
        self.out.write_all(b"\x1b[?1049h\x1b[?25l")?;
        self.page = Some(page);
        self.draw_page()
    }

    fn draw_page(&mut self) -> io::Result<()> {
        if let Some(page) = &self.page {
            self.out.write_all(&page.draw())?;
        }
        self.out.flush()
    }

    fn leave_page(&mut self) -> io::Result<()> {
        match self.page.take() {
            Some(_) => self.out.write_all(b"\x1b[m\x1b[?25h\x1b[?1049l"),
            None => Ok(()),
        }
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
        let _ = self.leave_page();
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
