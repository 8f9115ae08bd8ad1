//! What the provider bills, and what people allow: kept beside the ledger, with calendar and arithmetic of its own.

use std::collections::BTreeMap;

/// So much a clock may be corrected backwards.
const TOLERANCE_MS: i64 = 5 * 60 * 1000;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// How long a budget lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lasts {
    Day,
    Month,
    Ever,
}

/// A budget as its manifest says.
#[derive(Debug, Clone)]
pub(super) struct Purse {
    pub(super) name: String,
    pub(super) lasts: Lasts,
    /// Cap and burst together.
    pub(super) ceiling: i64,
}

/// A budget in a period.
pub(super) type Key = (String, String);

#[derive(Debug, Default)]
pub(super) struct Oracle {
    /// The greatest time at which anybody asked, since a person last said what time it is.
    greatest_ms: i64,
    /// What was billed, where the ledger has to have it.
    pub(super) billed: BTreeMap<Key, i64>,
    /// What was billed, in the period in which it was spent: a clock that was ahead changes nothing about that.
    spent: BTreeMap<Key, i64>,
    /// By how much people changed ceilings.
    adjusted: BTreeMap<Key, i64>,
    /// The most that may ever have been spent.
    allowed: BTreeMap<Key, i64>,
}

impl Oracle {
    /// What time it is for budgets when the clock shows this.
    fn time(&mut self, shown_ms: i64) -> i64 {
        let at_ms = if shown_ms < self.greatest_ms - TOLERANCE_MS { self.greatest_ms } else { shown_ms };
        self.greatest_ms = self.greatest_ms.max(shown_ms);
        at_ms
    }

    /// Somebody asks for calls.
    pub(super) fn asked(&mut self, shown_ms: i64) -> i64 {
        self.time(shown_ms)
    }

    /// A call that was asked for at that time was let through, and is billed whatever becomes of it.
    pub(super) fn bill(&mut self, payers: &[Purse], at_ms: i64, billed: i64) {
        for purse in payers {
            let key = (purse.name.clone(), period(purse.lasts, at_ms));
            self.allow(purse, &key);
            *self.billed.entry(key.clone()).or_default() += billed;
            *self.spent.entry(key).or_default() += billed;
        }
    }

    /// Somebody changed a budget.
    pub(super) fn adjust(&mut self, purse: &Purse, shown_ms: i64, by: i64) {
        let at_ms = self.time(shown_ms);
        let key = (purse.name.clone(), period(purse.lasts, at_ms));
        self.allow(purse, &key);
        *self.adjusted.entry(key.clone()).or_default() += by;
        self.allow(purse, &key);
    }

    fn allow(&mut self, purse: &Purse, key: &Key) {
        let ceiling = purse.ceiling + self.adjusted.get(key).copied().unwrap_or(0);
        let allowed = self.allowed.entry(key.clone()).or_default();
        *allowed = (*allowed).max(ceiling);
    }

    /// A person says that the clock is right. What was spent in days that have not come was spent today.
    pub(super) fn accept(&mut self, purses: &[Purse], shown_ms: i64) {
        self.greatest_ms = shown_ms;
        for purse in purses {
            let present = (purse.name.clone(), period(purse.lasts, shown_ms));
            self.allow(purse, &present);
            let is_later = |key: &Key| key.0 == present.0 && key.1 > present.1;
            let later: i64 = self
                .spent
                .iter_mut()
                .filter(|(key, _)| is_later(key))
                .map(|(_, spent)| std::mem::take(spent))
                .sum();
            let spent = self.spent.entry(present.clone()).or_default();
            *spent += later;
            let allowed = self.allowed.entry(present).or_default();
            *allowed = (*allowed).max(*spent);
        }
    }

    /// No budget has spent more in a period than anybody ever allowed.
    pub(super) fn check(&self) {
        for (key, spent) in &self.spent {
            let allowed = self.allowed.get(key).copied().unwrap_or(0);
            assert!(*spent <= allowed, "{key:?}: {spent} spent of {allowed}");
        }
    }
}

/// The name of the period that an instant falls into.
fn period(lasts: Lasts, at_ms: i64) -> String {
    let (year, month, day) = date(at_ms.div_euclid(DAY_MS));
    match lasts {
        Lasts::Day => format!("{year:04}-{month:02}-{day:02}@UTC"),
        Lasts::Month => format!("{year:04}-{month:02}@UTC"),
        Lasts::Ever => "total".to_owned(),
    }
}

/// The date of a day since 1970, found by counting.
fn date(mut day: i64) -> (i64, usize, i64) {
    let is_leap = |year: i64| (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let mut year = 1970;
    loop {
        let days = if is_leap(year) { 366 } else { 365 };
        if day < days {
            break;
        }
        (day, year) = (day - days, year + 1);
    }
    let february = if is_leap(year) { 29 } else { 28 };
    let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while day >= months[month] {
        (day, month) = (day - months[month], month + 1);
    }
    (year, month + 1, day + 1)
}

#[test]
fn the_oracles_calendar_is_right() {
    for (at_ms, day) in [
        (0, "1970-01-01@UTC"),
        (1_764_543_599_000, "2025-11-30@UTC"),
        (1_764_547_200_000, "2025-12-01@UTC"),
        (951_782_400_000, "2000-02-29@UTC"),
        (1_772_323_199_999, "2026-02-28@UTC"),
    ] {
        assert_eq!(period(Lasts::Day, at_ms), day);
        assert_eq!(period(Lasts::Month, at_ms), format!("{}@UTC", &day[..7]));
    }
}
