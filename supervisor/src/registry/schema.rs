//! The published JSON Schema (2020-12) of the documents, made of the table of fields. What a schema cannot say (that a
//! budget exists, that a time zone is known) only the reader checks: what the schema refuses is refused, and `agentsup`
//! itself says the rest.

use serde_json::{Map, Value, json};

use super::fields::Kind;
use super::fields::{self, Field, Presence, Shape};

/// Where the schemas are published.
const BASE: &str = "https://agentsup.dev/schemas/v1alpha1";

/// What a schema is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// An Agent.
    Agent,
    /// A TokenBudget.
    Budget,
    /// A Policy.
    Policy,
    /// Any document of a manifest.
    Any,
}

/// The schema.
pub fn document(of: Of) -> Value {
    let named = |name: &str, body: Value| {
        let mut schema = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$id": format!("{BASE}/{name}.json"),
        });
        if let (Value::Object(schema), Value::Object(body)) = (&mut schema, body) {
            schema.extend(body);
        }
        schema
    };
    match of {
        Of::Agent => named("agent", of_kind(Kind::Agent)),
        Of::Budget => named("budget", of_kind(Kind::TokenBudget)),
        Of::Policy => named("policy", of_kind(Kind::Policy)),
        Of::Any => {
            let branch = |kind: Kind| {
                json!({
                    "if": { "properties": { "kind": { "const": kind.name() } } },
                    "then": { "$ref": format!("#/$defs/{}", kind.name()) },
                })
            };
            named(
                "manifest",
                json!({
                    "title": "A document of an agentsup manifest",
                    "type": "object",
                    "required": ["kind"],
                    "properties": { "kind": { "enum": Kind::ALL.map(Kind::name) } },
                    // By its kind, so that an editor tells what is wrong with an Agent, not that it is no TokenBudget.
                    "allOf": Kind::ALL.map(branch),
                    "$defs": {
                        "Agent": of_kind(Kind::Agent),
                        "TokenBudget": of_kind(Kind::TokenBudget),
                        "Policy": of_kind(Kind::Policy),
                    },
                }),
            )
        }
    }
}

fn of_kind(kind: Kind) -> Value {
    let fields = fields::of(kind);
    let mut schema = map(&fields, "");
    schema.insert("title".into(), json!(format!("{} of agentsup", kind.name())));
    Value::Object(schema)
}

/// The map at a path, with everything in it.
fn map(fields: &[Field], path: &str) -> Map<String, Value> {
    let (mut properties, mut required) = (Map::new(), Vec::new());
    for field in fields {
        let Some(key) = key_in(path, field.path) else { continue };
        let mut schema = match field.shape {
            Shape::Map => map(fields, field.path),
            shape => form(shape),
        };
        schema.insert("description".into(), json!(field.about));
        let default = field.absent().and_then(|absent| absent.json);
        if let Some(default) = default.and_then(|json| serde_json::from_str::<Value>(json).ok()) {
            schema.insert("default".into(), default);
        }
        properties.insert(key.to_owned(), Value::Object(schema));
        if matches!(field.presence, Presence::Must(_)) {
            required.push(key);
        }
    }
    let mut schema = object(json!({ "type": "object", "additionalProperties": false }));
    schema.insert("required".into(), json!(required));
    schema.insert("properties".into(), Value::Object(properties));
    schema
}

/// The last key of a path, if it stands directly in the map at `outer`.
fn key_in<'p>(outer: &str, path: &'p str) -> Option<&'p str> {
    let key = if outer.is_empty() { path } else { path.strip_prefix(outer)?.strip_prefix('.')? };
    (!key.contains('.')).then_some(key)
}

fn form(shape: Shape) -> Map<String, Value> {
    object(match shape {
        Shape::Exactly(text) => json!({ "const": text }),
        Shape::Prose => json!({ "type": "string", "pattern": r"\S" }),
        Shape::Form(pattern, example) => {
            json!({ "type": "string", "pattern": pattern, "examples": [example] })
        }
        Shape::Words(words) => json!({ "enum": words }),
        Shape::List(item) => {
            json!({ "type": "array", "minItems": 1, "uniqueItems": true, "items": form(*item) })
        }
        Shape::Texts => json!({ "type": "object", "additionalProperties": form(Shape::Prose) }),
        Shape::Rules(pattern, example) => json!({
            "type": "object",
            "minProperties": 1,
            "propertyNames": { "pattern": pattern, "examples": [example] },
            "additionalProperties": form(Shape::List(&fields::WORD)),
        }),
        Shape::Map => json!({ "type": "object" }),
    })
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests;
