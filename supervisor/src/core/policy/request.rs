//! From an action to Cedar's questions: principal, action, resource and the normalised facts as context.

use std::collections::{HashMap, HashSet};

use cedar_policy::{
    Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, Request, RestrictedExpression,
};

use super::super::action::{Action, PathFact, Place, ToolAction, ToolSource};
use super::super::manifest::{Agent, Lifecycle};
use super::super::run::Run;
use super::{Loaded, Slice};

/// The most paths that one call may touch and still be judged.
const MAX_PATHS: usize = 256;

/// The questions about one action; the strictest answer counts.
pub(super) struct Questions {
    pub(super) requests: Vec<Request>,
    pub(super) entities: Entities,
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
    agent: &Agent,
    run: &Run,
    action: &Action,
    in_scope: bool,
) -> Result<Questions, String> {
    let principal = uid(&loaded.types.agent, &agent.reference.to_string());
    let (resource, attributes, parents) = resource(loaded, action);
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
    ];
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
            common.push(("port".into(), RestrictedExpression::new_long(egress.port.into())));
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

/// One context per path; one without a path if there is none.
fn tool_contexts(tool: &ToolAction, mut common: Pairs, contexts: &mut Vec<Pairs>) -> Result<(), String> {
    let facts = &tool.facts;
    if facts.paths.len() > MAX_PATHS {
        return Err(format!("the call touches {} paths, more than {MAX_PATHS}", facts.paths.len()));
    }
    let places: HashSet<&str> = facts.paths.iter().map(|fact| place_name(fact.place)).collect();
    common.push(set("places", places));
    common.push(set("hosts", facts.hosts.iter().map(String::as_str)));
    common.extend(facts.command.as_deref().map(|command| text("command", command)));
    let with_path = |fact: &PathFact| {
        let mut pairs = common.clone();
        pairs.push(text("path", &fact.path.to_string_lossy()));
        pairs.push(text("place", place_name(fact.place)));
        pairs
    };
    contexts.extend(facts.paths.iter().map(with_path));
    if contexts.is_empty() {
        contexts.push(common);
    }
    Ok(())
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

fn set<'a>(name: &str, values: impl IntoIterator<Item = &'a str>) -> (String, RestrictedExpression) {
    let values = values.into_iter().map(|value| RestrictedExpression::new_string(value.to_owned()));
    (name.to_owned(), RestrictedExpression::new_set(values))
}
