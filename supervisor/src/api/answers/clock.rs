//! The clock that periods are computed from.

use serde::{Deserialize, Serialize};

use super::budgets::by;
use crate::api::App;
use crate::core::amount::Amount;
use crate::core::budget::instant_text;
use crate::core::error::{Code, Failure};
use crate::gate::{Accepted, ClockError};
use crate::store::time::Kept;

/// What is known of the clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockView {
    /// What it shows, milliseconds since 1970.
    pub now_ms: i64,
    /// What periods are computed from.
    pub kept_ms: i64,
    /// Whether it was set back, so that budgets stay in the periods of the greater time.
    pub is_behind: bool,
    /// When it was set forward into another period: what it should have shown, until somebody accepts it.
    pub forward_from_ms: Option<i64>,
    /// What it showed then.
    pub forward_to_ms: Option<i64>,
    /// What was taken along from periods that have not come; only of a clock that was just accepted.
    pub carried: Vec<Carried>,
}

impl ClockView {
    /// What people should look at.
    pub fn problems(&self) -> Vec<String> {
        let back = self.is_behind.then(|| {
            let (now, kept) = (instant_text(self.now_ms), instant_text(self.kept_ms));
            format!("the clock shows {now}, and budgets are in the periods of {kept}")
        });
        let forward = self.forward_from_ms.zip(self.forward_to_ms).map(|(from, to)| {
            let (from, to) = (instant_text(from), instant_text(to));
            format!("the clock was set forward from {from} to {to}, into another period")
        });
        back.into_iter().chain(forward).collect()
    }
}

/// Something that was spent in a period that has not come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    /// `<namespace>/<name>`.
    pub budget: String,
    /// The present period, which can spend so much less.
    pub period: String,
    /// How much.
    pub amount: Amount,
}

/// What is known of the clock.
pub async fn show(app: &App) -> Result<ClockView, Failure> {
    let (now_ms, kept) = app.gate.clock().await?;
    let Kept { at_ms, forward, .. } = kept;
    Ok(ClockView {
        now_ms,
        kept_ms: at_ms,
        is_behind: at_ms > now_ms,
        forward_from_ms: forward.map(|(from, _)| from),
        forward_to_ms: forward.map(|(_, to)| to),
        carried: Vec::new(),
    })
}

/// Takes a person's word that it is right.
pub async fn accept(app: &App) -> Result<ClockView, Failure> {
    match app.gate.accept_clock(by()).await {
        Ok(Accepted { carried, .. }) => {
            let carried = carried
                .into_iter()
                .map(|(account, amount)| Carried { budget: account.budget, period: account.period, amount })
                .collect();
            Ok(ClockView { carried, ..show(app).await? })
        }
        Err(ClockError::Store(error)) => Err(error.into()),
        Err(error) => Err(Failure::new(Code::Conflict, error.to_string())
            .hint("agentsup suspend latest, or wait until the answers have come")),
    }
}
