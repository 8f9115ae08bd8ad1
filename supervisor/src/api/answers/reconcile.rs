//! Reconciliation: a provider's statement, set against the ledger call by call.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::budgets::by;
use crate::api::App;
use crate::core::error::{Code, Failure};
use crate::core::ids::{RecordId, RunId};
use crate::core::reconcile::{Stated, Verdict};
use crate::core::statement::{self, Line};
use crate::gate::{Reconciled, Statement};
use crate::gateway;
use crate::store::corrections::{self, Call};

/// The largest file that is read, in bytes.
const FILE_MAX: u64 = 32 * 1024 * 1024;
/// The most lines of an answer; those that agree are left out first.
const ROWS_MAX: usize = 1000;

/// Parameters of [`reconcile`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReconcileParams {
    /// An absolute path.
    pub file: PathBuf,
    /// Whether to say what would be done and do nothing.
    #[serde(default)]
    pub dry_run: bool,
}

/// What a statement came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reconciliation {
    /// Whether nothing was done.
    pub dry_run: bool,
    /// How many lines came to what.
    pub counts: BTreeMap<Finding, u64>,
    /// What the assumed amounts of the calls were lowered by, all together.
    pub lowered_nano_usd: i64,
    /// By how much calls cost more than was posted for them.
    pub overrun_nano_usd: i64,
    /// Line by line, those that the ledger agrees with left out.
    pub rows: Vec<ReconciledRow>,
    /// How many more there are.
    pub left_off: usize,
}

/// What a line of a statement comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Finding {
    /// It cost less than was assumed.
    Lowered,
    /// It cost what was assumed.
    Confirmed,
    /// It cost more than is posted; the difference is posted, and the model frozen.
    Overrun,
    /// The ledger has that already.
    Agrees,
    /// The provider counted otherwise before; the ledger stays.
    Contradicts,
    /// The call is under way; the ledger stays.
    Open,
    /// No call has that name.
    Unknown,
    /// More than one call has that name.
    Ambiguous,
    /// The call was for another model.
    OtherModel,
    /// Only tokens are stated, and the prices that the call was made at are not in force any more.
    Unpriced,
}

/// One line of a statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReconciledRow {
    /// Its number in the file.
    pub line: usize,
    /// The provider's name for the call.
    pub request_id: String,
    /// What it comes to.
    pub finding: Finding,
    /// The record of the call's decision.
    pub call: Option<RecordId>,
    /// Its run.
    pub run: Option<RunId>,
    /// Its model, as the agent named it.
    pub model: Option<String>,
    /// What is posted for it before.
    pub old_nano_usd: Option<i64>,
    /// What is posted for it from then on.
    pub new_nano_usd: Option<i64>,
    /// Tokens before.
    pub old_tokens: Option<u64>,
    /// Tokens from then on.
    pub new_tokens: Option<u64>,
}

impl From<Verdict> for Finding {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Lowered => Self::Lowered,
            Verdict::Confirmed => Self::Confirmed,
            Verdict::Overrun => Self::Overrun,
            Verdict::Agrees => Self::Agrees,
            Verdict::Contradicts => Self::Contradicts,
            Verdict::Open => Self::Open,
        }
    }
}

/// Sets a file's lines against the ledger, each on its own: what is done stays done if the rest fails, and doing it
/// again changes nothing.
pub async fn reconcile(app: &App, params: ReconcileParams) -> Result<Reconciliation, Failure> {
    let ReconcileParams { file, dry_run } = params;
    let source = file.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let lines = tokio::task::spawn_blocking(move || read(&file));
    let lines = lines.await.map_err(|error| Failure::internal(&error))??;
    let mut told = Reconciliation {
        dry_run,
        counts: BTreeMap::new(),
        lowered_nano_usd: 0,
        overrun_nano_usd: 0,
        rows: Vec::new(),
        left_off: 0,
    };
    for line in lines {
        let row = match find(app, &line).await? {
            Err((finding, call)) => row(&line, finding, call.as_ref()),
            Ok((call, stated)) => {
                let statement = Statement { record: call.record, stated, source: source.clone(), by: by() };
                let done = match dry_run {
                    true => app.gate.preview_statement(statement).await?,
                    false => app.gate.reconcile(statement).await?,
                };
                done.map_or_else(|| row(&line, Finding::Unknown, None), |done| told.take(&line, &done))
            }
        };
        *told.counts.entry(row.finding).or_default() += 1;
        match row.finding {
            Finding::Agrees => {}
            _ if told.rows.len() < ROWS_MAX => told.rows.push(row),
            _ => told.left_off += 1,
        }
    }
    Ok(told)
}

impl Reconciliation {
    fn take(&mut self, line: &Line, done: &Reconciled) -> ReconciledRow {
        let Reconciled { call, verdict, after, .. } = done;
        let (old, new) = (call.standing.cost, after.cost);
        self.lowered_nano_usd = self.lowered_nano_usd.saturating_add(old.minus(new).nano());
        self.overrun_nano_usd = self.overrun_nano_usd.saturating_add(new.minus(old).nano());
        ReconciledRow {
            new_nano_usd: Some(new.nano()),
            new_tokens: Some(after.tokens),
            ..row(line, (*verdict).into(), Some(call))
        }
    }
}

fn row(line: &Line, finding: Finding, call: Option<&Call>) -> ReconciledRow {
    let posted = call.map(|call| call.standing);
    let (nano_usd, tokens) = (posted.map(|posted| posted.cost.nano()), posted.map(|posted| posted.tokens));
    ReconciledRow {
        line: line.number,
        request_id: line.id.clone(),
        finding,
        call: call.map(|call| call.record),
        run: call.map(|call| call.run),
        model: call.map(|call| call.model.clone()),
        old_nano_usd: nano_usd,
        new_nano_usd: nano_usd,
        old_tokens: tokens,
        new_tokens: tokens,
    }
}

/// The call that a line is about, and what is stated of it, or why there is none.
async fn find(app: &App, line: &Line) -> Result<Result<(Call, Stated), (Finding, Option<Call>)>, Failure> {
    let name = line.id.clone();
    let mut calls = app.store.read(move |connection| corrections::calls(connection, &name)).await?;
    let call = match (calls.pop(), calls.is_empty()) {
        (None, _) => return Ok(Err((Finding::Unknown, None))),
        (Some(_), false) => return Ok(Err((Finding::Ambiguous, None))),
        (Some(call), true) => call,
    };
    if line.model.as_ref().is_some_and(|model| !is_same_model(model, &call.model)) {
        return Ok(Err((Finding::OtherModel, Some(call))));
    }
    let mut stated = line.stated;
    if let (None, Some(usage)) = (stated.cost, &stated.usage) {
        let config = &app.registry.current().config;
        let priced = gateway::most(&call.provider, &call.model, usage, config);
        match priced.filter(|(version, _)| *version == call.prices) {
            Some((_, cost)) => stated.cost = Some(cost),
            None => return Ok(Err((Finding::Unpriced, Some(call)))),
        }
    }
    Ok(Ok((call, stated)))
}

/// Statements name the model in full or by a date that the agent left out, behind a router's prefix.
fn is_same_model(stated: &str, called: &str) -> bool {
    let last = |name: &str| name.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    let (stated, called) = (last(stated), last(called));
    stated.starts_with(&called) || called.starts_with(&stated)
}

fn read(file: &Path) -> Result<Vec<Line>, Failure> {
    let unreadable = |why: String| Failure::new(Code::Usage, format!("`{}`: {why}", file.display()));
    if !file.is_absolute() || !file.is_file() {
        return Err(unreadable("is not a file".to_owned()));
    }
    let mut text = String::new();
    std::fs::File::open(file)
        .and_then(|open| open.take(FILE_MAX + 1).read_to_string(&mut text))
        .map_err(|error| unreadable(error.to_string()))?;
    if text.len() as u64 > FILE_MAX {
        return Err(unreadable(format!("is larger than {FILE_MAX} bytes")));
    }
    statement::read(&text)
        .map_err(|error| unreadable(error.to_string()).hint("agentsup budget reconcile --help"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_the_same_with_its_date_and_behind_a_router() {
        for (stated, called, same) in [
            ("claude-sonnet-5", "claude-sonnet-5", true),
            ("claude-sonnet-5-20260929", "claude-sonnet-5", true),
            ("anthropic/Claude-Sonnet-5", "claude-sonnet-5-20260929", true),
            ("claude-opus-5", "claude-sonnet-5", false),
        ] {
            assert_eq!(is_same_model(stated, called), same, "{stated} {called}");
        }
    }
}
