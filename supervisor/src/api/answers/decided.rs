//! Recorded decisions with what they were about, page by page, for whoever judges them again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::why;
use crate::api::App;
use crate::core::decision::{Decision, Reason};
use crate::core::error::Failure;
use crate::core::ids::{RecordId, RunId};
use crate::core::judged::Judged;
use crate::core::policy::own::OwnFile;
use crate::core::record::{DecisionEntry, Entry};
use crate::core::rules;
use crate::core::run::Run;
use crate::run::supposed;
use crate::store::runs::RunRow;
use crate::store::{Connection, StoreError, facts, records, runs};

/// Records read for one page.
const PAGE: u32 = 1024;
/// A page ends once what it holds is as much, in bytes.
const PAGE_BYTES: usize = 8 * 1024 * 1024;

/// Parameters of [`decided`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecidedParams {
    /// Only records after this number.
    #[serde(default)]
    pub after: u64,
    /// Only records since this instant, milliseconds since 1970.
    #[serde(default)]
    pub since_ms: Option<i64>,
    /// Only this run: its id, an ending of it, or its branch.
    #[serde(default)]
    pub run: Option<String>,
}

/// Some decisions, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecidedPage {
    /// Those that can be judged again.
    pub decisions: Vec<Decided>,
    /// Their runs.
    pub runs: BTreeMap<RunId, DecidedRun>,
    /// How many others there were, by why they cannot.
    pub left: Left,
    /// After which number to go on; none at the end.
    pub next: Option<u64>,
    /// The number of the newest record.
    pub newest: u64,
}

/// A run, and what its repository adds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecidedRun {
    /// The run.
    pub run: Run,
    /// Its repository's own policies.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub own: Vec<OwnFile>,
}

/// Decisions that cannot be judged again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// Nothing was kept of them: they are from before that was done, too long, or may have held a secret; or rules were
    /// not asked about them.
    pub not_kept: u64,
    /// It was erased, or their run is not known any more.
    pub erased: u64,
    /// It was changed.
    pub changed: u64,
}

/// A decision and what it was about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    /// Its record.
    pub record: RecordId,
    /// The record's number.
    pub seq: u64,
    /// When, milliseconds since 1970.
    pub at_ms: i64,
    /// In which run.
    pub run: RunId,
    /// What was in force in the end, people and budgets included.
    pub decision: Decision,
    /// What the rules said.
    pub said: Decision,
    /// Every reason.
    pub reasons: Vec<Reason>,
    /// What it was about.
    pub judged: Judged,
}

/// Some decisions, oldest first.
pub async fn decided(app: &App, params: DecidedParams) -> Result<DecidedPage, Failure> {
    let run = match &params.run {
        Some(name) => Some(supposed::find(&app.runs, name).await?.run.id),
        None => None,
    };
    Ok(app.store.read(move |connection| page(connection, &params, run)).await?)
}

fn page(
    connection: &Connection,
    params: &DecidedParams,
    run: Option<RunId>,
) -> Result<DecidedPage, StoreError> {
    let newest = records::head(connection)?.seq;
    let mut page = DecidedPage { newest, ..DecidedPage::default() };
    let first = params.since_ms.map_or(Ok(0), |since| records::last_before(connection, since, newest))?;
    let mut bytes = 0;
    let mut last = None;
    for stored in records::page(connection, params.after.max(first), PAGE)? {
        last = Some(stored.seq);
        if run.is_some_and(|run| stored.run != Some(run.to_string())) {
            continue;
        }
        let record = stored.record()?;
        let Entry::Decision(entry) = record.entry else { continue };
        let kept = facts::of(connection, record.seq)?;
        bytes += kept.as_ref().map_or(0, Vec::len) + stored.body.len();
        let id = entry.who.run;
        if !page.runs.contains_key(&id)
            && let Some(RunRow { run, own, .. }) = runs::by_id(connection, id)?
        {
            bytes += own.iter().map(|file| file.text.len()).sum::<usize>();
            page.runs.insert(id, DecidedRun { run, own });
        }
        let is_known = page.runs.contains_key(&id);
        if let Some((judged, said)) = judgeable(&entry, kept.filter(|_| is_known), &mut page.left) {
            page.decisions.push(Decided {
                record: record.id,
                seq: record.seq,
                at_ms: record.at_ms,
                run: id,
                decision: entry.decision,
                said,
                reasons: entry.reasons,
                judged,
            });
        }
        if bytes > PAGE_BYTES {
            break;
        }
    }
    page.next = last.filter(|last| *last < newest);
    Ok(page)
}

/// What is needed to judge it again; counts what cannot be.
fn judgeable(entry: &DecisionEntry, kept: Option<Vec<u8>>, left: &mut Left) -> Option<(Judged, Decision)> {
    let counted = match (&entry.facts, &kept) {
        (None, _) => Some(&mut left.not_kept),
        (Some(_), None) => Some(&mut left.erased),
        (Some(_), Some(_)) => None,
    };
    if let Some(count) = counted {
        *count += 1;
        return None;
    }
    let Ok(judged) = why::judged(entry, kept) else {
        left.changed += 1;
        return None;
    };
    let Some(said) = rules::said(&entry.reasons) else {
        left.not_kept += 1;
        return None;
    };
    Some((judged, said))
}
