//! What a call is held with: the words that the ledger and its rows of usage share.

use crate::core::action::Bound;
use crate::core::ids::{RecordId, ReservationId, RunId};
use crate::core::manifest::Cap;

/// A budget in a period.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Account {
    /// `<namespace>/<name>`.
    pub budget: String,
    /// As [`crate::core::budget::period_id`] gives it.
    pub period: String,
}

/// One of the budgets that a call is held in.
#[derive(Debug, Clone)]
pub struct Paying {
    /// The budget and period, fixed for good.
    pub account: Account,
    /// The budget's cap at this moment.
    pub cap: Cap,
}

/// What is to be held.
#[derive(Debug, Clone)]
pub struct Hold {
    /// The id it gets.
    pub id: ReservationId,
    /// The record of the decision that it belongs to.
    pub record: RecordId,
    /// The run that pays.
    pub run: RunId,
    /// Every budget it is held in, each once.
    pub payers: Vec<Paying>,
    /// The provider that bills it, by its name in the configuration.
    pub provider: String,
    /// The model it is for.
    pub model: String,
    /// The version of the prices that the bound was made with.
    pub prices: String,
    /// How much.
    pub bound: Bound,
    /// Now.
    pub at_ms: i64,
}
