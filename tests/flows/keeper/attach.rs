//! The user's window, as a process on a terminal of its own: this test binary starts itself again as the client.

use super::*;
use crate::fakes::cli::Cli;
use crate::fakes::pty::Pty;
use agentsup_supervisor::run::attach::{Attached, DetachKeys, Ends, attach, observe};
use std::os::fd::AsFd as _;

const MARK: &str = "AGENTSUP_TEST_ATTACH";

/// Not a test of its own: the body of the client process.
#[test]
fn client_process() {
    let Ok(dir) = std::env::var(MARK) else {
        return;
    };
    let (dir, observing) = match dir.strip_prefix("observe:") {
        Some(dir) => (dir.to_owned(), true),
        None => (dir, false),
    };
    let dir = Path::new(&dir);
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    let outcome = if observing {
        observe(dir, &mut out, &mut |_| {})
    } else {
        let stdin = std::io::stdin();
        let ends = Ends { input: stdin.as_fd(), out: &mut out, err: &mut err };
        attach(dir, ends, &DetachKeys::default(), None)
    };
    println!(
        "outcome: {}",
        match outcome {
            Ok(Attached::Exited { exit, cause }) => format!("{exit:?} {cause:?}"),
            Ok(other) => format!("{other:?}"),
            Err(error) => error.to_string(),
        }
    );
    // Before the harness says anything.
    std::process::exit(0);
}

fn client(target: &str) -> Cli {
    let exe = std::env::current_exe().unwrap();
    Cli::new(exe.to_str().unwrap(), Path::new("/"))
        .args(&["--exact", "flows::keeper::attach::client_process", "--nocapture", "--test-threads=1"])
        .env(MARK, target)
}

fn window(run: &Run, rows: u16, cols: u16) -> Pty {
    Pty::start(&client(run.dir().to_str().unwrap()), rows, cols)
}

fn modes(pty: &Pty) -> (bool, bool, bool, bool) {
    pty.inspect(|screen| {
        (
            screen.alternate_screen(),
            screen.bracketed_paste(),
            screen.hide_cursor(),
            screen.mouse_protocol_mode() != vt100::MouseProtocolMode::None,
        )
    })
}

#[test]
fn typing_pasting_resizing_and_ctrl_c_reach_the_program() {
    let script = "trap 'echo interrupted' INT; trap 'stty size' WINCH; printf '\\033[?2004h'; stty size; \
                  while :; do if read line; then echo \"got <$line>\"; fi; done";
    let run = Run::start(script, PTY);
    let pty = window(&run, 30, 90);
    pty.wait_for("30 90", PATIENCE);
    pty.keys("hello\r");
    pty.wait_for("got <hello>", PATIENCE);
    pty.resize(20, 70);
    pty.wait_for("20 70", PATIENCE);
    pty.keys("\x03");
    pty.wait_for("interrupted", PATIENCE);
    pty.paste("pasted");
    pty.keys("\r");
    pty.wait_for("pasted", PATIENCE);
    pty.keys("\x1cd");
    pty.wait_for("outcome: Detached", PATIENCE);
    assert_eq!(pty.wait_exit(PATIENCE), 0);
    assert!(run.record.agent.is_alive().unwrap());
}

#[test]
fn detaching_from_a_full_screen_program_restores_the_terminal_and_attaching_shows_it_again() {
    let script = "printf 'before\\n\\033[?1049h\\033[?1003h\\033[?1006h\\033[?2004h\\033[?25l\\033[>1u\\033[2J\\033[5;5Hfull screen'; cat";
    let run = Run::start(script, PTY);
    for _ in 0..2 {
        let pty = window(&run, 24, 80);
        pty.wait_for("full screen", PATIENCE);
        assert!(until(PATIENCE, || modes(&pty) == (true, true, true, true)));
        // As a terminal with kitty's keyboard protocol reports the keys.
        pty.keys("\x1b[92;5u");
        pty.keys("d");
        let screen = pty.wait_for("outcome: Detached", PATIENCE);
        assert!(!screen.contains("full screen"), "{screen}");
        assert_eq!(modes(&pty), (false, false, false, false));
        let raw = String::from_utf8_lossy(&pty.raw()).into_owned();
        assert!(raw.contains("\x1b[<1u"), "the keyboard mode is taken back");
        assert_eq!(pty.wait_exit(PATIENCE), 0);
    }
}

#[test]
fn the_terminal_is_restored_when_the_client_is_told_to_end() {
    let run = Run::start("printf '\\033[?1049h\\033[?1000hfull screen'; cat", PTY);
    let pty = window(&run, 24, 80);
    pty.wait_for("full screen", PATIENCE);
    let pid = i32::try_from(pty.pid().unwrap()).unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM).unwrap();
    pty.wait_for("outcome: Detached", PATIENCE);
    assert_eq!(modes(&pty), (false, false, false, false));
}

#[test]
fn the_agents_exit_ends_the_session() {
    let run = Run::start_with("read line; echo bye; exit 7", PTY, |spec| {
        spec.first_client = FirstClient::Awaited;
    });
    let pty = window(&run, 24, 80);
    pty.wait_for("running 1 test", PATIENCE);
    pty.keys("x\r");
    let screen = pty.wait_for("outcome: Code(7) Agent", PATIENCE);
    assert!(screen.contains("bye"), "{screen}");
    run.wait_gone();
    // Whoever comes too late hears the same.
    let late = window(&run, 24, 80);
    late.wait_for("outcome: Code(7) Agent", PATIENCE);
}

#[test]
fn a_killed_keeper_is_a_lost_session() {
    let run = Run::start("echo here; cat", PTY);
    let pty = window(&run, 24, 80);
    pty.wait_for("here", PATIENCE);
    run.record.keeper.signal(nix::sys::signal::Signal::SIGKILL).unwrap();
    pty.wait_for("outcome: Lost", PATIENCE);
}

#[test]
fn a_pipeline_passes_its_streams_through() {
    let run = Run::start_with("tr a-z A-Z; echo problem >&2; exit 3", Io::Pipes, |spec| {
        spec.first_client = FirstClient::Awaited;
    });
    let output = client(run.dir().to_str().unwrap()).stdin("some text\n").run();
    assert!(output.stdout.contains("SOME TEXT\noutcome: Code(3) Agent\n"), "{output:?}");
    assert!(output.stderr.contains("problem\n"), "{output:?}");
}

#[test]
fn an_observer_reads_to_the_end_and_after_it() {
    let run = Run::start("seq 1 2000; read go; echo end", PTY);
    run.wait_scrollback("2000\r\n");
    Client::attach(&run.dir(), 80, 24).keys(b"go\n");
    let target = format!("observe:{}", run.dir().display());
    for _ in 0..2 {
        let output = client(&target).run();
        assert!(output.stdout.contains("1999\r\n2000\r\n"), "{output:?}");
        assert!(output.stdout.contains("end\r\noutcome: Code(0) Agent\n"), "{output:?}");
        run.wait_gone();
    }
}
