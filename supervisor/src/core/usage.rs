//! What a model call consumed, and what became of the amount held for it.

use serde::{Deserialize, Serialize};

use super::money::NanoUsd;

/// Tokens of one model call, disjoint: input excludes cached input.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Input neither read from nor written to a cache.
    pub input_tokens: u64,
    /// Input written to the five-minute cache.
    pub cache_write_5m_tokens: u64,
    /// Input written to the one-hour cache.
    pub cache_write_1h_tokens: u64,
    /// Input read from a cache.
    pub cache_read_tokens: u64,
    /// Output, thinking included.
    pub output_tokens: u64,
}

impl Usage {
    /// Both together.
    #[must_use]
    pub const fn plus(&self, other: &Self) -> Self {
        Self {
            input_tokens: self.input_tokens.saturating_add(other.input_tokens),
            cache_write_5m_tokens: self.cache_write_5m_tokens.saturating_add(other.cache_write_5m_tokens),
            cache_write_1h_tokens: self.cache_write_1h_tokens.saturating_add(other.cache_write_1h_tokens),
            cache_read_tokens: self.cache_read_tokens.saturating_add(other.cache_read_tokens),
            output_tokens: self.output_tokens.saturating_add(other.output_tokens),
        }
    }

    /// All tokens.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.input_tokens
            .saturating_add(self.cache_write_5m_tokens)
            .saturating_add(self.cache_write_1h_tokens)
            .saturating_add(self.cache_read_tokens)
            .saturating_add(self.output_tokens)
    }
}

/// What calls are summed by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Grouping {
    /// The day, in UTC.
    #[default]
    Day,
    /// The month, in UTC.
    Month,
    /// The agent.
    Agent,
    /// The repository's main checkout.
    Repository,
    /// The run's branch.
    Branch,
    /// The model as the agent named it.
    Model,
    /// The run.
    Run,
}

/// What became of a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Charge {
    /// The provider told the usage: this much is posted.
    Settled {
        /// What the provider counted.
        usage: Usage,
        /// What that costs.
        cost: NanoUsd,
    },
    /// The request went out and nobody knows what it cost: the whole reservation is posted.
    Assumed,
    /// The answer broke off: its prompt was counted, its output was not and is taken for all that was let through.
    AtMost {
        /// The prompt as the provider counted it, with the most output.
        usage: Usage,
        /// What that costs.
        cost: NanoUsd,
    },
    /// Nothing was billed: the reservation is released.
    Void,
}

/// How an effect ended, for its record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// `200 OK`, `exit 0`, `failed: …`: short, without content.
    pub status: String,
    /// What became of the reservation; `None` where nothing was reserved.
    pub charge: Option<Charge>,
}

impl Outcome {
    /// The outcome of an effect that costs nothing.
    pub fn free(status: impl Into<String>) -> Self {
        Self { status: status.into(), charge: None }
    }

    /// The outcome of a model call.
    pub fn charged(status: impl Into<String>, charge: Charge) -> Self {
        Self { status: status.into(), charge: Some(charge) }
    }
}
