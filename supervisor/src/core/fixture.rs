//! The agent, budget and run that tests are about, each once; a test says what is different about its own.

#![allow(clippy::unwrap_used, reason = "tests")]

use super::billing::{Billing, Payers};
use super::ids::RunId;
use super::manifest::{Agent, BuiltinClass, Cap, Environment, Lifecycle, Period, TokenBudget, ToolScope};
use super::money::NanoUsd;
use super::principal::AgentRef;
use super::refusal::RefusalStyle;
use super::run::{HookDuty, Run};

pub(crate) fn agent() -> Agent {
    Agent {
        reference: AgentRef::new("bot", "team").unwrap(),
        owner: "user:default/alice".parse().unwrap(),
        purpose: "Review".into(),
        lifecycle: Lifecycle::Production,
        environments: vec![Environment::Dev],
        adapters: vec!["claude".into()],
        repositories: vec!["*".into()],
        models: vec!["claude-*".into()],
        tools: ToolScope {
            mcp: vec!["github/*".into()],
            builtin: vec![BuiltinClass::Read, BuiltinClass::Edit, BuiltinClass::Shell],
        },
        budget: "bot".into(),
        billing: Payers::Keys,
        credential_ttl_ms: 900_000,
        deprovision_at_ms: None,
    }
}

pub(crate) fn run() -> Run {
    Run {
        id: RunId::from_parts(1, [1; 10]),
        agent: agent().reference,
        owner: agent().owner,
        environment: Environment::Dev,
        adapter: "claude".into(),
        repository: "/repo".into(),
        remote: None,
        worktree: "/trees/1".into(),
        branch: "agentsup/1".into(),
        base: "0".repeat(40),
        onto: None,
        dir: "/runs/1".into(),
        refusal: RefusalStyle::PLAIN,
        hooks: HookDuty::Required,
        billing: Billing::Keys,
        untold_tools_max: crate::core::run::UNTOLD_TOOLS_MAX,
        cap: None,
        started_at_ms: 0,
    }
}

/// A budget for good, in nano-USD, that `purse` of the agent's team names.
pub(crate) fn purse(cap: i64, burst: i64) -> TokenBudget {
    let nano = |amount| NanoUsd::new(amount).unwrap();
    TokenBudget {
        name: "purse".into(),
        namespace: "team".into(),
        parent: None,
        period: Period::Total,
        cap: Cap::Money { cap: nano(cap), burst: nano(burst) },
        alert_at_percent: 80,
    }
}
