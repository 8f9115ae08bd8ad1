//! Whether something would be allowed, and why: normalised as agents' calls are, judged by the rules in force, recorded
//! nowhere and done by nobody.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::reasons::{self, ReasonView, StageView, WayView};
use crate::agents::models::{self, Endpoint};
use crate::agents::wire::{ToolCall, ToolKind};
use crate::agents::{self, Adapter};
use crate::api::App;
use crate::core::action::{Action, EgressAction, LaunchAction, LlmAction};
use crate::core::billing::{Billing, Payers};
use crate::core::decision::{Decision, Evaluation, Reason};
use crate::core::error::{Code, Failure};
use crate::core::ids::RunId;
use crate::core::label::Labels;
use crate::core::manifest::{Agent, BuiltinClass, Environment};
use crate::core::policy::Circumstances;
use crate::core::policy::own::Own;
use crate::core::principal::AgentRef;
use crate::core::rules::{Case, Rules};
use crate::core::run::{HookDuty, Run};
use crate::core::whatif;
use crate::core::{action, scope};
use crate::hooks::normalise::normalise;
use crate::mcp;
use crate::registry::Snapshot;
use crate::run::supposed;
use crate::sys::clock;
use crate::sys::env::Env;
use crate::sys::grounds::Homes;

/// Parameters of [`explain`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainParams {
    /// What is wanted.
    pub wanted: Wanted,
    /// Who wants it; the default agent of the adapter if absent.
    #[serde(default)]
    pub agent: Option<String>,
    /// In which run; one that would be started from `directory` if absent.
    #[serde(default)]
    pub run: Option<String>,
    /// How that run would be launched.
    #[serde(default)]
    pub adapter: Option<String>,
    /// Where it would act; the agent's first environment if absent.
    #[serde(default)]
    pub environment: Option<Environment>,
    /// Labels of what it would have seen, beside what a live run has.
    #[serde(default)]
    pub labels: Vec<String>,
    /// A directory in the repository.
    pub directory: PathBuf,
}

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wanted {
    /// One of the agent's own tools.
    Tool {
        /// Its class.
        class: BuiltinClass,
        /// Its name, as its agent calls it.
        name: String,
        /// The command line.
        #[serde(default)]
        command: Option<String>,
        /// Paths that it touches.
        #[serde(default)]
        paths: Vec<String>,
        /// Addresses that it fetches.
        #[serde(default)]
        urls: Vec<String>,
    },
    /// A tool of an MCP server.
    Mcp {
        /// The server, by its name in the configuration.
        server: String,
        /// The tool.
        tool: String,
        /// Its arguments, a JSON object.
        arguments: String,
    },
    /// A model, or `PROVIDER/MODEL`.
    Model(String),
    /// A connection.
    Egress {
        /// The host.
        host: String,
        /// The TCP port.
        port: u16,
    },
    /// A launch with the adapter.
    Launch,
}

/// Whether it would be allowed, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainView {
    /// Who would act.
    pub agent: AgentRef,
    /// The run; none for one that was not started.
    pub run: Option<RunId>,
    /// Where.
    pub environment: Environment,
    /// How it is or would be launched.
    pub adapter: String,
    /// `launch`, `llm`, `tool` or `egress`.
    pub action: String,
    /// The adapter, model, tool or host.
    pub target: String,
    /// What it would act upon, normalised; may be empty.
    pub on: String,
    /// The commands that the line was read as; `?` for what cannot be known.
    pub commands: Vec<String>,
    /// Paths with their places.
    pub paths: Vec<String>,
    /// The decision of the rules, a run's state and the registry. Budgets and an ACS manifest are asked when it happens.
    pub decision: Decision,
    /// What each stage says, in order; without an objection it allows.
    pub stages: Vec<StageView>,
    /// What is said outside of the stages.
    pub others: Vec<ReasonView>,
    /// Single changes under which the rules would decide better; each was tried.
    pub ways: Vec<WayView>,
}

/// Says whether something would be allowed.
pub async fn explain(app: &App, params: ExplainParams) -> Result<ExplainView, Failure> {
    let snapshot = app.registry.current();
    let Acting { agent, run, own, seen, is_started } = acting(app, &snapshot, &params).await?;
    let live = app.gate.live(run.id).filter(|_| is_started);
    let mut now =
        live.as_ref().map_or_else(|| Circumstances::at(clock::now_ms()), |live| app.gate.circumstances(live));
    now.session.extend(seen.names().map(str::to_owned).chain(params.labels.iter().cloned()));
    let state = if is_started && live.as_ref().is_none_or(|live| !live.state().may_act()) {
        let name = live.as_ref().map_or("over", |live| live.state().name());
        Some(Reason::new("state", Decision::Deny, format!("the run is {name}")))
    } else {
        None
    };
    let homes = Homes::new(&app.home, Env::current());
    let work = move || -> Result<ExplainView, Failure> {
        let action = normalised(&snapshot, &homes, &run, params.wanted)?;
        let case = Case { agent: &agent, run: &run, action: &action, now: &now };
        let all = beside(case, state);
        Ok(judged(snapshot.rules().with(&own), case, all, is_started))
    };
    // Paths lie on slow file systems too.
    tokio::task::spawn_blocking(work).await.map_err(|error| Failure::internal(&error))?
}

/// Who would act, and where.
struct Acting {
    agent: Agent,
    run: Run,
    own: Own,
    /// Labels of what the run has seen.
    seen: Labels,
    is_started: bool,
}

async fn acting(app: &App, snapshot: &Snapshot, params: &ExplainParams) -> Result<Acting, Failure> {
    if let Some(name) = &params.run {
        let row = supposed::find(&app.runs, name).await?;
        let own = supposed::own(&row);
        let (mut run, seen) = (row.run, row.labels);
        let agent = snapshot.require_agent(&run.agent.to_string())?.clone();
        run.environment = params.environment.unwrap_or(run.environment);
        return Ok(Acting { agent, run, own, seen, is_started: true });
    }
    let agent = match (&params.agent, &params.adapter) {
        (Some(name), _) => snapshot.require_agent(name)?,
        (None, Some(adapter)) => snapshot.default_agent(adapter)?,
        (None, None) => snapshot.only_agent()?,
    };
    let adapter = params.adapter.as_deref().unwrap_or_else(|| usual_adapter(agent));
    let adapter = agents::by_name(adapter).ok_or_else(|| {
        let known: Vec<&str> = agents::ADAPTERS.iter().map(|adapter| adapter.name).collect();
        Failure::new(Code::Usage, format!("there is no adapter `{adapter}`"))
            .hint(format!("one of: {}", known.join(", ")))
    })?;
    let (mut run, own) = supposed::suppose(&app.runs, agent, adapter, params.directory.clone()).await?;
    run.environment = params.environment.unwrap_or(run.environment);
    run.billing = Payers::usual(agent.billing, adapter.payers);
    Ok(Acting { agent: agent.clone(), run, own, seen: Labels::NONE, is_started: false })
}

/// The first of an agent's adapters that asks about its tools, for what is explained of the others is not asked about.
fn usual_adapter(agent: &Agent) -> &str {
    let asks =
        |name: &&String| agents::by_name(name).is_some_and(|adapter| adapter.hooks == HookDuty::Required);
    let usual = agent.adapters.iter().find(asks).or_else(|| agent.adapters.first());
    usual.map_or("", String::as_str)
}

/// As the flows normalise it when it happens.
fn normalised(snapshot: &Snapshot, homes: &Homes, run: &Run, wanted: Wanted) -> Result<Action, Failure> {
    let unusable = |error: String| Failure::new(Code::Usage, error);
    Ok(match wanted {
        Wanted::Tool { class, name, command, paths, urls } => {
            let args = json!({ "command": command, "paths": paths, "urls": urls });
            let kind = ToolKind::Builtin(class);
            let call =
                ToolCall { tool: name, class: kind, call_id: None, cwd: None, paths, urls, command, args };
            let tool = normalise(homes, &snapshot.config.data, run, adapter(run)?, call, Some(class));
            Action::Tool(tool.map_err(|error| unusable(error.to_string()))?)
        }
        Wanted::Mcp { server, tool, arguments } => {
            mcp::suppose(&snapshot.config.data, homes, run, (&server, &tool), &arguments)
                .map_err(|error| unusable(format!("the arguments: {error}")))?
        }
        Wanted::Model(named) => {
            let endpoint = |(name, provider): (&String, &crate::registry::ProviderConfig)| Endpoint {
                name: name.clone(),
                wire: provider.wire.clone(),
            };
            let endpoints: Vec<Endpoint> = snapshot.config.providers.iter().map(endpoint).collect();
            let (provider, model) = models::provider_of(&endpoints, &named);
            Action::Llm(LlmAction::new(provider, model))
        }
        Wanted::Egress { host, port } => {
            let host = host.trim_end_matches('.').to_ascii_lowercase();
            Action::Egress(EgressAction { host, port })
        }
        Wanted::Launch => Action::Launch(LaunchAction {
            adapter: run.adapter.clone(),
            repository: run.repository.clone(),
            remote: run.remote.clone(),
            billing: run.billing,
        }),
    })
}

fn adapter(run: &Run) -> Result<&'static Adapter, Failure> {
    agents::by_name(&run.adapter)
        .ok_or_else(|| Failure::new(Code::Usage, format!("there is no adapter `{}` any more", run.adapter)))
}

/// What stands in the way apart from rules.
fn beside(case: Case<'_>, state: Option<Reason>) -> Vec<Reason> {
    let mut all: Vec<Reason> = state.into_iter().collect();
    if scope::expired(case.agent, clock::now_ms()) {
        let text = format!("the time of `{}` is over", case.agent.reference);
        all.push(Reason::new("registry", Decision::Deny, text));
    }
    if let Action::Llm(_) = case.action
        && case.run.billing == Billing::Subscription
    {
        let text = "the run is paid by a subscription, so the organisation's keys are closed to it";
        all.push(Reason::new("billing", Decision::Deny, text));
    }
    all
}

fn judged(rules: Rules<'_>, case: Case<'_>, mut all: Vec<Reason>, is_started: bool) -> ExplainView {
    all.extend(rules.judge(case).reasons);
    let Evaluation { decision, reasons, .. } = Evaluation::of(all);
    let (stages, others) = reasons::sorted(&reasons, rules, &rules.looked(case));
    let Case { agent, run, action, .. } = case;
    let (commands, paths) = read(action);
    ExplainView {
        agent: agent.reference.clone(),
        run: is_started.then_some(run.id),
        environment: run.environment,
        adapter: run.adapter.clone(),
        action: action.kind().to_owned(),
        target: action.name(),
        on: action.target(),
        commands,
        paths,
        decision,
        stages,
        others,
        ways: whatif::ways(rules, case).into_iter().map(WayView::from).collect(),
    }
}

/// What was understood of a tool's call: its commands, and its paths with their places.
fn read(action: &Action) -> (Vec<String>, Vec<String>) {
    let Action::Tool(tool) = action else { return (Vec::new(), Vec::new()) };
    let command = |part: &action::CommandPart| {
        let words = part.call.program.iter().chain(&part.call.words).map(String::as_str);
        let mut words: Vec<&str> = words.collect();
        if part.call.program.is_none() || part.call.dynamic || part.call.opaque {
            words.push("?");
        }
        words.join(" ")
    };
    let path = |fact: &action::PathFact| format!("{} ({})", fact.path.display(), fact.place.name());
    let named = tool.facts.parts.iter().flat_map(|part| &part.paths);
    let mut paths: Vec<String> = tool.facts.paths.iter().chain(named).map(path).collect();
    paths.dedup();
    (tool.facts.parts.iter().map(command).collect(), paths)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::fixture;

    #[test]
    fn what_is_supposed_is_a_run_that_asks_about_its_tools() {
        let of = |adapters: &[&str]| {
            let adapters = adapters.iter().map(|&name| name.to_owned()).collect();
            usual_adapter(&Agent { adapters, ..fixture::agent() }).to_owned()
        };
        assert_eq!(of(&["aider", "gemini", "claude"]), "gemini");
        assert_eq!(of(&["command"]), "command");
        assert_eq!(of(&[]), "");
    }
}
