//! `agentsup policy`: what decides, whether it is well-formed, whether it decides as its tests say, and what it would
//! decide.

mod explain;
mod import;
mod replay;
mod told;

use std::path::PathBuf;
use std::process::ExitCode;

use super::output::{self, Answer, Tone, cell};
use super::{Outcome, ask};
use crate::api::answers::policies::{LabelView, ListParams, PolicyView};
use crate::api::ops::{Nothing, PolicyLabels, PolicyList};
use crate::api::policy::{self, LayerView, Tested};
use crate::core::decision::Decision;
use crate::core::error::Code;
use crate::core::policy::Layer;
use crate::sys::paths::Home;
pub(super) use told::{ended, staged};

/// Look at, check, test, import, explain and replay policies
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    List(ListArgs),
    Labels(LabelsArgs),
    Check(CheckArgs),
    Test(TestArgs),
    Import(import::Args),
    Explain(explain::Args),
    Replay(replay::ReplayArgs),
    Diff(replay::DiffArgs),
}

/// List the policies in force, in the order of their layers
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  agentsup policy list
  agentsup policy list --run 6b7c            and those of that run's repository
  agentsup policy list --json | jq '.[] | select(.stage == \"pbac\")'

Every policy belongs to a stage, by what its conditions look at: rbac (who, with which tool), abac
(labels of path, host, command and of what the run has seen), pbac (purpose, money, time). All are
asked each time; the strictest answer is in force.")]
struct ListArgs {
    /// Also list what this run's repository adds (.agentsup/*.cedar of the commit it started from)
    #[arg(long, value_name = "RUN")]
    run: Option<String>,
    #[command(flatten)]
    answer: Answer,
}

/// List the rules by which files, hosts, models, tools and agents have labels
///
/// They come from documents of the kind Policy among the manifests. A policy sees the labels of its
/// own layer and of the layers above it, so none that is added below can loosen it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  agentsup policy labels
  agentsup policy labels --json | jq '.[] | select(.words | index(\"pci\"))'

The form of the documents: agentsup schema policy. What policies can ask: agentsup schema cedar.")]
struct LabelsArgs {
    #[command(flatten)]
    answer: Answer,
}

/// Check policies without putting them in force
///
/// Without files everything below the manifests directory, the documents that give labels included. A
/// repository's own policies are those in .agentsup; they hold for the runs that start from a commit
/// that has them, and can only forbid or ask. Exit 96 if there is a problem.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  agentsup policy check
  agentsup policy check .agentsup            a repository's own, before they are committed
  agentsup policy check team.cedar --layer team")]
struct CheckArgs {
    /// Files, or directories with files that end in .cedar
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Whose they are to be; only the organisation's can permit [default: repository for files in
    /// .agentsup, else org]
    #[arg(long, value_enum, requires = "files")]
    layer: Option<Whose>,
    #[command(flatten)]
    answer: Answer,
}

/// Test policies: each FILE.cedar by the cases in tests/FILE.json beside it
///
/// The cases have the form of the Cedar command line's run-tests, which can run them as well. A
/// policy that asks a person is a forbid, so it denies there. Without files the built-in packs are
/// tested.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  agentsup policy test
  agentsup policy test policies/team.cedar")]
struct TestArgs {
    /// Files, or directories with files that end in .cedar
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    answer: Answer,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Whose {
    Org,
    Team,
    User,
    Repository,
}

impl From<Whose> for Layer {
    fn from(whose: Whose) -> Self {
        match whose {
            Whose::Org => Self::Org,
            Whose::Team => Self::Team,
            Whose::User => Self::User,
            Whose::Repository => Self::Repository,
        }
    }
}

pub(super) fn perform(args: Args) -> Outcome {
    match args.verb {
        Verb::List(args) => list(&args),
        Verb::Labels(args) => labels(&args),
        Verb::Check(args) => check(&args),
        Verb::Test(args) => test(&args),
        Verb::Import(args) => import::perform(&args),
        Verb::Explain(args) => explain::perform(args),
        Verb::Replay(args) => replay::replay(&args),
        Verb::Diff(args) => replay::diff(&args),
    }
}

fn list(args: &ListArgs) -> Outcome {
    let params = ListParams { run: args.run.clone() };
    let policies = ask(async |client| client.call::<PolicyList>(params).await)?;
    Ok(args.answer.give(&policies, |policies| {
        let row = |policy: &PolicyView| {
            vec![
                cell(&policy.source).tone(Tone::Strong),
                cell(policy.stage.name()),
                says(policy.decision),
                cell(policy.team.as_deref().unwrap_or("all")),
                cell(format_args!("{}:{}", policy.file, policy.line)).tone(Tone::Faint),
                cell(&policy.text),
            ]
        };
        let rows: Vec<_> = policies.iter().map(row).collect();
        output::table(&["POLICY", "STAGE", "SAYS", "AGENTS", "WRITTEN AT", "REASON"], &rows, "no policies");
    }))
}

fn labels(args: &LabelsArgs) -> Outcome {
    let rules = ask(async |client| client.call::<PolicyLabels>(Nothing {}).await)?;
    Ok(args.answer.give(&rules, |rules| {
        let row = |rule: &LabelView| {
            vec![
                cell(&rule.about),
                cell(&rule.pattern).tone(Tone::Strong),
                cell(rule.words.join(", ")),
                cell(&rule.layer),
                cell(rule.team.as_deref().unwrap_or("all")),
                cell(&rule.at).tone(Tone::Faint),
            ]
        };
        let rows: Vec<_> = rules.iter().map(row).collect();
        let head = ["ABOUT", "PATTERN", "GIVES", "LAYER", "AGENTS", "WRITTEN AT"];
        output::table(&head, &rows, "nothing has a label (agentsup schema policy tells how to give one)");
    }))
}

pub(super) fn says(decision: Decision) -> output::Cell {
    match decision {
        Decision::Allow => cell("allow").tone(Tone::Good),
        Decision::Ask => cell("ask").tone(Tone::Warning),
        Decision::Deny => cell("deny").tone(Tone::Bad),
    }
}

fn check(args: &CheckArgs) -> Outcome {
    let checked = policy::check(&Home::from_env()?, &args.files, args.layer.map(Layer::from))?;
    let code = args.answer.give(&checked, |checked| {
        checked.problems.iter().for_each(output::line);
        if checked.problems.is_empty() {
            let layer = |layer: &LayerView| format!("{} {}", layer.layer, layer.policies);
            let layers = checked.layers.iter().map(layer).collect::<Vec<_>>().join(", ");
            let noun = if checked.policies == 1 { "policy" } else { "policies" };
            output::line(format_args!("{} {noun} ({layers}), no problem", checked.policies));
        }
        checked.hints.iter().for_each(output::hint);
    });
    Ok(if checked.problems.is_empty() { code } else { ExitCode::from(Code::ConfigInvalid.exit_code()) })
}

fn test(args: &TestArgs) -> Outcome {
    let tested = policy::test(&args.files)?;
    let failed = tested.iter().flat_map(|tested| &tested.cases).filter(|case| case.failure.is_some()).count();
    let code = args.answer.give(&tested, |tested| tested.iter().for_each(show));
    Ok(if failed == 0 { code } else { ExitCode::from(Code::ConfigInvalid.exit_code()) })
}

fn show(tested: &Tested) {
    let failed: Vec<_> =
        tested.cases.iter().filter_map(|case| Some((case, case.failure.as_ref()?))).collect();
    for (case, failure) in &failed {
        output::line(format_args!(
            "{}: {}: {}",
            output::printable(&tested.policies),
            output::printable(&case.name),
            output::printable(failure)
        ));
    }
    let (passed, all) = (tested.cases.len() - failed.len(), tested.cases.len());
    output::line(format_args!("{}: {passed} of {all} cases passed", output::printable(&tested.policies)));
}
