//! The registry in git: looked at now, and what came of it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::budgets;
use crate::api::App;
use crate::core::error::Failure;
use crate::core::problem::Problem;
use crate::registry::Source;
pub use crate::registry::changes::{Change, How, What};
pub use crate::registry::{Found, Look, short};

/// Parameters of [`sync`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncParams {
    /// The commit, or the beginning of its id, that may come after one that it does not go on from.
    pub accept: Option<String>,
}

/// What came of a look at the registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncView {
    /// The repository.
    pub git: String,
    /// Its branch.
    pub branch: String,
    /// The directory of the manifests there.
    pub path: PathBuf,
    /// What is in force of it.
    pub commit: Option<String>,
    /// What was before.
    pub before: Option<String>,
    /// What is on its branch.
    pub state: SyncState,
    /// What is different from before.
    pub changes: Vec<Change>,
    /// What stands in the way: of what is on the branch, or of anything new on this machine.
    pub problems: Vec<Problem>,
}

/// What is on a registry's branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SyncState {
    /// What is in force.
    Current,
    /// Something that does not go on from what is in force.
    Rewound,
    /// Something with problems.
    Invalid,
    /// Nobody knows: it was not reached.
    Unreachable,
}

impl From<&Found> for SyncState {
    fn from(found: &Found) -> Self {
        match found {
            Found::Current => Self::Current,
            Found::Rewound { .. } => Self::Rewound,
            Found::Invalid { .. } => Self::Invalid,
            Found::Unreachable { .. } => Self::Unreachable,
        }
    }
}

/// A registry in git as it is known on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryView {
    /// Where it is.
    #[serde(flatten)]
    pub source: Source,
    /// The commit that is in force; none if nothing ever was.
    pub commit: Option<String>,
    /// Since when, milliseconds since 1970.
    pub since_ms: Option<i64>,
    /// How the last look at it ended; none if there was none.
    pub look: Option<Look>,
}

/// Looks at the registry now.
pub async fn sync(app: &App, params: SyncParams) -> Result<SyncView, Failure> {
    let accepted = params.accept.map(|commit| (commit, budgets::by()));
    let synced = app.catalog.sync(accepted).await?;
    let snapshot = app.registry.current();
    let mut problems = synced.look.problems();
    problems.extend(snapshot.problems.iter().cloned());
    let Source { git, branch, path, .. } = synced.look.source.clone();
    Ok(SyncView {
        git,
        branch,
        path,
        commit: snapshot.registry.as_ref().map(|in_force| in_force.commit.clone()),
        before: synced.before.map(|before| before.commit),
        state: SyncState::from(&synced.look.found),
        changes: synced.changes,
        problems,
    })
}
