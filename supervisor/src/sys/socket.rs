//! Unix sockets: 0600 in a 0700 directory, of any path length, and never a stale file removed that somebody serves.
//!
//! A socket address holds 108 bytes (104 on macOS). Longer paths go through `/proc/self/fd/<directory>/<name>` on
//! Linux and are a clear error elsewhere.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use super::lock::FileLock;

/// Bytes that fit into a socket address on every platform we build for, with the final zero.
const ADDRESS_MAX: usize = 103;

/// Why a socket could not be bound or reached.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Nothing listens there.
    #[error("nothing listens on `{}`", path.display())]
    NotListening {
        /// The socket.
        path: PathBuf,
    },
    /// Another process serves this path, or something that is no socket stands there.
    #[error("`{}` is in use", path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// The directory is not ours alone, so whoever else may write there could put their own socket in place.
    #[error("directory `{}` must belong to you alone (mode 0700), it has owner {uid} and mode {mode:04o}", dir.display())]
    DirectoryShared {
        /// The directory.
        dir: PathBuf,
        /// Its owner.
        uid: u32,
        /// Its mode bits.
        mode: u32,
    },
    /// The path is longer than this system allows for a socket.
    #[error("`{}` is too long for a socket path", path.display())]
    TooLong {
        /// The socket.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The socket or its directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SocketError {
    move |source| SocketError::Io { action, path: path.to_owned(), source }
}

/// Makes `dir` (and its parents, which keep the process's own umask) if missing, mode 0700, and refuses one that
/// another user owns or may enter. A directory of ours with wider bits is an error, not silently narrowed.
pub fn require_private_dir(dir: &Path) -> Result<(), SocketError> {
    if let Some(parent) = dir.parent() {
        fs::create_dir_all(parent).map_err(failed("create", parent))?;
    }
    match DirBuilder::new().mode(0o700).create(dir) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed("create", dir)(error)),
    }
    let meta = fs::symlink_metadata(dir).map_err(failed("look at", dir))?;
    let mode = meta.mode() & 0o7777;
    if !meta.is_dir() || meta.uid() != nix::unistd::geteuid().as_raw() || mode & 0o077 != 0 {
        return Err(SocketError::DirectoryShared { dir: dir.to_owned(), uid: meta.uid(), mode });
    }
    Ok(())
}

/// Binds `path` with mode 0600 and listens. `owner` is the lock that makes the caller the only one who may serve
/// this directory: a socket file left by a dead predecessor is removed only because the lock is held.
///
/// The listener is non-blocking and closed on exec.
pub fn bind(path: &Path, owner: &FileLock) -> Result<UnixListener, SocketError> {
    let dir = parent(path)?;
    require_private_dir(dir)?;
    if owner.path().parent() != Some(dir) {
        return Err(failed("bind without the lock of its directory", path)(
            io::ErrorKind::InvalidInput.into(),
        ));
    }
    remove_stale(path)?;
    let listener =
        with_address(path, |address| UnixListener::bind(address)).map_err(|error| match error {
            SocketError::Io { source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
                SocketError::InUse { path: path.to_owned() }
            }
            other => other,
        })?;
    // The directory has kept others out since before the file existed, so there is no moment to race for.
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(failed("protect", path))?;
    listener.set_nonblocking(true).map_err(failed("set up", path))?;
    Ok(listener)
}

/// Connects to the socket at `path`. The stream is blocking; Unix connects do not wait for an accept.
pub fn connect(path: &Path) -> Result<UnixStream, SocketError> {
    with_address(path, |address| UnixStream::connect(address)).map_err(|error| match error {
        SocketError::Io { source, .. }
            if matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) =>
        {
            SocketError::NotListening { path: path.to_owned() }
        }
        other => other,
    })
}

fn remove_stale(path: &Path) -> Result<(), SocketError> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.file_type().is_socket() => fs::remove_file(path).map_err(failed("remove", path)),
        Ok(_) => Err(SocketError::InUse { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed("look at", path)(error)),
    }
}

fn parent(path: &Path) -> Result<&Path, SocketError> {
    path.parent()
        .filter(|dir| !dir.as_os_str().is_empty())
        .ok_or_else(|| failed("bind without a directory", path)(io::ErrorKind::InvalidInput.into()))
}

fn with_address<T>(path: &Path, go: impl FnOnce(&Path) -> io::Result<T>) -> Result<T, SocketError> {
    if path.as_os_str().len() <= ADDRESS_MAX {
        return go(path).map_err(failed("use", path));
    }
    let name = path.file_name().ok_or_else(|| SocketError::TooLong { path: path.to_owned() })?;
    let (_dir, short) = short_directory(path)?;
    let address = short.join(name);
    if address.as_os_str().len() > ADDRESS_MAX {
        return Err(SocketError::TooLong { path: path.to_owned() });
    }
    go(&address).map_err(failed("use", path))
}

#[cfg(target_os = "linux")]
fn short_directory(path: &Path) -> Result<(File, PathBuf), SocketError> {
    use std::os::fd::AsRawFd as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let dir = parent(path)?;
    let open = fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_DIRECTORY)
        .open(dir)
        .map_err(failed("open the directory of", path))?;
    let short = PathBuf::from(format!("/proc/self/fd/{}", open.as_raw_fd()));
    Ok((open, short))
}

#[cfg(not(target_os = "linux"))]
fn short_directory(path: &Path) -> Result<(File, PathBuf), SocketError> {
    Err(SocketError::TooLong { path: path.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};

    fn private() -> tempfile::TempDir {
        tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o700)).tempdir().unwrap()
    }

    #[test]
    fn a_directory_open_to_others_is_refused() {
        let home = private();
        let dir = home.path().join("open");
        fs::create_dir(&dir).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
        let uid = nix::unistd::geteuid();
        assert_eq!(
            require_private_dir(&dir).unwrap_err().to_string(),
            format!(
                "directory `{}` must belong to you alone (mode 0700), it has owner {uid} and mode 0755",
                dir.display()
            )
        );
    }

    #[test]
    fn a_path_longer_than_an_address_still_works() {
        let home = private();
        let dir = home.path().join("d".repeat(120)).join("e".repeat(120));
        require_private_dir(&dir).unwrap();
        let path = dir.join("keeper.sock");
        let lock = FileLock::acquire(&dir.join("lock")).unwrap();
        let listener = bind(&path, &lock).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        let mut client = connect(&path).unwrap();
        client.write_all(b"hello").unwrap();
        drop(client);
        let mut text = String::new();
        listener.accept().unwrap().0.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");
    }

    #[test]
    fn a_stale_socket_is_replaced_and_another_file_is_not() {
        let home = private();
        let path = home.path().join("s.sock");
        let lock = FileLock::acquire(&home.path().join("lock")).unwrap();
        drop(bind(&path, &lock).unwrap());
        assert!(matches!(connect(&path), Err(SocketError::NotListening { .. })));
        drop(bind(&path, &lock).unwrap());
        fs::remove_file(&path).unwrap();
        fs::write(&path, "precious").unwrap();
        assert!(matches!(bind(&path, &lock), Err(SocketError::InUse { .. })));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }
}
