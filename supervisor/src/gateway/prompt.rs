//! What prompts hold, against the rules about data for models.
//!
//! Invariants: nothing is looked for where every rule allows it; what is redacted is before anything is reckoned, so that
//! the bound, the count and the hold are those of what is sent; what is found is told by its kind, never by its text. A
//! conversation repeats its history with every call: each of its messages is looked through once, and known again by
//! its bytes. Things are found within one message, not across several.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::core::data::{Carried, DataRules, Destination, Treatment};
use crate::core::detect::{self, Form, Found};
use crate::registry::Snapshot;
use crate::sys::aside::{self, AsideError};

use super::scan;

/// So many messages are known again, and as many of before them.
const KNOWN: usize = 4096;
/// What has more findings is looked through anew each time.
const FINDINGS_MAX: usize = 256;

/// A request's body as it may be sent.
pub(super) struct Sent {
    pub(super) body: Bytes,
    /// What it holds.
    pub(super) data: Carried,
    /// What of it a person is asked about.
    pub(super) asked: Option<[u8; 32]>,
}

/// Messages that were looked through, by their digests.
#[derive(Default)]
pub(super) struct Known {
    generations: Mutex<[HashMap<[u8; 32], Arc<Found>>; 2]>,
}

impl Known {
    /// What a message holds.
    fn look(&self, message: &[u8]) -> Arc<Found> {
        let digest: [u8; 32] = Sha256::digest(message).into();
        let known = {
            let generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
            generations.iter().find_map(|known| known.get(&digest).cloned())
        };
        let found = known.unwrap_or_else(|| Arc::new(detect::scan(message, Form::Json)));
        if found.findings.len() <= FINDINGS_MAX {
            self.keep(digest, Arc::clone(&found));
        }
        found
    }

    fn keep(&self, digest: [u8; 32], found: Arc<Found>) {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        let [young, old] = &mut *generations;
        if young.len() >= KNOWN && !young.contains_key(&digest) {
            *old = std::mem::take(young);
        }
        young.insert(digest, found);
    }

    /// What a whole body holds.
    fn look_through(&self, body: &str) -> Found {
        let mut all = Found { findings: Vec::new(), untold: Vec::new(), complete: true };
        for message in messages(body.as_bytes()) {
            let found = self.look(message);
            let start = message.as_ptr().addr() - body.as_ptr().addr();
            all.complete &= found.complete;
            all.untold.extend(&found.untold);
            all.findings.extend(found.findings.iter().map(|finding| {
                let range = finding.range.start + start..finding.range.end + start;
                detect::Finding { range, ..finding.clone() }
            }));
        }
        all
    }
}

/// The parts of a body that are the same in the next call: elements of its lists, everything else as it is. Together they
/// are all of it but for signs.
fn messages(body: &[u8]) -> Vec<&[u8]> {
    let members = scan::members(body);
    if members.is_empty() {
        return vec![body];
    }
    let parts = members.into_iter().flat_map(|(name, value)| {
        let mut parts = scan::elements(value);
        parts.push(name);
        parts
    });
    parts.collect()
}

/// The body as the rules let it go to a provider.
fn cleared(known: &Known, rules: &DataRules, provider: &str, body: Bytes) -> Sent {
    let to = Destination::Model(provider);
    // What is no text is no call, and is refused as such.
    let Ok(text) = std::str::from_utf8(&body) else {
        return Sent { body, data: Carried::default(), asked: None };
    };
    let look = |text: &str| known.look_through(text);
    let (changed, data) = rules.cleared_by(to, text, look);
    let sent = changed.as_deref().unwrap_or(text);
    let asked = asked(rules, to, sent, &look(sent));
    let body = changed.map_or_else(|| body.clone(), Bytes::from);
    Sent { body, data, asked }
}

/// A digest of everything that a person is asked about: the same things are the same question, whatever else is said.
fn asked(rules: &DataRules, to: Destination<'_>, text: &str, found: &Found) -> Option<[u8; 32]> {
    let asks = found.findings.iter().filter(|finding| rules.treatment(to, finding.kind).0 == Treatment::Ask);
    let mut things: Vec<[u8; 32]> = asks
        .filter_map(|finding| {
            let thing = text.as_bytes().get(finding.range.clone())?;
            Some(
                Sha256::new()
                    .chain_update(finding.kind.name())
                    .chain_update([0])
                    .chain_update(thing)
                    .finalize()
                    .into(),
            )
        })
        .collect();
    // Where there are more than were told, only the same text holds the same.
    if found.untold.iter().any(|kind| rules.treatment(to, *kind).0 == Treatment::Ask) {
        things.push(Sha256::digest(text).into());
    }
    things.sort_unstable();
    things.dedup();
    (!things.is_empty()).then(|| Sha256::digest(things.concat()).into())
}

/// The body as the rules let it go to the provider of that name, and what it then holds. It is looked through on a thread
/// that may be busy.
pub(super) async fn clear(
    known: &Arc<Known>,
    snapshot: &Arc<Snapshot>,
    named: &str,
    body: Bytes,
) -> Result<Sent, AsideError> {
    if !snapshot.config.data.looks_at(Destination::Model(named)) {
        return Ok(Sent { body, data: Carried::default(), asked: None });
    }
    let (known, snapshot) = (Arc::clone(known), Arc::clone(snapshot));
    let (bytes, named) = (body.len(), named.to_owned());
    aside::look(bytes, move || cleared(&known, &snapshot.config.data, &named, body)).await
}

#[cfg(test)]
mod tests;
