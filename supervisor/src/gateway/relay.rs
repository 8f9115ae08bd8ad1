//! Passes an answer on, chunk by chunk as it comes, while the meter watches; settles the call with what it learnt.
//!
//! Invariants: nothing is held back but the last piece of an answer that is not streamed, the event under way of a
//! stream that is sieved, and the chunk that completes a bill until the bill is queued ahead of whatever is decided next
//! (so that the client's next call finds the money free), or, where it is more than was held, until it is on the disk;
//! memory is bounded; a client that leaves does not end the call, a run that ends or is
//! suspended does, at once.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::core::usage::{Charge, Outcome, Usage};
use crate::gate::{LiveRun, Permit};
use crate::registry::Snapshot;
use crate::store::StoreError;
use crate::sys::http::{Body, BodyError};

use super::Gateway;
use super::bound::Surcharge;
use super::learnt::Learning;
use super::meter::{Framing, Meter};
use super::prices::{self, Price};
use super::providers::Provider;
use super::sieve::Sieve;

/// How long the provider is still waited for when the client has gone, to learn what the call cost.
pub(super) const DRAIN: Duration = Duration::from_secs(120);

/// The longest silence of a provider within an answer, and of a client that does not read.
const SILENCE: Duration = Duration::from_secs(300);
/// How long a client is given to take note of an answer's untimely end.
const LAST_WORD: Duration = Duration::from_secs(5);
/// Before the last word: Google's client reads an error only where it does not come together with what came before.
const BREATH: Duration = Duration::from_millis(100);
/// Chunks between the provider and a client that reads slowly.
const AHEAD: usize = 16;

/// The money side of an answer under way.
pub(super) struct Ledger {
    pub(super) meter: Meter,
    pub(super) permit: Permit,
    pub(super) price: Price,
    pub(super) learning: Learning,
    pub(super) status: String,
    /// The provider's name, and the configuration that says what it takes.
    pub(super) prices: (String, Arc<Snapshot>),
    /// The most output that was let through, and what may come on top of its price.
    pub(super) most: (u64, Surcharge),
}

impl Ledger {
    /// Takes note of what the provider calls the answer.
    fn name(&mut self) {
        if let Some(name) = self.meter.take_name() {
            self.permit.name_upstream(&name);
            self.learning.answer.name = name;
        }
    }

    /// Posts what the provider said; what it did not say counts as the most it can be. Gives what is left of it to be
    /// done once the client has its answer.
    async fn settle(self, note: &str, gateway: &Gateway) -> Option<Settling> {
        let broken_off = self.broken_off();
        let Self { meter, permit, price, status, learning, .. } = self;
        let (provider, snapshot) = self.prices;
        let mut problem = None;
        let bill = meter.bill().unwrap_or_else(|error| {
            problem = Some(error.to_string());
            None
        });
        let cost = bill
            .as_ref()
            .and_then(|bill| bill.cost(&price, |model| prices::price(&provider, model, &snapshot.config)));
        let told = bill.as_ref().zip(cost).and_then(|(bill, cost)| bill.told_above(cost));
        let (charge, anchor) = match (&bill, told.or(cost)) {
            (Some(bill), Some(cost)) => (Charge::Settled { usage: bill.usage(), cost }, bill.prompt_tokens),
            _ => (broken_off, None),
        };
        if let Some(problem) = problem {
            tracing::error!(problem, "a model call's usage is not known; its reservation counts as spent");
        }
        if let (Some(prompt_tokens), Charge::Settled { usage, .. }) = (anchor, charge) {
            gateway.learnt.learn(learning, prompt_tokens, usage.output_tokens);
        }
        let mut status = if note.is_empty() { status } else { format!("{status}, {note}") };
        if let Some((told, cost)) = told.zip(cost) {
            status.push_str(&format!(", billed {told} by the provider where its price makes {cost}"));
        }
        let is_covered = permit.covers(&charge);
        let outcome = Outcome::charged(status, charge);
        if !is_covered {
            tell(permit.settle(outcome).await);
            return None;
        }
        let settling = permit.settle_behind(outcome);
        Some(Box::pin(async { tell(settling.await) }))
    }

    /// What is posted if the answer has ended before the provider said what it bills.
    fn broken_off(&self) -> Charge {
        let Some(prompt) = self.meter.prompt() else { return Charge::Assumed };
        let (output_tokens, surcharge) = self.most;
        let usage = Usage { output_tokens, ..prompt };
        let cost = self.price.cost(&usage).scaled_up(surcharge.numerator, surcharge.denominator);
        Charge::AtMost { usage, cost }
    }
}

/// A settlement that has its place before whatever is decided next, and is still to be written.
type Settling = Pin<Box<dyn Future<Output = ()> + Send>>;

fn tell(settled: Result<(), StoreError>) {
    if let Err(error) = settled {
        tracing::error!(%error, "a model call could not be settled; its reservation counts as spent");
    }
}

/// How an answer ended.
enum End {
    /// As the provider meant it to.
    Whole,
    /// Before that.
    Cut(String),
    /// The run may not hear any more of it.
    Closed(&'static str),
    /// The client has left, and nothing is to be learnt any more.
    Abandoned,
}

/// An answer on its way.
pub(super) struct Relay {
    upstream: Incoming,
    live: Arc<LiveRun>,
    provider: &'static dyn Provider,
    framing: Framing,
    /// Until the call is settled; none for what costs nothing.
    ledger: Option<Ledger>,
    settling: Option<Settling>,
    /// Whether the provider has said all that matters; what ends then ends well.
    complete: bool,
    client: mpsc::Sender<Result<Bytes, BodyError>>,
    /// Once the client has left: until when the provider is still listened to.
    drain_until: Option<Instant>,
    /// The last piece of an answer that is not streamed.
    held: Option<Bytes>,
    /// For a stream with events that the client did not ask for.
    sieve: Option<Sieve>,
}

impl Relay {
    /// A relay and the body that its client reads.
    pub(super) fn new(
        upstream: Incoming,
        live: Arc<LiveRun>,
        provider: &'static dyn Provider,
        framing: Framing,
        ledger: Option<Ledger>,
        sieve: Option<Sieve>,
    ) -> (Self, Body) {
        let (client, mut chunks) = mpsc::channel::<Result<Bytes, BodyError>>(AHEAD);
        let stream = futures_util::stream::poll_fn(move |cx| chunks.poll_recv(cx));
        let frames = futures_util::StreamExt::map(stream, |chunk| chunk.map(Frame::data));
        let body = StreamBody::new(frames).boxed_unsync();
        let (settling, complete, drain_until, held) = (None, false, None, None);
        let relay = Self {
            upstream,
            live,
            provider,
            framing,
            ledger,
            settling,
            complete,
            client,
            drain_until,
            held,
            sieve,
        };
        (relay, body)
    }

    /// Relays to the end, whatever that is.
    pub(super) async fn run(mut self, gateway: &Gateway) {
        let end = loop {
            match self.next().await {
                Ok(Some(data)) => {
                    self.take(data, gateway).await;
                    self.let_settle(gateway).await;
                }
                Ok(None) => {}
                Err(end) => break end,
            }
        };
        self.finish(end, gateway).await;
        self.let_settle(gateway).await;
    }

    /// Waits for what the provider sends next; none if it was nothing, or the client left.
    async fn next(&mut self) -> Result<Option<Bytes>, End> {
        let silent_from = Instant::now() + SILENCE;
        let deadline = self.drain_until.map_or(silent_from, |until| until.min(silent_from));
        let frame = tokio::select! {
            biased;
            why = self.live.closed() => return Err(End::Closed(why)),
            frame = timeout_at(deadline, self.upstream.frame()) => frame,
            () = self.client.closed(), if self.drain_until.is_none() => {
                self.leave();
                return Ok(None);
            }
        };
        match frame {
            Err(_) if self.drain_until.is_some() => Err(End::Abandoned),
            Err(_) => Err(End::Cut(format!("the provider was silent for {} seconds", SILENCE.as_secs()))),
            Ok(None) => Err(End::Whole),
            Ok(Some(Err(error))) => Err(End::Cut(format!("the provider's answer broke off: {error}"))),
            Ok(Some(Ok(frame))) => Ok(frame.into_data().ok()),
        }
    }

    async fn take(&mut self, data: Bytes, gateway: &Gateway) {
        if let Some(ledger) = &mut self.ledger {
            ledger.meter.feed(&data);
            ledger.name();
            if self.framing == Framing::Events && !ledger.meter.is_complete() {
                ledger.permit.keep_names();
            }
            if ledger.meter.is_complete() {
                self.complete = true;
                self.settle("", gateway).await;
            }
        }
        match self.framing {
            Framing::Events => {
                let data = match &mut self.sieve {
                    Some(sieve) => sieve.pass(&data),
                    None => data,
                };
                if !data.is_empty() {
                    self.pass(Ok(data)).await;
                }
            }
            Framing::Json => {
                if let Some(before) = self.held.replace(data) {
                    self.pass(Ok(before)).await;
                }
            }
        }
    }

    async fn pass(&mut self, chunk: Result<Bytes, BodyError>) {
        if self.drain_until.is_some() {
            return;
        }
        let deadline = Instant::now() + SILENCE;
        let sent = tokio::select! {
            sent = timeout_at(deadline, self.client.send(chunk)) => matches!(sent, Ok(Ok(()))),
            // The next wait ends at once for the same reason.
            _ = self.live.closed() => true,
        };
        if !sent {
            self.leave();
        }
    }

    /// The client has left. What is billed is still listened to.
    fn leave(&mut self) {
        let wait = if self.ledger.is_some() { DRAIN } else { Duration::ZERO };
        self.drain_until = Some(Instant::now() + wait);
    }

    async fn settle(&mut self, note: &str, gateway: &Gateway) {
        if let Some(ledger) = self.ledger.take() {
            let note = if self.drain_until.is_some() && note.is_empty() { "the client left" } else { note };
            self.settling = ledger.settle(note, gateway).await;
        }
    }

    /// Writes the settlement after the client's connection has had its turn: nobody waits for it.
    async fn let_settle(&mut self, gateway: &Gateway) {
        if let Some(settling) = self.settling.take() {
            tokio::task::yield_now().await;
            gateway.underway.spawn(settling);
        }
    }

    async fn finish(&mut self, end: End, gateway: &Gateway) {
        let between_events = self.ledger.as_ref().is_some_and(|ledger| ledger.meter.between_events());
        let problem = match end {
            End::Whole => self.whole(gateway).await,
            End::Cut(problem) => Some(problem),
            End::Closed(why) => Some(why.to_owned()),
            End::Abandoned => Some("the client left and the answer did not end in time".to_owned()),
        };
        let Some(problem) = problem.filter(|_| !self.complete) else { return };
        self.settle(&problem, gateway).await;
        // The client must not take this for all of the answer.
        let last = if between_events {
            let _ = timeout_at(Instant::now() + BREATH, self.client.closed()).await;
            let message = format!("agentsup: {problem}; the call counts as spent");
            Ok(Bytes::from(self.provider.stream_error(&message)))
        } else {
            Err(problem.into())
        };
        let _ = timeout_at(Instant::now() + LAST_WORD, self.client.send(last)).await;
    }

    /// The provider has ended its answer; says what is missing from it.
    async fn whole(&mut self, gateway: &Gateway) -> Option<String> {
        if let Some(ledger) = &mut self.ledger {
            ledger.meter.end();
            ledger.name();
            if ledger.meter.bill() == Ok(None) && self.framing == Framing::Events {
                return Some("the provider ended its answer too early".to_owned());
            }
        }
        self.settle("", gateway).await;
        let unended = self.sieve.as_mut().map(Sieve::rest).filter(|rest| !rest.is_empty());
        if let Some(last) = self.held.take().or(unended) {
            self.pass(Ok(last)).await;
        }
        None
    }
}
