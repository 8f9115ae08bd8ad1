//! Open questions to people, and their answers. The socket has made sure that no run answers itself.

use serde::{Deserialize, Serialize};

use crate::api::App;
use crate::approvals::{Answer, Question};
use crate::core::error::{Code, Failure};
use crate::core::ids::ApprovalId;
use crate::core::record::EventEntry;
use crate::sys::env::Env;

/// An open question.
pub type Asked = Question;

/// Parameters of [`answer`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerParams {
    /// The question's id, or an unambiguous ending of it.
    pub id: String,
    /// The answer.
    pub answer: Verdict,
    /// For the agent, with a no.
    #[serde(default)]
    pub reason: Option<String>,
}

/// Yes or no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// This once.
    Approve,
    /// No.
    Deny,
}

/// Endings of an id shorter than this would soon mean more than one.
const SUFFIX_MIN: usize = 4;

/// The open questions, oldest first.
pub async fn list(app: &App) -> Result<Vec<Asked>, Failure> {
    Ok(app.gate.approvals().questions())
}

/// Answers one.
pub async fn answer(app: &App, params: AnswerParams) -> Result<Asked, Failure> {
    let id = require(app, &params.id)?;
    let by = format!("user:{}", Env::current().user_name().unwrap_or_else(|| "unknown".into()));
    let answer = match params.answer {
        Verdict::Approve => Answer::Allow { by: by.clone() },
        Verdict::Deny => Answer::Deny { by: by.clone(), reason: params.reason },
    };
    let question = app
        .gate
        .approvals()
        .answer(id, answer)
        .map_err(|error| Failure::new(Code::NotFound, error.to_string()).hint("agentsup approvals"))?;
    let verb = match params.answer {
        Verdict::Approve => "approved",
        Verdict::Deny => "denied",
    };
    let text = format!("{by} {verb} {} {} of {}", question.action, question.target, question.agent);
    let entry = EventEntry::new("approval-answered", text)
        .fact("approval", question.id)
        .fact("run", question.run)
        .fact("digest", &question.digest);
    app.gate.note(entry).await?;
    Ok(question)
}

fn require(app: &App, text: &str) -> Result<ApprovalId, Failure> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let ending = text.to_ascii_lowercase();
    let questions = app.gate.approvals().questions();
    let mut found = questions
        .iter()
        .map(|question| question.id)
        .filter(|id| ending.len() >= SUFFIX_MIN && id.to_string().ends_with(&ending));
    match (found.next(), found.next()) {
        (Some(id), None) => Ok(id),
        (None, _) => {
            Err(Failure::new(Code::NotFound, format!("no approval `{text}` is open"))
                .hint("agentsup approvals"))
        }
        (Some(_), Some(_)) => {
            Err(Failure::new(Code::Usage, format!("`{text}` means more than one approval"))
                .hint("agentsup approvals"))
        }
    }
}
