//! One window with its display and its driver. Owns those processes and ends them when dropped.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use serde_json::{Value, json};

/// How long anything here may take; a quiet machine needs under a second.
const DEADLINE: Duration = Duration::from_secs(30);
/// How often a condition is looked at again.
const PAUSE: Duration = Duration::from_millis(20);

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
    /// Opens the window with everything of ours and of the desktop's inside `home`.
    pub(crate) fn open(home: &Path) -> Self {
        let (display, number) = display();
        let driver = free_address();
        let mut command = Command::new("WebKitWebDriver");
        command.arg(format!("--port={}", driver.port())).arg("--host=127.0.0.1");
        command.env("DISPLAY", number).env("AGENTSUP_HOME", home.join("agentsup")).env("HOME", home);
        command
            .env_remove("WAYLAND_DISPLAY")
            .env_remove("DBUS_SESSION_BUS_ADDRESS")
            .env("GDK_BACKEND", "x11");
        for name in ["XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR"] {
            command.env(name, home.join(name));
        }
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

    /// The text of the first element that matches, as soon as there is one.
    pub(crate) fn text_of(&self, selector: &str) -> String {
        let script = "const e = document.querySelector(arguments[0]); return e && e.innerText";
        until(selector, || self.script(script, selector).as_str().map(str::to_owned))
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
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < end, "waited {DEADLINE:?} for: {what}");
        std::thread::park_timeout(PAUSE);
    }
}
