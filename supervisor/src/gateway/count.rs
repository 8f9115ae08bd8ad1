//! Has the provider count a prompt, where what is certain without it does not fit into a budget.
//!
//! A first call, or the first after a conversation was summed up, is bounded by its bytes: about four times what it
//! costs. Invariants: counting is decided and recorded like any call; where anything about it fails, the bound by bytes
//! stays; at the end of a budget, where no count could help, nobody is asked.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use hyper::body::Incoming;

use crate::core::action::{Action, Bound, LlmAction};
use crate::core::decision::Decision;
use crate::core::money::NanoUsd;
use crate::core::usage::{Charge, Outcome};
use crate::gate::Told;
use crate::sys::http as web;

use super::call::Counting;
use super::exchange::{Exchange, Prepared};
use super::prompt::Sent;
use super::scan::CacheWrites;

/// The fewest tokens of a bound that are not certain and worth a request.
const WORTH: u64 = 8192;
/// A token has hardly ever more bytes of a request.
const BYTES_A_TOKEN: u64 = 8;
/// How long the provider is waited for; the call waits meanwhile.
const WITHIN: Duration = Duration::from_secs(10);
/// The most that an answer with one number may be.
const LARGEST: usize = 64 * 1024;

impl Exchange {
    /// The call with its prompt counted by the provider, if its bound does not fit without that.
    pub(super) async fn counted(&self, prepared: Prepared, sent: &Sent) -> Prepared {
        let body = &sent.body;
        if prepared.billing.is_none() || prepared.uncounted < WORTH {
            return prepared;
        }
        let Some(counting) = self.provider.counting(&self.path, body) else { return prepared };
        let has_room = async |bound| self.gateway.gate.has_room(&self.live, &bound).await.ok();
        if has_room(prepared.bound).await != Some(false)
            || has_room(fewest(&prepared, body)).await != Some(true)
        {
            return prepared;
        }
        let Some(counted) = self.fetch_count(&prepared.model, sent, counting).await else { return prepared };
        match self.prepare(body, Some(counted)) {
            Ok(tighter) if tighter.bound.cost < prepared.bound.cost => tighter,
            _ => prepared,
        }
    }

    async fn fetch_count(&self, model: &str, sent: &Sent, counting: Counting) -> Option<u64> {
        let bound = Bound { input_tokens: 0, output_tokens: 0, cost: NanoUsd::ZERO };
        let action = Action::Llm(LlmAction {
            provider: self.named.clone(),
            model: model.to_owned(),
            bound: Some(bound),
            prices: String::new(),
            elastic: None,
            objection: None,
            data: sent.data.clone(),
            asked: sent.asked,
        });
        // Nobody is asked for a count, and what policy refuses is refused once, when the call itself is decided.
        if self.gateway.gate.preview(&self.live, &action) != Decision::Allow {
            return None;
        }
        let told = Told { looked: Some(Arc::clone(&self.snapshot)), ..Told::default() };
        let permit = self.gateway.gate.decide_told(&self.live, action, told).await.ok()?;
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

/// The least that a count could make of a call's bound.
fn fewest(prepared: &Prepared, body: &[u8]) -> Bound {
    let input_tokens = (body.len() as u64 / BYTES_A_TOKEN).min(prepared.bound.input_tokens);
    let least = prepared.elastic.map_or(prepared.bound.output_tokens, |elastic| elastic.least_output_tokens);
    let output_tokens = least.min(prepared.bound.output_tokens);
    let price = prepared.billing.as_ref().map(|billing| &billing.price);
    let cost = price.map(|price| price.worst(input_tokens, output_tokens, CacheWrites::None));
    Bound { input_tokens, output_tokens, cost: cost.unwrap_or(prepared.bound.cost) }
}

async fn number(response: Response<Incoming>, member: &str) -> Option<u64> {
    let body = web::read_body(response.into_body(), LARGEST).await.ok()?;
    let answer: serde_json::Value = serde_json::from_slice(&body).ok()?;
    answer.get(member)?.as_u64()
}
