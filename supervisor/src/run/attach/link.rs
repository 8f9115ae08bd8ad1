//! The client's end of the connection, for a poll loop.

use std::io::{ErrorKind, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::run::keeper::KeeperError;
use crate::run::keeper::files::SOCKET;
use crate::run::keeper::frame::Decoder;
use crate::run::keeper::message::{FromKeeper, Hello, ToKeeper, Welcome};
use crate::sys::socket;

/// What may wait to be sent before the user's input is left unread.
const OUTGOING_MAX: usize = 64 * 1024;

/// How long a keeper may take to say welcome, or to take our last words.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) struct Link {
    stream: UnixStream,
    decoder: Decoder,
    outgoing: Vec<u8>,
    open: Open,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Yes,
    No,
}

impl Link {
    pub(super) fn open(dir: &Path, hello: Hello) -> Result<(Self, Welcome), KeeperError> {
        let stream = socket::connect(&dir.join(SOCKET))?;
        stream.set_nonblocking(true).map_err(KeeperError::Connection)?;
        let mut link = Self { stream, decoder: Decoder::default(), outgoing: Vec::new(), open: Open::Yes };
        link.say(ToKeeper::Hello(hello))?;
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        loop {
            match link.next_message() {
                Ok(Some(FromKeeper::Welcome(welcome))) => return Ok((link, welcome)),
                Ok(Some(FromKeeper::Error(refused))) => return Err(KeeperError::Refused(refused.reason)),
                Ok(Some(_)) => return Err(KeeperError::Lost),
                Ok(None) => {}
                Err(error) => return Err(error),
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(KeeperError::Silent);
            }
            link.poll(&mut [], PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX))?;
        }
    }

    /// Whether there is room for more of what the user types.
    pub(super) fn has_room(&self) -> bool {
        self.outgoing.len() < OUTGOING_MAX
    }

    /// Queues a message and sends what goes at once.
    pub(super) fn say(&mut self, message: ToKeeper) -> Result<(), KeeperError> {
        message.into_frame()?.encode(&mut self.outgoing)?;
        self.flush()
    }

    /// Sends what is queued, waiting a bounded time for it.
    pub(super) fn drain(&mut self) {
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        while !self.outgoing.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            let waited = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            if left.is_zero() || self.poll(&mut [], waited).is_err() {
                return;
            }
        }
    }

    /// Waits until the keeper or one of `others` has something to say; sets their flags.
    pub(super) fn wait(&mut self, others: &mut [(BorrowedFd<'_>, PollFlags)]) -> Result<(), KeeperError> {
        self.poll(others, PollTimeout::NONE)
    }

    /// The next message that has arrived whole.
    pub(super) fn next_message(&mut self) -> Result<Option<FromKeeper>, KeeperError> {
        match self.decoder.next_frame()? {
            Some(frame) => Ok(Some(FromKeeper::from_frame(frame)?)),
            None if self.open == Open::No => Err(KeeperError::Lost),
            None => Ok(None),
        }
    }

    fn poll(
        &mut self,
        others: &mut [(BorrowedFd<'_>, PollFlags)],
        timeout: PollTimeout,
    ) -> Result<(), KeeperError> {
        let mut ours = PollFlags::POLLIN;
        ours.set(PollFlags::POLLOUT, !self.outgoing.is_empty());
        let mut fds = vec![PollFd::new(self.stream.as_fd(), ours)];
        fds.extend(others.iter().map(|(fd, flags)| PollFd::new(*fd, *flags)));
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(KeeperError::Connection(errno.into())),
        }
        let seen: Vec<PollFlags> = fds.iter().map(|fd| fd.revents().unwrap_or(PollFlags::empty())).collect();
        for ((_, flags), seen) in others.iter_mut().zip(&seen[1..]) {
            *flags = *seen;
        }
        if seen[0].contains(PollFlags::POLLOUT) {
            self.flush()?;
        }
        if seen[0].intersects(PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR) {
            match self.decoder.read_from(&mut self.stream) {
                Ok(true) => {}
                Ok(false) => self.open = Open::No,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(_) => self.open = Open::No,
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), KeeperError> {
        while !self.outgoing.is_empty() {
            match self.stream.write(&self.outgoing) {
                Ok(count) => drop(self.outgoing.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // What the keeper has said before it closed is still to be read.
                Err(_) => {
                    self.outgoing.clear();
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}
