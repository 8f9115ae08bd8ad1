//! `agentsup approvals`, `approve`, `deny`: questions to people.

use super::output::{self, Answer, Cell, Format, Tone, cell};
use super::{Outcome, ask};
use crate::api::answers::approvals::{AnswerParams, Asked, Lasts, RevokeParams, Standing, Verdict};
use crate::api::ops::{ApprovalAnswer, ApprovalList, ApprovalRevoke, ApprovalStanding, Nothing};
use crate::core::error::{Code, Failure};
use crate::core::instant;
use crate::sys::clock;

/// Lines of one effect in a list of all.
const BRIEF: usize = 12;

/// Show what agents ask for, and what it would do
///
/// Of a long effect the list says how much it leaves out; with an ID all of it is shown. Characters that a terminal does
/// not show stand there as <U+202E>.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  agentsup approvals                     all, briefly
  agentsup approvals show 5a5a5a5a       one, whole
  agentsup approve 5a5a5a5a
  agentsup deny 5a5a5a5a --reason 'not on a Friday'
  agentsup approvals --standing          answers that last
  agentsup approvals revoke 5a5a5a5a     take one of those back"
)]
pub(super) struct ListArgs {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// Show this one whole: its id, or an ending of it
    id: Option<String>,
    /// List the answers that last instead
    #[arg(long, conflicts_with = "id")]
    standing: bool,
    #[command(flatten)]
    answer: Answer,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    Show(ShowArgs),
    Revoke(RevokeArgs),
}

/// Show one question whole
#[derive(Debug, clap::Args)]
struct ShowArgs {
    /// The approval's id, or an ending of it
    id: String,
    #[command(flatten)]
    answer: Answer,
}

/// Take an answer that lasts back
#[derive(Debug, clap::Args)]
struct RevokeArgs {
    /// The approval's id, or an ending of it
    id: String,
    #[command(flatten)]
    answer: Answer,
}

/// Allow exactly what was asked, this once or for longer
///
/// What lasts covers the same action again (the same arguments, the same files), as long as policies ask for nothing
/// else; everything else is asked about anew. It ends with its run or its time, and with the daemon.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  agentsup approve 5a5a5a5a
  agentsup approve 5a5a5a5a --for run      the same again, in this run
  agentsup approve 5a5a5a5a --until 2h     the same again, in every run of this agent
  agentsup approve 5a5a5a5a --until 2027-06-30T18:00:00Z")]
pub(super) struct ApproveArgs {
    /// The approval's id, or an ending of it
    id: String,
    /// Allow the same again until its run ends
    #[arg(long = "for", value_name = "SCOPE", value_parser = ["run"], conflicts_with = "until")]
    scope: Option<String>,
    /// Allow the same again, in other runs of the agent too, until a time or for a while (at most 30 days)
    #[arg(long, value_name = "TIME|DURATION")]
    until: Option<String>,
    #[command(flatten)]
    answer: Answer,
}

/// Refuse what was asked
///
/// The same asked again within a minute is refused without asking you.
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

pub(super) fn list(args: ListArgs) -> Outcome {
    match (args.verb, args.id) {
        (Some(Verb::Show(args)), _) => show(&args.id, &args.answer),
        (Some(Verb::Revoke(args)), _) => revoke(args),
        (None, Some(id)) => show(&id, &args.answer),
        (None, None) if args.standing => standing(&args.answer),
        (None, None) => {
            let asked = ask(async |client| client.call::<ApprovalList>(Nothing {}).await)?;
            Ok(args.answer.give(&asked, |asked| tell(asked)))
        }
    }
}

fn tell(asked: &[Asked]) {
    if asked.is_empty() {
        output::narrate("nobody asks for anything");
    }
    let now = clock::now_ms();
    for (at, question) in asked.iter().enumerate() {
        if at > 0 {
            output::line("");
        }
        output::facts(&facts(question, now));
        let lines = question.effect.brief(BRIEF);
        let is_cut = lines != question.effect.lines();
        lines.iter().for_each(|line| output::line(format_args!("  {line}")));
        if is_cut {
            output::hint(format_args!("agentsup approvals show {}", question.id.short()));
        }
    }
}

fn facts(question: &Asked, now_ms: i64) -> Vec<(&'static str, Cell)> {
    let left = question.expires_at_ms.saturating_sub(now_ms).max(0) / 1000;
    let mut facts: Vec<_> = question.facts().into_iter().map(|(label, text)| (label, cell(text))).collect();
    if let Some((_, id)) = facts.first_mut() {
        *id = id.clone().tone(Tone::Strong);
    }
    facts.push(("left", cell(format_args!("{left} s"))));
    facts
}

/// A question by its id, or an ending of it.
fn require(id: &str) -> Result<Asked, Failure> {
    let asked = ask(async |client| client.call::<ApprovalList>(Nothing {}).await)?;
    let ending = id.to_ascii_lowercase();
    let mut meant = asked.into_iter().filter(|asked| asked.id.to_string().ends_with(&ending));
    match (meant.next(), meant.next()) {
        (Some(question), None) => Ok(question),
        (None, _) => {
            Err(Failure::new(Code::NotFound, format!("no approval `{id}` is open"))
                .hint("agentsup approvals"))
        }
        (Some(_), Some(_)) => Err(Failure::new(Code::Usage, format!("`{id}` means more than one approval"))
            .hint("agentsup approvals")),
    }
}

fn show(id: &str, answer: &Answer) -> Outcome {
    let question = require(id)?;
    Ok(answer.give(&question, |question| {
        let mut facts = facts(question, clock::now_ms());
        facts.push(("digest", cell(&question.digest)));
        output::facts(&facts);
        question.effect.lines().iter().for_each(output::line);
        let id = question.id.short();
        output::hint(format_args!("agentsup approve {id} · agentsup deny {id} --reason TEXT"));
    }))
}

fn standing(answer: &Answer) -> Outcome {
    let all = ask(async |client| client.call::<ApprovalStanding>(Nothing {}).await)?;
    Ok(answer.give(&all, |all| {
        let now = clock::now_ms();
        if all.is_empty() {
            output::narrate("no answer lasts");
        }
        for (at, standing) in all.iter().enumerate() {
            if at > 0 {
                output::line("");
            }
            tell_standing(standing, now);
        }
    }))
}

fn tell_standing(standing: &Standing, now_ms: i64) {
    let holds = match (standing.run, standing.until_ms) {
        (Some(run), _) => format!("for run {}", run.short()),
        (None, Some(at_ms)) => format!("until {}, in every run of the agent", clock::shown(at_ms, now_ms)),
        (None, None) => "once".to_owned(),
    };
    let mut facts: Vec<_> =
        standing.question.facts().into_iter().map(|(label, text)| (label, cell(text))).collect();
    facts.push(("allowed", cell(format_args!("by {}, {holds}", standing.by))));
    facts.push(("used", cell(format_args!("{} times", standing.used))));
    output::facts(&facts);
    standing.question.effect.brief(BRIEF).iter().for_each(|line| output::line(format_args!("  {line}")));
}

fn revoke(args: RevokeArgs) -> Outcome {
    let params = RevokeParams { id: args.id };
    let standing = ask(async |client| client.call::<ApprovalRevoke>(params).await)?;
    Ok(args.answer.give(&standing, |standing| {
        output::line(format_args!("revoked: {} of {}", standing.question.target, standing.agent));
    }))
}

pub(super) fn approve(args: ApproveArgs) -> Outcome {
    let lasts = match (&args.scope, &args.until) {
        (Some(_), _) => Lasts::Run,
        (None, Some(text)) => {
            let at_ms =
                instant::ahead_ms(text, clock::now_ms()).map_err(|error| Failure::new(Code::Usage, error))?;
            Lasts::Until { at_ms }
        }
        (None, None) => Lasts::Once,
    };
    let params = AnswerParams { id: args.id, answer: Verdict::Approve, lasts, reason: None };
    answer(params, &args.answer)
}

pub(super) fn deny(args: DenyArgs) -> Outcome {
    let lasts = Lasts::Once;
    let params = AnswerParams { id: args.id, answer: Verdict::Deny, lasts, reason: args.reason };
    answer(params, &args.answer)
}

fn answer(params: AnswerParams, answer: &Answer) -> Outcome {
    let verb = match params.answer {
        Verdict::Approve => "approved",
        Verdict::Deny => "denied",
    };
    let holds = match params.lasts {
        Lasts::Once => String::new(),
        Lasts::Run => ", and the same again in this run".to_owned(),
        Lasts::Until { at_ms } => {
            format!(", and the same again until {}", clock::shown(at_ms, clock::now_ms()))
        }
    };
    let lasts = params.lasts != Lasts::Once;
    let question = ask(async |client| client.call::<ApprovalAnswer>(params).await)?;
    Ok(answer.give(&question, |question| {
        let on = if question.on.is_empty() { String::new() } else { format!(" {}", question.on) };
        let text = format!("{verb}: {}{on} of {}{holds}", question.target, question.agent);
        output::line(output::printable(&text));
        if lasts && answer.format() == Format::Text {
            output::hint(format_args!("agentsup approvals revoke {}", question.id.short()));
        }
    }))
}
