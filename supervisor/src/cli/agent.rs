//! `agentsup agent`: registered agents, and what their manifests come to.

mod register;

use super::output::{self, Answer, Cell, Tone, cell};
use super::{Outcome, ask, ask_slowly};
use crate::api::answers::agents::{AgentDetail, AgentView, FieldView, NameParams, Proposal, Standing, short};
use crate::api::answers::budgets::BudgetView;
use crate::api::ops::{AgentList, AgentRetire, AgentShow, Nothing};
use crate::sys::clock;

/// Show, register and retire agents
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    List(ListArgs),
    Show(NameArgs),
    Register(Box<register::Args>),
    Retire(RetireArgs),
}

/// List registered agents
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  agentsup agent list")]
struct ListArgs {
    #[command(flatten)]
    answer: Answer,
}

/// Show what an agent may do, how long, and which line of its manifest says so
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  agentsup agent show default
  agentsup agent show --json code-review-bot@team-platform | jq '.fields[]'

What the manifest leaves out is shown with its default and why that is the default.")]
struct NameArgs {
    /// Its name, as `NAME@NAMESPACE` if the name alone is not enough
    name: String,
    #[command(flatten)]
    answer: Answer,
}

/// Retire an agent: it starts no more runs, and those that run are stopped
///
/// Writes `lifecycle: retired` into its manifest, which otherwise stays as it is written. Each of its runs is asked to
/// end, killed if it does not, and the reason is on the record. Where a registry in git declares it, that is proposed
/// there on a branch, and in force once it is merged and fetched.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  agentsup agent retire code-review-bot")]
struct RetireArgs {
    /// Its name, as `NAME@NAMESPACE` if the name alone is not enough
    name: String,
    #[command(flatten)]
    answer: Answer,
}

pub(super) fn perform(args: Args) -> Outcome {
    match args.verb {
        Verb::List(args) => list(&args),
        Verb::Show(args) => show(args),
        Verb::Register(args) => register::perform(*args),
        Verb::Retire(args) => retire(args),
    }
}

fn list(args: &ListArgs) -> Outcome {
    let agents = ask(async |client| client.call::<AgentList>(Nothing {}).await)?;
    Ok(args.answer.give(&agents, |agents| {
        let rows: Vec<_> = agents.iter().map(row).collect();
        let columns = ["AGENT", "OWNER", "STATE", "ENDS", "RUNS", "PURPOSE"];
        output::table(&columns, &rows, "no agents; agentsup init or agentsup agent register writes one");
    }))
}

fn row(agent: &AgentView) -> Vec<Cell> {
    let ends =
        agent.expires_at_ms.map_or_else(|| "never".to_owned(), |at_ms| clock::shown(at_ms, clock::now_ms()));
    vec![
        cell(format_args!("{}@{}", agent.name, agent.namespace)).tone(Tone::Strong),
        cell(&agent.owner),
        standing(agent.standing),
        cell(ends),
        cell(agent.runs.len()),
        cell(&agent.purpose),
    ]
}

fn standing(standing: Standing) -> Cell {
    match standing {
        Standing::Active => cell("active").tone(Tone::Good),
        Standing::Expired => cell("expired").tone(Tone::Bad),
        Standing::Retired => cell("retired").tone(Tone::Faint),
        Standing::Proposed => cell("proposed").tone(Tone::Faint),
    }
}

fn show(args: NameArgs) -> Outcome {
    let agent = ask(async |client| client.call::<AgentShow>(NameParams { name: args.name }).await)?;
    Ok(args.answer.give(&agent, tell))
}

fn tell(agent: &AgentDetail) {
    let view = &agent.view;
    let mut facts = vec![("agent", cell(&view.agent).tone(Tone::Strong)), ("state", standing(view.standing))];
    if let (Some(file), Some(line)) = (&view.file, view.line) {
        let commit = view.commit.as_ref().map_or_else(String::new, |commit| format!("@{}", short(commit)));
        facts.push(("declared in", cell(format_args!("{}{commit}:{line}", file.display()))));
    }
    let runs = view.runs.iter().map(|id| id.short()).collect::<Vec<_>>().join(", ");
    facts.push(("runs", cell(if runs.is_empty() { "none".to_owned() } else { runs })));
    facts.extend(agent.problems.iter().map(|problem| ("problem", cell(problem).tone(Tone::Warning))));
    output::facts(&facts);
    output::line("");
    let rows: Vec<_> = agent.fields.iter().map(field_row).collect();
    output::table(&["FIELD", "IN FORCE", "SAYS", "WHAT IT MEANS"], &rows, "");
    output::line("");
    let rows: Vec<_> = agent.budgets.iter().map(budget_row).collect();
    output::table(&["BUDGET", "PERIOD", "SPENT", "HELD", "CAP", "LEFT"], &rows, "no budget");
    output::line("");
    let ends = agent.ends.iter().map(|end| {
        let at = clock::shown(end.at_ms, clock::now_ms());
        vec![cell(at).tone(Tone::Strong), cell(&end.what)]
    });
    output::table(&["ENDS", "WHAT"], &ends.collect::<Vec<_>>(), "nothing of it ends by itself");
}

fn field_row(field: &FieldView) -> Vec<Cell> {
    let says = match (field.line, &field.default) {
        (Some(line), _) => cell(format_args!("line {line}")),
        (None, Some(why)) => cell(format_args!("default: {why}")).tone(Tone::Faint),
        (None, None) => cell("").tone(Tone::Faint),
    };
    let path = field.field.strip_prefix("spec.").unwrap_or(&field.field);
    vec![cell(path).tone(Tone::Strong), cell(shown(&field.value)), says, cell(&field.about).tone(Tone::Faint)]
}

/// A value as people write it in a manifest.
fn shown(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Null => "none".to_owned(),
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Array(items) if items.is_empty() => "none".to_owned(),
        serde_json::Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

fn budget_row(budget: &BudgetView) -> Vec<Cell> {
    let in_unit = |nano_usd: i64, tokens: u64| match budget.cap_tokens {
        Some(_) => format!("{} tokens", output::tokens(tokens)),
        None => output::dollars(nano_usd),
    };
    let left = budget
        .remaining_nano_usd
        .map(output::dollars)
        .into_iter()
        .chain(budget.remaining_tokens.map(|tokens| format!("{} tokens", output::tokens(tokens))));
    vec![
        cell(format_args!("{}/{}", budget.namespace, budget.name)).tone(Tone::Strong),
        cell(&budget.period_id),
        cell(in_unit(budget.posted_nano_usd, budget.posted_tokens)),
        cell(in_unit(budget.pending_nano_usd, budget.pending_tokens)),
        cell(in_unit(budget.cap_nano_usd, budget.cap_tokens.unwrap_or(0))),
        cell(left.collect::<Vec<_>>().join(" and ")),
    ]
}

fn retire(args: RetireArgs) -> Outcome {
    let params = NameParams { name: args.name };
    let retired = ask_slowly("retiring it", async |client| client.call::<AgentRetire>(params).await)?;
    Ok(args.answer.give(&retired, |retired| {
        let view = &retired.view;
        if let Some(proposal) = &retired.proposal {
            output::line(format_args!("{} is proposed to be retired", view.agent));
            return tell_proposal(proposal);
        }
        output::line(format_args!("{} is retired", view.agent));
        if !view.runs.is_empty() {
            let runs = output::count(view.runs.len() as u64, "run");
            output::narrate(format_args!("{runs} of it are being stopped"));
        }
        if let Some(file) = &view.file {
            output::hint(format_args!(
                "to undo it, write `lifecycle: {}` into `{}` again",
                retired.before,
                file.display()
            ));
        }
    }))
}

/// Where a change waits for review, and that it is not in force.
fn tell_proposal(proposal: &Proposal) {
    let Proposal { git, branch, commit, onto, file, review } = proposal;
    let shown = |text: &str| output::printable(text);
    output::narrate(format_args!(
        "`{}` is on branch `{}` of {} ({})",
        shown(&file.display().to_string()),
        shown(branch),
        shown(git),
        short(commit)
    ));
    output::narrate(format_args!("nothing of it is in force until it is on `{}` and fetched", shown(onto)));
    match review {
        Some(link) => output::line(shown(link)),
        None => output::hint(format_args!("open a review of branch `{}`", shown(branch))),
    }
}
