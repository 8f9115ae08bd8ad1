//! The real window, driven through WebKitGTK's own WebDriver under a virtual display.
//!
//! Needs Xvfb and WebKitWebDriver (`scripts/setup` installs them) and a built page (`make` builds it). Every wait
//! has a deadline, and everything that was started is ended with the test, by process group.

mod window;

use window::Window;

#[test]
fn the_window_opens_and_shows_the_page() {
    let home = tempfile::tempdir().unwrap();
    let window = Window::open(home.path());
    assert_eq!(window.text_of("header h1"), "Runs");
}
