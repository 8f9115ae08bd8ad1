//! Reading the record: listing it as sentences, checking that it is whole.
//!
//! Writing belongs to the gate and the store. Invariant: what is shown comes from the hashed bytes, never from a
//! column beside them.

mod list;
mod verify;

pub use list::{List, Listed, list};
pub use verify::{Finding, Summary, verify};
