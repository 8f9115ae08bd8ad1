//! Claude Code. Facts tried with 2.1.330; `onFailure` of hooks is honoured from 2.1.295 on, so nothing older is run.
//!
//! A repository's `.claude/` and `.mcp.json` are not read at all (`--setting-sources user`, `--strict-mcp-config`):
//! otherwise a committed file redirects every request, runs its own hooks and switches ours off. `CLAUDE.md` and
//! `.claude/rules` still load, as an additional directory; the repository's skills and agents do not, because their
//! front matter may hold hooks.
//!
//! Our hooks lie in the private configuration as the user's own settings, where a `claude` that the agent starts itself
//! finds them too, and are given on the command line as well, which beats whatever else is read. (The same hook given
//! twice is called once.) The shell of the agent has no credential in the variable that Claude Code reads, so such a
//! second one does nothing until it is given the run's token.
//!
//! Refusals, measured headless with 2.1.330: after a 402 one request in all, `API Error: 402 <message>`, exit 1. After a 429
//! with `retry-after: 20` eleven requests in 290 s, then `API Error: Request rejected (429) · <message>`, exit 1; from 120 s
//! on it does not wait but stops with those words. A 529 would be asked for three times, and its words are lost. In a
//! stream, after some text, an error event of any type: no second request, `API Error: <message>`, exit 1. A connection
//! cut within an answer: eleven requests in 150 s and more.

use serde_json::{Value, json};

use super::wire::{
    Attributes, HookAnswer, HookCall, HookError, HookWire, Spent, Telemetry, ToolCall, ToolEnd, ToolKind,
    text, texts, tokens,
};
use super::{
    Adapter, AdapterError, GaugeStyle, Ground, Prepared, PrivateFile, Program, hook_url, mcp_url,
    refuse_links_out, refuse_reserved, telemetry_url,
};
use crate::core::action::Place;
use crate::core::billing::{Billing, Payers};
use crate::core::manifest::BuiltinClass;
use crate::core::reach::{self, Reach, by_payer, enforced, neither};
use crate::core::refusal::RefusalStyle;
use crate::core::run::{HookDuty, UNTOLD_TOOLS_MAX};
use crate::core::usage::Usage;

pub(super) const ADAPTER: Adapter = Adapter {
    name: "claude",
    summary: "Claude Code",
    program: Some(Program {
        binary: "claude",
        minimum: "2.1.295",
        tested: Some("2.1.330"),
        install: "npm install -g @anthropic-ai/claude-code",
        runtime: None,
    }),
    provider: Some("anthropic"),
    refusal: RefusalStyle::PLAIN,
    hooks: HookDuty::Required,
    gauge: GaugeStyle::None,
    payers: Payers::Either,
    telemetry: Some(Telemetry {
        provider: "anthropic",
        events: Some(spent),
        untold_tools_max: UNTOLD_TOOLS_MAX,
        unlisted: None,
    }),
    login: None,
    wire: Some(&HookWire::new(read, answer)),
    // Plans are its to write; what it kept of long answers and of the conversation is its to read.
    own: &[("claude/plans", Place::Scratch), ("claude/projects", Place::Outside)],
    obeyed: &[],
    reach: Reach {
        read: enforced("a hook before the call, over HTTP, failing closed (`onFailure: block`)"),
        edit: enforced("likewise; files outside the worktree are refused"),
        shell: reach::COMMAND,
        web: enforced("WebFetch by its host; WebSearch runs at the provider and is taken away"),
        mcp: reach::MCP,
        models: by_payer(
            "through the gateway with keys; on your own login told by its telemetry, afterwards",
        ),
        nested: neither(
            "a `claude` in its shell needs the run's token to ask a model, and then asks the gate about its tools, but \
             obeys the repository's settings, which can switch that off; others' tools are not asked about",
        ),
        repository: enforced("`.claude/` and `.mcp.json` are not read; skills and agents there neither"),
        ask_headless: reach::HELD,
        ask_terminal: reach::HELD,
        results: enforced("told by hooks after the call, done or failed"),
    },
    prepare,
};

/// Seconds: longer than the gate waits for a person, so that the gate's own answer comes first.
const DECISION_TIMEOUT: u32 = 3600;
/// Seconds for hooks that decide nothing.
const REPORT_TIMEOUT: u32 = 30;
/// A call's worst case is reserved; the client's own 128 000 would lock small budgets out at the first call.
const MAX_OUTPUT_TOKENS: &str = "32000";

const RESERVED: &[&str] = &[
    "--settings",
    "--mcp-config",
    "--strict-mcp-config",
    "--setting-sources",
    "--permission-mode",
    "--dangerously-skip-permissions",
    "--allow-dangerously-skip-permissions",
    "--managed-settings",
    "--bare",
    "--safe-mode",
    "--restricted",
    // These leave the run: a session elsewhere, or a worktree of their own.
    "--background",
    "--bg",
    "--cloud",
    "--desktop",
    "--remote",
    "--teleport",
    "--tmux",
    "--worktree",
    "-w",
];

fn prepare(ground: &Ground<'_>) -> Result<Prepared, AdapterError> {
    refuse_reserved(ground.args, RESERVED)?;
    refuse_links_out(ground, &["CLAUDE.md", "CLAUDE.local.md", ".claude/CLAUDE.md", ".claude/rules"])?;
    // On a subscription the login is the user's own, where Claude Code keeps it and agentsup never looks. Of the user's
    // settings nothing else is read.
    let (sources, is_own) = match ground.billing {
        Billing::Keys => ("user", true),
        Billing::Subscription => ("", false),
    };
    let config = ground.dir.join("claude");
    let path = |name: &str| ground.dir.join(name).to_string_lossy().into_owned();
    let mut args: Vec<String> =
        ["--permission-mode", "manual", "--strict-mcp-config", "--setting-sources", sources]
            .into_iter()
            .map(str::to_owned)
            .collect();
    let worktree = ground.worktree.to_string_lossy().into_owned();
    args.extend(["--settings".to_owned(), path("claude/settings.json"), "--mcp-config".to_owned()]);
    args.extend([path("claude-mcp.json"), format!("--add-dir={worktree}")]);
    args.extend(ground.args.iter().cloned());
    let mut env = vec![
        ("CLAUDE_CODE_TMPDIR", path("tmp")),
        ("CLAUDE_CODE_ADDITIONAL_DIRECTORIES_CLAUDE_MD", "1".to_owned()),
        ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1".to_owned()),
        ("CLAUDE_CODE_DISABLE_OFFICIAL_MARKETPLACE_AUTOINSTALL", "1".to_owned()),
        // After a cut stream it would send the request a second time without streaming.
        ("CLAUDE_CODE_DISABLE_NONSTREAMING_FALLBACK", "1".to_owned()),
        // A memory would be gone with the run.
        ("CLAUDE_CODE_DISABLE_AUTO_MEMORY", "1".to_owned()),
        ("CLAUDE_CODE_MAX_OUTPUT_TOKENS", MAX_OUTPUT_TOKENS.to_owned()),
        ("DISABLE_AUTOUPDATER", "1".to_owned()),
    ];
    let file = |path: &str, content: Value| PrivateFile { path: path.into(), content: content.to_string() };
    let mut files =
        vec![file("claude/settings.json", settings(ground)), file("claude-mcp.json", servers(ground))];
    if is_own {
        env.push(("CLAUDE_CONFIG_DIR", config.to_string_lossy().into_owned()));
        // With it no login is looked for, and no address in any settings is followed.
        env.push(("CLAUDE_CODE_PROVIDER_MANAGED_BY_HOST", "1".to_owned()));
        files.push(file("claude/.claude.json", onboarded(ground)));
    } else {
        env.extend(telemetry(ground));
    }
    Ok(Prepared {
        program: "claude".to_owned(),
        args,
        env: env.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        files,
        ..Prepared::default()
    })
}

/// What its calls used goes to the daemon, once a second; prompts and answers do not.
fn telemetry(ground: &Ground<'_>) -> [(&'static str, String); 7] {
    [
        ("CLAUDE_CODE_ENABLE_TELEMETRY", "1".to_owned()),
        ("OTEL_LOGS_EXPORTER", "otlp".to_owned()),
        ("OTEL_METRICS_EXPORTER", "none".to_owned()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json".to_owned()),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", telemetry_url(ground)),
        ("OTEL_EXPORTER_OTLP_HEADERS", format!("Authorization=Bearer {}", ground.token)),
        ("OTEL_LOGS_EXPORT_INTERVAL", "1000".to_owned()),
    ]
}

/// A call of a model, as its telemetry tells of it.
fn spent(event: &str, attributes: &Attributes) -> Option<Result<Spent, HookError>> {
    (event == "claude_code.api_request").then(|| api_request(attributes))
}

fn api_request(attributes: &Attributes) -> Result<Spent, HookError> {
    let of = |name| tokens(attributes, name);
    let written = of("cache_creation_tokens")?;
    let hour = of("cache_creation_1h_tokens")?.min(written);
    Ok(Spent {
        call: attributes.get("request_id").cloned(),
        model: attributes.get("model").cloned().ok_or(HookError("model"))?,
        listed_as: Vec::new(),
        usage: Usage {
            input_tokens: of("input_tokens")?,
            // Where it does not say for how long, the shorter time is its own default.
            cache_write_5m_tokens: written - hour,
            cache_write_1h_tokens: hour,
            cache_read_tokens: of("cache_read_tokens")?,
            output_tokens: of("output_tokens")?,
        },
    })
}

/// Hooks over HTTP, each failing closed. That of the prompt comes before the first model call and so announces them.
fn settings(ground: &Ground<'_>) -> Value {
    let over_http = |timeout: u32| {
        json!([{ "matcher": "*", "hooks": [{
            "type": "http",
            "url": hook_url(ground, ADAPTER.name),
            "headers": { "Authorization": "Bearer $AGENTSUP_RUN_TOKEN" },
            "allowedEnvVars": ["AGENTSUP_RUN_TOKEN"],
            "timeout": timeout,
            "onFailure": "block",
        }] }])
    };
    json!({
        "disableAllHooks": false,
        "skipDangerousModePermissionPrompt": true,
        // It runs at the provider, at a price that nobody can bound: the gateway refuses it. Known beforehand, the model
        // does without.
        "permissions": { "deny": ["WebSearch"] },
        // Shows the person at the terminal what the run costs.
        "statusLine": { "type": "command", "command": statusline(ground), "padding": 0 },
        // Asks the vendor about each host, past the gateway; policies judge hosts.
        "skipWebFetchPreflight": true,
        "hooks": {
            "UserPromptSubmit": over_http(REPORT_TIMEOUT),
            "PreToolUse": over_http(DECISION_TIMEOUT),
            "PostToolUse": over_http(REPORT_TIMEOUT),
            "PostToolUseFailure": over_http(REPORT_TIMEOUT),
        },
    })
}

/// For a shell, so that any path is one word.
fn statusline(ground: &Ground<'_>) -> String {
    let program = ground.own_program.to_string_lossy().replace('\'', r"'\''");
    format!("'{program}' statusline")
}

fn servers(ground: &Ground<'_>) -> Value {
    // The variable is expanded by the client, so that the token does not lie in a file.
    json!({ "mcpServers": { "agentsup": {
        "type": "http",
        "url": mcp_url(ground),
        "headers": { "Authorization": "Bearer ${AGENTSUP_RUN_TOKEN}" },
    } } })
}

/// Straight to the prompt: no theme, login or trust questions in a directory that agentsup made.
fn onboarded(ground: &Ground<'_>) -> Value {
    let worktree = ground.worktree.to_string_lossy();
    json!({
        "hasCompletedOnboarding": true,
        "hasSeenAutoDefaultNotice": true,
        "projects": { worktree: { "hasTrustDialogAccepted": true } },
    })
}

fn read(message: &Value) -> Result<HookCall, HookError> {
    match text(message, "hook_event_name")? {
        "UserPromptSubmit" => Ok(HookCall::Announced),
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
    Ok(ToolCall {
        tool: tool.to_owned(),
        class: kind(tool),
        call_id: message.get("tool_use_id").and_then(Value::as_str).map(str::to_owned),
        cwd: message.get("cwd").and_then(Value::as_str).map(str::to_owned),
        paths: texts(input, &["file_path", "filePath", "notebook_path", "path"]),
        urls: texts(input, &["url"]),
        command: input.get("command").and_then(Value::as_str).map(str::to_owned),
        args: input.clone(),
    })
}

fn kind(tool: &str) -> ToolKind {
    use BuiltinClass::{Edit, Other, Read, Shell, Web};
    if tool.starts_with("mcp__agentsup__") {
        return ToolKind::Proxied;
    }
    if tool.starts_with("mcp__") {
        return ToolKind::Foreign;
    }
    match tool {
        "Read" | "Glob" | "Grep" | "LS" | "NotebookRead" | "LSP" => ToolKind::Builtin(Read),
        "Edit" | "MultiEdit" | "Write" | "NotebookEdit" => ToolKind::Builtin(Edit),
        "Bash" | "BashOutput" | "KillShell" | "PowerShell" | "Monitor" => ToolKind::Builtin(Shell),
        "WebFetch" | "WebSearch" => ToolKind::Builtin(Web),
        "AskUserQuestion" | "EnterPlanMode" | "ExitPlanMode" | "TodoWrite" | "TaskCreate" | "TaskGet"
        | "TaskList" | "TaskUpdate" | "TaskOutput" | "TaskStop" | "Task" | "Agent" | "Skill"
        | "ToolSearch" | "StructuredOutput" => ToolKind::Conversation,
        _ => ToolKind::Builtin(Other),
    }
}

fn answer(answer: &HookAnswer<'_>) -> Value {
    let (decision, reason) = match answer {
        HookAnswer::Allow => ("allow", "allowed by agentsup"),
        HookAnswer::Deny { reason } => ("deny", *reason),
    };
    json!({ "hookSpecificOutput": {
        "hookEventName": "PreToolUse",
        "permissionDecision": decision,
        "permissionDecisionReason": reason,
    } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_read_with_its_line() {
        let message = json!({
            "hook_event_name": "PreToolUse", "tool_name": "Bash", "tool_use_id": "toolu_1", "cwd": "/w",
            "tool_input": { "command": "ls -l", "description": "list" },
        });
        assert_eq!(
            read(&message),
            Ok(HookCall::Before(ToolCall {
                tool: "Bash".into(),
                class: ToolKind::Builtin(BuiltinClass::Shell),
                call_id: Some("toolu_1".into()),
                cwd: Some("/w".into()),
                paths: Vec::new(),
                urls: Vec::new(),
                command: Some("ls -l".into()),
                args: message["tool_input"].clone(),
            }))
        );
    }

    #[test]
    fn telemetry_tells_counts_and_the_model() {
        let attributes = |pairs: &[(&str, &str)]| -> Attributes {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let told = attributes(&[
            ("model", "claude-opus-5-5"),
            ("input_tokens", "200"),
            ("output_tokens", "40"),
            ("cache_read_tokens", "5000"),
            ("cache_creation_tokens", "70"),
            ("cache_creation_5m_tokens", "60"),
            ("cache_creation_1h_tokens", "10"),
            ("request_id", "req_1"),
            ("user.email", "a@example.invalid"),
        ]);
        let usage = Usage {
            input_tokens: 200,
            cache_write_5m_tokens: 60,
            cache_write_1h_tokens: 10,
            cache_read_tokens: 5000,
            output_tokens: 40,
        };
        let expected = Spent {
            call: Some("req_1".into()),
            model: "claude-opus-5-5".into(),
            listed_as: Vec::new(),
            usage,
        };
        assert_eq!(spent("claude_code.api_request", &told), Some(Ok(expected)));
        assert_eq!(spent("claude_code.user_prompt", &told), None);
        let much = attributes(&[("model", "m"), ("output_tokens", "100000001")]);
        assert_eq!(spent("claude_code.api_request", &much), Some(Err(HookError("output_tokens"))));
        assert_eq!(spent("claude_code.api_request", &Attributes::new()), Some(Err(HookError("model"))));
    }

    #[test]
    fn a_call_without_its_input_cannot_be_read() {
        let message = json!({ "hook_event_name": "PreToolUse", "tool_name": "Bash" });
        assert_eq!(read(&message), Err(HookError("tool_input")));
        assert_eq!(read(&json!({})), Err(HookError("hook_event_name")));
    }

    #[test]
    fn servers_that_are_not_ours_are_foreign_and_unknown_tools_are_not_harmless() {
        assert_eq!(kind("mcp__agentsup__notes_echo"), ToolKind::Proxied);
        assert_eq!(kind("mcp__evil__run"), ToolKind::Foreign);
        assert_eq!(kind("LaunchRocket"), ToolKind::Builtin(BuiltinClass::Other));
        assert_eq!(kind("Write"), ToolKind::Builtin(BuiltinClass::Edit));
    }
}
