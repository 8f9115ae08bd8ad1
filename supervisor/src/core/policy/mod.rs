//! Policies: Cedar, strictly validated against one schema, in layers. The answer to "may this run do this?".
//!
//! Invariants: every layer is evaluated and every reason kept; the strictest is in force; an error of evaluation
//! denies; where no policy permits, the answer is no. A policy is named by its `@id` and appears in reasons as
//! `<layer>/<id>`, with its `@reason` as text. A `forbid` with `@decision("ask")` asks a person instead of refusing;
//! it permits nothing by itself.

mod asked;
mod attributes;
pub mod cases;
mod circumstances;
mod glob;
mod index;
mod known;
pub mod labels;
#[cfg(test)]
mod layer_tests;
mod load;
mod looked;
pub mod own;
mod packs;
mod request;
mod slice;
mod stage;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tightening_tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use cedar_policy::{AuthorizationError, Authorizer, PolicyId, Request, Response, Schema};

use super::action::Action;
use super::decision::{Decision, Evaluation, Reason, Stage};
use super::manifest::Agent;
use super::run::Run;
use super::scope;

pub use circumstances::Circumstances;
use labels::{Labels, View};
pub use load::SCHEMA;
pub use looked::Looked;
use own::Own;
pub use packs::{Pack, PackError};
use slice::{Pair, Slice};

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
    /// Whose agents it is about, in the team's layer; none for everybody's.
    pub team: Option<String>,
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

/// A policy, described.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Described<'p> {
    /// Who wrote it.
    pub layer: Layer,
    /// `<layer>/<id>`.
    pub source: &'p str,
    /// The stage it belongs to.
    pub stage: Stage,
    /// What it says where it applies.
    pub decision: Decision,
    /// Its reason; may be empty.
    pub text: &'p str,
    /// Where it is written.
    pub origin: &'p Origin,
    /// Whose agents it is about; none for everybody's.
    pub team: Option<&'p str>,
    /// SHA-256 over whom it names and its conditions.
    pub digest: &'p [u8; 32],
}

/// The policies in force: a cheap clone. The default has none and denies everything.
#[derive(Clone, Default)]
pub struct PolicySet(Option<Arc<Loaded>>);

struct Loaded {
    schema: Schema,
    types: request::Types,
    slices: BTreeMap<&'static str, Slice>,
    labels: Arc<Labels>,
    /// Those that have policies.
    layers: BTreeSet<Layer>,
    policies: HashMap<PolicyId, Meta>,
}

struct Meta {
    layer: Layer,
    source: String,
    text: String,
    decision: Decision,
    stage: Stage,
    origin: Origin,
    /// Whose agents it is about; none for everybody's.
    team: Option<String>,
    /// What its conditions look at.
    looks: attributes::Looks,
}

impl Meta {
    fn described(&self) -> Described<'_> {
        Described {
            layer: self.layer,
            source: &self.source,
            stage: self.stage,
            decision: self.decision,
            text: &self.text,
            origin: &self.origin,
            team: self.team.as_deref(),
            digest: &self.looks.digest,
        }
    }

    fn concerns(&self, team: &str) -> bool {
        self.team.as_deref().is_none_or(|of| of == team)
    }
}

impl PolicySet {
    /// What scope and policies say about an action. All reasons are kept, the strictest is in force; any error of
    /// evaluation denies, and so does the absence of a permission.
    pub fn evaluate(&self, agent: &Agent, run: &Run, action: &Action, now: &Circumstances) -> Evaluation {
        self.evaluate_with(&Own::None, agent, run, action, now)
    }

    /// As [`PolicySet::evaluate`], with what the run's repository adds.
    pub fn evaluate_with(
        &self,
        own: &Own,
        agent: &Agent,
        run: &Run,
        action: &Action,
        now: &Circumstances,
    ) -> Evaluation {
        let mut reasons = scope::check(agent, run, action);
        let in_scope = reasons.iter().all(|reason| reason.decision == Decision::Allow);
        match self.judge(own, Question { agent, run, action, now, in_scope }) {
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

    /// All of them, in order of layer and place.
    pub fn policies(&self) -> Vec<Described<'_>> {
        let mut all: Vec<&Meta> = self.0.iter().flat_map(|loaded| loaded.policies.values()).collect();
        all.sort_by(|a, b| {
            (a.layer, &a.origin.file, a.origin.line).cmp(&(b.layer, &b.origin.file, b.origin.line))
        });
        all.into_iter().map(Meta::described).collect()
    }

    /// The rules by which things have labels.
    pub fn labels(&self) -> Option<&Labels> {
        self.0.as_ref().map(|loaded| loaded.labels.as_ref())
    }

    /// How many policies there are.
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |loaded| loaded.policies.len())
    }

    /// Whether there are none, which denies everything.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn judge(&self, own: &Own, question: Question<'_>) -> Result<Vec<Reason>, String> {
        let Some(loaded) = &self.0 else {
            return Ok(vec![deny(NOTHING_PERMITS, "no policies are in force".into())]);
        };
        let mut reasons = loaded.judge(&question)?;
        match own {
            Own::None => {}
            Own::Broken(why) => {
                reasons.push(deny("policy", format!("the repository's own policies cannot be loaded: {why}")))
            }
            Own::Set(own) => {
                if let Some(own) = &own.0 {
                    reasons.extend(own.judge_below(&question, &loaded.labels)?);
                }
            }
        }
        Ok(reasons)
    }
}

/// Who wants to do what, when.
#[derive(Clone, Copy)]
struct Question<'q> {
    agent: &'q Agent,
    run: &'q Run,
    action: &'q Action,
    now: &'q Circumstances,
    in_scope: bool,
}

/// The source of the answer where no policy permits.
pub const NOTHING_PERMITS: &str = "default";

impl Loaded {
    fn judge(&self, question: &Question<'_>) -> Result<Vec<Reason>, String> {
        let mut reasons = Vec::new();
        for view in self.labels.views(question.agent.reference.namespace()) {
            if view.is_first() || self.layers.iter().any(|layer| view.is_of(*layer)) {
                self.ask(question, &view, &mut reasons)?;
            }
        }
        Ok(reasons)
    }

    /// What these add below all layers, which see these labels.
    fn judge_below(&self, question: &Question<'_>, labels: &Labels) -> Result<Vec<Reason>, String> {
        let mut reasons = Vec::new();
        self.ask(question, &labels.below(question.agent.reference.namespace()), &mut reasons)?;
        Ok(reasons)
    }

    /// Adds what the policies say whose view this is.
    fn ask(&self, question: &Question<'_>, view: &View<'_>, reasons: &mut Vec<Reason>) -> Result<(), String> {
        let (slice, pair) = self.pair(question, view)?;
        let contexts = asked::contexts(question, view, &pair.policies.needs)?;
        let asked = (view.seen(), contexts);
        let answer = match pair.known.find(&asked) {
            Some(answer) => answer,
            None => {
                let answer = self.answer_anew(question, view, (slice, &pair), &asked.1)?;
                pair.known.keep(asked, &answer);
                answer
            }
        };
        let new: Vec<Reason> = answer.iter().filter(|reason| !reasons.contains(reason)).cloned().collect();
        reasons.extend(new);
        Ok(())
    }

    fn pair(&self, question: &Question<'_>, view: &View<'_>) -> Result<(&Slice, Arc<Pair>), String> {
        let name = asked::action_name(question.action);
        let slice = self.slices.get(name).ok_or("the action is not in the schema")?;
        let things = (asked::principal(question.agent, view), asked::resource(question.action, view)?);
        Ok((slice, slice.pair(&self.types, things)?))
    }

    /// The questions with nothing left out; what is not as the schema says is an error.
    fn requests(
        &self,
        question: &Question<'_>,
        view: &View<'_>,
        (slice, pair): (&Slice, &Pair),
    ) -> Result<Vec<Request>, String> {
        let whole = asked::whole_contexts(question, view, &pair.policies.needs)?;
        let who = (&pair.principal, &slice.action, &pair.resource);
        whole.iter().map(|values| request::request(who, values, Some(&self.schema))).collect()
    }

    fn answer_anew(
        &self,
        question: &Question<'_>,
        view: &View<'_>,
        (slice, pair): (&Slice, &Pair),
        contexts: &[asked::Values],
    ) -> Result<Arc<[Reason]>, String> {
        // That all is as the schema says does not depend on who asks: it is held against it where tests run.
        if cfg!(debug_assertions) {
            self.requests(question, view, (slice, pair))?;
        }
        let mut reasons = Vec::new();
        for values in contexts {
            let who = (&pair.principal, &slice.action, &pair.resource);
            let request = request::request(who, values, None)?;
            let response = Authorizer::new().is_authorized(&request, &pair.policies.set, &pair.entities);
            for reason in self.answer(&response, question.agent.reference.namespace(), view) {
                if !reasons.contains(&reason) {
                    reasons.push(reason);
                }
            }
        }
        Ok(reasons.into())
    }

    /// One question's reasons: permissions, what could not be evaluated, asks, refusals, each in order of name. A
    /// policy that cannot be evaluated denies, whatever it would have said.
    fn answer(&self, response: &Response, team: &str, view: &View<'_>) -> Vec<Reason> {
        let concerned = |id: &&PolicyId| {
            self.policies.get(*id).is_none_or(|meta| meta.concerns(team) && view.is_of(meta.layer))
        };
        let applying = response.diagnostics().reason().filter(concerned);
        let mut reasons: Vec<Reason> = applying.map(|id| self.reason(id)).collect();
        reasons.sort_by(|a, b| a.decision.cmp(&b.decision).then_with(|| a.source.cmp(&b.source)));
        let tighter =
            reasons.iter().position(|reason| reason.decision != Decision::Allow).unwrap_or(reasons.len());
        let tighter = reasons.split_off(tighter);
        // Only the highest layers permit.
        let nothing_permits = reasons.is_empty() && view.is_first();
        let errors = response.diagnostics().errors().filter(|error| {
            let AuthorizationError::PolicyEvaluationError(error) = error;
            concerned(&error.policy_id())
        });
        reasons.extend(errors.map(|error| deny("policy", error.to_string())));
        if nothing_permits {
            reasons.push(deny(NOTHING_PERMITS, "no policy permits it".into()));
        }
        reasons.extend(tighter);
        reasons
    }

    fn reason(&self, id: &PolicyId) -> Reason {
        match self.policies.get(id) {
            Some(meta) => Reason::new(meta.source.as_str(), meta.decision, meta.text.as_str()).at(meta.stage),
            None => deny("policy", format!("a policy without a record: `{id}`")),
        }
    }
}

fn deny(source: &str, text: String) -> Reason {
    Reason::new(source, Decision::Deny, text)
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
