//! What a user does, from end to end.

mod daemon;
mod keeper;
mod runs;
