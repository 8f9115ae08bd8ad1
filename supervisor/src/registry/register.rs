//! The manifest of an agent that somebody registers: the six things that must be said of it, and what follows from them.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::core::amount::Amount;
use crate::core::manifest::{BuiltinClass, Environment};
use crate::core::principal::{AgentRef, Owner};
use crate::sys::paths::Home;

use super::authority::TEAMS;
use super::init::Draft;

/// What is said of an agent. Texts are checked by the reader of manifests, as if a person had written them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// Its name and its team.
    pub agent: AgentRef,
    /// The accountable human.
    pub owner: Owner,
    /// What it may do, and what ends it.
    #[serde(flatten)]
    pub terms: Terms,
}

/// What an agent is for, what it may do, and what ends it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// What it is for.
    pub purpose: String,
    /// Classes of built-in tools.
    #[serde(default)]
    pub builtin: Vec<BuiltinClass>,
    /// Globs over `server/tool`.
    #[serde(default)]
    pub mcp: Vec<String>,
    /// Where it may act.
    pub environments: Vec<Environment>,
    /// What may be spent in a calendar month.
    pub cap: Amount,
    /// The date or time that ends it.
    pub expires: String,
    /// The kinds of coding agent that it may be launched as.
    pub adapters: Vec<String>,
    /// Globs over model names.
    pub models: Vec<String>,
    /// Globs over repositories.
    pub repositories: Vec<String>,
}

impl Registration {
    /// Its manifest and its budget, in one file of its team's directory on this machine.
    pub fn draft(&self, home: &Home) -> Draft {
        Draft { path: home.manifests_dir().join(self.file()), text: self.text() }
    }

    /// That file, below the directory of manifests.
    pub(super) fn file(&self) -> PathBuf {
        [TEAMS, self.agent.namespace(), &format!("{}.yaml", self.agent.name())].iter().collect()
    }

    pub(super) fn text(&self) -> String {
        let (name, namespace) = (self.agent.name(), self.agent.namespace());
        let terms = &self.terms;
        let builtin: Vec<&str> = terms.builtin.iter().copied().map(BuiltinClass::name).collect();
        let environments: Vec<&str> = terms.environments.iter().copied().map(Environment::name).collect();
        let mut tools = Vec::new();
        if !terms.mcp.is_empty() {
            tools.push(format!("    mcp: {}\n", list(&terms.mcp)));
        }
        if !builtin.is_empty() {
            tools.push(format!("    builtin: [{}]\n", builtin.join(", ")));
        }
        if !tools.is_empty() {
            tools.insert(0, "  tools:\n".to_owned());
        }
        format!(
            "\
# Written by `agentsup agent register`. Edit it freely: changes come into force by themselves.
apiVersion: agentsup.dev/v1alpha1
kind: Agent
metadata:
  name: {name}
  namespace: {namespace}
spec:
  owner: {owner}
  purpose: {purpose}
  lifecycle: experimental
  environments: [{environments}]
  adapters: {adapters}
  repositories: {repositories}
  models: {models}
{tools}  budget: {name}
  deprovision: {{ at: {expires} }}
---
apiVersion: agentsup.dev/v1alpha1
kind: TokenBudget
metadata:
  name: {name}
  namespace: {namespace}
spec:
  period: monthly
  cap: {cap}
  alertAt: 80%
",
            owner = self.owner.reference(),
            purpose = quoted(&terms.purpose),
            environments = environments.join(", "),
            adapters = list(&terms.adapters),
            repositories = list(&terms.repositories),
            models = list(&terms.models),
            tools = tools.concat(),
            expires = quoted(&terms.expires),
            cap = terms.cap,
        )
    }
}

fn list(items: &[String]) -> String {
    let items: Vec<String> = items.iter().map(|item| quoted(item)).collect();
    format!("[{}]", items.join(", "))
}

/// A text between double quotes, as JSON and YAML both read it, whatever is in it.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::path::Path;

    use super::super::load::load_with;
    use super::*;
    use crate::core::manifest::{Cap, Lifecycle, Period, TimeZone, ToolScope};
    use crate::core::money::NanoUsd;

    fn registration() -> Registration {
        Registration {
            agent: AgentRef::new("reviewer", "team-a").unwrap(),
            owner: "user:default/alice".parse().unwrap(),
            terms: terms(),
        }
    }

    fn terms() -> Terms {
        Terms {
            purpose: "Review: \"all\" of it # and\n  owner: user:mallory".into(),
            builtin: vec![BuiltinClass::Read, BuiltinClass::Shell],
            mcp: vec!["github/*".into()],
            environments: vec![Environment::Dev, Environment::Staging],
            cap: "50.00 USD".parse().unwrap(),
            expires: "2027-06-30".into(),
            adapters: vec!["claude".into()],
            models: vec!["claude-*".into()],
            repositories: vec!["*".into()],
        }
    }

    #[test]
    fn what_was_said_is_what_the_reader_reads_whatever_is_in_it() {
        let home = Home::rooted(Path::new("/nonexistent"));
        let said = registration();
        let draft = said.draft(&home);
        assert_eq!(draft.path, Path::new("/nonexistent/manifests/teams/team-a/reviewer.yaml"));
        let snapshot = load_with(&home, Some((&draft.path, &draft.text)));
        assert_eq!(snapshot.problems, []);
        let agent = &snapshot.agents[0];
        assert_eq!(
            (&agent.reference, &agent.owner, &agent.purpose),
            (&said.agent, &said.owner, &said.terms.purpose)
        );
        assert_eq!(
            (agent.lifecycle, &agent.environments),
            (Lifecycle::Experimental, &said.terms.environments)
        );
        assert_eq!(agent.tools, ToolScope { mcp: said.terms.mcp, builtin: said.terms.builtin });
        assert_eq!((&agent.adapters, &agent.models), (&said.terms.adapters, &said.terms.models));
        assert_eq!(agent.deprovision_at_ms, Some(1_814_313_600_000));
        let budget = snapshot.budget_of(agent).unwrap();
        assert_eq!(budget.period, Period::Monthly(TimeZone("UTC".into())));
        let cap = NanoUsd::new(50_000_000_000).unwrap();
        assert_eq!(budget.cap, Cap::Money { cap, burst: NanoUsd::ZERO });
    }

    #[test]
    fn what_the_reader_would_refuse_is_a_problem_of_the_draft() {
        let home = Home::rooted(Path::new("/nonexistent"));
        for (bad, field) in [
            (Terms { expires: "soon".into(), ..terms() }, "spec.deprovision.at"),
            (Terms { purpose: " ".into(), ..terms() }, "spec.purpose"),
            (Terms { mcp: vec!["github".into()], ..terms() }, "spec.tools.mcp[0]"),
            (Terms { adapters: Vec::new(), ..terms() }, "spec.adapters"),
        ] {
            let draft = Registration { terms: bad, ..registration() }.draft(&home);
            let problems = load_with(&home, Some((&draft.path, &draft.text))).problems;
            assert_eq!(problems.iter().map(|problem| problem.field.as_str()).collect::<Vec<_>>(), [field]);
        }
        // No tools are no tools, not an empty list.
        let none = Terms { mcp: Vec::new(), builtin: Vec::new(), ..terms() };
        let draft = Registration { terms: none, ..registration() }.draft(&home);
        let snapshot = load_with(&home, Some((&draft.path, &draft.text)));
        assert_eq!((snapshot.problems.len(), &snapshot.agents[0].tools), (0, &ToolScope::default()));
    }
}
