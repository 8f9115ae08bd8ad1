//! Cursor CLI, on the user's own login. **Built against what is published, never tried with the real program**: Cursor's
//! pages on hooks and on its command line, the package `@cursor/sdk` 1.0.32, which has the same runtime, and what others
//! measured with `cursor-agent` 2026.09.10 and 2026.09.23.
//!
//! Its models are called at Cursor, in a protocol of its own and paid by its user's plan: nothing of that can pass the
//! gateway. So it is metered after the fact, at list prices, and not enforced. What gates its tools and meters its turns
//! are its hooks:
//!
//! - `preToolUse` comes before every tool, MCP's included, of subagents too. With `failClosed` a program that is not there,
//!   any exit code, silence, what is no JSON and the time running out all deny; so does exit 2.
//! - `sessionStart` and `beforeSubmitPrompt` may refuse with `continue: false`. `stop` ends a turn and counts its tokens.
//! - **Headless, neither `beforeSubmitPrompt` nor `stop` comes.** There the session's start stands for the prompt, and the
//!   turn is counted by the last line of what it prints: so it prints into `agentsup relay`. Cached tokens are not among
//!   the input: such lines have more of those than of these.
//! - One unknown event voids the whole file, silently. The message comes as a here-document behind the command, which must
//!   therefore be one simple command; one with a URL in it was not run.
//!
//! Hooks, servers and settings are read from `.cursor` and `.claude` in its home directory and in the repository, with no
//! variable to move them, and all of them count. Therefore a run has a home directory of its own that links to everything
//! else in the user's, where the login lies too (`~/.config/cursor`, or the keychain below `~/Library`): it is neither read
//! nor copied. A repository that brings such files is refused.
//!
//! Tried with that package's own local agent, up to the first request for a model: it read such a file in such a home
//! directory, called the hooks with its own environment, and made no such request after `continue: false`, exit 2 or a
//! program that was not there. What an account or a team has at Cursor (plugins with hooks and servers) comes from there
//! and counts as well: such servers' tools are denied.
//!
//! Unknown: whether a turn's count includes its subagents', and whether it is there for a turn that was broken off.

use serde_json::{Value, json};

use super::wire::{
    HookAnswer, HookCall, HookError, HookWire, Spent, TOKENS_MAX, Telemetry, ToolCall, ToolEnd, ToolKind,
    fixed_part, patched, text, texts,
};
use super::{
    Adapter, AdapterError, GaugeStyle, Ground, Prepared, PrivateFile, Program, Streams, brought, home_links,
    mcp_url, refuse_links_out, refuse_reserved,
};
use crate::core::action::Place;
use crate::core::billing::Payers;
use crate::core::manifest::BuiltinClass;
use crate::core::reach::{self, Reach, enforced, neither, observed};
use crate::core::refusal::RefusalStyle;
use crate::core::run::HookDuty;
use crate::core::usage::Usage;

mod prices;

pub(super) const ADAPTER: Adapter = Adapter {
    name: "cursor",
    summary: "Cursor CLI, on your own login: metered, not enforced",
    program: Some(Program {
        binary: "cursor-agent",
        minimum: "2026.09.10",
        tested: None,
        install: "curl https://cursor.com/install -fsS | bash, then cursor-agent login",
        runtime: None,
    }),
    provider: None,
    refusal: RefusalStyle::PLAIN,
    hooks: HookDuty::Required,
    gauge: GaugeStyle::None,
    payers: Payers::Subscription,
    telemetry: Some(Telemetry {
        provider: "cursor",
        events: None,
        untold_tools_max: UNTOLD_TOOLS_MAX,
        unlisted: Some("cursor/default"),
    }),
    login: None,
    wire: Some(&HookWire { read, answer, prompt, silence: b"{}" }),
    // What it keeps of long answers, of terminals and of the conversation is its to read, plans are its to write.
    own: &[("home/.cursor/projects", Place::Outside), ("home/.cursor/plans", Place::Scratch)],
    obeyed: SETTINGS,
    reach: Reach {
        read: enforced("a hook before the call, failing closed; never tried with the real program"),
        edit: enforced("likewise"),
        shell: enforced("likewise; the command line is decided as a shell reads it"),
        web: neither("fetching is asked about, but its web search and its index run at Cursor"),
        mcp: enforced("likewise; a tool of a server that is not ours is denied"),
        models: observed("called at Cursor on your login; counted after each turn, at list prices"),
        nested: reach::NESTED,
        repository: enforced("a repository with hooks, servers or settings for it is refused"),
        ask_headless: enforced("the hook waits for the answer"),
        ask_terminal: enforced(
            "the hook waits for the answer, but hooks that do not load go unnoticed there",
        ),
        results: observed("told by hooks after the call; never tried with the real program"),
    },
    prepare,
};

/// It tells what it used once in a turn, and a turn may be long.
const UNTOLD_TOOLS_MAX: u32 = 200;
/// Seconds: longer than the gate waits for a person and the hook for the gate. It takes no longer time without a warning.
const DECISION_TIMEOUT: u32 = 3600;
/// Seconds for hooks that wait for nobody.
const REPORT_TIMEOUT: u32 = 60;

/// What of a home directory it obeys: a run has its own.
const MASKED: &[&str] = &[".claude", ".cursor"];

/// What of a repository it obeys, beside our hooks: hooks, servers, and plugins that bring both.
const SETTINGS: &[&str] = &[
    ".claude/settings.json",
    ".claude/settings.local.json",
    ".cursor/hooks.json",
    ".cursor/mcp.json",
    ".cursor/settings.json",
];

const INSTRUCTIONS: &[&str] = &[
    "AGENTS.md",
    "CLAUDE.md",
    ".agents/skills",
    ".claude/agents",
    ".claude/commands",
    ".claude/skills",
    ".cursor/agents",
    ".cursor/commands",
    ".cursor/rules",
    ".cursor/skills",
    ".cursorrules",
    ".grok/agents",
];

const RESERVED: &[&str] = &[
    // The login is the user's, in their own terminal.
    "--api-key",
    "--auth-token",
    // Servers of any directory above would be started.
    "--approve-mcps",
    "--plugin-dir",
    "--workspace",
    // These leave the run.
    "--cloud",
    "-c",
    "--worktree",
    "--worktree-base",
    "-w",
    // Sub-commands that do, and the one whose hooks nobody has looked at.
    "acp",
    "login",
    "logout",
    "mcp",
    "plugin",
    "update",
    "upgrade",
    "worker",
];

fn prepare(ground: &Ground<'_>) -> Result<Prepared, AdapterError> {
    refuse_reserved_words(ground.args)?;
    refuse_links_out(ground, INSTRUCTIONS)?;
    if let Some(code) = brought(ground, SETTINGS) {
        return Err(AdapterError::RepositoryCode(code.to_string_lossy().into_owned()));
    }
    let file = |path: &str, content: Value| PrivateFile { path: path.into(), content: content.to_string() };
    let prepared = Prepared {
        env: vec![("HOME".to_owned(), ground.dir.join("home").to_string_lossy().into_owned())],
        files: vec![
            file("home/.cursor/hooks.json", hooks(ground)),
            file("home/.cursor/mcp.json", server(ground)),
        ],
        links: home_links(ground, MASKED),
        ..Prepared::default()
    };
    // The gate decides, so that the client itself asks nothing; what a hook denies stays denied.
    let own = |args: &[&str]| args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>();
    if ground.streams == Streams::Terminal && !ground.args.iter().any(|arg| prints(arg)) {
        let args = [own(&["--force"]), ground.args.to_vec()].concat();
        return Ok(Prepared { program: "cursor-agent".to_owned(), args, ..prepared });
    }
    let (format, rest) = take_format(ground.args);
    let model = value_of(ground.args, "--model").unwrap_or_default();
    let relay = own(&["relay", ADAPTER.name, &format, &model, "cursor-agent"]);
    let headless = own(&["--print", "--force", "--trust", "--output-format", "stream-json"]);
    let program = ground.own_program.to_string_lossy().into_owned();
    Ok(Prepared { program, args: [relay, headless, rest].concat(), ..prepared })
}

/// A sub-command comes first; elsewhere its name is a word like any other.
fn refuse_reserved_words(args: &[String]) -> Result<(), AdapterError> {
    let (options, commands): (Vec<&str>, Vec<&str>) = RESERVED.iter().partition(|name| name.starts_with('-'));
    refuse_reserved(args.get(..1).unwrap_or_default(), &commands)?;
    refuse_reserved(args, &options)
}

/// `-p`, also among other letters, or `--print`.
fn prints(arg: &str) -> bool {
    arg == "--print" || arg.strip_prefix('-').is_some_and(|rest| !rest.starts_with('-') && rest.contains('p'))
}

/// The format in which the user wants the answer, and the other arguments.
fn take_format(args: &[String]) -> (String, Vec<String>) {
    let (mut format, mut rest, mut follows) = ("text".to_owned(), Vec::new(), false);
    for arg in args {
        match arg.strip_prefix("--output-format") {
            _ if std::mem::take(&mut follows) => format.clone_from(arg),
            Some("") => follows = true,
            Some(given) if given.starts_with('=') => format = given.trim_start_matches('=').to_owned(),
            _ => rest.push(arg.clone()),
        }
    }
    (format, rest)
}

fn value_of(args: &[String], name: &str) -> Option<String> {
    let index = args.iter().position(|arg| arg.split('=').next() == Some(name))?;
    match args.get(index)?.split_once('=') {
        Some((_, value)) => Some(value.to_owned()),
        None => args.get(index + 1).cloned(),
    }
}

/// Hooks that deny when they fail. The one of a turn's end is called however often others let it go on.
fn hooks(ground: &Ground<'_>) -> Value {
    let own = ground.own_program.to_string_lossy();
    let is_plain = own.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte));
    let own = if is_plain { own.into_owned() } else { format!("'{}'", own.replace('\'', r"'\''")) };
    let asked = |timeout: u32| json!([{ "command": format!("{own} hook cursor"), "timeout": timeout, "failClosed": true }]);
    let mut stop = asked(REPORT_TIMEOUT);
    stop[0]["loop_limit"] = Value::Null;
    json!({ "version": 1, "hooks": {
        "sessionStart": asked(REPORT_TIMEOUT),
        "beforeSubmitPrompt": asked(REPORT_TIMEOUT),
        "preToolUse": asked(DECISION_TIMEOUT),
        "beforeMCPExecution": asked(REPORT_TIMEOUT),
        "postToolUse": asked(REPORT_TIMEOUT),
        "postToolUseFailure": asked(REPORT_TIMEOUT),
        "stop": stop,
    } })
}

fn server(ground: &Ground<'_>) -> Value {
    // The variable is expanded by the client, so that the token does not lie in a file.
    json!({ "mcpServers": { "agentsup": {
        "url": mcp_url(ground),
        "headers": { "Authorization": "Bearer ${env:AGENTSUP_RUN_TOKEN}" },
    } } })
}

fn read(message: &Value) -> Result<HookCall, HookError> {
    match text(message, "hook_event_name")? {
        "sessionStart" | "beforeSubmitPrompt" => Ok(HookCall::Prompt),
        "preToolUse" => call(message).map(HookCall::Before),
        "beforeMCPExecution" => served(message).map(HookCall::Before),
        "postToolUse" => after(message, ToolEnd::Done),
        "postToolUseFailure" => after(message, ToolEnd::Failed),
        "stop" => turn(message),
        "relay/acting" => Ok(HookCall::Acting),
        "relay/result" => printed(message),
        // Whatever else comes was not asked for; a permission among it must not be given unseen.
        _ => Err(HookError("hook_event_name")),
    }
}

fn after(message: &Value, status: ToolEnd) -> Result<HookCall, HookError> {
    Ok(HookCall::After { call_id: text(message, "tool_use_id")?.to_owned(), status })
}

fn call(message: &Value) -> Result<ToolCall, HookError> {
    let tool = text(message, "tool_name")?;
    let input = message.get("tool_input").ok_or(HookError("tool_input"))?;
    let class = kind(tool);
    let mut paths = texts(
        input,
        &["file_path", "path", "target_file", "target_directory", "target_notebook", "download_path"],
    );
    paths.extend(input.get("glob_pattern").and_then(Value::as_str).map(fixed_part));
    if class == ToolKind::Builtin(BuiltinClass::Edit) && paths.is_empty() {
        let patch = input.as_str().or_else(|| input.get("patch").or(input.get("input"))?.as_str());
        paths = patched(patch.unwrap_or_default());
        if paths.is_empty() {
            return Err(HookError("tool_input.file_path"));
        }
    }
    let stated = |value: &Value, field: &str| {
        value.get(field).and_then(Value::as_str).filter(|path| !path.is_empty()).map(str::to_owned)
    };
    let own = stated(input, "cwd").or_else(|| stated(input, "working_directory"));
    Ok(ToolCall {
        tool: tool.to_owned(),
        class,
        call_id: message.get("tool_use_id").and_then(Value::as_str).map(str::to_owned),
        cwd: own.or_else(|| stated(message, "cwd")),
        paths,
        urls: texts(input, &["url"]),
        command: input.get("command").and_then(Value::as_str).map(str::to_owned),
        args: input.clone(),
    })
}

/// Tools of servers are told without their server before every tool, and with it before those.
fn served(message: &Value) -> Result<ToolCall, HookError> {
    let tool = text(message, "tool_name")?;
    let of = |field| message.get(field).and_then(Value::as_str);
    let is_ours = of("url").is_some_and(|url| url.starts_with("http://127.0.0.1:") && url.ends_with("/mcp"))
        && of("mcp_server_name").is_none_or(|name| name.ends_with("agentsup"));
    Ok(ToolCall {
        tool: format!("MCP:{tool}"),
        class: if is_ours { ToolKind::Proxied } else { ToolKind::Foreign },
        call_id: None,
        cwd: None,
        paths: Vec::new(),
        urls: Vec::new(),
        command: None,
        args: message.get("tool_input").cloned().unwrap_or_default(),
    })
}

fn kind(tool: &str) -> ToolKind {
    use BuiltinClass::{Edit, Other, Read, Shell, Web};
    if tool.starts_with("MCP:") {
        // Decided by the proxy; what is not ours is denied by the hook that is told the server.
        return ToolKind::Proxied;
    }
    match tool {
        "Read" | "Grep" | "Glob" | "List" | "LS" | "ReadLints" | "SemanticSearch" => ToolKind::Builtin(Read),
        "Write" | "Edit" | "StrReplace" | "MultiEdit" | "Delete" | "ApplyPatch" | "EditNotebook" => {
            ToolKind::Builtin(Edit)
        }
        "Shell" | "WriteShellStdin" | "Await" => ToolKind::Builtin(Shell),
        "Fetch" | "WebFetch" | "WebSearch" => ToolKind::Builtin(Web),
        // A subagent's tools are asked about like any other.
        "Task" | "Subagent" | "TodoWrite" | "AskQuestion" | "CreatePlan" | "SwitchMode" => {
            ToolKind::Conversation
        }
        // They talk to servers, past the proxy where those are not ours.
        "ListMcpResources" | "FetchMcpResource" => ToolKind::Foreign,
        _ => ToolKind::Builtin(Other),
    }
}

/// The end of a turn in a terminal. The same end told twice counts once.
fn turn(message: &Value) -> Result<HookCall, HookError> {
    let call = format!("{}:{}", text(message, "conversation_id")?, text(message, "generation_id")?);
    let counts = ["input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens"];
    match used(message, counts)? {
        Some(usage) => Ok(HookCall::Spent(spent(call, message, usage))),
        None if message.get("status").and_then(Value::as_str) == Some("completed") => Ok(HookCall::Untold),
        // It was broken off, and there is no count. Many such are noticed by their tools.
        None => Ok(HookCall::Other),
    }
}

/// The last line that a headless one prints; none where it ended without.
fn printed(message: &Value) -> Result<HookCall, HookError> {
    let result = message.get("result").unwrap_or(&Value::Null);
    let counts = ["inputTokens", "outputTokens", "cacheReadTokens", "cacheWriteTokens"];
    let usage = result.get("usage").map_or(Ok(None), |usage| used(usage, counts))?;
    let Some(usage) = usage else { return Ok(HookCall::Ended(None)) };
    let request = result.get("request_id").and_then(Value::as_str).unwrap_or("printed");
    let call = format!("{}:{request}", text(result, "session_id")?);
    Ok(HookCall::Ended(Some(spent(call, message, usage))))
}

/// The four counts, in this order; none where none of them is there.
fn used(counted: &Value, names: [&'static str; 4]) -> Result<Option<Usage>, HookError> {
    let mut counts = [0; 4];
    let mut is_there = false;
    for (count, name) in counts.iter_mut().zip(names) {
        match counted.get(name) {
            None | Some(Value::Null) => {}
            Some(value) => {
                *count = value.as_u64().filter(|count| *count <= TOKENS_MAX).ok_or(HookError(name))?;
                is_there = true;
            }
        }
    }
    let [input_tokens, output_tokens, cache_read_tokens, cache_write_5m_tokens] = counts;
    let usage = Usage {
        input_tokens,
        output_tokens,
        cache_read_tokens,
        cache_write_5m_tokens,
        cache_write_1h_tokens: 0,
    };
    Ok(is_there.then_some(usage))
}

fn spent(call: String, message: &Value, usage: Usage) -> Spent {
    let named = |field| message.get(field).and_then(Value::as_str).filter(|name| !name.is_empty());
    let model = named("model_id").or_else(|| named("model")).unwrap_or("unknown");
    let listed_as = prices::listed_as(model, message.get("model_params"));
    Spent { call: Some(call), model: format!("cursor/{model}"), listed_as, usage }
}

fn answer(answer: &HookAnswer<'_>) -> Value {
    match answer {
        HookAnswer::Allow => json!({ "permission": "allow" }),
        HookAnswer::Deny { reason } => {
            json!({ "permission": "deny", "user_message": reason, "agent_message": reason })
        }
    }
}

fn prompt(answer: &HookAnswer<'_>) -> Value {
    match answer {
        HookAnswer::Allow => json!({ "continue": true }),
        HookAnswer::Deny { reason } => json!({ "continue": false, "user_message": reason }),
    }
}

#[cfg(test)]
mod tests;
