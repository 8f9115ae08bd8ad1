//! The agents' own tools: their hooks ask here, the gate answers.
//!
//! Invariants: a message that cannot be read denies; a call is decided once, by the gate, and its permit is settled
//! when the hook reports the end or the run is over. What MCP tools do is decided by the MCP proxy; a tool of a server
//! that is not ours is denied. Must not know an agent by name: adapters bring the wire.

pub mod command;
mod edits;
mod effect;
mod line;
mod message;
pub mod normalise;
mod pending;
mod places;
pub mod relay;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::agents::wire::{HookAnswer, HookCall, HookWire, Spent, ToolCall, ToolEnd, ToolKind};
use crate::agents::{self, Adapter};
use crate::core::action::{Action, ToolAction};
use crate::core::detect::Form;
use crate::core::label::Label;
use crate::core::manifest::BuiltinClass;
use crate::core::seen;
use crate::core::usage::Outcome;
use crate::gate::{Gate, LiveRun, Permit, Told};
use crate::store::StoreError;
use crate::sys::aside;
use crate::sys::http::{Body, bearer, json as json_response, read_body};
use normalise::normalise;
use pending::Pending;

/// A hook's message at most, in bytes: it holds a tool's whole input and output.
const MESSAGE_MAX: usize = 16 * 1024 * 1024;

/// A run's adapter and the wire of its hooks.
type Agent = (&'static Adapter, &'static HookWire);

/// What keeps the books of calls that went past the gateway: prices are the gateway's business.
pub type Meter = Box<dyn Fn(Arc<LiveRun>, Spent) -> Metering + Send + Sync>;
/// A call on its way into the books.
pub type Metering = Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>>;

/// The hooks' front. Clones share it.
#[derive(Clone)]
pub struct Hooks {
    gate: Gate,
    homes: Arc<normalise::Homes>,
    pending: Arc<Pending>,
    meter: Arc<Meter>,
}

impl Hooks {
    /// Over a gate.
    pub fn new(gate: Gate, homes: normalise::Homes, meter: Meter) -> Self {
        Self { gate, homes: Arc::new(homes), pending: Arc::new(Pending::default()), meter: Arc::new(meter) }
    }

    /// Answers one message of a hook of the adapter named in the path.
    pub async fn serve(&self, request: Request<Incoming>, adapter: &str) -> Response<Body> {
        let Some(live) = bearer(request.headers()).and_then(|token| self.gate.authenticate(token)) else {
            return refused(StatusCode::UNAUTHORIZED, "the run's token is missing, unknown or revoked");
        };
        let adapter = agents::by_name(&live.run.adapter).filter(|own| own.name == adapter);
        let Some((adapter, wire)) = adapter.and_then(|own| Some((own, own.wire?))) else {
            return refused(StatusCode::NOT_FOUND, "the run's adapter has no such hooks");
        };
        if request.method() != Method::POST {
            return refused(StatusCode::METHOD_NOT_ALLOWED, "hooks are posted");
        }
        match read_body(request.into_body(), MESSAGE_MAX).await {
            Ok(body) => self.hear(&live, (adapter, wire), &body).await,
            Err(error) => self.unread(&live, error.status(), &error.to_string()).await,
        }
    }

    async fn hear(&self, live: &Arc<LiveRun>, agent: Agent, body: &[u8]) -> Response<Body> {
        let Some(message) = message::read(body) else {
            return self.unread(live, StatusCode::BAD_REQUEST, "the hook's message is not JSON").await;
        };
        match (agent.1.read)(&message) {
            Ok(HookCall::After { call_id, status }) => {
                if let Some(permit) = self.pending.take(live.run.id, &call_id) {
                    // The agent has the result: it is looked through, even if nobody waits for that.
                    let ended = tokio::spawn(end(Arc::clone(live), permit, status, (message, body.len())));
                    if let Err(error) = ended.await {
                        tracing::error!(%error, "the end of a tool could not be told");
                    }
                }
                json_response(StatusCode::OK, &json!({}))
            }
            Ok(call) => self.answer(live, agent, call).await,
            Err(error) => self.unread(live, StatusCode::BAD_REQUEST, &error.to_string()).await,
        }
    }

    /// What cannot be read may tell a result that the agent has.
    async fn unread(&self, live: &LiveRun, status: StatusCode, why: &str) -> Response<Body> {
        if self.pending.has(live.run.id) {
            self.gate.miss_result(live).await;
        }
        refused(status, why)
    }

    /// Settles what the run's hooks never reported the end of.
    pub async fn forget(&self, live: &LiveRun) {
        for permit in self.pending.take_all(live.run.id) {
            settle(permit, "end not reported").await;
        }
    }

    async fn answer(&self, live: &Arc<LiveRun>, agent: Agent, call: HookCall) -> Response<Body> {
        match call {
            HookCall::Announced => {
                self.gate.hear_hooks(live);
                json_response(StatusCode::OK, &json!({}))
            }
            HookCall::Prompt => {
                self.gate.hear_hooks(live);
                self.ask_for_prompt(live, agent.1).await
            }
            HookCall::Spent(spent) => match self.count(live, Some(spent)).await {
                Ok(()) => json_response(StatusCode::OK, &json!({})),
                Err(refused) => refused,
            },
            HookCall::Untold => match self.count(live, None).await {
                Ok(()) => json_response(StatusCode::OK, &json!({})),
                Err(refused) => refused,
            },
            HookCall::Ended(spent) => match self.count(live, spent).await {
                Ok(()) => self.ask_for_prompt(live, agent.1).await,
                Err(refused) => refused,
            },
            HookCall::Acting if !live.hooks_heard() => {
                refused(StatusCode::CONFLICT, "it called a tool, and its hooks had not been heard")
            }
            HookCall::Acting | HookCall::After { .. } | HookCall::Other => {
                json_response(StatusCode::OK, &json!({}))
            }
            HookCall::Before(call) => {
                // A hook that asks is a hook that lives.
                self.gate.hear_hooks(live);
                self.decide(live, agent, call).await
            }
        }
    }

    async fn count(&self, live: &Arc<LiveRun>, spent: Option<Spent>) -> Result<(), Response<Body>> {
        let Some(spent) = spent else {
            self.gate.miss(live).await;
            return Ok(());
        };
        let counted = (self.meter)(Arc::clone(live), spent).await;
        counted.map_err(|error| refused(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()))
    }

    /// A budget that is used up ends a run, but the prompt may be quicker.
    async fn ask_for_prompt(&self, live: &Arc<LiveRun>, wire: &HookWire) -> Response<Body> {
        match self.gate.refuse_prompt(live).await {
            Ok(None) => json_response(StatusCode::OK, &(wire.prompt)(&HookAnswer::Allow)),
            Ok(Some(why)) => {
                let reason = format!("agentsup: {why}");
                json_response(StatusCode::OK, &(wire.prompt)(&HookAnswer::Deny { reason: &reason }))
            }
            Err(error) => refused(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
        }
    }

    async fn decide(&self, live: &Arc<LiveRun>, agent: Agent, call: ToolCall) -> Response<Body> {
        let (adapter, wire) = agent;
        let reply = |answer: HookAnswer<'_>| json_response(StatusCode::OK, &(wire.answer)(&answer));
        let class = match call.class {
            ToolKind::Proxied | ToolKind::Conversation => return reply(HookAnswer::Allow),
            ToolKind::Foreign => None,
            ToolKind::Builtin(class) => Some(class),
        };
        let action = match self.normalise(live, adapter, &call, class).await {
            Ok(action) => action,
            Err(error) => return refused(StatusCode::BAD_REQUEST, &error),
        };
        let call = Arc::new(call);
        let show = {
            let (live, call) = (Arc::clone(live), Arc::clone(&call));
            move || effect::of(&call, &live.run)
        };
        let arguments = {
            let call = Arc::clone(&call);
            move || Ok(call.args.clone())
        };
        let told = Told { show: Some(Arc::new(show)), arguments: Some(Arc::new(arguments)), looked: None };
        let decided = self.gate.decide_told(live, Action::Tool(action.clone()), told).await;
        let permit = match decided {
            Ok(permit) => permit,
            Err(refusal) => return reply(HookAnswer::Deny { reason: &refusal.message }),
        };
        // A person may have taken minutes to answer: what was decided about must still be what is there.
        if self.normalise(live, adapter, &call, class).await.as_ref() != Ok(&action) {
            settle(permit, "withdrawn: what it touches changed while it was decided").await;
            let reason = "agentsup denied it: what it touches changed while it was decided";
            return reply(HookAnswer::Deny { reason });
        }
        match call.call_id.clone() {
            Some(call_id) => {
                if let Some(oldest) = self.pending.put(live.run.id, call_id, permit) {
                    settle(oldest, "end not reported").await;
                }
            }
            None => settle(permit, "handed to the agent").await,
        }
        reply(HookAnswer::Allow)
    }

    /// On a thread that may wait: paths lie wherever the agent says, on slow file systems too.
    async fn normalise(
        &self,
        live: &Arc<LiveRun>,
        adapter: &'static Adapter,
        call: &ToolCall,
        class: Option<BuiltinClass>,
    ) -> Result<ToolAction, String> {
        let (homes, live, call) = (Arc::clone(&self.homes), Arc::clone(live), call.clone());
        let in_force = self.gate.in_force();
        let work = move || normalise(&homes, &in_force.config.data, &live.run, adapter, call, class);
        let made = tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())?;
        made.map_err(|error| error.to_string())
    }
}

/// What a hook tells beside the result: what the agent said itself, and who its user is.
const BESIDE: [&str; 2] = ["tool_input", "user_email"];

/// Settles what has ended, with what is found in what came back. The agent waits for the answer before it goes on.
async fn end(live: Arc<LiveRun>, mut permit: Permit, status: ToolEnd, (mut told, bytes): (Value, usize)) {
    if !live.labels().has(Label::Secret) {
        let look = move || {
            if let Some(members) = told.as_object_mut() {
                members.retain(|name, _| !BESIDE.contains(&name.as_str()));
            }
            seen::found_in(told.to_string().as_bytes(), Form::Json)
        };
        permit.bring(aside::look(bytes, look).await.unwrap_or(seen::UNSEEN));
    }
    settle(permit, if status == ToolEnd::Done { "done" } else { "failed" }).await;
}

async fn settle(permit: Permit, status: &str) {
    if let Err(error) = permit.settle(Outcome::free(status)).await {
        tracing::error!(%error, "a tool's outcome could not be recorded");
    }
}

/// Any status but 200 makes a hook that fails closed deny.
fn refused(status: StatusCode, message: &str) -> Response<Body> {
    json_response(status, &json!({ "error": format!("agentsup: {message}") }))
}

#[cfg(test)]
mod tests;
