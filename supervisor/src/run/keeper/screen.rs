//! The agent's terminal as the keeper sees it, so that a client that comes later gets the present screen.
//!
//! A model of the cells (`vt100`) and the modes it does not keep ([`super::modes`]). A fault in the model costs the
//! picture, never the run.

use std::num::NonZeroU16;
use std::panic::{AssertUnwindSafe, catch_unwind};

use vt100::capture::{BasicFormattedCaptureRange, BasicFormattedCaptureState};

use super::modes::Tracker;
use crate::sys::terminal::Size;

/// Lines above the screen that a client gets when it attaches.
const HISTORY_ROWS: usize = 500;

/// The most bytes of history that are sent.
const HISTORY_MAX: usize = 256 * 1024;

/// The present state of a terminal.
pub struct Screen {
    parser: vt100::Parser,
    modes: Tracker,
    size: Size,
}

impl Screen {
    /// A blank terminal.
    pub fn new(size: Size) -> Self {
        Self { parser: parser(size), modes: Tracker::default(), size }
    }

    /// Takes note of what the agent wrote.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.modes.feed(bytes);
        self.guarded(|parser| parser.process(bytes));
    }

    /// The terminal has another size now; the agent is expected to draw anew.
    pub fn resize(&mut self, size: Size) {
        self.size = size;
        let (rows, cols) = (cells(size.rows), cells(size.cols));
        self.guarded(|parser| parser.set_size(rows, cols));
    }

    /// The size it has.
    pub fn size(&self) -> Size {
        self.size
    }

    /// The modes it has.
    pub fn modes(&self) -> &Tracker {
        &self.modes
    }

    /// Bytes that make a terminal in its base state, of the same size, show this one; what the agent writes next
    /// may follow directly.
    pub fn redraw(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        if self.modes.is_alternate() && self.modes.is_between() {
            // The screen below shows again when the agent leaves the alternate one. Mode 47 alone only looks.
            self.guarded(|parser| parser.process(b"\x1b[?47l"));
            self.draw_history(&mut out);
            out.extend(self.parser.screen().contents_formatted().bytes());
            self.guarded(|parser| parser.process(b"\x1b[?47h"));
        } else if !self.modes.is_alternate() {
            self.draw_history(&mut out);
        }
        out.extend(self.modes.enter_screen());
        let screen = self.parser.screen();
        out.extend(screen.contents_formatted().bytes());
        let (row, col) = screen.cursor_position();
        out.extend(self.modes.enter((row, col.min(self.size.cols.saturating_sub(1)))));
        out.extend(self.modes.pending());
        out
    }

    /// Writes the lines above the screen and the screen itself, so that drawing the screen again leaves the lines
    /// in the scrollback of the terminal.
    fn draw_history(&self, out: &mut Vec<u8>) {
        let mut text = String::new();
        let mut state = BasicFormattedCaptureState::new();
        let range = BasicFormattedCaptureRange::Full(&mut state);
        if self.parser.screen().scrollback_len() == 0
            || self.parser.screen().write_contents_formatted_basic(&mut text, range).is_err()
        {
            return;
        }
        let mut from = text.len().saturating_sub(HISTORY_MAX);
        while !text.is_char_boundary(from) {
            from += 1;
        }
        if from > 0 {
            from += text[from..].find('\n').map_or(0, |end| end + 1);
        }
        out.extend(b"\x1b[m\x1b[H\x1b[J");
        for (at, line) in text[from..].split('\n').enumerate() {
            if at > 0 {
                out.extend(b"\r\n");
            }
            out.extend(line.trim_end_matches(' ').bytes());
        }
    }

    fn guarded(&mut self, work: impl FnOnce(&mut vt100::Parser)) {
        let parser_ref = &mut self.parser;
        if catch_unwind(AssertUnwindSafe(|| work(parser_ref))).is_err() {
            self.parser = parser(self.size);
        }
    }
}

fn parser(size: Size) -> vt100::Parser {
    vt100::Parser::new(cells(size.rows), cells(size.cols), HISTORY_ROWS)
}

fn cells(count: u16) -> NonZeroU16 {
    NonZeroU16::new(count).unwrap_or(NonZeroU16::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SIZE: Size = Size { cols: 20, rows: 5 };

    fn fed(bytes: &[u8]) -> Screen {
        let mut screen = Screen::new(SIZE);
        screen.feed(bytes);
        screen
    }

    fn shown(screen: &Screen) -> (String, (u16, u16), bool) {
        let model = screen.parser.screen();
        (model.contents(), model.cursor_position(), model.alternate_screen())
    }

    #[test]
    fn a_redraw_shows_history_screen_cursor_and_colours() {
        let lines: String = (0..12).map(|n| format!("line {n}\r\n")).collect();
        let mut agent = fed(format!("{lines}\x1b[31mred\x1b[0m\x1b[2;3H").as_bytes());
        let copy = fed(&agent.redraw());
        assert_eq!(shown(&copy), ("line 8\nline 9\nline 10\nline 11\nred".to_owned(), (1, 2), false));
        let red = copy.parser.screen().cell(4, 0).unwrap();
        assert_eq!((red.contents(), red.fgcolor()), ("r", vt100::Color::Idx(1)));
        assert_eq!(copy.parser.screen().scrollback_len(), 8);
    }

    #[test]
    fn the_screen_below_the_alternate_one_comes_back() {
        let mut agent = fed(b"shell $ vim\r\n\x1b[?1049h\x1b[2J\x1b[3;1Htext");
        let mut copy = fed(&agent.redraw());
        assert_eq!(shown(&copy), ("\n\ntext".to_owned(), (2, 4), true));
        copy.feed(b"\x1b[?1049l");
        assert_eq!(shown(&copy), ("shell $ vim".to_owned(), (1, 0), false));
        assert_eq!(shown(&agent), ("\n\ntext".to_owned(), (2, 4), true));
    }

    #[test]
    fn a_client_may_come_in_the_middle_of_a_sequence() {
        let mut agent = fed(b"a\x1b[3");
        let mut copy = fed(&agent.redraw());
        for screen in [&mut agent, &mut copy] {
            screen.feed(b"1mb\xf0\x9f");
        }
        assert_eq!(shown(&copy), shown(&agent));
        let mut late = fed(&agent.redraw());
        for screen in [&mut agent, &mut late] {
            screen.feed(b"\x98\x80!");
        }
        assert_eq!(shown(&late).0, "ab😀!");
        assert_eq!(shown(&late), shown(&agent));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn any_stream_can_be_taken_over_at_any_point(
            bytes in prop::collection::vec(prop_oneof![
                Just(0x1b), Just(b'['), Just(b'?'), Just(b';'), Just(b'h'), Just(b'H'), Just(b'J'), Just(b'\n'),
                Just(b'\r'), b'0'..=b'9', any::<u8>(),
            ], 0..400),
            size in (1u16..30, 1u16..12),
        ) {
            let mut agent = Screen::new(Size { cols: size.0, rows: size.1 });
            agent.feed(&bytes);
            let before = shown(&agent).0;
            let drawn = agent.redraw();
            prop_assert!(drawn.len() < 100_000);
            prop_assert_eq!(shown(&agent).0, before);
            agent.resize(SIZE);
            agent.redraw();
        }
    }
}
