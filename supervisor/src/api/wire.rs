//! What goes over the Unix socket: one JSON document a line. First both sides say hello, then the client asks and the
//! daemon answers, one request at a time on each connection.
//!
//! The hello and the op `daemon.stop` never change, so that any client can end any daemon. Every line is bounded.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _};

use crate::core::error::Failure;

/// The version of everything but the hello. It changes when an old client would misunderstand a new daemon.
pub const PROTOCOL: u32 = 1;
/// The longest request line, in bytes.
pub const REQUEST_LIMIT: usize = 1024 * 1024;
/// The longest reply line, in bytes.
pub const REPLY_LIMIT: usize = 64 * 1024 * 1024;

/// The first line of either side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL`] of the sender.
    pub protocol: u32,
    /// The sender's release.
    pub version: String,
}

impl Hello {
    /// This program's.
    pub fn ours() -> Self {
        Self { protocol: PROTOCOL, version: env!("CARGO_PKG_VERSION").to_owned() }
    }
}

/// A request line.
#[derive(Debug, Serialize, Deserialize)]
pub struct Request {
    /// The op's name.
    pub op: String,
    /// Its parameters.
    pub params: Box<RawValue>,
}

/// A reply line, also sent instead of a hello to a peer that is refused.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reply {
    /// The answer.
    Ok(Box<RawValue>),
    /// Why there is none.
    Error(Failure),
}

/// A line that could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// The other side is gone.
    #[error("the connection was closed")]
    Closed,
    /// More bytes than allowed before the line's end.
    #[error("a line is longer than {0} bytes")]
    TooLong(usize),
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Reads up to the next newline, which is not part of the result; at most `limit` bytes.
pub async fn read_line(reader: &mut (impl AsyncBufRead + Unpin), limit: usize) -> Result<Vec<u8>, LineError> {
    let mut line = Vec::new();
    loop {
        let available = reader.fill_buf().await?;
        if available.is_empty() {
            return Err(LineError::Closed);
        }
        let end = memchr::memchr(b'\n', available);
        let taken = available.get(..end.unwrap_or(available.len())).unwrap_or_default();
        if line.len() + taken.len() > limit {
            return Err(LineError::TooLong(limit));
        }
        line.extend_from_slice(taken);
        let consumed = taken.len() + usize::from(end.is_some());
        reader.consume(consumed);
        if end.is_some() {
            return Ok(line);
        }
    }
}

/// The document as one line.
pub fn line_of(document: &impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    let mut line = serde_json::to_vec(document)?;
    line.push(b'\n');
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_split_bounded_and_must_end() {
        let mut input: &[u8] = b"one\n\ntwo\nrest";
        for expected in ["one", "", "two"] {
            assert_eq!(read_line(&mut input, 3).await.unwrap(), expected.as_bytes());
        }
        assert!(matches!(read_line(&mut input, 9).await, Err(LineError::Closed)));
        let mut input: &[u8] = b"four\n";
        assert!(matches!(read_line(&mut input, 3).await, Err(LineError::TooLong(3))));
    }

    #[test]
    fn the_wire_form_is_stable() {
        let hello = Hello { protocol: 1, version: "0.1.0".into() };
        assert_eq!(line_of(&hello).unwrap(), b"{\"protocol\":1,\"version\":\"0.1.0\"}\n");
        let ok = Reply::Ok(RawValue::from_string("{\"a\":1}".into()).unwrap());
        assert_eq!(line_of(&ok).unwrap(), b"{\"ok\":{\"a\":1}}\n");
    }
}
