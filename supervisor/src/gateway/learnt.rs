//! What answers have taught about the calls that come after them: how long a known prompt is, how long a conversation that
//! the provider keeps, and how far the provider's own counts are off.

use super::anchor::{Anchored, Anchors, Prompt};
use super::answers::{Answer, Answers};
use super::counts::Counts;

/// All that was learnt.
#[derive(Default)]
pub(super) struct Learnt {
    pub(super) anchors: Anchors,
    pub(super) answers: Answers,
    pub(super) counts: Counts,
}

/// What one answer may teach something about.
pub(super) struct Learning {
    pub(super) prompt: Prompt,
    /// What the provider said beforehand that the prompt comes to, if it was asked.
    pub(super) counted: Option<u64>,
    /// Whose answer it is; its name is what the provider calls it, once that is known.
    pub(super) answer: Answer,
}

impl Learnt {
    /// The tightest that is known of a prompt. `continued` is the answer that it goes on from, whose conversation the
    /// provider puts before all of its `bytes`.
    pub(super) fn measure(
        &self,
        prompt: &Prompt,
        bytes: u64,
        continued: Option<&Answer>,
    ) -> [Option<Anchored>; 2] {
        let before = continued.and_then(|answer| self.answers.tokens(answer));
        let after = before.map(|counted| Anchored { counted, bytes, content: prompt.content() });
        [self.anchors.measure(prompt), after]
    }

    /// Takes note of what the provider counted for prompt and answer.
    pub(super) fn learn(&self, learning: Learning, prompt_tokens: u64, output_tokens: u64) {
        let Learning { prompt, counted, answer } = learning;
        self.anchors.remember(&prompt, prompt_tokens);
        if let Some(counted) = counted {
            self.counts.compare(&answer.provider, &answer.model, counted, prompt_tokens);
        }
        if !answer.name.is_empty() {
            self.answers.remember(answer, prompt_tokens.saturating_add(output_tokens));
        }
    }
}
