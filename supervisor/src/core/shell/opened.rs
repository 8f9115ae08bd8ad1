//! The words of a call that runs others as the program gets them: braces are expanded before it, and what patterns stand for
//! is not known.

use std::collections::{HashMap, HashSet};

use super::braces;
use super::wrappers::{Inner, Words, inner};
use crate::core::place::may_choose;

/// Programs that run others for files that they find.
pub(super) const FINDERS: [&str; 2] = ["find", "gfind"];

/// The most words that braces of one word may make to be read.
const WORDS_MAX: usize = 256;

/// The words of a call as a program gets them, their braces expanded.
pub(super) struct Opened {
    words: Vec<Option<String>>,
    /// Those that stand for the files that there are.
    pub(super) globs: HashSet<String>,
}

impl Opened {
    pub(super) fn of(words: &Words, patterns: &[String]) -> Self {
        let mut patterns: HashMap<String, &String> =
            patterns.iter().map(|pattern| (braces::text(pattern), pattern)).collect();
        patterns.retain(|text, _| !matches!(text.as_str(), "{}"));
        let mut opened = Self { words: Vec::with_capacity(words.len()), globs: HashSet::new() };
        for word in words {
            let Some(pattern) = word.as_ref().and_then(|word| patterns.get(word)) else {
                opened.words.push(word.clone());
                continue;
            };
            match braces::expanded(pattern, WORDS_MAX) {
                Some(made) => {
                    let globs = made.iter().filter(|text| text.contains(['*', '?', '[']) || may_choose(text));
                    opened.globs.extend(globs.cloned());
                    opened.words.extend(made.into_iter().map(Some));
                }
                None => opened.words.push(None),
            }
        }
        opened
    }

    /// Those of some words that are patterns.
    pub(super) fn patterns(&self, words: &Words) -> Vec<String> {
        let globs = words.iter().flatten().filter(|word| self.globs.contains(*word));
        globs.map(|word| braces::quoted(word)).collect()
    }

    /// What a program makes of them.
    pub(super) fn seen_by(&self, name: &str, input: Option<&Option<String>>) -> Inner {
        let inner = inner(name, &self.words, input);
        let Inner::Calls(mut calls) = inner else { return inner };
        let is_find = FINDERS.contains(&name);
        for (words, _) in calls.iter_mut().filter(|_| !is_find) {
            let own = &self.words[..self.words.len().saturating_sub(words.len())];
            // One of them may stand for several, the program's name among them.
            if !self.patterns(own).is_empty() {
                return Inner::Unknown;
            }
            if name == "xargs"
                && let Some(replaced) = replaced(own).filter(|text| *text != "{}")
            {
                let is_in = |word: &mut String| word.contains(replaced);
                words.iter_mut().for_each(|word| drop(word.take_if(is_in)));
            }
        }
        Inner::Calls(calls)
    }
}

/// What `xargs` puts its words in place of: `-I%`.
fn replaced(words: &Words) -> Option<&str> {
    let mut words = words.iter().flatten();
    while let Some(word) = words.next() {
        let value = ["-I", "-i", "-J", "--replace="].iter().find_map(|option| word.strip_prefix(option));
        match value {
            Some("") => return words.next().map(String::as_str),
            Some(value) => return Some(value),
            None => {}
        }
    }
    None
}
