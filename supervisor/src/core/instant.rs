//! Instants as people write them, in milliseconds since 1970.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

/// The longest time ago that is understood: a hundred years.
const MAX_AGO_DAYS: i64 = 36_525;
const MINUTE_MS: i64 = 60 * 1000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;

/// A date, meaning its first instant in UTC, or a timestamp with its offset.
///
/// # Errors
/// In words, when the text is neither.
pub fn instant_ms(text: &str) -> Result<i64, String> {
    if let Ok(timestamp) = text.parse::<Timestamp>() {
        return Ok(timestamp.as_millisecond());
    }
    date_ms(text)
        .ok_or_else(|| format!("`{text}` is not a date (`2027-06-30`) or a time (`2027-06-30T12:00:00Z`)"))
}

/// As [`instant_ms`], or so long before `now_ms`: `7d`, `12h`.
///
/// # Errors
/// In words, when the text is none of these.
pub fn since_ms(text: &str, now_ms: i64) -> Result<i64, String> {
    match ago_ms(text) {
        Some(ago) => Ok(now_ms.saturating_sub(ago)),
        None => instant_ms(text).map_err(|error| format!("{error}, nor a time ago (`7d`, `12h`)")),
    }
}

/// As [`since_ms`], but a date means the end of its day.
///
/// # Errors
/// As [`since_ms`].
pub fn until_ms(text: &str, now_ms: i64) -> Result<i64, String> {
    match date_ms(text) {
        Some(midnight) => Ok(midnight.saturating_add(DAY_MS)),
        None => since_ms(text, now_ms),
    }
}

/// As [`instant_ms`], or so long after `now_ms`: `30m`, `2h`, `7d`.
///
/// # Errors
/// In words, when the text is none of these.
pub fn ahead_ms(text: &str, now_ms: i64) -> Result<i64, String> {
    let minutes = text.strip_suffix('m').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    let minutes = minutes.and_then(|digits| digits.parse::<i64>().ok()?.checked_mul(MINUTE_MS));
    match minutes.filter(|ahead| *ahead <= MAX_AGO_DAYS * DAY_MS).or_else(|| ago_ms(text)) {
        Some(ahead) => Ok(now_ms.saturating_add(ahead)),
        None => instant_ms(text).map_err(|error| format!("{error}, nor a while (`30m`, `2h`, `7d`)")),
    }
}

/// To the second, as people read it: `2027-06-30 12:00:00Z`.
#[must_use]
pub fn text(at_ms: i64) -> String {
    Timestamp::from_millisecond(at_ms)
        .map_or_else(|_| at_ms.to_string(), |at| at.strftime("%Y-%m-%d %H:%M:%SZ").to_string())
}

/// An instant in UTC, as machines write it: `2027-06-30T12:00:00Z`.
pub fn iso(at_ms: i64) -> String {
    Timestamp::from_millisecond(at_ms).unwrap_or(Timestamp::UNIX_EPOCH).to_string()
}

fn date_ms(text: &str) -> Option<i64> {
    let zoned = text.parse::<Date>().ok()?.to_zoned(TimeZone::UTC).ok()?;
    // What is not a date alone was a timestamp.
    (text.len() <= "2027-06-30".len()).then(|| zoned.timestamp().as_millisecond())
}

fn ago_ms(text: &str) -> Option<i64> {
    let unit_ms = match text.chars().last()? {
        'd' => DAY_MS,
        'h' => HOUR_MS,
        _ => return None,
    };
    let number = text.get(..text.len() - 1)?;
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let ago = number.parse::<i64>().ok().filter(|_| digits)?.checked_mul(unit_ms)?;
    (ago <= MAX_AGO_DAYS * DAY_MS).then_some(ago)
}

/// The first instant of the day that `at_ms` falls into, in UTC.
pub const fn day_ms(at_ms: i64) -> i64 {
    at_ms.saturating_sub(at_ms.rem_euclid(DAY_MS))
}

/// The first instant of the month `months` before the one that `at_ms` falls into, in UTC.
pub fn month_ms(at_ms: i64, months: i32) -> i64 {
    let begin = || {
        let date = Timestamp::from_millisecond(at_ms).ok()?.to_zoned(TimeZone::UTC).date();
        let first = date.first_of_month().checked_sub(jiff::Span::new().months(months)).ok()?;
        Some(first.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond())
    };
    begin().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    /// 2026-11-22T00:00:00Z.
    const SUNDAY_MS: i64 = 1_795_305_600_000;

    #[test]
    fn an_instant_is_told_to_the_second() {
        assert_eq!(text(SUNDAY_MS + 3_723_999), "2026-11-22 01:02:03Z");
        assert_eq!(text(i64::MAX), i64::MAX.to_string());
    }

    #[test]
    fn dates_times_and_times_ago_are_read() {
        let now = SUNDAY_MS + 5;
        for (text, since, until) in [
            ("2026-11-22", SUNDAY_MS, SUNDAY_MS + DAY_MS),
            ("2026-11-22T01:00:00+01:00", SUNDAY_MS, SUNDAY_MS),
            ("2d", now - 2 * DAY_MS, now - 2 * DAY_MS),
            ("12h", now - 12 * HOUR_MS, now - 12 * HOUR_MS),
        ] {
            assert_eq!((since_ms(text, now), until_ms(text, now)), (Ok(since), Ok(until)), "{text}");
        }
        for text in ["", "d", "-1d", "1.5d", "99999999999999999999d", "40000d", "soon", "2026-13-01", "7m"] {
            assert!(since_ms(text, now).is_err() && until_ms(text, now).is_err(), "{text}");
        }
    }

    #[test]
    fn times_ahead_are_read() {
        let now = SUNDAY_MS + 5;
        for (text, expected) in [
            ("30m", now + 30 * MINUTE_MS),
            ("2h", now + 2 * HOUR_MS),
            ("7d", now + 7 * DAY_MS),
            ("2026-11-22T01:00:00Z", SUNDAY_MS + HOUR_MS),
        ] {
            assert_eq!(ahead_ms(text, now), Ok(expected), "{text}");
        }
        for text in ["", "m", "-5m", "1.5m", "99999999999999999999m", "soon", "5"] {
            assert!(ahead_ms(text, now).is_err(), "{text}");
        }
    }

    #[test]
    fn days_and_months_begin_in_utc() {
        assert_eq!(day_ms(SUNDAY_MS + DAY_MS - 1), SUNDAY_MS);
        assert_eq!(month_ms(SUNDAY_MS, 0), instant_ms("2026-11-01").unwrap());
        assert_eq!(month_ms(SUNDAY_MS, 11), instant_ms("2025-12-01").unwrap());
    }
}
