//! Results that the agent has and nobody could read.

use http::StatusCode;
use serde_json::json;

use super::super::*;
use crate::core::fixture::{self, purse};
use crate::core::label::Labels;
use crate::core::manifest::Agent;
use crate::core::policy::{Pack, PolicySet, PolicySource};
use crate::core::run::{Run, RunState};
use crate::registry::{Config, Registry, Snapshot};
use crate::store::Store;
use crate::sys::env::Env;
use crate::sys::ids;
use crate::sys::paths::Home;

fn snapshot() -> Snapshot {
    Snapshot {
        config: Config::default(),
        agents: vec![Agent { budget: "purse".into(), ..fixture::agent() }],
        budgets: vec![purse(1000, 0)],
        policies: PolicySet::load(&[PolicySource::pack(Pack::Observe)]).unwrap(),
        acs: None,
        origins: std::collections::BTreeMap::new(),
        digest: [0; 32],
        registry: None,
        problems: Vec::new(),
    }
}

/// A run of Claude Code, whose command `cat notes` is under way if `acts`; what it has seen after its hooks posted this.
async fn labels_after(body: &[u8], acts: bool) -> (StatusCode, Labels) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("agentsup.db")).unwrap();
    let gate = Gate::new(store, Registry::fixed(snapshot()));
    let worktree = dir.path().join("tree");
    std::fs::create_dir(&worktree).unwrap();
    let run = Run { id: ids::new_run_id().unwrap(), worktree, ..fixture::run() };
    let live = gate.admit(run, "ast_token").await.unwrap();
    assert!(gate.set_state(&live, RunState::Running, None).await.unwrap());
    let homes =
        normalise::Homes::new(&Home::rooted(&dir.path().join("own")), &Env::of([("HOME", "/home/nobody")]));
    let hooks = Hooks::new(gate, homes, Box::new(|_, _| Box::pin(async { Ok(()) })));
    let adapter = agents::by_name("claude").unwrap();
    let agent = (adapter, adapter.wire.unwrap());
    if acts {
        let before = json!({
            "hook_event_name": "PreToolUse", "tool_name": "Bash", "tool_use_id": "toolu_1",
            "tool_input": { "command": "cat notes" }, "cwd": live.run.worktree,
        });
        let answer = hooks.hear(&live, agent, before.to_string().as_bytes()).await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert!(hooks.pending.has(live.run.id), "allowed");
        assert_eq!(live.labels(), Labels::NONE);
    }
    let status = hooks.hear(&live, agent, body).await.status();
    (status, live.labels())
}

fn after(output: &str) -> String {
    format!(
        r#"{{"hook_event_name":"PostToolUse","tool_name":"Bash","tool_use_id":"toolu_1","tool_input":{{"command":"cat notes"}},"tool_response":{{"stdout":"{output}"}}}}"#
    )
}

#[tokio::test]
async fn a_result_that_cannot_be_read_counts_as_confidential() {
    let (ok, bad) = (StatusCode::OK, StatusCode::BAD_REQUEST);
    assert_eq!(labels_after(after("hello").as_bytes(), true).await, (ok, Labels::NONE));
    // A client cut a text in the middle of a character.
    assert_eq!(labels_after(after("hello \\ud83d").as_bytes(), true).await, (ok, Labels::NONE));
    for unread in ["", "{", "[]", r#"{"hook_event_name":"PostToolUse"}"#] {
        assert_eq!(labels_after(unread.as_bytes(), true).await, (bad, seen::UNSEEN), "{unread}");
    }
    // Where nothing is under way it is no result.
    assert_eq!(labels_after(b"{", false).await, (bad, Labels::NONE));
}
