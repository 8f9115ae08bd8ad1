//! One call of a tool: decided by the gate, passed on to its server, settled with its outcome.
//!
//! Invariants: nothing reaches a server without a permit; what the gate decided about is what the server gets, and the
//! answer comes back byte for byte but for its id. A denial is a tool result, because models read those, never a
//! JSON-RPC error.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Inner;
use super::canonical;
use super::facts;
use super::fleet::Target;
use super::upstream::ServerError;
use super::wire::{self, Edit, INVALID_PARAMS, INVALID_REQUEST, Message, Object, WireError, quote};
use crate::core::action::{Action, Facts, ToolAction};
use crate::core::data::{Carried, DataRules, Destination};
use crate::core::decision::Refusal;
use crate::core::detect::Form;
use crate::core::effect::{self, Effect, Shown};
use crate::core::label::{Label, Labels};
use crate::core::run::Run;
use crate::core::seen;
use crate::core::usage::Outcome;
use crate::gate::{LiveRun, Permit, Told};
use crate::registry::Snapshot;
use crate::sys::aside::{self, AsideError};
use crate::sys::grounds::Homes;

/// A call as its agent sent it.
pub(super) struct Call {
    /// The whole message.
    pub(super) text: String,
    /// Who calls.
    pub(super) live: Arc<LiveRun>,
    /// Where progress goes, if the agent can hear of it.
    pub(super) progress: Option<mpsc::Sender<String>>,
    /// Fires when the agent takes the call back.
    pub(super) cancelled: CancellationToken,
}

/// What a call names, borrowed from its message.
struct Asked<'a> {
    name: &'a str,
    arguments: Option<&'a str>,
    progress_token: Option<&'a str>,
    call_id: Option<String>,
}

/// Carries the call out; gives the response.
pub(super) async fn run(inner: &Inner, call: Call) -> String {
    let message = match Message::parse(&call.text) {
        Ok(message) => message,
        Err(error) => return wire::error("null", INVALID_REQUEST, &error.to_string()),
    };
    let id = message.id.unwrap_or("null");
    let asked = match asked(&message) {
        Ok(asked) => asked,
        Err(error) => return wire::error(id, INVALID_PARAMS, &error.to_string()),
    };
    let name = wire::string(asked.name).unwrap_or_default();
    let Some(target) = inner.fleet.find(&name).await else {
        return unknown(id, &name);
    };
    let looked = inner.gate.in_force();
    let Ok((changed, carried)) = cleared(&looked, &message, &target).await else {
        return wire::tool_error(id, "agentsup could not look through this call, so it is not made");
    };
    let (message, asked) = match changed.as_deref().map(read) {
        None => (message, asked),
        Some(Ok(changed)) => changed,
        Some(Err(error)) => return wire::error(id, INVALID_PARAMS, &error.to_string()),
    };
    let action = match action(inner, &call.live, &target, &asked, carried) {
        Ok(action) => action,
        Err(error) => return wire::error(id, INVALID_PARAMS, &format!("`arguments`: {error}")),
    };
    let told = Told { looked: Some(looked), ..told(asked.arguments.unwrap_or("{}")) };
    let permit = match inner.gate.decide_told(&call.live, action, told).await {
        Ok(permit) => permit,
        Err(refusal) => return wire::tool_error(id, &refusal_text(&refusal)),
    };
    perform(permit, &call, &message, &asked, &target).await
}

fn unknown(id: &str, name: &str) -> String {
    wire::error(id, INVALID_PARAMS, &format!("unknown tool: {name}"))
}

fn refusal_text(refusal: &Refusal) -> String {
    match &refusal.hint {
        Some(hint) => format!("{}\nhint: {hint}", refusal.message),
        None => refusal.message.clone(),
    }
}

fn read(text: &str) -> Result<(Message<'_>, Asked<'_>), WireError> {
    let message = Message::parse(text)?;
    let asked = asked(&message)?;
    Ok((message, asked))
}

fn asked<'a>(message: &Message<'a>) -> Result<Asked<'a>, WireError> {
    let params = message.params.ok_or(WireError::Shape("`params` is missing"))?;
    let params = Object::parse(params)?;
    params.require_clear(&["name", "arguments", "_meta"])?;
    let name = params.member("name").filter(|raw| wire::string(raw).is_some());
    let arguments = params.member("arguments").filter(|raw| *raw != "null");
    if arguments.is_some_and(|raw| !raw.starts_with('{')) {
        return Err(WireError::Shape("`arguments` is not an object"));
    }
    let meta = params.member("_meta").map(Object::parse).transpose()?;
    if let Some(meta) = &meta {
        meta.require_clear(&["progressToken"])?;
    }
    let of_meta = |key: &str| meta.as_ref().and_then(|meta| meta.string(key));
    let call_id = of_meta("claudecode/toolUseId").or_else(|| of_meta("callId")).filter(|id| id.len() <= 256);
    Ok(Asked {
        name: name.ok_or(WireError::Shape("`name` is not a string"))?,
        arguments,
        progress_token: meta.as_ref().and_then(|meta| meta.member("progressToken")),
        call_id: call_id.map(|id| id.into_owned()),
    })
}

/// The message as the rules about data let it go to its server, if that is not as it came, and what it then holds. All
/// of its parameters are looked at, because all are passed on.
async fn cleared(
    in_force: &Arc<Snapshot>,
    message: &Message<'_>,
    target: &Target,
) -> Result<(Option<String>, Carried), AsideError> {
    let Some(params) = message.params else { return Ok((None, Carried::default())) };
    let (in_force, server) = (Arc::clone(in_force), target.server_name.clone());
    let text = params.to_owned();
    let look = move || in_force.config.data.cleared(Destination::Server(&server), &text);
    let (changed, carried) = aside::look(params.len(), look).await?;
    Ok((changed.map(|changed| message.splice(&[Edit { what: params, with: &changed }])), carried))
}

fn action(
    inner: &Inner,
    live: &LiveRun,
    target: &Target,
    asked: &Asked<'_>,
    carried: Carried,
) -> Result<Action, WireError> {
    let name = (target.server_name.as_str(), target.tool.as_str());
    let tool = facts::tool(name, asked.arguments.unwrap_or("{}"), &live.run, &inner.homes)?;
    let facts = Facts { data: carried, ..tool.facts };
    Ok(Action::Tool(ToolAction { facts, call_id: asked.call_id.clone(), ..tool }))
}

/// The action that a call would be, as it is normalised when an agent makes it. Calls nobody.
///
/// # Errors
/// In words, where the arguments could not be sent.
pub fn suppose(
    rules: &DataRules,
    homes: &Homes,
    run: &Run,
    (server, tool): (&str, &str),
    arguments: &str,
) -> Result<Action, String> {
    let (changed, carried) = rules.cleared(Destination::Server(server), arguments);
    let arguments = changed.as_deref().unwrap_or(arguments);
    let tool = facts::tool((server, tool), arguments, run, homes).map_err(|error| error.to_string())?;
    Ok(Action::Tool(ToolAction { facts: Facts { data: carried, ..tool.facts }, ..tool }))
}

/// What is told of a call: for a person the arguments as they are digested, for policies as they are.
fn told(arguments: &str) -> Told {
    let arguments: Arc<str> = arguments.into();
    let show = {
        let arguments = Arc::clone(&arguments);
        move || {
            let arguments = canonical::canonical(&arguments).map_err(|error| error.to_string())?;
            let text = effect::pretty(&arguments);
            Ok(Effect { shown: vec![Shown::Arguments { text }], ..effect::PLAIN })
        }
    };
    // Some numbers are JSON and not to be had as values.
    let values = move || serde_json::from_str(&arguments).map_err(|error| error.to_string());
    Told { show: Some(Arc::new(show)), arguments: Some(Arc::new(values)), looked: None }
}

/// The effect, under its permit.
async fn perform(
    mut permit: Permit,
    call: &Call,
    message: &Message<'_>,
    asked: &Asked<'_>,
    target: &Target,
) -> String {
    let id = message.id.unwrap_or("null");
    let Some(server) = &target.server else {
        let name = wire::string(asked.name).unwrap_or_default();
        return settle(permit, "failed: no such server", unknown(id, &name), id).await;
    };
    let make = |ours: u64| {
        let (ours, tool) = (ours.to_string(), quote(&target.tool));
        let mut edits = vec![Edit { what: asked.name, with: &tool }];
        edits.extend(message.id.map(|what| Edit { what, with: &ours }));
        edits.extend(asked.progress_token.map(|what| Edit { what, with: &ours }));
        message.splice(&edits)
    };
    let progress = asked.progress_token.and(call.progress.clone());
    let answer = tokio::select! {
        answer = server.call(make, progress) => answer,
        () = call.live.cancelled() => {
            return settle(permit, "cancelled: the run is over", wire::tool_error(id, "the run is over"), id).await;
        }
        () = call.cancelled.cancelled() => {
            let response = wire::error(id, INVALID_REQUEST, "cancelled by the client");
            return settle(permit, "cancelled by the agent", response, id).await;
        }
    };
    match answer {
        Ok(answer) => {
            permit.bring(labels_of(&call.live, &answer).await);
            let (status, response) = pass_on(&answer, id);
            settle(permit, &status, response, id).await
        }
        Err(error) => {
            let response = wire::tool_error(id, &failure_text(&server.name, &error));
            settle(permit, &format!("failed: {error}"), response, id).await
        }
    }
}

/// What was found in an answer. Of a run that has seen the worst nothing more is to be learnt.
async fn labels_of(live: &LiveRun, answer: &str) -> Labels {
    if live.labels().has(Label::Secret) {
        return Labels::NONE;
    }
    let text = answer.to_owned();
    let look = move || seen::found_in(text.as_bytes(), Form::Json);
    aside::look(answer.len(), look).await.unwrap_or(seen::UNSEEN)
}

fn failure_text(server: &str, error: &ServerError) -> String {
    format!("the MCP server `{server}` failed: {error}")
}

/// The server's answer with the agent's id, and how it ended for the record.
fn pass_on(answer: &str, id: &str) -> (String, String) {
    // The link has checked that it is an answer.
    let Ok(message) = Message::parse(answer) else {
        return (
            "failed: not MCP".to_owned(),
            wire::tool_error(id, "the MCP server sent something that is not MCP"),
        );
    };
    let status = match (message.result, message.error) {
        (_, Some(error)) => {
            let code = Object::parse(error).ok().and_then(|error| error.member("code").map(str::to_owned));
            format!("error {}", code.filter(|code| code.len() <= 12).unwrap_or_default())
        }
        (Some(result), None) if is_error(result) => "tool error".to_owned(),
        _ => "ok".to_owned(),
    };
    let edits: Vec<Edit<'_>> = message.id.map(|what| Edit { what, with: id }).into_iter().collect();
    (status, message.splice(&edits))
}

fn is_error(result: &str) -> bool {
    Object::parse(result).is_ok_and(|result| result.member("isError") == Some("true"))
}

/// Records the outcome; what cannot be recorded is not told either.
async fn settle(permit: Permit, status: &str, response: String, id: &str) -> String {
    match permit.settle(Outcome::free(status)).await {
        Ok(()) => response,
        Err(error) => {
            tracing::error!(%error, "the outcome of a tool call could not be recorded");
            wire::tool_error(id, "agentsup could not record the outcome of this call, so it is withheld")
        }
    }
}
