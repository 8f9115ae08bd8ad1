//! Durations, amounts, instants and time zones as people write them.

use jiff::tz;

use crate::core::amount::{Amount, AmountError};
pub(super) use crate::core::instant::instant_ms;
use crate::core::manifest::TimeZone;

/// Longest duration that is accepted anywhere: 24 hours.
const MAX_DURATION_MS: u64 = 24 * 60 * 60 * 1000;

/// `90s`, `15m` or `2h`, from one second to 24 hours, in milliseconds.
pub(super) fn duration_ms(text: &str) -> Result<u64, String> {
    let malformed = || format!("`{text}` is not a duration (such as `90s`, `15m` or `2h`, at most 24h)");
    let unit = text.chars().last().ok_or_else(malformed)?;
    let number = text.strip_suffix(unit).unwrap_or_default();
    let unit_ms = match unit {
        's' => 1000,
        'm' => 60 * 1000,
        'h' => 60 * 60 * 1000,
        _ => return Err(malformed()),
    };
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let duration =
        number.parse::<u64>().ok().filter(|_| digits).and_then(|number| number.checked_mul(unit_ms));
    duration.filter(|ms| (1..=MAX_DURATION_MS).contains(ms)).ok_or_else(malformed)
}

/// The longest that anything is kept: ten years.
const MAX_DAYS: i64 = 3650;

/// `30d`, in milliseconds.
pub(super) fn days_ms(text: &str) -> Result<i64, String> {
    let digits = text.strip_suffix('d').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    let days = digits.and_then(|digits| digits.parse::<i64>().ok());
    days.filter(|days| (1..=MAX_DAYS).contains(days)).map(|days| days * 24 * 60 * 60 * 1000).ok_or_else(
        || format!("`{text}` is not a number of days (such as `30d`, at most {MAX_DAYS}d) or `off`"),
    )
}

/// As it could have been written: in the largest unit that leaves nothing over.
pub(super) fn duration_text(ms: u64) -> String {
    let units = [(60 * 60 * 1000, 'h'), (60 * 1000, 'm')];
    let whole = units.into_iter().find(|(unit_ms, _)| ms >= *unit_ms && ms.is_multiple_of(*unit_ms));
    let (unit_ms, unit) = whole.unwrap_or((1000, 's'));
    format!("{}{unit}", ms / unit_ms)
}

/// `50.00 USD` or `5000000 tokens`.
pub(super) fn amount(text: &str) -> Result<Amount, String> {
    text.parse().map_err(|error: AmountError| error.to_string())
}

/// `80%`, from 1 to 100.
pub(super) fn percent(text: &str) -> Result<u8, String> {
    let number = text.strip_suffix('%').filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
    let percent = number.and_then(|number| number.parse().ok()).filter(|percent| (1..=100).contains(percent));
    percent.ok_or_else(|| format!("`{text}` is not a percentage from `1%` to `100%`"))
}

/// An IANA time zone that this machine knows.
pub(super) fn time_zone(text: &str) -> Result<TimeZone, String> {
    if text != "UTC" && tz::TimeZone::get(text).is_err() {
        return Err(format!("`{text}` is not a time zone that this machine knows (such as `Europe/Berlin`)"));
    }
    Ok(TimeZone(text.to_owned()))
}
