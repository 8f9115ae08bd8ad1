//! Command lines, read without running them: which programs a line would start, with which words, which files it would
//! redirect to. Pure.
//!
//! What cannot be known is never guessed: a program that a variable names, code in another language, a line that cannot
//! be parsed make a part `opaque`, and what policies permit by name does not hold for it. Reading is bounded in depth and
//! in parts; what lies beyond is opaque too.

pub mod braces;
mod opened;
mod variables;
mod verbs;
mod walk;
mod word;
mod wrappers;
mod written;

use std::collections::HashSet;

use brush_parser::ast::{AndOr, Program, SeparatorOperator};
use brush_parser::{ParserOptions, Token, parse_tokens, uncached_tokenize_str};
use serde::{Deserialize, Serialize};

use variables::Variables;

/// The most parts of a line that are told apart.
pub const PARTS_MAX: usize = 128;
/// The deepest nesting of lines within lines, as in `bash -c "$(…)"`.
const DEPTH_MAX: usize = 8;
/// The deepest nesting of parentheses and blocks within one line. The parser takes twice as long for each more that is
/// left open.
const NESTING_MAX: usize = 8;

/// One simple command: a program and what it is called with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Part {
    /// The program's name without its directories, lower case but for few; none where it cannot be known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
    /// The first word after the options, as in `git push`; none if there is none or it cannot be known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verb: Option<String>,
    /// Its arguments without quotes; those that cannot be known are left out and make it [`Part::dynamic`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub words: Vec<String>,
    /// Variables that are set for it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub assigns: Vec<String>,
    /// What it sets variables to, and what its words and redirects may be where a variable is empty, as far as that is
    /// known; as patterns of [`braces`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
    /// What its words and redirects may be by what the line sets variables to, as patterns of [`braces`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub likely: Vec<String>,
    /// Files that it is redirected from or to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub redirects: Vec<String>,
    /// Those of its redirects, words, values and likely words that may be files which the shell or git is told to write. Of other programs the
    /// words do not tell.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub writes: Vec<String>,
    /// Those of its words and redirects that stand for other words, or for the files that there are: `*.rs`, `{a,b}`; as
    /// patterns of [`braces`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub patterns: Vec<String>,
    /// Whether what stands behind it runs only where it succeeded, in the same shell: `cd x && ls`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub leads: bool,
    /// Whether it is the first thing that the line does, in the line's own shell, and nothing but a name and a word:
    /// `cd x; ls`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub begins: bool,
    /// Whether some of its words are only known when it runs.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dynamic: bool,
    /// Whether what would run cannot be known from the line.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub opaque: bool,
}

/// Reads a command line. Never none: a line that cannot be read is one opaque part.
#[must_use]
pub fn read(line: &str) -> Vec<Part> {
    let mut found = Found::default();
    found.line(line, 0);
    // A loop's body or a function may name what is set behind it.
    if !found.variables.is_empty() && found.parts.iter().any(|part| part.dynamic) {
        found = Found { variables: found.variables.again(), functions: found.functions, ..Found::default() };
        found.line(line, 0);
    }
    if found.parts.is_empty() {
        found.parts.push(Part::default());
    }
    found.parts
}

/// A simple command as it stands in the line.
#[derive(Default)]
struct Call {
    /// What is known apart from its words.
    part: Part,
    /// Its words, the program's name first; none for one that is not known.
    words: Vec<Option<String>>,
    /// What those that are not known may be, as patterns of [`braces`].
    made: Vec<String>,
    /// What the line itself gives it to read, if that is known.
    input: Option<Option<String>>,
}

/// What was found so far.
#[derive(Default)]
struct Found {
    parts: Vec<Part>,
    variables: Variables,
    /// Whether the line is one list of commands that each need the one before, and this is not within one of them.
    leads: bool,
    /// Whether nothing of the line was read yet, and what comes runs in the line's own shell.
    begins: bool,
    /// Functions of the line, whose arguments are words of it.
    functions: HashSet<String>,
}

impl Found {
    fn line(&mut self, line: &str, depth: usize) {
        match parse(line) {
            Some(program) if depth < DEPTH_MAX => {
                self.leads = depth == 0 && is_chain(&program);
                self.begins = depth == 0 && !begins_aside(&program);
                program.complete_commands.iter().for_each(|list| self.list(list, depth));
                (self.leads, self.begins) = (false, false);
            }
            _ => self.opaque(),
        }
    }

    /// Something runs, and nobody knows what.
    fn opaque(&mut self) {
        self.push(Part { opaque: true, ..Part::default() });
    }

    fn push(&mut self, part: Part) {
        if self.parts.len() < PARTS_MAX {
            self.parts.push(part);
        } else if let Some(last) = self.parts.last_mut() {
            *last = Part { opaque: true, ..Part::default() };
        }
    }
}

/// Whether the first list of a program runs beside what stands behind it.
fn begins_aside(program: &Program) -> bool {
    let first = program.complete_commands.first().and_then(|list| list.0.first());
    first.is_none_or(|item| matches!(item.1, SeparatorOperator::Async))
}

/// Whether each command of a program needs the one before.
fn is_chain(program: &Program) -> bool {
    let [list] = program.complete_commands.as_slice() else { return false };
    let [item] = list.0.as_slice() else { return false };
    item.0.additional.iter().all(|more| matches!(more, AndOr::And(_)))
}

fn parse(line: &str) -> Option<Program> {
    let options = ParserOptions::default();
    // Nothing is known to make the parser panic; if something does, the line is one that cannot be read.
    std::panic::catch_unwind(|| {
        let tokens = uncached_tokenize_str(line, &options.tokenizer_options()).ok()?;
        (nesting(&tokens) <= NESTING_MAX).then(|| parse_tokens(&tokens, &options).ok()).flatten()
    })
    .ok()
    .flatten()
}

/// How deeply blocks are nested, or more: what does not close the innermost block closes nothing. A pattern of `case`
/// ends with a parenthesis that nobody opened, so with one of those in the line nothing counts as closed.
fn nesting(tokens: &[Token]) -> usize {
    let has_patterns = tokens.iter().any(|token| token.to_str() == "case");
    let (mut open, mut deepest): (Vec<&str>, _) = (Vec::new(), 0);
    for token in tokens {
        let closed_by = match token.to_str() {
            "(" => ")",
            "((" => "))",
            "{" => "}",
            "[[" => "]]",
            "if" => "fi",
            "case" => "esac",
            "while" | "until" | "for" => "done",
            other => {
                if !has_patterns && open.last() == Some(&other) {
                    open.pop();
                }
                continue;
            }
        };
        open.push(closed_by);
        deepest = deepest.max(open.len());
    }
    deepest
}

#[cfg(test)]
mod tests;
