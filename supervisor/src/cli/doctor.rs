//! `agentsup doctor`: what is in place, what is not, and what to do about it.

mod agents;

use std::process::ExitCode;

use super::output::{self, Answer, Cell, Format, Tone, cell};
use super::{Outcome, ask_of};
use crate::api::answers::registry::{Found, RegistryView, short};
use crate::api::client::Absent;
use crate::api::doctor::{self, KeyringView, ProgramState, ProgramView, Report};
use crate::api::ops::{DaemonStatus, Nothing};
use crate::core::error::Code;
use crate::sys::clock;
use crate::sys::paths::Home;

/// Check what must be in place: paths, ports, programs, keyring, configuration
///
/// Starts nothing and changes nothing. Exit 96 if configuration or manifests have a problem.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  agentsup doctor
  agentsup doctor --json | jq '.paths'
  agentsup doctor --agents
  agentsup doctor --agents qwen")]
pub(super) struct Args {
    /// What of each agent is enforced, what is only observed, and what neither; with a NAME why
    #[arg(long, value_name = "NAME", num_args = 0..=1)]
    agents: Option<Option<String>>,
    #[command(flatten)]
    answer: Answer,
}

pub(super) fn perform(args: &Args) -> Outcome {
    if let Some(name) = &args.agents {
        return agents::perform(name.as_deref(), args.answer.format());
    }
    let home = Home::from_env()?;
    let daemon = ask_of(Absent::Fail, async |client| client.call::<DaemonStatus>(Nothing {}).await).ok();
    let report = doctor::examine(&home, daemon)?;
    match args.answer.format() {
        Format::Json => output::json(&report),
        Format::Text => show(&report),
    }
    if report.problems.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::from(Code::ConfigInvalid.exit_code()))
}

fn show(report: &Report) {
    let mut facts = vec![("agentsup", cell(&report.version)), ("daemon", daemon(report))];
    let paths = report.paths.iter().map(|path| {
        let tone = if path.exists { Tone::Plain } else { Tone::Faint };
        (path.purpose.as_str(), cell(path.path.display()).tone(tone))
    });
    facts.extend(paths);
    facts.push(("git", program(&report.git)));
    for agent in &report.agents {
        facts.push((agent.name.as_str(), program(agent)));
    }
    facts.push((
        "keyring",
        match &report.keyring {
            KeyringView::Usable => cell("usable").tone(Tone::Good),
            KeyringView::Unusable(why) => cell(why).tone(Tone::Warning),
        },
    ));
    let agents = output::count(report.registered_agents, "registered agent");
    let tone = if report.registered_agents == 0 { Tone::Warning } else { Tone::Good };
    facts.push(("registry", cell(agents).tone(tone)));
    facts.extend(report.registry.iter().map(|registry| ("registry in git", in_git(registry))));
    if let Some(acs) = &report.acs {
        let text = format!("{}: {}", acs.manifest.display(), acs.points);
        let is_whole = acs.points.denied.is_empty() && acs.points.never_asked.is_empty();
        facts.push(("ACS manifest", cell(text).tone(if is_whole { Tone::Good } else { Tone::Warning })));
    }
    output::facts(&facts);
    let clock = report.daemon.iter().flat_map(|daemon| &daemon.clock_problems);
    clock.clone().for_each(|problem| output::warn(output::printable(problem)));
    if clock.count() > 0 {
        output::hint("agentsup budget clock --accept, once the clock is right");
    }
    for problem in &report.problems {
        output::warn(output::printable(problem));
    }
    if report.registered_agents == 0 && report.problems.is_empty() {
        output::hint("agentsup init");
    }
}

/// What is in force of it, and when it was asked for news last.
fn in_git(registry: &RegistryView) -> Cell {
    let (in_force, mut tone) = match &registry.commit {
        Some(commit) => (format!("{} of", short(commit)), Tone::Good),
        None => ("nothing is in force of".to_owned(), Tone::Bad),
    };
    let asked = registry.look.as_ref().map_or_else(
        || "never asked".to_owned(),
        |look| format!("asked {}", clock::shown(look.at_ms, clock::now_ms())),
    );
    let state = match registry.look.as_ref().map(|look| &look.found) {
        None | Some(Found::Current) => String::new(),
        Some(Found::Unreachable { why }) => format!(", not reached: {why}"),
        Some(Found::Rewound { commit } | Found::Invalid { commit, .. }) => {
            tone = Tone::Bad;
            format!(", {} was refused", short(commit))
        }
    };
    let source = &registry.source;
    cell(format_args!("{in_force} {} ({}), {asked}{state}", source.git, source.branch)).tone(tone)
}

fn daemon(report: &Report) -> Cell {
    match &report.daemon {
        Some(status) => {
            let text = format_args!("process {}, port {}, {} runs", status.pid, status.port, status.runs);
            cell(text).tone(Tone::Good)
        }
        None => cell("not running; it starts by itself").tone(Tone::Faint),
    }
}

fn program(view: &ProgramView) -> Cell {
    let version = view.version.as_deref().unwrap_or_default();
    match view.state {
        ProgramState::Usable => cell(version).tone(Tone::Good),
        ProgramState::Untested => {
            let why = view.tested.as_ref().map_or_else(
                || "not tested with the real program".to_owned(),
                |tested| format!("newer than the tested {tested}"),
            );
            cell(format_args!("{version}, {why}")).tone(Tone::Warning)
        }
        ProgramState::TooOld => {
            let hint = view.hint.as_deref().unwrap_or_default();
            cell(format_args!("{version} is too old, {} is needed: {hint}", view.minimum)).tone(Tone::Bad)
        }
        ProgramState::OldRuntime => {
            let hint = view.hint.as_deref().unwrap_or_default();
            cell(format_args!("{version} does not run here: {hint}")).tone(Tone::Bad)
        }
        ProgramState::Missing => {
            let hint = view.hint.as_deref().unwrap_or_default();
            cell(format_args!("not found: {hint}")).tone(Tone::Faint)
        }
    }
}
