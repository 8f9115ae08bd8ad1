//! Asking a provider afterwards what a call was billed that nobody counted, where the provider answers that: a router in
//! the manner of OpenRouter does, for each generation by its name.
//!
//! Invariants: it is asked a bounded number of times, ever more rarely, on the address and with the key of the
//! configuration; what it answers is a statement like any other, so it only lowers what was assumed; no call under way
//! waits for it.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri};
use http_body_util::Full;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use url::form_urlencoded::byte_serialize;

use super::{Gateway, providers};
use crate::core::ids::ReservationId;
use crate::core::statement::{self, Line};
use crate::gate::Statement;
use crate::registry::{Config, Reconcile};
use crate::store::corrections::Call;
use crate::sys::http as web;
use crate::sys::secrets;

/// How long after it was seen that nobody counted a call it is asked for, and each time nobody knew it yet.
const TRIES: [Duration; 6] = if cfg!(test) {
    [Duration::from_millis(10); 6]
} else {
    [
        Duration::from_secs(2),
        Duration::from_secs(10),
        Duration::from_secs(60),
        Duration::from_secs(10 * 60),
        Duration::from_secs(60 * 60),
        Duration::from_secs(6 * 60 * 60),
    ]
};
/// Calls of before are left to people.
const AGE_MAX_MS: i64 = 7 * 24 * 60 * 60 * 1000;
/// Not more often is it looked for calls that nobody counted.
const LOOK_EVERY: Duration = Duration::from_millis(if cfg!(test) { 5 } else { 1000 });
/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// The largest answer, in bytes.
const ANSWER_MAX: usize = 256 * 1024;
/// What the names of generations begin with; a call has other names too.
const GENERATION: &str = "gen-";

/// How often a call was asked for, and when it is next.
struct Tried {
    times: usize,
    next: Instant,
}

type Tries = HashMap<ReservationId, Tried>;

impl Gateway {
    /// Asks for what calls were billed that nobody counted, as long as the daemon lives.
    pub async fn reconcile(self, shutdown: CancellationToken) {
        let mut settled = self.gate.settlements();
        let mut configured = self.registry.watch();
        let mut tries = Tries::new();
        loop {
            settled.mark_unchanged();
            configured.mark_unchanged();
            let next = self.reconcile_due(&mut tries).await;
            let wake = async {
                match next {
                    Some(next) => drop(timeout_at(next, std::future::pending::<()>()).await),
                    None => std::future::pending().await,
                }
            };
            let at_rest = timeout(LOOK_EVERY, shutdown.cancelled()).await;
            if at_rest.is_ok() {
                return;
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = wake => {}
                changed = settled.changed() => if changed.is_err() { return },
                changed = configured.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Asks for the calls whose time has come; answers when the next one's comes.
    async fn reconcile_due(&self, tries: &mut Tries) -> Option<Instant> {
        let config = self.registry.current();
        let config = &config.config;
        if config.providers.values().all(|provider| provider.reconcile.is_none()) {
            return None;
        }
        let calls = match self.gate.assumed(AGE_MAX_MS).await {
            Ok(calls) => calls,
            Err(error) => {
                tracing::warn!(%error, "calls that nobody counted could not be looked for");
                return None;
            }
        };
        tries.retain(|id, _| calls.iter().any(|(call, _)| call.reservation == *id));
        for (call, names) in &calls {
            let is_asked = config
                .providers
                .get(&call.provider)
                .is_some_and(|provider| matches!(provider.reconcile, Some(Reconcile::OpenRouter)));
            let Some(name) = names.iter().find(|name| is_asked && name.starts_with(GENERATION)) else {
                continue;
            };
            let now = Instant::now();
            let tried = tries.entry(call.reservation).or_insert(Tried { times: 0, next: now + TRIES[0] });
            if tried.times >= TRIES.len() || tried.next > now {
                continue;
            }
            tried.times += 1;
            tried.next = now + TRIES.get(tried.times).copied().unwrap_or_default();
            self.take(call, name, config).await;
        }
        tries.values().filter(|tried| tried.times < TRIES.len()).map(|tried| tried.next).min()
    }

    async fn take(&self, call: &Call, name: &str, config: &Config) {
        let line = match timeout(ANSWER_WITHIN, self.ask(call, name, config)).await {
            Ok(Ok(Some(line))) if line.id == name => line,
            Ok(Ok(_)) => return,
            Ok(Err(problem)) => {
                return tracing::warn!(provider = call.provider, name, problem, "no statement");
            }
            Err(_) => return tracing::warn!(provider = call.provider, name, "no statement in time"),
        };
        let source = format!("{}, asked for `{name}`,", call.provider);
        let by = "agentsup".to_owned();
        let statement = Statement { record: call.record, stated: line.stated, source, by };
        if let Err(error) = self.gate.reconcile(statement).await {
            tracing::error!(%error, "a provider's statement could not be entered");
        }
    }

    /// What the provider says of a generation; none while it does not know it, or it is not over.
    async fn ask(&self, call: &Call, name: &str, config: &Config) -> Result<Option<Line>, String> {
        let known = config.providers.get(&call.provider).ok_or("the provider is not configured")?;
        let provider = providers::spoken(config, &call.provider, "").ok_or("its wire is not known")?;
        let base = known.base_url.as_str().trim_end_matches('/');
        let id: String = byte_serialize(name.as_bytes()).collect();
        let uri: Uri =
            format!("{base}/generation?id={id}").parse().map_err(|_| "the address is malformed")?;
        let mut request = Request::new(Full::new(Bytes::new()));
        *request.method_mut() = Method::GET;
        *request.uri_mut() = uri;
        if let Some(place) = known.key.clone() {
            let key = tokio::task::spawn_blocking(move || secrets::load_secret(&place));
            let key =
                key.await.map_err(|_| "its key could not be read")?.map_err(|error| error.to_string())?;
            let set = provider.set_key(request.headers_mut(), key.reveal());
            set.map_err(|_| "its key has characters that no key has")?;
        }
        let response = self.upstream.send(request).await.map_err(|error| error.to_string())?;
        let status = response.status();
        if status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        if status != StatusCode::OK {
            return Err(format!("it answered {status}"));
        }
        let body =
            web::read_body(response.into_body(), ANSWER_MAX).await.map_err(|error| error.to_string())?;
        let text = std::str::from_utf8(&body).map_err(|_| "it answered no text")?;
        statement::read_generation(text)
    }
}
