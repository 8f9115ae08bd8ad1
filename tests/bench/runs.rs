//! From the command to the agent's first instruction, against what anybody would do by hand; and what twenty runs
//! weigh.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::fakes::home::{Home, Manifest};
use super::{median, micros, ratio, row};

const ROUNDS: usize = 25;
const RUNS: usize = 20;

/// Prints the rows.
pub(crate) fn print() {
    let home = Home::new();
    home.agent("bench", &Manifest::default());
    first_instruction(&home);
    memory(&home);
}

/// The agent's first instruction is to tell the time.
fn first_instruction(home: &Home) {
    let (mut by_hand, mut ours) = (Vec::new(), Vec::new());
    home.run(&["run", "command", "--", "true"]).ok();
    for round in 0..ROUNDS {
        let start = since_epoch();
        let path = home.path(&format!("by-hand-{round}"));
        let text = path.to_str().unwrap();
        home.git(&["worktree", "add", "--quiet", "-b", &format!("by-hand-{round}"), text]);
        by_hand.push(told(&home.program("date").args(&["+%s%N"]).dir(&path).run().ok().stdout) - start);

        let start = since_epoch();
        ours.push(told(&home.run(&["run", "command", "--", "date", "+%s%N"]).ok().stdout) - start);
    }
    let (by_hand, ours) = (median(by_hand), median(ours));
    let ratio = ratio(by_hand.as_nanos(), ours.as_nanos());
    row(
        "`run` to the first instruction / `git worktree add`, spawn",
        &micros(by_hand),
        &micros(ours),
        &ratio,
    );
}

fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

fn told(nanos: &str) -> Duration {
    Duration::from_nanos(nanos.trim().parse().unwrap())
}

fn memory(home: &Home) {
    let status = home.run(&["daemon", "status", "--json"]).ok().json();
    let daemon = status["pid"].as_u64().unwrap();
    let alone = resident_kib(daemon);
    for _ in 0..RUNS {
        home.run(&["run", "--detach", "command", "--", "tail", "-f", "/dev/null"]).ok();
    }
    let with = resident_kib(daemon);
    let all: Vec<serde_json::Value> =
        serde_json::from_value(home.run(&["ps", "--json"]).ok().json()).unwrap();
    let alive = all.iter().filter(|run| run["state"] == "running").count();
    assert_eq!(alive, RUNS, "{all:?}");
    row(
        &format!("daemon's memory with {RUNS} runs / with none"),
        &format!("{alone} KiB"),
        &format!("{with} KiB"),
        &ratio(alone.into(), with.into()),
    );
}

pub(crate) fn resident_kib(pid: u64) -> u64 {
    let status = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
