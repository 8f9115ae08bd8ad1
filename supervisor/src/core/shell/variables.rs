//! What a line sets its variables to, and what its words may be by that. Pure.
//!
//! Every value counts wherever its variable is named: in which order a line runs is not known. Any variable may be empty,
//! too, and what a command prints.

use std::collections::BTreeMap;

use super::braces;

/// The most values of one variable.
const VALUES_MAX: usize = 1024;
/// The most words that one word may be.
const WORDS_MAX: usize = 2048;
/// The most words that the words of a line may be, and the most bytes in them.
const MADE_MAX: usize = 16 * 1024;
const BYTES_MAX: usize = 256 * 1024;
/// The most bytes in all values.
const HELD_MAX: usize = 4 * 1024 * 1024;
/// From so many bytes on a word is no path, even if each of its letters has a backslash before it, and nothing else is asked
/// of it.
const WORD_BYTES: usize = 2 * 4096;
/// Of longer values nothing is kept.
const VALUE_BYTES: usize = 64 * 1024;

/// The name of a line's, a script's or a function's arguments.
pub(super) const ARGUMENTS: &str = "@";

/// A piece of a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// A text, as a pattern of [`braces`].
    Text(String),
    /// The value of a variable, in quotes.
    Variable(String),
    /// The same without quotes, which is parted at its blanks.
    Words(String),
    /// The value of a variable that the shell sets itself, unless the line does: its name, and how it stays written.
    Place(&'static str, &'static str),
    /// What is made of some variable, or one of these texts.
    Computed(Vec<String>),
    /// What a command prints, or a number.
    Unknown,
}

/// What a word may be, as patterns of [`braces`].
#[derive(Debug, Default)]
pub(super) struct Made {
    /// By values that the line sets.
    pub(super) likely: Vec<String>,
    /// Where something in it is empty that need not be.
    pub(super) possible: Vec<String>,
}

/// The variables of a line.
#[derive(Debug, Clone, Default)]
pub(super) struct Variables {
    known: BTreeMap<String, Vec<String>>,
    words: usize,
    bytes: usize,
    /// The bytes of all values.
    held: usize,
}

/// The beginning of a word, made.
#[derive(Clone, Default)]
struct Beginning<'a> {
    pattern: String,
    /// A variable that is named twice has one value.
    bound: Vec<(&'a str, &'a str)>,
    is_possible: bool,
}

impl Variables {
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Whether the line sets what a known word is made of.
    pub(super) fn change(&self, pieces: &[Piece]) -> bool {
        pieces.iter().any(|piece| matches!(piece, Piece::Place(name, _) if self.known.contains_key(*name)))
    }

    /// The same variables for another look at the line.
    pub(super) fn again(self) -> Self {
        Self { words: 0, bytes: 0, ..self }
    }

    /// Another value of a variable; none where it has too many.
    pub(super) fn set(&mut self, name: &str, value: String) -> Option<()> {
        let values = self.known.entry(name.to_owned()).or_default();
        if value.len() <= VALUE_BYTES && !values.contains(&value) {
            if values.len() >= VALUES_MAX || self.held + value.len() > HELD_MAX {
                return None;
            }
            self.held += value.len();
            values.push(value);
        }
        Some(())
    }

    /// A value that is put behind the one that a variable has.
    pub(super) fn append(&mut self, name: &str, value: &str) -> Option<()> {
        let before = self.known.get(name).and_then(|values| values.last()).cloned().unwrap_or_default();
        self.set(name, before + value)
    }

    /// What a word may be; none where that is too much.
    pub(super) fn made(&mut self, pieces: &[Piece]) -> Option<Made> {
        // Whether or not there is an answer, looking for it takes as long.
        self.words += 1;
        if self.words > MADE_MAX {
            return None;
        }
        let mut beginnings = vec![Beginning::default()];
        for piece in pieces {
            for begun in std::mem::take(&mut beginnings) {
                beginnings.extend(self.followed(begun, piece));
                if beginnings.len() > WORDS_MAX {
                    self.words += WORDS_MAX;
                    return None;
                }
            }
            beginnings.retain(|begun| begun.pattern.len() <= WORD_BYTES);
        }
        let mut made = Made::default();
        let (mut words, mut bytes) = (0, 0);
        for begun in beginnings.into_iter().filter(|begun| !begun.pattern.is_empty()) {
            words += 1;
            bytes += begun.pattern.len();
            if begun.is_possible {
                made.possible.push(begun.pattern)
            } else {
                made.likely.push(begun.pattern)
            }
        }
        (self.words, self.bytes) = (self.words + words, self.bytes + bytes);
        (self.words <= MADE_MAX && self.bytes <= BYTES_MAX).then_some(made)
    }

    /// A beginning with each of what a piece may be behind it.
    fn followed<'a>(&'a self, begun: Beginning<'a>, piece: &'a Piece) -> Vec<Beginning<'a>> {
        let with = |value: &str| Beginning { pattern: begun.pattern.clone() + value, ..begun.clone() };
        let empty = || Beginning { is_possible: true, ..begun.clone() };
        match piece {
            Piece::Text(pattern) => vec![with(pattern)],
            Piece::Unknown => vec![empty()],
            Piece::Place(name, written) => {
                let values = self.known.get(*name).into_iter().flatten();
                std::iter::once(with(written))
                    .chain(values.map(|value| with(&braces::quoted(value))))
                    .collect()
            }
            Piece::Variable(name) | Piece::Words(name) => {
                if let Some((_, value)) = begun.bound.iter().find(|(bound, _)| bound == name) {
                    return vec![with(&if value.is_empty() { String::new() } else { braces::quoted(value) })];
                }
                let bound = |value: &'a str| [&begun.bound[..], &[(name.as_str(), value)]].concat();
                let is_parted = matches!(piece, Piece::Words(_));
                let values = self.known.get(name).into_iter().flatten();
                let values = values.flat_map(|value| {
                    let has_blanks = is_parted && value.contains(char::is_whitespace);
                    let words = value.split_whitespace().filter(move |_| has_blanks);
                    std::iter::once(value.as_str()).chain(words)
                });
                let values =
                    values.map(|value| Beginning { bound: bound(value), ..with(&braces::quoted(value)) });
                values.chain([Beginning { bound: bound(""), ..empty() }]).collect()
            }
            Piece::Computed(more) => {
                let values = self.known.values().flatten().chain(more);
                values.map(|value| with(&braces::quoted(value))).chain([empty()]).collect()
            }
        }
    }
}

/// A word that sets a variable, as `export` takes it: the name, and the pieces of the value.
pub(super) fn assigned(pieces: &[Piece]) -> Option<(String, Vec<Piece>)> {
    let (first, rest) = pieces.split_first()?;
    let Piece::Text(text) = first else { return None };
    let (name, value) = text.split_once('=')?;
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let begins = name.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '_');
    (begins && name.chars().all(is_name))
        .then(|| (name.to_owned(), [&[Piece::Text(value.to_owned())], rest].concat()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn text(text: &str) -> Piece {
        Piece::Text(text.into())
    }

    fn variable(name: &str) -> Piece {
        Piece::Variable(name.into())
    }

    #[test]
    fn a_word_may_be_what_its_variables_say() {
        let mut variables = Variables::default();
        for (name, value) in [("d", "~"), ("d", "{x,y}"), ("e", "a"), ("e", "a")] {
            variables.set(name, value.into()).unwrap();
        }
        variables.append("e", "b").unwrap();
        let mut spaced = variables.clone();
        spaced.set("f", "a .g?t".into()).unwrap();
        for (pieces, likely, possible) in [
            (vec![variable("d"), text("/x")], vec!["~/x", r"\{x\,y\}/x"], vec!["/x"]),
            (vec![variable("e"), text("-"), variable("e")], vec!["a-a", "ab-ab"], vec!["-"]),
            (vec![Piece::Words("f".into())], vec![r"a \.g?t", "a", r"\.g?t"], vec![]),
            (vec![text("x"), variable("f")], vec![r"xa \.g?t"], vec!["x"]),
            (vec![text("s"), variable("none"), text("h")], vec![], vec!["sh"]),
            (vec![text("s"), Piece::Unknown], vec![], vec!["s"]),
            (vec![Piece::Computed(vec!["z".into()])], vec!["~", r"\{x\,y\}", "a", "ab", "z"], vec![]),
        ] {
            let known =
                if pieces == [Piece::Computed(vec!["z".into()])] { &mut variables } else { &mut spaced };
            let made = known.made(&pieces).unwrap();
            assert_eq!((made.likely, made.possible), (owned(&likely), owned(&possible)), "{pieces:?}");
        }
    }

    fn owned(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn what_may_be_is_bounded() {
        let mut variables = Variables::default();
        for name in ["a", "b"] {
            (0..100).for_each(|value| variables.set(name, value.to_string()).unwrap());
        }
        assert!(variables.made(&[variable("a"), variable("b")]).is_none());
        assert!((0..1000).any(|_| variables.made(&[variable("a")]).is_none()));
        assert!(variables.again().made(&[variable("a")]).is_some());
        let mut variables = Variables::default();
        assert!((0..=VALUES_MAX).any(|value| variables.set("a", value.to_string()).is_none()));
        // What is quoted takes more than what it stands for.
        let mut variables = Variables::default();
        variables.set("d", "~".into()).unwrap();
        let long = text(&braces::quoted(&"/.".repeat(2000)));
        assert!(variables.made(&[variable("d"), long]).is_some_and(|made| made.likely.len() == 1));
        let mut variables = Variables::default();
        (0..100).for_each(|_| variables.append("x", &"x".repeat(100)).unwrap());
        assert!(variables.made(&vec![variable("x"); 100]).is_some_and(|made| made.likely.len() < 100));
    }

    #[test]
    fn a_word_that_sets_a_variable_is_known() {
        assert_eq!(
            assigned(&[text("d=x"), variable("e")]),
            Some(("d".into(), vec![text("x"), variable("e")]))
        );
        for word in [text("=x"), text("1=x"), text("--d=x"), text("d"), variable("d")] {
            assert_eq!(assigned(&[word]), None);
        }
    }
}
