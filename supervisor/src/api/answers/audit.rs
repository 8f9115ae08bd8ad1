//! Reading the record.

use serde::{Deserialize, Serialize};

use crate::api::App;
use crate::audit::{self, Finding, List, Listed, Summary};
use crate::core::error::Failure;
use crate::run::view::{self, RunParams};

/// Parameters of [`list`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListParams {
    /// Only records after this number.
    #[serde(default)]
    pub after: u64,
    /// Only this run: its id, an ending of it, or its branch.
    #[serde(default)]
    pub run: Option<String>,
    /// Only agents that answer to this.
    #[serde(default)]
    pub agent: Option<String>,
    /// The newest so many.
    #[serde(default)]
    pub last: Option<usize>,
}

/// Whether the record is whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verified {
    /// It is.
    Whole(Summary),
    /// It is not.
    Broken(Finding),
}

/// The record, oldest first.
pub async fn list(app: &App, params: ListParams) -> Result<Vec<Listed>, Failure> {
    let run = match params.run {
        Some(run) => Some(view::show(&app.runs, RunParams { run }).await?.id),
        None => None,
    };
    let query = List { after: params.after, run, agent: params.agent, last: params.last };
    Ok(app.store.read(move |connection| audit::list(connection, &query)).await?)
}

/// Checks every record. The head that it tells is on the disk: people note it down.
pub async fn verify(app: &App) -> Result<Verified, Failure> {
    app.store.sync().await?;
    Ok(match app.store.read(audit::verify).await? {
        Ok(summary) => Verified::Whole(summary),
        Err(finding) => Verified::Broken(finding),
    })
}
