//! Command lines as facts: which commands they hold, which files and hosts those name.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::places::{expand, fact, host};
use crate::core::action::{CommandPart, PathFact, Place};
use crate::core::place::Grounds;
use crate::core::shell::{self, Part, braces};
use crate::sys::files::{is_there, resolve};
use crate::sys::grounds::Homes;

/// The commands of a line that is run in `dir`, and the hosts that they name.
pub(super) fn read(
    line: &str,
    dir: &Path,
    homes: &Homes,
    grounds: &Grounds,
) -> (Vec<CommandPart>, Vec<String>) {
    let mut at = At { dir: Some(dir.to_owned()), before: Vec::new(), homes, grounds };
    let mut hosts = Vec::new();
    let mut parts = Vec::new();
    for call in shell::read(line) {
        let (paths, written) = at.paths(&call);
        hosts.extend(call.words.iter().filter(|word| word.contains("://")).filter_map(|word| host(word)));
        if call.program.as_deref() == Some("cd") {
            let dir = entered(&call, at.dir.as_deref(), homes);
            at.before.extend(std::mem::replace(&mut at.dir, dir).filter(|_| at.before.len() < BEFORE_MAX));
        }
        parts.push(CommandPart { call, paths, written });
    }
    hosts.sort();
    hosts.dedup();
    (parts, hosts)
}

/// The most directories that a line may have left and still be in: `(cd /tmp); cat .ssh/id`.
const BEFORE_MAX: usize = 16;
/// The most words that one command's braces may make.
const WORDS_MAX: usize = 1024;
/// From so many bytes on the kernel takes nothing for a path: a message, a script.
const PATH_BYTES: usize = 4096;

/// Where a `cd` leads; none if that is not known.
fn entered(call: &Part, dir: Option<&Path>, homes: &Homes) -> Option<PathBuf> {
    let target = call.verb.as_deref().map_or_else(|| expand("~", homes), |word| expand(word, homes));
    resolve(&target, dir.unwrap_or(Path::new("/")))
        .filter(|_| !call.dynamic && (dir.is_some() || target.is_absolute()))
}

/// Where a command is run.
struct At<'a> {
    /// None where that is not known.
    dir: Option<PathBuf>,
    /// Where the line was before.
    before: Vec<PathBuf>,
    homes: &'a Homes,
    grounds: &'a Grounds,
}

impl At<'_> {
    /// The files that a command may name, and those of them that it may be told to write.
    fn paths(&self, call: &Part) -> (Vec<PathFact>, Vec<PathFact>) {
        let (mut found, mut written) = (Vec::new(), Vec::new());
        let mut seen = HashSet::new();
        let writes: HashSet<&str> = call.writes.iter().map(String::as_str).collect();
        let patterns = Patterns::of(call);
        let Some(named) = named(call, &patterns, self.dir.as_deref()) else {
            // What nobody can count could be anything.
            let dir = self.dir.clone().unwrap_or_else(|| PathBuf::from("/"));
            return (vec![PathFact { path: dir, place: Place::Secret }], written);
        };
        for (word, stands, text) in named {
            for fact in self.facts(&text, patterns.0.contains_key(word)) {
                // What a variable says of places elsewhere is not yet a look at them.
                if stands == Stands::Value && fact.place == Place::Outside {
                    continue;
                }
                if writes.contains(word) && seen.insert((fact.clone(), true)) {
                    written.push(fact.clone());
                }
                if seen.insert((fact.clone(), false)) {
                    found.push(fact);
                }
            }
        }
        (found, written)
    }

    /// What a text means here, and where the line was before if that is out of bounds there.
    fn facts(&self, text: &str, is_pattern: bool) -> Vec<PathFact> {
        let path = expand(text, self.homes);
        let here = match &self.dir {
            Some(dir) => self.fact(&path, dir, is_pattern),
            None if path.is_absolute() => self.fact(&path, Path::new("/"), is_pattern),
            // Below a directory that nobody knows.
            None => PathFact { path: path.clone(), place: Place::Outside },
        };
        let before = self.before.iter().filter(|_| !path.is_absolute());
        let before = before.map(|dir| self.fact(&path, dir, is_pattern));
        let mut facts = vec![here];
        facts.extend(before.filter(|fact| matches!(fact.place, Place::Secret | Place::GitMetadata)));
        facts
    }

    fn fact(&self, path: &Path, dir: &Path, is_pattern: bool) -> PathFact {
        let fact = fact(path, dir, self.grounds);
        let place = match fact.place {
            Place::Secret => Place::Secret,
            _ if self.grounds.may_mean_secret(&fact.path) => Place::Secret,
            _ if is_pattern && self.grounds.may_mean_git(&fact.path) => Place::GitMetadata,
            place => place,
        };
        PathFact { place, ..fact }
    }
}

/// Where in a command a word stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stands {
    Argument,
    Value,
    Redirect,
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

/// What of a command may be a path, each with its word: what is written like one, and what is the name of a file. None
/// where that is too much.
fn named<'a>(
    call: &'a Part,
    patterns: &Patterns<'_>,
    dir: Option<&Path>,
) -> Option<Vec<(&'a str, Stands, String)>> {
    let is_named = |text: &str| dir.is_some_and(|dir| !text.is_empty() && is_there(&dir.join(text)));
    let is_path = |text: &str| text.contains('/') || text.starts_with(['~', '$', '.']) || is_named(text);
    let is_git = call.program.as_deref() == Some("git");
    let (mut named, mut left) = (Vec::new(), WORDS_MAX);
    let mut add = |word: &'a str, stands: Stands| {
        let (made, count) = patterns.made(word, left)?;
        left -= count;
        for made in made {
            let within = within(&made, is_git);
            // What has a name before its value is seldom a path itself.
            let whole = Some(made.as_str()).filter(|word| within.is_empty() || is_named(word));
            let texts = whole.into_iter().chain(within).filter(|text| is_path(text));
            if stands == Stands::Redirect {
                named.push((word, stands, made));
            } else {
                named.extend(texts.map(|text| (word, stands, text.to_owned())));
            }
        }
        Some(())
    };
    let words = [(&call.words, Stands::Argument), (&call.values, Stands::Value)];
    for (words, stands) in words {
        for word in words.iter().filter(|word| !word.contains("://")) {
            add(word, stands)?;
        }
    }
    for word in &call.redirects {
        add(word, Stands::Redirect)?;
    }
    named.retain(|(.., text)| text.len() < PATH_BYTES);
    Some(named)
}

/// What in a word may be a path: `--output=x`, `of=x`, `-fdir/x`, `-d @x`, `HEAD:x`.
fn within(word: &str, is_git: bool) -> Vec<&str> {
    let after = |sign| word.split_once(sign).filter(|(name, _)| !name.contains('/')).map(|(_, value)| value);
    let letters = word.strip_prefix('-').filter(|rest| !rest.starts_with('-') && rest.contains('/'));
    let letters = letters.and_then(|rest| rest.get(rest.chars().next()?.len_utf8()..));
    let found = [after('='), letters, after(':').filter(|_| is_git), word.strip_prefix('@')];
    let mut found: Vec<&str> = found.into_iter().flatten().collect();
    let marked = after('=').and_then(|value| value.strip_prefix('@'));
    found.extend(marked);
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::core::fixture;
    use crate::core::run::Run;

    fn facts(line: &str) -> (Vec<String>, Vec<String>) {
        let homes =
            Homes { home: Some("/h".into()), own: vec!["/h/agentsup".into()], temporary: "/nowhere".into() };
        let run = Run {
            repository: "/h/repo".into(),
            worktree: "/h/agentsup/worktrees/w".into(),
            dir: "/h/agentsup/runs/r".into(),
            ..fixture::run()
        };
        let (parts, hosts) = read(line, &run.worktree, &homes, &homes.grounds(&run));
        let named = parts.iter().flat_map(|part| &part.paths);
        let told = named.map(|fact| format!("{:?} {}", fact.place, fact.path.display()));
        (told.map(|fact| fact.replace("/h/agentsup/worktrees/w", "W")).collect(), hosts)
    }

    #[test]
    fn what_a_command_names_is_told() {
        for (line, expected) in [
            ("cat src/x ./y ../w/z src/x no", vec!["Worktree W/src/x", "Worktree W/y", "Worktree W/z"]),
            (
                "grep -fsrc/x --file=src/y @src/z -F a=@src/a >b",
                vec![
                    "Worktree W/src/x",
                    "Worktree W/src/y",
                    "Worktree W/src/z",
                    "Worktree W/@src/a",
                    "Worktree W/src/a",
                    "Worktree W/b",
                ],
            ),
            ("git show HEAD:src/x", vec!["Worktree W/src/x"]),
            ("cat /etc/hosts", vec!["Outside /etc/hosts"]),
            ("cat ~/.ssh/id $HOME/x", vec!["Secret /h/.ssh/id", "Outside /h/x"]),
            (
                "echo x > /etc/x 2>> ../../config.toml",
                vec!["Outside /etc/x", "Secret /h/agentsup/config.toml"],
            ),
            ("dd of=/dev/sda if=a", vec!["Outside /dev/sda"]),
            ("tool --out=/etc/x", vec!["Outside /etc/x"]),
            ("bash -c 'rm /etc/x'", vec!["Worktree W/rm /etc/x", "Outside /etc/x"]),
            ("git -C /h/repo log", vec!["Outside /h/repo"]),
            ("cat .git/config", vec!["GitMetadata W/.git/config"]),
            ("cd /etc && cat ./hosts", vec!["Outside /etc", "Outside /etc/hosts"]),
            ("cd \"$X\" && cat ./hosts", vec!["Outside ./hosts"]),
            ("cd && cat ./x", vec!["Outside /h/x"]),
            ("cat ~/.s*h/id", vec!["Secret /h/.s*h/id"]),
            ("cat ~/.{a,ssh}/x", vec!["Outside /h/.a/x", "Secret /h/.ssh/x"]),
            ("cat {~/.ssh,a}/id", vec!["Secret /h/.ssh/id", "Worktree W/a/id"]),
            ("cat < ~/.s?h/id", vec!["Secret /h/.s?h/id"]),
            ("cat ~bob/.ssh/id {~+,~+/b}/a", vec!["Secret /h/.ssh/id", "Worktree W/a", "Worktree W/b/a"]),
            ("cp a .g?t/x", vec!["GitMetadata W/.g?t/x"]),
            ("X=/etc Y=.git Z=~/.ssh make", vec!["GitMetadata W/.git", "Secret /h/.ssh"]),
            ("for d in .git a/b; do ls; cat $d/x; done", vec!["GitMetadata W/.git", "Worktree W/a/b"]),
            ("grep '.g?t/x'", vec!["Worktree W/.g?t/x"]),
            (
                "cd ~ && (cd /tmp) && cat .ssh/id",
                vec!["Outside /h", "Scratch /tmp", "Scratch /tmp/.ssh/id", "Secret /h/.ssh/id"],
            ),
            ("cat src/*.rs ~/x*", vec!["Worktree W/src/*.rs", "Outside /h/x*"]),
            ("cat /proc/self/environ", vec!["Secret /proc/self/environ"]),
        ] {
            assert_eq!(facts(line).0, expected, "{line}");
        }
    }

    #[test]
    fn addresses_are_hosts_and_no_paths() {
        let (paths, hosts) = facts(
            "curl https://Example.COM/x && git clone ssh://git@b.example/x /tmp/../h/agentsup/worktrees/w/x",
        );
        assert_eq!(paths, ["Worktree W/x"]);
        assert_eq!(hosts, ["b.example", "example.com"]);
    }
}
