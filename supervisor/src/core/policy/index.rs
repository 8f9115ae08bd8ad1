//! Patterns found by what they begin and end with, so that what a decision costs hardly depends on how many there are.
//!
//! Invariant: what matches is found. Whether what is found matches is its pattern's to say.

use std::collections::HashMap;

/// Between names; no pattern has it.
const BETWEEN: char = '\0';
/// Names of a pattern's beginning that are looked at: as deep as most directories that anybody labels.
const BEGINNING_MAX: usize = 8;

/// Patterns, each by its number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Index(HashMap<String, Vec<Entry>>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    /// What the last name ends with.
    end: String,
    pattern: usize,
}

/// What is looked for.
pub(super) struct Wanted {
    text: String,
    /// Where each name of the beginning ends.
    ends: Vec<usize>,
}

impl Index {
    /// Adds a pattern by its names.
    pub(super) fn add(&mut self, names: &[&str], pattern: usize) {
        let plain = names.iter().take(BEGINNING_MAX).take_while(|name| !name.contains(['*', '?']));
        let begin = Wanted::new(&plain.copied().collect::<Vec<_>>()).text;
        let last = names.last().and_then(|name| name.rsplit(['*', '?']).next());
        let end = Wanted::new(&[last.unwrap_or_default()]).text;
        self.0.entry(begin).or_default().push(Entry { end, pattern });
    }

    /// The patterns that may match; each that does is among them.
    pub(super) fn candidates<'i>(&'i self, wanted: &'i Wanted) -> impl Iterator<Item = usize> + 'i {
        let begins = std::iter::once(0).chain(wanted.ends.iter().copied());
        let found = begins.filter_map(|end| self.0.get(wanted.text.get(..end)?)).flatten();
        found.filter(|entry| wanted.text.ends_with(&entry.end)).map(|entry| entry.pattern)
    }
}

impl Wanted {
    /// By its names.
    pub(super) fn new(names: &[&str]) -> Self {
        let mut text = String::with_capacity(names.iter().map(|name| name.len() + 1).sum());
        let mut ends = Vec::with_capacity(names.len().min(BEGINNING_MAX));
        for (at, name) in names.iter().enumerate() {
            if at > 0 {
                text.push(BETWEEN);
            }
            // Letter by letter, as patterns compare: a whole word in lower case may end in another letter.
            text.extend(name.chars().flat_map(char::to_lowercase));
            if at < BEGINNING_MAX {
                ends.push(text.len());
            }
        }
        Self { text, ends }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(patterns: &[&[&str]], names: &[&str]) -> Vec<usize> {
        let mut index = Index::default();
        for (at, pattern) in patterns.iter().enumerate() {
            index.add(pattern, at);
        }
        let mut found: Vec<usize> = index.candidates(&Wanted::new(names)).collect();
        found.sort_unstable();
        found
    }

    #[test]
    fn only_what_begins_and_ends_alike_is_looked_at() {
        let patterns: [&[&str]; 6] = [
            &["src", "payments", "**"],
            &["src", "other", "**"],
            &["**", "*.pem"],
            &["**"],
            &["src", "*.rs"],
            &["SRC", "payments"],
        ];
        assert_eq!(found(&patterns, &["src", "payments", "key.PEM"]), [0, 2, 3]);
        assert_eq!(found(&patterns, &["Src", "payments"]), [0, 3, 5]);
        assert_eq!(found(&patterns, &["src", "a.rs"]), [3, 4]);
        assert_eq!(found(&patterns, &[]), [3]);
    }

    /// As a word, the text's end would be another letter in lower case.
    #[test]
    fn letters_are_compared_one_by_one() {
        assert_eq!(found(&[&["*\u{3a3}"], &["a\u{3a3}"]], &["A\u{3a3}"]), [0, 1]);
    }

    #[test]
    fn a_long_beginning_is_found_by_its_first_names() {
        let long: Vec<&str> = vec!["a"; 20];
        assert_eq!(found(&[&long], &long), [0]);
        assert_eq!(found(&[&long[..19]], &long[..8]), [0], "its pattern then says no");
        assert!(found(&[&long], &long[..7]).is_empty());
    }
}
