//! The registry: configuration, agents, budgets and policies in force, read from files and reloaded when they change.
//!
//! Invariants: a set is in force whole or not at all; a set with a problem never comes into force, the last good one
//! stays and the problems are shown; before the first good set no agent exists, so nothing may run. Errors name file,
//! line, column and field. It reads files and nothing else: it decides nothing.

mod config;
#[cfg(test)]
mod fixed;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;
use tokio::sync::watch;

use crate::core::manifest::{Agent, Lifecycle, TokenBudget};
use crate::core::policy::PolicySet;
use crate::sys::paths::Home;

pub use config::{Config, McpServerConfig, PriceOverride, ProviderConfig, Setting};

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
    /// SHA-256 over the manifests and policies in force.
    pub digest: [u8; 32],
    /// What is wrong with the files as they are now; empty if they are what is in force.
    pub problems: Vec<Problem>,
}

/// One thing wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// From 1; 0 if the problem is with the whole file.
    pub line: u32,
    /// From 1; 0 if unknown.
    pub column: u32,
    /// The field's path, such as `spec.tools.builtin[1]`; empty if none is to blame.
    pub field: String,
    /// A lower-case fragment.
    pub message: String,
    /// What to write or run instead.
    pub hint: Option<String>,
}

/// `file:line:column: field: message`, without the hint.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if self.line > 0 {
            write!(f, "{}:", self.line)?;
        }
        if self.line > 0 && self.column > 0 {
            write!(f, "{}:", self.column)?;
        }
        if !self.field.is_empty() {
            write!(f, " {}:", self.field)?;
        }
        write!(f, " {}", self.message)
    }
}

/// Why a name leads to no agent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// No such agent is registered.
    #[error("no agent `{0}` is registered")]
    UnknownAgent(String),
    /// The name alone is not enough.
    #[error("`{name}` means more than one agent: {}", .candidates.join(", "))]
    AmbiguousAgent {
        /// What was asked for.
        name: String,
        /// The whole references.
        candidates: Vec<String>,
    },
    /// No agent may be launched with the adapter.
    #[error("no registered agent may be launched with `{0}`")]
    NoAgentFor(String),
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
    pub fn hint(&self) -> String {
        match self {
            Self::UnknownAgent(_) => "agentsup agent list".into(),
            Self::AmbiguousAgent { candidates, .. } => {
                format!("--agent {}", candidates.first().map_or("NAME@NAMESPACE", String::as_str))
            }
            Self::NoAgentFor(_) => "agentsup init".into(),
            Self::Invalid { .. } => "agentsup doctor".into(),
        }
    }
}

impl Snapshot {
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
            [] => Err(self.or_invalid(RegistryError::UnknownAgent(text.to_owned()))),
            many => Err(ambiguous(text, many)),
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
                personal.copied().ok_or_else(|| ambiguous(adapter, many))
            }
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

    fn or_invalid(&self, otherwise: RegistryError) -> RegistryError {
        match self.problems.first() {
            Some(first) if self.agents.is_empty() => {
                RegistryError::Invalid { count: self.problems.len(), first: first.to_string() }
            }
            _ => otherwise,
        }
    }
}

/// The agent that `agentsup init` writes.
pub const PERSONAL_AGENT: &str = "agent/default@personal";

fn ambiguous(text: &str, agents: &[&Agent]) -> RegistryError {
    let candidates = agents.iter().map(|agent| agent.reference.to_string()).collect();
    RegistryError::AmbiguousAgent { name: text.to_owned(), candidates }
}

/// The registry: a cheap clone.
#[derive(Clone)]
pub struct Registry {
    current: watch::Receiver<Arc<Snapshot>>,
}

impl Registry {
    /// Loads everything and watches the files from then on.
    pub fn start(_home: &Home) -> Self {
        let empty = Snapshot {
            config: Config::default(),
            agents: Vec::new(),
            budgets: Vec::new(),
            policies: PolicySet::default(),
            digest: [0; 32],
            problems: Vec::new(),
        };
        Self { current: watch::channel(Arc::new(empty)).1 }
    }

    /// What is in force now.
    pub fn current(&self) -> Arc<Snapshot> {
        self.current.borrow().clone()
    }

    /// Follows what is in force; changes also when only the problems do.
    pub fn watch(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.current.clone()
    }
}
