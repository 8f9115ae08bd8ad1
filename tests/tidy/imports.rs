//! Who may import whom in the supervisor.

use super::{paths, source::Source};

/// A room, and what it may name besides itself. A longer room's row replaces that of the room around it.
struct Room {
    room: &'static str,
    may_name: &'static [&'static [&'static str]],
}

const fn room(room: &'static str, may_name: &'static [&'static [&'static str]]) -> Room {
    Room { room, may_name }
}

/// What every flow stands on.
const GATE_AND_BELOW: &[&str] =
    &["core", "store", "sys", "registry", "gate", "approvals", "policy", "agents", "audit", "telemetry"];
/// They meet at the gate and never name each other.
const FLOWS: &[&str] = &["run", "gateway", "mcp", "hooks", "egress", "catalog", "hub"];
/// The command line asks the daemon, but an op's parameters and answers are words of the flow that answers it, and
/// `attach` is the user's end of a run's terminal.
const WORDS_OF_OPS: &[&str] = &[
    "run::view",
    "run::changes",
    "run::stop",
    "run::suspend",
    "run::launch",
    "run::attach",
    "audit::Listed",
    "audit::Summary",
];
/// What the binary runs as when it starts itself again.
const ITSELF: &[&str] = &["run::keeper", "daemon::main", "hooks::command", "hooks::relay", "demo"];

const ROOMS: &[Room] = &[
    room("core", &[]),
    // The one writer stamps each record, so that the order of times is the order of the log.
    room("store", &[&["core", "sys::clock", "sys::ids"]]),
    room("sys", &[&["core"]]),
    room("telemetry", &[&["core", "sys"]]),
    room("policy", &[&["core", "sys"]]),
    room("agents", &[&["core", "sys"]]),
    // What is in force: manifests, policies and configuration, read from disk and again when they change.
    room("registry", &[&["core", "sys", "policy"]]),
    room("audit", &[&["core", "store", "sys"]]),
    room("approvals", &[&["core", "store", "sys"]]),
    room("gate", &[&["core", "store", "sys", "registry", "approvals", "policy", "audit"]]),
    room("run", &[GATE_AND_BELOW]),
    room("gateway", &[GATE_AND_BELOW]),
    room("mcp", &[GATE_AND_BELOW]),
    room("hooks", &[GATE_AND_BELOW]),
    room("egress", &[GATE_AND_BELOW]),
    room("catalog", &[GATE_AND_BELOW]),
    room("hub", &[GATE_AND_BELOW]),
    // The demo agent is a program like any other: it has what its environment tells it.
    room("demo", &[&["core", "sys", "registry"]]),
    // The demo's model stands behind the front door, and its manifest is written by an op.
    room("api", &[GATE_AND_BELOW, FLOWS, &["demo"]]),
    room("daemon", &[GATE_AND_BELOW, FLOWS, &["api", "demo"]]),
    room("cli", &[&["core", "sys", "api"], WORDS_OF_OPS, ITSELF]),
];

/// What a file names that its room may not, and files in rooms that have no row.
pub(crate) fn violations(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources.iter().filter(|source| source.is_in("supervisor/src/") && !source.is_test()) {
        let here = paths::module(&source.path);
        let Some(row) =
            ROOMS.iter().filter(|row| starts_with(&here, row.room)).max_by_key(|row| row.room.len())
        else {
            if !here.is_empty() {
                found.push(source.violation(0, "this room has no row in the table of imports"));
            }
            continue;
        };
        for named in paths::named(source) {
            let allowed = named.path.is_empty()
                || named.path.first() == here.first()
                || row.may_name.iter().copied().flatten().any(|room| starts_with(&named.path, room));
            if !allowed {
                let why = format!("`{}` may not name `{}`", row.room, named.path.join("::"));
                found.push(source.violation(named.offset, &why));
            }
        }
    }
    found
}

fn starts_with(path: &[String], room: &str) -> bool {
    room.split("::").enumerate().all(|(depth, segment)| path.get(depth).is_some_and(|part| part == segment))
}

#[test]
fn a_flow_may_not_name_another_flow() {
    let text = "use crate::core::ids::RunId;\nuse crate::{gate, mcp::server};\nuse super::launch;";
    let source = Source::made_up("supervisor/src/run/stop.rs", text);
    assert_eq!(violations(&[source]), ["supervisor/src/run/stop.rs:2: `run` may not name `mcp::server`"]);
}

#[test]
fn the_command_line_may_not_do_the_daemons_work() {
    let source = Source::made_up("supervisor/src/cli/kill.rs", "use crate::store::Db;");
    assert_eq!(violations(&[source]), ["supervisor/src/cli/kill.rs:1: `cli` may not name `store::Db`"]);
}

#[test]
fn a_room_without_a_row_is_caught() {
    let source = Source::made_up("supervisor/src/attic/mod.rs", "");
    let expected = "supervisor/src/attic/mod.rs:1: this room has no row in the table of imports";
    assert_eq!(violations(&[source]), [expected]);
}

#[test]
fn the_core_names_nothing() {
    let source = Source::made_up("supervisor/src/core/run.rs", "fn a() { crate::sys::clock::now_ms() }");
    let expected = "supervisor/src/core/run.rs:1: `core` may not name `sys::clock::now_ms`";
    assert_eq!(violations(&[source]), [expected]);
}
