//! Paths as the kernel will see them.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

/// Links followed at most, as the kernel does.
const LINKS: usize = 40;

/// The absolute path that `path` means in `dir`: symlinks and `..` resolved as far as it exists, the rest taken as it
/// is written. `None` if it has too many links to be followed, or `dir` is not absolute.
pub fn resolve(path: &Path, dir: &Path) -> Option<PathBuf> {
    if !dir.is_absolute() {
        return None;
    }
    let mut resolved = PathBuf::from("/");
    let mut parts: VecDeque<OsString> = VecDeque::new();
    if !path.is_absolute() {
        push_front(&mut parts, path);
        push_front(&mut parts, dir);
    } else {
        push_front(&mut parts, path);
    }
    let mut links = 0;
    while let Some(part) = parts.pop_front() {
        if part == ".." {
            // What is resolved has no links, so its parent is its parent.
            resolved.pop();
            continue;
        }
        resolved.push(&part);
        let Ok(target) = std::fs::read_link(&resolved) else { continue };
        links += 1;
        if links > LINKS {
            return None;
        }
        resolved.pop();
        if target.is_absolute() {
            resolved = PathBuf::from("/");
        }
        push_front(&mut parts, &target);
    }
    Some(resolved)
}

fn push_front(parts: &mut VecDeque<OsString>, path: &Path) {
    for part in path.components().rev() {
        match part {
            Component::Normal(name) => parts.push_front(name.to_owned()),
            Component::ParentDir => parts.push_front("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_and_parents_are_resolved_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(dir.path()).unwrap();
        std::fs::create_dir_all(root.join("real/deep")).unwrap();
        symlink("real/deep", root.join("link")).unwrap();
        symlink("/etc", root.join("out")).unwrap();
        for (path, expected) in [
            ("link/../file", root.join("real/file")),
            ("real/deep/../../new/./x", root.join("new/x")),
            ("missing/../real", root.join("real")),
            ("out/passwd", "/etc/passwd".into()),
            ("/../../usr", "/usr".into()),
        ] {
            assert_eq!(resolve(Path::new(path), &root), Some(expected), "{path}");
        }
    }

    #[test]
    fn a_circle_of_links_has_no_path() {
        let dir = tempfile::tempdir().unwrap();
        symlink("b", dir.path().join("a")).unwrap();
        symlink("a", dir.path().join("b")).unwrap();
        assert_eq!(resolve(Path::new("a"), dir.path()), None);
        assert_eq!(resolve(Path::new("a"), Path::new("relative")), None);
    }
}
