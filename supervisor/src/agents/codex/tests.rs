//! Codex: its command line, its private files, its hooks and its telemetry.

use super::*;
use crate::core::billing::Billing;

#[test]
fn a_patch_names_every_file_it_touches() {
    let patch =
        "*** Begin Patch\n*** Add File: a b.txt\n+x\n*** Update File: ../out\n*** Move to: c\n*** End Patch";
    let message = json!({
        "hook_event_name": "PreToolUse", "tool_name": "apply_patch", "tool_use_id": "call_1", "cwd": "/w",
        "tool_input": { "command": patch },
    });
    let Ok(HookCall::Before(call)) = read(&message) else { panic!("not a call") };
    assert_eq!(call.paths, ["a b.txt", "../out", "c"]);
    assert_eq!((call.class, call.command), (ToolKind::Builtin(BuiltinClass::Edit), None));
}

#[test]
fn a_patch_without_its_text_cannot_be_read() {
    let message = json!({ "hook_event_name": "PreToolUse", "tool_name": "apply_patch", "tool_input": {} });
    assert_eq!(read(&message), Err(HookError("tool_input.command")));
}

#[test]
fn an_allowance_is_silence() {
    assert_eq!(answer(&HookAnswer::Allow), Value::Null);
}

#[test]
fn a_setting_cannot_empty_the_hooks() {
    let refused = |text: &str| {
        let args: Vec<String> = text.split(' ').map(str::to_owned).collect();
        refuse_reserved_keys(&args).err().map(|error| error.to_string())
    };
    for text in ["exec -c hooks.PreToolUse=[] x", "--config=features.hooks=false", "-cmcp_servers.x={}"] {
        assert!(refused(text).is_some_and(|text| text.contains("cannot be used under agentsup")), "{text}");
    }
    assert_eq!(refused("exec -c model=gpt-6 x -- -c hooks=1"), None);
}

fn ground<'a>(worktree: &'a std::path::Path, args: &'a [String]) -> Ground<'a> {
    Ground {
        dir: "/run-dir".as_ref(),
        worktree,
        cwd: worktree,
        origin: "http://127.0.0.1:1",
        token: "ast_secret",
        own_program: "/opt/it's".as_ref(),
        home: Some("/user".as_ref()),
        inherited: &crate::agents::tests::NOTHING,
        billing: Billing::Keys,
        version: None,
        streams: crate::agents::Streams::Terminal,
        args,
        models: &[],
        endpoints: &[],
    }
}

#[test]
fn headless_options_come_after_the_sub_command() {
    let args = vec!["exec".to_owned(), "do it".to_owned()];
    let prepared = prepare(&ground("/work tree".as_ref(), &args)).unwrap();
    assert_eq!(
        (prepared.args.first().unwrap().as_str(), prepared.args.last().unwrap().as_str()),
        ("exec", "do it")
    );
    assert!(!prepared.args.contains(&"-a".to_owned()));
    assert_eq!(prepared.files[0].content, "", "neither trusted nor refused");
    assert!(prepared.args.iter().any(|arg| arg.contains(r"'/opt/it'\\''s' hook codex || {")));
}

#[test]
fn settings_of_any_directory_above_are_not_trusted_and_instructions_come_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let worktree = dir.path();
    let name = toml_text(&worktree.to_string_lossy());
    std::fs::create_dir_all(worktree.join("a/b")).unwrap();
    std::fs::write(worktree.join("AGENTS.md"), "Remember.").unwrap();
    let cwd = worktree.join("a/b");
    let ground = Ground { cwd: &cwd, ..ground(worktree, &[]) };
    let trusted = format!("[projects.{name}]\ntrust_level = \"trusted\"\n");
    assert_eq!(trust(&ground).into_iter().map(|file| file.content).collect::<Vec<_>>(), [trusted]);
    std::fs::create_dir(worktree.join("a/.codex")).unwrap();
    let untrusted = format!("[projects.{name}]\ntrust_level = \"untrusted\"\n");
    let files = trust(&ground);
    assert_eq!(
        (files[0].content.as_str(), files[1].path.to_str(), files[1].content.as_str()),
        (untrusted.as_str(), Some("codex/AGENTS.md"), "Remember.")
    );
}

#[test]
fn of_the_repository_only_what_a_commit_writes_is_open() {
    let dir = tempfile::tempdir().unwrap();
    let git = dir.path().canonicalize().unwrap().join("repo/.git");
    let worktree = dir.path().join("w");
    for made in ["worktrees/w", "objects", "refs/heads/agentsup", "hooks"] {
        std::fs::create_dir_all(git.join(made)).unwrap();
    }
    std::fs::create_dir(&worktree).unwrap();
    std::fs::write(worktree.join(".git"), format!("gitdir: {}/worktrees/w\n", git.display())).unwrap();
    std::fs::write(git.join("worktrees/w/commondir"), "../..\n").unwrap();
    let git = git.display();
    assert_eq!(
        sandbox(&ground(&worktree, &[])),
        format!(
            "permissions.agentsup={{extends=\":workspace\",filesystem={{\"{git}/objects\"=\"write\",\
             \"{git}/refs/heads/agentsup\"=\"write\",\"{git}/worktrees/w/commondir\"=\"read\",\
             \"{git}/worktrees/w\"=\"write\"}}}}"
        )
    );
    assert_eq!(
        sandbox(&ground("/none".as_ref(), &[])),
        "permissions.agentsup={extends=\":workspace\",filesystem={}}"
    );
}

/// As 0.169.0 tells of a call, over HTTP and over WebSocket alike.
fn told(pairs: &[(&str, &str)]) -> Attributes {
    let usual = [("event.kind", "response.completed"), ("model", "gpt-6.1-sol")];
    usual.iter().chain(pairs).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn what_telemetry_counts_twice_counts_once() {
    let attributes = told(&[
        ("input_token_count", "1000"),
        ("output_token_count", "50"),
        ("cached_token_count", "600"),
        ("cache_write_token_count", "100"),
        ("reasoning_token_count", "20"),
        ("tool_token_count", "1050"),
        ("user.email", "person@example.invalid"),
    ]);
    let usage = Usage {
        input_tokens: 300,
        cache_write_5m_tokens: 100,
        cache_write_1h_tokens: 0,
        cache_read_tokens: 600,
        output_tokens: 50,
    };
    let expected = Spent { call: None, model: "gpt-6.1-sol".into(), listed_as: Vec::new(), usage };
    assert_eq!(spent("codex.sse_event", &attributes), Some(Ok(expected)));
    assert_eq!(spent("codex.turn_cost", &attributes), None);
    assert_eq!(spent("codex.sse_event", &told(&[("duration_ms", "3")])), None, "only that the stream ended");
}

#[test]
fn what_telemetry_leaves_out_is_taken_for_the_dearer() {
    let usage = |pairs: &[(&str, &str)]| {
        let Some(Ok(spent)) = spent("codex.sse_event", &told(pairs)) else { panic!("not a call") };
        let Usage { input_tokens, cache_write_5m_tokens, cache_read_tokens, output_tokens, .. } = spent.usage;
        (input_tokens, cache_write_5m_tokens, cache_read_tokens, output_tokens)
    };
    let counts = [("input_token_count", "1000"), ("output_token_count", "50")];
    assert_eq!(usage(&counts), (0, 1000, 0, 50), "nothing is said of a cache");
    let cached = [&counts[..], &[("cached_token_count", "600")]].concat();
    assert_eq!(usage(&cached), (0, 400, 600, 50));
    let beyond =
        [&counts[..], &[("cached_token_count", "9000"), ("cache_write_token_count", "9000")]].concat();
    assert_eq!(usage(&beyond), (0, 0, 1000, 50), "no more than there was");
    let half = told(&[("input_token_count", "1000")]);
    assert_eq!(spent("codex.sse_event", &half), Some(Err(HookError("output_token_count"))));
}

#[test]
fn on_a_subscription_the_login_is_the_users_and_the_token_is_in_no_argument() {
    let args = vec!["exec".to_owned(), "do it".to_owned()];
    let home = std::collections::BTreeMap::from([("CODEX_HOME".to_owned(), "/elsewhere".to_owned())]);
    let usual = Ground { billing: Billing::Subscription, ..ground("/work".as_ref(), &args) };
    let prepared = prepare(&usual).unwrap();
    assert_eq!(prepared.login, Some("/user/.codex/auth.json".into()));
    let set = |setting: &str| prepared.args.iter().any(|arg| arg == setting);
    assert!(set("model_provider=openai") && set("cli_auth_credentials_store=\"file\""));
    assert!(!prepared.args.iter().any(|arg| arg.contains("ast_secret") || arg.contains("agentsup={name")));
    let env: Vec<_> = prepared.env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(env[0], ("CODEX_HOME", "/run-dir/codex"));
    assert_eq!(env[1], ("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Bearer%20ast_secret"));
    let moved = prepare(&Ground { inherited: &home, ..usual }).unwrap();
    assert_eq!(moved.login, Some("/elsewhere/auth.json".into()));
    let lost = prepare(&Ground { home: None, ..usual }).unwrap_err();
    assert_eq!(lost, AdapterError::NoLoginPlace("HOME"));
}

#[test]
fn on_a_subscription_nothing_takes_the_login_out_of_the_run() {
    for word in ["cloud", "login", "logout", "app-server"] {
        let args = vec![word.to_owned()];
        let ground = ground("/work".as_ref(), &args);
        assert!(prepare(&ground).is_ok(), "{word}: there is no login");
        let ground = Ground { billing: Billing::Subscription, ..ground };
        assert_eq!(prepare(&ground), Err(AdapterError::ReservedArgument(word.to_owned())));
    }
}
