//! The binary `agentsup`: the supervisor's command line, and the desktop window when it is built in.
//!
//! Everything but the window lives in the library; nothing else belongs here.

#[cfg(feature = "desktop")]
mod desktop;
#[cfg(webkit_on_demand)]
mod webkit;

use std::process::ExitCode;

fn main() -> ExitCode {
    use std::io::Write as _;
    match std::env::args().nth(1).as_deref() {
        Some(agentsup_supervisor::run::keeper::VERB) => agentsup_supervisor::run::keeper::main(),
        #[cfg(feature = "desktop")]
        Some("desktop") => desktop::main(),
        _ => {
            let _ = writeln!(std::io::stdout(), "agentsup {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
    }
}
