//! The daemon: one per home however it is started, gone when nobody needs it, found again after a crash, deaf to runs.

use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::fakes::client::Call;
use crate::fakes::home::{Home, Manifest};
use crate::fakes::wait::until;

const PATIENCE: Duration = Duration::from_secs(20);

fn status(home: &Home) -> Value {
    home.run(&["daemon", "status", "--json"]).ok().json()
}

fn pid(status: &Value) -> i32 {
    i32::try_from(status["pid"].as_i64().unwrap()).unwrap()
}

fn is_alive(pid: i32) -> bool {
    // A zombie has no command line.
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

/// Starts a detached run and returns its view.
pub(crate) fn detached(home: &Home, script: &str) -> Value {
    let started = home.run(&["run", "--detach", "command", "--", "sh", "-c", script]);
    let id = started.ok().stdout.trim().to_owned();
    view(home, &id)
}

pub(crate) fn view(home: &Home, id: &str) -> Value {
    let runs = home.run(&["ps", "--all", "--json"]).ok().json();
    let found = runs.as_array().unwrap().iter().find(|run| run["id"] == id).cloned();
    found.unwrap_or_else(|| panic!("no run `{id}` in {runs}"))
}

pub(crate) fn registered() -> Home {
    let home = Home::new();
    home.agent("bot", &Manifest::default());
    home
}

#[test]
fn twenty_first_commands_start_one_daemon() {
    let home = registered();
    let commands: Vec<_> = (0..20)
        .map(|_| {
            let cli = home.cli(&[]);
            Command::new(env!("CARGO_BIN_EXE_agentsup"))
                .args(["daemon", "start", "--json"])
                .env_clear()
                .envs(&cli.env)
                .current_dir(home.repo())
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let mut daemons: Vec<i32> = commands
        .into_iter()
        .map(|command| {
            let output = command.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            pid(&serde_json::from_slice(&output.stdout).unwrap())
        })
        .collect();
    daemons.dedup();
    assert_eq!(daemons.len(), 1, "all see the same process: {daemons:?}");
    let starts = home.run(&["audit", "list", "--json"]).ok().json_lines();
    let starts = starts.iter().filter(|line| line["action"] == "daemon-started").count();
    assert_eq!(starts, 1, "nobody else got as far as the record");
}

#[test]
fn a_run_outlives_its_daemon_and_is_found_on_the_same_port() {
    let home = registered();
    let run = detached(&home, "echo begun; exec sleep 600");
    assert_eq!(run["state"], "running");
    let before = status(&home);
    kill(Pid::from_raw(pid(&before)), Signal::SIGKILL).unwrap();
    assert!(until(PATIENCE, || !is_alive(pid(&before))));
    let agent = i32::try_from(run["pid"].as_i64().unwrap()).unwrap();
    assert!(is_alive(agent), "the agent does not notice");

    let found = view(&home, run["id"].as_str().unwrap());
    assert_eq!((&found["state"], &found["pid"]), (&run["state"], &run["pid"]));
    let after = status(&home);
    assert_ne!(after["pid"], before["pid"]);
    assert_eq!(after["port"], before["port"], "the agent knows no other");

    let killed = home.run(&["kill", run["id"].as_str().unwrap(), "--json"]).ok().json();
    assert_eq!(killed["killed"], serde_json::json!([run["id"]]));
    assert_eq!(killed["processes_killed"], 1);
    assert!(!is_alive(agent));
    assert_eq!(view(&home, run["id"].as_str().unwrap())["state"], "killed");
}

#[test]
fn a_run_that_ends_without_a_daemon_is_finished_by_the_next_one() {
    let home = registered();
    let fifo = home.path("go");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let script = format!("echo made > new.txt; read line < '{}'; exit 7", fifo.display());
    let dirty = detached(&home, &script);
    let daemon = status(&home);
    kill(Pid::from_raw(pid(&daemon)), Signal::SIGKILL).unwrap();
    assert!(until(PATIENCE, || !is_alive(pid(&daemon))));
    std::fs::write(&fifo, "go\n").unwrap();
    let agent = i32::try_from(dirty["pid"].as_i64().unwrap()).unwrap();
    assert!(until(PATIENCE, || !is_alive(agent)));
    let exit = std::path::PathBuf::from(dirty["dir"].as_str().unwrap()).join("exit.json");
    assert!(until(PATIENCE, || exit.exists()), "the keeper writes the end down by itself");

    let found = view(&home, dirty["id"].as_str().unwrap());
    assert_eq!((&found["state"], &found["exit"]), (&"exited".into(), &"exit 7".into()));
    assert_eq!(found["worktree_state"], "present", "it holds new.txt");
    home.run(&["audit", "verify"]).ok();
}

#[test]
fn a_daemon_that_nobody_needs_ends() {
    let home = registered();
    let started =
        home.cli(&["daemon", "start", "--json"]).env("AGENTSUP_IDLE_EXIT_MS", "200").run().ok().json();
    assert!(until(PATIENCE, || !is_alive(pid(&started))), "it ends by itself");
    home.run(&["daemon", "status"]).exits(94);
    let run = home
        .cli(&["run", "--detach", "command", "--", "sleep", "600"])
        .env("AGENTSUP_IDLE_EXIT_MS", "200")
        .run()
        .ok()
        .stdout
        .clone();
    let pid_before = pid(&status(&home));
    assert!(!until(Duration::from_millis(1500), || !is_alive(pid_before)), "a run needs it");
    home.run(&["kill", run.trim()]).ok();
    assert!(until(PATIENCE, || !is_alive(pid_before)));
}

#[test]
fn stopping_is_orderly_and_twice_is_fine() {
    let home = registered();
    home.run(&["daemon", "start"]).ok();
    let daemon = pid(&status(&home));
    home.run(&["daemon", "stop"]).ok();
    assert!(!is_alive(daemon), "it is gone when the command returns");
    let again = home.run(&["daemon", "stop"]);
    assert_eq!(again.ok().stderr, "no daemon is running\n");
    home.run(&["daemon", "status"]).exits(94);
}

#[test]
fn a_run_may_not_give_orders() {
    let home = registered();
    let agentsup = env!("CARGO_BIN_EXE_agentsup");
    let asked = home.run(&["run", "command", "--", agentsup, "kill", "--all"]);
    asked.exits(90);
    assert!(asked.stderr.contains("takes no orders from inside a run"), "{asked}");
    // Without the variable that names the run, in a session of its own, as nobody's child.
    let escaped = format!("setsid env -u AGENTSUP_RUN_ID {agentsup} ps");
    home.run(&["run", "command", "--", "sh", "-c", &escaped]).exits(90);
    // The daemon's absence is no way out either.
    home.run(&["daemon", "stop"]).ok();
    let lines = home.run(&["audit", "list", "--json"]).ok().json_lines();
    let refused: Vec<&Value> = lines.iter().filter(|line| line["action"] == "peer-refused").collect();
    assert_eq!(refused.len(), 2, "{lines:?}");
    for line in refused {
        assert_eq!(line["agent"], "agent/bot@team-test", "the record says who: {line}");
    }
}

#[test]
fn a_run_may_not_start_a_daemon() {
    let home = registered();
    let agentsup = env!("CARGO_BIN_EXE_agentsup");
    let fifo = home.path("go");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let script = format!(
        "read line < '{}'; {agentsup} ps; echo $? > '{}'",
        fifo.display(),
        home.path("code").display()
    );
    let run = detached(&home, &script);
    home.run(&["daemon", "stop"]).ok();
    std::fs::write(&fifo, "go\n").unwrap();
    assert!(until(PATIENCE, || std::fs::read_to_string(home.path("code")).is_ok_and(|code| !code.is_empty())));
    assert_eq!(std::fs::read_to_string(home.path("code")).unwrap(), "90\n");
    assert_eq!(home.run(&["daemon", "status"]).code(), 94, "nobody started one");
    assert_eq!(view(&home, run["id"].as_str().unwrap())["state"], "exited");
}

#[test]
fn everything_lies_inside_the_home() {
    let home = registered();
    home.run(&["daemon", "start"]).ok();
    let report = home.run(&["doctor", "--json"]).ok().json();
    let inside = home.agentsup();
    let paths = report["paths"].as_array().unwrap();
    assert!(paths.len() >= 10, "{report}");
    for path in paths {
        let place = std::path::Path::new(path["path"].as_str().unwrap());
        assert!(place.starts_with(&inside), "{path}");
    }
    assert_eq!(report["daemon"]["port"], status(&home)["port"]);
    assert_eq!(report["git"]["state"], "usable");
    assert_eq!(report["registered_agents"], 1);
    assert_eq!(report["problems"], serde_json::json!([]));
}

#[test]
fn doctor_is_the_first_command_of_a_home_as_well_as_any() {
    let home = Home::new();
    let nowhere = home.path("nowhere");
    let report = home.cli(&["doctor", "--json"]).env("AGENTSUP_HOME", &nowhere.display().to_string()).run();
    assert_eq!(report.ok().json()["problems"], serde_json::json!([]));
    assert!(!nowhere.exists(), "it looks and changes nothing");
}

#[test]
fn a_bad_configuration_is_told_with_its_place_and_nothing_runs() {
    let mut home = Home::new();
    home.config("[providers.anthropic]\nbase_uri = \"https://example.invalid\"");
    let doctor = home.run(&["doctor"]);
    doctor.exits(96);
    assert!(doctor.stderr.contains("config.toml:2:"), "{doctor}");
    assert!(doctor.stderr.contains("base_uri"), "{doctor}");
    let refused = home.run(&["run", "command", "--", "true"]);
    refused.exits(96);
    assert!(refused.stderr.contains("base_uri"), "{refused}");
}

#[test]
fn an_unusable_home_is_told_by_the_command_that_needs_it() {
    let home = Home::new();
    let relative = home.cli(&["ps"]).env("AGENTSUP_HOME", "relative").run();
    relative.exits(96);
    assert!(relative.stderr.contains("not an absolute path"), "{relative}");
    let shared = home.path("shared");
    std::fs::create_dir(&shared).unwrap();
    std::fs::set_permissions(&shared, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let writable = home.cli(&["ps"]).env("AGENTSUP_HOME", &shared.display().to_string()).run();
    writable.exits(96);
    assert!(writable.stderr.contains("can be written by others"), "{writable}");
}

#[test]
fn the_front_door_is_for_this_machine_only() {
    let home = registered();
    home.run(&["daemon", "start"]).ok();
    let origin = format!("http://127.0.0.1:{}", status(&home)["port"]);
    let get = |path: &str| Call::new("GET", &format!("{origin}{path}"));
    assert_eq!(get("/nothing").send().status, 404);
    assert_eq!(get("/mcp").header("host", "evil.example").send().status, 403);
    assert_eq!(get("/mcp").header("origin", "http://evil.example").send().status, 403);
    let stranger = Call::post(&format!("{origin}/mcp"), &serde_json::json!({})).bearer("ast_wrong");
    assert_eq!(stranger.send().status, 401);
}

#[test]
fn a_taken_port_ends_nothing_but_the_start() {
    let home = registered();
    let run = detached(&home, "exec sleep 600");
    let daemon = status(&home);
    kill(Pid::from_raw(pid(&daemon)), Signal::SIGKILL).unwrap();
    assert!(until(PATIENCE, || !is_alive(pid(&daemon))));
    let port = u16::try_from(daemon["port"].as_u64().unwrap()).unwrap();
    let mut stranger = None;
    let bound = until(PATIENCE, || {
        stranger = std::net::TcpListener::bind(("127.0.0.1", port)).ok();
        stranger.is_some()
    });
    assert!(bound, "the dead daemon's port is free");
    let refused = home.run(&["ps"]);
    refused.exits(94);
    assert!(refused.stderr.contains(&format!("port {port} of 127.0.0.1 cannot be opened")), "{refused}");
    drop(stranger);
    assert_eq!(view(&home, run["id"].as_str().unwrap())["state"], "running");
    assert_eq!(status(&home)["port"], daemon["port"]);
}

/// One connection to the daemon's socket, spoken by hand.
fn by_hand(home: &Home, lines: &[&str]) -> Vec<Value> {
    use std::io::{BufRead as _, BufReader, Write as _};
    let mut stream =
        std::os::unix::net::UnixStream::connect(home.agentsup().join("state/agentsup.sock")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    for line in lines {
        // A daemon that has refused already does not read on.
        let _ = stream.write_all(format!("{line}\n").as_bytes());
    }
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    BufReader::new(stream)
        .lines()
        .map_while(Result::ok)
        .map(|line| serde_json::from_str(&line).unwrap())
        .collect()
}

#[test]
fn nonsense_on_the_socket_is_answered_and_harms_nobody() {
    let home = registered();
    home.run(&["daemon", "start"]).ok();
    let hello = r#"{"protocol":1,"version":"0.1.0"}"#;
    let code = |replies: &[Value], at: usize| replies[at]["error"]["code"].clone();
    assert_eq!(code(&by_hand(&home, &["GET / HTTP/1.1"]), 0), "usage");
    let replies = by_hand(
        &home,
        &[hello, "nonsense", r#"{"op":"no.such","params":{}}"#, r#"{"op":"run.show","params":7}"#],
    );
    assert_eq!(replies[0]["protocol"], 1);
    assert_eq!([code(&replies, 1), code(&replies, 2), code(&replies, 3)], ["usage", "usage", "usage"]);
    let replies = by_hand(&home, &[hello, &"x".repeat(2 << 20)]);
    assert_eq!(code(&replies, 1), "usage");
    let replies =
        by_hand(&home, &[r#"{"protocol":99,"version":"9.9.9"}"#, r#"{"op":"run.list","params":{}}"#]);
    assert_eq!(code(&replies, 1), "daemon_unreachable");
    let socket = std::fs::metadata(home.agentsup().join("state/agentsup.sock")).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&socket.permissions()) & 0o777, 0o600);
    home.run(&["ps"]).ok();
    let replies =
        by_hand(&home, &[r#"{"protocol":99,"version":"9.9.9"}"#, r#"{"op":"daemon.stop","params":{}}"#]);
    assert!(replies[1]["ok"]["pid"].is_number(), "any client can end any daemon: {replies:?}");
}

#[test]
fn two_homes_are_two_daemons() {
    let (one, other) = (registered(), registered());
    one.run(&["daemon", "start"]).ok();
    other.run(&["daemon", "start"]).ok();
    let (a, b) = (status(&one), status(&other));
    assert_ne!(a["pid"], b["pid"]);
    assert_ne!(a["port"], b["port"]);
}
