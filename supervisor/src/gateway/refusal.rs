//! How the gateway says no: in the provider's own shape, with the status that makes this run's client stop at once and
//! show the words.
//!
//! Which status does that was measured per client and is part of the run (`RefusalStyle`): the wrong one means up to
//! three minutes of silent retries. A provider that cannot be reached is told the same way: every retry would be a
//! new reservation and a new record, and clients have no status for it that neither retries nor hides the reason.
//! What the provider itself answers, overload included, passes untouched, so the clients' own patience still works.

use http::{HeaderValue, Response, StatusCode};

use crate::core::decision::{Refusal, RefusalKind};
use crate::core::run::RefusalStyle;
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
    stop(provider, style, &words(refusal, style))
}

/// The answer at which the run's client stops at once and shows the message.
pub(super) fn stop(provider: &dyn Provider, style: RefusalStyle, message: &str) -> Response<Body> {
    match style {
        RefusalStyle::PaymentRequiredJson => error(provider, provider.stop_status(), message),
        RefusalStyle::BadRequestJson => error(provider, StatusCode::BAD_REQUEST, message),
        RefusalStyle::BadRequestText => last_word(web::text(StatusCode::BAD_REQUEST, message)),
    }
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
    if style == RefusalStyle::BadRequestText || !invites_retry(&whole) {
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
        RefusalKind::Budget => {
            "agentsup: budget exhausted. Nothing was sent to the provider. Hint: agentsup budget list"
        }
        RefusalKind::Denied => "agentsup denied this model call. Hint: agentsup audit list",
        RefusalKind::ApprovalTimedOut => {
            "agentsup: nobody approved this model call in time. Hint: agentsup approvals"
        }
        RefusalKind::Killed => "agentsup: the run was killed",
        RefusalKind::Unavailable => {
            "agentsup: the audit log or the ledger cannot be written. Hint: agentsup doctor"
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::core::ids::RecordId;
    use crate::gateway::providers;

    fn refusal(message: &str, record: Option<RecordId>) -> Refusal {
        let hint = Some("agentsup budget show purse".to_owned());
        Refusal { kind: RefusalKind::Budget, message: message.to_owned(), hint, record }
    }

    async fn shown(response: Response<Body>) -> String {
        let (head, body) = response.into_parts();
        let header = |name: &str| head.headers[name].to_str().unwrap().to_owned();
        let bytes = body.collect().await.unwrap().to_bytes();
        format!(
            "{} {} retry={} {}",
            head.status.as_u16(),
            header("content-type"),
            header("x-should-retry"),
            String::from_utf8_lossy(&bytes)
        )
    }

    #[tokio::test]
    async fn a_refusal_has_the_style_of_the_run_and_the_shape_of_the_wire() {
        let refusal = refusal("agentsup: budget exhausted.", None);
        let mut all = Vec::new();
        for provider in providers::PROVIDERS {
            for style in [
                RefusalStyle::PaymentRequiredJson,
                RefusalStyle::BadRequestJson,
                RefusalStyle::BadRequestText,
            ] {
                all.push(shown(refuse(*provider, style, &refusal)).await);
            }
        }
        insta::assert_snapshot!(all.join("\n"), @r#"
        402 application/json retry=false {"type":"error","error":{"type":"billing_error","message":"agentsup: budget exhausted. Hint: agentsup budget show purse"}}
        400 application/json retry=false {"type":"error","error":{"type":"invalid_request_error","message":"agentsup: budget exhausted. Hint: agentsup budget show purse"}}
        400 text/plain; charset=utf-8 retry=false agentsup: budget exhausted. Hint: agentsup budget show purse
        402 application/json retry=false {"type":"error","error":{"type":"billing_error","message":"agentsup: budget exhausted. Hint: agentsup budget show purse"}}
        400 application/json retry=false {"type":"error","error":{"type":"invalid_request_error","message":"agentsup: budget exhausted. Hint: agentsup budget show purse"}}
        400 text/plain; charset=utf-8 retry=false agentsup: budget exhausted. Hint: agentsup budget show purse
        403 application/json retry=false {"error":{"code":403,"message":"agentsup: budget exhausted. Hint: agentsup budget show purse","status":"PERMISSION_DENIED"}}
        400 application/json retry=false {"error":{"code":400,"message":"agentsup: budget exhausted. Hint: agentsup budget show purse","status":"INVALID_ARGUMENT"}}
        400 text/plain; charset=utf-8 retry=false agentsup: budget exhausted. Hint: agentsup budget show purse
        402 application/json retry=false {"error":{"message":"agentsup: budget exhausted. Hint: agentsup budget show purse","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}
        400 application/json retry=false {"error":{"message":"agentsup: budget exhausted. Hint: agentsup budget show purse","type":"invalid_request_error","param":null,"code":null}}
        400 text/plain; charset=utf-8 retry=false agentsup: budget exhausted. Hint: agentsup budget show purse
        "#);
    }

    #[test]
    fn no_number_in_the_words_invites_a_retry() {
        let unlucky = RecordId::from_parts(0x1429, [0; 10]);
        let lucky = RecordId::from_parts(1, [0x11; 10]);
        let json = RefusalStyle::PaymentRequiredJson;
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
        let text = words(&with("spent 500.00 USD", unlucky), RefusalStyle::BadRequestText);
        assert_eq!(text, format!("spent 500.00 USD ({unlucky}). {hint}"));
        for kind in [
            RefusalKind::Budget,
            RefusalKind::Denied,
            RefusalKind::ApprovalTimedOut,
            RefusalKind::Killed,
            RefusalKind::Unavailable,
        ] {
            assert!(!invites_retry(in_general(kind)), "{kind:?}");
        }
    }
}
