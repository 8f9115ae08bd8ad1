//! Codex CLI. Facts tried with 0.169.0.
//!
//! Its provider is given as a custom one, because the built-in one ignores the environment and prefers WebSocket. Its
//! hooks are commands: an allowance is an empty answer, and only a refusal with words on standard error blocks when
//! the hook itself fails. A repository's `.codex/` is not trusted, so that it cannot add servers; our own hooks are
//! switched on by the command line, which it cannot win back.
//!
//! What is typed into a command that has a terminal meets no hook, so commands have none. Its own sandbox stays on, with
//! those parts of the main repository's git directory open that a commit in the worktree needs, and no more: not the
//! configuration, the hooks or another branch.
//!
//! Refusals, measured headless: after a 400 of plain text one request in all, the message as it is, exit 1, whatever the
//! number of retries. A stream that fails with `rate_limit_exceeded` is asked for six times in all, with just the pause that
//! the message names, then `rate limit exceeded: <message>`, exit 1; after a 429 as many, but the message is lost; after a
//! 503 thirty requests with its own number of retries (each of five streams six times), six with none for requests, as
//! here. In a stream, after some text, `invalid_prompt`: no second request, the message as it is, exit 1;
//! `insufficient_quota` hides the message.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::wire::{HookAnswer, HookCall, HookError, HookWire, ToolCall, ToolKind, patched, text, texts};
use super::{
    Adapter, AdapterError, GaugeStyle, Ground, Prepared, PrivateFile, Program, brought, hook_command,
    mcp_url, refuse_links_out, refuse_reserved,
};
use crate::core::billing::Payers;
use crate::core::manifest::BuiltinClass;
use crate::core::refusal::{Form, RefusalStyle};
use crate::core::run::HookDuty;
use crate::sys::grounds::{GitDirs, git_dirs};

pub(super) const ADAPTER: Adapter = Adapter {
    name: "codex",
    summary: "Codex CLI",
    program: Some(Program {
        binary: "codex",
        minimum: "0.169.0",
        tested: "0.169.0",
        install: "npm install -g @openai/codex",
        runtime: None,
    }),
    provider: Some("openai"),
    refusal: RefusalStyle { terminal: Form::BadRequestText, transient: Form::FailedStream { after_s: 20 } },
    hooks: HookDuty::Required,
    gauge: GaugeStyle::CodexHeaders,
    payers: Payers::Keys,
    telemetry: None,
    wire: Some(&HookWire { read, answer }),
    own: &[],
    obeyed: &[],
    prepare,
};

/// Seconds: longer than the gate waits for a person and the hook for the gate. After it the client runs the tool!
const DECISION_TIMEOUT: u32 = 3600;
/// Seconds for hooks that decide nothing.
const REPORT_TIMEOUT: u32 = 30;

const RESERVED: &[&str] = &[
    "--dangerously-bypass-approvals-and-sandbox",
    "--dangerously-bypass-hook-trust",
    "--disable",
    "--enable",
    "--ignore-user-config",
    "--oss",
    "--profile",
    "-p",
    "--remote",
    "--sandbox",
    "-s",
    "--search",
    "--trust",
    "--worktree",
    "--yolo",
];

/// Keys of `-c` that the supervision rests on: given twice, the last would win.
const RESERVED_KEYS: &[&str] = &[
    "default_permissions",
    "features",
    "hooks",
    "mcp_servers",
    "model_provider",
    "model_providers",
    "notice",
    "permissions",
    "profile",
    "projects",
    "sandbox_mode",
    "sandbox_workspace_write",
    "web_search",
];

/// The longest instructions that are handed on, in bytes: the client reads no more either.
const INSTRUCTIONS_MAX: u64 = 32 * 1024;

/// Sub-commands that take the options after their name and need no terminal.
const HEADLESS: &[&str] = &["exec", "e", "review"];

fn prepare(ground: &Ground<'_>) -> Result<Prepared, AdapterError> {
    refuse_reserved(ground.args, RESERVED)?;
    refuse_reserved_keys(ground.args)?;
    refuse_links_out(ground, &["AGENTS.md", "AGENTS.override.md"])?;
    let mut args = Vec::new();
    let mut rest = ground.args;
    let headless = rest.first().is_some_and(|first| HEADLESS.contains(&first.as_str()));
    if headless && let Some((first, others)) = rest.split_first() {
        args.push(first.clone());
        rest = others;
    }
    args.extend(options(ground));
    if !headless {
        // The gate asks; a second question in the terminal would only teach people to say yes.
        args.extend(["-a", "never"].map(str::to_owned));
    }
    args.extend(rest.iter().cloned());
    let home = ground.dir.join("codex").to_string_lossy().into_owned();
    let files = if headless { untold() } else { trust(ground) };
    Ok(Prepared { program: "codex".to_owned(), args, env: vec![("CODEX_HOME".to_owned(), home)], files })
}

fn refuse_reserved_keys(args: &[String]) -> Result<(), AdapterError> {
    let mut words = args.iter().take_while(|arg| *arg != "--");
    while let Some(word) = words.next() {
        let setting = match word.as_str() {
            "-c" | "--config" => words.next().map(String::as_str),
            attached => attached.strip_prefix("--config=").or_else(|| attached.strip_prefix("-c")),
        };
        let key =
            setting.and_then(|setting| setting.trim_start_matches(['=', ' ']).split(['.', '=', ' ']).next());
        if let Some(key) = key.filter(|key| RESERVED_KEYS.contains(&key.trim_matches(['"', '\'']))) {
            return Err(AdapterError::ReservedArgument(format!("-c {key}")));
        }
    }
    Ok(())
}

fn options(ground: &Ground<'_>) -> Vec<String> {
    let origin = ground.origin;
    let provider = format!(
        "model_providers.agentsup={{name=\"agentsup\",base_url=\"{origin}/llm/openai/v1\",\
         env_key=\"AGENTSUP_RUN_TOKEN\",wire_api=\"responses\",request_max_retries=0,stream_max_retries=5}}"
    );
    // Retries of streams alone: those of requests would multiply with them.
    let server = format!(
        "mcp_servers.agentsup={{url=\"{}\",bearer_token_env_var=\"AGENTSUP_RUN_TOKEN\",\
         default_tools_approval_mode=\"approve\"}}",
        mcp_url(ground)
    );
    let mut options = vec!["-c".to_owned(), "model_provider=agentsup".to_owned()];
    let mut set = |value: String| options.extend(["-c".to_owned(), value]);
    set(provider);
    set(server);
    for (event, timeout) in [
        ("SessionStart", REPORT_TIMEOUT),
        ("UserPromptSubmit", REPORT_TIMEOUT),
        ("PreToolUse", DECISION_TIMEOUT),
        ("PostToolUse", REPORT_TIMEOUT),
    ] {
        set(format!(
            "hooks.{event}=[{{hooks=[{{type=\"command\",command={},timeout={timeout}}}]}}]",
            toml_text(&hook_command(ground, ADAPTER.name))
        ));
    }
    // What the model's shell does not need to see.
    set("shell_environment_policy={exclude=[\"AGENTSUP_*\",\"*_API_KEY\",\"ANTHROPIC_*\"]}".to_owned());
    for quiet in ["analytics.enabled=false", "feedback.enabled=false", "check_for_update_on_startup=false"] {
        set(quiet.to_owned());
    }
    // At nine tenths of a budget it would offer a cheaper model, in the way of what is typed.
    set("notice.hide_rate_limit_model_nudge=true".to_owned());
    set("otel.metrics_exporter=\"none\"".to_owned());
    // It runs at the provider, at a price that nobody can bound: the gateway refuses it.
    set("web_search=\"disabled\"".to_owned());
    set("default_permissions=\"agentsup\"".to_owned());
    set(sandbox(ground));
    options.extend(["--enable", "hooks"].map(str::to_owned));
    for off in ["plugins", "apps", "unified_exec_tty"] {
        options.extend(["--disable", off].map(str::to_owned));
    }
    options.push("--dangerously-bypass-hook-trust".to_owned());
    options
}

/// Headless nobody is asked, and what is said of no project is neither trusted nor refused: its settings are left
/// alone, its `AGENTS.md` is read. The directory must be there.
fn untold() -> Vec<PrivateFile> {
    vec![PrivateFile { path: "codex/config.toml".into(), content: String::new() }]
}

/// In the terminal a repository with settings of its own is not trusted; one without is, which spares a question.
/// Of one that is not trusted the client reads no `AGENTS.md`, so that comes as the user's own.
fn trust(ground: &Ground<'_>) -> Vec<PrivateFile> {
    let brings_settings = brought(ground, &[".codex"]).is_some();
    let level = if brings_settings { "untrusted" } else { "trusted" };
    let worktree = toml_text(&ground.worktree.to_string_lossy());
    let content = format!("[projects.{worktree}]\ntrust_level = \"{level}\"\n");
    let config = PrivateFile { path: "codex/config.toml".into(), content };
    let instructions = brings_settings.then(|| instructions(ground)).flatten();
    let file = instructions.map(|content| PrivateFile { path: "codex/AGENTS.md".into(), content });
    std::iter::once(config).chain(file).collect()
}

/// The repository's `AGENTS.md`, which does not lead out of it.
fn instructions(ground: &Ground<'_>) -> Option<String> {
    let path = ground.worktree.join("AGENTS.md");
    let meta = path.metadata().ok()?;
    let fits = meta.is_file() && meta.len() <= INSTRUCTIONS_MAX;
    fits.then(|| std::fs::read_to_string(path).ok()).flatten()
}

/// Codex's own sandbox: the worktree and scratch space may be written, and of the main repository what `git commit`
/// writes. The two files that say where the repository is stay closed: through them git would run programs.
fn sandbox(ground: &Ground<'_>) -> String {
    let mut rules = String::new();
    let mut rule = |path: PathBuf, access: &str| {
        if path.exists() {
            rules.push_str(&format!("{}=\"{access}\",", toml_text(&path.to_string_lossy())));
        }
    };
    if let Some(GitDirs { own, shared }) = git_dirs(ground.worktree) {
        rule(shared.join("objects"), "write");
        for refs in ["refs/heads/agentsup", "logs/refs/heads/agentsup"] {
            rule(shared.join(refs), "write");
        }
        for closed in ["commondir", "gitdir", "config.worktree"] {
            rule(own.join(closed), "read");
        }
        rule(own, "write");
    }
    format!("permissions.agentsup={{extends=\":workspace\",filesystem={{{}}}}}", rules.trim_end_matches(','))
}

/// A basic string of TOML, on one line: JSON's escapes are TOML's too.
fn toml_text(text: &str) -> String {
    Value::String(text.to_owned()).to_string()
}

fn read(message: &Value) -> Result<HookCall, HookError> {
    match text(message, "hook_event_name")? {
        "SessionStart" | "UserPromptSubmit" => Ok(HookCall::Announced),
        "PreToolUse" => call(message).map(HookCall::Before),
        "PostToolUse" => {
            let call_id = text(message, "tool_use_id")?.to_owned();
            Ok(HookCall::After { call_id, status: super::wire::ToolEnd::Done })
        }
        _ => Ok(HookCall::Other),
    }
}

fn call(message: &Value) -> Result<ToolCall, HookError> {
    let tool = text(message, "tool_name")?;
    let input = message.get("tool_input").ok_or(HookError("tool_input"))?;
    let command = input.get("command").and_then(Value::as_str);
    let class = kind(tool);
    let patch = class == ToolKind::Builtin(BuiltinClass::Edit);
    Ok(ToolCall {
        tool: tool.to_owned(),
        class,
        call_id: message.get("tool_use_id").and_then(Value::as_str).map(str::to_owned),
        cwd: message.get("cwd").and_then(Value::as_str).map(str::to_owned),
        paths: match (patch, command) {
            (true, Some(patch)) => patched(patch),
            (true, None) => return Err(HookError("tool_input.command")),
            (false, _) => texts(input, &["path"]),
        },
        urls: Vec::new(),
        command: command.filter(|_| !patch).map(str::to_owned),
        args: input.clone(),
    })
}

fn kind(tool: &str) -> ToolKind {
    if tool.starts_with("mcp__agentsup__") {
        return ToolKind::Proxied;
    }
    if tool.starts_with("mcp__") {
        return ToolKind::Foreign;
    }
    match tool {
        "Bash" => ToolKind::Builtin(BuiltinClass::Shell),
        "apply_patch" => ToolKind::Builtin(BuiltinClass::Edit),
        "view_image" => ToolKind::Builtin(BuiltinClass::Read),
        "update_plan" => ToolKind::Conversation,
        _ => ToolKind::Builtin(BuiltinClass::Other),
    }
}

/// An allowance is silence: any words would be taken for a failed hook.
fn answer(answer: &HookAnswer<'_>) -> Value {
    match answer {
        HookAnswer::Allow => Value::Null,
        HookAnswer::Deny { reason } => json!({ "hookSpecificOutput": {
            "hookEventName": "PreToolUse",
            "permissionDecision": "deny",
            "permissionDecisionReason": reason,
        } }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::billing::Billing;

    #[test]
    fn a_patch_names_every_file_it_touches() {
        let patch = "*** Begin Patch\n*** Add File: a b.txt\n+x\n*** Update File: ../out\n*** Move to: c\n*** End Patch";
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
        let message =
            json!({ "hook_event_name": "PreToolUse", "tool_name": "apply_patch", "tool_input": {} });
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
            assert!(
                refused(text).is_some_and(|text| text.contains("cannot be used under agentsup")),
                "{text}"
            );
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
            home: None,
            billing: Billing::Keys,
            version: None,
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
}
