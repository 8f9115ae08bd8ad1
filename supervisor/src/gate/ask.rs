//! Asking a person, and waiting, bounded, for the answer.

use std::sync::Arc;
use std::time::Duration;

use super::{Gate, LiveRun, deny};
use crate::approvals::{Answer, Question};
use crate::core::action::Action;
use crate::core::decision::{Decision, Evaluation, Reason, RefusalKind};
use crate::registry::Snapshot;
use crate::sys::{clock, ids};

impl Gate {
    /// Waits for a person's answer. Policies and state are judged again afterwards: they may have changed meanwhile.
    pub(super) async fn ask(
        &self,
        snapshot: &Snapshot,
        live: &Arc<LiveRun>,
        action: &Action,
        digest: &str,
        asked: Evaluation,
    ) -> (Evaluation, RefusalKind) {
        let denied = |source: &str, text: String, kind: RefusalKind| {
            let mut reasons = asked.reasons.clone();
            reasons.push(deny(source, text));
            (Evaluation::of(reasons), kind)
        };
        let timeout = Duration::from_millis(snapshot.config.approval_timeout_ms);
        let question = match question(live, action, digest, &asked, timeout) {
            Ok(question) => question,
            Err(error) => return denied("approval", error.to_string(), RefusalKind::Unavailable),
        };
        let mut waiting = match self.inner.approvals.ask(question) {
            Ok(waiting) => waiting,
            Err(error) => return denied("approval", error.to_string(), RefusalKind::Busy),
        };
        let _waiting_state = live.question();
        let answer = tokio::select! {
            answer = tokio::time::timeout(timeout, waiting.answer()) => answer,
            () = live.cancelled() => return denied("state", "the run is over".into(), RefusalKind::Killed),
        };
        match answer {
            Ok(Some(Answer::Allow { by })) => {
                let mut again = self.evaluate(&self.inner.registry.current(), live, action);
                if again.decision == Decision::Ask {
                    // The person answered what was asked then, not what other policies ask since.
                    if again.decisive().any(|reason| !asked.reasons.contains(reason)) {
                        let text = "other policies came into force while a person was asked".to_owned();
                        return denied("approval", text, RefusalKind::Denied);
                    }
                    again.decision = Decision::Allow;
                }
                let text = "a person allowed exactly this".to_owned();
                let source = format!("approval/{by}");
                again.reasons.push(Reason { source, decision: Decision::Allow, text });
                (again, RefusalKind::Denied)
            }
            Ok(Some(Answer::Deny { by, reason })) => denied(
                &format!("approval/{by}"),
                reason.unwrap_or_else(|| "a person said no".to_owned()),
                RefusalKind::Denied,
            ),
            Ok(None) | Err(_) => {
                denied("approval", "nobody answered in time".into(), RefusalKind::ApprovalTimedOut)
            }
        }
    }
}

fn question(
    live: &LiveRun,
    action: &Action,
    digest: &str,
    asked: &Evaluation,
    timeout: Duration,
) -> Result<Question, ids::RandomError> {
    let timeout_ms = i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX);
    Ok(Question {
        id: ids::new_approval_id()?,
        run: live.run.id,
        agent: live.run.agent.clone(),
        action: action.kind().to_owned(),
        target: action.name(),
        on: action.target(),
        command: match action {
            Action::Tool(tool) => tool.facts.command.clone(),
            _ => None,
        },
        why: asked.decisive().map(|reason| format!("{}: {}", reason.source, reason.text)).collect(),
        digest: digest.to_owned(),
        expires_at_ms: clock::now_ms().saturating_add(timeout_ms),
    })
}
