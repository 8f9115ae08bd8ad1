//! A repository's own policies, with the real binary: they hold for its runs whatever these write, after a crash too,
//! see the labels that documents give, and never permit.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::daemon::view;
use crate::fakes::home::{Home, Manifest};
use crate::fakes::mcp::Stdio;
use crate::fakes::scripted;
use crate::fakes::wait::until;

const PATIENCE: Duration = Duration::from_secs(30);

const LABELS: &str = "apiVersion: agentsup.dev/v1alpha1\nkind: Policy\nmetadata: { name: data }\nspec:\n  paths:\n    \
                      \"src/payments/**\": [pci]\n";

/// Forbids what has the label.
const NO_CARDS: &str = "// Cards are people's business.\n@id(\"no-cards\")\n@reason(\"cards are people's business\")\n\
                        forbid (principal, action in Action::\"tool\", resource)\n\
                        when { context.labels.contains(\"pci\") };\n";

fn world() -> (Home, Stdio) {
    let mut home = Home::new();
    let notes = Stdio::new(&home.path("notes"));
    home.mcp_stdio("notes", &notes).agent("bot", &Manifest::default());
    home.manifest("data.yaml", LABELS);
    (home, notes)
}

/// A call that names a file.
fn about(path: &str) -> Value {
    json!({ "mcp": "tools/call", "params": { "name": "notes_write_note",
        "arguments": { "name": "a", "text": "x", "path": path } } })
}

fn start(home: &Home, steps: &Value) -> String {
    let agent = scripted::agent(steps);
    let words: Vec<&str> =
        ["run", "--detach", "command", "--"].into_iter().chain(agent.iter().map(String::as_str)).collect();
    home.run(&words).ok().stdout.trim().to_owned()
}

fn wait_over(home: &Home, run: &str) -> String {
    let log = || home.run(&["logs", run]).ok().stdout.replace(['\r', '\n'], "");
    assert!(until(PATIENCE, || view(home, run)["state"] == "exited"), "{}", log());
    log()
}

fn denials(home: &Home) -> Vec<Value> {
    let lines = home.run(&["audit", "list", "--json"]).ok().json_lines();
    lines.into_iter().filter(|line| line["decision"] == "deny").collect()
}

#[test]
fn they_hold_for_a_run_until_its_end_whatever_it_writes() {
    let (home, notes) = world();
    home.commit(".agentsup/cards.cedar", NO_CARDS, "Keep agents off cards");
    let commit = home.git(&["rev-parse", "HEAD"]);
    let (ready, go) = (home.path("signals/ready"), home.path("signals/go"));
    std::fs::create_dir_all(home.path("signals")).unwrap();
    let rewrite = format!(
        "git rm -rq .agentsup && git -c user.name=x -c user.email=x commit -qm free && touch '{}'",
        ready.display()
    );
    let run = start(
        &home,
        &json!([
            { "shell": rewrite },
            about("src/payments/card.rs"),
            about("src/main.rs"),
            { "wait_file": go },
            about("SRC/../src/payments/new.rs"),
        ]),
    );
    assert!(until(PATIENCE, || notes.calls().len() == 1), "{}", home.run(&["logs", &run]));
    assert!(ready.exists(), "it could not rewrite its own branch");

    let listed = home.run(&["policy", "list", "--run", &run, "--json"]).ok().json();
    let own: Vec<&Value> =
        listed.as_array().unwrap().iter().filter(|policy| policy["layer"] == "repository").collect();
    let file = format!("{}:.agentsup/cards.cedar", &commit[..12]);
    assert_eq!(own.len(), 1, "{listed}");
    assert_eq!(
        ["source", "file", "line"].map(|field| own[0][field].clone()),
        [json!("repository/no-cards"), json!(file), json!(2)]
    );
    let without = home.run(&["policy", "list"]);
    assert!(!without.ok().stdout.contains("repository/no-cards"), "{without}");
    let denied = denials(&home);
    assert_eq!(denied.len(), 1, "{denied:#?}");
    let why = home.run(&["why", denied[0]["id"].as_str().unwrap()]);
    assert!(why.ok().stdout.contains(&format!("{file}:2")), "{why}");

    // The next daemon finds the run, and with it what it was started under.
    let daemon = home.run(&["daemon", "status", "--json"]).ok().json()["pid"].as_i64().unwrap();
    kill(Pid::from_raw(i32::try_from(daemon).unwrap()), Signal::SIGKILL).unwrap();
    home.run(&["ps"]).ok();
    std::fs::write(&go, "").unwrap();
    let log = wait_over(&home, &run);
    assert_eq!(notes.calls().len(), 1, "{log}");
    assert_eq!(log.matches("cards are people's business").count(), 2, "{log}");

    // What its branch says counts where somebody lands it, and not before.
    let next = start(&home, &json!([about("src/payments/card.rs")]));
    wait_over(&home, &next);
    assert_eq!(notes.calls().len(), 1);
    home.git(&["merge", "--quiet", "--ff-only", view(&home, &run)["branch"].as_str().unwrap()]);
    let free = start(&home, &json!([about("src/payments/card.rs")]));
    wait_over(&home, &free);
    assert_eq!(notes.calls().len(), 2);
    home.run(&["audit", "verify"]).ok();
}

#[test]
fn what_permits_or_cannot_be_read_starts_no_run() {
    let (home, _notes) = world();
    home.run(&["policy", "check"]).ok();
    let permit = "\n@id(\"all\")\npermit (principal, action, resource);\n";
    home.commit(".agentsup/all.cedar", permit, "Permit everything");
    let commit = home.git(&["rev-parse", "HEAD"]);
    // A better file in the checkout is none in the commit.
    std::fs::write(home.repo().join(".agentsup/all.cedar"), "").unwrap();
    let refused = home.run(&["run", "--detach", "command", "--", "true"]);
    refused.exits(96);
    let told = format!(
        "error: the repository's own policies are not valid: {}:.agentsup/all.cedar:2:1: all: a policy of the repository \
         layer can only forbid\nhint: agentsup policy check .agentsup, then commit what it should be\n",
        &commit[..12]
    );
    assert!(refused.stderr.ends_with(&told), "{refused}");
    assert_eq!(home.git(&["worktree", "list"]).lines().count(), 1);
    home.git(&["checkout", "--quiet", "--", ".agentsup"]);
    let checked = home.run(&["policy", "check", ".agentsup"]);
    checked.exits(96);
    assert_eq!(
        checked.stdout,
        ".agentsup/all.cedar:2:1: all: a policy of the repository layer can only forbid\n"
    );
    assert!(checked.stderr.contains("hint: write a `forbid`"), "{checked}");

    std::fs::remove_file(home.repo().join(".agentsup/all.cedar")).unwrap();
    std::os::unix::fs::symlink("../README.md", home.repo().join(".agentsup/all.cedar")).unwrap();
    home.git(&["commit", "--quiet", "--all", "--message", "A link"]);
    let linked = home.run(&["run", "--detach", "command", "--", "true"]);
    linked.exits(96);
    assert!(linked.stderr.contains("a policy is not read through links"), "{linked}");

    home.git(&["rm", "--quiet", ".agentsup/all.cedar"]);
    home.commit(".agentsup/cards.cedar", NO_CARDS, "Forbid");
    let checked = home.run(&["policy", "check", ".agentsup"]);
    assert!(checked.ok().stdout.contains("repository 1), no problem"), "{checked}");
    home.run(&["run", "--detach", "command", "--", "true"]).ok();
}
