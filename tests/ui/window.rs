//! One window with its display and its driver. Owns those processes and ends them when dropped.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use serde_json::{Value, json};

use crate::fakes::{home::Home, wait};

/// How long anything here may take; a quiet machine needs under a second.
const DEADLINE: Duration = Duration::from_secs(30);

/// A process in a group of its own, ended with everything it started.
struct Group(Child);

impl Group {
    fn start(command: &mut Command) -> Self {
        let started = command.process_group(0).stdin(Stdio::null()).spawn();
        Self(started.unwrap_or_else(|error| panic!("{command:?}: {error}; run scripts/setup")))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _already_gone = killpg(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGKILL);
        let _reaped = self.0.wait();
    }
}

/// An open window of `agentsup desktop`.
pub(crate) struct Window {
    session: String,
    driver: SocketAddr,
    // In the order in which they must end.
    _driver: Group,
    _display: Group,
}

impl Window {
    /// Opens the window in the user's world. It must close before that world ends.
    pub(crate) fn open(home: &Home) -> Self {
        let (display, number) = display();
        let driver = free_address();
        let world = home.program("WebKitWebDriver");
        let mut command = Command::new(&world.program);
        command.arg(format!("--port={}", driver.port())).arg("--host=127.0.0.1");
        command.env_clear().envs(&world.env).current_dir(&world.directory);
        command.env("DISPLAY", number).env("GDK_BACKEND", "x11");
        // A desktop's buses would be started for the occasion and stay behind.
        command.env("NO_AT_BRIDGE", "1").env("DBUS_SESSION_BUS_ADDRESS", "disabled:");
        // Without these the window never reports to the driver and the session hangs.
        command.env("TAURI_AUTOMATION", "true").env("TAURI_WEBVIEW_AUTOMATION", "true");
        let started = Group::start(&mut command);
        let mut window = Self { session: String::new(), driver, _driver: started, _display: display };
        until("the driver listens", || TcpStream::connect(driver).ok());
        let options = json!({ "binary": env!("CARGO_BIN_EXE_agentsup"), "args": ["desktop"] });
        let wanted = json!({ "capabilities": { "alwaysMatch": { "webkitgtk:browserOptions": options } } });
        let answer = window.post("/session", &wanted);
        window.session =
            answer["sessionId"].as_str().unwrap_or_else(|| panic!("no session: {answer}")).into();
        window
    }

    /// Waits until the first element that matches has this text.
    pub(crate) fn expect(&self, selector: &str, text: &str) {
        let script = "return document.querySelector(arguments[0])?.innerText ?? null";
        let mut last = Value::Null;
        let shown = wait::until(DEADLINE, || {
            last = self.script(script, selector);
            last == text
        });
        assert!(shown, "waited {DEADLINE:?} for `{selector}` to read `{text}`, it reads {last}");
    }

    /// The text of every element that matches, once the page has `count` of them.
    pub(crate) fn texts_of(&self, selector: &str, count: usize) -> Vec<String> {
        let script = "return [...document.querySelectorAll(arguments[0])].map((e) => e.innerText)";
        until(selector, || {
            let texts: Vec<String> = serde_json::from_value(self.script(script, selector)).ok()?;
            (texts.len() == count).then_some(texts)
        })
    }

    /// Clicks the first element that matches, once it can be clicked.
    pub(crate) fn click(&self, selector: &str) {
        let script = "const e = document.querySelector(arguments[0]); if (!e || e.disabled) return false; e.click(); return true";
        until(selector, || (self.script(script, selector) == true).then_some(()));
    }

    fn script(&self, script: &str, argument: &str) -> Value {
        let path = format!("/session/{}/execute/sync", self.session);
        self.post(&path, &json!({ "script": script, "args": [argument] }))
    }

    /// One WebDriver command; the answer's `value`.
    fn post(&self, path: &str, body: &Value) -> Value {
        let body = body.to_string();
        let mut stream = TcpStream::connect(self.driver).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let length = body.len();
        write!(
            stream,
            "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}",
            self.driver
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap_or_else(|error| panic!("{path}: {error}: {answer}"));
        let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{path}: {answer}"));
        let mut value: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"));
        value["value"].take()
    }
}

/// A virtual display, once it is ready, and its name.
fn display() -> (Group, String) {
    let mut command = Command::new("Xvfb");
    command.args(["-displayfd", "1", "-screen", "0", "1280x800x24", "-nolisten", "tcp", "-noreset"]);
    let mut display = Group::start(command.stdout(Stdio::piped()).stderr(Stdio::null()));
    let mut number = String::new();
    BufReader::new(display.0.stdout.take().unwrap()).read_line(&mut number).unwrap();
    assert!(!number.is_empty(), "Xvfb ended before its display was ready");
    (display, format!(":{}", number.trim()))
}

fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

/// Looks until there is something to see; panics at the deadline.
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let mut seen = None;
    wait::until(DEADLINE, || {
        seen = look();
        seen.is_some()
    });
    seen.unwrap_or_else(|| panic!("waited {DEADLINE:?} for: {what}"))
}
