//! The table of ways past the gate: what an agent could write instead of a plain command, and what decides it then. Each
//! command is read and judged as its hook would be, by the real packs, with real files; those that are to push are also run
//! by a real bash with a git that only writes down what it was asked, so that no row is about a way that does not work.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod ways;

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;
use ways::{CAPITALS, FILES, LABELLED, ORDINARY, PUSHES};

use super::super::normalise::{Homes, normalise};
use crate::agents::wire::{ToolCall, ToolKind};
use crate::core::action::{Action, ToolAction};
use crate::core::data::DataRules;
use crate::core::decision::Decision::{self, Allow, Ask, Deny};
use crate::core::fixture;
use crate::core::manifest::BuiltinClass;
use crate::core::policy::labels::{Labels, LayerRules, Rule, Subject};
use crate::core::policy::{Circumstances, Layer, Pack, PolicySet, PolicySource};
use crate::core::run::Run;
#[cfg(target_os = "linux")]
use crate::core::shell::{self, braces};

struct World {
    _guard: tempfile::TempDir,
    root: PathBuf,
    homes: Homes,
    run: Run,
}

impl World {
    fn new() -> Self {
        let guard = tempfile::tempdir().unwrap();
        let root = guard.path().canonicalize().unwrap();
        for dir in ["home/.ssh", "home/agentsup/runs/r", "repo/.git/hooks", "tree/sub", "bin"] {
            std::fs::create_dir_all(root.join(dir)).unwrap();
        }
        std::fs::write(root.join("home/.ssh/id"), "key").unwrap();
        std::fs::write(root.join("tree/push.sh"), "git push\n").unwrap();
        std::fs::write(root.join("tree/Makefile"), ".PHONY: push\npush:\n\tgit push\n").unwrap();
        symlink(root.join("home/.ssh"), root.join("tree/link")).unwrap();
        std::fs::create_dir_all(root.join("tree/src/payments")).unwrap();
        std::fs::write(root.join("tree/src/payments/card"), "4").unwrap();
        std::fs::write(root.join("tree/key.pem"), "key").unwrap();
        let executable = |path: PathBuf| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
        };
        executable(root.join("tree/push.sh"));
        std::fs::write(
            root.join("bin/git"),
            format!("#!/bin/sh\necho \"$@\" >>'{}/asked'\n", root.display()),
        )
        .unwrap();
        executable(root.join("bin/git"));
        let homes = Homes {
            home: Some(root.join("home")),
            own: vec![root.join("home/agentsup")],
            temporary: "/nowhere".into(),
        };
        let run = Run {
            repository: root.join("repo"),
            worktree: root.join("tree"),
            dir: root.join("home/agentsup/runs/r"),
            ..fixture::run()
        };
        Self { _guard: guard, root, homes, run }
    }

    /// The line with the places of this world in it.
    fn placed(&self, line: &str) -> String {
        let path = |name: &str| self.root.join(name).display().to_string();
        line.replace("BIN", &path("bin"))
            .replace("HOME/", &(path("home") + "/"))
            .replace("REPO", &path("repo"))
            .replace("HOME h", &(path("home") + " h"))
    }

    fn action(&self, class: BuiltinClass, paths: &[&str], command: Option<&str>) -> ToolAction {
        let call = ToolCall {
            tool: "Tool".into(),
            class: ToolKind::Builtin(class),
            call_id: None,
            cwd: None,
            paths: paths.iter().map(|path| (*path).to_owned()).collect(),
            urls: Vec::new(),
            command: command.map(str::to_owned),
            args: json!({ "command": command, "paths": paths }),
        };
        let adapter = crate::agents::by_name("claude").unwrap();
        normalise(&self.homes, &DataRules::default(), &self.run, adapter, call, Some(class)).unwrap()
    }

    fn decided(&self, packs: &[PolicySet; 2], action: &ToolAction) -> [Decision; 2] {
        let action = Action::Tool(action.clone());
        [0, 1].map(|pack| {
            packs[pack].evaluate(&fixture::agent(), &self.run, &action, &Circumstances::default()).decision
        })
    }
}

fn packs() -> [PolicySet; 2] {
    [Pack::Standard, Pack::Strict].map(|pack| {
        PolicySet::load(&[PolicySource::pack(pack)]).unwrap_or_else(|problems| panic!("{problems:#?}"))
    })
}

/// All rows that are otherwise than they say, so that one look shows them.
fn assert_rows(rows: &[(&str, Decision, Decision)]) {
    let (world, packs) = (World::new(), packs());
    let wrong: Vec<String> = rows
        .iter()
        .filter_map(|(line, standard, strict)| {
            let action = world.action(BuiltinClass::Shell, &[], Some(&world.placed(line)));
            let found = world.decided(&packs, &action);
            (found != [*standard, *strict]).then(|| format!("{line:?}: {found:?}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_push_is_asked_about_however_it_is_written() {
    assert_rows(PUSHES);
    assert_rows(CAPITALS);
}

#[test]
fn a_file_is_known_however_it_is_named() {
    assert_rows(FILES);
}

#[test]
fn ordinary_commands_are_left_alone() {
    assert_rows(ORDINARY);
    let long = format!("see src/a.rs {}\n{}/b", "and more ".repeat(100), "x".repeat(300));
    let list = format!("- [ ] see `src/a.rs` * {}", "and/or [more] ".repeat(100));
    for text in [&long, &list] {
        let rows = [
            (format!("git commit -m '{text}'"), [Allow, Allow]),
            (format!("git commit -m \"{}\"", text.replace('`', "'")), [Allow, Allow]),
            (format!("body='{text}'; echo \"$body\""), [Allow, Ask]),
        ];
        let (world, packs) = (World::new(), packs());
        for (line, expected) in rows {
            let found = world.decided(&packs, &world.action(BuiltinClass::Shell, &[], Some(&line)));
            assert_eq!(found, expected, "{line}");
        }
    }
}

#[test]
fn a_labelled_file_is_known_to_a_shell_as_to_a_tool_that_reads() {
    let world = World::new();
    let rule = |pattern| Rule::new(Subject::Path, pattern, vec!["pci".to_owned()], None).unwrap();
    let rules = vec![rule("src/payments/**"), rule("**/*.pem")];
    let labels = || Labels::new(vec![LayerRules { layer: Layer::Org, team: None, rules: rules.clone() }]);
    let no = |more: &str| {
        let text = format!(
            r#"@id("no") forbid (principal, action in Action::"tool", resource)
            when {{ context.labels.contains("pci"){more} }};"#
        );
        let own = PolicySource { layer: Layer::Org, team: None, file: "a.cedar".into(), text };
        PolicySet::load_with(&[PolicySource::pack(Pack::Observe), own], labels()).unwrap()
    };
    let plain = no("");
    let decided = |set: &PolicySet, line: &str| {
        let action = Action::Tool(world.action(BuiltinClass::Shell, &[], Some(&world.placed(line))));
        set.evaluate(&fixture::agent(), &world.run, &action, &Circumstances::default()).decision
    };
    for (line, expected) in LABELLED {
        assert_eq!(decided(&plain, line), *expected, "{line}");
    }
    let many: String = (0..3000).map(|n| format!(" src/{n}")).collect();
    assert_eq!(decided(&plain, &format!("git add{many}")), Allow);
    assert_eq!(decided(&plain, &format!("git add{many} src/payments/card")), Deny);
    // Where a policy looks at each path, more than can be looked at are refused.
    assert_eq!(
        decided(&no(r#" || context has path && context.path == "/x""#), &format!("git add{many}")),
        Deny
    );
    let message = format!("git commit -m '{}'", "a/b ".repeat(5000));
    assert_eq!(decided(&plain, &message), Allow);
}

/// A row about a way that does not work would prove nothing.
#[test]
fn every_way_to_push_is_one() {
    let world = World::new();
    for (line, ..) in PUSHES {
        let asked = world.root.join("asked");
        let _none_yet = std::fs::remove_file(&asked);
        let placed = world.placed(line);
        let status = Command::new("bash")
            .args(["-c", &placed])
            .current_dir(world.root.join("tree"))
            .env_clear()
            .env("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin", world.root.join("bin").display()))
            .env("HOME", world.root.join("home"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()
            .unwrap();
        let told = std::fs::read_to_string(&asked).unwrap_or_default();
        assert!(told.contains("push"), "{line:?} ended with {status} and asked git for {told:?}");
    }
}

/// What the reader takes a word's braces for holds all that bash does. The bash of macOS is older.
#[cfg(target_os = "linux")]
#[test]
fn braces_are_expanded_as_a_real_bash_does() {
    let bits = ["{", "}", ",", "a", "{}", "..", "\\}", "','", "''"];
    let words: Vec<String> = (0..bits.len().pow(4))
        .map(|number| {
            let word = (0..4).map(|place| bits[number / bits.len().pow(place) % bits.len()]);
            format!("{{{}}}", word.collect::<String>())
        })
        .collect();
    let script: String = words.iter().map(|word| format!("printf '%s\\n' {word}; printf '\\0'\n")).collect();
    let guard = tempfile::tempdir().unwrap();
    std::fs::write(guard.path().join("words"), script).unwrap();
    let told = Command::new("bash").arg(guard.path().join("words")).output().unwrap().stdout;
    let told = String::from_utf8(told).unwrap();
    assert_eq!(told.split_terminator('\0').count(), words.len());
    for (word, told) in words.iter().zip(told.split_terminator('\0')) {
        let part = shell::read(&format!("ls {word}")).remove(0);
        let pattern = part.patterns.first().unwrap_or_else(|| panic!("{word:?} is no pattern"));
        let made = braces::expanded(pattern, 64).unwrap();
        let is_made =
            |text: &str| text.is_empty() || made.iter().any(|made| made == text || made.contains('*'));
        assert!(told.lines().all(is_made), "{word:?} is {told:?} and was taken for {made:?}");
    }
}

/// For tools that name their files. What is a file's place is asked again after a person has answered; after the yes a
/// swapped link is the sandbox's.
#[test]
fn a_path_is_known_however_it_is_written_and_looked_at_again() {
    let (world, packs) = (World::new(), packs());
    let (home, repo) = (world.root.join("home"), world.root.join("repo"));
    let path = |base: &Path, rest: &str| base.join(rest).display().to_string();
    for (file, read, edit) in [
        ("a.rs".to_owned(), Allow, Allow),
        ("sub/../a.rs".to_owned(), Allow, Allow),
        ("e\u{301}.rs".to_owned(), Allow, Allow),
        ("\u{e9}.rs".to_owned(), Allow, Allow),
        ("../outside".to_owned(), Allow, Deny),
        ("link/id".to_owned(), Deny, Deny),
        (".git/config".to_owned(), Allow, Deny),
        (".GiT/config".to_owned(), Allow, Deny),
        (".g\u{131}t/config".to_owned(), Allow, Deny),
        (".gi\u{200d}t/config".to_owned(), Allow, Deny),
        // Letters that only look alike are another file on every file system.
        (".g\u{456}t/config".to_owned(), Allow, Allow),
        (path(&repo, ".git/hooks/x"), Allow, Deny),
        (path(&home, ".ssh/id"), Deny, Deny),
        (path(&home, ".\u{17f}sh/id"), Deny, Deny),
        ("/proc/self/root/etc/hosts".to_owned(), Deny, Deny),
        ("/dev/fd/3".to_owned(), Deny, Deny),
        ("a\0b".to_owned(), Deny, Deny),
    ] {
        let standard = [BuiltinClass::Read, BuiltinClass::Edit]
            .map(|class| world.decided(&packs, &world.action(class, &[&file], None))[0]);
        assert_eq!(standard, [read, edit], "{file:?}");
    }
    let link = world.root.join("tree/swapped");
    symlink("sub", &link).unwrap();
    let before = world.action(BuiltinClass::Edit, &["swapped/id"], None);
    std::fs::remove_file(&link).unwrap();
    symlink(home.join(".ssh"), &link).unwrap();
    let after = world.action(BuiltinClass::Edit, &["swapped/id"], None);
    assert_ne!(before, after, "the yes to the first is withdrawn");
    assert_eq!([&before, &after].map(|action| world.decided(&packs, action)[0]), [Allow, Deny]);
}
