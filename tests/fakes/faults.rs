//! How the scripted model server misbehaves, and how it writes an answer that may break off.
//! Every wait here ends when the client goes away or the server is dropped.

use std::time::Duration;

use hyper::Response;
use serde_json::json;

use super::ask::Wire;
use super::server::{Answer, Sink, StreamBody, pace};

/// What goes wrong. Events are counted on a stream; a plain JSON answer counts as one event.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// An error in the wire's own shape. `retry-after` and such go into the headers.
    Status(u16, &'static str, Vec<(&'static str, &'static str)>),
    /// A status with this body, as it is.
    Raw(u16, &'static str, &'static str),
    /// Accepts the request and never answers.
    HangBeforeHead,
    /// Sends the head and this many events, then nothing.
    HangAfter(usize),
    /// Sends this many events, then breaks the connection.
    CutAfter(usize),
    /// Sends this many events, then an error event of the wire, then ends.
    ErrorAfter(usize),
    /// Sends this many events, then ends the body properly but without the final events.
    EndAfter(usize),
    /// Sends this many events, then a data line that is not JSON, then the rest.
    MalformedAfter(usize),
    /// One event of this many bytes before the others.
    Huge(usize),
    /// Sends the answer in pieces of this many bytes, this far apart.
    Trickle(usize, Duration),
}

impl Fault {
    /// The answer of a fault that comes before any event.
    pub(crate) fn before_answer(&self, wire: Wire) -> Option<Response<StreamBody>> {
        match self {
            Self::Status(code, kind, headers) => Some(status(wire, *code, kind, headers)),
            Self::Raw(code, content_type, body) => {
                Some(Answer::full(*code, &[("content-type", content_type)], *body))
            }
            _ => None,
        }
    }

    /// The event before which the fault strikes.
    fn place(&self) -> usize {
        match self {
            Self::HangAfter(events)
            | Self::CutAfter(events)
            | Self::ErrorAfter(events)
            | Self::EndAfter(events)
            | Self::MalformedAfter(events) => *events,
            _ => 0,
        }
    }
}

/// An error answer in the wire's own shape.
pub(crate) fn status(wire: Wire, code: u16, kind: &str, headers: &[(&str, &str)]) -> Response<StreamBody> {
    let message = format!("the fake provider answers {code} {kind}");
    let body = match wire {
        Wire::Anthropic => json!({
            "type": "error", "error": { "type": kind, "message": message }, "request_id": "req_fake" }),
        Wire::Chat | Wire::Responses => {
            json!({ "error": { "message": message, "type": kind, "param": null, "code": kind } })
        }
        Wire::Gemini => json!({ "error": { "code": code, "message": message, "status": kind } }),
    };
    let mut all = vec![("content-type", "application/json"), ("request-id", "req_fake")];
    all.extend_from_slice(headers);
    Answer::full(code, &all, body.to_string())
}

fn error_event(wire: Wire) -> String {
    match wire {
        Wire::Anthropic => {
            let body =
                json!({ "type": "error", "error": { "type": "overloaded_error", "message": "Overloaded" } });
            format!("event: error\ndata: {body}\n\n")
        }
        Wire::Chat => {
            let body =
                json!({ "error": { "message": "The fake broke off", "type": "server_error", "code": null } });
            format!("data: {body}\n\n")
        }
        Wire::Responses => {
            let error = json!({ "code": "server_error", "message": "The fake broke off" });
            let body = json!({ "type": "response.failed", "response": {
                "id": "resp_fake", "object": "response", "status": "failed", "error": error } });
            format!("event: response.failed\ndata: {body}\n\n")
        }
        Wire::Gemini => {
            json!({ "error": { "code": 503, "message": "Overloaded", "status": "UNAVAILABLE" } }).to_string()
        }
    }
}

/// Writes the events as the fault allows. True when all of them were sent and the body ended properly.
pub(crate) async fn write(sink: Sink, events: Vec<String>, fault: Option<Fault>, wire: Wire) -> bool {
    let place = fault.as_ref().map_or(usize::MAX, Fault::place);
    if let Some(Fault::Huge(bytes)) = fault {
        sink.send(format!(": {}\n\n", "x".repeat(bytes))).await;
    }
    for (number, event) in events.into_iter().enumerate() {
        if number == place {
            match &fault {
                Some(Fault::HangAfter(_)) => {
                    sink.hang().await;
                    return false;
                }
                Some(Fault::CutAfter(_)) => {
                    sink.cut().await;
                    return false;
                }
                Some(Fault::EndAfter(_)) => return false,
                Some(Fault::ErrorAfter(_)) => {
                    sink.send(error_event(wire)).await;
                    return false;
                }
                Some(Fault::MalformedAfter(_)) => {
                    sink.send("event: content_block_delta\ndata: {\"type\": \"content_blo\n\n").await;
                }
                _ => {}
            }
        }
        let sent = match fault {
            Some(Fault::Trickle(bytes, delay)) => trickle(&sink, event.as_bytes(), bytes, delay).await,
            _ => sink.send(event).await,
        };
        if !sent {
            return false;
        }
    }
    true
}

async fn trickle(sink: &Sink, data: &[u8], bytes: usize, delay: Duration) -> bool {
    for piece in data.chunks(bytes.max(1)) {
        pace(delay).await;
        if !sink.send(piece.to_vec()).await {
            return false;
        }
    }
    true
}
