//! Command lines as facts: which commands they hold, which files and hosts those name.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::places::{expand, fact, host};
use crate::core::action::{CommandPart, PathFact, Place};
use crate::core::place::{Grounds, WILD};
use crate::core::shell::{self, Part};
use crate::sys::files::{is_there, resolve};
use crate::sys::grounds::Homes;

/// The commands of a line that is run in `dir`, and the hosts that they name.
pub(super) fn read(
    line: &str,
    dir: &Path,
    homes: &Homes,
    grounds: &Grounds,
) -> (Vec<CommandPart>, Vec<String>) {
    let mut dir = Some(dir.to_owned());
    let mut hosts = Vec::new();
    let mut parts = Vec::new();
    for call in shell::read(line) {
        let (paths, written) = paths(&call, dir.as_deref(), homes, grounds);
        hosts.extend(call.words.iter().filter(|word| word.contains("://")).filter_map(|word| host(word)));
        if call.program.as_deref() == Some("cd") {
            dir = entered(&call, dir.as_deref(), homes);
        }
        parts.push(CommandPart { call, paths, written });
    }
    hosts.sort();
    hosts.dedup();
    (parts, hosts)
}

/// Where a `cd` leads; none if that is not known.
fn entered(call: &Part, dir: Option<&Path>, homes: &Homes) -> Option<PathBuf> {
    let target = call.verb.as_deref().map_or_else(|| expand("~", homes), |word| expand(word, homes));
    resolve(&target, dir.unwrap_or(Path::new("/")))
        .filter(|_| !call.dynamic && (dir.is_some() || target.is_absolute()))
}

/// The files that a command may name, and those of them that it may be told to write.
fn paths(
    call: &Part,
    dir: Option<&Path>,
    homes: &Homes,
    grounds: &Grounds,
) -> (Vec<PathFact>, Vec<PathFact>) {
    let (mut found, mut written) = (Vec::new(), Vec::new());
    let mut seen = HashSet::new();
    let writes: HashSet<&str> = call.writes.iter().map(String::as_str).collect();
    for (word, text) in named(call, dir).filter(|(_, text)| text.len() < PATH_BYTES) {
        let path = expand(text, homes);
        let fact = match dir {
            Some(dir) => fact(&path, dir, grounds),
            None if path.is_absolute() => fact(&path, Path::new("/"), grounds),
            // Below a directory that nobody knows.
            None => PathFact { path: path.clone(), place: Place::Outside },
        };
        let fact = match path.to_string_lossy().contains(WILD) && grounds.may_mean_secret(&fact.path) {
            true => PathFact { place: Place::Secret, ..fact },
            false => fact,
        };
        if writes.contains(word) && seen.insert((fact.clone(), true)) {
            written.push(fact.clone());
        }
        if seen.insert((fact.clone(), false)) {
            found.push(fact);
        }
    }
    (found, written)
}

/// From so many bytes on the kernel takes nothing for a path: a message, a script.
const PATH_BYTES: usize = 4096;

/// What of a command may be a path, each with its word: what is written like one, and what is the name of a file.
fn named<'a>(call: &'a Part, dir: Option<&Path>) -> impl Iterator<Item = (&'a str, &'a str)> {
    let is_named = move |text: &str| dir.is_some_and(|dir| !text.is_empty() && is_there(&dir.join(text)));
    let is_git = call.program.as_deref() == Some("git");
    let words = call.words.iter().map(String::as_str).filter(|word| !word.contains("://"));
    let texts = words.flat_map(move |word| {
        let within = within(word, is_git);
        // What has a name before its value is seldom a path itself.
        let whole = Some(word).filter(|word| within.is_empty() || is_named(word));
        whole.into_iter().chain(within).map(move |text| (word, text))
    });
    let like_a_path = |text: &str| text.contains('/') || text.starts_with(['~', '$', '.']);
    let redirects = call.redirects.iter().map(|word| (word.as_str(), word.as_str()));
    texts.filter(move |(_, text)| like_a_path(text) || is_named(text)).chain(redirects)
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
            ("cat ~/.s*h/id ~/.{a,ssh}/x", vec!["Secret /h/.s*h/id", "Secret /h/.{a,ssh}/x"]),
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
