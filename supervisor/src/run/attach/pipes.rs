//! A pipeline joined to the agent's three pipes: nothing is added, nothing is lost, and the agent waits for a slow
//! reader as it would in any shell.

use nix::poll::PollFlags;
use nix::sys::signal::Signal;
use std::os::fd::AsFd as _;

use super::link::Link;
use super::{Attached, Ends, Typed, read_input};
use crate::run::keeper::KeeperError;
use crate::run::keeper::message::{AgentSignal, FromKeeper, ToKeeper};
use crate::sys::signals::SignalPipe;

/// How long an agent has to end when its pipeline ends.
const GRACE_MS: u64 = 5000;

/// Whether there is more to read from the pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Input {
    Open,
    Ended,
}

pub(super) fn run(link: &mut Link, signals: &SignalPipe, ends: Ends<'_>) -> Result<Attached, KeeperError> {
    let Ends { input, out, err } = ends;
    let mut open = Input::Open;
    loop {
        while let Some(message) = link.next_message()? {
            let written = match message {
                FromKeeper::Output(bytes) => out.write_all(&bytes),
                FromKeeper::OutputErr(bytes) => err.write_all(&bytes),
                FromKeeper::Exited(exited) => {
                    let _ = out.flush().and_then(|()| err.flush());
                    return Ok(exited.into());
                }
                FromKeeper::Error(refused) => return Err(KeeperError::Refused(refused.reason)),
                _ => Ok(()),
            };
            if written.is_err() {
                return give_up(link);
            }
        }
        if out.flush().and_then(|()| err.flush()).is_err() {
            return give_up(link);
        }
        let mut others = vec![(signals.as_fd(), PollFlags::POLLIN)];
        if open == Input::Open && link.has_room() {
            others.push((input, PollFlags::POLLIN));
        }
        link.wait(&mut others)?;
        for signal in signals.take() {
            match signal {
                Signal::SIGINT => link.say(ToKeeper::Signal(AgentSignal::Interrupt))?,
                Signal::SIGHUP => link.say(ToKeeper::Signal(AgentSignal::Hangup))?,
                Signal::SIGTERM | Signal::SIGQUIT => link.say(ToKeeper::Stop { grace_ms: GRACE_MS })?,
                _ => {}
            }
        }
        if others.get(1).is_some_and(|(_, flags)| !flags.is_empty()) {
            match read_input(input).map_err(KeeperError::Connection)? {
                Typed::Bytes(bytes) => link.say(ToKeeper::Input(bytes))?,
                Typed::End => {
                    open = Input::Ended;
                    link.say(ToKeeper::CloseStdin)?;
                }
            }
        }
    }
}

/// The reader is gone: the agent would have got `SIGPIPE`.
fn give_up(link: &mut Link) -> Result<Attached, KeeperError> {
    link.say(ToKeeper::Stop { grace_ms: GRACE_MS })?;
    link.drain();
    Ok(Attached::Unread)
}
