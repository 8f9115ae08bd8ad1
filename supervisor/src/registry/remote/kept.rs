//! What was fetched, on the disk: one directory per commit, and a file that says which of them is in force and how the
//! last look at the repository ended. Written whole or not at all; read back with a digest, because a file that is gone
//! could be the one that forbids.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use agentsup_worktree::CommitId;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::core::problem::Problem;
use crate::sys::paths::Home;

use super::super::files::{MAX_FILE_BYTES, load_files, read_text};
use super::super::source::Source;
use super::{Files, InForce, Remote};

/// The file that says what is in force.
const STATE_NAME: &str = "state.json";
/// The bare copy of the repository.
const MIRROR_NAME: &str = "mirror.git";
/// Where it goes when it cannot be read any more.
const ASIDE_NAME: &str = "mirror.git.aside";
/// The largest state file, in bytes: the most that is read of one.
const MAX_STATE_BYTES: u64 = MAX_FILE_BYTES;
/// The most problems of a refused commit that are kept.
const MAX_PROBLEMS: usize = 50;
/// The most of each text of a problem, in bytes: a repository's author writes them.
const MAX_TEXT_BYTES: usize = 1 << 10;
/// The most that all problems of a commit take in the state, in bytes.
const MAX_PROBLEMS_BYTES: usize = 1 << 19;

/// What is in force, and how the last look ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::registry) struct State {
    pub(in crate::registry) in_force: Option<Kept>,
    pub(in crate::registry) last: Option<Look>,
}

/// A set that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::registry) struct Kept {
    #[serde(flatten)]
    pub(in crate::registry) in_force: InForce,
    /// SHA-256 over its files, hexadecimal.
    pub(in crate::registry) digest: String,
}

/// How the last look at the repository ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    /// At which repository.
    pub source: Source,
    /// When, milliseconds since 1970.
    pub at_ms: i64,
    /// What was found.
    pub found: Found,
}

/// What a look found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum Found {
    /// What is on the branch is in force.
    Current,
    /// The repository could not be had.
    Unreachable {
        /// Why, in git's words.
        why: String,
    },
    /// The branch does not go on from what is in force.
    Rewound {
        /// Where it is.
        commit: String,
    },
    /// What is on the branch has problems.
    Invalid {
        /// Where it is.
        commit: String,
        /// What is wrong with it.
        problems: Vec<Problem>,
    },
}

impl Look {
    pub(super) fn new(source: Source, at_ms: i64, mut found: Found) -> Self {
        match &mut found {
            Found::Invalid { problems, .. } => bound(problems),
            Found::Unreachable { why } => cut(why),
            Found::Current | Found::Rewound { .. } => {}
        }
        Self { source, at_ms, found }
    }

    /// What stands in the way of what is on the branch now; nothing while all is well or the repository is out of reach,
    /// which is normal.
    pub fn problems(&self) -> Vec<Problem> {
        match &self.found {
            Found::Current | Found::Unreachable { .. } => Vec::new(),
            Found::Invalid { problems, .. } => problems.clone(),
            Found::Rewound { commit } => {
                let message = format!(
                    "branch `{}` was rewound: it does not go on from what is in force, which stays",
                    self.source.branch
                );
                let hint =
                    format!("agentsup sync --accept {}, once it is known why", super::super::short(commit));
                vec![of_source(&self.source, message, Some(hint))]
            }
        }
    }
}

/// So that what is kept of them is what was found, and can be read again.
fn bound(problems: &mut Vec<Problem>) {
    problems.truncate(MAX_PROBLEMS);
    let mut bytes: usize = 0;
    problems.retain_mut(|problem| {
        let mut file = problem.file.to_string_lossy().into_owned();
        let hint = problem.hint.as_mut();
        [&mut file, &mut problem.field, &mut problem.message].into_iter().chain(hint).for_each(cut);
        problem.file = PathBuf::from(file);
        // Escaped, a text is longer.
        let length = serde_json::to_string(problem).map_or(MAX_PROBLEMS_BYTES, |text| text.len());
        bytes = bytes.saturating_add(length);
        bytes <= MAX_PROBLEMS_BYTES
    });
}

fn cut(text: &mut String) {
    let end = (0..=MAX_TEXT_BYTES).rev().find(|end| text.is_char_boundary(*end));
    text.truncate(end.filter(|_| text.len() > MAX_TEXT_BYTES).unwrap_or(text.len()));
}

pub(super) fn of_source(source: &Source, message: String, hint: Option<String>) -> Problem {
    let file = PathBuf::from(&source.git);
    Problem { file, line: 0, column: 0, field: String::new(), message, hint }
}

pub(super) fn mirror_dir(home: &Home) -> PathBuf {
    home.registry_dir().join(MIRROR_NAME)
}

/// Puts the copy out of the way; it is made anew by the next fetch. One that lay there before goes.
pub(super) fn set_mirror_aside(home: &Home) -> io::Result<()> {
    let aside = home.registry_dir().join(ASIDE_NAME);
    remove(&aside)?;
    fs::rename(mirror_dir(home), aside)
}

pub(super) fn state_file(home: &Home) -> PathBuf {
    home.registry_dir().join(STATE_NAME)
}

/// The state; that of nothing if there is none, nor anything else that was kept.
///
/// # Errors
/// When there is one that cannot be read, or it is gone: then nobody knows what was in force, and what may come after it.
pub(super) fn state(home: &Home) -> io::Result<State> {
    match read_text(&state_file(home)) {
        Ok(text) => Ok(serde_json::from_str(&text)?),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Err(_) if is_empty(home)? => Ok(State::default()),
        Err(_) => Err(io::Error::new(io::ErrorKind::NotFound, "it is gone, and what was fetched is there")),
    }
}

/// Whether nothing was ever fetched, or all of it was removed.
fn is_empty(home: &Home) -> io::Result<bool> {
    let entries = match fs::read_dir(home.registry_dir()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        entries => entries?,
    };
    for entry in entries {
        let name = entry?.file_name();
        let is_kept =
            |name: &str| [MIRROR_NAME, ASIDE_NAME].contains(&name) || CommitId::parse(name).is_some();
        if name.to_str().is_some_and(is_kept) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Replaces the state.
///
/// # Errors
/// Also when it is larger than what is read of one: then the one before stays.
pub(in crate::registry) fn set_state(home: &Home, state: &State) -> io::Result<()> {
    let text = serde_json::to_string(state)?;
    if text.len() as u64 > MAX_STATE_BYTES {
        return Err(io::Error::other(format!("its state is larger than {MAX_STATE_BYTES} bytes")));
    }
    let dir = home.registry_dir();
    make_dir(&dir)?;
    let beside = dir.join(format!(".{STATE_NAME}.{}", std::process::id()));
    write_file(&beside, &text)?;
    fs::rename(&beside, state_file(home))?;
    sync_dir(&dir)
}

/// The registry's part as it is kept for a source.
pub(in crate::registry) fn load(home: &Home, source: &Source) -> Remote {
    let missing = |message: &str| Remote {
        source: source.clone(),
        kept: None,
        problem: Some(of_source(source, message.to_owned(), Some("agentsup sync".to_owned()))),
    };
    let state = match state(home) {
        Ok(state) => state,
        Err(error) => {
            let file = state_file(home);
            return missing(&format!("what was in force of it is not known: `{}`: {error}", file.display()));
        }
    };
    let Some(kept) = state.in_force.filter(|kept| kept.in_force.source.is_same_place(source)) else {
        return missing("nothing of it is in force yet");
    };
    match files(home, &kept) {
        Some(files) => {
            // What else may be said is the configuration's to say.
            let in_force = InForce { source: source.clone(), ..kept.in_force };
            Remote { source: source.clone(), kept: Some((in_force, files)), problem: None }
        }
        None => missing("what was fetched from it is not whole any more"),
    }
}

/// The commit that is kept for a source, if there is one and the state can be read.
pub(in crate::registry) fn commit(home: &Home, source: &Source) -> Option<String> {
    let kept = state(home).ok()?.in_force.filter(|kept| kept.in_force.source.is_same_place(source))?;
    Some(kept.in_force.commit)
}

/// The last look at a source, if there was one and the state can be read; that it cannot is a problem of what is kept.
pub(in crate::registry) fn last_look(home: &Home, source: &Source) -> Option<Look> {
    state(home).ok()?.last.filter(|look| look.source.is_same_place(source))
}

/// The files of a set that is kept, if they are what was fetched.
pub(super) fn files(home: &Home, kept: &Kept) -> Option<Files> {
    let root = set_dir(home, &kept.in_force.commit)?;
    let mut problems = Vec::new();
    let found = load_files(&root, &mut problems);
    let below = found
        .into_iter()
        .map(|(path, text)| (path.strip_prefix(&root).map_or_else(|_| path.clone(), Path::to_owned), text));
    let files = Files(below.collect());
    (problems.is_empty() && digest(&files) == kept.digest).then_some(files)
}

/// Where a commit's files are; none if that is no id of a commit.
fn set_dir(home: &Home, commit: &str) -> Option<PathBuf> {
    Some(home.registry_dir().join(CommitId::parse(commit)?.as_str()))
}

/// SHA-256 over every file, path and content each preceded by its length.
pub(in crate::registry) fn digest(files: &Files) -> String {
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    for (path, text) in &files.0 {
        part(path.as_os_str().as_encoded_bytes());
        part(text.as_bytes());
    }
    hex::encode(hash.finalize())
}

/// Keeps a commit's files; what was kept of it before is replaced.
pub(in crate::registry) fn keep(home: &Home, commit: &CommitId, files: &Files) -> io::Result<()> {
    let root = home.registry_dir();
    make_dir(&root)?;
    let (beside, dir) = (root.join(format!(".new-{}", std::process::id())), root.join(commit.as_str()));
    remove(&beside)?;
    make_dir(&beside)?;
    let mut dirs: BTreeMap<PathBuf, ()> = BTreeMap::from([(beside.clone(), ())]);
    for (path, text) in &files.0 {
        let path = beside.join(path);
        let parent = path.parent().unwrap_or(&beside).to_owned();
        make_dir(&parent)?;
        dirs.insert(parent, ());
        write_file(&path, text)?;
    }
    for dir in dirs.keys() {
        sync_dir(dir)?;
    }
    remove(&dir)?;
    fs::rename(&beside, &dir)?;
    sync_dir(&root)
}

/// Removes the sets of all commits but these.
pub(super) fn remove_others(home: &Home, keep: &[&str]) -> io::Result<()> {
    for entry in fs::read_dir(home.registry_dir())? {
        let entry = entry?;
        let name = entry.file_name();
        let commit = name.to_str().filter(|name| CommitId::parse(name).is_some());
        if commit.is_some_and(|commit| !keep.contains(&commit)) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

fn remove(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn make_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

fn write_file(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Makes what was renamed or made there durable.
fn sync_dir(dir: &Path) -> io::Result<()> {
    fs::File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests;
