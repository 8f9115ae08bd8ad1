//! Answers that a provider keeps, by the names that later calls continue them by: how long the conversation was then.
//!
//! Invariants: an answer serves only its own run, provider and model (models count differently); memory is bounded, and
//! what is forgotten is bounded by what the model accepts instead.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use crate::core::ids::RunId;

/// Answers kept for all runs together.
const KEPT: usize = 1024;
/// A longer name is no provider's.
const NAME_BYTES: usize = 200;

/// Which answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// Whose.
    pub(super) run: RunId,
    /// The provider's name in the configuration.
    pub(super) provider: String,
    /// The model that gave it.
    pub(super) model: String,
    /// What the provider calls it.
    pub(super) name: String,
}

/// The answers of all runs, latest first.
#[derive(Default)]
pub(super) struct Answers {
    known: Mutex<VecDeque<(Answer, u64)>>,
}

impl Answers {
    /// Keeps how many tokens prompt and answer came to together.
    pub(super) fn remember(&self, answer: Answer, tokens: u64) {
        if answer.name.len() > NAME_BYTES {
            return;
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.push_front((answer, tokens));
        known.truncate(KEPT);
    }

    /// The tokens of the conversation up to and with this answer.
    pub(super) fn tokens(&self, answer: &Answer) -> Option<u64> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().find(|(kept, _)| kept == answer).map(|(_, tokens)| *tokens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_serves_its_own_run_provider_and_model_and_memory_is_bounded() {
        let answer = |seed: u8, provider: &str, model: &str, name: &str| Answer {
            run: RunId::from_parts(1, [seed; 10]),
            provider: provider.into(),
            model: model.into(),
            name: name.into(),
        };
        let answers = Answers::default();
        answers.remember(answer(1, "p", "m", "a"), 10);
        assert_eq!(answers.tokens(&answer(1, "p", "m", "a")), Some(10));
        for other in [answer(2, "p", "m", "a"), answer(1, "q", "m", "a"), answer(1, "p", "n", "a")] {
            assert_eq!(answers.tokens(&other), None);
        }
        answers.remember(answer(1, "p", "m", &"x".repeat(NAME_BYTES + 1)), 10);
        for _ in 0..KEPT {
            assert_eq!(answers.known.lock().unwrap().len().min(1), 1);
            answers.remember(answer(1, "p", "m", "b"), 11);
        }
        assert_eq!(answers.known.lock().unwrap().len(), KEPT);
        assert_eq!(answers.tokens(&answer(1, "p", "m", "a")), None);
    }
}
