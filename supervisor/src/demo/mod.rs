//! The demo: a small agent, its scripted model and its MCP server, all built in, so that the whole product can be
//! seen at work without a key. Everything between them is real: worktree, keeper, gateway, proxy, gate, ledger, log.
//!
//! Only the model's words are scripted. Must not be reachable for other agents: its manifest allows it alone.

pub mod agent;
pub mod model;
pub mod server;

use std::collections::BTreeMap;
use std::path::Path;

use url::Url;

use crate::registry::{Demo, LIST_PRICE_BP, McpServerConfig, ProviderConfig};

/// The model's name; its price is in the price table.
pub const MODEL: &str = "agentsup-demo-1";
/// The provider's name and the MCP server's.
pub const NAME: &str = "demo";

/// The parts that the daemon offers: the model behind its own front door, the server as this program again.
pub fn parts(port: u16, own_program: &Path) -> Option<Demo> {
    let base_url = Url::parse(&format!("http://127.0.0.1:{port}/demo-model")).ok()?;
    Some(Demo {
        name: NAME,
        provider: ProviderConfig {
            base_url,
            key: None,
            wire: None,
            multiplier_bp: LIST_PRICE_BP,
            reconcile: None,
            max_price: None,
        },
        server: McpServerConfig::Stdio {
            command: vec![own_program.to_string_lossy().into_owned(), "__demo-mcp".to_owned()],
            env: BTreeMap::new(),
            cwd: None,
        },
    })
}
