//! Retiring an agent in its manifest: one word of the text is changed or one line added, everything else stays as its
//! author wrote it. What came of it is read again before it is written: an edit that changes anything else is not made.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::core::manifest::{Agent, Lifecycle};
use crate::core::principal::AgentRef;

use super::manifest::{self, Body, Document};
use super::syntax;
use super::tree::{At, Faults, Node, Value};

/// The word.
const RETIRED: &str = "retired";

/// Why a manifest was not changed.
#[derive(Debug, thiserror::Error)]
pub enum RetireError {
    /// The file cannot be read or written.
    #[error("`{}`: {source}", path.display())]
    Io {
        /// The manifest.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It says something else than what is in force.
    #[error("`{}` does not declare `{agent}` any more, or has a problem", path.display())]
    Changed {
        /// The manifest.
        path: PathBuf,
        /// Who.
        agent: AgentRef,
    },
    /// No edit of the text has the effect.
    #[error("`{}` is written in a way that cannot be changed without writing it anew", path.display())]
    Form {
        /// The manifest.
        path: PathBuf,
    },
}

/// Writes that the agent is retired. Blocks on the file system.
///
/// # Errors
/// Then the file is as it was.
pub fn write(path: &Path, agent: &AgentRef) -> Result<(), RetireError> {
    let failed = |source| RetireError::Io { path: path.to_owned(), source };
    // A link stays one.
    let real = path.canonicalize().map_err(failed)?;
    let text = fs::read_to_string(&real).map_err(failed)?;
    let edited = edited(path, &text, agent)?;
    replace(&real, &edited).map_err(failed)
}

/// Replaces a file whole or not at all; who may read it stays as it was.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mode = fs::metadata(path)?.permissions().mode() & 0o777;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // Hidden, so that nobody reads it as a manifest.
    let beside = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&beside)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    let renamed = written.and_then(|()| fs::rename(&beside, path));
    if renamed.is_err() {
        let _absent = fs::remove_file(&beside);
    }
    renamed
}

/// The text with the agent retired.
pub(super) fn edited(path: &Path, text: &str, agent: &AgentRef) -> Result<String, RetireError> {
    let changed = || RetireError::Changed { path: path.to_owned(), agent: agent.clone() };
    let before = read(path, text).ok_or_else(changed)?;
    let mut found = Vec::new();
    let nodes = syntax::yaml(text, &mut Faults::new(path, &mut found));
    let node = nodes.iter().find(|node| declares(node, agent)).ok_or_else(changed)?;
    candidates(text, node)
        .into_iter()
        .find(|candidate| has_only_retired(&before, &read(path, candidate).unwrap_or_default(), agent))
        .ok_or_else(|| RetireError::Form { path: path.to_owned() })
}

/// The documents of a text without problems.
fn read(path: &Path, text: &str) -> Option<Vec<Document>> {
    let mut problems = Vec::new();
    let documents = manifest::read(path, text, &mut problems);
    problems.is_empty().then_some(documents)
}

fn declares(node: &Node, agent: &AgentRef) -> bool {
    node.text_at("kind") == Some("Agent")
        && node.text_at("metadata.name") == Some(agent.name())
        && node.text_at("metadata.namespace").unwrap_or("default") == agent.namespace()
}

/// Texts that may say it, the plainest first.
fn candidates(text: &str, node: &Node) -> Vec<String> {
    let spliced = |range: std::ops::Range<usize>, new: &str| {
        Some(format!("{}{new}{}", text.get(..range.start)?, text.get(range.end..)?))
    };
    if let Some(entry) = node.entry("spec.lifecycle") {
        let range = offset(text, entry.value.at).and_then(|start| scalar(text, start, &entry.value.value));
        return range.and_then(|range| spliced(range, RETIRED)).into_iter().collect();
    }
    let Some(Value::Map(entries)) = node.entry("spec").map(|spec| &spec.value.value) else {
        return Vec::new();
    };
    let Some(start) = entries.first().and_then(|first| offset(text, first.at)) else { return Vec::new() };
    let line = text.get(..start).and_then(|before| before.rfind('\n')).map_or(0, |end| end + 1);
    let indent = text.get(line..start).filter(|indent| indent.bytes().all(|byte| byte == b' '));
    let end = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let on_a_line =
        indent.and_then(|indent| spliced(start..start, &format!("lifecycle: {RETIRED}{end}{indent}")));
    let in_braces = spliced(start..start, &format!("lifecycle: {RETIRED}, "));
    on_a_line.into_iter().chain(in_braces).collect()
}

/// The bytes of a scalar that begins there, its quotes included.
fn scalar(text: &str, start: usize, value: &Value) -> Option<std::ops::Range<usize>> {
    let rest = text.get(start..)?;
    let length = match value {
        Value::Plain(word) => rest.starts_with(word.as_str()).then_some(word.len())?,
        Value::Text(_) => {
            let quote = rest.chars().next().filter(|quote| "'\"".contains(*quote))?;
            rest.get(1..)?.find(quote)? + 2
        }
        _ => return None,
    };
    Some(start..start + length)
}

/// The byte at which a place lies.
fn offset(text: &str, at: At) -> Option<usize> {
    let (line, column) = (usize::try_from(at.line).ok()?, usize::try_from(at.column).ok()?);
    let start: usize = text.split_inclusive('\n').take(line.checked_sub(1)?).map(str::len).sum();
    let within = text.get(start..)?.char_indices().nth(column.checked_sub(1)?)?.0;
    Some(start + within)
}

/// Whether the one difference between two readings is that the agent is retired.
fn has_only_retired(before: &[Document], after: &[Document], agent: &AgentRef) -> bool {
    let is_the_one = |document: &Document| match &document.body {
        Some(Body::Agent { agent: declared, .. }) => declared.reference == *agent,
        _ => false,
    };
    before.len() == after.len()
        && before.iter().zip(after).all(|(before, after)| match (&before.body, &after.body) {
            (Some(Body::Agent { agent: old, .. }), Some(Body::Agent { agent: new, .. }))
                if is_the_one(before) =>
            {
                **new == Agent { lifecycle: Lifecycle::Retired, ..(**old).clone() }
            }
            (Some(Body::Agent { agent: old, .. }), Some(Body::Agent { agent: new, .. })) => old == new,
            (Some(Body::Budget { budget: old, .. }), Some(Body::Budget { budget: new, .. })) => old == new,
            (Some(Body::Rules(old)), Some(Body::Rules(new))) => old == new,
            _ => false,
        })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    const REST: &str = "  owner: user:alice   # who else\n  purpose: \"Grüße, 日本\"\n  adapters: [claude]\n  models: [\"*\"]\n  budget: b\n";

    fn document(name: &str, spec: &str) -> String {
        format!(
            "apiVersion: agentsup.dev/v1alpha1\nkind: Agent\nmetadata: {{ name: {name}, namespace: t }}\nspec:\n{spec}"
        )
    }

    fn retired(text: &str) -> Result<String, RetireError> {
        edited(Path::new("m.yaml"), text, &AgentRef::new("a", "t").unwrap())
    }

    #[test]
    fn one_word_or_one_line_changes_and_nothing_else() {
        for (before, after) in [
            ("  lifecycle: production # for good\n", "  lifecycle: retired # for good\n"),
            ("  lifecycle:   \"production\"\n", "  lifecycle:   retired\n"),
            ("  lifecycle: 'experimental'   \n", "  lifecycle: retired   \n"),
            ("  lifecycle:\n    production\n", "  lifecycle:\n    retired\n"),
            ("", "  lifecycle: retired\n"),
        ] {
            let (before, after) =
                (document("a", &format!("{before}{REST}")), document("a", &format!("{after}{REST}")));
            assert_eq!(retired(&before).unwrap(), after);
            // Others beside it stay, whatever they are called.
            let other = document("b", REST);
            let (before, after) = (format!("# é\n{other}---\n{before}"), format!("# é\n{other}---\n{after}"));
            assert_eq!(retired(&before).unwrap(), after);
            let windows = before.replace('\n', "\r\n");
            assert_eq!(retired(&windows).unwrap(), after.replace('\n', "\r\n"));
        }
        let flow = "{apiVersion: agentsup.dev/v1alpha1, kind: Agent, metadata: {name: a, namespace: t}, spec: {\n  \
                    owner: user:alice, purpose: x, adapters: [claude], models: [\"*\"], budget: b}}\n";
        let expected = flow.replace("owner:", "lifecycle: retired, owner:");
        assert_eq!(retired(flow).unwrap(), expected);
    }

    #[test]
    fn what_cannot_be_edited_is_left_alone() {
        let late = document("a", &format!("  lifecycle: \"prod\\x75ction\"\n{REST}"));
        assert!(retired(&late).is_ok(), "whatever the quotes hold");
        for text in [document("b", REST), document("a", "  lifecycle: no\n"), "[".to_owned()] {
            assert!(matches!(retired(&text), Err(RetireError::Changed { .. })), "{text}");
        }
        let folded = document("a", &format!("  lifecycle: >-\n    production\n{REST}"));
        assert!(matches!(retired(&folded), Err(RetireError::Form { .. })));
    }

    #[test]
    fn a_link_stays_a_link_and_the_mode_what_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("real.yaml"), dir.path().join("link.yaml"));
        fs::write(&file, document("a", REST)).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("real.yaml", &link).unwrap();
        write(&link, &AgentRef::new("a", "t").unwrap()).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert!(fs::read_to_string(&file).unwrap().contains("\n  lifecycle: retired\n"));
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
