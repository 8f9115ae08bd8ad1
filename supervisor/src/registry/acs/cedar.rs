//! Cedar policies of a manifest: parsed once, asked with the whole snapshot as context.
//!
//! Invariants: an error of evaluation is an error, never a policy that is skipped. A value of the snapshot is only ever
//! a value: no member of it can pose as an entity or an extension. Advice is read when the policies are loaded.

use std::collections::{HashMap, HashSet};
use std::str::FromStr as _;

use cedar_policy::{
    AuthorizationError, Authorizer, Context, Decision, Effect, Entities, Entity, EntityId, EntityTypeName,
    EntityUid, EvaluationError, Policy, PolicyId, PolicySet, Request, RestrictedExpression, Schema,
    ValidationMode, Validator,
};
use serde_json::{Map, Value, json};

use super::fault::{Fault, Source};
use crate::core::problem::position;

/// The reason where nothing permits.
const NOTHING_PERMITS: &str = "no_matching_policy";

/// Policies that can be asked.
pub(super) struct Cedar {
    policies: PolicySet,
    entities: Entities,
    metas: HashMap<PolicyId, Meta>,
    types: Types,
}

struct Types {
    agent: EntityTypeName,
    action: EntityTypeName,
    tool: EntityTypeName,
    target: EntityTypeName,
}

/// What is known about one policy.
struct Meta {
    /// Its place among all; the first that applies gives the reason.
    order: usize,
    reason: String,
    message: Option<String>,
    advice: Option<Advice>,
}

/// What a permission says besides.
#[derive(Debug, Clone, PartialEq)]
struct Advice {
    rank: u8,
    verdict: Value,
}

impl Cedar {
    /// Parses policies, in order, and what goes with them.
    pub(super) fn load(
        sources: &[Source],
        entities: Option<&Source>,
        schema: Option<&Source>,
        tools: &Map<String, Value>,
    ) -> Result<Self, Vec<Fault>> {
        let types = types().map_err(|text| vec![Fault::whole(text)])?;
        let mut faults = Vec::new();
        let schema = schema.and_then(|source| read_schema(source).map_err(|fault| faults.push(fault)).ok());
        let (mut policies, mut metas) = (PolicySet::new(), HashMap::new());
        for source in sources {
            let set = match PolicySet::from_str(&source.text) {
                Ok(set) => set,
                Err(errors) => {
                    faults.extend(errors.iter().map(|error| Fault::diagnosed(source, error)));
                    continue;
                }
            };
            if set.templates().next().is_some() {
                faults.push(Fault::of(source, 1, "templates are not supported"));
            }
            check(&set, source, schema.as_ref(), &mut faults);
            let mut in_order: Vec<&Policy> = set.policies().collect();
            in_order.sort_by_key(|policy| number(policy.id()));
            for policy in in_order {
                let order = metas.len();
                let id = PolicyId::new(format!("{order}"));
                match meta(order, policy) {
                    Ok(meta) => _ = metas.insert(id.clone(), meta),
                    Err(message) => faults.push(Fault::of(source, line(source, policy), message)),
                }
                if let Err(error) = policies.add(policy.new_id(id)) {
                    faults.push(Fault::of(source, 1, error.to_string()));
                }
            }
        }
        let entities = read_entities(entities, schema.as_ref(), &types, tools);
        match entities.map_err(|fault| faults.push(fault)) {
            Ok(entities) if faults.is_empty() => Ok(Self { policies, entities, metas, types }),
            _ => Err(faults),
        }
    }

    /// The verdict about a policy input. An error is for the log: it names policies and never values.
    pub(super) fn evaluate(&self, input: &Value) -> Result<Value, String> {
        let request = self.request(input)?;
        let response = Authorizer::new().is_authorized(&request, &self.policies, &self.entities);
        if let Some(error) = response.diagnostics().errors().next() {
            return Err(self.told(error));
        }
        let mut applying: Vec<&Meta> =
            response.diagnostics().reason().filter_map(|id| self.metas.get(id)).collect();
        applying.sort_by_key(|meta| meta.order);
        match response.decision() {
            Decision::Deny => Ok(denial(applying.first().copied())),
            Decision::Allow => Ok(permission(&applying)),
        }
    }

    fn told(&self, error: &AuthorizationError) -> String {
        let AuthorizationError::PolicyEvaluationError(error) = error;
        let name = self.metas.get(error.policy_id()).map_or("unknown", |meta| meta.reason.as_str());
        let what = match error.inner() {
            EvaluationError::EntityDoesNotExist(_)
            | EvaluationError::EntityAttrDoesNotExist(_)
            | EvaluationError::RecordAttrDoesNotExist(_) => "an attribute is missing",
            EvaluationError::TypeError(_) => "a value is of another type",
            _ => "it cannot be computed",
        };
        format!("`{name}`: {what}")
    }

    fn request(&self, input: &Value) -> Result<Request, String> {
        let snapshot = input.get("snapshot").and_then(Value::as_object).ok_or("there is no snapshot")?;
        let text = |pointer: &str| input.pointer(pointer).and_then(Value::as_str);
        let agent = text("/snapshot/envelope/agent/id").ok_or("the envelope names no agent")?;
        let point = text("/intervention_point").ok_or("there is no point")?;
        let resource = match text("/tool/name") {
            Some(tool) => uid(&self.types.tool, tool),
            None => uid(&self.types.target, text("/policy_target/kind").unwrap_or("unspecified")),
        };
        let mut pairs = pairs(snapshot.iter().filter(|(name, _)| *name != "envelope"))?;
        let annotations = input.get("annotations").and_then(Value::as_object).into_iter().flatten();
        for (name, value) in annotations {
            pairs.extend(expression(value)?.map(|value| (format!("annotations.{name}"), value)));
        }
        let context = Context::from_pairs(pairs).map_err(|error| error.to_string())?;
        let (agent, point) = (uid(&self.types.agent, agent), uid(&self.types.action, point));
        Request::new(agent, point, resource, context, None).map_err(|error| error.to_string())
    }
}

fn denial(first: Option<&Meta>) -> Value {
    match first {
        None => json!({ "decision": "deny", "reason": NOTHING_PERMITS }),
        Some(meta) => match &meta.message {
            Some(message) => json!({ "decision": "deny", "reason": meta.reason, "message": message }),
            None => json!({ "decision": "deny", "reason": meta.reason }),
        },
    }
}

/// The strictest advice of the permissions that apply; the first where two are as strict.
fn permission(applying: &[&Meta]) -> Value {
    let advice = applying.iter().filter_map(|meta| meta.advice.as_ref());
    let strictest = advice.reduce(|best, next| if next.rank > best.rank { next } else { best });
    strictest.map_or_else(|| json!({ "decision": "allow" }), |advice| advice.verdict.clone())
}

fn types() -> Result<Types, String> {
    let kind = |name: &str| EntityTypeName::from_str(name).map_err(|error| error.to_string());
    Ok(Types {
        agent: kind("Agent")?,
        action: kind("Action")?,
        tool: kind("Tool")?,
        target: kind("PolicyTarget")?,
    })
}

fn uid(kind: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
}

fn read_schema(source: &Source) -> Result<Schema, Fault> {
    if source.file.extension().is_some_and(|extension| extension == "cedarschema") {
        let parsed = Schema::from_cedarschema_str(&source.text);
        return parsed.map(|(schema, _)| schema).map_err(|error| Fault::diagnosed(source, &error));
    }
    Schema::from_json_str(&source.text).map_err(|error| Fault::diagnosed(source, &error))
}

/// Those of the file, and the tools of the catalogue with what it says of them.
fn read_entities(
    source: Option<&Source>,
    schema: Option<&Schema>,
    types: &Types,
    tools: &Map<String, Value>,
) -> Result<Entities, Fault> {
    let given = match source {
        None => Entities::empty(),
        Some(source) => Entities::from_json_str(&source.text, schema)
            .map_err(|error| Fault::of(source, 1, error.to_string()))?,
    };
    let mut more = Vec::new();
    for (name, members) in tools {
        let tool = uid(&types.tool, name);
        if given.get(&tool).is_none() {
            let members = members.as_object().into_iter().flatten();
            let attributes = pairs(members).map_err(Fault::whole)?.into_iter().collect();
            let made = Entity::new(tool, attributes, HashSet::new());
            more.push(made.map_err(|error| Fault::whole(error.to_string()))?);
        }
    }
    given.add_entities(more, None).map_err(|error| Fault::whole(error.to_string()))
}

/// Holds the policies against the schema. Requests are not: a snapshot has more than most schemas name.
fn check(set: &PolicySet, source: &Source, schema: Option<&Schema>, faults: &mut Vec<Fault>) {
    let Some(schema) = schema else { return };
    let verdict = Validator::new(schema.clone()).validate(set, ValidationMode::Strict);
    faults.extend(verdict.validation_errors().map(|error| Fault::diagnosed(source, error)));
}

fn meta(order: usize, policy: &Policy) -> Result<Meta, String> {
    let name = policy.annotation("id").filter(|id| !id.is_empty());
    let reason = name.map_or_else(|| policy.id().to_string(), str::to_owned);
    if reason.starts_with("runtime_error:") {
        return Err(format!("`{reason}` is a reserved reason"));
    }
    let advice = match (policy.annotation("advice"), policy.effect()) {
        (None, _) => None,
        (Some(_), Effect::Forbid) => {
            return Err("`@advice` says how a permission is given: a `forbid` has none".into());
        }
        (Some(text), Effect::Permit) => Some(advice(text, &reason)?),
    };
    let message = policy.annotation("reason").map(str::to_owned);
    Ok(Meta { order, reason, message, advice })
}

/// Reads advice; without a reason of its own it has its policy's.
fn advice(text: &str, policy: &str) -> Result<Advice, String> {
    let wrong = |what: &str| format!("`@advice` {what}");
    let Ok(Value::Object(members)) = serde_json::from_str::<Value>(text) else {
        return Err(wrong("is not a JSON object"));
    };
    if let Some(other) =
        members.keys().find(|key| !["verdict", "reason", "message", "transform"].contains(&key.as_str()))
    {
        return Err(wrong(&format!("has the unknown member `{other}`")));
    }
    let verdict = members.get("verdict").and_then(Value::as_str).unwrap_or_default();
    let rank = match verdict {
        "warn" => 1,
        "transform" => 2,
        "escalate" => 3,
        _ => return Err(wrong("has no `verdict` of warn, escalate or transform")),
    };
    let mut out = Map::from_iter([("decision".to_owned(), Value::from(verdict))]);
    out.insert("reason".into(), Value::from(policy));
    for key in ["reason", "message"] {
        match members.get(key) {
            None | Some(Value::Null) => {}
            Some(Value::String(text)) if text.starts_with("runtime_error:") => {
                return Err(wrong("gives a reserved reason"));
            }
            Some(text @ Value::String(_)) => _ = out.insert(key.into(), text.clone()),
            Some(_) => return Err(wrong(&format!("has a `{key}` that is not text"))),
        }
    }
    match (members.get("transform"), verdict) {
        (None, "transform") => return Err(wrong("has no `transform`")),
        (None, _) => {}
        (Some(transform), "transform") => {
            let path = transform.get("path").and_then(Value::as_str).unwrap_or_default();
            let rest = path.strip_prefix("$policy_target");
            if !rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '['])) {
                return Err(wrong("changes something else than `$policy_target`"));
            }
            if transform.get("value").is_none() || transform.as_object().is_none_or(|all| all.len() != 2) {
                return Err(wrong("has a `transform` that is not a `path` and a `value`"));
            }
            out.insert("transform".into(), transform.clone());
        }
        (Some(_), _) => return Err(wrong("has a `transform` that its verdict does not take")),
    }
    Ok(Advice { rank, verdict: Value::Object(out) })
}

type Pairs = Vec<(String, RestrictedExpression)>;

fn pairs<'v>(members: impl IntoIterator<Item = (&'v String, &'v Value)>) -> Result<Pairs, String> {
    let mut pairs = Vec::new();
    for (name, value) in members {
        pairs.extend(expression(value)?.map(|value| (name.clone(), value)));
    }
    Ok(pairs)
}

/// A value for Cedar. It has no null, so that is left out; of numbers it has integers and decimals with four places, and
/// any other is its text, so that to compute with it is an error, which denies.
fn expression(value: &Value) -> Result<Option<RestrictedExpression>, String> {
    Ok(Some(match value {
        Value::Null => return Ok(None),
        Value::Bool(value) => RestrictedExpression::new_bool(*value),
        Value::String(text) => RestrictedExpression::new_string(text.clone()),
        Value::Number(number) => match (number.as_i64(), number.to_string()) {
            (Some(integer), _) => RestrictedExpression::new_long(integer),
            (None, text) if is_decimal(&text) => RestrictedExpression::new_decimal(text),
            (None, text) => RestrictedExpression::new_string(text),
        },
        Value::Array(items) => {
            let items = items.iter().filter_map(|item| expression(item).transpose());
            RestrictedExpression::new_set(items.collect::<Result<Vec<_>, String>>()?)
        }
        Value::Object(members) => {
            RestrictedExpression::new_record(pairs(members)?).map_err(|error| error.to_string())?
        }
    }))
}

fn is_decimal(text: &str) -> bool {
    let (sign_and_whole, places) = text.split_once('.').unwrap_or((text, ""));
    let whole = sign_and_whole.strip_prefix('-').unwrap_or(sign_and_whole);
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    digits(whole) && whole.len() <= 14 && digits(places) && places.len() <= 4
}

/// Cedar numbers policies in the order of the text.
fn number(id: &PolicyId) -> usize {
    let text: &str = id.as_ref();
    text.trim_start_matches(|letter: char| !letter.is_ascii_digit()).parse().unwrap_or(usize::MAX)
}

fn line(source: &Source, policy: &Policy) -> u32 {
    let at = policy.to_cedar().and_then(|text| source.text.find(&text));
    at.map_or(1, |at| position(&source.text, at).0)
}
