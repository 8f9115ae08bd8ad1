//! `agentsup policy`: what decides, whether it is well-formed, and whether it decides as its tests say.

use std::path::PathBuf;
use std::process::ExitCode;

use super::output::{self, Answer, Tone, cell};
use super::{Outcome, ask};
use crate::api::answers::policies::PolicyView;
use crate::api::ops::{Nothing, PolicyList};
use crate::api::policy::{self, Tested};
use crate::core::decision::Decision;
use crate::core::error::Code;
use crate::core::policy::Layer;
use crate::sys::paths::Home;

/// Look at, check and test policies
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    List(ListArgs),
    Check(CheckArgs),
    Test(TestArgs),
}

/// List the policies in force, in the order of their layers
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  agentsup policy list
  agentsup policy list --json | jq '.[] | select(.stage == \"pbac\")'

Every policy belongs to a stage, by what its conditions look at: rbac (who, with which tool), abac
(labels of path, host, command and of what the run has seen), pbac (purpose, money, time). All are
asked each time; the strictest answer is in force.")]
struct ListArgs {
    #[command(flatten)]
    answer: Answer,
}

/// Check policies without putting them in force
///
/// Without files everything below the manifests directory. Exit 96 if there is a problem.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  agentsup policy check
  agentsup policy check team.cedar --layer team")]
struct CheckArgs {
    /// Files, or directories with files that end in .cedar
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Whose they are to be; only the organisation's can permit
    #[arg(long, value_enum, default_value_t = Whose::Org, requires = "files")]
    layer: Whose,
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
        Verb::Check(args) => check(&args),
        Verb::Test(args) => test(&args),
    }
}

fn list(args: &ListArgs) -> Outcome {
    let policies = ask(async |client| client.call::<PolicyList>(Nothing {}).await)?;
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

pub(super) fn says(decision: Decision) -> output::Cell {
    match decision {
        Decision::Allow => cell("allow").tone(Tone::Good),
        Decision::Ask => cell("ask").tone(Tone::Warning),
        Decision::Deny => cell("deny").tone(Tone::Bad),
    }
}

fn check(args: &CheckArgs) -> Outcome {
    let checked = policy::check(&Home::from_env()?, &args.files, args.layer.into())?;
    let code = args.answer.give(&checked, |checked| {
        checked.problems.iter().for_each(output::line);
        if checked.problems.is_empty() {
            output::line(match checked.policies {
                1 => "1 policy, no problem".to_owned(),
                policies => format!("{policies} policies, no problem"),
            });
        }
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
