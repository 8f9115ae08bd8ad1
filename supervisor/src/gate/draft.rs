//! The record of a decision, and what is kept beside it so that it can be judged again.

use super::{LiveRun, refuse};
use crate::core::action::Action;
use crate::core::data::{Carried, Destination};
use crate::core::decision::{Evaluation, Refusal};
use crate::core::detect::{self, Form};
use crate::core::judged::Judged;
use crate::core::policy::Circumstances;
use crate::core::record::{DecisionEntry, Who};
use crate::registry::Snapshot;
use crate::store::facts::Draft;

/// What is to be recorded of a decision; amounts come later.
pub(super) fn draft(
    snapshot: &Snapshot,
    live: &LiveRun,
    action: &Action,
    now: Circumstances,
    (evaluation, digest): (&Evaluation, String),
) -> Result<Draft, Refusal> {
    let entry = Box::new(DecisionEntry {
        who: Who::from(&live.run),
        action: action.kind().to_owned(),
        target: action.name(),
        on: action.target(),
        decision: evaluation.decision,
        reasons: evaluation.reasons.clone(),
        digest,
        facts: None,
        call_id: match action {
            Action::Tool(tool) => tool.call_id.clone(),
            _ => None,
        },
        reserved_nano_usd: None,
        budget: None,
        period: None,
        prices: None,
        also: Vec::new(),
    });
    if snapshot.config.facts_kept_ms.is_none() || holds_secrets(snapshot, action) {
        return Ok(Draft { entry, facts: None });
    }
    let manifest = snapshot.origins.get(&live.run.agent).map(|origin| origin.digest.clone());
    let facts = Judged { action: action.clone(), now, manifest }.to_bytes();
    Ok(Draft { entry, facts: facts.map_err(|error| refuse::unavailable(&error))? })
}

/// Whether what would be kept of an action holds, or may hold, a secret. Where rules about data had a reason to look,
/// they looked; where they had none, it is looked for here.
fn holds_secrets(snapshot: &Snapshot, action: &Action) -> bool {
    let Action::Tool(tool) = action else { return false };
    let Some(to) = tool.destination() else { return false };
    if snapshot.config.data.looks_at(to) {
        return tool.facts.data.may_hold_secrets();
    }
    let texts = match (to, &tool.facts.command) {
        (Destination::Shell, Some(command)) => vec![command.as_str()],
        _ => {
            let paths = tool.facts.paths.iter().filter_map(|fact| fact.path.to_str());
            paths.chain(tool.facts.hosts.iter().map(String::as_str)).collect()
        }
    };
    texts.iter().any(|text| {
        let found = detect::scan(text.as_bytes(), Form::Plain);
        let kinds = found.findings.iter().map(|finding| (finding.kind, 1)).collect();
        Carried { kinds, is_partial: !found.complete, ..Carried::default() }.may_hold_secrets()
    })
}
