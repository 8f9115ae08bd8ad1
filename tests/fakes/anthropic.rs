//! The bytes of Anthropic Messages: a turn as a message, or as its stream of events. Pure.

use serde_json::{Value, json};

use super::ask::Ask;
use super::model::{Block, Turn, Usage};

fn usage(usage: &Usage, output: u64) -> Value {
    json!({
        "input_tokens": usage.input,
        "cache_creation_input_tokens": usage.cache_write_5m + usage.cache_write_1h,
        "cache_read_input_tokens": usage.cache_read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_write_5m,
            "ephemeral_1h_input_tokens": usage.cache_write_1h,
        },
        "output_tokens": output,
        "service_tier": "standard",
    })
}

fn stop_reason(turn: &Turn) -> &'static str {
    if turn.calls_tool() { "tool_use" } else { "end_turn" }
}

fn head(ask: &Ask, number: usize, content: Value, stop: Option<&str>, usage: Value) -> Value {
    json!({
        "id": format!("msg_fake_{number:04}"),
        "type": "message",
        "role": "assistant",
        "model": ask.model(),
        "content": content,
        "stop_reason": stop,
        "stop_sequence": null,
        "usage": usage,
    })
}

/// The whole answer.
pub(crate) fn message(ask: &Ask, turn: &Turn, number: usize) -> Value {
    let content: Vec<Value> =
        turn.blocks.iter().enumerate().map(|(index, block)| whole(block, number, index)).collect();
    head(ask, number, json!(content), Some(stop_reason(turn)), usage(&turn.usage, turn.usage.output))
}

fn whole(block: &Block, number: usize, index: usize) -> Value {
    match block {
        Block::Text(text) => json!({ "type": "text", "text": text }),
        Block::Thinking(text) => json!({ "type": "thinking", "thinking": text, "signature": "ZmFrZQ==" }),
        Block::Tool { name, input, .. } => json!({
            "type": "tool_use", "id": format!("toolu_fake_{number:04}_{index}"), "name": name, "input": input }),
        Block::Custom { .. } => panic!("custom tools are not on the Anthropic wire"),
    }
}

/// The answer as server-sent events, one text each.
pub(crate) fn events(ask: &Ask, turn: &Turn, number: usize) -> Vec<String> {
    let started = head(ask, number, json!([]), None, usage(&turn.usage, 1));
    let mut events = vec![event("message_start", json!({ "message": started })), event("ping", json!({}))];
    for (index, block) in turn.blocks.iter().enumerate() {
        let mut empty = whole(block, number, index);
        let deltas = match block {
            Block::Text(text) => {
                empty["text"] = json!("");
                pieces(text, |part| json!({ "type": "text_delta", "text": part }))
            }
            Block::Thinking(text) => {
                empty["thinking"] = json!("");
                empty["signature"] = json!("");
                let mut deltas = pieces(text, |part| json!({ "type": "thinking_delta", "thinking": part }));
                deltas.push(json!({ "type": "signature_delta", "signature": "ZmFrZQ==" }));
                deltas
            }
            Block::Tool { input, .. } => {
                empty["input"] = json!({});
                pieces(&input.to_string(), |part| json!({ "type": "input_json_delta", "partial_json": part }))
            }
            Block::Custom { .. } => Vec::new(),
        };
        events.push(event("content_block_start", json!({ "index": index, "content_block": empty })));
        for delta in deltas {
            events.push(event("content_block_delta", json!({ "index": index, "delta": delta })));
        }
        events.push(event("content_block_stop", json!({ "index": index })));
    }
    events.push(event(
        "message_delta",
        json!({
            "delta": { "stop_reason": stop_reason(turn), "stop_sequence": null },
            "usage": usage(&turn.usage, turn.usage.output),
        }),
    ));
    events.push(event("message_stop", json!({})));
    events
}

/// At most two pieces, split between characters.
fn pieces(text: &str, delta: impl Fn(&str) -> Value) -> Vec<Value> {
    let middle = text.char_indices().nth(text.chars().count() / 2).map_or(0, |(at, _)| at);
    let (first, second) = text.split_at(middle);
    [first, second].iter().filter(|part| !part.is_empty()).map(|part| delta(part)).collect()
}

fn event(name: &str, mut data: Value) -> String {
    data["type"] = json!(name);
    format!("event: {name}\ndata: {data}\n\n")
}
