//! From an action to Cedar's questions: principal, action, resource and the normalised facts as context.

use std::collections::{HashMap, HashSet};

use cedar_policy::{
    Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, Request, RestrictedExpression,
};

use super::super::action::{Action, PathFact, Place, ToolAction, ToolSource};
use super::super::manifest::{Agent, Lifecycle};
use super::slice::Slice;
use super::{Loaded, Question};

/// The most paths and commands that one call may consist of and still be judged.
const MAX_CONTEXTS: usize = 256;

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
) -> Result<Questions, String> {
    let Question { agent, run, action, now, in_scope } = *question;
    let principal = uid(&loaded.types.agent, &agent.reference.to_string());
    let (resource, attributes, parents) = resource(loaded, action);
    let principals = vec![principal.clone(), uid(&loaded.types.team, agent.reference.namespace())];
    let resources = std::iter::once(resource.clone()).chain(parents.iter().cloned()).collect();
    let entities = Entities::from_entities(
        [
            agent_entity(loaded, agent, principal.clone())?,
            Entity::new(resource.clone(), attributes, parents).map_err(|error| error.to_string())?,
            slice.entity.clone(),
        ],
        None,
    );
    let mut common: Pairs = vec![
        text("environment", run.environment.name()),
        text("adapter", &run.adapter),
        text("repository", &run.repository.to_string_lossy()),
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
        Action::Tool(tool) => tool_contexts(tool, common, &mut contexts)?,
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

fn agent_entity(loaded: &Loaded, agent: &Agent, principal: EntityUid) -> Result<Entity, String> {
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
    let team = uid(&loaded.types.team, agent.reference.namespace());
    Entity::new(principal, attributes, HashSet::from([team])).map_err(|error| error.to_string())
}

type Resource = (EntityUid, HashMap<String, RestrictedExpression>, HashSet<EntityUid>);

fn resource(loaded: &Loaded, action: &Action) -> Resource {
    let types = &loaded.types;
    match action {
        Action::Launch(launch) => (uid(&types.adapter, &launch.adapter), HashMap::new(), HashSet::new()),
        Action::Llm(llm) => {
            let provider = uid(&types.provider, &llm.provider);
            (uid(&types.model, &llm.model), HashMap::new(), HashSet::from([provider]))
        }
        Action::Tool(tool) => {
            let parents = match &tool.source {
                ToolSource::Builtin(_) | ToolSource::Foreign => HashSet::new(),
                ToolSource::Mcp(server) => HashSet::from([uid(&types.server, server)]),
            };
            (uid(&types.tool, &action.name()), HashMap::from([text("name", &tool.tool)]), parents)
        }
        Action::Egress(egress) => (uid(&types.host, &egress.host), HashMap::new(), HashSet::new()),
    }
}

/// One context for each path and each command of a command line, for a command one for each path that it names; one
/// without either if there is none.
fn tool_contexts(tool: &ToolAction, mut common: Pairs, contexts: &mut Vec<Pairs>) -> Result<(), String> {
    let facts = &tool.facts;
    let count = facts.paths.len() + facts.parts.iter().map(|part| part.paths.len().max(1)).sum::<usize>();
    if count > MAX_CONTEXTS {
        return Err(format!("the call touches {count} paths and commands, more than {MAX_CONTEXTS}"));
    }
    let named = facts.parts.iter().flat_map(|part| &part.paths);
    let places: HashSet<&str> = facts.paths.iter().chain(named).map(|fact| place_name(fact.place)).collect();
    let programs: HashSet<&str> =
        facts.parts.iter().filter_map(|part| part.call.program.as_deref()).collect();
    let opaque = facts.parts.iter().any(|part| part.call.opaque);
    common.push(set("places", places));
    common.push(set("hosts", facts.hosts.iter().map(String::as_str)));
    common.push(set("programs", programs));
    common.push(("opaque".into(), RestrictedExpression::new_bool(opaque)));
    common.extend(facts.command.as_deref().map(|command| text("command", command)));
    contexts.extend(facts.paths.iter().map(|fact| with_path(common.clone(), fact)));
    for part in &facts.parts {
        let mut pairs = common.clone();
        pairs.extend(part.call.program.as_deref().map(|program| text("program", program)));
        pairs.extend(part.call.verb.as_deref().map(|verb| text("verb", verb)));
        pairs.push(set("words", part.call.words.iter().map(String::as_str)));
        pairs.push(set("variables", part.call.assigns.iter().map(String::as_str)));
        contexts.extend(part.paths.iter().map(|fact| with_path(pairs.clone(), fact)));
        if part.paths.is_empty() {
            contexts.push(pairs);
        }
    }
    if contexts.is_empty() {
        contexts.push(common);
    }
    Ok(())
}

fn with_path(mut pairs: Pairs, fact: &PathFact) -> Pairs {
    pairs.push(text("path", &fact.path.to_string_lossy()));
    pairs.push(text("place", place_name(fact.place)));
    pairs
}

const fn place_name(place: Place) -> &'static str {
    match place {
        Place::Worktree => "worktree",
        Place::Scratch => "scratch",
        Place::Secret => "secret",
        Place::GitMetadata => "git-metadata",
        Place::Outside => "outside",
    }
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
