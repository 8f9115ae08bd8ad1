//! Circuit breakers: whether a run's model calls look like a runaway. Told what happens and when; decides from the last
//! minute alone, against what the run's agent usually does.
//!
//! Invariants: memory is one minute of sums, whatever happens; a breaker never trips because nothing happens.

use super::money::NanoUsd;

/// How long what happens counts, in seconds.
const WINDOW_S: i64 = 60;
const BUCKETS: usize = 60;

/// From where on a run is suspended. A limit that is `None` is switched off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// What may be spent in a minute, in any case.
    pub spend_per_minute: Option<NanoUsd>,
    /// How many model calls may be made in a minute, in any case.
    pub calls_per_minute: Option<u64>,
    /// How many model calls in a row may fail.
    pub failures_in_a_row: Option<u64>,
    /// How many model calls may be refused in a minute.
    pub refusals_per_minute: Option<u64>,
    /// How many times more than usual an agent may spend or call in a minute, beyond the limits above.
    pub times_usual: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            spend_per_minute: NanoUsd::new(5_000_000_000).ok(),
            calls_per_minute: Some(120),
            failures_in_a_row: Some(20),
            refusals_per_minute: Some(30),
            times_usual: 10,
        }
    }
}

/// What an agent does in a minute in which it calls models at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usual {
    /// Spent.
    pub spend: NanoUsd,
    /// Model calls.
    pub calls: u64,
}

/// Something that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// A model call was let through.
    Called,
    /// A model call was refused.
    Refused,
    /// A model call was answered, and cost so much.
    Answered(NanoUsd),
    /// A model call failed, and cost so much all the same.
    Failed(NanoUsd),
}

#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    second: i64,
    calls: u64,
    refusals: u64,
    spend: NanoUsd,
}

/// One run's last minute.
#[derive(Debug)]
pub struct Breaker {
    buckets: [Bucket; BUCKETS],
    failures: u64,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { buckets: [Bucket::default(); BUCKETS], failures: 0 }
    }
}

impl Breaker {
    /// Takes note of what happened at `at_s`, in seconds of any clock that never goes back.
    pub fn see(&mut self, at_s: i64, seen: Seen) {
        let index = usize::try_from(at_s.rem_euclid(WINDOW_S)).unwrap_or(0);
        let Some(bucket) = self.buckets.get_mut(index) else { return };
        if bucket.second != at_s {
            *bucket = Bucket { second: at_s, ..Bucket::default() };
        }
        match seen {
            Seen::Called => bucket.calls = bucket.calls.saturating_add(1),
            Seen::Refused => bucket.refusals = bucket.refusals.saturating_add(1),
            Seen::Answered(spend) => {
                bucket.spend = bucket.spend.plus(spend);
                self.failures = 0;
            }
            Seen::Failed(spend) => {
                bucket.spend = bucket.spend.plus(spend);
                self.failures = self.failures.saturating_add(1);
            }
        }
    }

    /// Why the run should be suspended, in words; `None` while all is well. `usual` is absent where too little is known.
    pub fn objection(&self, at_s: i64, limits: &Limits, usual: Option<&Usual>) -> Option<String> {
        let (mut calls, mut refusals, mut spend) = (0_u64, 0_u64, NanoUsd::ZERO);
        for bucket in self.buckets.iter().filter(|bucket| at_s - bucket.second < WINDOW_S) {
            calls = calls.saturating_add(bucket.calls);
            refusals = refusals.saturating_add(bucket.refusals);
            spend = spend.plus(bucket.spend);
        }
        if let Some(floor) = limits.spend_per_minute {
            let usually = usual.map(|usual| usual.spend);
            let limit = usually.map_or(floor, |usual| floor.max(usual.times(limits.times_usual)));
            if spend > limit {
                let compared = usually.map(|usual| format!(", usually {usual}")).unwrap_or_default();
                return Some(format!("it spent {spend} in a minute{compared}"));
            }
        }
        if let Some(floor) = limits.calls_per_minute {
            let usually = usual.map(|usual| usual.calls);
            let limit = usually.map_or(floor, |usual| floor.max(usual.saturating_mul(limits.times_usual)));
            if calls > limit {
                let compared = usually.map(|usual| format!(", usually {usual}")).unwrap_or_default();
                return Some(format!("it made {calls} model calls in a minute{compared}"));
            }
        }
        if limits.failures_in_a_row.is_some_and(|limit| self.failures > limit) {
            return Some(format!("{} model calls in a row failed", self.failures));
        }
        limits
            .refusals_per_minute
            .is_some_and(|limit| refusals > limit)
            .then(|| format!("it repeated refused model calls {refusals} times in a minute"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn usd(text: &str) -> NanoUsd {
        format!("{text} USD").parse().unwrap()
    }

    fn after(events: &[(i64, Seen)], at_s: i64, usual: Option<&Usual>) -> Option<String> {
        let mut breaker = Breaker::default();
        events.iter().for_each(|(at_s, seen)| breaker.see(*at_s, *seen));
        breaker.objection(at_s, &Limits::default(), usual)
    }

    #[test]
    fn spending_counts_for_a_minute() {
        let spent = Seen::Answered(usd("2.60"));
        let why = Some("it spent 5.20 USD in a minute".to_owned());
        assert_eq!(after(&[(1000, spent)], 1000, None), None);
        assert_eq!(after(&[(1000, spent), (1059, spent)], 1059, None), why);
        assert_eq!(after(&[(1000, spent), (1060, spent)], 1060, None), None);
        // Nothing more happens, and it is over.
        assert_eq!(after(&[(1000, spent), (1001, spent)], 1061, None), None);
        assert_eq!(
            after(&[(1000, Seen::Failed(usd("6.00")))], 1000, None),
            Some("it spent 6.00 USD in a minute".into())
        );
    }

    #[test]
    fn what_is_usual_for_an_agent_is_let_pass() {
        let spent = [(7, Seen::Answered(usd("7.00")))];
        let usual = |spend: &str, calls| Usual { spend: usd(spend), calls };
        assert_eq!(after(&spent, 7, Some(&usual("0.70", 1))), None);
        let why = "it spent 7.00 USD in a minute, usually 0.69 USD";
        assert_eq!(after(&spent, 7, Some(&usual("0.69", 1))).as_deref(), Some(why));
        let calls = vec![(7, Seen::Called); 121];
        assert_eq!(after(&calls, 7, None).as_deref(), Some("it made 121 model calls in a minute"));
        assert_eq!(after(&calls, 7, Some(&usual("0.01", 13))), None);
    }

    #[test]
    fn failures_count_until_one_succeeds_and_refusals_for_a_minute() {
        let failures: Vec<_> = (0..21).map(|number| (number * 100, Seen::Failed(NanoUsd::ZERO))).collect();
        assert_eq!(after(&failures, 2100, None).as_deref(), Some("21 model calls in a row failed"));
        let mut mended = failures;
        mended.insert(20, (1950, Seen::Answered(NanoUsd::ZERO)));
        assert_eq!(after(&mended, 2100, None), None);
        let refused = vec![(5, Seen::Refused); 31];
        let why = "it repeated refused model calls 31 times in a minute";
        assert_eq!(after(&refused, 5, None).as_deref(), Some(why));
        assert_eq!(after(&refused, 65, None), None);
    }

    #[test]
    fn a_limit_can_be_switched_off() {
        let off = Limits {
            spend_per_minute: None,
            calls_per_minute: None,
            failures_in_a_row: None,
            refusals_per_minute: None,
            times_usual: 10,
        };
        let mut breaker = Breaker::default();
        for _ in 0..1000 {
            for seen in [Seen::Called, Seen::Refused, Seen::Failed(usd("100.00"))] {
                breaker.see(1, seen);
            }
        }
        assert_eq!(breaker.objection(1, &off, None), None);
    }
}
