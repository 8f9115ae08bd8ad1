//! Which entries of a commit are manifests and policies, and which commits are refused whole. Pure.
//!
//! A repository is written by many people and hosted by somebody else: a name that would mean another file, a link, a
//! file too large or one too many, and nothing of that commit is used.

use std::collections::{BTreeMap, btree_map};
use std::path::{Component, Path, PathBuf};

use agentsup_worktree::{Entry, EntryKind};

use crate::core::problem::Problem;

use super::super::files::{MAX_DEPTH, MAX_FILE_BYTES, MAX_FILES, is_manifest, is_policy};
use super::Files;

/// The most bytes that all files of a set hold.
pub(super) const MAX_SET_BYTES: u64 = 32 << 20;
/// The longest name of a file or directory, in bytes: what file systems take.
const MAX_NAME_BYTES: usize = 255;
/// The most entries of a directory that are looked at.
pub(super) const MAX_ENTRIES: usize = 100_000;

/// Those entries that are read.
///
/// # Errors
/// Everything that is wrong with the others, named by `shown`.
pub(super) fn wanted(
    entries: &[Entry],
    shown: impl Fn(&Path) -> PathBuf,
) -> Result<Vec<&Entry>, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut problem = |path: &Path, message: String| {
        problems.push(Problem {
            file: shown(path),
            line: 0,
            column: 0,
            field: String::new(),
            message,
            hint: None,
        });
    };
    let mut found = Vec::new();
    let mut names: BTreeMap<String, &Path> = BTreeMap::new();
    let mut bytes: u64 = 0;
    for entry in entries.iter().filter(|entry| !is_hidden(&entry.path)) {
        let path = entry.path.as_path();
        let is_ours = is_policy(path) || is_manifest(path);
        // What has an extension of its own is no directory of manifests that somebody counts on.
        if !is_ours && path.extension().is_some() {
            continue;
        }
        match entry.kind {
            EntryKind::Link => problem(path, "is a symbolic link, which is not followed".into()),
            EntryKind::Submodule => problem(path, "is another repository, which is not fetched".into()),
            EntryKind::File | EntryKind::Executable if !is_ours => {}
            EntryKind::File | EntryKind::Executable => {
                // A path that nothing else is against is short enough to look at each part of it.
                if let Some(message) = objection(entry).or_else(|| taken(path, &mut names)) {
                    problem(path, message);
                }
                bytes = bytes.saturating_add(entry.size_bytes);
                found.push(entry);
            }
        }
    }
    if found.len() > MAX_FILES {
        problem(Path::new(""), format!("holds more than {MAX_FILES} manifests and policies"));
    }
    if bytes > MAX_SET_BYTES {
        problem(Path::new(""), format!("holds manifests and policies of more than {MAX_SET_BYTES} bytes"));
    }
    if problems.is_empty() { Ok(found) } else { Err(problems) }
}

/// What is against a path beside those before it: where a disk does not tell upper and lower case apart, one would take
/// the other's place, a directory's as well.
fn taken<'e>(path: &'e Path, names: &mut BTreeMap<String, &'e Path>) -> Option<String> {
    let own_and_above = path.ancestors().filter(|above| !above.as_os_str().is_empty());
    let other = |above: &'e Path| {
        let first = match names.entry(above.to_string_lossy().to_lowercase()) {
            btree_map::Entry::Occupied(first) => *first.get(),
            btree_map::Entry::Vacant(free) => {
                free.insert(above);
                return None;
            }
        };
        // Many files lie in one directory, and none is another.
        (above == path || above != first).then_some((above, first))
    };
    // All of them are known from now on, whichever is objected to.
    let taken: Vec<_> = own_and_above.filter_map(other).collect();
    let (above, other) = taken.first()?;
    let other = other.display();
    Some(if *above == path {
        format!("differs from `{other}` by upper and lower case only")
    } else {
        format!("lies in `{}`, which differs from `{other}` by upper and lower case only", above.display())
    })
}

/// Editors and forges keep their own things below such names, here as in the directory of this machine.
fn is_hidden(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str().as_encoded_bytes().starts_with(b".") && is_name(part))
}

fn is_name(part: Component<'_>) -> bool {
    matches!(part, Component::Normal(_))
}

fn objection(entry: &Entry) -> Option<String> {
    let Some(text) = entry.path.to_str() else { return Some("has a name that is not UTF-8".into()) };
    let plain = entry.path.is_relative() && entry.path.components().all(is_name) && !text.contains("//");
    if !plain || text.chars().any(|letter| letter.is_control() || letter == '\\') {
        return Some("has a name that is not plain".into());
    }
    if entry.path.components().any(|part| part.as_os_str().len() > MAX_NAME_BYTES) {
        return Some(format!("has a name of more than {MAX_NAME_BYTES} bytes"));
    }
    if entry.path.components().count() > MAX_DEPTH {
        return Some("is nested too deeply".into());
    }
    (entry.size_bytes > MAX_FILE_BYTES).then(|| format!("is larger than {MAX_FILE_BYTES} bytes"))
}

/// The texts of the entries that are read.
///
/// # Errors
/// Those that are no text.
pub(super) fn files(
    entries: &[&Entry],
    contents: Vec<Vec<u8>>,
    shown: impl Fn(&Path) -> PathBuf,
) -> Result<Files, Vec<Problem>> {
    let mut files = BTreeMap::new();
    let mut problems = Vec::new();
    for (entry, content) in entries.iter().zip(contents) {
        match String::from_utf8(content) {
            Ok(text) => drop(files.insert(entry.path.clone(), text)),
            Err(_) => problems.push(Problem {
                file: shown(&entry.path),
                line: 0,
                column: 0,
                field: String::new(),
                message: "is not UTF-8".into(),
                hint: None,
            }),
        }
    }
    if problems.is_empty() { Ok(Files(files)) } else { Err(problems) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    use agentsup_worktree::CommitId;

    use super::*;

    fn entry(path: &[u8], kind: EntryKind) -> Entry {
        let id = CommitId::parse(&"a".repeat(40)).unwrap();
        Entry { path: PathBuf::from(OsStr::from_bytes(path)), kind, id, size_bytes: 10 }
    }

    fn said(entries: &[Entry]) -> Result<Vec<String>, Vec<String>> {
        let named =
            |entries: Vec<&Entry>| entries.iter().map(|entry| entry.path.display().to_string()).collect();
        let told = |problems: Vec<Problem>| problems.iter().map(ToString::to_string).collect();
        wanted(entries, Path::to_owned).map(named).map_err(told)
    }

    #[test]
    fn manifests_and_policies_are_read_and_what_else_there_is_left_alone() {
        let file = |path: &str| entry(path.as_bytes(), EntryKind::File);
        let entries = [
            file("org.cedar"),
            file("teams/a/b.yaml"),
            entry(b"c.yml", EntryKind::Executable),
            file("README"),
            file("README.md"),
            file(".github/workflows/ci.yaml"),
            file("teams/.draft.yaml"),
            entry(b"docs/CLAUDE.md", EntryKind::Link),
            entry(b".github/x", EntryKind::Link),
            entry(b".vendor", EntryKind::Submodule),
        ];
        assert_eq!(said(&entries).unwrap(), ["org.cedar", "teams/a/b.yaml", "c.yml"]);
    }

    #[test]
    fn what_could_mean_another_file_refuses_the_whole_commit() {
        let long = ["a".repeat(251), "b".repeat(256)].map(|name| format!("{name}.yaml/{name}.yaml"));
        let cases: [(&[u8], EntryKind, &str); 15] = [
            (long[0].as_bytes(), EntryKind::File, "of more than 255 bytes"),
            (long[1].as_bytes(), EntryKind::File, "of more than 255 bytes"),
            (b"a.yaml", EntryKind::Link, "is a symbolic link"),
            (b"teams", EntryKind::Link, "is a symbolic link"),
            (b"teams", EntryKind::Submodule, "is another repository"),
            (b"x.cedar", EntryKind::Submodule, "is another repository"),
            (b"../a.yaml", EntryKind::File, "is not plain"),
            (b"teams/../../a.yaml", EntryKind::File, "is not plain"),
            (b"/etc/a.yaml", EntryKind::File, "is not plain"),
            (b"a//b.yaml", EntryKind::File, "is not plain"),
            (b"a\\b.yaml", EntryKind::File, "is not plain"),
            (b"a\nb.yaml", EntryKind::File, "is not plain"),
            (b"a\x1b[2Jb.cedar", EntryKind::File, "is not plain"),
            (b"a\xff.yaml", EntryKind::File, "not UTF-8"),
            (b"1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17.yaml", EntryKind::File, "too deeply"),
        ];
        for (path, kind, message) in cases {
            let good = entry(b"good.yaml", EntryKind::File);
            let found = said(&[good, entry(path, kind)]).unwrap_err();
            assert!(found.len() == 1 && found[0].contains(message), "{path:?}: {found:?}");
        }
        let twice = [entry(b"teams/A.yaml", EntryKind::File), entry(b"Teams/a.yaml", EntryKind::File)];
        assert_eq!(
            said(&twice).unwrap_err(),
            ["Teams/a.yaml: differs from `teams/A.yaml` by upper and lower case only"]
        );
        let file = |path: &str| entry(path.as_bytes(), EntryKind::File);
        let apart = [file("teams/A/x.yaml"), file("teams/a/y.yaml"), file("Teams/z.yaml")];
        assert_eq!(
            said(&apart).unwrap_err(),
            [
                "teams/a/y.yaml: lies in `teams/a`, which differs from `teams/A` by upper and lower case only",
                "Teams/z.yaml: lies in `Teams`, which differs from `teams` by upper and lower case only",
            ]
        );
        let inside = [file("b.yaml/x.yaml"), file("B.yaml")];
        assert_eq!(
            said(&inside).unwrap_err(),
            ["B.yaml: differs from `b.yaml` by upper and lower case only"]
        );
        assert!(said(&[file("a.yaml"), file("a.yaml")]).is_err());
        assert!(said(&[file("README/x"), file("readme/a.yaml"), file("teams/a/x.yaml")]).is_ok());
        let longest = "c".repeat(250);
        assert!(said(&[file(&format!("{longest}/{longest}.yaml"))]).is_ok());
    }

    #[test]
    fn size_and_number_are_bounded() {
        let large = Entry { size_bytes: MAX_FILE_BYTES + 1, ..entry(b"a.yaml", EntryKind::File) };
        assert!(said(std::slice::from_ref(&large)).unwrap_err()[0].contains("larger than"));
        let full = Entry { size_bytes: MAX_FILE_BYTES, ..large };
        assert!(said(std::slice::from_ref(&full)).is_ok());
        let numbered = |number: usize| Entry { path: format!("{number}.yaml").into(), ..full.clone() };
        let fits = usize::try_from(MAX_SET_BYTES / MAX_FILE_BYTES).unwrap();
        assert!(said(&(0..fits).map(numbered).collect::<Vec<_>>()).is_ok());
        let found = said(&(0..=fits).map(numbered).collect::<Vec<_>>()).unwrap_err();
        assert!(found[0].contains("manifests and policies of more than"), "{found:?}");
        let small = |number: usize| Entry { size_bytes: 1, ..numbered(number) };
        assert!(said(&(0..MAX_FILES).map(small).collect::<Vec<_>>()).is_ok());
        let found = said(&(0..=MAX_FILES).map(small).collect::<Vec<_>>()).unwrap_err();
        assert!(found[0].contains("holds more than"), "{found:?}");
    }

    #[test]
    fn a_file_that_is_no_text_refuses_the_whole_commit() {
        let (one, two) = (entry(b"a.yaml", EntryKind::File), entry(b"b.yaml", EntryKind::File));
        let read = |second: &[u8]| files(&[&one, &two], vec![b"a".to_vec(), second.to_vec()], Path::to_owned);
        assert_eq!(
            read(b"b").unwrap().0,
            BTreeMap::from([("a.yaml".into(), "a".into()), ("b.yaml".into(), "b".into())])
        );
        assert_eq!(read(b"\xff").unwrap_err()[0].to_string(), "b.yaml: is not UTF-8");
    }
}
