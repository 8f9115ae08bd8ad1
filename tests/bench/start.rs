//! How long a command takes that does nothing, against a program that does nothing.

use std::process::{Command, Stdio};

const ROUNDS: usize = 200;

/// Prints the row.
pub(crate) fn print() {
    let home = tempfile::tempdir().unwrap();
    let version = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_agentsup"));
        command.arg("--version").env("AGENTSUP_HOME", home.path()).stdout(Stdio::null());
        assert!(command.status().unwrap().success());
    };
    super::compare(
        "`agentsup --version` / `true`",
        ROUNDS,
        || assert!(Command::new("true").status().unwrap().success()),
        version,
    );
}
