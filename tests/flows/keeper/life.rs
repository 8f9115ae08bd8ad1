//! Start, exit, stop, kill, and what outlives what.

use super::*;
use agentsup_supervisor::run::keeper::message::{Exited, FromKeeper, ToKeeper};
use agentsup_supervisor::run::keeper::{EndCause, Exit, Found, KeeperClient, find};
use std::os::unix::fs::PermissionsExt as _;

fn ended(exit: Exit, cause: EndCause, killed_processes: u32) -> Exited {
    Exited { exit, cause, killed_processes }
}

#[test]
fn a_missing_program_directory_or_interpreter_is_an_error_of_the_start() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    assert_eq!(
        start_error(dir, |spec| spec.program = "no-such-agent".to_owned()),
        StartError::ProgramNotFound { program: "no-such-agent".to_owned() }
    );
    assert_eq!(
        start_error(dir, |spec| spec.cwd = dir.join("missing")),
        StartError::CwdMissing { cwd: dir.join("missing") }
    );
    let script = dir.join("script");
    std::fs::write(&script, "#!/no/such/interpreter\n").unwrap();
    let program = script.display().to_string();
    let not_executable = start_error(dir, |spec| spec.program.clone_from(&program));
    assert_eq!(not_executable, StartError::ProgramNotExecutable { program: program.clone() });
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(
        start_error(dir, |spec| spec.program.clone_from(&program)),
        StartError::ExecFailed { program, reason: "its interpreter was not found".to_owned() }
    );
    std::fs::create_dir(dir.join("open")).unwrap();
    std::fs::set_permissions(dir.join("open"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let shared = start_error(dir, |spec| spec.dir = dir.join("open"));
    assert!(matches!(shared, StartError::RunDirectory { .. }), "{shared:?}");
    assert_eq!(find(&dir.join("run")).unwrap(), Found::Nothing);
}

#[test]
fn a_run_directory_has_one_keeper() {
    let run = Run::start("cat", PTY);
    assert_eq!(start_error(run.home.path(), |_| {}), StartError::AlreadyRunning { dir: run.dir() });
    assert_eq!(find(&run.dir()).unwrap(), Found::Running(run.record.clone()));
}

#[test]
fn the_agent_has_exactly_its_environment_and_a_session_of_its_own() {
    let script = "env | sort > env.txt; ps -o sid= -p $$ | tr -d ' ' > sid; ls /proc/self/fd | tr '\\n' ' ' > fds; echo > fds.done; echo >> env.txt; cat";
    let run = Run::start(script, PTY);
    let env = run.wait_file("env.txt");
    run.wait_file("fds.done");
    assert_eq!(
        env.trim(),
        format!(
            "AGENTSUP_RUN_ID=run_of_the_test\nLANG=C.UTF-8\nPATH=/usr/bin:/bin\nPWD={}\nTERM=xterm-256color",
            run.home.path().display()
        )
    );
    assert_eq!(run.wait_file("sid"), run.record.agent.pid.to_string());
    // Three streams, and the directory that `ls` reads.
    assert_eq!(std::fs::read_to_string(run.file("fds")).unwrap().trim(), "0 1 2 3");
    // The specification is nowhere in the run directory.
    for entry in std::fs::read_dir(run.dir()).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            let text = std::fs::read(entry.path()).unwrap();
            assert!(!String::from_utf8_lossy(&text).contains("run_of_the_test"), "{:?}", entry.path());
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
        }
    }
}

#[test]
fn exit_codes_and_signals_pass_through() {
    for (script, exit) in
        [("exit 7", Exit::Code(7)), ("kill -9 $$", Exit::Signal(9)), ("true", Exit::Code(0))]
    {
        for io in [PTY, Io::Pipes] {
            let run = Run::start(script, io);
            let record = run.wait_exit();
            assert_eq!((record.exit, record.cause, record.killed_processes), (exit, EndCause::Agent, 0));
            assert_eq!(find(&run.dir()).unwrap(), Found::Exited(record));
            run.wait_gone();
        }
    }
}

#[test]
fn the_last_output_is_kept_and_delivered_before_the_exit() {
    let run = Run::start("read go; seq 1 20000; printf last-words; exit 3", PTY);
    let mut client = Client::attach(&run.dir(), 80, 24);
    client.keys(b"go\n");
    assert_eq!(client.until_exit(), ended(Exit::Code(3), EndCause::Agent, 0));
    let text = String::from_utf8(client.output.clone()).unwrap();
    assert!(text.ends_with("20000\r\nlast-words"), "{:?}", &text[text.len().saturating_sub(40)..]);
    assert!(run.scrollback().ends_with("20000\r\nlast-words"));
    assert_eq!(client.next(), None);
    run.wait_gone();
}

#[test]
fn the_keeper_survives_its_spawner_and_the_next_one_finds_it() {
    // The spawner is a process of its own that is killed outright.
    let home = tempfile::tempdir().unwrap();
    let spec = spec(home.path(), "echo alive; cat", PTY);
    let mut spawner = std::process::Command::new("/bin/sh")
        .args(["-c", "\"$0\" __keeper > answer; exec sleep 1000", AGENTSUP])
        .current_dir(home.path())
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = spawner.stdin.take().unwrap();
    std::io::Write::write_all(&mut stdin, &serde_json::to_vec(&spec).unwrap()).unwrap();
    drop(stdin);
    let answer = home.path().join("answer");
    let read = || std::fs::read_to_string(&answer).unwrap_or_default();
    assert!(until(PATIENCE, || !read().is_empty()));
    let _ = spawner.kill();
    spawner.wait().unwrap();
    let Found::Running(record) = find(&home.path().join("run")).unwrap() else {
        panic!("the keeper is gone; it answered {}", read());
    };
    let run = Run { home, record };
    run.wait_scrollback("alive");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let exit = runtime.block_on(async {
        let mut client = KeeperClient::connect(&run.dir()).await.unwrap();
        assert_eq!(client.welcome().agent, run.record.agent);
        assert_eq!(client.fetch_status().await.unwrap().processes, 2);
        client.stop(Duration::from_secs(5)).await.unwrap();
        client.wait().await.unwrap()
    });
    assert_eq!((exit.exit, exit.cause), (Exit::Signal(15), EndCause::Stop));
}

#[test]
fn an_agent_dies_with_its_keeper() {
    let run = Run::start("cat", PTY);
    run.record.keeper.signal(nix::sys::signal::Signal::SIGKILL).unwrap();
    let agent = run.record.agent;
    assert!(until(PATIENCE, || !agent.is_alive().unwrap()));
    assert_eq!(find(&run.dir()).unwrap(), Found::Vanished(run.record.clone()));
}

/// A grandchild that has left session, group, terminal and parent behind.
const DAEMON: &str = "setsid nohup sh -c 'echo $$ > daemon; trap \"\" TERM HUP; while :; do sleep 1000; done' >/dev/null 2>&1 &";

#[test]
fn kill_finds_and_counts_what_has_left_session_and_parent() {
    let script = "(sh -c \"$DAEMON\"); sh -c 'echo $$ > child; exec sleep 1000' & cat";
    let run = Run::start_with(script, PTY, |spec| spec.env.push(("DAEMON".to_owned(), DAEMON.to_owned())));
    let daemon = process(&run.wait_file("daemon")).unwrap();
    let child = process(&run.wait_file("child")).unwrap();
    let mut client = Client::control(&run.dir());
    // The shell, its `cat`, the child, and the daemon with its own `sleep`.
    let all = || client_processes(&run) == 5;
    assert!(until(PATIENCE, all), "{} processes", client_processes(&run));
    client.say(ToKeeper::Kill);
    let killed = loop {
        match client.next() {
            Some(FromKeeper::Killed(killed)) => break killed,
            Some(_) => {}
            None => panic!("no answer"),
        }
    };
    assert_eq!((killed.processes_killed, killed.survivors), (5, 0));
    assert!(killed.elapsed_us > 100 && killed.elapsed_us < 5_000_000, "{killed:?}");
    for process in [daemon, child, run.record.agent] {
        assert!(!process.is_alive().unwrap());
    }
    assert_eq!(client.until_exit(), ended(Exit::Signal(9), EndCause::Kill, 5));
    let record = run.wait_exit();
    assert_eq!((record.exit, record.killed_processes, record.survivors), (Exit::Signal(9), 5, 0));
}

fn client_processes(run: &Run) -> u32 {
    Client::control(&run.dir()).status().processes
}

#[test]
fn what_an_agent_leaves_behind_is_ended_when_it_ends() {
    let script = "(sh -c \"$DAEMON\"); sh -c 'trap \"\" HUP; trap \"echo bye > polite; exit\" TERM; echo > ready; while :; do sleep 0.1; done' & while [ ! -s daemon ] || [ ! -f ready ]; do sleep 0.05; done; exit 4";
    let run = Run::start_with(script, PTY, |spec| spec.env.push(("DAEMON".to_owned(), DAEMON.to_owned())));
    let record = run.wait_exit();
    assert_eq!((record.exit, record.cause), (Exit::Code(4), EndCause::Agent));
    // The polite one was asked; the stubborn daemon (and at most its `sleep`) had to be killed.
    assert_eq!(run.wait_file("polite"), "bye");
    assert!((1..=2).contains(&record.killed_processes), "{record:?}");
    assert_eq!(process(&run.wait_file("daemon")), None);
}

#[test]
fn stop_asks_first_and_kills_after_the_grace() {
    let polite =
        Run::start("trap 'echo asked > asked; exit 5' TERM; echo > ready; while :; do sleep 0.05; done", PTY);
    polite.wait_file("ready");
    let mut client = Client::control(&polite.dir());
    client.say(ToKeeper::Stop { grace_ms: 20_000 });
    assert_eq!(client.until_exit(), ended(Exit::Code(5), EndCause::Stop, 0));
    assert_eq!(polite.wait_file("asked"), "asked");
    let stubborn = Run::start("trap '' TERM; echo > ready; while :; do sleep 1000; done", PTY);
    stubborn.wait_file("ready");
    let mut client = Client::control(&stubborn.dir());
    client.say(ToKeeper::Stop { grace_ms: 300 });
    let exited = client.until_exit();
    assert_eq!((exited.exit, exited.cause), (Exit::Signal(9), EndCause::Stop));
    assert!(exited.killed_processes >= 1, "{exited:?}");
}

#[test]
fn an_agent_that_stops_itself_is_continued() {
    let run = Run::start("kill -STOP $$; echo on > on; cat", PTY);
    assert_eq!(run.wait_file("on"), "on");
}

#[test]
fn a_fork_storm_is_ended() {
    let script =
        "echo > ready; while :; do (sleep 1000 & sh -c 'sleep 1000 & sleep 1000' &) ; sleep 0.01; done";
    let run = Run::start(script, PTY);
    run.wait_file("ready");
    assert!(until(PATIENCE, || client_processes(&run) > 60));
    let mut client = Client::control(&run.dir());
    client.say(ToKeeper::Kill);
    let exited = client.until_exit();
    // Some of those counted were shells about to end by themselves.
    assert!(exited.killed_processes > 30, "{exited:?}");
    assert_eq!(run.wait_exit().survivors, 0);
}
