//! What a user does, from end to end.

mod budgets;
mod daemon;
mod demo;
mod keeper;
mod launch;
mod real;
mod runs;
mod suspend;
mod usage;
