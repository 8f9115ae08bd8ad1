//! A server's standard error, kept in a file of bounded size: when it is full, it becomes `<name>.old` and a new one
//! begins. Always read to its end, so that no server blocks on it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The size at which a new file begins; two are kept.
const FILE_MAX: u64 = 1024 * 1024;

/// Copies until the end; problems with the file only lose the text.
pub(super) async fn keep(mut stderr: impl AsyncRead + Unpin, path: PathBuf) {
    let mut file = open(&path).ok();
    let mut piece = vec![0; 8 * 1024];
    while let Ok(length) = stderr.read(&mut piece).await {
        let Some(text) = piece.get(..length).filter(|text| !text.is_empty()) else { return };
        if let Some((kept, size)) = &mut file {
            // A few kilobytes into the page cache; not worth a thread.
            if kept.write_all(text).is_err() {
                file = None;
                continue;
            }
            *size += length as u64;
            if *size >= FILE_MAX {
                file = fs::rename(&path, path.with_extension("old")).and_then(|()| open(&path)).ok();
            }
        }
    }
}

fn open(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    let size = file.metadata()?.len();
    Ok((file, size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_file_is_bounded_and_private() {
        use std::os::unix::fs::PermissionsExt as _;

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.log");
        let text = "x".repeat(3 * 1024 * 1024 + 5);
        keep(text.as_bytes(), path.clone()).await;
        let size = |path: &Path| fs::metadata(path).unwrap().len();
        assert!(size(&path) < FILE_MAX + 8192 && size(&path.with_extension("old")) < FILE_MAX + 8192);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        keep(&b"tail"[..], path.clone()).await;
        assert!(fs::read_to_string(&path).unwrap().ends_with("xtail"));
    }

    #[tokio::test]
    async fn without_a_file_it_still_reads_to_the_end() {
        let text = vec![b'x'; 100_000];
        let mut rest = &text[..];
        keep(&mut rest, PathBuf::from("/nonexistent/dir/s.log")).await;
        assert!(rest.is_empty());
    }
}
