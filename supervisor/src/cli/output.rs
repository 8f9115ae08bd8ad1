//! The only file that prints. Standard output is the answer and nothing else; standard error is narration.
//!
//! Colours follow `NO_COLOR`, `CLICOLOR_FORCE` and whether a terminal is there. A reader that goes away is no error.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, IsTerminal as _, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Serialize;

use crate::core::error::Failure;
use crate::run::keeper::modes::Tracker;
use crate::sys::terminal;

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const RED: Style = AnsiColor::Red.on_default().bold();
const YELLOW: Style = AnsiColor::Yellow.on_default().bold();
const GREEN: Style = AnsiColor::Green.on_default();
const CYAN: Style = AnsiColor::Cyan.on_default();

/// What is said of amounts that were spent past the gateway.
pub(super) const ON_SUBSCRIPTIONS: &str = "on subscriptions: list-price equivalent, metered, not enforced";

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Adds `--json` to a verb that answers.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Answer {
    /// Answer in JSON
    #[arg(long)]
    json: bool,
}

impl Answer {
    /// What was asked for.
    pub(crate) fn format(&self) -> Format {
        if self.json { Format::Json } else { Format::Text }
    }

    /// Gives the answer: as JSON if that was asked for, else as `tell` tells it.
    pub(crate) fn give<T: Serialize>(&self, value: &T, tell: impl FnOnce(&T)) -> ExitCode {
        match self.format() {
            Format::Json => json(value),
            Format::Text => tell(value),
        }
        ExitCode::SUCCESS
    }
}

/// How a table cell is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// As it is.
    Plain,
    /// Stands out.
    Strong,
    /// Stands back.
    Faint,
    /// All is well.
    Good,
    /// Wants attention.
    Warning,
    /// Went wrong.
    Bad,
}

impl Tone {
    const fn style(self) -> Style {
        match self {
            Self::Plain => Style::new(),
            Self::Strong => BOLD,
            Self::Faint => DIM,
            Self::Good => GREEN,
            Self::Warning => YELLOW,
            Self::Bad => RED,
        }
    }
}

/// A table cell.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    text: String,
    tone: Tone,
}

/// A plain cell.
pub(crate) fn cell(text: impl Display) -> Cell {
    Cell { text: printable(&text.to_string()), tone: Tone::Plain }
}

impl Cell {
    /// The same in another tone.
    pub(crate) fn tone(mut self, tone: Tone) -> Self {
        self.tone = tone;
        self
    }
}

/// What other programs wrote, without the control characters that could redraw the user's terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|letter| if letter.is_control() && letter != '\t' { '\u{fffd}' } else { letter })
        .collect()
}

fn stdout(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) {
    let mut stdout = anstream::AutoStream::auto(io::stdout()).lock();
    // Whoever read this has gone away; there is nobody to tell.
    let _gone = write(&mut stdout).and_then(|()| stdout.flush());
}

fn stderr(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) {
    let mut stderr = anstream::AutoStream::auto(io::stderr()).lock();
    let _gone = write(&mut stderr).and_then(|()| stderr.flush());
}

/// One line of the answer.
pub(crate) fn line(text: impl Display) {
    stdout(|out| writeln!(out, "{text}"));
}

/// A value as one JSON document on one line.
pub(crate) fn json(value: &impl Serialize) {
    if let Ok(text) = serde_json::to_string(value) {
        stdout(|out| writeln!(out, "{text}"));
    }
}

/// Bytes of the answer as they are: a diff, a run's scrollback.
pub(crate) fn raw(bytes: &[u8]) {
    let mut stdout = io::stdout().lock();
    let _gone = stdout.write_all(bytes).and_then(|()| stdout.flush());
}

/// A table; without rows only `empty`, as narration. In a terminal its lines end where the terminal does: a wrapped
/// table cannot be read, and `--json` has it all.
pub(crate) fn table(columns: &[&str], rows: &[Vec<Cell>], empty: &str) {
    if rows.is_empty() {
        narrate(empty);
        return;
    }
    let width = |index: usize, title: &str| {
        let cells = rows.iter().filter_map(|row| row.get(index)).map(|cell| cell.text.chars().count());
        cells.chain([title.chars().count()]).max().unwrap_or(0)
    };
    let mut widths: Vec<usize> =
        columns.iter().enumerate().map(|(index, title)| width(index, title)).collect();
    if let Some(size) = terminal::size(io::stdout().as_fd()) {
        fit(&mut widths, usize::from(size.cols));
    }
    let titles: Vec<Cell> = columns.iter().map(|title| cell(title).tone(Tone::Faint)).collect();
    stdout(|out| {
        for row in std::iter::once(&titles).chain(rows) {
            write_row(out, row, &widths)?;
        }
        Ok(())
    });
}

/// Takes from the columns at the right what is too much; one that would keep less than half a word goes.
fn fit(widths: &mut Vec<usize>, line: usize) {
    const LEAST: usize = 8;
    while let Some(last) = widths.last().copied() {
        let before: usize = widths.iter().rev().skip(1).map(|width| width + 2).sum();
        let room = line.saturating_sub(before);
        if widths.len() == 1 || room >= last.min(LEAST) {
            let last_index = widths.len() - 1;
            widths[last_index] = last.min(room);
            return;
        }
        widths.pop();
    }
}

fn write_row(out: &mut dyn Write, row: &[Cell], widths: &[usize]) -> io::Result<()> {
    let last = widths.len().min(row.len()).saturating_sub(1);
    for (index, (cell, width)) in row.iter().zip(widths).enumerate() {
        let style = cell.tone.style();
        let length = cell.text.chars().count();
        let gap = if index == last { 0 } else { width.saturating_sub(length) + 2 };
        if length > *width {
            let kept: String = cell.text.chars().take(width.saturating_sub(1)).collect();
            write!(out, "{style}{kept}…{style:#}{:gap$}", "")?;
        } else {
            write!(out, "{style}{}{style:#}{:gap$}", cell.text, "")?;
        }
    }
    writeln!(out)
}

/// Labelled facts, one a line.
pub(crate) fn facts(facts: &[(&str, Cell)]) {
    let width = facts.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
    stdout(|out| {
        for (label, cell) in facts {
            let style = cell.tone.style();
            writeln!(out, "{DIM}{label:width$}{DIM:#}  {style}{}{style:#}", cell.text)?;
        }
        Ok(())
    });
}

/// Narration.
pub(crate) fn narrate(text: impl Display) {
    stderr(|err| writeln!(err, "{text}"));
}

/// The same, while another thread has the streams ([`with_streams`]).
pub(crate) fn narrate_beside(text: impl Display) {
    let Ok(err) = io::stderr().as_fd().try_clone_to_owned() else { return };
    // Nobody is left to be told otherwise.
    let _written = Patient(File::from(err)).write_all(format!("{text}\n").as_bytes());
}

/// Narration that wants attention.
pub(crate) fn warn(text: impl Display) {
    stderr(|err| writeln!(err, "{YELLOW}warning:{YELLOW:#} {text}"));
}

/// What to do next.
pub(crate) fn hint(text: impl Display) {
    stderr(|err| writeln!(err, "{CYAN}hint:{CYAN:#} {text}"));
}

/// A question, on standard error, the cursor behind it.
pub(crate) fn ask(question: impl Display) {
    stderr(|err| write!(err, "{BOLD}{question}{BOLD:#} "));
}

/// Says what failed and what helps, and gives the exit code of the contract.
pub(crate) fn fail(failure: &Failure) -> ExitCode {
    let message = failure.message.lines().map(printable).collect::<Vec<_>>().join("\n");
    stderr(|err| {
        writeln!(err, "{RED}error:{RED:#} {message}")?;
        match &failure.hint {
            Some(hint) => writeln!(err, "{CYAN}hint:{CYAN:#} {}", printable(hint)),
            None => Ok(()),
        }
    });
    ExitCode::from(failure.code.exit_code())
}

/// Help, version or a usage error, as the parser of the command line words it.
pub(crate) fn clap(error: &clap::Error) -> ExitCode {
    // Whoever read this has gone away.
    let _gone = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// Both ends of an attached session.
pub(crate) fn with_streams<T>(work: impl FnOnce(&mut dyn Write, &mut dyn Write) -> T) -> T {
    work(&mut Patient(io::stdout().lock()), &mut Patient(io::stderr().lock()))
}

/// Standard output for what an agent has written to its terminal. If it is a terminal, it is left as it was found: what
/// is kept of a run may end where it had the mouse and the screen to itself.
pub(crate) fn with_terminal<T>(work: impl FnOnce(&mut dyn Write) -> T) -> T {
    let mut out = Followed { out: Patient(io::stdout().lock()), modes: Tracker::default() };
    let done = work(&mut out);
    if io::stdout().is_terminal() && out.modes.is_altered() {
        let base = out.modes.leave();
        // Whoever looked at this has gone away.
        let _gone = out.out.write_all(&base);
    }
    let _gone = out.out.flush();
    done
}

struct Followed<W> {
    out: W,
    modes: Tracker,
}

impl<W: Write> Write for Followed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.modes.feed(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Waits where it would block: whoever shares our terminal may have made it non-blocking for all.
struct Patient<W>(W);

impl<W: Write + AsFd> Patient<W> {
    fn retry<T>(&mut self, mut attempt: impl FnMut(&mut W) -> io::Result<T>) -> io::Result<T> {
        loop {
            match attempt(&mut self.0) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let mut room = [PollFd::new(self.0.as_fd(), PollFlags::POLLOUT)];
                    poll(&mut room, PollTimeout::NONE)?;
                }
                other => return other,
            }
        }
    }
}

impl<W: Write + AsFd> Write for Patient<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.retry(|out| out.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.retry(Write::flush)
    }
}

/// Whether the user's terminal is at both ends, so that a program can draw on it.
pub(crate) fn is_terminal() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// A line that the user types; `None` at the end of input.
pub(crate) fn read_answer() -> io::Result<Option<String>> {
    let mut line = String::new();
    let count = io::stdin().read_line(&mut line)?;
    Ok((count > 0).then(|| line.trim().to_owned()))
}

/// Whether a person can be asked: both standard input and standard error are a terminal.
pub(crate) fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Nano-USD as dollars: to the cent from a cent on, exactly below it.
pub(crate) fn dollars(nano_usd: i64) -> String {
    let sign = if nano_usd < 0 { "-" } else { "" };
    let nano = nano_usd.unsigned_abs();
    if nano == 0 || nano >= 10_000_000 {
        // Half a cent counts as one: a spend is never shown smaller than it is by more than that.
        let cents = (nano + 5_000_000) / 10_000_000;
        return format!("{sign}${}.{:02}", cents / 100, cents % 100);
    }
    let decimals = format!("{nano:09}");
    format!("{sign}$0.{}", decimals.trim_end_matches('0'))
}

/// Nano-USD to the cent, always: where it must be brief.
pub(crate) fn cents(nano_usd: i64) -> String {
    let cents = nano_usd.max(0).saturating_add(5_000_000) / 10_000_000;
    format!("${}.{:02}", cents / 100, cents % 100)
}

/// A number of tokens in three or four digits: `950`, `12.3k`, `1.2M`; cut off, not rounded up.
pub(crate) fn tokens(number: u64) -> String {
    for (unit, letter) in [(1_000_000_000_000, 'T'), (1_000_000_000, 'G'), (1_000_000, 'M'), (1000, 'k')] {
        if number >= unit {
            let tenths = number / (unit / 10);
            return format!("{}.{}{letter}", tenths / 10, tenths % 10);
        }
    }
    number.to_string()
}

/// `1 file`, `2 files`.
pub(crate) fn count(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// How long ago, in one unit.
pub(crate) fn ago(then_ms: i64, now_ms: i64) -> String {
    let seconds = now_ms.saturating_sub(then_ms).max(0) / 1000;
    match seconds {
        0..60 => format!("{seconds} s ago"),
        60..3600 => format!("{} min ago", seconds / 60),
        3600..172_800 => format!("{} h ago", seconds / 3600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn money_is_shown_exactly_where_it_is_small() {
        let amounts = [0, 1, 3_000, 9_999_999, 10_000_000, 15_000_000, 1_234_567_890, 50_000_000_000, -2_000];
        let shown: Vec<String> = amounts.into_iter().map(dollars).collect();
        let expected = [
            "$0.00",
            "$0.000000001",
            "$0.000003",
            "$0.009999999",
            "$0.01",
            "$0.02",
            "$1.23",
            "$50.00",
            "-$0.000002",
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn tokens_are_shown_in_a_few_digits() {
        let shown = [0, 999, 1000, 12_345, 999_999, 1_234_567, 7_000_000_000, u64::MAX].map(tokens);
        assert_eq!(shown, ["0", "999", "1.0k", "12.3k", "999.9k", "1.2M", "7.0G", "18446744.0T"]);
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(printable("a\x1b[2J\tb\r\n"), "a\u{fffd}[2J\tb\u{fffd}\u{fffd}");
    }

    #[test]
    fn rows_line_up() {
        let mut out = Vec::new();
        let row = [cell("ab"), cell("c")];
        write_row(&mut out, &row, &[4, 1]).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "ab    c\n");
    }

    #[test]
    fn a_row_ends_where_the_terminal_does() {
        let row = [cell("ab"), cell("cdefghijkl"), cell("mnopqrstuv")];
        for (line, expected) in [
            (26, "ab  cdefghijkl  mnopqrstuv\n"),
            (25, "ab  cdefghijkl  mnopqrst…\n"),
            (24, "ab  cdefghijkl  mnopqrs…\n"),
            (23, "ab  cdefghijkl\n"),
            (13, "ab  cdefghij…\n"),
            (11, "ab\n"),
            (1, "…\n"),
        ] {
            let mut widths = vec![2, 10, 10];
            fit(&mut widths, line);
            let mut out = Vec::new();
            write_row(&mut out, &row, &widths).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{line} columns");
        }
    }

    #[test]
    fn time_is_told_in_one_unit() {
        let times = [0, 59_999, 60_000, 3_600_000, 172_800_000];
        let shown: Vec<String> = times.into_iter().map(|ms| ago(0, ms)).collect();
        assert_eq!(shown, ["0 s ago", "59 s ago", "1 min ago", "1 h ago", "2 days ago"]);
        assert_eq!((count(1, "file"), count(0, "file")), ("1 file".into(), "0 files".into()));
    }
}
