use serde_json::{Value, json};

use super::*;
use crate::gateway::scan::Content;
use crate::gateway::splice;
use bytes::Bytes;

fn read(provider: &dyn Provider, request: &Value) -> (Call<'static>, String) {
    let body: &'static str = request.to_string().leak();
    let call = provider.read_call("", body.as_bytes()).unwrap();
    let sent = splice::apply(Bytes::from_static(body.as_bytes()), &call.splices);
    (call, String::from_utf8(sent.to_vec()).unwrap())
}

fn chat(request: &Value) -> Call<'static> {
    read(&chat::COMPATIBLE, request).0
}

fn with(field: &str, value: Value) -> Value {
    let mut request = json!({"model": "m", "messages": []});
    request[field] = value;
    request
}

#[test]
fn chat_output_is_bounded_by_whatever_field_says_so() {
    let bound = |fields: &[(&str, Value)]| {
        let mut request = json!({"model": "m", "messages": []});
        for (name, value) in fields {
            request[*name] = value.clone();
        }
        let call = chat(&request);
        (call.max_output, call.answers)
    };
    assert_eq!(bound(&[]), (None, 1));
    assert_eq!(bound(&[("max_tokens", json!(5))]), (Some(5), 1));
    assert_eq!(bound(&[("max_completion_tokens", json!(7)), ("n", json!(3))]), (Some(7), 3));
    assert_eq!(bound(&[("max_completion_tokens", json!(7)), ("max_tokens", json!(9))]), (Some(9), 1));
    assert_eq!(bound(&[("max_tokens", Value::Null), ("n", Value::Null)]), (None, 1));
}

#[test]
fn what_chat_cannot_bound_is_refused_by_its_name() {
    for (field, value, name) in [
        ("audio", json!({"voice": "alloy"}), "audio"),
        ("modalities", json!(["text", "audio"]), "modalities: audio"),
        ("prediction", json!({"type": "content", "content": "x"}), "prediction"),
        ("web_search_options", json!({}), "web_search_options"),
        ("search_parameters", json!({"mode": "auto"}), "search_parameters"),
        ("enable_search", json!(true), "enable_search"),
        ("background", json!(true), "background"),
        ("deferred", json!(true), "deferred"),
        ("preset", json!("p"), "preset"),
        ("plugins", json!([{"id": "web"}]), "plugins"),
        ("models", json!(["a", "b"]), "models"),
        ("model", json!("a/b:online"), "model: …:online"),
        ("service_tier", json!("priority"), "service_tier: priority"),
        ("service_tier", json!("flex"), "service_tier: flex"),
        (
            "tools",
            json!([{"type": "function", "function": {"name": "a"}}, {"type": "openrouter:web_search"}]),
            "tools: openrouter:web_search",
        ),
        ("messages", json!([{"role": "assistant", "audio": {"id": "audio_1"}}]), "messages: audio"),
    ] {
        assert_eq!(chat(&with(field, value.clone())).unbounded.as_deref(), Some(name), "{field}: {value}");
    }
    let audio =
        json!([{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "aGk="}}]}]);
    let seen = content(&chat(&with("messages", audio)));
    assert_eq!(seen.unpriced, Some("input_audio"));
}

fn content(call: &Call<'_>) -> Content {
    let mut content = Content::default();
    call.parts.iter().for_each(|part| content.add(part.json, call.kinds));
    content
}

#[test]
fn what_agents_send_to_chat_is_admitted() {
    let request = json!({
        "model": "gpt-5-mini", "n": 1, "stream": true, "stream_options": {"include_usage": true}, "store": false,
        "messages": [
            {"role": "system", "content": "You are"},
            {"role": "user", "content": [{"type": "text", "text": "hi"}, {"type": "image_url", "image_url": {"url": "data:"}}]},
            {"role": "assistant", "content": null, "audio": null, "reasoning_content": "hm", "tool_calls": [{"id": "c", "type": "function", "function": {"name": "read", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "c", "content": "text"},
            {"role": "assistant", "content": null, "function_call": {"name": "old", "arguments": "{}"}},
            {"role": "function", "name": "old", "content": "text"}
        ],
        "tools": [{"type": "function", "function": {"name": "read"}}, {"type": "custom", "custom": {"name": "x"}}],
        "functions": [{"name": "old", "parameters": {"type": "object"}}], "function_call": "auto",
        "modalities": ["text"], "audio": null, "prediction": null, "plugins": [], "models": null, "service_tier": "auto",
        "reasoning_effort": "low", "prompt_cache_key": "k", "temperature": 0.5, "options": {"num_ctx": 8192}
    });
    let (call, sent) = read(&chat::COMPATIBLE, &request);
    assert_eq!(call.unbounded, None);
    assert_eq!(sent, request.to_string());
    assert!(call.unasked.is_none());
    let seen = content(&call);
    assert_eq!((seen.images, seen.opaque, seen.fleeting, seen.unpriced), (1, false, true, None));
    assert_eq!(call.parts.len(), 6 + 2 + 1);
    assert_eq!(call.cache, CacheWrites::Short);
    assert_eq!(chat(&with("prompt_cache_retention", json!("24h"))).cache, CacheWrites::Long);
}

#[test]
fn usage_is_asked_for_where_the_client_did_not() {
    let sent = |text: &'static str| {
        let call = chat::COMPATIBLE.read_call("", text.as_bytes()).unwrap();
        let sent = splice::apply(Bytes::from_static(text.as_bytes()), &call.splices);
        (String::from_utf8(sent.to_vec()).unwrap(), call.unasked.is_some())
    };
    for (asked, becomes) in [
        (
            "{ \"model\":\"m\",\"messages\":[], \"stream\":true}\n",
            "{\"stream_options\":{\"include_usage\":true}, \"model\":\"m\",\"messages\":[], \"stream\":true}\n",
        ),
        (
            r#"{"model":"m","messages":[],"stream":true,"stream_options":null}"#,
            r#"{"model":"m","messages":[],"stream":true,"stream_options":{"include_usage":true}}"#,
        ),
        (
            r#"{"model":"m","messages":[],"stream":true,"stream_options":{ "include_obfuscation" : false }}"#,
            r#"{"model":"m","messages":[],"stream":true,"stream_options":{"include_usage":true, "include_obfuscation" : false }}"#,
        ),
        (
            r#"{"model":"m","stream_options":{"include_usage": false},"messages":[],"stream":true}"#,
            r#"{"model":"m","stream_options":{"include_usage": true},"messages":[],"stream":true}"#,
        ),
        (
            r#"{"model":"m","stream_options":{},"messages":[],"stream":true}"#,
            r#"{"model":"m","stream_options":{"include_usage":true},"messages":[],"stream":true}"#,
        ),
    ] {
        assert_eq!(sent(asked), (becomes.to_owned(), true));
    }
    for as_it_is in [
        r#"{"model":"m","messages":[]}"#,
        r#"{"model":"m","messages":[],"stream":false}"#,
        r#"{"model":"m","messages":[],"stream":true,"stream_options":{"include_usage":true}}"#,
    ] {
        assert_eq!(sent(as_it_is), (as_it_is.to_owned(), false));
    }
    for unclear in [
        r#"{"model":"m","messages":[],"stream":true,"stream_options":{"include_us\u0061ge":false}}"#,
        r#"{"model":"m","messages":[],"stream":true,"stream_options":{"include_usage":false,"include_usage":false}}"#,
        r#"{"model":"m","messages":[],"stream":true,"stream_options":[]}"#,
        r#"{"model":"m","messages":[],"stream":true,"stream\u005foptions":{}}"#,
    ] {
        assert!(chat::COMPATIBLE.read_call("", unclear.as_bytes()).is_err(), "{unclear}");
    }
}

/// Near a budget's end the answers together may be no longer than what was granted.
#[test]
fn a_chat_is_cut_in_the_field_that_it_has() {
    let lowered = |provider: &chat::Chat, body: &'static str| {
        let splices = provider.lowered(body.as_bytes(), 900).unwrap();
        let sent = splice::apply(Bytes::from_static(body.as_bytes()), &splices);
        String::from_utf8(sent.to_vec()).unwrap()
    };
    for (body, becomes) in [
        (r#"{"max_tokens":5000}"#, r#"{"max_tokens":900}"#),
        (r#"{"max_completion_tokens":5000,"n":2}"#, r#"{"max_completion_tokens":450,"n":2}"#),
        (
            r#"{"max_completion_tokens":1,"max_tokens":2}"#,
            r#"{"max_completion_tokens":900,"max_tokens":900}"#,
        ),
        (r#"{"max_tokens":null,"n":null}"#, r#"{"max_tokens":900,"n":null}"#),
    ] {
        assert_eq!(lowered(&chat::COMPATIBLE, body), becomes);
    }
    assert_eq!(lowered(&chat::OPENAI, "{}"), r#"{"max_completion_tokens":900}"#);
}

#[test]
fn only_the_chunk_that_was_asked_for_is_taken_out() {
    let unasked = chat(&with("stream", json!(true))).unasked.unwrap();
    assert!(unasked(br#"{"choices":[],"usage":{"prompt_tokens":1}}"#));
    for passes in [
        r#"{"choices":[],"usage":null}"#,
        r#"{"choices":[],"prompt_filter_results":[]}"#,
        r#"{"choices":[{"index":0}],"usage":{"prompt_tokens":1}}"#,
        "[DONE]",
        "",
        r#"{"error":{"message":"x"}}"#,
    ] {
        assert!(!unasked(passes.as_bytes()), "{passes}");
    }
}

/// A project's default may be a dearer tier; a call that leaves it open is pinned to the one that has a price here.
#[test]
fn at_home_the_tier_is_pinned() {
    let of = |provider: &'static dyn Provider, tier: Option<Value>| {
        let mut request = json!({"input": [], "messages": [], "model": "m"});
        request["service_tier"] = tier.clone().unwrap_or_default();
        if tier.is_none() {
            request.as_object_mut().unwrap().remove("service_tier");
        }
        let sent: Value = serde_json::from_str(&read(provider, &request).1).unwrap();
        sent.get("service_tier").cloned()
    };
    for provider in [&OPENAI as &dyn Provider, &chat::OPENAI] {
        for tier in [None, Some(Value::Null), Some(json!("auto")), Some(json!("default"))] {
            assert_eq!(of(provider, tier), Some(json!("default")));
        }
    }
    for provider in [&COMPATIBLE as &dyn Provider, &chat::COMPATIBLE] {
        assert_eq!(of(provider, None), None);
        assert_eq!(of(provider, Some(json!("auto"))), Some(json!("auto")));
    }
}

#[test]
fn what_a_chat_answer_bills_and_has_no_price_is_no_bill() {
    let bill = |json: &str| {
        let mut reader = chat::COMPATIBLE.reader(&chat(&json!({"model": "m", "messages": []})));
        reader.answer(json.as_bytes()).map(|()| reader.bill())
    };
    let unpriced = |what: &str| Err(UnreadableError::Unpriced(what.to_owned()));
    let usage = r#""prompt_tokens":1,"completion_tokens":1"#;
    assert_eq!(
        bill(&format!(r#"{{"service_tier":"priority","usage":{{{usage}}}}}"#)),
        unpriced("service_tier: priority")
    );
    for details in ["prompt_tokens_details", "completion_tokens_details"] {
        let text = format!(r#"{{"usage":{{{usage},"{details}":{{"audio_tokens":2}}}}}}"#);
        assert_eq!(bill(&text), unpriced("audio"));
    }
    assert_eq!(
        bill(r#"{"usage":{"prompt_tokens":-1,"completion_tokens":1}}"#),
        Err(UnreadableError::Malformed)
    );
    assert_eq!(bill(r#"{"choices":[]}"#), Ok(None));
    // what is no number of dollars is no claim
    for cost in ["{\"total\":1}", "\"1\"", "null"] {
        let told = bill(&format!(r#"{{"usage":{{{usage},"cost":{cost}}}}}"#)).unwrap().unwrap().told;
        assert_eq!(told, None, "{cost}");
    }
}
