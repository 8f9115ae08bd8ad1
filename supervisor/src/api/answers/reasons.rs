//! Reasons of a decision as people are shown them: by stage, with where each is written and what it looked at.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::core::decision::{Decision, Reason, Stage};
use crate::core::policy::Looked;
use crate::core::rules::Rules;
use crate::core::whatif::Way;

/// What a stage said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageView {
    /// The stage.
    pub stage: Stage,
    /// The strictest of its reasons.
    pub decision: Decision,
    /// Its reasons.
    pub reasons: Vec<ReasonView>,
}

/// One reason, and where it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReasonView {
    /// Who says so.
    pub source: String,
    /// What it says.
    pub decision: Decision,
    /// Why; may be empty.
    pub text: String,
    /// `FILE:LINE` of the policy, if it is in force still.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// What it looked at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub looked_at: Vec<LookedView>,
}

/// An attribute that a policy looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LookedView {
    /// `place`, `principal.purpose`.
    pub name: String,
    /// What it was, as policies write it; none where it was not there.
    pub value: Option<String>,
}

/// A change that would have helped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WayView {
    /// What would have to be different.
    pub change: String,
    /// What would be decided then.
    pub decision: Decision,
}

impl From<Way> for WayView {
    fn from(way: Way) -> Self {
        Self { change: way.change, decision: way.decision }
    }
}

/// What policies looked at, by their names.
pub(in crate::api) type AllLooked = BTreeMap<String, Vec<Looked>>;

/// The reasons by stage, and those that belong to none.
pub(in crate::api) fn sorted(
    reasons: &[Reason],
    rules: Rules<'_>,
    looked: &AllLooked,
) -> (Vec<StageView>, Vec<ReasonView>) {
    let view = |reason: &Reason| seen(reason, rules, looked);
    let stages = Stage::ALL.into_iter().map(|stage| {
        let reasons: Vec<ReasonView> =
            reasons.iter().filter(|reason| reason.stage == Some(stage)).map(view).collect();
        let decision = reasons.iter().map(|reason| reason.decision).max().unwrap_or(Decision::Allow);
        StageView { stage, decision, reasons }
    });
    let others = reasons.iter().filter(|reason| reason.stage.is_none()).map(view).collect();
    (stages.collect(), others)
}

fn seen(reason: &Reason, rules: Rules<'_>, looked: &AllLooked) -> ReasonView {
    let at = rules.origin(&reason.source).map(|origin| format!("{}:{}", origin.file.display(), origin.line));
    let view = |looked: &Looked| LookedView { name: looked.name.clone(), value: looked.value.clone() };
    ReasonView {
        source: reason.source.clone(),
        decision: reason.decision,
        text: reason.text.clone(),
        at,
        looked_at: looked.get(&reason.source).into_iter().flatten().map(view).collect(),
    }
}
