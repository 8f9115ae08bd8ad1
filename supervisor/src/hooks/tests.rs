//! What an agent could write to slip past the gate, and results that nobody could read.

#![allow(clippy::unwrap_used, reason = "tests")]

mod bypass;
mod results;
