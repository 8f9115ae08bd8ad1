//! The set of manifests and policies that comes from a git repository: fetched, judged, kept, proposed to.
//!
//! What is in force is what was kept last, a directory of plain files named after its commit; git is needed to fetch,
//! not to load. Nothing of it comes into force unless all of it is good, and no older commit after a newer one.

pub(super) mod fetch;
pub(super) mod judge;
pub(super) mod kept;
pub(super) mod propose;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::source::Source;

/// The files of one commit, by their path below the registry's directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Files(pub(super) BTreeMap<PathBuf, String>);

/// Which commit of which repository is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InForce {
    /// The repository, the branch and the directory it is from.
    pub source: Source,
    /// The commit.
    pub commit: String,
    /// Since when, milliseconds since 1970.
    pub since_ms: i64,
}

/// A registry's part of a set that may come into force.
#[derive(Debug, Clone)]
pub(super) struct Remote {
    pub(super) source: Source,
    /// None if nothing was fetched yet or it is not whole any more.
    pub(super) kept: Option<(InForce, Files)>,
    /// What stands in the way of all of it.
    pub(super) problem: Option<crate::core::problem::Problem>,
}
