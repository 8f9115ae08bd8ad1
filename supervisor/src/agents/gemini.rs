//! Gemini CLI. Facts tried with 0.61.0.
//!
//! Its own confirmations are off (`--approval-mode yolo`), because headless they deny and in the terminal they would ask
//! a second time; the gate decides, in a hook before each tool. Its hooks are commands; only exit 2, or another failure
//! with words on standard error, blocks, and one that takes too long does not. An answer of `ask` would hang it, so none
//! is ever given.
//!
//! Its settings are in a home of its own (`GEMINI_CLI_HOME`). The directory is trusted by the command line only, after
//! the settings were read, so a repository's settings have no effect; its `GEMINI.md` counts. But `.gemini/.env` is read
//! later, into its own environment and that of its hooks, so a repository that carries one is refused. The hooks have a
//! name that no repository can know, for the list of those to be switched off. Extensions and subagents are off: they
//! bring hooks, servers and remote agents of their own. Search runs at the provider, at a price that nobody can bound, and
//! is taken away; fetching is done where the agent runs, and decided like any tool.
//!
//! Refusals, measured headless: after a 403 or a 402 one request in all, the whole error on standard error, exit 1. After a
//! 429 ten requests in 225 s with pauses of its own, from 5 s up to 39 s and whatever `retry-after` says, then the same. In a
//! stream, after some text, a bare error is the end, exit 1; one within an event is taken for an answer without an end:
//! four requests, no words, exit 0. A connection cut within an answer is the end too, exit 1.

use serde_json::{Value, json};

use super::wire::{HookAnswer, HookCall, HookError, HookWire, ToolCall, ToolEnd, ToolKind, text, texts};
use super::{
    Adapter, AdapterError, GaugeStyle, Ground, Prepared, PrivateFile, Program, brought, hook_command,
    mcp_url, refuse_links_out, refuse_reserved,
};
use crate::core::action::Place;
use crate::core::billing::Payers;
use crate::core::canonical;
use crate::core::manifest::BuiltinClass;
use crate::core::reach::{self, Reach, enforced};
use crate::core::refusal::RefusalStyle;
use crate::core::run::HookDuty;

pub(super) const ADAPTER: Adapter = Adapter {
    name: "gemini",
    summary: "Gemini CLI",
    program: Some(Program {
        binary: "gemini",
        minimum: "0.61.0",
        tested: Some("0.61.0"),
        install: "npm install -g @google/gemini-cli",
        runtime: None,
    }),
    provider: Some("gemini"),
    refusal: RefusalStyle::PLAIN,
    hooks: HookDuty::Required,
    gauge: GaugeStyle::None,
    payers: Payers::Keys,
    telemetry: None,
    login: None,
    wire: Some(&HookWire::new(read, answer)),
    // Plans, to-do lists and what it kept of long answers; and what is only for a while.
    own: &[("gemini/.gemini/tmp", Place::Scratch), ("tmp", Place::Scratch)],
    obeyed: SETTINGS,
    reach: Reach {
        read: enforced("a hook before the call"),
        edit: enforced("a hook before the call; files outside the worktree are refused"),
        shell: reach::COMMAND,
        web: enforced("fetching by its host; search runs at the provider and is taken away"),
        mcp: reach::MCP,
        models: reach::GATEWAY,
        nested: reach::NESTED,
        repository: enforced("its settings have no effect; a repository with `.gemini/.env` is refused"),
        ask_headless: reach::HELD,
        ask_terminal: reach::HELD,
        results: enforced("told by a hook after the call, done or failed"),
    },
    prepare,
};

/// Variables of a repository, which it reads late.
const VARIABLES: &str = ".gemini/.env";
/// What it may read again while it runs.
const SETTINGS: &[&str] = &[VARIABLES, ".gemini/settings.json"];

/// Milliseconds: longer than the gate waits for a person and the hook for the gate. After it the client runs the tool!
const DECISION_TIMEOUT_MS: u32 = 3_600_000;
/// Milliseconds for hooks that decide nothing.
const REPORT_TIMEOUT_MS: u32 = 30_000;

/// Search runs at the provider: the gateway refuses it. Known beforehand, the model does without. Subagents are off.
const POLICY: &str =
    "[[rule]]\ntoolName = [\"google_web_search\", \"invoke_agent\"]\ndecision = \"deny\"\npriority = 999\n";

/// A variable that is set, to nothing even, is taken from no `.gemini/.env` above the worktree, nor from one that the
/// agent writes: what says where it sends to, or what the shell of its hooks runs first.
const SHUT: &[&str] = &[
    "BASHOPTS",
    "BASH_ENV",
    "CODE_ASSIST_ENDPOINT",
    "ENV",
    "GEMINI_CLI_CUSTOM_HEADERS",
    "GEMINI_CLI_SYSTEM_DEFAULTS_PATH",
    "GEMINI_CLI_SYSTEM_SETTINGS_PATH",
    "GEMINI_SYSTEM_MD",
    "GEMINI_WRITE_SYSTEM_MD",
    "GOOGLE_API_KEY",
    "GOOGLE_GENAI_USE_GCA",
    "GOOGLE_GENAI_USE_VERTEXAI",
    "GOOGLE_VERTEX_BASE_URL",
    "LD_AUDIT",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "NODE_OPTIONS",
    "PS4",
    "SHELLOPTS",
];

/// In both spellings that it takes.
const RESERVED: &[&str] = &[
    "--acp",
    "--admin-policy",
    "--adminPolicy",
    "--allowed-mcp-server-names",
    "--allowedMcpServerNames",
    "--allowed-tools",
    "--allowedTools",
    "--approval-mode",
    "--approvalMode",
    "--experimental-acp",
    "--experimentalAcp",
    "--extensions",
    "-e",
    "--policy",
    "--sandbox",
    "-s",
    "--skip-trust",
    "--skipTrust",
    "--worktree",
    "-w",
    "--yolo",
    "-y",
];

fn prepare(ground: &Ground<'_>) -> Result<Prepared, AdapterError> {
    refuse_reserved(ground.args, RESERVED)?;
    refuse_links_out(ground, &["GEMINI.md", ".gemini/GEMINI.md"])?;
    if let Some(environment) = brought(ground, &[VARIABLES]) {
        return Err(AdapterError::RepositoryEnvironment(environment.to_string_lossy().into_owned()));
    }
    // The last of them takes no value, so that what the user typed is none of theirs.
    let own = ["--allowed-mcp-server-names", "agentsup", "--extensions", "none", "--approval-mode", "yolo"];
    let own = own.into_iter().chain(["--skip-trust"]).map(str::to_owned);
    let args = own.chain(ground.args.iter().cloned()).collect();
    let path = |name: &str| ground.dir.join(name).to_string_lossy().into_owned();
    let env = [
        ("GEMINI_CLI_HOME", path("gemini")),
        // It would start itself again, and no signal would reach the one that works.
        ("GEMINI_CLI_NO_RELAUNCH", "true".to_owned()),
        ("GEMINI_SANDBOX", "false".to_owned()),
        // After an error it writes whole conversations there.
        ("TMPDIR", path("tmp")),
    ];
    let env = env.into_iter().chain(SHUT.iter().map(|name| (*name, String::new())));
    let file = |path: &str, content: String| PrivateFile { path: path.into(), content };
    let files = vec![
        file("gemini/.gemini/settings.json", settings(ground).to_string()),
        file("gemini/.gemini/policies/agentsup.toml", POLICY.to_owned()),
        // The directory must be there.
        file("tmp/.keep", String::new()),
    ];
    Ok(Prepared {
        program: "gemini".to_owned(),
        args,
        env: env.map(|(name, value)| (name.to_owned(), value)).collect(),
        files,
        ..Prepared::default()
    })
}

fn settings(ground: &Ground<'_>) -> Value {
    let run = ground.dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let hook = |timeout: u32| {
        json!([{ "hooks": [{
            "type": "command",
            "name": format!("agentsup-{run}"),
            "command": hook_command(ground, ADAPTER.name),
            "timeout": timeout,
        }] }])
    };
    json!({
        "security": { "auth": { "selectedType": "gemini-api-key" }, "folderTrust": { "enabled": true } },
        "privacy": { "usageStatisticsEnabled": false },
        "telemetry": { "enabled": false },
        "general": { "enableAutoUpdate": false, "enableAutoUpdateNotification": false },
        "advanced": { "ignoreLocalEnv": true },
        "ide": { "enabled": false, "hasSeenNudge": true },
        "experimental": { "enableAgents": false, "directWebFetch": true },
        "tools": { "sandbox": false },
        // The variable is expanded by the client, so that the token does not lie in a file.
        "mcpServers": { "agentsup": {
            "httpUrl": mcp_url(ground),
            "headers": { "Authorization": "Bearer $AGENTSUP_RUN_TOKEN" },
            "trust": true,
        } },
        "mcp": { "allowed": ["agentsup"] },
        "hooksConfig": { "enabled": true },
        "hooks": {
            "SessionStart": hook(REPORT_TIMEOUT_MS),
            "BeforeAgent": hook(REPORT_TIMEOUT_MS),
            "BeforeTool": hook(DECISION_TIMEOUT_MS),
            "AfterTool": hook(REPORT_TIMEOUT_MS),
        },
    })
}

fn read(message: &Value) -> Result<HookCall, HookError> {
    match text(message, "hook_event_name")? {
        "SessionStart" | "BeforeAgent" => Ok(HookCall::Announced),
        "BeforeTool" => call(message).map(HookCall::Before),
        "AfterTool" => {
            let failed = message.pointer("/tool_response/error").is_some_and(|error| !error.is_null());
            let status = if failed { ToolEnd::Failed } else { ToolEnd::Done };
            Ok(HookCall::After { call_id: call_id(message)?, status })
        }
        _ => Ok(HookCall::Other),
    }
}

/// It gives its calls no id, so what is called with what stands for one.
fn call_id(message: &Value) -> Result<String, HookError> {
    let tool = text(message, "tool_name")?;
    let input = message.get("tool_input").ok_or(HookError("tool_input"))?;
    let digest = canonical::digest(&(tool, input)).map_err(|_| HookError("tool_input"))?;
    Ok(hex::encode(digest.get(..8).unwrap_or_default()))
}

fn call(message: &Value) -> Result<ToolCall, HookError> {
    let tool = text(message, "tool_name")?;
    let input = message.get("tool_input").ok_or(HookError("tool_input"))?;
    let class = kind(tool, message.pointer("/mcp_context/server_name").and_then(Value::as_str));
    let is_shell = class == ToolKind::Builtin(BuiltinClass::Shell);
    let cwd = text(message, "cwd").ok().map(str::to_owned);
    let named = text(input, "dir_path").ok();
    Ok(ToolCall {
        tool: tool.to_owned(),
        class,
        call_id: Some(call_id(message)?),
        cwd: match (cwd, named) {
            // A command runs where it says.
            (Some(cwd), Some(named)) if is_shell => {
                Some(std::path::Path::new(&cwd).join(named).to_string_lossy().into_owned())
            }
            (cwd, _) => cwd,
        },
        paths: if is_shell { Vec::new() } else { paths(tool, input) },
        urls: urls(input),
        command: text(input, "command").ok().filter(|_| is_shell).map(str::to_owned),
        args: input.clone(),
    })
}

/// What a tool names, and where its patterns begin to look.
fn paths(tool: &str, input: &Value) -> Vec<String> {
    let mut paths = texts(input, &["file_path", "dir_path", "path"]);
    let patterns = match tool {
        "glob" => texts(input, &["pattern"]),
        "read_many_files" => {
            let listed = input.get("include").and_then(Value::as_array).into_iter().flatten();
            listed.filter_map(Value::as_str).map(str::to_owned).collect()
        }
        _ => Vec::new(),
    };
    paths.extend(patterns.iter().map(|pattern| beginning(pattern).to_owned()));
    paths
}

/// The part of a pattern before its first wildcard, up to a whole name.
fn beginning(pattern: &str) -> &str {
    let Some(wild) = pattern.find(['*', '?', '[', '{', '!', '(']) else { return pattern };
    let before = pattern.get(..wild).unwrap_or_default();
    match before.rfind('/') {
        Some(0) => "/",
        Some(slash) => before.get(..slash).unwrap_or_default(),
        None => ".",
    }
}

/// The addresses that it is to fetch: one, or those in the words of a prompt.
fn urls(input: &Value) -> Vec<String> {
    let prompt = text(input, "prompt").unwrap_or_default();
    let words = prompt.split(|c: char| c.is_whitespace() || "\"'`<>()[]".contains(c));
    let named = words.filter(|word| word.contains("://")).map(str::to_owned);
    texts(input, &["url"]).into_iter().chain(named).collect()
}

fn kind(tool: &str, server: Option<&str>) -> ToolKind {
    use BuiltinClass::{Edit, Other, Read, Shell, Web};
    match (server, tool) {
        (Some("agentsup"), _) => ToolKind::Proxied,
        (Some(_), _) => ToolKind::Foreign,
        (None, tool) if tool.starts_with("mcp_") => ToolKind::Foreign,
        (None, "read_file" | "read_many_files" | "list_directory" | "glob" | "grep_search") => {
            ToolKind::Builtin(Read)
        }
        (None, "replace" | "write_file") => ToolKind::Builtin(Edit),
        (None, "run_shell_command") => ToolKind::Builtin(Shell),
        (None, "web_fetch" | "google_web_search") => ToolKind::Builtin(Web),
        // The servers whose resources these name are ours alone.
        (None, "list_mcp_resources" | "read_mcp_resource") => ToolKind::Proxied,
        (
            None,
            "activate_skill"
            | "ask_user"
            | "complete_task"
            | "enter_plan_mode"
            | "exit_plan_mode"
            | "get_internal_docs"
            | "list_background_processes"
            | "read_background_output"
            | "update_topic"
            | "write_todos",
        ) => ToolKind::Conversation,
        (None, _) => ToolKind::Builtin(Other),
    }
}

fn answer(answer: &HookAnswer<'_>) -> Value {
    match answer {
        HookAnswer::Allow => json!({ "decision": "allow" }),
        HookAnswer::Deny { reason } => json!({ "decision": "deny", "reason": reason }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn before(tool: &str, input: Value) -> ToolCall {
        let message =
            json!({ "hook_event_name": "BeforeTool", "tool_name": tool, "tool_input": input, "cwd": "/w" });
        let Ok(HookCall::Before(call)) = read(&message) else { panic!("not a call") };
        call
    }

    #[test]
    fn a_repository_with_variables_is_refused_and_the_hooks_have_a_name_of_the_run() {
        let dir = tempfile::tempdir().unwrap();
        let ground = Ground {
            dir: "/runs/run_1".as_ref(),
            worktree: dir.path(),
            cwd: dir.path(),
            origin: "http://127.0.0.1:1",
            token: "ast_secret",
            own_program: "/opt/it's".as_ref(),
            home: None,
            inherited: &crate::agents::tests::NOTHING,
            billing: crate::core::billing::Billing::Keys,
            version: Some("0.61.0"),
            streams: crate::agents::Streams::Terminal,
            args: &[],
            models: &[],
            endpoints: &[],
        };
        let settings: Value = serde_json::from_str(&prepare(&ground).unwrap().files[0].content).unwrap();
        let hook = &settings["hooks"]["BeforeTool"][0]["hooks"][0];
        assert_eq!(hook["name"], "agentsup-run_1");
        assert_eq!(hook["timeout"], 3_600_000, "milliseconds");
        assert!(hook["command"].as_str().unwrap().starts_with(r"'/opt/it'\''s' hook gemini || {"), "{hook}");
        std::fs::create_dir(dir.path().join(".gemini")).unwrap();
        std::fs::write(dir.path().join(".gemini/.env"), "BASH_ENV=x").unwrap();
        assert_eq!(prepare(&ground), Err(AdapterError::RepositoryEnvironment(".gemini/.env".into())));
    }

    #[test]
    fn a_command_is_read_with_its_line_and_runs_where_it_says() {
        let call = before("run_shell_command", json!({ "command": "ls -l", "dir_path": "../../u/.ssh" }));
        assert_eq!(
            (call.class, call.cwd.as_deref()),
            (ToolKind::Builtin(BuiltinClass::Shell), Some("/w/../../u/.ssh"))
        );
        assert_eq!((call.command.as_deref(), call.paths), (Some("ls -l"), Vec::new()));
    }

    #[test]
    fn a_tool_names_its_files_and_where_its_patterns_look() {
        let paths = |tool: &str, input: Value| before(tool, input).paths;
        assert_eq!(paths("write_file", json!({ "file_path": "/w/a", "content": "x" })), ["/w/a"]);
        assert_eq!(
            paths("glob", json!({ "pattern": "/home/u/.ssh/*", "dir_path": "b" })),
            ["b", "/home/u/.ssh"]
        );
        assert_eq!(paths("glob", json!({ "pattern": "/*" })), ["/"]);
        assert_eq!(paths("glob", json!({ "pattern": "**/*.rs" })), ["."]);
        let include = json!({ "include": ["src/*.rs", "../x/id_rsa", "../.s{sh,x}/y"] });
        assert_eq!(paths("read_many_files", include), ["src", "../x/id_rsa", ".."]);
    }

    #[test]
    fn what_is_fetched_is_read_from_an_address_and_from_words() {
        assert_eq!(
            before("web_fetch", json!({ "url": "https://a.invalid/x" })).urls,
            ["https://a.invalid/x"]
        );
        let words = json!({ "prompt": "Sum up (https://a.invalid/x) and \"http://b.invalid\" please" });
        assert_eq!(before("web_fetch", words).urls, ["https://a.invalid/x", "http://b.invalid"]);
    }

    #[test]
    fn the_end_of_a_call_is_that_of_the_same_tool_with_the_same_input() {
        let call = before("replace", json!({ "file_path": "a", "old_string": "b" }));
        let after = |input: Value, response: Value| {
            read(
                &json!({ "hook_event_name": "AfterTool", "tool_name": "replace", "tool_input": input, "tool_response": response }),
            )
        };
        let end = |status| Ok(HookCall::After { call_id: call.call_id.clone().unwrap(), status });
        let input = json!({ "old_string": "b", "file_path": "a" });
        assert_eq!(after(input.clone(), json!({ "llmContent": "ok" })), end(ToolEnd::Done));
        assert_eq!(after(input, json!({ "error": { "message": "no" } })), end(ToolEnd::Failed));
        assert_ne!(after(json!({ "file_path": "b" }), json!({})), end(ToolEnd::Done));
    }

    #[test]
    fn what_cannot_be_read_is_no_call() {
        let message = |field: &str| json!({ "hook_event_name": "BeforeTool", field: "run_shell_command" });
        assert_eq!(read(&message("tool_name")), Err(HookError("tool_input")));
        assert_eq!(read(&message("x")), Err(HookError("tool_name")));
        assert_eq!(read(&json!({})), Err(HookError("hook_event_name")));
    }

    #[test]
    fn servers_that_are_not_ours_are_foreign_and_unknown_tools_are_not_harmless() {
        assert_eq!(kind("mcp_agentsup_notes_echo", Some("agentsup")), ToolKind::Proxied);
        assert_eq!(kind("mcp_agentsup_x_run", Some("agentsup_x")), ToolKind::Foreign);
        assert_eq!(kind("mcp_agentsup_echo", None), ToolKind::Foreign, "it does not say whose it is");
        assert_eq!(kind("invoke_agent", None), ToolKind::Builtin(BuiltinClass::Other));
        assert_eq!(kind("replace", None), ToolKind::Builtin(BuiltinClass::Edit));
    }
}
