//! Where everything lives. `AGENTSUP_HOME` set: all of it inside that directory. Unset: the platform's usual places.
//!
//! Directories are made with mode 0700. A directory that belongs to somebody else or that others may write to is
//! refused: whoever can write there can register agents.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use crate::core::error::{Code, Failure};

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

impl From<HomeError> for Failure {
    fn from(error: HomeError) -> Self {
        Self { code: Code::ConfigInvalid, message: error.to_string(), hint: error.hint() }
    }
}

/// The configuration's file name; the manifests are beside it.
pub const CONFIG_NAME: &str = "config.toml";
/// The name of the file with list prices that are newer than the built-in ones.
pub const PRICES_NAME: &str = "prices.toml";
/// The name of the directory of manifests and policies.
pub const MANIFESTS_NAME: &str = "manifests";

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
        self.config.join(CONFIG_NAME)
    }

    /// List prices that are newer than the built-in ones.
    pub fn prices_file(&self) -> PathBuf {
        self.config.join(PRICES_NAME)
    }

    /// Manifests and policies.
    pub fn manifests_dir(&self) -> PathBuf {
        self.config.join(MANIFESTS_NAME)
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

    /// What was fetched of the registry in git.
    pub fn registry_dir(&self) -> PathBuf {
        self.state.join("registry")
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn agentsup_home_holds_everything() {
        let home = Home::from_vars(&Env::of([("AGENTSUP_HOME", "/h"), ("XDG_STATE_HOME", "/s")])).unwrap();
        let paths = [
            home.config_file(),
            home.manifests_dir(),
            home.state_dir().to_owned(),
            home.database(),
            home.key_index(),
            home.socket(),
            home.lock(),
            home.log_file(),
            home.runs_dir().to_owned(),
            home.worktrees_dir(),
            home.trash_dir(),
        ];
        assert_eq!(
            paths.map(|path| path.to_str().unwrap().to_owned()),
            [
                "/h/config.toml",
                "/h/manifests",
                "/h/state",
                "/h/state/agentsup.db",
                "/h/state/keys.json",
                "/h/state/agentsup.sock",
                "/h/state/agentsup.lock",
                "/h/logs/daemon.log",
                "/h/runs",
                "/h/worktrees",
                "/h/trash",
            ]
        );
        assert_eq!(home.roots(), [PathBuf::from("/h")]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn without_it_the_usual_places_are_taken() {
        let home =
            Home::from_vars(&Env::of([("HOME", "/u"), ("XDG_STATE_HOME", "rel"), ("AGENTSUP_HOME", "")]));
        let home = home.unwrap();
        assert_eq!(
            home.roots(),
            ["/u/.config/agentsup", "/u/.local/state/agentsup", "/u/.local/share/agentsup"]
                .map(PathBuf::from)
        );
        let set = Env::of([
            ("HOME", "/u"),
            ("XDG_CONFIG_HOME", "/c"),
            ("XDG_STATE_HOME", "/s"),
            ("XDG_DATA_HOME", "/d"),
        ]);
        assert_eq!(
            Home::from_vars(&set).unwrap().roots(),
            ["/c/agentsup", "/s/agentsup", "/d/agentsup"].map(PathBuf::from)
        );
    }

    #[test]
    fn a_relative_home_is_refused() {
        let error = Home::from_vars(&Env::of([("AGENTSUP_HOME", "x")])).unwrap_err();
        assert_eq!(error.to_string(), "`AGENTSUP_HOME` is `x`, which is not an absolute path");
    }

    #[test]
    fn directories_are_made_private() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::rooted(&dir.path().join("deep/home"));
        assert!(home.check().is_ok());
        home.prepare().unwrap();
        for made in [home.roots()[0].clone(), home.state_dir().to_owned(), home.trash_dir()] {
            assert_eq!(fs::metadata(&made).unwrap().permissions().mode() & 0o777, 0o700, "{made:?}");
        }
    }

    #[test]
    fn a_home_that_others_can_write_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::rooted(dir.path());
        home.prepare().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o770)).unwrap();
        for error in [home.prepare().unwrap_err(), home.check().unwrap_err()] {
            let path = dir.path().display();
            assert_eq!(error.to_string(), format!("`{path}` can be written by others (mode 0770)"));
            assert_eq!(error.hint().unwrap(), format!("chmod go-w '{path}'"));
        }
    }

    #[test]
    fn somebody_elses_home_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        if nix::unistd::chown(dir.path(), Some(nix::unistd::Uid::from_raw(12345)), None).is_err() {
            eprintln!("skipped: only root can give a directory away");
            return;
        }
        let error = Home::rooted(dir.path()).prepare().unwrap_err();
        assert!(matches!(error, HomeError::Foreign { owner: 12345, .. }), "{error}");
    }

    #[test]
    fn a_file_in_the_way_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("state"), "").unwrap();
        let home = Home::rooted(dir.path());
        assert!(matches!(home.check(), Err(HomeError::NotADirectory(path)) if path == home.state_dir()));
        assert!(matches!(home.prepare(), Err(HomeError::Io { .. })));
    }
}
