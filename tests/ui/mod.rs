//! The real window, driven through WebKitGTK's own WebDriver under a virtual display.
//!
//! Needs Xvfb and WebKitWebDriver (`scripts/setup` installs them) and a built page (`make` builds it). Every wait
//! has a deadline, and everything that was started is ended with the test, by process group.

mod window;

use window::Window;

use crate::fakes::home::{Home, Manifest};

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
