//! What goes wrong between us and a server. The texts reach agents and `mcp list`: no secrets, no content.

/// Why a server did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServerError {
    /// The program cannot be started.
    #[error("cannot start `{program}`: {problem}")]
    Spawn {
        /// As configured.
        program: String,
        /// What the system says.
        problem: String,
    },
    /// A configured secret or header cannot be used.
    #[error("`{setting}`: {problem}")]
    Setting {
        /// The variable or header.
        setting: String,
        /// What is wrong, without the value.
        problem: String,
    },
    /// No answer in time.
    #[error("no answer to `{method}` within {timeout_ms} ms")]
    Timeout {
        /// What was asked.
        method: String,
        /// How long we waited.
        timeout_ms: u64,
    },
    /// The process ended.
    #[error("the server ended ({0})")]
    Exited(String),
    /// The process closed its output, or the connection broke off.
    #[error("the server closed the connection")]
    Closed,
    /// A server that was stopped because the configuration changed or the daemon ends.
    #[error("the server was stopped")]
    Stopped,
    /// A server that answered nothing, not even a ping, and was restarted.
    #[error("the server hangs and is restarted")]
    Hung,
    /// HTTP says no.
    #[error("the server answered HTTP {0}")]
    Status(u16),
    /// No connection.
    #[error("{0}")]
    Unreachable(String),
    /// Not MCP.
    #[error("the server sent something that is not MCP: {0}")]
    Protocol(String),
    /// A message beyond the limit.
    #[error("the server sent a message larger than {0} bytes")]
    TooLarge(usize),
    /// No version in common.
    #[error("the server speaks MCP `{0}`, which is not supported")]
    Version(String),
    /// The server answered with an error of its own.
    #[error("the server refused `{method}`: {message}")]
    Refused {
        /// What was asked.
        method: String,
        /// The error's code and message.
        message: String,
    },
    /// Too many calls wait for it.
    #[error("the server has {0} calls waiting already")]
    Busy(usize),
    /// It failed and is left alone for a while.
    #[error("{cause}; next attempt in {wait_ms} ms")]
    Resting {
        /// Why it failed.
        cause: String,
        /// Until it is tried again.
        wait_ms: u64,
    },
    /// It is still being started.
    #[error("the server is still starting")]
    Starting,
}
