//! The LLM gateway: where an agent's model calls are read, decided, forwarded and metered.
//!
//! `mod` finds run, provider and route; `exchange` is the life of one call, in order; `relay` passes the answer on
//! while `meter` watches it; `bound` (with `scan` and `prices`) says what a call can cost at most, from what answers
//! have taught (`learnt`, of `anchor`, `answers` and `counts`) or the provider says (`count`) where that is less;
//! `providers` has what is particular to each wire; `refusal` says no so that the client stops at once. `telemetry` and
//! `generations` learn afterwards what was used elsewhere or counted by nobody.
//!
//! Invariants: no route that costs money goes unmetered, and what is not known is refused; the reservation is durable
//! before the first byte goes out; bodies pass byte for byte, but for what must be put in to meter them (`splice`) and
//! comes back because of it (`sieve`); the run's token never reaches a provider and the provider's key never reaches an
//! agent; a call outlives its client, because the bill does; every wait ends.

mod anchor;
mod answers;
mod bound;
mod call;
mod ceiling;
mod count;
mod counts;
mod exchange;
mod gauge;
mod generations;
mod headers;
mod learnt;
mod meter;
pub mod prices;
mod prompt;
mod providers;
mod refusal;
mod relay;
mod scan;
mod sieve;
mod splice;
mod telemetry;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use crate::core::money::NanoUsd;
use crate::core::usage::Usage;
use crate::gate::{Gate, LiveRun};
use crate::registry::{Config, Registry, Snapshot};
use crate::sys::http::{self as web, Body, BodyError};
use crate::sys::upstream::{Upstream, UpstreamError};

use exchange::Exchange;
use learnt::Learnt;
use providers::{PROVIDERS, Provider, Route};

/// The largest request body that is taken in; larger than what any provider accepts.
const LARGEST_BODY: usize = 32 * 1024 * 1024;

/// The gateway. Clones share connections and what was learnt.
#[derive(Clone)]
pub struct Gateway {
    gate: Gate,
    registry: Registry,
    upstream: Upstream,
    learnt: Arc<Learnt>,
    known: Arc<prompt::Known>,
    underway: TaskTracker,
}

impl Gateway {
    /// A gateway that asks the gate and takes providers and prices from the registry.
    ///
    /// # Errors
    /// If TLS cannot be set up.
    pub fn new(gate: Gate, registry: Registry) -> Result<Self, UpstreamError> {
        let upstream = Upstream::new()?;
        Ok(Self {
            gate,
            registry,
            upstream,
            learnt: Arc::default(),
            known: Arc::default(),
            underway: TaskTracker::new(),
        })
    }

    /// Answers one request. `rest` is the path after `/llm`, with its query: `/<provider>/v1/messages?beta=true`.
    pub async fn serve<B>(&self, request: Request<B>, rest: &str) -> Response<Body>
    where
        B: hyper::body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BodyError>,
    {
        let target = Target::of(rest);
        let snapshot = self.registry.current();
        let spoken = providers::spoken(&snapshot.config, target.name, target.path);
        let route = spoken.map_or(Route::Unknown, |provider| {
            if target.query.is_some_and(|query| !provider.admits_query(query)) {
                return Route::Unknown;
            }
            provider.route(request.method(), target.path, request.headers())
        });
        match route {
            Route::Probe => return web::empty(StatusCode::OK),
            Route::Upgrade => return web::empty(StatusCode::UPGRADE_REQUIRED),
            Route::Call | Route::Free | Route::List | Route::Unknown => {}
        }
        // A provider that is not known still needs an error that clients can read.
        let provider = spoken.unwrap_or(PROVIDERS[0]);
        let token = web::bearer(request.headers()).unwrap_or_default();
        let Some(live) = self.gate.authenticate(token) else {
            let message = "agentsup: the run this token was for is over, or there never was one";
            return refusal::error(provider, StatusCode::UNAUTHORIZED, message);
        };
        let exchange = self.exchange(live, snapshot, provider, route, &request, &target);
        let (reply, answer) = oneshot::channel();
        let (_, body) = request.into_parts();
        // Read here, so that a client that stops sending takes only its own connection with it.
        let body = web::read_body(body, LARGEST_BODY).await;
        self.underway.spawn(exchange.run(body, reply));
        answer.await.unwrap_or_else(|_| {
            refusal::error(provider, StatusCode::INTERNAL_SERVER_ERROR, "agentsup: the call was not answered")
        })
    }

    /// Waits, bounded, for the calls under way to be settled; for the daemon's end.
    pub async fn finish(&self, within: Duration) {
        self.underway.close();
        if tokio::time::timeout(within, self.underway.wait()).await.is_err() {
            tracing::warn!(
                calls = self.underway.len(),
                "model calls are still under way; they count as spent"
            );
        }
    }

    fn exchange<B>(
        &self,
        live: Arc<LiveRun>,
        snapshot: Arc<Snapshot>,
        provider: &'static dyn Provider,
        route: Route,
        request: &Request<B>,
        target: &Target<'_>,
    ) -> Exchange {
        let token = web::bearer(request.headers()).unwrap_or_default();
        let clean = |text: &str| if token.is_empty() { text.to_owned() } else { text.replace(token, "…") };
        let whole = [target.name, target.path, target.query.unwrap_or_default()];
        let leaks = whole.iter().any(|place| !token.is_empty() && place.contains(token));
        Exchange {
            gateway: self.clone(),
            live,
            provider,
            route: if leaks { Route::Unknown } else { route },
            named: call::shown(&clean(target.name)),
            method: request.method().clone(),
            path: clean(target.path),
            query: target.query.map(str::to_owned),
            headers: headers::to_provider(request.headers(), token),
            snapshot,
        }
    }
}

/// What this usage costs at most, whatever the provider adds by itself, and the version of the price; none if the model
/// or the provider has none.
pub fn most(provider: &str, model: &str, usage: &Usage, config: &Config) -> Option<(String, NanoUsd)> {
    let price = prices::price(provider, model, config)?;
    let surcharge = providers::surcharge(config, provider)?;
    Some((
        prices::version(&price, model),
        price.cost(usage).scaled_up(surcharge.numerator, surcharge.denominator),
    ))
}

/// What a path asks for.
struct Target<'a> {
    name: &'a str,
    path: &'a str,
    query: Option<&'a str>,
}

impl<'a> Target<'a> {
    fn of(rest: &'a str) -> Self {
        let rest = rest.strip_prefix('/').unwrap_or(rest);
        let (whole, query) = rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query)));
        let (name, path) = whole.find('/').map_or((whole, ""), |slash| whole.split_at(slash));
        Self { name, path, query }
    }
}

#[cfg(test)]
mod tests;
