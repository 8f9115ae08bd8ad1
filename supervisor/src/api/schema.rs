//! The published forms of what people write: JSON Schema of manifests, Cedar's schema of policies. Needs no daemon.

use serde_json::Value;

use crate::core::policy::SCHEMA;
use crate::registry::schema::{self, Of};

/// The JSON Schema of an Agent.
pub fn agent() -> Value {
    schema::document(Of::Agent)
}

/// The JSON Schema of a TokenBudget.
pub fn budget() -> Value {
    schema::document(Of::Budget)
}

/// The JSON Schema of a Policy, a document that gives labels.
pub fn policy() -> Value {
    schema::document(Of::Policy)
}

/// The JSON Schema of any document of a manifest.
pub fn manifest() -> Value {
    schema::document(Of::Any)
}

/// What policies can speak about, in Cedar's own language for schemas.
pub const fn cedar() -> &'static str {
    SCHEMA
}
