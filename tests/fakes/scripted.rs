//! The scripted agent: a small program (`agent.mjs`, run by node) that does a list of steps with nothing but the
//! variables agentsup gives it. It stands for agents that have no adapter, through `agentsup run command`.

use std::path::Path;

use serde_json::Value;

/// The command line of the scripted agent, to put behind `agentsup run command --`.
pub(crate) fn agent(steps: &Value) -> Vec<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fakes/agent.mjs");
    let script = script.canonicalize().expect("the scripted agent");
    vec!["node".to_owned(), script.display().to_string(), steps.to_string()]
}
