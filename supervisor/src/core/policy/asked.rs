//! A question to policies in plain values: who, what, and what is the case, as far as any policy that can apply looks at
//! it. Two questions of the same values have the same answer.
//!
//! Invariant: all of it is in here that Cedar is told, and nothing is left out but what no policy looks at.

use std::collections::{BTreeSet, HashSet};

use super::super::action::{Action, CommandPart, PathFact, ToolAction, ToolSource};
use super::super::manifest::{Agent, Lifecycle};
use super::super::run::Run;
use super::Question;
use super::attributes::Needs;
use super::labels::{self, View};

/// The most paths and commands that one call may consist of and still be judged, as far as they differ.
const MAX_CONTEXTS: usize = 256;
/// The most paths and hosts that are looked at at all, whether they differ or not: some tens of milliseconds of work.
const MAX_PATHS: usize = 20_000;
/// The longest path or name that is held against labels, in bytes.
const MAX_NAME_BYTES: usize = 4096;

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Value {
    Text(String),
    Set(BTreeSet<String>),
    Truth(bool),
    Number(i64),
    /// Nobody looks at what it is.
    Present,
}

/// What things are in the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Agent,
    Team,
    Role,
    Adapter,
    Provider,
    Model,
    Server,
    Tool,
    Class,
    Host,
}

/// Something's name in the schema.
pub(super) type Name = (Kind, String);
/// Attributes, each once.
pub(super) type Values = Vec<(&'static str, Value)>;

/// Who acts, or what is acted upon.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Thing {
    pub(super) name: Name,
    pub(super) attributes: Values,
    /// What it is in.
    pub(super) is_in: Vec<Name>,
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

/// Who acts.
pub(super) fn principal(agent: &Agent, view: &View<'_>) -> Thing {
    let lifecycle = match agent.lifecycle {
        Lifecycle::Experimental => "experimental",
        Lifecycle::Production => "production",
        Lifecycle::Retired => "retired",
    };
    let roles = view.roles(&agent.reference).into_iter().map(|role| (Kind::Role, role.to_owned()));
    Thing {
        name: (Kind::Agent, agent.reference.to_string()),
        attributes: vec![
            ("name", text(agent.reference.name())),
            ("namespace", text(agent.reference.namespace())),
            ("owner", Value::Text(agent.owner.reference())),
            ("purpose", text(&agent.purpose)),
            ("lifecycle", text(lifecycle)),
        ],
        is_in: std::iter::once((Kind::Team, agent.reference.namespace().to_owned())).chain(roles).collect(),
    }
}

/// What is acted upon.
///
/// # Errors
/// A name that is too long to be held against labels.
pub(super) fn resource(action: &Action, view: &View<'_>) -> Result<Thing, String> {
    let (name, attributes, is_in) = match action {
        Action::Launch(launch) => ((Kind::Adapter, launch.adapter.clone()), Vec::new(), Vec::new()),
        Action::Llm(llm) => {
            let (provider, model) = (bounded(&llm.provider)?, bounded(&llm.model)?);
            let attributes = vec![
                ("labels", set(view.model(provider, model))),
                ("residency", set(view.model_residency(provider, model))),
            ];
            ((Kind::Model, model.to_owned()), attributes, vec![(Kind::Provider, provider.to_owned())])
        }
        Action::Tool(tool) => {
            bounded(&tool.tool)?;
            let classes = view.tool(tool).into_iter().map(|class| (Kind::Class, class.to_owned()));
            let server = match &tool.source {
                ToolSource::Builtin(_) | ToolSource::Foreign => None,
                ToolSource::Mcp(server) => Some((Kind::Server, server.clone())),
            };
            let attributes = vec![("name", text(&tool.tool))];
            ((Kind::Tool, action.name()), attributes, classes.chain(server).collect())
        }
        Action::Egress(egress) => {
            let host = labels::host(bounded(&egress.host)?);
            let attributes =
                vec![("labels", set(view.host(&host))), ("residency", set(view.host_residency(&host)))];
            ((Kind::Host, host), attributes, Vec::new())
        }
    };
    Ok(Thing { name, attributes, is_in })
}

/// What is the case, once for each thing that the action touches: the strictest answer counts. What looks the same to
/// these policies is there once.
///
/// # Errors
/// Too many things that look different, or too long a name.
pub(super) fn contexts(
    question: &Question<'_>,
    view: &View<'_>,
    needs: &Needs,
) -> Result<Vec<Values>, String> {
    let distinct = distinct(question, view, needs)?;
    let common = common(question, view, needs)?;
    Ok(distinct.into_iter().map(|(_, own)| [&common[..], &own].concat()).collect())
}

/// The same things with all that is the case, whether these policies look at it or not.
///
/// # Errors
/// As [`contexts`].
pub(super) fn whole_contexts(
    question: &Question<'_>,
    view: &View<'_>,
    needs: &Needs,
) -> Result<Vec<Values>, String> {
    let distinct = distinct(question, view, needs)?;
    let common = common(question, view, &Needs::ALL)?;
    let own = |touched: &Touched<'_>| touched.values(question.run, view, &Needs::ALL);
    Ok(distinct.iter().map(|(touched, _)| [&common[..], &own(touched)].concat()).collect())
}

/// The attributes that somebody looks at.
struct Facts<'w> {
    needs: &'w Needs,
    values: Values,
}

impl Facts<'_> {
    fn put(&mut self, name: &'static str, value: impl FnOnce() -> Value) {
        if self.needs.value(name) {
            self.values.push((name, value()));
        } else if self.needs.presence(name) {
            self.values.push((name, Value::Present));
        }
    }

    fn put_if<T>(&mut self, name: &'static str, there: Option<T>, value: impl FnOnce(T) -> Value) {
        if let Some(there) = there {
            self.put(name, || value(there));
        }
    }
}

/// What is the same for all that the action touches.
fn common(question: &Question<'_>, view: &View<'_>, needs: &Needs) -> Result<Values, String> {
    let Question { run, action, now, in_scope, .. } = *question;
    let mut common = Facts { needs, values: Vec::new() };
    common.put("environment", || text(run.environment.name()));
    common.put("adapter", || text(&run.adapter));
    common.put("repository", || text(&run.repository.to_string_lossy()));
    common.put("repository_labels", || set(view.repository(run)));
    common.put("in_scope", || Value::Truth(in_scope));
    common.put("session", || Value::Set(now.session.clone()));
    common.put("hour", || Value::Number(now.hour.into()));
    common.put("weekday", || Value::Number(now.weekday.into()));
    common.put_if("budget_left_percent", now.budget_left_percent, |left| Value::Number(left.into()));
    match action {
        Action::Launch(launch) => {
            common.put("billing", || text(launch.billing.name()));
            common.put_if("remote", launch.remote.as_deref(), text);
        }
        Action::Llm(llm) => common.put("provider", || text(&llm.provider)),
        Action::Egress(egress) => common.put("port", || Value::Number(egress.port.into())),
        Action::Tool(tool) => {
            let paths = || paths(tool).map(|fact| fact.place.name());
            let called = || tool.facts.parts.iter().map(|part| &part.call);
            common.put("places", || set(paths()));
            put_hosts(&tool.facts.hosts, view, &mut common)?;
            common.put("programs", || set(called().filter_map(|call| call.program.as_deref())));
            common.put("opaque", || Value::Truth(called().any(|call| call.opaque)));
            common.put_if("command", tool.facts.command.as_deref(), text);
        }
    }
    Ok(common.values)
}

/// Every path that a call touches, those of its commands too.
fn paths(tool: &ToolAction) -> impl Iterator<Item = &PathFact> {
    tool.facts.paths.iter().chain(tool.facts.parts.iter().flat_map(|part| &part.paths))
}

/// What is judged at once: a command or none, and a path or none.
#[derive(Default)]
struct Touched<'a> {
    /// None for a launch, a model call or a connection, which have no paths.
    of_tool: bool,
    part: Option<&'a CommandPart>,
    path: Option<&'a PathFact>,
    is_written: bool,
}

impl Touched<'_> {
    fn values(&self, run: &Run, view: &View<'_>, needs: &Needs) -> Values {
        let part = self.part.map_or_else(Vec::new, |part| of_part(part, needs));
        [part, self.of_path(run, view, needs)].concat()
    }

    fn of_path(&self, run: &Run, view: &View<'_>, needs: &Needs) -> Values {
        let mut facts = Facts { needs, values: Vec::new() };
        if self.of_tool {
            facts.put("labels", || set(self.path.map(|fact| view.path(fact, run)).unwrap_or_default()));
        }
        facts.put_if("path", self.path, |fact| text(&fact.path.to_string_lossy()));
        facts.put_if("place", self.path, |fact| text(fact.place.name()));
        facts.put_if("written", self.is_written.then_some(true), Value::Truth);
        facts.values
    }
}

fn of_part(CommandPart { call, .. }: &CommandPart, needs: &Needs) -> Values {
    let mut facts = Facts { needs, values: Vec::new() };
    facts.put_if("program", call.program.as_deref(), text);
    facts.put_if("verb", call.verb.as_deref(), text);
    facts.put("words", || set(call.words.iter().map(String::as_str)));
    facts.put("variables", || set(call.assigns.iter().map(String::as_str)));
    facts.values
}

/// Each path and each command of a command line, for a command each path that it names, or neither if there is none; of
/// those that these policies cannot tell apart the first: `git add` may name thousands.
fn distinct<'a>(
    question: &Question<'a>,
    view: &View<'_>,
    needs: &Needs,
) -> Result<Vec<(Touched<'a>, Values)>, String> {
    let Action::Tool(tool) = question.action else { return Ok(vec![Default::default()]) };
    if paths(tool).count() + tool.facts.hosts.len() > MAX_PATHS {
        return Err(format!("the call names more than {MAX_PATHS} paths and hosts"));
    }
    for fact in paths(tool) {
        bounded(&fact.path.to_string_lossy())?;
    }
    let mut distinct = Distinct { run: question.run, view, needs, found: Vec::new(), seen: HashSet::new() };
    distinct.add(None, &tool.facts.paths)?;
    for part in &tool.facts.parts {
        distinct.add(Some(part), &part.paths)?;
    }
    if distinct.found.is_empty() {
        let touched = Touched { of_tool: true, ..Touched::default() };
        let values = touched.values(question.run, view, needs);
        distinct.add_one(touched, values)?;
    }
    Ok(distinct.found)
}

struct Distinct<'q, 'a> {
    run: &'q Run,
    view: &'q View<'q>,
    needs: &'q Needs,
    found: Vec<(Touched<'a>, Values)>,
    seen: HashSet<Values>,
}

impl<'a> Distinct<'_, 'a> {
    fn add(&mut self, part: Option<&'a CommandPart>, paths: &'a [PathFact]) -> Result<(), String> {
        let written: HashSet<&PathFact> = part.iter().flat_map(|part| &part.written).collect();
        let of_part = part.map_or_else(Vec::new, |part| of_part(part, self.needs));
        let mut seen = HashSet::new();
        for fact in paths {
            let is_written = written.contains(fact);
            let touched = Touched { of_tool: true, part, path: Some(fact), is_written };
            let of_path = touched.of_path(self.run, self.view, self.needs);
            // A command's words are not to be copied for each of its files.
            if paths.len() == 1 || seen.insert(of_path.clone()) {
                self.add_one(touched, [&of_part[..], &of_path].concat())?;
            }
        }
        if part.is_some() && paths.is_empty() {
            let touched = Touched { of_tool: true, part, ..Touched::default() };
            let of_path = touched.of_path(self.run, self.view, self.needs);
            self.add_one(touched, [of_part, of_path].concat())?;
        }
        Ok(())
    }

    fn add_one(&mut self, touched: Touched<'a>, values: Values) -> Result<(), String> {
        if self.seen.insert(values.clone()) {
            self.found.push((touched, values));
        }
        if self.found.len() > MAX_CONTEXTS {
            return Err(format!("the call touches more than {MAX_CONTEXTS} different paths and commands"));
        }
        Ok(())
    }
}

/// The hosts of a call: what any of them is labelled, what every one is, and where they keep data.
fn put_hosts(hosts: &[String], view: &View<'_>, facts: &mut Facts<'_>) -> Result<(), String> {
    for host in hosts {
        bounded(host)?;
    }
    let told = ["hosts", "host_labels", "common_host_labels", "host_residency"];
    if !told.iter().any(|name| facts.needs.presence(name)) {
        return Ok(());
    }
    let names: BTreeSet<String> = hosts.iter().map(|host| labels::host(host)).collect();
    let labels: Vec<BTreeSet<&str>> = names.iter().map(|host| view.host(host)).collect();
    let every = labels.iter().cloned().reduce(|every, labels| &every & &labels).unwrap_or_default();
    facts.put("host_labels", || set(labels.iter().flatten().copied()));
    facts.put("common_host_labels", || set(every));
    facts.put("host_residency", || set(names.iter().flat_map(|host| view.host_residency(host))));
    facts.put("hosts", || Value::Set(names));
    Ok(())
}

fn bounded(name: &str) -> Result<&str, String> {
    if name.len() > MAX_NAME_BYTES {
        return Err(format!("a name is longer than {MAX_NAME_BYTES} bytes"));
    }
    Ok(name)
}

fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

fn set<'a>(values: impl IntoIterator<Item = &'a str>) -> Value {
    Value::Set(values.into_iter().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests;
