//! `make bench`: what agentsup costs, as ratios of two things measured in turn in one run. One module per question.
//!
//! Times differ between machines and hours; a ratio to doing without agentsup differs much less. Nothing here
//! passes or fails: what must hold is a test.

#![allow(clippy::print_stdout, reason = "a table on stdout is what this program is for")]
#![allow(clippy::unwrap_used, reason = "a measurement that cannot be taken ends the program")]

mod start;

use std::time::{Duration, Instant};

fn main() {
    println!("{:<44} {:>12} {:>12} {:>8}", "", "without", "agentsup", "ratio");
    start::print();
}

/// Measures both in turn, so that what else the machine does meets both alike, and prints their medians.
fn compare(name: &str, rounds: usize, mut without: impl FnMut(), mut with: impl FnMut()) {
    let (mut base, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        base.push(time(&mut without));
        ours.push(time(&mut with));
    }
    let (base, ours) = (median(base), median(ours));
    let hundredths = ours.as_nanos() * 100 / base.as_nanos().max(1);
    let ratio = format!("{}.{:02}", hundredths / 100, hundredths % 100);
    println!("{name:<44} {:>12} {:>12} {ratio:>8}", micros(base), micros(ours));
}

fn time(action: &mut impl FnMut()) -> Duration {
    let start = Instant::now();
    action();
    start.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn micros(time: Duration) -> String {
    format!("{} µs", time.as_micros())
}
