//! Launches that do not come to their end, and what programs see that a repository's configuration names.

use std::time::Duration;

use serde_json::Value;

use super::daemon::{detached, registered};
use crate::fakes::home::{ANTHROPIC_KEY, Home, agent_binary};
use crate::fakes::pty::Pty;
use crate::fakes::wait::until;

const PATIENCE: Duration = Duration::from_secs(30);

/// Makes every later checkout of the repository begin, say so, and not end.
fn make_checkouts_endless(home: &Home) -> std::path::PathBuf {
    let begun = home.path("begun");
    home.commit(".gitattributes", "*.bin filter=slow\n", "A filter");
    home.commit("zz.bin", "x", "For the filter");
    home.git(&["config", "filter.slow.smudge", &format!("echo > '{}'; sleep 1000", begun.display())]);
    begun
}

fn runs(home: &Home) -> Vec<Value> {
    home.run(&["ps", "--all", "--json"]).ok().json().as_array().unwrap().clone()
}

fn assert_undone(home: &Home) {
    let all = runs(home);
    assert_eq!(all.len(), 1, "{all:?}");
    assert_eq!((&all[0]["state"], &all[0]["worktree_state"]), (&"killed".into(), &"removed".into()));
    assert_eq!(home.git(&["worktree", "list"]).lines().count(), 1);
    assert_eq!(home.git(&["branch", "--list", "agentsup/*"]), "");
    let dirs = std::fs::read_dir(home.agentsup().join("runs")).unwrap().count();
    assert_eq!(dirs, 0, "its private files are gone");
    let lines = home.run(&["audit", "list", "--json"]).ok().json_lines();
    assert!(lines.iter().any(|line| line["action"] == "run-ended"), "{lines:?}");
}

#[test]
fn a_ctrl_c_while_the_worktree_is_made_undoes_the_launch() {
    let home = registered();
    let begun = make_checkouts_endless(&home);
    let terminal = Pty::start(&home.cli(&["run", "command", "--", "touch", "ran"]), 24, 80);
    assert!(until(PATIENCE, || begun.exists()));
    terminal.keys("\x03");
    terminal.wait_for("killed while it was started", PATIENCE);
    assert_eq!(terminal.wait_exit(PATIENCE), 93, "{}", terminal.screen());
    assert_undone(&home);
}

#[test]
fn a_run_that_is_being_started_can_be_stopped() {
    let home = registered();
    let begun = make_checkouts_endless(&home);
    let terminal = Pty::start(&home.cli(&["run", "--detach", "command", "--", "true"]), 24, 80);
    assert!(until(PATIENCE, || begun.exists()));
    let id = runs(&home)[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(home.run(&["stop", &id, "--json"]).ok().json()["state"], "killed");
    assert_eq!(terminal.wait_exit(PATIENCE), 93, "{}", terminal.screen());
    assert_undone(&home);
}

#[test]
fn a_failed_launch_leaves_no_private_files() {
    let home = registered();
    home.run(&["run", "command", "--", "no-such-program"]).exits(2);
    assert_eq!(std::fs::read_dir(home.agentsup().join("runs")).unwrap().count(), 0);
    assert_eq!(runs(&home)[0]["state"], "failed");
}

#[test]
fn an_agent_without_its_providers_key_is_not_started() {
    let mut home = registered();
    home.config("[providers.anthropic]\nkey = \"env:NOT_SET\"");
    // What cannot be started at all is told first.
    let missing = home.cli(&["run", "claude"]).env("PATH", "/usr/bin:/bin").run();
    missing.exits(2);
    assert!(missing.stderr.contains("hint: npm install -g @anthropic-ai/claude-code"), "{missing}");
    agent_binary("claude");
    let refused = home.run(&["run", "claude"]);
    refused.exits(96);
    assert_eq!(
        refused.stderr,
        "error: there is no key for `anthropic`, which `claude` needs: the environment variable `NOT_SET` is not \
         set\nhint: export NOT_SET=… and restart the daemon: agentsup daemon stop\n"
    );
    assert_eq!(home.git(&["worktree", "list"]).lines().count(), 1);
    assert_eq!(runs(&home)[0]["state"], "failed");
}

/// npm installs it beside any Node, and it asks for nothing newer before it is in the middle of something.
#[test]
fn a_program_whose_runtime_is_too_old_is_not_started() {
    let home = registered();
    let bin = home.path("old");
    std::fs::create_dir(&bin).unwrap();
    for (name, version) in [("qwen", "0.24.4"), ("node", "v20.20.2")] {
        let file = bin.join(name);
        std::fs::write(&file, format!("#!/bin/sh\necho {version}\n")).unwrap();
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    let path = format!("{}:/usr/bin:/bin", bin.display());
    let refused = home.cli(&["run", "qwen"]).env("PATH", &path).run();
    refused.exits(2);
    assert_eq!(
        refused.stderr,
        "error: `qwen` needs `node` 22.0.0 or newer, and this one is v20.20.2\nhint: install Node.js 22 or newer\n"
    );
}

#[test]
fn a_filter_that_an_agent_has_planted_sees_no_key() {
    let mut home = registered();
    home.config("[providers.anthropic]\nbase_url = \"http://127.0.0.1:9\"\nkey = \"env:FAKE_ANTHROPIC_KEY\"");
    let seen = home.path("seen");
    let plant = format!(
        "git config filter.spy.clean \"env > '{}'; cat\"; echo '*.md filter=spy' > .gitattributes; echo x > README.md",
        seen.display()
    );
    home.run(&["run", "command", "--", "sh", "-c", &plant]).ok();
    let seen = std::fs::read_to_string(&seen).expect("git has run the filter");
    assert!(seen.contains("PATH="), "{seen}");
    assert!(!seen.contains(ANTHROPIC_KEY), "{seen}");
}

#[test]
fn work_lands_on_the_branch_it_started_from_wherever_the_checkout_is_now() {
    let home = registered();
    let commit = "echo one > one.txt; git add one.txt; git -c user.name=A -c user.email=a@b commit -qm One";
    home.run(&["run", "command", "--", "sh", "-c", commit]).ok();
    let id = runs(&home)[0]["id"].as_str().unwrap().to_owned();
    home.git(&["switch", "--quiet", "-c", "other"]);
    let landed = home.run(&["land", &id, "--json"]).ok().json();
    assert_eq!((&landed["branch"], &landed["checkout"]), (&"main".into(), &Value::Null));
    assert!(!home.repo().join("one.txt").exists(), "the checkout is on another branch and stays as it is");
    assert_eq!(home.git(&["show", "main:one.txt"]), "one");
}

#[test]
fn commits_that_are_not_checked_out_any_more_keep_their_worktree() {
    let home = registered();
    let script = "echo one > one.txt; git add .; git -c user.name=A -c user.email=a@b commit -qm One; git checkout -q --detach HEAD~1";
    let run = home.run(&["run", "command", "--", "sh", "-c", script]);
    assert!(run.ok().stderr.contains("1 commit"), "{run}");
    assert_eq!(runs(&home)[0]["worktree_state"], "present");
}

#[test]
fn what_a_killed_keeper_leaves_behind_is_ended() {
    let home = registered();
    let run = detached(&home, "sleep 1000 & echo $! > child; wait");
    let child = std::path::Path::new(run["worktree"].as_str().unwrap()).join("child");
    assert!(until(PATIENCE, || std::fs::read_to_string(&child).is_ok_and(|pid| pid.ends_with('\n'))));
    let pid: i32 = std::fs::read_to_string(&child).unwrap().trim().parse().unwrap();
    let record = std::path::Path::new(run["dir"].as_str().unwrap()).join("keeper.json");
    let record: Value = serde_json::from_slice(&std::fs::read(record).unwrap()).unwrap();
    let keeper = i32::try_from(record["keeper"]["pid"].as_i64().unwrap()).unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(keeper), nix::sys::signal::Signal::SIGKILL).unwrap();
    let gone = || std::fs::read(format!("/proc/{pid}/cmdline")).map_or(true, |line| line.is_empty());
    assert!(until(PATIENCE, gone), "the agent's child lives on");
    assert!(until(PATIENCE, || runs(&home)[0]["state"] == "failed"));
}
