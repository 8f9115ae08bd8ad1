//! From an action to Cedar's questions: principal, action, resource and the normalised facts as context.

use std::collections::{BTreeSet, HashMap, HashSet};

use cedar_policy::{
    Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, Request, RestrictedExpression,
};

use super::super::action::{Action, CommandPart, Facts, PathFact, ToolAction, ToolSource};
use super::super::manifest::{Agent, Lifecycle};
use super::super::run::Run;
use super::labels::{self, View};
use super::slice::Slice;
use super::{Loaded, Question};

/// The most paths and commands that one call may consist of and still be judged.
const MAX_CONTEXTS: usize = 256;
/// The longest path or name that is held against labels, in bytes.
const MAX_NAME_BYTES: usize = 4096;

/// The questions about one action; the strictest answer counts.
pub(super) struct Questions {
    pub(super) requests: Vec<Request>,
    pub(super) entities: Entities,
    /// Who acts, and all that it is in.
    pub(super) principals: Vec<EntityUid>,
    /// What is acted upon, and all that it is in.
    pub(super) resources: Vec<EntityUid>,
}

/// The name of the action in the schema.
pub(super) const fn action_name(action: &Action) -> &'static str {
    match action {
        Action::Launch(_) => "launch",
        Action::Llm(_) => "llm",
        Action::Tool(ToolAction { source: ToolSource::Builtin(class), .. }) => class.name(),
        Action::Tool(ToolAction { source: ToolSource::Mcp(_) | ToolSource::Foreign, .. }) => "mcp",
        Action::Egress(_) => "egress",
    }
}

/// Every name in the schema that [`action_name`] can give.
pub(super) const ACTION_NAMES: [&str; 9] =
    ["launch", "llm", "read", "edit", "shell", "web", "other", "mcp", "egress"];

type Pairs = Vec<(String, RestrictedExpression)>;

pub(super) fn questions(
    loaded: &Loaded,
    slice: &Slice,
    question: &Question<'_>,
    view: &View<'_>,
) -> Result<Questions, String> {
    let Question { agent, run, action, now, in_scope } = *question;
    let (agent_entity, principals) = agent_entity(loaded, agent, view)?;
    let principal = agent_entity.uid();
    let (resource, attributes, parents) = resource(loaded, action, view)?;
    let resources = std::iter::once(resource.clone()).chain(parents.iter().cloned()).collect();
    let entities = Entities::from_entities(
        [
            agent_entity,
            Entity::new(resource.clone(), attributes, parents).map_err(|error| error.to_string())?,
            slice.entity.clone(),
        ],
        None,
    );
    let mut common: Pairs = vec![
        text("environment", run.environment.name()),
        text("adapter", &run.adapter),
        text("repository", &run.repository.to_string_lossy()),
        set("repository_labels", view.repository(run)),
        ("in_scope".into(), RestrictedExpression::new_bool(in_scope)),
        set("session", now.session.iter().map(String::as_str)),
        number("hour", now.hour),
        number("weekday", now.weekday),
    ];
    common.extend(now.budget_left_percent.map(|left| number("budget_left_percent", left)));
    let mut contexts = Vec::new();
    match action {
        Action::Launch(launch) => {
            common.push(text("billing", launch.billing.name()));
            common.extend(launch.remote.as_deref().map(|remote| text("remote", remote)));
            contexts.push(common);
        }
        Action::Llm(llm) => {
            common.push(text("provider", &llm.provider));
            contexts.push(common);
        }
        Action::Egress(egress) => {
            common.push(number("port", egress.port));
            contexts.push(common);
        }
        Action::Tool(tool) => contexts = tool_contexts(loaded, tool, run, view, common)?,
    }
    let ask = |pairs: Pairs| {
        let context = Context::from_pairs(pairs).map_err(|error| error.to_string())?;
        let (principal, resource) = (principal.clone(), resource.clone());
        Request::new(principal, slice.action.clone(), resource, context, Some(&loaded.schema))
            .map_err(|error| error.to_string())
    };
    Ok(Questions {
        requests: contexts.into_iter().map(ask).collect::<Result<_, String>>()?,
        entities: entities.map_err(|error| error.to_string())?,
        principals,
        resources,
    })
}

/// The agent, and all that it is in, itself first.
fn agent_entity(loaded: &Loaded, agent: &Agent, view: &View<'_>) -> Result<(Entity, Vec<EntityUid>), String> {
    let lifecycle = match agent.lifecycle {
        Lifecycle::Experimental => "experimental",
        Lifecycle::Production => "production",
        Lifecycle::Retired => "retired",
    };
    let attributes = HashMap::from([
        text("name", agent.reference.name()),
        text("namespace", agent.reference.namespace()),
        text("owner", &agent.owner.reference()),
        text("purpose", &agent.purpose),
        text("lifecycle", lifecycle),
    ]);
    let mut is_in = vec![uid(&loaded.types.team, agent.reference.namespace())];
    is_in.extend(view.roles(&agent.reference).into_iter().map(|role| uid(&loaded.types.role, role)));
    let principal = uid(&loaded.types.agent, &agent.reference.to_string());
    let parents = is_in.iter().cloned().collect();
    let entity = Entity::new(principal.clone(), attributes, parents).map_err(|error| error.to_string())?;
    is_in.insert(0, principal);
    Ok((entity, is_in))
}

type Resource = (EntityUid, HashMap<String, RestrictedExpression>, HashSet<EntityUid>);

fn resource(loaded: &Loaded, action: &Action, view: &View<'_>) -> Result<Resource, String> {
    let types = &loaded.types;
    Ok(match action {
        Action::Launch(launch) => (uid(&types.adapter, &launch.adapter), HashMap::new(), HashSet::new()),
        Action::Llm(llm) => {
            let (provider, model) = (bounded(&llm.provider)?, bounded(&llm.model)?);
            let attributes = HashMap::from([
                set("labels", view.model(provider, model)),
                set("residency", view.model_residency(provider, model)),
            ]);
            (uid(&types.model, model), attributes, HashSet::from([uid(&types.provider, provider)]))
        }
        Action::Tool(tool) => {
            bounded(&tool.tool)?;
            let classes = view.tool(tool).into_iter().map(|class| uid(&types.class, class));
            let server = match &tool.source {
                ToolSource::Builtin(_) | ToolSource::Foreign => None,
                ToolSource::Mcp(server) => Some(uid(&types.server, server)),
            };
            let name = HashMap::from([text("name", &tool.tool)]);
            (uid(&types.tool, &action.name()), name, classes.chain(server).collect())
        }
        Action::Egress(egress) => {
            let host = labels::host(bounded(&egress.host)?);
            let attributes = HashMap::from([
                set("labels", view.host(&host)),
                set("residency", view.host_residency(&host)),
            ]);
            (uid(&types.host, &host), attributes, HashSet::new())
        }
    })
}

fn bounded(name: &str) -> Result<&str, String> {
    if name.len() > MAX_NAME_BYTES {
        return Err(format!("a name is longer than {MAX_NAME_BYTES} bytes"));
    }
    Ok(name)
}

/// What a tool's call is asked about at once: a command or none, and a path or none.
#[derive(Default)]
struct Asked<'a> {
    part: Option<&'a CommandPart>,
    path: Option<&'a PathFact>,
    labels: BTreeSet<&'a str>,
    written: bool,
}

/// One for each path and each command of a command line, for a command one for each path that it names; one without
/// either if there is none. Paths that no policy can tell apart are asked about once: `git add` may name thousands.
fn asked<'a>(
    loaded: &Loaded,
    facts: &'a Facts,
    run: &Run,
    view: &View<'a>,
) -> Result<Vec<Asked<'a>>, String> {
    let of_call = facts.paths.iter().map(|fact| Asked {
        path: Some(fact),
        labels: view.path(fact, run),
        ..Asked::default()
    });
    let mut asked: Vec<Asked<'a>> = of_call.collect();
    for part in &facts.parts {
        let written: HashSet<&PathFact> = part.written.iter().collect();
        let mut told = HashSet::new();
        for fact in &part.paths {
            let (labels, written) = (view.path(fact, run), written.contains(fact));
            if told.insert((fact.place, labels.clone(), written)) || loaded.looks_at_paths {
                asked.push(Asked { part: Some(part), path: Some(fact), labels, written });
            }
        }
        if part.paths.is_empty() {
            asked.push(Asked { part: Some(part), ..Asked::default() });
        }
    }
    match asked.len() {
        0 => Ok(vec![Asked::default()]),
        1..=MAX_CONTEXTS => Ok(asked),
        count => Err(format!("the call touches {count} paths and commands, more than {MAX_CONTEXTS}")),
    }
}

fn tool_contexts(
    loaded: &Loaded,
    tool: &ToolAction,
    run: &Run,
    view: &View<'_>,
    mut common: Pairs,
) -> Result<Vec<Pairs>, String> {
    let facts = &tool.facts;
    let named = || facts.paths.iter().chain(facts.parts.iter().flat_map(|part| &part.paths));
    for fact in named() {
        bounded(&fact.path.to_string_lossy())?;
    }
    let asked = asked(loaded, facts, run, view)?;
    let places: HashSet<&str> = named().map(|fact| fact.place.name()).collect();
    let programs: HashSet<&str> =
        facts.parts.iter().filter_map(|part| part.call.program.as_deref()).collect();
    let opaque = facts.parts.iter().any(|part| part.call.opaque);
    common.push(set("places", places));
    push_hosts(&facts.hosts, view, &mut common)?;
    common.push(set("programs", programs));
    common.push(("opaque".into(), RestrictedExpression::new_bool(opaque)));
    common.extend(facts.command.as_deref().map(|command| text("command", command)));
    Ok(asked.iter().map(|asked| context(asked, &common)).collect())
}

fn context(asked: &Asked<'_>, common: &Pairs) -> Pairs {
    let mut pairs = common.clone();
    if let Some(CommandPart { call, .. }) = asked.part {
        pairs.extend(call.program.as_deref().map(|program| text("program", program)));
        pairs.extend(call.verb.as_deref().map(|verb| text("verb", verb)));
        pairs.push(set("words", call.words.iter().map(String::as_str)));
        pairs.push(set("variables", call.assigns.iter().map(String::as_str)));
    }
    pairs.push(set("labels", asked.labels.iter().copied()));
    if let Some(fact) = asked.path {
        pairs.push(text("path", &fact.path.to_string_lossy()));
        pairs.push(text("place", fact.place.name()));
    }
    if asked.written {
        pairs.push(("written".into(), RestrictedExpression::new_bool(true)));
    }
    pairs
}

/// The hosts of a call: what any of them is labelled, what every one is, and where they keep data.
fn push_hosts(hosts: &[String], view: &View<'_>, pairs: &mut Pairs) -> Result<(), String> {
    let (mut any, mut residency) = (BTreeSet::new(), BTreeSet::new());
    let mut every: Option<BTreeSet<&str>> = None;
    let mut names = BTreeSet::new();
    for host in hosts {
        let host = labels::host(bounded(host)?);
        let labels = view.host(&host);
        residency.extend(view.host_residency(&host));
        every = Some(every.map_or_else(|| labels.clone(), |every| &every & &labels));
        any.extend(labels);
        names.insert(host);
    }
    pairs.push(set("hosts", names.iter().map(String::as_str)));
    pairs.push(set("host_labels", any));
    pairs.push(set("common_host_labels", every.unwrap_or_default()));
    pairs.push(set("host_residency", residency));
    Ok(())
}

fn uid(kind: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
}

fn text(name: &str, value: &str) -> (String, RestrictedExpression) {
    (name.to_owned(), RestrictedExpression::new_string(value.to_owned()))
}

fn number(name: &str, value: impl Into<i64>) -> (String, RestrictedExpression) {
    (name.to_owned(), RestrictedExpression::new_long(value.into()))
}

fn set<'a>(name: &str, values: impl IntoIterator<Item = &'a str>) -> (String, RestrictedExpression) {
    let values = values.into_iter().map(|value| RestrictedExpression::new_string(value.to_owned()));
    (name.to_owned(), RestrictedExpression::new_set(values))
}
