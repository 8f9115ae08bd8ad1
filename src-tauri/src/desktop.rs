//! The desktop window: one page and one command, [`rpc`], through which the page reaches the daemon.
//!
//! Owns the window and nothing else. Must not: decide, keep state, or reach the daemon other than its client does.

use std::sync::atomic::{AtomicBool, Ordering};

use agentsup_supervisor::api::client::{Absent, Client};
use agentsup_supervisor::core::error::{Code, Failure};
use agentsup_supervisor::sys::paths::Home;
use serde_json::Value;
use tauri::State;

/// The way to the daemon. The first call may start it; later ones may not, or a window left open would bring back a
/// daemon that its user has stopped.
struct Door {
    home: Home,
    opened: AtomicBool,
}

/// Opens the window and returns when it is closed.
pub(crate) fn main() -> Result<(), Failure> {
    let door = Door { home: Home::from_env()?, opened: AtomicBool::new(false) };
    #[cfg(webkit_on_demand)]
    crate::webkit::load().map_err(|error| {
        Failure::new(Code::Internal, format!("the window needs WebKitGTK 4.1: {}", error.0))
            .hint("apt install libwebkit2gtk-4.1-0")
    })?;
    #[cfg(webkit_on_demand)]
    if !crate::webkit::has_display() {
        let message = "the window needs a display, and there is none";
        return Err(Failure::new(Code::Internal, message).hint("agentsup ps"));
    }
    tauri::Builder::default()
        .manage(door)
        .invoke_handler(tauri::generate_handler![rpc])
        .run(tauri::generate_context!())
        .map_err(|error| Failure::new(Code::Internal, format!("the window cannot open: {error}")))
}

/// Passes one operation on to the daemon; the page checks what comes back.
#[tauri::command]
async fn rpc(door: State<'_, Door>, op: String, params: Value) -> Result<Value, Failure> {
    let absent = if door.opened.swap(true, Ordering::Relaxed) { Absent::Fail } else { Absent::Start };
    Client::new(door.home.clone(), absent).call_raw(&op, params).await
}
