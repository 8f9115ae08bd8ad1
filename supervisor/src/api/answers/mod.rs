//! Ops that ask a part of the daemon and belong to no flow: what they are asked with, what they answer.

pub mod agents;
pub mod approvals;
pub mod audit;
pub mod budgets;
pub mod clock;
pub mod daemon;
pub mod decided;
pub mod explain;
pub mod figures;
pub mod keys;
pub mod manifests;
pub mod mcp;
pub mod policies;
pub mod prices;
pub mod reasons;
pub mod reconcile;
pub mod registry;
pub mod usage;
pub mod why;
