//! What is different between two sets. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::core::manifest::{Agent, Lifecycle};
use crate::core::policy::labels::Labels;

use super::Snapshot;
use super::files::is_policy;

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Change {
    /// Of what.
    pub what: What,
    /// An agent's or a budget's name, the file of policies, or what has the labels.
    pub name: String,
    /// What became of it.
    pub how: How,
}

/// What a registry declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// An agent.
    Agent,
    /// A budget.
    Budget,
    /// A file of policies.
    Policies,
    /// A rule that gives labels, classes, roles or residency.
    Label,
}

/// What became of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// It is new.
    Added,
    /// It says something else.
    Changed,
    /// It is an agent that starts no more runs.
    Retired,
    /// It is gone.
    Removed,
}

/// Files of manifests and policies by their path.
type Files = BTreeMap<PathBuf, String>;

/// The differences, in order of kind and name.
pub(super) fn between(before: (&Snapshot, &Files), after: (&Snapshot, &Files)) -> Vec<Change> {
    let agents = |set: &Snapshot| -> BTreeMap<String, Agent> {
        set.agents.iter().map(|agent| (agent.reference.to_string(), agent.clone())).collect()
    };
    let budgets = |set: &Snapshot| -> BTreeMap<String, _> {
        set.budgets.iter().map(|budget| (budget.reference().to_string(), budget.clone())).collect()
    };
    let policies = |files: &Files| -> BTreeMap<String, String> {
        let policies = files.iter().filter(|(path, _)| is_policy(path));
        policies.map(|(path, text)| (path.display().to_string(), text.clone())).collect()
    };
    let labels = |set: &Snapshot| {
        let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for rule in set.policies.labels().into_iter().flat_map(Labels::rules) {
            let team = rule.team.map_or_else(String::new, |team| format!(" of {team}"));
            let name = format!("{} {}{team}", rule.subject.name(), rule.pattern);
            all.entry(name).or_default().extend(rule.words.iter().cloned());
        }
        all
    };
    let retired = |old: &Agent, new: &Agent| {
        let is = |agent: &Agent| agent.lifecycle == Lifecycle::Retired;
        if is(new) && !is(old) { How::Retired } else { How::Changed }
    };
    let mut all = each(What::Agent, &agents(before.0), &agents(after.0), retired);
    all.extend(each(What::Budget, &budgets(before.0), &budgets(after.0), |_, _| How::Changed));
    all.extend(each(What::Policies, &policies(before.1), &policies(after.1), |_, _| How::Changed));
    all.extend(each(What::Label, &labels(before.0), &labels(after.0), |_, _| How::Changed));
    all
}

fn each<T: PartialEq>(
    what: What,
    before: &BTreeMap<String, T>,
    after: &BTreeMap<String, T>,
    changed: impl Fn(&T, &T) -> How,
) -> Vec<Change> {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let change = |name: &String| {
        let how = match (before.get(name), after.get(name)) {
            (Some(old), Some(new)) if old == new => return None,
            (Some(old), Some(new)) => changed(old, new),
            (None, _) => How::Added,
            (_, None) => How::Removed,
        };
        Some(Change { what, name: name.clone(), how })
    };
    names.into_iter().filter_map(change).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::super::config::Config;
    use super::super::load::{Machine, assemble};
    use super::super::remote::{self, InForce, Remote};
    use super::super::source::{Local, Source};
    use super::*;

    const AGENT: &str = "kind: Agent\nspec:\n  owner: user:default/alice\n  purpose: x\n  budget: b\n  adapters: [claude]\n  \
                         models: [\"*\"]\n  tools: { builtin: [read] }\n";
    const BUDGET: &str = "kind: TokenBudget\nspec: { period: monthly, cap: 1.00 USD }\n";

    fn document(name: &str, text: &str) -> String {
        let head = format!("apiVersion: agentsup.dev/v1alpha1\nmetadata: {{ name: {name}, namespace: t }}\n");
        format!("{head}{text}---\n")
    }

    fn labels(paths: &str) -> String {
        document("l", &format!("kind: Policy\nspec:\n  paths: {{ {paths} }}\n"))
    }

    fn told(before: &[(&str, String)], after: &[(&str, String)]) -> Vec<String> {
        let set = |files: &[(&str, String)]| {
            let files: Files = files.iter().map(|(path, text)| (PathBuf::from(path), text.clone())).collect();
            let (git, branch) = ("/srv/agents".into(), "main".into());
            let source = Source { git, branch, path: PathBuf::new(), every_ms: 1, local: Local::Policies };
            let in_force = InForce { source: source.clone(), commit: "c".into(), since_ms: 0 };
            let kept = Some((in_force, remote::Files(files.clone())));
            let set =
                assemble(&Machine::bare(Config::default()), Some(&Remote { source, kept, problem: None }));
            assert_eq!(set.problems, []);
            (set, files)
        };
        let (old, new) = (set(before), set(after));
        let shown = |change: Change| format!("{:?} {:?} {}", change.how, change.what, change.name);
        between((&old.0, &old.1), (&new.0, &new.1)).into_iter().map(shown).collect()
    }

    #[test]
    fn what_is_different_is_told_by_what_it_is_about() {
        let both = format!("{}{}", document("a", AGENT), document("b", BUDGET));
        let retired = both.replace("  owner:", "  lifecycle: retired\n  owner:");
        let other = retired.replace("purpose: x", "purpose: y").replace("1.00 USD", "2.00 USD");
        let forbid = "@id(\"f\")\nforbid (principal, action == Action::\"launch\", resource);\n".to_owned();
        let sets = [
            vec![],
            vec![("a.yaml", both.clone())],
            vec![("teams/t/moved.yaml", both)],
            vec![("a.yaml", retired), ("org.cedar", forbid.clone())],
            vec![("a.yaml", other), ("org.cedar", format!("{forbid}// why\n"))],
            vec![("l.yaml", labels("a/**: [internal]")), ("teams/t/l.yaml", labels("b/**: [internal]"))],
            vec![("l.yaml", labels("\"c/**\": [public], a/**: [internal, confidential]"))],
        ];
        let expected: [&[&str]; 6] = [
            &["Added Agent agent/a@t", "Added Budget t/b"],
            &[],
            &["Retired Agent agent/a@t", "Added Policies org.cedar"],
            &["Changed Agent agent/a@t", "Changed Budget t/b", "Changed Policies org.cedar"],
            &[
                "Removed Agent agent/a@t",
                "Removed Budget t/b",
                "Removed Policies org.cedar",
                "Added Label path a/**",
                "Added Label path b/** of t",
            ],
            &["Changed Label path a/**", "Removed Label path b/** of t", "Added Label path c/**"],
        ];
        for (pair, expected) in sets.windows(2).zip(expected) {
            assert_eq!(told(&pair[0], &pair[1]), expected);
        }
    }
}
