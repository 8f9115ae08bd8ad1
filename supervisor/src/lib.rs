//! agentsup: supervises coding agents. The architecture document; read this first.

pub mod agents;
pub mod approvals;
pub mod audit;
pub mod core;
pub mod demo;
pub mod gate;
pub mod registry;
pub mod run;
pub mod store;
pub mod sys;
