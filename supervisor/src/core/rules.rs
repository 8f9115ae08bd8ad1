//! What decides about an action apart from a run's state and money: the manifest's scope, policies, rules about data.

use std::collections::{BTreeMap, BTreeSet};

use super::action::Action;
use super::data::{DataRules, Destination};
use super::decision::{Decision, Evaluation, Reason};
use super::manifest::Agent;
use super::policy::own::Own;
use super::policy::{Circumstances, Looked, NOTHING_PERMITS, Origin, PolicySet};
use super::run::Run;

/// Policies and rules about data, as they are in force together.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'r> {
    /// The policies.
    pub policies: &'r PolicySet,
    /// The rules about data.
    pub data: &'r DataRules,
    /// What a run's repository adds.
    pub own: &'r Own,
}

/// Who wants to do what, and when.
#[derive(Debug, Clone, Copy)]
pub struct Case<'c> {
    /// The agent as its manifest describes it.
    pub agent: &'c Agent,
    /// The run.
    pub run: &'c Run,
    /// What is wanted.
    pub action: &'c Action,
    /// What is the case meanwhile.
    pub now: &'c Circumstances,
}

impl<'r> Rules<'r> {
    /// They, with what a run's repository adds.
    #[must_use]
    pub const fn with(self, own: &'r Own) -> Self {
        Self { own, ..self }
    }

    /// Where the policy behind a reason's source is written.
    pub fn origin(&self, source: &str) -> Option<&'r Origin> {
        self.policies.origin(source).or_else(|| self.own.set()?.origin(source))
    }

    /// What each policy that applies looks at, by the policy's name.
    pub fn looked(&self, case: Case<'_>) -> BTreeMap<String, Vec<Looked>> {
        let Case { agent, run, action, now } = case;
        self.policies.looked(self.own, agent, run, action, now)
    }

    /// Purposes that policies name, in order.
    pub fn purposes(&self) -> BTreeSet<&'r str> {
        [Some(self.policies), self.own.set()].into_iter().flatten().flat_map(PolicySet::purposes).collect()
    }

    /// What they say; all reasons are kept, the strictest is in force.
    pub fn judge(&self, case: Case<'_>) -> Evaluation {
        let Case { agent, run, action, now } = case;
        let mut reasons = self.policies.evaluate_with(self.own, agent, run, action, now).reasons;
        let sent = match action {
            Action::Tool(tool) => tool.destination().map(|to| (to, &tool.facts.data)),
            Action::Llm(llm) => Some((Destination::Model(&llm.provider), &llm.data)),
            Action::Launch(_) | Action::Egress(_) => None,
        };
        reasons.extend(sent.map(|(to, data)| self.data.reasons(to, data)).into_iter().flatten());
        Evaluation::of(reasons)
    }
}

/// What rules said among all reasons of a decision: none where a record does not tell.
pub fn said(reasons: &[Reason]) -> Option<Decision> {
    let of_rules = |reason: &&Reason| {
        reason.stage.is_some() || [NOTHING_PERMITS, "policy", "data"].contains(&reason.source.as_str())
    };
    // The scope is asked whatever is wanted.
    reasons.iter().filter(of_rules).map(|reason| reason.decision).max()
}

#[cfg(test)]
mod tests {
    use super::super::decision::Stage;
    use super::*;

    #[test]
    fn what_people_and_budgets_said_is_not_what_rules_said() {
        let of = |source: &str, decision| Reason::new(source, decision, "");
        let scope = of("scope", Decision::Allow).at(Stage::Rbac);
        let asks = of("default/ask-publish", Decision::Ask).at(Stage::Abac);
        for (reasons, expected) in [
            (vec![scope.clone()], Some(Decision::Allow)),
            (vec![scope.clone(), asks.clone(), of("approval/user:a", Decision::Allow)], Some(Decision::Ask)),
            (vec![scope.clone(), asks, of("approval", Decision::Deny)], Some(Decision::Ask)),
            (vec![scope.clone(), of("budget", Decision::Deny)], Some(Decision::Allow)),
            (vec![scope.clone(), of("default", Decision::Deny)], Some(Decision::Deny)),
            (vec![scope, of("data", Decision::Ask)], Some(Decision::Ask)),
            (vec![of("state", Decision::Deny), of("registry", Decision::Deny)], None),
        ] {
            assert_eq!(said(&reasons), expected, "{reasons:?}");
        }
    }
}
