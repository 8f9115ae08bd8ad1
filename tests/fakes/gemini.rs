//! The bytes of Gemini's `generateContent`: a turn as a whole answer, or as its stream of events. Pure.

use serde_json::{Value, json};

use super::model::{Block, Turn, Usage};

fn usage(usage: &Usage) -> Value {
    let prompt = usage.input + usage.cache_read;
    json!({
        "promptTokenCount": prompt,
        "cachedContentTokenCount": usage.cache_read,
        "candidatesTokenCount": usage.output - usage.reasoning,
        "thoughtsTokenCount": usage.reasoning,
        "totalTokenCount": prompt + usage.output,
        "serviceTier": "standard",
    })
}

fn part(block: &Block) -> Value {
    match block {
        Block::Text(text) => json!({ "text": text }),
        Block::Thinking(text) => json!({ "text": text, "thought": true }),
        Block::Tool { name, input, .. } => json!({ "functionCall": { "name": name, "args": input } }),
        Block::Custom { .. } => panic!("Gemini has no custom tools"),
    }
}

fn piece(parts: &[Value], usage: Value, finish: Option<&str>) -> Value {
    let mut candidate = json!({ "content": { "parts": parts, "role": "model" }, "index": 0 });
    if let Some(reason) = finish {
        candidate["finishReason"] = json!(reason);
    }
    json!({ "candidates": [candidate], "usageMetadata": usage, "modelVersion": "fake" })
}

/// The whole answer.
pub(crate) fn response(turn: &Turn) -> Value {
    let parts: Vec<Value> = turn.blocks.iter().map(part).collect();
    piece(&parts, usage(&turn.usage), Some("STOP"))
}

/// The answer as server-sent events, one text each: a block in each, and the counts grow.
pub(crate) fn events(turn: &Turn) -> Vec<String> {
    let first = Usage { output: 0, reasoning: 0, ..turn.usage };
    let last = turn.blocks.len().saturating_sub(1);
    let pieces = turn.blocks.iter().enumerate().map(|(index, block)| {
        let (counts, finish) = if index == last { (&turn.usage, Some("STOP")) } else { (&first, None) };
        piece(&[part(block)], usage(counts), finish)
    });
    pieces.map(|piece| format!("data: {piece}\r\n\r\n")).collect()
}
