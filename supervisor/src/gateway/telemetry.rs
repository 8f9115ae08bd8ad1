//! What calls on a user's own subscription used, as the client itself tells of it: OTLP logs over HTTP, in JSON.
//!
//! Such calls go past the gateway, so this is all that is known of them. Invariants: only a run on a subscription is
//! heard, by its token; of what it sends only counts, models and ids of calls are kept, never a prompt or a person; a
//! model without a price counts as the dearest one that is known, never as free.

use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::call::shown;
use super::prices;
use super::{Gateway, web};
use crate::agents;
use crate::agents::wire::{Attributes, Spent, Telemetry};
use crate::core::billing::Billing;
use crate::gate::{CALLS_MAX, LiveRun, Reported};
use crate::store::StoreError;
use crate::sys::http::{Body, BodyError};

/// The largest body that is taken in: some hundred events of a second.
const LARGEST_BODY: usize = 4 * 1024 * 1024;
/// The longest id of a call that is kept as it is.
const CALL_ID_MAX: usize = 100;

impl Gateway {
    /// Answers an OTLP exporter. `rest` is the path after `/otlp`.
    pub async fn hear<B>(&self, request: Request<B>, rest: &str) -> Response<Body>
    where
        B: hyper::body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BodyError>,
    {
        let Some(live) = web::bearer(request.headers()).and_then(|token| self.gate.authenticate(token))
        else {
            return refused(StatusCode::UNAUTHORIZED, "the run's token is missing, unknown or revoked");
        };
        let telemetry = agents::by_name(&live.run.adapter).and_then(|adapter| adapter.telemetry);
        let told = |one: &Telemetry| live.run.billing == Billing::Subscription && one.events.is_some();
        let Some(telemetry) = telemetry.filter(told) else {
            return refused(StatusCode::NOT_FOUND, "only a run on a subscription is heard here");
        };
        if rest != "/v1/logs" {
            return refused(StatusCode::NOT_FOUND, "logs are told at /v1/logs; nothing else is taken");
        }
        if request.method() != Method::POST {
            return refused(StatusCode::METHOD_NOT_ALLOWED, "logs are posted");
        }
        let is_json =
            |kind: &http::HeaderValue| kind.as_bytes().to_ascii_lowercase().starts_with(b"application/json");
        if !request.headers().get(CONTENT_TYPE).is_some_and(is_json) {
            return refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the protocol is http/json");
        }
        let body = match web::read_body(request.into_body(), LARGEST_BODY).await {
            Ok(body) => body,
            Err(error) => return refused(error.status(), &error.to_string()),
        };
        let Ok(export) = serde_json::from_slice::<Value>(&body) else {
            return refused(StatusCode::BAD_REQUEST, "the logs are not JSON");
        };
        match self.report(&live, &telemetry, calls(&export, &telemetry)).await {
            Ok(()) => web::json(StatusCode::OK, &json!({})),
            Err(error) => refused(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
        }
    }

    /// Posts calls that went past the gateway, at list prices; as many at a time as one transaction should hold.
    ///
    /// # Errors
    /// Those of the store; the client may tell of them again.
    pub async fn report(
        &self,
        live: &Arc<LiveRun>,
        telemetry: &Telemetry,
        calls: Vec<Spent>,
    ) -> Result<(), StoreError> {
        for calls in calls.chunks(CALLS_MAX) {
            self.report_some(live, telemetry, calls.to_vec()).await?;
        }
        Ok(())
    }

    /// Posts what an agent's hook tells that it used.
    ///
    /// # Errors
    /// Those of the store; the hook may tell of it again.
    pub async fn hear_spent(&self, live: &Arc<LiveRun>, spent: Spent) -> Result<(), StoreError> {
        let Some(telemetry) = agents::by_name(&live.run.adapter).and_then(|adapter| adapter.telemetry) else {
            return Ok(());
        };
        self.report(live, &telemetry, vec![spent]).await
    }

    async fn report_some(
        &self,
        live: &Arc<LiveRun>,
        telemetry: &Telemetry,
        calls: Vec<Spent>,
    ) -> Result<(), StoreError> {
        let snapshot = self.registry.current();
        let mut reported = Vec::with_capacity(calls.len());
        for Spent { call, model, listed_as, usage } in calls {
            let priced = |name: &String| {
                Some((name.clone(), prices::price(telemetry.provider, name, &snapshot.config)?))
            };
            let known = priced(&model).or_else(|| listed_as.iter().find_map(priced));
            let Some((name, price)) = known.or_else(prices::dearest) else { continue };
            let (prices, cost) = (prices::version(&price, &name), price.cost(&usage));
            let priced_as = Some(name).filter(|name| *name != model);
            let (call, provider) = (call.unwrap_or_default(), telemetry.provider.to_owned());
            let model = shown(&model);
            reported.push(Reported { call, provider, model, priced_as, prices, usage, cost });
        }
        self.gate.report(live, reported).await.map(drop)
    }
}

fn refused(status: StatusCode, message: &str) -> Response<Body> {
    web::json(status, &json!({ "message": format!("agentsup: {message}") }))
}

/// The calls in an export, each with an id.
fn calls(export: &Value, telemetry: &Telemetry) -> Vec<Spent> {
    let list =
        |value: &Value, name: &str| value.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let mut calls = Vec::new();
    for resource in list(export, "resourceLogs") {
        for scope in list(&resource, "scopeLogs") {
            for record in list(&scope, "logRecords") {
                calls.extend(call(&record, telemetry));
            }
        }
    }
    calls
}

fn call(record: &Value, telemetry: &Telemetry) -> Option<Spent> {
    let attributes = attributes(record);
    let event = record.pointer("/body/stringValue").and_then(Value::as_str);
    let event = event.or_else(|| attributes.get("event.name").map(String::as_str))?;
    match (telemetry.events?)(event, &attributes)? {
        Ok(spent) => Some(Spent { call: Some(id(spent.call.as_deref(), record)), ..spent }),
        Err(error) => {
            // What cannot be read is missed; that a run calls tools and tells nothing is noticed elsewhere.
            tracing::warn!(%error, "an agent's telemetry cannot be read");
            None
        }
    }
}

/// The provider's own id of a call; where there is none, what its event says, so that the same event counts once.
fn id(call: Option<&str>, record: &Value) -> String {
    let is_plain = |call: &&str| {
        (1..=CALL_ID_MAX).contains(&call.len()) && call.bytes().all(|byte| byte.is_ascii_graphic())
    };
    match call.filter(is_plain) {
        Some(call) => call.to_owned(),
        None => hex::encode(Sha256::digest(record.to_string())),
    }
}

fn attributes(record: &Value) -> Attributes {
    let pairs = record.get("attributes").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let pair = |pair: &Value| {
        let name = pair.get("key")?.as_str()?.to_owned();
        let value = pair.get("value")?;
        let text = ["stringValue", "intValue"].iter().find_map(|kind| match value.get(kind)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        })?;
        Some((name, text))
    };
    pairs.iter().filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_without_an_id_of_its_call_counts_by_what_it_says() {
        let record = |sequence: u32| json!({ "timeUnixNano": "1", "attributes": [sequence] });
        assert_eq!(id(Some("req_1"), &record(1)), "req_1");
        let by_itself = id(None, &record(1));
        assert_eq!(by_itself.len(), 64);
        assert_eq!(id(Some("a b"), &record(1)), by_itself);
        assert_ne!(id(None, &record(2)), by_itself);
    }
}
