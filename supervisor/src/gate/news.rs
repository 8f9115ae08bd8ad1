//! What people are told at once, beside the record: whoever shows things to them listens here.
//!
//! Invariant: nobody waits for a listener. What a slow one misses is on the record.

use tokio::sync::broadcast;

use super::Gate;

/// News kept for a listener that is slow.
const KEPT: usize = 32;

/// A budget has crossed its edge: told once in a period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// `<namespace>/<name>`.
    pub budget: String,
    /// The edge, in percent of the cap.
    pub at_percent: u8,
    /// What was spent, of how much: `40.12 USD of 50.00 USD spent in 2026-11@UTC`.
    pub text: String,
}

/// Where alerts are told.
pub(super) struct News(broadcast::Sender<Alert>);

impl Default for News {
    fn default() -> Self {
        Self(broadcast::Sender::new(KEPT))
    }
}

impl Gate {
    /// Alerts from now on.
    pub fn alerts(&self) -> broadcast::Receiver<Alert> {
        self.inner.news.0.subscribe()
    }

    /// To be called once what it tells of is committed. That nobody listens is no matter.
    pub(super) fn tell(&self, alerts: Vec<Alert>) {
        for alert in alerts {
            let _unheard = self.inner.news.0.send(alert);
        }
    }
}
