//! A terminal for a full-screen program: types keys, waits for what the screen shows, answers the questions that
//! programs ask a terminal (cursor position, device attributes, colours).
//!
//! Invariants: every wait has a deadline and a failure shows the screen; dropping it kills the program by its id.

use std::io::{Read, Write};
use std::num::NonZeroU16;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use portable_pty::{ChildKiller, CommandBuilder, ExitStatus, MasterPty, PtySize, native_pty_system};

use super::cli::Cli;

/// Rows of scrollback that are kept for [`Pty::history`].
const SCROLLBACK: usize = 2000;

/// The parts of the terminal that answer a program's questions.
#[derive(Default)]
struct Answers {
    pending: Vec<u8>,
    title: String,
}

impl vt100::Callbacks for Answers {
    fn set_window_title(&mut self, _: &mut vt100::Screen, title: &[u8]) {
        self.title = String::from_utf8_lossy(title).into_owned();
    }

    fn unhandled_csi(
        &mut self,
        screen: &mut vt100::Screen,
        first: Option<u8>,
        _: Option<u8>,
        params: &[&[u16]],
        last: char,
    ) {
        let param = params.first().and_then(|param| param.first()).copied().unwrap_or(0);
        let (row, column) = screen.cursor_position();
        let answer = match (first, last, param) {
            (None, 'n', 5) => "\x1b[0n".to_owned(),
            (None, 'n', 6) => format!("\x1b[{};{}R", row + 1, column + 1),
            (None, 'c', _) => "\x1b[?62;22c".to_owned(),
            (Some(b'>'), 'c', _) => "\x1b[>1;10;0c".to_owned(),
            (Some(b'>'), 'q', _) => "\x1bP>|vt100(0.18)\x1b\\".to_owned(),
            (Some(b'?'), 'u', _) => "\x1b[?0u".to_owned(),
            _ => return,
        };
        self.pending.extend(answer.into_bytes());
    }

    fn unhandled_osc(&mut self, _: &mut vt100::Screen, params: &[&[u8]]) {
        let answer = match params {
            [b"10", b"?", ..] => "\x1b]10;rgb:dddd/dddd/dddd\x1b\\",
            [b"11", b"?", ..] => "\x1b]11;rgb:1111/1111/1111\x1b\\",
            _ => return,
        };
        self.pending.extend(answer.as_bytes());
    }
}

struct Terminal {
    parser: vt100::Parser<Answers>,
    raw: Vec<u8>,
    exit: Option<ExitStatus>,
}

type Shared = Arc<(Mutex<Terminal>, Condvar)>;

/// A program in a terminal.
pub(crate) struct Pty {
    shared: Shared,
    master: Box<dyn MasterPty + Send>,
    writer: Arc<Mutex<Box<dyn Write + Send>>>,
    killer: Box<dyn ChildKiller + Send + Sync>,
    pid: Option<u32>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn size(rows: u16, cols: u16) -> PtySize {
    PtySize { rows, cols, pixel_width: 0, pixel_height: 0 }
}

fn cells(count: u16) -> NonZeroU16 {
    NonZeroU16::new(count).expect("a terminal has at least one cell")
}

impl Pty {
    /// Starts the program of `cli` with its arguments, environment and directory.
    pub(crate) fn start(cli: &Cli, rows: u16, cols: u16) -> Self {
        let pair = native_pty_system().openpty(size(rows, cols)).expect("open a terminal");
        let mut command = CommandBuilder::new(&cli.program);
        command.args(&cli.args);
        command.env_clear();
        for (name, value) in &cli.env {
            command.env(name, value);
        }
        command.cwd(&cli.directory);
        let mut child = pair.slave.spawn_command(command).expect("start the program");
        drop(pair.slave);
        let parser =
            vt100::Parser::new_with_callbacks(cells(rows), cells(cols), SCROLLBACK, Answers::default());
        let terminal = Terminal { parser, raw: Vec::new(), exit: None };
        let shared: Shared = Arc::new((Mutex::new(terminal), Condvar::new()));
        let writer = Arc::new(Mutex::new(pair.master.take_writer().expect("the terminal's writer")));
        let reader = pair.master.try_clone_reader().expect("the terminal's reader");
        let (reading, answering) = (shared.clone(), writer.clone());
        std::thread::spawn(move || read(reader, &reading, &answering));
        let (killer, pid, waiting) = (child.clone_killer(), child.process_id(), shared.clone());
        std::thread::spawn(move || {
            let status = child.wait().expect("wait for the program");
            lock(&waiting.0).exit = Some(status);
            waiting.1.notify_all();
        });
        Self { shared, master: pair.master, writer, killer, pid }
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// Types these bytes (`\r` is Enter, `\x03` is Ctrl-C, `\x1b` is Escape).
    pub(crate) fn keys(&self, keys: &str) {
        let mut writer = lock(&self.writer);
        writer.write_all(keys.as_bytes()).and_then(|()| writer.flush()).expect("type into the terminal");
    }

    /// Pastes a text, in brackets if the program asked for them.
    pub(crate) fn paste(&self, text: &str) {
        let bracketed = lock(&self.shared.0).parser.screen().bracketed_paste();
        self.keys(&if bracketed { format!("\x1b[200~{text}\x1b[201~") } else { text.to_owned() });
    }

    pub(crate) fn resize(&self, rows: u16, cols: u16) {
        lock(&self.shared.0).parser.set_size(cells(rows), cells(cols));
        self.master.resize(size(rows, cols)).expect("resize the terminal");
    }

    /// What the screen shows, trailing blanks removed.
    pub(crate) fn screen(&self) -> String {
        lock(&self.shared.0).parser.screen().contents()
    }

    /// All bytes the program ever wrote.
    pub(crate) fn raw(&self) -> Vec<u8> {
        lock(&self.shared.0).raw.clone()
    }

    /// The window title the program set last.
    pub(crate) fn title(&self) -> String {
        lock(&self.shared.0).parser.callbacks().title.clone()
    }

    /// Looks at the terminal's state (cursor, modes, cells).
    pub(crate) fn inspect<T>(&self, look: impl FnOnce(&vt100::Screen) -> T) -> T {
        look(lock(&self.shared.0).parser.screen())
    }

    /// Waits until the screen contains `text`.
    pub(crate) fn wait_for(&self, text: &str, timeout: Duration) -> String {
        self.wait_screen(&format!("`{text}` to appear"), timeout, |screen| screen.contains(text))
    }

    /// Waits until the screen no longer contains `text`.
    pub(crate) fn wait_gone(&self, text: &str, timeout: Duration) -> String {
        self.wait_screen(&format!("`{text}` to go away"), timeout, |screen| !screen.contains(text))
    }

    /// Waits until the screen satisfies a condition. Fails when the program ends first or the time is over.
    pub(crate) fn wait_screen(
        &self,
        what: &str,
        timeout: Duration,
        condition: impl Fn(&str) -> bool,
    ) -> String {
        let deadline = Instant::now() + timeout;
        let mut terminal = lock(&self.shared.0);
        loop {
            let screen = terminal.parser.screen().contents();
            if condition(&screen) {
                return screen;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "waited {timeout:?} for {what}; the screen:\n{screen}");
            if terminal.exit.is_some() {
                // The last bytes may still be on their way after the exit.
                let pause = left.min(Duration::from_millis(500));
                let (next, waited) =
                    self.shared.1.wait_timeout(terminal, pause).unwrap_or_else(PoisonError::into_inner);
                terminal = next;
                let screen = terminal.parser.screen().contents();
                let over = waited.timed_out() && !condition(&screen);
                assert!(!over, "the program ended while waiting for {what}; the screen:\n{screen}");
                continue;
            }
            terminal = self.shared.1.wait_timeout(terminal, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for the program's end and returns its exit code.
    pub(crate) fn wait_exit(&self, timeout: Duration) -> u32 {
        let deadline = Instant::now() + timeout;
        let mut terminal = lock(&self.shared.0);
        loop {
            if let Some(exit) = &terminal.exit {
                return exit.exit_code();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let screen = terminal.parser.screen().contents();
            assert!(!left.is_zero(), "the program did not end in {timeout:?}; the screen:\n{screen}");
            terminal = self.shared.1.wait_timeout(terminal, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        let ended = lock(&self.shared.0).exit.is_some();
        if !ended {
            let _ = self.killer.kill();
        }
    }
}

fn read(mut reader: Box<dyn Read + Send>, shared: &Shared, writer: &Mutex<Box<dyn Write + Send>>) {
    let mut chunk = vec![0; 64 << 10];
    while let Ok(count) = reader.read(&mut chunk) {
        if count == 0 {
            break;
        }
        let answers = {
            let mut terminal = lock(&shared.0);
            terminal.raw.extend_from_slice(&chunk[..count]);
            terminal.parser.process(&chunk[..count]);
            std::mem::take(&mut terminal.parser.callbacks_mut().pending)
        };
        shared.1.notify_all();
        if !answers.is_empty() {
            let _ = lock(writer).write_all(&answers);
        }
    }
}
