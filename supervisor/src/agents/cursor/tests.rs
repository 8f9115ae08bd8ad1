//! Messages of its hooks as others recorded them, and what its launch is made of.

use std::path::Path;

use super::*;
use crate::agents::tests::ground;
use crate::core::billing::Billing;

fn words(text: &str) -> Vec<String> {
    text.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn prepared(ground: &Ground<'_>) -> Prepared {
    prepare(&Ground { billing: Billing::Subscription, ..*ground }).unwrap()
}

fn read_call(tool: &str, input: Value) -> ToolCall {
    let message = json!({
        "hook_event_name": "preToolUse", "conversation_id": "c", "generation_id": "g", "model": "default",
        "cursor_version": "2026.09.23-86fc751", "workspace_roots": ["/w"], "transcript_path": null,
        "tool_name": tool, "tool_input": input, "tool_use_id": "call_1\nctc_1", "cwd": "/w",
    });
    match read(&message) {
        Ok(HookCall::Before(call)) => call,
        other => panic!("not a call: {other:?}"),
    }
}

#[test]
fn a_call_is_read_with_all_that_it_touches() {
    let shell = read_call("Shell", json!({ "command": "ls -l", "cwd": "/w/sub", "timeout": 30_000 }));
    assert_eq!((shell.command.as_deref(), shell.cwd.as_deref()), (Some("ls -l"), Some("/w/sub")));
    assert_eq!(
        (shell.class, shell.call_id.as_deref()),
        (ToolKind::Builtin(BuiltinClass::Shell), Some("call_1\nctc_1"))
    );
    assert_eq!(read_call("Shell", json!({ "command": "ls", "cwd": "" })).cwd.as_deref(), Some("/w"));
    for (tool, input, paths) in [
        ("Read", json!({ "file_path": "/w/a" }), vec!["/w/a"]),
        ("Write", json!({ "file_path": "/w/a", "content": "x" }), vec!["/w/a"]),
        ("Delete", json!({ "file_path": "/w/a" }), vec!["/w/a"]),
        ("Grep", json!({ "pattern": "/x", "file_path": "/etc" }), vec!["/etc"]),
        (
            "Glob",
            json!({ "glob_pattern": "/home/u/.ssh/id*", "target_directory": "/w" }),
            vec!["/w", "/home/u/.ssh/"],
        ),
        ("ApplyPatch", json!("*** Begin Patch\n*** Update File: ../out\n*** End Patch"), vec!["../out"]),
        ("FetchMcpResource", json!({ "server": "s", "uri": "u", "download_path": "/w/b" }), vec!["/w/b"]),
    ] {
        assert_eq!(read_call(tool, input).paths, paths, "{tool}");
    }
    assert_eq!(read_call("Fetch", json!({ "url": "https://a.example/" })).urls, ["https://a.example/"]);
}

#[test]
fn what_is_not_understood_is_not_given_a_permission() {
    let bare =
        |event: &str| read(&json!({ "hook_event_name": event, "tool_name": "Write", "tool_input": {} }));
    assert_eq!(bare("preToolUse"), Err(HookError("tool_input.file_path")));
    for unasked in
        ["beforeShellExecution", "beforeReadFile", "subagentStart", "beforeTabFileRead", "tomorrow"]
    {
        assert_eq!(bare(unasked), Err(HookError("hook_event_name")), "{unasked}");
    }
    assert_eq!(
        read(&json!({ "hook_event_name": "preToolUse", "tool_name": "Read" })),
        Err(HookError("tool_input"))
    );
    assert_eq!(kind("LaunchRocket"), ToolKind::Builtin(BuiltinClass::Other));
}

#[test]
fn tools_of_other_servers_are_foreign() {
    let served = |server: &str, url: &str| {
        let message = json!({
            "hook_event_name": "beforeMCPExecution", "tool_name": "echo", "tool_input": "{}",
            "mcp_server_name": server, "url": url,
        });
        match read(&message) {
            Ok(HookCall::Before(call)) => call.class,
            other => panic!("not a call: {other:?}"),
        }
    };
    assert_eq!(read_call("MCP:notes_echo", json!({})).class, ToolKind::Proxied);
    assert_eq!(served("user-agentsup", "http://127.0.0.1:4100/mcp"), ToolKind::Proxied);
    assert_eq!(served("evil", "http://127.0.0.1:4100/mcp"), ToolKind::Foreign);
    assert_eq!(served("agentsup", "https://evil.example/mcp"), ToolKind::Foreign);
    let local = json!({ "hook_event_name": "beforeMCPExecution", "tool_name": "echo", "command": "evil" });
    assert!(matches!(read(&local), Ok(HookCall::Before(call)) if call.class == ToolKind::Foreign));
}

/// As `cursor-agent` 2026.09.10 sent it.
fn stop(change: impl FnOnce(&mut Value)) -> Result<HookCall, HookError> {
    let mut message = json!({
        "hook_event_name": "stop", "conversation_id": "f4fc9a97", "generation_id": "23ca0cff", "model": "default",
        "status": "completed", "loop_count": 0, "input_tokens": 20152, "output_tokens": 15,
        "cache_read_tokens": 8704, "cache_write_tokens": 7,
    });
    change(&mut message);
    read(&message)
}

#[test]
fn a_turn_tells_what_it_used_and_one_that_does_not_is_noticed() {
    let usage = Usage {
        input_tokens: 20152,
        output_tokens: 15,
        cache_read_tokens: 8704,
        cache_write_5m_tokens: 7,
        cache_write_1h_tokens: 0,
    };
    let expected = Spent {
        call: Some("f4fc9a97:23ca0cff".into()),
        model: "cursor/default".into(),
        listed_as: vec!["default".into()],
        usage,
    };
    assert_eq!(stop(|_| {}), Ok(HookCall::Spent(expected)));
    let uncount = |message: &mut Value| {
        for name in ["input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens"] {
            message[name] = Value::Null;
        }
    };
    assert_eq!(stop(uncount), Ok(HookCall::Untold));
    let aborted = |message: &mut Value| {
        uncount(message);
        message["status"] = "aborted".into();
    };
    assert_eq!(stop(aborted), Ok(HookCall::Other));
    assert_eq!(stop(|message| message["output_tokens"] = (-1).into()), Err(HookError("output_tokens")));
    assert_eq!(stop(|message| message["input_tokens"] = 100_000_001.into()), Err(HookError("input_tokens")));
    assert_eq!(stop(|message| message["generation_id"] = Value::Null), Err(HookError("generation_id")));
}

#[test]
fn the_last_line_of_a_headless_one_is_its_count() {
    let printed = |result: Value| {
        read(
            &json!({ "hook_event_name": "relay/result", "model": "Claude Opus 4.6 Thinking", "result": result }),
        )
    };
    let counts =
        json!({ "inputTokens": 14125, "outputTokens": 111, "cacheReadTokens": 28224, "cacheWriteTokens": 0 });
    let usage = Usage {
        input_tokens: 14125,
        output_tokens: 111,
        cache_read_tokens: 28224,
        cache_write_5m_tokens: 0,
        cache_write_1h_tokens: 0,
    };
    let expected = Spent {
        call: Some("s:r".into()),
        model: "cursor/Claude Opus 4.6 Thinking".into(),
        listed_as: vec!["claude-opus-4.6".into(), "claude-opus-4-6".into()],
        usage,
    };
    let line = json!({ "type": "result", "session_id": "s", "request_id": "r", "usage": counts });
    assert_eq!(printed(line), Ok(HookCall::Ended(Some(expected))));
    assert_eq!(
        printed(json!({ "type": "result", "session_id": "s", "usage": {} })),
        Ok(HookCall::Ended(None))
    );
    assert_eq!(printed(json!({ "type": "result", "session_id": "s" })), Ok(HookCall::Ended(None)));
    assert_eq!(printed(Value::Null), Ok(HookCall::Ended(None)));
}

#[test]
fn a_list_price_is_found_behind_what_changes_none() {
    let of = |model: &str| prices::listed_as(model, None);
    assert_eq!(of("gpt-5.3-codex-xhigh"), ["gpt-5.3-codex"]);
    assert_eq!(of("claude-sonnet-5-thinking-xhigh"), ["claude-sonnet-5", "claude-sonnet-5"]);
    assert_eq!(of("claude-4.5-opus-high-thinking"), ["claude-4.5-opus", "claude-opus-4-5"]);
    assert_eq!(of("opus-4.6"), ["opus-4.6", "claude-opus-4-6"]);
    assert_eq!(of("gpt-5.2-codex-xhigh-fast"), ["gpt-5.2-codex-xhigh-fast"], "fast may cost more");
    let parameters =
        |id: &str, value: &str| json!([{ "id": "effort", "value": "high" }, { "id": id, "value": value }]);
    assert_eq!(prices::listed_as("gpt-5.5", Some(&parameters("fast", "false"))), ["gpt-5.5"]);
    assert_eq!(prices::listed_as("gpt-5.5", Some(&parameters("fast", "true"))), Vec::<String>::new());
}

#[test]
fn each_hook_fails_closed_and_is_one_simple_command_without_an_address() {
    let own_program = Path::new("/opt/it's here/agentsup");
    for (own_program, command) in [
        (Path::new("/opt/agentsup"), "/opt/agentsup hook cursor"),
        (own_program, r"'/opt/it'\''s here/agentsup' hook cursor"),
    ] {
        let hooks = hooks(&Ground { own_program, ..ground(&[]) });
        let events: Vec<&String> = hooks["hooks"].as_object().unwrap().keys().collect();
        assert_eq!(events.len(), 7, "{events:?}");
        for event in events {
            let hook = &hooks["hooks"][event][0];
            assert_eq!((&hook["command"], &hook["failClosed"]), (&json!(command), &json!(true)), "{event}");
        }
    }
}

#[test]
fn its_home_directory_is_its_own_and_leads_to_everything_else_in_the_users() {
    let user = tempfile::tempdir().unwrap();
    for entry in [".cursor", ".claude", ".config", ".ssh"] {
        std::fs::create_dir(user.path().join(entry)).unwrap();
    }
    std::fs::write(user.path().join(".gitconfig"), "").unwrap();
    let prepared = prepared(&Ground { home: Some(user.path()), ..ground(&[]) });
    let link = |name: &str| (std::path::PathBuf::from("home").join(name), user.path().join(name));
    assert_eq!(prepared.links, [link(".config"), link(".gitconfig"), link(".ssh")]);
    assert_eq!(prepared.env, [("HOME".to_owned(), "/run-dir/home".to_owned())]);
    let files: Vec<&Path> = prepared.files.iter().map(|file| file.path.as_path()).collect();
    assert_eq!(files, [Path::new("home/.cursor/hooks.json"), Path::new("home/.cursor/mcp.json")]);
    assert!(prepared.files.iter().all(|file| !file.content.contains("ast_secret")));
}

#[test]
fn headless_its_output_is_relayed_in_the_users_format() {
    let args = |args: &str| {
        let args = words(args);
        prepared(&Ground { args: &args, ..ground(&args) })
    };
    let terminal = args("--model gpt-5.5 Fix it");
    assert_eq!(
        (terminal.program.as_str(), terminal.args.join(" ").as_str()),
        ("cursor-agent", "--force --model gpt-5.5 Fix it")
    );
    let own = "--print --force --trust --output-format stream-json";
    for (given, relayed) in [
        ("-p x", format!("relay cursor text  cursor-agent {own} -p x")),
        ("-fp --model=a x", format!("relay cursor text a cursor-agent {own} -fp --model=a x")),
        ("-p --output-format json --model a", format!("relay cursor json a cursor-agent {own} -p --model a")),
        (
            "--print --output-format=stream-json",
            format!("relay cursor stream-json  cursor-agent {own} --print"),
        ),
    ] {
        let headless = args(given);
        assert_eq!(
            (headless.program.as_str(), headless.args.join(" ")),
            ("/opt/agentsup", relayed),
            "{given}"
        );
    }
    let piped = words("x");
    let piped = prepared(&Ground { streams: Streams::Pipes, args: &piped, ..ground(&[]) });
    assert_eq!(piped.args.join(" "), format!("relay cursor text  cursor-agent {own} x"));
}

#[test]
fn what_would_undo_the_gate_cannot_be_said() {
    for text in [
        "-p --approve-mcps",
        "--plugin-dir=x",
        "-w",
        "--workspace /",
        "--api-key=k",
        "mcp list",
        "login",
        "acp",
    ] {
        let args = words(text);
        assert!(matches!(prepare(&ground(&args)), Err(AdapterError::ReservedArgument(_))), "{text}");
    }
    let args = words("-p login --yolo");
    assert!(prepare(&ground(&args)).is_ok());
}

#[test]
fn a_repository_that_brings_hooks_or_servers_is_refused() {
    for settings in SETTINGS {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(settings);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "{}").unwrap();
        let refused = prepare(&Ground { worktree: dir.path(), cwd: dir.path(), ..ground(&[]) });
        assert_eq!(refused, Err(AdapterError::RepositoryCode((*settings).to_owned())));
    }
}

#[test]
fn answers_are_explicit() {
    assert_eq!(answer(&HookAnswer::Allow), json!({ "permission": "allow" }));
    let no = json!({ "permission": "deny", "user_message": "no", "agent_message": "no" });
    assert_eq!(answer(&HookAnswer::Deny { reason: "no" }), no);
    assert_eq!(prompt(&HookAnswer::Allow), json!({ "continue": true }));
    assert_eq!(
        prompt(&HookAnswer::Deny { reason: "no" }),
        json!({ "continue": false, "user_message": "no" })
    );
}
