//! What the keyring said, kept in memory for a short while: opening a keyring takes milliseconds, and every model call
//! needs its key.
//!
//! Invariants: nothing is kept longer than [`KEEP`], and what is forgotten is zeroed with its last use; a key that is
//! set or removed through here is never answered from before; one caller asks the keyring, and whoever comes
//! meanwhile waits for its answer, so that many calls at once are not taken for a keyring that hangs.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Secret, SecretError};

/// How long a secret is kept: so long does a change made past agentsup go unnoticed.
const KEEP: Duration = Duration::from_secs(60);
/// How long a failure is kept: for those who waited for the same answer.
const KEEP_FAILURE: Duration = Duration::from_secs(1);

type Answer = Result<Arc<Secret>, SecretError>;

#[derive(Default)]
pub(super) struct Kept {
    answers: Mutex<Answers>,
    asking: Mutex<()>,
}

#[derive(Default)]
struct Answers {
    by_name: BTreeMap<String, (Answer, Instant)>,
    /// Counts what was forgotten on purpose, so that an answer from before is not kept after it.
    forgotten: u64,
}

impl Kept {
    pub(super) const fn new() -> Self {
        let answers = Answers { by_name: BTreeMap::new(), forgotten: 0 };
        Self { answers: Mutex::new(answers), asking: Mutex::new(()) }
    }

    fn answers(&self) -> MutexGuard<'_, Answers> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer that is kept. Never waits for a keyring.
    pub(super) fn at_hand(&self, name: &str) -> Option<Answer> {
        let mut answers = self.answers();
        answers.drop_old(Instant::now());
        answers.by_name.get(name).map(|(answer, _)| answer.clone())
    }

    /// The answer that is kept, or else the one that `ask` gets from the keyring.
    pub(super) fn load(
        &'static self,
        name: &str,
        ask: impl FnOnce() -> Result<Secret, SecretError>,
    ) -> Answer {
        if let Some(answer) = self.at_hand(name) {
            return answer;
        }
        let _asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(answer) = self.at_hand(name) {
            return answer;
        }
        let before = self.answers().forgotten;
        let answer = ask().map(Arc::new);
        let keep = if answer.is_ok() { KEEP } else { KEEP_FAILURE };
        let mut answers = self.answers();
        if answers.forgotten == before {
            answers.by_name.insert(name.to_owned(), (answer.clone(), Instant::now() + keep));
            self.forget_after(keep);
        }
        answer
    }

    /// To be called once the keyring has changed.
    pub(super) fn forget(&self, name: &str) {
        let mut answers = self.answers();
        answers.forgotten += 1;
        answers.by_name.remove(name);
    }

    /// So that an idle daemon holds no key. Where there is no runtime, the process is a short one.
    fn forget_after(&'static self, keep: Duration) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            let _over = tokio::time::timeout(keep, pending::<()>()).await;
            self.answers().drop_old(Instant::now());
        });
    }
}

impl Answers {
    fn drop_old(&mut self, now: Instant) {
        self.by_name.retain(|_, (_, until)| *until > now);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn kept() -> &'static Kept {
        Box::leak(Box::new(Kept::new()))
    }

    fn told(answer: &Answer) -> Result<&str, &SecretError> {
        answer.as_ref().map(|secret| secret.reveal())
    }

    #[test]
    fn many_at_once_ask_once() {
        let (kept, asked) = (kept(), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..32 {
                scope.spawn(|| {
                    let answer = kept.load("a", || {
                        asked.fetch_add(1, Ordering::SeqCst);
                        std::thread::yield_now();
                        Ok(Secret::new("k".into()))
                    });
                    assert_eq!(told(&answer), Ok("k"));
                });
            }
        });
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn what_was_changed_is_asked_again() {
        let kept = kept();
        let load = |key: &str| kept.load("a", || Ok(Secret::new(key.into())));
        assert_eq!(told(&load("1")), Ok("1"));
        assert_eq!(told(&load("2")), Ok("1"));
        kept.forget("a");
        assert!(kept.at_hand("a").is_none());
        assert_eq!(told(&load("3")), Ok("3"));
    }

    #[test]
    fn an_answer_from_before_a_change_is_not_kept_after_it() {
        let kept = kept();
        let answer = kept.load("a", || {
            // Somebody sets the key while its old value is on its way.
            kept.forget("a");
            Ok(Secret::new("old".into()))
        });
        assert_eq!(told(&answer), Ok("old"));
        assert!(kept.at_hand("a").is_none());
    }

    #[test]
    fn nothing_is_kept_for_long() {
        let kept = kept();
        kept.load("a", || Ok(Secret::new("k".into()))).unwrap();
        kept.load("b", || Err(SecretError::KeyringMissing("b".into()))).map(drop).unwrap_err();
        let left = |after: Duration| {
            let mut answers = kept.answers();
            answers.drop_old(Instant::now() + after);
            answers.by_name.keys().cloned().collect::<Vec<_>>()
        };
        assert_eq!(left(Duration::ZERO), ["a", "b"]);
        assert_eq!(left(KEEP_FAILURE), ["a"]);
        assert_eq!(left(KEEP), [""; 0]);
    }
}
