//! What others are shown of a run, and how they name one.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Runs;
use crate::core::amount::Amount;
use crate::core::billing::Billing;
use crate::core::error::{Code, Failure};
use crate::core::ids::RunId;
use crate::core::manifest::Environment;
use crate::core::principal::{AgentRef, Owner};
use crate::core::run::RunState;
use crate::store::runs::{self, RunRow};
use crate::sys::clock;

/// The most runs that any list shows.
const LIST_MAX: u32 = 1000;
/// How long an ended run whose worktree is gone stays in the ordinary list.
const RECENT_MS: i64 = 24 * 60 * 60 * 1000;

/// A run, as `ps` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunView {
    /// Its id.
    pub id: RunId,
    /// Who acts.
    pub agent: AgentRef,
    /// Who answers for it.
    pub owner: Owner,
    /// Where it acts.
    pub environment: Environment,
    /// How it was launched.
    pub adapter: String,
    /// Its state.
    pub state: RunState,
    /// Its branch.
    pub branch: String,
    /// The commit it started from.
    pub base: String,
    /// Its checkout.
    pub worktree: PathBuf,
    /// Whether the checkout is still there.
    pub worktree_state: WorktreeState,
    /// The main checkout.
    pub repository: PathBuf,
    /// The run's own directory: keeper socket, scrollback.
    pub dir: PathBuf,
    /// The agent's first process.
    pub pid: Option<u32>,
    /// What its model calls cost so far.
    pub spend_nano_usd: i64,
    /// Who pays for them. On a subscription the amount is the list-price equivalent: metered, not enforced.
    #[serde(default)]
    pub billing: Billing,
    /// What it may spend itself, if that is limited in money.
    #[serde(default)]
    pub cap_nano_usd: Option<i64>,
    /// What it may spend itself, if that is limited in tokens.
    #[serde(default)]
    pub cap_tokens: Option<u64>,
    /// The budgets that pay for it and have crossed their edge; of ended runs only where one is asked for.
    #[serde(default)]
    pub alerted: Vec<String>,
    /// Labels of what it has seen: `untrusted`, `internal`, `confidential`, `secret`.
    #[serde(default)]
    pub labels: Vec<String>,
    /// Milliseconds since 1970.
    pub started_at_ms: i64,
    /// Milliseconds since 1970.
    pub ended_at_ms: Option<i64>,
    /// How it ended: `exit 0`, `signal 9`, or why it failed.
    pub exit: Option<String>,
}

/// Whether a run's checkout is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorktreeState {
    /// It is.
    Present,
    /// It was taken away, or never made.
    Removed,
}

impl From<RunRow> for RunView {
    fn from(row: RunRow) -> Self {
        let run = row.run;
        let present = run.worktree.symlink_metadata().is_ok();
        Self {
            id: run.id,
            agent: run.agent,
            owner: run.owner,
            environment: run.environment,
            adapter: run.adapter,
            state: row.state,
            branch: run.branch,
            base: run.base,
            worktree_state: if present { WorktreeState::Present } else { WorktreeState::Removed },
            worktree: run.worktree,
            repository: run.repository,
            dir: run.dir,
            pid: row.keeper.and_then(|keeper| keeper.agent_pid),
            spend_nano_usd: row.spend_nano_usd,
            billing: run.billing,
            cap_nano_usd: match run.cap {
                Some(Amount::Money(cap)) => Some(cap.nano()),
                _ => None,
            },
            cap_tokens: match run.cap {
                Some(Amount::Tokens(cap)) => Some(cap),
                _ => None,
            },
            alerted: Vec::new(),
            labels: row.labels.names().map(str::to_owned).collect(),
            started_at_ms: run.started_at_ms,
            ended_at_ms: row.ended_at_ms,
            exit: row.exit,
        }
    }
}

/// Names a run: its id, a unique beginning or ending of it or of its short form, its branch, or `latest`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunParams {
    /// As the user wrote it.
    pub run: String,
}

/// Which runs to list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Those alive and those with a worktree: what there is to do something about.
    Open,
    /// Those alive, those with a worktree, and those that ended within a day.
    #[default]
    Recent,
    /// All, up to a thousand.
    All,
}

/// Parameters of [`list`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListParams {
    /// Which.
    #[serde(default)]
    pub scope: Scope,
}

/// Runs, oldest first.
pub async fn list(runs: &Runs, params: ListParams) -> Result<Vec<RunView>, Failure> {
    let rows = runs.store().read(|connection| runs::list(connection, LIST_MAX)).await?;
    let since = clock::now_ms().saturating_sub(RECENT_MS);
    let mut views = Vec::with_capacity(rows.len());
    for row in rows {
        let run = (!row.state.is_final()).then(|| row.run.clone());
        let mut view = now(runs, row);
        if let Some(run) = run {
            view.alerted = runs.gate().alerted(&run).await?;
        }
        views.push(view);
    }
    let is_open = |view: &RunView| !view.state.is_final() || view.worktree_state == WorktreeState::Present;
    match params.scope {
        Scope::Open => views.retain(is_open),
        Scope::Recent => {
            views.retain(|view| is_open(view) || view.ended_at_ms.is_none_or(|ended| ended >= since));
        }
        Scope::All => {}
    }
    views.reverse();
    Ok(views)
}

/// One run.
pub async fn show(runs: &Runs, params: RunParams) -> Result<RunView, Failure> {
    let row = require(runs, &params.run).await?;
    let alerted = runs.gate().alerted(&row.run).await?;
    Ok(RunView { alerted, ..now(runs, row) })
}

/// What only memory knows: a run that waits for a person is stored as running.
fn now(runs: &Runs, row: RunRow) -> RunView {
    let live = runs.gate().live(row.run.id).map(|live| live.state());
    let mut view = RunView::from(row);
    if let Some(state) = live {
        view.state = state;
    }
    view
}

/// The run that the user means.
pub(super) async fn require(runs: &Runs, text: &str) -> Result<RunRow, Failure> {
    if let Ok(id) = text.parse::<RunId>() {
        let row = runs.store().read(move |connection| runs::by_id(connection, id)).await?;
        return row.ok_or_else(|| unknown(text));
    }
    let rows = runs.store().read(|connection| runs::list(connection, LIST_MAX)).await?;
    if text == LATEST {
        return rows.into_iter().next().ok_or_else(|| unknown(text));
    }
    let mut found = rows.into_iter().filter(|row| answers_to(row, text));
    match (found.next(), found.next()) {
        (Some(row), None) => Ok(row),
        (None, _) => Err(unknown(text)),
        (Some(first), Some(second)) => {
            let message = format!("`{text}` means more than one run: {}, {}", first.run.id, second.run.id);
            Err(Failure::new(Code::Usage, message)
                .hint("name it by more of its id; agentsup ps shows the ids"))
        }
    }
}

/// Names the run that was started last.
const LATEST: &str = "latest";
/// Shorter parts of an id would soon mean more than one run.
const PART_MIN: usize = 4;

fn answers_to(row: &RunRow, text: &str) -> bool {
    let part = text.strip_prefix("run_").unwrap_or(text).to_ascii_lowercase();
    let id = row.run.id.to_string();
    let begins = id.strip_prefix("run_").is_some_and(|id| id.starts_with(&part));
    let is_part =
        part.len() >= PART_MIN && (begins || id.ends_with(&part) || row.run.id.short().starts_with(&part));
    is_part || row.run.branch == text || row.run.branch.strip_prefix("agentsup/") == Some(text)
}

fn unknown(text: &str) -> Failure {
    Failure::new(Code::NotFound, format!("no run `{text}`")).hint("agentsup ps --all")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::refusal::RefusalStyle;
    use crate::core::run::{HookDuty, Run};

    #[test]
    fn a_run_answers_to_its_branch_and_to_either_end_of_its_id() {
        let run = Run {
            id: RunId::from_parts(1, [1, 2, 3, 4, 5, 0x5a, 0x6b, 0x7c, 0x8d, 0x9e]),
            agent: AgentRef::new("a", "t").unwrap(),
            owner: "user:alice".parse().unwrap(),
            environment: Environment::Dev,
            adapter: "command".into(),
            repository: "/r".into(),
            remote: None,
            worktree: "/w".into(),
            branch: "agentsup/a-6b7c8d9e".into(),
            base: "0".into(),
            onto: None,
            dir: "/d".into(),
            refusal: RefusalStyle::PLAIN,
            hooks: HookDuty::None,
            billing: Billing::Keys,
            untold_tools_max: crate::core::run::UNTOLD_TOOLS_MAX,
            cap: None,
            started_at_ms: 0,
        };
        let id = run.id;
        let row = RunRow {
            run,
            state: RunState::Running,
            token_hash: [0; 32],
            keeper: None,
            ended_at_ms: None,
            exit: None,
            spend_nano_usd: 0,
            calls: 0,
            labels: crate::core::label::Labels::NONE,
            own: Vec::new(),
        };
        for text in [
            &id.to_string()[..12],
            id.short().as_str(),
            "8D9E",
            "6b7c",
            "agentsup/a-6b7c8d9e",
            "a-6b7c8d9e",
            "5a6b7c8d9e",
        ] {
            assert!(answers_to(&row, text), "{text}");
        }
        for text in ["", "9e", "6b7", "7c8d", "agentsup/a", "run_", &id.to_string()[..7]] {
            assert!(!answers_to(&row, text), "{text}");
        }
    }
}
