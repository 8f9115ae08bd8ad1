//! Entries of the audit log: their canonical bytes, the chain that binds them, and the sentence each reads as.
//!
//! A record's bytes hold the hash of the record before it, so that a changed, missing or reordered record breaks the
//! chain. A decision is recorded before its effect, the effect's outcome after it, as a record of its own.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::canonical::{self, CanonicalError};
use super::decision::{Decision, Reason};
use super::ids::{RecordId, RunId};
use super::manifest::Environment;
use super::principal::{AgentRef, Owner};
use super::run::Run;
use super::usage::Usage;

/// The hash before the first record.
pub const GENESIS: [u8; 32] = [0; 32];

/// Who acted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Who {
    /// The agent.
    pub agent: AgentRef,
    /// Its accountable human.
    pub owner: Owner,
    /// In which run.
    pub run: RunId,
    /// In which environment.
    pub environment: Environment,
}

impl From<&Run> for Who {
    fn from(run: &Run) -> Self {
        Self { agent: run.agent.clone(), owner: run.owner.clone(), run: run.id, environment: run.environment }
    }
}

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Entry {
    /// The gate decided about an action.
    Decision(Box<DecisionEntry>),
    /// An allowed action's effect ended.
    Outcome(OutcomeEntry),
    /// Something else happened that an auditor wants to know.
    Event(EventEntry),
}

/// The gate decided about an action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecisionEntry {
    /// Who wanted it.
    pub who: Who,
    /// `launch`, `llm`, `tool` or `egress`.
    pub action: String,
    /// The adapter, model, tool or host.
    pub target: String,
    /// What it would act upon: paths, the provider; may be empty.
    pub on: String,
    /// The effective decision.
    pub decision: Decision,
    /// Every reason.
    pub reasons: Vec<Reason>,
    /// SHA-256 over the normalised action, hexadecimal.
    pub digest: String,
    /// SHA-256 over what is kept beside the record so that it can be judged again ([`super::judged::Judged`]),
    /// hexadecimal; none where nothing is.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub facts: Option<String>,
    /// The agent's id of the tool call.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub call_id: Option<String>,
    /// What was reserved for it, in nano-USD.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reserved_nano_usd: Option<i64>,
    /// In which budget, as `<namespace>/<name>`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub budget: Option<String>,
    /// In which of its periods.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub period: Option<String>,
    /// The version of the prices that the amount was made with.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub prices: Option<String>,
    /// Where it was reserved as well: the run's own cap and the budget's parents.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub also: Vec<Payer>,
}

/// A budget that pays for a call, in one of its periods.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Payer {
    /// `<namespace>/<name>`.
    pub budget: String,
    /// The period's id.
    pub period: String,
}

/// An allowed action's effect ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutcomeEntry {
    /// The record of the decision.
    pub of: RecordId,
    /// In which run.
    pub run: RunId,
    /// `200 OK`, `abandoned`, `failed: …`.
    pub status: String,
    /// What the provider counted, or where that is only a part, the most that it can have been.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub usage: Option<Usage>,
    /// Whether nobody counted it, or not to the end: then the most that it can have cost is posted.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub assumed: bool,
    /// Tokens posted to the budget: counted or, where nobody knows, assumed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tokens: Option<u64>,
    /// What was posted to the budget, in nano-USD.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cost_nano_usd: Option<i64>,
}

/// Something else happened that an auditor wants to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventEntry {
    /// A stable name: `run-ended`, `peer-refused`.
    pub event: String,
    /// Which run it concerns, if one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub who: Option<Who>,
    /// A predicate in the past tense: `ended with exit 0`. Without secrets and without file content.
    pub text: String,
    /// Facts for machines.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub facts: BTreeMap<String, String>,
}

impl EventEntry {
    /// An event that concerns no run.
    pub fn new(event: &str, text: impl Into<String>) -> Self {
        Self { event: event.to_owned(), who: None, text: text.into(), facts: BTreeMap::new() }
    }

    /// An event of a run.
    pub fn of_run(run: &Run, event: &str, text: impl Into<String>) -> Self {
        Self { who: Some(Who::from(run)), ..Self::new(event, text) }
    }

    /// With a fact.
    #[must_use]
    pub fn fact(mut self, name: &str, value: impl ToString) -> Self {
        self.facts.insert(name.to_owned(), value.to_string());
        self
    }
}

/// One entry of the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The form of the bytes; 1.
    pub v: u8,
    /// From 1, without gaps.
    pub seq: u64,
    /// Its id.
    pub id: RecordId,
    /// When it was written, milliseconds since 1970.
    pub at_ms: i64,
    /// The hash of the record before, hexadecimal.
    pub prev: String,
    /// What it says.
    pub entry: Entry,
}

impl Record {
    /// The canonical bytes, which are what is stored and hashed.
    ///
    /// # Errors
    /// Never for records made by this program; the type allows it.
    pub fn to_bytes(&self) -> Result<Vec<u8>, CanonicalError> {
        canonical::to_bytes(self)
    }

    /// The run it concerns.
    pub fn run(&self) -> Option<RunId> {
        match &self.entry {
            Entry::Decision(decision) => Some(decision.who.run),
            Entry::Outcome(outcome) => Some(outcome.run),
            Entry::Event(event) => event.who.as_ref().map(|who| who.run),
        }
    }
}

/// The hash of a record's bytes.
pub fn hash(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}
