//! `make bench`: what agentsup costs, as ratios of two things measured in turn in one run. One module per question.
//!
//! Times differ between machines and hours; a ratio to doing without agentsup differs much less. Nothing here
//! passes or fails: what must hold is a test.

#![allow(clippy::print_stdout, reason = "a table on stdout is what this program is for")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a measurement that cannot be taken ends it"
)]

mod decisions;
#[path = "../fakes/mod.rs"]
mod fakes;
mod hooks;
mod hops;
mod http;
mod litellm;
mod runs;
mod start;
mod streams;

use std::time::{Duration, Instant};

/// What is measured, in this order; `cargo bench --package agentsup -- NAME` measures some of it.
const TABLES: [(&str, fn()); 8] = [
    ("start", start::print),
    ("decisions", decisions::print),
    ("gate", decisions::whole),
    ("hops", hops::print),
    ("hooks", hooks::print),
    ("streams", streams::print),
    ("litellm", litellm::print),
    ("runs", runs::print),
];

fn main() {
    // Cargo gives options of its own.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    if let Some(unknown) = wanted.iter().find(|wanted| TABLES.iter().all(|(name, _)| name != wanted)) {
        let known: Vec<&str> = TABLES.iter().map(|(name, _)| *name).collect();
        panic!("there is no table `{unknown}`: {}", known.join(", "));
    }
    row("", "without", "agentsup", "ratio");
    for (name, print) in TABLES {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            print();
        }
    }
}

/// Measures both in turn, so that what else the machine does meets both alike, and prints their medians.
fn compare(name: &str, rounds: usize, mut without: impl FnMut(), mut with: impl FnMut()) {
    let (mut base, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        base.push(time(&mut without));
        ours.push(time(&mut with));
    }
    tell(name, median(base), median(ours));
}

fn tell(name: &str, without: Duration, with: Duration) {
    row(name, &micros(without), &micros(with), &ratio(without.as_nanos(), with.as_nanos()));
}

fn row(name: &str, without: &str, with: &str, ratio: &str) {
    println!("{name:<58} {without:>12} {with:>12} {ratio:>8}");
}

/// `with / without` with two decimals.
fn ratio(without: u128, with: u128) -> String {
    let hundredths = with * 100 / without.max(1);
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

fn time(action: &mut impl FnMut()) -> Duration {
    let start = Instant::now();
    action();
    start.elapsed()
}

fn median(times: Vec<Duration>) -> Duration {
    percentile(times, 50)
}

fn percentile(mut times: Vec<Duration>, percent: usize) -> Duration {
    times.sort();
    times.get(times.len() * percent / 100).copied().unwrap_or_default()
}

fn micros(time: Duration) -> String {
    format!("{} µs", time.as_micros())
}
