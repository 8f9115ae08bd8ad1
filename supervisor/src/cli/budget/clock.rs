//! `agentsup budget clock`: the clock that periods are computed from, and a person's word that it is right.

use crate::api::answers::clock::ClockView;
use crate::api::ops::{ClockAccept, ClockShow, Nothing};
use crate::cli::output::{self, Answer, Tone, cell};
use crate::cli::{Outcome, ask};
use crate::core::budget::instant_text;

/// Show the clock that periods are computed from, or accept it as it is
///
/// A clock that is set back does not open a past period again: budgets stay in the periods of the greatest time that was
/// seen. After a clock was ahead by mistake and was put right, --accept takes budgets back to the present, on the record.
/// What was spent meanwhile counts in the present period. Nothing may be under way, and no run can do this, only a person
/// outside of one.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  agentsup budget clock
  agentsup budget clock --accept")]
pub(super) struct Args {
    /// The clock is right: compute periods from what it shows
    #[arg(long)]
    accept: bool,
    #[command(flatten)]
    answer: Answer,
}

pub(super) fn perform(args: &Args) -> Outcome {
    let clock = match args.accept {
        true => ask(async |client| client.call::<ClockAccept>(Nothing {}).await)?,
        false => ask(async |client| client.call::<ClockShow>(Nothing {}).await)?,
    };
    Ok(args.answer.give(&clock, show))
}

fn show(clock: &ClockView) {
    let tone = if clock.is_behind { Tone::Warning } else { Tone::Good };
    output::facts(&[
        ("clock", cell(instant_text(clock.now_ms))),
        ("periods of", cell(instant_text(clock.kept_ms)).tone(tone)),
    ]);
    for carried in &clock.carried {
        output::line(format_args!(
            "{} has {} less in {}: it was spent while the clock was ahead",
            output::printable(&carried.budget),
            carried.amount,
            output::printable(&carried.period),
        ));
    }
    for problem in clock.problems() {
        output::warn(problem);
    }
    if clock.is_behind || clock.forward_from_ms.is_some() {
        output::hint("agentsup budget clock --accept, once the clock is right");
    }
}
