//! Asking the ACS manifest, where one is in force: actions made into snapshots, its word added to the reasons.
//!
//! Its word is one more reason, so that it can only tighten; what it cannot be asked about properly is denied by it. What
//! is left out of a list is not its business, because arguments are not known there.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::ask::Show;
use super::{Gate, LiveRun};
use crate::core::action::{Action, Facts, PathFact, ToolAction, ToolSource};
use crate::core::decision::Evaluation;
use crate::core::instant;
use crate::core::label::Label;
use crate::core::policy::Circumstances;
use crate::core::record::EventEntry;
use crate::registry::{Opinion, Point, Snapshot};

/// Gives the arguments of a call as they are sent, or why it cannot; asked for only where somebody wants them.
pub type Arguments = Arc<dyn Fn() -> Result<Value, String> + Send + Sync>;

/// What a flow can tell about an action beside it.
#[derive(Clone, Default)]
pub struct Told {
    /// What it would do, for a person.
    pub show: Option<Show>,
    /// Its arguments.
    pub arguments: Option<Arguments>,
}

impl Gate {
    /// As `evaluate`, with the word of the ACS manifest.
    pub(super) fn consider(
        &self,
        snapshot: &Snapshot,
        live: &LiveRun,
        action: &Action,
        now: &Circumstances,
        told: &Told,
    ) -> Evaluation {
        let evaluation = self.evaluate(snapshot, live, action, now);
        let Some(acs) = &snapshot.acs else { return evaluation };
        let (point, members) = match action {
            Action::Launch(launch) => {
                let agent = snapshot.agent(&live.run.agent.to_string());
                let builtin = agent.into_iter().flat_map(|agent| agent.tools.builtin.iter());
                let init = json!({
                    "capabilities": builtin.map(|class| class.name()).collect::<Vec<_>>(),
                    "tools_registered": agent.map(|agent| agent.tools.mcp.clone()).unwrap_or_default(),
                    "model": {},
                    "adapter": launch.adapter,
                    "repository": launch.repository.to_string_lossy(),
                    "remote": launch.remote,
                    "billing": launch.billing.name(),
                });
                (Point::Startup, Ok(json!({ "agent_init": init })))
            }
            Action::Llm(llm) => {
                let most = llm.bound.map(|bound| bound.output_tokens);
                let model =
                    json!({ "name": llm.model, "vendor": llm.provider, "params": { "max_tokens": most } });
                (Point::ModelCall, Ok(json!({ "model": model })))
            }
            Action::Tool(tool) => (Point::ToolCall, tool_members(action, tool, now, told)),
            // It has no point for connections; what the policies say about them stands.
            Action::Egress(_) => return evaluation,
        };
        let Opinion { reason, brings } = match members {
            Ok(members) => acs.judge(point, self.acs_snapshot(live, point, members)),
            Err(error) => acs.refuse(point, &format!("its arguments cannot be told: {error}")),
        };
        let mut reasons = evaluation.reasons;
        reasons.push(reason);
        Evaluation { brings, ..Evaluation::of(reasons) }
    }

    /// Lets the manifest see the end of a run. It can change nothing any more, so what it has against it is only recorded.
    pub(super) async fn observe_end(&self, live: &LiveRun) {
        let snapshot = self.inner.registry.current();
        let Some(acs) = snapshot.acs.as_ref().filter(|acs| acs.declares(Point::Shutdown)) else { return };
        let seconds = (self.now_ms() - live.run.started_at_ms).max(0) / 1000;
        let members = json!({ "summary": { "duration_seconds": seconds } });
        let reason = acs.judge(Point::Shutdown, self.acs_snapshot(live, Point::Shutdown, members)).reason;
        if reason.text.is_empty() {
            return;
        }
        let text = format!("ended, and {} said: {}", reason.source, reason.text);
        if let Err(error) = self.note(EventEntry::of_run(&live.run, "acs-observed", text)).await {
            tracing::error!(%error, "what the ACS manifest said about a run's end could not be recorded");
        }
    }

    fn acs_snapshot(&self, live: &LiveRun, point: Point, members: Value) -> Value {
        let (run, now_ms) = (&live.run, self.now_ms());
        let envelope = json!({
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
        });
        let mut snapshot = Map::from_iter([("envelope".to_owned(), envelope)]);
        if let Value::Object(members) = members {
            snapshot.extend(members);
        }
        Value::Object(snapshot)
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
