//! The binary `agentsup`: the supervisor's command line, and the desktop window when it is built in.
//!
//! Everything but the window lives in the library; nothing else belongs here.

#[cfg(feature = "desktop")]
mod desktop;
#[cfg(webkit_on_demand)]
mod webkit;

use std::process::ExitCode;

use agentsup_supervisor::cli::Window;

#[cfg(feature = "desktop")]
const DESKTOP: Option<Window> = Some(desktop::main);
#[cfg(not(feature = "desktop"))]
const DESKTOP: Option<Window> = None;

fn main() -> ExitCode {
    agentsup_supervisor::cli::main(DESKTOP)
}
