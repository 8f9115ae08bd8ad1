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
pub(super) const LOOK: &str = "config --get";
/// Options of `git config` that say where and how to look, and those that make a look of whatever follows.
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

/// Whether what follows `git config` only looks. After the first plain word git reads no more options: there `-l` is a value
/// that is set. Only its own verbs take options anywhere.
fn is_look(words: &[Option<String>]) -> bool {
    let Some(words) = words.iter().map(Option::as_deref).collect::<Option<Vec<&str>>>() else { return false };
    let is_option = |word: &&str| word.starts_with('-');
    if let ["get" | "list", rest @ ..] = words.as_slice() {
        return rest.iter().filter(|word| is_option(word)).all(|option| PLAIN.contains(option));
    }
    let count = words.iter().take_while(|word| is_option(word)).count();
    let (options, rest) = words.split_at(count);
    let is_known = options.iter().all(|option| PLAIN.contains(option) || LOOKS.contains(option));
    let looks = options.iter().any(|option| LOOKS.contains(option));
    // `git config edit` is a verb, and a setting has a dot.
    is_known && (looks || matches!(rest, [setting] if setting.contains('.')))
}
