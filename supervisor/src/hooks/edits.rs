//! What the arguments of an edit tool say that it writes. Read by their shape, which the agents share: a path with the
//! whole content, with a text and what replaces it, with a list of those, or a patch.
//!
//! Invariant: an edit is understood to the last argument or not at all; then its arguments are shown as they are.

use serde_json::{Map, Value};

const PATH: &[&str] = &["file_path", "filePath", "path", "absolute_path"];
const CONTENT: &[&str] = &["content", "contents", "file_text"];
const OLD: &[&str] = &["old_string", "oldString", "old_str"];
const NEW: &[&str] = &["new_string", "newString", "new_str"];
const ALL: &[&str] = &["replace_all", "replaceAll", "allow_multiple"];
const TIMES: &[&str] = &["expected_replacements"];
const EDITS: &[&str] = &["edits"];
const PATCH: &[&str] = &["patch", "patchText", "input", "command"];
/// The agent's own words about what it does: they change nothing, and nobody is to be swayed by them.
const WORDS: &[&str] = &["description", "explanation", "instruction", "justification"];

/// What an edit tool writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Edit<'a> {
    /// A file, whole.
    Whole { path: &'a str, content: &'a str },
    /// Parts of a file, one after the other.
    Parts { path: &'a str, parts: Vec<Part<'a>> },
    /// Whatever the patch says.
    Patch(&'a str),
}

/// A text in a file, and what stands there afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part<'a> {
    old: &'a str,
    new: &'a str,
    times: Times,
}

/// How often the text must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Times {
    Exactly(u64),
    AnyNumber,
}

/// The arguments without the agent's own words about them.
pub(super) fn without_words(args: &Value) -> Value {
    match args {
        Value::Object(members) => {
            let kept = members.iter().filter(|(name, _)| !WORDS.contains(&name.as_str()));
            Value::Object(kept.map(|(name, value)| (name.clone(), value.clone())).collect())
        }
        other => other.clone(),
    }
}

/// Reads the arguments; `None` where they have another shape.
pub(super) fn read(args: &Value) -> Option<Edit<'_>> {
    const BEGIN: &str = "*** Begin Patch";
    let patch = |text: &str| text.trim_start().starts_with(BEGIN);
    let members = match args {
        Value::String(text) => return Some(Edit::Patch(text)).filter(|_| patch(text)),
        Value::Object(members) => members,
        _ => return None,
    };
    let mut fields = Fields::new(members);
    let path = fields.text(PATH);
    let edit = match path {
        None => Edit::Patch(fields.text(PATCH).filter(|text| patch(text))?),
        Some(path) => match (fields.text(CONTENT), fields.value(EDITS)) {
            (Some(content), None) => Edit::Whole { path, content },
            (None, Some(edits)) => {
                let parts = edits.as_array()?.iter().map(|edit| {
                    let mut fields = Fields::new(edit.as_object()?);
                    fields.part().filter(|_| fields.is_done())
                });
                Edit::Parts { path, parts: parts.collect::<Option<_>>()? }
            }
            (None, None) => Edit::Parts { path, parts: vec![fields.part()?] },
            (Some(_), Some(_)) => return None,
        },
    };
    fields.is_done().then_some(edit)
}

/// Members that are taken by name; each must be taken, and none may go by two names.
struct Fields<'a> {
    members: &'a Map<String, Value>,
    taken: usize,
}

impl<'a> Fields<'a> {
    fn new(members: &'a Map<String, Value>) -> Self {
        let words = members.keys().filter(|name| WORDS.contains(&name.as_str())).count();
        Self { members, taken: words }
    }

    fn value(&mut self, names: &[&str]) -> Option<&'a Value> {
        let mut found = names.iter().filter_map(|name| self.members.get(*name));
        match (found.next(), found.next()) {
            (Some(value), None) => {
                self.taken += 1;
                Some(value)
            }
            _ => None,
        }
    }

    fn text(&mut self, names: &[&str]) -> Option<&'a str> {
        self.value(names)?.as_str()
    }

    fn part(&mut self) -> Option<Part<'a>> {
        let (old, new) = (self.text(OLD)?, self.text(NEW)?);
        let times = match (self.value(ALL), self.value(TIMES)) {
            (None | Some(Value::Bool(false)), None) => Times::Exactly(1),
            (Some(Value::Bool(true)), None) => Times::AnyNumber,
            (None, Some(times)) => Times::Exactly(times.as_u64()?),
            _ => return None,
        };
        Some(Part { old, new, times })
    }

    fn is_done(&self) -> bool {
        self.taken == self.members.len()
    }
}

/// The text after its parts are replaced; `None` if that is not certain: a part is not there, or there too often.
pub(super) fn apply(before: &str, parts: &[Part<'_>]) -> Option<String> {
    let mut text = before.to_owned();
    for part in parts {
        if part.old.is_empty() {
            // How a file is made; in another one nobody knows where it would go.
            if !text.is_empty() {
                return None;
            }
            text = part.new.to_owned();
            continue;
        }
        let found = text.matches(part.old).count() as u64;
        let fits = match part.times {
            Times::Exactly(times) => found == times,
            Times::AnyNumber => true,
        };
        if found == 0 || !fits {
            return None;
        }
        text = text.replace(part.old, part.new);
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parts<'a>(texts: &[(&'a str, &'a str)]) -> Vec<Part<'a>> {
        texts.iter().map(|(old, new)| Part { old, new, times: Times::Exactly(1) }).collect()
    }

    #[test]
    fn the_shapes_of_all_agents_are_read() {
        let whole = Edit::Whole { path: "/f", content: "x" };
        let one = Edit::Parts { path: "/f", parts: parts(&[("a", "b")]) };
        let every = Part { old: "a", new: "b", times: Times::AnyNumber };
        let patch = "*** Begin Patch\n*** Add File: a\n+x\n*** End Patch";
        for (args, expected) in [
            (json!({ "file_path": "/f", "content": "x" }), whole.clone()),
            (json!({ "filePath": "/f", "content": "x" }), whole.clone()),
            (json!({ "path": "/f", "file_text": "x" }), whole.clone()),
            (json!({ "path": "/f", "contents": "x", "explanation": "trust me" }), whole),
            (json!({ "file_path": "/f", "old_string": "a", "new_string": "b" }), one.clone()),
            (
                json!({ "filePath": "/f", "oldString": "a", "newString": "b", "replaceAll": false }),
                one.clone(),
            ),
            (json!({ "path": "/f", "old_str": "a", "new_str": "b" }), one.clone()),
            (
                json!({ "file_path": "/f", "old_string": "a", "new_string": "b", "expected_replacements": 1,
                    "instruction": "harmless" }),
                one,
            ),
            (
                json!({ "file_path": "/f", "edits": [{ "old_string": "a", "new_string": "b", "replace_all": true },
                    { "old_string": "c", "new_string": "d" }] }),
                Edit::Parts { path: "/f", parts: [vec![every], parts(&[("c", "d")])].concat() },
            ),
            (json!({ "command": patch }), Edit::Patch(patch)),
            (json!({ "patchText": patch }), Edit::Patch(patch)),
            (json!(patch), Edit::Patch(patch)),
        ] {
            assert_eq!(read(&args), Some(expected), "{args}");
        }
    }

    #[test]
    fn what_is_not_understood_to_the_last_argument_is_not_understood() {
        for args in [
            json!({ "file_path": "/f", "content": "x", "mode": "append" }),
            json!({ "file_path": "/f", "path": "/g", "content": "x" }),
            json!({ "file_path": "/f", "content": "x", "contents": "y" }),
            json!({ "file_path": "/f", "content": "x", "old_string": "a", "new_string": "b" }),
            json!({ "file_path": "/f", "content": "x", "edits": [] }),
            json!({ "file_path": "/f", "edits": [{ "old_string": "a", "new_string": "b", "at": 1 }] }),
            json!({ "file_path": "/f", "old_string": "a", "new_string": "b", "replace_all": "yes" }),
            json!({ "file_path": "/f" }),
            json!({ "command": "rm -r /" }),
            json!({ "notebook_path": "/f", "new_source": "x" }),
            json!(["x"]),
        ] {
            assert_eq!(read(&args), None, "{args}");
        }
    }

    #[test]
    fn what_is_written_is_certain_or_unknown() {
        let every = [Part { old: "a", new: "bb", times: Times::AnyNumber }];
        assert_eq!(apply("a-a", &every).as_deref(), Some("bb-bb"));
        assert_eq!(apply("x", &every), None);
        assert_eq!(apply("one two", &parts(&[("one", "two"), ("two two", "3")])).as_deref(), Some("3"));
        assert_eq!(apply("one one", &parts(&[("one", "two")])), None);
        assert_eq!(apply("", &parts(&[("", "new")])).as_deref(), Some("new"));
        assert_eq!(apply("there", &parts(&[("", "new")])), None);
    }

    #[test]
    fn an_agents_words_are_left_out() {
        let args = json!({ "command": "rm -r /", "description": "Tidy up", "timeout": 5 });
        assert_eq!(without_words(&args), json!({ "command": "rm -r /", "timeout": 5 }));
        assert_eq!(without_words(&json!("x")), json!("x"));
    }
}
