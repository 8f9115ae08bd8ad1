//! Another hour, another day.

use super::super::decision::Decision;
use super::{Tries, Way};

const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

pub(super) fn tries(tries: &mut Tries<'_>) {
    let hours: Vec<Decision> = (0..24).map(|hour| tries.judge(|changed| changed.now.hour = hour)).collect();
    push(tries, &hours, |from, until| format!("between {from:02}:00 and {until:02}:00 UTC"));
    let days: Vec<Decision> = (1..=7).map(|day| tries.judge(|changed| changed.now.weekday = day)).collect();
    push(tries, &days, |from, until| {
        let day = |index: usize| DAYS.get(index).copied().unwrap_or_default();
        if from + 1 == until {
            format!("on a {}", day(from))
        } else {
            format!("from {} to {}", day(from), day(until - 1))
        }
    });
}

/// The stretches in which the best is decided, where that is not always so.
fn push(tries: &mut Tries<'_>, decided: &[Decision], text: impl Fn(usize, usize) -> String) {
    let best = decided.iter().min().copied().unwrap_or(Decision::Deny);
    if decided.iter().all(|decision| *decision == best) {
        return;
    }
    let mut from = None;
    for (index, decision) in decided.iter().copied().chain([Decision::Deny]).enumerate() {
        let is_best = index < decided.len() && decision == best;
        match from {
            None if is_best => from = Some(index),
            Some(start) if !is_best => {
                tries.found.push(Way { change: text(start, index), decision: best });
                from = None;
            }
            _ => {}
        }
    }
}
