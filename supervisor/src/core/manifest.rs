//! Manifests: what an agent is and what it may spend. The types in force, already validated; the text form and its
//! errors are in [`crate::registry`].

use std::fmt;

use serde::{Deserialize, Serialize};

use super::amount::Amount;
use super::billing::Payers;
use super::ids::RunId;
use super::money::NanoUsd;
use super::principal::{AgentRef, Owner};

/// A registered agent: a non-human principal with an accountable human.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Agent {
    /// Name and team.
    pub reference: AgentRef,
    /// The accountable human.
    pub owner: Owner,
    /// What the agent is for, in a sentence.
    pub purpose: String,
    /// Whether it may run at all.
    pub lifecycle: Lifecycle,
    /// Where it may act; the first is the default of a run. Never empty.
    pub environments: Vec<Environment>,
    /// Adapters it may be launched with. Never empty.
    pub adapters: Vec<String>,
    /// Globs over the repository's path and remote.
    pub repositories: Vec<String>,
    /// Globs over model names.
    pub models: Vec<String>,
    /// Tools it may use.
    pub tools: ToolScope,
    /// Name of its [`TokenBudget`] in the same namespace.
    pub budget: String,
    /// Who may pay for its model calls.
    pub billing: Payers,
    /// How long a run's credential lives, in milliseconds.
    pub credential_ttl_ms: u64,
    /// The instant from which it may no longer run, milliseconds since 1970.
    pub deprovision_at_ms: Option<i64>,
}

/// Tools within an agent's scope.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ToolScope {
    /// Globs over `<server>/<tool>`.
    pub mcp: Vec<String>,
    /// Classes of built-in tools.
    pub builtin: Vec<BuiltinClass>,
}

/// Classes of an agent's own tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BuiltinClass {
    /// Reads files, lists directories, searches.
    Read,
    /// Writes files.
    Edit,
    /// Runs commands.
    Shell,
    /// Fetches from the network.
    Web,
    /// Everything else that has an effect outside the conversation.
    Other,
}

impl BuiltinClass {
    /// Every one.
    pub const ALL: [Self; 5] = [Self::Read, Self::Edit, Self::Shell, Self::Web, Self::Other];

    /// As manifests and policies write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Edit => "edit",
            Self::Shell => "shell",
            Self::Web => "web",
            Self::Other => "other",
        }
    }
}

/// Where in its life an agent is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lifecycle {
    /// Being tried.
    Experimental,
    /// Relied upon.
    Production,
    /// Starts no runs.
    Retired,
}

impl Lifecycle {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Experimental, Self::Production, Self::Retired];

    /// As manifests write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Experimental => "experimental",
            Self::Production => "production",
            Self::Retired => "retired",
        }
    }
}

/// Where an action has its effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Environment {
    /// Development.
    Dev,
    /// Staging.
    Staging,
    /// Production.
    Production,
}

impl Environment {
    /// All.
    pub const ALL: [Self; 3] = [Self::Dev, Self::Staging, Self::Production];

    /// As manifests and records write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Staging => "staging",
            Self::Production => "production",
        }
    }
}

/// Names a budget, as the ledger and the records write it: `<namespace>/<name>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BudgetRef {
    /// The team.
    pub namespace: String,
    /// Name within its namespace.
    pub name: String,
}

impl fmt::Display for BudgetRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Where the caps of runs are among the budgets.
pub const RUN: &str = "run";

/// What may be spent in a period. The hard ceiling is cap plus burst.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenBudget {
    /// Name within its namespace.
    pub name: String,
    /// The team.
    pub namespace: String,
    /// The budget that pays as well, for every call; none at the end of a chain.
    pub parent: Option<BudgetRef>,
    /// When balances start anew.
    pub period: Period,
    /// What is meant to be spent.
    pub cap: Cap,
    /// The edge of consumption, in percent of the cap, at which people are told; 1 to 100.
    pub alert_at_percent: u8,
}

impl TokenBudget {
    /// The cap of a run of its own, above which are the agent's budget and that one's parents.
    pub fn of_run(run: RunId, cap: Amount, parent: BudgetRef) -> Self {
        Self {
            name: run.to_string(),
            namespace: RUN.to_owned(),
            parent: Some(parent),
            period: Period::Total,
            cap: match cap {
                Amount::Money(cap) => Cap::Money { cap, burst: NanoUsd::ZERO },
                Amount::Tokens(cap) => Cap::Tokens { cap, burst: 0 },
            },
            alert_at_percent: 80,
        }
    }

    /// The run whose own cap this is; none for a budget of a manifest, whose name is never a run's id.
    pub fn run(&self) -> Option<RunId> {
        if self.namespace == RUN { self.name.parse().ok() } else { None }
    }

    /// Its name.
    pub fn reference(&self) -> BudgetRef {
        BudgetRef { namespace: self.namespace.clone(), name: self.name.clone() }
    }
}

/// The measure of a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cap {
    /// Money.
    Money {
        /// The cap.
        cap: NanoUsd,
        /// What may be spent above it.
        burst: NanoUsd,
    },
    /// Tokens of any kind, input and output.
    Tokens {
        /// The cap.
        cap: u64,
        /// What may be spent above it.
        burst: u64,
    },
}

/// When balances start anew: balances are keyed by period id, so nothing is ever reset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Period {
    /// A calendar day.
    Daily(TimeZone),
    /// A calendar week, from Monday.
    Weekly(TimeZone),
    /// A calendar month.
    Monthly(TimeZone),
    /// Never.
    Total,
}

/// An IANA time zone name, checked when the manifest was loaded; `UTC` unless given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeZone(pub String);

impl Period {
    /// As manifests write it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Daily(_) => "daily",
            Self::Weekly(_) => "weekly",
            Self::Monthly(_) => "monthly",
            Self::Total => "total",
        }
    }
}
