//! The life of a run as a user sees it: streams, exit codes, worktrees, landing, refusals.

use std::time::Duration;

use serde_json::Value;

use super::daemon::{detached, registered, view};
use crate::fakes::home::{Home, Manifest};
use crate::fakes::wait::until;

const PATIENCE: Duration = Duration::from_secs(20);

fn run_ids(home: &Home) -> Vec<String> {
    let runs = home.run(&["ps", "--all", "--json"]).ok().json();
    runs.as_array().unwrap().iter().map(|run| run["id"].as_str().unwrap().to_owned()).collect()
}

fn last_run(home: &Home) -> Value {
    view(home, run_ids(home).last().expect("a run"))
}

#[test]
fn streams_and_exit_code_are_the_agents_own() {
    let home = registered();
    let run = home
        .cli(&["run", "command", "--", "sh", "-c", "cat; echo out; echo err >&2; exit 3"])
        .stdin("in\n")
        .run();
    run.exits(3);
    assert_eq!(run.stdout, "in\nout\n", "nothing of ours on standard output");
    let lines: Vec<&str> = run.stderr.lines().collect();
    assert!(lines.first().unwrap().starts_with("run run_"), "{run}");
    assert_eq!(lines.get(1), Some(&"err"), "{run}");
    assert!(
        lines.last().unwrap().contains("exit 3 · nothing changed, worktree removed · $0.00 spent"),
        "{run}"
    );
    home.run(&["run", "command", "--", "sh", "-c", "kill -SEGV $$"]).exits(128 + 11);
}

#[test]
fn the_environment_is_the_contracts_and_no_key_is_in_it() {
    let mut home = registered();
    home.config("[providers.anthropic]\nbase_url = \"http://127.0.0.1:9\"\nkey = \"env:FAKE_ANTHROPIC_KEY\"");
    let run = home.cli(&["run", "command", "--", "env"]).env("SECRET_THING", "x").env("LC_ALL", "C").run();
    let mut names: Vec<&str> =
        run.ok().stdout.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "AGENTSUP_HOME",
            "AGENTSUP_MCP_URL",
            "AGENTSUP_RUN_ID",
            "AGENTSUP_RUN_TOKEN",
            "ANTHROPIC_AUTH_TOKEN",
            "ANTHROPIC_BASE_URL",
            "GEMINI_API_KEY",
            "GOOGLE_GEMINI_BASE_URL",
            "HOME",
            "LANG",
            "LC_ALL",
            "NO_PROXY",
            "OPENAI_API_KEY",
            "OPENAI_BASE_URL",
            "PATH",
            "TERM",
            "no_proxy",
        ]
    );
    assert!(!run.stdout.contains(crate::fakes::home::ANTHROPIC_KEY));
    let token = run.stdout.lines().find_map(|line| line.strip_prefix("AGENTSUP_RUN_TOKEN=")).unwrap();
    let database = std::fs::read(home.agentsup().join("state/agentsup.db")).unwrap();
    assert!(
        !database.windows(token.len()).any(|window| window == token.as_bytes()),
        "only its hash is stored"
    );
}

#[test]
fn without_a_manifest_or_a_budget_nothing_runs() {
    let home = Home::new();
    let refused = home.run(&["run", "command", "--", "true"]);
    refused.exits(90);
    assert!(refused.stderr.contains("hint: agentsup init"), "{refused}");
    let lines = home.run(&["audit", "list", "--json"]).ok().json_lines();
    assert!(lines.iter().any(|line| line["action"] == "launch-refused"), "a refusal is a record: {lines:?}");

    home.run(&["init"]).exits(2);
    home.run(&["init", "--cap", "1.00 USD"]).ok();
    home.run(&["run", "command", "--", "true"]).ok();
    assert_eq!(home.run(&["init", "--cap", "2.00 USD", "--json"]).ok().json()["state"], "kept");
    // Nobody is asked for an amount that would not be used.
    assert_eq!(home.run(&["init", "--json"]).ok().json()["state"], "kept");
}

#[test]
fn an_agent_runs_only_what_its_manifest_names() {
    let home = Home::new();
    let only_claude = Manifest { adapters: vec!["claude".to_owned()], ..Manifest::default() };
    home.agent("reviewer", &only_claude);
    home.agent("builder", &Manifest::default());
    let denied = home.run(&["run", "--agent", "reviewer", "command", "--", "true"]);
    denied.exits(90);
    home.run(&["run", "--agent", "nobody", "command", "--", "true"]).exits(2);
    home.run(&["run", "command", "--", "true"]).ok();
    assert_eq!(last_run(&home)["agent"], "agent/builder@team-test", "the only one that may");
    let lines = home.run(&["audit", "list", "--json"]).ok().json_lines();
    let denied = lines.iter().find(|line| line["decision"] == "deny").expect("the denial is recorded");
    assert_eq!((&denied["agent"], &denied["action"]), (&"agent/reviewer@team-test".into(), &"launch".into()));
}

#[test]
fn a_place_without_a_commit_is_told_what_to_do() {
    let home = registered();
    let outside = home.path("outside");
    std::fs::create_dir(&outside).unwrap();
    let nowhere = home.cli(&["run", "command", "--", "true"]).dir(&outside).run();
    nowhere.exits(2);
    assert!(nowhere.stderr.contains("is not in a git repository"), "{nowhere}");
    home.git_in(&outside, &["init", "--quiet", "--initial-branch=main"]);
    let unborn = home.cli(&["run", "command", "--", "true"]).dir(&outside).run();
    unborn.exits(2);
    assert!(unborn.stderr.contains("branch `main` has no commit yet"), "{unborn}");
    let bare = home.path("bare.git");
    home.git(&["clone", "--quiet", "--bare", ".", &bare.display().to_string()]);
    let bare = home.cli(&["run", "command", "--", "true"]).dir(&bare).run();
    bare.exits(2);
    assert!(bare.stderr.contains("is a bare repository"), "{bare}");
    let missing = home.run(&["run", "command", "--", "no-such-program"]);
    missing.exits(2);
    assert!(missing.stderr.contains("`no-such-program` is not installed"), "{missing}");
    assert_eq!(home.git(&["worktree", "list"]).lines().count(), 1, "a failed launch leaves nothing");
    assert_eq!(home.git(&["branch", "--list", "agentsup/*"]), "");
}

#[test]
fn a_detached_head_and_an_odd_path_are_fine() {
    let home = registered();
    home.git(&["checkout", "--quiet", "--detach"]);
    home.run(&["run", "command", "--", "git", "status", "--short"]).ok();

    let odd = home.path("a b\nc'd");
    home.git(&["clone", "--quiet", ".", &odd.display().to_string()]);
    std::fs::create_dir(odd.join("sub dir")).unwrap();
    std::fs::write(odd.join("sub dir/file"), "x").unwrap();
    home.git_in(&odd, &["config", "user.name", "T"]);
    home.git_in(&odd, &["config", "user.email", "t@example.invalid"]);
    home.git_in(&odd, &["add", "-A"]);
    home.git_in(&odd, &["commit", "--quiet", "-m", "Sub"]);
    let run =
        home.cli(&["run", "command", "--", "sh", "-c", "pwd; echo y > made"]).dir(&odd.join("sub dir")).run();
    run.ok();
    let view = last_run(&home);
    let worktree = view["worktree"].as_str().unwrap();
    assert!(!worktree.contains([' ', '\n', '\'']), "a name that every tool takes: {worktree}");
    assert_eq!(run.stdout, format!("{worktree}/sub dir\n"), "the user's place, in the worktree");
    assert_eq!(view["worktree_state"], "present");
    assert!(!odd.join("sub dir/made").exists(), "the main checkout is untouched");
}

#[test]
fn a_clean_worktree_goes_and_a_changed_one_stays() {
    let home = registered();
    home.run(&["run", "command", "--", "true"]).ok();
    let clean = last_run(&home);
    assert_eq!(clean["worktree_state"], "removed");
    assert_eq!(home.git(&["branch", "--list", "agentsup/*"]), "", "its branch goes with it");

    let kept = home.run(&["run", "--name", "notes", "command", "--", "sh", "-c", "echo note > notes.txt"]);
    assert!(kept.ok().stderr.contains("1 file changed (+1 -0), 0 commits"), "{kept}");
    let dirty = last_run(&home);
    let branch = dirty["branch"].as_str().unwrap();
    assert!(branch.starts_with("agentsup/notes-"), "{branch}");
    let file = std::path::Path::new(dirty["worktree"].as_str().unwrap()).join("notes.txt");
    assert_eq!(std::fs::read_to_string(file).unwrap(), "note\n");
    assert!(!home.repo().join("notes.txt").exists());
}

#[test]
fn what_an_agent_left_uncommitted_is_landed_with_a_message() {
    let home = registered();
    home.run(&["run", "command", "--", "sh", "-c", "echo two > two.txt"]).ok();
    let run = last_run(&home);
    let id = run["id"].as_str().unwrap();
    let refused = home.run(&["land", id]);
    refused.exits(2);
    assert!(refused.stderr.contains("-m 'MESSAGE' commits everything first"), "{refused}");
    home.run(&["land", id, "-m", " \n"]).exits(2);
    let landed = home.run(&["land", id, "-m", "Add two", "--json"]).ok().json();
    assert_eq!(landed["worktree_removed"], true);
    assert_eq!(std::fs::read_to_string(home.repo().join("two.txt")).unwrap(), "two\n");
    let user = home.git(&["log", "-1", "--skip=1", "--format=%an <%ae>"]);
    assert_eq!(
        home.git(&["log", "-1", "--format=%an <%ae>|%s|%b"]),
        format!("{user}|Add two|Agentsup-Run: {id}")
    );
}

#[test]
fn work_is_shown_landed_and_discarded() {
    let home = registered();
    let commit = "echo one > one.txt; git add one.txt; git -c user.name=A -c user.email=a@b commit -qm One";
    home.run(&["run", "command", "--", "sh", "-c", commit]).ok();
    let run = last_run(&home);
    let branch = run["branch"].as_str().unwrap();
    let diff = home.run(&["diff", branch]);
    assert!(diff.ok().stdout.contains("+++ b/one.txt"), "{diff}");
    let landed = home.run(&["land", branch, "--json"]).ok().json();
    assert_eq!((&landed["branch"], &landed["how"]), (&"main".into(), &"fast-forward".into()));
    assert_eq!(landed["worktree_removed"], true);
    assert_eq!(std::fs::read_to_string(home.repo().join("one.txt")).unwrap(), "one\n");
    assert_eq!(home.git(&["branch", "--list", "agentsup/*"]), "", "main has all of it");

    home.run(&["run", "command", "--", "sh", "-c", "echo two > two.txt"]).ok();
    let run = last_run(&home);
    let id = run["id"].as_str().unwrap();
    let refused = home.run(&["land", id]);
    refused.exits(2);
    assert!(refused.stderr.contains("uncommitted changes: `two.txt`"), "{refused}");
    let discarded = home.run(&["discard", id, "--json"]).ok().json();
    assert!(!std::path::Path::new(run["worktree"].as_str().unwrap()).exists());
    let snapshot = format!("{}:two.txt", discarded["snapshot_ref"].as_str().unwrap());
    assert_eq!(home.git(&["show", &snapshot]), "two", "a snapshot keeps it");

    let actions: Vec<Value> = home
        .run(&["audit", "list", "--json"])
        .ok()
        .json_lines()
        .iter()
        .map(|line| line["action"].clone())
        .collect();
    for action in ["run-landed", "run-discarded", "run-ended"] {
        assert!(actions.contains(&action.into()), "{action} in {actions:?}");
    }
}

#[test]
fn stop_asks_and_kill_does_not() {
    let home = registered();
    let polite =
        detached(&home, "trap 'echo bye > bye.txt; exit 0' TERM; echo ready; while :; do sleep 0.1; done");
    let id = polite["id"].as_str().unwrap();
    let logged = || home.run(&["logs", id]).stdout.contains("ready");
    assert!(until(PATIENCE, logged), "it is set up");
    let stopped = home.run(&["stop", id, "--json"]).ok().json();
    assert_eq!((&stopped["state"], &stopped["exit"]), (&"exited".into(), &"exit 0".into()));
    assert_eq!(stopped["worktree_state"], "present", "bye.txt is in it");
    home.run(&["stop", id]).exits(2);

    let stubborn = detached(&home, "trap '' TERM HUP INT; setsid sleep 600 & sleep 600");
    let id = stubborn["id"].as_str().unwrap();
    let stopped = home.run(&["stop", "--grace", "1", id, "--json"]).ok().json();
    assert_eq!(stopped["state"], "killed");

    let ids = [detached(&home, "sleep 600 & sleep 600"), detached(&home, "sleep 600")];
    let killed = home.run(&["kill", "--agent", "bot", "--json"]).ok().json();
    let mut expected: Vec<Value> = ids.iter().map(|run| run["id"].clone()).collect();
    expected.sort_by_key(ToString::to_string);
    assert_eq!(killed["killed"], Value::Array(expected));
    assert!(killed["processes_killed"].as_u64().unwrap() >= 3, "{killed}");
    home.run(&["kill", "--all"]).ok();
}

#[test]
fn the_credential_dies_with_its_run() {
    let home = registered();
    let run = home.run(&["run", "command", "--", "sh", "-c", "echo $AGENTSUP_RUN_TOKEN $AGENTSUP_MCP_URL"]);
    let (token, url) = run.ok().stdout.trim().split_once(' ').unwrap();
    let reply = crate::fakes::client::Call::new("POST", url).bearer(token).body("{}").send();
    assert_eq!(reply.status, 401, "{}", reply.text());
}

#[test]
fn a_key_is_never_taken_from_the_command_line() {
    let home = registered();
    home.run(&["key", "set", "anthropic", "sk-secret"]).exits(2);
    let keys = home.run(&["key", "list", "--json"]).ok().json();
    assert_eq!(keys[0]["name"], "anthropic");
    assert_eq!(keys[0]["state"], "missing");
}

#[test]
fn help_and_completions_need_no_daemon() {
    let home = Home::new();
    for args in [&["--help"][..], &["run", "--help"], &["--version"], &["completions", "bash"]] {
        let shown = home.run(args);
        assert!(!shown.ok().stdout.is_empty(), "{shown}");
    }
    home.run(&["no-such-verb"]).exits(2);
    home.run(&[]).exits(2);
    assert!(!home.agentsup().join("state").exists(), "nothing was made");
}

#[test]
fn a_pipeline_whose_reader_goes_away_stops_the_run() {
    let home = registered();
    let script = format!("set -o pipefail; {} run command -- yes | head -1", env!("CARGO_BIN_EXE_agentsup"));
    let run = home.program("bash").args(&["-c", &script]).run();
    run.exits(128 + 13);
    assert!(run.stderr.contains("the run was asked to stop"), "{run}");
    assert!(until(PATIENCE, || last_run(&home)["state"] != "running"));
}

#[test]
fn ended_runs_are_listed_when_asked_for() {
    let home = registered();
    home.run(&["run", "command", "--", "echo", "said"]).ok();
    let open = home.run(&["ps"]);
    assert_eq!(open.ok().stdout, "", "nothing is left to do about it: {open}");
    assert!(home.run(&["ps", "--all"]).ok().stdout.contains("exited (exit 0)"));
    assert_eq!(home.run(&["ps", "--json"]).ok().json()[0]["state"], "exited", "for programs, all");
    assert_eq!(home.run(&["logs", "latest"]).ok().stdout, "said\n");
    let gone = home.run(&["diff", "latest"]);
    gone.exits(2);
    assert!(gone.stderr.contains("is gone: unchanged, landed or given up"), "{gone}");
}
