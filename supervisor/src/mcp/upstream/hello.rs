//! How we introduce ourselves to a server, and what it says of itself.

use super::error::ServerError;
use crate::mcp::wire::{Message, Object};

/// The versions that we speak, the newest first.
pub(in crate::mcp) const VERSIONS: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];

/// Said after the answer to `initialize`.
pub(super) const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

/// The request that begins a connection. We offer nothing that a server could ask of us.
pub(super) fn initialize(id: u64) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"initialize","params":{{"protocolVersion":"{}","capabilities":{{}},"clientInfo":{{"name":"agentsup","version":"{}"}}}}}}"#,
        VERSIONS[0],
        env!("CARGO_PKG_VERSION")
    )
}

/// What a server says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Hello {
    /// For the model: how to use the server.
    pub(super) instructions: Option<String>,
    /// Whether it has tools at all.
    pub(super) has_tools: bool,
}

/// Reads the answer to `initialize`.
pub(super) fn hello(answer: &str) -> Result<Hello, ServerError> {
    version(answer)?;
    let result = result(answer, "initialize")?;
    let result = object(result)?;
    let capabilities = result.member("capabilities").map(object).transpose()?;
    Ok(Hello {
        instructions: result.string("instructions").map(|text| text.into_owned()),
        has_tools: capabilities.is_some_and(|capabilities| capabilities.member("tools").is_some()),
    })
}

/// The version that a server chose.
pub(super) fn version(answer: &str) -> Result<String, ServerError> {
    let result = object(result(answer, "initialize")?)?;
    let version = result.string("protocolVersion").unwrap_or_default().into_owned();
    if VERSIONS.contains(&version.as_str()) { Ok(version) } else { Err(ServerError::Version(version)) }
}

/// The result in an answer.
pub(super) fn result<'a>(answer: &'a str, method: &str) -> Result<&'a str, ServerError> {
    let message = Message::parse(answer).map_err(|error| ServerError::Protocol(error.to_string()))?;
    if let Some(error) = message.error {
        let code = Object::parse(error).ok().and_then(|error| error.member("code").map(str::to_owned));
        let message = format!("error {}", code.unwrap_or_else(|| "without a code".to_owned()));
        return Err(ServerError::Refused { method: method.to_owned(), message });
    }
    message.result.ok_or_else(|| ServerError::Protocol("an answer without a result".to_owned()))
}

fn object(text: &str) -> Result<Object<'_>, ServerError> {
    Object::parse(text).map_err(|error| ServerError::Protocol(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_introduces_itself() {
        let answer = r#"{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"instructions":"use \"me\"","serverInfo":{}}}"#;
        let expected = Hello { instructions: Some("use \"me\"".into()), has_tools: true };
        assert_eq!(hello(answer), Ok(expected));
        let bare = r#"{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2024-11-05"}}"#;
        assert_eq!(hello(bare), Ok(Hello::default()));
    }

    #[test]
    fn a_version_that_we_do_not_speak_is_refused() {
        let answer = r#"{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2026-07-28"}}"#;
        assert_eq!(hello(answer), Err(ServerError::Version("2026-07-28".into())));
        let refusal = r#"{"jsonrpc":"2.0","id":0,"error":{"code":-32601,"message":"secret?"}}"#;
        let expected = ServerError::Refused { method: "initialize".into(), message: "error -32601".into() };
        assert_eq!(hello(refusal), Err(expected));
    }

    #[test]
    fn our_own_introduction_is_json() {
        let text = initialize(7);
        let message = Message::parse(&text).unwrap();
        assert_eq!((message.id, message.method.as_deref()), (Some("7"), Some("initialize")));
        assert!(Message::parse(INITIALIZED).unwrap().id.is_none());
    }
}
