//! How a client is refused, as data: one form for what stays so, another for what passes. Which form makes a client stop
//! at once and show the words, and which makes it come again after a pause, was measured per client; the wrong one means
//! minutes of silent retries, or work that ends for nothing.

use serde::{Deserialize, Serialize};

/// The answers to a client: chosen by its adapter, part of its run, and never guessed from what it says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Stored")]
pub struct RefusalStyle {
    /// For what asking again does not change: the client stops at once and shows the words.
    pub terminal: Form,
    /// For what passes: the client comes again a bounded number of times, with a pause, where it can; where it cannot, it
    /// stops with words that say so.
    pub transient: Form,
}

impl RefusalStyle {
    /// What most clients take as it is meant: they stop at a 402 and come again after a 429.
    pub const PLAIN: Self =
        Self { terminal: Form::PaymentRequiredJson, transient: Form::Again { after_s: 20 } };
}

/// Status, headers and body of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// Status 402, or what stands for it on the wire, `x-should-retry: false`, and the wire's own JSON error.
    PaymentRequiredJson,
    /// Status 400, `x-should-retry: false`, and the message as plain text.
    BadRequestText,
    /// Status 400, `x-should-retry: false`, and the wire's own JSON error: the second choice that works everywhere.
    BadRequestJson,
    /// Status 429, `retry-after`, and the wire's own JSON error, which may name the pause as well.
    Again {
        /// Seconds until the client is to come again.
        after_s: u16,
    },
    /// Status 200 and a stream that fails with its first event, which names the pause: for clients that lose the words of
    /// every status at which they come again. On a wire without such an event, [`Form::Again`].
    FailedStream {
        /// Seconds until the client is to come again.
        after_s: u16,
    },
}

/// What the store may hold: before there were two forms, a run's style was the one for what stays so.
#[derive(Deserialize)]
#[serde(untagged)]
enum Stored {
    Both { terminal: Form, transient: Form },
    Terminal(Form),
}

impl From<Stored> for RefusalStyle {
    fn from(stored: Stored) -> Self {
        match stored {
            Stored::Both { terminal, transient } => Self { terminal, transient },
            Stored::Terminal(terminal) => Self { terminal, ..Self::PLAIN },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_style_is_stored_and_one_from_before_is_still_read() {
        let failed = Form::FailedStream { after_s: 7 };
        let style = RefusalStyle { terminal: Form::BadRequestText, transient: failed };
        let json = r#"{"terminal":"bad-request-text","transient":{"failed-stream":{"after_s":7}}}"#;
        assert_eq!(serde_json::to_string(&style).unwrap(), json);
        assert_eq!(serde_json::from_str::<RefusalStyle>(json).unwrap(), style);
        let before: RefusalStyle = serde_json::from_str(r#""bad-request-text""#).unwrap();
        assert_eq!(before, RefusalStyle { terminal: Form::BadRequestText, ..RefusalStyle::PLAIN });
        assert!(serde_json::from_str::<RefusalStyle>(r#""no-such-form""#).is_err());
    }
}
