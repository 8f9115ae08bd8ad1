//! GitHub Copilot CLI, with models of the user's own provider. Facts tried with 1.0.102.
//!
//! Its offline mode with a provider of one's own sends nothing anywhere but to the gateway, and neither uses nor looks for
//! a login at GitHub. The gate decides about tools, so the client itself asks nothing (`--allow-all`). Its hooks are
//! commands: silence allows; a denial, any other exit code and a program that is not there block; **after its timeout
//! the tool runs**, which is why that is longer than the hook's own. Their messages have no id of the call.
//!
//! In a directory that is not trusted it reads nothing that a repository could undo this with, but for two things: the
//! definition of a sub-agent starts that agent's MCP servers, under a built-in agent's name too, and so does `lsp` with
//! language servers. Therefore there is no `lsp`, and where a repository defines agents no sub-agents. Headless the
//! directory is never trusted. In a terminal it exits unless the directory is trusted, and then a repository's settings
//! switch our hooks off; so there one that brings any is refused, and the agent's own tools may not write any, which
//! would count from the next `/new` on.
//!
//! Refusals, headless and in the terminal: status 402 or 400 with JSON of any wire, one request, 1 s, exit code 1, the
//! words verbatim behind the status. 401 and 403 hide the words behind advice about keys. After a 429 it comes again 5
//! times, as `retry-after` says (20 s: 6 requests in 115 s) or within 12 s, then shows the words; so after a 503, unless
//! `x-should-retry: false` ends it at once. An error event in the middle of an answer counts as passing: it asks again,
//! 5 times in 15 s unless refused for good then.

use serde_json::{Value, json};

use super::models::{self, Choice, Wire};
use super::wire::{
    HookAnswer, HookCall, HookError, HookWire, ToolCall, ToolEnd, ToolKind, fixed_part, patched, text, texts,
};
use super::{
    Adapter, AdapterError, GaugeStyle, Ground, Prepared, PrivateFile, Program, brought, hook_command,
    mcp_url, refuse_links_out, refuse_reserved,
};
use crate::core::billing::Payers;
use crate::core::canonical;
use crate::core::manifest::BuiltinClass;
use crate::core::reach::{self, Reach, enforced};
use crate::core::refusal::RefusalStyle;
use crate::core::run::HookDuty;

pub(super) const ADAPTER: Adapter = Adapter {
    name: "copilot",
    summary: "GitHub Copilot CLI, with your own provider's models",
    program: Some(Program {
        binary: "copilot",
        minimum: "1.0.102",
        tested: Some("1.0.102"),
        install: "npm install -g @github/copilot",
        runtime: None,
    }),
    provider: None,
    refusal: RefusalStyle::PLAIN,
    hooks: HookDuty::Required,
    gauge: GaugeStyle::None,
    payers: Payers::Keys,
    telemetry: None,
    login: None,
    wire: Some(&HookWire::new(read, answer)),
    own: &[],
    obeyed: SETTINGS,
    reach: Reach {
        read: enforced("a hook before the call"),
        edit: enforced("a hook before the call; files outside the worktree are refused"),
        shell: reach::COMMAND,
        web: enforced("by the host that it fetches from"),
        mcp: reach::MCP,
        models: reach::GATEWAY,
        nested: reach::NESTED,
        repository: enforced("not trusted headless; in a terminal a repository with settings is refused"),
        ask_headless: reach::HELD,
        ask_terminal: reach::HELD,
        results: enforced("told by hooks after the call, done or failed"),
    },
    prepare,
};

/// Seconds: longer than the gate waits for a person and the hook for the gate. After it the client runs the tool!
const DECISION_TIMEOUT: u32 = 3600;
/// Seconds for hooks that decide nothing.
const REPORT_TIMEOUT: u32 = 30;
/// A call's worst case is reserved; the client's own 128 000 would lock small budgets out at the first call.
const MAX_OUTPUT_TOKENS: &str = "32000";
/// Used unless the manifest or the user names another.
const MODELS: &[&str] = &["claude-sonnet-5", "gpt-6.1-sol"];

/// Where a repository's settings, hooks, servers and agents are looked for.
const SETTINGS: &[&str] = &[
    ".claude/agents",
    ".claude/settings.json",
    ".claude/settings.local.json",
    ".github/agents",
    ".github/copilot",
    ".github/extensions",
    ".github/hooks",
    ".github/mcp.json",
    ".mcp.json",
    ".vscode/mcp.json",
];
/// Those of them that define agents.
const AGENTS: &[&str] = &[".claude/agents", ".github/agents"];
/// The tools that start a sub-agent and talk to it.
const AGENT_TOOLS: &str = "task,read_agent,list_agents,write_agent";

/// Sub-agents of the client's own. A definition under another name is a repository's or the user's.
const OWN_AGENTS: &[&str] =
    &["code-review", "explore", "general-purpose", "research", "rubber-duck", "security-review", "task"];

const INSTRUCTIONS: &[&str] = &[
    "AGENTS.md",
    "CLAUDE.md",
    "GEMINI.md",
    ".agents/skills",
    ".claude/agents",
    ".claude/commands",
    ".claude/skills",
    ".github/agents",
    ".github/copilot-instructions.md",
    ".github/instructions",
    ".github/skills",
];

const RESERVED: &[&str] = &[
    "--acp",
    "--add-github-mcp-tool",
    "--add-github-mcp-toolset",
    "--additional-mcp-config",
    "--available-tools",
    "--disable-mcp-server",
    "--enable-all-github-mcp-tools",
    "--enable-mcp-server",
    "--excluded-tools",
    "--experimental",
    "--extension-sdk-path",
    "--mcp-github-auth",
    "--plugin-dir",
    "--prefer-version",
    "--trust-folder",
    // What these directories hold is trusted, and so are agents in it.
    "--add-dir",
    "--agent",
    // These leave the run.
    "-C",
    "--connect",
    "--environment-host",
    "--remote",
    "--remote-export",
    "--share-gist",
    "--worktree",
    // Sub-commands that do.
    "app",
    "login",
    "mcp",
    "plugin",
    "update",
];

fn prepare(ground: &Ground<'_>) -> Result<Prepared, AdapterError> {
    refuse_reserved_words(ground.args)?;
    refuse_links_out(ground, INSTRUCTIONS)?;
    let headless = ground.args.iter().any(|arg| arg.starts_with("--prompt") || is_short(arg, 'p'));
    if let Some(code) = brought(ground, SETTINGS).filter(|_| !headless) {
        return Err(AdapterError::RepositoryCode(code.to_string_lossy().into_owned()));
    }
    let (model, rest) = models::take_model(ground.args, &["--model"]);
    let choice = models::choose(ground, model.as_deref(), MODELS)?;
    let excluded = match brought(ground, AGENTS) {
        Some(_) => format!("--excluded-tools=lsp,{AGENT_TOOLS}"),
        None => "--excluded-tools=lsp".to_owned(),
    };
    let servers = ground.dir.join("copilot-mcp.json");
    let own = ["--allow-all", "--disable-builtin-mcps", "--disable-client-telemetry", "--no-auto-update"];
    let mut args: Vec<String> = own.into_iter().map(str::to_owned).collect();
    args.extend([excluded, "--additional-mcp-config".to_owned(), format!("@{}", servers.display())]);
    args.extend(rest);
    let trusted = if headless { Vec::new() } else { vec![ground.worktree, ground.cwd] };
    let file = |path: &str, content: Value| PrivateFile { path: path.into(), content: content.to_string() };
    let files = vec![
        file("copilot/hooks/agentsup.json", hooks(ground)),
        file("copilot/config.json", json!({ "trustedFolders": trusted })),
        file("copilot/settings.json", json!({ "banner": "never", "memory": false })),
        file("copilot-mcp.json", server(ground)),
    ];
    Ok(Prepared {
        program: "copilot".to_owned(),
        args,
        env: environment(ground, &choice),
        files,
        ..Prepared::default()
    })
}

fn is_short(arg: &str, letter: char) -> bool {
    arg.strip_prefix('-').is_some_and(|rest| rest.starts_with(letter))
}

/// A sub-command comes first; elsewhere its name is a word like any other.
fn refuse_reserved_words(args: &[String]) -> Result<(), AdapterError> {
    let (commands, options): (Vec<&str>, Vec<&str>) =
        RESERVED.iter().partition(|name| !name.starts_with('-'));
    refuse_reserved(args.get(..1).unwrap_or_default(), &commands)?;
    refuse_reserved(args, &options)
}

fn environment(ground: &Ground<'_>, choice: &Choice) -> Vec<(String, String)> {
    let door = format!("{}/llm/{}", ground.origin, choice.endpoint);
    let (kind, address, api) = match choice.wire {
        Wire::Anthropic => ("anthropic", door, None),
        Wire::OpenAi => ("openai", format!("{door}/v1"), Some("responses")),
        Wire::Compatible => ("openai", format!("{door}/v1"), Some("completions")),
    };
    let mut env = vec![
        ("COPILOT_HOME", ground.dir.join("copilot").to_string_lossy().into_owned()),
        ("COPILOT_OFFLINE", "true".to_owned()),
        ("COPILOT_AUTO_UPDATE", "false".to_owned()),
        // What a login shell would add are the user's own keys.
        ("COPILOT_DISABLE_LOGIN_SHELL_ENV", "1".to_owned()),
        ("COPILOT_PROVIDER_BASE_URL", address),
        ("COPILOT_PROVIDER_TYPE", kind.to_owned()),
        ("COPILOT_PROVIDER_BEARER_TOKEN", ground.token.to_owned()),
        ("COPILOT_PROVIDER_MAX_OUTPUT_TOKENS", MAX_OUTPUT_TOKENS.to_owned()),
        ("COPILOT_MODEL", choice.model.clone()),
    ];
    env.extend(api.map(|api| ("COPILOT_PROVIDER_WIRE_API", api.to_owned())));
    env.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// With the names of Claude Code, under which a message says what it is about.
fn hooks(ground: &Ground<'_>) -> Value {
    let asked = |timeout: u32| {
        let command = hook_command(ground, ADAPTER.name);
        json!([{ "type": "command", "command": command, "timeout": timeout }])
    };
    json!({ "version": 1, "hooks": {
        "SessionStart": asked(REPORT_TIMEOUT),
        "UserPromptSubmit": asked(REPORT_TIMEOUT),
        "PreToolUse": asked(DECISION_TIMEOUT),
        "PostToolUse": asked(REPORT_TIMEOUT),
        "PostToolUseFailure": asked(REPORT_TIMEOUT),
    } })
}

fn server(ground: &Ground<'_>) -> Value {
    // The variable is expanded by the client, so that the token does not lie in a file.
    json!({ "mcpServers": { "agentsup": {
        "type": "http",
        "url": mcp_url(ground),
        "headers": { "Authorization": "Bearer ${AGENTSUP_RUN_TOKEN}" },
        "tools": ["*"],
    } } })
}

fn read(message: &Value) -> Result<HookCall, HookError> {
    match text(message, "hook_event_name")? {
        "SessionStart" | "UserPromptSubmit" => Ok(HookCall::Announced),
        "PreToolUse" => call(message).map(HookCall::Before),
        "PostToolUse" => Ok(HookCall::After { call_id: call_id(message)?, status: ToolEnd::Done }),
        "PostToolUseFailure" => Ok(HookCall::After { call_id: call_id(message)?, status: ToolEnd::Failed }),
        _ => Ok(HookCall::Other),
    }
}

/// What a call and its end have in common. Of two calls that are the same in everything, the first end counts for the
/// second.
fn call_id(message: &Value) -> Result<String, HookError> {
    let parts = ["session_id", "tool_name", "tool_input"].map(|field| message.get(field));
    let digest = canonical::digest(&parts).map_err(|_| HookError("tool_input"))?;
    Ok(digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect())
}

fn call(message: &Value) -> Result<ToolCall, HookError> {
    let tool = text(message, "tool_name")?;
    let input = message.get("tool_input").ok_or(HookError("tool_input"))?;
    let class = kind(tool, input);
    let mut paths = texts(input, &["path", "file", "paths"]);
    paths.extend(listed(input, "paths"));
    if class == ToolKind::Builtin(BuiltinClass::Read) {
        paths.extend(input.get("pattern").and_then(Value::as_str).filter(|_| tool == "Glob").map(fixed_part));
    }
    if class == ToolKind::Builtin(BuiltinClass::Edit) && paths.is_empty() {
        // A patch is text, or has it in a field.
        let patch = input.as_str().or_else(|| input.get("input")?.as_str());
        paths = patched(patch.ok_or(HookError("tool_input.path"))?);
    }
    let command = ["command", "input"].iter().find_map(|field| input.get(field)?.as_str());
    Ok(ToolCall {
        tool: tool.to_owned(),
        class,
        call_id: Some(call_id(message)?),
        cwd: message.get("cwd").and_then(Value::as_str).map(str::to_owned),
        paths,
        urls: texts(input, &["url"]),
        command: command.filter(|_| class == ToolKind::Builtin(BuiltinClass::Shell)).map(str::to_owned),
        args: input.clone(),
    })
}

fn listed(input: &Value, field: &str) -> Vec<String> {
    let list = input.get(field).and_then(Value::as_array).into_iter().flatten();
    list.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn kind(tool: &str, input: &Value) -> ToolKind {
    use BuiltinClass::{Edit, Other, Read, Shell, Web};
    if tool.starts_with("agentsup-") {
        return ToolKind::Proxied;
    }
    match tool {
        "Read" | "Glob" | "Grep" | "view" | "glob" | "grep" | "rg" => ToolKind::Builtin(Read),
        "Edit" | "Write" | "create" | "edit" | "apply_patch" => ToolKind::Builtin(Edit),
        "Bash" | "bash" | "read_bash" | "write_bash" | "stop_bash" | "list_bash" => ToolKind::Builtin(Shell),
        "WebFetch" | "WebSearch" | "web_fetch" | "web_search" => ToolKind::Builtin(Web),
        "Agent" | "task" => match text(input, "agent_type") {
            Ok(agent) if OWN_AGENTS.contains(&agent) => ToolKind::Conversation,
            // It may bring servers, which start with it.
            _ => ToolKind::Foreign,
        },
        // `sql` is the session's own database: the client lets no other be attached.
        "AskUserQuestion"
        | "ExitPlanMode"
        | "TodoWrite"
        | "ask_user"
        | "exit_plan_mode"
        | "fetch_copilot_cli_documentation"
        | "list_agents"
        | "read_agent"
        | "report_intent"
        | "session_store_sql"
        | "skill"
        | "sql"
        | "task_complete"
        | "tool_search_tool"
        | "update_todo"
        | "write_agent" => ToolKind::Conversation,
        // It starts a repository's programs; the model is not offered it.
        "lsp" => ToolKind::Foreign,
        // Servers' tools are called `SERVER-TOOL`; none of the client's own has that sign.
        _ if tool.contains('-') => ToolKind::Foreign,
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
mod tests;
