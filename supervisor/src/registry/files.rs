//! Files of manifests and policies: which there are below a directory, and reading them.
//!
//! Bounded in number, size and depth; problems name the file. What the files say is not looked at here.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::core::problem::Problem;

/// The most files that are read.
pub(super) const MAX_FILES: usize = 10_000;
/// The largest file that is read, in bytes.
pub(super) const MAX_FILE_BYTES: u64 = 1 << 20;
/// The deepest directory below the manifests directory.
pub(super) const MAX_DEPTH: usize = 16;

/// One file of manifests or policies.
pub(super) struct File<'m> {
    /// Below the directory of manifests.
    pub(super) below: &'m Path,
    /// As problems and answers name it.
    pub(super) shown: PathBuf,
    pub(super) text: &'m str,
    /// The registry's commit; none for a file on this machine.
    pub(super) commit: Option<&'m str>,
}

/// Every manifest and policy below the directory, in order of path. None if there is no directory.
pub(super) fn load_files(root: &Path, problems: &mut Vec<Problem>) -> BTreeMap<PathBuf, String> {
    let mut paths = Vec::new();
    walk(root, 0, &mut paths, problems);
    if paths.len() > MAX_FILES {
        let message = format!("holds more than {MAX_FILES} manifests and policies");
        problems.push(whole_file(root, message));
    }
    let mut files = BTreeMap::new();
    for path in paths.into_iter().take(MAX_FILES) {
        match read_text(&path) {
            Ok(text) => {
                files.insert(path, text);
            }
            Err(error) => problems.push(unreadable(&path, &error)),
        }
    }
    files
}

/// Hidden files and directories are not looked at: editors keep their drafts there. Symbolic links to directories are
/// not followed.
fn walk(dir: &Path, depth: usize, paths: &mut Vec<PathBuf>, problems: &mut Vec<Problem>) {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return,
        Err(error) => return problems.push(unreadable(dir, &error)),
    };
    for entry in entries {
        if paths.len() > MAX_FILES {
            return;
        }
        let (path, kind) = match entry.and_then(|entry| Ok((entry.path(), entry.file_type()?))) {
            Ok(found) => found,
            Err(error) => return problems.push(unreadable(dir, &error)),
        };
        let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
        if hidden {
            continue;
        }
        if kind.is_dir() {
            if depth < MAX_DEPTH {
                walk(&path, depth + 1, paths, problems);
            } else {
                problems.push(whole_file(&path, "is nested too deeply".into()));
            }
        } else if is_policy(&path) || is_manifest(&path) {
            paths.push(path);
        }
    }
}

/// Whether a file holds policies, by its name.
pub fn is_policy(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "cedar")
}

pub(super) fn is_manifest(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml")
}

pub(super) fn read_text(path: &Path) -> io::Result<String> {
    // Opening a pipe would wait for its other end.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("is not a file"));
    }
    let mut text = String::new();
    fs::File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::other(format!("is larger than {MAX_FILE_BYTES} bytes")));
    }
    Ok(text)
}

pub(super) fn unreadable(path: &Path, error: &io::Error) -> Problem {
    whole_file(path, format!("cannot be read: {error}"))
}

pub(super) fn whole_file(path: &Path, message: String) -> Problem {
    Problem { file: path.to_owned(), line: 0, column: 0, field: String::new(), message, hint: None }
}
