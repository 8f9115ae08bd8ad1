//! What the gate answers: `Allow < Ask < Deny` with reasons; of several the strictest is in force.

use serde::{Deserialize, Serialize};

use super::ids::RecordId;
use super::label::Labels;

/// The answer to an action. The order is the strictness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// It may happen.
    Allow,
    /// A person must answer first.
    Ask,
    /// It does not happen.
    Deny,
}

impl Decision {
    /// As records and policies write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Ask => "ask",
            Self::Deny => "deny",
        }
    }
}

/// One layer's contribution to a decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// Who says so: `scope`, `state`, `budget`, `approval`, or a policy as `<layer>/<id>`.
    pub source: String,
    /// What it says.
    pub decision: Decision,
    /// Why, in words; may be empty for a plain permission.
    pub text: String,
    /// The stage it belongs to; none for what is no policy's: the run's state, an approval, the ledger.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stage: Option<Stage>,
}

/// What kind of question a reason answers. All are asked, each time, and the strictest answer is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Roles: may this class of agent use this class of tool?
    Rbac,
    /// Attributes: labels of path, repository, host, environment and data, and what the run has read.
    Abac,
    /// Purpose: what the agent is for, where the data may go, what is left of its budget, the time of day.
    Pbac,
}

impl Stage {
    /// All, in the order in which they are asked.
    pub const ALL: [Self; 3] = [Self::Rbac, Self::Abac, Self::Pbac];

    /// As records and people write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rbac => "rbac",
            Self::Abac => "abac",
            Self::Pbac => "pbac",
        }
    }
}

impl Reason {
    /// A reason that belongs to no stage.
    pub fn new(source: impl Into<String>, decision: Decision, text: impl Into<String>) -> Self {
        Self { source: source.into(), decision, text: text.into(), stage: None }
    }

    /// The same as part of a stage.
    #[must_use]
    pub fn at(self, stage: Stage) -> Self {
        Self { stage: Some(stage), ..self }
    }
}

/// All that was evaluated about an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evaluation {
    /// The strictest of the reasons.
    pub decision: Decision,
    /// Every reason, in the order of evaluation.
    pub reasons: Vec<Reason>,
    /// What a policy says of the action's result, if it happens.
    pub brings: Labels,
}

impl Evaluation {
    /// From reasons; none at all denies.
    pub fn of(reasons: Vec<Reason>) -> Self {
        let decision = reasons.iter().map(|reason| reason.decision).max().unwrap_or(Decision::Deny);
        Self { decision, reasons, brings: Labels::NONE }
    }

    /// The reasons that carry the decision.
    pub fn decisive(&self) -> impl Iterator<Item = &Reason> {
        self.reasons.iter().filter(|reason| reason.decision == self.decision)
    }
}

/// Why an action does not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalKind {
    /// Policy, scope or the run's state.
    Denied,
    /// Nobody answered in time.
    ApprovalTimedOut,
    /// The budget's end; asking again is of no use.
    Budget,
    /// The run was killed or suspended.
    Killed,
    /// Ledger or log cannot be written, so nothing may happen.
    Unavailable,
    /// There is no room just now: all that is left is held for calls under way, a queue is full, the daemon is ending,
    /// or a provider is out of reach.
    Busy,
}

/// Whether asking again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finality {
    /// Not until a person does something, or a period ends.
    Terminal,
    /// It passes by itself, soon.
    Transient,
}

impl RefusalKind {
    /// The exit code of the contract.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Denied | Self::Busy => 90,
            Self::ApprovalTimedOut => 91,
            Self::Budget => 92,
            Self::Killed => 93,
            Self::Unavailable => 95,
        }
    }

    /// Whether asking again can help.
    pub const fn finality(self) -> Finality {
        match self {
            Self::Busy => Finality::Transient,
            Self::Denied | Self::ApprovalTimedOut | Self::Budget | Self::Killed | Self::Unavailable => {
                Finality::Terminal
            }
        }
    }
}

/// A refused action: what its maker is told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// The kind.
    pub kind: RefusalKind,
    /// For the agent and its user: short, without the catalogue of policies, ending with the record's id.
    pub message: String,
    /// What would help, if something would.
    pub hint: Option<String>,
    /// The record of the refusal; none only if the log could not be written.
    pub record: Option<RecordId>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(source: &str, decision: Decision) -> Reason {
        Reason::new(source, decision, "")
    }

    #[test]
    fn the_strictest_reason_is_in_force() {
        let evaluation = Evaluation::of(vec![
            reason("a", Decision::Allow),
            reason("b", Decision::Deny),
            reason("c", Decision::Ask),
        ]);
        assert_eq!(evaluation.decision, Decision::Deny);
        assert_eq!(evaluation.decisive().map(|r| r.source.as_str()).collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn no_reason_at_all_denies() {
        assert_eq!(Evaluation::of(Vec::new()).decision, Decision::Deny);
    }
}
