//! Programs that run other programs: the part behind them is told as a part of its own.

use super::opened::{FINDERS, Opened};
use super::verbs::{self, Verb};
use super::{Call, Found, Part, written};
use crate::core::place::folded;

/// A program whose last words are another call.
struct Wrapper {
    name: &'static str,
    /// Options without a value, by their letters.
    flags: &'static str,
    /// Options with a value.
    valued: &'static str,
    /// Long options without a value; any other must bring its value with `=`.
    long: &'static [&'static str],
    /// Words of its own before the call.
    own: usize,
    /// Whether it adds words that the line does not have.
    adds: bool,
}

const PLAIN: Wrapper = Wrapper { name: "", flags: "", valued: "", long: &[], own: 0, adds: false };

const WRAPPERS: [Wrapper; 18] = [
    Wrapper { name: "builtin", ..PLAIN },
    Wrapper { name: "busybox", ..PLAIN },
    Wrapper { name: "chroot", own: 1, ..PLAIN },
    Wrapper { name: "command", flags: "pvV", ..PLAIN },
    Wrapper { name: "doas", flags: "Lns", valued: "aCu", ..PLAIN },
    Wrapper { name: "exec", flags: "cl", valued: "a", ..PLAIN },
    Wrapper { name: "flock", flags: "eFnosux", valued: "Ew", own: 1, ..PLAIN },
    Wrapper { name: "ionice", flags: "t", valued: "cnpPu", ..PLAIN },
    Wrapper { name: "nice", valued: "n", ..PLAIN },
    Wrapper { name: "nohup", ..PLAIN },
    Wrapper { name: "setsid", flags: "cfw", long: &["--ctty", "--fork", "--wait"], ..PLAIN },
    Wrapper { name: "stdbuf", valued: "eio", ..PLAIN },
    Wrapper {
        name: "sudo",
        flags: "ABbEeHiKklnPSsVv",
        valued: "CDghpRrtTuU",
        long: &["--non-interactive", "--preserve-env", "--set-home", "--stdin", "--login"],
        ..PLAIN
    },
    Wrapper { name: "taskset", flags: "ac", valued: "p", own: 1, ..PLAIN },
    Wrapper {
        name: "time",
        flags: "apqvV",
        valued: "fo",
        long: &["--append", "--portability", "--verbose"],
        ..PLAIN
    },
    Wrapper {
        name: "timeout",
        flags: "fpv",
        valued: "ks",
        long: &["--foreground", "--preserve-status", "--verbose"],
        own: 1,
        ..PLAIN
    },
    Wrapper { name: "unbuffer", flags: "p", ..PLAIN },
    Wrapper {
        name: "xargs",
        flags: "0oprtx",
        valued: "adEILnPs",
        long: &["--null", "--no-run-if-empty", "--verbose", "--interactive"],
        adds: true,
        ..PLAIN
    },
];

/// Shells whose lines are read like the whole.
const SHELLS: [&str; 7] = ["ash", "bash", "dash", "ksh", "mksh", "sh", "zsh"];

/// Interpreters of other languages, by the beginning of their names, and the letters of their options behind which code
/// stands.
const INTERPRETERS: [(&str, &str); 9] = [
    ("bun", "ep"),
    ("deno", ""),
    ("lua", "e"),
    ("node", "ep"),
    ("osascript", "e"),
    ("perl", "eE"),
    ("php", "rBRE"),
    ("python", "c"),
    ("ruby", "e"),
];

/// Settings that `git -c` may bring and that run nothing.
const GIT_SETTINGS: [&str; 8] = [
    "advice.",
    "color.",
    "commit.gpgsign",
    "core.autocrlf",
    "core.quotepath",
    "gc.auto",
    "init.defaultbranch",
    "user.",
];

/// Adds what a call runs.
pub(super) fn unwrap(found: &mut Found, mut call: Call, depth: usize) {
    let Some(first) = call.words.first() else {
        if call.part != Part::default() {
            found.push(call.part);
        }
        return;
    };
    let Some(name) = first.as_deref().map(base).map(one_spelling) else {
        call.part.opaque = true;
        call.part.words = call.words.into_iter().flatten().collect();
        return found.push(call.part);
    };
    let arguments: Vec<Option<String>> = call.words.split_off(1);
    call.part.dynamic |= arguments.contains(&None);
    call.part.words = arguments.iter().flatten().cloned().collect();
    let verb = verbs::read(&name, &arguments, call.part.dynamic);
    let opened = Opened::of(&arguments, &call.part.patterns);
    let inner = opened.seen_by(&name, call.input.as_ref());
    call.part.opaque |= matches!(inner, Inner::Unknown) || matches!(verb, Verb::Hidden);
    call.part.verb = verb.known();
    if name == "git" {
        let by_git = written::by_git(&call.part.words, call.part.verb.as_deref(), call.part.dynamic);
        call.part.writes.extend(by_git);
        let may_write = call.part.verb.as_deref() != Some(verbs::LOOK);
        call.part.writes.extend(call.made.into_iter().filter(|_| may_write));
    }
    let assigns = call.part.assigns.clone();
    call.part.program = Some(name);
    found.push(call.part);
    if depth + 1 >= super::DEPTH_MAX && !matches!(inner, Inner::Nothing | Inner::Unknown) {
        return found.opaque();
    }
    match inner {
        Inner::Nothing | Inner::Unknown => {}
        Inner::Line(line) => found.line(&line, depth + 1),
        Inner::Calls(calls) => {
            for (mut words, adds) in calls {
                let patterns = opened.patterns(&words);
                // What a pattern stands for as a program's name is not known.
                if let Some(name) = words.first_mut() {
                    name.take_if(|name| opened.globs.contains(name));
                }
                let dynamic = adds || !patterns.is_empty();
                let part = Part { assigns: assigns.clone(), dynamic, patterns, ..Part::default() };
                unwrap(found, Call { part, words, ..Call::default() }, depth + 1);
            }
        }
    }
}

/// What a call makes run besides its own program.
pub(super) enum Inner {
    Nothing,
    Unknown,
    Line(String),
    Calls(Vec<(Vec<Option<String>>, bool)>),
}

pub(super) type Words = [Option<String>];

/// Programs whose names have capitals in them.
const CAPITALS: [&str; 10] =
    ["DeRez", "GetFileInfo", "PlistBuddy", "R", "Rez", "Rscript", "SetFile", "VBoxManage", "Xorg", "Xvfb"];

/// On a file system without case `GIT` is git, and nobody knows which programs policies name.
fn one_spelling(name: &str) -> String {
    if CAPITALS.contains(&name) { name.to_owned() } else { folded(name) }
}

/// Whether a program runs what stands in its words with its other words as arguments.
pub(super) fn is_shell(name: &str) -> bool {
    SHELLS.contains(&one_spelling(base(name)).as_str())
}

fn base(program: &str) -> &str {
    program.rsplit('/').next().unwrap_or(program)
}

pub(super) fn inner(name: &str, words: &Words, input: Option<&Option<String>>) -> Inner {
    if let Some(wrapper) = WRAPPERS.iter().find(|wrapper| wrapper.name == name) {
        return wrapper.inner(words);
    }
    if SHELLS.contains(&name) {
        return of_shell(words, input);
    }
    if let Some((_, letters)) = INTERPRETERS.iter().find(|(prefix, _)| is_interpreter(name, prefix)) {
        return of_interpreter(words, letters);
    }
    match name {
        "env" => of_env(words),
        "eval" => of_lines(words),
        "trap" => words.first().map_or(Inner::Nothing, |line| known(line.as_ref())),
        "alias" => of_aliases(words),
        "watch" | "parallel" | "ssh" | "su" | "runuser" | "script" | "systemd-run" | "fish" | "nsenter"
        | "unshare" | "strace" | "ltrace" | "gdb" | "expect" | "tclsh" | "pwsh" | "powershell" | "cmd" => {
            Inner::Unknown
        }
        name if FINDERS.contains(&name) => of_find(words),
        "awk" | "gawk" | "mawk" | "nawk" => of_awk(words),
        "git" if !settings_are_harmless(words) => Inner::Unknown,
        _ => Inner::Nothing,
    }
}

fn known(line: Option<&String>) -> Inner {
    line.map_or(Inner::Unknown, |line| Inner::Line(line.clone()))
}

impl Wrapper {
    fn inner(&self, words: &Words) -> Inner {
        let mut rest = words;
        while let Some((first, more)) = rest.split_first() {
            let Some(word) = first.as_deref() else { return Inner::Unknown };
            match self.takes(word) {
                Taken::None => break,
                Taken::Last => {
                    rest = more;
                    break;
                }
                Taken::One => rest = more,
                Taken::Two => rest = more.get(1..).unwrap_or_default(),
                Taken::Unknown => return Inner::Unknown,
            }
        }
        match rest.get(self.own..) {
            Some(call) if !call.is_empty() => Inner::Calls(vec![(call.to_vec(), self.adds)]),
            _ => Inner::Nothing,
        }
    }

    fn takes(&self, word: &str) -> Taken {
        if word == "--" {
            return Taken::Last;
        }
        if let Some(long) = word.strip_prefix("--") {
            let is_known = long.contains('=') || self.long.contains(&word);
            return if is_known { Taken::One } else { Taken::Unknown };
        }
        let Some(letters) = word.strip_prefix('-').filter(|letters| !letters.is_empty()) else {
            // `sudo X=1 program`.
            let assigns =
                self.name == "sudo" && word.split_once('=').is_some_and(|(name, _)| !name.contains('/'));
            return if assigns { Taken::One } else { Taken::None };
        };
        // `nice -10`.
        if self.name == "nice" && letters.bytes().all(|byte| byte.is_ascii_digit()) {
            return Taken::One;
        }
        for (index, letter) in letters.char_indices() {
            if self.valued.contains(letter) {
                let is_last = index + letter.len_utf8() == letters.len();
                return if is_last { Taken::Two } else { Taken::One };
            }
            if !self.flags.contains(letter) {
                return Taken::Unknown;
            }
        }
        Taken::One
    }
}

enum Taken {
    None,
    One,
    Two,
    Last,
    Unknown,
}

fn of_shell(words: &Words, input: Option<&Option<String>>) -> Inner {
    let mut rest = words;
    while let Some((first, more)) = rest.split_first() {
        let Some(word) = first.as_deref() else { return Inner::Unknown };
        let Some(letters) = word.strip_prefix(['-', '+']).filter(|letters| !letters.is_empty()) else {
            break;
        };
        rest = more;
        match letters {
            "-" => break,
            "-norc" | "-noprofile" | "-login" | "-posix" | "-restricted" => {}
            "-version" | "-help" => return Inner::Nothing,
            "-rcfile" | "-init-file" => rest = more.get(1..).unwrap_or_default(),
            _ if letters.starts_with('-') => return Inner::Unknown,
            _ if letters.contains('c') => {
                // `-c` may be followed by more options before the line.
                let line =
                    more.iter().find(|word| !word.as_deref().is_some_and(|word| word.starts_with('-')));
                return line.map_or(Inner::Unknown, |line| known(line.as_ref()));
            }
            _ if letters.contains('s') => return input.map_or(Inner::Unknown, |text| known(text.as_ref())),
            _ if letters.ends_with(['o', 'O']) => rest = more.get(1..).unwrap_or_default(),
            _ => {}
        }
    }
    match (rest.first(), input) {
        // A script in a file is a program like any other.
        (Some(_), _) => Inner::Nothing,
        (None, Some(text)) => known(text.as_ref()),
        (None, None) => Inner::Unknown,
    }
}

/// `python3.12` is `python`; `nodemon` is not `node`.
fn is_interpreter(name: &str, prefix: &str) -> bool {
    name.strip_prefix(prefix)
        .is_some_and(|rest| rest.chars().all(|c| c.is_ascii_digit() || c == '.' || c == '-'))
}

fn of_interpreter(words: &Words, letters: &str) -> Inner {
    for word in words {
        let Some(word) = word.as_deref() else { return Inner::Unknown };
        match word.strip_prefix('-') {
            Some("") | Some("-") => return Inner::Unknown,
            Some("-eval" | "-print" | "-run" | "-require" | "-import") => return Inner::Unknown,
            Some("-version" | "-help" | "V" | "v" | "h") => return Inner::Nothing,
            // A module is a program like any other.
            Some("m") => return Inner::Nothing,
            Some(option) if option.starts_with('-') => {
                if option.starts_with("-eval=")
                    || option.starts_with("-print=")
                    || option.starts_with("-import=")
                {
                    return Inner::Unknown;
                }
            }
            Some(option) if option.contains(|letter| letters.contains(letter)) => return Inner::Unknown,
            Some(_) => {}
            None if word == "eval" || word == "repl" => return Inner::Unknown,
            None => return Inner::Nothing,
        }
    }
    // It reads what is typed, or what comes through a pipe.
    Inner::Unknown
}

fn of_env(words: &Words) -> Inner {
    let wrapper = Wrapper {
        name: "env",
        flags: "0iv",
        valued: "Cu",
        long: &["--ignore-environment", "--null"],
        ..PLAIN
    };
    let mut rest = words;
    while let Some((first, more)) = rest.split_first() {
        let Some(word) = first.as_deref() else { return Inner::Unknown };
        if word.contains('=') && !word.starts_with('-') || word == "-" {
            rest = more;
            continue;
        }
        match wrapper.takes(word) {
            Taken::None => break,
            Taken::Last => rest = more,
            Taken::One => rest = more,
            Taken::Two => rest = more.get(1..).unwrap_or_default(),
            Taken::Unknown => return Inner::Unknown,
        }
    }
    if rest.is_empty() { Inner::Nothing } else { Inner::Calls(vec![(rest.to_vec(), false)]) }
}

fn of_lines(words: &Words) -> Inner {
    let words: Option<Vec<&str>> = words.iter().map(|word| word.as_deref()).collect();
    words.map_or(Inner::Unknown, |words| Inner::Line(words.join(" ")))
}

fn of_aliases(words: &Words) -> Inner {
    let lines = words
        .iter()
        .map(|word| word.as_deref().map(|word| word.split_once('=').map_or("", |(_, line)| line)));
    let lines: Option<Vec<&str>> = lines.collect();
    lines.map_or(Inner::Unknown, |lines| Inner::Line(lines.join("\n")))
}

fn of_find(words: &Words) -> Inner {
    let mut calls = Vec::new();
    let mut rest = words;
    while let Some((first, more)) = rest.split_first() {
        rest = more;
        if !matches!(first.as_deref(), Some("-exec" | "-execdir" | "-ok" | "-okdir")) {
            continue;
        }
        let end =
            more.iter().position(|word| matches!(word.as_deref(), Some(";" | "+"))).unwrap_or(more.len());
        calls.push((more[..end].to_vec(), true));
        rest = &more[end..];
    }
    Inner::Calls(calls)
}

/// A program in AWK can start others.
fn of_awk(words: &Words) -> Inner {
    let starts = |word: &Option<String>| {
        word.as_deref().is_none_or(|word| word.contains("system") || word.contains('|') || word.contains('@'))
    };
    if words.iter().any(starts) { Inner::Unknown } else { Inner::Nothing }
}

/// Settings on git's command line can name programs that it runs.
fn settings_are_harmless(words: &Words) -> bool {
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        match word.as_deref() {
            None => return true,
            Some("-c") => {
                let setting =
                    rest.next().and_then(|word| word.as_deref()).unwrap_or_default().to_ascii_lowercase();
                if !GIT_SETTINGS.iter().any(|known| setting.starts_with(known)) {
                    return false;
                }
            }
            Some(word) if word.starts_with("--config-env") || word.starts_with("--exec-path=") => {
                return false;
            }
            Some(word) if word.starts_with("-c") && !word.starts_with("--") => return false,
            Some("-C" | "--git-dir" | "--work-tree" | "--namespace") => {
                rest.next();
            }
            Some(word) if word.starts_with('-') => {}
            Some(_) => return true,
        }
    }
    true
}
