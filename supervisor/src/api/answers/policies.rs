//! Policies in force, and why something was decided as it was.

use serde::{Deserialize, Serialize};

use crate::api::App;
use crate::core::decision::{Decision, Reason, Stage};
use crate::core::error::{Code, Failure};
use crate::core::ids::{RecordId, RunId};
use crate::core::policy::labels::DescribedRule;
use crate::core::policy::own::Own;
use crate::core::policy::{Described, Origin, PolicySet};
use crate::core::principal::AgentRef;
use crate::core::record::{DecisionEntry, Entry, Record};
use crate::run::view::{self, RunParams};
use crate::store::{records, runs};

/// A policy in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyView {
    /// `<layer>/<id>`, as reasons name it.
    pub source: String,
    /// Who wrote it: default (the pack), org, team, user, or repository.
    #[serde(default)]
    pub layer: String,
    /// The stage it belongs to.
    pub stage: Stage,
    /// What it says where it applies.
    pub decision: Decision,
    /// Why, in its author's words; may be empty.
    pub text: String,
    /// Where it is written: the file, and its first line.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// Whose agents it is about; none for everybody's.
    #[serde(default)]
    pub team: Option<String>,
}

/// Parameters of [`list`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListParams {
    /// A run, whose repository's own policies are wanted too: its id, an ending of it, or its branch.
    #[serde(default)]
    pub run: Option<String>,
}

/// A rule by which something has labels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelView {
    /// What it is about: path, repository, host, model, tool, agent, or a residency.
    pub about: String,
    /// What has the words.
    pub pattern: String,
    /// The labels, classes, roles or places.
    pub words: Vec<String>,
    /// Who gives it.
    pub layer: String,
    /// Whose agents it is about; none for everybody's.
    #[serde(default)]
    pub team: Option<String>,
    /// `FILE:LINE`.
    pub at: String,
}

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
    /// The decision in force.
    pub decision: Decision,
    /// What each stage said, in order; without an objection it allows.
    pub stages: Vec<StageView>,
    /// What was said outside of the stages: state, budget, approvals.
    pub others: Vec<ReasonView>,
    /// What would have made it allowed, as far as that is known.
    pub helps: Vec<String>,
}

/// What a stage said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageView {
    /// The stage.
    pub stage: Stage,
    /// The strictest of its reasons.
    pub decision: Decision,
    /// Its reasons.
    pub reasons: Vec<ReasonView>,
}

/// One reason, and where it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReasonView {
    /// Who says so.
    pub source: String,
    /// What it says.
    pub decision: Decision,
    /// Why; may be empty.
    pub text: String,
    /// `FILE:LINE` of the policy, if it is in force still.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
}

/// An ending of an id shorter than this would soon mean more than one.
const SUFFIX_MIN: usize = 4;

/// The policies in force.
pub async fn list(app: &App, params: ListParams) -> Result<Vec<PolicyView>, Failure> {
    let own = match params.run {
        Some(run) => own(app, view::show(&app.runs, RunParams { run }).await?.id).await?,
        None => Own::None,
    };
    if let Own::Broken(why) = &own {
        return Err(Failure::new(Code::ConfigInvalid, format!("the run's own policies: {why}")));
    }
    let snapshot = app.registry.current();
    let view = |policy: Described<'_>| PolicyView {
        source: policy.source.to_owned(),
        layer: policy.layer.name().to_owned(),
        stage: policy.stage,
        decision: policy.decision,
        text: policy.text.to_owned(),
        file: policy.origin.file.display().to_string(),
        line: policy.origin.line,
        team: policy.team.map(str::to_owned),
    };
    let own = own.set().map(PolicySet::policies).unwrap_or_default();
    Ok(snapshot.policies.policies().into_iter().chain(own).map(view).collect())
}

/// The rules by which things have labels.
pub async fn labels(app: &App) -> Result<Vec<LabelView>, Failure> {
    let snapshot = app.registry.current();
    let view = |rule: DescribedRule<'_>| LabelView {
        about: rule.subject.name().to_owned(),
        pattern: rule.pattern.to_owned(),
        words: rule.words.to_vec(),
        layer: rule.layer.name().to_owned(),
        team: rule.team.map(str::to_owned),
        at: rule
            .origin
            .map(|origin| format!("{}:{}", origin.file.display(), origin.line))
            .unwrap_or_default(),
    };
    Ok(snapshot.policies.labels().map(|labels| labels.rules().map(view).collect()).unwrap_or_default())
}

/// The policies that a run has of its repository.
async fn own(app: &App, run: RunId) -> Result<Own, Failure> {
    let row = app.store.read(move |connection| runs::by_id(connection, run)).await?;
    Ok(row.map_or(Own::None, |row| Own::restore(&row.own, &row.run.base)))
}

/// Everything that a reason can come from.
struct Written<'p> {
    policies: &'p PolicySet,
    own: &'p Own,
}

impl Written<'_> {
    fn origin(&self, source: &str) -> Option<&Origin> {
        self.policies.origin(source).or_else(|| self.own.set()?.origin(source))
    }
}

/// Why something was decided as it was.
pub async fn why(app: &App, params: WhyParams) -> Result<WhyView, Failure> {
    let record = find(app, params).await?;
    let Entry::Decision(entry) = &record.entry else {
        return Err(Failure::new(Code::Usage, format!("`{}` is no decision", record.id))
            .hint("agentsup audit list --json | jq 'select(.decision) | .id'"));
    };
    let snapshot = app.registry.current();
    let own = own(app, entry.who.run).await?;
    let written = Written { policies: &snapshot.policies, own: &own };
    let view = |reason: &Reason| seen(reason, &written);
    let stages = Stage::ALL.into_iter().map(|stage| {
        let reasons: Vec<ReasonView> =
            entry.reasons.iter().filter(|reason| reason.stage == Some(stage)).map(view).collect();
        let decision = reasons.iter().map(|reason| reason.decision).max().unwrap_or(Decision::Allow);
        StageView { stage, decision, reasons }
    });
    Ok(WhyView {
        record: record.id,
        seq: record.seq,
        run: entry.who.run,
        at_ms: record.at_ms,
        agent: entry.who.agent.clone(),
        action: entry.action.clone(),
        target: entry.target.clone(),
        on: entry.on.clone(),
        decision: entry.decision,
        stages: stages.collect(),
        others: entry.reasons.iter().filter(|reason| reason.stage.is_none()).map(view).collect(),
        helps: helps(entry, &written),
    })
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
    let ending = text.to_ascii_lowercase();
    if ending.len() < SUFFIX_MIN {
        return Err(Failure::new(Code::Usage, format!("`{text}` is too short for an ending of an id")));
    }
    let mut found = app.store.read(move |connection| records::ending_in(connection, &ending)).await?;
    match (found.pop(), found.pop()) {
        (Some(record), None) => Ok(record),
        (None, _) => {
            Err(Failure::new(Code::NotFound, format!("no record `{text}`")).hint("agentsup audit list"))
        }
        (Some(_), Some(_)) => Err(Failure::new(Code::Usage, format!("`{text}` means more than one record"))),
    }
}

fn seen(reason: &Reason, policies: &Written<'_>) -> ReasonView {
    let at =
        policies.origin(&reason.source).map(|origin| format!("{}:{}", origin.file.display(), origin.line));
    ReasonView { source: reason.source.clone(), decision: reason.decision, text: reason.text.clone(), at }
}

/// One way out for each reason that stood in the way.
fn helps(entry: &DecisionEntry, policies: &Written<'_>) -> Vec<String> {
    let in_the_way = entry.reasons.iter().filter(|reason| reason.decision != Decision::Allow);
    let mut helps: Vec<String> = in_the_way.filter_map(|reason| help(reason, entry, policies)).collect();
    helps.dedup();
    helps
}

fn help(reason: &Reason, entry: &DecisionEntry, policies: &Written<'_>) -> Option<String> {
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
        _ if source.starts_with("approval/") => Some("another answer".to_owned()),
        _ => {
            let origin = policies.origin(source)?;
            let (file, line) = (origin.file.display(), origin.line);
            Some(match reason.decision {
                Decision::Ask => format!("a person's yes, as `{source}` ({file}:{line}) wants it"),
                _ => format!("`{source}` ({file}:{line}) not applying to it"),
            })
        }
    }
}
