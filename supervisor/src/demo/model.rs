//! The scripted model: Anthropic Messages over HTTP, streamed. What it says depends only on how far the conversation
//! is, so it keeps no state.

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::sys::http::{Body, full, json as json_response, read_body};

/// A conversation's bytes at most.
const BODY_MAX: usize = 1024 * 1024;

/// Answers one request below the model's base URL.
pub async fn serve(request: Request<Incoming>, path: &str) -> Response<Body> {
    if request.method() != Method::POST || path.trim_start_matches('/') != "v1/messages" {
        return error(
            StatusCode::NOT_FOUND,
            "not_found_error",
            "the demo model answers POST /v1/messages only",
        );
    }
    let Ok(body) = read_body(request.into_body(), BODY_MAX).await else {
        return error(StatusCode::BAD_REQUEST, "invalid_request_error", "the body is too long or was cut");
    };
    let Ok(body) = serde_json::from_slice::<Value>(&body) else {
        return error(StatusCode::BAD_REQUEST, "invalid_request_error", "the body is not JSON");
    };
    let turns = body.get("messages").and_then(Value::as_array).map_or(0, |messages| {
        messages
            .iter()
            .filter(|message| message.get("role").and_then(Value::as_str) == Some("assistant"))
            .count()
    });
    let mut response = Response::new(full(Bytes::from(stream(&turn(turns)))));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/event-stream"));
    response
}

/// What the model says in one turn.
struct Turn {
    text: &'static str,
    tool: Option<(&'static str, Value)>,
    input_tokens: u32,
    output_tokens: u32,
}

fn turn(number: usize) -> Turn {
    let note = "# Notes\n\nWritten by an agent that runs under agentsup.\n";
    match number {
        0 => Turn {
            text: "I will leave a note in the worktree.",
            tool: Some(("write_note", json!({ "path": "NOTES.md", "text": note }))),
            input_tokens: 612,
            output_tokens: 74,
        },
        1 => Turn {
            text: "Now I will clean up: the repository is not needed any more.",
            tool: Some(("delete_repository", json!({ "path": "." }))),
            input_tokens: 731,
            output_tokens: 58,
        },
        2 => Turn {
            text: "That is not mine to do. I will commit the note instead.",
            tool: Some(("commit", json!({ "message": "Add a note from the demo agent" }))),
            input_tokens: 842,
            output_tokens: 63,
        },
        _ => Turn {
            text: "Next I would write a very long report.",
            tool: None,
            input_tokens: 935,
            output_tokens: 31,
        },
    }
}

fn stream(turn: &Turn) -> String {
    let mut events = vec![
        json!({ "type": "message_start", "message": {
            "id": "msg_demo", "type": "message", "role": "assistant", "model": super::MODEL, "content": [],
            "stop_reason": null, "usage": { "input_tokens": turn.input_tokens, "output_tokens": 1 },
        } }),
        json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "text", "text": "" } }),
        json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "text_delta", "text": turn.text } }),
        json!({ "type": "content_block_stop", "index": 0 }),
    ];
    if let Some((name, input)) = &turn.tool {
        let id = format!("toolu_demo_{name}");
        events.extend([
            json!({ "type": "content_block_start", "index": 1,
                "content_block": { "type": "tool_use", "id": id, "name": name, "input": {} } }),
            json!({ "type": "content_block_delta", "index": 1,
                "delta": { "type": "input_json_delta", "partial_json": input.to_string() } }),
            json!({ "type": "content_block_stop", "index": 1 }),
        ]);
    }
    let stop_reason = if turn.tool.is_some() { "tool_use" } else { "end_turn" };
    events.extend([
        json!({ "type": "message_delta", "delta": { "stop_reason": stop_reason },
            "usage": { "output_tokens": turn.output_tokens } }),
        json!({ "type": "message_stop" }),
    ]);
    let event = |event: &Value| {
        let name = event.get("type").and_then(Value::as_str).unwrap_or_default();
        format!("event: {name}\ndata: {event}\n\n")
    };
    events.iter().map(event).collect()
}

fn error(status: StatusCode, kind: &str, message: &str) -> Response<Body> {
    json_response(status, &json!({ "type": "error", "error": { "type": kind, "message": message } }))
}
