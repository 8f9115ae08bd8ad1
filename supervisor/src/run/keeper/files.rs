//! The files of a run directory, for the keeper that writes them and the daemon that finds them again.
//!
//! `keeper.json` and `exit.json` are written to a neighbour and renamed: a reader sees a whole file or none. The exit
//! is also synced, because it must outlast the machine; who the keeper was means nothing after a reboot, and syncing
//! it would double the time a run takes to start.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::KeeperError;
use crate::core::ids::RunId;
use crate::sys::process::{self, ProcessRef};

/// The keeper's socket.
pub const SOCKET: &str = "keeper.sock";
/// The lock that a keeper holds for as long as it lives.
pub const LOCK: &str = "keeper.lock";
/// Who the keeper is.
pub const KEEPER: &str = "keeper.json";
/// How the agent ended.
pub const EXIT: &str = "exit.json";
/// What went wrong inside the keeper, bounded; empty in a good life.
pub const LOG: &str = "keeper.log";

/// A record is a few hundred bytes; anything longer is not one.
const RECORD_MAX: u64 = 64 * 1024;

/// `keeper.json`: who keeps this run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeeperRecord {
    /// The run.
    pub run: RunId,
    /// The keeper.
    pub keeper: ProcessRef,
    /// The agent's first process.
    pub agent: ProcessRef,
    /// The boot during which both were started; their identity means nothing in another.
    pub boot: String,
    /// When the agent was started, in milliseconds since 1970.
    pub started_at_ms: i64,
}

/// How an agent's first process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// It returned this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

/// Who made an agent end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndCause {
    /// It ended by itself.
    Agent,
    /// A client asked for a stop, or the keeper was told to end.
    Stop,
    /// A client asked for a kill.
    Kill,
}

/// `exit.json`: how the run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// The code or the signal of the agent's first process.
    #[serde(flatten)]
    pub exit: Exit,
    /// Why.
    pub cause: EndCause,
    /// When the whole tree was gone, in milliseconds since 1970.
    pub ended_at_ms: i64,
    /// Processes that had to be killed.
    pub killed_processes: u32,
    /// Processes that did not die although killed again and again (stuck in the kernel); zero in a good life.
    pub survivors: u32,
}

/// What stands in a run directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// The keeper lives: connect to it.
    Running(KeeperRecord),
    /// The run has ended and said how.
    Exited(ExitRecord),
    /// The keeper died without a word (killed, or the machine went down): nothing supervises what may be left.
    Vanished(KeeperRecord),
    /// No keeper was ever ready here.
    Nothing,
}

/// Looks at a run directory; how the next daemon finds the runs of the one before it.
pub fn find(dir: &Path) -> Result<Found, KeeperError> {
    if let Some(exit) = load_exit(dir)? {
        return Ok(Found::Exited(exit));
    }
    let Some(record) = load::<KeeperRecord>(&dir.join(KEEPER))? else {
        return Ok(Found::Nothing);
    };
    let here = record.boot == process::boot_id()?;
    if here && record.keeper.is_alive()? {
        return Ok(Found::Running(record));
    }
    // It may have ended in an orderly way since the first look.
    Ok(load_exit(dir)?.map_or(Found::Vanished(record), Found::Exited))
}

/// How the run ended; `None` while it runs, or if its keeper died without a word.
pub fn load_exit(dir: &Path) -> Result<Option<ExitRecord>, KeeperError> {
    load(&dir.join(EXIT))
}

fn load<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, KeeperError> {
    let failed = |source| KeeperError::File { path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut text = Vec::new();
    file.take(RECORD_MAX).read_to_end(&mut text).map_err(failed)?;
    if text.iter().all(|byte| *byte == 0) {
        // What a crash of the machine leaves of a file that was not synced.
        return Ok(None);
    }
    serde_json::from_slice(&text)
        .map(Some)
        .map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidData, error)))
}

/// Whether a record outlasts the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Durability {
    /// It outlasts this process.
    Process,
    /// It outlasts a power cut.
    Machine,
}

/// Writes a record so that readers see it whole or not at all.
pub(super) fn store<T: Serialize>(
    dir: &Path,
    name: &str,
    record: &T,
    durability: Durability,
) -> io::Result<()> {
    let mut text = serde_json::to_vec(record)?;
    text.push(b'\n');
    let beside: PathBuf = dir.join(format!("{name}.new"));
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&beside)?;
    file.write_all(&text)?;
    if durability == Durability::Machine {
        file.sync_all()?;
    }
    fs::rename(&beside, dir.join(name))?;
    match durability {
        Durability::Machine => File::open(dir)?.sync_all(),
        Durability::Process => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(keeper: ProcessRef) -> KeeperRecord {
        KeeperRecord {
            run: RunId::from_parts(1, [1; 10]),
            keeper,
            agent: ProcessRef { pid: 4_000_001, start_time: 2 },
            boot: process::boot_id().unwrap(),
            started_at_ms: 5,
        }
    }

    #[test]
    fn a_directory_tells_running_exited_vanished_and_nothing_apart() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(find(dir.path()).unwrap(), Found::Nothing);
        let us = record(ProcessRef::current().unwrap());
        store(dir.path(), KEEPER, &us, Durability::Process).unwrap();
        assert_eq!(find(dir.path()).unwrap(), Found::Running(us.clone()));
        let earlier_boot = KeeperRecord { boot: "another".to_owned(), ..us.clone() };
        store(dir.path(), KEEPER, &earlier_boot, Durability::Process).unwrap();
        assert_eq!(find(dir.path()).unwrap(), Found::Vanished(earlier_boot));
        let dead = record(ProcessRef { start_time: 1, ..us.keeper });
        store(dir.path(), KEEPER, &dead, Durability::Process).unwrap();
        assert_eq!(find(dir.path()).unwrap(), Found::Vanished(dead));
        let exit = ExitRecord {
            exit: Exit::Code(7),
            cause: EndCause::Agent,
            ended_at_ms: 9,
            killed_processes: 1,
            survivors: 0,
        };
        store(dir.path(), EXIT, &exit, Durability::Machine).unwrap();
        assert_eq!(
            fs::read_to_string(dir.path().join(EXIT)).unwrap(),
            "{\"code\":7,\"cause\":\"agent\",\"ended_at_ms\":9,\"killed_processes\":1,\"survivors\":0}\n"
        );
        assert_eq!(find(dir.path()).unwrap(), Found::Exited(exit));
    }

    #[test]
    fn what_a_power_cut_leaves_of_a_record_is_no_record() {
        let dir = tempfile::tempdir().unwrap();
        for left in [&b""[..], &[0; 40]] {
            fs::write(dir.path().join(KEEPER), left).unwrap();
            assert_eq!(find(dir.path()).unwrap(), Found::Nothing);
        }
    }

    #[test]
    fn a_damaged_record_is_an_error_and_not_an_absent_one() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(EXIT), "{").unwrap();
        assert!(matches!(find(dir.path()), Err(KeeperError::File { .. })));
    }
}
