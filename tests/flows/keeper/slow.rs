//! Slow clients, large output, pipes: nobody is held up who should not be, and nothing is lost that must not be.

use super::*;
use agentsup_supervisor::run::keeper::message::{AgentSignal, FromKeeper, Hello, Mode, ToKeeper, VERSION};
use agentsup_supervisor::run::keeper::{EndCause, Exit};

fn resident_kib(process: ProcessRef) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid)).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn a_stuck_client_neither_blocks_the_agent_nor_grows_the_keeper() {
    let run =
        Run::start("read go; head -c 10000000 /dev/zero | tr '\\0' 'x'; echo; echo done > done; cat", PTY);
    let mut stuck = Client::attach(&run.dir(), 80, 24);
    let before = resident_kib(run.record.keeper);
    stuck.keys(b"go\n");
    // It reads nothing, and the agent gets through all the same.
    run.wait_file("done");
    let grown = resident_kib(run.record.keeper).saturating_sub(before);
    assert!(grown < 8 * 1024, "the keeper grew by {grown} KiB");
    run.wait_scrollback("x\r\n");
    assert!(run.scrollback().len() <= 1 << 20);
    // When it reads again it gets what was on its way and then the whole screen.
    stuck.redraws.clear();
    stuck.until("a redraw", |client| !client.redraws.is_empty());
    assert!(stuck.output.len() < 4_000_000, "{} bytes", stuck.output.len());
    let status = stuck.status();
    assert!(status.output_bytes >= 10_000_000, "{status:?}");
    stuck.keys(b"still-here\n");
    stuck.until_text("still-here\r\nstill-here");
}

#[test]
fn pipes_keep_their_streams_apart_and_lose_nothing_to_a_slow_reader() {
    let script = "cat; seq 1 300000; echo oops >&2; exit 9";
    let run = Run::start_with(script, Io::Pipes, |spec| spec.first_client = FirstClient::Awaited);
    let mut client = Client::attach(&run.dir(), 0, 0);
    client.keys(b"in\n");
    client.say(ToKeeper::CloseStdin);
    // Long enough for a keeper without backpressure to have dropped something.
    let size = || run.scrollback().len();
    let mut last = 0;
    until(Duration::from_secs(2), || std::mem::replace(&mut last, size()) == size() && size() > 0);
    let exited = client.until_exit();
    assert_eq!((exited.exit, exited.cause), (Exit::Code(9), EndCause::Agent));
    let expected: String =
        std::iter::once("in\n".to_owned()).chain((1..=300_000).map(|n| format!("{n}\n"))).collect();
    assert!(client.output == expected.as_bytes(), "{} of {} bytes", client.output.len(), expected.len());
    assert_eq!(client.errors, b"oops\n");
    run.wait_gone();
}

#[test]
fn the_output_of_an_awaited_pipeline_is_held_for_its_client() {
    let run = Run::start_with("echo out; echo err >&2; exit 2", Io::Pipes, |spec| {
        spec.first_client = FirstClient::Awaited;
    });
    assert_eq!(run.wait_exit().exit, Exit::Code(2));
    let mut client = Client::attach(&run.dir(), 0, 0);
    client.until_exit();
    assert_eq!((client.output, client.errors), (b"out\n".to_vec(), b"err\n".to_vec()));
}

#[test]
fn an_interrupt_reaches_the_process_group_of_a_pipeline() {
    let run =
        Run::start("trap 'echo caught; exit 3' INT; echo ready; while :; do sleep 0.05; done", Io::Pipes);
    let mut client = Client::attach(&run.dir(), 0, 0);
    run.wait_scrollback("ready");
    client.say(ToKeeper::Signal(AgentSignal::Interrupt));
    assert_eq!(client.until_exit().exit, Exit::Code(3));
    client.until_text("caught");
}

#[test]
fn an_observer_gets_everything_that_is_kept_and_then_what_follows() {
    let run = Run::start("seq 1 1000; read go; seq 1001 200000; exit 0", PTY);
    run.wait_scrollback("1000\r\n");
    let hello = Hello { version: VERSION, mode: Mode::Observe, cols: 0, rows: 0 };
    let mut observer = Client::open(&run.dir(), hello).unwrap();
    observer.until_text("\n1000\r\n");
    assert!(observer.output.starts_with(b"1\r\n2\r\n"));
    // It may not type.
    observer.keys(b"go\n");
    loop {
        match observer.next() {
            Some(FromKeeper::Error(refused)) => break assert_eq!(refused.reason, "not in this mode"),
            Some(_) => {}
            None => panic!("closed"),
        }
    }
    Client::attach(&run.dir(), 80, 24).keys(b"go\n");
    let exited = observer.until_exit();
    assert_eq!(exited.exit, Exit::Code(0));
    let text = String::from_utf8(observer.output).unwrap();
    assert!(text.ends_with("199999\r\n200000\r\n"), "{:?}", &text[text.len() - 30..]);
}

#[test]
fn a_client_that_does_not_speak_the_protocol_is_cut_off_and_the_run_goes_on() {
    use std::io::{Read as _, Write as _};
    let run = Run::start("cat", PTY);
    let mut noise = agentsup_supervisor::sys::socket::connect(&run.dir().join("keeper.sock")).unwrap();
    noise.set_read_timeout(Some(PATIENCE)).unwrap();
    noise.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = noise.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.contains("allowed are 1 to"), "{answer:?}");
    let old = Hello { version: 99, mode: Mode::Attach, cols: 1, rows: 1 };
    assert_eq!(Client::open(&run.dir(), old).err(), Some("this keeper speaks version 1".to_owned()));
    let mut client = Client::attach(&run.dir(), 80, 24);
    client.keys(b"echo\n");
    client.until_text("echo\r\necho");
}
