use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::core::ids::RunId;
use crate::core::money::NanoUsd;
use crate::core::usage::Usage;
use crate::gateway::anchor::Anchors;
use crate::gateway::prices;
use crate::gateway::providers::{self, Provider};

fn run() -> RunId {
    RunId::from_parts(1, [1; 10])
}

fn prompt_of(provider: &dyn Provider, call: &Call<'_>) -> Prompt {
    Prompt::of(run(), provider.name(), call, &http::HeaderMap::new())
}

fn price(model: &str) -> Price {
    prices::price("anthropic", model, &crate::registry::Config::default()).unwrap()
}

fn bound_of(provider: &dyn Provider, request: &Value, anchors: &Anchors) -> Result<Bound, Objection> {
    let body = request.to_string();
    let call = provider.read_call("", body.as_bytes()).unwrap();
    let prompt = prompt_of(provider, &call);
    let price = price(&call.model);
    bound(&call, &prompt, body.len(), &[anchors.measure(&prompt)], &price, provider.surcharge())
}

fn anthropic(request: &Value) -> Result<Bound, Objection> {
    bound_of(providers::by_name("anthropic").unwrap(), request, &Anchors::default())
}

fn openai(request: &Value) -> Result<Bound, Objection> {
    bound_of(providers::by_name("openai").unwrap(), request, &Anchors::default())
}

fn nano(amount: u64) -> NanoUsd {
    NanoUsd::new(i64::try_from(amount).unwrap()).unwrap()
}

#[test]
fn text_counts_one_token_a_byte_at_the_price_of_what_may_happen_to_it() {
    let plain = json!({"model": "claude-opus-5-5", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]});
    let tokens = plain.to_string().len() as u64 + FRAME_TOKENS;
    let cost = |rate: u64| nano((tokens * rate + 100 * 20_000) * 110 / 100);
    assert_eq!(anthropic(&plain), Ok(Bound { input_tokens: tokens, output_tokens: 100, cost: cost(4000) }));

    let mut cached = plain.clone();
    cached["cache_control"] = json!({"type": "ephemeral"});
    let tokens = cached.to_string().len() as u64 + FRAME_TOKENS;
    let cost = |rate: u64| nano((tokens * rate + 100 * 20_000) * 110 / 100);
    assert_eq!(anthropic(&cached).unwrap().cost, cost(5000));
    cached["cache_control"] = json!({"type": "ephemeral", "ttl": "1h"});
    let tokens = cached.to_string().len() as u64 + FRAME_TOKENS;
    assert_eq!(anthropic(&cached).unwrap().cost, nano((tokens * 8000 + 100 * 20_000) * 110 / 100));
}

#[test]
fn an_answer_without_a_limit_is_bounded_by_the_model() {
    let bound = openai(&json!({"model": "gpt-6.1-sol", "input": "hi"})).unwrap();
    assert_eq!(bound.output_tokens, 128_000);
    let bound = openai(&json!({"model": "gpt-6.1-sol", "input": "hi", "max_output_tokens": 5})).unwrap();
    assert_eq!(bound.output_tokens, 5);
}

#[test]
fn what_is_not_text_counts_at_its_limit() {
    let with = |block: Value| {
        let request = json!({"model": "claude-opus-5-5", "max_tokens": 1, "messages": [{"role": "user", "content": [block]}]});
        (anthropic(&request).unwrap().input_tokens, request.to_string().len() as u64)
    };
    let (tokens, bytes) = with(json!({"type": "image", "source": {"type": "base64", "data": "aGk="}}));
    assert_eq!(tokens, bytes + 16_384 + FRAME_TOKENS);
    let (tokens, _) = with(json!({"type": "document", "source": {"type": "file", "file_id": "f"}}));
    assert_eq!(tokens, 1_000_000);
}

#[test]
fn what_has_no_bound_is_refused_by_its_name() {
    let base = json!({"model": "claude-opus-5-5", "max_tokens": 1, "messages": []});
    for (field, value, name) in [
        (
            "tools",
            json!([{"name": "a"}, {"type": "web_search_20250305", "name": "web_search"}]),
            "tools: web_search_20250305",
        ),
        (
            "messages",
            json!([{"role": "system", "content": [{"type": "tool_addition", "tool": {"type": "tool_definition",
                "definition": {"type": "code_execution_20250825", "name": "x"}}}]}]),
            "tools: code_execution_20250825",
        ),
        ("mcp_servers", json!([{"type": "url"}]), "mcp_servers"),
        ("fallbacks", json!([{"model": "claude-opus-5"}]), "fallbacks"),
        ("container", json!("container_1"), "container"),
        ("speed", json!("fast"), "speed: fast"),
        ("service_tier", json!("priority"), "service_tier: priority"),
        ("inference_geo", json!("mars"), "inference_geo: mars"),
        (
            "context_management",
            json!({"edits": [{"type": "clear_thinking_20251015"}, {"type": "compact_20260112"}]}),
            "context_management: compact_20260112",
        ),
    ] {
        let mut request = base.clone();
        request[field] = value;
        let objection = anthropic(&request).unwrap_err();
        assert_eq!(
            objection.reason,
            format!("what `{name}` costs has no upper bound, so no budget admits it")
        );
    }
    let base = json!({"model": "gpt-6.1-sol", "input": []});
    for (field, value, name) in [
        ("background", json!(true), "background"),
        ("conversation", json!({"id": "c"}), "conversation"),
        ("prompt", json!({"id": "p"}), "prompt"),
        ("service_tier", json!("priority"), "service_tier: priority"),
        ("context_management", json!([{"type": "compaction"}]), "context_management"),
        ("tools", json!([{"type": "function"}, {"type": "web_search"}]), "tools: web_search"),
        ("tools", json!([{"type": "namespace", "tools": [{"type": "mcp"}]}]), "tools: mcp"),
        (
            "input",
            json!([{"type": "additional_tools", "tools": [{"type": "code_interpreter"}]}]),
            "tools: code_interpreter",
        ),
    ] {
        let mut request = base.clone();
        request[field] = value;
        let objection = openai(&request).unwrap_err();
        assert_eq!(
            objection.reason,
            format!("what `{name}` costs has no upper bound, so no budget admits it")
        );
    }
}

#[test]
fn what_agents_send_is_admitted() {
    let claude = json!({
        "model": "claude-sonnet-5", "max_tokens": 32000, "stream": true,
        "system": [{"type": "text", "text": "You are", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
        "messages": [{"role": "system", "content": "x"}, {"role": "system", "content": [{"type": "tool_addition", "tool": {"type": "tool_definition", "definition": {"name": "x", "input_schema": {"type": "object"}}}}, {"type": "other", "tool": "text"}]}, {"role": "user", "content": [{"type": "text", "text": "hi"}]}],
        "tools": [{"name": "Bash", "input_schema": {"type": "object"}, "defer_loading": true}, {"type": "custom", "name": "x"}, {"type": "bash_20250124", "name": "bash"}],
        "thinking": {"type": "adaptive"}, "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "metadata": {"user_id": "u"}, "output_config": {"effort": "high"}, "service_tier": "auto", "mcp_servers": [], "fallbacks": null, "speed": null
    });
    assert!(anthropic(&claude).is_ok());
    let codex = json!({
        "model": "gpt-6.1-sol", "instructions": "You are", "stream": true, "store": false,
        "input": [{"type": "additional_tools", "tools": [{"type": "namespace", "tools": [{"type": "function", "name": "a"}]}, {"type": "custom", "name": "exec"}]}, {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}, {"type": "reasoning", "encrypted_content": "abc"}],
        "tools": [{"type": "function", "name": "shell"}, {"type": "local_shell"}, {"type": "tool_search", "execution": "client"}],
        "tool_choice": "auto", "reasoning": {"effort": "medium"}, "include": ["reasoning.encrypted_content"], "prompt_cache_key": "k",
        "previous_response_id": null, "background": false, "service_tier": "auto"
    });
    assert!(openai(&codex).is_ok());
}

/// What the provider puts before a call is not in its body.
#[test]
fn a_call_that_goes_on_from_an_unknown_answer_is_bounded_by_the_models_window() {
    let request = json!({"model": "gpt-5-mini", "input": "hi", "max_output_tokens": 1, "previous_response_id": "resp_1"});
    let bound_with = |price: &Price| {
        let (provider, body) = (providers::by_name("openai").unwrap(), request.to_string());
        let call = provider.read_call("", body.as_bytes()).unwrap();
        bound(&call, &prompt_of(provider, &call), body.len(), &[], price, Surcharge::NONE)
    };
    assert_eq!(bound_with(&price("gpt-5-mini")).unwrap().input_tokens, 400_000);
    let mine = crate::registry::PriceOverride { input: nano(1), output: nano(1), ..Default::default() };
    let config =
        crate::registry::Config { prices: [("gpt-mine".to_owned(), mine)].into(), ..Default::default() };
    let objection = bound_with(&prices::price("openai", "gpt-mine", &config).unwrap()).unwrap_err();
    assert_eq!(
        objection.reason,
        "the call goes on from an earlier answer, and how much `gpt-5-mini` accepts is not known"
    );
}

/// Where two readers of a body could disagree, it is not passed on.
#[test]
fn a_body_that_two_readers_may_read_differently_is_refused() {
    let read = |name: &str, body: &[u8]| {
        providers::by_name(name).unwrap().read_call("", body).map(|_| ()).unwrap_err().to_string()
    };
    let escapes = "the request body cannot be read: a field's name has escapes";
    let twice = "the request body cannot be read: a field is given twice";
    for (name, body, expected) in [
        (
            "anthropic",
            r#"{"model":"claude-opus-5-5","max_tokens":1,"messages":[],"cach\u0065_control":{"type":"ephemeral","ttl":"1h"}}"#,
            escapes,
        ),
        ("anthropic", r#"{"model":"claude-opus-5-5","max_tokens":1,"messages":[],"unknown\n":1}"#, escapes),
        ("openai", r#"{"model":"gpt-6.1-sol","input":[],"unknown\u006e":true}"#, escapes),
        ("anthropic", r#"{"model":"m","max_tokens":1,"messages":[],"thinking":{},"thinking":null}"#, twice),
        ("openai", r#"{"model":"m","input":[],"truncation":"auto","truncation":"disabled"}"#, twice),
    ] {
        assert_eq!(read(name, body.as_bytes()), expected, "{body}");
    }
    // what is read into a type is refused by its reader
    for body in [
        r#"{"model":"m","max_tokens":1,"messages":[],"max_tokens":9}"#,
        r#"{"model":"m","max_tokens":1,"messages":[],"max_t\u006fkens":9}"#,
        r#"{"model":"m","max_tokens":1,"messages":[],"tools":[{"type":"custom","type":"web_search_20250305"}]}"#,
        r#"{"model":"m","max_tokens":1,"messages":[{"content":"a","content":[]}]}"#,
    ] {
        assert!(read("anthropic", body.as_bytes()).contains("of the wrong type"), "{body}");
    }
    // a byte that is no character may become three that are
    let body = b"{\"model\":\"m\",\"max_tokens\":1,\"messages\":[],\"system\":\"\xff\xff\"}";
    assert_eq!(read("anthropic", body), "the request body cannot be read: it is not UTF-8");
    let long = format!(r#"{{"model":"{}","input":[]}}"#, "m".repeat(201));
    assert_eq!(
        read("openai", long.as_bytes()),
        "the request body cannot be read: its model's name is too long"
    );
    // a known name is the same name however it is spelled
    let body = r#"{"model":"gpt-6.1-sol","input":[],"backgr\u006fund":true}"#;
    assert!(providers::by_name("openai").unwrap().read_call("", body.as_bytes()).is_err());
}

#[test]
fn what_the_provider_keeps_counts_as_all_that_the_model_accepts() {
    let tokens = |item: Value| {
        let message = json!({"role": "user", "content": "hi"});
        openai(&json!({"model": "gpt-6.1-sol", "input": [message, item]})).unwrap().input_tokens
    };
    for kept in [
        json!({"id": "msg_1"}),
        json!({"id": "msg_1", "type": null}),
        json!({"id": "msg_1", "type": "item_reference"}),
        json!({"id": "rs_1", "type": "reasoning", "summary": []}),
        json!({"id": "rs_1", "type": "reasoning", "encrypted_content": null}),
        json!({"id": "ig_1", "type": "image_generation_call"}),
        json!({"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}),
    ] {
        assert_eq!(tokens(kept.clone()), 1_050_000, "{kept}");
    }
    for whole in [
        json!({"role": "assistant", "content": "hi", "id": "msg_1"}),
        json!({"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "hi"}]}),
        json!({"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "abc"}),
        json!({"type": "function_call", "name": "f", "arguments": "{}", "call_id": "c"}),
    ] {
        assert!(tokens(whole.clone()) < 3000, "{whole}");
    }
}

/// Tools that the provider describes itself add more than their few bytes.
#[test]
fn the_providers_own_words_about_a_tool_count() {
    let input = |tools: Value| {
        let request = json!({"model": "claude-opus-5-5", "max_tokens": 1, "messages": [], "tools": tools});
        anthropic(&request).unwrap().input_tokens - request.to_string().len() as u64
    };
    assert_eq!(input(json!([{"name": "own"}, {"type": "custom", "name": "x"}])), FRAME_TOKENS);
    let all =
        json!([{"type": "bash_20250124"}, {"type": "text_editor_20250728"}, {"type": "computer_20250124"}]);
    assert_eq!(input(all), FRAME_TOKENS + 3 * 2048);
}

/// A deferred tool is not in the prompt that was counted; a mention of it puts all of it there.
#[test]
fn a_mention_of_a_deferred_tool_counts_as_the_tool() {
    let provider = providers::by_name("anthropic").unwrap();
    let anchors = Anchors::default();
    let tool = json!({"name": "large", "description": "x".repeat(40_000), "defer_loading": true});
    let bytes = tool.to_string().len() as u64;
    let mut request = json!({"model": "claude-opus-5-5", "max_tokens": 1, "tools": [tool],
        "messages": [{"role": "user", "content": "hi"}]});
    let body = request.to_string();
    let call = provider.read_call("", body.as_bytes()).unwrap();
    anchors.remember(&prompt_of(provider, &call), 500);
    let found = json!({"role": "user", "content": [{"type": "tool_result", "content":
        [{"type": "tool_reference", "tool_name": "large"}, {"type": "tool_reference", "tool_name": "large"}]}]});
    request["messages"].as_array_mut().unwrap().push(found.clone());
    let bound = bound_of(provider, &request, &anchors).unwrap();
    assert_eq!(bound.input_tokens, 500 + found.to_string().len() as u64 + 1 + 2 * bytes + FRAME_TOKENS);
}

#[test]
fn a_cache_mark_costs_wherever_it_stands() {
    let with = |field: &str| {
        let mut request = json!({"model": "claude-opus-5-5", "max_tokens": 1, "messages": []});
        request[field] = json!({"a": {"cache_control": {"type": "ephemeral", "ttl": "1h"}}});
        let tokens = request.to_string().len() as u64 + FRAME_TOKENS;
        (anthropic(&request).unwrap().cost, nano((tokens * 8000 + 20_000) * 110 / 100))
    };
    for field in ["system", "unknown", "output_config"] {
        let (bound, expected) = with(field);
        assert_eq!(bound, expected, "{field}");
    }
}

#[test]
fn a_call_without_any_limit_has_no_bound() {
    let call =
        providers::by_name("openai").unwrap().read_call("", br#"{"model":"mine","input":"x"}"#).unwrap();
    let prompt = prompt_of(providers::by_name("openai").unwrap(), &call);
    let given = crate::registry::PriceOverride { input: nano(1), output: nano(1), ..Default::default() };
    let config =
        crate::registry::Config { prices: [("mine".to_owned(), given)].into(), ..Default::default() };
    let mine = prices::price("anthropic", "mine", &config).unwrap();
    let objection = bound(&call, &prompt, 10, &[], &mine, Surcharge::NONE).unwrap_err();
    assert_eq!(objection.hint.as_deref(), Some("add max_output to [prices.\"mine\"] in config.toml"));
}

/// A conversation's next request repeats the last one and adds to it.
#[test]
fn a_conversation_is_bounded_by_what_it_adds() {
    let provider = providers::by_name("anthropic").unwrap();
    let anchors = Anchors::default();
    let long = "x".repeat(100_000);
    let mut request = json!({"model": "claude-opus-5-5", "max_tokens": 100, "system": long, "messages": [{"role": "user", "content": "hi"}]});
    assert!(bound_of(provider, &request, &anchors).unwrap().input_tokens > 100_000);
    let body = request.to_string();
    let call = provider.read_call("", body.as_bytes()).unwrap();
    anchors.remember(&prompt_of(provider, &call), 25_000);
    let added = json!({"role": "assistant", "content": "hello"});
    request["messages"].as_array_mut().unwrap().push(added.clone());
    let bound = bound_of(provider, &request, &anchors).unwrap();
    assert_eq!(bound.input_tokens, 25_000 + added.to_string().len() as u64 + 1 + FRAME_TOKENS);
    // other settings may be counted otherwise, so the anchor does not serve
    request["thinking"] = json!({"type": "adaptive"});
    assert!(bound_of(provider, &request, &anchors).unwrap().input_tokens > 100_000);
}

/// What a provider would count: a token a byte of text at most, whatever an image costs, and its frame.
fn counted(text_bytes: usize, images: u64) -> u64 {
    text_bytes as u64 + images * 4784 + 900
}

proptest! {
    #[test]
    fn the_bound_is_never_below_the_bill(
        texts in proptest::collection::vec(".{0,200}", 1..6),
        images in 0..4_u64,
        max_tokens in 1..64_000_u64,
        ttl in prop_oneof![Just(None), Just(Some("5m")), Just(Some("1h"))],
        share in (0..=100_u64, 0..=100_u64, 0..=100_u64),
        output_share in 0..=100_u64,
        model in prop_oneof![Just("claude-opus-5-5"), Just("claude-haiku-5-5"), Just("claude-sonnet-4-5"), Just("claude-fable-5-1")],
    ) {
        let mut blocks: Vec<Value> = texts.iter().map(|text| json!({"type": "text", "text": text})).collect();
        blocks.extend((0..images).map(|_| json!({"type": "image", "source": {"type": "url", "url": "u"}})));
        if let Some(ttl) = ttl {
            blocks[0]["cache_control"] = json!({"type": "ephemeral", "ttl": ttl});
        }
        let request = json!({"model": model, "max_tokens": max_tokens, "messages": [{"role": "user", "content": blocks}]});
        let bound = anthropic(&request).unwrap();

        let prompt = counted(texts.iter().map(String::len).sum(), images);
        let part = |share: u64| prompt * share / 300;
        let (write, write_long, read) = (part(share.0), part(share.1), part(share.2));
        let usage = Usage {
            input_tokens: prompt - if ttl.is_some() { write + write_long + read } else { 0 },
            cache_write_5m_tokens: if ttl == Some("1h") { write } else if ttl.is_some() { write + write_long } else { 0 },
            cache_write_1h_tokens: if ttl == Some("1h") { write_long } else { 0 },
            cache_read_tokens: if ttl.is_some() { read } else { 0 },
            output_tokens: max_tokens * output_share / 100,
        };
        let bill = price(model).cost(&usage).scaled_up(110, 100);
        prop_assert!(bill <= bound.cost, "{bill} > {}", bound.cost);
        prop_assert!(usage.total() <= bound.tokens());
    }
}

proptest! {
    /// Whatever is negotiated and comes on top: a call that was cut down is not held for less than it can cost.
    #[test]
    fn a_cut_bound_is_never_below_that_of_the_smaller_call(
        multiplier in 1_u32..30_000, numerator in 1_u32..300, denominator in 1_u32..200,
        bytes in 0_usize..400_000, asked in 2_000_u64..128_000, cut in 0_u64..126_000,
        model in prop::sample::select(vec!["claude-haiku-5-5", "claude-opus-5-5", "claude-sonnet-4-5"]),
    ) {
        let mut config = crate::registry::Config::default();
        config.providers.get_mut("anthropic").unwrap().multiplier_bp = multiplier;
        let price = prices::price("anthropic", model, &config).unwrap();
        let surcharge = Surcharge { numerator, denominator };
        let wire = providers::by_name("anthropic").unwrap();
        let of = |tokens: u64| {
            let body = json!({"model": model, "max_tokens": tokens, "messages": []}).to_string();
            let call = wire.read_call("", body.as_bytes()).unwrap();
            let bound = bound(&call, &prompt_of(wire, &call), bytes, &[], &price, surcharge).unwrap();
            let elastic = elastic(&call, &bound, 1, &price, surcharge);
            (bound, elastic)
        };
        let (whole, elastic) = of(asked);
        if let Some(held) = elastic.cut(&whole, cut) {
            let (needed, _) = of(asked - cut);
            prop_assert_eq!(held.output_tokens, needed.output_tokens);
            prop_assert!(held.cost >= needed.cost, "{:?} is less than {:?}", held, needed);
        }
    }
}
