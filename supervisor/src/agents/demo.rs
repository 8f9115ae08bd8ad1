//! The built-in agent: a small loop that goes through everything a real one goes through. Only its model is scripted.

use serde_json::{Value, json};

use super::wire::{HookAnswer, HookCall, HookError, HookWire, ToolCall, ToolEnd, ToolKind, text};
use super::{Adapter, AdapterError, GaugeStyle, Ground, Prepared};
use crate::core::billing::Payers;
use crate::core::manifest::BuiltinClass;
use crate::core::reach::{self, Reach, absent, enforced};
use crate::core::refusal::RefusalStyle;
use crate::core::run::HookDuty;

pub(super) const ADAPTER: Adapter = Adapter {
    name: "demo",
    summary: "a built-in agent with a scripted model; needs no key",
    program: None,
    provider: None,
    refusal: RefusalStyle::PLAIN,
    hooks: HookDuty::None,
    gauge: GaugeStyle::None,
    payers: Payers::Keys,
    telemetry: None,
    login: None,
    wire: Some(&HookWire::new(read, answer)),
    own: &[],
    obeyed: &[],
    reach: Reach {
        read: absent("it has a shell only"),
        edit: absent("it has a shell only"),
        shell: reach::COMMAND,
        web: absent("it has a shell only"),
        mcp: enforced("the proxy decides every call"),
        models: reach::GATEWAY,
        nested: absent("its commands are built in"),
        repository: absent("it reads none"),
        ask_headless: reach::HELD,
        ask_terminal: reach::HELD,
        results: enforced("told after the call, done or failed"),
    },
    prepare,
};

fn prepare(ground: &Ground<'_>) -> Result<Prepared, AdapterError> {
    Ok(Prepared {
        program: ground.own_program.to_string_lossy().into_owned(),
        args: vec!["__demo-agent".to_owned()],
        env: vec![("ANTHROPIC_BASE_URL".to_owned(), format!("{}/llm/demo", ground.origin))],
        ..Prepared::default()
    })
}

fn read(message: &Value) -> Result<HookCall, HookError> {
    let call_id = text(message, "call_id")?.to_owned();
    match text(message, "event")? {
        "before" => Ok(HookCall::Before(ToolCall {
            tool: text(message, "tool")?.to_owned(),
            class: ToolKind::Builtin(BuiltinClass::Shell),
            call_id: Some(call_id),
            cwd: None,
            paths: Vec::new(),
            urls: Vec::new(),
            command: Some(text(message, "command")?.to_owned()),
            args: message.clone(),
        })),
        "after" => {
            let failed = message.get("failed").and_then(Value::as_bool).unwrap_or(true);
            let status = if failed { ToolEnd::Failed } else { ToolEnd::Done };
            Ok(HookCall::After { call_id, status })
        }
        _ => Ok(HookCall::Other),
    }
}

fn answer(answer: &HookAnswer<'_>) -> Value {
    match answer {
        HookAnswer::Allow => json!({ "decision": "allow" }),
        HookAnswer::Deny { reason } => json!({ "decision": "deny", "reason": reason }),
    }
}
