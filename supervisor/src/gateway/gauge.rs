//! A run's fullest budget in the words of its client's own meter, where that client has one.
//!
//! Codex 0.169.0 shows these headers of an answer as a limit: from three quarters on in its footer and in words, with
//! or without a window. Claude Code 2.1.330 reads `anthropic-ratelimit-unified-*` of its vendor's subscriptions only;
//! its status line says it instead.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::agents::GaugeStyle;
use crate::core::budget::Gauge;

const USED_PERCENT: HeaderName = HeaderName::from_static("x-codex-primary-used-percent");
const WINDOW_MINUTES: HeaderName = HeaderName::from_static("x-codex-primary-window-minutes");
const RESET_AT: HeaderName = HeaderName::from_static("x-codex-primary-reset-at");

/// The headers that the client's meter reads; none where it has no meter.
pub(super) fn headers(style: GaugeStyle, gauge: &Gauge) -> HeaderMap {
    let mut headers = HeaderMap::new();
    match style {
        GaugeStyle::None => {}
        GaugeStyle::CodexHeaders => {
            headers.insert(USED_PERCENT, HeaderValue::from(u16::from(gauge.used_percent)));
            if let Some(minutes) = gauge.window_minutes {
                headers.insert(WINDOW_MINUTES, HeaderValue::from(minutes));
            }
            if let Some(at_ms) = gauge.ends_at_ms {
                headers.insert(RESET_AT, HeaderValue::from(at_ms / 1000));
            }
        }
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codex_is_told_what_there_is_and_others_nothing() {
        let month =
            Gauge { used_percent: 81, window_minutes: Some(43_200), ends_at_ms: Some(1_796_083_200_999) };
        let shown: Vec<(String, String)> = headers(GaugeStyle::CodexHeaders, &month)
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().to_owned()))
            .collect();
        let pair = |name: &str, value: &str| (format!("x-codex-primary-{name}"), value.to_owned());
        assert_eq!(
            shown,
            [pair("used-percent", "81"), pair("window-minutes", "43200"), pair("reset-at", "1796083200")]
        );
        let total = Gauge { used_percent: 100, window_minutes: None, ends_at_ms: None };
        assert_eq!(headers(GaugeStyle::CodexHeaders, &total).len(), 1);
        assert_eq!(headers(GaugeStyle::None, &month), HeaderMap::new());
    }
}
