//! The daemon's own log: a file with a bound. It is for whoever repairs agentsup; what an auditor needs is in the
//! audit log.
//!
//! Invariants: at most two files of [`LIMIT`] bytes each. Must not hold: secrets, prompts, tool arguments, file contents.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// The size at which a file is put aside, in bytes. The one put aside before it is dropped.
const LIMIT: u64 = 8 * 1024 * 1024;

struct Rotating {
    path: PathBuf,
    file: File,
    size: u64,
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

impl Rotating {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.size >= LIMIT {
            std::fs::rename(&self.path, self.path.with_extension("log.1"))?;
            self.file = open(&self.path)?;
            self.size = 0;
        }
        self.file.write_all(bytes)?;
        self.size = self.size.saturating_add(bytes.len() as u64);
        Ok(())
    }
}

struct Sink(Mutex<Rotating>);

/// One log line's way to the file.
struct Line<'a>(&'a Sink);

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Sink {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(self)
    }
}

/// Sends this process's tracing events to the file at `path`, filtered by `AGENTSUP_LOG` (`info` unless set). A
/// second call in one process changes nothing.
pub fn start(path: &Path) -> io::Result<()> {
    let file = open(path)?;
    let size = file.metadata()?.len();
    let sink = Sink(Mutex::new(Rotating { path: path.to_owned(), file, size }));
    let directives = super::env::Env::current().text("AGENTSUP_LOG").unwrap_or("info");
    let filter = EnvFilter::try_new(directives).unwrap_or_else(|_| EnvFilter::new("info"));
    let _already_started = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(sink)
        .with_ansi(false)
        .with_target(true)
        .try_init();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file_is_put_aside_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("daemon.log");
        let mut log = Rotating { path: path.clone(), file: open(&path).unwrap(), size: LIMIT };
        log.write(b"first\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "first\n");
        assert_eq!(std::fs::read_to_string(dir.path().join("daemon.log.1")).unwrap(), "");
        log.size = LIMIT;
        log.write(b"second\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "second\n");
        assert_eq!(std::fs::read_to_string(dir.path().join("daemon.log.1")).unwrap(), "first\n");
    }
}
