use std::collections::BTreeSet;

use http::header::UPGRADE;

use super::*;

fn provider(name: &str) -> &'static dyn Provider {
    by_name(name).unwrap()
}

#[test]
fn every_file_of_the_directory_is_listed() {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/gateway/providers");
    let files: BTreeSet<String> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .filter(|stem| stem != "mod" && stem != "tests")
        .collect();
    let listed: BTreeSet<String> = PROVIDERS.iter().map(|provider| provider.name().to_owned()).collect();
    assert_eq!(files, listed);
}

#[test]
fn only_what_can_be_metered_has_a_route() {
    let route = |name: &str, method: &str, path: &str| {
        provider(name).route(&method.parse().unwrap(), path, &HeaderMap::new())
    };
    for (name, method, path, expected) in [
        ("anthropic", "POST", "/v1/messages", Route::Call),
        ("anthropic", "POST", "/v1/messages/count_tokens", Route::Free),
        ("anthropic", "GET", "/v1/models", Route::List),
        ("anthropic", "GET", "/v1/models/claude-opus-5", Route::List),
        ("anthropic", "HEAD", "/", Route::Probe),
        ("anthropic", "HEAD", "/api/hello", Route::Probe),
        ("anthropic", "GET", "/api/hello", Route::Probe),
        ("anthropic", "GET", "/v1/messages", Route::Unknown),
        ("anthropic", "POST", "/v1/messages/", Route::Unknown),
        ("anthropic", "POST", "/v1/messages/batches", Route::Unknown),
        ("anthropic", "GET", "/v1/models/../messages", Route::Unknown),
        ("anthropic", "GET", "/v1/models/..", Route::Unknown),
        ("anthropic", "GET", "/v1/models/%2e%2e%2ffiles", Route::Unknown),
        ("anthropic", "POST", "/v1/files", Route::Unknown),
        ("anthropic", "POST", "/v1/complete", Route::Unknown),
        ("anthropic", "HEAD", "", Route::Probe),
        ("demo", "POST", "/v1/messages", Route::Call),
        ("demo", "GET", "/v1/models", Route::Unknown),
        ("openai", "POST", "/v1/responses", Route::Call),
        ("openai", "GET", "/v1/models", Route::List),
        ("openai", "GET", "/v1/responses", Route::Unknown),
        ("openai", "POST", "/v1/responses/compact", Route::Call),
        ("openai", "POST", "/v1/responses/input_tokens", Route::Free),
        ("openai", "POST", "/v1/responses/resp_1/cancel", Route::Unknown),
        ("openai", "POST", "/v1/chat/completions", Route::Call),
        ("openai", "GET", "/v1/chat/completions", Route::Unknown),
        ("openai", "POST", "/v1/completions", Route::Unknown),
        ("openai", "POST", "/v1/embeddings", Route::Unknown),
        ("anthropic", "GET", "/", Route::Probe),
        ("gemini", "POST", "/v1beta/models/gemini-2.5-pro:generateContent", Route::Call),
        ("gemini", "POST", "/v1beta/models/gemini-2.5-pro:streamGenerateContent", Route::Call),
        ("gemini", "POST", "/v1beta/models/gemini-2.5-pro:countTokens", Route::Free),
        ("gemini", "GET", "/v1beta/models", Route::List),
        ("gemini", "POST", "/v1/models/gemini-2.5-pro:generateContent", Route::Call),
        ("gemini", "POST", "/v1/models/gemini-2.5-pro:countTokens", Route::Free),
        ("gemini", "GET", "/v1/models", Route::List),
        ("gemini", "GET", "/v1beta/models/gemini-2.5-pro", Route::List),
        ("gemini", "GET", "/v1beta/models/gemini-2.5-pro:generateContent/x", Route::Unknown),
        ("gemini", "POST", "/v1beta/models/a:batchGenerateContent", Route::Unknown),
        ("gemini", "POST", "/v1beta/models/a:b:generateContent", Route::Unknown),
        ("gemini", "POST", "/v1beta/models/:generateContent", Route::Unknown),
        ("gemini", "POST", "/v1beta/models/a%3AgenerateContent", Route::Unknown),
        ("gemini", "POST", "/v1beta/models/a/b:generateContent", Route::Unknown),
        ("gemini", "POST", "/v1beta/models/a:embedContent", Route::Unknown),
        ("gemini", "POST", "/v1beta/cachedContents", Route::Unknown),
        ("gemini", "POST", "/v1beta/interactions", Route::Unknown),
        ("gemini", "POST", "/upload/v1beta/files", Route::Unknown),
        ("openai", "DELETE", "/v1/models/mine", Route::Unknown),
    ] {
        assert_eq!(route(name, method, path), expected, "{name} {method} {path}");
    }
    let upgrade = HeaderMap::from_iter([(UPGRADE, HeaderValue::from_static("websocket"))]);
    assert_eq!(provider("openai").route(&Method::GET, "/v1/responses", &upgrade), Route::Upgrade);
}

/// Another endpoint's name leads to the wire that the configuration says it speaks.
#[test]
fn a_name_of_the_configuration_has_the_wire_it_is_said_to_speak() {
    let mut config = Config::default();
    let elsewhere = |wire: Option<&str>| crate::registry::ProviderConfig {
        base_url: "http://127.0.0.1:11434/v1".parse().unwrap(),
        key: None,
        wire: wire.map(str::to_owned),
        multiplier_bp: 10_000,
        reconcile: None,
        max_price: None,
    };
    config.providers.insert("local".to_owned(), elsewhere(Some("openai")));
    config.providers.insert("other".to_owned(), elsewhere(Some("anthropic")));
    config.providers.insert("mute".to_owned(), elsewhere(None));
    let spoken = |name: &str, path: &str| spoken(&config, name, path).map(<dyn Provider>::name);
    assert_eq!(spoken("local", "/v1/chat/completions"), Some("openai"));
    assert_eq!(spoken("local", "/v1/responses"), Some("openai"));
    assert_eq!(spoken("other", "/v1/messages"), Some("anthropic"));
    assert_eq!((spoken("mute", "/v1/responses"), spoken("unheard", "/v1/responses")), (None, None));
    for wire in crate::registry::WIRES {
        assert!(by_name(wire).is_some(), "{wire}");
    }
}

#[test]
fn errors_have_the_shape_of_their_wire() {
    let shape = |name: &str, status: u16| {
        let error = provider(name).error(StatusCode::from_u16(status).unwrap(), "M \"quoted\"");
        String::from_utf8(error).unwrap()
    };
    let shapes: Vec<String> = [400, 401, 402, 404, 413, 502]
        .into_iter()
        .flat_map(|status| {
            ["anthropic", "gemini", "openai"].map(|name| format!("{status} {}", shape(name, status)))
        })
        .collect();
    insta::assert_snapshot!(shapes.join("\n"), @r#"
    400 {"type":"error","error":{"type":"invalid_request_error","message":"M \"quoted\""}}
    400 {"error":{"code":400,"message":"M \"quoted\"","status":"INVALID_ARGUMENT"}}
    400 {"error":{"message":"M \"quoted\"","type":"invalid_request_error","param":null,"code":null}}
    401 {"type":"error","error":{"type":"authentication_error","message":"M \"quoted\""}}
    401 {"error":{"code":401,"message":"M \"quoted\"","status":"UNAUTHENTICATED"}}
    401 {"error":{"message":"M \"quoted\"","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}
    402 {"type":"error","error":{"type":"billing_error","message":"M \"quoted\""}}
    402 {"error":{"code":402,"message":"M \"quoted\"","status":"PERMISSION_DENIED"}}
    402 {"error":{"message":"M \"quoted\"","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}
    404 {"type":"error","error":{"type":"not_found_error","message":"M \"quoted\""}}
    404 {"error":{"code":404,"message":"M \"quoted\"","status":"NOT_FOUND"}}
    404 {"error":{"message":"M \"quoted\"","type":"invalid_request_error","param":null,"code":null}}
    413 {"type":"error","error":{"type":"request_too_large","message":"M \"quoted\""}}
    413 {"error":{"code":413,"message":"M \"quoted\"","status":"INVALID_ARGUMENT"}}
    413 {"error":{"message":"M \"quoted\"","type":"invalid_request_error","param":null,"code":null}}
    502 {"type":"error","error":{"type":"api_error","message":"M \"quoted\""}}
    502 {"error":{"code":502,"message":"M \"quoted\"","status":"INTERNAL"}}
    502 {"error":{"message":"M \"quoted\"","type":"server_error","param":null,"code":null}}
    "#);
}

#[test]
fn a_stream_ends_with_an_event_of_its_wire() {
    let end = |name: &str| String::from_utf8(provider(name).stream_error("M")).unwrap();
    assert_eq!(
        end("anthropic"),
        "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"billing_error\",\"message\":\"M\"}}\n\n"
    );
    insta::assert_snapshot!(end("openai").trim_end(), @r#"
    event: response.failed
    data: {"type":"response.failed","response":{"id":"resp_agentsup","object":"response","status":"failed","output":[],"error":{"code":"invalid_prompt","message":"M"}}}
    "#);
}

#[test]
fn the_key_goes_where_the_provider_wants_it_and_is_not_shown() {
    for (name, header, value) in [
        ("anthropic", "x-api-key", "k-1"),
        ("gemini", "x-goog-api-key", "k-1"),
        ("openai", "authorization", "Bearer k-1"),
    ] {
        let mut headers = HeaderMap::new();
        provider(name).set_key(&mut headers, "k-1").unwrap();
        assert_eq!(headers[header], value);
        assert!(!format!("{headers:?}").contains("k-1"));
        assert!(provider(name).set_key(&mut headers, "k\n1").is_err());
    }
}

#[test]
fn paths_go_below_the_base_url() {
    assert_eq!(provider("anthropic").upstream_path("/v1/messages"), "/v1/messages");
    assert_eq!(provider("openai").upstream_path("/v1/responses"), "/responses");
}

#[test]
fn a_body_that_cannot_be_read_says_where_and_not_what() {
    for (name, body, expected) in [
        ("anthropic", "{", "the request body cannot be read: it ends too early at line 1, column 1"),
        ("anthropic", "secret", "the request body cannot be read: it is not JSON at line 1, column 1"),
        (
            "anthropic",
            r#"{"model":"m","max_tokens":"secret","messages":[]}"#,
            "the request body cannot be read: a required field is missing or of the wrong type at line 1, column 34",
        ),
        (
            "openai",
            r#"{"model":"m"}"#,
            "the request body cannot be read: a required field is missing or of the wrong type at line 1, column 13",
        ),
        (
            "openai",
            r#"{"model":"m","model":"n","input":""}"#,
            "the request body cannot be read: a required field is missing or of the wrong type at line 1, column 20",
        ),
    ] {
        let error = provider(name).read_call("", body.as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}

/// Only what is counted is sent, as it was written; what nobody knows might be counted, so it is not asked for then.
#[test]
fn a_count_is_asked_for_in_each_wires_own_way() {
    let asked = |wire: &str, path: &str, body: &str| {
        let counting = by_name(wire).unwrap().counting(path, body.as_bytes())?;
        Some((counting.path, String::from_utf8(counting.body).unwrap(), counting.member))
    };
    let of = |path: &str, body: &str, member| Some((path.to_owned(), body.to_owned(), member));
    assert_eq!(
        asked(
            "anthropic",
            "/v1/messages",
            r#"{ "max_tokens":5, "messages" : [ 1.0 ],"tools":[],"stream":true,"model":"m"}"#
        ),
        of("/v1/messages/count_tokens", r#"{"messages":[ 1.0 ],"tools":[],"model":"m"}"#, "input_tokens")
    );
    assert_eq!(asked("anthropic", "/v1/messages", r#"{"model":"m","messages":[],"new":1}"#), None);
    assert_eq!(
        asked("openai", "/v1/responses", r#"{"store":false,"model":"m","input":"h\u00ed"}"#),
        of("/v1/responses/input_tokens", r#"{"model":"m","input":"h\u00ed"}"#, "input_tokens")
    );
    assert_eq!(asked("openai", "/v1/responses/compact", r#"{"model":"m","input":"hi"}"#), None);
    assert_eq!(asked("openai", "/v1/chat/completions", r#"{"model":"m","messages":[]}"#), None);
    let elsewhere = by_name("openai").unwrap().elsewhere().unwrap();
    assert_eq!(elsewhere.counting("/v1/responses", br#"{"model":"m","input":"hi"}"#), None);
    assert_eq!(
        asked("gemini", "/v1beta/models/m:streamGenerateContent", r#"{"contents":[ ]}"#),
        of(
            "/v1beta/models/m:countTokens",
            r#"{"generateContentRequest":{"model":"models/m","contents":[ ]}}"#,
            "totalTokens"
        )
    );
    assert_eq!(
        asked("gemini", "/v1beta/models/m:generateContent", r#"{"model":"models/m","contents":[]}"#),
        of(
            "/v1beta/models/m:countTokens",
            r#"{"generateContentRequest":{"model":"models/m","contents":[]}}"#,
            "totalTokens"
        )
    );
}
