//! The manifests that agentsup writes itself, because the user asked for them: `agentsup init` and `agentsup run demo`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::agents::ADAPTERS;
use crate::api::App;
use crate::core::error::{Code, Failure};
use crate::core::money::NanoUsd;
use crate::core::principal::Owner;
use crate::core::record::EventEntry;
use crate::demo;
use crate::registry::Registry;
use crate::registry::init::{self, DEMO_AGENT, Draft, PERSONAL_AGENT, Written};
use crate::sys::env::Env;

/// Parameters of [`init`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InitParams {
    /// The monthly cap, such as `20.00 USD`; without it nothing is written.
    pub cap: Option<String>,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Initialised {
    /// The file, if there is one.
    pub file: Option<PathBuf>,
    /// The agent.
    pub agent: String,
    /// Its accountable human.
    pub owner: Owner,
    /// What became of the file.
    pub state: InitState,
}

/// What became of a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InitState {
    /// It was written now.
    New,
    /// A file was there and stays as it is.
    Kept,
    /// No file is there, and none was written, because no cap was given.
    Absent,
}

/// Writes the personal agent and its budget; never over a file that is there.
pub async fn init(app: &App, params: InitParams) -> Result<Initialised, Failure> {
    let owner = owner()?;
    let Some(cap) = params.cap else { return found(app, owner) };
    let cap: NanoUsd = cap.parse().map_err(|error| {
        Failure::new(Code::Usage, format!("{error}")).hint("agentsup init --cap '20.00 USD'")
    })?;
    let draft = init::personal(&app.home, &owner, &adapters(), cap);
    write(app, draft, PERSONAL_AGENT, owner).await
}

/// Every kind of coding agent but the one that is built in.
pub(super) fn adapters() -> Vec<&'static str> {
    ADAPTERS.iter().map(|adapter| adapter.name).filter(|name| *name != demo::NAME).collect()
}

fn found(app: &App, owner: Owner) -> Result<Initialised, Failure> {
    let file =
        init::existing(&app.home).map_err(|error| Failure::new(Code::ConfigInvalid, error.to_string()))?;
    let state = if file.is_some() { InitState::Kept } else { InitState::Absent };
    Ok(Initialised { file, agent: PERSONAL_AGENT.to_owned(), owner, state })
}

/// Writes the demo's agent and its budget, if they are not there.
pub async fn demo(app: &App) -> Result<Initialised, Failure> {
    let owner = owner()?;
    let draft = init::demo(&app.home, &owner);
    write(app, draft, DEMO_AGENT, owner).await
}

/// Whoever runs this daemon, as an accountable human.
pub(super) fn owner() -> Result<Owner, Failure> {
    Env::current().user_name().as_deref().and_then(init::owner_of).ok_or_else(|| {
        Failure::new(
            Code::ConfigInvalid,
            "nobody can be named as the accountable human: this user has no login name",
        )
    })
}

async fn write(app: &App, draft: Draft, agent: &str, owner: Owner) -> Result<Initialised, Failure> {
    let (home, registry, path) = (app.home.clone(), app.registry.clone(), draft.path.clone());
    let work = move || {
        // A file that could not come into force is not written: it would only be a problem.
        let read = Registry::read_with(&home, &draft);
        if let Some(problem) = read.problems.iter().find(|problem| problem.file == draft.path)
            && !draft.path.exists()
        {
            let failure = Failure::new(Code::ConfigInvalid, problem.message.clone());
            return Err(failure.hint(problem.hint.clone().unwrap_or_else(|| "agentsup doctor".to_owned())));
        }
        let failed = |error: init::WriteError| Failure::new(Code::ConfigInvalid, error.to_string());
        init::write(&draft).map(|written| (written, registry.reload())).map_err(failed)
    };
    let (written, snapshot) =
        tokio::task::spawn_blocking(work).await.map_err(|error| Failure::internal(&error))??;
    if let Some(problem) = snapshot.problems.first() {
        let message = format!("`{agent}` is written, but nothing new comes into force: {problem}");
        return Err(Failure::new(Code::ConfigInvalid, message).hint("agentsup doctor"));
    }
    let state = match written {
        Written::New => InitState::New,
        Written::Kept => InitState::Kept,
    };
    if state == InitState::New {
        let text = format!("{agent} was registered, owned by {owner}");
        app.gate.note(EventEntry::new("agent-registered", text)).await?;
    }
    Ok(Initialised { file: Some(path), agent: agent.to_owned(), owner, state })
}
