//! Questions to people: asked by the gate, answered over the daemon's socket, denied when nobody answers in time.
//!
//! Invariants: a question is bound to the digest of exactly one normalised action and of what was shown of it; an answer
//! covers nothing else, and is used once unless it was given to last; there is no default answer but no. Bounded in
//! number, in time and in bytes, so that a run cannot flood the people who answer.

mod pace;
mod standing;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use tokio::sync::{oneshot, watch};

use crate::core::decision::Reason;
use crate::core::effect::{EFFECT_MAX, Effect};
use crate::core::ids::{ApprovalId, RunId};
use crate::core::principal::AgentRef;
use crate::core::visible::visible;

pub use pace::{Denied, PER_MINUTE};
pub use standing::Standing;

/// Questions of one run that may be open at once.
const PER_RUN: usize = 16;
/// Questions that may be open at once.
const TOTAL: usize = 256;
/// What all open questions may show, in bytes. Spelt out, a hidden byte takes eight: all of it still fits into one answer
/// of the daemon.
const SHOWN: usize = 24 * EFFECT_MAX;

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
    /// What it would do.
    #[serde(default)]
    pub effect: Effect,
    /// Why it is asked, in the policies' words.
    pub why: Vec<String>,
    /// SHA-256 over the normalised action and what is shown of it, hexadecimal.
    pub digest: String,
    /// When it is denied, milliseconds since 1970.
    pub expires_at_ms: i64,
}

impl Question {
    /// What it is about, with nothing hidden: label and text.
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        let mut facts = vec![
            ("approval", self.id.short()),
            ("agent", self.agent.to_string()),
            ("run", self.run.short()),
            ("wants", visible(&self.target)),
        ];
        facts.extend((!self.on.is_empty()).then(|| ("on", visible(&self.on))));
        facts.push(("why", visible(&self.why.join("; "))));
        facts
    }
}

/// How long a yes holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Lasts {
    /// This once.
    #[default]
    Once,
    /// The same again, in this run.
    Run,
    /// The same again, in every run of the agent.
    Until {
        /// Milliseconds since 1970.
        at_ms: i64,
    },
}

/// A person's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Yes.
    Allow {
        /// Who answered.
        by: String,
        /// For how long.
        lasts: Lasts,
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
    /// The run asks too often.
    #[error("this run asked a person {PER_MINUTE} times within a minute; ask again in {0} s, and for less")]
    TooOften(u64),
    /// No such question is open: answered, timed out, or never asked.
    #[error("no approval `{0}` is open")]
    Unknown(ApprovalId),
    /// Too many answers last.
    #[error("too many answers last ({0})")]
    Many(usize),
}

struct Open {
    question: Question,
    asked: Vec<Reason>,
    answer: oneshot::Sender<Answer>,
}

#[derive(Default)]
struct State {
    open: BTreeMap<ApprovalId, Open>,
    pace: pace::Pace,
    standing: standing::Answers,
}

struct Inner {
    state: Mutex<State>,
    changed: watch::Sender<u64>,
}

/// The open questions and the answers that last. Clones share them.
#[derive(Clone)]
pub struct Approvals {
    inner: Arc<Inner>,
}

impl Default for Approvals {
    fn default() -> Self {
        Self { inner: Arc::new(Inner { state: Mutex::default(), changed: watch::Sender::new(0) }) }
    }
}

/// A question that is open until this is dropped or answered.
pub struct Waiting {
    id: ApprovalId,
    approvals: Approvals,
    answer: oneshot::Receiver<Answer>,
}

/// A question that one person is answering: it is no longer open to others. Dropped, nobody answered.
#[must_use = "a question that is taken has to be answered"]
pub struct Taken {
    open: Open,
    approvals: Approvals,
}

impl Approvals {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        self.inner.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Hears of every question that is opened or closed.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.inner.changed.subscribe()
    }

    /// Opens a question. `asked` are the reasons that a yes covers.
    ///
    /// # Errors
    /// When too many are open, or the run asks too often.
    pub fn ask(
        &self,
        question: Question,
        asked: Vec<Reason>,
        now: Instant,
    ) -> Result<Waiting, ApprovalError> {
        let mut state = self.lock();
        let of_run = state.open.values().filter(|other| other.question.run == question.run).count();
        let shown: usize = state.open.values().map(|other| other.question.effect.length()).sum();
        let is_full = state.open.len() >= TOTAL || shown + question.effect.length() > SHOWN;
        if of_run >= PER_RUN || is_full {
            return Err(ApprovalError::Flood(state.open.len()));
        }
        state.pace.count(question.run, now).map_err(ApprovalError::TooOften)?;
        let (sender, answer) = oneshot::channel();
        let id = question.id;
        state.open.insert(id, Open { question, asked, answer: sender });
        drop(state);
        self.tell();
        Ok(Waiting { id, approvals: self.clone(), answer })
    }

    /// The open questions, oldest first.
    pub fn questions(&self) -> Vec<Question> {
        self.lock().open.values().map(|open| open.question.clone()).collect()
    }

    /// Who waits, and for what: the oldest question of each run.
    pub fn waiting(&self) -> BTreeMap<RunId, (AgentRef, String)> {
        let state = self.lock();
        // The oldest comes last, and stays.
        let newest_first = state.open.values().rev().map(|open| &open.question);
        newest_first.map(|asked| (asked.run, (asked.agent.clone(), asked.target.clone()))).collect()
    }

    /// What a person said to exactly this within the last minute, if it was no.
    pub fn denied(&self, run: RunId, digest: &str, now: Instant) -> Option<Denied> {
        self.lock().pace.denied(run, digest, now)
    }

    /// Uses the answer that lasts and covers exactly this, of which no more is asked than was then.
    pub fn using(
        &self,
        who: (&AgentRef, RunId),
        digest: &str,
        asks: &[&Reason],
        now_ms: i64,
    ) -> Option<Standing> {
        self.lock().standing.using(who, digest, asks, now_ms)
    }

    /// The answers that last.
    pub fn standing(&self, now_ms: i64) -> Vec<Standing> {
        self.lock().standing.all(now_ms)
    }

    /// Takes an answer that lasts back.
    ///
    /// # Errors
    /// When there is none of that id.
    pub fn revoke(&self, id: ApprovalId) -> Result<Standing, ApprovalError> {
        self.lock().standing.revoke(id).ok_or(ApprovalError::Unknown(id))
    }

    /// The run is over: what was answered for it alone is void.
    pub fn forget(&self, run: RunId) {
        let mut state = self.lock();
        state.standing.forget(run);
        state.pace.forget(run);
    }

    /// Takes a question to answer it, so that nobody else does.
    ///
    /// # Errors
    /// When no such question is open, or an answer is to last and too many do.
    pub fn take(&self, id: ApprovalId, lasts: Lasts, now_ms: i64) -> Result<Taken, ApprovalError> {
        let mut state = self.lock();
        if lasts != Lasts::Once {
            state.standing.has_room(now_ms)?;
        }
        let open = state.open.remove(&id).ok_or(ApprovalError::Unknown(id))?;
        drop(state);
        self.tell();
        Ok(Taken { open, approvals: self.clone() })
    }
}

impl Taken {
    /// The question.
    pub fn question(&self) -> &Question {
        &self.open.question
    }

    /// Answers it; gives it back.
    ///
    /// # Errors
    /// When nobody waits for the answer any more. Then it does not last either.
    pub fn give(self, answer: Answer, now: Instant) -> Result<Question, ApprovalError> {
        let Open { question, asked, answer: sender } = self.open;
        let mut state = self.approvals.lock();
        sender.send(answer.clone()).map_err(|_| ApprovalError::Unknown(question.id))?;
        match answer {
            Answer::Allow { by, lasts } => state.standing.keep(question.clone(), asked, by, lasts),
            Answer::Deny { by, reason } => {
                state.pace.remember(question.run, &question.digest, &by, reason, now);
            }
        }
        Ok(question)
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
        let was_open = self.approvals.lock().open.remove(&self.id).is_some();
        if was_open {
            self.approvals.tell();
        }
    }
}
