//! OpenCode. Facts tried with 1.18.33.
//!
//! It has no hooks but plugins, and runs every tool if its plugin does not load; so models stay closed to the run
//! until the plugin has announced itself. All configuration is inline, which beats a repository's; a repository's own
//! tools and servers are not loaded (`OPENCODE_DISABLE_PROJECT_CONFIG`), its `AGENTS.md` is. Its plugins are loaded all
//! the same, into the agent's own process, so a repository that carries any is refused.
//!
//! Refusals, measured headless with Anthropic's wire: after a 402 one request in all, the message in its error, exit 1.
//! After a 429 or a 503 with `retry-after` six requests in all with just that pause, then the message, exit 1. In a stream,
//! after some text, an error event: no second request, the whole error in its own, exit 1; but one that says `overloaded`
//! is asked for five times more within 80 s.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::wire::{HookAnswer, HookCall, HookError, HookWire, ToolCall, ToolEnd, ToolKind, text, texts};
use super::{
    Adapter, AdapterError, GaugeStyle, Ground, Prepared, PrivateFile, Program, brought, hook_url, mcp_url,
    refuse_links_out, refuse_reserved,
};
use crate::core::action::Place;
use crate::core::billing::Payers;
use crate::core::manifest::BuiltinClass;
use crate::core::reach::{self, Reach, enforced, observed};
use crate::core::refusal::RefusalStyle;
use crate::core::run::HookDuty;

pub(super) const ADAPTER: Adapter = Adapter {
    name: "opencode",
    summary: "OpenCode",
    program: Some(Program {
        binary: "opencode",
        minimum: "1.18.33",
        tested: Some("1.18.33"),
        install: "npm install -g opencode-ai",
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
    // What it kept of long answers is its to read.
    own: &[("data/opencode/tool-output", Place::Outside)],
    obeyed: &[],
    reach: Reach {
        read: enforced("a plugin before the call; models stay closed until it has announced itself"),
        edit: enforced("likewise; files outside the worktree are refused"),
        shell: reach::COMMAND,
        web: enforced("by the host that it fetches from"),
        mcp: reach::MCP,
        models: reach::GATEWAY,
        nested: reach::NESTED,
        repository: enforced("its settings are not read; a repository with plugins is refused"),
        ask_headless: reach::HELD,
        ask_terminal: reach::HELD,
        results: observed("told by the plugin after a call that was done; one that failed ends untold"),
    },
    prepare,
};

/// Used unless the user names another; without one it would fetch a catalogue.
const MODEL: &str = "anthropic/claude-sonnet-5";
const PLUGIN: &str = include_str!("opencode/plugin.js");

/// Where a repository's plugins are looked for.
const REPOSITORY_CODE: [&str; 2] = [".opencode/plugin", ".opencode/plugins"];

/// The first leaves the run, the second leaves the plugin out.
const RESERVED: &[&str] = &["--attach", "--pure"];

fn prepare(ground: &Ground<'_>) -> Result<Prepared, AdapterError> {
    refuse_reserved(ground.args, RESERVED)?;
    refuse_links_out(ground, &["AGENTS.md"])?;
    if let Some(code) = brought(ground, &REPOSITORY_CODE) {
        return Err(AdapterError::RepositoryCode(code.to_string_lossy().into_owned()));
    }
    let path = |name: &str| ground.dir.join(name).to_string_lossy().into_owned();
    let flags = ["AUTOUPDATE", "MODELS_FETCH", "LSP_DOWNLOAD", "SHARE", "PROJECT_CONFIG"];
    let mut env: Vec<(String, String)> =
        flags.iter().map(|flag| (format!("OPENCODE_DISABLE_{flag}"), "1".to_owned())).collect();
    env.extend(
        [
            ("OPENCODE_CONFIG_CONTENT", config(ground).to_string()),
            ("XDG_CONFIG_HOME", path("config")),
            ("XDG_DATA_HOME", path("data")),
            ("XDG_STATE_HOME", path("state")),
            ("XDG_CACHE_HOME", path("cache")),
            ("TMPDIR", path("tmp")),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    let plugin = PLUGIN.replace("@HOOK_URL@", &hook_url(ground, ADAPTER.name));
    let mut files = vec![PrivateFile { path: "agentsup.js".into(), content: plugin }];
    files.extend(plugin_package(ground.version.unwrap_or_default()));
    Ok(Prepared {
        program: "opencode".to_owned(),
        args: ground.args.to_vec(),
        env,
        files,
        ..Prepared::default()
    })
}

fn config(ground: &Ground<'_>) -> Value {
    json!({
        "model": MODEL,
        "small_model": MODEL,
        "enabled_providers": ["anthropic"],
        "provider": { "anthropic": { "options": {
            "baseURL": format!("{}/llm/anthropic/v1", ground.origin),
            "apiKey": "{env:AGENTSUP_RUN_TOKEN}",
        } } },
        "mcp": { "agentsup": {
            "type": "remote",
            "url": mcp_url(ground),
            "headers": { "Authorization": "Bearer {env:AGENTSUP_RUN_TOKEN}" },
            "oauth": false,
        } },
        "plugin": [format!("file://{}", ground.dir.join("agentsup.js").display())],
        "instructions": [ground.worktree.join("AGENTS.md")],
        // A title costs a model call of its own.
        "agent": { "title": { "disable": true } },
        "share": "disabled",
        "autoupdate": false,
    })
}

/// The package it would install beside a plugin, from the network, and wait for. Ours does not use it.
fn plugin_package(version: &str) -> Vec<PrivateFile> {
    let name = "@opencode-ai/plugin";
    let own = json!({ "name": "agentsup", "private": true, "dependencies": { name: version } });
    let lock = json!({ "name": "agentsup", "lockfileVersion": 3, "requires": true, "packages": {
        "": { "name": "agentsup", "dependencies": { name: version } },
        format!("node_modules/{name}"): { "version": version },
    } });
    let package = json!({ "name": name, "version": version, "type": "module", "main": "index.js" });
    let file =
        |path: &str, content: String| PrivateFile { path: format!("config/opencode/{path}").into(), content };
    vec![
        file("package.json", own.to_string()),
        file("package-lock.json", lock.to_string()),
        file(&format!("node_modules/{name}/package.json"), package.to_string()),
        file(&format!("node_modules/{name}/index.js"), "export {}\n".to_owned()),
    ]
}

fn read(message: &Value) -> Result<HookCall, HookError> {
    match text(message, "event")? {
        "loaded" => Ok(HookCall::Announced),
        "before" => {
            let tool = text(message, "tool")?;
            let args = message.get("args").ok_or(HookError("args"))?;
            Ok(HookCall::Before(ToolCall {
                tool: tool.to_owned(),
                class: kind(tool),
                call_id: message.get("call_id").and_then(Value::as_str).map(str::to_owned),
                cwd: directory(message, args),
                paths: texts(args, &["filePath", "path"]),
                urls: texts(args, &["url"]),
                command: args.get("command").and_then(Value::as_str).map(str::to_owned),
                args: args.clone(),
            }))
        }
        "after" => {
            Ok(HookCall::After { call_id: text(message, "call_id")?.to_owned(), status: ToolEnd::Done })
        }
        _ => Ok(HookCall::Other),
    }
}

/// Where a call acts: where the program stands, or where a command says that it runs.
fn directory(message: &Value, args: &Value) -> Option<String> {
    let stands = text(message, "cwd").ok().map(PathBuf::from);
    let runs = text(args, "workdir").ok().map(PathBuf::from);
    let directory = match (stands, runs) {
        (Some(stands), Some(runs)) => stands.join(runs),
        (stands, runs) => runs.or(stands)?,
    };
    Some(directory.to_string_lossy().into_owned())
}

fn kind(tool: &str) -> ToolKind {
    use BuiltinClass::{Edit, Other, Read, Shell, Web};
    if tool.starts_with("agentsup_") {
        return ToolKind::Proxied;
    }
    match tool {
        "read" | "glob" | "grep" | "list" | "ls" | "lsp" => ToolKind::Builtin(Read),
        "edit" | "write" | "patch" | "apply_patch" | "multiedit" => ToolKind::Builtin(Edit),
        "bash" => ToolKind::Builtin(Shell),
        "webfetch" | "websearch" => ToolKind::Builtin(Web),
        "invalid" | "question" | "skill" | "task" | "todoread" | "todowrite" => ToolKind::Conversation,
        _ => ToolKind::Builtin(Other),
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
    use crate::core::billing::Billing;

    #[test]
    fn a_tool_without_arguments_cannot_be_read() {
        assert_eq!(read(&json!({ "event": "before", "tool": "bash" })), Err(HookError("args")));
    }

    #[test]
    fn a_repository_with_plugins_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join(".opencode/plugins")).unwrap();
        let ground = Ground {
            dir: "/run-dir".as_ref(),
            worktree: dir.path(),
            cwd: &dir.path().join("sub"),
            origin: "http://127.0.0.1:1",
            token: "ast_secret",
            own_program: "/opt/agentsup".as_ref(),
            home: None,
            inherited: &crate::agents::tests::NOTHING,
            billing: Billing::Keys,
            version: Some("1.18.33"),
            streams: crate::agents::Streams::Terminal,
            args: &[],
            models: &[],
            endpoints: &[],
        };
        assert_eq!(prepare(&ground), Err(AdapterError::RepositoryCode(".opencode/plugins".into())));
    }

    #[test]
    fn a_command_runs_where_it_says() {
        let message = json!({ "event": "before", "tool": "bash", "call_id": "c", "cwd": "/w/sub",
            "args": { "command": "cat id_rsa", "workdir": "../../u/.ssh" } });
        let Ok(HookCall::Before(call)) = read(&message) else { panic!("not a call") };
        assert_eq!(call.cwd.as_deref(), Some("/w/sub/../../u/.ssh"));
    }

    #[test]
    fn an_edit_names_its_file() {
        let message =
            json!({ "event": "before", "tool": "edit", "call_id": "c", "args": { "filePath": "/w/a" } });
        let Ok(HookCall::Before(call)) = read(&message) else { panic!("not a call") };
        assert_eq!(
            (call.class, call.paths),
            (ToolKind::Builtin(BuiltinClass::Edit), vec!["/w/a".to_owned()])
        );
        assert_eq!(kind("agentsup_notes_echo"), ToolKind::Proxied);
        assert_eq!(kind("custom"), ToolKind::Builtin(BuiltinClass::Other));
    }
}
