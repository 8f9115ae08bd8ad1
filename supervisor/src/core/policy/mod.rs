//! Policies: Cedar, strictly validated against one schema, in layers. The answer to "may this run do this?".

use super::action::Action;
use super::decision::Evaluation;
use super::manifest::Agent;
use super::run::Run;
use super::scope;

/// The policies in force.
#[derive(Debug, Clone, Default)]
pub struct PolicySet {}

impl PolicySet {
    /// What scope and policies say about an action. All reasons are kept, the strictest is in force; any error of
    /// evaluation denies, and so does the absence of a permission.
    pub fn evaluate(&self, agent: &Agent, run: &Run, action: &Action) -> Evaluation {
        Evaluation::of(scope::check(agent, run, action))
    }
}
