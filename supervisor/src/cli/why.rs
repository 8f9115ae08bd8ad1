//! `agentsup why`: the way from an action to its decision.

use super::output::{self, Answer, Cell, Tone, cell};
use super::policy::says;
use super::{Outcome, ask};
use crate::api::answers::policies::{ReasonView, WhyParams, WhyView};
use crate::api::ops::PolicyWhy;
use crate::core::decision::Decision;
use crate::sys::clock;

/// Say why something was decided as it was
///
/// Without ID the newest refusal. The id is that of the decision's record, which refusals name.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  agentsup why
  agentsup why 7f2d1c90
  agentsup why --run latest")]
pub(super) struct Args {
    /// The record's id, or an ending of it
    #[arg(value_name = "ID")]
    record: Option<String>,
    /// The newest refusal of this run: its id, an ending of it, its branch, or `latest`
    #[arg(long, value_name = "RUN", conflicts_with = "record")]
    run: Option<String>,
    #[command(flatten)]
    answer: Answer,
}

pub(super) fn perform(args: Args) -> Outcome {
    let params = WhyParams { record: args.record, run: args.run };
    let why = ask(async |client| client.call::<PolicyWhy>(params).await)?;
    Ok(args.answer.give(&why, show))
}

fn show(why: &WhyView) {
    let what = if why.on.is_empty() { why.target.clone() } else { format!("{} on {}", why.target, why.on) };
    let when = format!("{} ({})", clock::shown(why.at_ms, clock::now_ms()), why.record);
    let mut facts: Vec<(&str, Cell)> = vec![
        ("agent", cell(&why.agent).tone(Tone::Strong)),
        ("run", cell(why.run.short())),
        ("wanted", cell(format_args!("{} {what}", why.action))),
        ("at", cell(when)),
        ("decision", says(why.decision)),
    ];
    for stage in &why.stages {
        facts.push((stage.stage.name(), says(stage.decision)));
        facts.extend(stage.reasons.iter().map(|reason| ("", told(reason))));
    }
    facts.extend(why.others.iter().map(|reason| ("beside", told(reason))));
    facts.extend(why.helps.iter().map(|help| ("would help", cell(help))));
    output::facts(&facts);
}

/// `denied by org/no-infra (org.cedar:3): infrastructure is changed by people`.
fn told(reason: &ReasonView) -> Cell {
    let at = reason.at.as_ref().map(|at| format!(" ({at})")).unwrap_or_default();
    let text = if reason.text.is_empty() { String::new() } else { format!(": {}", reason.text) };
    let says = match reason.decision {
        Decision::Allow => "allowed",
        Decision::Ask => "asked",
        Decision::Deny => "denied",
    };
    cell(format_args!("{says} by {}{at}{text}", reason.source))
}
