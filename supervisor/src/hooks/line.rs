//! Command lines as facts: which commands they hold, which files and hosts those name.

use std::path::{Path, PathBuf};

use super::places::{expand, fact, host};
use crate::core::action::{CommandPart, PathFact, Place};
use crate::core::place::{Grounds, WILD};
use crate::core::shell::{self, Part};
use crate::sys::files::resolve;
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

/// What a command names outside of the worktree and scratch space, and what of that may be written. Most of its words are
/// no paths, and those that mean something within the worktree are its own affair.
fn paths(
    call: &Part,
    dir: Option<&Path>,
    homes: &Homes,
    grounds: &Grounds,
) -> (Vec<PathFact>, Vec<PathFact>) {
    let (mut found, mut written) = (Vec::new(), Vec::new());
    for (word, text) in named(call) {
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
        if matches!(fact.place, Place::Worktree | Place::Scratch) {
            continue;
        }
        if call.writes.iter().any(|one| one == word) && !written.contains(&fact) {
            written.push(fact.clone());
        }
        if !found.contains(&fact) {
            found.push(fact);
        }
    }
    (found, written)
}

/// What of a command may be a path: a word or the value in it (`--output=/etc/x`, `of=/dev/sda`), with the word.
fn named(call: &Part) -> impl Iterator<Item = (&str, &str)> {
    let words = call.words.iter().map(String::as_str).filter(|word| !word.contains("://"));
    let texts = words.flat_map(|word| {
        let value = word.split_once('=').map(|(_, value)| (word, value));
        std::iter::once((word, word)).chain(value)
    });
    let like_a_path = |text: &str| text.contains('/') || text.starts_with(['~', '$', '.']);
    let redirects = call.redirects.iter().map(|word| (word.as_str(), word.as_str()));
    texts.filter(move |(_, text)| like_a_path(text)).chain(redirects)
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
        (named.map(|fact| format!("{:?} {}", fact.place, fact.path.display())).collect(), hosts)
    }

    #[test]
    fn what_a_command_names_outside_is_told() {
        for (line, expected) in [
            ("cat src/x ./y ../w/z", vec![]),
            ("cat /etc/hosts", vec!["Outside /etc/hosts"]),
            ("cat ~/.ssh/id $HOME/x", vec!["Secret /h/.ssh/id", "Outside /h/x"]),
            (
                "echo x > /etc/x 2>> ../../config.toml",
                vec!["Outside /etc/x", "Secret /h/agentsup/config.toml"],
            ),
            ("dd of=/dev/sda if=a", vec!["Outside /dev/sda"]),
            ("tool --out=/etc/x", vec!["Outside /etc/x"]),
            ("bash -c 'rm /etc/x'", vec!["Outside /etc/x"]),
            ("git -C /h/repo log", vec!["Outside /h/repo"]),
            ("cat .git/config", vec!["GitMetadata /h/agentsup/worktrees/w/.git/config"]),
            ("cd /etc && cat ./hosts", vec!["Outside /etc", "Outside /etc/hosts"]),
            ("cd \"$X\" && cat ./hosts", vec!["Outside ./hosts"]),
            ("cd && cat ./x", vec!["Outside /h/x"]),
            ("cat ~/.s*h/id ~/.{a,ssh}/x", vec!["Secret /h/.s*h/id", "Secret /h/.{a,ssh}/x"]),
            ("cat src/*.rs ~/x*", vec!["Outside /h/x*"]),
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
        assert_eq!((paths, hosts), (vec![], vec!["b.example".to_owned(), "example.com".to_owned()]));
    }
}
