//! Labels that runs gain by what their calls bring.
//!
//! Invariants: a run has a label before it can act upon what brought it: what is known of a source is kept with the
//! decision, before the effect; what is found in a result with its outcome, before the result is passed on. A label that
//! cannot be kept is gained all the same. Each is an event of its own in the log, once, and names the record of the call.

use super::{Gate, LiveRun};
use crate::core::action::Action;
use crate::core::ids::RecordId;
use crate::core::label::Labels;
use crate::core::record::{Entry, EventEntry, Who};
use crate::core::seen;
use crate::registry::Snapshot;
use crate::store::{StoreError, Transaction, records, runs};

/// What a run gains by a call.
#[derive(Debug, Clone)]
pub(super) struct Gain {
    who: Who,
    labels: Labels,
    /// What brings it, in words.
    by: String,
}

impl Gain {
    /// By a call's source, of which the run has not seen anything yet, and by what was said of it when it was decided.
    pub(super) fn of_source(
        snapshot: &Snapshot,
        live: &LiveRun,
        action: &Action,
        said: Labels,
    ) -> Option<Self> {
        let Action::Tool(tool) = action else { return None };
        let labels = seen::brought(&snapshot.config.data, tool).with(said);
        let by = format!("by calling `{}`", action.name());
        (!labels.beyond(live.labels()).is_empty()).then(|| Self { who: Who::from(&live.run), labels, by })
    }

    /// By a result that nobody could read.
    fn of_unread(live: &LiveRun) -> Option<Self> {
        let (labels, by) = (seen::UNSEEN, "by a result that could not be read".to_owned());
        (!labels.beyond(live.labels()).is_empty()).then(|| Self { who: Who::from(&live.run), labels, by })
    }

    /// By what was found in a result.
    pub(super) fn of_result(live: &LiveRun, labels: Labels) -> Option<Self> {
        let by = "by what was found in a result".to_owned();
        (!labels.beyond(live.labels()).is_empty()).then(|| Self { who: Who::from(&live.run), labels, by })
    }

    pub(super) const fn labels(&self) -> Labels {
        self.labels
    }

    /// Keeps the labels and tells of those that are new.
    pub(super) fn keep(&self, tx: &Transaction<'_>, record: Option<RecordId>) -> Result<(), StoreError> {
        let new = runs::label(tx, self.who.run, self.labels)?;
        if new.is_empty() {
            return Ok(());
        }
        let event = EventEntry::new("labelled", format!("was labelled {new} {}", self.by));
        let event = EventEntry { who: Some(self.who.clone()), ..event }.fact("labels", new);
        let event = match record {
            Some(record) => event.fact("by", record),
            None => event,
        };
        records::append(tx, Entry::Event(event)).map(drop)
    }
}

impl Gate {
    /// A run has a result that nobody could read: it counts as confidential.
    pub async fn miss_result(&self, live: &LiveRun) {
        let Some(gain) = Gain::of_unread(live) else { return };
        self.gained(Some(&gain));
        if let Err(error) = self.store().write(move |tx| gain.keep(tx, None)).await {
            tracing::error!(%error, "a run's label could not be kept");
        }
    }

    /// What a run has from now on, whoever asks.
    pub(super) fn gained(&self, gain: Option<&Gain>) {
        if let Some((gain, live)) = gain.and_then(|gain| Some((gain, self.live(gain.who.run)?))) {
            live.gain(gain.labels());
        }
    }
}
