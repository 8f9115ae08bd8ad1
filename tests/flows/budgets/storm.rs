//! Sixty-four runs spend one budget at once, and the daemon is killed in the middle of it.

use std::sync::atomic::{AtomicBool, Ordering};
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
const CEILING: u64 = 150_000_000 + 10_000_000;

/// Calls the model until it is refused for want of money, however often nobody answers.
const SPENDER: &str = r#"
import json, os, time, urllib.request, urllib.error
end = time.monotonic() + 120
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

fn pid(home: &Home) -> i32 {
    let status = home.run(&["daemon", "status", "--json"]).ok().json();
    i32::try_from(status["pid"].as_i64().unwrap()).unwrap()
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
               spec:\n  period: total\n  cap: 0.15 USD\n  burst: 0.01 USD\n";
    home.manifest("all.yaml", all);
    home
}

#[test]
fn sixty_four_runs_and_a_killed_daemon_never_spend_more_than_the_ceiling() {
    // A billed call costs a million; every third breaks off, which the provider bills all the same.
    let turn = |ask: &Ask| {
        let turn =
            Turn::text("Done, and at some length, so that it takes a while.").usage(Usage::new(500, 500));
        match ask.turn % 3 {
            0 => turn.fault(Fault::Trickle(64, Duration::from_millis(20))),
            1 => turn.fault(Fault::CutAfter(3)),
            _ => turn,
        }
    };
    let server = ModelServer::start(Script::new(ANTHROPIC_KEY).then(turn).side(turn));
    let home = world(&server);
    std::fs::write(home.path("spender.py"), SPENDER).unwrap();
    let spender = home.path("spender.py").display().to_string();
    let billed = || server.billed_nano_usd(|_| PRICE);
    let began = Instant::now();
    home.run(&["daemon", "start"]).ok();
    let before = pid(&home);
    let killed = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // In the middle: a third is billed, and calls are under way.
            assert!(until(PATIENCE, || billed() > CEILING / 3), "only {} was billed", billed());
            kill(Pid::from_raw(before), Signal::SIGKILL).unwrap();
            killed.store(true, Ordering::Release);
        });
        for number in 0..RUNS {
            let agent = format!("bot{}", number % 4);
            let args = ["run", "--detach", "--agent", &agent, "command", "--", "python3", &spender];
            // One that is being started while the daemon dies is lost with it; the others find the next daemon.
            let started = home.cli(&args).timeout(Duration::from_secs(60)).run();
            assert!(started.code() == 0 || killed.load(Ordering::Acquire), "{started}");
        }
    });
    assert_ne!(pid(&home), before, "another daemon serves");
    let is_over = |run: &Value| ["exited", "killed", "failed"].contains(&run["state"].as_str().unwrap());
    let runs = || home.run(&["ps", "--json"]).ok().json().as_array().unwrap().clone();
    assert!(until(PATIENCE, || runs().iter().all(is_over)), "all find the end of the budget");
    let started = runs().len();
    assert!(started >= RUNS - 1, "{started} runs");

    let all = budget(&home, "all");
    let (posted, pending) =
        (all["posted_nano_usd"].as_u64().unwrap(), all["pending_nano_usd"].as_u64().unwrap());
    let billed = billed();
    println!(
        "{started} runs, {billed} billed and {posted} posted of {CEILING} nano-USD in {:?}",
        began.elapsed()
    );
    assert!(billed <= posted, "{billed} billed, {posted} posted");
    assert!(posted <= CEILING && pending == 0, "{posted} posted, {pending} pending");
    assert!(billed > CEILING / 3, "the budget was there to be spent: {billed}");
    let own: u64 =
        (0..4).map(|n| budget(&home, &format!("bot{n}"))["posted_nano_usd"].as_u64().unwrap()).sum();
    assert_eq!(own, posted, "what the agents spent is what the team spent");
    home.run(&["audit", "verify"]).ok();
}
