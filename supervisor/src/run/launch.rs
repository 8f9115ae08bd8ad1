//! The launch of a run, step by step: who acts, where, may it, worktree, credential, keeper.
//!
//! The run is stored before its first step and finished by [`finish`](super::finish) if a later one fails, which is also
//! what the next daemon does with a run whose launch was cut off.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use agentsup_worktree::{Interrupt, Repository};
use serde::{Deserialize, Serialize};

use super::finish::{self, End};
use super::keeper::{FirstClient, Io, KeeperClient, KeeperRecord, KeeperSpec, Nascent, StartError};
use super::names::{directory_name, require_label};
use super::worktrees::{self, Start, blocking};
use super::{Runs, SCROLLBACK_MAX_BYTES, means, own, private, reconcile};
use crate::agents::models::Endpoint;
use crate::agents::{self, Adapter, AdapterError, Ground, Prepared, Streams};
use crate::core::action::{Action, LaunchAction};
use crate::core::amount::Amount;
use crate::core::billing::{Billing, Payers};
use crate::core::environ;
use crate::core::error::{Code, Failure};
use crate::core::ids::RunId;
use crate::core::manifest::{Agent, Environment};
use crate::core::principal::{AgentRef, Owner};
use crate::core::record::EventEntry;
use crate::core::run::{Run, UNTOLD_TOOLS_MAX};
use crate::core::usage::Outcome;
use crate::gate::LiveRun;
use crate::sys::env::Env;
use crate::sys::{capture, clock, ids, socket, spawn};

/// What a run is to be.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StartParams {
    /// Its id, if the caller wants to know it before the run is started: to kill it while it is being started.
    #[serde(default)]
    pub id: Option<RunId>,
    /// How to launch.
    pub adapter: String,
    /// Who acts; the only or the personal agent if absent.
    #[serde(default)]
    pub agent: Option<String>,
    /// A word for the branch's name; the agent's name if absent.
    #[serde(default)]
    pub name: Option<String>,
    /// Who pays for its model calls, if the user says so.
    #[serde(default)]
    pub billing: Option<Billing>,
    /// What the run may spend itself, whatever its agent's budget leaves.
    #[serde(default)]
    pub cap: Option<Amount>,
    /// The agent's own arguments.
    #[serde(default)]
    pub args: Vec<String>,
    /// A directory in the checkout to start from.
    pub directory: PathBuf,
    /// The environment of the user's shell, of which the agent inherits a part.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// What its standard streams are.
    pub io: Io,
    /// Whether somebody is about to attach.
    #[serde(default)]
    pub first_client: FirstClient,
}

/// A run that was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// Its id.
    pub id: RunId,
    /// Who acts.
    pub agent: AgentRef,
    /// Who answers for it.
    pub owner: Owner,
    /// Where it acts.
    pub environment: Environment,
    /// Its branch.
    pub branch: String,
    /// Its checkout.
    pub worktree: PathBuf,
    /// Its own directory, where its keeper listens.
    pub dir: PathBuf,
    /// What whoever starts it should know.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// Starts a run.
pub async fn start(runs: &Runs, params: StartParams) -> Result<Started, Failure> {
    let adapter = require_adapter(&params.adapter)?;
    let label = match params.name.as_deref() {
        Some(name) => Some(require_label(name)?),
        None => None,
    };
    let snapshot = runs.registry().current();
    let agent = match &params.agent {
        Some(name) => snapshot.require_agent(name),
        None => snapshot.default_agent(adapter.name),
    };
    let agent = match agent {
        Ok(agent) => agent,
        Err(error) => return Err(refused(runs, &params, error.into()).await),
    };
    let directory = params.directory.clone();
    let mut start = blocking(move || worktrees::look(&directory)).await?;
    let own = match std::mem::replace(&mut start.own, Ok(own::Read::default())) {
        Ok(own) => own,
        Err(failure) => return Err(refused(runs, &params, failure).await),
    };
    let id = params.id.map_or_else(ids::new_run_id, Ok).map_err(|error| Failure::internal(&error))?;
    let billing = params.billing.unwrap_or_else(|| Payers::usual(agent.billing, adapter.payers));
    let run =
        Run { cap: params.cap, billing, ..describe(runs, id, adapter, agent, label.as_deref(), &start)? };
    let token = ids::new_token().map_err(|error| Failure::internal(&error))?;
    if !runs.begin(id) {
        return Err(Failure::new(Code::Usage, format!("there is a run `{id}`")));
    }
    let live = match runs.gate().admit_under(run, &token, own.files, own.own).await {
        Ok(live) => live,
        Err(error) => {
            runs.end(id);
            return Err(error.into());
        }
    };
    match launch(runs, &live, adapter, &params, start, &token).await {
        Ok(()) => {
            reconcile::follow(runs.clone(), Arc::clone(&live));
            Ok(started(&live.run, means::notes(runs, &live.run, adapter)))
        }
        Err(failure) => {
            finish::finish(runs, &live, End::failed(failure.message.clone())).await;
            Err(failure)
        }
    }
}

/// A launch that got no further than its names is recorded too.
async fn refused(runs: &Runs, params: &StartParams, failure: Failure) -> Failure {
    let text = format!("a run of `{}` was refused: {}", params.adapter, failure.message);
    match runs.gate().note(EventEntry::new("launch-refused", text)).await {
        Ok(_) => failure,
        Err(error) => error.into(),
    }
}

fn require_adapter(name: &str) -> Result<&'static Adapter, Failure> {
    agents::by_name(name).ok_or_else(|| {
        let known: Vec<&str> = agents::ADAPTERS.iter().map(|adapter| adapter.name).collect();
        Failure::new(Code::Usage, format!("there is no adapter `{name}`"))
            .hint(format!("one of: {}; any other program: agentsup run command -- PROGRAM", known.join(", ")))
    })
}

pub(super) fn describe(
    runs: &Runs,
    id: RunId,
    adapter: &Adapter,
    agent: &Agent,
    label: Option<&str>,
    start: &Start,
) -> Result<Run, Failure> {
    let short = id.short();
    let environment = *agent.environments.first().ok_or_else(|| {
        Failure::new(Code::ConfigInvalid, format!("`{}` has no environment", agent.reference))
    })?;
    // The personal agent is the same for everything; what was started tells more.
    let usual = if agent.reference.name() == "default" { adapter.name } else { agent.reference.name() };
    Ok(Run {
        id,
        agent: agent.reference.clone(),
        owner: agent.owner.clone(),
        environment,
        adapter: adapter.name.to_owned(),
        worktree: runs
            .home()
            .worktrees_dir()
            .join(format!("{}-{short}", directory_name(start.repository.checkout()))),
        repository: start.repository.checkout().to_owned(),
        remote: start.remote.clone(),
        branch: format!("agentsup/{}-{short}", label.unwrap_or(usual)),
        base: start.base.to_string(),
        onto: start.branch.clone(),
        dir: runs.run_dir(id),
        refusal: adapter.refusal,
        hooks: adapter.hooks,
        billing: Billing::Keys,
        untold_tools_max: adapter.telemetry.map_or(UNTOLD_TOOLS_MAX, |telemetry| telemetry.untold_tools_max),
        cap: None,
        started_at_ms: clock::now_ms(),
    })
}

async fn launch(
    runs: &Runs,
    live: &Arc<LiveRun>,
    adapter: &'static Adapter,
    params: &StartParams,
    start: Start,
    token: &str,
) -> Result<(), Failure> {
    let action = LaunchAction {
        adapter: adapter.name.to_owned(),
        repository: live.run.repository.clone(),
        remote: start.remote,
        billing: live.run.billing,
    };
    let permit = match runs.gate().decide(live, Action::Launch(action)).await {
        Ok(permit) => permit,
        Err(refusal) => return Err(means::unpermitted(runs, live, refusal.into())),
    };
    let result = match means::require(runs, live, adapter).await {
        Ok(()) => perform(runs, live, adapter, params, start.repository, token).await,
        Err(failure) => Err(failure),
    };
    let status = match &result {
        Ok(()) => "started".to_owned(),
        Err(failure) => format!("failed: {}", failure.message),
    };
    permit.settle(Outcome::free(status)).await?;
    result
}

async fn perform(
    runs: &Runs,
    live: &Arc<LiveRun>,
    adapter: &'static Adapter,
    params: &StartParams,
    repository: Repository,
    token: &str,
) -> Result<(), Failure> {
    let interrupt = Interrupt::default();
    let work = {
        let (runs, live, params) = (runs.clone(), Arc::clone(live), params.clone());
        let (token, interrupt) = (token.to_owned(), interrupt.clone());
        blocking(move || bring_up(&runs, &live, adapter, params, &repository, &token, &interrupt))
    };
    tokio::pin!(work);
    let record = tokio::select! {
        record = &mut work => record,
        () = live.cancelled() => {
            interrupt.raise();
            work.await
        }
    };
    let record = match record {
        Err(_) if live.state().is_final() => return Err(killed()),
        record => record?,
    };
    if reconcile::adopt(runs, live, &record).await? {
        return Ok(());
    }
    // Killed while it was being started: what is alive now must not stay so.
    match KeeperClient::connect(&live.run.dir).await {
        Ok(mut client) => drop(client.kill().await),
        Err(error) => tracing::warn!(%error, run = %live.run.id, "a run killed at its start"),
    }
    Err(killed())
}

fn killed() -> Failure {
    Failure::new(Code::Killed, "the run was killed while it was started")
}

/// Worktree, private files, keeper, agent. Blocks.
fn bring_up(
    runs: &Runs,
    live: &LiveRun,
    adapter: &'static Adapter,
    params: StartParams,
    repository: &Repository,
    token: &str,
    interrupt: &Interrupt,
) -> Result<KeeperRecord, Failure> {
    let run = &live.run;
    // Ahead of what it waits for: loading it and making the worktree take about as long.
    let keeper = Nascent::start(&spawn::self_exe());
    worktrees::create(runs.home(), repository, run, interrupt)?;
    let spec = prepare(runs, adapter, run, params, token)?;
    if live.state().is_final() {
        return Err(killed());
    }
    keeper.and_then(|keeper| keeper.begin(&spec)).map_err(|error| unstarted(adapter, &spec.program, &error))
}

fn prepare(
    runs: &Runs,
    adapter: &Adapter,
    run: &Run,
    params: StartParams,
    token: &str,
) -> Result<KeeperSpec, Failure> {
    let internal = |error: &dyn std::fmt::Display| Failure::internal(error);
    socket::require_private_dir(&run.dir).map_err(|error| internal(&error))?;
    let own_program = spawn::own_program().map_err(|error| internal(&error))?;
    let inherited = environ::inherited(params.environment);
    let version = require_program(adapter, &inherited)?;
    if run.billing == Billing::Keys {
        means::require_key(runs, adapter)?;
    }
    let home = inherited.get("HOME").map(PathBuf::from);
    let cwd = working_directory(run, &params.directory);
    let snapshot = runs.registry().current();
    let endpoints: Vec<Endpoint> = snapshot
        .config
        .providers
        .iter()
        .map(|(name, provider)| Endpoint { name: name.clone(), wire: provider.wire.clone() })
        .collect();
    let ground = Ground {
        dir: &run.dir,
        worktree: &run.worktree,
        cwd: &cwd,
        origin: &runs.inner.origin,
        token,
        own_program: &own_program,
        home: home.as_deref(),
        inherited: &inherited,
        billing: run.billing,
        version: version.as_deref(),
        streams: match params.io {
            Io::Pty { .. } => Streams::Terminal,
            Io::Pipes => Streams::Pipes,
        },
        args: &params.args,
        models: snapshot.agent(&run.agent.to_string()).map_or(&[], |agent| &agent.models),
        endpoints: &endpoints,
    };
    let Prepared { program, args, env: own, files, links, login } =
        (adapter.prepare)(&ground).map_err(|error| unprepared(&error))?;
    for file in &files {
        private::write(&run.dir, file).map_err(|error| internal(&error))?;
    }
    for (path, target) in &links {
        private::link(&run.dir, path, target).map_err(|error| internal(&error))?;
    }
    if let (Some(login), Some(place)) = (adapter.login, login) {
        means::link_login(&run.dir, &login, &place)?;
    }
    let mut env = inherited.clone();
    env.extend(agents::contract_env(&ground, &run.id.to_string()));
    // So that agentsup's own commands inside the run find this daemon, which refuses them and says so on the record.
    if let Some(home) = Env::current().text("AGENTSUP_HOME") {
        env.insert("AGENTSUP_HOME".to_owned(), home.to_owned());
    }
    env.extend(own);
    Ok(KeeperSpec {
        run: run.id,
        dir: run.dir.clone(),
        program,
        args,
        env: env.into_iter().collect(),
        cwd,
        io: params.io,
        scrollback_max_bytes: SCROLLBACK_MAX_BYTES,
        first_client: params.first_client,
    })
}

/// That the adapter's program is there and not too old, for an older one does not fail closed; its version.
fn require_program(adapter: &Adapter, env: &BTreeMap<String, String>) -> Result<Option<String>, Failure> {
    let Some(program) = adapter.program else { return Ok(None) };
    let variables = env.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let probed = capture::version(program.binary, variables.clone())
        .map_err(|error| Failure::new(Code::Usage, error.to_string()).hint(program.install))?;
    if let Some(runtime) = program.runtime {
        require_runtime(program.binary, &runtime, variables)?;
    }
    match agents::version(&probed.version) {
        Some([major, minor, patch]) if agents::is_at_least(&probed.version, program.minimum) => {
            Ok(Some(format!("{major}.{minor}.{patch}")))
        }
        _ => {
            let message = format!(
                "`{}` is {}, and {} or newer is needed",
                program.binary, probed.version, program.minimum
            );
            Err(Failure::new(Code::Usage, message).hint(program.install))
        }
    }
}

/// What interprets the program, so that it is told here what is missing, and not by whatever that makes of it.
fn require_runtime<'v>(
    program: &str,
    runtime: &agents::Runtime,
    variables: impl Iterator<Item = (&'v str, &'v str)>,
) -> Result<(), Failure> {
    let failure = |text: String| Failure::new(Code::Usage, text).hint(runtime.install);
    let found = capture::version(runtime.binary, variables).map_err(|error| failure(error.to_string()))?;
    if agents::is_at_least(&found.version, runtime.minimum) {
        return Ok(());
    }
    Err(failure(format!(
        "`{program}` needs `{}` {} or newer, and this one is {}",
        runtime.binary, runtime.minimum, found.version
    )))
}

/// Where the user stood, seen in the worktree; its top if that is not in the commit.
fn working_directory(run: &Run, directory: &Path) -> PathBuf {
    let inside = directory.canonicalize().ok().and_then(|directory| {
        let relative = directory.strip_prefix(&run.repository).ok()?.to_owned();
        // In the commit it may be a link to somewhere else.
        let real = run.worktree.join(&relative).canonicalize().ok()?;
        let stays = real.is_dir() && real == run.worktree.canonicalize().ok()?.join(&relative);
        stays.then(|| run.worktree.join(relative))
    });
    inside.unwrap_or_else(|| run.worktree.clone())
}

fn unprepared(error: &AdapterError) -> Failure {
    Failure::new(Code::Usage, error.to_string()).hint(error.hint())
}

fn unstarted(adapter: &Adapter, program: &str, error: &StartError) -> Failure {
    match error {
        StartError::ProgramNotFound { .. } => {
            let install = adapter.program.map(|program| program.install.to_owned());
            Failure::new(Code::Usage, error.to_string())
                .hint(install.unwrap_or_else(|| format!("install `{program}` or give its path")))
        }
        StartError::ProgramNotExecutable { program } => {
            Failure::new(Code::Usage, error.to_string()).hint(format!("chmod +x '{program}'"))
        }
        StartError::ExecFailed { .. } => Failure::new(Code::Usage, error.to_string()),
        _ => Failure::new(Code::Internal, error.to_string()),
    }
}

fn started(run: &Run, notes: Vec<String>) -> Started {
    Started {
        id: run.id,
        agent: run.agent.clone(),
        owner: run.owner.clone(),
        environment: run.environment,
        branch: run.branch.clone(),
        worktree: run.worktree.clone(),
        dir: run.dir.clone(),
        notes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_adapter_is_told_the_known_ones() {
        let failure = require_adapter("vim").err().unwrap();
        assert_eq!((failure.code, failure.message.as_str()), (Code::Usage, "there is no adapter `vim`"));
        assert!(failure.hint.unwrap().contains("command"));
    }
}
