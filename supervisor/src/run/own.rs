//! Reading a repository's own policies from the commit that a run starts from. What is there and cannot be taken as it
//! is keeps the run from starting: a link, a submodule, too much, anything but policies that tighten.

use std::path::Path;

use agentsup_worktree::{CommitId, Committed, CommittedKind, Repository};

use crate::core::error::{Code, Failure};
use crate::core::policy::own::{DIRECTORY, Own, OwnFile};

/// The most files.
const MAX_FILES: usize = 64;
/// The most bytes of all.
const MAX_BYTES: u64 = 256 * 1024;

/// A repository's own policies, and the files that they come from.
#[derive(Debug, Default)]
pub(super) struct Read {
    /// The files.
    pub(super) files: Vec<OwnFile>,
    /// The policies.
    pub(super) own: Own,
}

/// Reads them.
///
/// # Errors
/// That the configuration is not valid, with the place.
pub(super) fn read(repository: &Repository, commit: &CommitId) -> Result<Read, Failure> {
    let entries = repository
        .committed(commit, Path::new(DIRECTORY))
        .map_err(|error| refused(format!("`{DIRECTORY}` of `{commit}` cannot be read: {error}")))?;
    let chosen = choose(entries).map_err(refused)?;
    let contents = repository
        .committed_contents(&chosen)
        .map_err(|error| refused(format!("`{DIRECTORY}` of `{commit}` cannot be read: {error}")))?;
    let files = chosen.iter().zip(contents).map(|(entry, content)| {
        let path = entry.path.to_string_lossy().into_owned();
        match String::from_utf8(content) {
            Ok(text) => Ok(OwnFile { path, text }),
            Err(_) => Err(refused(format!("`{path}` is not UTF-8"))),
        }
    });
    let files = files.collect::<Result<Vec<_>, _>>()?;
    let own = Own::load(&files, commit.as_str()).map_err(|problems| {
        let more = problems.len().saturating_sub(1);
        let first = problems.first().map_or_else(String::new, ToString::to_string);
        refused(if more == 0 { first } else { format!("{first} (and {more} more)") })
    })?;
    Ok(Read { files, own })
}

/// The files among the entries that hold policies, if all is as it must be.
fn choose(entries: Vec<Committed>) -> Result<Vec<Committed>, String> {
    let mut entries = entries.into_iter();
    let shown = |entry: &Committed| entry.path.display().to_string();
    match entries.next() {
        None => return Ok(Vec::new()),
        Some(Committed { kind: CommittedKind::Directory, .. }) => {}
        Some(other) => {
            return Err(format!("`{}` is no directory, and policies are expected there", shown(&other)));
        }
    }
    let is_policy = |entry: &Committed| entry.path.extension().is_some_and(|ending| ending == "cedar");
    let mut bytes = 0_u64;
    let mut chosen = Vec::new();
    for entry in entries.filter(is_policy) {
        let CommittedKind::File { bytes: more, .. } = entry.kind else {
            return Err(format!("`{}` is no file: a policy is not read through links", shown(&entry)));
        };
        bytes = bytes.saturating_add(more);
        chosen.push(entry);
        if chosen.len() > MAX_FILES || bytes > MAX_BYTES {
            return Err(format!(
                "`{DIRECTORY}` holds more than {MAX_FILES} policy files or {MAX_BYTES} bytes of them"
            ));
        }
    }
    Ok(chosen)
}

fn refused(text: String) -> Failure {
    Failure::new(Code::ConfigInvalid, format!("the repository's own policies are not valid: {text}"))
        .hint(format!("agentsup policy check {DIRECTORY}, then commit what it should be"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, kind: CommittedKind) -> Committed {
        Committed { path: path.into(), kind }
    }

    fn file(path: &str, bytes: u64) -> Committed {
        let blob = CommitId::parse(&"0".repeat(40)).unwrap();
        entry(path, CommittedKind::File { blob, bytes })
    }

    fn chosen(more: Vec<Committed>) -> Result<Vec<String>, String> {
        let mut entries = vec![entry(".agentsup", CommittedKind::Directory)];
        entries.extend(more);
        let names = |chosen: Vec<Committed>| {
            chosen.iter().map(|entry| entry.path.to_string_lossy().into_owned()).collect()
        };
        choose(entries).map(names)
    }

    #[test]
    fn policy_files_are_taken_and_others_left() {
        assert_eq!(choose(Vec::new()), Ok(Vec::new()));
        let sub = entry(".agentsup/sub", CommittedKind::Directory);
        let found = chosen(vec![file(".agentsup/a.cedar", 1), file(".agentsup/README", 1 << 40), sub]);
        assert_eq!(found, Ok(vec![".agentsup/a.cedar".to_owned()]));
    }

    #[test]
    fn what_is_not_as_it_must_be_is_refused() {
        let many = |count: usize| (0..count).map(|at| file(&format!(".agentsup/{at}.cedar"), 1)).collect();
        assert!(chosen(many(MAX_FILES)).is_ok());
        assert!(chosen(many(MAX_FILES + 1)).unwrap_err().contains("more than 64"));
        assert!(chosen(vec![file(".agentsup/a.cedar", MAX_BYTES)]).is_ok());
        assert!(chosen(vec![file(".agentsup/a.cedar", MAX_BYTES + 1)]).is_err());
        for kind in [CommittedKind::Link, CommittedKind::Submodule, CommittedKind::Directory] {
            assert_eq!(
                chosen(vec![entry(".agentsup/a.cedar", kind)]).unwrap_err(),
                "`.agentsup/a.cedar` is no file: a policy is not read through links"
            );
        }
        for kind in [CommittedKind::Link, CommittedKind::Submodule, file("x", 1).kind] {
            assert_eq!(
                choose(vec![entry(".agentsup", kind)]).unwrap_err(),
                "`.agentsup` is no directory, and policies are expected there"
            );
        }
    }
}
