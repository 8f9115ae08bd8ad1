//! How far the gate reaches into each kind of agent: the words for what adapters say of themselves and `doctor --agents`
//! tells. It decides nothing. What it says is what the adapter's tests show, with the real program where there is one.

use serde::{Deserialize, Serialize};

/// What is enforced of an agent, what is only observed, and what neither.
#[derive(Debug, Clone, Copy)]
pub struct Reach {
    /// Its own tools that read files.
    pub read: Held,
    /// Its own tools that change files.
    pub edit: Held,
    /// Its shell.
    pub shell: Held,
    /// Its own tools that fetch from the network.
    pub web: Held,
    /// Tools of MCP servers.
    pub mcp: Held,
    /// Its model calls, and with them its budget.
    pub models: Held,
    /// Agents that its shell starts.
    pub nested: Held,
    /// What a repository's own files could change of its supervision.
    pub repository: Held,
    /// Whether a person can be asked while it has no terminal.
    pub ask_headless: Held,
    /// Whether a person can be asked while it has one.
    pub ask_terminal: Held,
    /// How its tools ended.
    pub results: Held,
}

/// One cell of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// How far it goes.
    pub grade: Grade,
    /// By what, or why not, in a line.
    pub how: &'static str,
}

/// How far the gate reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Grade {
    /// Nothing of it happens unless the gate has said yes.
    Enforced,
    /// Enforced with keys of the configuration; on the user's own login only counted afterwards.
    ByPayer,
    /// It happens without the gate, and is on the record afterwards.
    Observed,
    /// The gate neither decides it nor sees it.
    Neither,
    /// The agent has nothing of that kind, or it is taken away.
    Absent,
}

impl Grade {
    /// As the table has it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Enforced => "yes",
            Self::ByPayer => "yes/seen",
            Self::Observed => "seen",
            Self::Neither => "no",
            Self::Absent => "-",
        }
    }
}

impl Reach {
    /// The cells in the order of the table, with the names of its columns and what those mean.
    pub const fn cells(&self) -> [(&'static str, &'static str, Held); 11] {
        [
            ("READ", "its own tools that read", self.read),
            ("EDIT", "its own tools that edit", self.edit),
            ("SHELL", "its shell", self.shell),
            ("WEB", "its own web tools", self.web),
            ("MCP", "tools of MCP servers", self.mcp),
            ("MODELS", "models and budget", self.models),
            ("NESTED", "agents that its shell starts", self.nested),
            ("REPO", "a repository's own settings", self.repository),
            ("ASK", "asking a person, headless", self.ask_headless),
            ("TTY", "asking a person, in a terminal", self.ask_terminal),
            ("ENDS", "how its tools ended", self.results),
        ]
    }
}

/// It does not happen without a yes.
pub const fn enforced(how: &'static str) -> Held {
    Held { grade: Grade::Enforced, how }
}

/// It happens and is on the record afterwards.
pub const fn observed(how: &'static str) -> Held {
    Held { grade: Grade::Observed, how }
}

/// It happens unseen.
pub const fn neither(how: &'static str) -> Held {
    Held { grade: Grade::Neither, how }
}

/// There is no such thing.
pub const fn absent(how: &'static str) -> Held {
    Held { grade: Grade::Absent, how }
}

/// Models over the gateway with keys, over a login past it.
pub const fn by_payer(how: &'static str) -> Held {
    Held { grade: Grade::ByPayer, how }
}

/// MCP servers of the configuration alone.
pub const MCP: Held =
    enforced("the proxy decides every call; a tool of a server that is not ours is denied by the hook");
/// Every call over the gateway.
pub const GATEWAY: Held =
    enforced("every call goes through the gateway, is reserved before and settled after");
/// A shell's commands.
pub const COMMAND: Held = enforced(
    "the command line is decided as a shell reads it; what a script or `make` does inside is not seen",
);
/// Another program in the shell.
pub const NESTED: Held = neither(
    "the command that starts one is decided and it finds no key of yours by itself; its own tools are not asked about",
);
/// The gate holds the hook until a person has answered.
pub const HELD: Held =
    enforced("the hook waits for the answer, as long as the gate does; the agent itself never asks");
