//! What waits for the user, in the terminal that they are attached with: a bell and the title say that something does,
//! and a page of its own, which the agent's screen comes back from untouched, shows all of it and takes the answer.
//!
//! Invariant: nothing can be allowed before the end of what it would do has been on the screen.

use std::os::fd::BorrowedFd;

use crate::approvals::{Lasts, Question};
use crate::core::ids::ApprovalId;
use crate::core::visible::visible;
use crate::sys::terminal::Size;

/// Who knows what waits for the user, and takes their answer.
pub trait Asker {
    /// Readable when something has changed.
    fn changed(&self) -> BorrowedFd<'_>;
    /// What is open now, oldest first; until the next change [`Asker::changed`] is not readable.
    fn open(&mut self) -> Vec<Question>;
    /// Gives an answer; what to tell the user if it was not taken.
    fn answer(&mut self, id: ApprovalId, verdict: Verdict) -> Result<(), String>;
}

/// What the user says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Yes, for so long.
    Allow(Lasts),
    /// No.
    Deny,
}

/// What a key on the page means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pressed {
    Nothing,
    Leave,
    Answer(Verdict),
}

/// One question, whole.
pub(super) struct Page {
    question: Question,
    size: Size,
    rows: Vec<String>,
    top: usize,
    /// Rows that were on the screen, from the first on.
    seen: usize,
    note: Option<String>,
}

/// The line with the keys.
const FOOT: usize = 1;

impl Page {
    pub(super) fn new(question: Question, size: Size) -> Self {
        let mut page = Self { question, size, rows: Vec::new(), top: 0, seen: 0, note: None };
        page.resize(size);
        page
    }

    pub(super) fn id(&self) -> ApprovalId {
        self.question.id
    }

    pub(super) fn set_note(&mut self, note: String) {
        self.note = Some(note);
    }

    /// Breaks the lines anew; what was seen in other rows has to be seen again.
    pub(super) fn resize(&mut self, size: Size) {
        self.size = size;
        let mut lines: Vec<String> =
            self.question.facts().iter().map(|(label, text)| format!("{label:9} {text}")).collect();
        lines.push(String::new());
        lines.extend(self.question.effect.lines());
        let width = usize::from(size.cols.max(2));
        self.rows = lines.iter().flat_map(|line| broken(line, width)).collect();
        (self.top, self.seen) = (0, 0);
        self.look();
    }

    fn height(&self) -> usize {
        usize::from(self.size.rows).saturating_sub(FOOT).max(1)
    }

    fn look(&mut self) {
        // Only what joins what was seen: a jump to the end shows the end, not what is between.
        if self.top <= self.seen {
            self.seen = self.seen.max((self.top + self.height()).min(self.rows.len()));
        }
    }

    fn scroll(&mut self, to: usize) {
        self.top = to.min(self.rows.len().saturating_sub(self.height()));
        self.look();
    }

    /// Takes keys as a terminal in its base state sends them.
    pub(super) fn press(&mut self, keys: &[u8]) -> Pressed {
        self.note = None;
        let page = self.height();
        match keys {
            b"y" | b"r" if self.seen < self.rows.len() => {
                self.note = Some("scroll to the end first: all of it would be allowed".to_owned());
            }
            b"y" => return Pressed::Answer(Verdict::Allow(Lasts::Once)),
            b"r" => return Pressed::Answer(Verdict::Allow(Lasts::Run)),
            b"n" => return Pressed::Answer(Verdict::Deny),
            b"q" | b"\x1b" | b"\x03" | b"\x1c" => return Pressed::Leave,
            b"j" | b"\r" | b"\x1b[B" | b"\x1bOB" => self.scroll(self.top + 1),
            b"k" | b"\x1b[A" | b"\x1bOA" => self.scroll(self.top.saturating_sub(1)),
            b" " | b"\x1b[6~" => self.scroll(self.top + page),
            b"b" | b"\x1b[5~" => self.scroll(self.top.saturating_sub(page)),
            _ => {}
        }
        Pressed::Nothing
    }

    /// The page, for a screen of its own.
    pub(super) fn draw(&self) -> Vec<u8> {
        let mut out = String::from("\x1b[m\x1b[H");
        let height = self.height();
        for row in 0..height {
            let text = self.rows.get(self.top + row).map_or("", String::as_str);
            out.push_str(&format!("\x1b[{};1H{text}\x1b[K", row + 1));
        }
        let below = self.rows.len().saturating_sub(self.top + height);
        let foot = match (&self.note, below) {
            (Some(note), _) => note.clone(),
            (None, 0) => "y allow once · r for this run · n deny · q later".to_owned(),
            (None, below) => format!("{below} more rows: space · n deny · q later"),
        };
        let foot: String = foot.chars().take(usize::from(self.size.cols).saturating_sub(1)).collect();
        out.push_str(&format!("\x1b[{};1H\x1b[7m{foot}\x1b[K\x1b[m", height + FOOT));
        out.into_bytes()
    }
}

/// A line in pieces that fit; letters that may be wide count as such.
fn broken(line: &str, width: usize) -> Vec<String> {
    let mut rows = vec![String::new()];
    let mut used = 0;
    for letter in line.chars() {
        let letter = if letter == '\t' { "    ".to_owned() } else { letter.to_string() };
        let cells = if letter.is_ascii() { letter.len() } else { 2 };
        if used + cells > width {
            rows.push(String::new());
            used = 0;
        }
        if let Some(row) = rows.last_mut() {
            row.push_str(&letter);
        }
        used += cells;
    }
    rows
}

/// What the title says while something waits.
pub(super) fn title(open: &[Question], keys: Option<&str>) -> Option<String> {
    const MAX: usize = 60;
    let first = open.first()?;
    let target: String = visible(&first.target).replace(['\n', '\t'], " ").chars().take(MAX).collect();
    let more = if open.len() > 1 { format!(" and {} more", open.len() - 1) } else { String::new() };
    Some(format!("agentsup: {target}{more} waits for you ({})", keys.unwrap_or("agentsup approvals")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::effect::{Effect, Shown};
    use crate::core::ids::RunId;

    const SIZE: Size = Size { cols: 40, rows: 10 };

    fn question(text: &str) -> Question {
        let effect = Effect { shown: vec![Shown::Arguments { text: text.into() }], ..Effect::default() };
        Question {
            id: ApprovalId::from_parts(1, [0; 10]),
            run: RunId::from_parts(1, [0; 10]),
            agent: "agent/a@t".parse().unwrap(),
            action: "tool".into(),
            target: "Ba\x1bsh".into(),
            on: String::new(),
            command: None,
            effect,
            why: vec!["org/careful: look".into()],
            digest: "00".into(),
            expires_at_ms: 1,
        }
    }

    fn screen(page: &Page) -> String {
        let size = |cells: u16| std::num::NonZeroU16::new(cells).unwrap();
        let mut parser = vt100::Parser::new(size(page.size.rows), size(page.size.cols), 0);
        parser.process(&page.draw());
        parser.screen().contents()
    }

    #[test]
    fn nothing_is_allowed_before_its_end_was_seen() {
        let lines: String = (0..30).map(|n| format!("line {n}\n")).collect();
        let mut page = Page::new(question(&lines), SIZE);
        assert!(screen(&page).starts_with("approval  00000000\nagent     agent/a@t"), "{}", screen(&page));
        assert!(screen(&page).contains("more rows: space"), "{}", screen(&page));
        for key in [b"y", b"r"] {
            assert_eq!(page.press(key), Pressed::Nothing);
            assert!(screen(&page).contains("scroll to the end first"), "{}", screen(&page));
        }
        for _ in 0..4 {
            assert_eq!(page.press(b" "), Pressed::Nothing);
        }
        assert!(screen(&page).contains("line 29") && screen(&page).contains("y allow once"));
        assert_eq!(page.press(b"y"), Pressed::Answer(Verdict::Allow(Lasts::Once)));
        assert_eq!(page.press(b"r"), Pressed::Answer(Verdict::Allow(Lasts::Run)));
        page.resize(Size { cols: 20, ..SIZE });
        assert_eq!(page.press(b"y"), Pressed::Nothing, "in other rows it was not seen yet");
        assert_eq!(page.press(b"n"), Pressed::Answer(Verdict::Deny));
    }

    #[test]
    fn a_short_question_is_answered_at_once_or_left() {
        let mut page = Page::new(question("x"), SIZE);
        assert_eq!(page.press(b"y"), Pressed::Answer(Verdict::Allow(Lasts::Once)));
        for key in [&b"q"[..], b"\x1b", b"\x03", b"\x1c"] {
            assert_eq!(page.press(key), Pressed::Leave);
        }
        for key in [&b"yy"[..], b"Y", b"\x1b[200~y\x1b[201~"] {
            assert_eq!(page.press(key), Pressed::Nothing);
        }
    }

    #[test]
    fn long_and_wide_lines_are_broken_and_nothing_is_lost() {
        assert_eq!(broken("abcdef", 4), ["abcd", "ef"]);
        assert_eq!(broken("世界世", 4), ["世界", "世"]);
        assert_eq!(broken("", 4), [""]);
    }

    #[test]
    fn the_title_tells_what_waits_and_the_keys() {
        let one = [question("x")];
        assert_eq!(
            title(&one, Some("Ctrl-\\ a")).unwrap(),
            "agentsup: Ba<U+001B>sh waits for you (Ctrl-\\ a)"
        );
        let two = [question("x"), question("y")];
        assert_eq!(
            title(&two, None).unwrap(),
            "agentsup: Ba<U+001B>sh and 1 more waits for you (agentsup approvals)"
        );
        assert_eq!(title(&[], None), None);
    }
}
