//! What is the case while somebody acts: what the run has seen, the time, what is left of its money.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

const HOUR_MS: i64 = 60 * 60 * 1000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// What is the case while somebody acts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Circumstances {
    /// Labels of what the run has seen so far.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub session: BTreeSet<String>,
    /// The hour of the day in UTC, from 0.
    pub hour: u8,
    /// The day of the week in UTC; Monday is 1.
    pub weekday: u8,
    /// What the fullest of its budgets has left; none before the first model call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget_left_percent: Option<u8>,
}

impl Circumstances {
    /// Those of an instant, in milliseconds since 1970, with nothing else known.
    #[must_use]
    pub fn at(now_ms: i64) -> Self {
        let hour = now_ms.rem_euclid(DAY_MS) / HOUR_MS;
        // The first of January 1970 was a Thursday.
        let weekday = (now_ms.div_euclid(DAY_MS) + 3).rem_euclid(7) + 1;
        let small = |number: i64| u8::try_from(number).unwrap_or(0);
        Self { hour: small(hour), weekday: small(weekday), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hour_and_the_day_are_those_of_utc() {
        for (now_ms, hour, weekday) in [
            (0, 0, 4),
            (-1, 23, 3),
            // 2025-11-30, a Sunday
            (1_764_543_599_000, 22, 7),
            (1_764_547_200_000, 0, 1),
        ] {
            let at = Circumstances::at(now_ms);
            assert_eq!((at.hour, at.weekday), (hour, weekday), "{now_ms}");
        }
    }
}
