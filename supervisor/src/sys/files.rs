//! Paths as the kernel will see them: symlinks and `..` resolved as far as a path exists.
//!
//! What is resolved here may be something else a moment later; the decision about a path holds for what was seen.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

/// Links followed at most, as the kernel does.
const MAX_LINKS: usize = 40;
/// The longest path, in bytes.
const MAX_PATH_BYTES: usize = 16 * 1024;

/// The absolute path that `path` means in `dir`: symlinks and `..` resolved as far as it exists, a link to nothing
/// followed to where a write would create a file, the rest taken as it is written. `None` if it means nothing certain:
/// it is not a path, a part of it cannot be looked at, it leads through too many links or through one of a process, or
/// `dir` is not absolute.
pub fn resolve(path: &Path, dir: &Path) -> Option<PathBuf> {
    let bytes = path.as_os_str().as_bytes();
    if bytes.is_empty() || bytes.len() > MAX_PATH_BYTES || bytes.contains(&0) || !dir.is_absolute() {
        return None;
    }
    let mut todo = parts(&dir.join(path));
    let mut done = PathBuf::from("/");
    let mut links = 0;
    while let Some(part) = todo.pop_front() {
        if part == ".." {
            // What is resolved has no links, so its parent is its parent.
            done.pop();
            continue;
        }
        let next = done.join(&part);
        match fs::symlink_metadata(&next) {
            Ok(meta) if meta.is_symlink() => {
                // A process's links mean something else to each who follows them.
                match next.strip_prefix("/proc").map(|below| below.components().count()) {
                    Ok(1) if part == "self" || part == "thread-self" => {
                        done = next;
                        continue;
                    }
                    Ok(2..) => return None,
                    Ok(_) | Err(_) => {}
                }
                links += 1;
                let target = fs::read_link(&next).ok().filter(|_| links <= MAX_LINKS)?;
                if target.is_absolute() {
                    done = PathBuf::from("/");
                }
                let mut parts = parts(&target);
                parts.append(&mut todo);
                todo = parts;
            }
            Ok(_) => done = next,
            // Nothing there, or a file where a directory should be: the rest is names only.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                done = next;
            }
            Err(_) => return None,
        }
    }
    Some(done)
}

/// Whether there is something of this name, a link to nothing included.
pub fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// Whether a path, as it is written, leads through a process: below `/proc/<process>` are environments, memory, and
/// links that mean something else to each who follows them.
pub fn is_of_a_process(path: &Path) -> bool {
    let parts = path.components().fold(PathBuf::new(), |mut parts, part| {
        match part {
            Component::CurDir => {}
            Component::ParentDir => drop(parts.pop()),
            other => parts.push(other),
        }
        parts
    });
    let Ok(below) = parts.strip_prefix("/proc") else { return false };
    below.components().next().and_then(|part| part.as_os_str().to_str()).is_some_and(|part| {
        matches!(part, "self" | "thread-self") || part.starts_with(|first: char| first.is_ascii_digit())
    })
}

/// Names and `..`, in order.
fn parts(path: &Path) -> VecDeque<OsString> {
    let part = |component: Component<'_>| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsStr::new("..").to_owned()),
        _ => None,
    };
    path.components().filter_map(part).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::os::unix::fs::symlink;

    use super::*;

    fn at(path: &str, dir: &Path) -> PathBuf {
        resolve(Path::new(path), dir).unwrap()
    }

    #[test]
    fn links_and_dots_are_resolved_as_far_as_the_path_exists() {
        let guard = tempfile::tempdir().unwrap();
        let dir = guard.path().canonicalize().unwrap();
        fs::create_dir_all(dir.join("tree/sub")).unwrap();
        fs::create_dir_all(dir.join("out/deep")).unwrap();
        fs::write(dir.join("out/file"), "").unwrap();
        let tree = dir.join("tree");
        symlink("../out", tree.join("relative")).unwrap();
        symlink(dir.join("out/deep"), tree.join("absolute")).unwrap();
        symlink("../out/not-yet", tree.join("dangling")).unwrap();
        symlink("relative", tree.join("twice")).unwrap();
        for (path, expected) in [
            ("a", tree.join("a")),
            ("./sub//./b", tree.join("sub/b")),
            ("sub/../c", tree.join("c")),
            ("../x", dir.join("x")),
            ("relative/file", dir.join("out/file")),
            ("twice/file", dir.join("out/file")),
            ("absolute/..", dir.join("out")),
            ("absolute/../file", dir.join("out/file")),
            ("dangling", dir.join("out/not-yet")),
            ("dangling/below", dir.join("out/not-yet/below")),
            ("none/../../x", dir.join("x")),
            ("relative/file/below", dir.join("out/file/below")),
            ("../../../../../../../../../../etc", PathBuf::from("/etc")),
            ("a b\nc", tree.join("a b\nc")),
        ] {
            assert_eq!(at(path, &tree), expected, "{path:?}");
        }
        assert_eq!(at(tree.join("relative").to_str().unwrap(), Path::new("/")), dir.join("out"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_link_that_means_something_else_to_each_process_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        symlink("/proc/self/cwd", dir.path().join("here")).unwrap();
        for path in ["/proc/self/cwd/tmp/x", "/proc/thread-self/root/x", "/dev/fd/0", "here/tmp/x"] {
            assert_eq!(resolve(Path::new(path), dir.path()), None, "{path:?}");
        }
        assert_eq!(at("/proc/mounts", dir.path()), Path::new("/proc/self/mounts"));
        for (path, expected) in [
            ("/proc/self/environ", true),
            ("/a/../proc/12/mem", true),
            ("/proc/cpuinfo", false),
            ("/proc", false),
        ] {
            assert_eq!(is_of_a_process(Path::new(path)), expected, "{path:?}");
        }
    }

    #[test]
    fn what_has_no_certain_meaning_is_no_path() {
        let dir = tempfile::tempdir().unwrap();
        symlink("b", dir.path().join("a")).unwrap();
        symlink("a", dir.path().join("b")).unwrap();
        let (long, name) = ("x/".repeat(MAX_PATH_BYTES), "n".repeat(300));
        for path in ["", "a\0b", &long, &name, "a/x"] {
            assert_eq!(resolve(Path::new(path), dir.path()), None, "{path:?}");
        }
        assert_eq!(resolve(Path::new("a"), Path::new("relative")), None);
    }
}
