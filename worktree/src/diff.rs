//! Everything that changed since a commit: commits, uncommitted changes and untracked files, as one unified
//! diff. Must not write to the worktree or its index.

use std::path::PathBuf;

use crate::git::Output;
use crate::names::path_of;
use crate::scratch::ScratchIndex;
use crate::{CommitId, Worktree, WorktreeError};

/// Bound of the patch text. Whoever wants more looks at the files.
const PATCH_LIMIT_BYTES: usize = 4 << 20;

/// A unified diff and its numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diff {
    /// The patch in git's format, bytes as they are in the files. Ends with a whole line.
    pub patch: Vec<u8>,
    /// The patch was longer than the bound and ends early; `stat` still counts everything.
    pub cut: bool,
    /// The numbers.
    pub stat: DiffStat,
}

impl Diff {
    /// What to tell the reader of a patch that was cut.
    pub fn note(&self) -> Option<String> {
        self.cut.then(|| format!("the diff is longer than {PATCH_LIMIT_BYTES} bytes and was cut here"))
    }
}

/// The numbers of a diff.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiffStat {
    /// One entry a file, in git's order.
    pub files: Vec<FileStat>,
    /// Lines added.
    pub insertions: u64,
    /// Lines removed.
    pub deletions: u64,
}

/// The numbers of one file in a diff.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileStat {
    /// Relative to the worktree; the new path of a renamed file.
    pub path: PathBuf,
    /// The old path of a renamed file.
    pub renamed_from: Option<PathBuf>,
    /// Lines added and removed, `None` for a binary file.
    pub lines: Option<(u64, u64)>,
}

impl Worktree {
    /// Everything that differs from commit `since` (the base, or a snapshot's commit), including untracked
    /// files unless they are ignored. Runs neither external diff programs nor text conversions.
    ///
    /// # Errors
    /// `WorktreeMissing`, `CommitMissing`, or `Git`.
    pub fn diff(&self, since: &CommitId) -> Result<Diff, WorktreeError> {
        self.require_directory()?;
        if !self.repository.has_commit(since)? {
            return Err(WorktreeError::CommitMissing { commit: since.clone() });
        }
        let scratch = ScratchIndex::copy_of(self)?;
        scratch.intend_everything()?;
        let diff = |form: &[&str]| {
            let plain = ["-M", "--no-ext-diff", "--no-textconv", "--no-color", "--no-relative", "-U3"];
            let call = scratch.call().setting("diff.submodule=short").setting("diff.orderFile=/dev/null");
            call.args(["diff"]).args(plain).args(["--src-prefix=a/", "--dst-prefix=b/"]).args(form)
        };
        let numbers = diff(&["--numstat", "-z", since.as_str(), "--"]).run()?;
        let stat = stat(&numbers)?;
        let text = diff(&["--patch", since.as_str(), "--"]).cut_at(PATCH_LIMIT_BYTES).run()?;
        let mut patch = text.stdout;
        if text.cut {
            let lines = patch.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            patch.truncate(lines);
        }
        Ok(Diff { patch, cut: text.cut, stat })
    }
}

/// Reads `--numstat -z`: `added\tremoved\tpath\0`, or `added\tremoved\t\0old\0new\0` for a renamed file.
fn stat(output: &Output) -> Result<DiffStat, WorktreeError> {
    let mut stat = DiffStat::default();
    let mut records = output.records();
    while let Some(record) = records.next() {
        let mut fields = record.splitn(3, |byte| *byte == b'\t');
        let (Some(added), Some(removed), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
            return Err(output.unreadable());
        };
        let (path, renamed_from) = if path.is_empty() {
            let (Some(old), Some(new)) = (records.next(), records.next()) else {
                return Err(output.unreadable());
            };
            (path_of(new), Some(path_of(old)))
        } else {
            (path_of(path), None)
        };
        let lines = number(added).zip(number(removed));
        if let Some((added, removed)) = lines {
            stat.insertions = stat.insertions.saturating_add(added);
            stat.deletions = stat.deletions.saturating_add(removed);
        }
        stat.files.push(FileStat { path, renamed_from, lines });
    }
    Ok(stat)
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests;
