//! Answers that last: for the rest of a run, or until a time for every run of the agent.
//!
//! Invariants: one covers exactly the action whose digest was shown, asked for by the agent that asked then, as long as
//! nothing else is asked about it than was then. Must not outlive its run or its time; gone when the daemon ends.

use serde::{Deserialize, Serialize};

use crate::core::decision::Reason;
use crate::core::ids::{ApprovalId, RunId};
use crate::core::principal::AgentRef;

use super::{ApprovalError, Lasts, Question};

/// Answers that may last at once.
const MOST: usize = 32;

/// An answer that lasts, as people see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The id of the question that it answered.
    pub id: ApprovalId,
    /// Who answered.
    pub by: String,
    /// For whom.
    pub agent: AgentRef,
    /// The run that it dies with; none if it holds for every run of the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// When it ends, milliseconds since 1970; none if with its run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<i64>,
    /// What was asked: its digest is what is covered.
    pub question: Question,
    /// How often it was used.
    pub used: u64,
}

struct Kept {
    standing: Standing,
    /// What was asked about it; whatever else is asked is not covered.
    asked: Vec<Reason>,
}

#[derive(Default)]
pub(super) struct Answers(Vec<Kept>);

impl Answers {
    pub(super) fn has_room(&mut self, now_ms: i64) -> Result<(), ApprovalError> {
        self.expire(now_ms);
        if self.0.len() >= MOST { Err(ApprovalError::Many(self.0.len())) } else { Ok(()) }
    }

    /// Keeps an answer; one that does not last is nothing to keep.
    pub(super) fn keep(&mut self, question: Question, asked: Vec<Reason>, by: String, lasts: Lasts) {
        let (run, until_ms) = match lasts {
            Lasts::Once => return,
            Lasts::Run => (Some(question.run), None),
            Lasts::Until { at_ms } => (None, Some(at_ms)),
        };
        let (id, agent) = (question.id, question.agent.clone());
        let standing = Standing { id, by, agent, run, until_ms, question, used: 0 };
        self.0.push(Kept { standing, asked });
    }

    /// The answer that covers this, if there is one: it is used by asking.
    pub(super) fn using(
        &mut self,
        (agent, run): (&AgentRef, RunId),
        digest: &str,
        asks: &[&Reason],
        now_ms: i64,
    ) -> Option<Standing> {
        self.expire(now_ms);
        let covers = |kept: &&mut Kept| {
            let Kept { standing, asked } = kept;
            standing.question.digest == digest
                && standing.agent == *agent
                && standing.run.is_none_or(|own| own == run)
                && !asks.is_empty()
                && asks.iter().all(|reason| asked.contains(reason))
        };
        let kept = self.0.iter_mut().find(covers)?;
        kept.standing.used = kept.standing.used.saturating_add(1);
        Some(kept.standing.clone())
    }

    /// Those in force, oldest first.
    pub(super) fn all(&mut self, now_ms: i64) -> Vec<Standing> {
        self.expire(now_ms);
        self.0.iter().map(|kept| kept.standing.clone()).collect()
    }

    pub(super) fn revoke(&mut self, id: ApprovalId) -> Option<Standing> {
        let at = self.0.iter().position(|kept| kept.standing.id == id)?;
        Some(self.0.remove(at).standing)
    }

    pub(super) fn forget(&mut self, run: RunId) {
        self.0.retain(|kept| kept.standing.run != Some(run));
    }

    fn expire(&mut self, now_ms: i64) {
        self.0.retain(|kept| kept.standing.until_ms.is_none_or(|until| now_ms < until));
    }
}
