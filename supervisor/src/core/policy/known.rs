//! Answers that were given before: an agent does the same things again and again, and to policies most of what it does
//! looks the same.
//!
//! Invariants: a question is the same only if all values are that its policies look at, and the layers that are asked;
//! the answers are those of one principal, one resource and the policies that can apply to them, and go with these.
//! Bounded in number and in size: full means from the beginning.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::super::decision::Reason;
use super::asked::{Value, Values};
use super::labels::Seen;

/// How many answers are kept.
const KEPT: usize = 64;
/// The largest question that is kept, in bytes of its texts.
const BYTES_MAX: usize = 4096;

/// What is the case, for the policies of some layers.
pub(super) type Asked = (Seen, Vec<Values>);

/// The answers.
#[derive(Default)]
pub(super) struct Known(Mutex<HashMap<Asked, Arc<[Reason]>>>);

impl Known {
    /// The answer, if this was asked before.
    pub(super) fn find(&self, asked: &Asked) -> Option<Arc<[Reason]>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(asked).cloned()
    }

    /// Keeps an answer.
    pub(super) fn keep(&self, asked: Asked, answer: &Arc<[Reason]>) {
        if asked.1.iter().flatten().map(|(_, value)| bytes(value)).sum::<usize>() > BYTES_MAX {
            return;
        }
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KEPT {
            known.clear();
        }
        known.insert(asked, Arc::clone(answer));
    }
}

fn bytes(value: &Value) -> usize {
    const EACH: usize = 32;
    EACH + match value {
        Value::Text(text) => text.len(),
        Value::Set(texts) => texts.iter().map(|text| EACH + text.len()).sum(),
        Value::Truth(_) | Value::Number(_) | Value::Present => 0,
    }
}
