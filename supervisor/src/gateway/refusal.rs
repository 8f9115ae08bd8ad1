//! How the gateway says no: in the provider's own shape, and in the form that this run's client takes as it is meant.
//!
//! What asking again does not change is said so that the client stops at once and shows the words; what passes, so that
//! it comes again after a pause, a bounded number of times, or stops with words that say so. Which forms do that was
//! measured per client and is part of the run (`RefusalStyle`): the wrong one means up to three minutes of silent
//! retries. What the provider itself answers, overload included, passes untouched, so the clients' own patience still
//! works.

use http::{HeaderValue, Response, StatusCode, header};

use crate::core::decision::{Finality, Refusal, RefusalKind};
use crate::core::refusal::{Form, RefusalStyle};
use crate::sys::http::{self as web, Body};

use super::providers::Provider;

/// Words at which a client that reads them takes a refusal for a passing fault and tries again without end.
const RETRY_WORDS: [&str; 13] = [
    "429",
    "500",
    "502",
    "503",
    "504",
    "524",
    "529",
    "rate limit",
    "too many requests",
    "server error",
    "terminated",
    "resource exhausted",
    "overloaded",
];

/// A refusal in the run's style.
pub(super) fn refuse(provider: &dyn Provider, style: RefusalStyle, refusal: &Refusal) -> Response<Body> {
    say(provider, style, refusal.kind.finality(), &words(refusal, style))
}

/// The answer that the run's client takes for what it is: at which it stops at once, or comes again after a pause.
pub(super) fn say(
    provider: &dyn Provider,
    style: RefusalStyle,
    finality: Finality,
    message: &str,
) -> Response<Body> {
    let form = match finality {
        Finality::Terminal => style.terminal,
        Finality::Transient => style.transient,
    };
    let stops = !matches!(form, Form::Again { .. } | Form::FailedStream { .. });
    // Where the client cannot come again by itself, the person reads that it is worth it.
    let told = match finality {
        Finality::Transient if stops => format!("{}. Please try again", message.trim_end_matches('.')),
        Finality::Transient | Finality::Terminal => message.to_owned(),
    };
    let message = told.as_str();
    match form {
        Form::PaymentRequiredJson => error(provider, provider.stop_status(), message),
        Form::BadRequestJson => error(provider, StatusCode::BAD_REQUEST, message),
        Form::BadRequestText => last_word(web::text(StatusCode::BAD_REQUEST, message)),
        Form::Again { after_s } => again(provider, message, after_s),
        Form::FailedStream { after_s } => match provider.failed_stream(&with_pause(message, after_s)) {
            Some(events) => web::events(events),
            None => again(provider, message, after_s),
        },
    }
}

/// Status 429, with the pause in every place where clients look for one.
fn again(provider: &dyn Provider, message: &str, after_s: u16) -> Response<Body> {
    let body = provider.error(StatusCode::TOO_MANY_REQUESTS, &with_pause(message, after_s));
    let mut response = web::json_bytes(StatusCode::TOO_MANY_REQUESTS, body);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(after_s));
    response
}

/// Codex reads the pause from these words, and so can people.
fn with_pause(message: &str, after_s: u16) -> String {
    format!("{}. Please try again in {after_s}s.", message.trim_end_matches('.'))
}

/// An error with a status of its own, in the provider's shape.
pub(super) fn error(provider: &dyn Provider, status: StatusCode, message: &str) -> Response<Body> {
    last_word(web::json_bytes(status, provider.error(status, message)))
}

/// Clients that know this header believe it.
fn last_word(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert("x-should-retry", HeaderValue::from_static("false"));
    response
}

/// What the agent and its user read: what the gate says, and what helps.
pub(super) fn words(refusal: &Refusal, style: RefusalStyle) -> String {
    let whole = match &refusal.hint {
        Some(hint) => format!("{}. Hint: {hint}", refusal.message.trim_end_matches('.')),
        None => refusal.message.clone(),
    };
    // Where the client is to come again, or reads no words, nothing has to be hidden from it.
    let may_invite = refusal.kind.finality() == Finality::Transient || style.terminal == Form::BadRequestText;
    if may_invite || !invites_retry(&whole) {
        return whole;
    }
    // The record's id is digits by chance; only where they are unlucky is it left out.
    let shorter = match refusal.record {
        Some(record) => whole.replace(&format!(" ({record})"), ""),
        None => whole,
    };
    let masked = mask_numbers(&shorter);
    [shorter, masked]
        .into_iter()
        .find(|text| !invites_retry(text))
        .unwrap_or_else(|| in_general(refusal.kind).to_owned())
}

/// The text with an ellipsis for every number in it that invites a retry.
fn mask_numbers(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, number) = rest.split_at(start);
        let end = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
        let (number, after) = number.split_at(end);
        masked.push_str(before);
        masked.push_str(if invites_retry(number) { "…" } else { number });
        rest = after;
    }
    masked.push_str(rest);
    masked
}

fn invites_retry(text: &str) -> bool {
    let text = text.to_lowercase();
    RETRY_WORDS.iter().any(|word| text.contains(word))
}

/// Words without a number in them.
const fn in_general(kind: RefusalKind) -> &'static str {
    match kind {
        RefusalKind::Budget => "agentsup: budget exhausted. Nothing was billed. Hint: agentsup budget list",
        RefusalKind::Denied => "agentsup denied this model call. Hint: agentsup audit list",
        RefusalKind::ApprovalTimedOut => {
            "agentsup: nobody approved this model call in time. Hint: agentsup approvals"
        }
        RefusalKind::Killed => "agentsup: the run was killed",
        RefusalKind::Unavailable => {
            "agentsup: the audit log or the ledger cannot be written. Hint: agentsup doctor"
        }
        RefusalKind::Busy => "agentsup: there is no room for this model call just now",
    }
}

#[cfg(test)]
mod tests {
    use crate::core::billing::Billing;
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::core::ids::RecordId;
    use crate::gateway::providers;

    fn refusal(message: &str, record: Option<RecordId>) -> Refusal {
        let hint = Some("agentsup budget show purse".to_owned());
        Refusal { kind: RefusalKind::Budget, message: message.to_owned(), hint, record }
    }

    /// Status, the headers that clients go by, and the body.
    async fn shown(response: Response<Body>) -> String {
        let (head, body) = response.into_parts();
        let header = |name: &str| head.headers.get(name).map_or("-", |value| value.to_str().unwrap());
        let headers = ["content-type", "x-should-retry", "retry-after"].map(header).join(" ");
        let bytes = body.collect().await.unwrap().to_bytes();
        format!("{} {headers} {}", head.status.as_u16(), String::from_utf8_lossy(&bytes).trim_end())
    }

    const FORMS: [Form; 5] = [
        Form::PaymentRequiredJson,
        Form::BadRequestText,
        Form::BadRequestJson,
        Form::Again { after_s: 20 },
        Form::FailedStream { after_s: 20 },
    ];

    #[tokio::test]
    async fn each_form_has_the_shape_of_each_wire() {
        let mut all = String::new();
        for provider in providers::wires() {
            all.push_str(&format!("{}\n", provider.name()));
            for terminal in FORMS {
                let style = RefusalStyle { terminal, ..RefusalStyle::PLAIN };
                let response = say(provider, style, Finality::Terminal, "agentsup: no.");
                all.push_str(&format!("  {}\n", shown(response).await));
            }
            let broken_off = String::from_utf8(provider.stream_error("agentsup: no.")).unwrap();
            all.push_str(&format!("  in a stream: {}\n", broken_off.trim_end()));
        }
        insta::assert_snapshot!(all, @r#"
        anthropic
          402 application/json false - {"type":"error","error":{"type":"billing_error","message":"agentsup: no."}}
          400 text/plain; charset=utf-8 false - agentsup: no.
          400 application/json false - {"type":"error","error":{"type":"invalid_request_error","message":"agentsup: no."}}
          429 application/json - 20 {"type":"error","error":{"type":"rate_limit_error","message":"agentsup: no. Please try again in 20s."}}
          429 application/json - 20 {"type":"error","error":{"type":"rate_limit_error","message":"agentsup: no. Please try again in 20s."}}
          in a stream: event: error
        data: {"type":"error","error":{"type":"billing_error","message":"agentsup: no."}}
        demo
          402 application/json false - {"type":"error","error":{"type":"billing_error","message":"agentsup: no."}}
          400 text/plain; charset=utf-8 false - agentsup: no.
          400 application/json false - {"type":"error","error":{"type":"invalid_request_error","message":"agentsup: no."}}
          429 application/json - 20 {"type":"error","error":{"type":"rate_limit_error","message":"agentsup: no. Please try again in 20s."}}
          429 application/json - 20 {"type":"error","error":{"type":"rate_limit_error","message":"agentsup: no. Please try again in 20s."}}
          in a stream: event: error
        data: {"type":"error","error":{"type":"billing_error","message":"agentsup: no."}}
        gemini
          403 application/json false - {"error":{"code":403,"message":"agentsup: no.","status":"PERMISSION_DENIED"}}
          400 text/plain; charset=utf-8 false - agentsup: no.
          400 application/json false - {"error":{"code":400,"message":"agentsup: no.","status":"INVALID_ARGUMENT"}}
          429 application/json - 20 {"error":{"code":429,"message":"agentsup: no. Please try again in 20s.","status":"RESOURCE_EXHAUSTED"}}
          429 application/json - 20 {"error":{"code":429,"message":"agentsup: no. Please try again in 20s.","status":"RESOURCE_EXHAUSTED"}}
          in a stream: {"error":{"code":403,"message":"agentsup: no.","status":"PERMISSION_DENIED"}}
        openai
          402 application/json false - {"error":{"message":"agentsup: no.","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}
          400 text/plain; charset=utf-8 false - agentsup: no.
          400 application/json false - {"error":{"message":"agentsup: no.","type":"invalid_request_error","param":null,"code":null}}
          429 application/json - 20 {"error":{"message":"agentsup: no. Please try again in 20s.","type":"requests","param":null,"code":"rate_limit_exceeded"}}
          200 text/event-stream - - event: response.failed
        data: {"type":"response.failed","response":{"id":"resp_agentsup","object":"response","status":"failed","output":[],"error":{"code":"rate_limit_exceeded","message":"agentsup: no. Please try again in 20s."}}}
          in a stream: event: response.failed
        data: {"type":"response.failed","response":{"id":"resp_agentsup","object":"response","status":"failed","output":[],"error":{"code":"invalid_prompt","message":"agentsup: no."}}}
        openai
          402 application/json false - {"error":{"message":"agentsup: no.","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}
          400 text/plain; charset=utf-8 false - agentsup: no.
          400 application/json false - {"error":{"message":"agentsup: no.","type":"invalid_request_error","param":null,"code":null}}
          429 application/json - 20 {"error":{"message":"agentsup: no. Please try again in 20s.","type":"requests","param":null,"code":"rate_limit_exceeded"}}
          429 application/json - 20 {"error":{"message":"agentsup: no. Please try again in 20s.","type":"requests","param":null,"code":"rate_limit_exceeded"}}
          in a stream: data: {"error":{"message":"agentsup: no.","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}
        "#);
    }

    /// What each client gets for what stays so and for what passes; their files say what was measured.
    #[tokio::test]
    async fn each_adapter_tells_what_stays_so_from_what_passes() {
        let mut all = String::new();
        let providers = providers::wires();
        let provider =
            |name: &str| providers.iter().copied().find(|provider| provider.name() == name).unwrap();
        let refusable = |one: &&&crate::agents::Adapter| one.payers.permit(Billing::Keys);
        for adapter in crate::agents::ADAPTERS.iter().filter(refusable) {
            let wire = provider(adapter.provider.unwrap_or("anthropic"));
            for kind in [RefusalKind::Budget, RefusalKind::Busy] {
                let refusal = Refusal { kind, ..refusal("agentsup: no.", None) };
                let response = refuse(wire, adapter.refusal, &refusal);
                all.push_str(&format!("{} {kind:?}: {}\n", adapter.name, shown(response).await));
            }
        }
        insta::assert_snapshot!(all, @r#"
        aider Budget: 400 application/json false - {"type":"error","error":{"type":"invalid_request_error","message":"agentsup: no. Hint: agentsup budget show purse"}}
        aider Busy: 429 application/json - 20 {"type":"error","error":{"type":"rate_limit_error","message":"agentsup: no. Hint: agentsup budget show purse. Please try again in 20s."}}
        claude Budget: 402 application/json false - {"type":"error","error":{"type":"billing_error","message":"agentsup: no. Hint: agentsup budget show purse"}}
        claude Busy: 429 application/json - 20 {"type":"error","error":{"type":"rate_limit_error","message":"agentsup: no. Hint: agentsup budget show purse. Please try again in 20s."}}
        codex Budget: 400 text/plain; charset=utf-8 false - agentsup: no. Hint: agentsup budget show purse
        codex Busy: 200 text/event-stream - - event: response.failed
        data: {"type":"response.failed","response":{"id":"resp_agentsup","object":"response","status":"failed","output":[],"error":{"code":"rate_limit_exceeded","message":"agentsup: no. Hint: agentsup budget show purse. Please try again in 20s."}}}
        command Budget: 402 application/json false - {"type":"error","error":{"type":"billing_error","message":"agentsup: no. Hint: agentsup budget show purse"}}
        command Busy: 429 application/json - 20 {"type":"error","error":{"type":"rate_limit_error","message":"agentsup: no. Hint: agentsup budget show purse. Please try again in 20s."}}
        copilot Budget: 402 application/json false - {"type":"error","error":{"type":"billing_error","message":"agentsup: no. Hint: agentsup budget show purse"}}
        copilot Busy: 429 application/json - 20 {"type":"error","error":{"type":"rate_limit_error","message":"agentsup: no. Hint: agentsup budget show purse. Please try again in 20s."}}
        demo Budget: 402 application/json false - {"type":"error","error":{"type":"billing_error","message":"agentsup: no. Hint: agentsup budget show purse"}}
        demo Busy: 429 application/json - 20 {"type":"error","error":{"type":"rate_limit_error","message":"agentsup: no. Hint: agentsup budget show purse. Please try again in 20s."}}
        gemini Budget: 403 application/json false - {"error":{"code":403,"message":"agentsup: no. Hint: agentsup budget show purse","status":"PERMISSION_DENIED"}}
        gemini Busy: 429 application/json - 20 {"error":{"code":429,"message":"agentsup: no. Hint: agentsup budget show purse. Please try again in 20s.","status":"RESOURCE_EXHAUSTED"}}
        opencode Budget: 402 application/json false - {"type":"error","error":{"type":"billing_error","message":"agentsup: no. Hint: agentsup budget show purse"}}
        opencode Busy: 429 application/json - 20 {"type":"error","error":{"type":"rate_limit_error","message":"agentsup: no. Hint: agentsup budget show purse. Please try again in 20s."}}
        qwen Budget: 402 application/json false - {"type":"error","error":{"type":"billing_error","message":"agentsup: no. Hint: agentsup budget show purse"}}
        qwen Busy: 402 application/json false - {"type":"error","error":{"type":"billing_error","message":"agentsup: no. Hint: agentsup budget show purse. Please try again"}}
        "#);
    }

    #[test]
    fn no_number_in_the_words_invites_a_retry() {
        let unlucky = RecordId::from_parts(0x1429, [0; 10]);
        let lucky = RecordId::from_parts(1, [0x11; 10]);
        let json = RefusalStyle::PLAIN;
        let with = |text: &str, record: RecordId| refusal(&format!("{text} ({record})"), Some(record));
        let hint = "Hint: agentsup budget show purse";
        assert_eq!(words(&with("spent 5.00 USD", lucky), json), format!("spent 5.00 USD ({lucky}). {hint}"));
        assert_eq!(words(&with("spent 5.00 USD", unlucky), json), format!("spent 5.00 USD. {hint}"));
        assert_eq!(
            words(&with("spent 500.00 USD of 7", lucky), json),
            format!("spent ….00 USD of 7. {hint}")
        );
        assert_eq!(words(&with("`search_20250305`", unlucky), json), format!("`search_…`. {hint}"));
        assert_eq!(words(&with("Rate Limit", lucky), json), in_general(RefusalKind::Budget));
        // this style's client does not read the words
        let text = words(
            &with("spent 500.00 USD", unlucky),
            RefusalStyle { terminal: Form::BadRequestText, ..json },
        );
        assert_eq!(text, format!("spent 500.00 USD ({unlucky}). {hint}"));
        let passing = Refusal { kind: RefusalKind::Busy, ..with("spent 500.00 USD", unlucky) };
        let text = words(&passing, json);
        assert_eq!(text, format!("spent 500.00 USD ({unlucky}). {hint}"));
        for kind in [
            RefusalKind::Budget,
            RefusalKind::Denied,
            RefusalKind::ApprovalTimedOut,
            RefusalKind::Killed,
            RefusalKind::Unavailable,
            RefusalKind::Busy,
        ] {
            assert!(!invites_retry(in_general(kind)), "{kind:?}");
        }
    }
}
