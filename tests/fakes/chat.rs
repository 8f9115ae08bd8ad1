//! The bytes of OpenAI Chat Completions: a turn as a stream of chunks, or as one answer. Pure.

use serde_json::{Value, json};

use super::ask::Ask;
use super::model::{Block, Turn, Usage};

fn usage(usage: &Usage) -> Value {
    let write = usage.cache_write_5m + usage.cache_write_1h;
    let prompt = usage.input + usage.cache_read + write;
    json!({
        "prompt_tokens": prompt,
        "prompt_tokens_details": { "cached_tokens": usage.cache_read, "cache_write_tokens": write },
        "completion_tokens": usage.output,
        "completion_tokens_details": { "reasoning_tokens": usage.reasoning },
        "total_tokens": prompt + usage.output,
    })
}

/// What the turn says, and the tools it calls.
fn parts(turn: &Turn, number: usize) -> (String, Vec<Value>) {
    let mut text = String::new();
    let mut calls = Vec::new();
    for block in &turn.blocks {
        match block {
            Block::Text(words) => text.push_str(words),
            Block::Thinking(_) => {}
            Block::Tool { name, input, .. } => calls.push((name, input.to_string())),
            Block::Custom { name, input } => calls.push((name, input.clone())),
        }
    }
    let call = |(index, (name, arguments)): (usize, (&String, String))| {
        json!({ "index": index, "id": format!("call_fake_{number:04}_{index}"), "type": "function",
            "function": { "name": name, "arguments": arguments } })
    };
    (text, calls.into_iter().enumerate().map(call).collect())
}

fn finish(turn: &Turn) -> &'static str {
    if turn.calls_tool() { "tool_calls" } else { "stop" }
}

/// The whole answer.
pub(crate) fn answer(ask: &Ask, turn: &Turn, number: usize) -> Value {
    let (text, calls) = parts(turn, number);
    let mut message = json!({ "role": "assistant", "content": text });
    if !calls.is_empty() {
        message["tool_calls"] = json!(calls);
    }
    json!({
        "id": format!("chatcmpl_fake_{number:04}"), "object": "chat.completion", "created": 1_790_000_000,
        "model": ask.model(), "service_tier": "default",
        "choices": [{ "index": 0, "message": message, "finish_reason": finish(turn) }],
        "usage": usage(&turn.usage),
    })
}

/// The answer as server-sent events, one text each. Usage comes last, if it was asked for.
pub(crate) fn events(ask: &Ask, turn: &Turn, number: usize) -> Vec<String> {
    let (text, calls) = parts(turn, number);
    let chunk = |choices: Value, usage: Value| {
        let body = json!({
            "id": format!("chatcmpl_fake_{number:04}"), "object": "chat.completion.chunk",
            "created": 1_790_000_000, "model": ask.model(), "service_tier": "default",
            "choices": choices, "usage": usage,
        });
        format!("data: {body}\n\n")
    };
    let delta =
        |delta: Value| chunk(json!([{ "index": 0, "delta": delta, "finish_reason": null }]), Value::Null);
    let mut list = vec![delta(json!({ "role": "assistant", "content": text }))];
    list.extend(calls.into_iter().map(|call| delta(json!({ "tool_calls": [call] }))));
    list.push(chunk(json!([{ "index": 0, "delta": {}, "finish_reason": finish(turn) }]), Value::Null));
    if ask.body["stream_options"]["include_usage"] == true {
        list.push(chunk(json!([]), usage(&turn.usage)));
    }
    list.push("data: [DONE]\n\n".to_owned());
    list
}
