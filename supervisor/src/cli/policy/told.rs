//! How reasons and ways out are told to people.

use super::super::output::{Cell, Tone, cell};
use super::says;
use crate::api::answers::reasons::{LookedView, ReasonView, StageView, WayView};
use crate::core::decision::Decision;

type Facts<'f> = Vec<(&'f str, Cell)>;

/// Each stage with its reasons and what they looked at, and what was said beside.
pub(in crate::cli) fn staged(facts: &mut Facts<'_>, stages: &[StageView], others: &[ReasonView]) {
    for stage in stages {
        facts.push((stage.stage.name(), says(stage.decision)));
        for reason in &stage.reasons {
            told(facts, "", reason);
        }
    }
    for reason in others {
        told(facts, "beside", reason);
    }
}

/// What would have helped. What leads to a question only says so.
pub(in crate::cli) fn ended(facts: &mut Facts<'_>, ways: &[WayView]) {
    facts.extend(ways.iter().map(|way| {
        let asked = if way.decision == Decision::Allow { "" } else { " (then a person is asked)" };
        ("would help", cell(format_args!("{}{asked}", way.change)))
    }));
}

/// `denied by org/no-infra (org.cedar:3): infrastructure is changed by people`.
fn told(facts: &mut Facts<'_>, title: &'static str, reason: &ReasonView) {
    let at = reason.at.as_ref().map(|at| format!(" ({at})")).unwrap_or_default();
    let text = if reason.text.is_empty() { String::new() } else { format!(": {}", reason.text) };
    let says = match reason.decision {
        Decision::Allow => "allowed",
        Decision::Ask => "asked",
        Decision::Deny => "denied",
    };
    facts.push((title, cell(format_args!("{says} by {}{at}{text}", reason.source))));
    // What allows looks at the scope, mostly; what stands in the way is worth a look itself.
    if reason.decision != Decision::Allow && !reason.looked_at.is_empty() {
        let seen: Vec<String> = reason.looked_at.iter().map(seen).collect();
        facts.push(("", cell(format_args!("  because {}", seen.join(", "))).tone(Tone::Faint)));
    }
}

fn seen(looked: &LookedView) -> String {
    match &looked.value {
        Some(value) => format!("{} = {value}", looked.name),
        None => format!("{} is not known", looked.name),
    }
}
