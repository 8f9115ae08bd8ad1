//! Asking a person, and waiting, bounded, for the answer.
//!
//! Invariants: what is asked about is shown whole or denied; an answer covers exactly what was shown and what was asked
//! about it then. Policies, state and effect are looked at again once it is there: they may have changed meanwhile.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::unanswered::Wait;
use super::{Gate, LiveRun, Told, deny};
use crate::approvals::{Answer, Denied, Question};
use crate::core::action::Action;
use crate::core::decision::{Decision, Evaluation, Reason, RefusalKind};
use crate::core::effect::{EFFECT_MAX, Effect, PLAIN};
use crate::core::ids::ApprovalId;
use crate::registry::{Acs, Snapshot};
use crate::sys::ids;

/// Tells what an action would do now, for a person; may read files. Why it cannot be told is for the agent.
pub type Show = Arc<dyn Fn() -> Result<Effect, String> + Send + Sync>;

/// What is asked about.
pub(super) struct Wanted<'a> {
    pub(super) action: &'a Action,
    pub(super) digest: &'a str,
    pub(super) told: &'a Told,
}

/// A no, and who says it.
struct No {
    source: String,
    text: String,
    kind: RefusalKind,
}

impl No {
    fn new(text: impl ToString, kind: RefusalKind) -> Self {
        Self { source: "approval".to_owned(), text: text.to_string(), kind }
    }
}

impl Wanted<'_> {
    /// On a thread that may wait: files lie on slow file systems too.
    async fn effect(&self) -> Result<Effect, No> {
        let Some(show) = &self.told.show else { return Ok(PLAIN) };
        let show = Arc::clone(show);
        let shown = tokio::task::spawn_blocking(move || show()).await.map_err(|error| error.to_string());
        let effect = shown.and_then(|shown| shown).map_err(|text| No::new(text, RefusalKind::Denied))?;
        if effect.length() > EFFECT_MAX {
            let text = format!(
                "a person has to allow this, and it is longer than the {} KiB that are shown to one; do it in \
                 smaller steps",
                EFFECT_MAX / 1024
            );
            return Err(No::new(text, RefusalKind::Denied));
        }
        Ok(effect)
    }
}

impl Gate {
    /// Waits for a person's answer, unless one that lasts or a no of just now covers exactly this.
    pub(super) async fn ask(
        &self,
        snapshot: &Snapshot,
        live: &Arc<LiveRun>,
        wanted: &Wanted<'_>,
        asked: Evaluation,
    ) -> (Evaluation, RefusalKind) {
        match self.answer(snapshot, live, wanted, &asked).await {
            Ok(evaluation) => (evaluation, RefusalKind::Denied),
            Err(No { source, text, kind }) => {
                let mut reasons = asked.reasons;
                reasons.push(deny(&source, text));
                (Evaluation::of(reasons), kind)
            }
        }
    }

    async fn answer(
        &self,
        snapshot: &Snapshot,
        live: &Arc<LiveRun>,
        wanted: &Wanted<'_>,
        asked: &Evaluation,
    ) -> Result<Evaluation, No> {
        let effect = wanted.effect().await?;
        let unavailable = |error: &dyn ToString| No::new(error.to_string(), RefusalKind::Unavailable);
        let digest = effect.bind(wanted.digest).map_err(|error| unavailable(&error))?;
        let approvals = &self.inner.approvals;
        let asks: Vec<&Reason> = asked.decisive().collect();
        let who = (&live.run.agent, live.run.id);
        if let Some(standing) = approvals.using(who, &digest, &asks, self.now_ms()) {
            let how = if standing.run.is_some() { "for the whole run" } else { "for a while" };
            return Ok(allowed(asked.clone(), &standing.by, standing.id, how));
        }
        if let Some(denied) = approvals.denied(live.run.id, &digest, Instant::now()) {
            return Err(still(denied));
        }
        let timeout = Duration::from_millis(timeout_ms(snapshot, &asks));
        let id = ids::new_approval_id().map_err(|error| unavailable(&error))?;
        let until_ms = self.now_ms().saturating_add(i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX));
        let question = question(live, wanted, (id, &effect, digest), &asks, until_ms);
        let asks = asks.into_iter().cloned().collect();
        let mut waiting = approvals
            .ask(question, asks, Instant::now())
            .map_err(|error| No::new(error, RefusalKind::Busy))?;
        let _waiting_state = live.question();
        let wait = Wait::new(self, &live.run, wanted.action, id);
        let answer = tokio::select! {
            answer = tokio::time::timeout(timeout, waiting.answer()) => answer,
            () = live.cancelled() => {
                wait.end();
                let (source, text) = ("state".to_owned(), "the run is over".to_owned());
                return Err(No { source, text, kind: RefusalKind::Killed });
            }
        };
        wait.end();
        match answer {
            Ok(Some(Answer::Allow { by, .. })) => {
                self.look_again(snapshot, live, wanted, asked, (id, &by, &effect)).await
            }
            Ok(Some(Answer::Deny { by, reason })) => Err(No {
                source: format!("approval/{by}"),
                text: reason.unwrap_or_else(|| "a person said no".to_owned()),
                kind: RefusalKind::Denied,
            }),
            Ok(None) => {
                Err(No::new("the question was closed without an answer", RefusalKind::ApprovalTimedOut))
            }
            Err(_) => Err(No::new("nobody answered in time", RefusalKind::ApprovalTimedOut)),
        }
    }

    /// The person answered what was asked and shown then, not what other policies ask since or other files hold.
    async fn look_again(
        &self,
        snapshot: &Snapshot,
        live: &Arc<LiveRun>,
        wanted: &Wanted<'_>,
        asked: &Evaluation,
        (id, by, shown): (ApprovalId, &str, &Effect),
    ) -> Result<Evaluation, No> {
        if wanted.effect().await? != *shown {
            let text = "what it would do changed while a person was asked";
            return Err(No::new(text, RefusalKind::Denied));
        }
        let now = self.circumstances(live);
        let current = self.inner.registry.current();
        let again = self.consider(&current, live, wanted.action, &now, wanted.told).await;
        if again.decision == Decision::Deny {
            return Ok(again);
        }
        // What the same ACS manifest says may tell the time.
        let is_same = |reason: &Reason, before: &Reason| {
            reason == before
                || (reason.source.starts_with("acs/")
                    && (&reason.source, reason.decision) == (&before.source, before.decision)
                    && Acs::is_same(snapshot.acs.as_ref(), current.acs.as_ref()))
        };
        let is_new = |reason: &Reason| !asked.reasons.iter().any(|before| is_same(reason, before));
        if again.decision == Decision::Ask && again.decisive().any(is_new) {
            let text = "other policies came into force while a person was asked";
            return Err(No::new(text, RefusalKind::Denied));
        }
        Ok(allowed(again, by, id, "this once"))
    }
}

fn question(
    live: &LiveRun,
    wanted: &Wanted<'_>,
    (id, effect, digest): (ApprovalId, &Effect, String),
    asks: &[&Reason],
    expires_at_ms: i64,
) -> Question {
    Question {
        id,
        run: live.run.id,
        agent: live.run.agent.clone(),
        action: wanted.action.kind().to_owned(),
        target: wanted.action.name(),
        on: wanted.action.target(),
        command: match wanted.action {
            Action::Tool(tool) => tool.facts.command.clone(),
            _ => None,
        },
        effect: effect.clone(),
        why: asks.iter().map(|reason| format!("{}: {}", reason.source, reason.text)).collect(),
        digest,
        expires_at_ms,
    }
}

fn allowed(mut evaluation: Evaluation, by: &str, id: ApprovalId, how: &str) -> Evaluation {
    evaluation.decision = Decision::Allow;
    let (source, text) = (format!("approval/{by}"), format!("a person allowed exactly this {how} ({id})"));
    evaluation.reasons.push(Reason::new(source, Decision::Allow, text));
    evaluation
}

fn still(denied: Denied) -> No {
    let because = denied.reason.map(|reason| format!(": {reason}")).unwrap_or_default();
    No {
        source: format!("approval/{}", denied.by),
        text: format!(
            "a person said no to exactly this {} s ago, and was not asked again{because}",
            denied.ago_s
        ),
        kind: RefusalKind::Denied,
    }
}

/// How long a question may wait: where the ACS manifest is among those that ask, no longer than it says.
pub(super) fn timeout_ms(snapshot: &Snapshot, asks: &[&Reason]) -> u64 {
    let ours = snapshot.config.approval_timeout_ms;
    let asks = asks.iter().any(|reason| reason.source.starts_with("acs/"));
    let its = snapshot.acs.as_ref().filter(|_| asks).and_then(|acs| acs.approval_timeout_ms());
    its.map_or(ours, |its| its.min(ours))
}
