//! The life of one request, in order: read, bounded, decided, keyed, forwarded, relayed, settled. It runs apart from
//! its client's connection, because what was decided must be settled even if the client has gone.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::sync::oneshot;

use crate::agents;
use crate::core::action::{Action, Bound, Elastic, LlmAction, Objection};
use crate::core::data::Carried;
use crate::core::decision::Finality;
use crate::core::money::NanoUsd;
use crate::core::usage::{Charge, Outcome};
use crate::gate::{LiveRun, Permit, Told};
use crate::registry::Snapshot;
use crate::sys::http::{Body, ReadBodyError};
use crate::sys::secrets::{self, SecretRef};
use crate::sys::upstream::UpstreamError;

use super::anchor::{Anchored, Prompt};
use super::answers::Answer;
use super::call::{Call, shown};
use super::learnt::Learning;
use super::meter::{Framing, Meter};
use super::prices::{self, Price};
use super::prompt::{self, Sent};
use super::providers::{Provider, Route};
use super::relay::{DRAIN, Ledger, Relay};
use super::sieve::Sieve;
use super::splice::{self, Splice};
use super::{Gateway, bound, ceiling, gauge, headers, refusal};

/// Where the response goes.
type Reply = oneshot::Sender<Response<Body>>;

/// One request of a run.
pub(super) struct Exchange {
    pub(super) gateway: Gateway,
    pub(super) live: Arc<LiveRun>,
    pub(super) provider: &'static dyn Provider,
    pub(super) route: Route,
    /// The provider's name as the path has it.
    pub(super) named: String,
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: Option<String>,
    pub(super) headers: HeaderMap,
    pub(super) snapshot: Arc<Snapshot>,
}

/// A call that may be forwarded once it is decided.
pub(super) struct Prepared {
    pub(super) model: String,
    pub(super) bound: Bound,
    /// Tokens of the bound's prompt that the provider has not counted.
    pub(super) uncounted: u64,
    pub(super) elastic: Option<Elastic>,
    /// None for what is free.
    pub(super) billing: Option<Billing>,
    splices: Vec<Splice>,
    unasked: Option<fn(&[u8]) -> bool>,
}

/// What it takes to turn an answer into a bill.
pub(super) struct Billing {
    pub(super) price: Price,
    learning: Learning,
    reader: Box<dyn super::meter::Reader>,
}

/// Why a request is not even put to the gate as a call, with the status for what is not a question of permission.
pub(super) struct Objected {
    model: String,
    objection: Objection,
    status: Option<StatusCode>,
}

impl Exchange {
    pub(super) async fn run(self, body: Result<Bytes, ReadBodyError>, reply: Reply) {
        if body.is_ok() && self.route == Route::List {
            return self.list(reply).await;
        }
        let (sent, prepared) = match self.read(body).await {
            Ok(read) => read,
            Err(objected) => return answer(reply, self.refuse(objected).await),
        };
        let prepared = self.counted(prepared, &sent).await;
        let prices =
            prepared.billing.as_ref().map(|billing| prices::version(&billing.price, &prepared.model));
        let action = LlmAction {
            provider: self.named.clone(),
            model: prepared.model.clone(),
            bound: Some(prepared.bound),
            prices: prices.unwrap_or_default(),
            elastic: prepared.elastic,
            objection: None,
            data: sent.data.clone(),
            asked: sent.asked,
        };
        let told = Told { looked: Some(Arc::clone(&self.snapshot)), ..Told::default() };
        match self.gateway.gate.decide_told(&self.live, Action::Llm(action), told).await {
            Ok(permit) => self.perform(permit, prepared, sent.body, reply).await,
            Err(refused) => {
                answer(reply, refusal::refuse(self.provider, self.live.run.refusal, &refused));
            }
        }
    }

    /// What may be sent of a call, and what that can cost.
    async fn read(&self, body: Result<Bytes, ReadBodyError>) -> Result<(Sent, Prepared), Objected> {
        let body = body.map_err(|error| self.object(error.to_string(), None).with_status(error.status()))?;
        let sent = prompt::clear(&self.gateway.known, &self.snapshot, &self.named, body).await;
        let sent = sent.map_err(|error| self.object(error.to_string(), None))?;
        let prepared = self.prepare(&sent.body, None)?;
        Ok((sent, prepared))
    }

    /// Reads a call and says what it can cost; `counted` is what the provider said that its prompt comes to.
    pub(super) fn prepare(&self, body: &[u8], counted: Option<u64>) -> Result<Prepared, Objected> {
        if self.route == Route::Unknown || !self.snapshot.config.providers.contains_key(&self.named) {
            let asked = shown(&format!("{} /{}{}", self.method, self.named, self.path));
            return Err(self.object(format!("`{asked}` is not a call that can be metered"), None));
        }
        let call = self
            .provider
            .read_call(&self.path, body)
            .map_err(|error| self.object(error.to_string(), None).with_status(StatusCode::BAD_REQUEST))?;
        let model = shown(&call.model);
        if self.route == Route::Free {
            let bound = Bound { input_tokens: 0, output_tokens: 0, cost: NanoUsd::ZERO };
            let (splices, unasked) = (Vec::new(), None);
            return Ok(Prepared {
                model,
                bound,
                uncounted: 0,
                elastic: None,
                billing: None,
                splices,
                unasked,
            });
        }
        self.bill(call, body, counted).map_err(|objection| Objected { model, objection, status: None })
    }

    fn bill(&self, mut call: Call<'_>, body: &[u8], counted: Option<u64>) -> Result<Prepared, Objection> {
        let price = self.price(&call.model).ok_or_else(|| Objection {
            reason: format!("no price is known for the model `{}`", shown(&call.model)),
            hint: Some(prices::lines_to_add(&call.model)),
        })?;
        let prompt = Prompt::of(self.live.run.id, &self.named, &call, &self.headers);
        let learnt = &self.gateway.learnt;
        let count = counted.and_then(|tokens| learnt.counts.most(&self.named, &call.model, tokens));
        let answer = |name: &str| Answer {
            run: self.live.run.id,
            provider: self.named.clone(),
            model: call.model.clone().into_owned(),
            name: name.to_owned(),
        };
        let continued = call.continues.as_deref().map(answer);
        let [by_prompt, by_answer] = learnt.measure(&prompt, body.len() as u64, continued.as_ref());
        let known = [by_prompt, by_answer, count.map(Anchored::counted)];
        let surcharge = self.provider.surcharge();
        let bound = bound::bound(&call, &prompt, body.len(), &known, &price, surcharge)?;
        call.splices.extend(self.ceiling(body, &price, &bound)?);
        let exact = known.iter().flatten().map(|known| known.counted).max().unwrap_or(0);
        let field = self.provider.output_field();
        let elastic = field.map(|field| bound::elastic(&call, &bound, field.least, &price, surcharge));
        let learning = Learning { prompt, counted, answer: answer("") };
        let billing = Billing { price, learning, reader: self.provider.reader(&call) };
        let Call { model, splices, unasked, .. } = call;
        Ok(Prepared {
            model: shown(&model),
            bound,
            uncounted: bound.input_tokens.saturating_sub(exact),
            elastic,
            billing: Some(billing),
            splices,
            unasked,
        })
    }

    /// What keeps a router to the price that the bound was made with.
    fn ceiling(&self, body: &[u8], price: &Price, bound: &Bound) -> Result<Vec<Splice>, Objection> {
        let config = self.snapshot.config.providers.get(&self.named);
        let Some(ceiling) = config.and_then(|config| config.max_price) else { return Ok(Vec::new()) };
        ceiling::splices(ceiling, body, price, bound.input_tokens).ok_or_else(|| Objection {
            reason: "the call's `provider` is no object, so its price cannot be limited".to_owned(),
            hint: None,
        })
    }

    fn price(&self, model: &str) -> Option<Price> {
        prices::price(&self.named, model, &self.snapshot.config)
    }

    fn object(&self, reason: String, hint: Option<String>) -> Objected {
        let model = shown(&format!("{} {}", self.method, self.path));
        Objected { model, objection: Objection { reason, hint }, status: None }
    }

    /// Puts what the gateway itself refuses to the gate, so that it is recorded like any other refusal.
    async fn refuse(&self, objected: Objected) -> Response<Body> {
        let Objected { model, objection, status } = objected;
        let action = LlmAction {
            provider: self.named.clone(),
            model,
            bound: None,
            prices: String::new(),
            elastic: None,
            objection: Some(objection),
            data: Carried::default(),
            asked: None,
        };
        let refused = match self.gateway.gate.decide(&self.live, Action::Llm(action)).await {
            Err(refused) => refused,
            Ok(permit) => {
                // The gate lets nothing through that has no bound; should it ever, nothing is sent all the same.
                settle(permit, "refused by the gateway".to_owned(), Charge::Void).await;
                let (style, message) = (self.live.run.refusal, "agentsup: the call has no bound");
                return refusal::say(self.provider, style, Finality::Terminal, message);
            }
        };
        match status {
            Some(status) => {
                let words = refusal::words(&refused, self.live.run.refusal);
                refusal::error(self.provider, status, &words)
            }
            None => refusal::refuse(self.provider, self.live.run.refusal, &refused),
        }
    }

    /// Forwards what was decided. The permit ends here or in the relay.
    async fn perform(self, mut permit: Permit, prepared: Prepared, body: Bytes, mut reply: Reply) {
        if reply.is_closed() {
            return settle(permit, "the client left before anything was sent".to_owned(), Charge::Void).await;
        }
        let (granted, own) = (permit.granted_output(), self.own_headers(&permit));
        let response = match self.changed(body, &prepared.splices, granted) {
            Ok(body) => match self.request(&self.path, self.query.as_deref(), body).await {
                Ok(request) => self.send(request, &mut reply).await,
                Err(failure) => Err(failure),
            },
            Err(failure) => Err(failure),
        };
        let response = match response {
            Ok(response) => response,
            Err(failure) => {
                settle(permit, format!("failed: {}", failure.cause), failure.charge()).await;
                return answer(reply, self.stop(&failure));
            }
        };
        let status = response.status();
        let framing = framing(&response);
        if prepared.billing.is_some() {
            headers::names(response.headers()).for_each(|name| permit.name_upstream(name));
        }
        if framing == Framing::Events {
            permit.keep_names();
        }
        let ledger = match prepared.billing.filter(|_| status.is_success()) {
            Some(Billing { price, learning, reader }) => {
                let meter = Meter::new(reader, framing);
                let prices = (self.named.clone(), Arc::clone(&self.snapshot));
                let most = (granted.unwrap_or(prepared.bound.output_tokens), self.provider.surcharge());
                let status = status.to_string();
                Some(Ledger { meter, permit, price, learning, status, prices, most })
            }
            None => {
                settle(permit, status.to_string(), charge_of(status)).await;
                None
            }
        };
        let sieve = prepared.unasked.filter(|_| framing == Framing::Events && ledger.is_some());
        self.relay(response, framing, ledger, sieve.map(Sieve::new), own, reply).await;
    }

    /// What the client is told beside the provider's answer.
    fn own_headers(&self, permit: &Permit) -> HeaderMap {
        let style = agents::by_name(&self.live.run.adapter).map(|adapter| adapter.gauge);
        let mut own = match (style, permit.gauge()) {
            (Some(style), Some(gauge)) => gauge::headers(style, &gauge),
            _ => HeaderMap::new(),
        };
        if let Some(tokens) = permit.granted_output() {
            own.insert(headers::OUTPUT_GRANTED, HeaderValue::from(tokens));
        }
        own
    }

    /// The body with what must be otherwise in it, and the limit of its answer lowered to what was granted.
    fn changed(&self, body: Bytes, splices: &[Splice], output_tokens: Option<u64>) -> Result<Bytes, Failure> {
        let Some(tokens) = output_tokens else { return Ok(splice::apply(body, splices)) };
        // What cannot be lowered may not be sent: more than was granted could come back.
        let lowered = self.provider.lowered(&body, tokens);
        let lowered =
            lowered.ok_or_else(|| Failure::before_sending("the answer's limit cannot be lowered"))?;
        Ok(splice::apply(body, &[splices, &lowered].concat()))
    }

    /// A list costs nothing and names no model, so it is not an action; it takes a live run and nothing else.
    async fn list(self, mut reply: Reply) {
        let response = match self.request(&self.path, self.query.as_deref(), Bytes::new()).await {
            Ok(request) => self.send(request, &mut reply).await,
            Err(failure) => Err(failure),
        };
        match response {
            Ok(response) => {
                self.relay(response, Framing::Events, None, None, HeaderMap::new(), reply).await;
            }
            Err(failure) => answer(reply, self.stop(&failure)),
        }
    }

    /// Sends the request, until the run is over or suspended, or the client has long gone.
    async fn send(
        &self,
        request: Request<Full<Bytes>>,
        reply: &mut Reply,
    ) -> Result<Response<Incoming>, Failure> {
        let long_gone = async {
            reply.closed().await;
            let _ = tokio::time::timeout(DRAIN, std::future::pending::<()>()).await;
        };
        tokio::select! {
            biased;
            why = self.live.closed() => Err(Failure::after_sending(why)),
            sent = self.gateway.upstream.send(request) => sent.map_err(Failure::from),
            () = long_gone => Err(Failure::after_sending("the client left and the provider did not answer")),
        }
    }

    async fn relay(
        self,
        response: Response<Incoming>,
        framing: Framing,
        ledger: Option<Ledger>,
        sieve: Option<Sieve>,
        own: HeaderMap,
        reply: Reply,
    ) {
        let (head, upstream) = response.into_parts();
        let metered = ledger.is_some();
        let (relay, body) = Relay::new(upstream, self.live, self.provider, framing, ledger, sieve);
        let mut response = Response::new(body);
        *response.status_mut() = head.status;
        *response.headers_mut() = headers::to_client(&head.headers);
        response.headers_mut().extend(own);
        if metered && framing == Framing::Events {
            // An event may have to be added at the end.
            response.headers_mut().remove(header::CONTENT_LENGTH);
        }
        answer(reply, response);
        relay.run(&self.gateway).await;
    }

    /// The request as the provider gets it: these bytes, its own address, its own key.
    pub(super) async fn request(
        &self,
        path: &str,
        query: Option<&str>,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, Failure> {
        let config = self.snapshot.config.providers.get(&self.named);
        let config = config.ok_or_else(|| Failure::before_sending("the provider is not configured"))?;
        let base = config.base_url.as_str().trim_end_matches('/');
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        let address = format!("{base}{}{query}", self.provider.upstream_path(path));
        let uri: Uri = address.parse().map_err(|_| Failure::before_sending("the address is malformed"))?;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = self.headers.clone();
        if let Some(key) = config.key.clone() {
            self.set_key(request.headers_mut(), key).await?;
        }
        Ok(request)
    }

    /// Puts the provider's key in. The error says what to do, and never what the key is.
    async fn set_key(&self, headers: &mut HeaderMap, place: SecretRef) -> Result<(), Failure> {
        let key = match secrets::secret_at_hand(&place) {
            Some(key) => key,
            None => tokio::task::spawn_blocking(move || secrets::load_secret(&place))
                .await
                .map_err(|_| Failure::before_sending("its key could not be read"))?,
        };
        let key = key.map_err(|error| Failure {
            hint: error.hint(),
            ..Failure::before_sending(&format!("no key: {error}"))
        })?;
        self.provider.set_key(headers, key.reveal()).map_err(|_| Failure {
            hint: Some(format!("agentsup key set {}", self.named)),
            ..Failure::before_sending("its key has characters that no key has")
        })
    }

    fn stop(&self, failure: &Failure) -> Response<Body> {
        let Failure { message, nothing_sent, hint, finality, .. } = failure;
        let so = if *nothing_sent { "nothing was sent to the provider" } else { "the call counts as spent" };
        let hint = hint.as_ref().map(|hint| format!(". Hint: {hint}")).unwrap_or_default();
        let text = format!("agentsup: provider `{}`: {message}; {so}{hint}", self.named);
        refusal::say(self.provider, self.live.run.refusal, *finality, &text)
    }
}

impl Objected {
    const fn with_status(mut self, status: StatusCode) -> Self {
        self.status = Some(status);
        self
    }
}

/// Why there is no response.
pub(super) struct Failure {
    /// For the agent and its user; without an address, whose digits some clients take for a status.
    message: String,
    /// For the record.
    cause: String,
    nothing_sent: bool,
    hint: Option<String>,
    finality: Finality,
}

impl Failure {
    fn before_sending(message: &str) -> Self {
        Self { nothing_sent: true, ..Self::after_sending(message) }
    }

    fn after_sending(message: &str) -> Self {
        let (finality, cause) = (Finality::Terminal, message.to_owned());
        Self { message: message.to_owned(), cause, nothing_sent: false, hint: None, finality }
    }

    const fn charge(&self) -> Charge {
        if self.nothing_sent { Charge::Void } else { Charge::Assumed }
    }
}

impl From<UpstreamError> for Failure {
    fn from(error: UpstreamError) -> Self {
        let message = match &error {
            UpstreamError::Connect { reason, .. } => format!("cannot be reached: {reason}"),
            UpstreamError::Broken { reason, .. } => format!("the connection failed: {reason}"),
            UpstreamError::Silence { .. } | UpstreamError::Tls(_) => error.to_string(),
        };
        // Where the provider may have begun, each further try could be billed in full: only what cost nothing is worth one.
        let out_of_reach = matches!(error, UpstreamError::Connect { .. });
        let finality = if out_of_reach { Finality::Transient } else { Finality::Terminal };
        Self { message, cause: error.to_string(), nothing_sent: error.nothing_sent(), hint: None, finality }
    }
}

/// An answer that has no usage is free, or refused before it began, which no provider bills. But where something
/// between here and the provider lost patience, the provider may have gone on.
fn charge_of(status: StatusCode) -> Charge {
    if matches!(status.as_u16(), 504 | 524) { Charge::Assumed } else { Charge::Void }
}

/// What is compressed although it was not to be is no stream of events: nothing can be read of it or added to it.
fn framing(response: &Response<Incoming>) -> Framing {
    let is = |name, prefix: &[u8]| {
        let value: Option<&http::HeaderValue> = response.headers().get(name);
        value.is_some_and(|value| value.as_bytes().starts_with(prefix))
    };
    let encoded = response.headers().contains_key(header::CONTENT_ENCODING)
        && !is(header::CONTENT_ENCODING, b"identity");
    if is(header::CONTENT_TYPE, b"text/event-stream") && !encoded { Framing::Events } else { Framing::Json }
}

/// The client may be gone; then nobody is there to be told.
fn answer(reply: Reply, response: Response<Body>) {
    drop(reply.send(response));
}

async fn settle(permit: Permit, status: String, charge: Charge) {
    if let Err(error) = permit.settle(Outcome::charged(status, charge)).await {
        tracing::error!(%error, "a model call could not be settled; its reservation counts as spent");
    }
}
