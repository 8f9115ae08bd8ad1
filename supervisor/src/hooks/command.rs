//! A hook that is a command: reads the agent's message, posts it to the daemon, gives back what to print. Fails loudly,
//! so that the agent blocks.

use std::io::Read;
use std::time::Duration;

use crate::agents;
use crate::sys::env::Env;
use crate::sys::post::post;

/// A message's bytes at most, as at the daemon.
const MESSAGE_MAX: u64 = 16 * 1024 * 1024;
/// Longer than any approval waits, and shorter than the agents wait for their hooks: one that gives up waiting may run
/// the tool.
const TIMEOUT: Duration = Duration::from_secs(55 * 60);

/// How long the daemon has to refuse what is too long.
const TOO_LONG_TIMEOUT: Duration = Duration::from_secs(10);

/// Why the hook has no answer.
#[derive(Debug, thiserror::Error)]
pub enum HookCommandError {
    /// It was not started in a run.
    #[error("`{0}` is not set: hooks run under agentsup only")]
    Environment(&'static str),
    /// The message could not be read.
    #[error("the hook's message cannot be read: {0}")]
    Message(String),
    /// The daemon gave no answer, or refused.
    #[error("agentsup gave no decision: {0}")]
    Daemon(String),
}

/// Asks the daemon, and waits for it no longer than the agent waits for its hook. The answer is what the agent is to read on standard output; empty where silence is the answer.
///
/// # Errors
/// When there is no decision; the agent must then refuse the call.
pub fn ask(
    adapter: &str,
    env: &Env,
    message: impl Read,
    deadline: Option<Duration>,
) -> Result<Vec<u8>, HookCommandError> {
    let door = Door::find(adapter, env)?;
    let mut body = Vec::new();
    message
        .take(MESSAGE_MAX + 1)
        .read_to_end(&mut body)
        .map_err(|error| HookCommandError::Message(error.to_string()))?;
    if body.len() as u64 > MESSAGE_MAX {
        // The daemon refuses it, and knows then that there was something.
        let _refusal = door.post(&body, TOO_LONG_TIMEOUT);
        return Err(HookCommandError::Message(format!("it is longer than {MESSAGE_MAX} bytes")));
    }
    let answer = door.post(&body, deadline.unwrap_or(TIMEOUT))?;
    if matches!(answer.as_slice(), b"null" | b"{}" | b"") {
        let wire = agents::by_name(adapter).and_then(|adapter| adapter.wire);
        return Ok(wire.map_or_else(Vec::new, |wire| wire.silence.to_vec()));
    }
    Ok(answer)
}

/// Where a run's hooks are answered.
pub(super) struct Door<'e> {
    address: String,
    token: &'e str,
}

impl<'e> Door<'e> {
    /// As the run's environment says.
    pub(super) fn find(adapter: &str, env: &'e Env) -> Result<Self, HookCommandError> {
        let var = |name: &'static str| env.text(name).ok_or(HookCommandError::Environment(name));
        let (mcp_url, token) = (var("AGENTSUP_MCP_URL")?, var("AGENTSUP_RUN_TOKEN")?);
        let origin = mcp_url.strip_suffix("/mcp").unwrap_or(mcp_url);
        Ok(Self { address: format!("{origin}/hook/{adapter}"), token })
    }

    /// Posts a message; only an answer without failure counts.
    pub(super) fn post(&self, body: &[u8], deadline: Duration) -> Result<Vec<u8>, HookCommandError> {
        let answer = post(&self.address, self.token, body, deadline)
            .map_err(|error| HookCommandError::Daemon(error.to_string()))?;
        if answer.status != 200 {
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            return Err(HookCommandError::Daemon(format!("status {}: {text}", answer.status)));
        }
        Ok(answer.body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outside_a_run_there_is_no_decision() {
        let error = ask("codex", &Env::of::<&str, &str>([]), &b"{}"[..], None).unwrap_err();
        assert_eq!(error.to_string(), "`AGENTSUP_MCP_URL` is not set: hooks run under agentsup only");
    }

    #[test]
    fn without_a_daemon_there_is_no_decision() {
        let env = Env::of([("AGENTSUP_MCP_URL", "http://127.0.0.1:1/mcp"), ("AGENTSUP_RUN_TOKEN", "ast_x")]);
        let error = ask("codex", &env, &b"{}"[..], None).unwrap_err();
        assert!(error.to_string().starts_with("agentsup gave no decision: the request failed: "), "{error}");
    }
}
