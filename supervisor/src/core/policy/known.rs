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

/// What the answers of one principal and resource may take, in bytes: some dozens of them.
const BYTES_MAX: usize = 16 * 1024;
/// The largest that is kept, with its question: one alone must not push all others out.
const ONE_MAX: usize = BYTES_MAX / 4;
/// What a text takes beside its bytes.
const EACH: usize = 32;

/// What is the case, for the policies of some layers.
pub(super) type Asked = (Seen, Vec<Values>);

/// The answers.
#[derive(Default)]
pub(super) struct Known(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    answers: HashMap<Asked, Arc<[Reason]>>,
    bytes: usize,
}

impl Known {
    /// The answer, if this was asked before.
    pub(super) fn find(&self, asked: &Asked) -> Option<Arc<[Reason]>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).answers.get(asked).cloned()
    }

    /// Keeps an answer.
    pub(super) fn keep(&self, asked: Asked, answer: &Arc<[Reason]>) {
        let size = size(&asked, answer);
        if size > ONE_MAX {
            return;
        }
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.bytes + size > BYTES_MAX {
            *kept = Kept::default();
        }
        // Two that ask the same at once both come here.
        if kept.answers.insert(asked, Arc::clone(answer)).is_none() {
            kept.bytes += size;
        }
    }
}

fn size((_, values): &Asked, answer: &[Reason]) -> usize {
    let of_answer = answer.iter().map(|reason| 2 * EACH + reason.source.len() + reason.text.len());
    EACH + values.iter().flatten().map(|(_, value)| bytes(value)).chain(of_answer).sum::<usize>()
}

fn bytes(value: &Value) -> usize {
    EACH + match value {
        Value::Text(text) => text.len(),
        Value::Set(texts) => texts.iter().map(|text| EACH + text.len()).sum(),
        Value::Truth(_) | Value::Number(_) | Value::Present => 0,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::super::super::decision::Decision;
    use super::super::labels::Labels;
    use super::*;

    fn asked(text: &str) -> Asked {
        (Labels::default().below("team").seen(), vec![vec![("path", Value::Text(text.to_owned()))]])
    }

    fn answer(text: &str) -> Arc<[Reason]> {
        vec![Reason::new("org/one", Decision::Deny, text)].into()
    }

    #[test]
    fn answers_take_no_more_than_their_bytes() {
        let known = Known::default();
        let long = "x".repeat(ONE_MAX);
        known.keep(asked(&long), &answer("no"));
        known.keep(asked("one"), &answer(&long));
        assert!(known.0.lock().unwrap().answers.is_empty());
        let reason = "y".repeat(1000);
        for number in 0..1000 {
            let of = format!("path {number}");
            known.keep(asked(&of), &answer(&reason));
            assert_eq!(known.find(&asked(&of)), Some(answer(&reason)));
            let kept = known.0.lock().unwrap();
            let sum: usize = kept.answers.iter().map(|(asked, answer)| size(asked, answer)).sum();
            assert_eq!((kept.bytes, kept.bytes <= BYTES_MAX, kept.answers.len() <= 16), (sum, true, true));
        }
        let before = known.0.lock().unwrap().bytes;
        known.keep(asked("path 999"), &answer(&reason));
        assert_eq!(known.0.lock().unwrap().bytes, before);
    }
}
