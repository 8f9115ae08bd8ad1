//! `agentsup hook ADAPTER [SECONDS]`: what an agent's hook runs, and how long it may wait for a decision. Hidden, and not part of the parsed command line: it is called for
//! every tool an agent uses, so it must cost nothing.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

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
    let mut words = env::arguments().skip(1).map_while(|word| word.into_string().ok());
    let adapter = words.next().unwrap_or_default();
    let deadline = words.next().and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
    match command::ask(&adapter, Env::current(), io::stdin().lock(), deadline) {
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
