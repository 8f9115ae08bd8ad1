//! What a snapshot's commit message says: the reason on the first line, then one `Key: value` a line. Pure.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use crate::names::bytes_of;
use crate::{CommitId, Snapshot};

/// A reason longer than this is cut.
const REASON_LIMIT_CHARS: usize = 200;

pub(super) struct Message<S> {
    pub(super) reason: S,
    pub(super) head: CommitId,
    pub(super) branch: Option<String>,
    pub(super) base: CommitId,
    pub(super) index: Option<CommitId>,
    pub(super) exact: Option<CommitId>,
    pub(super) uncovered: Vec<PathBuf>,
}

impl<S: AsRef<str>> Message<S> {
    pub(super) fn to_text(&self) -> String {
        let mut text =
            format!("{}\n\nHead: {}\nBase: {}\n", one_line(self.reason.as_ref()), self.head, self.base);
        let mut line = |key: &str, value: &str| text.push_str(&format!("{key}: {value}\n"));
        if let Some(branch) = &self.branch {
            line("Branch", branch);
        }
        if let Some(index) = &self.index {
            line("Index", index.as_str());
        }
        if let Some(exact) = &self.exact {
            line("Exact", exact.as_str());
        }
        for path in &self.uncovered {
            line("Uncovered", &escaped(path));
        }
        text
    }

    pub(super) fn into_snapshot(
        self,
        ref_name: String,
        worktree: String,
        number: u64,
        commit: CommitId,
        at_s: u64,
    ) -> Snapshot {
        Snapshot {
            ref_name,
            worktree,
            number,
            commit,
            at_s,
            reason: one_line(self.reason.as_ref()),
            head: self.head,
            branch: self.branch,
            base: self.base,
            uncovered: self.uncovered,
            index: self.index,
            exact: self.exact,
        }
    }
}

impl Message<String> {
    /// Reads what [`Message::to_text`] wrote. `None` for anything else.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (reason, rest) = text.split_once("\n\n")?;
        let (mut head, mut base, mut branch, mut index, mut exact) = (None, None, None, None, None);
        let mut uncovered = Vec::new();
        for line in rest.lines() {
            let (key, value) = line.split_once(": ")?;
            match key {
                "Head" => head = Some(CommitId::parse(value)?),
                "Base" => base = Some(CommitId::parse(value)?),
                "Branch" => branch = Some(value.to_owned()),
                "Index" => index = Some(CommitId::parse(value)?),
                "Exact" => exact = Some(CommitId::parse(value)?),
                "Uncovered" => uncovered.push(unescaped(value)?),
                // Written by a later version.
                _ => {}
            }
        }
        let reason = reason.to_owned();
        Some(Self { reason, head: head?, branch, base: base?, index, exact, uncovered })
    }
}

/// A commit's subject is one line and not empty.
fn one_line(reason: &str) -> String {
    let words = reason.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let line = words.collect::<Vec<_>>().join(" ");
    let line = line.chars().take(REASON_LIMIT_CHARS).collect::<String>().trim_end().to_owned();
    if line.is_empty() { "snapshot".into() } else { line }
}

/// A path as printable ASCII without spaces: every other byte, and `%`, as `%XX`.
fn escaped(path: &Path) -> String {
    let mut text = String::new();
    for byte in bytes_of(path) {
        if byte.is_ascii_graphic() && *byte != b'%' {
            text.push(char::from(*byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

fn unescaped(text: &str) -> Option<PathBuf> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first == b'%' {
            let digits = std::str::from_utf8(after.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    Some(PathBuf::from(OsString::from_vec(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(digit: char) -> CommitId {
        CommitId::parse(&digit.to_string().repeat(40)).unwrap()
    }

    #[test]
    fn a_message_reads_back_whatever_the_paths_are() {
        let odd = PathBuf::from(OsString::from_vec(b"a b\n%\xff/".to_vec()));
        let message = Message {
            reason: "before\n\nHead: forged".to_owned(),
            head: id('1'),
            branch: Some("größe/x".into()),
            base: id('2'),
            index: Some(id('3')),
            exact: None,
            uncovered: vec![odd, "plain".into()],
        };
        let text = message.to_text();
        let read = Message::parse(&text).unwrap();
        assert_eq!(read.to_text(), text);
        assert_eq!(read.reason, "before Head: forged");
        assert_eq!((read.head, read.index, read.uncovered), (id('1'), Some(id('3')), message.uncovered));
    }

    #[test]
    fn foreign_messages_are_not_snapshots() {
        for text in [
            "",
            "subject\n",
            "subject\n\nbody\n",
            "subject\n\nHead: short\nBase: short\n",
            "s\n\nUncovered: %\n",
        ] {
            assert!(Message::parse(text).is_none(), "{text:?}");
        }
    }

    #[test]
    fn a_reason_is_never_empty() {
        assert_eq!(one_line(" \n "), "snapshot");
        assert_eq!(one_line(&"x".repeat(500)).len(), REASON_LIMIT_CHARS);
    }
}
