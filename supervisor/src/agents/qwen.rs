//! Qwen Code. Facts tried with 0.24.4 on Node 22.23.
//!
//! Chat Completions at OpenAI or any endpoint of the configuration that has taken that wire over; Claude's models over
//! Anthropic's. All configuration is given as the system's settings, which beat a repository's: it cannot redirect the
//! client, switch our hooks off or add MCP servers, nor can its `.env`, because the variables that would do so are set.
//! But hooks are added up, and skills and agents may bring some: a repository with settings, agents or extensions is
//! refused, the tool for skills is left out, and the client's own tools may not write any of that.
//!
//! Hooks are commands: silence allows; a denial, or exit 2 with words on standard error, blocks; **everything else runs
//! the tool**, an HTTP hook whose server is down among it, and a hook that has not answered after a minute, whatever its
//! own timeout says. So ours gives up before, and a person has that long to answer. The gate decides, so the client itself
//! asks nothing.
//!
//! Refusals: status 402, 400 or 403 with OpenAI's JSON: one request, exit code 1, `[API Error: 402 …]` with the words, in
//! the terminal too; with Anthropic's, the same around the raw JSON. After a 429 it comes again as `retry-after` says,
//! silently and without an end that was seen (20 times in 400 s), and after a 503 beyond 45 s; so what passes ends it too.
//! An error in the middle of an answer ends it at once, with the words.

use serde_json::{Value, json};

use super::models::{self, Choice, Wire};
use super::wire::{
    HookAnswer, HookCall, HookError, HookWire, ToolCall, ToolEnd, ToolKind, fixed_part, text, texts,
};
use super::{
    Adapter, AdapterError, GaugeStyle, Ground, Prepared, PrivateFile, Program, Runtime, brought,
    hook_command, mcp_url, refuse_links_out, refuse_reserved,
};
use crate::core::action::Place;
use crate::core::billing::Payers;
use crate::core::manifest::BuiltinClass;
use crate::core::reach::{self, Reach, enforced};
use crate::core::refusal::{Form, RefusalStyle};
use crate::core::run::HookDuty;

pub(super) const ADAPTER: Adapter = Adapter {
    name: "qwen",
    summary: "Qwen Code",
    program: Some(Program {
        binary: "qwen",
        minimum: "0.24.4",
        tested: Some("0.24.4"),
        install: "npm install -g @qwen-code/qwen-code",
        runtime: Some(Runtime { binary: "node", minimum: "22.0.0", install: "install Node.js 22 or newer" }),
    }),
    provider: None,
    payers: Payers::Keys,
    refusal: RefusalStyle { terminal: Form::PaymentRequiredJson, transient: Form::PaymentRequiredJson },
    hooks: HookDuty::Required,
    gauge: GaugeStyle::None,
    wire: Some(&HookWire::new(read, answer)),
    telemetry: None,
    login: None,
    // What it kept of long answers is its to read.
    own: &[("qwen/tmp", Place::Outside)],
    obeyed: &[".agents", ".mcp.json", ".qwen"],
    reach: Reach {
        read: enforced("a hook before the call"),
        edit: enforced("a hook before the call; files outside the worktree are refused"),
        shell: reach::COMMAND,
        web: enforced("by the host that it fetches from"),
        mcp: reach::MCP,
        models: reach::GATEWAY,
        nested: reach::NESTED,
        repository: enforced("a repository with settings, agents or extensions for it is refused"),
        ask_headless: enforced("the hook waits 45 s; it runs a tool whose hook took a minute"),
        ask_terminal: enforced("the hook waits 45 s; it runs a tool whose hook took a minute"),
        results: enforced("told by hooks after the call, done or failed"),
    },
    prepare,
};

/// The adapter, and the seconds that a hook waits for a decision. After 60 the client runs the tool!
const HOOK: &str = "qwen 45";
/// Seconds.
const HOOK_TIMEOUT: u32 = 60;
/// A call's worst case is reserved; more would lock small budgets out at the first call.
const MAX_OUTPUT_TOKENS: &str = "32000";
/// Used unless the manifest or the user names another.
const MODELS: &[&str] = &["gpt-6.1-sol", "claude-sonnet-5"];
/// Used where the configuration adds an endpoint that may have it.
const OWN_MODEL: &str = "qwen3-coder-plus";

/// What a repository may not bring: it runs programs, or sets any variable.
const REPOSITORY_CODE: &[&str] =
    &[".qwen/.env", ".qwen/agents", ".qwen/extensions", ".qwen/settings.json", ".qwen/settings.local.json"];

/// Variables that name a proxy, which a repository's `.env` could set.
const PROXIES: &[&str] =
    &["ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "all_proxy", "https_proxy", "http_proxy"];

/// Agents of the client's own that work inside it.
const OWN_AGENTS: &[&str] = &["Explore", "general-purpose", "review-agent", "statusline-setup"];

const RESERVED: &[&str] = &[
    "--allowed-mcp-server-names",
    "--acp",
    "--approval-mode",
    "--auth-type",
    "--bare",
    "--channel",
    "--core-tools",
    "--exclude-tools",
    "--experimental-lsp",
    "--extensions",
    "-e",
    "--fallback-model",
    "--include-directories",
    "--add-dir",
    "--insecure",
    "--mcp-config",
    "--openai-api-key",
    "--openai-base-url",
    "--proxy",
    "--safe-mode",
    "--sandbox",
    "-s",
    // This leaves the run.
    "--worktree",
];
/// Sub-commands that leave the run or change what the client is; they come first.
const COMMANDS: &[&str] = &["auth", "board", "channel", "extensions", "mcp", "sandbox", "serve", "update"];

fn prepare(ground: &Ground<'_>) -> Result<Prepared, AdapterError> {
    refuse_reserved(ground.args.get(..1).unwrap_or_default(), COMMANDS)?;
    refuse_reserved(ground.args, RESERVED)?;
    refuse_links_out(ground, &["AGENTS.md", "QWEN.md", ".agents/skills", ".qwen"])?;
    if let Some(code) = brought(ground, REPOSITORY_CODE) {
        return Err(AdapterError::RepositoryCode(code.to_string_lossy().into_owned()));
    }
    let (model, rest) = models::take_model(ground.args, &["--model", "-m"]);
    let added = ground.endpoints.iter().any(|endpoint| endpoint.wire.as_deref() == Some("openai"));
    let usual: Vec<&str> = added.then_some(OWN_MODEL).into_iter().chain(MODELS.iter().copied()).collect();
    let choice = models::choose(ground, model.as_deref(), &usual)?;
    let kind = if choice.wire == Wire::Anthropic { "anthropic" } else { "openai" };
    let mut args: Vec<String> = ["--auth-type", kind, "--model", &choice.model, "--approval-mode", "yolo"]
        .into_iter()
        .chain(["--allowed-mcp-server-names=agentsup", "--exclude-tools=skill"])
        .map(str::to_owned)
        .collect();
    args.extend(rest);
    let file = |path: &str, content: Value| PrivateFile { path: path.into(), content: content.to_string() };
    let files = vec![
        file("qwen-system.json", settings(ground, &choice, kind)),
        file("qwen/settings.json", json!({})),
    ];
    Ok(Prepared {
        program: "qwen".to_owned(),
        args,
        env: environment(ground, &choice),
        files,
        ..Prepared::default()
    })
}

fn environment(ground: &Ground<'_>, choice: &Choice) -> Vec<(String, String)> {
    let path = |name: &str| ground.dir.join(name).to_string_lossy().into_owned();
    let door = format!("{}/llm/{}", ground.origin, choice.endpoint);
    let address = match choice.wire {
        Wire::Anthropic => ("ANTHROPIC_BASE_URL", door),
        Wire::OpenAi | Wire::Compatible => ("OPENAI_BASE_URL", format!("{door}/v1")),
    };
    [
        address,
        ("ANTHROPIC_API_KEY", ground.token.to_owned()),
        ("OPENAI_API_KEY", ground.token.to_owned()),
        ("QWEN_HOME", path("qwen")),
        ("QWEN_CODE_SYSTEM_SETTINGS_PATH", path("qwen-system.json")),
        ("QWEN_CODE_SYSTEM_DEFAULTS_PATH", path("qwen-defaults.json")),
        ("QWEN_CODE_MAX_OUTPUT_TOKENS", MAX_OUTPUT_TOKENS.to_owned()),
        ("QWEN_CODE_NO_RELAUNCH", "true".to_owned()),
        ("QWEN_CODE_SUPPRESS_YOLO_WARNING", "1".to_owned()),
        // A repository's `.env` sets what is not set: these would leave the hooks out.
        ("QWEN_CODE_SAFE_MODE", "0".to_owned()),
        ("QWEN_CODE_SIMPLE", "0".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

fn settings(ground: &Ground<'_>, choice: &Choice, kind: &str) -> Value {
    let command = hook_command(ground, HOOK);
    let asked = json!([{ "matcher": "*", "hooks": [{ "type": "command", "command": command, "timeout": HOOK_TIMEOUT }] }]);
    json!({
        "advanced": { "excludedEnvVars": PROXIES },
        "disableAllHooks": false,
        "env": {},
        "general": { "enableAutoUpdate": false },
        // It would cost a model call after each answer, and be gone with the run.
        "memory": { "enableManagedAutoDream": false, "enableManagedAutoMemory": false },
        "mcp": { "allowed": ["agentsup"] },
        // The variable is expanded by the client, so that the token does not lie in a file.
        "mcpServers": { "agentsup": {
            "httpUrl": mcp_url(ground),
            "headers": { "Authorization": "Bearer $AGENTSUP_RUN_TOKEN" },
            "trust": true,
        } },
        "model": { "name": choice.model },
        "modelProviders": {},
        "privacy": { "usageStatisticsEnabled": false },
        "proxy": "",
        "security": { "auth": { "selectedType": kind }, "folderTrust": { "enabled": false } },
        "telemetry": { "enabled": false },
        "tools": { "callCommand": "", "discoveryCommand": "" },
        "hooks": {
            "SessionStart": asked,
            "UserPromptSubmit": asked,
            "PreToolUse": asked,
            "PostToolUse": asked,
            "PostToolUseFailure": asked,
        },
    })
}

fn read(message: &Value) -> Result<HookCall, HookError> {
    match text(message, "hook_event_name")? {
        "SessionStart" | "UserPromptSubmit" => Ok(HookCall::Announced),
        "PreToolUse" => call(message).map(HookCall::Before),
        "PostToolUse" => after(message, ToolEnd::Done),
        "PostToolUseFailure" => after(message, ToolEnd::Failed),
        _ => Ok(HookCall::Other),
    }
}

fn after(message: &Value, status: ToolEnd) -> Result<HookCall, HookError> {
    Ok(HookCall::After { call_id: text(message, "tool_use_id")?.to_owned(), status })
}

fn call(message: &Value) -> Result<ToolCall, HookError> {
    let tool = text(message, "tool_name")?;
    let input = message.get("tool_input").ok_or(HookError("tool_input"))?;
    let mut paths = texts(input, &["file_path", "path", "absolute_path", "notebook_path", "directory"]);
    if tool == "glob" {
        paths.extend(input.get("pattern").and_then(Value::as_str).map(fixed_part));
    }
    // Where a command says that it runs.
    let directory = input.get("directory").or_else(|| message.get("cwd"));
    Ok(ToolCall {
        tool: tool.to_owned(),
        class: kind(tool, input),
        call_id: message.get("tool_use_id").and_then(Value::as_str).map(str::to_owned),
        cwd: directory.and_then(Value::as_str).map(str::to_owned),
        paths,
        urls: texts(input, &["url"]),
        command: input.get("command").and_then(Value::as_str).map(str::to_owned),
        args: input.clone(),
    })
}

fn kind(tool: &str, input: &Value) -> ToolKind {
    use BuiltinClass::{Edit, Other, Read, Shell, Web};
    if tool.starts_with("mcp__agentsup__") {
        return ToolKind::Proxied;
    }
    if tool.starts_with("mcp__") {
        return ToolKind::Foreign;
    }
    match tool {
        "read_file" | "glob" | "grep_search" | "list_directory" => ToolKind::Builtin(Read),
        "edit" | "write_file" | "notebook_edit" => ToolKind::Builtin(Edit),
        "run_shell_command" | "monitor" => ToolKind::Builtin(Shell),
        "web_fetch" | "web_search" => ToolKind::Builtin(Web),
        // It may bring hooks, which run programs; the model is not offered it.
        "skill" | "lsp" => ToolKind::Foreign,
        // Others may bring servers and hooks, or are another program.
        "agent" => match text(input, "subagent_type") {
            Ok(agent) if !OWN_AGENTS.contains(&agent) => ToolKind::Foreign,
            _ => ToolKind::Conversation,
        },
        "ask_user_question" | "enter_plan_mode" | "exit_plan_mode" | "get_goal" | "list_agents"
        | "send_message" | "task_stop" | "todo_write" | "tool_search" | "update_goal" => {
            ToolKind::Conversation
        }
        _ => ToolKind::Builtin(Other),
    }
}

/// An allowance is silence.
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
    use crate::agents::models::Endpoint;
    use crate::agents::tests::ground;

    fn read_call(tool: &str, input: Value) -> ToolCall {
        let message = json!({
            "hook_event_name": "PreToolUse", "cwd": "/w", "tool_name": tool, "tool_input": input, "tool_use_id": "t",
        });
        match read(&message) {
            Ok(HookCall::Before(call)) => call,
            other => panic!("not a call: {other:?}"),
        }
    }

    #[test]
    fn a_call_is_read_with_what_it_touches() {
        let call = read_call("run_shell_command", json!({ "command": "ls", "directory": "/home/u/.ssh" }));
        assert_eq!(
            (call.class, call.command.as_deref(), call.cwd.as_deref(), call.call_id.as_deref()),
            (ToolKind::Builtin(BuiltinClass::Shell), Some("ls"), Some("/home/u/.ssh"), Some("t"))
        );
        assert_eq!(read_call("glob", json!({ "pattern": "/etc/*.conf" })).paths, ["/etc/"]);
        assert_eq!(read_call("edit", json!({ "file_path": "/w/a" })).paths, ["/w/a"]);
        assert_eq!(
            read(&json!({ "hook_event_name": "PreToolUse", "tool_name": "edit" })),
            Err(HookError("tool_input"))
        );
    }

    #[test]
    fn servers_agents_and_tools_that_are_not_known_are_not_harmless() {
        let agent = |name: &str| kind("agent", &json!({ "subagent_type": name }));
        assert_eq!((agent("Explore"), agent("claude-code")), (ToolKind::Conversation, ToolKind::Foreign));
        let none = json!({});
        assert_eq!(kind("mcp__agentsup__notes_echo", &none), ToolKind::Proxied);
        assert_eq!(kind("mcp__evil__run", &none), ToolKind::Foreign);
        assert_eq!(kind("skill", &none), ToolKind::Foreign);
        assert_eq!(kind("launch_rocket", &none), ToolKind::Builtin(BuiltinClass::Other));
    }

    #[test]
    fn the_model_decides_where_it_is_asked() {
        let endpoints = [Endpoint { name: "dashscope".into(), wire: Some("openai".into()) }];
        let of = |text: &str| {
            let args: Vec<String> = text.split(' ').map(str::to_owned).collect();
            let ground = Ground { endpoints: &endpoints, ..ground(&args) };
            let prepared = prepare(&ground).unwrap();
            let door = prepared.env.first().unwrap().clone();
            format!("{} {} {}", prepared.args[1], door.0, door.1)
        };
        let compatible = "openai OPENAI_BASE_URL http://127.0.0.1:4100/llm/dashscope/v1";
        assert_eq!(of("-p x"), compatible);
        assert_eq!(of("-p x -m dashscope/glm-5"), compatible);
        assert_eq!(of("-p x -m gpt-5"), "openai OPENAI_BASE_URL http://127.0.0.1:4100/llm/openai/v1");
        let claude = "anthropic ANTHROPIC_BASE_URL http://127.0.0.1:4100/llm/anthropic";
        assert_eq!(of("--model=claude-opus-5-5 x"), claude);
    }

    #[test]
    fn what_would_undo_the_gate_cannot_be_said() {
        for text in
            ["-p x --safe-mode", "--bare", "--mcp-config={}", "serve", "-e evil", "x --proxy http://x"]
        {
            let args: Vec<String> = text.split(' ').map(str::to_owned).collect();
            assert!(matches!(prepare(&ground(&args)), Err(AdapterError::ReservedArgument(_))), "{text}");
        }
    }

    #[test]
    fn a_repository_that_brings_settings_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let worktree = dir.path();
        let prepared = || prepare(&Ground { worktree, cwd: worktree, ..ground(&[]) });
        assert!(prepared().is_ok());
        std::fs::create_dir(worktree.join(".qwen")).unwrap();
        std::fs::write(worktree.join(".qwen/settings.json"), "{}").unwrap();
        assert_eq!(prepared(), Err(AdapterError::RepositoryCode(".qwen/settings.json".into())));
    }
}
