//! `agentsup hook ADAPTER`: what an agent's hook runs. Hidden, and not part of the parsed command line: it is called for
//! every tool an agent uses, so it must cost nothing.

use std::io;
use std::process::ExitCode;

use super::output;
use crate::core::error::{Code, Failure};
use crate::hooks::command;
use crate::sys::env::{self, Env};

/// The verb.
pub(super) const VERB: &str = "hook";

/// With this code every agent blocks the tool.
const BLOCK: u8 = 2;

/// Asks for a decision and prints what the agent is to read. Without one the agent must block.
pub(super) fn perform() -> ExitCode {
    let adapter = env::arguments().nth(1).and_then(|name| name.into_string().ok()).unwrap_or_default();
    match command::ask(&adapter, Env::current(), io::stdin().lock()) {
        Ok(answer) => {
            output::raw(&answer);
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _blocked = output::fail(&Failure::new(Code::Denied, error.to_string()));
            ExitCode::from(BLOCK)
        }
    }
}
