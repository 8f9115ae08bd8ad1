//! How fast money goes, and when a budget is empty at that rate: for people, never for admission.
//!
//! Works for any integer unit: nano-USD or tokens.

/// What is recent.
pub const WINDOW_MS: i64 = 60 * 60 * 1000;
/// A rate is not taken from less than this: the first call would make a fortune of a minute.
const SHORTEST_MS: i64 = 5 * 60 * 1000;
const HOUR_MS: i64 = 60 * 60 * 1000;

/// What goes in an hour, if `spent` went from `first_ms`, the first call of the window, to `now_ms`. Rounded up.
pub fn per_hour(spent: i64, first_ms: i64, now_ms: i64) -> i64 {
    let span = i128::from(now_ms.saturating_sub(first_ms).clamp(SHORTEST_MS, WINDOW_MS));
    let spent = i128::from(spent.max(0));
    let rate = (spent * i128::from(HOUR_MS) + span - 1) / span;
    i64::try_from(rate).unwrap_or(i64::MAX)
}

/// When `left` is gone at that rate; none if it never is.
pub fn runs_out_at_ms(left: i64, per_hour: i64, now_ms: i64) -> Option<i64> {
    if per_hour <= 0 {
        return None;
    }
    let wait = i128::from(left.max(0)) * i128::from(HOUR_MS) / i128::from(per_hour);
    now_ms.checked_add(i64::try_from(wait).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_taken_of_the_time_since_the_first_call_but_not_of_a_moment() {
        let minute = 60_000;
        for (spent, ago, expected) in [
            (600, 60 * minute, 600),
            (600, 30 * minute, 1200),
            (600, 90 * minute, 600),
            (600, 0, 7200),
            (1, 7 * minute, 9),
            (0, 10 * minute, 0),
            (i64::MAX, 5 * minute, i64::MAX),
        ] {
            assert_eq!(per_hour(spent, 1_000_000_000 - ago, 1_000_000_000), expected, "{spent} in {ago}");
        }
        // the clock was set back
        assert_eq!(per_hour(600, 2000, 1000), 7200);
    }

    #[test]
    fn what_is_left_lasts_as_long_as_the_rate_allows() {
        assert_eq!(runs_out_at_ms(50, 100, 1000), Some(1000 + HOUR_MS / 2));
        assert_eq!(runs_out_at_ms(0, 100, 1000), Some(1000));
        assert_eq!(runs_out_at_ms(-5, 100, 1000), Some(1000));
        assert_eq!(runs_out_at_ms(50, 0, 1000), None);
        assert_eq!(runs_out_at_ms(i64::MAX, 1, 1000), None);
    }
}
