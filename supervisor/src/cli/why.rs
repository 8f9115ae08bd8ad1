//! `agentsup why`: the way from an action to its decision.

use super::output::{self, Answer, Cell, Tone, cell};
use super::policy::{ended, says, staged};
use super::{Outcome, ask};
use crate::api::answers::why::{WhyParams, WhyView};
use crate::api::ops::PolicyWhy;
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
    /// The record's id, its beginning or its ending
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
    ];
    facts.extend(why.command.as_ref().map(|command| ("command", cell(command))));
    facts.push(("at", cell(when)));
    facts.push(("decision", says(why.decision)));
    staged(&mut facts, &why.stages, &why.others);
    facts.extend(why.today.map(|today| ("rules today", says(today))));
    ended(&mut facts, &why.ways);
    facts.extend(why.helps.iter().map(|help| ("would help", cell(help))));
    facts.extend(why.untried.as_ref().map(|text| ("not tried", cell(text).tone(Tone::Faint))));
    output::facts(&facts);
}
