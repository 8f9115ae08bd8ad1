//! Terminals: opening a pseudo-terminal, sizes, and raw mode that is always taken back.
//!
//! Opened directly rather than through a crate: an agent must get exactly the environment and directory it was
//! promised, and an exec error must reach the user, which the common wrapper does not do (it closes the pipe that
//! carries the error, falls back to the home directory and adds variables).

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::pty::{OpenptyResult, openpty};
use nix::sys::termios::{InputFlags, SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

/// Nobody has a larger terminal; bounds what the screen model takes in memory.
pub const COLS_MAX: u16 = 1000;
/// Nobody has a larger terminal; bounds what the screen model takes in memory.
pub const ROWS_MAX: u16 = 500;

/// The size of a terminal, in cells, neither zero nor absurd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Columns.
    pub cols: u16,
    /// Rows.
    pub rows: u16,
}

impl Size {
    /// The size of a terminal that nobody looks at.
    pub const DEFAULT: Self = Self { cols: 80, rows: 24 };

    /// `None` when either side is zero, which is how "no terminal" is said; cut to the bounds otherwise.
    pub fn new(cols: u16, rows: u16) -> Option<Self> {
        (cols > 0 && rows > 0).then(|| Self { cols: cols.min(COLS_MAX), rows: rows.min(ROWS_MAX) })
    }
}

/// Both ends of a new pseudo-terminal, closed on exec.
#[derive(Debug)]
pub struct Pty {
    /// The keeper's end; reads and writes return at once.
    pub outer: OwnedFd,
    /// The agent's end.
    pub inner: OwnedFd,
}

/// Opens a pseudo-terminal of `size` in the usual line mode, with UTF-8 editing.
pub fn open_pty(size: Size) -> io::Result<Pty> {
    let winsize = winsize(size);
    let OpenptyResult { master: outer, slave: inner } = openpty(&winsize, None)?;
    for end in [&outer, &inner] {
        fcntl(end, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    }
    fcntl(&outer, FcntlArg::F_SETFL(OFlag::O_RDWR | OFlag::O_NONBLOCK))?;
    let mut modes = tcgetattr(&inner)?;
    modes.input_flags |= InputFlags::IUTF8;
    tcsetattr(&inner, SetArg::TCSANOW, &modes)?;
    Ok(Pty { outer, inner })
}

fn winsize(size: Size) -> libc::winsize {
    libc::winsize { ws_row: size.rows, ws_col: size.cols, ws_xpixel: 0, ws_ypixel: 0 }
}

/// Gives a terminal a size; its foreground process group hears of it if it differs from the former one.
pub fn set_size(terminal: BorrowedFd<'_>, size: Size) -> io::Result<()> {
    let winsize = winsize(size);
    // SAFETY: the pointer is to a local that lives through the call.
    if unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ as _, &raw const winsize) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// The size of a terminal; `None` when it is none or does not know.
pub fn size(terminal: BorrowedFd<'_>) -> Option<Size> {
    let mut winsize = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the pointer is to a local that lives through the call.
    let result = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ as _, &raw mut winsize) };
    if result != 0 {
        return None;
    }
    Size::new(winsize.ws_col, winsize.ws_row)
}

/// Raw mode on somebody's terminal, for as long as this lives: also through a panic.
#[derive(Debug)]
pub struct RawMode<'a> {
    terminal: BorrowedFd<'a>,
    former: Termios,
}

impl<'a> RawMode<'a> {
    /// Switches `terminal` to raw mode: every byte is delivered at once and as typed.
    pub fn enter(terminal: &'a impl AsFd) -> io::Result<Self> {
        let terminal = terminal.as_fd();
        let former = tcgetattr(terminal)?;
        let mut raw = former.clone();
        cfmakeraw(&mut raw);
        retry(|| tcsetattr(terminal, SetArg::TCSADRAIN, &raw))?;
        Ok(Self { terminal, former })
    }
}

impl Drop for RawMode<'_> {
    fn drop(&mut self) {
        // What was typed for the agent and not read must not land in the user's shell.
        let _ = retry(|| tcsetattr(self.terminal, SetArg::TCSAFLUSH, &self.former));
    }
}

/// Longer than any secret.
const HIDDEN_MAX: usize = 16 * 1024;

/// A line that the user types without seeing it, for secrets; `None` when they give up (Ctrl-C, Ctrl-D).
///
/// # Errors
/// Those of the terminal.
pub fn read_hidden(terminal: &impl AsFd) -> io::Result<Option<Zeroizing<String>>> {
    let _raw = RawMode::enter(terminal)?;
    let mut typed = Zeroizing::new(Vec::new());
    let mut byte = [0];
    loop {
        match nix::unistd::read(terminal, &mut byte) {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(errno.into()),
        }
        match byte[0] {
            b'\r' | b'\n' => break,
            0x03 | 0x04 => return Ok(None),
            0x08 | 0x7f => drop(typed.pop()),
            0x15 => typed.clear(),
            _ if typed.len() == HIDDEN_MAX => return Err(io::ErrorKind::FileTooLarge.into()),
            other => typed.push(other),
        }
    }
    match String::from_utf8(std::mem::take(&mut *typed)) {
        Ok(text) => Ok(Some(Zeroizing::new(text))),
        Err(_) => Err(io::ErrorKind::InvalidData.into()),
    }
}

fn retry(mut call: impl FnMut() -> nix::Result<()>) -> io::Result<()> {
    for _ in 0..16 {
        match call() {
            Err(Errno::EINTR) => {}
            other => return Ok(other?),
        }
    }
    Err(Errno::EINTR.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::termios::LocalFlags;

    #[test]
    fn a_new_terminal_has_the_size_it_was_given_and_keeps_the_next_one() {
        let pty = open_pty(Size { cols: 101, rows: 33 }).unwrap();
        assert_eq!(size(pty.inner.as_fd()), Some(Size { cols: 101, rows: 33 }));
        set_size(pty.outer.as_fd(), Size { cols: 7, rows: 3 }).unwrap();
        assert_eq!(size(pty.inner.as_fd()), Some(Size { cols: 7, rows: 3 }));
        assert_eq!(Size::new(0, 5), None);
        assert_eq!(Size::new(u16::MAX, u16::MAX), Some(Size { cols: COLS_MAX, rows: ROWS_MAX }));
    }

    #[test]
    fn raw_mode_is_taken_back_even_by_a_panic() {
        let pty = open_pty(Size::DEFAULT).unwrap();
        let before = tcgetattr(&pty.inner).unwrap();
        let outcome = std::panic::catch_unwind(|| {
            let _raw = RawMode::enter(&pty.inner).unwrap();
            assert!(!tcgetattr(&pty.inner).unwrap().local_flags.contains(LocalFlags::ICANON));
            std::panic::resume_unwind(Box::new(()));
        });
        assert!(outcome.is_err());
        assert_eq!(tcgetattr(&pty.inner).unwrap(), before);
    }
}
