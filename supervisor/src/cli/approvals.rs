//! `agentsup approvals`, `approve`, `deny`: questions to people.

use super::output::{self, Answer, Cell, Tone, cell};
use super::{Outcome, ask};
use crate::api::answers::approvals::{AnswerParams, Asked, Verdict};
use crate::api::ops::{ApprovalAnswer, ApprovalList, Nothing};
use crate::sys::clock;

/// List what agents ask for
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  agentsup approvals
  agentsup approve 5a5a5a5a
  agentsup deny 5a5a5a5a --reason 'not on a Friday'")]
pub(super) struct ListArgs {
    #[command(flatten)]
    answer: Answer,
}

/// Allow exactly what was asked, this once
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  agentsup approve 5a5a5a5a")]
pub(super) struct ApproveArgs {
    /// The approval's id, or an ending of it
    id: String,
    #[command(flatten)]
    answer: Answer,
}

/// Refuse what was asked
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  agentsup deny 5a5a5a5a
  agentsup deny 5a5a5a5a --reason 'use the staging database'")]
pub(super) struct DenyArgs {
    /// The approval's id, or an ending of it
    id: String,
    /// For the agent
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    answer: Answer,
}

pub(super) fn list(args: &ListArgs) -> Outcome {
    let asked = ask(async |client| client.call::<ApprovalList>(Nothing {}).await)?;
    Ok(args.answer.give(&asked, |asked| {
        let now = clock::now_ms();
        if asked.is_empty() {
            output::narrate("nobody asks for anything");
        }
        // Whole, however long: what is allowed must have been seen.
        asked.iter().for_each(|question| output::facts(&facts(question, now)));
    }))
}

fn facts(question: &Asked, now_ms: i64) -> Vec<(&'static str, Cell)> {
    let left = question.expires_at_ms.saturating_sub(now_ms).max(0) / 1000;
    let mut facts = vec![
        ("approval", cell(question.id.short()).tone(Tone::Strong)),
        ("agent", cell(&question.agent)),
        ("run", cell(question.run.short())),
        ("wants", cell(&question.target)),
    ];
    facts.extend((!question.on.is_empty()).then(|| ("on", cell(&question.on))));
    facts.extend(question.command.as_ref().map(|command| ("command", cell(command))));
    facts.push(("why", cell(question.why.join("; "))));
    facts.push(("left", cell(format_args!("{left} s"))));
    facts
}

pub(super) fn approve(args: ApproveArgs) -> Outcome {
    let params = AnswerParams { id: args.id, answer: Verdict::Approve, reason: None };
    answer(params, &args.answer)
}

pub(super) fn deny(args: DenyArgs) -> Outcome {
    let params = AnswerParams { id: args.id, answer: Verdict::Deny, reason: args.reason };
    answer(params, &args.answer)
}

fn answer(params: AnswerParams, answer: &Answer) -> Outcome {
    let verb = match params.answer {
        Verdict::Approve => "approved",
        Verdict::Deny => "denied",
    };
    let question = ask(async |client| client.call::<ApprovalAnswer>(params).await)?;
    Ok(answer.give(&question, |question| {
        output::line(format_args!("{verb}: {} {} of {}", question.target, question.on, question.agent));
    }))
}
