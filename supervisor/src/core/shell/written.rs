//! What git is told to write. Most of its commands name files of its own only to read them, or its repository to work in;
//! what may be meant otherwise counts as written.

use super::verbs::LOOK;

/// Commands whose plain words are files to read or to keep track of.
const READ: [&str; 30] = [
    "add",
    "am",
    "apply",
    "blame",
    "branch",
    "cat-file",
    "check-attr",
    "check-ignore",
    "commit",
    "describe",
    "diff",
    "diff-files",
    "diff-index",
    "diff-tree",
    "fetch",
    "grep",
    "hash-object",
    "log",
    "ls-files",
    "ls-remote",
    "ls-tree",
    "pull",
    "push",
    "rev-list",
    "rev-parse",
    "shortlog",
    "show",
    "status",
    "switch",
    "tag",
];

/// The words of a call of git that may be files that it writes: `--output=x`, `bundle create x`, `--work-tree=x`.
pub(super) fn by_git(words: &[String], verb: Option<&str>, is_dynamic: bool) -> Vec<String> {
    if verb == Some(LOOK) {
        return Vec::new();
    }
    let reads = !is_dynamic && verb.is_some_and(|verb| READ.contains(&verb));
    let mut written = Vec::new();
    // What is written may lie below them, and what they are is not known from a name in them.
    let (mut dirs, mut has_names) = (Vec::new(), false);
    let (mut rest, mut is_before_verb) = (words.iter(), true);
    // Whether the word before could be an option with this one as its value.
    let mut is_value = false;
    while let Some(word) = rest.next() {
        let is_option = word.starts_with('-') && word != "--";
        match word.as_str() {
            "-C" if is_before_verb && !is_dynamic => {
                dirs.extend(rest.next().cloned());
                continue;
            }
            "-c" | "--git-dir" if is_before_verb && !is_dynamic => {
                rest.next();
                continue;
            }
            // A message is read from there.
            "-F" if !is_dynamic && matches!(verb, Some("commit" | "tag")) && !is_before_verb => {
                rest.next();
                continue;
            }
            word if is_before_verb && !is_dynamic && word.starts_with("--git-dir=") => continue,
            _ => {}
        }
        if is_option || is_value || !reads {
            has_names |= !is_option || word.contains('=');
            written.push(word.clone());
        }
        is_before_verb &= verb != Some(word.as_str());
        // Where no message is read from it, `-F` says how to search.
        is_value = is_option && !word.contains('=') && word != "-F";
    }
    written.extend(dirs.into_iter().filter(|_| has_names));
    written
}
