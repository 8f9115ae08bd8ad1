//! Recorded decisions under other rules, and two sets of rules side by side; on this side of the socket, so that the
//! daemon goes on deciding what agents wait for.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::answers::decided::{Decided, DecidedPage, DecidedParams, DecidedRun, Left};
use super::answers::policies::{self, LabelView, PolicyView};
use super::answers::reasons::{self, ReasonView};
use super::client::Client;
use super::ops::PolicyDecided;
use crate::core::action::Action;
use crate::core::decision::{Decision, Evaluation, Reason};
use crate::core::error::{Code, Failure};
use crate::core::ids::{RecordId, RunId};
use crate::core::instant;
use crate::core::policy::Pack;
use crate::core::policy::own::Own;
use crate::core::principal::AgentRef;
use crate::core::rules::{Case, Rules};
use crate::core::run::Run;
use crate::core::sentence::{Told, sentence};
use crate::registry::{Registry, Snapshot};
use crate::sys::paths::Home;

/// Changed decisions that are told one by one at most, the newest.
const CHANGES_MAX: usize = 10_000;

/// Which rules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Which {
    /// A directory like that of the manifests; the manifests in force if absent.
    pub directory: Option<PathBuf>,
    /// A pack instead of the configured one.
    pub pack: Option<Pack>,
}

/// Rules that decisions are judged by.
pub struct Corpus(Snapshot);

impl Corpus {
    /// Reads them. A directory without agents is about those that are in force.
    ///
    /// # Errors
    /// Every problem of their files.
    pub fn read(home: &Home, which: &Which) -> Result<Self, Failure> {
        let directory = match &which.directory {
            Some(directory) => match directory.canonicalize() {
                Ok(found) if found.is_dir() => Some(found),
                _ => {
                    let message = format!("`{}` is not a directory", directory.display());
                    return Err(
                        Failure::new(Code::Usage, message).hint("agentsup policy replay --policies DIR")
                    );
                }
            },
            None => None,
        };
        let mut snapshot = Registry::read_other(home, directory.as_deref(), which.pack);
        if !snapshot.problems.is_empty() {
            let problems: Vec<String> = snapshot.problems.iter().map(ToString::to_string).collect();
            let hint =
                which.directory.as_deref().map_or("agentsup policy check", |_| "agentsup policy check DIR");
            return Err(Failure::new(Code::ConfigInvalid, problems.join("\n")).hint(hint));
        }
        if snapshot.agents.is_empty() {
            let own = Registry::read(home);
            (snapshot.agents, snapshot.budgets, snapshot.origins) = (own.agents, own.budgets, own.origins);
        }
        Ok(Self(snapshot))
    }
}

/// What other rules make of recorded decisions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replayed {
    /// How many decisions were judged again.
    pub judged: u64,
    /// How many of them the rules decide as they did.
    pub same: u64,
    /// How many of them they decide otherwise, by how: `allow → deny`.
    pub counts: BTreeMap<String, u64>,
    /// Those that could not be judged.
    pub left: Left,
    /// Agents whose manifest is another than it was then.
    pub other_manifests: BTreeSet<String>,
    /// What changes, oldest first; the newest ten thousand.
    pub changes: Vec<Change>,
}

/// A decision that would be another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Its record.
    pub record: RecordId,
    /// The record's number.
    pub seq: u64,
    /// When, milliseconds since 1970.
    pub at_ms: i64,
    /// Who acted.
    pub agent: AgentRef,
    /// In which run.
    pub run: RunId,
    /// As a sentence.
    pub sentence: String,
    /// The command line, if it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// What the rules said.
    pub from: Decision,
    /// What these say.
    pub to: Decision,
    /// Who said so then.
    pub was: Vec<String>,
    /// Who says so now, and where it is written.
    pub by: Vec<ReasonView>,
}

/// Judges the decisions again; `progress` hears of how many of how many records were read.
///
/// # Errors
/// Those of the daemon.
pub async fn replay(
    client: &Client,
    corpus: &Corpus,
    mut params: DecidedParams,
    mut progress: impl FnMut(u64, u64),
) -> Result<Replayed, Failure> {
    let mut replayed = Replayed::default();
    let first = params.after;
    loop {
        let page = client.call::<PolicyDecided>(params.clone()).await?;
        let (next, newest) = (page.next, page.newest);
        replayed.take(corpus, page);
        let Some(next) = next else { return Ok(replayed) };
        params.after = next;
        progress(next - first, newest.saturating_sub(first));
    }
}

impl Replayed {
    /// Whether every decision that could be judged is the same.
    pub fn is_same(&self) -> bool {
        self.counts.is_empty()
    }

    fn take(&mut self, corpus: &Corpus, page: DecidedPage) {
        self.left.not_kept += page.left.not_kept;
        self.left.erased += page.left.erased;
        self.left.changed += page.left.changed;
        let restored = |(id, DecidedRun { run, own }): (RunId, DecidedRun)| {
            let own = Own::restore(&own, &run.base);
            (id, (run, own))
        };
        let runs: BTreeMap<RunId, (Run, Own)> = page.runs.into_iter().map(restored).collect();
        for decided in page.decisions {
            let Some((run, own)) = runs.get(&decided.run) else { continue };
            self.judge(&corpus.0, run, own, decided);
        }
        let gone = self.changes.len().saturating_sub(CHANGES_MAX);
        self.changes.drain(..gone);
    }

    fn judge(&mut self, corpus: &Snapshot, run: &Run, own: &Own, decided: Decided) {
        self.judged += 1;
        let rules = corpus.rules().with(own);
        let name = run.agent.to_string();
        let Decided { judged, .. } = &decided;
        let evaluation = match corpus.agent(&name) {
            Some(agent) => {
                let digest = corpus.origins.get(&run.agent).map(|origin| &origin.digest);
                if judged.manifest.is_some() && judged.manifest.as_ref() != digest {
                    self.other_manifests.insert(name);
                }
                rules.judge(Case { agent, run, action: &judged.action, now: &judged.now })
            }
            None => {
                let text = format!("`{name}` is not registered");
                Evaluation::of(vec![Reason::new("registry", Decision::Deny, text)])
            }
        };
        if evaluation.decision == decided.said {
            self.same += 1;
            return;
        }
        let how = format!("{} → {}", decided.said.name(), evaluation.decision.name());
        *self.counts.entry(how).or_default() += 1;
        self.changes.push(change(rules, run, decided, &evaluation));
    }
}

fn change(rules: Rules<'_>, run: &Run, decided: Decided, evaluation: &Evaluation) -> Change {
    let decisive: Vec<Reason> = evaluation.decisive().cloned().collect();
    let (stages, others) = reasons::sorted(&decisive, rules, &BTreeMap::new());
    let was = decided.reasons.iter().filter(|reason| reason.decision == decided.said);
    let denied = (decided.decision == Decision::Deny).then_some(Decision::Deny);
    let at = instant::text(decided.at_ms);
    Change {
        record: decided.record,
        seq: decided.seq,
        at_ms: decided.at_ms,
        agent: run.agent.clone(),
        run: run.id,
        sentence: sentence(&Told {
            who: Some((&run.agent, &run.owner, run.environment)),
            action: decided.judged.action.kind(),
            target: &decided.judged.action.name(),
            on: &decided.judged.action.target(),
            decision: denied,
            reasons: &decided.reasons,
            tokens: None,
            cost: None,
            outcome: None,
            at: &at,
        }),
        command: match &decided.judged.action {
            Action::Tool(tool) => tool.facts.command.clone(),
            Action::Launch(_) | Action::Llm(_) | Action::Egress(_) => None,
        },
        from: decided.said,
        to: evaluation.decision,
        was: was.map(|reason| reason.source.clone()).collect(),
        by: stages.into_iter().flat_map(|stage| stage.reasons).chain(others).collect(),
    }
}

/// What tells two sets of rules apart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Differences {
    /// Policies that only the other has.
    pub added: Vec<PolicyView>,
    /// Policies that only those in force have.
    pub removed: Vec<PolicyView>,
    /// Policies that both have, and not the same.
    pub changed: Vec<Altered>,
    /// Rules about labels that only the other has.
    pub labels_added: Vec<LabelView>,
    /// Rules about labels that only those in force have.
    pub labels_removed: Vec<LabelView>,
    /// Agents whose manifests are not the same, by how: `added`, `removed`, `changed`.
    pub agents: BTreeMap<String, String>,
}

/// A policy that is not the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Altered {
    /// As it is in force.
    pub from: PolicyView,
    /// As it is in the other.
    pub to: PolicyView,
    /// What is different: `layer`, `condition`, `decision`, `stage`, `reason`, `agents`.
    pub what: Vec<String>,
}

/// Compares two sets of rules.
pub fn differences(from: &Corpus, to: &Corpus) -> Differences {
    let all = |corpus: &Corpus| policies::views(&corpus.0.policies);
    let (from_policies, to_policies) = (all(from), all(to));
    let mut found = Differences::default();
    let mut left: Vec<(PolicyView, [u8; 32])> = Vec::new();
    for (is, digest) in to_policies {
        match from_policies.iter().find(|(was, _)| was.source == is.source) {
            Some((was, before)) => found.changed.extend(altered(was, *before, &is, digest)),
            None => left.push((is, digest)),
        }
    }
    let known = |source: &str| policies_has(to, source);
    let mut gone: Vec<&(PolicyView, [u8; 32])> =
        from_policies.iter().filter(|(was, _)| !known(&was.source)).collect();
    for (is, digest) in left {
        // What has the same name in another layer has moved.
        let moved = gone.iter().position(|(was, _)| id(was) == id(&is));
        match moved.map(|index| gone.remove(index)) {
            Some((was, before)) => found.changed.extend(altered(was, *before, &is, digest)),
            None => found.added.push(is),
        }
    }
    found.removed = gone.into_iter().map(|(was, _)| was.clone()).collect();
    let (were, are) = (policies::label_views(&from.0.policies), policies::label_views(&to.0.policies));
    found.labels_added = beyond(&are, &were);
    found.labels_removed = beyond(&were, &are);
    found.agents = agents(&from.0, &to.0);
    found
}

impl Differences {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The rules that others do not have, wherever they are written.
fn beyond(rules: &[LabelView], others: &[LabelView]) -> Vec<LabelView> {
    let unplaced = |rule: &LabelView| LabelView { at: String::new(), ..rule.clone() };
    let others: Vec<LabelView> = others.iter().map(unplaced).collect();
    rules.iter().filter(|rule| !others.contains(&unplaced(rule))).cloned().collect()
}

fn policies_has(corpus: &Corpus, source: &str) -> bool {
    corpus.0.policies.origin(source).is_some()
}

fn id(policy: &PolicyView) -> &str {
    policy.source.split_once('/').map_or("", |(_, id)| id)
}

fn altered(from: &PolicyView, before: [u8; 32], to: &PolicyView, after: [u8; 32]) -> Option<Altered> {
    let differs = [
        ("layer", from.source != to.source),
        ("condition", before != after),
        ("decision", from.decision != to.decision),
        ("stage", from.stage != to.stage),
        ("reason", from.text != to.text),
        ("agents", from.team != to.team),
    ];
    let what: Vec<String> =
        differs.into_iter().filter(|(_, differs)| *differs).map(|(what, _)| what.to_owned()).collect();
    (!what.is_empty()).then(|| Altered { from: from.clone(), to: to.clone(), what })
}

fn agents(from: &Snapshot, to: &Snapshot) -> BTreeMap<String, String> {
    let digest = |of: &Snapshot, agent: &AgentRef| of.origins.get(agent).map(|origin| origin.digest.clone());
    let names: BTreeSet<&AgentRef> = from.origins.keys().chain(to.origins.keys()).collect();
    let how = |agent: &AgentRef| match (digest(from, agent), digest(to, agent)) {
        (None, _) => Some("added"),
        (_, None) => Some("removed"),
        (Some(before), Some(after)) => (before != after).then_some("changed"),
    };
    names.into_iter().filter_map(|agent| Some((agent.to_string(), how(agent)?.to_owned()))).collect()
}
