//! The keeper as a process of its own: what it starts, what it survives, what it ends, and whom it listens to.
//!
//! Keepers are started from the built binary through the library's own `start_from`; each test ends its own by `Kill`
//! through [`Run`]'s drop, by the ids that the keeper itself reports.

mod attach;
mod client;
mod life;
mod peers;
mod screen;
mod slow;

use std::path::{Path, PathBuf};
use std::time::Duration;

use agentsup_supervisor::core::ids::RunId;
use agentsup_supervisor::run::keeper::{
    ExitRecord, FirstClient, Io, KeeperRecord, KeeperSpec, StartError, load_exit, read_scrollback, start_from,
};
use agentsup_supervisor::sys::process::ProcessRef;

use super::super::fakes::wait::until;
use client::Client;

const AGENTSUP: &str = env!("CARGO_BIN_EXE_agentsup");
const PATIENCE: Duration = Duration::from_secs(20);

/// A specification that runs `script` in a shell.
fn spec(dir: &Path, script: &str, io: Io) -> KeeperSpec {
    KeeperSpec {
        run: RunId::from_parts(1, [9; 10]),
        dir: dir.join("run"),
        program: "/bin/sh".to_owned(),
        args: vec!["-c".to_owned(), script.to_owned()],
        env: vec![
            ("PATH".to_owned(), "/usr/bin:/bin".to_owned()),
            ("TERM".to_owned(), "xterm-256color".to_owned()),
            ("LANG".to_owned(), "C.UTF-8".to_owned()),
            ("AGENTSUP_RUN_ID".to_owned(), "run_of_the_test".to_owned()),
        ],
        cwd: dir.to_path_buf(),
        io,
        scrollback_max_bytes: 1 << 20,
        first_client: FirstClient::NotAwaited,
    }
}

const PTY: Io = Io::Pty { cols: 80, rows: 24 };

/// A keeper and the directory it lives in.
struct Run {
    home: tempfile::TempDir,
    record: KeeperRecord,
}

impl Run {
    fn start(script: &str, io: Io) -> Self {
        Self::start_with(script, io, |_| {})
    }

    fn start_with(script: &str, io: Io, change: impl FnOnce(&mut KeeperSpec)) -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut spec = spec(home.path(), script, io);
        change(&mut spec);
        let record = start_from(Path::new(AGENTSUP), &spec).expect("the keeper starts");
        Self { home, record }
    }

    fn dir(&self) -> PathBuf {
        self.home.path().join("run")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Waits until the script has written this file whole (it ends with a line break).
    fn wait_file(&self, name: &str) -> String {
        let path = self.file(name);
        let read = || std::fs::read_to_string(&path).unwrap_or_default();
        assert!(until(PATIENCE, || read().ends_with('\n')), "`{name}` was not written");
        read().trim_end().to_owned()
    }

    fn wait_exit(&self) -> ExitRecord {
        let dir = self.dir();
        assert!(until(PATIENCE, || load_exit(&dir).unwrap().is_some()), "the run does not end");
        load_exit(&dir).unwrap().unwrap()
    }

    fn wait_gone(&self) {
        assert!(until(PATIENCE, || !self.record.keeper.is_alive().unwrap()), "the keeper stays");
    }

    fn scrollback(&self) -> String {
        String::from_utf8_lossy(&read_scrollback(&self.dir(), u64::MAX).unwrap()).into_owned()
    }

    fn wait_scrollback(&self, text: &str) {
        assert!(until(PATIENCE, || self.scrollback().contains(text)), "`{text}` in {}", self.scrollback());
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if self.record.keeper.is_alive().unwrap_or(false) {
            // A keeper that is told to end stops its run first.
            let _ = self.record.keeper.signal(nix::sys::signal::Signal::SIGTERM);
            if !until(PATIENCE, || !self.record.keeper.is_alive().unwrap_or(false)) {
                let _ = self.record.keeper.signal(nix::sys::signal::Signal::SIGKILL);
            }
        }
    }
}

fn start_error(dir: &Path, change: impl FnOnce(&mut KeeperSpec)) -> StartError {
    let mut spec = spec(dir, "exit 0", PTY);
    change(&mut spec);
    start_from(Path::new(AGENTSUP), &spec).unwrap_err()
}

fn process(pid: &str) -> Option<ProcessRef> {
    agentsup_supervisor::sys::process::stat(pid.parse().unwrap()).unwrap().map(|stat| stat.process)
}
