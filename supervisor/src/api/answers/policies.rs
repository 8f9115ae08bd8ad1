//! Policies in force, and why something was decided as it was.

use serde::{Deserialize, Serialize};

use crate::api::App;
use crate::core::decision::{Decision, Stage};
use crate::core::error::{Code, Failure};
use crate::core::ids::RunId;
use crate::core::policy::labels::DescribedRule;
use crate::core::policy::own::Own;
use crate::core::policy::{Described, PolicySet};
use crate::run::view::{self, RunParams};
use crate::store::runs;

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
    let sets = [Some(&snapshot.policies), own.set()].into_iter().flatten();
    Ok(sets.flat_map(views).map(|(view, _)| view).collect())
}

/// All policies of a set, each with the digest of what it looks at and how.
pub(in crate::api) fn views(policies: &PolicySet) -> Vec<(PolicyView, [u8; 32])> {
    let view = |policy: Described<'_>| {
        let view = PolicyView {
            source: policy.source.to_owned(),
            layer: policy.layer.name().to_owned(),
            stage: policy.stage,
            decision: policy.decision,
            text: policy.text.to_owned(),
            file: policy.origin.file.display().to_string(),
            line: policy.origin.line,
            team: policy.team.map(str::to_owned),
        };
        (view, *policy.digest)
    };
    policies.policies().into_iter().map(view).collect()
}

/// The rules by which things have labels.
pub async fn labels(app: &App) -> Result<Vec<LabelView>, Failure> {
    Ok(label_views(&app.registry.current().policies))
}

/// All rules of a set by which things have labels.
pub(in crate::api) fn label_views(policies: &PolicySet) -> Vec<LabelView> {
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
    policies.labels().map(|labels| labels.rules().map(view).collect()).unwrap_or_default()
}

/// The policies that a run has of its repository.
async fn own(app: &App, run: RunId) -> Result<Own, Failure> {
    let row = app.store.read(move |connection| runs::by_id(connection, run)).await?;
    Ok(row.map_or(Own::None, |row| Own::restore(&row.own, &row.run.base)))
}
