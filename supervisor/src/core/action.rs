//! What a run wants to do, normalised. Flows make actions out of wire formats; only the gate decides about them.
//!
//! As JSON an action is what policies look at, and nothing else: no arguments, not even their digest, no amounts.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize, Serializer};

use super::billing::Billing;
use super::data::{Carried, Destination};
use super::manifest::BuiltinClass;
use super::money::NanoUsd;
use super::shell::Part;

/// Something a run wants to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Action {
    /// Start an agent in a worktree.
    Launch(LaunchAction),
    /// Call a model.
    Llm(LlmAction),
    /// Call a tool: an MCP server's or one of the agent's own.
    Tool(ToolAction),
    /// Open a connection to a host.
    Egress(EgressAction),
}

/// Start an agent in a worktree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchAction {
    /// The adapter's name.
    pub adapter: String,
    /// The repository's main checkout.
    #[serde(serialize_with = "lossy")]
    pub repository: PathBuf,
    /// The fetch address of its remote `origin`, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<String>,
    /// Who pays for its model calls.
    #[serde(default)]
    pub billing: Billing,
}

/// Call a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LlmAction {
    /// The provider's name in the configuration.
    pub provider: String,
    /// The model as the agent named it.
    pub model: String,
    /// The most that the call can cost; `None` if that cannot be bounded, which denies it.
    #[serde(skip)]
    pub bound: Option<Bound>,
    /// The version of the prices that the bound was made with; empty where there is none.
    #[serde(skip)]
    pub prices: String,
    /// How the call could be made with less; `None` if it is this or nothing.
    #[serde(skip)]
    pub elastic: Option<Elastic>,
    /// Why there is no bound, or another reason for which the flow itself refuses; shown to the agent.
    #[serde(skip)]
    pub objection: Option<Objection>,
    /// Secrets and personal data that its prompt holds.
    #[serde(default, skip_serializing_if = "Carried::is_empty")]
    pub data: Carried,
    /// A digest of those that a person is asked about; approvals are bound to it.
    #[serde(skip)]
    pub asked: Option<[u8; 32]>,
}

impl LlmAction {
    /// A call of which nothing else is known.
    pub fn new(provider: impl Into<String>, model: impl Into<String>) -> Self {
        Self {
            provider: provider.into(),
            model: model.into(),
            bound: None,
            prices: String::new(),
            elastic: None,
            objection: None,
            data: Carried::default(),
            asked: None,
        }
    }
}

/// The most that a model call can consume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// Input tokens, cached or not.
    pub input_tokens: u64,
    /// Output tokens.
    pub output_tokens: u64,
    /// The worst price of both.
    pub cost: NanoUsd,
}

/// How far the output of a call can be cut, so that it fits into what a budget has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elastic {
    /// The fewest output tokens that are of any use.
    pub least_output_tokens: u64,
    /// What one output token less takes off the worst price, at least.
    pub output_token_cost: NanoUsd,
}

impl Elastic {
    /// The bound with so many output tokens less; `None` if too few would be left. Never below what the call can then
    /// really cost.
    #[must_use]
    pub fn cut(&self, bound: &Bound, tokens: u64) -> Option<Bound> {
        let output_tokens = bound.output_tokens.checked_sub(tokens)?;
        if output_tokens < self.least_output_tokens {
            return None;
        }
        let cost = bound.cost.minus(self.output_token_cost.times(tokens));
        Some(Bound { output_tokens, cost, ..*bound })
    }

    /// The bound with the shortest answer that is of any use.
    #[must_use]
    pub fn least(&self, bound: &Bound) -> Option<Bound> {
        self.cut(bound, bound.output_tokens.checked_sub(self.least_output_tokens)?)
    }
}

impl Bound {
    /// Whether the call can cost anything at all.
    #[must_use]
    pub const fn is_billed(&self) -> bool {
        self.cost.nano() > 0 || self.tokens() > 0
    }

    /// Input plus output.
    #[must_use]
    pub const fn tokens(&self) -> u64 {
        self.input_tokens.saturating_add(self.output_tokens)
    }
}

/// A flow's own reason for refusing, with what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Objection {
    /// A lower-case fragment without a full stop.
    pub reason: String,
    /// The exact command or line of configuration that helps, if there is one.
    pub hint: Option<String>,
}

/// Call a tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolAction {
    /// Where the tool lives.
    pub source: ToolSource,
    /// The tool's own name, without a prefix.
    pub tool: String,
    /// SHA-256 over the canonical arguments; approvals are bound to it.
    #[serde(skip)]
    pub args_digest: [u8; 32],
    /// What the call would touch.
    #[serde(default)]
    pub facts: Facts,
    /// The agent's id of the call (tool-use id), to join it with the model turn that asked for it.
    #[serde(skip)]
    pub call_id: Option<String>,
}

/// Where a tool lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ToolSource {
    /// The agent's own, seen through its hooks.
    Builtin(BuiltinClass),
    /// An MCP server, by its name in the configuration.
    Mcp(String),
    /// An MCP server that the agent found somewhere else: in no scope, whatever a manifest says.
    Foreign,
}

/// Normalised facts about a tool call: what policies judge, never raw arguments.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    /// Files and directories it touches.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<PathFact>,
    /// Host names it contacts, lower case.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// The command line it runs, whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// The simple commands of that line, wherever in it they stand; empty where there is no line.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<CommandPart>,
    /// Secrets and personal data that it sends somewhere.
    #[serde(skip_serializing_if = "Carried::is_empty")]
    pub data: Carried,
}

/// One simple command of a command line, and the files that it names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CommandPart {
    /// The command.
    pub call: Part,
    /// Files that its words and redirections may name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<PathFact>,
    /// Those of them that the shell or git may be told to write.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub written: Vec<PathFact>,
}

/// A path that a tool call touches.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PathFact {
    /// Absolute, with symlinks and `..` resolved as far as the path exists.
    #[serde(serialize_with = "lossy")]
    pub path: PathBuf,
    /// Where it lies.
    pub place: Place,
}

/// Where a path lies, seen from a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// In the run's worktree.
    Worktree,
    /// In the run's scratch directory or the system's temporary directory.
    Scratch,
    /// Credentials or agentsup's own files.
    Secret,
    /// A worktree's git metadata, hooks or shared configuration.
    GitMetadata,
    /// Anywhere else.
    Outside,
}

impl Place {
    /// As policies write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Worktree => "worktree",
            Self::Scratch => "scratch",
            Self::Secret => "secret",
            Self::GitMetadata => "git-metadata",
            Self::Outside => "outside",
        }
    }
}

/// Open a connection to a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EgressAction {
    /// Lower case, without a trailing dot.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

/// As policies see a path: what is no text in it is replaced.
fn lossy<S: Serializer>(path: &Path, out: S) -> Result<S::Ok, S::Error> {
    out.serialize_str(&path.to_string_lossy())
}

impl Action {
    /// The kind, as records and policies name it: `launch`, `llm`, `tool` or `egress`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Launch(_) => "launch",
            Self::Llm(_) => "llm",
            Self::Tool(_) => "tool",
            Self::Egress(_) => "egress",
        }
    }

    /// What the action names, for records: the adapter, the model, the tool with its server, the host.
    pub fn name(&self) -> String {
        match self {
            Self::Launch(launch) => launch.adapter.clone(),
            Self::Llm(llm) => llm.model.clone(),
            Self::Tool(tool) => match &tool.source {
                ToolSource::Builtin(_) => tool.tool.clone(),
                ToolSource::Mcp(server) => format!("{server}/{}", tool.tool),
                ToolSource::Foreign => format!("foreign/{}", tool.tool),
            },
            Self::Egress(egress) => format!("{}:{}", egress.host, egress.port),
        }
    }

    /// What it acts upon, for records; empty where the name says it all.
    pub fn target(&self) -> String {
        match self {
            Self::Launch(launch) => launch.repository.display().to_string(),
            Self::Llm(llm) => llm.provider.clone(),
            Self::Tool(tool) => tool.facts.target(),
            Self::Egress(_) => String::new(),
        }
    }
}

impl ToolAction {
    /// Where it sends something, as far as rules about data tell that apart.
    pub fn destination(&self) -> Option<Destination<'_>> {
        match &self.source {
            ToolSource::Mcp(server) => Some(Destination::Server(server)),
            ToolSource::Builtin(class) => Destination::of_class(*class),
            // It is denied, whatever it holds.
            ToolSource::Foreign => None,
        }
    }
}

impl Facts {
    fn target(&self) -> String {
        if let Some(path) = self.paths.first() {
            let more = self.paths.len() - 1;
            let first = path.path.display();
            return if more == 0 { first.to_string() } else { format!("{first} and {more} more") };
        }
        self.hosts.first().cloned().unwrap_or_default()
    }
}
