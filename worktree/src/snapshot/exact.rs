//! Exact bytes. A clean filter (line endings, `ident`, a notebook stripper) may drop bytes that no checkout
//! gives back. For changed files under such a filter the snapshot keeps the bytes as they were in a second
//! tree, and `restore` writes those back. LFS is excepted: it gives back what it took, and keeping its files
//! twice would fill the object store.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use crate::names::{bytes_of, path_of};
use crate::scratch::{ScratchIndex, nul_terminated};
use crate::{CommitId, Worktree, WorktreeError};

/// A regular file of a tree: mode, object id, path.
struct Entry {
    mode: String,
    id: String,
    path: PathBuf,
}

/// The tree of exact bytes for what `scratch` has changed against `head`. `None` when no filter is at work.
pub(super) fn tree(
    worktree: &Worktree,
    scratch: &ScratchIndex<'_>,
    head: &CommitId,
) -> Result<Option<CommitId>, WorktreeError> {
    let mut changed = changed(scratch, head)?;
    if changed.is_empty() {
        return Ok(None);
    }
    if !converts_by_default(worktree)? {
        let filtered = filtered(worktree, &changed)?;
        changed.retain(|entry| filtered.contains(&entry.path));
    }
    if changed.is_empty() {
        return Ok(None);
    }
    let ids = raw_ids(worktree, &changed, &["-w"])?;
    let mut input = Vec::new();
    for (entry, id) in changed.iter().zip(&ids) {
        input.extend_from_slice(format!("{} {id} 0\t", entry.mode).as_bytes());
        input.extend_from_slice(bytes_of(&entry.path));
        input.push(0);
    }
    let exact = ScratchIndex::empty(worktree)?;
    exact.call().args(["update-index", "-z", "--index-info"]).input(input).run()?;
    exact.tree()
}

/// Gives files their exact bytes again, in a worktree that has just been checked out from the snapshot.
pub(crate) fn write_exact(worktree: &Worktree, exact: &CommitId) -> Result<(), WorktreeError> {
    let listed = worktree.at_files().args(["ls-tree", "-r", "-z", "--full-tree", exact.as_str()]).run()?;
    let mut entries = Vec::new();
    for record in listed.records() {
        // `<mode> blob <id>\t<path>`
        let mut parts = record.splitn(2, |byte| *byte == b'\t');
        let fields = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
        let path = path_of(parts.next().ok_or_else(|| listed.unreadable())?);
        let mut fields = fields.split(' ');
        let (Some(mode), Some("blob"), Some(id)) = (fields.next(), fields.next(), fields.next()) else {
            return Err(listed.unreadable());
        };
        entries.push(Entry { mode: mode.to_owned(), id: id.to_owned(), path });
    }
    let now = raw_ids(worktree, &entries, &[])?;
    for (entry, _) in entries.iter().zip(&now).filter(|(entry, now)| entry.id != **now) {
        let path = worktree.path.join(&entry.path);
        let open = File::options().write(true).truncate(true).open(&path);
        let file = open.map_err(WorktreeError::io("write", &path))?;
        worktree.at_files().stdout_to(file).args(["cat-file", "blob", &entry.id]).run()?;
    }
    Ok(())
}

/// Regular files that are new or changed.
fn changed(scratch: &ScratchIndex<'_>, head: &CommitId) -> Result<Vec<Entry>, WorktreeError> {
    let args = ["diff-index", "--cached", "--raw", "-z", "--no-renames", "--no-abbrev", head.as_str()];
    let output = scratch.call().args(args).run()?;
    let mut records = output.records();
    let mut entries = Vec::new();
    // `:<mode> <mode> <id> <id> <status>\0<path>\0`
    while let (Some(fields), Some(path)) = (records.next(), records.next()) {
        let fields = String::from_utf8_lossy(fields).into_owned();
        let mut fields = fields.split(' ').skip(1);
        let (Some(mode), _, Some(id)) = (fields.next(), fields.next(), fields.next()) else {
            return Err(output.unreadable());
        };
        if mode.starts_with("100") {
            entries.push(Entry { mode: mode.to_owned(), id: id.to_owned(), path: path_of(path) });
        }
    }
    Ok(entries)
}

/// Whether the configuration converts line endings of files that no attribute names.
fn converts_by_default(worktree: &Worktree) -> Result<bool, WorktreeError> {
    let set = worktree.at_files().args(["config", "--get", "core.autocrlf"]).outcome()?;
    Ok(set.code == Some(0) && !set.line()?.eq_ignore_ascii_case("false"))
}

/// Which of the files have an attribute that makes git convert them.
fn filtered(worktree: &Worktree, entries: &[Entry]) -> Result<BTreeSet<PathBuf>, WorktreeError> {
    let paths = entries.iter().map(|entry| entry.path.clone()).collect::<Vec<_>>();
    let attributes = ["text", "crlf", "eol", "filter", "ident", "working-tree-encoding"];
    let call = worktree.at_files().args(["check-attr", "-z", "--stdin"]).args(attributes);
    let output = call.input(nul_terminated(&paths)).run()?;
    let mut records = output.records();
    let mut filtered = BTreeSet::new();
    while let (Some(path), Some(name), Some(value)) = (records.next(), records.next(), records.next()) {
        let inert = matches!(value, b"unspecified" | b"unset") || (name == b"filter" && value == b"lfs");
        if !inert {
            filtered.insert(path_of(path));
        }
    }
    Ok(filtered)
}

/// The object ids of the files' bytes as they are.
fn raw_ids(worktree: &Worktree, entries: &[Entry], how: &[&str]) -> Result<Vec<String>, WorktreeError> {
    let input = entries.iter().flat_map(|entry| quoted(&entry.path)).collect();
    let call = worktree.at_files().args(["hash-object", "--no-filters", "--stdin-paths"]).args(how);
    let output = call.input(input).run()?;
    let ids = output.line()?.lines().map(str::to_owned).collect::<Vec<_>>();
    if ids.len() == entries.len() { Ok(ids) } else { Err(output.unreadable()) }
}

/// One line that git reads as this path, newlines and quotes in it included.
fn quoted(path: &Path) -> Vec<u8> {
    let mut line = vec![b'"'];
    for byte in bytes_of(path) {
        match byte {
            b'"' | b'\\' => line.extend([b'\\', *byte]),
            b'\n' => line.extend(b"\\n"),
            _ => line.push(*byte),
        }
    }
    line.extend(b"\"\n");
    line
}
