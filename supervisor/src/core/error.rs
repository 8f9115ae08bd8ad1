//! Errors as a person or a script meets them: a stable code, a text and a way out.
//!
//! Every module has its own error enum; where one leaves the library (an op's reply, an exit code) it becomes a
//! [`Failure`]. Must not carry: Rust type names, secrets, prompts, file contents.

use serde::{Deserialize, Serialize};

use super::decision::{Refusal, RefusalKind};

/// What kind of failure it is. Scripts and the window branch on it, so a variant exists only if somebody does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The request makes no sense as it stands.
    Usage,
    /// It names something that does not exist.
    NotFound,
    /// The state of things does not allow it.
    Conflict,
    /// The gate or the peer check said no.
    Denied,
    /// Nobody answered in time.
    ApprovalTimedOut,
    /// No budget, or its end.
    Budget,
    /// The run was killed or suspended.
    Killed,
    /// There is no daemon to talk to.
    DaemonUnreachable,
    /// Ledger or log cannot be written or does not verify.
    AuditBroken,
    /// The configuration or a manifest is not valid.
    ConfigInvalid,
    /// The registry, or what it stands at, could not be had or did not take what it was given.
    CatalogRefused,
    /// A bug, or a machine that fails.
    Internal,
}

impl Code {
    /// The exit code of the contract.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Internal => 1,
            Self::Usage | Self::NotFound | Self::Conflict => 2,
            Self::Denied => 90,
            Self::ApprovalTimedOut => 91,
            Self::Budget => 92,
            Self::Killed => 93,
            Self::DaemonUnreachable => 94,
            Self::AuditBroken => 95,
            Self::ConfigInvalid => 96,
            Self::CatalogRefused => 97,
        }
    }
}

/// A failure at the edge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// Its kind.
    pub code: Code,
    /// A lower-case fragment without a full stop, user values in backticks.
    pub message: String,
    /// The exact command that helps, readable alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Failure {
    /// A failure without a way out.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None }
    }

    /// The same with a way out.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// A failure nobody foresaw, from its error.
    pub fn internal(error: &dyn std::fmt::Display) -> Self {
        Self::new(Code::Internal, error.to_string())
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let code = match refusal.kind {
            RefusalKind::Denied | RefusalKind::Busy => Code::Denied,
            RefusalKind::ApprovalTimedOut => Code::ApprovalTimedOut,
            RefusalKind::Budget => Code::Budget,
            RefusalKind::Killed => Code::Killed,
            RefusalKind::Unavailable => Code::AuditBroken,
        };
        Self { code, message: refusal.message, hint: refusal.hint }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_keeps_its_exit_code() {
        for kind in [
            RefusalKind::Denied,
            RefusalKind::ApprovalTimedOut,
            RefusalKind::Budget,
            RefusalKind::Killed,
            RefusalKind::Unavailable,
            RefusalKind::Busy,
        ] {
            let refusal = Refusal { kind, message: "m".into(), hint: Some("h".into()), record: None };
            let failure = Failure::from(refusal);
            assert_eq!(failure.code.exit_code(), kind.exit_code());
            assert_eq!((failure.message.as_str(), failure.hint.as_deref()), ("m", Some("h")));
        }
    }

    #[test]
    fn the_wire_form_is_stable() {
        let failure = Failure::new(Code::DaemonUnreachable, "no daemon").hint("agentsup daemon start");
        assert_eq!(
            serde_json::to_string(&failure).unwrap(),
            r#"{"code":"daemon_unreachable","message":"no daemon","hint":"agentsup daemon start"}"#
        );
    }
}
