//! Open questions to people, their answers, and those that last. The socket has made sure that no run answers itself.

use std::fmt::Display;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use crate::api::App;
use crate::approvals::{Answer, ApprovalError};
pub use crate::approvals::{Lasts, Question as Asked, Standing};
use crate::core::error::{Code, Failure};
use crate::core::ids::{ApprovalId, RunId};
use crate::core::record::EventEntry;
use crate::sys::clock;
use crate::sys::env::Env;

/// Parameters of [`answer`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerParams {
    /// The question's id, or an unambiguous ending of it.
    pub id: String,
    /// The answer.
    pub answer: Verdict,
    /// For how long, with a yes.
    #[serde(default)]
    pub lasts: Lasts,
    /// For the agent, with a no.
    #[serde(default)]
    pub reason: Option<String>,
}

/// Yes or no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Yes.
    Approve,
    /// No.
    Deny,
}

/// Parameters of [`wait`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitParams {
    /// Of this run only.
    #[serde(default)]
    pub run: Option<RunId>,
    /// The questions that are known to be open.
    pub known: Vec<ApprovalId>,
    /// How long to wait for others, in milliseconds; at most half a minute.
    pub timeout_ms: u64,
}

/// Parameters of [`revoke`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokeParams {
    /// The id of the question that was answered, or an unambiguous ending of it.
    pub id: String,
}

/// Endings of an id shorter than this would soon mean more than one.
const SUFFIX_MIN: usize = 4;
/// Less than the socket lets a connection lie idle.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// An answer does not last longer: whoever gave it has forgotten it by then.
const LASTS_MAX_MS: i64 = 30 * 24 * 60 * 60 * 1000;

/// An open question as a person is shown it, with nothing hidden in any of it: who draws it has nothing to add.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Card {
    /// The question's id.
    pub id: ApprovalId,
    /// What it is about: label and text.
    pub facts: Vec<(String, String)>,
    /// What it would do, line by line.
    pub lines: Vec<String>,
    /// When it is denied, milliseconds since 1970.
    pub expires_at_ms: i64,
}

/// The open questions, oldest first, to be drawn.
pub async fn cards(app: &App) -> Result<Vec<Card>, Failure> {
    let card = |question: Asked| Card {
        id: question.id,
        facts: question.facts().into_iter().map(|(label, text)| (label.to_owned(), text)).collect(),
        lines: question.effect.lines(),
        expires_at_ms: question.expires_at_ms,
    };
    Ok(list(app).await?.into_iter().map(card).collect())
}

/// The open questions, oldest first.
pub async fn list(app: &App) -> Result<Vec<Asked>, Failure> {
    Ok(app.gate.approvals().questions())
}

/// As [`list`], once other questions are open than are known, or the time is over.
pub async fn wait(app: &App, params: WaitParams) -> Result<Vec<Asked>, Failure> {
    let mut changes = app.gate.approvals().watch();
    let open = || {
        let mut questions = app.gate.approvals().questions();
        questions.retain(|question| params.run.is_none_or(|run| run == question.run));
        questions
    };
    let is_new = |questions: &[Asked]| {
        questions.len() != params.known.len()
            || questions.iter().any(|question| !params.known.contains(&question.id))
    };
    let news = async {
        loop {
            changes.mark_unchanged();
            let questions = open();
            if is_new(&questions) || changes.changed().await.is_err() {
                return questions;
            }
        }
    };
    let patience = Duration::from_millis(params.timeout_ms).min(WAIT_MAX);
    tokio::select! {
        news = timeout(patience, news) => Ok(news.unwrap_or_else(|_| open())),
        () = app.shutdown.cancelled() => Ok(open()),
    }
}

/// Answers one. The answer is on the record before it counts.
pub async fn answer(app: &App, params: AnswerParams) -> Result<Asked, Failure> {
    let open = app.gate.approvals().questions();
    let id = require(&params.id, open.iter().map(|question| question.id), "is open")?;
    let now_ms = clock::now_ms();
    if let Lasts::Until { at_ms } = params.lasts
        && !(now_ms..=now_ms.saturating_add(LASTS_MAX_MS)).contains(&at_ms)
    {
        return Err(Failure::new(Code::Usage, "an answer lasts until a time within the next 30 days"));
    }
    let by = person();
    let (answer, verb, lasts) = match params.answer {
        Verdict::Approve => {
            let answer = Answer::Allow { by: by.clone(), lasts: params.lasts };
            (answer, "approved", params.lasts)
        }
        Verdict::Deny => (Answer::Deny { by: by.clone(), reason: params.reason }, "denied", Lasts::Once),
    };
    let taken = app.gate.approvals().take(id, lasts, now_ms).map_err(|error| refused(&error))?;
    let question = taken.question();
    let text = format!("{by} {verb} {} {} of {}", question.action, question.target, question.agent);
    let mut entry = EventEntry::new("approval-answered", text)
        .fact("approval", question.id)
        .fact("run", question.run)
        .fact("digest", &question.digest);
    entry = match lasts {
        Lasts::Once => entry,
        Lasts::Run => entry.fact("lasts", "run"),
        Lasts::Until { at_ms } => entry.fact("lasts", "until").fact("until_ms", at_ms),
    };
    app.gate.note(entry).await?;
    taken.give(answer, Instant::now()).map_err(|error| refused(&error))
}

/// The answers that last, oldest first.
pub async fn standing(app: &App) -> Result<Vec<Standing>, Failure> {
    Ok(app.gate.approvals().standing(clock::now_ms()))
}

/// Takes one of them back.
pub async fn revoke(app: &App, params: RevokeParams) -> Result<Standing, Failure> {
    let approvals = app.gate.approvals();
    let all = approvals.standing(clock::now_ms());
    let id = require(&params.id, all.iter().map(|standing| standing.id), "lasts")?;
    let standing = approvals.revoke(id).map_err(|error| refused(&error))?;
    let Standing { question, agent, used, .. } = &standing;
    let text =
        format!("{} revoked the approval of {} {} of {agent}", person(), question.action, question.target);
    let entry = EventEntry::new("approval-revoked", text)
        .fact("approval", id)
        .fact("digest", &question.digest)
        .fact("used", used);
    // It is void already: what could not be recorded is told as a failure, and stays void.
    app.gate.note(entry).await?;
    Ok(standing)
}

fn person() -> String {
    format!("user:{}", Env::current().user_name().unwrap_or_else(|| "unknown".into()))
}

fn refused(error: &ApprovalError) -> Failure {
    let failure = |code| Failure::new(code, error.to_string());
    match error {
        ApprovalError::Many(_) => failure(Code::Conflict).hint("agentsup approvals --standing lists them"),
        _ => failure(Code::NotFound).hint("agentsup approvals"),
    }
}

fn require(
    text: &str,
    ids: impl Iterator<Item = ApprovalId>,
    state: impl Display,
) -> Result<ApprovalId, Failure> {
    let ending = text.to_ascii_lowercase();
    let is_meant = |id: &ApprovalId| {
        let id = id.to_string();
        id == ending || (ending.len() >= SUFFIX_MIN && id.ends_with(&ending))
    };
    let mut found = ids.filter(is_meant);
    match (found.next(), found.next()) {
        (Some(id), None) => Ok(id),
        (None, _) => {
            Err(Failure::new(Code::NotFound, format!("no approval `{text}` {state}"))
                .hint("agentsup approvals"))
        }
        (Some(_), Some(_)) => {
            Err(Failure::new(Code::Usage, format!("`{text}` means more than one approval"))
                .hint("agentsup approvals"))
        }
    }
}
