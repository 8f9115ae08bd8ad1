//! Small value types: commit ids, heads, signatures, and how names from outside are checked and shown.
//!
//! Must not start processes or touch files.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::WorktreeError;

/// The full id of a commit: 40 (SHA-1) or 64 (SHA-256) lower-case hex digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CommitId(String);

impl CommitId {
    /// Reads a full commit id. `None` for an abbreviated id or anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let hex = text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        (hex && matches!(text.len(), 40 | 64)).then(|| Self(text.to_owned()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What `HEAD` of a checkout is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Head {
    /// A branch with at least one commit.
    Branch {
        /// Without `refs/heads/`.
        name: String,
        /// The branch's tip.
        commit: CommitId,
    },
    /// A commit, no branch.
    Detached {
        /// The commit checked out.
        commit: CommitId,
    },
    /// A branch that has no commit yet.
    Unborn {
        /// Without `refs/heads/`.
        branch: String,
    },
}

impl Head {
    /// The commit checked out, `None` while there is none.
    pub fn commit(&self) -> Option<&CommitId> {
        match self {
            Self::Branch { commit, .. } | Self::Detached { commit } => Some(commit),
            Self::Unborn { .. } => None,
        }
    }

    /// The branch checked out, `None` when detached.
    pub fn branch(&self) -> Option<&str> {
        match self {
            Self::Branch { name, .. } => Some(name),
            Self::Unborn { branch } => Some(branch),
            Self::Detached { .. } => None,
        }
    }
}

/// Who makes a commit and when. The library reads no clock for it, and the user's git
/// identity only where [`crate::Repository::identity`] is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// Name of author and committer.
    pub name: String,
    /// Email address of author and committer.
    pub email: String,
    /// Seconds since the Unix epoch, written as UTC.
    pub at_s: u64,
}

/// A path for an error text: control characters escaped, so that it stays on one line.
pub(crate) fn shown(path: &Path) -> String {
    let mut text = String::new();
    for character in path.to_string_lossy().chars() {
        if character.is_control() {
            text.extend(character.escape_default());
        } else {
            text.push(character);
        }
    }
    text
}

/// The first paths of a list for an error text.
pub(crate) fn shown_list(paths: &[PathBuf]) -> String {
    const SHOWN: usize = 10;
    let mut text =
        paths.iter().take(SHOWN).map(|path| format!("`{}`", shown(path))).collect::<Vec<_>>().join(", ");
    if paths.len() > SHOWN {
        text.push_str(&format!(" and {} more", paths.len() - SHOWN));
    }
    text
}

/// A path as git prints it with `-z`.
pub(crate) fn path_of(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}

/// A path as git reads it with `-z`.
pub(crate) fn bytes_of(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

/// Output that is one path and a newline. The path itself may contain newlines.
pub(crate) fn path_line(mut output: Vec<u8>) -> PathBuf {
    if output.last() == Some(&b'\n') {
        output.pop();
    }
    PathBuf::from(std::ffi::OsString::from_vec(output))
}

/// Checks a new worktree's path and returns the name its hidden refs go by: the last component.
pub(crate) fn worktree_name(path: &Path) -> Result<String, WorktreeError> {
    let refuse = |why| Err(WorktreeError::PathInvalid { path: path.to_owned(), why });
    if !path.is_absolute() {
        return refuse("must be absolute");
    }
    if bytes_of(path).last().is_some_and(u8::is_ascii_whitespace) {
        return refuse("must not end in white space, git would cut it off");
    }
    if path.components().any(|part| matches!(part, std::path::Component::ParentDir)) {
        return refuse("must not contain `..`");
    }
    let Some(name) = path.file_name().and_then(OsStr::to_str) else {
        return refuse("must end in a name in UTF-8");
    };
    let plain = |character: char| character.is_alphanumeric() || "-_.+=, ".contains(character);
    let bad_edge = name.starts_with(['.', '-']) || name.ends_with(".lock") || name.ends_with('.');
    if bad_edge || name.contains("..") || !name.chars().all(plain) {
        return refuse("must end in a name of letters, digits, space and any of `-_.+=,`");
    }
    Ok(name.replace(' ', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commit_ids_are_full_and_lower_case() {
        let sha1 = "0123456789abcdef0123456789abcdef01234567";
        let sha256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
        assert_eq!(CommitId::parse("0123456"), None);
        assert_eq!(CommitId::parse(&sha1.to_uppercase()), None);
        assert_eq!(CommitId::parse(&format!("-{}", &sha1[1..])), None);
        assert_eq!(CommitId::parse(&sha1[..39]), None);
        assert_eq!(CommitId::parse(sha1).map(|id| id.to_string()), Some(sha1.to_owned()));
        assert_eq!(CommitId::parse(sha256).map(|id| id.as_str().len()), Some(64));
    }

    #[test]
    fn worktree_names_that_git_or_a_ref_would_change_are_refused() {
        for path in [
            "a/b",
            "/a/b ",
            "/a/b\n",
            "/a/../b",
            "/",
            "/a/.b",
            "/a/-b",
            "/a/b.lock",
            "/a/b..c",
            "/a/b~1",
            "/a/b\nc",
        ] {
            assert!(
                matches!(worktree_name(Path::new(path)), Err(WorktreeError::PathInvalid { .. })),
                "{path:?} was accepted"
            );
        }
        assert_eq!(worktree_name(Path::new("/a\nb/fix the bug")).unwrap(), "fix_the_bug");
        assert_eq!(worktree_name(Path::new("/a/größe-1")).unwrap(), "größe-1");
    }

    #[test]
    fn shown_paths_stay_on_one_line() {
        assert_eq!(shown(Path::new("a\nb c")), "a\\nb c");
        let many = (0..12).map(|n| PathBuf::from(n.to_string())).collect::<Vec<_>>();
        assert_eq!(shown_list(&many), "`0`, `1`, `2`, `3`, `4`, `5`, `6`, `7`, `8`, `9` and 2 more");
    }
}
