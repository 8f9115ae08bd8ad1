//! Policies: Cedar, strictly validated against one schema, in layers. The answer to "may this run do this?".
//!
//! Invariants: every layer is evaluated and every reason kept; the strictest is in force; an error of evaluation
//! denies; where no policy permits, the answer is no. A policy is named by its `@id` and appears in reasons as
//! `<layer>/<id>`, with its `@reason` as text. A `forbid` with `@decision("ask")` asks a person instead of refusing;
//! it permits nothing by itself.

mod known;
mod load;
mod request;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use cedar_policy::{Authorizer, Entities, Entity, EntityTypeName, EntityUid, PolicyId, Request, Schema};

use super::action::Action;
use super::decision::{Decision, Evaluation, Reason};
use super::manifest::Agent;
use super::run::Run;
use super::scope;

pub use load::{DEFAULT_PACK, SCHEMA};

/// Who wrote a policy. A later layer can only tighten what the earlier ones permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Layer {
    /// The pack that agentsup brings.
    Default,
    /// The organisation: the manifests directory.
    Org,
    /// A team.
    Team,
    /// The user.
    User,
    /// A checked-out repository.
    Repository,
}

impl Layer {
    /// As reasons write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Org => "org",
            Self::Team => "team",
            Self::User => "user",
            Self::Repository => "repository",
        }
    }

    /// Whether its policies may permit; the others can only forbid or ask.
    pub const fn may_permit(self) -> bool {
        matches!(self, Self::Default | Self::Org)
    }
}

/// One file of policies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicySource {
    /// Who wrote it.
    pub layer: Layer,
    /// Where, for errors.
    pub file: PathBuf,
    /// Its text.
    pub text: String,
}

/// Where a policy is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The file.
    pub file: PathBuf,
    /// Its first line, from 1.
    pub line: u32,
}

/// The policies in force: a cheap clone. The default has none and denies everything.
#[derive(Clone, Default)]
pub struct PolicySet(Option<Arc<Loaded>>);

struct Loaded {
    schema: Schema,
    types: Types,
    slices: BTreeMap<&'static str, Slice>,
    policies: HashMap<PolicyId, Meta>,
    known: known::Known,
}

/// The policies that can apply to one action, by what they say.
struct Slice {
    action: EntityUid,
    entity: Entity,
    permits: cedar_policy::PolicySet,
    asks: cedar_policy::PolicySet,
    forbids: cedar_policy::PolicySet,
}

struct Meta {
    source: String,
    text: String,
    decision: Decision,
    origin: Origin,
}

struct Types {
    agent: EntityTypeName,
    team: EntityTypeName,
    adapter: EntityTypeName,
    provider: EntityTypeName,
    model: EntityTypeName,
    server: EntityTypeName,
    tool: EntityTypeName,
    host: EntityTypeName,
}

impl PolicySet {
    /// What scope and policies say about an action. All reasons are kept, the strictest is in force; any error of
    /// evaluation denies, and so does the absence of a permission.
    pub fn evaluate(&self, agent: &Agent, run: &Run, action: &Action) -> Evaluation {
        let mut reasons = scope::check(agent, run, action);
        let in_scope = reasons.iter().all(|reason| reason.decision == Decision::Allow);
        match self.judge(agent, run, action, in_scope) {
            // Out of scope, that nothing permits it follows and is no news.
            Ok(more) => {
                reasons
                    .extend(more.into_iter().filter(|reason| in_scope || reason.source != NOTHING_PERMITS));
            }
            Err(problem) => {
                reasons.push(deny("policy", format!("the policies cannot be evaluated: {problem}")))
            }
        }
        Evaluation::of(reasons)
    }

    /// Where the policy behind a reason's source is written.
    pub fn origin(&self, source: &str) -> Option<&Origin> {
        self.0.as_ref()?.policies.values().find(|meta| meta.source == source).map(|meta| &meta.origin)
    }

    /// How many policies there are.
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |loaded| loaded.policies.len())
    }

    /// Whether there are none, which denies everything.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn judge(
        &self,
        agent: &Agent,
        run: &Run,
        action: &Action,
        in_scope: bool,
    ) -> Result<Vec<Reason>, String> {
        let Some(loaded) = &self.0 else {
            return Ok(vec![deny(NOTHING_PERMITS, "no policies are in force".into())]);
        };
        if let Some(reasons) = loaded.known.find(agent, run, action, in_scope) {
            return Ok(reasons);
        }
        let slice =
            loaded.slices.get(request::action_name(action)).ok_or("the action is not in the schema")?;
        let questions = request::questions(loaded, slice, agent, run, action, in_scope)?;
        let mut reasons = Vec::new();
        for request in &questions.requests {
            for reason in loaded.answer(slice, request, &questions.entities) {
                if !reasons.contains(&reason) {
                    reasons.push(reason);
                }
            }
        }
        loaded.known.keep(agent, run, action, in_scope, &reasons);
        Ok(reasons)
    }
}

/// The source of the answer where no policy permits.
const NOTHING_PERMITS: &str = "default";

impl Loaded {
    /// One question's reasons: permissions, asks, refusals, each in order of name.
    fn answer(&self, slice: &Slice, request: &Request, entities: &Entities) -> Vec<Reason> {
        let mut reasons = self.matching(&slice.permits, request, entities);
        if !reasons.iter().any(|reason| reason.decision == Decision::Allow) {
            reasons.push(deny(NOTHING_PERMITS, "no policy permits it".into()));
        }
        reasons.extend(self.matching(&slice.asks, request, entities));
        reasons.extend(self.matching(&slice.forbids, request, entities));
        reasons
    }

    /// What the policies of one kind say: all of those that apply. One that cannot be evaluated denies, whatever
    /// it would have said.
    fn matching(&self, set: &cedar_policy::PolicySet, request: &Request, entities: &Entities) -> Vec<Reason> {
        if set.is_empty() {
            return Vec::new();
        }
        let response = Authorizer::new().is_authorized(request, set, entities);
        let mut reasons: Vec<Reason> = response.diagnostics().reason().map(|id| self.reason(id)).collect();
        reasons.extend(response.diagnostics().errors().map(|error| deny("policy", error.to_string())));
        reasons.sort_by(|a, b| a.source.cmp(&b.source));
        reasons
    }

    fn reason(&self, id: &PolicyId) -> Reason {
        match self.policies.get(id) {
            Some(meta) => {
                Reason { source: meta.source.clone(), decision: meta.decision, text: meta.text.clone() }
            }
            None => deny("policy", format!("a policy without a record: `{id}`")),
        }
    }
}

fn deny(source: &str, text: String) -> Reason {
    Reason { source: source.to_owned(), decision: Decision::Deny, text }
}

impl fmt::Debug for PolicySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sources: Vec<&str> = self
            .0
            .iter()
            .flat_map(|loaded| loaded.policies.values())
            .map(|meta| meta.source.as_str())
            .collect();
        sources.sort_unstable();
        f.debug_tuple("PolicySet").field(&sources).finish()
    }
}
