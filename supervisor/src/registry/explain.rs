//! An agent field by field: what is in force, whether its manifest says so or it is a default, and why that one.

use serde_json::Value;

use crate::core::manifest::Agent;

use super::fields::Kind;
use super::{Origin, fields};

/// A field of an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// Its path in the manifest, such as `spec.tools.mcp`.
    pub path: &'static str,
    /// What is in force, as a manifest would say it; null for nothing.
    pub value: Value,
    /// The line of the manifest that says so; none for a default.
    pub line: Option<u32>,
    /// Why the default is what it is; none for what the manifest says.
    pub default: Option<&'static str>,
    /// What the field means.
    pub about: &'static str,
}

/// Every field of an agent's `spec` that has a value of its own, in the order of the schema.
pub fn fields(agent: &Agent, origin: Option<&Origin>) -> Vec<Explained> {
    let line = |path: &str| {
        let given = origin.map(|origin| origin.given.as_slice()).unwrap_or_default();
        given.iter().find(|(given, _)| *given == path).map(|(_, line)| *line)
    };
    let own = fields::of(Kind::Agent).into_iter();
    let own =
        own.filter(|field| field.path.starts_with("spec.") && !matches!(field.shape, fields::Shape::Map));
    own.map(|field| {
        let line = line(field.path);
        Explained {
            path: field.path,
            value: fields::value(agent, field.path),
            line,
            default: field.absent().filter(|_| line.is_none()).map(|absent| absent.why),
            about: field.about,
        }
    })
    .collect()
}
