//! Requests and hook calls of the real agents (Claude Code 2.1.330, Codex 0.169.0, OpenCode 1.18.33), recorded against
//! the scripted servers, long texts cut: `golden/<agent>-<what>.json`. The tests below hold the fakes to them.

use std::path::Path;
use std::time::Instant;

use serde_json::Value;

use super::server::Recorded;

/// One recorded request by its name, such as `claude-main`.
pub(crate) fn request(name: &str) -> Recorded {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/fakes/golden/{name}.json"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let golden: Value = serde_json::from_str(&text).expect("a golden file is JSON");
    let headers = golden["headers"].as_object().expect("headers").iter();
    Recorded {
        at: Instant::now(),
        method: golden["method"].as_str().expect("a method").to_owned(),
        path: golden["path"].as_str().expect("a path").to_owned(),
        headers: headers
            .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()))
            .collect(),
        body: golden["body"].to_string().into(),
    }
}

mod tests {
    use super::request;
    use crate::fakes::ask::{Ask, Kind, Wire};

    fn read(name: &str) -> (Wire, Kind, Option<String>, bool) {
        let ask = Ask::new(request(name));
        (ask.wire, ask.kind, ask.key().map(str::to_owned), ask.streams())
    }

    #[test]
    fn requests_of_real_agents_are_told_apart() {
        let token = Some("run-token".to_owned());
        assert_eq!(read("claude-main"), (Wire::Anthropic, Kind::Main, token.clone(), true));
        assert_eq!(read("claude-tool-result"), (Wire::Anthropic, Kind::Main, token.clone(), true));
        assert_eq!(read("codex-main"), (Wire::Responses, Kind::Main, token.clone(), true));
        assert_eq!(read("opencode-main"), (Wire::Anthropic, Kind::Main, token.clone(), true));
        assert_eq!(read("opencode-title"), (Wire::Anthropic, Kind::Side, token, true));
    }

    #[test]
    fn tools_and_results_of_real_agents_are_found() {
        assert_eq!(Ask::new(request("claude-main")).require_tool("Edit"), "Edit");
        assert_eq!(Ask::new(request("codex-main")).require_tool("/exec"), "functions/exec");
        assert_eq!(Ask::new(request("opencode-main")).require_tool("_echo"), "agentsup_echo");
        assert_eq!(Ask::new(request("claude-tool-result")).results(), ["1\thello\n2\t"]);
        let results = Ask::new(request("codex-tool-result")).results();
        assert!(results.len() == 1 && results[0].contains("exited with code 0"), "{results:?}");
        assert_eq!(Ask::new(request("claude-main")).results(), Vec::<String>::new());
    }

    #[test]
    fn conversations_are_kept_apart_by_the_session() {
        for name in ["claude-main", "codex-main", "opencode-main"] {
            assert_ne!(Ask::new(request(name)).conversation(), "", "{name}");
        }
    }
}
