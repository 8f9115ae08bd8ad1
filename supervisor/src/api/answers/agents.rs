//! Registered agents: who they are, what they may do, how long, and what says so.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::budgets::{self, BudgetView};
use super::manifests;
use crate::agents;
use crate::api::App;
use crate::core::budget::period_end_ms;
use crate::core::error::{Code, Failure};
use crate::core::ids::RunId;
use crate::core::instant::instant_ms;
use crate::core::manifest::{Agent, Lifecycle};
use crate::core::principal::{AgentRef, Owner, PrincipalError};
use crate::core::problem::Problem;
use crate::core::record::EventEntry;
use crate::core::scope;
use crate::registry::init::{self, Draft, Written};
use crate::registry::register::Registration;
pub use crate::registry::register::Terms;
use crate::registry::retire::RetireError;
pub use crate::registry::{Proposal, short};
use crate::registry::{Registry, Snapshot, explain, retire};
use crate::sys::clock;

/// An agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentView {
    /// `agent/<name>@<namespace>`.
    pub agent: String,
    /// Its name within its namespace.
    pub name: String,
    /// The team.
    pub namespace: String,
    /// The accountable human.
    pub owner: String,
    /// What it is for.
    pub purpose: String,
    /// Whether it may start runs.
    pub standing: Standing,
    /// The instant from which it may no longer run, milliseconds since 1970; none if its time does not end by itself.
    pub expires_at_ms: Option<i64>,
    /// Its budget, as `<namespace>/<name>`.
    pub budget: String,
    /// The manifest that declares it.
    pub file: Option<PathBuf>,
    /// The line of its name there.
    pub line: Option<u32>,
    /// The commit of the registry in git that the manifest is of; none for a file on this machine.
    #[serde(default)]
    pub commit: Option<String>,
    /// Its runs that are not over, oldest first.
    pub runs: Vec<RunId>,
}

/// Whether an agent may start runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// It may.
    Active,
    /// Its time is over.
    Expired,
    /// Its manifest says so.
    Retired,
    /// Not before its branch is merged into the registry's.
    Proposed,
}

/// An agent with everything that follows from its manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentDetail {
    /// The agent.
    #[serde(flatten)]
    pub view: AgentView,
    /// Every field of its manifest, what is left out included.
    pub fields: Vec<FieldView>,
    /// Its budget and those that pay with it, in their order.
    pub budgets: Vec<BudgetView>,
    /// What ends when, the soonest first; what never ends is left out.
    pub ends: Vec<End>,
    /// What stands in its way: lower-case fragments.
    pub problems: Vec<String>,
}

/// A field of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldView {
    /// Its path, such as `spec.tools.mcp`.
    pub field: String,
    /// What is in force, as a manifest would say it; null for nothing.
    pub value: Value,
    /// The manifest's line that says so; null for a default.
    pub line: Option<u32>,
    /// For a default: why it is what it is.
    pub default: Option<String>,
    /// What the field means.
    pub about: String,
}

/// The end of something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// Of what.
    pub what: String,
    /// When, milliseconds since 1970.
    pub at_ms: i64,
}

/// Names an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameParams {
    /// A name, `name@namespace` or a whole reference.
    pub name: String,
}

/// Parameters of [`register`]: the six things that must be said, and what narrows them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterParams {
    /// A name, or `name@namespace`.
    pub agent: String,
    /// The accountable human; whoever asks if absent.
    pub owner: Option<Owner>,
    /// What it may do, and what ends it; no adapters are all of them.
    #[serde(flatten)]
    pub terms: Terms,
}

/// An agent that was registered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// The agent, as it is now.
    #[serde(flatten)]
    pub view: AgentView,
    /// The branch that must be merged first, where there is a registry in git.
    pub proposal: Option<Proposal>,
}

/// An agent that was retired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retired {
    /// The agent, as it is now.
    #[serde(flatten)]
    pub view: AgentView,
    /// What its manifest said of its lifecycle before.
    pub before: String,
    /// The branch that must be merged first, where a registry in git declares it.
    pub proposal: Option<Proposal>,
}

/// The agents in force, in order of namespace and name.
pub async fn list(app: &App) -> Result<Vec<AgentView>, Failure> {
    let snapshot = app.registry.current();
    Ok(snapshot.agents.iter().map(|agent| view(app, &snapshot, agent)).collect())
}

/// One agent.
pub async fn show(app: &App, params: NameParams) -> Result<AgentDetail, Failure> {
    let snapshot = app.registry.current();
    let agent = snapshot.require_agent(&params.name)?;
    let chain = snapshot.budget_of(agent).and_then(|budget| snapshot.chain(budget)).unwrap_or_default();
    let chain: Vec<_> = chain.into_iter().cloned().collect();
    let now_ms = clock::now_ms();
    let mut ends: Vec<End> = agent
        .deprovision_at_ms
        .map(|at_ms| End {
            what: "the agent: it starts no runs, and those that run are stopped".into(),
            at_ms,
        })
        .into_iter()
        .chain(chain.iter().filter_map(|budget| {
            let what = format!("the {} period of {}", budget.period.name(), budget.reference());
            Some(End { what, at_ms: period_end_ms(&budget.period, now_ms)? })
        }))
        .collect();
    ends.sort_by_key(|end| end.at_ms);
    let fields = explain::fields(agent, snapshot.origins.get(&agent.reference)).into_iter();
    let budgets = budgets::views(app, chain).await?;
    Ok(AgentDetail {
        view: view(app, &snapshot, agent),
        fields: fields.map(FieldView::from).collect(),
        problems: problems(&snapshot, agent, &budgets, now_ms),
        budgets,
        ends,
    })
}

/// Writes the manifest of an agent and its budget, once the reader of manifests has nothing against it: on this machine,
/// or where a registry in git is configured, on a branch of it.
pub async fn register(app: &App, params: RegisterParams) -> Result<Registered, Failure> {
    let registration = registration(params)?;
    let snapshot = app.registry.current();
    if let Some(origin) = snapshot.origins.get(&registration.agent) {
        let message = format!("`{}` is registered in `{}`", registration.agent, origin.file.display());
        return Err(
            Failure::new(Code::Conflict, message).hint(format!("agentsup agent show {}", registration.agent))
        );
    }
    let source = app.catalog.source().await?;
    if source.is_some_and(|source| !source.is_left_to_machine(registration.agent.namespace())) {
        return proposed(app, registration).await;
    }
    let (home, registry) = (app.home.clone(), app.registry.clone());
    let draft = registration.draft(&home);
    let work = move || {
        // The files as they are in this moment: what was changed a moment ago counts.
        let read = Registry::read_with(&home, &draft);
        if let Some(problem) = read.problems.first() {
            return Err(refused(problem, &draft));
        }
        let failed = |error: init::WriteError| Failure::new(Code::ConfigInvalid, error.to_string());
        match init::write(&draft).map_err(failed)? {
            Written::New => Ok(registry.reload()),
            Written::Kept => {
                Err(Failure::new(Code::Conflict, format!("`{}` is there already", draft.path.display())))
            }
        }
    };
    let snapshot = tokio::task::spawn_blocking(work).await.map_err(|error| Failure::internal(&error))??;
    let agent = snapshot.require_agent(&registration.agent.to_string())?;
    let text = format!("{} was registered by {}, owned by {}", agent.reference, budgets::by(), agent.owner);
    let event = EventEntry::new("agent-registered", text).fact("purpose", &agent.purpose);
    app.gate.note(event).await?;
    Ok(Registered { view: view(app, &snapshot, agent), proposal: None })
}

/// Opens a branch with the agent, which is none before that is merged.
async fn proposed(app: &App, registration: Registration) -> Result<Registered, Failure> {
    let proposal = app.catalog.propose(registration.clone()).await?;
    let Registration { agent, owner, terms } = registration;
    let text = format!("{agent}, owned by {owner}, was proposed by {}", budgets::by());
    app.gate.note(of_proposal("agent-proposed", text, &proposal)).await?;
    let view = AgentView {
        agent: agent.to_string(),
        name: agent.name().to_owned(),
        namespace: agent.namespace().to_owned(),
        owner: owner.reference(),
        purpose: terms.purpose,
        standing: Standing::Proposed,
        expires_at_ms: instant_ms(&terms.expires).ok(),
        budget: format!("{}/{}", agent.namespace(), agent.name()),
        file: Some(proposal.file.clone()),
        line: None,
        commit: Some(proposal.commit.clone()),
        runs: Vec::new(),
    };
    Ok(Registered { view, proposal: Some(proposal) })
}

fn of_proposal(kind: &str, text: String, proposal: &Proposal) -> EventEntry {
    EventEntry::new(kind, text)
        .fact("git", &proposal.git)
        .fact("branch", &proposal.branch)
        .fact("commit", &proposal.commit)
}

fn registration(params: RegisterParams) -> Result<Registration, Failure> {
    let usage = |error: PrincipalError| Failure::new(Code::Usage, error.to_string());
    let (name, namespace) = params.agent.split_once('@').unwrap_or((&params.agent, "default"));
    let mut terms = params.terms;
    if terms.adapters.is_empty() {
        terms.adapters = manifests::adapters().into_iter().map(str::to_owned).collect();
    }
    Ok(Registration {
        agent: AgentRef::new(name, namespace).map_err(usage)?,
        owner: params.owner.map_or_else(manifests::owner, Ok)?,
        terms,
    })
}

/// Nothing was written, because nothing would come into force.
fn refused(problem: &Problem, draft: &Draft) -> Failure {
    if problem.file == draft.path {
        let failure = Failure::new(Code::Usage, format!("{}: {}", problem.field, problem.message));
        return match &problem.hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        };
    }
    let message = format!("nothing new comes into force, so nothing is written: {problem}");
    Failure::new(Code::ConfigInvalid, message).hint("agentsup doctor")
}

/// Writes into an agent's manifest that it is retired, on this machine or on a branch of the registry that declares it;
/// its runs are stopped once that is in force.
pub async fn retire(app: &App, params: NameParams) -> Result<Retired, Failure> {
    let snapshot = app.registry.current();
    let agent = snapshot.require_agent(&params.name)?.clone();
    if agent.lifecycle == Lifecycle::Retired {
        return Err(Failure::new(Code::Conflict, format!("`{}` is retired already", agent.reference))
            .hint(format!("agentsup agent show {}", agent.reference)));
    }
    let Some(origin) = snapshot.origins.get(&agent.reference).cloned() else {
        return Err(Failure::new(Code::NotFound, format!("nothing declares `{}`", agent.reference)));
    };
    let before = agent.lifecycle.name().to_owned();
    if origin.commit.is_some() {
        let proposal = app.catalog.propose_retirement(agent.reference.clone(), origin.file).await?;
        let text = format!(
            "that {}, owned by {}, is retired was proposed by {}",
            agent.reference,
            agent.owner,
            budgets::by()
        );
        app.gate.note(of_proposal("agent-retirement-proposed", text, &proposal)).await?;
        return Ok(Retired { view: view(app, &snapshot, &agent), before, proposal: Some(proposal) });
    }
    let (registry, reference) = (app.registry.clone(), agent.reference.clone());
    let work = move || retire::write(&origin.file, &reference).map(|()| registry.reload());
    let snapshot = tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Failure::internal(&error))?
        .map_err(|error| unwritten(&error))?;
    let text = format!("{}, owned by {}, was retired by {}", agent.reference, agent.owner, budgets::by());
    app.gate.note(EventEntry::new("agent-retired", text)).await?;
    if let Some(problem) = snapshot.problems.first() {
        let message = format!(
            "`{}` is retired in its manifest, but nothing new comes into force: {problem}",
            agent.reference
        );
        return Err(Failure::new(Code::ConfigInvalid, message).hint("agentsup doctor"));
    }
    let now = snapshot.require_agent(&agent.reference.to_string())?;
    Ok(Retired { view: view(app, &snapshot, now), before, proposal: None })
}

fn unwritten(error: &RetireError) -> Failure {
    let failure = Failure::new(Code::ConfigInvalid, error.to_string());
    match error {
        RetireError::Form { .. } => failure.hint("write `lifecycle: retired` into its `spec` yourself"),
        RetireError::Changed { .. } => failure.hint("agentsup doctor"),
        RetireError::Io { .. } => failure,
    }
}

fn view(app: &App, snapshot: &Snapshot, agent: &Agent) -> AgentView {
    let origin = snapshot.origins.get(&agent.reference);
    let live = app.gate.live_runs().into_iter();
    AgentView {
        agent: agent.reference.to_string(),
        name: agent.reference.name().to_owned(),
        namespace: agent.reference.namespace().to_owned(),
        owner: agent.owner.reference(),
        purpose: agent.purpose.clone(),
        standing: standing(agent, clock::now_ms()),
        expires_at_ms: agent.deprovision_at_ms,
        budget: format!("{}/{}", agent.reference.namespace(), agent.budget),
        file: origin.map(|origin| origin.file.clone()),
        line: origin.map(|origin| origin.line),
        commit: origin.and_then(|origin| origin.commit.clone()),
        runs: live.filter(|live| live.run.agent == agent.reference).map(|live| live.run.id).collect(),
    }
}

fn standing(agent: &Agent, now_ms: i64) -> Standing {
    if agent.lifecycle == Lifecycle::Retired {
        Standing::Retired
    } else if scope::expired(agent, now_ms) {
        Standing::Expired
    } else {
        Standing::Active
    }
}

/// What keeps the agent from doing what its manifest seems to say.
fn problems(snapshot: &Snapshot, agent: &Agent, budgets: &[BudgetView], now_ms: i64) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    if let Some(first) = snapshot.problems.first() {
        found.push(format!(
            "the files as they are now are not in force, because of {} problem(s): {first}",
            snapshot.problems.len()
        ));
    }
    match standing(agent, now_ms) {
        Standing::Active | Standing::Proposed => {}
        Standing::Expired => found.push("its time is over, so it starts no runs".into()),
        Standing::Retired => found.push("it is retired, so it starts no runs".into()),
    }
    let unknown = agent.adapters.iter().filter(|name| agents::by_name(name).is_none());
    found.extend(unknown.map(|name| format!("there is no adapter `{name}` in this version")));
    let servers = agent.tools.mcp.iter().filter_map(|glob| glob.split_once('/')).map(|(server, _)| server);
    let absent = servers
        .filter(|server| !snapshot.config.mcp_servers.keys().any(|known| scope::matches(server, known)));
    found.extend(absent.map(|server| format!("no MCP server `{server}` is configured")));
    if budgets.is_empty() {
        found.push("its budget does not exist, so it gets no model".into());
    }
    let empty = budgets.first().is_some_and(|budget| {
        budget.remaining_nano_usd.is_some_and(|left| left <= 0) || budget.remaining_tokens == Some(0)
    });
    if empty {
        found.push("its budgets leave nothing to spend in this period".into());
    }
    found
}

impl From<explain::Explained> for FieldView {
    fn from(field: explain::Explained) -> Self {
        Self {
            field: field.path.to_owned(),
            value: field.value,
            line: field.line,
            default: field.default.map(str::to_owned),
            about: field.about.to_owned(),
        }
    }
}
