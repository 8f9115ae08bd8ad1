//! Splitting and splicing must lose nothing.

use proptest::prelude::*;

use super::*;

#[test]
fn an_envelope_is_read_and_all_else_survives_a_splice() {
    let text = r#"{ "x-trace":1.0, "jsonrpc":"2.0","method":"tools/call","id":"a\"b", "params":{"name":"s_t","n":1.50,"_meta":{"progressToken":7,"o":[]}},"z":{} }"#;
    let message = Message::parse(text).unwrap();
    assert_eq!((message.id, message.method.as_deref()), (Some(r#""a\"b""#), Some("tools/call")));
    let params = Object::parse(message.params.unwrap()).unwrap();
    let meta = Object::parse(params.member("_meta").unwrap()).unwrap();
    let edits = [
        Edit { what: meta.member("progressToken").unwrap(), with: "12" },
        Edit { what: message.id.unwrap(), with: "12" },
        Edit { what: params.member("name").unwrap(), with: r#""t""# },
    ];
    assert_eq!(
        message.splice(&edits),
        r#"{ "x-trace":1.0, "jsonrpc":"2.0","method":"tools/call","id":12, "params":{"name":"t","n":1.50,"_meta":{"progressToken":12,"o":[]}},"z":{} }"#
    );
}

#[test]
fn what_is_no_single_message_is_refused() {
    let refused = |text: &str| Message::parse(text).map(|_| ()).unwrap_err();
    assert_eq!(refused(r#" [{"jsonrpc":"2.0","id":1,"method":"ping"}]"#), WireError::Batch);
    for text in ["", "nul", "1", "\"x\"", "{", r#"{"jsonrpc":"2.0","method":"m"} x"#] {
        assert!(matches!(refused(text), WireError::Syntax(_)), "{text}");
    }
    for text in [
        r#"{"id":1,"method":"ping"}"#,
        r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":true,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":7}"#,
        r#"{"jsonrpc":"2.0","id":1}"#,
    ] {
        assert!(matches!(refused(text), WireError::Shape(_)), "{text}");
    }
}

#[test]
fn a_member_that_readers_could_disagree_about_is_refused() {
    for text in [
        r#"{"jsonrpc":"2.0","id":1,"method":"a","method":"b"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"a","Method":"b"}"#,
        r#"{"jsonrpc":"2.0","id":1,"\u006dethod":"a","method":"b"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"a","METHOD":"b"}"#,
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"a\",\"param\u{17f}\":{}}",
    ] {
        assert!(matches!(Message::parse(text), Err(WireError::Ambiguous(_))), "{text}");
    }
    let params = Object::parse("{\"NAME\":\"b\",\"other\":1,\"Other\":2}").unwrap();
    assert_eq!(params.require_clear(&["name"]), Err(WireError::Ambiguous("name".into())));
    assert_eq!(params.require_clear(&["arguments"]), Ok(()));
}

#[test]
fn a_response_keeps_an_unreadable_requests_null_id() {
    let text = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"x"}}"#;
    assert_eq!(Message::parse(text).unwrap().id, Some("null"));
}

#[test]
fn made_messages_are_json_whatever_their_texts_hold() {
    assert_eq!(
        tool_error("1", "no \"way\"\n"),
        r#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"no \"way\"\n"}],"isError":true}}"#
    );
    assert_eq!(
        error("null", PARSE_ERROR, "a\u{0}b"),
        r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"a\u0000b"}}"#
    );
}

#[test]
fn a_message_cannot_smuggle_a_second_line() {
    let text = "{\"a\":\r\n1,\n\"b\":\"x\\ny\"}".to_owned();
    let line = one_line(text.clone());
    assert!(!line.contains(['\n', '\r']));
    let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    assert_eq!(value(&line), value(&text));
}

/// JSON with spacing, number spellings and escapes that a typed round trip would not keep.
fn loose_json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("1.0".to_owned()),
        Just("-0".to_owned()),
        Just("1E+2".to_owned()),
        Just("123456789012345678901234567890".to_owned()),
        Just(r#""\u0041\/\ud83d\ude00""#.to_owned()),
        Just("null".to_owned()),
        any::<String>().prop_map(|text| quote(&text)),
    ];
    leaf.prop_recursive(3, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(|list| format!("[ {} ]", list.join(" ,"))),
            prop::collection::vec(("[a-z]{1,6}", inner), 0..5).prop_map(|list| {
                let members: Vec<_> =
                    list.into_iter().map(|(key, value)| format!("\"{key}\" :{value}")).collect();
                format!("{{\n{} }}", members.join(",\t"))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn everything_but_the_exchanged_bytes_survives(
        before in loose_json(), after in loose_json(), arguments in loose_json(), id in "[1-9][0-9]{0,5}",
    ) {
        let make = |id: &str, name: &str| format!(
            r#"{{"x-before":{before}, "jsonrpc":"2.0" ,"id":{id},"params":{{"name": {name},"arguments":{arguments},"x":{after}}},"method":"tools/call","x-after":{after}}}"#
        );
        let text = make(&id, "\"server_tool\"");
        let message = Message::parse(&text).unwrap();
        let params = Object::parse(message.params.unwrap()).unwrap();
        prop_assert_eq!(params.member("arguments"), Some(arguments.trim()));
        let edits = [
            Edit { what: params.member("name").unwrap(), with: "\"tool\"" },
            Edit { what: message.id.unwrap(), with: "4711" },
        ];
        prop_assert_eq!(message.splice(&edits), make("4711", "\"tool\""));
        prop_assert_eq!(message.splice(&[]), text.clone());
    }

    #[test]
    fn no_text_makes_the_reader_fail_badly(text in "\\PC{0,80}") {
        let _ = Message::parse(&text);
        let _ = elements(&text);
        let _ = string(&text);
    }
}
