//! The registry: configuration, agents, budgets and policies in force, read from files and reloaded when they change.
//!
//! Invariants: a set is in force whole or not at all; a set with a problem never comes into force, the last good one
//! stays and the problems are shown; before the first good set no agent exists, so nothing may run. Errors name file,
//! line, column and field. It reads files and nothing else: it decides nothing.

mod acs;
pub mod agt;
mod authority;
mod chain;
pub mod changes;
mod config;
mod config_file;
mod data_rules;
pub mod explain;
mod fields;
mod files;
mod followed;
pub mod init;
mod label_rules;
mod labelled;
mod live;
mod load;
mod manifest;
pub mod register;
mod remote;
pub mod retire;
pub mod schema;
mod source;
mod syntax;
#[cfg(test)]
mod tests;
mod tree;
mod units;

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::core::budget::CHAIN_MAX;
use crate::core::error::{Code, Failure};
use crate::core::manifest::{Agent, Lifecycle, TokenBudget};
use crate::core::policy::PolicySet;
use crate::core::policy::own::Own;
use crate::core::principal::AgentRef;
use crate::core::problem::Problem;
use crate::core::rules::Rules;

pub use acs::{Acs, Coverage, Opinion, Point};
pub use config::{
    Ceiling, Config, LIST_PRICE_BP, LongOverride, McpServerConfig, PriceOverride, ProviderConfig, Reconcile,
    Setting, Switch, WIRES,
};
pub use files::is_policy;
pub use init::{DEMO_AGENT, PERSONAL_AGENT};
pub use live::{Demo, Registry};
pub use remote::InForce;
pub use remote::fetch::{Break, Looked, RemoteError, Synced, look};
pub use remote::kept::{Found, Look};
pub use remote::propose::{Proposal, ProposeError, propose_agent, propose_retirement};
pub use source::{Local, PERSONAL, Source, short};

/// The digest of nothing, which no files have.
const NOTHING: [u8; 32] = [0; 32];

/// What is in force, and what keeps a newer set from being so.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The configuration.
    pub config: Config,
    /// The registered agents, in order of namespace and name.
    pub agents: Vec<Agent>,
    /// Their budgets, in order of namespace and name.
    pub budgets: Vec<TokenBudget>,
    /// The policies.
    pub policies: PolicySet,
    /// The ACS manifest that is asked besides, if one is configured.
    pub acs: Option<Acs>,
    /// Where each agent is declared.
    pub origins: BTreeMap<AgentRef, Origin>,
    /// SHA-256 over the manifests and policies in force; zeros where nothing is.
    pub digest: [u8; 32],
    /// The commit of the registry in git that they come from; none where none is configured.
    pub registry: Option<InForce>,
    /// What is wrong with the files as they are now; empty if they are what is in force.
    pub problems: Vec<Problem>,
}

/// Where an agent is declared, and what its manifest says itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The manifest; in a registry in git its path from the repository's root.
    pub file: PathBuf,
    /// The line of the agent's name, from 1.
    pub line: u32,
    /// SHA-256 over what it says, hexadecimal: whether it is still the manifest that it was.
    pub digest: String,
    /// The registry's commit; none for a file on this machine.
    pub commit: Option<String>,
    /// The fields that it names, each with its line.
    given: Vec<(&'static str, u32)>,
}

/// Why a name leads to no agent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// No such agent is registered.
    #[error("no agent `{name}` is registered")]
    UnknownAgent {
        /// What was asked for.
        name: String,
        /// The whole references of those that are.
        registered: Vec<String>,
    },
    /// The name alone is not enough.
    #[error("`{name}` means more than one agent: {}", .candidates.join(", "))]
    AmbiguousAgent {
        /// What was asked for.
        name: String,
        /// The whole references.
        candidates: Vec<String>,
    },
    /// More than one agent may be launched with the adapter.
    #[error("more than one agent may be launched with `{adapter}`: {}", .candidates.join(", "))]
    ChooseAgent {
        /// The adapter.
        adapter: String,
        /// The whole references.
        candidates: Vec<String>,
    },
    /// No agent may be launched with the adapter.
    #[error("no registered agent may be launched with `{0}`")]
    NoAgentFor(String),
    /// Changes of the files cannot be noticed.
    #[error("the configuration cannot be watched: {0}")]
    Watch(String),
    /// Nothing is in force, because the files have problems.
    #[error("nothing is in force, because the configuration has {} problem(s): {first}", .count)]
    Invalid {
        /// How many.
        count: usize,
        /// The first, whole.
        first: String,
    },
}

impl RegistryError {
    /// The exact command that helps.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownAgent { registered, .. } if registered.is_empty() => Some("agentsup init".into()),
            Self::UnknownAgent { registered, .. } => Some(format!("one of: {}", registered.join(", "))),
            Self::AmbiguousAgent { candidates, .. } | Self::ChooseAgent { candidates, .. } => {
                candidates.first().map(|first| format!("--agent {first}"))
            }
            Self::NoAgentFor(adapter) => {
                Some(format!("agentsup init, or add `{adapter}` to the `adapters` of an agent's manifest"))
            }
            Self::Invalid { .. } => Some("agentsup doctor".into()),
            Self::Watch(_) => None,
        }
    }
}

impl From<RegistryError> for Failure {
    fn from(error: RegistryError) -> Self {
        let code = match &error {
            RegistryError::UnknownAgent { .. } => Code::NotFound,
            RegistryError::AmbiguousAgent { .. } | RegistryError::ChooseAgent { .. } => Code::Usage,
            RegistryError::NoAgentFor(_) => Code::Denied,
            RegistryError::Invalid { .. } => Code::ConfigInvalid,
            RegistryError::Watch(_) => Code::Internal,
        };
        Self { code, message: error.to_string(), hint: error.hint() }
    }
}

impl Snapshot {
    /// What decides about actions.
    pub fn rules(&self) -> Rules<'_> {
        Rules { policies: &self.policies, data: &self.config.data, own: &Own::None }
    }

    /// For how long what decisions were about is kept beside their records, in milliseconds; none where nothing is in force,
    /// so that nobody has read it. Whatever is wrong with the files by now, what was read last holds.
    pub fn facts_kept_ms(&self) -> Option<i64> {
        (self.digest != NOTHING).then(|| self.config.facts_kept_ms.unwrap_or(0))
    }

    /// The one agent that answers to the text: a name, `name@namespace` or a whole reference.
    pub fn agent(&self, text: &str) -> Option<&Agent> {
        self.require_agent(text).ok()
    }

    /// As [`Snapshot::agent`], saying why there is none.
    pub fn require_agent(&self, text: &str) -> Result<&Agent, RegistryError> {
        let found: Vec<&Agent> =
            self.agents.iter().filter(|agent| agent.reference.answers_to(text)).collect();
        match found.as_slice() {
            [agent] => Ok(agent),
            [] => Err(self.or_invalid(RegistryError::UnknownAgent {
                name: text.to_owned(),
                registered: self.agents.iter().map(|agent| agent.reference.to_string()).collect(),
            })),
            many => {
                Err(RegistryError::AmbiguousAgent { name: text.to_owned(), candidates: references(many) })
            }
        }
    }

    /// The agent of a run that names none: the personal default if it may use the adapter, else the only agent
    /// that may.
    pub fn default_agent(&self, adapter: &str) -> Result<&Agent, RegistryError> {
        let may = |agent: &&Agent| {
            agent.lifecycle != Lifecycle::Retired && agent.adapters.iter().any(|name| name == adapter)
        };
        let found: Vec<&Agent> = self.agents.iter().filter(may).collect();
        match found.as_slice() {
            [agent] => Ok(agent),
            [] => Err(self.or_invalid(RegistryError::NoAgentFor(adapter.to_owned()))),
            many => {
                let personal = many.iter().find(|agent| agent.reference.to_string() == PERSONAL_AGENT);
                personal.copied().ok_or_else(|| RegistryError::ChooseAgent {
                    adapter: adapter.to_owned(),
                    candidates: references(many),
                })
            }
        }
    }

    /// The personal default agent, or the only one there is.
    pub fn only_agent(&self) -> Result<&Agent, RegistryError> {
        let personal = self.agents.iter().find(|agent| agent.reference.to_string() == PERSONAL_AGENT);
        match (personal, self.agents.as_slice()) {
            (Some(agent), _) | (None, [agent]) => Ok(agent),
            (None, agents) => Err(self.or_invalid(RegistryError::UnknownAgent {
                name: "default".to_owned(),
                registered: agents.iter().map(|agent| agent.reference.to_string()).collect(),
            })),
        }
    }

    /// A budget.
    pub fn budget(&self, namespace: &str, name: &str) -> Option<&TokenBudget> {
        self.budgets.iter().find(|budget| budget.namespace == namespace && budget.name == name)
    }

    /// An agent's budget.
    pub fn budget_of(&self, agent: &Agent) -> Option<&TokenBudget> {
        self.budget(agent.reference.namespace(), &agent.budget)
    }

    /// A budget and those that pay with it: its parent, that one's, and so on. None if one of them is missing or there
    /// is no end, which no set in force has.
    pub fn chain<'s>(&'s self, budget: &'s TokenBudget) -> Option<Vec<&'s TokenBudget>> {
        let mut chain = vec![budget];
        let mut last = budget;
        while let Some(parent) = &last.parent {
            // A run's own cap comes on top.
            if chain.len() >= CHAIN_MAX + usize::from(budget.run().is_some()) {
                return None;
            }
            last = self.budget(&parent.namespace, &parent.name)?;
            chain.push(last);
        }
        Some(chain)
    }

    fn or_invalid(&self, otherwise: RegistryError) -> RegistryError {
        match self.problems.first() {
            Some(first) if self.agents.is_empty() => {
                RegistryError::Invalid { count: self.problems.len(), first: first.to_string() }
            }
            _ => otherwise,
        }
    }
}

fn references(agents: &[&Agent]) -> Vec<String> {
    agents.iter().map(|agent| agent.reference.to_string()).collect()
}
