//! The keeper's loop: one thread that polls the agent's streams, its clients and its children.
//!
//! Nothing here blocks and nothing waits for a client, except that the pipes of an agent are not read faster than the
//! attached clients take what comes out of them.

mod clients;
mod end;

use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

use super::connection::{Connection, Role};
use super::files::{EndCause, Exit, KeeperRecord};
use super::frame::CHUNK_MAX;
use super::message::FromKeeper;
use super::screen::Screen;
use super::scrollback::Scrollback;
use super::spec::FirstClient;
use super::streams::{AgentIo, Got, Stream, can_read, can_write};
use super::tree::{Left, Stopped, Tree};
use crate::sys::clock;
use crate::sys::lock::FileLock;
use crate::sys::signals::SignalPipe;
use crate::sys::terminal::Size;
use end::Phase;

/// Input that may wait for an agent that does not read; beyond it, clients that type are not read either.
const INPUT_MAX: usize = 256 * 1024;

/// How long a full-screen program has to see the shorter screen before it gets the right one back.
const NUDGE: Duration = Duration::from_millis(80);

/// How long output and exit wait for a first client that was announced.
const FIRST_CLIENT_WAIT: Duration = Duration::from_secs(10);

/// How long a client may take to say hello.
const HELLO_WAIT: Duration = Duration::from_secs(10);

/// The grace of a keeper that is itself told to end.
const TERM_GRACE: Duration = Duration::from_secs(5);

/// Reads in a row before clients get their turn.
const READS_MAX: usize = 16;

/// What the loop works on.
pub(super) struct Keeper {
    pub(super) dir: std::path::PathBuf,
    pub(super) record: KeeperRecord,
    pub(super) io: AgentIo,
    pub(super) screen: Option<Screen>,
    pub(super) scrollback: Scrollback,
    pub(super) listener: UnixListener,
    pub(super) signals: SignalPipe,
    pub(super) tree: Tree,
    pub(super) first_client: FirstClient,
    /// Held for as long as the keeper lives.
    pub(super) _lock: FileLock,
    pub(super) state: State,
}

/// What changes while it runs.
pub(super) struct State {
    started: Instant,
    phase: Phase,
    cause: EndCause,
    exit: Option<Exit>,
    /// When nothing was left of the tree.
    empty_since: Option<Instant>,
    clients: Vec<Connection>,
    next_client: u64,
    attached_ever: Attached,
    input: Vec<u8>,
    /// Where output is read to; always [`CHUNK_MAX`] long.
    buffer: Vec<u8>,
    /// End of input has been asked for and waits until the input is written.
    closing_input: Closing,
    nudged_until: Option<Instant>,
    last_output_at_ms: i64,
    last_input_at_ms: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attached {
    Never,
    Once,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Closing {
    No,
    Yes,
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            started: Instant::now(),
            phase: Phase::Running,
            cause: EndCause::Agent,
            exit: None,
            empty_since: None,
            clients: Vec::new(),
            next_client: 1,
            attached_ever: Attached::Never,
            input: Vec::new(),
            buffer: vec![0; CHUNK_MAX],
            closing_input: Closing::No,
            nudged_until: None,
            last_output_at_ms: 0,
            last_input_at_ms: 0,
        }
    }
}

/// Something that poll watches.
#[derive(Debug, Clone, Copy)]
enum Source {
    Signals,
    Listener,
    Agent(Stream),
    Client(u64),
}

impl Keeper {
    /// Serves until the run has ended and its clients know.
    pub(super) fn serve(mut self) -> io::Result<()> {
        while !self.is_over() {
            let ready = self.wait()?;
            let now = Instant::now();
            for (source, flags) in ready {
                match source {
                    Source::Signals => self.on_signals(now),
                    Source::Listener => self.accept(now),
                    Source::Agent(Stream::Input) if can_write(flags) => self.write_input(),
                    Source::Agent(Stream::Input) => {}
                    Source::Agent(stream) if can_read(flags) => self.read_output(stream),
                    Source::Agent(_) => {}
                    Source::Client(id) if can_read(flags) => self.receive(id, now),
                    Source::Client(_) => {}
                }
            }
            self.on_time(now);
            self.advance(now);
            self.deliver(now);
        }
        Ok(())
    }

    fn wait(&self) -> io::Result<Vec<(Source, PollFlags)>> {
        let mut sources = vec![Source::Signals, Source::Listener];
        let mut fds = vec![
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.listener.as_fd(), PollFlags::POLLIN),
        ];
        if self.wants_output() {
            for (stream, fd) in self.io.readable() {
                sources.push(Source::Agent(stream));
                fds.push(PollFd::new(fd, PollFlags::POLLIN));
            }
        }
        if !self.state.input.is_empty()
            && let Some(fd) = self.io.writable()
        {
            sources.push(Source::Agent(Stream::Input));
            fds.push(PollFd::new(fd, PollFlags::POLLOUT));
        }
        for client in &self.state.clients {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::POLLIN, self.wants_words_of(client));
            let owed = !client.is_empty() || !client.is_caught_up(&self.scrollback);
            flags.set(PollFlags::POLLOUT, owed);
            if !flags.is_empty() {
                sources.push(Source::Client(client.id));
                fds.push(PollFd::new(client.fd(), flags));
            }
        }
        let timeout = self.next_deadline().map_or(PollTimeout::NONE, |deadline| {
            // Rounded up: waking a fraction too early would spin.
            let left = deadline.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
        });
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let flags = fds.iter().map(|fd| fd.revents().unwrap_or(PollFlags::empty()));
        Ok(sources.into_iter().zip(flags).filter(|(_, flags)| !flags.is_empty()).collect())
    }

    /// Output of pipes is left there while a client that must get every byte has no room, or is still to come.
    fn wants_output(&self) -> bool {
        if self.screen.is_some() {
            return true;
        }
        let attached = || self.state.clients.iter().filter(|client| client.role == Role::Attach);
        attached().all(Connection::has_room) && self.first_client_deadline().is_none()
    }

    fn wants_words_of(&self, client: &Connection) -> bool {
        client.role != Role::Attach || self.state.input.len() < INPUT_MAX
    }

    /// Until when a first client is waited for; `None` when nobody is.
    fn first_client_deadline(&self) -> Option<Instant> {
        let waited = self.first_client == FirstClient::Awaited && self.state.attached_ever == Attached::Never;
        let deadline = self.state.started + FIRST_CLIENT_WAIT;
        (waited && Instant::now() < deadline).then_some(deadline)
    }

    fn next_deadline(&self) -> Option<Instant> {
        let hello = self.state.clients.iter().filter(|client| client.role == Role::Unknown);
        let hello = hello.map(|client| client.since + HELLO_WAIT);
        let others = [self.state.phase.deadline(), self.state.nudged_until, self.first_client_deadline()];
        hello.chain(others.into_iter().flatten()).min()
    }

    fn on_time(&mut self, now: Instant) {
        if self.state.nudged_until.is_some_and(|until| now >= until) {
            self.state.nudged_until = None;
            if let Some(screen) = &self.screen {
                // The agent may be gone already; then nobody needs the size.
                let _ = self.io.set_size(screen.size());
            }
        }
        self.state.clients.retain(|client| client.role != Role::Unknown || now < client.since + HELLO_WAIT);
    }

    fn on_signals(&mut self, now: Instant) {
        for signal in self.signals.take() {
            match signal {
                Signal::SIGCHLD => {
                    let reaped = self.tree.reap(self.record.agent.pid);
                    if reaped.exit.is_some() {
                        self.state.exit = reaped.exit;
                    }
                    if reaped.stopped == Stopped::Yes {
                        self.signal_group(Signal::SIGCONT);
                    }
                    if reaped.left == Left::None {
                        self.on_empty(now);
                    }
                }
                Signal::SIGTERM => self.begin_stop(TERM_GRACE, now),
                _ => {}
            }
        }
    }

    /// Signals the agent's own process group, as a terminal would.
    fn signal_group(&self, signal: Signal) {
        // While the leader has not been collected nobody else can have its group id.
        if self.state.exit.is_none()
            && let Ok(pid) = i32::try_from(self.record.agent.pid)
        {
            let _ = nix::sys::signal::killpg(nix::unistd::Pid::from_raw(pid), signal);
        }
    }

    fn read_output(&mut self, stream: Stream) {
        // Taken out so that it can be read while the rest of the keeper changes.
        let mut buffer = std::mem::take(&mut self.state.buffer);
        let mut length = 0;
        for _ in 0..READS_MAX {
            match self.io.read(stream, &mut buffer[length..]) {
                Got::Bytes(count) => length += count,
                Got::Later | Got::End => break,
            }
            if length == buffer.len() {
                break;
            }
        }
        if length > 0 {
            self.on_output(stream, &buffer[..length]);
        }
        self.state.buffer = buffer;
    }

    fn on_output(&mut self, stream: Stream, bytes: &[u8]) {
        self.state.last_output_at_ms = clock::now_ms();
        // A full disk costs the scrollback, not the run.
        let _ = self.scrollback.append(bytes);
        if let Some(screen) = &mut self.screen {
            screen.feed(bytes);
        }
        for client in self.state.clients.iter_mut().filter(|client| client.role == Role::Attach) {
            let message = match stream {
                Stream::Errors => FromKeeper::OutputErr(bytes.to_vec()),
                _ => FromKeeper::Output(bytes.to_vec()),
            };
            client.output(message, bytes.len());
        }
    }

    fn write_input(&mut self) {
        match self.io.write(&self.state.input) {
            Ok(count) => drop(self.state.input.drain(..count)),
            Err(_) => {
                self.state.input.clear();
                self.io.close_input();
            }
        }
        if self.state.input.is_empty() && self.state.closing_input == Closing::Yes {
            self.io.close_input();
        }
    }

    fn resize(&mut self, size: Size) {
        if let Some(screen) = &mut self.screen
            && screen.size() != size
            && self.io.set_size(size).is_ok()
        {
            screen.resize(size);
            self.state.nudged_until = None;
        }
    }

    /// Makes a full-screen program draw anew although nothing has changed: it sees a shorter terminal for a moment.
    fn nudge(&mut self, now: Instant) {
        let Some(screen) = self.screen.as_ref().filter(|screen| screen.modes().is_alternate()) else {
            return;
        };
        let Size { cols, rows } = screen.size();
        let shorter = if rows > 1 { Size { cols, rows: rows - 1 } } else { Size { cols: cols + 1, rows } };
        if self.io.set_size(shorter).is_ok() {
            self.state.nudged_until = Some(now + NUDGE);
        }
    }
}
