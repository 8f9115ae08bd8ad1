//! Asking the ACS manifest, where one is in force: actions made into snapshots, its word added to the reasons.
//!
//! Its word is one more reason, so that it can only tighten; what it cannot be asked about properly is denied by it. What
//! is left out of a list is not its business, because arguments are not known there.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::ask::Show;
use super::{Gate, LiveRun, deny};
use crate::core::action::{Action, Facts, PathFact, ToolAction, ToolSource};
use crate::core::decision::Evaluation;
use crate::core::instant;
use crate::core::label::{Label, Labels};
use crate::core::manifest::ToolScope;
use crate::core::policy::Circumstances;
use crate::core::record::EventEntry;
use crate::registry::{Acs, Opinion, Point, Snapshot};
use crate::sys::aside;

/// Gives the arguments of a call as they are sent, or why it cannot; asked for only where somebody wants them.
pub type Arguments = Arc<dyn Fn() -> Result<Value, String> + Send + Sync>;

/// What a flow can tell about an action beside it.
#[derive(Clone, Default)]
pub struct Told {
    /// What it would do, for a person.
    pub show: Option<Show>,
    /// Its arguments.
    pub arguments: Option<Arguments>,
    /// What was in force when its data were looked through, if they were.
    pub looked: Option<Arc<Snapshot>>,
}

/// A decision so far, and what it was taken on.
pub(super) struct Considered {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) now: Circumstances,
    pub(super) evaluation: Evaluation,
}

/// So often the manifest is asked where something changes while it is.
const TRIES: usize = 3;

impl Gate {
    /// As `evaluate`, with the word of the ACS manifest. Its policies may take their time: everything else is looked at
    /// once they have spoken, so that nothing is decided on what was the case before.
    pub(super) async fn consider(&self, live: &LiveRun, action: &Action, told: &Told) -> Considered {
        let mut asked = 0;
        loop {
            let (snapshot, now) = (self.inner.registry.current(), self.circumstances(live));
            let opinion = tokio::select! {
                opinion = self.opinion(&snapshot, live, action, &now, told) => opinion,
                // What is said about a run that is over is no question any more.
                () = live.cancelled() => None,
            };
            asked += 1;
            let current = self.inner.registry.current();
            let is_of_now = match (&snapshot.acs, &current.acs) {
                (None, None) => true,
                (one, other) => {
                    Acs::is_same(one.as_ref(), other.as_ref())
                        && now.session == self.circumstances(live).session
                }
            };
            if is_of_now || live.state().is_final() {
                return self.considered(current, live, action, told, opinion);
            }
            if asked >= TRIES {
                let text =
                    "the ACS manifest, or what the run has seen, kept changing while it was asked; try again";
                let opinion = Opinion { reason: deny("acs", text.to_owned()), brings: Labels::NONE };
                return self.considered(current, live, action, told, Some(opinion));
            }
        }
    }

    /// Everything that is said about an action, in one go.
    fn considered(
        &self,
        snapshot: Arc<Snapshot>,
        live: &LiveRun,
        action: &Action,
        told: &Told,
        opinion: Option<Opinion>,
    ) -> Considered {
        let now = self.circumstances(live);
        let mut evaluation = self.evaluate(&snapshot, live, action, &now);
        let data = &snapshot.config.data;
        let is_outdated = told.looked.as_ref().is_some_and(|looked| looked.config.data != *data);
        if is_outdated || opinion.is_some() {
            let mut reasons = evaluation.reasons;
            reasons.extend(is_outdated.then(|| {
                let text = "the rules about data changed while it was decided; the next one is held against the new ones";
                deny("data", text.to_owned())
            }));
            let (reason, brings) = opinion.map(|Opinion { reason, brings }| (reason, brings)).unzip();
            reasons.extend(reason);
            evaluation = Evaluation { brings: brings.unwrap_or_default(), ..Evaluation::of(reasons) };
        }
        Considered { snapshot, now, evaluation }
    }

    /// What the manifest says, where there is one and it has a point for such actions.
    async fn opinion(
        &self,
        snapshot: &Snapshot,
        live: &LiveRun,
        action: &Action,
        now: &Circumstances,
        told: &Told,
    ) -> Option<Opinion> {
        let (acs, point) = (snapshot.acs.clone()?, point(action)?);
        let envelope = self.envelope(live, point);
        let capable = snapshot.agent(&live.run.agent.to_string()).map(|agent| agent.tools.clone());
        let judge = {
            let (acs, action, now, told) = (acs.clone(), action.clone(), now.clone(), told.clone());
            move || match members(&action, &now, &told, capable) {
                Ok(members) => acs.judge(point, whole(envelope, members)),
                Err(error) => acs.refuse(point, &format!("its arguments cannot be told: {error}")),
            }
        };
        Some(aside::busy(judge).await.unwrap_or_else(|error| acs.refuse(point, &error.to_string())))
    }

    /// Lets the manifest see the end of a run, in its own time: nobody who ends a run waits for it. It can change nothing
    /// any more, so what it has against it is only recorded.
    pub(super) fn observe_end(&self, live: &LiveRun) {
        let snapshot = self.inner.registry.current();
        let Some(acs) = snapshot.acs.clone().filter(|acs| acs.declares(Point::Shutdown)) else { return };
        let seconds = (self.now_ms() - live.run.started_at_ms).max(0) / 1000;
        let members = json!({ "summary": { "duration_seconds": seconds } });
        let (run, snapshot) = (live.run.clone(), whole(self.envelope(live, Point::Shutdown), members));
        let gate = self.clone();
        tokio::spawn(async move {
            let judged = aside::busy(move || acs.judge(Point::Shutdown, snapshot)).await;
            let reason = match judged {
                Ok(opinion) => opinion.reason,
                Err(error) => return tracing::error!(%error, "the ACS manifest did not see a run's end"),
            };
            if reason.text.is_empty() {
                return;
            }
            let text = format!("ended, and {} said: {}", reason.source, reason.text);
            if let Err(error) = gate.note(EventEntry::of_run(&run, "acs-observed", text)).await {
                tracing::error!(%error, "what the ACS manifest said about a run's end could not be recorded");
            }
        });
    }

    fn envelope(&self, live: &LiveRun, point: Point) -> Value {
        let (run, now_ms) = (&live.run, self.now_ms());
        json!({
            "agent": { "id": run.agent.to_string(), "name": run.agent.name(), "owner": run.owner.reference() },
            "tenant": { "id": run.agent.namespace(), "name": run.agent.namespace() },
            "session": { "id": run.id.to_string(), "started_at": instant::iso(run.started_at_ms) },
            "intervention_point": point.name(),
            "timestamp": instant::iso(now_ms),
            "environment": run.environment.name(),
            "budgets": {
                "elapsed_seconds": (now_ms - run.started_at_ms).max(0) / 1000,
                "left_percent": live.budget_left_percent(),
            },
        })
    }
}

/// Where the manifest is asked about an action. It has no point for connections; what the policies say about them stands.
fn point(action: &Action) -> Option<Point> {
    match action {
        Action::Launch(_) => Some(Point::Startup),
        Action::Llm(_) => Some(Point::ModelCall),
        Action::Tool(_) => Some(Point::ToolCall),
        Action::Egress(_) => None,
    }
}

fn whole(envelope: Value, members: Value) -> Value {
    let mut snapshot = Map::from_iter([("envelope".to_owned(), envelope)]);
    if let Value::Object(members) = members {
        snapshot.extend(members);
    }
    Value::Object(snapshot)
}

/// What a snapshot has beside its envelope.
fn members(
    action: &Action,
    now: &Circumstances,
    told: &Told,
    capable: Option<ToolScope>,
) -> Result<Value, String> {
    match action {
        Action::Launch(launch) => {
            let tools = capable.unwrap_or_default();
            let init = json!({
                "capabilities": tools.builtin.iter().map(|class| class.name()).collect::<Vec<_>>(),
                "tools_registered": tools.mcp,
                "model": {},
                "adapter": launch.adapter,
                "repository": launch.repository.to_string_lossy(),
                "remote": launch.remote,
                "billing": launch.billing.name(),
            });
            Ok(json!({ "agent_init": init }))
        }
        Action::Llm(llm) => {
            let most = llm.bound.map(|bound| bound.output_tokens);
            let model =
                json!({ "name": llm.model, "vendor": llm.provider, "params": { "max_tokens": most } });
            Ok(json!({ "model": model }))
        }
        Action::Tool(tool) => tool_members(action, tool, now, told),
        Action::Egress(_) => Err("there is no point for connections".to_owned()),
    }
}

fn tool_members(
    action: &Action,
    tool: &ToolAction,
    now: &Circumstances,
    told: &Told,
) -> Result<Value, String> {
    let arguments = told.arguments.as_ref().ok_or("nobody tells them")?()?;
    let class = match &tool.source {
        ToolSource::Builtin(class) => class.name(),
        ToolSource::Mcp(_) => "mcp",
        ToolSource::Foreign => "foreign",
    };
    Ok(json!({
        "tool_call": { "name": action.name(), "args": arguments, "id": tool.call_id },
        "facts": facts(class, &tool.facts),
        "ifc": seen(&now.session),
    }))
}

/// What the run has seen. Where nothing is sensitive, the specification wants that said; where it comes from is not one
/// of its levels.
fn seen(session: &BTreeSet<String>) -> Value {
    let untrusted = Label::Untrusted.name();
    let mut levels: Vec<&str> =
        session.iter().map(String::as_str).filter(|name| *name != untrusted).collect();
    if levels.is_empty() {
        levels.push("public");
    }
    json!({ "source_labels": levels, "untrusted": session.contains(untrusted) })
}

/// What we made of the arguments: paths followed, hosts in lower case, a command line taken apart.
fn facts(class: &str, facts: &Facts) -> Value {
    let path = |fact: &PathFact| json!({ "path": fact.path.to_string_lossy(), "place": fact.place });
    let of_parts = facts.parts.iter().flat_map(|part| &part.paths);
    let programs: BTreeSet<&str> =
        facts.parts.iter().filter_map(|part| part.call.program.as_deref()).collect();
    json!({
        "class": class,
        "paths": facts.paths.iter().chain(of_parts).map(path).collect::<Vec<_>>(),
        "hosts": facts.hosts,
        "command": facts.command,
        "programs": programs,
        "opaque": facts.parts.iter().any(|part| part.call.opaque),
    })
}
