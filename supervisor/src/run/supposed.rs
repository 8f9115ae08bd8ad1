//! A run that is not started: to say what would be decided in one.

use std::path::PathBuf;

use super::view;
use super::worktrees::{self, blocking};
use super::{Runs, launch};
use crate::agents::Adapter;
use crate::core::error::Failure;
use crate::core::manifest::Agent;
use crate::core::policy::own::Own;
use crate::core::run::Run;
use crate::store::runs::RunRow;
use crate::sys::ids;

/// The run that would be started from a directory, and what its repository adds. Nothing is made.
///
/// # Errors
/// When the directory is in no repository, or in one whose own policies cannot be loaded.
pub async fn suppose(
    runs: &Runs,
    agent: &Agent,
    adapter: &Adapter,
    directory: PathBuf,
) -> Result<(Run, Own), Failure> {
    let start = blocking(move || worktrees::look(&directory)).await?;
    let id = ids::new_run_id().map_err(|error| Failure::internal(&error))?;
    let run = launch::describe(runs, id, adapter, agent, None, &start)?;
    Ok((run, start.own?.own))
}

/// A run that was started, as it was.
///
/// # Errors
/// When there is none of that name.
pub async fn find(runs: &Runs, name: &str) -> Result<RunRow, Failure> {
    view::require(runs, name).await
}

/// What the repository of a run adds that was started.
pub fn own(row: &RunRow) -> Own {
    Own::restore(&row.own, &row.run.base)
}
