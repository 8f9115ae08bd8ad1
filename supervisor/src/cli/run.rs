//! `agentsup run`: starts a run, and is the terminal it runs in unless it is told to detach.

use std::io;
use std::os::fd::AsFd as _;
use std::pin::Pin;
use std::process::ExitCode;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::output::{self, Answer, Format};
use super::{Outcome, ask, attach};
use crate::api::answers::figures::{RunSummary, SummaryParams};
use crate::api::client::Client;
use crate::api::ops::{ManifestDemo, Nothing, RunDiff, RunKill, RunStart, RunWait, UsageRun};
use crate::core::amount::Amount;
use crate::core::billing::Billing;
use crate::core::environ;
use crate::core::error::{Code, Failure};
use crate::core::ids::RunId;
use crate::core::run::RunState;
use crate::demo;
use crate::run::attach::{Attached, DetachKeys};
use crate::run::changes::Changes;
use crate::run::keeper::{FirstClient, Io};
use crate::run::launch::{StartParams, Started};
use crate::run::stop::{KillParams, Target, WaitParams};
use crate::run::view::{RunParams, RunView, WorktreeState};
use crate::sys::env::{self, Env};
use crate::sys::signals::SignalPipe;
use crate::sys::{ids, terminal};

/// Longer than a worktree takes to be looked at and put away.
const END_TIMEOUT_MS: u64 = 60_000;
/// How often a run is looked for that is to be killed before it was stored: a second in all.
const UNDO_TRIES: u32 = 50;
const UNDO_INTERVAL: Duration = Duration::from_millis(20);
/// After so long somebody who waits wants to know for what.
const SLOW: Duration = Duration::from_secs(1);

/// Start an agent in a fresh worktree of this repository, supervised
///
/// The agent works on a branch of its own, in a checkout outside this one. Its model calls, tool calls and spending go
/// through agentsup. It gets a short-lived token and never a provider's key.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  agentsup run claude                          Claude Code, in this terminal
  agentsup run claude -- -p 'fix the tests'    with arguments of its own, after --
  agentsup run command -- make test            any program
  agentsup run --detach command -- ./long      in the background; prints the run's id
  agentsup run --agent code-review-bot claude  as another registered agent
  agentsup run --cap '2.00 USD' claude         with a cap of its own
  agentsup run --subscription claude           paid by your own login; codex can, too

Ctrl-\\ then d detaches; `agentsup attach RUN` comes back. When something waits for your answer,
the bell rings and the title says so; Ctrl-\\ then a shows it. The exit code is the agent's own.")]
pub(super) struct Args {
    /// Act as this registered agent; needed only if several may use the adapter
    #[arg(long, value_name = "NAME")]
    agent: Option<String>,
    /// Start in the background and print the run's id
    #[arg(long, short)]
    detach: bool,
    /// A word for the branch's name
    #[arg(long, value_name = "WORD")]
    name: Option<String>,
    /// The most this run may spend, such as '2.00 USD' or '100000 tokens', whatever its agent's budget leaves
    #[arg(long, value_name = "AMOUNT")]
    cap: Option<Amount>,
    /// Let your own login pay, such as Claude Max or ChatGPT: metered at list prices and not enforced
    ///
    /// The agent uses your login by itself, straight to its provider; agentsup never sees it. What it used is told
    /// afterwards, and a run whose budget is used up is killed. The agent's manifest must say `billing: either` or
    /// `billing: subscription`.
    #[arg(long)]
    subscription: bool,
    /// Keys that detach
    #[arg(long, value_name = "KEYS", default_value = "ctrl-\\,d")]
    detach_keys: DetachKeys,
    #[command(flatten)]
    answer: Answer,
    /// What to start: claude, codex, copilot, cursor, gemini, opencode, qwen, …, or `command` for any program
    adapter: String,
    /// The agent's own arguments
    #[arg(last = true, value_name = "ARGS")]
    args: Vec<String>,
}

pub(super) fn perform(args: Args) -> Outcome {
    let (detach, format, keys) = (args.detach, args.answer.format(), args.detach_keys.clone());
    let params = params(args)?;
    let is_demo = params.adapter == demo::NAME;
    let started = ask(async |client| {
        if is_demo {
            // Whoever asks for the demo asks for its agent, which may do nothing else.
            client.call::<ManifestDemo>(Nothing {}).await?;
        }
        start(client, params).await
    })?;
    if detach {
        match format {
            Format::Json => output::json(&started),
            Format::Text => output::line(started.id),
        }
        tell_started(&started);
        return Ok(ExitCode::SUCCESS);
    }
    tell_started(&started);
    let attached = attach::join(started.id, &started.dir, &keys)?;
    let shows_record = is_demo && matches!(attached, Attached::Exited { .. });
    let code = end(&started, attached, format)?;
    if shows_record && format == Format::Text {
        super::demo::tell_record(started.id.to_string())?;
    }
    Ok(code)
}

fn params(args: Args) -> Result<StartParams, Failure> {
    let directory = env::working_directory()
        .map_err(|error| Failure::new(Code::Usage, format!("the current directory is gone: {error}")))?;
    if directory.to_str().is_none() {
        return Err(Failure::new(Code::Usage, format!("`{}` is not UTF-8", directory.display()))
            .hint("run from a directory whose path is UTF-8"));
    }
    let variables = Env::current()
        .iter()
        .filter_map(|(name, value)| Some((name.to_str()?.to_owned(), value.to_str()?.to_owned())));
    let io = if output::is_terminal() && !args.detach {
        let size = terminal::size(io::stdin().as_fd()).unwrap_or(terminal::Size::DEFAULT);
        Io::Pty { cols: size.cols, rows: size.rows }
    } else if args.detach {
        // Somebody may attach later, and most agents draw.
        Io::Pty { cols: 0, rows: 0 }
    } else {
        Io::Pipes
    };
    Ok(StartParams {
        id: None,
        adapter: args.adapter,
        agent: args.agent,
        name: args.name,
        billing: args.subscription.then_some(Billing::Subscription),
        cap: args.cap,
        args: args.args,
        directory,
        environment: environ::inherited(variables),
        io,
        first_client: if args.detach { FirstClient::NotAwaited } else { FirstClient::Awaited },
    })
}

/// A Ctrl-C while the run is being started undoes the start; a second one does not wait for that.
async fn start(client: &Client, mut params: StartParams) -> Result<Started, Failure> {
    let internal = |error: &dyn std::fmt::Display| Failure::internal(error);
    let id = ids::new_run_id().map_err(|error| internal(&error))?;
    params.id = Some(id);
    // Only as long as it is being started: afterwards a Ctrl-C is the agent's, or ends this process.
    let keys = SignalPipe::install(&[Signal::SIGINT]).map_err(|error| internal(&error))?;
    let starting = client.call::<RunStart>(params);
    tokio::pin!(starting);
    let quick = tokio::time::timeout(SLOW, async {
        tokio::select! {
            started = &mut starting => Some(started),
            _ = keys.next() => None,
        }
    });
    match quick.await {
        Ok(Some(started)) => return started,
        Ok(None) => {}
        Err(_) => {
            output::narrate(
                "starting; a large worktree takes a while, and a policy may ask: agentsup approvals",
            );
            tokio::select! {
                started = &mut starting => return started,
                _ = keys.next() => {}
            }
        }
    }
    output::narrate("stopping the run");
    tokio::select! {
        undone = undo(client, id, starting) => undone,
        _ = keys.next() => {
            Err(Failure::new(Code::Killed, format!("`{id}` may still be starting")).hint("agentsup ps"))
        }
    }
}

/// Kills a run that may not be stored yet.
async fn undo(
    client: &Client,
    id: RunId,
    mut starting: Pin<&mut impl Future<Output = Result<Started, Failure>>>,
) -> Result<Started, Failure> {
    let kill = || client.call::<RunKill>(KillParams { target: Target::Run(id.to_string()) });
    for _ in 0..UNDO_TRIES {
        match kill().await {
            Err(failure) if failure.code == Code::NotFound => {}
            // It is dead or was over already: what came of the start says which.
            Ok(_) | Err(_) => break,
        }
        if let Ok(started) = tokio::time::timeout(UNDO_INTERVAL, starting.as_mut()).await {
            started?;
            kill().await?;
            return Err(undone(id));
        }
    }
    starting.await?;
    Err(undone(id))
}

fn undone(id: RunId) -> Failure {
    Failure::new(Code::Killed, format!("`{id}` was killed while it was started"))
}

fn tell_started(started: &Started) {
    output::narrate(format_args!(
        "run {} · {} · branch {} · worktree {}",
        started.id,
        started.agent,
        started.branch,
        started.worktree.display()
    ));
    for note in &started.notes {
        output::warn(note);
    }
}

fn end(started: &Started, attached: Attached, format: Format) -> Outcome {
    let id = started.id.to_string();
    match attached {
        Attached::Detached => {
            output::narrate("detached; the run goes on");
            output::hint(format_args!("agentsup attach {}", started.id.short()));
            Ok(ExitCode::SUCCESS)
        }
        Attached::Unread => Ok(attach::unread()),
        Attached::Lost => Err(Failure::new(Code::Internal, format!("the keeper of `{id}` is gone"))
            .hint("agentsup ps shows what became of the run")),
        Attached::Exited { exit, cause } => {
            // The daemon may have died; the agent's own code counts for more than a summary.
            match ask(async |client| summary(client, &id).await) {
                Ok(ended) => {
                    tell_end(&ended, format);
                    Ok(attach::exit_code_of(&ended.view, exit, cause))
                }
                Err(failure) => {
                    output::warn(failure);
                    Ok(attach::exit_code(exit, cause))
                }
            }
        }
    }
}

/// A run that is over, as `run --json` answers it.
#[derive(Debug, serde::Serialize)]
struct Ended {
    #[serde(flatten)]
    view: RunView,
    /// What it spent, and what it was denied.
    summary: RunSummary,
    /// What it changed; none without a worktree.
    diff: Option<Diff>,
}

/// A change in numbers.
#[derive(Debug, serde::Serialize)]
struct Diff {
    files: u64,
    insertions: u64,
    deletions: u64,
    commits: u64,
    uncommitted: u64,
}

impl From<Changes> for Diff {
    fn from(changes: Changes) -> Self {
        Self {
            files: u64::try_from(changes.files.len()).unwrap_or(u64::MAX),
            insertions: changes.insertions,
            deletions: changes.deletions,
            commits: changes.commits,
            uncommitted: changes.uncommitted,
        }
    }
}

async fn summary(client: &Client, id: &str) -> Result<Ended, Failure> {
    let params = WaitParams { run: id.to_owned(), timeout_ms: END_TIMEOUT_MS };
    let view = client.call::<RunWait>(params).await?;
    let summary = client.call::<UsageRun>(SummaryParams { run: view.id }).await?;
    let changes = match view.worktree_state {
        WorktreeState::Present => client.call::<RunDiff>(RunParams { run: id.to_owned() }).await.ok(),
        WorktreeState::Removed => None,
    };
    Ok(Ended { view, summary, diff: changes.map(Diff::from) })
}

fn tell_end(ended: &Ended, format: Format) {
    if format == Format::Json {
        output::json(ended);
    }
    let (view, spent) = (&ended.view, spent(&ended.summary));
    let how = match (view.state, view.exit.as_deref()) {
        (RunState::Killed, Some(why)) if why != "killed" => format!("killed, {why}"),
        (RunState::Killed, _) => "killed".to_owned(),
        (_, Some(exit)) => exit.to_owned(),
        (state, None) => state.name().to_owned(),
    };
    for budget in &view.alerted {
        output::warn(format_args!("the budget {budget} has crossed its alert threshold"));
    }
    let short = view.id.short();
    match &ended.diff {
        Some(diff) => {
            output::narrate(format_args!(
                "run {} · {how} · {} · {spent} · kept in {}",
                view.id,
                changed(diff),
                view.worktree.display()
            ));
            output::hint(format_args!(
                "agentsup diff {short} · agentsup land {short} · agentsup discard {short}"
            ));
        }
        None => {
            let fate = match view.worktree_state {
                WorktreeState::Removed => "nothing changed, worktree removed".to_owned(),
                WorktreeState::Present => format!("worktree kept in {}", view.worktree.display()),
            };
            output::narrate(format_args!("run {} · {how} · {fate} · {spent}", view.id));
        }
    }
}

/// `1 file changed (+3 -1), 1 commit`.
fn changed(diff: &Diff) -> String {
    let lines = match (diff.insertions, diff.deletions) {
        (0, 0) => String::new(),
        (more, less) => format!(" (+{more} -{less})"),
    };
    format!("{} changed{lines}, {}", output::count(diff.files, "file"), output::count(diff.commits, "commit"))
}

/// `$1.20 spent, 12 model calls, 310.2k tokens, 1 denial`: what there is of it.
fn spent(summary: &RunSummary) -> String {
    let usage = &summary.figures.usage;
    let mut text = format!("{} spent", output::dollars(usage.cost_nano_usd));
    if summary.figures.billing == Billing::Subscription {
        text.push_str(" at list price on a subscription (metered, not enforced)");
    }
    if usage.calls > 0 {
        let calls = output::count(usage.calls, "model call");
        text.push_str(&format!(", {calls}, {} tokens", output::tokens(usage.tokens())));
    }
    if summary.denials > 0 {
        text.push_str(&format!(", {}", output::count(summary.denials, "denial")));
    }
    text
}
