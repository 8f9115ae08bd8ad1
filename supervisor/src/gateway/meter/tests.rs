use proptest::prelude::*;

use super::*;
use crate::gateway::providers;

const ANTHROPIC: &str = r#"{"model":"claude-opus-5-5","max_tokens":10,"messages":[]}"#;
const OPENAI: &str = r#"{"model":"gpt-6.1-sol","input":"x"}"#;
const GEMINI: &str = r#"{"contents":[]}"#;
const CHAT: &str = r#"{"model":"gpt-5-mini","messages":[],"stream":true}"#;

/// An answer that was seen: the request, how it is framed, its bytes, its bill.
type Golden = (&'static str, Framing, &'static [u8], Option<Bill>);

fn one(usage: Usage, surcharge: Surcharge, prompt_tokens: u64) -> Option<Bill> {
    let lines = vec![Line { model: None, usage }];
    Some(Bill { lines, surcharge, told: None, prompt_tokens: Some(prompt_tokens) })
}

/// The answers that providers were seen to give, and what each is billed.
fn golden() -> Vec<Golden> {
    let regional = Surcharge { numerator: 110, denominator: 100 };
    let stream = Usage {
        input_tokens: 14,
        cache_write_5m_tokens: 500,
        cache_write_1h_tokens: 1000,
        cache_read_tokens: 20_480,
        output_tokens: 57,
    };
    let title = Usage { input_tokens: 321, cache_write_5m_tokens: 64, output_tokens: 9, ..Usage::default() };
    let turn = |model: Option<&str>, input_tokens, output_tokens| Line {
        model: model.map(str::to_owned),
        usage: Usage { input_tokens, output_tokens, ..Usage::default() },
    };
    let turns =
        vec![turn(None, 180_000, 3500), turn(None, 23_000, 1000), turn(Some("claude-opus-5-5"), 5000, 200)];
    let compacted = Bill { lines: turns, surcharge: Surcharge::NONE, told: None, prompt_tokens: None };
    let response = Usage {
        input_tokens: 29,
        cache_write_5m_tokens: 100,
        cache_read_tokens: 11_904,
        output_tokens: 44,
        ..Usage::default()
    };
    let short = Usage { input_tokens: 75, output_tokens: 16, ..Usage::default() };
    let mut all: Vec<Golden> = vec![
        (
            ANTHROPIC,
            Framing::Events,
            include_bytes!("../golden/anthropic-stream.sse"),
            one(stream, Surcharge::NONE, 21_994),
        ),
        (ANTHROPIC, Framing::Events, include_bytes!("../golden/anthropic-error.sse"), None),
        (
            ANTHROPIC,
            Framing::Json,
            include_bytes!("../golden/anthropic-answer.json"),
            one(title, regional, 385),
        ),
        (ANTHROPIC, Framing::Json, include_bytes!("../golden/anthropic-iterations.json"), Some(compacted)),
        (
            OPENAI,
            Framing::Events,
            include_bytes!("../golden/openai-stream.sse"),
            one(response, Surcharge::NONE, 12_033),
        ),
        (OPENAI, Framing::Events, include_bytes!("../golden/openai-failed.sse"), None),
        (
            OPENAI,
            Framing::Json,
            include_bytes!("../golden/openai-answer.json"),
            one(short, Surcharge::NONE, 75),
        ),
    ];
    all.extend(chat_golden());
    all.extend(gemini_golden());
    all
}

fn chat_golden() -> Vec<Golden> {
    let chat = Usage {
        input_tokens: 29,
        cache_write_5m_tokens: 100,
        cache_read_tokens: 11_904,
        output_tokens: 44,
        ..Usage::default()
    };
    let told = NanoUsd::new(14_000_001).ok();
    // Thinking that is only in the total is output.
    let routed = Usage { input_tokens: 1000, cache_read_tokens: 200, output_tokens: 330, ..Usage::default() };
    let openrouter = one(routed, Surcharge::NONE, 1200).map(|bill| Bill { told, ..bill });
    let short = Usage { input_tokens: 75, output_tokens: 16, ..Usage::default() };
    vec![
        (
            CHAT,
            Framing::Events,
            include_bytes!("../golden/chat-stream.sse"),
            one(chat, Surcharge::NONE, 12_033),
        ),
        (CHAT, Framing::Json, include_bytes!("../golden/chat-answer.json"), one(short, Surcharge::NONE, 75)),
        (CHAT, Framing::Events, include_bytes!("../golden/chat-error.sse"), None),
        (CHAT, Framing::Events, include_bytes!("../golden/chat-openrouter.sse"), openrouter),
    ]
}

fn gemini_golden() -> Vec<Golden> {
    let streamed =
        Usage { input_tokens: 4033, cache_read_tokens: 8000, output_tokens: 344, ..Usage::default() };
    let short = Usage { input_tokens: 75, output_tokens: 16, ..Usage::default() };
    let (none, events, json) = (Surcharge::NONE, Framing::Events, Framing::Json);
    vec![
        (GEMINI, events, include_bytes!("../golden/gemini-stream.sse"), one(streamed, none, 12_033)),
        (GEMINI, json, include_bytes!("../golden/gemini-answer.json"), one(short, none, 75)),
        (GEMINI, json, include_bytes!("../golden/gemini-array.json"), one(short, none, 75)),
        (GEMINI, events, include_bytes!("../golden/gemini-cut.sse"), None),
    ]
}

fn meter(request: &str, framing: Framing) -> Meter {
    let (name, path) = match request {
        ANTHROPIC => ("anthropic", "/v1/messages"),
        OPENAI => ("openai", "/v1/responses"),
        GEMINI => ("gemini", "/v1beta/models/gemini-2.5-pro:generateContent"),
        _ => ("openai", "/v1/chat/completions"),
    };
    let provider = providers::spoken(&crate::registry::Config::default(), name, path).unwrap();
    let call = provider.read_call(path, request.as_bytes()).unwrap();
    Meter::new(provider.reader(&call), framing)
}

fn read<'a>(request: &str, framing: Framing, chunks: impl IntoIterator<Item = &'a [u8]>) -> Meter {
    let mut meter = meter(request, framing);
    for chunk in chunks {
        meter.feed(chunk);
    }
    meter.end();
    meter
}

#[test]
fn the_bill_is_what_the_provider_says() {
    for (request, framing, answer, expected) in golden() {
        let meter = read(request, framing, [answer]);
        assert_eq!(meter.bill(), Ok(expected), "{}", String::from_utf8_lossy(answer));
    }
}

#[test]
fn an_answer_has_the_name_that_its_provider_gave_it() {
    let names: Vec<Option<String>> = golden()
        .into_iter()
        .map(|(request, framing, bytes, _)| {
            let mut seen = meter(request, framing);
            seen.feed(bytes);
            seen.end();
            let name = seen.take_name();
            assert_eq!(seen.take_name(), None);
            name
        })
        .collect();
    let names: Vec<&str> = names.iter().map(|name| name.as_deref().unwrap_or("-")).collect();
    assert_eq!(
        names.join(" "),
        "msg_01 msg_02 msg_03 msg_04 resp_1 resp_2 resp_3 chatcmpl-1 chatcmpl-2 chatcmpl-3 gen-1 r1 r2 - -"
    );
    assert_eq!(name_in(br#"[{"responseId":"r3"},{"responseId":"r4"}]"#).as_deref(), Some("r3"));
}

#[test]
fn two_chunks_split_anywhere_give_the_same_bill() {
    for (request, framing, answer, expected) in golden() {
        for at in 0..=answer.len() {
            let (one, two) = answer.split_at(at);
            assert_eq!(read(request, framing, [one, two]).bill(), Ok(expected.clone()), "split at {at}");
        }
    }
}

#[test]
fn line_ends_of_either_kind_give_the_same_bill() {
    for (request, framing, answer, expected) in golden() {
        let crlf = String::from_utf8(answer.to_vec()).unwrap().replace('\n', "\r\n");
        assert_eq!(read(request, framing, [crlf.as_bytes()]).bill(), Ok(expected));
    }
}

#[test]
fn a_stream_that_is_cut_has_no_bill() {
    for (request, framing, answer, _) in golden() {
        let text = String::from_utf8(answer.to_vec()).unwrap();
        let cut = text.trim_end().len() - 1;
        let bill = read(request, framing, [&answer[..cut]]).bill();
        let expected = if framing == Framing::Json { Err(UnreadableError::Malformed) } else { Ok(None) };
        assert_eq!(bill, expected);
    }
}

#[test]
fn an_event_may_only_be_put_between_events() {
    let (request, framing, answer, _) = golden().remove(0);
    let mut meter = meter(request, framing);
    let mut between = Vec::new();
    for at in 0..answer.len() {
        if meter.between_events() {
            between.push(at);
        }
        meter.feed(&answer[at..=at]);
    }
    assert_eq!(between[0], 0);
    for at in &between[1..] {
        let before = &answer[..*at];
        assert!(before.ends_with(b"\n\n") || before.ends_with(b"alive\n"), "at {at}");
    }
    assert_eq!(between.len(), 10);
}

#[test]
fn numbers_that_cannot_be_read_are_no_bill() {
    for usage in [
        r#"{"input_tokens":-1,"output_tokens":1}"#,
        r#"{"input_tokens":1.5,"output_tokens":1}"#,
        r#"{"input_tokens":"1","output_tokens":1}"#,
    ] {
        for request in [ANTHROPIC, OPENAI] {
            let answer = format!(r#"{{"type":"message","usage":{usage}}}"#);
            let bill = read(request, Framing::Json, [answer.as_bytes()]).bill();
            assert_eq!(bill, Err(UnreadableError::Malformed), "{answer}");
        }
    }
}

#[test]
fn what_has_no_price_is_no_bill() {
    for (request, answer, what) in [
        (ANTHROPIC, r#"{"usage":{"input_tokens":1,"output_tokens":1,"speed":"fast"}}"#, "speed: fast"),
        (
            ANTHROPIC,
            r#"{"usage":{"input_tokens":1,"output_tokens":1,"inference_geo":"eu"}}"#,
            "inference_geo: eu",
        ),
        (
            ANTHROPIC,
            r#"{"usage":{"input_tokens":1,"output_tokens":1,"service_tier":"flash"}}"#,
            "service_tier: flash",
        ),
        (
            ANTHROPIC,
            r#"{"usage":{"input_tokens":1,"output_tokens":1,"server_tool_use":{"web_search_requests":2}}}"#,
            "web_search",
        ),
        (
            OPENAI,
            r#"{"service_tier":"priority","usage":{"input_tokens":1,"output_tokens":1}}"#,
            "service_tier: priority",
        ),
    ] {
        let bill = read(request, Framing::Json, [answer.as_bytes()]).bill();
        assert_eq!(bill, Err(UnreadableError::Unpriced(what.to_owned())));
    }
}

/// Turns that are not the whole bill come on top of it where another model made them.
#[test]
fn another_models_turns_are_billed_in_any_case() {
    let usage = r#"{"input_tokens":100,"output_tokens":50,"iterations":[{"type":"message","input_tokens":1,
        "output_tokens":1},{"type":"advisor_message","model":"claude-opus-5-5","input_tokens":7,"output_tokens":3}]}"#;
    let meter = read(ANTHROPIC, Framing::Json, [format!(r#"{{"usage":{usage}}}"#).as_bytes()]);
    let line = |model: Option<&str>, input_tokens, output_tokens| Line {
        model: model.map(str::to_owned),
        usage: Usage { input_tokens, output_tokens, ..Usage::default() },
    };
    let lines = vec![line(None, 100, 50), line(Some("claude-opus-5-5"), 7, 3)];
    assert_eq!(
        meter.bill(),
        Ok(Some(Bill { lines, surcharge: Surcharge::NONE, told: None, prompt_tokens: None }))
    );
}

/// Cut at any byte, an answer has all of its bill or none.
#[test]
fn an_answer_cut_anywhere_has_no_smaller_bill() {
    for (request, framing, answer, expected) in golden() {
        for at in 0..answer.len() {
            let bill = read(request, framing, [&answer[..at]]).bill().unwrap_or_default();
            assert!(bill.is_none() || bill == expected, "cut at {at}: {bill:?}");
        }
    }
}

#[test]
fn an_answer_too_large_to_be_kept_is_no_bill() {
    let mut meter = meter(ANTHROPIC, Framing::Json);
    let chunk = vec![b' '; LARGEST / 2 + 1];
    meter.feed(&chunk);
    meter.feed(&chunk);
    meter.end();
    assert_eq!(meter.bill(), Err(UnreadableError::TooLarge));
}

#[test]
fn a_bill_costs_the_sum_of_its_lines() {
    let price =
        |model: &str| crate::gateway::prices::price("anthropic", model, &crate::registry::Config::default());
    let line = |model: Option<&str>| Line {
        model: model.map(str::to_owned),
        usage: Usage { input_tokens: 3, output_tokens: 1, ..Usage::default() },
    };
    let bill = |lines, surcharge| Bill { lines, surcharge, told: None, prompt_tokens: None };
    let asked = price("claude-sonnet-5").unwrap();
    let both = bill(vec![line(None), line(Some("claude-opus-5-5"))], Surcharge::NONE);
    assert_eq!(both.cost(&asked, price), NanoUsd::new(16_000 + 32_000).ok());
    let regional = bill(vec![line(None)], Surcharge { numerator: 110, denominator: 100 });
    assert_eq!(regional.cost(&asked, price), NanoUsd::new(17_600).ok());
    assert_eq!(bill(vec![line(Some("unheard-of"))], Surcharge::NONE).cost(&asked, price), None);
}

proptest! {
    #[test]
    fn any_chunking_gives_the_same_bill(which in 0..15_usize, cuts in proptest::collection::vec(0..3000_usize, 0..20)) {
        let (request, framing, answer, expected) = golden().remove(which);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut % (answer.len() + 1)).collect();
        cuts.extend([0, answer.len()]);
        cuts.sort_unstable();
        let chunks = cuts.windows(2).map(|pair| &answer[pair[0]..pair[1]]);
        prop_assert_eq!(read(request, framing, chunks).bill(), Ok(expected));
    }

    #[test]
    fn any_bytes_leave_the_meter_whole(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        for framing in [Framing::Events, Framing::Json] {
            let meter = read(ANTHROPIC, framing, [bytes.as_slice()]);
            prop_assert!(!matches!(meter.bill(), Ok(Some(_))));
        }
    }
}
