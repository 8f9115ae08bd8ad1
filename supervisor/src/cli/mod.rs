//! The command line: one file per verb. Reads what the user wrote, asks the daemon, shows the answer.
//!
//! Invariants: what needs no daemon starts no runtime and contacts nobody; only [`output`] prints; every failure leaves
//! through [`output::fail`] with the exit code of the contract.

mod agent;
mod approvals;
mod asker;
mod attach;
mod audit;
mod budget;
mod completions;
mod daemon;
mod demo;
mod diff;
mod discard;
mod doctor;
mod hook;
mod init;
mod key;
mod kill;
mod land;
mod logs;
mod mcp;
mod output;
mod policy;
mod prices;
mod ps;
mod relay;
mod run;
mod schema;
mod statusline;
mod stop;
mod suspend;
mod sync;
mod usage;
mod why;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory as _, FromArgMatches as _, Subcommand};

use crate::api::client::{Absent, Client};
use crate::api::start::DAEMON_ARGUMENT;
use crate::core::error::{Code, Failure};
use crate::run::keeper;
use crate::sys::env;
use crate::sys::paths::Home;

/// Supervise coding agents: each in its own worktree, inside a budget, on the record.
#[derive(Debug, clap::Parser)]
#[command(
    name = "agentsup",
    version,
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true,
    max_term_width = 100,
    after_help = AFTER_HELP
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

const AFTER_HELP: &str = "\
Examples:
  agentsup init                        register a personal agent and its budget, once
  agentsup key set anthropic           put a provider's key into the keyring
  agentsup run claude                  Claude Code in a fresh worktree, supervised
  agentsup run command -- make test    run any program in a fresh worktree, supervised
  agentsup ps                          what runs, and what it has cost
  agentsup usage                       what was spent by day, how fast, and until when it lasts
  agentsup audit list                  what happened, as sentences

Everything lives below AGENTSUP_HOME if that is set, else in the platform's usual places. Exit
codes: 0 ok, 1 bug, 2 usage, 90 denied, 91 approval timed out, 92 budget, 93 killed, 94 daemon
unreachable, 95 audit broken, 96 configuration invalid, 97 registry refused or out of reach, 98
decisions would change (with --check); `run` passes the agent's own code on.";

#[derive(Debug, Subcommand)]
enum Verb {
    Run(run::Args),
    Init(init::Args),
    Ps(ps::Args),
    Attach(attach::Args),
    Logs(logs::Args),
    Stop(stop::Args),
    Suspend(suspend::SuspendArgs),
    Resume(suspend::ResumeArgs),
    Kill(kill::Args),
    Diff(diff::Args),
    Land(land::Args),
    Discard(discard::Args),
    Approvals(approvals::ListArgs),
    Approve(approvals::ApproveArgs),
    Deny(approvals::DenyArgs),
    Policy(policy::Args),
    Why(why::Args),
    Audit(audit::Args),
    Agent(agent::Args),
    Sync(sync::Args),
    Budget(budget::Args),
    Usage(usage::Args),
    Prices(prices::Args),
    Statusline(statusline::Args),
    Key(key::Args),
    Mcp(mcp::Args),
    Schema(schema::Args),
    Doctor(doctor::Args),
    Daemon(daemon::Args),
    /// Open the desktop window
    Desktop,
    Completions(completions::Args),
}

/// Opens the desktop window and returns when it is closed.
pub type Window = fn() -> Result<(), Failure>;

/// What a verb comes to.
type Outcome = Result<ExitCode, Failure>;

/// Runs the command line. `desktop` opens the window, where it is built in.
pub fn main(desktop: Option<Window>) -> ExitCode {
    // Before anything else: keeper and daemon fork while there is one thread, and a hook must cost nothing.
    match env::arguments().next().as_deref().and_then(std::ffi::OsStr::to_str) {
        Some(keeper::VERB) => return keeper::main(),
        Some(DAEMON_ARGUMENT) => return crate::daemon::main(),
        Some(hook::VERB) => return hook::perform(),
        Some(relay::VERB) => return relay::perform(),
        Some(statusline::VERB) if env::arguments().count() == 1 => return statusline::perform(),
        Some(demo::AGENT_ARGUMENT) => return demo::agent(),
        Some(demo::SERVER_ARGUMENT) => return demo::server(),
        _ => {}
    }
    match parse() {
        Ok(cli) => perform(cli.verb, desktop).unwrap_or_else(|failure| output::fail(&failure)),
        Err(error) => output::clap(&error),
    }
}

fn parse() -> Result<Cli, clap::Error> {
    let matches = Cli::command().try_get_matches_from(
        std::iter::once(std::ffi::OsString::from("agentsup")).chain(env::arguments()),
    )?;
    Cli::from_arg_matches(&matches)
}

fn perform(verb: Verb, desktop: Option<Window>) -> Outcome {
    match verb {
        Verb::Run(args) => run::perform(args),
        Verb::Init(args) => init::perform(&args),
        Verb::Ps(args) => ps::perform(&args),
        Verb::Attach(args) => attach::perform(&args),
        Verb::Logs(args) => logs::perform(&args),
        Verb::Stop(args) => stop::perform(&args),
        Verb::Suspend(args) => suspend::suspend(args),
        Verb::Resume(args) => suspend::resume(args),
        Verb::Kill(args) => kill::perform(args),
        Verb::Diff(args) => diff::perform(&args),
        Verb::Land(args) => land::perform(args),
        Verb::Discard(args) => discard::perform(&args),
        Verb::Approvals(args) => approvals::list(args),
        Verb::Approve(args) => approvals::approve(args),
        Verb::Deny(args) => approvals::deny(args),
        Verb::Policy(args) => policy::perform(args),
        Verb::Why(args) => why::perform(args),
        Verb::Audit(args) => audit::perform(args),
        Verb::Agent(args) => agent::perform(args),
        Verb::Sync(args) => sync::perform(args),
        Verb::Budget(args) => budget::perform(args),
        Verb::Prices(args) => prices::perform(args),
        Verb::Usage(args) => usage::perform(args),
        Verb::Statusline(_) => Ok(statusline::perform()),
        Verb::Key(args) => key::perform(args),
        Verb::Mcp(args) => mcp::perform(args),
        Verb::Schema(args) => schema::perform(&args),
        Verb::Doctor(args) => doctor::perform(&args),
        Verb::Daemon(args) => daemon::perform(&args),
        Verb::Desktop => open_window(desktop),
        Verb::Completions(args) => Ok(completions::perform(&args)),
    }
}

fn open_window(desktop: Option<Window>) -> Outcome {
    match desktop {
        Some(window) => window().map(|()| ExitCode::SUCCESS),
        None => Err(Failure::new(Code::Usage, "this agentsup was built without its window")
            .hint("cargo build --release builds it with the window")),
    }
}

/// Asks the daemon, starting it if it is not there.
fn ask<T>(work: impl AsyncFnOnce(&Client) -> Result<T, Failure>) -> Result<T, Failure> {
    ask_of(Absent::Start, work)
}

fn ask_of<T>(absent: Absent, work: impl AsyncFnOnce(&Client) -> Result<T, Failure>) -> Result<T, Failure> {
    let client = Client::new(Home::from_env()?, absent);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::internal(&error))?;
    runtime.block_on(work(&client))
}

/// As [`ask`], telling what is waited for once that takes more than a second.
fn ask_slowly<T>(what: &str, work: impl AsyncFnOnce(&Client) -> Result<T, Failure>) -> Result<T, Failure> {
    ask(async |client| {
        let mut answer = std::pin::pin!(work(client));
        match tokio::time::timeout(Duration::from_secs(1), &mut answer).await {
            Ok(answer) => answer,
            Err(_) => {
                output::narrate(format_args!("{what} …"));
                answer.await
            }
        }
    })
}

/// The daemon works elsewhere.
fn absolute(file: &Path) -> Result<PathBuf, Failure> {
    let directory = env::working_directory().map_err(|error| Failure::new(Code::Usage, error.to_string()))?;
    Ok(directory.join(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    /// What hints and examples name exists: every command that a literal of a hint begins with.
    #[test]
    fn every_hint_names_a_command_that_exists() {
        let mut dirs = vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))];
        let mut hints = 0;
        while let Some(dir) = dirs.pop() {
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    dirs.push(path);
                    continue;
                }
                let text: String =
                    std::fs::read_to_string(&path).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
                for opening in ["hint(", "Some("] {
                    for (at, _) in text.match_indices(opening) {
                        let rest = text[at + opening.len()..].trim_start();
                        let rest = ["format!(", "format_args!("]
                            .iter()
                            .find_map(|call| rest.strip_prefix(call))
                            .unwrap_or(rest);
                        let Some(rest) = rest.trim_start().strip_prefix("\"agentsup ") else { continue };
                        assert!(names_a_command(rest), "{}: agentsup {:.40}", path.display(), rest);
                        hints += 1;
                    }
                }
            }
        }
        assert!(hints > 20, "only {hints} hints were found");
    }

    fn names_a_command(text: &str) -> bool {
        let mut words = text.split(|letter: char| !letter.is_ascii_lowercase() && letter != '-');
        let cli = Cli::command();
        let verb = words.next().and_then(|word| cli.find_subcommand(word).cloned());
        verb.is_some_and(|verb| {
            !verb.is_subcommand_required_set()
                || words.next().is_some_and(|word| verb.find_subcommand(word).is_some())
        })
    }

    #[test]
    fn help_fits_into_its_width() {
        fn check(command: &clap::Command) {
            for help in [command.get_after_help(), command.get_after_long_help()].into_iter().flatten() {
                for line in help.to_string().lines() {
                    assert!(line.chars().count() <= 100, "`{}`: {line}", command.get_name());
                }
            }
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }

    #[test]
    fn every_verb_ends_its_help_with_examples() {
        for verb in Cli::command().get_subcommands() {
            let has_verbs = verb.get_subcommands().next().is_some();
            let shown =
                has_verbs || verb.get_after_help().is_some_and(|text| text.to_string().contains("Examples:"));
            assert!(shown || verb.get_name() == "desktop", "`{}` has no examples", verb.get_name());
            assert!(verb.get_about().is_some(), "`{}` says nothing about itself", verb.get_name());
        }
    }
}
