//! The trash: a directory of the caller's into which removed things are renamed. Must not copy or delete.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::WorktreeError;

/// A directory for removed worktrees, on the same file system as the worktrees. Emptying it is the caller's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trash {
    directory: PathBuf,
}

/// How many removed things may have had the same name.
const SAME_NAME_LIMIT: usize = 100_000;

impl Trash {
    /// A trash at an absolute path; the directory is made if needed.
    ///
    /// # Errors
    /// `PathInvalid` for a relative path, `Io` when it can't be made.
    pub fn at(directory: impl Into<PathBuf>) -> Result<Self, WorktreeError> {
        let directory = directory.into();
        if !directory.is_absolute() {
            return Err(WorktreeError::PathInvalid { path: directory, why: "must be absolute" });
        }
        fs::create_dir_all(&directory).map_err(WorktreeError::io("make", &directory))?;
        Ok(Self { directory })
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Renames a directory into the trash and returns where it is now: `<name>-<n>`.
    pub(crate) fn take(&self, from: &Path, name: &str) -> Result<PathBuf, WorktreeError> {
        // Making the directory claims the name; a rename onto an empty directory replaces it in one step.
        let claimed = self.claim(name)?;
        match fs::rename(from, &claimed) {
            Ok(()) => Ok(claimed),
            Err(error) => {
                let _empty_and_ours = fs::remove_dir(&claimed);
                Err(if error.kind() == ErrorKind::CrossesDevices {
                    WorktreeError::CrossDevice { path: from.to_owned(), trash: self.directory.clone() }
                } else {
                    WorktreeError::io("move to the trash", from)(error)
                })
            }
        }
    }

    fn claim(&self, name: &str) -> Result<PathBuf, WorktreeError> {
        for number in 1..=SAME_NAME_LIMIT {
            let path = self.directory.join(format!("{name}-{number}"));
            match fs::create_dir(&path) {
                Ok(()) => return Ok(path),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(WorktreeError::io("make", &path)(error)),
            }
        }
        Err(WorktreeError::TooMany { what: "removed worktrees of one name", limit: SAME_NAME_LIMIT })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_trash_is_refused() {
        assert!(matches!(Trash::at("trash"), Err(WorktreeError::PathInvalid { .. })));
    }

    #[test]
    fn a_failed_move_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let trash = Trash::at(directory.path().join("trash")).unwrap();
        let error = trash.take(&directory.path().join("absent"), "x").unwrap_err();
        assert!(matches!(error, WorktreeError::Io { .. }), "{error:?}");
        assert_eq!(fs::read_dir(trash.directory()).unwrap().count(), 0);
    }

    #[test]
    fn another_file_system_is_refused_and_nothing_moves() {
        let directory = tempfile::tempdir().unwrap();
        // A memory file system that Linux machines have; without one there is nothing to test with.
        let Ok(other) = tempfile::tempdir_in("/dev/shm") else { return };
        let from = directory.path().join("work");
        fs::create_dir(&from).unwrap();
        fs::write(from.join("file"), "kept").unwrap();
        let trash = Trash::at(other.path()).unwrap();
        match trash.take(&from, "work") {
            Err(WorktreeError::CrossDevice { path, trash: named }) => {
                assert_eq!((path, named), (from.clone(), other.path().to_owned()));
                assert_eq!(fs::read_to_string(from.join("file")).unwrap(), "kept");
                assert_eq!(fs::read_dir(other.path()).unwrap().count(), 0);
            }
            // Both are on one file system here.
            outcome => assert!(outcome.is_ok(), "{outcome:?}"),
        }
    }

    #[test]
    fn equal_names_get_numbers() {
        let directory = tempfile::tempdir().unwrap();
        let trash = Trash::at(directory.path().join("trash")).unwrap();
        for number in 1..=3 {
            let from = directory.path().join("work");
            fs::create_dir(&from).unwrap();
            fs::write(from.join("n"), number.to_string()).unwrap();
            let to = trash.take(&from, "work").unwrap();
            assert_eq!(to, trash.directory().join(format!("work-{number}")));
            assert_eq!(fs::read_to_string(to.join("n")).unwrap(), number.to_string());
        }
    }
}
