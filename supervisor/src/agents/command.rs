//! Any program with exactly the contract's environment: for agents without an adapter of their own, and for tests.
//!
//! Refusals, measured with the plain SDKs (openai 7.57, @anthropic-ai/sdk 1.12, @google/genai 3.1), whole and streamed:
//! after a 402, or Google's 403, one request, and the words are in what is thrown. After a 429 with `retry-after` three
//! requests with just that pause, and one of Google's, which leaves coming again to its caller. In a stream, an error on each wire is thrown with the words, and
//! nothing is asked for again; but Google's must be bare, and OpenAI's Responses make it an event for the caller.

use super::{Adapter, AdapterError, GaugeStyle, Ground, Prepared};
use crate::core::billing::Payers;
use crate::core::reach::{Reach, enforced, neither, observed};
use crate::core::refusal::RefusalStyle;
use crate::core::run::HookDuty;

/// Of its own tools nothing is known.
const UNSEEN: &str = "it acts by itself; what it changed in the worktree is in `agentsup diff`";

pub(super) const ADAPTER: Adapter = Adapter {
    name: "command",
    summary: "any program, with the run's environment",
    program: None,
    provider: None,
    refusal: RefusalStyle::PLAIN,
    hooks: HookDuty::None,
    gauge: GaugeStyle::None,
    payers: Payers::Keys,
    telemetry: None,
    login: None,
    wire: None,
    own: &[],
    obeyed: &[],
    reach: Reach {
        read: neither(UNSEEN),
        edit: neither(UNSEEN),
        shell: neither(UNSEEN),
        web: neither(UNSEEN),
        mcp: enforced("the proxy decides every call, of a program that uses it"),
        models: enforced("through the gateway, of a program that uses the addresses that it is given"),
        nested: neither(UNSEEN),
        repository: neither("what the program obeys in a repository nobody knows"),
        ask_headless: enforced("about calls of MCP tools"),
        ask_terminal: enforced("about calls of MCP tools"),
        results: observed("of MCP tools and model calls; what it changed is in `agentsup diff`"),
    },
    prepare,
};

fn prepare(ground: &Ground<'_>) -> Result<Prepared, AdapterError> {
    let (program, args) = ground.args.split_first().ok_or(AdapterError::NoCommand)?;
    Ok(Prepared { program: program.clone(), args: args.to_vec(), ..Prepared::default() })
}
