//! Answers that were given before: an agent asks about the same model with every call, and policies give the same answer
//! to the same question.
//!
//! Invariants: a question is the same only if everything is the same that [`super::request`] reads of it; what is
//! read of arguments (paths, hosts, commands) is judged anew each time. The answers are those of one set of policies,
//! and go with it; a repository's own outlive the labels that they see, which are part of the question. Bounded: the oldest is forgotten.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::super::action::{Action, Facts, ToolSource};
use super::super::decision::Reason;
use super::super::manifest::{Agent, Environment};
use super::labels::Labels;
use super::{Circumstances, Question};

/// Twenty busy agents with a few models and tools each.
const KEPT: usize = 64;

/// The answers.
#[derive(Default)]
pub(super) struct Known(Mutex<VecDeque<(Asked, Vec<Reason>)>>);

struct Asked {
    /// Kept, so that no later ones can be taken for these.
    labels: Arc<Labels>,
    agent: Agent,
    environment: Environment,
    adapter: String,
    repository: PathBuf,
    remote: Option<String>,
    in_scope: bool,
    now: Circumstances,
    about: About,
}

#[derive(PartialEq, Eq)]
enum About {
    Model { provider: String, model: String },
    Tool { source: ToolSource, tool: String },
}

impl Known {
    /// The answer, if this was asked before.
    pub(super) fn find(&self, question: &Question<'_>, labels: &Arc<Labels>) -> Option<Vec<Reason>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = known.iter().find(|(asked, _)| asked.is(question, labels));
        found.map(|(_, reasons)| reasons.clone())
    }

    /// Keeps an answer, if the question may be asked again.
    pub(super) fn keep(&self, question: &Question<'_>, labels: &Arc<Labels>, reasons: &[Reason]) {
        let Question { agent, run, action, now, in_scope } = *question;
        let Some(about) = About::of(action) else { return };
        let asked = Asked {
            labels: Arc::clone(labels),
            agent: agent.clone(),
            environment: run.environment,
            adapter: run.adapter.clone(),
            repository: run.repository.clone(),
            remote: run.remote.clone(),
            in_scope,
            now: now.clone(),
            about,
        };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KEPT {
            known.pop_front();
        }
        known.push_back((asked, reasons.to_vec()));
    }

    #[cfg(test)]
    pub(super) fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Asked {
    fn is(&self, question: &Question<'_>, labels: &Arc<Labels>) -> bool {
        let Question { agent, run, action, now, in_scope } = *question;
        Arc::ptr_eq(&self.labels, labels)
            && self.about.is(action)
            && self.in_scope == in_scope
            && self.now == *now
            && self.environment == run.environment
            && self.adapter == run.adapter
            && self.repository == run.repository
            && self.remote == run.remote
            && self.agent == *agent
    }
}

impl About {
    fn of(action: &Action) -> Option<Self> {
        match action {
            Action::Llm(llm) => {
                Some(Self::Model { provider: llm.provider.clone(), model: llm.model.clone() })
            }
            Action::Tool(tool) if tool.facts == Facts::default() => {
                Some(Self::Tool { source: tool.source.clone(), tool: tool.tool.clone() })
            }
            Action::Tool(_) | Action::Launch(_) | Action::Egress(_) => None,
        }
    }

    fn is(&self, action: &Action) -> bool {
        match (self, action) {
            (Self::Model { provider, model }, Action::Llm(llm)) => {
                *model == llm.model && *provider == llm.provider
            }
            (Self::Tool { source, tool }, Action::Tool(asked)) => {
                *tool == asked.tool && *source == asked.source && asked.facts == Facts::default()
            }
            _ => false,
        }
    }
}
