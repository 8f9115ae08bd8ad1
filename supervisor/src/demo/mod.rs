//! The demo: a small agent, its scripted model and its MCP server, all built in, so that the whole product can be
//! seen at work without a key. Everything between them is real: worktree, keeper, gateway, proxy, gate, ledger, log.
//!
//! Only the model's words are scripted. Must not be reachable for other agents: its manifest allows it alone.

pub mod agent;
pub mod model;
pub mod server;

/// The model's name; its price is in the price table.
pub const MODEL: &str = "agentsup-demo-1";
/// The provider's name and the MCP server's.
pub const NAME: &str = "demo";
