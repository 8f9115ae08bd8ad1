//! A scratch index: a copy of a worktree's index to work on, so that the worktree's own stays untouched.
//!
//! It lies in the git directory's own part, which whatever runs in a worktree need not be able to write, and
//! is removed when dropped: it and its lock file are the only files this crate ever unlinks.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::git::Call;
use crate::names::{bytes_of, path_of};
use crate::{CommitId, Worktree, WorktreeError};

/// Something may be working in the worktree while files are listed and then read.
const RACE_ATTEMPTS: usize = 5;

pub(crate) struct ScratchIndex<'a> {
    worktree: &'a Worktree,
    path: PathBuf,
}

impl<'a> ScratchIndex<'a> {
    /// An index with nothing in it.
    pub(crate) fn empty(worktree: &'a Worktree) -> Result<Self, WorktreeError> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory = worktree.repository.own_directory("scratch")?;
        let path = directory.join(format!("index-{}-{number}", std::process::id()));
        Ok(Self { worktree, path })
    }

    /// A copy of the worktree's index.
    pub(crate) fn copy_of(worktree: &'a Worktree) -> Result<Self, WorktreeError> {
        let scratch = Self::empty(worktree)?;
        let original = worktree.git_dir.join("index");
        let mut from = match File::open(&original) {
            Ok(from) => from,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(scratch),
            Err(error) => return Err(WorktreeError::io("read", &original)(error)),
        };
        let copied = File::create(&scratch.path).and_then(|mut to| {
            io::copy(&mut from, &mut to)?;
            // Git trusts recorded file times older than the index. A copy that looks newer than the original
            // would make it trust times it must not.
            to.set_modified(from.metadata()?.modified()?)
        });
        copied.map_err(WorktreeError::io("copy", &original))?;
        Ok(scratch)
    }

    /// A call with this index, in the worktree as long as that has a directory.
    pub(crate) fn call(&self) -> Call {
        let there = self.worktree.require_directory().is_ok();
        let call = if there { self.worktree.at_files() } else { self.worktree.at_registration() };
        call.index(&self.path).setting("core.splitIndex=false")
    }

    /// Takes in every tracked change and every untracked file. Returns what could not be taken in: nested
    /// repositories.
    pub(crate) fn add_everything(&self) -> Result<Vec<PathBuf>, WorktreeError> {
        self.show_hidden()?;
        // safecrlf: a line ending that does not survive is kept elsewhere, see `snapshot/exact.rs`.
        self.call().setting("core.safecrlf=false").args(["add", "-u", "--sparse"]).run()?;
        let (files, nested) = self.untracked()?;
        self.update(&["--add", "--remove", "--replace"], files)?;
        Ok(nested)
    }

    /// Makes untracked files known without reading them, so that a diff shows them. Objects are only written
    /// for files in conflict.
    pub(crate) fn intend_everything(&self) -> Result<(), WorktreeError> {
        self.show_hidden()?;
        let unmerged = self.call().args(["ls-files", "-u", "-z"]).run()?;
        let paths = unmerged.records().filter_map(|entry| entry.splitn(2, |byte| *byte == b'\t').nth(1));
        let mut conflicted = paths.map(path_of).collect::<Vec<_>>();
        conflicted.dedup();
        self.update(&["--add", "--remove", "--replace"], conflicted)?;
        for attempt in 1.. {
            let (files, _) = self.untracked()?;
            if files.is_empty() {
                break;
            }
            let args = ["add", "-N", "--sparse", "--pathspec-from-file=-", "--pathspec-file-nul"];
            let added = self.call().args(args).input(nul_terminated(&files)).outcome()?;
            if added.code == Some(0) {
                break;
            }
            if attempt == RACE_ATTEMPTS {
                return Err(added.failure());
            }
        }
        Ok(())
    }

    /// The index as a tree. `None` when it has conflicts.
    pub(crate) fn tree(&self) -> Result<Option<CommitId>, WorktreeError> {
        let written = self.call().args(["write-tree"]).outcome()?;
        if written.code == Some(0) {
            return written.id().map(Some);
        }
        let unmerged = self.call().args(["ls-files", "-u", "-z"]).run()?;
        if unmerged.stdout.is_empty() { Err(written.failure()) } else { Ok(None) }
    }

    /// The entries that are not in conflict as a tree.
    pub(crate) fn tree_without_conflicts(&self) -> Result<Option<CommitId>, WorktreeError> {
        let staged = self.call().args(["ls-files", "-s", "-z"]).run()?;
        let mut entries = Vec::new();
        for record in staged.records() {
            // `<mode> <id> <stage>\t<path>`
            if record.split(|byte| *byte == b'\t').next().is_some_and(|fields| fields.ends_with(b" 0")) {
                entries.extend_from_slice(record);
                entries.push(0);
            }
        }
        let merged = Self::empty(self.worktree)?;
        merged.call().args(["update-index", "-z", "--index-info"]).input(entries).run()?;
        merged.tree()
    }

    /// Paths whose changes an index flag hides (`assume-unchanged`, or `skip-worktree` on an existing file).
    pub(crate) fn hidden(&self) -> Result<Vec<PathBuf>, WorktreeError> {
        let tagged = self.call().args(["ls-files", "-v", "-z"]).run()?;
        let hidden = tagged.records().filter_map(|record| match record {
            [b'S' | b's', b' ', path @ ..] => {
                let path = path_of(path);
                fs::symlink_metadata(self.worktree.path.join(&path)).is_ok().then_some(path)
            }
            [tag, b' ', path @ ..] if tag.is_ascii_lowercase() => Some(path_of(path)),
            _ => None,
        });
        Ok(hidden.collect())
    }

    /// Takes hidden changes in. Taking the flag back would not do: git keeps no watch over the recorded times
    /// of such files, so they are read anew.
    pub(crate) fn show_hidden(&self) -> Result<(), WorktreeError> {
        let hidden = self.hidden()?;
        self.update(&["--force-remove"], hidden.clone())?;
        self.update(&["--add", "--remove", "--replace"], hidden)
    }

    fn update(&self, mode: &[&str], paths: Vec<PathBuf>) -> Result<(), WorktreeError> {
        if paths.is_empty() {
            return Ok(());
        }
        let call = self.call().setting("core.safecrlf=false").args(["update-index"]).args(mode);
        call.args(["-z", "--stdin"]).input(nul_terminated(&paths)).run().map(drop)
    }

    /// Untracked files, and the nested repositories among them, which git lists as `path/`.
    fn untracked(&self) -> Result<(Vec<PathBuf>, Vec<PathBuf>), WorktreeError> {
        let listed = self.call().args(["ls-files", "-o", "--exclude-standard", "-z"]).run()?;
        Ok(listed.records().map(path_of).partition(|path| !bytes_of(path).ends_with(b"/")))
    }
}

impl Drop for ScratchIndex<'_> {
    fn drop(&mut self) {
        // Absent when nothing was written.
        let _removed = fs::remove_file(&self.path);
        let mut lock = self.path.clone().into_os_string();
        lock.push(".lock");
        let _removed = fs::remove_file(lock);
    }
}

/// Paths as git reads them with `-z`.
pub(crate) fn nul_terminated(paths: &[PathBuf]) -> Vec<u8> {
    paths.iter().flat_map(|path| bytes_of(path).iter().copied().chain([0])).collect()
}
