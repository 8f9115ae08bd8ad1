//! A look at everything that must be in place, without a daemon and without changing anything.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::answers::daemon::Status;
use super::answers::registry::RegistryView;
use crate::agents::{self, ADAPTERS, Adapter};
use crate::core::error::{Code, Failure};
use crate::core::reach::{Grade, Held};
use crate::registry::{Coverage, Look, Registry};
use crate::sys::capture;
use crate::sys::env::Env;
use crate::sys::paths::Home;
use crate::sys::secrets::{self, SecretError, SecretRef};

/// The oldest git that can do everything.
const GIT_MINIMUM: &str = "2.38.0";

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// This program's release.
    pub version: String,
    /// Every path in use, by what it is for.
    pub paths: Vec<PathView>,
    /// The daemon, if one is running.
    pub daemon: Option<Status>,
    /// git.
    pub git: ProgramView,
    /// The agents' programs.
    pub agents: Vec<ProgramView>,
    /// Whether keys can be kept in the keyring.
    pub keyring: KeyringView,
    /// What is wrong with configuration and manifests.
    pub problems: Vec<String>,
    /// How many agents are registered.
    pub registered_agents: u64,
    /// The manifest of the Agent Control Specification that is asked besides, if one is configured and has no problem.
    pub acs: Option<AcsView>,
    /// The registry in git, where one is configured.
    #[serde(default)]
    pub registry: Option<RegistryView>,
}

/// A manifest of the Agent Control Specification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcsView {
    /// Its file.
    pub manifest: PathBuf,
    /// Where it counts.
    pub points: Coverage,
}

/// A path in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathView {
    /// What it is for.
    pub purpose: String,
    /// The path.
    pub path: PathBuf,
    /// Whether it is there.
    pub exists: bool,
}

/// A program on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramView {
    /// Its name; for an agent the adapter's.
    pub name: String,
    /// Its file, if it was found.
    pub path: Option<PathBuf>,
    /// What it says its version is.
    pub version: Option<String>,
    /// The oldest version that works.
    pub minimum: String,
    /// The newest version that was tested.
    pub tested: Option<String>,
    /// Whether it can be used.
    pub state: ProgramState,
    /// What to do if it cannot.
    pub hint: Option<String>,
}

/// Whether a program can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProgramState {
    /// Yes.
    Usable,
    /// It is too old.
    TooOld,
    /// What it runs on is too old or not there.
    OldRuntime,
    /// It is newer than what was tested; it may work.
    Untested,
    /// It is not there, or does not say its version.
    Missing,
}

/// The operating system's keyring.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyringView {
    /// It works.
    Usable,
    /// It does not, and this is why.
    Unusable(String),
}

/// An adapter: its program, and how far the gate reaches into it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReachView {
    /// The adapter's name.
    pub name: String,
    /// What it launches.
    pub summary: String,
    /// Its program; none where it has none of its own.
    pub program: Option<ProgramView>,
    /// Its version and whether that will do, in a few words.
    pub client: String,
    /// What is enforced, what is only observed, and what neither.
    pub reach: Vec<CellView>,
}

/// One thing that an agent does, and what holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CellView {
    /// The name of its column, in lower case.
    pub of: String,
    /// What that means.
    pub title: String,
    /// How far the gate reaches.
    pub grade: Grade,
    /// By what, or why not.
    pub how: String,
}

/// How far the gate reaches into each kind of agent; with a name into one. Blocks for as long as the programs take to say
/// their version.
///
/// # Errors
/// When there is no such adapter.
pub fn reach(name: Option<&str>) -> Result<Vec<ReachView>, Failure> {
    let Some(name) = name else {
        return Ok(ADAPTERS.iter().map(|adapter| reach_of(adapter)).collect());
    };
    let adapter = agents::by_name(name).ok_or_else(|| {
        let known: Vec<&str> = ADAPTERS.iter().map(|adapter| adapter.name).collect();
        Failure::new(Code::Usage, format!("there is no adapter `{name}`")).hint(known.join(", "))
    })?;
    Ok(vec![reach_of(adapter)])
}

fn reach_of(adapter: &Adapter) -> ReachView {
    let cell = |(of, title, held): (&str, &str, Held)| CellView {
        of: of.to_lowercase(),
        title: title.to_owned(),
        grade: held.grade,
        how: held.how.to_owned(),
    };
    let program = agent(adapter);
    ReachView {
        name: adapter.name.to_owned(),
        summary: adapter.summary.to_owned(),
        client: program.as_ref().map_or_else(|| "built in".to_owned(), brief),
        program,
        reach: adapter.reach.cells().map(cell).into(),
    }
}

fn brief(found: &ProgramView) -> String {
    let version = agents::version(found.version.as_deref().unwrap_or_default());
    let version = version.map(|numbers| numbers.map(|number| number.to_string()).join("."));
    let version = version.unwrap_or_default();
    match found.state {
        ProgramState::Usable => version,
        ProgramState::Untested => format!("{version} untested"),
        ProgramState::OldRuntime => format!("{version} old runtime"),
        ProgramState::TooOld => format!("{version} too old"),
        ProgramState::Missing if found.tested.is_none() => "not found, untested".to_owned(),
        ProgramState::Missing => "not found".to_owned(),
    }
}

/// Looks. Blocks for as long as the programs take to say their version.
pub fn examine(home: &Home, daemon: Option<Status>) -> Result<Report, Failure> {
    home.check()?;
    let files = Registry::read(home);
    let registry = files.config.registry.clone().map(|source| RegistryView {
        commit: files.registry.as_ref().map(|in_force| in_force.commit.clone()),
        since_ms: files.registry.as_ref().map(|in_force| in_force.since_ms),
        look: Registry::last_look(home, &source),
        source,
    });
    let looked = registry.iter().flat_map(|registry| &registry.look).flat_map(Look::problems);
    let problems = files.problems.iter().cloned().chain(looked).map(|problem| problem.to_string());
    let registered = if files.problems.is_empty() { files.agents.len() } else { 0 };
    Ok(Report {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        paths: paths(home),
        daemon,
        git: git(),
        agents: ADAPTERS.iter().filter_map(|adapter| agent(adapter)).collect(),
        keyring: keyring(),
        problems: problems.collect(),
        registered_agents: u64::try_from(registered).unwrap_or(u64::MAX),
        acs: files
            .acs
            .filter(|_| files.problems.is_empty())
            .map(|acs| AcsView { manifest: acs.file().to_owned(), points: acs.coverage() }),
        registry,
    })
}

fn paths(home: &Home) -> Vec<PathView> {
    [
        ("configuration", home.config_file()),
        ("manifests", home.manifests_dir()),
        ("state", home.state_dir().to_owned()),
        ("registry's copy", home.registry_dir()),
        ("database", home.database()),
        ("socket", home.socket()),
        ("lock", home.lock()),
        ("key names", home.key_index()),
        ("log", home.log_file()),
        ("runs", home.runs_dir().to_owned()),
        ("worktrees", home.worktrees_dir()),
        ("trash", home.trash_dir()),
    ]
    .into_iter()
    .map(|(purpose, path)| PathView { purpose: purpose.to_owned(), exists: path.exists(), path })
    .collect()
}

fn git() -> ProgramView {
    let view = ProgramView {
        name: "git".to_owned(),
        path: None,
        version: None,
        minimum: GIT_MINIMUM.to_owned(),
        tested: None,
        state: ProgramState::Missing,
        hint: Some(format!("install git {GIT_MINIMUM} or newer")),
    };
    probed("git", view)
}

fn agent(adapter: &agents::Adapter) -> Option<ProgramView> {
    let program = adapter.program?;
    let view = ProgramView {
        name: adapter.name.to_owned(),
        path: None,
        version: None,
        minimum: program.minimum.to_owned(),
        tested: program.tested.map(str::to_owned),
        state: ProgramState::Missing,
        hint: Some(program.install.to_owned()),
    };
    let mut view = probed(program.binary, view);
    if program.tested.is_none() && view.state == ProgramState::Usable {
        view.state = ProgramState::Untested;
    }
    let lacks = |runtime: &agents::Runtime| {
        let wanted = ProgramView { minimum: runtime.minimum.to_owned(), ..view.clone() };
        probed(runtime.binary, wanted).state != ProgramState::Usable
    };
    match program.runtime.filter(|_| matches!(view.state, ProgramState::Usable | ProgramState::Untested)) {
        Some(runtime) if lacks(&runtime) => Some(ProgramView {
            state: ProgramState::OldRuntime,
            hint: Some(runtime.install.to_owned()),
            ..view
        }),
        _ => Some(view),
    }
}

fn probed(binary: &str, view: ProgramView) -> ProgramView {
    let variables = Env::current().iter().filter_map(|(name, value)| Some((name.to_str()?, value.to_str()?)));
    let variables: Vec<(&str, &str)> = variables.collect();
    let Ok(found) = capture::version(binary, variables) else { return view };
    let newer = |tested: &String| agents::version(&found.version) > agents::version(tested);
    let state = if !agents::is_at_least(&found.version, &view.minimum) {
        ProgramState::TooOld
    } else if view.tested.as_ref().is_some_and(newer) {
        ProgramState::Untested
    } else {
        ProgramState::Usable
    };
    let hint = view.hint.filter(|_| state == ProgramState::TooOld);
    ProgramView { path: Some(found.file), version: Some(found.version), state, hint, ..view }
}

/// Asks for a key that is not there: a keyring that says so works.
fn keyring() -> KeyringView {
    match secrets::load_secret(&SecretRef::Keyring("agentsup-doctor".to_owned())) {
        Ok(_) | Err(SecretError::KeyringMissing(_)) => KeyringView::Usable,
        Err(error) => KeyringView::Unusable(error.to_string()),
    }
}
