//! What belongs to a run and to its human, found on this machine: the map that paths are placed on.

use std::path::{Path, PathBuf};

use super::env::Env;
use super::files::resolve;
use super::paths::Home;
use crate::core::place::{Grounds, SECRETS_AT_HOME};
use crate::core::run::Run;

/// Directories that are the same for every run.
#[derive(Debug, Clone, Default)]
pub struct Homes {
    /// The human's home directory.
    pub home: Option<PathBuf>,
    /// agentsup's own directories.
    pub own: Vec<PathBuf>,
    /// The system's temporary directory.
    pub temporary: PathBuf,
}

impl Homes {
    /// Those of this machine and of agentsup's places.
    pub fn new(home: &Home, env: &Env) -> Self {
        Self { home: env.home_dir(), own: home.roots().to_vec(), temporary: env.temp_dir() }
    }

    /// The map of a run: what its paths mean to the kernel, for a directory may lie behind a symlink.
    pub fn grounds(&self, run: &Run) -> Grounds {
        let real = |path: &Path| resolve(path, Path::new("/")).unwrap_or_else(|| path.to_owned());
        let mut secrets: Vec<PathBuf> = self.own.iter().map(|dir| real(dir)).collect();
        if let Some(home) = &self.home {
            secrets.extend(SECRETS_AT_HOME.iter().map(|path| real(&home.join(path))));
        }
        Grounds {
            worktree: real(&run.worktree),
            repository: real(&run.repository),
            scratch: vec![real(&run.dir.join("tmp"))],
            secrets,
            temporary: vec![real(&self.temporary), real(Path::new("/tmp"))],
        }
    }
}
