//! How a run ends: asked, then killed, drained, written down, told.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::super::connection::{Role, Told};
use super::super::files::{self, Durability, EXIT, EndCause, Exit, ExitRecord};
use super::super::message::{Exited, FromKeeper, Killed};
use super::super::tree::Left;
use super::{Keeper, State};
use crate::sys::clock;

/// How long what an agent left behind has to end by itself.
const LEFTOVER_GRACE: Duration = Duration::from_secs(2);

/// The longest grace a client may ask for.
const GRACE_MAX: Duration = Duration::from_secs(300);

/// Between two looks at a tree that is being killed.
const KILL_INTERVAL: Duration = Duration::from_millis(2);

/// When a process does not die of `SIGKILL` for this long, it is stuck in the kernel.
const KILL_MAX: Duration = Duration::from_secs(10);

/// For a terminal whose inner end somebody outside the tree keeps open.
const DRAIN_MAX: Duration = Duration::from_secs(2);

/// How long clients of a terminal have to take the last of it.
const TELL_MAX: Duration = Duration::from_secs(5);

/// How long the reader of a pipeline may pause before what the agent wrote is given up.
const TELL_PIPES_MAX: Duration = Duration::from_secs(600);

/// Where the run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The agent lives and nobody has asked it to end.
    Running,
    /// It was asked to end.
    Stopping { until: Instant },
    /// It has ended, what it left behind was asked to.
    Leftovers { until: Instant },
    /// Everything is being killed.
    Killing { since: Instant, next: Instant },
    /// Nothing lives; the last output is being read.
    Draining { until: Instant, survivors: u32 },
    /// It is written down; clients are being told.
    Ended { until: Instant, survivors: u32 },
}

impl Phase {
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Running => None,
            Self::Killing { next, .. } => Some(*next),
            Self::Stopping { until }
            | Self::Leftovers { until }
            | Self::Draining { until, .. }
            | Self::Ended { until, .. } => Some(*until),
        }
    }
}

impl Keeper {
    /// Asks the agent to end; what is left after `grace` is killed.
    pub(super) fn begin_stop(&mut self, grace: Duration, now: Instant) {
        let until = now + grace.min(GRACE_MAX);
        match self.state.phase {
            Phase::Running => {
                self.state.cause = EndCause::Stop;
                self.signal_group(Signal::SIGTERM);
                self.signal_group(Signal::SIGCONT);
                self.state.phase = Phase::Stopping { until };
            }
            // Asked again: the shorter of the two.
            Phase::Stopping { until: before } => {
                self.signal_group(Signal::SIGTERM);
                self.state.phase = Phase::Stopping { until: until.min(before) };
            }
            _ => {}
        }
    }

    /// Kills everything now.
    pub(super) fn begin_kill(&mut self, now: Instant) {
        if let Phase::Running | Phase::Stopping { .. } | Phase::Leftovers { .. } = self.state.phase {
            if self.state.exit.is_none() {
                self.state.cause = EndCause::Kill;
            }
            self.state.phase = Phase::Killing { since: now, next: now };
            self.advance(now);
        }
    }

    /// Nothing lives below the keeper any more.
    pub(super) fn on_empty(&mut self, now: Instant) {
        if !matches!(self.state.phase, Phase::Draining { .. } | Phase::Ended { .. }) {
            self.drain(now, 0);
        }
    }

    /// Takes the run as far as it can go without waiting.
    pub(super) fn advance(&mut self, now: Instant) {
        match self.state.phase {
            Phase::Running if self.state.exit.is_some() => self.end_leftovers(now),
            Phase::Stopping { .. } if self.state.exit.is_some() => self.end_leftovers(now),
            Phase::Stopping { until } | Phase::Leftovers { until } if now >= until => {
                self.state.phase = Phase::Killing { since: now, next: now };
                self.kill_once(now, now);
            }
            Phase::Killing { since, next } if now >= next => self.kill_once(since, now),
            Phase::Draining { until, survivors } => {
                let held_back = self.screen.is_none() && !self.wants_output();
                if self.io.is_drained() || held_back || now >= until {
                    self.write_down(now, survivors);
                }
            }
            _ => {}
        }
    }

    fn end_leftovers(&mut self, now: Instant) {
        self.state.phase = Phase::Leftovers { until: now + LEFTOVER_GRACE };
        // A list that cannot be read kills what is left at the deadline, or shows nobody is there to kill.
        let _ = self.tree.signal(Signal::SIGTERM);
        let _ = self.tree.signal(Signal::SIGCONT);
    }

    fn kill_once(&mut self, since: Instant, now: Instant) {
        let _ = self.tree.kill();
        let reaped = self.tree.reap(self.record.agent.pid);
        if reaped.exit.is_some() {
            self.state.exit = reaped.exit;
        }
        if reaped.left == Left::None {
            self.drain(now, 0);
        } else if now >= since + KILL_MAX {
            let survivors = self.tree.alive_count().unwrap_or(u32::MAX).max(1);
            self.drain(now, survivors);
        } else {
            self.state.phase = Phase::Killing { since, next: now + KILL_INTERVAL };
        }
    }

    fn drain(&mut self, now: Instant, survivors: u32) {
        self.io.release();
        // Not the turn's time: the kill itself has taken some of it.
        self.state.empty_since = Some(Instant::now());
        self.state.phase = Phase::Draining { until: now + DRAIN_MAX, survivors };
    }

    /// `exit.json` is on disk before anybody hears of the end.
    fn write_down(&mut self, now: Instant, survivors: u32) {
        if self.screen.is_some() {
            self.io.close_output();
        }
        let record = ExitRecord {
            exit: self.exit(),
            cause: self.state.cause,
            ended_at_ms: clock::now_ms(),
            killed_processes: self.tree.killed_count(),
            survivors,
        };
        // If the disk does not take it, the daemon finds a vanished keeper; clients are told in any case.
        let _ = files::store(&self.dir, EXIT, &record, Durability::Machine);
        let until = now + self.tell_max();
        let until = self.first_client_deadline().map_or(until, |deadline| deadline.max(until));
        self.state.phase = Phase::Ended { until, survivors };
    }

    /// An agent that even `SIGKILL` does not end counts as killed.
    fn exit(&self) -> Exit {
        self.state.exit.unwrap_or(Exit::Signal(Signal::SIGKILL as i32))
    }

    fn tell_max(&self) -> Duration {
        if self.screen.is_some() { TELL_MAX } else { TELL_PIPES_MAX }
    }

    /// Tells every client that has got everything else.
    pub(super) fn tell(&mut self, now: Instant) {
        let Phase::Ended { survivors, .. } = self.state.phase else {
            return;
        };
        if self.wants_output() {
            // Nothing lives that could write, so what is not there now will never be.
            self.read_rest();
        }
        let exited =
            Exited { exit: self.exit(), cause: self.state.cause, killed_processes: self.tree.killed_count() };
        let drained = self.io.is_drained();
        let State { clients, empty_since, .. } = &mut self.state;
        let empty_since = empty_since.unwrap_or(now);
        for client in clients.iter_mut() {
            while let Some(asked) = client.kills.pop_front() {
                let elapsed = empty_since.saturating_duration_since(asked);
                client.say(FromKeeper::Killed(Killed {
                    processes_killed: exited.killed_processes,
                    survivors,
                    elapsed_us: u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
                }));
            }
            let complete = match client.role {
                Role::Unknown => false,
                Role::Control => true,
                Role::Attach | Role::Observe { .. } => drained && client.is_caught_up(&self.scrollback),
            };
            if complete && client.told == Told::No {
                client.told = Told::Yes;
                client.say(FromKeeper::Exited(exited.clone()));
            }
        }
    }

    fn read_rest(&mut self) {
        let streams: Vec<_> = self.io.readable().into_iter().map(|(stream, _)| stream).collect();
        for stream in streams {
            let before = self.scrollback.end();
            self.read_output(stream);
            if self.scrollback.end() == before && self.wants_output() {
                self.io.close_output_of(stream);
            }
        }
    }

    /// A client of a pipeline has taken something: it gets as long again.
    pub(super) fn on_progress(&mut self, now: Instant) {
        let tell_max = self.tell_max();
        if let Phase::Ended { until, .. } = &mut self.state.phase {
            *until = now + tell_max;
        }
    }

    /// Whether the keeper has nothing left to do.
    pub(super) fn is_over(&self) -> bool {
        let Phase::Ended { until, .. } = self.state.phase else {
            return false;
        };
        let open = self.state.clients.iter().any(|client| client.told == Told::No || !client.is_empty());
        let expected = self.first_client_deadline().is_some();
        (!open && !expected) || Instant::now() >= until
    }
}
