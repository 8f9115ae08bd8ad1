//! What of a command may be a path.

use std::collections::HashMap;
use std::path::{Component, Path};

use crate::core::place::WILD;
use crate::core::shell::{Part, braces};

/// The most words that one command's braces may make.
const WORDS_MAX: usize = 1024;
/// From so many bytes on the kernel takes nothing for a path, or for a name in one: a message, a script.
const PATH_BYTES: usize = 4096;
const NAME_BYTES: usize = 255;

/// A text that may be a path.
pub(super) struct Named<'a> {
    /// The word that it stands in.
    pub(super) word: &'a str,
    pub(super) stands: Stands,
    pub(super) text: String,
    /// Whether it may stand for others.
    pub(super) is_pattern: bool,
}

/// Where in a command a word stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stands {
    Argument,
    Value,
    Redirect,
}

/// What of a command may be a path: what is written like one, and what is the name of a file, which is asked. None where
/// that is too much.
pub(super) fn named<'a>(call: &'a Part, is_there: &mut dyn FnMut(&str) -> bool) -> Option<Vec<Named<'a>>> {
    let patterns = Patterns::of(call);
    let is_git = call.program.as_deref() == Some("git");
    let (mut named, mut left) = (Vec::new(), WORDS_MAX);
    let words = [
        (&call.words, Stands::Argument),
        (&call.values, Stands::Value),
        (&call.likely, Stands::Argument),
        (&call.redirects, Stands::Redirect),
    ];
    for (index, (words, stands)) in words.into_iter().enumerate() {
        // They are patterns themselves, and what is in a variable is one even if it was quoted.
        let are_patterns = matches!(index, 1 | 2);
        for word in words {
            let (made, count) =
                if are_patterns { of_value(word, left)? } else { patterns.made(word, left)? };
            left -= count;
            let is_pattern = |text: &str| {
                if are_patterns { text.contains(WILD) } else { patterns.0.contains_key(word.as_str()) }
            };
            for made in made {
                let mut add = |text: &str| {
                    named.push(Named { word, stands, text: text.to_owned(), is_pattern: is_pattern(text) });
                };
                if stands == Stands::Redirect {
                    add(&made);
                    continue;
                }
                let is_address = is_address(&made, is_there);
                let within = if is_address { Vec::new() } else { within(&made, is_git) };
                // What has a name before its value is a path itself where there are directories in it, or a file of that name.
                let whole = Some(made.as_str()).filter(|_| !is_address);
                for text in whole.into_iter().chain(within) {
                    if text.contains('/') || text.starts_with(['~', '$', '.']) || is_there(text) {
                        add(text);
                    }
                }
            }
        }
    }
    named.retain(|named| can_be(&named.text, named.is_pattern));
    Some(named)
}

/// What the pattern of a value stands for, and how many of that its braces make; none where that is more than `most`.
fn of_value(pattern: &str, most: usize) -> Option<(Vec<String>, usize)> {
    let has_braces = pattern.contains('{');
    let made = braces::expanded(pattern, if has_braces { most } else { 1 })?;
    let count = if has_braces { made.len() } else { 0 };
    Some((made, count))
}

/// Whether the kernel would look for it. The name of a pattern may be longer than what it stands for, but has no blanks.
fn can_be(text: &str, is_pattern: bool) -> bool {
    let is_pattern = is_pattern && !text.contains(char::is_whitespace);
    // A directory may be shorter than the name that stands for it.
    let names = text.matches("HOME").count() * "${AGENTSUP_HOME}".len();
    text.len() < PATH_BYTES + names && (is_pattern || text.split('/').all(|name| name.len() <= NAME_BYTES))
}

/// Whether a word with a scheme is no path: `x://../y` is one, and so is what begins in a directory `x:`.
fn is_address(word: &str, is_there: &mut dyn FnMut(&str) -> bool) -> bool {
    let Some((scheme, rest)) = word.split_once("://") else { return false };
    !Path::new(rest).components().any(|part| part == Component::ParentDir) && !is_there(&format!("{scheme}:"))
}

/// The patterns of a command by their texts: the same text may stand there with quotes and without.
struct Patterns<'a>(HashMap<String, Vec<&'a str>>);

impl<'a> Patterns<'a> {
    fn of(call: &'a Part) -> Self {
        let mut found: HashMap<String, Vec<&str>> = HashMap::new();
        for pattern in &call.patterns {
            found.entry(braces::text(pattern)).or_default().push(pattern);
        }
        found.values_mut().for_each(|patterns| {
            patterns.sort_unstable();
            patterns.dedup();
        });
        Self(found)
    }

    /// What a word stands for, and how many of that its braces make; none where that is more than `most`.
    fn made(&self, word: &str, most: usize) -> Option<(Vec<String>, usize)> {
        let (mut made, mut count) = (Vec::new(), 0);
        for pattern in self.0.get(word).into_iter().flatten().filter(|pattern| pattern.contains('{')) {
            let more = braces::expanded(pattern, most - count)?;
            count += more.len();
            made.extend(more);
        }
        if made.is_empty() {
            made.push(word.to_owned());
        }
        Some((made, count))
    }
}

/// What in a word may be a path: `--output=x`, `of=x`, `-fx`, `-d@x`, `-F a=@x;type=y`, `HEAD:x`.
fn within(word: &str, is_git: bool) -> Vec<&str> {
    let value = word.split_once('=').filter(|(name, _)| !name.contains('/')).map(|(_, value)| value);
    let letters = word.strip_prefix('-').filter(|rest| !rest.starts_with('-'));
    let letters = letters.and_then(|rest| rest.get(rest.chars().next()?.len_utf8()..));
    // Names of branches may have slashes, and no colons.
    let at_commit = word.split_once(':').filter(|_| is_git).map(|(_, path)| path);
    let mut found: Vec<&str> = [value, letters, at_commit].into_iter().flatten().collect();
    let marked: Vec<&str> =
        std::iter::once(&word).chain(&found).filter_map(|text| text.strip_prefix('@')).collect();
    found.extend(marked.iter().filter_map(|text| text.split([';', ',']).next()));
    found.extend(marked);
    found.retain(|text| !text.is_empty());
    found
}
