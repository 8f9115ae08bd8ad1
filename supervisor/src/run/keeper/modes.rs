//! What the screen model does not keep: the modes an agent has set on its terminal, and where in an unfinished
//! sequence the stream stands.
//!
//! Used on both sides. The keeper brings a fresh terminal into the agent's state ([`Tracker::enter`]); the attach
//! client brings the user's terminal back to its base state ([`Tracker::leave`]). Only looks at the stream, never
//! changes it; memory is bounded whatever the agent writes.

mod kitty;

use kitty::Kitty;

/// DEC private modes that are kept, with the state of a base terminal. Mouse modes in the order in which the last one
/// wins. 47, 1047 and 1049 (alternate screen) are kept apart.
const PRIVATE: [(u16, Bit); 17] = [
    (1, Bit::Off),    // application cursor keys
    (7, Bit::On),     // wrap at the margin
    (9, Bit::Off),    // mouse: presses
    (1000, Bit::Off), // mouse: presses and releases
    (1002, Bit::Off), // mouse: drags
    (1003, Bit::Off), // mouse: all motion
    (1004, Bit::Off), // focus events
    (1005, Bit::Off), // mouse coordinates as UTF-8
    (1006, Bit::Off), // mouse coordinates as SGR
    (1007, Bit::Off), // wheel as arrow keys on the alternate screen
    (1015, Bit::Off), // mouse coordinates as urxvt
    (1016, Bit::Off), // mouse coordinates in pixels
    (25, Bit::On),    // cursor visible
    (2004, Bit::Off), // bracketed paste
    (2031, Bit::Off), // reports of the colour scheme
    (2048, Bit::Off), // reports of the size
    (2026, Bit::Off), // synchronised output
];

/// A longer control sequence is none that we know.
const SEQUENCE_MAX: usize = 256;
/// A longer title is cut off by every terminal.
const STRING_MAX: usize = 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bit {
    Off,
    On,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Ground,
    Escape,
    /// After `ESC` and an intermediate byte such as `(`.
    EscapeIntermediate,
    Csi,
    String,
    /// An `ESC` inside a string, which ends it if a backslash follows.
    StringEscape,
}

/// Follows an agent's output.
#[derive(Debug)]
pub struct Tracker {
    place: Place,
    /// The unfinished sequence from its `ESC` on, or an unfinished UTF-8 character; cut at its introducer when long.
    pending: Vec<u8>,
    private: [Bit; PRIVATE.len()],
    /// The private mode by which the alternate screen was entered.
    alternate: Option<u16>,
    keypad: Bit,
    cursor_style: u8,
    scroll_region: Option<(u16, u16)>,
    line_drawing: Bit,
    shifted_out: Bit,
    modify_other_keys: u16,
    kitty: [Kitty; 2],
    title: String,
}

impl Default for Tracker {
    fn default() -> Self {
        Self {
            place: Place::Ground,
            pending: Vec::new(),
            private: PRIVATE.map(|(_, base)| base),
            alternate: None,
            keypad: Bit::Off,
            cursor_style: 0,
            scroll_region: None,
            line_drawing: Bit::Off,
            shifted_out: Bit::Off,
            modify_other_keys: 0,
            kitty: [Kitty::default(), Kitty::default()],
            title: String::new(),
        }
    }
}

impl Tracker {
    /// Takes note of what the agent wrote.
    pub fn feed(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some(first) = rest.first() {
            rest = match self.place {
                Place::Ground => self.ground(rest),
                Place::String => self.string(rest),
                Place::Escape => self.escape(*first, &rest[1..]),
                Place::EscapeIntermediate => self.escape_intermediate(*first, &rest[1..]),
                Place::Csi => self.csi(*first, &rest[1..]),
                Place::StringEscape => self.string_escape(*first, rest),
            };
        }
    }

    /// The bytes of a sequence or character that has begun and not ended: a terminal that takes over in mid-stream
    /// must see them before what follows.
    pub fn pending(&self) -> &[u8] {
        &self.pending
    }

    /// Whether the stream stands between sequences and characters.
    pub fn is_between(&self) -> bool {
        self.place == Place::Ground && self.pending.is_empty()
    }

    /// Whether the agent draws on the alternate screen.
    pub fn is_alternate(&self) -> bool {
        self.alternate.is_some()
    }

    /// Whether the stream has left the terminal in another state than the base one.
    pub fn is_altered(&self) -> bool {
        self.leave() != Self::default().leave()
    }

    /// The title that the agent gave its terminal; printable characters only.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// What makes a base terminal switch to the agent's screen; before anything is drawn.
    pub fn enter_screen(&self) -> Vec<u8> {
        let mut out = self.kitty[0].enter();
        if let Some(mode) = self.alternate {
            out.extend(format!("\x1b[?{mode}h").bytes());
            out.extend(self.kitty[1].enter());
        }
        out
    }

    /// What gives a base terminal the agent's modes; after the screen is drawn, with the cursor at this zero-based
    /// row and column.
    pub fn enter(&self, (row, col): (u16, u16)) -> Vec<u8> {
        let mut out = String::new();
        if let Some((top, bottom)) = self.scroll_region {
            // Setting a region moves the cursor.
            out += &format!("\x1b[{top};{bottom}r\x1b[{};{}H", row + 1, col + 1);
        }
        for ((mode, base), bit) in PRIVATE.iter().zip(self.private) {
            if bit != *base {
                out += &format!("\x1b[?{mode}{}", if bit == Bit::On { 'h' } else { 'l' });
            }
        }
        if self.keypad == Bit::On {
            out += "\x1b=";
        }
        if self.cursor_style != 0 {
            out += &format!("\x1b[{} q", self.cursor_style);
        }
        if self.line_drawing == Bit::On {
            out += "\x1b(0";
        }
        if self.shifted_out == Bit::On {
            out.push('\x0e');
        }
        if self.modify_other_keys != 0 {
            out += &format!("\x1b[>4;{}m", self.modify_other_keys);
        }
        if !self.title.is_empty() {
            out += &format!("\x1b]2;{}\x1b\\", self.title);
        }
        out.into_bytes()
    }

    /// What brings the terminal that has seen this stream back to its base state, wherever the stream stopped.
    pub fn leave(&self) -> Vec<u8> {
        // Ends whatever string or sequence is open; nothing otherwise.
        let mut out = if self.place == Place::Ground { Vec::new() } else { b"\x18\x1b\\".to_vec() };
        for ((mode, base), bit) in PRIVATE.iter().zip(self.private).rev() {
            if bit != *base {
                out.extend(format!("\x1b[?{mode}{}", if *base == Bit::On { 'h' } else { 'l' }).bytes());
            }
        }
        if self.keypad == Bit::On {
            out.extend(b"\x1b>");
        }
        if self.cursor_style != 0 {
            out.extend(b"\x1b[0 q");
        }
        if self.modify_other_keys != 0 {
            out.extend(b"\x1b[>4m");
        }
        if self.scroll_region.is_some() {
            // Setting a region moves the cursor, so it is put aside meanwhile.
            out.extend(b"\x1b7\x1b[r\x1b8");
        }
        if self.line_drawing == Bit::On {
            out.extend(b"\x1b(B");
        }
        if self.shifted_out == Bit::On {
            out.push(0x0f);
        }
        out.extend(b"\x1b[m");
        if let Some(mode) = self.alternate {
            out.extend(self.kitty[1].leave());
            out.extend(format!("\x1b[?{mode}l").bytes());
        }
        out.extend(self.kitty[0].leave());
        out
    }

    fn ground<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        match memchr::memchr3(0x1b, 0x0e, 0x0f, bytes) {
            None => {
                self.note_text(bytes);
                &[]
            }
            Some(at) => {
                self.pending.clear();
                match bytes[at] {
                    0x0e => self.shifted_out = Bit::On,
                    0x0f => self.shifted_out = Bit::Off,
                    _ => self.begin(Place::Escape, b"\x1b"),
                }
                &bytes[at + 1..]
            }
        }
    }

    /// Keeps the beginning of a character whose end is still to come.
    fn note_text(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(&bytes[bytes.len().saturating_sub(4)..]);
        let begin = (1..=self.pending.len().min(3)).find_map(|back| {
            let at = self.pending.len() - back;
            let need = match self.pending[at] {
                0xc2..=0xdf => 2,
                0xe0..=0xef => 3,
                0xf0..=0xf4 => 4,
                0x80..=0xbf => return None,
                _ => 1,
            };
            Some((at, need > back))
        });
        match begin {
            Some((at, true)) => drop(self.pending.drain(..at)),
            _ => self.pending.clear(),
        }
    }

    fn begin(&mut self, place: Place, introducer: &[u8]) {
        self.place = place;
        self.pending.clear();
        self.pending.extend_from_slice(introducer);
    }

    fn end(&mut self) {
        self.place = Place::Ground;
        self.pending.clear();
    }

    fn keep(&mut self, byte: u8, max: usize) {
        if self.pending.len() < max {
            self.pending.push(byte);
        }
    }

    fn escape<'a>(&mut self, byte: u8, after: &'a [u8]) -> &'a [u8] {
        match byte {
            b'[' => self.begin(Place::Csi, b"\x1b["),
            b']' | b'P' | b'X' | b'^' | b'_' => self.begin(Place::String, &[0x1b, byte]),
            0x20..=0x2f => {
                self.keep(byte, SEQUENCE_MAX);
                self.place = Place::EscapeIntermediate;
            }
            0x1b => self.begin(Place::Escape, b"\x1b"),
            0x00..=0x17 | 0x19 | 0x1c..=0x1f => {}
            _ => {
                match byte {
                    b'=' => self.keypad = Bit::On,
                    b'>' => self.keypad = Bit::Off,
                    b'c' => *self = Self::default(),
                    _ => {}
                }
                self.end();
            }
        }
        after
    }

    fn escape_intermediate<'a>(&mut self, byte: u8, after: &'a [u8]) -> &'a [u8] {
        match byte {
            0x1b => self.begin(Place::Escape, b"\x1b"),
            0x20..=0x2f => self.keep(byte, SEQUENCE_MAX),
            0x30..=0x7e => {
                if self.pending == b"\x1b(" {
                    self.line_drawing = if byte == b'0' { Bit::On } else { Bit::Off };
                }
                self.end();
            }
            0x18 | 0x1a => self.end(),
            _ => {}
        }
        after
    }

    fn csi<'a>(&mut self, byte: u8, after: &'a [u8]) -> &'a [u8] {
        match byte {
            0x1b => self.begin(Place::Escape, b"\x1b"),
            0x18 | 0x1a => self.end(),
            0x20..=0x3f => self.keep(byte, SEQUENCE_MAX),
            0x40..=0x7e => {
                if self.pending.len() < SEQUENCE_MAX {
                    let body = self.pending.split_off(2);
                    self.control(&body, byte);
                }
                self.end();
            }
            _ => {}
        }
        after
    }

    fn string<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let stop = bytes.iter().position(|byte| matches!(byte, 0x07 | 0x18 | 0x1a | 0x1b));
        let (text, after) = bytes.split_at(stop.unwrap_or(bytes.len()));
        let room = STRING_MAX.saturating_sub(self.pending.len());
        self.pending.extend_from_slice(&text[..room.min(text.len())]);
        match after.split_first() {
            None => return &[],
            Some((0x1b, _)) => {
                self.place = Place::StringEscape;
                self.pending.push(0x1b);
            }
            Some((0x07, _)) if self.pending.starts_with(b"\x1b]") => self.end_string(),
            Some((0x07, _)) => {}
            Some(_) => self.end(),
        }
        &after[1..]
    }

    fn string_escape<'a>(&mut self, byte: u8, bytes: &'a [u8]) -> &'a [u8] {
        if byte == b'\\' {
            self.pending.pop();
            self.end_string();
            return &bytes[1..];
        }
        // Not its end: a new sequence that breaks the string off.
        self.begin(Place::Escape, b"\x1b");
        bytes
    }

    fn end_string(&mut self) {
        let title = self.pending.strip_prefix(b"\x1b]2;").or_else(|| self.pending.strip_prefix(b"\x1b]0;"));
        if let Some(title) = title {
            self.title = String::from_utf8_lossy(title).chars().filter(|c| !c.is_control()).collect();
        }
        self.end();
    }

    fn control(&mut self, body: &[u8], last: u8) {
        let prefix = body.first().copied().filter(|byte| (b'<'..=b'?').contains(byte));
        let numbers = if prefix.is_some() { &body[1..] } else { body };
        let digits = numbers.iter().position(|byte| (0x20..0x30).contains(byte)).unwrap_or(numbers.len());
        let (numbers, between) = numbers.split_at(digits);
        let params: Vec<Option<u16>> = numbers.split(|byte| *byte == b';').map(number).collect();
        let param = |at: usize, default: u16| params.get(at).copied().flatten().unwrap_or(default);
        let kitty = &mut self.kitty[usize::from(self.alternate.is_some())];
        match (prefix, between, last) {
            (Some(b'?'), b"", b'h') => params.iter().flatten().for_each(|mode| self.set(*mode, Bit::On)),
            (Some(b'?'), b"", b'l') => params.iter().flatten().for_each(|mode| self.set(*mode, Bit::Off)),
            (Some(b'>'), b"", b'u') => kitty.push(param(0, 0)),
            (Some(b'<'), b"", b'u') => kitty.pop(param(0, 1)),
            (Some(b'='), b"", b'u') => kitty.set(param(0, 0), param(1, 1)),
            (Some(b'>'), b"", b'm') if param(0, 4) == 4 => self.modify_other_keys = param(1, 0),
            (None, b" ", b'q') => self.cursor_style = u8::try_from(param(0, 0).min(6)).unwrap_or(0),
            (None, b"", b'r') => {
                let region = (param(0, 1).max(1), param(1, 0));
                self.scroll_region = (region.1 > region.0).then_some(region);
            }
            (None, b"!", b'p') => self.soft_reset(),
            _ => {}
        }
    }

    fn set(&mut self, mode: u16, bit: Bit) {
        match (mode, bit) {
            (47 | 1047 | 1049, Bit::On) => self.alternate = Some(mode),
            (47 | 1047 | 1049, Bit::Off) => {
                self.alternate = None;
                self.kitty[1] = Kitty::default();
            }
            _ => {
                if let Some(at) = PRIVATE.iter().position(|(known, _)| *known == mode) {
                    self.private[at] = bit;
                }
            }
        }
    }

    fn soft_reset(&mut self) {
        self.set(1, Bit::Off);
        self.set(25, Bit::On);
        self.keypad = Bit::Off;
        self.scroll_region = None;
        self.line_drawing = Bit::Off;
        self.shifted_out = Bit::Off;
    }
}

/// The number before the first colon; `None` if there is none.
fn number(text: &[u8]) -> Option<u16> {
    let digits = text.split(|byte| *byte == b':').next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests;
