//! What a keeper is started with, and why one may not start.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::core::ids::RunId;

/// The longest specification that a keeper reads, in bytes of JSON.
pub const SPEC_MAX: usize = 4 * 1024 * 1024;

/// Everything a keeper needs, handed over on its standard input: the run token in `env` never lies on disk.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeeperSpec {
    /// The run this keeper stands for.
    pub run: RunId,
    /// The run's own directory: created 0700 if missing, one keeper at a time.
    pub dir: PathBuf,
    /// A path, or a name looked up in the `PATH` of [`env`](Self::env).
    pub program: String,
    /// The arguments after the program's name.
    pub args: Vec<String>,
    /// Exactly the agent's environment; nothing is inherited.
    pub env: Vec<(String, String)>,
    /// Where the agent starts; must exist.
    pub cwd: PathBuf,
    /// What the agent's standard streams are.
    pub io: Io,
    /// How many of the newest output bytes stay on disk.
    pub scrollback_max_bytes: u64,
    /// Whether somebody is about to attach.
    #[serde(default)]
    pub first_client: FirstClient,
}

impl std::fmt::Debug for KeeperSpec {
    /// Without the environment and the arguments, which may hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeeperSpec")
            .field("run", &self.run)
            .field("dir", &self.dir)
            .field("program", &self.program)
            .field("cwd", &self.cwd)
            .field("io", &self.io)
            .finish_non_exhaustive()
    }
}

/// What the agent's standard streams are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Io {
    /// A terminal of this size; zero columns or rows mean 80×24.
    Pty {
        /// Columns.
        cols: u16,
        /// Rows.
        rows: u16,
    },
    /// Three pipes: standard output and standard error stay apart.
    Pipes,
}

/// Whether the keeper should expect somebody to attach at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FirstClient {
    /// Output flows from the start and a program that ends at once takes its keeper with it (`run --detach`).
    #[default]
    NotAwaited,
    /// Output is held back in the terminal or pipe until the first client attaches (at most ten seconds), so that this
    /// client sees every byte as if it had started the program itself; and the keeper of a program that has
    /// already ended waits as long for it.
    Awaited,
}

/// Why a run did not start. Travels from the keeper to its spawner as JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartError {
    /// No such program: not a file, or not in the `PATH` the agent would have.
    #[error("`{program}` is not installed or not in PATH")]
    ProgramNotFound {
        /// As given in the specification.
        program: String,
    },
    /// The file is there but may not be executed.
    #[error("`{program}` is not executable")]
    ProgramNotExecutable {
        /// The file.
        program: String,
    },
    /// The operating system refused to execute the program (a missing interpreter, a wrong format).
    #[error("`{program}` cannot be executed: {reason}")]
    ExecFailed {
        /// The file.
        program: String,
        /// The operating system's words.
        reason: String,
    },
    /// The working directory is missing or not a directory.
    #[error("the working directory `{}` does not exist", cwd.display())]
    CwdMissing {
        /// As given in the specification.
        cwd: PathBuf,
    },
    /// Another keeper serves this run directory.
    #[error("`{}` already has a keeper", dir.display())]
    AlreadyRunning {
        /// The run directory.
        dir: PathBuf,
    },
    /// The run directory, or a file or socket in it, cannot be used.
    #[error("the run directory cannot be used: {reason}")]
    RunDirectory {
        /// What failed there.
        reason: String,
    },
    /// The specification cannot be understood.
    #[error("the keeper's specification is invalid: {reason}")]
    Specification {
        /// What is wrong with it.
        reason: String,
    },
    /// The operating system gave the keeper no terminal, pipe or process.
    #[error("the keeper cannot be set up: {reason}")]
    Setup {
        /// What was refused.
        reason: String,
    },
    /// The keeper ended, or said nothing in time, before it was ready.
    #[error("the keeper gave no answer: {reason}")]
    NoAnswer {
        /// How it ended.
        reason: String,
    },
}
