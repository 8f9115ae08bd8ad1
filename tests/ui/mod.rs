//! The real window, driven through WebKitGTK's own WebDriver under a virtual display.
//!
//! Needs Xvfb and WebKitWebDriver (`scripts/setup` installs them) and a built page (`make` builds it). Every wait
//! has a deadline, and everything that was started is ended with the test, by process group.

mod window;

use serde_json::json;
use window::Window;

use crate::fakes::home::{Home, Manifest};
use crate::fakes::mcp::Stdio;
use crate::fakes::scripted;
use crate::flows::approvals;

#[test]
fn the_window_starts_the_daemon_and_lists_its_runs() {
    let home = Home::new();
    home.agent("bot", &Manifest::default());
    let window = Window::open(&home);
    window.expect("main h2", "No runs yet");
    window.expect("main code", "agentsup run claude");
    home.run(&["run", "--detach", "--agent", "bot", "command", "--", "sleep", "60"]).ok();
    let listed: serde_json::Value = serde_json::from_str(&home.run(&["ps", "--json"]).ok().stdout).unwrap();
    let branch = listed[0]["branch"].as_str().unwrap();
    let shown = window.texts_of("tbody td", 6);
    assert_eq!(shown[..5], ["running", "bot@team-test", "command", branch, "$0.00"]);
}

#[test]
fn the_window_says_that_the_daemon_is_gone() {
    let home = Home::new();
    let window = Window::open(&home);
    window.expect("main h2", "No runs yet");
    home.run(&["daemon", "stop"]).ok();
    window.expect("main [role=alert] h2", "The daemon does not answer");
    window.expect("main [role=alert] code", "agentsup daemon start");
}

/// What a run asks is shown whole, and answered with a click.
#[test]
fn the_window_shows_what_waits_and_takes_the_answer() {
    let mut home = Home::new();
    let notes = Stdio::new(&home.path("notes"));
    home.mcp_stdio("notes", &notes).agent("bot", &Manifest::default());
    home.manifest("ask.cedar", approvals::ASK);
    let arguments = json!({ "name": "a", "text": "for your eyes\u{202e}" });
    let write =
        json!({ "mcp": "tools/call", "params": { "name": "notes_write_note", "arguments": arguments } });
    let agent = scripted::agent(&json!([write]));
    let words: Vec<&str> =
        ["run", "--detach", "command", "--"].into_iter().chain(agent.iter().map(String::as_str)).collect();
    let run = home.run(&words).ok().stdout.trim().to_owned();
    approvals::asked(&home, &run);
    let window = Window::open(&home);
    window.expect("article h2", "notes/write_note");
    window.expect("article dl div:last-child dd", "org/look: a person looks at notes");
    let shown = window.texts_of("article pre", 1).remove(0);
    assert!(
        shown.contains("for your eyes") && shown.contains("202") && !shown.contains('\u{202e}'),
        "{shown}"
    );
    window.click("article button:last-child");
    window.expect("tbody [data-state]", "exited");
    assert_eq!(window.texts_of("article", 0), Vec::<String>::new());
    assert_eq!(notes.calls().len(), 1);
}
