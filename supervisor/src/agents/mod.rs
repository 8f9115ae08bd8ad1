//! Adapters: how to launch one kind of coding agent so that everything it does passes the gate.
//!
//! One file per adapter, mostly data: the command line, the environment, the private files it reads, the refusal that
//! makes it stop, and the wire of its hooks. Invariants: a provider's key is never in what an adapter prepares; a
//! file that a repository carries cannot redirect the agent or switch its hooks off. Must not start or write
//! anything: the launch does. The facts come from experiments with the real agents, by version.

mod aider;
mod claude;
mod codex;
mod command;
mod copilot;
mod cursor;
mod demo;
mod gemini;
mod opencode;
mod qwen;

pub mod models;
pub mod wire;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::core::action::Place;
use crate::core::billing::{Billing, Payers};
use crate::core::reach::Reach;
use crate::core::refusal::RefusalStyle;
use crate::core::run::HookDuty;
use crate::sys::files::resolve;
use models::Endpoint;
use wire::{HookWire, Telemetry};

/// Every adapter; a test compares this list with the directory.
pub const ADAPTERS: &[&Adapter] = &[
    &aider::ADAPTER,
    &claude::ADAPTER,
    &codex::ADAPTER,
    &command::ADAPTER,
    &copilot::ADAPTER,
    &cursor::ADAPTER,
    &demo::ADAPTER,
    &gemini::ADAPTER,
    &opencode::ADAPTER,
    &qwen::ADAPTER,
];

/// The adapter of that name.
pub fn by_name(name: &str) -> Option<&'static Adapter> {
    ADAPTERS.iter().copied().find(|adapter| adapter.name == name)
}

/// How to launch one kind of coding agent.
#[derive(Debug)]
pub struct Adapter {
    /// As the user types it.
    pub name: &'static str,
    /// In a few words.
    pub summary: &'static str,
    /// The program it launches; none where the user names it or it is this one.
    pub program: Option<Program>,
    /// The provider in the configuration without whose key it can do nothing; none where that is up to its settings.
    pub provider: Option<&'static str>,
    /// The refusals that it takes as they are meant: one at which it stops at once and shows the message, one after which
    /// it comes again.
    pub refusal: RefusalStyle,
    /// Whether its hooks must announce themselves.
    pub hooks: HookDuty,
    /// How it shows a budget by its own means.
    pub gauge: GaugeStyle,
    /// Who may pay for its model calls.
    pub payers: Payers,
    /// How it tells what its calls on a subscription cost; none where it does not.
    pub telemetry: Option<Telemetry>,
    /// How it finds the user's own login in a private configuration; none where it needs no help or has none.
    pub login: Option<Login>,
    /// The wire of its hooks, if it has hooks.
    pub wire: Option<&'static HookWire>,
    /// What of the run's directory the agent's own tools use, and as what; the rest of it is closed to them.
    pub own: &'static [(&'static str, Place)],
    /// What of a worktree it obeys when it finds it there: not to be changed by its own tools.
    pub obeyed: &'static [&'static str],
    /// What of it is enforced, what only observed, and what neither.
    pub reach: Reach,
    /// Makes the launch out of its circumstances.
    pub prepare: fn(&Ground<'_>) -> Result<Prepared, AdapterError>,
}

/// How a client shows the limits of its provider, and with that those of a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GaugeStyle {
    /// It does not, or not where its provider is paid by use.
    None,
    /// By headers of a model's answer, as Codex does.
    CodexHeaders,
}

/// A login of the user's own that an agent looks for in its configuration directory, where a run has a private one: there
/// it is a link. Nothing but the link is made here; what it leads to only the agent reads, and only the agent renews.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Login {
    /// The link, relative to the run's directory.
    pub link: &'static str,
    /// The command that makes a login where a link can lead to it.
    pub command: &'static str,
}

/// A program that must be installed.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    /// Looked for in `PATH`.
    pub binary: &'static str,
    /// The oldest version whose hooks fail closed, `major.minor.patch`.
    pub minimum: &'static str,
    /// The newest version that the tests run; none where it cannot be had for them.
    pub tested: Option<&'static str>,
    /// The command that installs it.
    pub install: &'static str,
    /// What it needs to run beside itself.
    pub runtime: Option<Runtime>,
}

/// What a program is interpreted by, where it takes a newer one than its own installation insists on.
#[derive(Debug, Clone, Copy)]
pub struct Runtime {
    /// Looked for in `PATH`.
    pub binary: &'static str,
    /// The oldest version that will do, `major.minor.patch`.
    pub minimum: &'static str,
    /// What helps.
    pub install: &'static str,
}

/// The circumstances of a launch.
#[derive(Debug, Clone, Copy)]
pub struct Ground<'a> {
    /// The run's private directory: configuration of the agent goes here.
    pub dir: &'a Path,
    /// The worktree.
    pub worktree: &'a Path,
    /// Where in the worktree it starts.
    pub cwd: &'a Path,
    /// Where the daemon listens, `http://127.0.0.1:PORT`.
    pub origin: &'a str,
    /// The run's token.
    pub token: &'a str,
    /// This program, for hooks that are commands.
    pub own_program: &'a Path,
    /// The human's home directory.
    pub home: Option<&'a Path>,
    /// What the agent inherits of the user's environment.
    pub inherited: &'a BTreeMap<String, String>,
    /// Who pays for its model calls.
    pub billing: Billing,
    /// The program's version as `major.minor.patch`; none where the adapter has no program.
    pub version: Option<&'a str>,
    /// What its standard streams are to be.
    pub streams: Streams,
    /// What the user typed after `--`.
    pub args: &'a [String],
    /// Globs over the models that the agent may call.
    pub models: &'a [String],
    /// The providers of the configuration.
    pub endpoints: &'a [Endpoint],
}

/// What an agent's standard streams are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Streams {
    /// A terminal.
    Terminal,
    /// Pipes.
    Pipes,
}

/// What is to be started, and with what.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prepared {
    /// The program: a name to be looked for in `PATH`, or a path.
    pub program: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Variables beside the contract's; they win over those.
    pub env: Vec<(String, String)>,
    /// Files to be written below the run's directory, mode 0600, before the start.
    pub files: Vec<PrivateFile>,
    /// Where the user's login is that the adapter's link is to lead to.
    pub login: Option<PathBuf>,
    /// Links to be made below the run's directory: the path there, and where it leads.
    pub links: Vec<(PathBuf, PathBuf)>,
}

/// A file of the run's private directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrivateFile {
    /// Relative to the run's directory.
    pub path: PathBuf,
    /// Its content.
    pub content: String,
}

/// Why an adapter cannot launch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdapterError {
    /// `command` without a command.
    #[error("no command was given")]
    NoCommand,
    /// Neither the user nor the manifest names a model, and none that the adapter knows is in the agent's scope.
    #[error("no model is named that the agent may call")]
    NoModel,
    /// An argument would switch off what the supervision rests on.
    #[error("`{0}` cannot be used under agentsup, which sets it itself")]
    ReservedArgument(String),
    /// Where the user's login is cannot be told.
    #[error("`{0}` is not an absolute path, so that your login cannot be found")]
    NoLoginPlace(&'static str),
    /// The repository carries code that the agent would run inside itself, beside the hooks.
    #[error("the repository's `{0}` would run inside the agent, past its hooks")]
    RepositoryCode(String),
    /// The repository carries variables that the agent would take into its environment and that of its hooks.
    #[error("the repository's `{0}` would change what the agent and its hooks run")]
    RepositoryEnvironment(String),
    /// Instructions of the repository are a link to somewhere else: the agent would send to a model whatever is there,
    /// before any tool is asked about.
    #[error("the repository's `{0}` leads out of it, and the agent would read it unasked")]
    RepositoryLink(String),
}

impl AdapterError {
    /// The exact command that helps.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NoCommand => "agentsup run command -- PROGRAM ARGS…",
            Self::NoModel => {
                "agentsup run ADAPTER -- --model NAME, or name one without `*` in `models` of the manifest"
            }
            Self::ReservedArgument(_) => "leave the argument out",
            Self::NoLoginPlace(_) => "set the variable to the whole path of the directory",
            Self::RepositoryCode(_) | Self::RepositoryEnvironment(_) | Self::RepositoryLink(_) => {
                "remove it from the commit you start from, or use another agent"
            }
        }
    }
}

/// The variables of the contract that every agent gets. One on a subscription knows no gateway: it finds its provider
/// and its user's login by its own means.
pub fn contract_env(ground: &Ground<'_>, run: &str) -> Vec<(String, String)> {
    let origin = ground.origin;
    let mut variables = vec![
        ("AGENTSUP_RUN_ID", run.to_owned()),
        ("AGENTSUP_RUN_TOKEN", ground.token.to_owned()),
        ("AGENTSUP_MCP_URL", mcp_url(ground)),
        // Some clients send even loopback traffic to a proxy that a shell or a repository configured.
        ("NO_PROXY", "127.0.0.1,localhost".to_owned()),
        ("no_proxy", "127.0.0.1,localhost".to_owned()),
    ];
    if ground.billing == Billing::Keys {
        variables.extend([
            ("ANTHROPIC_BASE_URL", format!("{origin}/llm/anthropic")),
            ("ANTHROPIC_AUTH_TOKEN", ground.token.to_owned()),
            ("OPENAI_BASE_URL", format!("{origin}/llm/openai/v1")),
            ("OPENAI_API_KEY", ground.token.to_owned()),
            ("GOOGLE_GEMINI_BASE_URL", format!("{origin}/llm/gemini")),
            ("GEMINI_API_KEY", ground.token.to_owned()),
        ]);
    }
    variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Where the MCP proxy listens.
pub(crate) fn mcp_url(ground: &Ground<'_>) -> String {
    format!("{}/mcp", ground.origin)
}

/// Where an agent on a subscription tells what its calls cost; its OTLP exporter adds `/v1/logs`.
pub(crate) fn telemetry_url(ground: &Ground<'_>) -> String {
    format!("{}/otlp", ground.origin)
}

/// Where an adapter's hooks are answered.
pub(crate) fn hook_url(ground: &Ground<'_>, adapter: &str) -> String {
    format!("{}/hook/{adapter}", ground.origin)
}

/// The shell command that asks about one message of a hook: `words` are the adapter's name, and how many seconds it waits
/// where the agent does not wait as long as a person may take. One that cannot run must block, which takes exit 2 and words
/// on standard error.
pub(crate) fn hook_command(ground: &Ground<'_>, words: &str) -> String {
    let own = ground.own_program.to_string_lossy().replace('\'', r"'\''");
    format!(
        "'{own}' hook {words} || {{ echo 'agentsup: the hook failed, so the call is refused' >&2; exit 2; }}"
    )
}

/// Refuses arguments that the adapter sets itself: given twice, the last would win. A short one may have its value
/// attached.
pub(crate) fn refuse_reserved(args: &[String], reserved: &[&str]) -> Result<(), AdapterError> {
    for arg in args.iter().take_while(|arg| *arg != "--") {
        let name = arg.split_once('=').map_or(arg.as_str(), |(name, _)| name);
        let is_short = |short: &&str| short.len() == 2 && !arg.starts_with("--") && arg.starts_with(*short);
        if let Some(found) = reserved.iter().find(|one| **one == name || is_short(one)) {
            return Err(AdapterError::ReservedArgument((*found).to_owned()));
        }
    }
    Ok(())
}

/// These paths in each directory where agents look for a repository's settings: where they start, and above up to the
/// worktree's top.
fn looked_for(ground: &Ground<'_>, paths: &[&str]) -> impl Iterator<Item = PathBuf> {
    let inside = ground.cwd.ancestors().take_while(|directory| directory.starts_with(ground.worktree));
    inside.chain([ground.worktree]).flat_map(|directory| paths.iter().map(|path| directory.join(path)))
}

/// The first of these paths that a repository brings. A link to nothing counts.
pub(crate) fn brought(ground: &Ground<'_>, paths: &[&str]) -> Option<PathBuf> {
    let first = looked_for(ground, paths).find(|path| path.symlink_metadata().is_ok())?;
    Some(first.strip_prefix(ground.worktree).map(Path::to_owned).unwrap_or(first))
}

/// Links in a private home directory at most.
const LINKS_MAX: usize = 4096;

/// Everything in the user's home directory, but for what an agent obeys there: links for a home directory of its own.
pub(crate) fn home_links(ground: &Ground<'_>, masked: &[&str]) -> Vec<(PathBuf, PathBuf)> {
    let entries = ground.home.and_then(|home| home.read_dir().ok()).into_iter().flatten().flatten();
    let link = |entry: std::fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        (!masked.contains(&name.as_str())).then(|| (PathBuf::from("home").join(name), entry.path()))
    };
    let mut links: Vec<_> = entries.filter_map(link).take(LINKS_MAX).collect();
    links.sort();
    links
}

/// Files below instructions that are looked at; a repository with more is refused.
const INSTRUCTIONS_MAX: usize = 1000;

/// Refuses a repository whose instructions lead out of it.
pub(crate) fn refuse_links_out(ground: &Ground<'_>, paths: &[&str]) -> Result<(), AdapterError> {
    let real = |path: &Path| resolve(path, Path::new("/"));
    let Some(root) = real(ground.worktree) else { return Ok(()) };
    let mut todo: Vec<PathBuf> = looked_for(ground, paths).collect();
    let mut looked_at = 0;
    while let Some(path) = todo.pop() {
        if path.symlink_metadata().is_err() {
            continue;
        }
        looked_at += 1;
        let found = real(&path).filter(|found| found.starts_with(&root) && looked_at <= INSTRUCTIONS_MAX);
        let Some(found) = found else {
            let named = path.strip_prefix(ground.worktree).unwrap_or(&path);
            return Err(AdapterError::RepositoryLink(named.to_string_lossy().into_owned()));
        };
        if let Ok(entries) = found.read_dir() {
            todo.extend(entries.flatten().map(|entry| entry.path()).take(INSTRUCTIONS_MAX));
        }
    }
    Ok(())
}

/// Whether a version as a program prints it (`2.1.330 (Claude Code)`, `codex-cli 0.169.0`) is at least `minimum`.
/// A text without a version is not.
pub fn is_at_least(printed: &str, minimum: &str) -> bool {
    match (version(printed), version(minimum)) {
        (Some(found), Some(minimum)) => found >= minimum,
        _ => false,
    }
}

/// The first `major.minor.patch` in a text.
pub fn version(text: &str) -> Option<[u32; 3]> {
    text.split(|other: char| !(other.is_ascii_digit() || other == '.')).find_map(|word| {
        let mut parts = word.split('.').map(str::parse::<u32>);
        match (parts.next(), parts.next(), parts.next()) {
            (Some(Ok(major)), Some(Ok(minor)), Some(Ok(patch))) => Some([major, minor, patch]),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests;
