//! Calls under way, so that an agent can take one back by the id it gave it.
//!
//! Ids are the client's own, so several clients of one run may use the same: the session that we gave each at its
//! introduction tells them apart. It grants nothing and nothing else is kept for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use super::wire::Object;
use crate::core::ids::RunId;

/// Which call is meant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    run: RunId,
    session: String,
    /// As it is spelt in JSON.
    id: String,
}

impl Key {
    pub(super) fn new(run: RunId, session: &str, id: &str) -> Self {
        Self { run, session: session.to_owned(), id: id.to_owned() }
    }
}

/// The calls under way.
#[derive(Clone, Default)]
pub(super) struct InFlight {
    calls: Arc<Mutex<HashMap<Key, (u64, CancellationToken)>>>,
}

impl InFlight {
    fn calls(&self) -> MutexGuard<'_, HashMap<Key, (u64, CancellationToken)>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call is under way as long as what this gives lives.
    pub(super) fn open(&self, key: Key, cancelled: CancellationToken) -> Open {
        let mut calls = self.calls();
        // A client that gives two calls one id can take back the later one only.
        let turn = calls.get(&key).map_or(0, |(turn, _)| turn + 1);
        calls.insert(key.clone(), (turn, cancelled));
        drop(calls);
        Open { calls: self.clone(), key, turn }
    }

    /// Takes a call back; `params` are those of the notification. An unknown call has ended already.
    pub(super) fn cancel(&self, run: &RunId, session: &str, params: Option<&str>) {
        let params = params.and_then(|text| Object::parse(text).ok());
        if let Some(id) = params.and_then(|params| params.member("requestId"))
            && let Some((_, cancelled)) = self.calls().get(&Key::new(*run, session, id))
        {
            cancelled.cancel();
        }
    }
}

#[cfg(test)]
impl InFlight {
    pub(super) fn is_empty(&self) -> bool {
        self.calls().is_empty()
    }
}

/// A call under way.
pub(super) struct Open {
    calls: InFlight,
    key: Key,
    turn: u64,
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut calls = self.calls.calls();
        if calls.get(&self.key).is_some_and(|(turn, _)| *turn == self.turn) {
            calls.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_call_that_is_meant_is_taken_back() {
        let run = RunId::from_parts(1, [0; 10]);
        let other = RunId::from_parts(2, [0; 10]);
        let in_flight = InFlight::default();
        let token = CancellationToken::new();
        let open = in_flight.open(Key::new(run, "s", "7"), token.clone());
        for (run, session, params) in [
            (run, "s", r#"{"requestId":"7"}"#),
            (run, "t", r#"{"requestId":7}"#),
            (other, "s", r#"{"requestId":7}"#),
            (run, "s", "{}"),
            (run, "s", "7"),
        ] {
            in_flight.cancel(&run, session, Some(params));
            assert!(!token.is_cancelled(), "{params}");
        }
        in_flight.cancel(&run, "s", Some(r#"{"requestId": 7}"#));
        assert!(token.is_cancelled());
        drop(open);
        assert!(in_flight.calls().is_empty());
    }

    #[test]
    fn of_two_calls_with_one_id_the_first_end_leaves_the_second() {
        let run = RunId::from_parts(1, [0; 10]);
        let in_flight = InFlight::default();
        let first = in_flight.open(Key::new(run, "", "1"), CancellationToken::new());
        let token = CancellationToken::new();
        let second = in_flight.open(Key::new(run, "", "1"), token.clone());
        drop(first);
        in_flight.cancel(&run, "", Some(r#"{"requestId":1}"#));
        assert!(token.is_cancelled());
        drop(second);
        assert!(in_flight.calls().is_empty());
    }
}
