use bytes::Bytes;
use serde_json::{Value, json};

use super::*;
use crate::gateway::scan::Content;
use crate::gateway::splice;

const PATH: &str = "/v1beta/models/gemini-2.5-pro:streamGenerateContent";

fn read(request: &Value) -> Call<'static> {
    let body: &'static str = request.to_string().leak();
    Gemini.read_call(PATH, body.as_bytes()).unwrap()
}

fn with(field: &str, value: Value) -> Value {
    let mut request = json!({"contents": []});
    request[field] = value;
    request
}

fn content(call: &Call<'_>) -> Content {
    let mut content = Content::default();
    call.parts.iter().for_each(|part| content.add(part.json, call.kinds));
    content
}

#[test]
fn the_model_is_in_the_path_and_nowhere_else() {
    assert_eq!(read(&json!({"contents": []})).model, "gemini-2.5-pro");
    let stable = Gemini.read_call("/v1/models/gemini-2.5-pro:generateContent", b"{\"contents\":[]}").unwrap();
    assert_eq!(stable.model, "gemini-2.5-pro");
    assert_eq!(read(&with("model", json!("models/gemini-2.5-pro"))).model, "gemini-2.5-pro");
    let other = with("model", json!("models/gemini-2.5-flash")).to_string();
    let error = Gemini.read_call(PATH, other.as_bytes()).unwrap_err();
    assert_eq!(error.to_string(), "the request body cannot be read: its path names another model");
    let counted =
        Gemini.read_call("/v1beta/models/m:countTokens", b"{\"generateContentRequest\":{}}").unwrap();
    assert_eq!(counted.model, "m");
    for body in ["", "[]", "{", "\"x\"", r#"{"generationConfig":{"maxOutputTokens":"5"}}"#] {
        assert!(Gemini.read_call(PATH, body.as_bytes()).is_err(), "{body}");
    }
}

#[test]
fn output_is_bounded_by_either_spelling() {
    let bound = |config: Value| {
        let call = read(&with("generationConfig", config));
        (call.max_output, call.answers)
    };
    assert_eq!(bound(json!({})), (None, 1));
    assert_eq!(bound(Value::Null), (None, 1));
    assert_eq!(bound(json!({"maxOutputTokens": 7, "candidateCount": 3})), (Some(7), 3));
    assert_eq!(bound(json!({"max_output_tokens": 7, "candidate_count": 3})), (Some(7), 3));
    let call = read(&with("generation_config", json!({"maxOutputTokens": 9})));
    assert_eq!(call.max_output, Some(9));
    for twice in [
        r#"{"contents":[],"generationConfig":{},"generation_config":{"maxOutputTokens":9}}"#,
        r#"{"contents":[],"generationConfig":{"maxOutputTokens":1,"max_output_tokens":9}}"#,
    ] {
        assert!(Gemini.read_call(PATH, twice.as_bytes()).is_err(), "{twice}");
    }
}

#[test]
fn near_a_budgets_end_the_limit_goes_where_the_call_has_it() {
    let lowered = |body: &'static str| {
        let splices = Gemini.lowered(body.as_bytes(), 900).unwrap();
        String::from_utf8(splice::apply(Bytes::from_static(body.as_bytes()), &splices).to_vec()).unwrap()
    };
    for (body, becomes) in [
        (r#"{ "contents":[]}"#, r#"{"generationConfig":{"maxOutputTokens":900}, "contents":[]}"#),
        (r#"{"generationConfig":null}"#, r#"{"generationConfig":{"maxOutputTokens":900}}"#),
        (r#"{"generationConfig":{ "topK":1}}"#, r#"{"generationConfig":{"maxOutputTokens":900, "topK":1}}"#),
        (
            r#"{"generationConfig":{"maxOutputTokens": 5000}}"#,
            r#"{"generationConfig":{"maxOutputTokens": 900}}"#,
        ),
        (
            r#"{"generation_config":{"max_output_tokens":5000,"candidateCount":2}}"#,
            r#"{"generation_config":{"max_output_tokens":450,"candidateCount":2}}"#,
        ),
    ] {
        assert_eq!(lowered(body), becomes);
    }
}

#[test]
fn what_has_no_bound_or_no_price_is_refused_by_its_name() {
    for (field, value, name) in [
        ("tools", json!([{"functionDeclarations": []}, {"googleSearch": {}}]), "tools: googleSearch"),
        ("tools", json!([{"google_search": {}}]), "tools: google_search"),
        ("tools", json!([{"urlContext": {}}]), "tools: urlContext"),
        ("tools", json!([{"codeExecution": {}}]), "tools: codeExecution"),
        ("tools", json!([{"googleSearchRetrieval": {}}]), "tools: googleSearchRetrieval"),
        ("tools", json!({"fileSearch": {}}), "tools: fileSearch"),
        ("cachedContent", json!("cachedContents/1"), "cachedContent"),
        ("cached_content", json!("cachedContents/1"), "cachedContent"),
        ("serviceTier", json!("priority"), "serviceTier: priority"),
        ("service_tier", json!("FLEX"), "serviceTier: FLEX"),
        ("generationConfig", json!({"responseModalities": ["TEXT", "IMAGE"]}), "responseModalities: IMAGE"),
        ("generationConfig", json!({"response_modalities": ["AUDIO"]}), "responseModalities: AUDIO"),
        ("generationConfig", json!({"speechConfig": {}}), "speechConfig"),
        ("generationConfig", json!({"imageConfig": {}}), "imageConfig"),
    ] {
        assert_eq!(read(&with(field, value.clone())).unbounded.as_deref(), Some(name), "{field}: {value}");
    }
    let escaped = r#"{"contents":[],"tools":[{"google\u0053earch":{}}]}"#;
    assert!(Gemini.read_call(PATH, escaped.as_bytes()).is_err());
    for (part, name) in [
        (json!({"fileData": {"mimeType": "image/png", "fileUri": "https://x/files/1"}}), "fileUri"),
        (json!({"file_data": {"file_uri": "https://x"}}), "file_uri"),
        (json!({"inlineData": {"mimeType": "audio/wav", "data": "aGk="}}), "audio/*"),
        (json!({"inline_data": {"mime_type": "video/mp4", "data": "aGk="}}), "video/*"),
        (json!({"functionResponse": {"parts": [{"inlineData": {"mimeType": "audio/mp3"}}]}}), "audio/*"),
    ] {
        let call = read(&with("contents", json!([{"role": "user", "parts": [part]}])));
        assert_eq!(content(&call).unpriced, Some(name), "{part}");
    }
}

#[test]
fn what_the_client_sends_is_admitted() {
    let call = read(&json!({
        "contents": [
            {"role": "user", "parts": [{"text": "hi"}, {"inlineData": {"mimeType": "image/png", "data": "aGk="}}]},
            {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {"file": "x"}}, "thoughtSignature": "c2ln"}]},
            {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"output": "y"}}}]}
        ],
        "systemInstruction": {"parts": [{"text": "You are"}], "role": "user"},
        "tools": [{"functionDeclarations": [{"name": "f", "parametersJsonSchema": {"type": "object", "properties": {"fileUri": {"type": "string"}, "mimeType": {"type": "string"}}}}]}],
        "toolConfig": {"functionCallingConfig": {"mode": "AUTO"}}, "cachedContent": "", "serviceTier": null,
        "generationConfig": {"temperature": 1, "topP": 0.95, "thinkingConfig": {"includeThoughts": true}, "responseModalities": ["TEXT"]}
    }));
    assert_eq!((call.unbounded.as_deref(), call.parts.len(), call.splices.len()), (None, 5, 0));
    let expected = Content { images: 1, fleeting: true, ..Content::default() };
    assert_eq!(content(&call), expected);
    let document = with("contents", json!([{"parts": [{"inlineData": {"mimeType": "application/pdf"}}]}]));
    assert!(content(&read(&document)).opaque);
}

#[test]
fn queries_that_change_the_call_or_hide_its_answer_are_not_admitted() {
    for query in ["", "alt=sse", "alt=json&prettyPrint=false", "pageSize=50&pageToken=x"] {
        assert!(Gemini.admits_query(query), "{query}");
    }
    for query in [
        "key=AIza",
        "alt=sse&key=x",
        "alt=proto",
        "fields=candidates",
        "$httpMethod=POST",
        "access_token=x",
        "%6Bey=x",
    ] {
        assert!(!Gemini.admits_query(query), "{query}");
    }
}

fn bill(answers: u64, pieces: &[&str]) -> Result<Option<Usage>, UnreadableError> {
    let mut reader = ContentReader { answers, ..ContentReader::default() };
    for piece in pieces {
        reader.event(piece.as_bytes())?;
    }
    Ok(reader.bill().map(|bill| bill.usage()))
}

#[test]
fn usage_is_all_that_google_bills() {
    let usage = |input_tokens, cache_read_tokens, output_tokens| {
        Ok(Some(Usage { input_tokens, cache_read_tokens, output_tokens, ..Usage::default() }))
    };
    let done = r#"{"candidates":[{"finishReason":"STOP"}]}"#;
    let counted = r#"{"usageMetadata":{"promptTokenCount":100,"cachedContentTokenCount":40,"candidatesTokenCount":5,"thoughtsTokenCount":7,"toolUsePromptTokenCount":3,"totalTokenCount":115}}"#;
    assert_eq!(bill(1, &[counted, done]), usage(63, 40, 12));
    // what only the total has is output
    assert_eq!(
        bill(
            1,
            &[
                done,
                r#"{"usageMetadata":{"promptTokenCount":10,"candidatesTokenCount":1,"totalTokenCount":20}}"#
            ]
        ),
        usage(10, 0, 10)
    );
    // a field that a later piece leaves out stays
    assert_eq!(
        bill(1, &[counted, done, r#"{"usageMetadata":{"candidatesTokenCount":9}}"#]),
        usage(63, 40, 16)
    );
    // a prompt that is refused is billed too
    assert_eq!(
        bill(1, &[r#"{"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{"promptTokenCount":4}}"#]),
        usage(4, 0, 0)
    );
    // not all answers have ended, or nothing was counted
    assert_eq!(bill(2, &[counted, done]), Ok(None));
    assert_eq!(
        bill(2, &[counted, done, r#"{"candidates":[{"index":1,"finishReason":"STOP"}]}"#]),
        usage(63, 40, 12)
    );
    assert_eq!(bill(1, &[done]), Ok(None));
    for (piece, what) in [
        (r#"{"usageMetadata":{"promptTokensDetails":[{"modality":"AUDIO","tokenCount":2}]}}"#, "AUDIO"),
        (r#"{"usageMetadata":{"candidatesTokensDetails":[{"modality":"IMAGE","tokenCount":2}]}}"#, "IMAGE"),
        (r#"{"usageMetadata":{"serviceTier":"PRIORITY"}}"#, "serviceTier: PRIORITY"),
        (r#"{"candidates":[{"groundingMetadata":{"webSearchQueries":["x"]}}]}"#, "googleSearch"),
    ] {
        assert_eq!(bill(1, &[piece]), Err(UnreadableError::Unpriced(what.to_owned())), "{piece}");
    }
    assert_eq!(bill(1, &[r#"{"usageMetadata":{"promptTokenCount":-1}}"#]), Err(UnreadableError::Malformed));
}
