//! What the keeper does for its clients.

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::super::connection::{Connection, Flow, Role};
use super::super::message::{
    AgentSignal, FromKeeper, Hello, Mode, Refused, Status, ToKeeper, VERSION, Welcome,
};
use super::{Attached, Closing, Keeper};
use crate::sys::clock;
use crate::sys::peer::{self, Peer};
use crate::sys::terminal::Size;
use nix::sys::signal::Signal;

/// More clients than anybody looks at one run with.
const CLIENTS_MAX: usize = 32;

/// Output that a first client gets as it was written; beyond it, the screen.
const REPLAY_MAX: u64 = 512 * 1024;

/// Connections taken in one turn.
const ACCEPTS_MAX: usize = 8;

fn refused(reason: impl Into<String>) -> FromKeeper {
    FromKeeper::Error(Refused { reason: reason.into() })
}

impl Keeper {
    pub(super) fn accept(&mut self, now: Instant) {
        for _ in 0..ACCEPTS_MAX {
            let Ok((stream, _)) = self.listener.accept() else {
                return;
            };
            if stream.set_nonblocking(true).is_err() {
                continue;
            }
            let outcome = Peer::of(&stream)
                .and_then(|peer| peer::require_outside(&peer, &[self.record.keeper]))
                .map_err(|error| error.to_string());
            match outcome {
                Ok(()) if self.state.clients.len() < CLIENTS_MAX => {
                    let id = self.state.next_client;
                    self.state.next_client += 1;
                    self.state.clients.push(Connection::new(id, stream, now));
                }
                Ok(()) => turn_away(stream, "too many clients"),
                Err(reason) => turn_away(stream, &reason),
            }
        }
    }

    pub(super) fn receive(&mut self, id: u64, now: Instant) {
        let Some(at) = self.state.clients.iter().position(|client| client.id == id) else {
            return;
        };
        let (mut flow, messages) = match self.state.clients[at].receive() {
            Ok(received) => received,
            Err(error) => {
                let client = &mut self.state.clients[at];
                client.say(refused(error.to_string()));
                client.flush();
                self.state.clients.remove(at);
                return;
            }
        };
        for message in messages {
            if self.obey(at, message, now) == Flow::Over {
                flow = Flow::Over;
                break;
            }
        }
        if flow == Flow::Over {
            self.state.clients[at].flush();
            self.state.clients.remove(at);
        }
    }

    fn obey(&mut self, at: usize, message: ToKeeper, now: Instant) -> Flow {
        let role = self.state.clients[at].role;
        match (message, role) {
            (ToKeeper::Hello(hello), Role::Unknown) => self.welcome(at, &hello, now),
            (_, Role::Unknown) => self.state.clients[at].say(refused("say hello first")),
            (ToKeeper::Hello(_), _) => self.state.clients[at].say(refused("hello was said")),
            (ToKeeper::Input(bytes), Role::Attach) => self.on_input(at, &bytes),
            (ToKeeper::Resize { cols, rows }, Role::Attach) => {
                self.state.clients[at].size = Size::new(cols, rows);
                self.follow_size_of(at);
                Flow::On
            }
            (ToKeeper::CloseStdin, Role::Attach) => {
                self.state.closing_input = Closing::Yes;
                if self.state.input.is_empty() {
                    self.io.close_input();
                }
                Flow::On
            }
            (ToKeeper::Signal(signal), Role::Attach | Role::Control) => {
                self.signal_group(match signal {
                    AgentSignal::Interrupt => Signal::SIGINT,
                    AgentSignal::Hangup => Signal::SIGHUP,
                });
                Flow::On
            }
            (ToKeeper::Stop { grace_ms }, Role::Attach | Role::Control) => {
                self.begin_stop(Duration::from_millis(grace_ms), now);
                Flow::On
            }
            (ToKeeper::Kill, Role::Attach | Role::Control) => {
                self.state.clients[at].kills.push_back(now);
                self.begin_kill(now);
                Flow::On
            }
            (ToKeeper::Status, _) => {
                let status = self.status();
                self.state.clients[at].say(FromKeeper::Status(status))
            }
            _ => self.state.clients[at].say(refused("not in this mode")),
        }
    }

    fn welcome(&mut self, at: usize, hello: &Hello, now: Instant) -> Flow {
        if hello.version != VERSION {
            self.state.clients[at].say(refused(format!("this keeper speaks version {VERSION}")));
            return Flow::Over;
        }
        let welcome = FromKeeper::Welcome(Welcome {
            version: VERSION,
            run: self.record.run,
            keeper: self.record.keeper,
            agent: self.record.agent,
            streams: self.io.kind(),
        });
        let client = &mut self.state.clients[at];
        client.role = Role::from(hello.mode);
        client.size = Size::new(hello.cols, hello.rows);
        let flow = client.say(welcome);
        if hello.mode == Mode::Attach {
            self.show(at, now);
        }
        flow
    }

    /// Shows a client that has just attached what is there.
    fn show(&mut self, at: usize, now: Instant) {
        let first = std::mem::replace(&mut self.state.attached_ever, Attached::Once) == Attached::Never;
        let awaited = first && self.first_client == super::FirstClient::Awaited;
        let before = self.screen.as_ref().map(super::Screen::size);
        self.follow_size_of(at);
        let Some(screen) = &mut self.screen else {
            return;
        };
        if awaited && self.scrollback.start() == 0 && self.scrollback.end() <= REPLAY_MAX {
            let mut bytes = vec![0; usize::try_from(self.scrollback.end()).unwrap_or(0)];
            let mut length = 0;
            while length < bytes.len() {
                match self.scrollback.read_at(length as u64, &mut bytes[length..]) {
                    Ok(0) | Err(_) => break,
                    Ok(count) => length += count,
                }
            }
            for piece in bytes[..length].chunks(super::CHUNK_MAX) {
                self.state.clients[at].output(FromKeeper::Output(piece.to_vec()), piece.len());
            }
            return;
        }
        let redraw = screen.redraw();
        self.state.clients[at].redraw(&redraw);
        if before == self.screen.as_ref().map(super::Screen::size) {
            self.nudge(now);
        }
    }

    fn on_input(&mut self, at: usize, bytes: &[u8]) -> Flow {
        self.state.last_input_at_ms = clock::now_ms();
        self.follow_size_of(at);
        if self.state.closing_input == Closing::No && self.io.writable().is_some() {
            self.state.input.extend_from_slice(bytes);
            self.write_input();
        }
        Flow::On
    }

    /// The client at `at` is the active one.
    fn follow_size_of(&mut self, at: usize) {
        if let Some(size) = self.state.clients[at].size {
            self.resize(size);
        }
    }

    fn status(&self) -> Status {
        let size = self.screen.as_ref().map(super::Screen::size);
        let attached = self.state.clients.iter().filter(|client| client.role == Role::Attach).count();
        Status {
            agent: self.record.agent,
            processes: self.tree.alive_count().unwrap_or(0),
            attached: u32::try_from(attached).unwrap_or(u32::MAX),
            cols: size.map_or(0, |size| size.cols),
            rows: size.map_or(0, |size| size.rows),
            output_bytes: self.scrollback.end(),
            last_output_at_ms: self.state.last_output_at_ms,
            last_input_at_ms: self.state.last_input_at_ms,
            title: self.screen.as_ref().map(|screen| screen.modes().title().to_owned()).unwrap_or_default(),
            exit: self.state.exit,
        }
    }

    /// Sends what there is to send, and lets go of those who are gone.
    pub(super) fn deliver(&mut self, now: Instant) {
        let mut redraw: Option<Vec<u8>> = None;
        for client in &mut self.state.clients {
            client.pump(&self.scrollback);
            if client.wants_redraw()
                && let Some(screen) = &mut self.screen
            {
                client.redraw(redraw.get_or_insert_with(|| screen.redraw()));
            }
        }
        self.tell(now);
        let mut progress = false;
        for client in &mut self.state.clients {
            let before = client.waiting();
            client.flush();
            progress |= client.waiting() < before;
        }
        if progress {
            self.on_progress(now);
        }
    }
}

fn turn_away(mut stream: UnixStream, reason: &str) {
    let mut bytes = Vec::new();
    let message = refused(reason).into_frame();
    if message.and_then(|frame| frame.encode(&mut bytes)).is_ok() {
        // Best effort: a fresh connection takes a few bytes at once.
        let _ = stream.write_all(&bytes);
    }
}
