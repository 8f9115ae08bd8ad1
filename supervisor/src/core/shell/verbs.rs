//! The first word of a command, as in `git push`: of many programs it says what they do.

use crate::core::place::WILD;

/// Programs of which policies want to know the first word: with another one they publish, deploy or delete.
pub(super) const PROGRAMS: [&str; 16] = [
    "bun",
    "cargo",
    "docker",
    "gem",
    "git",
    "helm",
    "kubectl",
    "npm",
    "pnpm",
    "podman",
    "poetry",
    "terraform",
    "tofu",
    "twine",
    "uv",
    "yarn",
];

/// The verb of a `git config` that only looks, however it is written.
const LOOK: &str = "config --get";
/// Options of `git config` with which one word is a setting to look at, and those that look whatever follows.
const PLAIN: [&str; 14] = [
    "--global",
    "--local",
    "--system",
    "--worktree",
    "--show-origin",
    "--show-scope",
    "--name-only",
    "--null",
    "-z",
    "--includes",
    "--no-includes",
    "--bool",
    "--int",
    "--path",
];
const LOOKS: [&str; 6] = ["--get", "--get-all", "--get-regexp", "--get-urlmatch", "--list", "-l"];

/// The first word that is no option.
pub(super) enum Verb {
    /// It is this.
    Known(String),
    /// There is none, or nobody asks for it.
    None,
    /// There may be one, and it is only known when the line runs.
    Hidden,
}

impl Verb {
    pub(super) fn known(self) -> Option<String> {
        match self {
            Self::Known(verb) => Some(verb),
            Self::None | Self::Hidden => None,
        }
    }
}

/// The verb of a call. Where words are only known when it runs, a pattern may stand for any file, and words may come behind
/// those that there are, as with `xargs`.
pub(super) fn read(name: &str, words: &[Option<String>], is_dynamic: bool) -> Verb {
    let hidden = if PROGRAMS.contains(&name) { Verb::Hidden } else { Verb::None };
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        match word.as_deref() {
            None => return hidden,
            Some("-C" | "-c" | "--git-dir" | "--work-tree" | "--namespace") if name == "git" => {
                rest.next();
            }
            Some(word) if word.starts_with('-') => {}
            Some(word) if is_dynamic && word.contains(WILD) => return hidden,
            Some("config") if name == "git" && is_look(rest.as_slice()) && !is_dynamic => {
                return Verb::Known(LOOK.to_owned());
            }
            Some(word) => return Verb::Known(word.to_owned()),
        }
    }
    if is_dynamic { hidden } else { Verb::None }
}

/// Whether what follows `git config` only looks: a value can have any name, so that it is the place that counts.
fn is_look(words: &[Option<String>]) -> bool {
    let Some(words) = words.iter().map(Option::as_deref).collect::<Option<Vec<&str>>>() else { return false };
    if words.contains(&"--") {
        return false;
    }
    let (options, named): (Vec<&str>, Vec<&str>) = words.iter().partition(|word| word.starts_with('-'));
    let others: Vec<&str> = options.iter().filter(|option| !PLAIN.contains(option)).copied().collect();
    match others.as_slice() {
        [] => named.len() == 1 || matches!(words.first(), Some(&"get" | &"list")),
        [one] => LOOKS.contains(one),
        _ => false,
    }
}
