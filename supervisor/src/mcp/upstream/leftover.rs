//! Servers that an earlier daemon left behind when it was killed. Most end by themselves when their input closes; for
//! the others each running server is noted in a file, by pid and start time, and the next daemon ends what it finds.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use crate::sys::process::{self, ProcessRef};

/// What a note says.
#[derive(Serialize, Deserialize)]
struct Left {
    boot: String,
    process: ProcessRef,
}

/// The note of a running server; removed when it is dropped.
pub(super) struct Note {
    path: Option<PathBuf>,
}

/// Notes a running server beside its log. Without a note it merely would not be found after a crash.
pub(super) fn note(log: &Path, pid: u32) -> Note {
    let path = log.with_extension("pid");
    let written = write(&path, pid);
    if let Err(error) = &written {
        tracing::warn!(note = %path.display(), %error, "a running MCP server could not be noted");
    }
    Note { path: written.is_ok().then_some(path) }
}

fn write(path: &Path, pid: u32) -> io::Result<()> {
    let found = process::stat(pid).map_err(io::Error::other)?;
    let process = found.ok_or(io::ErrorKind::NotFound)?.process;
    let left = Left { boot: process::boot_id().map_err(io::Error::other)?, process };
    fs::write(path, serde_json::to_vec(&left)?)
}

impl Drop for Note {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // A note that stays names a process that is gone, which harms nobody.
            let _ = fs::remove_file(path);
        }
    }
}

/// Ends every noted server that is still there, and all below it. Does not wait.
pub(in crate::mcp) fn end_all(dir: &Path) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    let notes = entries.flatten().map(|entry| entry.path());
    for path in notes.filter(|path| path.extension().is_some_and(|extension| extension == "pid")) {
        if let Err(error) = end(&path) {
            tracing::warn!(note = %path.display(), %error, "a left MCP server could not be ended");
        }
        // Whatever it said, it has been dealt with.
        let _ = fs::remove_file(&path);
    }
}

fn end(path: &Path) -> io::Result<()> {
    let left: Left = serde_json::from_slice(&fs::read(path)?)?;
    let is_there = left.boot == process::boot_id().map_err(io::Error::other)?
        && left.process.is_alive().map_err(io::Error::other)?;
    if !is_there {
        return Ok(());
    }
    let below = process::descendants(left.process).map_err(io::Error::other)?;
    tracing::info!(pid = left.process.pid, "ending an MCP server that an earlier daemon left");
    for process in below.iter().map(|stat| stat.process).chain([left.process]) {
        process.signal(Signal::SIGKILL).map_err(io::Error::other)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn what_was_left_is_ended_and_nobody_else() {
        let dir = tempfile::tempdir().unwrap();
        let mut left = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let mut other = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        std::mem::forget(note(&dir.path().join("left.log"), left.id()));
        // The pid of another process, as if it had been used again.
        std::mem::forget(note(&dir.path().join("reused.log"), other.id()));
        let path = dir.path().join("reused.pid");
        let mut reused: Left = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        reused.process.start_time -= 1;
        fs::write(&path, serde_json::to_vec(&reused).unwrap()).unwrap();
        fs::write(dir.path().join("broken.pid"), "?").unwrap();
        end_all(dir.path());
        assert!(!left.wait().unwrap().success());
        assert!(other.try_wait().unwrap().is_none());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        drop(other.stdin.take());
        other.wait().unwrap();
    }

    #[test]
    fn a_note_goes_with_its_server() {
        let dir = tempfile::tempdir().unwrap();
        let kept = note(&dir.path().join("s.log"), std::process::id());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        drop(kept);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
