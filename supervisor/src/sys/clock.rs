//! The wall clock, and times as its reader's own clock shows them. Business code takes times as values; only the edges
//! call this.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970-01-01T00:00:00Z; zero if the clock stands before that.
pub fn now_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX))
}

/// `16:40` today, else `24 Nov 16:40`, or with the year if it is another: in the reader's time zone.
pub fn shown(at_ms: i64, now_ms: i64) -> String {
    shown_in(&TimeZone::system(), at_ms, now_ms)
}

fn shown_in(zone: &TimeZone, at_ms: i64, now_ms: i64) -> String {
    let local = |ms| Timestamp::from_millisecond(ms).map(|timestamp| timestamp.to_zoned(zone.clone()));
    let (Ok(at), Ok(now)) = (local(at_ms), local(now_ms)) else { return "at no time".to_owned() };
    let form = if at.date() == now.date() {
        "%H:%M"
    } else if at.year() == now.year() {
        "%-d %b %H:%M"
    } else {
        "%-d %b %Y"
    };
    at.strftime(form).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_shown_as_briefly_as_it_is_clear() {
        let now = 1_795_305_600_000; // 2026-11-22T00:00:00Z
        let hour = 60 * 60 * 1000;
        for (ahead, expected) in [(0, "00:00"), (16, "16:00"), (24, "23 Nov 00:00"), (24 * 40, "1 Jan 2027")]
        {
            assert_eq!(shown_in(&TimeZone::UTC, now + ahead * hour, now), expected);
        }
        let east = TimeZone::fixed(jiff::tz::offset(9));
        assert_eq!(shown_in(&east, now + 16 * hour, now), "23 Nov 01:00");
        assert_eq!(shown_in(&east, i64::MAX, now), "at no time");
    }
}

/// Milliseconds since the machine was started, the time that it slept included: no one sets this clock.
pub fn boot_ms() -> i64 {
    #[cfg(target_os = "linux")]
    const SINCE_BOOT: libc::clockid_t = libc::CLOCK_BOOTTIME;
    #[cfg(not(target_os = "linux"))]
    const SINCE_BOOT: libc::clockid_t = libc::CLOCK_MONOTONIC;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid for writes. Where there is no such clock it stays zero.
    let _known = unsafe { libc::clock_gettime(SINCE_BOOT, &raw mut time) };
    time.tv_sec.saturating_mul(1000).saturating_add(time.tv_nsec / 1_000_000)
}

/// Where the time comes from for those whose decisions depend on it: the clocks, or what a test makes of them.
#[derive(Clone)]
pub struct Clock {
    wall: Arc<dyn Fn() -> i64 + Send + Sync>,
    boot: Arc<dyn Fn() -> i64 + Send + Sync>,
}

impl Clock {
    /// The machine's clocks.
    pub fn wall() -> Self {
        Self { wall: Arc::new(now_ms), boot: Arc::new(boot_ms) }
    }

    /// A clock that shows what the function says, and is never set.
    #[cfg(test)]
    pub(crate) fn of(shows_ms: impl Fn() -> i64 + Clone + Send + Sync + 'static) -> Self {
        Self { wall: Arc::new(shows_ms.clone()), boot: Arc::new(shows_ms) }
    }

    /// The same beside another clock that nobody sets.
    #[cfg(test)]
    pub(crate) fn since_boot(mut self, shows_ms: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        self.boot = Arc::new(shows_ms);
        self
    }

    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub fn now_ms(&self) -> i64 {
        (self.wall)()
    }

    /// Milliseconds on the clock that nobody sets.
    pub fn boot_ms(&self) -> i64 {
        (self.boot)()
    }
}
