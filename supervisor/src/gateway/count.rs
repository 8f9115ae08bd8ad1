//! Has the provider count a prompt, where what is certain without it does not fit into a budget.
//!
//! A first call, or the first after a conversation was summed up, is bounded by its bytes: about four times what it
//! costs. Providers count for nothing, but say that they estimate, so a margin comes on top: a twentieth, and twice what
//! they were ever seen to be short by. Invariants: counting is decided and recorded like any call; where anything about
//! it fails, the bound by bytes stays; a model whose counts were shorter than the margin allows is not counted again.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use hyper::body::Incoming;

use crate::core::action::{Action, Bound, LlmAction};
use crate::core::decision::Decision;
use crate::core::money::NanoUsd;
use crate::core::usage::{Charge, Outcome};
use crate::sys::http as web;

use super::exchange::{Exchange, Prepared};

/// The fewest tokens of a bound that are not certain and worth a request.
const WORTH: u64 = 8192;
/// How long the provider is waited for; the call waits meanwhile.
const WITHIN: Duration = Duration::from_secs(10);
/// The most that an answer with one number may be.
const LARGEST: usize = 64 * 1024;
/// What counts may be short by unseen, and what they may have been seen to be short by, in thousandths.
const MARGIN: u64 = 50;
const TRUSTED: u64 = 50;

/// A request that has a provider count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Counting {
    /// Its path, as a client would write it.
    pub(super) path: String,
    /// Its body.
    pub(super) body: Vec<u8>,
    /// The member of the answer that has the count.
    pub(super) member: &'static str,
}

/// How far counts were seen to be short, by provider and model. Only models that have prices are in it.
#[derive(Debug, Default)]
pub(super) struct Counts {
    short: Mutex<HashMap<(String, String), u64>>,
}

impl Counts {
    fn short(&self) -> MutexGuard<'_, HashMap<(String, String), u64>> {
        self.short.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The most tokens that a prompt with this count is taken for; none where counts are not to be believed.
    pub(super) fn most(&self, provider: &str, model: &str, counted: u64) -> Option<u64> {
        let key = (provider.to_owned(), model.to_owned());
        let seen = self.short().get(&key).copied().unwrap_or(0);
        (seen <= TRUSTED).then(|| {
            let margin = MARGIN.saturating_add(seen.saturating_mul(2));
            counted.saturating_add(counted.saturating_mul(margin).div_ceil(1000))
        })
    }

    /// Takes note of what a prompt that was counted was billed for.
    pub(super) fn compare(&self, provider: &str, model: &str, counted: u64, billed: u64) {
        let short = billed.saturating_sub(counted);
        if short > 0 {
            let thousandths = short.saturating_mul(1000).div_ceil(counted.max(1));
            let key = (provider.to_owned(), model.to_owned());
            let mut known = self.short();
            let seen = known.entry(key).or_insert(0);
            *seen = thousandths.max(*seen);
        }
    }
}

impl Exchange {
    /// The call with its prompt counted by the provider, if its bound does not fit without that.
    pub(super) async fn counted(&self, prepared: Prepared, body: &Bytes) -> Prepared {
        if prepared.billing.is_none() || prepared.uncounted < WORTH {
            return prepared;
        }
        let Some(counting) = self.provider.counting(&self.path, body) else { return prepared };
        match self.gateway.gate.has_room(&self.live, &prepared.bound).await {
            Ok(false) => {}
            Ok(true) | Err(_) => return prepared,
        }
        let Some(counted) = self.fetch_count(&prepared.model, counting).await else { return prepared };
        match self.prepare(body, Some(counted)) {
            Ok(tighter) if tighter.bound.cost < prepared.bound.cost => tighter,
            _ => prepared,
        }
    }

    async fn fetch_count(&self, model: &str, counting: Counting) -> Option<u64> {
        let bound = Bound { input_tokens: 0, output_tokens: 0, cost: NanoUsd::ZERO };
        let action = Action::Llm(LlmAction {
            provider: self.named.clone(),
            model: model.to_owned(),
            bound: Some(bound),
            prices: String::new(),
            elastic: None,
            objection: None,
        });
        // Nobody is asked for a count, and what policy refuses is refused once, when the call itself is decided.
        if self.gateway.gate.preview(&self.live, &action) != Decision::Allow {
            return None;
        }
        let permit = self.gateway.gate.decide(&self.live, action).await.ok()?;
        let asked = tokio::select! {
            () = self.live.cancelled() => None,
            asked = tokio::time::timeout(WITHIN, self.ask(counting)) => asked.ok().flatten(),
        };
        let status = match asked {
            Some(counted) => format!("200 OK, the provider counted a prompt of {counted} tokens"),
            None => "the provider did not count the prompt".to_owned(),
        };
        let settled = permit.settle(Outcome::charged(status, Charge::Void)).await;
        asked.filter(|_| settled.is_ok())
    }

    async fn ask(&self, Counting { path, body, member }: Counting) -> Option<u64> {
        let request = self.request(&path, None, Bytes::from(body)).await.ok()?;
        let response = self.gateway.upstream.send(request).await.ok()?;
        if !response.status().is_success() {
            return None;
        }
        number(response, member).await
    }
}

async fn number(response: Response<Incoming>, member: &str) -> Option<u64> {
    let body = web::read_body(response.into_body(), LARGEST).await.ok()?;
    let answer: serde_json::Value = serde_json::from_slice(&body).ok()?;
    answer.get(member)?.as_u64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_has_a_margin_that_grows_with_what_it_was_short_by_and_is_given_up() {
        let counts = Counts::default();
        let most = |counted| counts.most("p", "m", counted);
        assert_eq!((most(0), most(1), most(1000), most(1001)), (Some(0), Some(2), Some(1050), Some(1052)));
        counts.compare("p", "m", 1000, 900);
        assert_eq!(most(1000), Some(1050), "too long is no fault");
        counts.compare("p", "m", 1000, 1020);
        counts.compare("p", "m", 1000, 1010);
        assert_eq!(most(1000), Some(1090), "the worst is kept");
        counts.compare("p", "m", 1000, 1051);
        assert_eq!(most(1000), None);
        assert_eq!(counts.most("p", "n", 1000), Some(1050));
        assert_eq!(counts.most("q", "m", u64::MAX), Some(u64::MAX));
    }
}
