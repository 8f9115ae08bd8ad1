//! The binary `agentsup`: the supervisor's command line, and the desktop window when it is built in.
//!
//! Everything but the window lives in the library; nothing else belongs here.

#[cfg(feature = "desktop")]
mod desktop;
#[cfg(webkit_on_demand)]
mod webkit;

use std::process::ExitCode;

#[cfg(feature = "desktop")]
const DESKTOP: Option<fn() -> ExitCode> = Some(desktop::main);
#[cfg(not(feature = "desktop"))]
const DESKTOP: Option<fn() -> ExitCode> = None;

fn main() -> ExitCode {
    agentsup_supervisor::cli::main(DESKTOP)
}
