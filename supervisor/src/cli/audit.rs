//! `agentsup audit`: the record.

use std::process::ExitCode;

use clap::builder::RangedU64ValueParser;

use super::output::{self, Answer, Format};
use super::{Outcome, ask};
use crate::api::answers::audit::{ListParams, Verified};
use crate::api::ops::{AuditList, AuditVerify, Nothing};
use crate::audit::{Listed, Summary};
use crate::core::error::{Code, Failure};

/// Read and verify the record of everything that was decided
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    List(ListArgs),
    Verify(VerifyArgs),
}

/// List the record, oldest first, one line each
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  agentsup audit list
  agentsup audit list --run 5a5a5a5a
  agentsup audit list --last 20
  agentsup audit list --json | jq 'select(.decision == \"deny\")'")]
struct ListArgs {
    /// Only this run: its id, an ending of it, or its branch
    #[arg(long, value_name = "RUN")]
    run: Option<String>,
    /// Only this agent
    #[arg(long, value_name = "NAME")]
    agent: Option<String>,
    /// Only records after this number
    #[arg(long, value_name = "SEQ", default_value_t = 0)]
    after: u64,
    /// Only the newest so many, at most 10000
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..=10_000))]
    last: Option<usize>,
    #[command(flatten)]
    answer: Answer,
}

/// Check that no record was changed, removed or added out of order
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  agentsup audit verify      exit 0, or 95 and the first broken number")]
struct VerifyArgs {
    #[command(flatten)]
    answer: Answer,
}

pub(super) fn perform(args: Args) -> Outcome {
    match args.verb {
        Verb::List(args) => list(args),
        Verb::Verify(args) => verify(&args),
    }
}

fn list(args: ListArgs) -> Outcome {
    let mut params = ListParams { after: args.after, run: args.run, agent: args.agent, last: args.last };
    let format = args.answer.format();
    ask(async |client| {
        let mut count = 0;
        // A long record comes in several answers; the last of them is empty.
        loop {
            let lines = client.call::<AuditList>(params.clone()).await?;
            lines.iter().for_each(|line| tell(line, format));
            count += lines.len();
            match lines.last() {
                Some(line) if params.last.is_none() => params.after = line.seq,
                _ => break,
            }
        }
        if count == 0 {
            output::narrate("nothing is recorded");
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn tell(line: &Listed, format: Format) {
    match format {
        Format::Json => output::json(line),
        Format::Text => match &line.command {
            Some(command) => {
                output::line(output::printable(&format!("{}  $ {}", line.sentence, brief(command))))
            }
            None => output::line(output::printable(&line.sentence)),
        },
    }
}

/// As much of a command as fits beside a sentence; `why` shows all of it.
fn brief(command: &str) -> String {
    const CHARS: usize = 120;
    let line = command.lines().next().unwrap_or_default();
    match line.char_indices().nth(CHARS) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None if line.len() < command.trim_end().len() => format!("{line} …"),
        None => line.to_owned(),
    }
}

/// A whole record, in a line.
pub(super) fn whole(summary: &Summary) -> String {
    format!(
        "the record is whole: {}, {}, head {}",
        output::count(summary.records, "record"),
        output::count(summary.reservations, "reservation"),
        summary.head
    )
}

fn verify(args: &VerifyArgs) -> Outcome {
    let verified = ask(async |client| client.call::<AuditVerify>(Nothing {}).await)?;
    if args.answer.format() == Format::Json {
        output::json(&verified);
    }
    match verified {
        Verified::Whole(summary) => {
            if args.answer.format() == Format::Text {
                output::line(whole(&summary));
            }
            Ok(ExitCode::SUCCESS)
        }
        Verified::Broken(finding) => {
            if args.answer.format() == Format::Text {
                output::line(finding.seq);
            }
            Err(Failure::new(Code::AuditBroken, finding.to_string())
                .hint("keep the file as it is and compare it with a copy"))
        }
    }
}
