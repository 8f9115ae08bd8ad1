//! Codex CLI. Facts tried with 0.169.0.
//!
//! Its provider is given as a custom one, because the built-in one ignores the environment and prefers WebSocket. Its
//! hooks are commands: an allowance is an empty answer, and only a refusal with words on standard error blocks when
//! the hook itself fails. A repository's `.codex/` is not trusted, so that it cannot add servers; our own hooks are
//! switched on by the command line, which it cannot win back.

use serde_json::{Value, json};

use super::wire::{HookAnswer, HookCall, HookError, HookWire, ToolCall, ToolKind, text};
use super::{Adapter, AdapterError, Ground, Prepared, PrivateFile, Program, mcp_url, refuse_reserved};
use crate::core::manifest::BuiltinClass;
use crate::core::run::{HookDuty, RefusalStyle};

pub(super) const ADAPTER: Adapter = Adapter {
    name: "codex",
    summary: "Codex CLI",
    program: Some(Program {
        binary: "codex",
        minimum: "0.169.0",
        tested: "0.169.0",
        install: "npm install -g @openai/codex",
    }),
    refusal: RefusalStyle::BadRequestText,
    hooks: HookDuty::Required,
    wire: Some(&HookWire { read, answer }),
    prepare,
};

/// Seconds: longer than the gate waits for a person, so that the gate's own answer comes first.
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
    "--yolo",
];

/// Keys of `-c` that the supervision rests on: given twice, the last would win.
const RESERVED_KEYS: &[&str] =
    &["features", "hooks", "mcp_servers", "model_provider", "model_providers", "profile", "projects"];

/// Sub-commands that take the options after their name and need no terminal.
const HEADLESS: &[&str] = &["exec", "e", "review"];

fn prepare(ground: &Ground<'_>) -> Result<Prepared, AdapterError> {
    refuse_reserved(ground.args, RESERVED)?;
    refuse_reserved_keys(ground.args)?;
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
    let config = PrivateFile { path: "codex/config.toml".into(), content: trust(ground) };
    Ok(Prepared {
        program: "codex".to_owned(),
        args,
        env: vec![("CODEX_HOME".to_owned(), home)],
        files: vec![config],
    })
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
         env_key=\"AGENTSUP_RUN_TOKEN\",wire_api=\"responses\",request_max_retries=0,stream_max_retries=0}}"
    );
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
            toml_text(&hook_command(ground))
        ));
    }
    // What the model's shell does not need to see.
    set("shell_environment_policy={exclude=[\"AGENTSUP_*\",\"*_API_KEY\",\"ANTHROPIC_*\"]}".to_owned());
    for quiet in ["analytics.enabled=false", "feedback.enabled=false", "check_for_update_on_startup=false"] {
        set(quiet.to_owned());
    }
    set("otel.metrics_exporter=\"none\"".to_owned());
    let flags = ["--enable", "hooks", "--disable", "plugins", "--disable", "apps"];
    options.extend(flags.map(str::to_owned));
    options.extend(["--dangerously-bypass-hook-trust", "-s", "workspace-write"].map(str::to_owned));
    options
}

/// A hook that cannot run must block, which takes exit 2 and words on standard error.
fn hook_command(ground: &Ground<'_>) -> String {
    let own = ground.own_program.to_string_lossy().replace('\'', r"'\''");
    let name = ADAPTER.name;
    format!(
        "'{own}' hook {name} || {{ echo 'agentsup: the hook failed, so the call is refused' >&2; exit 2; }}"
    )
}

/// A repository with settings of its own is not trusted; one without is, which spares a question in the terminal.
fn trust(ground: &Ground<'_>) -> String {
    let level = if ground.worktree.join(".codex").exists() { "untrusted" } else { "trusted" };
    let worktree = toml_text(&ground.worktree.to_string_lossy());
    format!("[projects.{worktree}]\ntrust_level = \"{level}\"\n")
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
        paths: if patch { patched(command.ok_or(HookError("tool_input.command"))?) } else { Vec::new() },
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

/// The files that a patch names.
fn patched(patch: &str) -> Vec<String> {
    const MARKS: [&str; 4] = ["*** Add File: ", "*** Update File: ", "*** Delete File: ", "*** Move to: "];
    patch
        .lines()
        .filter_map(|line| MARKS.iter().find_map(|mark| line.trim_start().strip_prefix(mark)))
        .map(|path| path.trim_end().to_owned())
        .collect()
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

    #[test]
    fn headless_options_come_after_the_sub_command() {
        let args = vec!["exec".to_owned(), "do it".to_owned()];
        let ground = Ground {
            dir: "/run-dir".as_ref(),
            worktree: "/work tree".as_ref(),
            origin: "http://127.0.0.1:1",
            token: "ast_secret",
            own_program: "/opt/it's".as_ref(),
            home: None,
            version: None,
            args: &args,
        };
        let prepared = prepare(&ground).unwrap();
        assert_eq!(
            (prepared.args.first().unwrap().as_str(), prepared.args.last().unwrap().as_str()),
            ("exec", "do it")
        );
        assert!(!prepared.args.contains(&"-a".to_owned()));
        assert_eq!(prepared.files[0].content, "[projects.\"/work tree\"]\ntrust_level = \"trusted\"\n");
        assert!(prepared.args.iter().any(|arg| arg.contains(r"'/opt/it'\\''s' hook codex || {")));
    }
}
