//! Questions to people: asked by the gate, answered over the daemon's socket, denied when nobody answers in time.
//!
//! Invariants: a question is bound to the digest of exactly one normalised action; an answer is used once; there is
//! no default answer but no. Bounded in number, so that a run cannot flood the people who answer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::core::ids::{ApprovalId, RunId};
use crate::core::principal::AgentRef;

/// Questions of one run that may be open at once.
const PER_RUN: usize = 16;
/// Questions that may be open at once.
const TOTAL: usize = 256;

/// An open question, as people see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// Its id.
    pub id: ApprovalId,
    /// Which run wants to act.
    pub run: RunId,
    /// Which agent.
    pub agent: AgentRef,
    /// `launch`, `llm`, `tool` or `egress`.
    pub action: String,
    /// The adapter, model, tool or host.
    pub target: String,
    /// What it would act upon.
    pub on: String,
    /// The command line, for tools that run one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// Why it is asked, in the policies' words.
    pub why: Vec<String>,
    /// SHA-256 over the normalised action, hexadecimal.
    pub digest: String,
    /// When it is denied, milliseconds since 1970.
    pub expires_at_ms: i64,
}

/// A person's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// This once.
    Allow {
        /// Who answered.
        by: String,
    },
    /// No.
    Deny {
        /// Who answered.
        by: String,
        /// For the agent.
        reason: Option<String>,
    },
}

/// Why a question could not be asked or answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApprovalError {
    /// Too many are open.
    #[error("too many approvals are open ({0})")]
    Flood(usize),
    /// No such question is open: answered, timed out, or never asked.
    #[error("no approval `{0}` is open")]
    Unknown(ApprovalId),
}

struct Open {
    question: Question,
    answer: oneshot::Sender<Answer>,
}

/// The open questions. Clones share them.
#[derive(Clone, Default)]
pub struct Approvals {
    open: Arc<Mutex<BTreeMap<ApprovalId, Open>>>,
}

/// A question that is open until this is dropped or answered.
pub struct Waiting {
    id: ApprovalId,
    approvals: Approvals,
    answer: oneshot::Receiver<Answer>,
}

impl Approvals {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<ApprovalId, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a question.
    ///
    /// # Errors
    /// When too many are open.
    pub fn ask(&self, question: Question) -> Result<Waiting, ApprovalError> {
        let mut open = self.lock();
        let of_run = open.values().filter(|other| other.question.run == question.run).count();
        if of_run >= PER_RUN || open.len() >= TOTAL {
            return Err(ApprovalError::Flood(open.len()));
        }
        let (sender, answer) = oneshot::channel();
        let id = question.id;
        open.insert(id, Open { question, answer: sender });
        Ok(Waiting { id, approvals: self.clone(), answer })
    }

    /// The open questions, oldest first.
    pub fn questions(&self) -> Vec<Question> {
        self.lock().values().map(|open| open.question.clone()).collect()
    }

    /// Answers a question and gives it back.
    ///
    /// # Errors
    /// When no such question is open.
    pub fn answer(&self, id: ApprovalId, answer: Answer) -> Result<Question, ApprovalError> {
        let open = self.lock().remove(&id).ok_or(ApprovalError::Unknown(id))?;
        open.answer.send(answer).map_err(|_| ApprovalError::Unknown(id))?;
        Ok(open.question)
    }
}

impl Waiting {
    /// The answer; `None` if the question went away without one.
    pub async fn answer(&mut self) -> Option<Answer> {
        (&mut self.answer).await.ok()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.approvals.lock().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(number: u64, run: u64) -> Question {
        Question {
            id: ApprovalId::from_parts(number, [0; 10]),
            run: RunId::from_parts(run, [0; 10]),
            agent: "agent/a@t".parse().unwrap(),
            action: "tool".into(),
            target: "Bash".into(),
            on: String::new(),
            command: Some("rm -r build".into()),
            why: vec!["org/careful".into()],
            digest: "00".into(),
            expires_at_ms: 1,
        }
    }

    #[tokio::test]
    async fn an_answer_reaches_who_asked_and_is_used_once() {
        let approvals = Approvals::default();
        let mut waiting = approvals.ask(question(1, 1)).unwrap();
        let answer = Answer::Allow { by: "user:alice".into() };
        let id = question(1, 1).id;
        assert_eq!(approvals.answer(id, answer.clone()), Ok(question(1, 1)));
        assert_eq!(waiting.answer().await, Some(answer.clone()));
        assert_eq!(approvals.answer(id, answer), Err(ApprovalError::Unknown(id)));
    }

    #[test]
    fn a_question_nobody_waits_for_is_closed() {
        let approvals = Approvals::default();
        drop(approvals.ask(question(1, 1)).unwrap());
        assert_eq!(approvals.questions(), []);
    }

    #[test]
    fn a_run_cannot_flood() {
        let approvals = Approvals::default();
        let open: Vec<_> = (0..16).map(|n| approvals.ask(question(n, 1)).unwrap()).collect();
        assert_eq!(approvals.ask(question(99, 1)).err(), Some(ApprovalError::Flood(16)));
        assert!(approvals.ask(question(100, 2)).is_ok());
        assert_eq!(open.len(), 16);
    }
}
