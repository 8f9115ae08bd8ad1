//! Exact bytes. A clean filter (line endings, `ident`, a notebook stripper) may drop bytes that no checkout
//! gives back. For changed files under such a filter the snapshot keeps the bytes as they were in a second
//! tree, and `restore` writes those back. Changed means against `HEAD` or against the worktree's base, because
//! a commit drops those bytes too. LFS is excepted: it gives back what it took, and keeping its files
//! twice would fill the object store.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};

use crate::names::{bytes_of, path_of};
use crate::scratch::{ScratchIndex, nul_terminated};
use crate::{CommitId, Worktree, WorktreeError};

/// Regular files by path, each with its mode in the tree.
type Files = BTreeMap<PathBuf, String>;

/// The tree of exact bytes for what `scratch` has changed. `None` when no filter is at work.
pub(super) fn tree(
    worktree: &Worktree,
    scratch: &ScratchIndex<'_>,
    head: &CommitId,
) -> Result<Option<CommitId>, WorktreeError> {
    let mut files = changed(scratch, head)?;
    if *head != worktree.base {
        files.append(&mut changed(scratch, &worktree.base)?);
    }
    if !files.is_empty() {
        let converted = converted(worktree, &files)?;
        files.retain(|path, _| converted.contains(path));
    }
    if files.is_empty() {
        return Ok(None);
    }
    let ids = raw_ids(worktree, files.keys(), &["-w"])?;
    let mut input = Vec::new();
    for ((path, mode), id) in files.iter().zip(&ids) {
        input.extend_from_slice(format!("{mode} {id} 0\t").as_bytes());
        input.extend_from_slice(bytes_of(path));
        input.push(0);
    }
    let exact = ScratchIndex::empty(worktree)?;
    exact.call().args(["update-index", "-z", "--index-info"]).input(input).run()?;
    exact.tree()
}

/// Gives files their exact bytes again, in a worktree that has just been checked out from the snapshot.
pub(crate) fn write_exact(worktree: &Worktree, exact: &CommitId) -> Result<(), WorktreeError> {
    let listed = worktree.at_files().args(["ls-tree", "-r", "-z", "--full-tree", exact.as_str()]).run()?;
    let mut wanted = BTreeMap::new();
    for record in listed.records() {
        let (path, id) = blob(record).ok_or_else(|| listed.unreadable())?;
        wanted.insert(path, id);
    }
    let present = raw_ids(worktree, wanted.keys(), &[])?;
    for ((path, id), _) in wanted.iter().zip(&present).filter(|((_, id), present)| id != present) {
        let path = worktree.path.join(path);
        let open = File::options().write(true).truncate(true).open(&path);
        let file = open.map_err(WorktreeError::io("write", &path))?;
        worktree.at_files().stdout_to(file).args(["cat-file", "blob", id]).run()?;
    }
    Ok(())
}

/// Reads `<mode> blob <id>\t<path>`.
fn blob(record: &[u8]) -> Option<(PathBuf, String)> {
    let tab = record.iter().position(|byte| *byte == b'\t')?;
    let mut fields = std::str::from_utf8(&record[..tab]).ok()?.split(' ').skip(1);
    (fields.next()? == "blob").then_some(())?;
    Some((path_of(&record[tab + 1..]), fields.next()?.to_owned()))
}

/// Regular files that are in the index and not the same in `commit`.
fn changed(scratch: &ScratchIndex<'_>, commit: &CommitId) -> Result<Files, WorktreeError> {
    let args = ["diff-index", "--cached", "--raw", "-z", "--no-renames", "--no-abbrev", commit.as_str()];
    let output = scratch.call().args(args).run()?;
    let mut records = output.records();
    let mut files = Files::new();
    // `:<old mode> <mode> <old id> <id> <status>\0<path>\0`
    while let (Some(fields), Some(path)) = (records.next(), records.next()) {
        let mode = fields.split(|byte| *byte == b' ').nth(1).map(String::from_utf8_lossy);
        let mode = mode.ok_or_else(|| output.unreadable())?;
        if mode.starts_with("100") {
            files.insert(path_of(path), mode.into_owned());
        }
    }
    Ok(files)
}

/// Which of the files git converts between working directory and commit.
fn converted(worktree: &Worktree, files: &Files) -> Result<BTreeSet<PathBuf>, WorktreeError> {
    let set = worktree.at_files().args(["config", "--get", "core.autocrlf"]).outcome()?;
    let by_default = set.code == Some(0) && !set.line()?.eq_ignore_ascii_case("false");
    let paths = files.keys().cloned().collect::<Vec<_>>();
    let attributes = ["text", "crlf", "eol", "filter", "ident", "working-tree-encoding"];
    let call = worktree.at_files().args(["check-attr", "-z", "--stdin"]).args(attributes);
    let output = call.input(nul_terminated(&paths)).run()?;
    let mut records = output.records();
    let mut converted = BTreeSet::new();
    while let (Some(path), Some(name), Some(value)) = (records.next(), records.next(), records.next()) {
        let inert = match (name, value) {
            (b"text", b"unspecified") => !by_default,
            (b"filter", b"lfs") | (_, b"unspecified" | b"unset") => true,
            _ => false,
        };
        if !inert {
            converted.insert(path_of(path));
        }
    }
    Ok(converted)
}

/// The object ids of the files' bytes as they are.
fn raw_ids<'a>(
    worktree: &Worktree,
    paths: impl Iterator<Item = &'a PathBuf>,
    how: &[&str],
) -> Result<Vec<String>, WorktreeError> {
    let lines = paths.map(|path| quoted(path)).collect::<Vec<_>>();
    let call = worktree.at_files().args(["hash-object", "--no-filters", "--stdin-paths"]).args(how);
    let output = call.input(lines.concat()).run()?;
    let ids = output.line()?.lines().map(str::to_owned).collect::<Vec<_>>();
    if ids.len() == lines.len() { Ok(ids) } else { Err(output.unreadable()) }
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
