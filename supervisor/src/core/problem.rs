//! One thing wrong with a file that a person wrote: where, what, and what to write instead.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// One thing wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// From 1; 0 if the problem is with the whole file.
    pub line: u32,
    /// In characters, from 1; 0 if unknown.
    pub column: u32,
    /// The field's path, such as `spec.tools.builtin[1]`, or the policy's id; empty if none is to blame.
    pub field: String,
    /// A lower-case fragment.
    pub message: String,
    /// What to write or run instead.
    pub hint: Option<String>,
}

/// `file:line:column: field: message`, without the hint.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if self.line > 0 {
            write!(f, "{}:", self.line)?;
        }
        if self.line > 0 && self.column > 0 {
            write!(f, "{}:", self.column)?;
        }
        if !self.field.is_empty() {
            write!(f, " {}:", self.field)?;
        }
        write!(f, " {}", self.message)
    }
}

/// Line and column, both from 1, of a byte offset in a text; an offset beyond the end means the end.
pub fn position(text: &str, offset: usize) -> (u32, u32) {
    let before = (0..=offset.min(text.len())).rev().find_map(|end| text.get(..end)).unwrap_or("");
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    (u32::try_from(line).unwrap_or(u32::MAX), u32::try_from(column).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_characters_from_one() {
        let text = "ab\nçd\n";
        assert_eq!(
            [0, 1, 3, 4, 5, 6, 99].map(|offset| position(text, offset)),
            [(1, 1), (1, 2), (2, 1), (2, 1), (2, 2), (2, 3), (3, 1)]
        );
    }

    #[test]
    fn prints_what_is_known() {
        let problem = Problem {
            file: "a.yaml".into(),
            line: 3,
            column: 5,
            field: "spec.owner".into(),
            message: "is missing".into(),
            hint: None,
        };
        assert_eq!(problem.to_string(), "a.yaml:3:5: spec.owner: is missing");
        let whole = Problem { line: 0, column: 0, field: String::new(), ..problem };
        assert_eq!(whole.to_string(), "a.yaml: is missing");
    }
}
