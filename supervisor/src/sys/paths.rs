//! Where everything lives. `AGENTSUP_HOME` set: all of it inside that directory. Unset: the platform's usual places.
//!
//! Directories are made with mode 0700. A directory that belongs to somebody else or that others may write to is
//! refused: whoever can write there can register agents.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use super::env::Env;

/// Why the places cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// Neither `AGENTSUP_HOME` nor a home directory.
    #[error("no home directory: neither `AGENTSUP_HOME` nor `HOME` is an absolute path")]
    Nowhere,
    /// A relative `AGENTSUP_HOME` would mean another place in every directory.
    #[error("`AGENTSUP_HOME` is `{}`, which is not an absolute path", .0.display())]
    Relative(PathBuf),
    /// Somebody else's directory.
    #[error("`{}` belongs to user id {owner}, not to you", .path.display())]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// Who owns it.
        owner: u32,
    },
    /// Others could register agents or read keys' names there.
    #[error("`{}` can be written by others (mode {mode:04o})", .path.display())]
    Writable {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not a directory.
    #[error("`{}` is not a directory", .0.display())]
    NotADirectory(PathBuf),
    /// It cannot be made or looked at.
    #[error("`{}`: {source}", .path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl HomeError {
    /// The exact command that helps.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Nowhere | Self::Relative(_) => Some("export AGENTSUP_HOME=\"$HOME/.agentsup\"".into()),
            Self::Foreign { .. } => Some("set `AGENTSUP_HOME` to a directory of your own".into()),
            Self::Writable { path, .. } => Some(format!("chmod go-w '{}'", path.display())),
            Self::NotADirectory(_) | Self::Io { .. } => None,
        }
    }
}

/// Where everything lives. Paths only; nothing exists until [`Home::prepare`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    config: PathBuf,
    state: PathBuf,
    runs: PathBuf,
    logs: PathBuf,
    data: PathBuf,
    roots: Vec<PathBuf>,
}

impl Home {
    /// From this process's environment.
    pub fn from_env() -> Result<Self, HomeError> {
        Self::from_vars(Env::current())
    }

    /// From a given environment.
    pub fn from_vars(env: &Env) -> Result<Self, HomeError> {
        if let Some(root) = env.var("AGENTSUP_HOME") {
            let root = PathBuf::from(root);
            return if root.is_absolute() { Ok(Self::rooted(&root)) } else { Err(HomeError::Relative(root)) };
        }
        let home = env.home_dir().ok_or(HomeError::Nowhere)?;
        if cfg!(target_os = "macos") {
            return Ok(Self::rooted(&home.join("Library/Application Support/agentsup")));
        }
        let place = |variable: &str, usual: &str| {
            env.dir(variable).unwrap_or_else(|| home.join(usual)).join("agentsup")
        };
        let config = place("XDG_CONFIG_HOME", ".config");
        let state = place("XDG_STATE_HOME", ".local/state");
        let data = place("XDG_DATA_HOME", ".local/share");
        Ok(Self {
            runs: state.join("runs"),
            logs: state.join("logs"),
            roots: vec![config.clone(), state.clone(), data.clone()],
            config,
            state,
            data,
        })
    }

    /// Everything inside one directory.
    pub fn rooted(root: &Path) -> Self {
        Self {
            config: root.to_owned(),
            state: root.join("state"),
            runs: root.join("runs"),
            logs: root.join("logs"),
            data: root.to_owned(),
            roots: vec![root.to_owned()],
        }
    }

    /// Makes the directories and checks that they are the user's own and nobody else can write to them.
    pub fn prepare(&self) -> Result<(), HomeError> {
        let dirs =
            [&self.state, &self.runs, &self.logs, &self.worktrees_dir(), &self.trash_dir()].map(Clone::clone);
        for dir in self.roots.iter().chain(&dirs) {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
            made.map_err(|source| HomeError::Io { path: dir.clone(), source })?;
            check(dir)?;
        }
        Ok(())
    }

    /// As [`Home::prepare`], but makes nothing; what does not exist is fine.
    pub fn check(&self) -> Result<(), HomeError> {
        self.roots
            .iter()
            .chain([&self.state, &self.runs])
            .filter(|dir| dir.exists())
            .try_for_each(|dir| check(dir))
    }

    /// The directories that hold all the others; agents must not touch them, the worktrees excepted.
    pub fn roots(&self) -> &[PathBuf] {
        &self.roots
    }

    /// `config.toml`.
    pub fn config_file(&self) -> PathBuf {
        self.config.join("config.toml")
    }

    /// Manifests and policies.
    pub fn manifests_dir(&self) -> PathBuf {
        self.config.join("manifests")
    }

    /// Facts that must survive: ledger and log, the index of keys.
    pub fn state_dir(&self) -> &Path {
        &self.state
    }

    /// Ledger and log.
    pub fn database(&self) -> PathBuf {
        self.state.join("agentsup.db")
    }

    /// Names of the keys in the keyring, without their values.
    pub fn key_index(&self) -> PathBuf {
        self.state.join("keys.json")
    }

    /// The daemon's socket.
    pub fn socket(&self) -> PathBuf {
        self.state.join("agentsup.sock")
    }

    /// The daemon's single-instance lock.
    pub fn lock(&self) -> PathBuf {
        self.state.join("agentsup.lock")
    }

    /// The daemon's log.
    pub fn log_file(&self) -> PathBuf {
        self.logs.join("daemon.log")
    }

    /// One directory per run: the agent's private configuration, keeper socket, scrollback.
    pub fn runs_dir(&self) -> &Path {
        &self.runs
    }

    /// The runs' checkouts.
    pub fn worktrees_dir(&self) -> PathBuf {
        self.data.join("worktrees")
    }

    /// Removed checkouts, until they are collected.
    pub fn trash_dir(&self) -> PathBuf {
        self.data.join("trash")
    }
}

fn check(dir: &Path) -> Result<(), HomeError> {
    let path = dir.to_owned();
    let meta = fs::metadata(dir).map_err(|source| HomeError::Io { path: path.clone(), source })?;
    if !meta.is_dir() {
        return Err(HomeError::NotADirectory(path));
    }
    let owner = meta.uid();
    if owner != nix::unistd::geteuid().as_raw() {
        return Err(HomeError::Foreign { path, owner });
    }
    let mode = meta.mode() & 0o7777;
    if mode & 0o022 != 0 {
        return Err(HomeError::Writable { path, mode });
    }
    Ok(())
}
