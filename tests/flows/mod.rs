//! What a user does, from end to end.

mod acs;
mod agents;
#[cfg(target_os = "linux")]
mod alerts;
pub(crate) mod approvals;
mod budgets;
mod cursor;
mod daemon;
mod demo;
mod import;
mod keeper;
mod labels;
mod launch;
mod own_policies;
mod policies;
mod real;
mod registry;
mod runs;
mod sdks;
mod suspend;
mod usage;
