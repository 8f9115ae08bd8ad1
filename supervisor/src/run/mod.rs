//! Runs: one supervised process tree each. The keeper owns it; attach is a window to it.

pub mod attach;
pub mod keeper;
