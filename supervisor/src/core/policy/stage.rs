//! To which stage a policy belongs: read from what its conditions look at, so that nobody can say it wrongly.

use cedar_policy::Policy;
use serde_json::Value;

use super::super::decision::Stage;

/// What is asked for a purpose: attributes of the context and of entities.
const OF_PURPOSE: [&str; 7] =
    ["purpose", "residency", "host_residency", "budget_left_percent", "hour", "weekday", "billing"];

/// What only tells about roles: who acts, with which kind of tool, and whether the manifest has it in its scope. Roles
/// and classes themselves are what somebody is `in`.
const OF_ROLES: [&str; 4] = ["in_scope", "name", "namespace", "lifecycle"];

/// What tells about the thing itself, where it is and what it holds; whatever is in no list belongs here too.
#[cfg(test)]
const OF_ATTRIBUTES: [&str; 24] = [
    "adapter",
    "command",
    "common_host_labels",
    "environment",
    "host_labels",
    "hosts",
    "labels",
    "opaque",
    "owner",
    "path",
    "place",
    "places",
    "port",
    "program",
    "programs",
    "provider",
    "remote",
    "repository",
    "repository_labels",
    "session",
    "variables",
    "verb",
    "words",
    "written",
];

/// The stage of a policy: the latest of all that its conditions look at; a policy without any is about roles.
pub(super) fn stage(policy: &Policy) -> Result<Stage, String> {
    let text = policy.to_json().map_err(|error| error.to_string())?;
    let mut stage = Stage::Rbac;
    if let Some(conditions) = text.get("conditions") {
        look(conditions, &mut stage);
    }
    Ok(stage)
}

/// Attributes stand in `{".": {"left": …, "attr": "path"}}` and `{"has": {…}}`.
fn look(value: &Value, stage: &mut Stage) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| look(value, stage)),
        Value::Object(map) => {
            for (name, inner) in map {
                if let ("." | "has", Some(attribute)) =
                    (name.as_str(), inner.get("attr").and_then(Value::as_str))
                {
                    *stage = (*stage).max(of(attribute));
                }
                look(inner, stage);
            }
        }
        _ => {}
    }
}

fn of(attribute: &str) -> Stage {
    if OF_PURPOSE.contains(&attribute) {
        Stage::Pbac
    } else if OF_ROLES.contains(&attribute) {
        Stage::Rbac
    } else {
        Stage::Abac
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::collections::BTreeSet;

    use cedar_policy::SchemaFragment;

    use super::super::SCHEMA;
    use super::*;

    /// The names of all attributes in a schema of JSON.
    fn attributes(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Array(values) => values.iter().for_each(|value| attributes(value, found)),
            Value::Object(map) => {
                for (name, inner) in map {
                    if let ("attributes", Some(of)) = (name.as_str(), inner.as_object()) {
                        found.extend(of.keys().cloned());
                    }
                    attributes(inner, found);
                }
            }
            _ => {}
        }
    }

    /// A word that means nothing, or one that nobody thought about, cannot stay.
    #[test]
    fn every_attribute_of_the_schema_is_of_one_stage() {
        let (schema, _) = SchemaFragment::from_cedarschema_str(SCHEMA).unwrap();
        let mut known = BTreeSet::new();
        attributes(&schema.to_json_value().unwrap(), &mut known);
        let mut listed: Vec<&str> = [&OF_PURPOSE[..], &OF_ROLES, &OF_ATTRIBUTES].concat();
        listed.sort_unstable();
        assert_eq!(listed, known.iter().map(String::as_str).collect::<Vec<_>>());
        for (stage, names) in
            [(Stage::Pbac, &OF_PURPOSE[..]), (Stage::Rbac, &OF_ROLES), (Stage::Abac, &OF_ATTRIBUTES)]
        {
            assert!(names.iter().all(|name| of(name) == stage), "{stage:?}");
        }
    }

    #[test]
    fn the_stage_is_that_of_what_a_policy_looks_at() {
        for (scope, condition, expected) in [
            ("principal, action, resource", "", Stage::Rbac),
            (r#"principal in Team::"t", action == Action::"shell", resource"#, "", Stage::Rbac),
            ("principal, action, resource", r#"when { principal.namespace == "t" }"#, Stage::Rbac),
            ("principal, action, resource", "when { context.in_scope }", Stage::Rbac),
            (
                "principal, action, resource",
                r#"when { principal in Role::"r" && resource in ToolClass::"publish" }"#,
                Stage::Rbac,
            ),
            ("principal, action, resource", r#"when { context.labels.contains("pci") }"#, Stage::Abac),
            (
                "principal, action == Action::\"llm\", resource",
                r#"unless { resource.residency == ["eu"] }"#,
                Stage::Pbac,
            ),
            (
                "principal, action, resource",
                r#"when { context has path && context.path like "*/x" }"#,
                Stage::Abac,
            ),
            (
                "principal, action, resource",
                r#"unless { context.session.contains("untrusted") }"#,
                Stage::Abac,
            ),
            ("principal, action, resource", r#"when { principal.purpose like "*review*" }"#, Stage::Pbac),
            (
                "principal, action, resource",
                r#"when { context.environment == "dev" } unless { context.hour < 18 || context.in_scope }"#,
                Stage::Pbac,
            ),
        ] {
            let policy = Policy::parse(None, format!("forbid ({scope}) {condition};")).unwrap();
            assert_eq!(stage(&policy).unwrap(), expected, "{scope} {condition}");
        }
    }
}
