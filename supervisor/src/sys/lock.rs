//! An exclusive lock on a file that the operating system lets go of when the holder dies, however it dies.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// Why a lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds it.
    #[error("`{}` is locked by another process", path.display())]
    Held {
        /// The lock file.
        path: PathBuf,
    },
    /// The lock file cannot be opened or locked.
    #[error("cannot lock `{}`: {source}", path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Held until dropped or until the process ends. The file stays: removing it would let two holders in.
#[derive(Debug)]
pub struct FileLock {
    _file: Flock<File>,
    path: PathBuf,
}

impl FileLock {
    /// Takes the lock at once or says who-knows-who holds it; never waits. The file is created 0600 if missing.
    pub fn acquire(path: &Path) -> Result<Self, LockError> {
        Self::lock(path, FlockArg::LockExclusiveNonblock)
    }

    /// Takes the lock, waiting as long as another process holds it: only on a thread of one's own, because nothing ends
    /// that wait but the holder.
    pub fn wait(path: &Path) -> Result<Self, LockError> {
        Self::lock(path, FlockArg::LockExclusive)
    }

    fn lock(path: &Path, how: FlockArg) -> Result<Self, LockError> {
        let failed = |source| LockError::Io { path: path.to_owned(), source };
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(path)
            .map_err(failed)?;
        match Flock::lock(file, how) {
            Ok(file) => Ok(Self { _file: file, path: path.to_owned() }),
            Err((_, Errno::EWOULDBLOCK)) => Err(LockError::Held { path: path.to_owned() }),
            Err((_, errno)) => Err(failed(errno.into())),
        }
    }

    /// The lock file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_exclusive_until_it_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = FileLock::acquire(&path).unwrap();
        assert_eq!(
            FileLock::acquire(&path).unwrap_err().to_string(),
            format!("`{}` is locked by another process", path.display())
        );
        drop(held);
        FileLock::acquire(&path).unwrap();
    }

    #[test]
    fn a_waiter_gets_the_lock_when_the_holder_lets_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = FileLock::acquire(&path).unwrap();
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        let waiter = std::thread::spawn(move || sender.send(FileLock::wait(&path).is_ok()));
        assert!(receiver.try_recv().is_err());
        drop(held);
        assert_eq!(receiver.recv(), Ok(true));
        waiter.join().unwrap().unwrap();
    }
}
