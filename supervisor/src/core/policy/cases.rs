//! Tests of policies in the form of the Cedar command line's `run-tests`, so that either program can run them.
//!
//! A case names a request, the entities, the decision (`allow` or `deny`; a policy that asks is a `forbid`, so it denies
//! here), and all policies that determine it, by their `@id`.

use std::collections::BTreeSet;
use std::str::FromStr as _;

use cedar_policy::{Authorizer, Context, Decision, Entities, EntityUid, PolicySet, Request, Schema};
use serde::Deserialize;
use serde_json::Value;

use super::load;

/// What came of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// The case's name.
    pub name: String,
    /// Why it failed; none if it passed.
    pub failure: Option<String>,
}

#[derive(Deserialize)]
struct Case {
    #[serde(default)]
    name: Option<String>,
    request: Asked,
    #[serde(default)]
    entities: Value,
    decision: Expected,
    #[serde(default)]
    reason: BTreeSet<String>,
    #[serde(default)]
    num_errors: usize,
}

#[derive(Deserialize)]
struct Asked {
    principal: String,
    action: String,
    resource: String,
    #[serde(default)]
    context: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Expected {
    Allow,
    Deny,
}

/// Tries the cases with the policies of one text. Those of other files have no part in it.
///
/// # Errors
/// Why policies or cases cannot be read.
pub fn run(policies: &str, cases: &str) -> Result<Vec<Tried>, String> {
    let schema = load::schema().map_err(|problem| problem.to_string())?;
    let policies = named(policies)?;
    let cases: Vec<Case> = serde_json::from_str(cases).map_err(|error| error.to_string())?;
    let tried = cases.into_iter().enumerate().map(|(index, case)| {
        let name = case.name.clone().unwrap_or_else(|| format!("case {}", index + 1));
        let failure = case.differs(&policies, &schema).unwrap_or_else(Some);
        Tried { name, failure }
    });
    Ok(tried.collect())
}

/// The policies under the names of their `@id`s.
fn named(text: &str) -> Result<PolicySet, String> {
    let read = PolicySet::from_str(text).map_err(|error| error.to_string())?;
    let mut set = PolicySet::new();
    for policy in read.policies() {
        let id = policy.annotation("id").unwrap_or_else(|| policy.id().as_ref());
        set.add(policy.new_id(cedar_policy::PolicyId::new(id))).map_err(|error| error.to_string())?;
    }
    Ok(set)
}

impl Case {
    /// How the answer differs from what is expected.
    fn differs(self, policies: &PolicySet, schema: &Schema) -> Result<Option<String>, String> {
        let uid = |text: &str| EntityUid::from_str(text).map_err(|error| error.to_string());
        let action = uid(&self.request.action)?;
        let context = match self.request.context {
            Value::Null => Context::empty(),
            value => {
                Context::from_json_value(value, Some((schema, &action))).map_err(|error| error.to_string())?
            }
        };
        let (principal, resource) = (uid(&self.request.principal)?, uid(&self.request.resource)?);
        let request = Request::new(principal, action, resource, context, Some(schema))
            .map_err(|error| error.to_string())?;
        let entities = match self.entities {
            Value::Null => Entities::empty(),
            value => Entities::from_json_value(value, Some(schema)).map_err(|error| error.to_string())?,
        };
        let response = Authorizer::new().is_authorized(&request, policies, &entities);
        let decision = match response.decision() {
            Decision::Allow => Expected::Allow,
            Decision::Deny => Expected::Deny,
        };
        let diagnostics = response.diagnostics();
        let reason: BTreeSet<String> = diagnostics.reason().map(ToString::to_string).collect();
        let errors = diagnostics.errors().count();
        let is_right = (decision, &reason, errors) == (self.decision, &self.reason, self.num_errors);
        let list =
            |reason: &BTreeSet<String>| reason.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        Ok((!is_right).then(|| {
            format!(
                "expected {:?} by [{}] and {} error(s), got {decision:?} by [{}] and {errors} error(s)",
                self.decision,
                list(&self.reason),
                self.num_errors,
                list(&reason)
            )
            .to_lowercase()
        }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::super::Pack;
    use super::*;

    #[test]
    fn each_pack_decides_as_its_cases_say() {
        for pack in Pack::ALL {
            let tried = run(pack.text(), pack.cases()).unwrap();
            assert!(tried.len() >= 5, "{pack}");
            for Tried { name, failure } in tried {
                assert_eq!(failure, None, "{pack}: {name}");
            }
        }
    }

    #[test]
    fn a_case_that_is_not_so_is_told() {
        let policies = r#"@id("all") permit (principal, action, resource);"#;
        let request = r#""request": {"principal": "Agent::\"a\"", "action": "Action::\"egress\"", "resource": "Host::\"h\"",
            "context": {"environment": "dev", "adapter": "a", "repository": "/r", "repository_labels": [], "in_scope": true, "session": [],
                        "hour": 1, "weekday": 1, "port": 443}}"#;
        let cases = format!(
            r#"[{{{request}, "decision": "allow", "reason": ["all"]}}, {{{request}, "decision": "deny"}},
                {{"name": "odd", "request": {{"principal": "a", "action": "b", "resource": "c"}}, "decision": "deny"}}]"#
        );
        let tried = run(policies, &cases).unwrap();
        let told: Vec<_> = tried.iter().map(|tried| tried.failure.as_deref().unwrap_or("ok")).collect();
        assert_eq!(
            told[..2],
            ["ok", "expected deny by [] and 0 error(s), got allow by [all] and 0 error(s)"],
        );
        assert_eq!(tried[1].name, "case 2");
        assert!(tried[2].failure.is_some());
    }
}
