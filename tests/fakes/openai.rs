//! The bytes of OpenAI Responses: a turn as a response object, or as its stream of events. Pure.

use serde_json::{Value, json};

use super::ask::Ask;
use super::model::{Block, Turn, Usage};

fn usage(usage: &Usage) -> Value {
    let write = usage.cache_write_5m + usage.cache_write_1h;
    let input = usage.input + usage.cache_read + write;
    json!({
        "input_tokens": input,
        "input_tokens_details": { "cached_tokens": usage.cache_read, "cache_write_tokens": write },
        "output_tokens": usage.output,
        "output_tokens_details": { "reasoning_tokens": usage.reasoning },
        "total_tokens": input + usage.output,
    })
}

fn item(block: &Block, number: usize, index: usize) -> Value {
    let call = format!("call_fake_{number:04}_{index}");
    match block {
        Block::Text(text) => json!({
            "type": "message", "id": format!("msg_fake_{number:04}_{index}"), "role": "assistant",
            "status": "completed",
            "content": [{ "type": "output_text", "text": text, "annotations": [] }] }),
        Block::Thinking(text) => json!({
            "type": "reasoning", "id": format!("rs_fake_{number:04}_{index}"),
            "summary": [{ "type": "summary_text", "text": text }] }),
        Block::Tool { namespace, name, input } => {
            let mut item = json!({
                "type": "function_call", "id": format!("fc_fake_{number:04}_{index}"), "call_id": call,
                "name": name, "arguments": input.to_string(), "status": "completed" });
            if let Some(namespace) = namespace {
                item["namespace"] = json!(namespace);
            }
            item
        }
        Block::Custom { name, input } => json!({
            "type": "custom_tool_call", "id": format!("ctc_fake_{number:04}_{index}"), "call_id": call,
            "name": name, "input": input, "status": "completed" }),
    }
}

fn response_with(ask: &Ask, number: usize, status: &str, output: Value, usage: Value) -> Value {
    json!({
        "id": format!("resp_fake_{number:04}"),
        "object": "response",
        "created_at": 1_790_000_000,
        "status": status,
        "error": null,
        "incomplete_details": null,
        "model": ask.model(),
        "output": output,
        "parallel_tool_calls": true,
        "service_tier": "default",
        "usage": usage,
    })
}

/// The whole answer.
pub(crate) fn response(ask: &Ask, turn: &Turn, number: usize) -> Value {
    let output: Vec<Value> =
        turn.blocks.iter().enumerate().map(|(index, block)| item(block, number, index)).collect();
    response_with(ask, number, "completed", json!(output), usage(&turn.usage))
}

/// The answer as server-sent events, one text each.
pub(crate) fn events(ask: &Ask, turn: &Turn, number: usize) -> Vec<String> {
    let started = response_with(ask, number, "in_progress", json!([]), Value::Null);
    let mut list = vec![
        ("response.created", json!({ "response": started })),
        ("response.in_progress", json!({ "response": started })),
    ];
    for (index, block) in turn.blocks.iter().enumerate() {
        let whole = item(block, number, index);
        let id = whole["id"].clone();
        let mut added = whole.clone();
        added["status"] = json!("in_progress");
        let deltas = match block {
            Block::Text(text) => {
                added["content"] = json!([]);
                text_deltas(&id, index, text)
            }
            Block::Tool { input, .. } => {
                added["arguments"] = json!("");
                call_deltas("response.function_call_arguments", "arguments", &id, index, &input.to_string())
            }
            Block::Custom { input, .. } => {
                added["input"] = json!("");
                call_deltas("response.custom_tool_call_input", "input", &id, index, input)
            }
            Block::Thinking(_) => Vec::new(),
        };
        list.push(("response.output_item.added", json!({ "output_index": index, "item": added })));
        list.extend(deltas);
        list.push(("response.output_item.done", json!({ "output_index": index, "item": whole })));
    }
    list.push(("response.completed", json!({ "response": response(ask, turn, number) })));
    list.into_iter().enumerate().map(|(sequence, (name, data))| event(name, sequence, data)).collect()
}

fn text_deltas(id: &Value, index: usize, text: &str) -> Vec<(&'static str, Value)> {
    let place = json!({ "item_id": id, "output_index": index, "content_index": 0 });
    let with = |name: &str, value: Value| {
        let mut data = place.clone();
        data[name] = value;
        data
    };
    let part = |text: &str| json!({ "type": "output_text", "text": text, "annotations": [] });
    vec![
        ("response.content_part.added", with("part", part(""))),
        ("response.output_text.delta", with("delta", json!(text))),
        ("response.output_text.done", with("text", json!(text))),
        ("response.content_part.done", with("part", part(text))),
    ]
}

fn call_deltas(
    kind: &'static str,
    field: &str,
    id: &Value,
    index: usize,
    input: &str,
) -> Vec<(&'static str, Value)> {
    let (delta, done) = match kind {
        "response.custom_tool_call_input" => {
            ("response.custom_tool_call_input.delta", "response.custom_tool_call_input.done")
        }
        _ => ("response.function_call_arguments.delta", "response.function_call_arguments.done"),
    };
    let mut whole = json!({ "item_id": id, "output_index": index });
    whole[field] = json!(input);
    vec![(delta, json!({ "item_id": id, "output_index": index, "delta": input })), (done, whole)]
}

fn event(name: &str, sequence: usize, mut data: Value) -> String {
    data["type"] = json!(name);
    data["sequence_number"] = json!(sequence);
    format!("event: {name}\ndata: {data}\n\n")
}
