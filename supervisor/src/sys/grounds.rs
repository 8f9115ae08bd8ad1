//! What belongs to a run and to its human, found on this machine: the map that paths are placed on.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::env::Env;
use super::files::resolve;
use super::paths::Home;
use crate::core::action::Place;
use crate::core::place::{Grounds, SECRETS_AT_HOME, SECRETS_OF_SYSTEM};
use crate::core::run::Run;

/// Directories that are the same for every run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
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
        let temporary = reals([self.temporary.clone(), "/tmp".into(), "/var/tmp".into()]);
        let mut outside = vec![real(&run.repository)];
        // What lies beside the repository is not scratch, even where all of it is in the temporary directory.
        outside.extend(outside[0].parent().map(Path::to_owned).filter(|beside| !temporary.contains(beside)));
        let mut secrets = reals(self.own.iter().cloned());
        secrets.push(real(&run.dir));
        secrets.extend(SECRETS_OF_SYSTEM.iter().map(PathBuf::from));
        if let Some(home) = &self.home {
            let home = real(home);
            let named: Vec<PathBuf> = SECRETS_AT_HOME.iter().map(|path| home.join(path)).collect();
            // Both spellings: a secret may itself be a link to elsewhere.
            secrets.extend(reals(named.iter().cloned()));
            secrets.extend(named);
            outside.push(home);
        }
        let worktree = real(&run.worktree);
        let mut metadata = vec![worktree.join(".git")];
        metadata.extend(git_dirs(&worktree).into_iter().flat_map(|dirs| [dirs.own, dirs.shared]));
        Grounds::default()
            .with_all(&temporary, Place::Scratch)
            .with_all(&outside, Place::Outside)
            .with_all(&secrets, Place::Secret)
            .with_all(&metadata, Place::GitMetadata)
            .with(&real(&run.dir.join(SCRATCH)), Place::Scratch)
            .with(&worktree, Place::Worktree)
    }
}

/// The name of a run's scratch directory inside its directory.
pub const SCRATCH: &str = "tmp";

/// The longest first line of a file that names a git directory.
const MAX_LINE_BYTES: u64 = 16 * 1024;

fn real(path: &Path) -> PathBuf {
    resolve(path, Path::new("/")).unwrap_or_else(|| path.to_owned())
}

fn reals(paths: impl IntoIterator<Item = PathBuf>) -> Vec<PathBuf> {
    paths.into_iter().map(|path| real(&path)).collect()
}

/// Where a linked worktree's git directories are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitDirs {
    /// The worktree's own.
    pub own: PathBuf,
    /// The one that it shares with the repository.
    pub shared: PathBuf,
}

/// The git directories of a linked worktree, as its files name them; an agent can write those.
pub fn git_dirs(worktree: &Path) -> Option<GitDirs> {
    let own = worktree.join(first_line(&worktree.join(".git"))?.strip_prefix("gitdir: ")?);
    let shared = real(&own.join(first_line(&own.join("commondir"))?));
    Some(GitDirs { own: real(&own), shared })
}

/// Agents write here: what is not a plain file is not opened in a way that could wait for somebody.
fn first_line(path: &Path) -> Option<String> {
    let file = fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = String::new();
    file.take(MAX_LINE_BYTES).read_to_string(&mut text).ok()?;
    text.lines().next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::os::unix::fs::symlink;

    use super::*;
    use crate::core::place::place;

    fn run(dir: &Path) -> Run {
        Run {
            repository: dir.join("work/repo"),
            worktree: dir.join("sup/worktrees/1"),
            dir: dir.join("sup/runs/1"),
            ..crate::core::fixture::run()
        }
    }

    #[test]
    fn a_pipe_in_the_place_of_a_git_file_holds_nobody_up() {
        let guard = tempfile::tempdir().unwrap();
        let pipe = guard.path().join(".git");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        let worktree = guard.path().to_owned();
        std::thread::spawn(move || sender.send(git_dirs(&worktree)));
        assert_eq!(receiver.recv_timeout(std::time::Duration::from_secs(10)).unwrap(), None);
    }

    #[test]
    fn a_run_stands_on_its_own_ground() {
        let guard = tempfile::tempdir().unwrap();
        let dir = guard.path().canonicalize().unwrap();
        let home = Home::rooted(&dir.join("sup"));
        home.prepare().unwrap();
        let run = run(&dir);
        for made in ["work", "sup/worktrees/1", "sup/runs/1", "home", "vault", "store/bare/worktrees/1"] {
            fs::create_dir_all(dir.join(made)).unwrap();
        }
        // The repository's own directory is reached through a link, as are the user's keys.
        symlink(dir.join("store"), dir.join("work/repo")).unwrap();
        symlink(dir.join("vault"), dir.join("home/.ssh")).unwrap();
        let git_dir = dir.join("store/bare/worktrees/1");
        fs::write(run.worktree.join(".git"), format!("gitdir: {}\n", git_dir.display())).unwrap();
        fs::write(git_dir.join("commondir"), "../..\n").unwrap();

        let env = Env::of([("HOME", dir.join("home")), ("TMPDIR", dir.clone())]);
        let grounds = Homes::new(&home, &env).grounds(&run);
        for (path, expected) in [
            ("sup/worktrees/1/src/main.rs", Place::Worktree),
            ("sup/worktrees/1/.git", Place::GitMetadata),
            ("sup/worktrees/2/src/main.rs", Place::Secret),
            ("sup/config.toml", Place::Secret),
            ("sup/runs/1/settings.json", Place::Secret),
            ("sup/runs/1/tmp/x", Place::Scratch),
            ("work/repo/src/main.rs", Place::Outside),
            ("store/src/main.rs", Place::Outside),
            ("store/bare/hooks/pre-commit", Place::GitMetadata),
            ("store/bare/worktrees/1/HEAD", Place::GitMetadata),
            ("home/notes", Place::Outside),
            ("home/.ssh/id", Place::Secret),
            ("vault/id", Place::Secret),
            ("home/.aws/credentials", Place::Secret),
            ("elsewhere", Place::Scratch),
        ] {
            let resolved = real(&dir.join(path));
            assert_eq!(place(&resolved, &grounds), expected, "{path}: {}", resolved.display());
        }
    }
}
