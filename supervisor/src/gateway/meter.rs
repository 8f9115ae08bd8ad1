//! Watches an answer go by and learns what it was billed for, from the provider's own numbers. Sees a copy: the bytes
//! on their way to the client are never touched, held back or reordered by it.
//!
//! Invariants: any chunking of an answer gives the same reading; memory is bounded (what exceeds it makes the reading
//! unreliable, never smaller); numbers that cannot be read make it unreliable too.

use memchr::memchr;
use serde::Deserialize;

use crate::core::money::NanoUsd;
use crate::core::usage::Usage;

use super::bound::Surcharge;
use super::prices::Price;
use super::scan;

/// The most of one event, or of an answer that is not streamed, that is kept to be read.
const LARGEST: usize = 32 * 1024 * 1024;

/// One position of a bill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// The model, if it is another than was asked for.
    pub(super) model: Option<String>,
    /// Its tokens.
    pub(super) usage: Usage,
}

/// What the provider says it will bill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bill {
    /// Its positions.
    pub(super) lines: Vec<Line>,
    /// On top of the list price.
    pub(super) surcharge: Surcharge,
    /// What the provider says it comes to, where it says so.
    pub(super) told: Option<NanoUsd>,
    /// Tokens of the prompt as the provider counted them, if that can bound the next prompt.
    pub(super) prompt_tokens: Option<u64>,
}

impl Bill {
    /// All positions together.
    pub(super) fn usage(&self) -> Usage {
        self.lines.iter().fold(Usage::default(), |sum, line| sum.plus(&line.usage))
    }

    /// What it comes to; none if one of its models has no price.
    pub(super) fn cost(&self, asked: &Price, price: impl Fn(&str) -> Option<Price>) -> Option<NanoUsd> {
        let mut sum = NanoUsd::ZERO;
        for line in &self.lines {
            let price = match &line.model {
                Some(model) => price(model)?,
                None => *asked,
            };
            sum = sum.plus(price.cost(&line.usage));
        }
        Some(sum.scaled_up(self.surcharge.numerator, self.surcharge.denominator))
    }

    /// What the provider says it comes to, if that is more than this: then its price is not the one that is known.
    pub(super) fn told_above(&self, cost: NanoUsd) -> Option<NanoUsd> {
        self.told.filter(|told| *told > cost)
    }
}

/// A provider's reader of its own events and answers.
pub(super) trait Reader: Send {
    /// One event of a stream; answers whether it is the last that matters.
    fn event(&mut self, data: &[u8]) -> Result<bool, UnreadableError>;
    /// Whether a stream that ends here, without an event that says so, is whole.
    fn may_end(&self) -> bool {
        false
    }
    /// A whole answer that is not streamed.
    fn answer(&mut self, json: &[u8]) -> Result<(), UnreadableError>;
    /// The bill, if all of it was seen.
    fn bill(&self) -> Option<Bill>;
    /// The prompt's position of a bill that is not all there yet, if nothing more can come to it.
    fn prompt(&self) -> Option<Usage> {
        None
    }
}

/// The provider's numbers cannot be relied on; the whole reservation counts as spent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum UnreadableError {
    /// Not the wire's JSON.
    #[error("the provider's usage cannot be read")]
    Malformed,
    /// Billed at a rate that is not known.
    #[error("the provider bills `{0}`, which has no price")]
    Unpriced(String),
    /// An event or answer larger than is kept.
    #[error("the provider's answer is too large to be read")]
    TooLarge,
}

/// How an answer is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// Server-sent events.
    Events,
    /// One JSON value.
    Json,
}

/// Watches one answer.
pub(super) struct Meter {
    reader: Box<dyn Reader>,
    framing: Framing,
    /// The incomplete line of a stream, or all of an answer so far.
    line: Vec<u8>,
    /// The data of the event under way.
    data: Vec<u8>,
    within_event: bool,
    complete: bool,
    failed: Option<UnreadableError>,
    /// What the provider calls the answer, until somebody asks.
    name: Option<String>,
    /// In how many more events that is looked for.
    unnamed: u8,
}

impl Meter {
    pub(super) fn new(reader: Box<dyn Reader>, framing: Framing) -> Self {
        Self {
            reader,
            framing,
            line: Vec::new(),
            data: Vec::new(),
            within_event: false,
            complete: false,
            failed: None,
            name: None,
            unnamed: NAMED_WITHIN,
        }
    }

    /// Takes the next bytes in.
    pub(super) fn feed(&mut self, mut chunk: &[u8]) {
        if self.framing == Framing::Json {
            return self.keep(chunk);
        }
        while let Some(end) = memchr(b'\n', chunk) {
            let (line, rest) = chunk.split_at(end);
            chunk = &rest[1..];
            if self.line.is_empty() {
                self.take_line(line);
            } else {
                self.keep(line);
                let line = std::mem::take(&mut self.line);
                self.take_line(&line);
            }
        }
        self.keep(chunk);
    }

    /// The answer has ended as a whole.
    pub(super) fn end(&mut self) {
        if self.framing == Framing::Events && self.between_events() {
            self.complete |= self.reader.may_end();
        }
        if self.framing == Framing::Json && self.failed.is_none() {
            self.name = name_in(&self.line);
            match self.reader.answer(&self.line) {
                Ok(()) => self.complete = true,
                Err(error) => self.failed = Some(error),
            }
        }
    }

    /// What the provider calls the answer, once.
    pub(super) const fn take_name(&mut self) -> Option<String> {
        self.name.take()
    }

    /// Whether everything that matters was seen, so that the call can be settled.
    pub(super) const fn is_complete(&self) -> bool {
        self.complete
    }

    /// Whether an event may be put between what was seen and what comes.
    pub(super) fn between_events(&self) -> bool {
        self.framing == Framing::Events && self.line.is_empty() && !self.within_event
    }

    /// The bill, or why there is none.
    pub(super) fn bill(&self) -> Result<Option<Bill>, UnreadableError> {
        match &self.failed {
            Some(error) => Err(error.clone()),
            None if self.complete => Ok(self.reader.bill()),
            None => Ok(None),
        }
    }

    /// The prompt of an answer that broke off, if it was counted for good.
    pub(super) fn prompt(&self) -> Option<Usage> {
        if self.complete || self.failed.is_some() { None } else { self.reader.prompt() }
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.line.len().saturating_add(bytes.len()) > LARGEST {
            self.failed = Some(UnreadableError::TooLarge);
        } else {
            self.line.extend_from_slice(bytes);
        }
    }

    fn take_line(&mut self, line: &[u8]) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            self.within_event = false;
            if !self.data.is_empty() {
                let data = std::mem::take(&mut self.data);
                self.take_event(&data);
            }
            return;
        }
        // A comment is complete in itself.
        self.within_event |= !line.starts_with(b":");
        if let Some(data) = line.strip_prefix(b"data:") {
            if self.data.len().saturating_add(data.len()) > LARGEST {
                self.failed = Some(UnreadableError::TooLarge);
                return;
            }
            if !self.data.is_empty() {
                self.data.push(b'\n');
            }
            self.data.extend_from_slice(data.strip_prefix(b" ").unwrap_or(data));
        }
    }

    fn take_event(&mut self, data: &[u8]) {
        if self.failed.is_some() {
            return;
        }
        if self.unnamed > 0 {
            self.name = name_in(data);
            self.unnamed = if self.name.is_some() { 0 } else { self.unnamed - 1 };
        }
        match self.reader.event(data) {
            Ok(last) => self.complete |= last,
            Err(error) => self.failed = Some(error),
        }
    }
}

/// The first events of a stream, one of which names the answer.
const NAMED_WITHIN: u8 = 4;

/// What an answer or one of its first events says that it is called: every wire says it in one of these places.
fn name_in(json: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Named {
        id: Option<String>,
        response_id: Option<String>,
        message: Option<Box<Self>>,
        response: Option<Box<Self>>,
    }
    // A stream may come as a list of its pieces.
    let first = if json.starts_with(b"[") { scan::elements(json).first().copied()? } else { json };
    let Named { id, response_id, message, response } = serde_json::from_slice(first).ok()?;
    let within = |part: Option<Box<Named>>| part.and_then(|part| part.id);
    id.or(response_id).or_else(|| within(message)).or_else(|| within(response))
}

#[cfg(test)]
#[path = "meter/tests.rs"]
mod tests;
