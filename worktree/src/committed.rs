//! What a commit holds in one directory, read from the commit and never from a checkout, so that nothing that is written
//! there counts. Bounded; replacements of objects are not followed.

use std::path::{Path, PathBuf};

use crate::names::{bytes_of, path_of};
use crate::{CommitId, Repository, WorktreeError};

/// Bound of a listing, about ten thousand names.
const LIST_LIMIT_BYTES: usize = 1 << 20;
/// What git says about each object besides its content.
const HEADER_BYTES: usize = 128;

/// Refs that put one object in the place of another are anybody's to write.
const NO_REPLACEMENTS: &str = "core.useReplaceRefs=false";

/// An entry of a directory in a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// From the top of the repository.
    pub path: PathBuf,
    /// What it is.
    pub kind: CommittedKind,
}

/// What a commit has there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommittedKind {
    /// A file.
    File {
        /// Its content's id.
        blob: CommitId,
        /// How long it is.
        bytes: u64,
    },
    /// A symbolic link.
    Link,
    /// A commit of another repository.
    Submodule,
    /// A directory.
    Directory,
}

impl Repository {
    /// What `commit` has at `path` and, where that is a directory, directly in it; the path itself comes first. Nothing
    /// if there is nothing.
    ///
    /// # Errors
    /// `Git` when the commit can't be read, `GitOutput` when there are more than some ten thousand entries.
    pub fn committed(&self, commit: &CommitId, path: &Path) -> Result<Vec<Committed>, WorktreeError> {
        let mut inside = path.as_os_str().to_owned();
        inside.push("/");
        let listed = self
            .at_refs()
            .setting(NO_REPLACEMENTS)
            .args(["ls-tree", "--full-tree", "-t", "-l", "-z", commit.as_str()])
            .args([path.as_os_str(), &inside])
            .cut_at(LIST_LIMIT_BYTES)
            .run()?;
        if listed.cut {
            let command = "git ls-tree".to_owned();
            return Err(WorktreeError::GitOutput { command, limit_bytes: LIST_LIMIT_BYTES });
        }
        listed.records().map(|record| entry(record).ok_or_else(|| listed.unreadable())).collect()
    }

    /// The content of each file among the entries, in their order. The caller has added their sizes up.
    ///
    /// # Errors
    /// `Git` or `GitUnreadable` when one can't be read.
    pub fn committed_contents(&self, entries: &[Committed]) -> Result<Vec<Vec<u8>>, WorktreeError> {
        let files: Vec<(&CommitId, usize)> = entries
            .iter()
            .filter_map(|entry| match &entry.kind {
                CommittedKind::File { blob, bytes } => Some((blob, usize::try_from(*bytes).ok()?)),
                _ => None,
            })
            .collect();
        if files.is_empty() {
            return Ok(Vec::new());
        }
        let asked: String = files.iter().map(|(blob, _)| format!("{}\n", blob.as_str())).collect();
        let limit = files.iter().map(|(_, bytes)| bytes.saturating_add(HEADER_BYTES)).sum();
        let told = self
            .at_refs()
            .setting(NO_REPLACEMENTS)
            .args(["cat-file", "--batch"])
            .input(asked.into_bytes())
            .cut_at(limit)
            .run()?;
        let mut rest = told.stdout.as_slice();
        let mut contents = Vec::with_capacity(files.len());
        for (blob, bytes) in files {
            let header = format!("{} blob {bytes}\n", blob.as_str());
            let content = rest.strip_prefix(header.as_bytes()).and_then(|rest| rest.split_at_checked(bytes));
            let Some((content, after)) = content else { return Err(told.unreadable()) };
            rest = after.strip_prefix(b"\n").ok_or_else(|| told.unreadable())?;
            contents.push(content.to_owned());
        }
        Ok(contents)
    }
}

/// `<mode> <kind> <id> <size>\t<path>`.
fn entry(record: &[u8]) -> Option<Committed> {
    let tab = record.iter().position(|byte| *byte == b'\t')?;
    let (words, path) = (std::str::from_utf8(&record[..tab]).ok()?, path_of(&record[tab + 1..]));
    let mut words = words.split_ascii_whitespace();
    let (mode, _kind, id, size) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let kind = match mode {
        "040000" => CommittedKind::Directory,
        "120000" => CommittedKind::Link,
        "160000" => CommittedKind::Submodule,
        _ => CommittedKind::File { blob: CommitId::parse(id)?, bytes: size.parse().ok()? },
    };
    (!bytes_of(&path).is_empty()).then_some(Committed { path, kind })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::fixture::Fixture;

    fn names(entries: &[Committed]) -> Vec<(&str, &str)> {
        let kind = |entry: &Committed| match entry.kind {
            CommittedKind::File { .. } => "file",
            CommittedKind::Link => "link",
            CommittedKind::Submodule => "submodule",
            CommittedKind::Directory => "directory",
        };
        entries.iter().map(|entry| (entry.path.to_str().unwrap(), kind(entry))).collect()
    }

    #[test]
    fn a_commit_is_read_and_not_its_checkout() {
        let fixture = Fixture::new();
        let main = fixture.main();
        fixture.write(&main, ".own/a.txt", "one\n");
        fixture.write(&main, ".own/b.txt", "\u{0}two");
        fixture.write(&main, ".own/sub/c.txt", "three");
        symlink("/etc/passwd", main.join(".own/link.txt")).unwrap();
        fixture.commit(&main, "own");
        let repository = fixture.repository();
        let commit = repository.require_commit().unwrap();
        fs::write(main.join(".own/a.txt"), "changed").unwrap();
        fs::write(main.join(".own/new.txt"), "new").unwrap();
        let entries = repository.committed(&commit, Path::new(".own")).unwrap();
        assert_eq!(
            names(&entries),
            [
                (".own", "directory"),
                (".own/a.txt", "file"),
                (".own/b.txt", "file"),
                (".own/link.txt", "link"),
                (".own/sub", "directory"),
            ]
        );
        let contents = repository.committed_contents(&entries).unwrap();
        assert_eq!(contents, [b"one\n".to_vec(), b"\0two".to_vec()]);
        assert_eq!(repository.committed(&commit, Path::new("none")).unwrap(), []);
        assert_eq!(repository.committed_contents(&[]).unwrap(), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn what_is_no_directory_says_what_it_is() {
        let fixture = Fixture::new();
        let main = fixture.main();
        symlink("src", main.join(".own")).unwrap();
        fixture.commit(&main, "link");
        let repository = fixture.repository();
        let commit = repository.require_commit().unwrap();
        let entries = repository.committed(&commit, Path::new(".own")).unwrap();
        assert_eq!(names(&entries), [(".own", "link")]);
        fs::remove_file(main.join(".own")).unwrap();
        let cache = format!("160000,{},.own", commit.as_str());
        fixture.run(&main, ["rm", "-q", "--cached", ".own"]);
        fixture.run(&main, ["update-index", "--add", "--cacheinfo", &cache]);
        fixture.run(&main, ["commit", "-q", "-m", "submodule"]);
        let commit = repository.require_commit().unwrap();
        let entries = repository.committed(&commit, Path::new(".own")).unwrap();
        assert_eq!(names(&entries), [(".own", "submodule")]);
    }

    /// Whoever can write refs could otherwise put other content under the same id.
    #[test]
    fn a_replaced_object_is_not_taken_for_the_one_that_was_committed() {
        let fixture = Fixture::new();
        let main = fixture.main();
        fixture.write(&main, ".own/a.txt", "true");
        fixture.commit(&main, "own");
        let repository = fixture.repository();
        let commit = repository.require_commit().unwrap();
        let honest = fixture.run(&main, ["rev-parse", "HEAD:.own/a.txt"]);
        fixture.write(&main, "other", "fake");
        let other = fixture.run(&main, ["hash-object", "-w", "other"]);
        fixture.run(&main, ["replace", &honest, &other]);
        assert_eq!(fixture.run(&main, ["cat-file", "blob", &honest]), "fake");
        let entries = repository.committed(&commit, Path::new(".own")).unwrap();
        assert_eq!(repository.committed_contents(&entries).unwrap(), [b"true".to_vec()]);
    }

    #[test]
    fn a_directory_of_very_many_files_is_refused() {
        let fixture = Fixture::new();
        let main = fixture.main();
        let blob = fixture.run(&main, ["hash-object", "-w", "README"]);
        let line = |at: usize| format!("100644 {blob}\t.own/{at:0>200}.txt\n");
        let lines: String = (0..5000).map(line).collect();
        let call = fixture.git.discover(&main).args(["update-index", "--index-info"]);
        call.input(lines.into_bytes()).run().unwrap();
        fixture.run(&main, ["commit", "-q", "-m", "many"]);
        let repository = fixture.repository();
        let commit = repository.require_commit().unwrap();
        let error = repository.committed(&commit, Path::new(".own")).unwrap_err();
        assert!(matches!(error, WorktreeError::GitOutput { .. }), "{error}");
    }
}
