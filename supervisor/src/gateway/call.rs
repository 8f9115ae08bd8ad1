//! One model call as the gateway sees it: what a provider's file reads from a request body. Everything else in the
//! body is passed on unread.

use std::borrow::Cow;

use super::scan::{CacheWrites, Kinds};

/// What was read from the body of a model call.
#[derive(Debug)]
pub(super) struct Call<'a> {
    /// The model as the agent named it.
    pub(super) model: Cow<'a, str>,
    /// The most tokens the agent wants to be put out.
    pub(super) max_output: Option<u64>,
    /// A cache that costs extra, asked for outside the content.
    pub(super) cache: CacheWrites,
    /// Something asked for that has no upper bound, by its name on the wire.
    pub(super) unbounded: Option<String>,
    /// The parts of the prompt, each counted on its own: instructions, tools, messages.
    pub(super) parts: Vec<&'a [u8]>,
    /// Everything else that may change how the parts are counted.
    pub(super) settings: Vec<(&'a [u8], &'a [u8])>,
    /// Which kinds of content are not text.
    pub(super) kinds: Kinds,
}

/// The body is not a model call of this wire. Says where, never what: the text may be the user's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the request body cannot be read: {problem} at line {line}, column {column}")]
pub(super) struct MalformedError {
    problem: &'static str,
    line: usize,
    column: usize,
}

impl From<serde_json::Error> for MalformedError {
    fn from(error: serde_json::Error) -> Self {
        let problem = match error.classify() {
            serde_json::error::Category::Io => "it broke off",
            serde_json::error::Category::Syntax => "it is not JSON",
            serde_json::error::Category::Data => "a required field is missing or of the wrong type",
            serde_json::error::Category::Eof => "it ends too early",
        };
        Self { problem, line: error.line(), column: error.column() }
    }
}
