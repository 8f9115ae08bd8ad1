//! The keeper: one small process per run that owns the agent's terminal and its whole process tree, and outlives the
//! daemon.
//!
//! # For those who start and command keepers
//!
//! - [`Nascent`] re-executes this binary as a keeper ([`VERB`], handled by [`main`]); given its run, it answers once the
//!   agent has been executed, or with a [`StartError`] that says why it was not. Both block: use `spawn_blocking`.
//! - [`KeeperClient`] is the daemon's connection: status, stop, kill, and waiting for the end.
//! - [`find`] says what stands in a run directory: a living keeper, an exit, a vanished keeper, nothing. That is how the
//!   next daemon takes over; it then connects a [`KeeperClient`].
//! - [`read_scrollback`] returns the newest output, also long after the end. `logs --follow` is
//!   [`attach::observe`](crate::run::attach::observe), which replays it and goes on.
//! - [`attach::attach`](crate::run::attach::attach) is the user's terminal.
//!
//! The run directory holds `keeper.sock`, `keeper.lock`, `keeper.json`, `scrollback` and `scrollback.1`,
//! `keeper.log` and, at the end, `exit.json`. It must be the run's own (0700).
//!
//! # What a keeper promises
//!
//! - The agent gets exactly the environment of its [`KeeperSpec`], which is never written to disk, and a session of its own.
//! - Whatever becomes of clients and daemon, the agent is neither stopped nor slowed down by them. The one exception is
//!   wanted: with [`Io::Pipes`] an attached client that does not read is waited for, as in any shell pipeline.
//! - When the agent's first process ends, its output is drained, whatever is left of its tree is terminated and then
//!   killed until the kernel says that there is no child left, `exit.json` is on disk, and only then clients hear of it.
//! - Descendants are found by ancestry (the keeper is a child subreaper), never by name, session or process group. What
//!   another daemon started on the agent's behalf (a container, `at`) is not a descendant and not found.
//! - When the keeper dies, the agent dies with it (Linux). A keeper told to end (`SIGTERM`) stops its run first.
//! - Memory is bounded: one thread, one poll loop, bounded queues. A client that is too slow for a terminal loses
//!   its queue and gets the whole screen again once it has drained; an observer reads from disk at its own pace.
//! - Its socket serves only the same user and nothing that comes from a run ([`crate::sys::peer`]).
//!
//! # Terminal
//!
//! The size follows the client that was last active. A client that attaches gets the present screen from a model
//! ([`screen`]); full-screen programs are also made to redraw by a short resize. Questions that a program asks its
//! terminal (DSR, DA, colours) are answered by the attached terminal; with none attached they are not answered.
//! A program that stops itself (Ctrl-Z) is continued at once: there is no shell that could do it.

mod begin;
pub mod client;
mod connection;
pub mod files;
pub mod frame;
pub mod message;
pub mod modes;
pub mod screen;
pub mod scrollback;
mod serve;
pub mod spec;
pub mod start;
mod streams;
mod tree;

pub use client::KeeperClient;
pub use files::{EndCause, Exit, ExitRecord, Found, KeeperRecord, find, load_exit};
pub use message::{Killed, Mode, Status};
pub use scrollback::read_scrollback;
pub use spec::{FirstClient, Io, KeeperSpec, StartError};
pub use start::{Nascent, VERB, start_from};

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::sys::process::ProcessError;
use crate::sys::socket::SocketError;

/// Why a keeper could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// Its socket cannot be reached.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The connection broke.
    #[error("connection to the keeper: {0}")]
    Connection(io::Error),
    /// It said something that is not the protocol.
    #[error(transparent)]
    Frame(#[from] frame::FrameError),
    /// It refused.
    #[error("the keeper refuses: {0}")]
    Refused(String),
    /// It closed the connection without a word.
    #[error("the keeper is gone")]
    Lost,
    /// It did not answer in time.
    #[error("the keeper does not answer")]
    Silent,
    /// A file of the run directory is damaged or cannot be read.
    #[error("`{}`: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The operating system did not say whether it lives.
    #[error(transparent)]
    Process(#[from] ProcessError),
}

/// The whole life of a keeper: what the binary does when its first argument is [`VERB`]. Call it first in `main`,
/// before anything starts a thread or opens a file.
pub fn main() -> ExitCode {
    crate::sys::spawn::close_inherited();
    match begin::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
