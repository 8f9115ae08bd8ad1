//! Why something was decided as it was, and what would have helped.

use serde::{Deserialize, Serialize};

use super::reasons::{self, AllLooked, ReasonView, StageView, WayView};
use crate::api::App;
use crate::core::decision::{Decision, Reason};
use crate::core::error::{Code, Failure};
use crate::core::ids::{RecordId, RunId};
use crate::core::judged::{self, Judged};
use crate::core::policy::own::Own;
use crate::core::principal::AgentRef;
use crate::core::record::{DecisionEntry, Entry, Record};
use crate::core::rules::{Case, Rules};
use crate::core::whatif;
use crate::registry::Snapshot;
use crate::run::supposed;
use crate::run::view::{self, RunParams};
use crate::store::runs::RunRow;
use crate::store::{Connection, StoreError, facts, records, runs};

/// Parameters of [`why`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhyParams {
    /// The record's id or an ending of it; without it the newest refusal.
    #[serde(default)]
    pub record: Option<String>,
    /// The newest refusal of this run: its id, an ending of it, or its branch.
    #[serde(default)]
    pub run: Option<String>,
}

/// Why something was decided as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhyView {
    /// The decision's record.
    pub record: RecordId,
    /// Its number.
    pub seq: u64,
    /// In which run.
    pub run: RunId,
    /// When, milliseconds since 1970.
    pub at_ms: i64,
    /// Which agent.
    pub agent: AgentRef,
    /// `launch`, `llm`, `tool` or `egress`.
    pub action: String,
    /// The adapter, model, tool or host.
    pub target: String,
    /// What it would act upon; may be empty.
    pub on: String,
    /// The command line, if it was one and is kept still.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// The decision in force.
    pub decision: Decision,
    /// What each stage said, in order; without an objection it allows.
    pub stages: Vec<StageView>,
    /// What was said outside of the stages: state, budget, approvals.
    pub others: Vec<ReasonView>,
    /// Single changes under which the rules in force would decide better; each was tried.
    #[serde(default)]
    pub ways: Vec<WayView>,
    /// What else stood in the way, with what lifts it.
    pub helps: Vec<String>,
    /// What the rules in force would say of it, where that is not what was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub today: Option<Decision>,
    /// Why ways could not be tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub untried: Option<String>,
}

/// An ending of an id shorter than this would soon mean more than one.
const PART_MIN: usize = 4;

/// Why something was decided as it was.
pub async fn why(app: &App, params: WhyParams) -> Result<WhyView, Failure> {
    let record = find(app, params).await?;
    let Entry::Decision(entry) = &record.entry else {
        return Err(Failure::new(Code::Usage, format!("`{}` is no decision", record.id))
            .hint("agentsup audit list --json | jq 'select(.decision) | .id'"));
    };
    let snapshot = app.registry.current();
    let (seq, run) = (record.seq, entry.who.run);
    let read = move |connection: &Connection| -> Result<_, StoreError> {
        Ok((facts::of(connection, seq)?, runs::by_id(connection, run)?))
    };
    let (kept, row) = app.store.read(read).await?;
    let own = row.as_ref().map_or(Own::None, supposed::own);
    let again = {
        let (snapshot, own, entry) = (snapshot.clone(), own.clone(), entry.clone());
        // Some hundred questions to the policies.
        tokio::task::spawn_blocking(move || {
            judge_again(snapshot.rules().with(&own), &snapshot, &entry, kept, row)
        })
    };
    let again = again.await.map_err(|error| Failure::internal(&error))?;
    let (again, untried) = match again {
        Ok(again) => (again, None),
        Err(text) => (Again::default(), Some(text)),
    };
    let rules = snapshot.rules().with(&own);
    let (stages, others) = reasons::sorted(&entry.reasons, rules, &again.looked);
    let was_tried = untried.is_none();
    Ok(WhyView {
        record: record.id,
        seq,
        run,
        at_ms: record.at_ms,
        agent: entry.who.agent.clone(),
        action: entry.action.clone(),
        target: entry.target.clone(),
        on: entry.on.clone(),
        command: again.command,
        decision: entry.decision,
        stages,
        others,
        helps: helps(entry, rules, was_tried && !again.ways.is_empty()),
        ways: again.ways,
        today: again.today,
        untried: untried.filter(|_| entry.decision != Decision::Allow),
    })
}

/// What came of asking the rules once more.
#[derive(Default)]
struct Again {
    looked: AllLooked,
    ways: Vec<WayView>,
    today: Option<Decision>,
    command: Option<String>,
}

fn judge_again(
    rules: Rules<'_>,
    snapshot: &Snapshot,
    entry: &DecisionEntry,
    kept: Option<Vec<u8>>,
    row: Option<RunRow>,
) -> Result<Again, String> {
    let judged = judged(entry, kept)?;
    let run = row.ok_or("its run is not known any more")?.run;
    let agent = snapshot.agent(&entry.who.agent.to_string());
    let agent = agent.ok_or_else(|| format!("{} is not registered any more", entry.who.agent))?;
    let case = Case { agent, run: &run, action: &judged.action, now: &judged.now };
    let now = rules.judge(case).decision;
    let said = crate::core::rules::said(&entry.reasons);
    Ok(Again {
        looked: rules.looked(case),
        ways: whatif::ways(rules, case).into_iter().map(WayView::from).collect(),
        today: said.filter(|said| *said != now).map(|_| now),
        command: match judged.action {
            crate::core::action::Action::Tool(tool) => tool.facts.command,
            _ => None,
        },
    })
}

/// What a decision was about, or why that is not known.
pub(super) fn judged(entry: &DecisionEntry, kept: Option<Vec<u8>>) -> Result<Judged, String> {
    match (&entry.facts, kept) {
        (None, _) => {
            Err("what it was about was not kept: it may have held a secret or been too long".to_owned())
        }
        (Some(_), None) => Err("what it was about was erased".to_owned()),
        (Some(named), Some(kept)) if *named != judged::digest(&kept) => {
            Err("what is kept beside it was changed: agentsup audit verify".to_owned())
        }
        (Some(_), Some(kept)) => Judged::read(&kept),
    }
}

async fn find(app: &App, params: WhyParams) -> Result<Record, Failure> {
    let Some(text) = params.record else {
        let run = match params.run {
            Some(run) => Some(view::show(&app.runs, RunParams { run }).await?.id),
            None => None,
        };
        let found = app.store.read(move |connection| records::last_denial(connection, run)).await?;
        return found.ok_or_else(|| Failure::new(Code::NotFound, "nothing was refused".to_owned()));
    };
    let part = text.to_ascii_lowercase();
    if part.len() < PART_MIN {
        return Err(Failure::new(Code::Usage, format!("`{text}` is too short for a part of an id")));
    }
    let mut found = app.store.read(move |connection| records::named(connection, &part)).await?;
    match (found.pop(), found.pop()) {
        (Some(record), None) => Ok(record),
        (None, _) => {
            Err(Failure::new(Code::NotFound, format!("no record `{text}`")).hint("agentsup audit list"))
        }
        (Some(_), Some(_)) => Err(Failure::new(Code::Usage, format!("`{text}` means more than one record"))),
    }
}

/// One way out for each reason that stood in the way; for what rules said, only where no other is known.
fn helps(entry: &DecisionEntry, rules: Rules<'_>, has_ways: bool) -> Vec<String> {
    let in_the_way = entry.reasons.iter().filter(|reason| reason.decision != Decision::Allow);
    let is_open =
        |reason: &&Reason| !has_ways || crate::core::rules::said(std::slice::from_ref(*reason)).is_none();
    let mut helps: Vec<String> =
        in_the_way.filter(is_open).filter_map(|reason| help(reason, entry, rules)).collect();
    helps.dedup();
    helps
}

fn help(reason: &Reason, entry: &DecisionEntry, rules: Rules<'_>) -> Option<String> {
    let source = reason.source.as_str();
    match source {
        "scope" => Some(format!("the manifest of `{}` having it in its scope", entry.who.agent)),
        "registry" => Some(format!("`{}` being registered, and its time not over", entry.who.agent)),
        "state" => Some(format!("the run going on: agentsup resume {}", entry.who.run.short())),
        "budget" => {
            let budget = entry.budget.as_deref().map(|name| format!(": agentsup budget show {name}"));
            Some(format!("room in its budgets{}", budget.unwrap_or_default()))
        }
        "approval" => Some("a person's answer in time: agentsup approvals".to_owned()),
        "default" => Some("a policy that permits it".to_owned()),
        _ if source.starts_with("acs/") => {
            Some("another word of the ACS manifest (`[acs] manifest` in config.toml)".to_owned())
        }
        _ if source.starts_with("approval/") => Some("another answer".to_owned()),
        _ => {
            let origin = rules.origin(source)?;
            let (file, line) = (origin.file.display(), origin.line);
            Some(match reason.decision {
                Decision::Ask => format!("a person's yes, as `{source}` ({file}:{line}) wants it"),
                _ => format!("`{source}` ({file}:{line}) not applying to it"),
            })
        }
    }
}
