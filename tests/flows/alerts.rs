//! Alerts on the desktop: a real session bus of the test's own, and a desktop on it that keeps what it is shown.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use zbus::zvariant::OwnedValue;

use super::approvals;
use super::budgets::calls;
use crate::fakes::home::{ANTHROPIC_KEY, Home, Manifest};
use crate::fakes::mcp;
use crate::fakes::model::{ModelServer, Price, Script, Turn, Usage};
use crate::fakes::scripted;

const TIMEOUT: Duration = Duration::from_secs(20);
const PRICE: Price = Price { input: 1000, output: 1000, cache_read: 0, cache_write_5m: 0, cache_write_1h: 0 };

/// A session bus that ends with it.
struct Bus {
    daemon: Child,
    address: String,
}

impl Bus {
    fn start() -> Self {
        let mut daemon = Command::new("dbus-daemon")
            .args(["--session", "--nofork", "--nopidfile", "--print-address"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("start dbus-daemon; `scripts/setup` installs it");
        let mut address = String::new();
        let output = daemon.stdout.take().expect("its output");
        BufReader::new(output).read_line(&mut address).expect("its address");
        Self { daemon, address: address.trim().to_owned() }
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

/// What a desktop is asked to show: by whom, title, text.
type Shown = (String, String, String);

struct Desktop(SyncSender<Shown>);

#[zbus::interface(name = "org.freedesktop.Notifications")]
impl Desktop {
    #[expect(clippy::too_many_arguments, reason = "the interface is not ours")]
    fn notify(
        &self,
        app: String,
        _replaces: u32,
        _icon: String,
        title: String,
        text: String,
        _actions: Vec<String>,
        _hints: HashMap<String, OwnedValue>,
        _timeout: i32,
    ) -> u32 {
        self.0.send((app, title, text)).map_or(0, |()| 1)
    }
}

impl Desktop {
    fn on(bus: &Bus) -> (zbus::blocking::Connection, Receiver<Shown>) {
        let (sender, shown) = sync_channel(16);
        let connection = zbus::blocking::connection::Builder::address(bus.address.as_str())
            .and_then(|builder| builder.name("org.freedesktop.Notifications"))
            .and_then(|builder| builder.serve_at("/org/freedesktop/Notifications", Self(sender)))
            .and_then(zbus::blocking::connection::Builder::build)
            .expect("a desktop");
        (connection, shown)
    }
}

/// A home whose one agent has 0.10 USD, and a model whose every call costs 0.09 of them.
fn world() -> (Home, ModelServer) {
    let mut home = Home::new();
    let script = Script::new(ANTHROPIC_KEY).then(|_| Turn::text("done").usage(Usage::new(89_900, 100)));
    let model = ModelServer::start(script);
    home.anthropic(&model).price("m", &PRICE);
    home.agent("bot", &Manifest::default().cap("0.10 USD"));
    (home, model)
}

fn spend(home: &Home, bus: &str) {
    let program = format!("{}\nimport sys; sys.stdout.flush()", calls(1, 100));
    let words = ["run", "command", "--", "python3", "-c", program.as_str()];
    let run = home.cli(&words).env("DBUS_SESSION_BUS_ADDRESS", bus).run();
    run.ok();
    let budget = home.run(&["budget", "show", "bot", "--json"]).ok().json();
    assert_eq!(budget["alerted"], true, "{budget} after {run}");
}

#[test]
fn an_alert_is_shown_on_the_desktop_once() {
    let bus = Bus::start();
    let (_desktop, shown) = Desktop::on(&bus);
    let (home, _model) = world();
    spend(&home, &bus.address);
    let (app, title, text) = shown.recv_timeout(TIMEOUT).expect("a notification");
    assert_eq!((app.as_str(), title.as_str()), ("agentsup", "Budget team-test/bot is 80 % spent"));
    assert!(text.starts_with("0.09 USD of 0.10 USD spent in "), "{text}");
    home.run(&["daemon", "stop"]).ok();
    assert!(shown.try_recv().is_err(), "once");
}

#[test]
fn a_run_that_waits_for_an_answer_is_shown_on_the_desktop_once_without_what_it_would_do() {
    let bus = Bus::start();
    let (_desktop, shown) = Desktop::on(&bus);
    let mut home = Home::new();
    let notes = mcp::Stdio::new(&home.path("notes"));
    home.mcp_stdio("notes", &notes).agent("bot", &Manifest::default());
    home.manifest("ask.cedar", approvals::ASK);
    let call = |name: &str| {
        let arguments = serde_json::json!({ "name": name, "text": "for your eyes only" });
        serde_json::json!({ "mcp": "tools/call", "params": { "name": "notes_write_note", "arguments": arguments } })
    };
    let agent = scripted::agent(&serde_json::json!([call("a")]));
    let words: Vec<&str> =
        ["run", "--detach", "command", "--"].into_iter().chain(agent.iter().map(String::as_str)).collect();
    let started = home.cli(&words).env("DBUS_SESSION_BUS_ADDRESS", &bus.address).run();
    let run = started.ok().stdout.trim().to_owned();
    let (_, title, text) = shown.recv_timeout(TIMEOUT).expect("a notification");
    assert_eq!(title, "agent/bot@team-test waits for your answer");
    let short = &run[run.len() - 8..];
    assert_eq!(text, format!("Run {short} asks for notes/write_note: agentsup approvals"));
    home.run(&["approve", approvals::asked(&home, &run)["id"].as_str().unwrap()]).ok();
    home.run(&["daemon", "stop"]).ok();
    assert!(shown.try_recv().is_err(), "once");
}

#[test]
fn without_a_desktop_or_with_notifications_off_nothing_is_shown_and_nothing_fails() {
    let bus = Bus::start();
    let (desktop, shown) = Desktop::on(&bus);
    let (mut home, _model) = world();
    home.config("[notifications]\ndesktop = \"off\"\n");
    spend(&home, &bus.address);
    home.run(&["daemon", "stop"]).ok();
    assert!(shown.try_recv().is_err());
    // A bus on which nobody shows anything.
    drop(desktop);
    let (home, _model) = world();
    spend(&home, &bus.address);
    // No bus at all.
    let (home, _model) = world();
    spend(&home, "unix:path=/nonexistent/bus");
}
