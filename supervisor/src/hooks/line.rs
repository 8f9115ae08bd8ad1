//! Command lines as facts: which commands they hold, which files and hosts those name.

mod named;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet, VecDeque};
use std::path::{Component, Path, PathBuf};

use named::{Stands, named};

use super::places::{expand, fact, host};
use crate::core::action::{CommandPart, PathFact, Place};
use crate::core::place::Grounds;
use crate::core::shell::{self, Part, braces};
use crate::sys::files::{is_there, resolve};
use crate::sys::grounds::Homes;

/// What a line is about.
#[derive(Default)]
pub(super) struct Line {
    pub(super) parts: Vec<CommandPart>,
    /// The hosts that it names.
    pub(super) hosts: Vec<String>,
    /// Where its commands may be run.
    pub(super) dirs: Vec<PathBuf>,
}

/// A line that is run in `dir`.
pub(super) fn read(line: &str, dir: &Path, homes: &Homes, grounds: &Grounds) -> Line {
    let mut at = At::new(dir, homes, grounds);
    let mut read = Line::default();
    for call in shell::read(line) {
        let (paths, written) = at.paths(&call);
        let named = call.words.iter().filter(|word| word.contains("://"));
        read.hosts.extend(named.filter_map(|word| host(word)));
        at.follow(&call);
        read.dirs.extend(at.dir.iter().chain(&at.before.dirs).cloned());
        read.dirs.sort_unstable();
        read.dirs.dedup();
        read.parts.push(CommandPart { call, paths, written });
    }
    read.hosts.sort();
    read.hosts.dedup();
    read
}

/// The most directories that a line may have left and still be in: `(cd /tmp); cat .ssh/id`.
const BEFORE_MAX: usize = 32;
/// The most looks at a file system, each for a text in a directory, and so the most facts.
const LOOKS_MAX: usize = 64 * 1024;

/// What changes what a shell's commands do.
const CHANGERS: [&str; 10] =
    [".", "alias", "declare", "enable", "eval", "export", "set", "shopt", "source", "trap"];

/// Where a command is run.
struct At<'a> {
    /// None where that is not known.
    dir: Option<PathBuf>,
    /// Where the line was before, and may be still.
    before: Before,
    /// Where it was, for whoever goes back.
    left_dirs: Before,
    /// Whether nothing may have changed what `cd` does.
    is_plain: bool,
    homes: &'a Homes,
    grounds: &'a Grounds,
    /// What was looked at already: a loop's values mean the same to each command in it.
    seen: HashMap<(PathBuf, PathBuf), PathFact>,
    left: usize,
}

/// Directories that a line may be in besides.
#[derive(Clone, Default)]
struct Before {
    /// The last is the newest.
    dirs: VecDeque<PathBuf>,
    /// Whether there were more.
    is_lost: bool,
}

impl Before {
    fn add(&mut self, dir: PathBuf) {
        self.dirs.retain(|other| *other != dir);
        self.dirs.push_back(dir);
        if self.dirs.len() > BEFORE_MAX {
            self.dirs.pop_front();
            self.is_lost = true;
        }
    }
}

impl<'a> At<'a> {
    fn new(dir: &Path, homes: &'a Homes, grounds: &'a Grounds) -> Self {
        let (dir, before, left_dirs) = (Some(dir.to_owned()), Before::default(), Before::default());
        Self { dir, before, left_dirs, is_plain: true, homes, grounds, seen: HashMap::new(), left: LOOKS_MAX }
    }

    /// Goes where a command leads those behind it.
    fn follow(&mut self, call: &Part) {
        let program = call.program.as_deref();
        self.is_plain &= !call.opaque && program.is_some_and(|program| !CHANGERS.contains(&program));
        let dir = match call.program.as_deref() {
            // It may have been anywhere before that; the last is the likeliest.
            Some("popd") => self.left_dirs.dirs.back().cloned(),
            Some("pushd") if call.verb.is_none() && !call.dynamic => self.left_dirs.dirs.back().cloned(),
            Some("cd") if call.words.iter().any(|word| word == "-") => self.left_dirs.dirs.back().cloned(),
            Some("cd" | "pushd") => self.entered(call),
            // What it runs is told behind it.
            Some("env" | "sudo" | "doas") => {
                return self.led(call).into_iter().for_each(|dir| self.before.add(dir));
            }
            _ => return,
        };
        for likely in self.likely_dirs(call) {
            self.before.add(likely);
        }
        // What a line begins with is as certain as the directory is there.
        let is_certain = |dir: &Path| call.leads || (call.begins && call.words.len() == 1 && may_enter(dir));
        let is_sure =
            self.is_plain && dir.as_ref().is_some_and(|dir| is_certain(dir) && self.leads_to(call, dir));
        if let Some(left) = std::mem::replace(&mut self.dir, dir) {
            if !is_sure {
                self.before.add(left.clone());
            }
            self.left_dirs.add(left);
        }
    }

    /// Whether a `cd` leads there and nowhere else: to a shell, the way back from a link is the way that it came.
    fn leads_to(&self, call: &Part, found: &Path) -> bool {
        let (Some(dir), Some(verb)) = (&self.dir, &call.verb) else { return false };
        let written =
            dir.join(expand(verb, self.homes)).components().fold(PathBuf::new(), |mut path, part| {
                match part {
                    Component::ParentDir => drop(path.pop()),
                    part => path.push(part),
                }
                path
            });
        written == *found
    }

    /// Where a `cd` leads; none if that is not known.
    fn entered(&self, call: &Part) -> Option<PathBuf> {
        let target =
            call.verb.as_deref().map_or_else(|| expand("~", self.homes), |word| expand(word, self.homes));
        resolve(&target, self.dir.as_deref().unwrap_or(Path::new("/")))
            .filter(|_| !call.dynamic && (self.dir.is_some() || target.is_absolute()))
    }

    /// Those of its words that variables say, as directories.
    fn likely_dirs(&self, call: &Part) -> Vec<PathBuf> {
        let dir = self.dir.as_deref().unwrap_or(Path::new("/"));
        let texts = call.likely.iter().map(|pattern| expand(&braces::text(pattern), self.homes));
        texts.filter_map(|path| resolve(&path, dir)).collect()
    }

    /// Directories that a command is told to work in, each seen from the one before: `git -C x -C y`, `tar -C x`.
    fn led(&self, call: &Part) -> Vec<PathBuf> {
        let program = call.program.as_deref();
        // To these it is a setting.
        if matches!(program, Some("cargo" | "rustc")) {
            return Vec::new();
        }
        let options = ["-C", "--chdir", "--directory", "--cwd", "--work-tree", "-D"];
        let options = &options[..if program == Some("sudo") { 6 } else { 5 }];
        let (mut dirs, mut words) = (Vec::new(), call.words.iter());
        let mut dir = self.dir.clone().unwrap_or_else(|| PathBuf::from("/"));
        if call.words.iter().any(|word| options.contains(&word.as_str())) {
            dirs.extend(self.likely_dirs(call));
        }
        while let Some(word) = words.next() {
            let named = options.iter().find_map(|option| match word.strip_prefix(option)? {
                "" => words.next().map(String::as_str),
                rest if option.starts_with("--") => rest.strip_prefix('='),
                rest => Some(rest),
            });
            if let Some(found) = named.and_then(|named| resolve(&expand(named, self.homes), &dir)) {
                dir = found;
                dirs.push(dir.clone());
            }
            if dirs.len() > BEFORE_MAX {
                break;
            }
        }
        dirs
    }

    /// The files that a command may name, and those of them that it may be told to write.
    fn paths(&mut self, call: &Part) -> (Vec<PathFact>, Vec<PathFact>) {
        self.known_paths(call).unwrap_or_else(|| {
            // What nobody can count could be anything.
            let path = self.dir.clone().unwrap_or_else(|| PathBuf::from("/"));
            (vec![PathFact { path, place: Place::Secret }], Vec::new())
        })
    }

    fn known_paths(&mut self, call: &Part) -> Option<(Vec<PathFact>, Vec<PathFact>)> {
        let (mut found, mut written) = (Vec::new(), Vec::new());
        let mut seen = HashSet::new();
        let writes: HashSet<&str> = call.writes.iter().map(String::as_str).collect();
        let led = self.led(call);
        let mut here: Vec<PathBuf> = self.dir.iter().cloned().collect();
        // Of git it is known that this is where it works.
        here.extend(led.last().filter(|_| call.program.as_deref() == Some("git")).cloned());
        here.dedup();
        let mut before = self.before.clone();
        led.into_iter().for_each(|dir| before.add(dir));
        let mut looks = 0;
        let named = named(call, &mut |text| {
            looks += here.len();
            looks < LOOKS_MAX && !text.is_empty() && here.iter().any(|dir| is_there(&dir.join(text)))
        })?;
        self.left = self.left.checked_sub(looks)?;
        for named in named {
            for fact in self.facts(&named.text, &here, &before, named.is_pattern)? {
                // What a variable says of places elsewhere is not yet a look at them.
                if named.stands == Stands::Value && fact.place == Place::Outside {
                    continue;
                }
                if writes.contains(named.word) && seen.insert((fact.clone(), true)) {
                    written.push(fact.clone());
                }
                if seen.insert((fact.clone(), false)) {
                    found.push(fact);
                }
            }
        }
        Some((found, written))
    }

    /// What a text means here, and where the line was before if that is out of bounds there; none where that is too much.
    fn facts(
        &mut self,
        text: &str,
        here: &[PathBuf],
        before: &Before,
        is_pattern: bool,
    ) -> Option<Vec<PathFact>> {
        let path = expand(text, self.homes);
        let mut facts = Vec::new();
        let mut all = Cow::Borrowed(before);
        if ["~-", "$OLDPWD", "${OLDPWD}"].iter().any(|old| text.trim_start_matches('/').starts_with(old)) {
            self.left_dirs.dirs.iter().for_each(|dir| all.to_mut().add(dir.clone()));
        }
        let before = all;
        if path.is_absolute() {
            facts.push(self.fact(&path, Path::new("/"), is_pattern)?);
        } else if here.is_empty() {
            // Below a directory that nobody knows.
            facts.push(PathFact { path: path.clone(), place: Place::Outside });
        }
        // It may have been quoted, and is the name of a directory then.
        let literal = Some(Path::new(text)).filter(|literal| {
            *literal != path && literal.components().any(|part| part == Component::ParentDir)
        });
        for path in [Some(path.as_path()), literal].into_iter().flatten().filter(|path| path.is_relative()) {
            if before.is_lost {
                facts.push(PathFact { path: path.to_owned(), place: Place::Secret });
            }
            for dir in here {
                facts.push(self.fact(path, dir, is_pattern)?);
            }
            for dir in &before.dirs {
                let fact = self.fact(path, dir, is_pattern)?;
                facts.extend(
                    Some(fact).filter(|fact| matches!(fact.place, Place::Secret | Place::GitMetadata)),
                );
            }
        }
        Some(facts)
    }

    fn fact(&mut self, path: &Path, dir: &Path, is_pattern: bool) -> Option<PathFact> {
        self.left = self.left.checked_sub(1)?;
        let key = (dir.to_owned(), path.to_owned());
        let fact = self.seen.entry(key).or_insert_with(|| {
            let found = fact(path, dir, self.grounds);
            let is_secret = found.place == Place::Secret || self.grounds.may_mean_secret(&found.path);
            PathFact { place: if is_secret { Place::Secret } else { found.place }, ..found }
        });
        let is_git = fact.place != Place::Secret && is_pattern && self.grounds.may_mean_git(&fact.path);
        Some(PathFact { place: if is_git { Place::GitMetadata } else { fact.place }, ..fact.clone() })
    }
}

/// Whether a directory is there, and open to us.
fn may_enter(dir: &Path) -> bool {
    dir.join(".").metadata().is_ok_and(|found| found.is_dir())
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
        let Line { parts, hosts, .. } = read(line, &run.worktree, &homes, &homes.grounds(&run));
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
                    "Worktree W/-fsrc/x",
                    "Worktree W/src/x",
                    "Worktree W/--file=src/y",
                    "Worktree W/src/y",
                    "Worktree W/@src/z",
                    "Worktree W/src/z",
                    "Worktree W/a=@src/a",
                    "Worktree W/@src/a",
                    "Worktree W/src/a",
                    "Worktree W/b",
                ],
            ),
            (
                "git show HEAD:src/x a/b:src/y",
                vec!["Worktree W/HEAD:src/x", "Worktree W/src/x", "Worktree W/a/b:src/y", "Worktree W/src/y"],
            ),
            ("cat a=/../../../config.toml", vec!["Secret /h/agentsup/config.toml", "Outside /config.toml"]),
            ("cat /etc/hosts", vec!["Outside /etc/hosts"]),
            ("cat ~/.ssh/id $HOME/x", vec!["Secret /h/.ssh/id", "Outside /h/x"]),
            (
                "echo x > /etc/x 2>> ../../config.toml",
                vec!["Outside /etc/x", "Secret /h/agentsup/config.toml"],
            ),
            ("dd of=/dev/sda if=a", vec!["Worktree W/of=/dev/sda", "Outside /dev/sda"]),
            ("tool --out=/etc/x", vec!["Worktree W/--out=/etc/x", "Outside /etc/x"]),
            ("bash -c 'rm /etc/x'", vec!["Worktree W/rm /etc/x", "Outside /etc/x"]),
            ("git -C /h/repo log ./a", vec!["Outside /h/repo", "Worktree W/a", "Outside /h/repo/a"]),
            (
                "tar -C /h -c .ssh/id ./a",
                vec!["Outside /h", "Worktree W/.ssh/id", "Secret /h/.ssh/id", "Worktree W/a"],
            ),
            ("cat ~+/a $PWD/b ${PWD}c", vec!["Worktree W/a", "Worktree W/b", "Secret W/\0"]),
            (
                "pushd /h; popd; cat ./a .ssh/id",
                vec!["Outside /h", "Worktree W/a", "Worktree W/.ssh/id", "Secret /h/.ssh/id"],
            ),
            ("cd /h; cd -; cat ./a", vec!["Outside /h", "Worktree W/a"]),
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
            ("for d in .git a/b; do ls; cat $d/x; done", vec!["GitMetadata W/.git/x", "Worktree W/a/b/x"]),
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

    /// A hook holds up its agent, and what it finds is kept.
    #[test]
    fn what_a_line_may_name_is_bounded() {
        let values: String = (0..1000).map(|n| format!(" a/{n}")).collect();
        let dirs: String = (0..16).map(|n| format!("cd /d/{n}; ")).collect();
        let body = "cat $d ./x; ".repeat(100);
        let (found, _) = facts(&format!("{dirs}for d in{values}; do {body}done"));
        assert!(found.len() <= LOOKS_MAX && found.last().is_some_and(|fact| fact.starts_with("Secret")));
        let (found, _) = facts(&format!("git add{values}"));
        assert_eq!(found.len(), 1000);
    }

    #[test]
    fn addresses_are_hosts_and_no_paths() {
        let (paths, hosts) = facts(
            "curl https://Example.COM/x && git clone ssh://git@b.example/x /tmp/../h/agentsup/worktrees/w/x",
        );
        assert_eq!(paths, ["Worktree W/x"]);
        assert_eq!(hosts, ["b.example", "example.com"]);
    }

    /// The kernel sees the directory, which may be shorter than the name that stands for it.
    #[test]
    fn a_path_is_as_long_as_what_its_names_stand_for() {
        let line = format!("cat ${{HOME}}/{}.ssh/id", "./".repeat(2042));
        assert_eq!(facts(&line).0, ["Secret /h/.ssh/id"]);
        assert_eq!(facts(&line.replace("${HOME}", "~")).0, ["Secret /h/.ssh/id"]);
    }

    /// Behind a `cd` that may not have worked, the line may be where it was.
    #[test]
    fn a_cd_that_a_line_begins_with_is_believed_where_nothing_can_fail() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let run = Run { worktree: root.join("w"), ..fixture::run() };
        std::fs::create_dir_all(run.worktree.join("src")).unwrap();
        std::os::unix::fs::symlink("src", run.worktree.join("link")).unwrap();
        std::fs::write(run.worktree.join("file"), "").unwrap();
        let homes = Homes { home: None, own: vec![root.clone()], temporary: "/nowhere".into() };
        let rows = [
            ("cd src; cat ../x", true),
            ("cd src\ncat ../x", true),
            ("cd ./src || exit 1; cat ../x", true),
            ("cd src && ls; cat ../x", true),
            ("cd nowhere; cat ../x", false),
            ("cd file; cat ../x", false),
            ("cd link; cat ../x", false),
            ("cd src y; cat ../x", false),
            ("cd {src,y}; cat ../x", false),
            ("cd sr?; cat ../x", false),
            ("cd src 2>&9; cat ../x", false),
            ("cd src >/nowhere/x; cat ../x", false),
            ("HOME=/ cd src; cat ../x", false),
            ("cd src | ls; cat ../x", false),
            ("cd src & cat ../x", false),
            ("(cd src); cat ../x", false),
            ("if ls; then cd src; fi; cat ../x", false),
            ("ls; cd src; cat ../x", false),
            ("bash -c 'cd src; cat ../x'", false),
        ];
        for (line, is_sure) in rows {
            let read = read(line, &run.worktree, &homes, &homes.grounds(&run));
            let mut named = read.parts.iter().flat_map(|part| &part.paths);
            assert_eq!(!named.any(|fact| fact.path == root.join("x")), is_sure, "{line}");
        }
    }
}
