//! The engines behind a manifest's policies: what each policy was prepared to, found again by what it is made of.

use std::collections::HashMap;

use agent_control_specification_core as spec;
use serde_json::Value;

use super::cedar::Cedar;
use super::rego::Rego;

/// What a policy is made of. The core hands over its fields and not its name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// Its inline text, its path, its entities.
    Cedar([Option<String>; 3]),
    /// Its bundle and data, as written, and its query.
    Rego(Option<String>, String, String),
}

impl Key {
    pub(super) fn cedar(set: &Option<String>, path: &Option<String>, entities: &Option<String>) -> Self {
        Self::Cedar([set.clone(), path.clone(), entities.clone()])
    }

    pub(super) fn rego<'v>(
        bundle: &Option<String>,
        mut field: impl FnMut(&str) -> Option<&'v Value>,
        query: &str,
    ) -> Self {
        let data = ["data", "data_paths"].map(|key| field(key).map(ToString::to_string).unwrap_or_default());
        Self::Rego(bundle.clone(), data.join("\n"), query.to_owned())
    }
}

/// Every policy that can be asked.
#[derive(Default)]
pub(super) struct Engines {
    pub(super) cedar: HashMap<Key, Cedar>,
    pub(super) rego: HashMap<Key, Rego>,
}

impl spec::PolicyDispatcher for Engines {
    fn evaluate(&self, invocation: &spec::PreparedPolicyInvocation) -> Result<Value, spec::RuntimeError> {
        let verdict = match invocation {
            spec::PreparedPolicyInvocation::Cedar(asked) => {
                let key = Key::cedar(&asked.policy_set, &asked.policy_path, &asked.entities_path);
                self.cedar.get(&key).ok_or_else(unprepared).and_then(|cedar| cedar.evaluate(&asked.input))
            }
            spec::PreparedPolicyInvocation::Rego(asked) => {
                let key = Key::rego(&asked.bundle, |name| asked.adapter_config.get(name), &asked.query);
                self.rego
                    .get(&key)
                    .ok_or_else(unprepared)
                    .and_then(|rego| rego.evaluate(&asked.canonical_input))
            }
            other => Err(format!("policies of type `{}` are not evaluated here", other.engine_type())),
        };
        verdict.map_err(|error| {
            tracing::warn!(%error, "a policy of the ACS manifest could not be evaluated");
            spec::RuntimeError::PolicyInvocationFailed(error)
        })
    }
}

fn unprepared() -> String {
    "the policy was not prepared".to_owned()
}

/// Manifests that want annotators are not loaded, so that this is never asked; if it were, it would deny.
pub(super) struct NoAnnotators;

impl spec::AnnotatorDispatcher for NoAnnotators {
    fn dispatch(
        &self,
        name: &str,
        _: &spec::AnnotatorInvocation,
        _: &Value,
    ) -> Result<Value, spec::RuntimeError> {
        Err(spec::RuntimeError::AnnotationFailed(name.to_owned()))
    }
}
