//! Messages of its hooks as it sent them, and what its launch is made of.

use std::path::Path;

use super::*;
use crate::agents::tests::ground;

fn message(event: &str, tool: &str, input: Value) -> Value {
    json!({ "hook_event_name": event, "session_id": "s", "timestamp": event, "cwd": "/w", "tool_name": tool, "tool_input": input })
}

fn read_call(tool: &str, input: Value) -> ToolCall {
    match read(&message("PreToolUse", tool, input)) {
        Ok(HookCall::Before(call)) => call,
        other => panic!("not a call: {other:?}"),
    }
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

#[test]
fn a_calls_end_is_found_by_what_it_was() {
    let input = json!({ "command": "ls -l", "description": "list" });
    let call = read_call("Bash", input.clone());
    assert_eq!((call.command.as_deref(), call.cwd.as_deref()), (Some("ls -l"), Some("/w")));
    let end = read(&message("PostToolUseFailure", "Bash", input));
    assert_eq!(end, Ok(HookCall::After { call_id: call.call_id.unwrap(), status: ToolEnd::Failed }));
    let other = read_call("Bash", json!({ "command": "ls" }));
    assert_ne!(end, Ok(HookCall::After { call_id: other.call_id.unwrap(), status: ToolEnd::Failed }));
}

#[test]
fn every_path_that_a_call_names_is_a_fact() {
    for (tool, input, paths) in [
        ("Read", json!({ "path": "/w/a" }), vec!["/w/a"]),
        ("Grep", json!({ "pattern": "/x", "paths": ["/etc", "b"] }), vec!["/etc", "b"]),
        ("Grep", json!({ "pattern": "x", "paths": "/etc" }), vec!["/etc"]),
        ("Glob", json!({ "pattern": "/home/u/.ssh/id*" }), vec!["/home/u/.ssh/"]),
        ("Glob", json!({ "pattern": "**/*.rs" }), vec!["."]),
        ("Edit", json!("*** Begin Patch\n*** Update File: ../out\n*** End Patch"), vec!["../out"]),
        ("Edit", json!({ "input": "*** Delete File: c" }), vec!["c"]),
    ] {
        assert_eq!(read_call(tool, input).paths, paths, "{tool}");
    }
}

#[test]
fn what_cannot_be_read_is_no_call() {
    let edit = read(&message("PreToolUse", "Edit", json!({ "old_str": "a" })));
    assert_eq!(edit, Err(HookError("tool_input.path")));
    let bare = json!({ "hook_event_name": "PreToolUse", "tool_name": "Bash" });
    assert_eq!(read(&bare), Err(HookError("tool_input")));
}

#[test]
fn agents_and_servers_that_are_not_the_clients_are_foreign() {
    let agent = |name: &str| kind("Agent", &json!({ "agent_type": name }));
    assert_eq!((agent("explore"), agent("evil")), (ToolKind::Conversation, ToolKind::Foreign));
    let none = json!({});
    assert_eq!(kind("Agent", &none), ToolKind::Foreign);
    assert_eq!(kind("agentsup-notes_echo", &none), ToolKind::Proxied);
    assert_eq!((kind("evil-run", &none), kind("lsp", &none)), (ToolKind::Foreign, ToolKind::Foreign));
    assert_eq!(kind("launch_rocket", &none), ToolKind::Builtin(BuiltinClass::Other));
}

#[test]
fn the_model_decides_the_wire() {
    let of = |args: &[String], models: &[String]| {
        let ground = Ground { models, ..ground(args) };
        let env = prepare(&ground).unwrap().env;
        let find = |name: &str| env.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        ["BASE_URL", "TYPE", "WIRE_API"]
            .map(|name| find(&format!("COPILOT_PROVIDER_{name}")).unwrap_or_default())
            .join(" ")
    };
    let any = ["*".to_owned()];
    assert_eq!(of(&words("-p x"), &any), "http://127.0.0.1:4100/llm/anthropic anthropic ");
    let openai = "http://127.0.0.1:4100/llm/openai/v1 openai responses";
    assert_eq!(of(&words("-p x --model gpt-6.1-sol"), &any), openai);
    assert_eq!(of(&words("-p x"), &["gpt-5".to_owned()]), openai);
}

#[test]
fn what_would_undo_the_gate_cannot_be_said() {
    for text in ["-p x --trust-folder", "--available-tools=lsp", "-C/tmp", "login", "mcp add x", "--agent=x"]
    {
        let args = words(text);
        assert!(matches!(prepare(&ground(&args)), Err(AdapterError::ReservedArgument(_))), "{text}");
    }
    let args = words("-p login --allow-all");
    assert!(prepare(&ground(&args)).is_ok());
}

#[test]
fn in_a_terminal_a_repository_that_brings_settings_is_refused_and_one_without_is_trusted() {
    let dir = tempfile::tempdir().unwrap();
    let worktree = dir.path();
    let prepared =
        |args: &[String]| prepare(&Ground { worktree, cwd: &worktree.join("sub"), ..ground(args) });
    let trust = |prepared: Prepared| {
        let config = prepared.files.into_iter().find(|file| file.path == Path::new("copilot/config.json"));
        serde_json::from_str::<Value>(&config.unwrap().content).unwrap()["trustedFolders"].clone()
    };
    assert_eq!(trust(prepared(&[]).unwrap()), json!([worktree, worktree.join("sub")]));
    std::fs::create_dir_all(worktree.join("sub/.github/agents")).unwrap();
    assert_eq!(prepared(&[]), Err(AdapterError::RepositoryCode("sub/.github/agents".into())));
    let headless = prepared(&words("-p x")).unwrap();
    assert!(headless.args.contains(&format!("--excluded-tools=lsp,{AGENT_TOOLS}")));
    assert_eq!(trust(headless), json!([]));
}
