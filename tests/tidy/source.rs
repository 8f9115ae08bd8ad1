//! The files the rules look at: where they are, their text, and the text without comments, strings and tests.

use std::{fs, path::Path};

use super::blank;

/// Where Rust lies that the rules hold for.
const RUST: &[&str] = &["worktree/src", "supervisor/src", "src-tauri/src", "src-tauri/build", "tests"];
/// Where the window's page lies.
const PAGE: &[&str] = &["ui/src", "tests/ui"];
/// Directories inside those that are not ours.
const FOREIGN: &[&str] = &["node_modules", "dist", "target"];

/// One file.
#[derive(Clone)]
pub(crate) struct Source {
    /// From the repository's root, with forward slashes.
    pub(crate) path: String,
    /// As it is on disk.
    pub(crate) text: String,
    /// The same with comments, strings and `#[cfg(test)]` items turned into spaces; line numbers stay.
    pub(crate) code: String,
}

impl Source {
    /// All Rust.
    pub(crate) fn rust() -> Vec<Self> {
        Self::under(RUST, &["rs"])
    }

    /// All of the window's page, and its end-to-end tests.
    pub(crate) fn page() -> Vec<Self> {
        Self::under(PAGE, &["ts", "tsx", "css", "mjs"])
    }

    /// A file that does not exist, to show that a rule works.
    pub(crate) fn made_up(path: &str, text: &str) -> Self {
        let code = if path.ends_with(".rs") { blank::tests(&blank::rust(text)) } else { text.into() };
        Self { path: path.into(), text: text.into(), code }
    }

    /// The number of the line that byte `offset` of the text is on, from 1.
    pub(crate) fn line(&self, offset: usize) -> usize {
        self.text.bytes().take(offset).filter(|&byte| byte == b'\n').count() + 1
    }

    /// A violation at byte `offset`, as a line an editor can jump to.
    pub(crate) fn violation(&self, offset: usize, why: &str) -> String {
        format!("{}:{}: {why}", self.path, self.line(offset))
    }

    /// Whether the file lies in `prefix`: a directory ending in `/`, or the file itself.
    pub(crate) fn is_in(&self, prefix: &str) -> bool {
        if prefix.ends_with('/') { self.path.starts_with(prefix) } else { self.path == prefix }
    }

    /// Whether the whole file is a test.
    pub(crate) fn is_test(&self) -> bool {
        self.path.starts_with("tests/") || self.path.ends_with("tests.rs") || self.path.contains("/tests/")
    }

    fn under(directories: &[&str], extensions: &[&str]) -> Vec<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut found = Vec::new();
        for directory in directories {
            collect(&root, &root.join(directory), extensions, &mut found);
        }
        assert!(!found.is_empty(), "no sources in {directories:?}: the tables are out of date");
        found.sort_by(|a, b| a.path.cmp(&b.path));
        found
    }
}

fn collect(root: &Path, directory: &Path, extensions: &[&str], found: &mut Vec<Source>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for path in entries.map(|entry| entry.unwrap().path()) {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() && !FOREIGN.contains(&name) {
            collect(root, &path, extensions, found);
        } else if path.extension().is_some_and(|end| extensions.iter().any(|wanted| end == *wanted)) {
            let relative = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
            found.push(Source::made_up(&relative, &fs::read_to_string(&path).unwrap()));
        }
    }
}

#[test]
fn sources_are_found_and_know_their_lines() {
    let sources = Source::rust();
    let this = sources.iter().find(|source| source.path == "tests/tidy/source.rs").unwrap();
    assert!(this.is_test() && this.is_in("tests/") && !this.is_in("tests"));
    assert_eq!(Source::made_up("a.rs", "x\ny\n").violation(2, "why"), "a.rs:2: why");
}
