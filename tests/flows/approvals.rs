//! Questions to people, with the real binary: what they are shown, how long an answer holds, what the agent is told.

use std::time::Duration;

use serde_json::{Value, json};

use super::daemon::view;
use crate::fakes::home::{Home, Manifest};
use crate::fakes::mcp::Stdio;
use crate::fakes::pty::Pty;
use crate::fakes::scripted;
use crate::fakes::wait::until;

const PATIENCE: Duration = Duration::from_secs(30);
/// Asks a person about every call of an MCP tool.
pub(crate) const ASK: &str = "@id(\"look\")\n@decision(\"ask\")\n@reason(\"a person looks at notes\")\n\
                              forbid (principal, action == Action::\"mcp\", resource);\n";

fn world() -> (Home, Stdio) {
    let mut home = Home::new();
    let notes = Stdio::new(&home.path("notes"));
    home.mcp_stdio("notes", &notes).agent("bot", &Manifest::default());
    home.manifest("ask.cedar", ASK);
    (home, notes)
}

fn note(name: &str, text: &str) -> Value {
    json!({ "mcp": "tools/call", "params": { "name": "notes_write_note",
        "arguments": { "name": name, "text": text } } })
}

fn start(home: &Home, steps: &[Value]) -> String {
    let agent = scripted::agent(&json!(steps));
    let words: Vec<&str> =
        ["run", "--detach", "command", "--"].into_iter().chain(agent.iter().map(String::as_str)).collect();
    home.run(&words).ok().stdout.trim().to_owned()
}

/// The open questions of a run, once there are any.
pub(crate) fn asked(home: &Home, run: &str) -> Value {
    let mut found = Vec::new();
    let came = until(PATIENCE, || {
        let all = home.run(&["approvals", "--json"]).ok().json();
        found = all.as_array().unwrap().iter().filter(|asked| asked["run"] == run).cloned().collect();
        !found.is_empty()
    });
    assert!(came, "no question of `{run}`: {}", home.run(&["logs", run]));
    found.remove(0)
}

/// The agent's own answers, without what its terminal made of them.
fn log(home: &Home, run: &str) -> String {
    home.run(&["logs", run]).ok().stdout.replace(['\r', '\n'], "")
}

fn wait_over(home: &Home, run: &str) {
    assert!(until(PATIENCE, || view(home, run)["state"] == "exited"), "{}", log(home, run));
}

fn sentences(home: &Home) -> Vec<String> {
    let lines = home.run(&["audit", "list", "--json"]).ok().json_lines();
    lines.iter().map(|line| line["sentence"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn what_is_asked_is_shown_whole_answered_for_a_run_and_a_no_reaches_the_agent() {
    let (home, notes) = world();
    let secret = "the-needle-in-the-note";
    let long: String = (0..40).map(|n| format!("line {n}\n")).collect();
    let first = note("a", &format!("{secret}\u{1b}[2J\u{202e}\n{long}"));
    let run = start(&home, &[first.clone(), first, note("b", "other"), note("b", "other")]);

    let question = asked(&home, &run);
    assert_eq!(view(&home, &run)["state"], "waiting");
    let fields = ["action", "target", "agent"].map(|field| question[field].as_str().unwrap().to_owned());
    assert_eq!(fields, ["tool", "notes/write_note", "agent/bot@team-test"]);
    assert_eq!(question["digest"].as_str().unwrap().len(), 64);
    assert!(question["effect"]["shown"][0]["text"].as_str().unwrap().contains(secret), "{question}");
    let id = question["id"].as_str().unwrap().to_owned();

    let brief = home.run(&["approvals"]);
    assert!(brief.ok().stdout.contains("NOT SHOWN HERE: "), "{brief}");
    assert!(brief.stdout.contains("org/look: a person looks at notes"), "{brief}");
    assert!(brief.stderr.contains("hint: agentsup approvals show "), "{brief}");
    for whole in [home.run(&["approvals", &id]), home.run(&["approvals", "show", &id[id.len() - 8..]])] {
        let shown = &whole.ok().stdout;
        for words in [secret, "\\u001b[2J\\u202e", "line 39\\n", question["digest"].as_str().unwrap()] {
            assert!(shown.contains(words), "`{words}` is not in {whole}");
        }
        assert!(!shown.contains(['\u{1b}', '\u{202e}']), "{whole}");
    }

    home.run(&["approve", &id, "--for", "run"]).ok();
    let other = asked(&home, &run);
    assert_ne!(other["digest"], question["digest"]);
    let standing = home.run(&["approvals", "--standing", "--json"]).ok().json();
    assert_eq!((&standing[0]["id"], &standing[0]["used"]), (&json!(id), &json!(1)), "{standing}");
    home.run(&["deny", other["id"].as_str().unwrap(), "--reason", "use the wiki instead"]).ok();
    wait_over(&home, &run);

    assert_eq!(notes.calls().len(), 2, "the first, twice");
    let told = log(&home, &run);
    assert!(told.contains("agentsup denied `notes/write_note`: use the wiki instead (rec_"), "{told}");
    assert!(told.contains("s ago, and was not asked again: use the wiki instead"), "{told}");
    assert_eq!(
        home.run(&["approvals", "--standing", "--json"]).ok().json(),
        json!([]),
        "it died with its run"
    );
    let sentences = sentences(&home);
    for words in ["allowed by", "approval/user:", "approved tool notes/write_note of agent/bot@team-test"] {
        assert!(sentences.iter().any(|sentence| sentence.contains(words)), "{words}: {sentences:#?}");
    }
    home.run(&["audit", "verify"]).ok();
    home.run(&["daemon", "stop"]).ok();
    for entry in std::fs::read_dir(home.path("agentsup/state")).unwrap().flatten() {
        let bytes = std::fs::read(entry.path()).unwrap_or_default();
        let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!found, "what was shown is in {}", entry.path().display());
    }
}

#[test]
fn an_answer_until_a_time_holds_for_other_runs_of_the_agent_until_it_is_revoked() {
    let (home, notes) = world();
    let steps = [note("a", "x")];
    let first = start(&home, &steps);
    let id = asked(&home, &first)["id"].as_str().unwrap().to_owned();
    home.run(&["approve", &id, "--until", "31d"]).exits(2);
    home.run(&["approve", &id, "--until", "2h", "--for", "run"]).exits(2);
    home.run(&["approve", &id, "--until", "2h"]).ok();
    wait_over(&home, &first);
    let second = start(&home, &steps);
    wait_over(&home, &second);
    assert_eq!(notes.calls().len(), 2);
    let listed = home.run(&["approvals", "--standing"]);
    assert!(listed.ok().stdout.contains("in every run of the agent"), "{listed}");

    assert_eq!(home.run(&["approvals", "revoke", &id, "--json"]).ok().json()["used"], 1);
    home.run(&["approvals", "revoke", &id]).exits(2);
    let third = start(&home, &steps);
    let again = asked(&home, &third)["id"].as_str().unwrap().to_owned();
    home.run(&["approve", &again]).ok();
    wait_over(&home, &third);
    let sentences = sentences(&home);
    assert!(
        sentences.iter().any(|sentence| sentence.contains("revoked the approval of tool notes/write_note")),
        "{sentences:#?}"
    );
}

#[test]
fn questions_of_many_runs_at_once_each_get_their_own_answer() {
    let (home, notes) = world();
    let runs: Vec<String> = (0..4).map(|n| start(&home, &[note(&format!("n{n}"), "x")])).collect();
    let questions: Vec<Value> = runs.iter().map(|run| asked(&home, run)).collect();
    for (n, question) in questions.iter().enumerate().rev() {
        let id = question["id"].as_str().unwrap();
        let reason = format!("no to number {n}");
        let answer = if n % 2 == 0 {
            home.run(&["approve", id])
        } else {
            home.run(&["deny", id, "--reason", &reason])
        };
        answer.ok();
    }
    for (n, run) in runs.iter().enumerate() {
        wait_over(&home, run);
        let told = log(&home, run);
        let expected = if n % 2 == 0 { format!("wrote n{n}") } else { format!("no to number {n}") };
        assert!(told.contains(&expected), "{expected}: {told}");
    }
    assert_eq!(notes.calls().len(), 2);
}

#[test]
fn an_attached_terminal_rings_shows_what_waits_and_takes_the_answer() {
    let (home, notes) = world();
    std::fs::create_dir(home.path("go")).unwrap();
    let long: String = (0..60).map(|n| format!("line {n}\n")).collect();
    let steps = json!([
        { "print": "\u{1b}]2;the agent's title\u{7}drawn before\r\n" },
        note("a", "for your eyes"),
        { "wait_file": home.path("go/on") },
        note("b", &long),
        { "wait_file": home.path("go/home") },
    ]);
    let go = |where_to: &str| std::fs::write(home.path("go").join(where_to), "").unwrap();
    let agent = scripted::agent(&steps);
    let words: Vec<&str> =
        ["run", "command", "--"].into_iter().chain(agent.iter().map(String::as_str)).collect();
    let pty = Pty::start(&home.cli(&words), 30, 100);
    let told = "agentsup: notes/write_note waits for you (Ctrl-\\ a)";
    assert!(until(PATIENCE, || pty.title() == told), "{}", pty.title());
    assert!(pty.raw().ends_with(b"\x07") && !pty.screen().contains("for your eyes"), "{}", pty.screen());
    pty.keys("\x1ca");
    let page = pty.wait_for("y allow once", PATIENCE);
    for words in ["notes/write_note", "org/look: a person looks at notes", "\"text\": \"for your eyes\""] {
        assert!(page.contains(words), "`{words}` is not on\n{page}");
    }
    assert!(!page.contains("drawn before") && pty.inspect(vt100::Screen::alternate_screen), "{page}");
    pty.keys("q");
    pty.wait_for("drawn before", PATIENCE);
    pty.keys("\x1ca");
    pty.wait_for("y allow once", PATIENCE);
    pty.keys("y");
    let screen = pty.wait_for("wrote a", PATIENCE);
    assert!(screen.contains("drawn before"), "the agent's screen is back:\n{screen}");

    // The second one has to be read to its end.
    assert!(until(PATIENCE, || pty.title() == "the agent's title"), "{}", pty.title());
    go("on");
    assert!(until(PATIENCE, || pty.title() == told), "{}", pty.title());
    pty.keys("\x1ca");
    pty.wait_for("more rows: space", PATIENCE);
    pty.keys("y");
    pty.wait_for("scroll to the end first", PATIENCE);
    pty.keys("n");
    pty.wait_for("a person said no", PATIENCE);
    assert!(until(PATIENCE, || pty.title() == "the agent's title"), "{}", pty.title());
    assert!(!pty.inspect(vt100::Screen::alternate_screen));
    go("home");
    assert_eq!(pty.wait_exit(PATIENCE), 0);
    assert_eq!(notes.calls().len(), 1);
}

/// Where output goes into a pipe or a file there is no terminal that could ring.
#[test]
fn a_run_without_a_terminal_says_that_something_waits() {
    let (home, notes) = world();
    let agent = scripted::agent(&json!([note("a", "x")]));
    let words: Vec<&str> =
        ["run", "command", "--"].into_iter().chain(agent.iter().map(String::as_str)).collect();
    let own = home.cli(&words);
    let said = home.path("said");
    let mut through = own.clone();
    through.program = "sh".to_owned();
    let script = format!("exec \"$@\" 2> '{}'", said.display());
    through.args = [&["-c".to_owned(), script, "sh".to_owned(), own.program][..], &own.args].concat();
    std::thread::scope(|scope| {
        let running = scope.spawn(|| through.run());
        let text = || std::fs::read_to_string(&said).unwrap_or_default();
        let waits = "`notes/write_note` waits for an answer: agentsup approvals show ";
        assert!(until(PATIENCE, || text().contains(waits)), "{}", text());
        let id = text().split(waits).nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
        home.run(&["approve", &id]).ok();
        running.join().unwrap().ok();
        assert_eq!(text().matches(waits).count(), 1, "{}", text());
    });
    assert_eq!(notes.calls().len(), 1);
}
