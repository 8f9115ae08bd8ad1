//! agentsup: supervises coding agents. The architecture document; read this first.

pub mod core;
pub mod registry;
pub mod run;
pub mod store;
pub mod sys;
