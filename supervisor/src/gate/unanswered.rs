//! Questions that whoever asked them did not wait for to the end: the client broke off. Nothing was allowed, but a person
//! may have seen what was asked, and may even have said yes.

use super::Gate;
use crate::core::action::Action;
use crate::core::ids::ApprovalId;
use crate::core::record::{Entry, EventEntry, Who};
use crate::core::run::Run;
use crate::store::records;

/// Somebody waits for an answer and what comes of it. Recorded as given up unless that is known first.
pub(super) struct Wait {
    gate: Gate,
    event: Option<EventEntry>,
}

impl Wait {
    pub(super) fn new(gate: &Gate, run: &Run, action: &Action, id: ApprovalId) -> Self {
        let text = format!("did not wait for what was asked about {} `{}`", action.kind(), action.name());
        let event = EventEntry { who: Some(Who::from(run)), ..EventEntry::new("unanswered", text) };
        Self { gate: gate.clone(), event: Some(event.fact("approval", id)) }
    }

    /// The decision tells what came of it.
    pub(super) fn end(mut self) {
        self.event = None;
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        let Some(event) = self.event.take() else { return };
        let work =
            move |tx: &crate::store::Transaction<'_>| records::append(tx, Entry::Event(event)).map(drop);
        if let Err(error) = self.gate.store().enqueue(work) {
            tracing::error!(%error, "a question that nobody waits for could not be recorded");
        }
    }
}
