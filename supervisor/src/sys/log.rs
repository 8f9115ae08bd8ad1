//! The daemon's own log: a file with a bound. It is for whoever repairs agentsup; what an auditor needs is in the
//! audit log.
//!
//! Invariants: at most two files of [`LIMIT`] bytes each. Must not hold: secrets, prompts, tool arguments, file contents;
//! so nothing that libraries say is written, whatever the filter asks for: those that parse command lines and carry
//! requests tell their bytes.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use tracing::{Metadata, Subscriber};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, fmt};

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

/// Sends this process's own tracing events to the file at `path`, filtered by `AGENTSUP_LOG` (`info` unless set). A
/// second call in one process changes nothing.
pub fn start(path: &Path) -> io::Result<()> {
    let directives = super::env::Env::current().text("AGENTSUP_LOG").unwrap_or("info");
    let _already_started = subscriber(path, directives)?.try_init();
    Ok(())
}

fn subscriber(path: &Path, directives: &str) -> io::Result<impl Subscriber + Send + Sync + use<>> {
    let file = open(path)?;
    let size = file.metadata()?.len();
    let sink = Sink(Mutex::new(Rotating { path: path.to_owned(), file, size }));
    let filter = EnvFilter::try_new(directives).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = fmt::layer().with_writer(sink).with_ansi(false).with_target(true);
    Ok(tracing_subscriber::registry().with(filter).with(filter_fn(is_ours)).with(lines))
}

fn is_ours(of: &Metadata<'_>) -> bool {
    of.target().split("::").next().is_some_and(|name| name == "agentsup" || name.starts_with("agentsup_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_written_of_what_libraries_say_whatever_is_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("daemon.log");
        let log = subscriber(&path, "trace,parse=trace,agentsupple=trace").unwrap();
        tracing::subscriber::with_default(log, || {
            tracing::error!(target: "parse", "the words of a command line");
            tracing::trace!(target: "agentsupple::x", "not ours either");
            tracing::debug!("ours");
            tracing::info!(target: "agentsup", "the program's");
        });
        let text = std::fs::read_to_string(&path).unwrap();
        let said: Vec<&str> = text.lines().filter_map(|line| line.rsplit(": ").next()).collect();
        assert_eq!(said, ["ours", "the program's"]);
    }

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
