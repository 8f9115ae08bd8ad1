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
//! On a subscription its home stays private too; in it, `auth.json` is a link to the user's own, which the client reads and
//! renews in place, locking it there (tried: an expired login is renewed through the link). Only from a file: in a keyring a
//! login is kept by the home's path. What calls used it tells in OTLP logs, over HTTP and WebSocket alike, calls that
//! compact included: one event without counts where a stream over HTTP ends, and one with counts and without an id of the
//! call. A call that breaks off tells no counts.
//!
//! Refusals, measured headless: after a 400 of plain text one request in all, the message as it is, exit 1, whatever the
//! number of retries. A stream that fails with `rate_limit_exceeded` is asked for six times in all, with just the pause that
//! the message names, then `rate limit exceeded: <message>`, exit 1; after a 429 as many, but the message is lost; after a
//! 503 thirty requests with its own number of retries (each of five streams six times), six with none for requests, as
//! here. In a stream, after some text, `invalid_prompt`: no second request, the message as it is, exit 1;
//! `insufficient_quota` hides the message.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::wire::{
    Attributes, HookAnswer, HookCall, HookError, HookWire, Spent, Telemetry, ToolCall, ToolKind, patched,
    text, texts, tokens,
};
use super::{
    Adapter, AdapterError, GaugeStyle, Ground, Login, Prepared, PrivateFile, Program, brought, hook_command,
    mcp_url, refuse_links_out, refuse_reserved, telemetry_url,
};
use crate::core::billing::{Billing, Payers};
use crate::core::manifest::BuiltinClass;
use crate::core::reach::{self, Reach, absent, by_payer, enforced, observed};
use crate::core::refusal::{Form, RefusalStyle};
use crate::core::run::{HookDuty, UNTOLD_TOOLS_MAX};
use crate::core::usage::Usage;
use crate::sys::grounds::{GitDirs, git_dirs};

pub(super) const ADAPTER: Adapter = Adapter {
    name: "codex",
    summary: "Codex CLI",
    program: Some(Program {
        binary: "codex",
        minimum: "0.169.0",
        tested: Some("0.169.0"),
        install: "npm install -g @openai/codex",
        runtime: None,
    }),
    provider: Some("openai"),
    refusal: RefusalStyle { terminal: Form::BadRequestText, transient: Form::FailedStream { after_s: 20 } },
    hooks: HookDuty::Required,
    gauge: GaugeStyle::CodexHeaders,
    payers: Payers::Either,
    telemetry: Some(Telemetry {
        provider: "openai",
        events: Some(spent),
        untold_tools_max: UNTOLD_TOOLS_MAX,
        unlisted: None,
    }),
    // In a keyring it is kept by the path of the configuration directory, which is another one here.
    login: Some(Login { link: "codex/auth.json", command: "codex -c cli_auth_credentials_store=file login" }),
    wire: Some(&HookWire::new(read, answer)),
    own: &[],
    obeyed: &[],
    reach: Reach {
        read: enforced("it reads by its shell; pictures by a tool of their own, decided too"),
        edit: enforced("a hook before each patch, with the files that it names"),
        shell: enforced(
            "a hook before each command; commands have no terminal, because what is typed into one meets no hook",
        ),
        web: absent("its search runs at the provider and is taken away"),
        mcp: reach::MCP,
        models: by_payer(
            "through the gateway with keys; on your own login told by its telemetry, afterwards",
        ),
        nested: reach::NESTED,
        repository: enforced("a repository with `.codex/` is not trusted, so that nothing there counts"),
        ask_headless: reach::HELD,
        ask_terminal: reach::HELD,
        results: observed("told by a hook after the call, but not whether it failed"),
    },
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
    "chatgpt_base_url",
    "cli_auth_credentials_store",
    "default_permissions",
    "features",
    "hooks",
    "mcp_servers",
    "model_provider",
    "model_providers",
    "notice",
    "openai_base_url",
    "otel",
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

/// Sub-commands with which the user's login would leave the run, or the run its telemetry.
const LEAVING: &[&str] =
    &["agents", "app-server", "cloud", "exec-server", "login", "logout", "remote-control"];

fn prepare(ground: &Ground<'_>) -> Result<Prepared, AdapterError> {
    refuse_reserved(ground.args, RESERVED)?;
    refuse_reserved_keys(ground.args)?;
    let (login, told) = match ground.billing {
        Billing::Keys => (None, Vec::new()),
        Billing::Subscription => {
            refuse_leaving(ground.args)?;
            (Some(own_login(ground)?), telemetry(ground))
        }
    };
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
    let env = std::iter::once(("CODEX_HOME".to_owned(), home)).chain(told).collect();
    Ok(Prepared { program: "codex".to_owned(), args, env, files, login, ..Prepared::default() })
}

fn refuse_leaving(args: &[String]) -> Result<(), AdapterError> {
    match args.first().filter(|first| LEAVING.contains(&first.as_str())) {
        Some(first) => Err(AdapterError::ReservedArgument(first.clone())),
        None => Ok(()),
    }
}

/// Where the user's own Codex keeps its login, in a file. Nobody looks into it here.
fn own_login(ground: &Ground<'_>) -> Result<PathBuf, AdapterError> {
    let set = ground.inherited.get("CODEX_HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    let (variable, home) = match set {
        Some(home) => ("CODEX_HOME", Some(home)),
        None => ("HOME", ground.home.map(|home| home.join(".codex"))),
    };
    let home = home.filter(|home| home.is_absolute()).ok_or(AdapterError::NoLoginPlace(variable))?;
    Ok(home.join("auth.json"))
}

/// What its exporter takes from its environment, where other users of the machine do not see the token. An event that
/// does not fit into its queue is lost, and a large batch may be more than is taken in here.
fn telemetry(ground: &Ground<'_>) -> Vec<(String, String)> {
    [
        ("OTEL_EXPORTER_OTLP_HEADERS", format!("Authorization=Bearer%20{}", ground.token)),
        ("OTEL_BLRP_MAX_QUEUE_SIZE", "65536".to_owned()),
        ("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", "64".to_owned()),
        ("OTEL_BLRP_SCHEDULE_DELAY", "1000".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

/// A call of a model, as its telemetry tells of it. That its stream ended is told too, without counts.
fn spent(event: &str, attributes: &Attributes) -> Option<Result<Spent, HookError>> {
    let is_end = attributes.get("event.kind").is_some_and(|kind| kind == "response.completed");
    let counts = is_end && attributes.contains_key("input_token_count");
    (event == "codex.sse_event" && counts).then(|| response(attributes))
}

/// It gives a call no id. What was read from the cache and what was written to it is within the input, reasoning within
/// the output. Where nothing is said of what was written it is all that was not read, which is dearer.
fn response(attributes: &Attributes) -> Result<Spent, HookError> {
    let of = |name| tokens(attributes, name);
    let require = |name| attributes.get(name).cloned().ok_or(HookError(name));
    require("output_token_count")?;
    let input = of("input_token_count")?;
    let read = of("cached_token_count")?.min(input);
    let new = input - read;
    let written = match attributes.contains_key("cache_write_token_count") {
        true => of("cache_write_token_count")?.min(new),
        false => new,
    };
    Ok(Spent {
        call: None,
        model: require("model")?,
        listed_as: Vec::new(),
        usage: Usage {
            input_tokens: new - written,
            cache_write_5m_tokens: written,
            cache_write_1h_tokens: 0,
            cache_read_tokens: read,
            output_tokens: of("output_token_count")?,
        },
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

/// Where the models are, and what else depends on who pays for them.
fn provider(ground: &Ground<'_>) -> Vec<String> {
    let settings: Vec<String> = match ground.billing {
        // Retries of streams alone: those of requests would multiply with them.
        Billing::Keys => vec![
            "model_provider=agentsup".to_owned(),
            format!(
                "model_providers.agentsup={{name=\"agentsup\",base_url=\"{}/llm/openai/v1\",\
                 env_key=\"AGENTSUP_RUN_TOKEN\",wire_api=\"responses\",request_max_retries=0,stream_max_retries=5}}",
                ground.origin
            ),
            "otel.metrics_exporter=\"none\"".to_owned(),
        ],
        // Counts and names; prompts, answers and their pieces are not told.
        Billing::Subscription => vec![
            "model_provider=openai".to_owned(),
            "cli_auth_credentials_store=\"file\"".to_owned(),
            format!(
                "otel={{log_user_prompt=false,log_agent_responses=false,log_sse_deltas=false,\
                 metrics_exporter=\"none\",trace_exporter=\"none\",\
                 exporter={{otlp-http={{endpoint=\"{}/v1/logs\",protocol=\"json\"}}}}}}",
                telemetry_url(ground)
            ),
        ],
    };
    // At a price that no telemetry tells: faster answers, and pictures made at the provider.
    let off: &[&str] = match ground.billing {
        Billing::Keys => &[],
        Billing::Subscription => &["fast_mode", "ultrafast_mode", "image_generation"],
    };
    let settings = settings.into_iter().flat_map(|setting| ["-c".to_owned(), setting]);
    settings.chain(off.iter().flat_map(|off| ["--disable", off].map(str::to_owned))).collect()
}

fn options(ground: &Ground<'_>) -> Vec<String> {
    let server = format!(
        "mcp_servers.agentsup={{url=\"{}\",bearer_token_env_var=\"AGENTSUP_RUN_TOKEN\",\
         default_tools_approval_mode=\"approve\"}}",
        mcp_url(ground)
    );
    let mut options = provider(ground);
    let mut set = |value: String| options.extend(["-c".to_owned(), value]);
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
    set(shell_environment(ground));
    for quiet in ["analytics.enabled=false", "feedback.enabled=false", "check_for_update_on_startup=false"] {
        set(quiet.to_owned());
    }
    // At nine tenths of a budget it would offer a cheaper model, in the way of what is typed.
    set("notice.hide_rate_limit_model_nudge=true".to_owned());
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

/// What the model's shell does not need to see. On a subscription that is the way to the login, too; the empty place that
/// it is told instead keeps a second Codex from the user's own.
fn shell_environment(ground: &Ground<'_>) -> String {
    let exclude = "exclude=[\"AGENTSUP_*\",\"OTEL_*\",\"*_API_KEY\",\"ANTHROPIC_*\"]";
    match ground.billing {
        Billing::Keys => format!("shell_environment_policy={{{exclude}}}"),
        Billing::Subscription => {
            let none = toml_text(&ground.dir.join("none").to_string_lossy());
            format!("shell_environment_policy={{{exclude},set={{CODEX_HOME={none}}}}}")
        }
    }
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
mod tests;
