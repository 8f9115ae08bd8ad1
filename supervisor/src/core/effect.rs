//! What an action would do, as a person is shown it before they answer: the difference that an edit makes, the whole
//! command line, the arguments of a call. Never the agent's own words about it.
//!
//! Invariants: an effect is shown whole or not at all, and what is approved is bound to everything in it. It holds the
//! content of files, so it stays in memory and in the answer to a person; it is in no log and no record.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::canonical::{self, CanonicalError};
use super::visible::{is_hidden, visible};

/// The longest effect that a person is asked about, in bytes: nobody reads more, and what nobody reads is not approved.
pub const EFFECT_MAX: usize = 256 * 1024;

/// What an action would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effect {
    /// What is shown, in order.
    pub shown: Vec<Shown>,
    /// The files that it would change: SHA-256 of what they hold now, hexadecimal, or `absent`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, String>,
}

/// One thing that an action would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Shown {
    /// Run a command.
    Command {
        /// The whole line.
        line: String,
        /// The repository whose worktree it runs in.
        repository: String,
        /// Where: from the worktree on, or absolute if it is outside.
        directory: String,
    },
    /// Change files.
    Diff {
        /// The file, or the patch's own name for itself.
        path: String,
        /// The difference in the unified form, or the patch as it is.
        text: String,
        /// SHA-256 of what the file will hold, hexadecimal, where that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<String>,
    },
    /// Be called with these.
    Arguments {
        /// JSON, a member a line, what is hidden in it escaped.
        text: String,
    },
}

/// The effect of an action that its name and target say all of.
pub const PLAIN: Effect = Effect { shown: Vec::new(), files: BTreeMap::new() };

impl Effect {
    /// The digest that an approval is bound to: of the normalised action and of all that is shown.
    ///
    /// # Errors
    /// As [`canonical::digest`].
    pub fn bind(&self, action: &str) -> Result<String, CanonicalError> {
        canonical::digest(&(action, self)).map(hex::encode)
    }

    /// How long it is, in bytes.
    pub fn length(&self) -> usize {
        self.shown.iter().map(Shown::length).sum()
    }

    /// All of it, line by line, with nothing hidden.
    pub fn lines(&self) -> Vec<String> {
        self.shown.iter().flat_map(Shown::lines).collect()
    }

    /// As much as fits into so many lines, which have an end; then how much is left out.
    pub fn brief(&self, lines_max: usize) -> Vec<String> {
        const LINE_MAX: usize = 400;
        let mut lines = self.lines();
        let whole = lines.len();
        let cut = lines.iter().position(|line| line.chars().count() > LINE_MAX).unwrap_or(whole);
        let kept = if whole <= lines_max { whole } else { lines_max.saturating_sub(1) }.min(cut);
        if kept < whole {
            lines.truncate(kept);
            let bytes = self.length();
            lines.push(format!("NOT SHOWN HERE: {} more lines of {bytes} bytes in all", whole - kept));
        }
        lines
    }
}

impl Shown {
    fn length(&self) -> usize {
        match self {
            Self::Command { line, .. } => line.len(),
            Self::Diff { path, text, .. } => path.len() + text.len(),
            Self::Arguments { text } => text.len(),
        }
    }

    fn lines(&self) -> Vec<String> {
        let of = |text: &str| visible(text).split('\n').map(str::to_owned).collect::<Vec<_>>();
        match self {
            Self::Command { line, repository, directory } => {
                let place = if directory.starts_with('/') {
                    format!("in {}", visible(directory))
                } else {
                    format!("in {} of a worktree of {}", visible(directory), visible(repository))
                };
                let mut lines = of(line);
                if let Some(first) = lines.first_mut() {
                    first.insert_str(0, "$ ");
                }
                lines.push(place);
                lines
            }
            Self::Diff { text, .. } => of(text.strip_suffix('\n').unwrap_or(text)),
            Self::Arguments { text } => of(text),
        }
    }
}

/// JSON over several lines, for people: every token as it is, strings without what is hidden in them.
pub fn pretty(json: &str) -> String {
    let mut out = String::with_capacity(json.len() + 64);
    let (mut depth, mut rest) = (0_usize, json);
    while let Some(first) = rest.chars().next() {
        let (token, after) = rest.split_at(if first == '"' { string_end(rest) } else { first.len_utf8() });
        rest = after;
        let next = rest.trim_start().chars().next();
        match first {
            '{' | '[' => {
                out.push(first);
                depth += 1;
                if !matches!(next, Some('}' | ']')) {
                    new_line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                if !out.ends_with(['{', '[']) {
                    new_line(&mut out, depth);
                }
                out.push(first);
            }
            ',' => {
                out.push(',');
                new_line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            '"' => string(&mut out, token, depth),
            _ if first.is_ascii_whitespace() => {}
            _ => out.push(first),
        }
    }
    out
}

/// Where the string that `text` begins with ends.
fn string_end(text: &str) -> usize {
    let mut escaped = false;
    let end = text.bytes().enumerate().skip(1).find(|(_, byte)| {
        let ends = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        ends
    });
    end.map_or(text.len(), |(at, _)| at + 1)
}

/// Decoded and written anew, so that one text has one spelling; the lines of a long one below each other.
fn string(out: &mut String, token: &str, depth: usize) {
    let Ok(text) = serde_json::from_str::<String>(token) else {
        out.push_str(&visible(token));
        return;
    };
    out.push('"');
    let last = text.chars().count().saturating_sub(1);
    for (at, letter) in text.chars().enumerate() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => {
                out.push_str("\\n");
                if at < last {
                    new_line(out, depth + 1);
                }
            }
            '\t' => out.push_str("\\t"),
            letter if is_hidden(letter) => {
                let mut units = [0; 2];
                for unit in letter.encode_utf16(&mut units) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
            letter => out.push(letter),
        }
    }
    out.push('"');
}

fn new_line(out: &mut String, depth: usize) {
    // As deep as anybody looks; deeper ones are flat.
    const DEEP: usize = 16;
    out.push('\n');
    out.push_str(&"  ".repeat(depth.min(DEEP)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    #[test]
    fn arguments_are_shown_a_member_a_line_and_nothing_hides_in_them() {
        let json =
            r#"{"a":[1,2.50,{}],"\u0072m":"x\ny","esc":"\u001b[2K\u202e\udb40\udc41\"\\","n":null,"e":[]}"#;
        assert_eq!(
            pretty(json),
            "{\n  \"a\": [\n    1,\n    2.50,\n    {}\n  ],\n  \"rm\": \"x\\n\n    y\",\n  \
             \"esc\": \"\\u001b[2K\\u202e\\udb40\\udc41\\\"\\\\\",\n  \"n\": null,\n  \"e\": []\n}"
        );
    }

    fn command(line: &str) -> Effect {
        let (repository, directory) = ("/r".to_owned(), ".".to_owned());
        Effect { shown: vec![Shown::Command { line: line.to_owned(), repository, directory }], ..PLAIN }
    }

    #[test]
    fn a_brief_effect_says_what_it_leaves_out() {
        let short = command("cargo test\ncargo doc");
        assert_eq!(short.brief(3), ["$ cargo test", "cargo doc", "in . of a worktree of /r"]);
        assert_eq!(short.brief(2), ["$ cargo test", "NOT SHOWN HERE: 2 more lines of 20 bytes in all"]);
        let long = command(&format!("true {}; rm -r ~", " ".repeat(500)));
        assert_eq!(long.brief(10), ["NOT SHOWN HERE: 2 more lines of 514 bytes in all"]);
    }

    #[test]
    fn what_is_shown_is_bound() {
        let bound = |effect: &Effect| effect.bind("a").unwrap();
        let one = command("make");
        let elsewhere = Effect {
            shown: vec![Shown::Command {
                line: "make".into(),
                repository: "/r".into(),
                directory: "sub".into(),
            }],
            ..PLAIN
        };
        let files = BTreeMap::from([("/f".to_owned(), "absent".to_owned())]);
        let all = [one.clone(), elsewhere, command("make "), Effect { files, ..one.clone() }, PLAIN];
        let mut digests: Vec<String> = all.iter().map(bound).collect();
        digests.push(one.bind("b").unwrap());
        digests.sort_unstable();
        digests.dedup();
        assert_eq!(digests.len(), 6);
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_shown_of_arguments_says_all_of_them(value in value()) {
            let shown = pretty(&value.to_string());
            prop_assert!(shown.chars().all(|letter| letter == '\n' || !is_hidden(letter)));
            // The line ends are for the eye, also those within strings, where JSON knows none.
            let joined: String = shown.split('\n').map(|line| line.trim_start_matches(' ')).collect();
            let spaces = |text: &str| text.replace(' ', "");
            let (back, value) = (spaces(&joined), spaces(&value.to_string()));
            let (back, value): (Result<Value, _>, Value) =
                (serde_json::from_str(&back), serde_json::from_str(&value).unwrap());
            prop_assert_eq!(back.unwrap(), value);
        }
    }
}
