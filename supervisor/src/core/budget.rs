//! Budget arithmetic: period ids, ceilings, and whether an amount still fits.
//!
//! A balance belongs to a period id and is never reset: a new period is a new row.

use jiff::Timestamp;
use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone as Zone;

use super::action::{Bound, Elastic};
use super::amount::Amount;
use super::manifest::{Cap, Period, TimeZone, TokenBudget};
use super::money::NanoUsd;

/// What a budget had when it was asked, in the units of its cap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Balance {
    /// Spent for good, in nano-USD.
    pub posted: NanoUsd,
    /// Held for calls under way, in nano-USD.
    pub pending: NanoUsd,
    /// Spent for good, in tokens.
    pub posted_tokens: u64,
    /// Held for calls under way, in tokens.
    pub pending_tokens: u64,
    /// By how much people changed the ceiling in this period, in nano-USD.
    pub adjusted_nano_usd: i64,
    /// By how much people changed the ceiling in this period, in tokens.
    pub adjusted_tokens: i64,
}

/// The most budgets that one call is admitted against, its run's own cap not counted.
pub const CHAIN_MAX: usize = 8;

/// Whether an amount fits into what a budget has left; the worse is the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fit {
    /// It fits now.
    Now,
    /// It would fit if calls under way turned out cheaper than what is held for them.
    Later,
    /// It cannot fit in this period.
    Never,
}

/// The hard ceiling, never below zero: cap, burst and what people added in this period, in the cap's unit.
pub fn ceiling(cap: &Cap, balance: &Balance) -> i128 {
    let (cap, burst, adjusted) = match cap {
        Cap::Money { cap, burst } => {
            (i128::from(cap.nano()), i128::from(burst.nano()), balance.adjusted_nano_usd)
        }
        Cap::Tokens { cap, burst } => (i128::from(*cap), i128::from(*burst), balance.adjusted_tokens),
    };
    (cap + burst + i128::from(adjusted)).max(0)
}

/// The hard ceiling in words: `55.00 USD` or `5000000 tokens`.
pub fn ceiling_text(cap: &Cap, balance: &Balance) -> String {
    amount(cap, ceiling(cap, balance)).to_string()
}

/// What is neither spent nor held.
pub fn left(cap: &Cap, balance: &Balance) -> Amount {
    let used = match cap {
        Cap::Money { .. } => i128::from(balance.posted.nano()) + i128::from(balance.pending.nano()),
        Cap::Tokens { .. } => i128::from(balance.posted_tokens) + i128::from(balance.pending_tokens),
    };
    amount(cap, ceiling(cap, balance) - used)
}

/// A number in the cap's unit, at least zero and at most what can be held.
fn amount(cap: &Cap, number: i128) -> Amount {
    let number = number.max(0);
    match cap {
        Cap::Money { .. } => Amount::Money(
            i64::try_from(number).ok().and_then(|nano| NanoUsd::new(nano).ok()).unwrap_or(NanoUsd::MAX),
        ),
        Cap::Tokens { .. } => Amount::Tokens(u64::try_from(number).unwrap_or(u64::MAX)),
    }
}

/// What is posted, in the cap's unit and in words.
pub fn posted_text(cap: &Cap, balance: &Balance) -> String {
    match cap {
        Cap::Money { .. } => balance.posted.to_string(),
        Cap::Tokens { .. } => format!("{} tokens", balance.posted_tokens),
    }
}

/// What is held for calls under way, in the cap's unit and in words.
pub fn pending_text(cap: &Cap, balance: &Balance) -> String {
    match cap {
        Cap::Money { .. } => balance.pending.to_string(),
        Cap::Tokens { .. } => format!("{} tokens", balance.pending_tokens),
    }
}

/// Whether `bound` fits under the ceiling of `cap` beside what is already posted and pending.
pub fn fit(cap: &Cap, balance: &Balance, bound: &Bound) -> Fit {
    let ceiling = ceiling(cap, balance);
    let (posted, pending, wanted) = match cap {
        Cap::Money { .. } => (
            i128::from(balance.posted.nano()),
            i128::from(balance.pending.nano()),
            i128::from(bound.cost.nano()),
        ),
        Cap::Tokens { .. } => (
            i128::from(balance.posted_tokens),
            i128::from(balance.pending_tokens),
            i128::from(bound.tokens()),
        ),
    };
    if posted + pending + wanted <= ceiling {
        Fit::Now
    } else if pending > 0 && posted + wanted <= ceiling {
        Fit::Later
    } else {
        Fit::Never
    }
}

/// As [`fit`], with the bound that fits: cut down only where nothing under way could make room for the whole, or where
/// `patience` is over.
pub fn fit_elastic(
    cap: &Cap,
    balance: &Balance,
    bound: &Bound,
    elastic: Option<&Elastic>,
    patience: Patience,
) -> (Fit, Bound) {
    let whole = fit(cap, balance, bound);
    let Some(elastic) = elastic else { return (whole, *bound) };
    match (whole, patience) {
        (Fit::Now, _) | (Fit::Later, Patience::Waits) => return (whole, *bound),
        (Fit::Later, Patience::IsOver) | (Fit::Never, _) => {}
    }
    if let Some(cut) = cut_to_fit(cap, balance, bound, elastic) {
        return (Fit::Now, cut);
    }
    let settled = Balance { pending: NanoUsd::ZERO, pending_tokens: 0, ..*balance };
    let later = whole == Fit::Later || cut_to_fit(cap, &settled, bound, elastic).is_some();
    (if later { Fit::Later } else { Fit::Never }, *bound)
}

/// Whether a call still waits for others under way to turn out cheaper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// It does.
    Waits,
    /// It has waited long enough.
    IsOver,
}

/// The bound with as much output as fits now.
fn cut_to_fit(cap: &Cap, balance: &Balance, bound: &Bound, elastic: &Elastic) -> Option<Bound> {
    let (used, wanted, each) = match cap {
        Cap::Money { .. } => (
            i128::from(balance.posted.nano()) + i128::from(balance.pending.nano()),
            i128::from(bound.cost.nano()),
            i128::from(elastic.output_token_cost.nano()),
        ),
        Cap::Tokens { .. } => (
            i128::from(balance.posted_tokens) + i128::from(balance.pending_tokens),
            i128::from(bound.tokens()),
            1,
        ),
    };
    let excess = used + wanted - ceiling(cap, balance);
    // Rounded up: half a token too many is one too many.
    let tokens = excess.max(0).checked_add(each - 1)?.checked_div(each)?;
    elastic.cut(bound, u64::try_from(tokens).ok()?).filter(|cut| fit(cap, balance, cut) == Fit::Now)
}

/// Whether what is posted has reached the alert threshold.
pub fn alerts(budget: &TokenBudget, balance: &Balance) -> bool {
    let (cap, adjusted, posted) = match budget.cap {
        Cap::Money { cap, .. } => {
            (i128::from(cap.nano()), balance.adjusted_nano_usd, i128::from(balance.posted.nano()))
        }
        Cap::Tokens { cap, .. } => {
            (i128::from(cap), balance.adjusted_tokens, i128::from(balance.posted_tokens))
        }
    };
    posted * 100 >= (cap + i128::from(adjusted)).max(0) * i128::from(budget.alert_at_percent)
}

/// How full a budget is, for a client's own meter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gauge {
    /// What is spent, in percent of the hard ceiling, rounded down; at most 100.
    pub used_percent: u8,
    /// The length of the period; that of a month is taken for thirty days. None where it never ends.
    pub window_minutes: Option<u32>,
    /// When the period ends, milliseconds since 1970; none where it never does.
    pub ends_at_ms: Option<i64>,
}

/// How full a budget is at an instant.
pub fn gauge(budget: &TokenBudget, balance: &Balance, at_ms: i64) -> Gauge {
    let posted = match budget.cap {
        Cap::Money { .. } => i128::from(balance.posted.nano()),
        Cap::Tokens { .. } => i128::from(balance.posted_tokens),
    };
    // Where nothing may be spent, all is.
    let percent = (posted * 100).checked_div(ceiling(&budget.cap, balance)).unwrap_or(100);
    let day = 24 * 60;
    Gauge {
        used_percent: u8::try_from(percent.clamp(0, 100)).unwrap_or(100),
        window_minutes: match budget.period {
            Period::Daily(_) => Some(day),
            Period::Weekly(_) => Some(7 * day),
            Period::Monthly(_) => Some(30 * day),
            Period::Total => None,
        },
        ends_at_ms: period_end_ms(&budget.period, at_ms),
    }
}

/// The period that `at_ms` falls into: `2026-11@UTC`, `2026-W47@Europe/Berlin`, `2026-11-22@UTC`, `total`.
pub fn period_id(period: &Period, at_ms: i64) -> String {
    let civil = |zone: &TimeZone| {
        let timestamp = Timestamp::from_millisecond(at_ms).unwrap_or(Timestamp::UNIX_EPOCH);
        let zone = Zone::get(&zone.0).unwrap_or(Zone::UTC);
        timestamp.to_zoned(zone).date()
    };
    match period {
        Period::Daily(zone) => format!("{}@{}", civil(zone), zone.0),
        Period::Weekly(zone) => {
            let week = civil(zone).iso_week_date();
            format!("{:04}-W{:02}@{}", week.year(), week.week(), zone.0)
        }
        Period::Monthly(zone) => {
            let date = civil(zone);
            format!("{:04}-{:02}@{}", date.year(), date.month(), zone.0)
        }
        Period::Total => "total".to_owned(),
    }
}

/// Whether a period is after another of the same budget. Periods of another kind or zone, which it may have had, are not.
pub fn is_later_period(period: &str, than: &str) -> bool {
    let zone = |id: &str| id.split_once('@').map(|(_, zone)| zone.to_owned());
    let is_weekly = |id: &str| id.contains("-W");
    let is_alike =
        period.len() == than.len() && zone(period) == zone(than) && is_weekly(period) == is_weekly(than);
    is_alike && period > than
}

/// An instant in words, in UTC.
pub fn instant_text(at_ms: i64) -> String {
    Timestamp::from_millisecond(at_ms)
        .unwrap_or(Timestamp::UNIX_EPOCH)
        .strftime("%Y-%m-%d %H:%M:%SZ")
        .to_string()
}

/// When the period that `at_ms` falls into ends, in words for a refusal; `None` where it never does.
pub fn period_end(period: &Period, at_ms: i64) -> Option<String> {
    let (zone, next) = next_period(period, at_ms)?;
    Some(format!("{} 00:00 {}", next.strftime("%-d %b"), zone.0))
}

/// When the period that `at_ms` falls into ends, milliseconds since 1970; `None` where it never does.
pub fn period_end_ms(period: &Period, at_ms: i64) -> Option<i64> {
    let (zone, next) = next_period(period, at_ms)?;
    let zone = Zone::get(&zone.0).unwrap_or(Zone::UTC);
    Some(next.to_zoned(zone).ok()?.timestamp().as_millisecond())
}

fn next_period(period: &Period, at_ms: i64) -> Option<(&TimeZone, Date)> {
    let (zone, date) = match period {
        Period::Daily(zone) | Period::Weekly(zone) | Period::Monthly(zone) => {
            let timestamp = Timestamp::from_millisecond(at_ms).unwrap_or(Timestamp::UNIX_EPOCH);
            (zone, timestamp.to_zoned(Zone::get(&zone.0).unwrap_or(Zone::UTC)).date())
        }
        Period::Total => return None,
    };
    let next = match period {
        Period::Daily(_) => date.tomorrow().ok()?,
        Period::Weekly(_) => date.nth_weekday(1, Weekday::Monday).ok()?,
        Period::Monthly(_) | Period::Total => date.last_of_month().tomorrow().ok()?,
    };
    Some((zone, next))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utc() -> TimeZone {
        TimeZone("UTC".into())
    }

    #[test]
    fn a_gauge_is_of_the_ceiling_and_never_more_than_full() {
        let at_ms = 1_764_543_599_000; // 2025-11-30T22:59:59Z
        let nano = |nano| NanoUsd::new(nano).unwrap();
        let mut budget = TokenBudget {
            name: "purse".into(),
            namespace: "team".into(),
            parent: None,
            period: Period::Monthly(utc()),
            cap: Cap::Money { cap: nano(90), burst: nano(10) },
            alert_at_percent: 80,
        };
        let spent = |posted: i64| Balance { posted: nano(posted), ..Balance::default() };
        let month =
            Gauge { used_percent: 89, window_minutes: Some(43_200), ends_at_ms: Some(1_764_547_200_000) };
        assert_eq!(gauge(&budget, &spent(89), at_ms), month);
        assert_eq!(gauge(&budget, &spent(500), at_ms).used_percent, 100);
        budget.cap = Cap::Tokens { cap: 0, burst: 0 };
        budget.period = Period::Total;
        let nothing = Gauge { used_percent: 100, window_minutes: None, ends_at_ms: None };
        assert_eq!(gauge(&budget, &Balance::default(), at_ms), nothing);
    }

    #[test]
    fn a_period_is_named_by_its_calendar_and_zone() {
        let at_ms = 1_764_543_599_000; // 2025-11-30T22:59:59Z
        let berlin = TimeZone("Europe/Berlin".into());
        for (period, id, end) in [
            (Period::Monthly(utc()), "2025-11@UTC", Some("1 Dec 00:00 UTC")),
            (Period::Daily(utc()), "2025-11-30@UTC", Some("1 Dec 00:00 UTC")),
            (Period::Weekly(utc()), "2025-W48@UTC", Some("1 Dec 00:00 UTC")),
            (Period::Monthly(berlin), "2025-11@Europe/Berlin", Some("1 Dec 00:00 Europe/Berlin")),
            (Period::Total, "total", None),
        ] {
            assert_eq!(period_id(&period, at_ms), id);
            assert_eq!(period_end(&period, at_ms).as_deref(), end);
            let end_ms = period_end_ms(&period, at_ms);
            assert_eq!(end_ms.map(|end_ms| period_id(&period, end_ms) != id), end.map(|_| true));
            assert_eq!(end_ms.map(|end_ms| period_id(&period, end_ms - 1) == id), end.map(|_| true));
        }
        // An hour and a second later it is December in Berlin, not yet in London.
        assert_eq!(
            period_id(&Period::Monthly(TimeZone("Europe/Berlin".into())), at_ms + 1000),
            "2025-12@Europe/Berlin"
        );
        assert_eq!(period_id(&Period::Monthly(utc()), at_ms + 1000), "2025-11@UTC");
    }

    #[test]
    fn periods_are_compared_within_their_kind() {
        for (period, than, later) in [
            ("2026-12@UTC", "2026-11@UTC", true),
            ("2027-01@UTC", "2026-11@UTC", true),
            ("2026-11@UTC", "2026-11@UTC", false),
            ("2026-10@UTC", "2026-11@UTC", false),
            ("2026-W48@UTC", "2026-W47@UTC", true),
            ("2026-11-23@UTC", "2026-11-22@UTC", true),
            ("2026-12@Europe/Berlin", "2026-11@UTC", false),
            ("2026-12-01@UTC", "2026-11@UTC", false),
            ("total", "total", false),
        ] {
            assert_eq!(is_later_period(period, than), later, "{period} {than}");
        }
    }

    #[test]
    fn what_fits_counts_the_burst_and_what_is_pending() {
        let cap = Cap::Money { cap: NanoUsd::new(100).unwrap(), burst: NanoUsd::new(10).unwrap() };
        let nano = |n| NanoUsd::new(n).unwrap();
        let bound = |n| Bound { input_tokens: 0, output_tokens: 0, cost: nano(n) };
        let balance = Balance { posted: nano(50), pending: nano(20), ..Balance::default() };
        assert_eq!(fit(&cap, &balance, &bound(40)), Fit::Now);
        assert_eq!(fit(&cap, &balance, &bound(41)), Fit::Later);
        assert_eq!(fit(&cap, &balance, &bound(60)), Fit::Later);
        assert_eq!(fit(&cap, &balance, &bound(61)), Fit::Never);
        assert_eq!(fit(&cap, &Balance { posted: nano(110), ..Balance::default() }, &bound(1)), Fit::Never);
        assert_eq!(fit(&cap, &Balance::default(), &Bound { cost: NanoUsd::MAX, ..bound(0) }), Fit::Never);
    }

    #[test]
    fn an_elastic_call_is_cut_down_to_what_is_left() {
        let nano = |n| NanoUsd::new(n).unwrap();
        let cap = Cap::Money { cap: nano(1000), burst: NanoUsd::ZERO };
        let bound = Bound { input_tokens: 10, output_tokens: 100, cost: nano(500) };
        let elastic = Elastic { least_output_tokens: 20, output_token_cost: nano(4) };
        let of = |posted, pending, patience| {
            let balance = Balance { posted: nano(posted), pending: nano(pending), ..Balance::default() };
            let (fit, bound) = fit_elastic(&cap, &balance, &bound, Some(&elastic), patience);
            (fit, bound.output_tokens, bound.cost.nano())
        };
        assert_eq!(of(500, 0, Patience::Waits), (Fit::Now, 100, 500));
        // 1 too much costs a token of 4, 5 too much two of them
        assert_eq!(of(501, 0, Patience::Waits), (Fit::Now, 99, 496));
        assert_eq!(of(505, 0, Patience::Waits), (Fit::Now, 98, 492));
        assert_eq!(of(820, 0, Patience::Waits), (Fit::Now, 20, 180));
        assert_eq!(of(821, 0, Patience::Waits), (Fit::Never, 100, 500));
        // what is pending may leave room for the whole, or for a part
        assert_eq!(of(300, 300, Patience::Waits), (Fit::Later, 100, 500));
        assert_eq!(of(300, 300, Patience::IsOver), (Fit::Now, 75, 400));
        assert_eq!(of(800, 100, Patience::Waits), (Fit::Later, 100, 500));
        assert_eq!(of(800, 100, Patience::IsOver), (Fit::Later, 100, 500));
        let (fit, _) = fit_elastic(
            &cap,
            &Balance::default(),
            &Bound { cost: nano(1001), ..bound },
            None,
            Patience::Waits,
        );
        assert_eq!(fit, Fit::Never);
        let tokens = Cap::Tokens { cap: 100, burst: 0 };
        let (fit, cut) = fit_elastic(&tokens, &Balance::default(), &bound, Some(&elastic), Patience::Waits);
        assert_eq!((fit, cut.output_tokens, cut.tokens()), (Fit::Now, 90, 100));
    }

    #[test]
    fn a_token_budget_counts_tokens() {
        let cap = Cap::Tokens { cap: 1000, burst: 0 };
        let bound = Bound { input_tokens: 600, output_tokens: 400, cost: NanoUsd::MAX };
        assert_eq!(fit(&cap, &Balance::default(), &bound), Fit::Now);
        assert_eq!(fit(&cap, &Balance { posted_tokens: 1, ..Balance::default() }, &bound), Fit::Never);
        assert_eq!(ceiling_text(&cap, &Balance::default()), "1000 tokens");
        let lowered = Balance { adjusted_tokens: -400, posted_tokens: 100, ..Balance::default() };
        assert_eq!((ceiling(&cap, &lowered), left(&cap, &lowered)), (600, Amount::Tokens(500)));
        assert_eq!(fit(&cap, &lowered, &Bound { input_tokens: 501, output_tokens: 0, ..bound }), Fit::Never);
    }
}
