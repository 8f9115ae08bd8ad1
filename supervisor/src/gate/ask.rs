//! Asking a person, and waiting, bounded, for the answer.
//!
//! Invariants: what is asked about is shown whole or denied; an answer covers exactly what was shown and what was asked
//! about it then. Policies, state and effect are looked at again once it is there: they may have changed meanwhile.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::unanswered::Wait;
use super::{Considered, Gate, LiveRun, Told, deny};
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

/// A yes.
enum Answered {
    /// One of before covers it: whose, to which question, and for how long.
    Covered(String, ApprovalId, &'static str),
    /// One of now, and what was looked at again for it; that may be a no after all.
    Again(Considered),
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
        live: &Arc<LiveRun>,
        wanted: &Wanted<'_>,
        mut asked: Considered,
    ) -> (Considered, RefusalKind) {
        match self.answer(live, wanted, &asked).await {
            Ok(Answered::Covered(by, id, how)) => {
                asked.evaluation = allowed(asked.evaluation, &by, id, how);
                (asked, RefusalKind::Denied)
            }
            Ok(Answered::Again(again)) => (again, RefusalKind::Denied),
            Err(No { source, text, kind }) => {
                asked.evaluation.reasons.push(deny(&source, text));
                asked.evaluation = Evaluation::of(asked.evaluation.reasons);
                (asked, kind)
            }
        }
    }

    async fn answer(
        &self,
        live: &Arc<LiveRun>,
        wanted: &Wanted<'_>,
        asked: &Considered,
    ) -> Result<Answered, No> {
        let effect = wanted.effect().await?;
        let unavailable = |error: &dyn ToString| No::new(error.to_string(), RefusalKind::Unavailable);
        let digest = effect.bind(wanted.digest).map_err(|error| unavailable(&error))?;
        let approvals = &self.inner.approvals;
        let asks: Vec<&Reason> = asked.evaluation.decisive().collect();
        let who = (&live.run.agent, live.run.id);
        if let Some(standing) = approvals.using(who, &digest, &asks, self.now_ms()) {
            let how = if standing.run.is_some() { "for the whole run" } else { "for a while" };
            return Ok(Answered::Covered(standing.by, standing.id, how));
        }
        if let Some(denied) = approvals.denied(live.run.id, &digest, Instant::now()) {
            return Err(still(denied));
        }
        let timeout = Duration::from_millis(timeout_ms(&asked.snapshot, &asks));
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
            answer = tokio::time::timeout(timeout, waiting.answer()) => Some(answer),
            () = live.cancelled() => None,
        };
        let came = match answer {
            None => {
                let (source, text) = ("state".to_owned(), "the run is over".to_owned());
                Err(No { source, text, kind: RefusalKind::Killed })
            }
            Some(Ok(Some(Answer::Allow { by, .. }))) => {
                self.look_again(live, wanted, asked, (id, &by, &effect)).await.map(Answered::Again)
            }
            Some(Ok(Some(Answer::Deny { by, reason }))) => Err(No {
                source: format!("approval/{by}"),
                text: reason.unwrap_or_else(|| "a person said no".to_owned()),
                kind: RefusalKind::Denied,
            }),
            Some(Ok(None)) => {
                Err(No::new("the question was closed without an answer", RefusalKind::ApprovalTimedOut))
            }
            Some(Err(_)) => Err(No::new("nobody answered in time", RefusalKind::ApprovalTimedOut)),
        };
        wait.end();
        came
    }

    /// The person answered what was asked and shown then, not what other policies ask since or other files hold.
    async fn look_again(
        &self,
        live: &Arc<LiveRun>,
        wanted: &Wanted<'_>,
        asked: &Considered,
        (id, by, shown): (ApprovalId, &str, &Effect),
    ) -> Result<Considered, No> {
        if wanted.effect().await? != *shown {
            let text = "what it would do changed while a person was asked";
            return Err(No::new(text, RefusalKind::Denied));
        }
        let mut again = self.consider(live, wanted.action, wanted.told).await;
        if again.evaluation.decision == Decision::Deny {
            return Ok(again);
        }
        let is_new =
            |reason: &Reason| !asked.evaluation.reasons.iter().any(|one| again.says_same(asked, reason, one));
        if again.evaluation.decision == Decision::Ask && again.evaluation.decisive().any(is_new) {
            let text = "other policies came into force, or the run saw more, while a person was asked";
            return Err(No::new(text, RefusalKind::Denied));
        }
        again.evaluation = allowed(again.evaluation, by, id, "this once");
        Ok(again)
    }
}

impl Considered {
    /// Whether a reason says what one of before said. The same ACS manifest may tell the time in its words, but not what
    /// the run has come to know.
    fn says_same(&self, before: &Self, reason: &Reason, said: &Reason) -> bool {
        reason == said
            || (reason.source.starts_with("acs/")
                && (&reason.source, reason.decision) == (&said.source, said.decision)
                && self.now.session == before.now.session
                && Acs::is_same(before.snapshot.acs.as_ref(), self.snapshot.acs.as_ref()))
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
