//! Sixty-four runs spend one budget at once, and the daemon is killed at every state that a call can be in.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::*;
use crate::fakes::ask::Ask;
use crate::fakes::faults::Fault;
use crate::fakes::wait::until;

const RUNS: usize = 64;
const PATIENCE: Duration = Duration::from_secs(150);
/// Cap and burst of the budget that all share, in nano-USD.
const CEILING: u64 = 1_150_000_000 + 50_000_000;

/// Calls the model from when it may until it is refused for want of money, however often nobody answers.
const SPENDER: &str = r#"
import json, os, sys, time, urllib.request, urllib.error
end = time.monotonic() + 140
while not os.path.exists(sys.argv[1]) and time.monotonic() < end:
    time.sleep(0.05)
body = json.dumps({"model": "m", "max_tokens": 1000, "stream": True, "messages": [{"role": "user", "content": "hi"}]}).encode()
while time.monotonic() < end:
    ask = urllib.request.Request(os.environ["ANTHROPIC_BASE_URL"] + "/v1/messages", body,
        {"content-type": "application/json", "authorization": "Bearer " + os.environ["AGENTSUP_RUN_TOKEN"]})
    try:
        urllib.request.urlopen(ask, timeout=90).read()
    except urllib.error.HTTPError as error:
        if "budget exhausted" in error.read().decode():
            break
    except OSError:
        time.sleep(0.05)
    except Exception:
        pass
"#;

/// What the next call meets.
const ORDINARY: u8 = 0;
const HANGS_BEFORE_HEAD: u8 = 1;
const HANGS_WITHIN: u8 = 2;
/// The one that was to hang does.
const HANGS: u8 = 3;

static NEXT: AtomicU8 = AtomicU8::new(ORDINARY);

fn pid(home: &Home) -> Pid {
    let status = home.run(&["daemon", "status", "--json"]).ok().json();
    Pid::from_raw(i32::try_from(status["pid"].as_i64().unwrap()).unwrap())
}

fn world(server: &ModelServer) -> Home {
    let mut home = Home::new();
    home.anthropic(server).price("m", &PRICE);
    for number in 0..4 {
        home.agent(&format!("bot{number}"), &Manifest::default());
        let file = home.agentsup().join(format!("manifests/bot{number}.yaml"));
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text.replace("  alertAt: 80%", "  alertAt: 80%\n  parent: all")).unwrap();
    }
    let all = "apiVersion: agentsup.dev/v1alpha1\nkind: TokenBudget\nmetadata:\n  name: all\n  namespace: team-test\n\
               spec:\n  period: total\n  cap: 1.15 USD\n  burst: 0.05 USD\n";
    home.manifest("all.yaml", all);
    home
}

/// A billed call costs a million; every third breaks off, which the provider bills all the same.
fn turn(ask: &Ask) -> Turn {
    let turn = Turn::text("Done, and at some length, so that it takes a while.").usage(Usage::new(500, 500));
    let strikes = |next| NEXT.compare_exchange(next, HANGS, Ordering::AcqRel, Ordering::Acquire).is_ok();
    match ask.turn % 3 {
        _ if strikes(HANGS_BEFORE_HEAD) => turn.fault(Fault::HangBeforeHead),
        _ if strikes(HANGS_WITHIN) => turn.fault(Fault::HangAfter(3)),
        0 => turn.fault(Fault::Trickle(64, Duration::from_millis(20))),
        1 => turn.fault(Fault::CutAfter(3)),
        _ => turn,
    }
}

/// Kills the daemon once a call is where it should be, and starts the next one.
fn kill_at(home: &Home, state: u8) {
    let before = pid(home);
    NEXT.store(state, Ordering::Release);
    assert!(until(PATIENCE, || NEXT.load(Ordering::Acquire) == HANGS), "no call came to state {state}");
    kill(before, Signal::SIGKILL).unwrap();
    restarted(home, before);
}

/// Kills the daemon when a provider has sent and billed an answer to its last byte that the daemon has not read.
fn kill_before_the_last_byte_is_settled(home: &Home, server: &ModelServer) {
    let before = pid(home);
    let whole = || server.bills().iter().filter(|bill| bill.complete).count();
    let under_way = || server.bills().iter().filter(|bill| !bill.complete).count();
    let stopped = || {
        kill(before, Signal::SIGSTOP).unwrap();
        let (at_stop, unsent) = (whole(), under_way());
        // What it was reading goes on into its sockets.
        let sent = unsent > 0 && until(Duration::from_secs(2), || whole() > at_stop);
        if !sent {
            kill(before, Signal::SIGCONT).unwrap();
        }
        sent
    };
    assert!(until(PATIENCE, stopped), "no answer was sent whole to a daemon that does not read");
    kill(before, Signal::SIGKILL).unwrap();
    restarted(home, before);
}

fn restarted(home: &Home, before: Pid) {
    home.run(&["daemon", "start"]).ok();
    assert_ne!(pid(home), before, "another daemon serves");
}

/// What the provider states of every answer that it began.
fn statement(home: &Home, server: &ModelServer) -> String {
    let mut text = "request_id,model,cost_usd,input_tokens,output_tokens\n".to_owned();
    for number in 1..=server.bills().len() {
        text += &format!("req_fake_{number:04},m,0.001,500,500\n");
    }
    let file = home.path("statement.csv");
    std::fs::write(&file, text).unwrap();
    file.display().to_string()
}

#[test]
fn sixty_four_runs_and_a_daemon_killed_at_every_state_never_spend_more_than_the_ceiling() {
    let server = ModelServer::start(Script::new(ANTHROPIC_KEY).then(turn).side(turn));
    let home = world(&server);
    std::fs::write(home.path("spender.py"), SPENDER).unwrap();
    let (spender, go) = (home.path("spender.py").display().to_string(), home.path("go"));
    let billed = || server.billed_nano_usd(|_| PRICE);
    home.run(&["daemon", "start"]).ok();
    for number in 0..RUNS {
        let (agent, go) = (format!("bot{}", number % 4), go.display().to_string());
        let args = ["run", "--detach", "--agent", &agent, "command", "--", "python3", &spender, &go];
        home.cli(&args).timeout(Duration::from_secs(60)).run().ok();
    }
    let began = Instant::now();
    std::fs::write(&go, "").unwrap();
    let spent =
        |share: u64| assert!(until(PATIENCE, || billed() > CEILING * share / 100), "{} billed", billed());
    spent(5);
    kill_at(&home, HANGS_BEFORE_HEAD);
    spent(10);
    kill_at(&home, HANGS_WITHIN);
    spent(15);
    kill_before_the_last_byte_is_settled(&home, &server);
    let is_over = |run: &Value| ["exited", "killed", "failed"].contains(&run["state"].as_str().unwrap());
    let runs = || home.run(&["ps", "--json"]).ok().json().as_array().unwrap().clone();
    assert!(until(PATIENCE, || runs().iter().all(is_over)), "all find the end of the budget");
    assert_eq!(runs().len(), RUNS);

    let posted = || {
        let all = budget(&home, "all");
        assert_eq!(all["pending_nano_usd"], 0);
        let own = (0..4).map(|n| budget(&home, &format!("bot{n}"))["posted_nano_usd"].as_u64().unwrap());
        assert_eq!(
            own.sum::<u64>(),
            all["posted_nano_usd"].as_u64().unwrap(),
            "what agents spent, the team spent"
        );
        all["posted_nano_usd"].as_u64().unwrap()
    };
    let (billed, before) = (billed(), posted());
    let done = home.run(&["budget", "reconcile", "--json", &statement(&home, &server)]).ok().json();
    let after = posted();
    println!(
        "{billed} billed, {before} posted, {after} after the statement, of {CEILING} nano-USD in {:?}; {}",
        began.elapsed(),
        done["counts"]
    );
    assert!(billed <= after && after <= before && before <= CEILING, "{billed}, {after}, {before}");
    assert_eq!(done["overrun_nano_usd"], 0);
    assert_eq!(before - after, done["lowered_nano_usd"].as_u64().unwrap());
    // A call whose head never came has no name; those that were on their way when the daemon died may have none either.
    assert!(after - billed < (before - billed) / 2, "most of what was assumed is known now");
    assert!(billed > CEILING / 4, "the budget was there to be spent: {billed}");
    home.run(&["audit", "verify"]).ok();
}

/// Reserved, and nothing sent: the provider's machine does not take the connection.
#[test]
fn a_daemon_that_is_killed_before_anything_was_sent_takes_the_call_for_spent() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let listener = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        socket.listen(1).unwrap()
    });
    let address = listener.local_addr().unwrap();
    let port = address.port();
    // These fill the queue of whoever never accepts.
    let connect = || std::net::TcpStream::connect_timeout(&address, Duration::from_millis(500));
    let full: Vec<_> = std::iter::from_fn(|| connect().ok()).take(16).collect();
    assert!(full.len() < 16, "it still takes connections");

    let mut home = Home::new();
    home.providers(&format!("http://127.0.0.1:{port}"), "http://127.0.0.1:9/v1").price("m", &PRICE);
    home.agent("bot", &Manifest::default());
    let program = calls(1, 1000);
    home.run(&["run", "--detach", "command", "--", "python3", "-c", &program]).ok();
    let held = || budget(&home, "bot")["pending_nano_usd"].as_u64().unwrap();
    assert!(until(Duration::from_secs(30), || held() > 0), "the call is held");
    let amount = held();
    let before = pid(&home);
    kill(before, Signal::SIGKILL).unwrap();
    restarted(&home, before);
    let after = budget(&home, "bot");
    assert_eq!((&after["posted_nano_usd"], &after["pending_nano_usd"]), (&amount.into(), &0.into()));
    home.run(&["audit", "verify"]).ok();
}
