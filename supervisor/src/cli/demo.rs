//! The demo's agent and MCP server: this program again, started by a keeper and by the MCP proxy. Hidden.

use std::io;
use std::process::ExitCode;

use super::{ask, audit, output};
use crate::api::answers::audit::{ListParams, Verified};
use crate::api::ops::{AuditList, AuditVerify, Nothing};
use crate::core::error::{Code, Failure};
use crate::demo;
use crate::sys::env::{self, Env};

/// Makes this program the demo's agent.
pub(super) const AGENT_ARGUMENT: &str = "__demo-agent";
/// Makes this program the demo's MCP server.
pub(super) const SERVER_ARGUMENT: &str = "__demo-mcp";

/// What the demo leaves behind: its record as sentences, whether that is whole, and where to go from here.
pub(super) fn tell_record(run: String) -> Result<(), Failure> {
    let params = ListParams { after: 0, run: Some(run), agent: None, last: None };
    let (lines, verified) = ask(async |client| {
        let lines = client.call::<AuditList>(params).await?;
        Ok((lines, client.call::<AuditVerify>(Nothing {}).await?))
    })?;
    output::narrate("the record of this run (agentsup audit list):");
    for line in &lines {
        output::line(output::printable(&line.sentence));
    }
    match verified {
        Verified::Whole(summary) => output::line(audit::whole(&summary)),
        Verified::Broken(finding) => return Err(Failure::new(Code::AuditBroken, finding.to_string())),
    }
    output::hint("a real agent: agentsup init && agentsup key set anthropic && agentsup run claude");
    Ok(())
}

/// Works in the directory that it is in.
pub(super) fn agent() -> ExitCode {
    let worked = env::working_directory().map_err(|error| Failure::internal(&error)).and_then(|worktree| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::internal(&error))?;
        output::with_streams(|out, _| runtime.block_on(demo::agent::run(Env::current(), &worktree, out)))
            .map_err(|error| Failure::new(Code::Usage, error.to_string()))
    });
    match worked {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => output::fail(&failure),
    }
}

/// Serves until its input ends.
pub(super) fn server() -> ExitCode {
    match output::with_streams(|out, _| demo::server::serve(io::stdin().lock(), out)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => output::fail(&Failure::internal(&error)),
    }
}
