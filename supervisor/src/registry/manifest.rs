//! Reading manifests: Agent, TokenBudget and Policy documents of one YAML file. Strict, every problem with its place.
//!
//! What is left out grants nothing, with three exceptions that a developer expects: the environment is `dev`, every
//! repository is in scope, and the lifecycle is `experimental`.

use std::path::{Path, PathBuf};

use crate::core::amount::Amount;
use crate::core::billing::Payers;
use crate::core::manifest::{
    Agent, BudgetRef, BuiltinClass, Cap, Environment, Lifecycle, Period, TimeZone, TokenBudget, ToolScope,
};
use crate::core::money::NanoUsd;
use crate::core::policy::labels::Rule;
use crate::core::principal::AgentRef;
use crate::core::problem::Problem;
use crate::core::scope;

use super::fields::{self, API_VERSION, Kind};
use super::label_rules;
use super::syntax;
use super::tree::{At, Faults, Field, Fields, Node};
use super::units;

/// How long a run's credential lives unless the manifest says otherwise: 15 minutes.
const CREDENTIAL_TTL_MS: u64 = 15 * 60 * 1000;

/// When people are told unless the manifest says otherwise.
const ALERT_AT_PERCENT: u8 = 80;

/// A document that says at least what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Document {
    pub(super) file: PathBuf,
    pub(super) at: At,
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) namespace: String,
    /// The fields of its `spec` that it names, each with its line.
    pub(super) given: Vec<(&'static str, u32)>,
    /// Absent if it has problems.
    pub(super) body: Option<Body>,
}

impl Document {
    /// A problem with a field, at the document's place.
    pub(super) fn problem(&self, field: &str, message: String) -> Problem {
        let (line, column) = (self.at.line, self.at.column);
        Problem { file: self.file.clone(), line, column, field: field.to_owned(), message, hint: None }
    }
}

/// What a document declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Body {
    Agent {
        agent: Box<Agent>,
        /// Where it names its budget.
        budget_at: At,
    },
    Budget {
        budget: TokenBudget,
        /// Where it names its parent, if it does.
        parent_at: Option<At>,
    },
    /// A Policy document's.
    Rules(Vec<Rule>),
}

/// Reads the documents of one file. The problems go to `found`.
pub(super) fn read(file: &Path, text: &str, found: &mut Vec<Problem>) -> Vec<Document> {
    let mut faults = Faults::new(file, found);
    let nodes = syntax::yaml(text, &mut faults);
    nodes.iter().filter_map(|node| document(file, node, &mut faults)).collect()
}

fn document(file: &Path, node: &Node, faults: &mut Faults<'_>) -> Option<Document> {
    let before = faults.count();
    let mut root = Field::document(node).fields(faults)?;
    let version = root.require("apiVersion", faults);
    if let Some(field) = version
        && field.text(faults).is_some_and(|text| text != API_VERSION)
    {
        field.fault(faults, format!("is not `{API_VERSION}`"));
    }
    let kinds = Kind::ALL.map(|kind| (kind.name(), kind));
    let kind = root.require("kind", faults).and_then(|field| field.word(faults, &kinds));
    let metadata = root.require("metadata", faults).and_then(|field| metadata(&field, faults));
    let spec = root.require("spec", faults);
    root.done(faults);
    let (kind, (at, reference)) = (kind?, metadata?);
    let spec = spec.and_then(|field| field.fields(faults));
    let body = spec.and_then(|mut spec| {
        let body = match kind {
            Kind::Agent => agent(&reference, &mut spec, faults),
            Kind::TokenBudget => budget(&reference, &mut spec, faults),
            Kind::Policy => label_rules::rules(file, &mut spec, faults).map(Body::Rules),
        };
        spec.done(faults);
        body
    });
    Some(Document {
        file: file.to_owned(),
        at,
        kind,
        name: reference.name().to_owned(),
        namespace: reference.namespace().to_owned(),
        given: given(kind, node),
        body: body.filter(|_| faults.count() == before),
    })
}

/// Which fields are written there, and where.
fn given(kind: Kind, node: &Node) -> Vec<(&'static str, u32)> {
    let own = fields::of(kind).into_iter().filter(|field| field.path.starts_with("spec."));
    own.filter_map(|field| Some((field.path, node.entry(field.path)?.at.line))).collect()
}

/// Name and namespace; what else catalogs keep there is checked and left to them.
fn metadata(field: &Field<'_>, faults: &mut Faults<'_>) -> Option<(At, AgentRef)> {
    let mut fields = field.fields(faults)?;
    let label = |field: Field<'_>, faults: &mut Faults<'_>| {
        let check = |text: &str| AgentRef::new(text, text).map(|_| text.to_owned());
        field.map(faults, |text| check(text).map_err(|error| error.to_string()))
    };
    let name_field = fields.require("name", faults);
    let at = name_field.as_ref().map(Field::at);
    let name = name_field.and_then(|field| label(field, faults));
    let namespace = match fields.take("namespace", faults) {
        Some(field) => label(field, faults),
        None => Some("default".to_owned()),
    };
    for key in ["title", "description"] {
        let _ = fields.take(key, faults).and_then(|field| field.text(faults));
    }
    for key in ["labels", "annotations"] {
        let map = fields.take(key, faults).and_then(|field| field.fields(faults));
        for (_, _, field) in map.into_iter().flat_map(Fields::named) {
            field.text(faults);
        }
    }
    if let Some(tags) = fields.take("tags", faults) {
        tags.each(faults, |tag, faults| tag.text(faults));
    }
    fields.done(faults);
    Some((at?, AgentRef::new(&name?, &namespace?).ok()?))
}

fn agent(reference: &AgentRef, spec: &mut Fields<'_>, faults: &mut Faults<'_>) -> Option<Body> {
    let owner = spec.require("owner", faults).and_then(|field| field.parse(faults));
    let purpose = spec.require("purpose", faults).and_then(|field| field.text(faults)).map(str::to_owned);
    let lifecycle = spec
        .take("lifecycle", faults)
        .map(|field| field.word(faults, &Lifecycle::ALL.map(|lifecycle| (lifecycle.name(), lifecycle))));
    let environments = spec.take("environments", faults).map(|field| field.each(faults, environment));
    let adapters = spec.require("adapters", faults).and_then(|field| field.each(faults, adapter));
    let repositories = spec.take("repositories", faults).map(|field| field.each(faults, glob));
    let models = spec.require("models", faults).and_then(|field| field.each(faults, glob));
    let tools = spec.take("tools", faults).map(|field| tools(&field, faults));
    let budget_field = spec.require("budget", faults);
    let budget_at = budget_field.as_ref().map(Field::at);
    let budget = budget_field.and_then(|field| {
        field.map(faults, |text| match AgentRef::new(text, reference.namespace()) {
            Ok(budget) => Ok(budget.name().to_owned()),
            Err(error) => Err(error.to_string()),
        })
    });
    let billing = spec.take("billing", faults).map(|field| field.word(faults, &Payers::WORDS));
    let ttl = nested(spec, "credentials", "ttl", faults).map(|field| field.map(faults, units::duration_ms));
    let end = nested(spec, "deprovision", "at", faults).map(|field| field.map(faults, units::instant_ms));
    Some(Body::Agent {
        agent: Box::new(Agent {
            reference: reference.clone(),
            owner: owner?,
            purpose: purpose?,
            lifecycle: lifecycle.unwrap_or(Some(Lifecycle::Experimental))?,
            environments: environments.unwrap_or_else(|| Some(vec![Environment::Dev]))?,
            adapters: adapters?,
            repositories: repositories.unwrap_or_else(|| Some(vec!["*".to_owned()]))?,
            models: models?,
            tools: tools.unwrap_or_else(|| Some(ToolScope::default()))?,
            budget: budget?,
            billing: billing.unwrap_or(Some(Payers::Keys))?,
            credential_ttl_ms: ttl.unwrap_or(Some(CREDENTIAL_TTL_MS))?,
            deprovision_at_ms: match end {
                Some(end) => Some(end?),
                None => None,
            },
        }),
        budget_at: budget_at?,
    })
}

/// The one field of a small map, such as `credentials: { ttl: 15m }`.
fn nested<'n>(
    spec: &mut Fields<'n>,
    outer: &'static str,
    inner: &'static str,
    faults: &mut Faults<'_>,
) -> Option<Field<'n>> {
    let mut fields = spec.take(outer, faults)?.fields(faults)?;
    let field = fields.require(inner, faults);
    fields.done(faults);
    field
}

fn environment(field: &Field<'_>, faults: &mut Faults<'_>) -> Option<Environment> {
    let words = [Environment::Dev, Environment::Staging, Environment::Production];
    field.word(faults, &words.map(|environment| (environment.name(), environment)))
}

fn builtin(field: &Field<'_>, faults: &mut Faults<'_>) -> Option<BuiltinClass> {
    field.word(faults, &BuiltinClass::ALL.map(|class| (class.name(), class)))
}

fn adapter(field: &Field<'_>, faults: &mut Faults<'_>) -> Option<String> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    field.map(faults, |text| match text.bytes().all(plain) {
        true => Ok(text.to_owned()),
        false => Err(format!("`{text}` is not an adapter's name (lower-case letters, digits and `-`)")),
    })
}

fn glob(field: &Field<'_>, faults: &mut Faults<'_>) -> Option<String> {
    field.map(faults, |text| match scope::objection_to_glob(text) {
        None => Ok(text.to_owned()),
        Some(objection) => Err(format!("`{text}`: {objection}")),
    })
}

/// A glob over `<server>/<tool>`.
fn mcp_glob(field: &Field<'_>, faults: &mut Faults<'_>) -> Option<String> {
    let glob = glob(field, faults)?;
    if glob != "*" && !glob.contains('/') {
        let hint = format!("write `{glob}/*` for all tools of the server `{glob}`");
        field.fault_with_hint(faults, format!("`{glob}` does not name a tool as `server/tool`"), &hint);
        return None;
    }
    Some(glob)
}

fn tools(field: &Field<'_>, faults: &mut Faults<'_>) -> Option<ToolScope> {
    let mut fields = field.fields(faults)?;
    let mcp = fields.take("mcp", faults).map(|field| field.each(faults, mcp_glob));
    let builtin = fields.take("builtin", faults).map(|field| field.each(faults, builtin));
    fields.done(faults);
    // Absent is none, which is not the same as a problem with what is there.
    let mcp = mcp.unwrap_or_else(|| Some(Vec::new()))?;
    Some(ToolScope { mcp, builtin: builtin.unwrap_or_else(|| Some(Vec::new()))? })
}

fn period(spec: &mut Fields<'_>, faults: &mut Faults<'_>) -> Option<Period> {
    let period = spec.require("period", faults).and_then(|field| {
        let utc = || TimeZone("UTC".to_owned());
        let periods = [Period::Daily(utc()), Period::Weekly(utc()), Period::Monthly(utc()), Period::Total];
        let names: Vec<(&str, &Period)> = periods.iter().map(|period| (period.name(), period)).collect();
        field.word(faults, &names).cloned()
    });
    let Some(field) = spec.take("timezone", faults) else { return period };
    let zone = field.map(faults, units::time_zone);
    match period? {
        Period::Daily(_) => zone.map(Period::Daily),
        Period::Weekly(_) => zone.map(Period::Weekly),
        Period::Monthly(_) => zone.map(Period::Monthly),
        Period::Total => {
            field.fault(faults, "has no meaning with the period `total`");
            None
        }
    }
}

/// `name` in the same namespace, or `namespace/name`.
fn parent(field: &Field<'_>, reference: &AgentRef, faults: &mut Faults<'_>) -> Option<BudgetRef> {
    field.map(faults, |text| {
        let (namespace, name) = text.split_once('/').unwrap_or((reference.namespace(), text));
        match AgentRef::new(name, namespace) {
            Ok(_) => Ok(BudgetRef { namespace: namespace.to_owned(), name: name.to_owned() }),
            Err(error) => Err(error.to_string()),
        }
    })
}

fn budget(reference: &AgentRef, spec: &mut Fields<'_>, faults: &mut Faults<'_>) -> Option<Body> {
    let period = period(spec, faults);
    let cap = spec.require("cap", faults).and_then(|field| field.map(faults, units::amount));
    let burst_field = spec.take("burst", faults);
    let burst = burst_field.as_ref().map(|field| field.map(faults, units::amount));
    let alert = spec.take("alertAt", faults).map(|field| field.map(faults, units::percent));
    let parent_field = spec.take("parent", faults);
    let parent_at = parent_field.as_ref().map(Field::at);
    let parent = parent_field.map(|field| parent(&field, reference, faults));
    let cap = match (cap?, burst) {
        (Amount::Money(cap), None) => Cap::Money { cap, burst: NanoUsd::ZERO },
        (Amount::Tokens(cap), None) => Cap::Tokens { cap, burst: 0 },
        (Amount::Money(cap), Some(Some(Amount::Money(burst)))) => Cap::Money { cap, burst },
        (Amount::Tokens(cap), Some(Some(Amount::Tokens(burst)))) => Cap::Tokens { cap, burst },
        (_, Some(None)) => return None,
        (_, Some(Some(_))) => {
            burst_field?.fault(faults, "is not in the unit of `cap`");
            return None;
        }
    };
    let budget = TokenBudget {
        name: reference.name().to_owned(),
        namespace: reference.namespace().to_owned(),
        parent: match parent {
            Some(parent) => Some(parent?),
            None => None,
        },
        period: period?,
        cap,
        alert_at_percent: alert.unwrap_or(Some(ALERT_AT_PERCENT))?,
    };
    Some(Body::Budget { budget, parent_at })
}
