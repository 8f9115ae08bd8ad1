//! `agentsup policy replay` and `policy diff`: what other rules would make of what was decided.

use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;

use super::super::output::{self, Answer, Tone, cell};
use super::super::{Outcome, absolute, ask};
use crate::api::answers::decided::DecidedParams;
use crate::api::answers::policies::{LabelView, PolicyView};
use crate::api::answers::reasons::ReasonView;
use crate::api::client::Client;
use crate::api::replay::{self, Altered, Change, Corpus, Differences, Replayed, Which};
use crate::core::error::{Code, Failure};
use crate::core::instant;
use crate::core::policy::Pack;
use crate::sys::clock;
use crate::sys::paths::Home;

/// With `--check`: something is decided otherwise.
const CHANGED: u8 = 98;
/// Changed decisions that are shown one by one.
const SHOWN: usize = 50;
/// How often progress is told, in milliseconds; the first time after as long.
const PROGRESS_MS: i64 = 2000;

/// Judge recorded decisions again, and show which would be others
///
/// Under the policies in force, or under those of a directory like that of the manifests, with the
/// agents in it (those in force if it has none), or under another pack. What was decided about is
/// kept beside the record for 30 days. People's answers, budgets, an ACS manifest's word and a run's
/// state are left out: compared is what the rules said.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  agentsup policy replay
  agentsup policy replay --pack strict --since 7d
  agentsup policy replay --policies ./manifests --check      exit 98 where a decision changes

Exit codes: 0, also where decisions change; with --check 98 where one does.")]
pub(super) struct ReplayArgs {
    #[command(flatten)]
    over: Over,
    /// The policies, and the manifests of agents, of this directory
    #[arg(long, value_name = "DIR")]
    policies: Option<PathBuf>,
    #[command(flatten)]
    answer: Answer,
}

/// Compare the policies in force with others, and show what those would make of what was decided
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  agentsup policy diff ./manifests
  agentsup policy diff --pack strict
  agentsup policy diff ./manifests --since 7d --check        exit 98 where a decision changes

Exit codes: 0, also where policies or decisions differ; with --check 98 where a decision does.")]
pub(super) struct DiffArgs {
    /// A directory like that of the manifests
    #[arg(value_name = "DIR", required_unless_present = "pack")]
    directory: Option<PathBuf>,
    #[command(flatten)]
    over: Over,
    #[command(flatten)]
    answer: Answer,
}

/// Which decisions, and under which pack.
#[derive(Debug, clap::Args)]
struct Over {
    /// Only since then: a date, a time, or so long ago, such as 7d or 12h
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only this run: its id, an ending of it, its branch, or `latest`
    #[arg(long, value_name = "RUN")]
    run: Option<String>,
    /// This pack instead of the one in force: observe, standard or strict
    #[arg(long, value_name = "PACK")]
    pack: Option<Pack>,
    /// Exit 98 where a decision changes
    #[arg(long)]
    check: bool,
}

impl Over {
    fn params(&self) -> Result<DecidedParams, Failure> {
        let since = self.since.as_deref().map(|text| instant::since_ms(text, clock::now_ms())).transpose();
        let since_ms = since
            .map_err(|message| Failure::new(Code::Usage, message).hint("agentsup policy replay --help"))?;
        Ok(DecidedParams { after: 0, since_ms, run: self.run.clone() })
    }

    fn exit(&self, replayed: &Replayed, code: ExitCode) -> ExitCode {
        if self.check && !replayed.is_same() { ExitCode::from(CHANGED) } else { code }
    }
}

async fn judge(client: &Client, corpus: &Corpus, params: DecidedParams) -> Result<Replayed, Failure> {
    let mut told_ms = clock::now_ms();
    let progress = |read: u64, all: u64| {
        let now_ms = clock::now_ms();
        if now_ms - told_ms >= PROGRESS_MS {
            told_ms = now_ms;
            output::narrate(format_args!("{read} of {all} records read"));
        }
    };
    replay::replay(client, corpus, params, progress).await
}

pub(super) fn replay(args: &ReplayArgs) -> Outcome {
    let directory = args.policies.as_deref().map(absolute).transpose()?;
    let which = Which { directory, pack: args.over.pack };
    let corpus = Corpus::read(&Home::from_env()?, &which)?;
    let params = args.over.params()?;
    let replayed = ask(async |client| judge(client, &corpus, params).await)?;
    let code = args.answer.give(&replayed, show);
    Ok(args.over.exit(&replayed, code))
}

/// Both answers of [`diff`].
#[derive(Serialize)]
struct Diffed {
    policies: Differences,
    decisions: Replayed,
}

pub(super) fn diff(args: &DiffArgs) -> Outcome {
    let home = Home::from_env()?;
    let directory = args.directory.as_deref().map(absolute).transpose()?;
    let in_force = Corpus::read(&home, &Which::default())?;
    let other = Corpus::read(&home, &Which { directory, pack: args.over.pack })?;
    let policies = replay::differences(&in_force, &other);
    let params = args.over.params()?;
    let decisions = ask(async |client| judge(client, &other, params).await)?;
    let diffed = Diffed { policies, decisions };
    let code = args.answer.give(&diffed, |diffed| {
        differences(&diffed.policies);
        show(&diffed.decisions);
    });
    Ok(args.over.exit(&diffed.decisions, code))
}

fn differences(found: &Differences) {
    if found.is_empty() {
        output::line("the same policies, labels and agents");
        return;
    }
    let row = |sign: &str, policy: &PolicyView, what: String, tone: Tone| {
        vec![
            cell(sign).tone(tone),
            cell(&policy.source).tone(Tone::Strong),
            cell(policy.stage.name()),
            super::says(policy.decision),
            cell(format_args!("{}:{}", policy.file, policy.line)).tone(Tone::Faint),
            cell(what),
        ]
    };
    let mut rows: Vec<Vec<output::Cell>> = Vec::new();
    rows.extend(found.removed.iter().map(|policy| row("-", policy, policy.text.clone(), Tone::Bad)));
    rows.extend(found.added.iter().map(|policy| row("+", policy, policy.text.clone(), Tone::Good)));
    rows.extend(found.changed.iter().map(|altered| row("~", &altered.to, what(altered), Tone::Warning)));
    if !rows.is_empty() {
        output::table(&["", "POLICY", "STAGE", "SAYS", "WRITTEN AT", "WHAT"], &rows, "no policy differs");
    }
    let labels = |sign: &str, rules: &[LabelView]| {
        for LabelView { about, pattern, words, at, .. } in rules {
            let rule = format!("{sign} {about} {pattern}: {} ({at})", words.join(", "));
            output::line(output::printable(&rule));
        }
    };
    labels("-", &found.labels_removed);
    labels("+", &found.labels_added);
    for (agent, how) in &found.agents {
        output::line(format_args!("the manifest of {} is {how}", output::printable(agent)));
    }
}

/// What is different about a policy, with what it was where that is short.
fn what(altered: &Altered) -> String {
    let Altered { from, to, what } = altered;
    let each = what.iter().map(|what| match what.as_str() {
        "layer" => format!("was {}", from.source),
        "decision" => format!("says {} instead of {}", to.decision.name(), from.decision.name()),
        "stage" => format!("was {}", from.stage.name()),
        "condition" => "another condition".to_owned(),
        "reason" => "another reason".to_owned(),
        _ => "other agents".to_owned(),
    });
    each.collect::<Vec<_>>().join(", ")
}

fn show(replayed: &Replayed) {
    let hidden = replayed.changes.len().saturating_sub(SHOWN);
    for change in replayed.changes.iter().skip(hidden) {
        told(change);
    }
    let changed: u64 = replayed.counts.values().sum();
    if changed > SHOWN as u64 {
        output::narrate(format_args!("the newest {SHOWN} of {changed}; --json has more"));
    }
    let counts: Vec<String> = replayed.counts.iter().map(|(how, count)| format!("{count} × {how}")).collect();
    let judged = output::count(replayed.judged, "decision");
    output::line(match counts.as_slice() {
        [] => format!("{judged} judged again, none changes"),
        counts => format!("{judged} judged again, {changed} change: {}", counts.join(", ")),
    });
    let left = &replayed.left;
    for (count, why) in [
        (left.not_kept, "not judged: nothing was kept (from before, too long, or with a secret in it)"),
        (left.erased, "not judged: what was kept is erased"),
        (left.changed, "not judged: what was kept was changed; see agentsup audit verify"),
    ] {
        if count > 0 {
            output::line(format_args!("{} {why}", output::count(count, "decision")));
        }
    }
    if !replayed.other_manifests.is_empty() {
        let names: Vec<&str> = replayed.other_manifests.iter().map(String::as_str).collect();
        output::line(format_args!(
            "judged by another manifest than then: {}",
            output::printable(&names.join(", "))
        ));
    }
}

fn told(change: &Change) {
    let how = format!("{} → {}", change.from.name(), change.to.name());
    output::line(format_args!("{how:<13} {}", output::printable(&change.sentence)));
    if let Some(command) = &change.command {
        output::line(format_args!("              {}", output::printable(command)));
    }
    let by: Vec<String> = change.by.iter().map(said).collect();
    output::line(format_args!(
        "              was {}; now {} ({})",
        output::printable(&change.was.join(" and ")),
        output::printable(&by.join("; ")),
        change.record
    ));
}

fn said(reason: &ReasonView) -> String {
    let at = reason.at.as_ref().map(|at| format!(" ({at})")).unwrap_or_default();
    let text = if reason.text.is_empty() { String::new() } else { format!(": {}", reason.text) };
    format!("{}{at}{text}", reason.source)
}
