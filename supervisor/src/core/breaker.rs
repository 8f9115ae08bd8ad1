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
    /// What may be spent in a minute, whatever is usual.
    pub spend_per_minute: Option<NanoUsd>,
    /// How many model calls may be made in a minute, whatever is usual.
    pub calls_per_minute: Option<u64>,
    /// How many times more than usual an agent may spend or call in a minute.
    pub times_usual: Option<u64>,
    /// How many model calls in a row may fail.
    pub failures_in_a_row: Option<u64>,
    /// How many model calls may be refused in a minute.
    pub refusals_per_minute: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            spend_per_minute: None,
            calls_per_minute: None,
            times_usual: Some(10),
            failures_in_a_row: Some(50),
            refusals_per_minute: Some(120),
        }
    }
}

/// Below this nothing is a runaway, however little is usual: 1 USD and a call a second.
const SPEND_FLOOR_NANO_USD: i64 = 1_000_000_000;
const CALLS_FLOOR: u64 = 60;

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
    /// A model call failed at the provider and cost nothing.
    Failed,
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
            Seen::Failed => self.failures = self.failures.saturating_add(1),
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
        if limits.spend_per_minute.is_some_and(|limit| spend > limit) {
            return Some(format!("it spent {spend} in a minute"));
        }
        if limits.calls_per_minute.is_some_and(|limit| calls > limit) {
            return Some(format!("it made {calls} model calls in a minute"));
        }
        if let (Some(usual), Some(times)) = (usual, limits.times_usual) {
            let spend_limit = usual.spend.times(times);
            if spend > spend_limit && spend.nano() > SPEND_FLOOR_NANO_USD {
                return Some(format!("it spent {spend} in a minute, usually {}", usual.spend));
            }
            if calls > usual.calls.saturating_mul(times).max(CALLS_FLOOR) {
                return Some(format!("it made {calls} model calls in a minute, usually {}", usual.calls));
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

    fn after(limits: &Limits, events: &[(i64, Seen)], at_s: i64, usual: Option<&Usual>) -> Option<String> {
        let mut breaker = Breaker::default();
        events.iter().for_each(|(at_s, seen)| breaker.see(*at_s, *seen));
        breaker.objection(at_s, limits, usual)
    }

    #[test]
    fn a_fixed_limit_holds_for_a_minute() {
        let limits =
            Limits { spend_per_minute: Some(usd("5.00")), calls_per_minute: Some(3), ..Limits::default() };
        let after = |events: &[_], at_s| after(&limits, events, at_s, None);
        let spent = Seen::Answered(usd("2.60"));
        let why = Some("it spent 5.20 USD in a minute".to_owned());
        assert_eq!(after(&[(1000, spent)], 1000), None);
        assert_eq!(after(&[(1000, spent), (1059, spent)], 1059), why);
        assert_eq!(after(&[(1000, spent), (1060, spent)], 1060), None);
        // Nothing more happens, and it is over.
        assert_eq!(after(&[(1000, spent), (1001, spent)], 1061), None);
        assert_eq!(after(&[(7, Seen::Called); 3], 7), None);
        assert_eq!(after(&[(7, Seen::Called); 4], 7), Some("it made 4 model calls in a minute".into()));
    }

    #[test]
    fn what_is_usual_for_an_agent_is_let_pass() {
        let limits = Limits::default();
        let spent = [(7, Seen::Answered(usd("7.00")))];
        let usual = |spend: &str, calls| Usual { spend: usd(spend), calls };
        assert_eq!(after(&limits, &spent, 7, None), None, "nothing is known");
        assert_eq!(after(&limits, &spent, 7, Some(&usual("0.70", 1))), None);
        let why = "it spent 7.00 USD in a minute, usually 0.69 USD";
        assert_eq!(after(&limits, &spent, 7, Some(&usual("0.69", 1))).as_deref(), Some(why));
        let little = [(7, Seen::Answered(usd("1.00")))];
        assert_eq!(after(&limits, &little, 7, Some(&usual("0.00", 1))), None);
        let calls = [(7, Seen::Called); 61];
        let why = "it made 61 model calls in a minute, usually 1";
        assert_eq!(after(&limits, &calls, 7, Some(&usual("0.01", 1))).as_deref(), Some(why));
        assert_eq!(after(&limits, &calls, 7, Some(&usual("0.01", 7))), None);
    }

    #[test]
    fn failures_count_until_one_succeeds_and_refusals_for_a_minute() {
        let limits = Limits::default();
        let failures: Vec<_> = (0..51).map(|number| (number * 100, Seen::Failed)).collect();
        assert_eq!(after(&limits, &failures, 5100, None).as_deref(), Some("51 model calls in a row failed"));
        let mut mended = failures;
        mended.insert(50, (4950, Seen::Answered(NanoUsd::ZERO)));
        assert_eq!(after(&limits, &mended, 5100, None), None);
        let refused = vec![(5, Seen::Refused); 121];
        let why = "it repeated refused model calls 121 times in a minute";
        assert_eq!(after(&limits, &refused, 5, None).as_deref(), Some(why));
        assert_eq!(after(&limits, &refused, 65, None), None);
    }

    #[test]
    fn a_limit_can_be_switched_off() {
        let off = Limits {
            spend_per_minute: None,
            calls_per_minute: None,
            times_usual: None,
            failures_in_a_row: None,
            refusals_per_minute: None,
        };
        let events: Vec<_> = [Seen::Called, Seen::Refused, Seen::Answered(usd("100.00")), Seen::Failed]
            .into_iter()
            .flat_map(|seen| vec![(1, seen); 1000])
            .collect();
        assert_eq!(after(&off, &events, 1, Some(&Usual { spend: NanoUsd::ZERO, calls: 0 })), None);
    }
}
