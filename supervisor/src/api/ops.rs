//! The one table of ops: name, parameters, answer, and what runs it.

use std::future::Future;
use std::pin::Pin;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::SharedApp;
use super::answers::{
    agents, approvals, audit, budgets, clock, daemon, decided, explain, figures, keys, manifests, mcp,
    policies, prices, reconcile, registry, usage, why,
};
use crate::core::error::{Code, Failure};
use crate::run::{changes, launch, stop, suspend, view};

/// An op, as clients name it.
pub trait Op {
    /// `<noun>.<verb>`.
    const NAME: &'static str;
    /// What it is asked with.
    type Params: Serialize + DeserializeOwned + Send;
    /// What it answers.
    type Reply: Serialize + DeserializeOwned + Send;
}

type Answer = Pin<Box<dyn Future<Output = Result<Box<RawValue>, Failure>> + Send>>;

macro_rules! ops {
    ($($(#[$doc:meta])* $name:ident $text:literal ($params:ty) -> $reply:ty = |$app:ident, $input:ident| $run:expr;)*) => {
        $(
            $(#[$doc])*
            #[derive(Debug)]
            pub enum $name {}

            impl Op for $name {
                const NAME: &'static str = $text;
                type Params = $params;
                type Reply = $reply;
            }
        )*

        /// The names of all ops.
        pub const NAMES: &[&str] = &[$($text,)*];

        /// Runs an op by name.
        pub fn dispatch(app: SharedApp, op: &str, params: &RawValue) -> Result<Answer, Failure> {
            match op {
                $($text => {
                    let $input: $params = parse($text, params)?;
                    Ok(Box::pin(async move {
                        let $app = &*app;
                        let reply: $reply = $run.await?;
                        encode(&reply)
                    }))
                })*
                _ => Err(Failure::new(Code::Usage, format!("there is no op `{op}`"))),
            }
        }
    };
}

ops! {
    /// Starts a run.
    RunStart "run.start" (launch::StartParams) -> launch::Started = |app, params| launch::start(&app.runs, params);
    /// Lists runs, oldest first.
    RunList "run.list" (view::ListParams) -> Vec<view::RunView> = |app, params| view::list(&app.runs, params);
    /// Shows one run.
    RunShow "run.show" (view::RunParams) -> view::RunView = |app, params| view::show(&app.runs, params);
    /// Waits for a run's end.
    RunWait "run.wait" (stop::WaitParams) -> view::RunView = |app, params| stop::wait(&app.runs, params);
    /// Asks a run to end.
    RunStop "run.stop" (stop::StopParams) -> view::RunView = |app, params| stop::stop(&app.runs, params);
    /// Closes models and tools to a run.
    RunSuspend "run.suspend" (suspend::SuspendParams) -> view::RunView = |app, params| suspend::suspend(&app.runs, params);
    /// Lets a suspended run go on.
    RunResume "run.resume" (view::RunParams) -> view::RunView = |app, params| suspend::resume(&app.runs, params);
    /// Kills runs.
    RunKill "run.kill" (stop::KillParams) -> stop::Killed = |app, params| stop::kill(&app.runs, params);
    /// Shows what a run changed.
    RunDiff "run.diff" (view::RunParams) -> changes::Changes = |app, params| changes::diff(&app.runs, params);
    /// Brings a run's commits onto a branch.
    RunLand "run.land" (changes::LandParams) -> changes::Landed = |app, params| changes::land(&app.runs, params);
    /// Gives a run's worktree up.
    RunDiscard "run.discard" (view::RunParams) -> changes::Discarded = |app, params| changes::discard(&app.runs, params);
    /// Lists open questions to people.
    ApprovalList "approval.list" (Nothing) -> Vec<approvals::Asked> = |app, _params| approvals::list(app);
    /// The open questions as they are to be drawn.
    ApprovalCards "approval.cards" (Nothing) -> Vec<approvals::Card> = |app, _params| approvals::cards(app);
    /// Answers an open question.
    ApprovalAnswer "approval.answer" (approvals::AnswerParams) -> approvals::Asked = |app, params| approvals::answer(app, params);
    /// Lists the open questions once others are open than are known.
    ApprovalWait "approval.wait" (approvals::WaitParams) -> Vec<approvals::Asked> = |app, params| approvals::wait(app, params);
    /// Lists the answers that last.
    ApprovalStanding "approval.standing" (Nothing) -> Vec<approvals::Standing> = |app, _params| approvals::standing(app);
    /// Takes an answer that lasts back.
    ApprovalRevoke "approval.revoke" (approvals::RevokeParams) -> approvals::Standing = |app, params| approvals::revoke(app, params);
    /// Lists the record.
    AuditList "audit.list" (audit::ListParams) -> Vec<crate::audit::Listed> = |app, params| audit::list(app, params);
    /// Verifies the record.
    AuditVerify "audit.verify" (Nothing) -> audit::Verified = |app, _params| audit::verify(app);
    /// Lists the policies in force.
    PolicyList "policy.list" (policies::ListParams) -> Vec<policies::PolicyView> = |app, params| policies::list(app, params);
    /// Lists the rules by which things have labels.
    PolicyLabels "policy.labels" (Nothing) -> Vec<policies::LabelView> = |app, _params| policies::labels(app);
    /// Says why something was decided as it was.
    PolicyWhy "policy.why" (why::WhyParams) -> why::WhyView = |app, params| why::why(app, params);
    /// Lists decisions with what they were about.
    PolicyDecided "policy.decided" (decided::DecidedParams) -> decided::DecidedPage = |app, params| decided::decided(app, params);
    /// Says whether something would be allowed.
    PolicyExplain "policy.explain" (explain::ExplainParams) -> explain::ExplainView = |app, params| explain::explain(app, params);
    /// Lists budgets with their balances.
    BudgetList "budget.list" (Nothing) -> Vec<budgets::BudgetView> = |app, _params| budgets::list(app);
    /// Shows one budget.
    BudgetShow "budget.show" (budgets::ShowParams) -> budgets::BudgetView = |app, params| budgets::show(app, params);
    /// Lets a budget spend more in its present period.
    BudgetRaise "budget.raise" (budgets::AdjustParams) -> budgets::BudgetView = |app, params| budgets::raise(app, params);
    /// Lets a budget spend less in its present period.
    BudgetLower "budget.lower" (budgets::AdjustParams) -> budgets::BudgetView = |app, params| budgets::lower(app, params);
    /// What is known of the clock that periods are computed from.
    ClockShow "clock.show" (Nothing) -> clock::ClockView = |app, _params| clock::show(app);
    /// Takes a person's word that the clock is right.
    ClockAccept "clock.accept" (Nothing) -> clock::ClockView = |app, _params| clock::accept(app);
    /// Sets a provider's statement against the ledger.
    BudgetReconcile "budget.reconcile" (reconcile::ReconcileParams) -> reconcile::Reconciliation = |app, params| reconcile::reconcile(app, params);
    /// Sums what was spent on what.
    UsageShow "usage.show" (usage::UsageParams) -> usage::UsageView = |app, params| usage::show(app, params);
    /// Sums what one run spent and was denied.
    UsageRun "usage.run" (figures::SummaryParams) -> figures::RunSummary = |app, params| figures::summary(app, params);
    /// Lists the prices in force.
    PriceList "price.list" (Nothing) -> prices::PriceList = |app, _params| prices::list(app);
    /// Lists models that were frozen.
    PriceFrozen "price.frozen" (Nothing) -> Vec<prices::FrozenView> = |app, _params| prices::frozen(app);
    /// Compares a file's prices with those in force.
    PriceDiff "price.diff" (prices::FileParams) -> Vec<prices::PriceChange> = |app, params| prices::diff(app, params);
    /// Puts a file's prices in force.
    PriceRefresh "price.refresh" (prices::RefreshParams) -> prices::Refreshed = |app, params| prices::refresh(app, params);
    /// Stores a key in the keyring.
    KeySet "key.set" (keys::SetParams) -> keys::KeyView = |app, params| keys::set(app, params);
    /// Lists where keys come from, never their values.
    KeyList "key.list" (Nothing) -> Vec<keys::KeyView> = |app, _params| keys::list(app);
    /// Removes a key from the keyring.
    KeyRemove "key.remove" (keys::NameParams) -> keys::KeyView = |app, params| keys::remove(app, params);
    /// Lists MCP servers.
    McpList "mcp.list" (Nothing) -> Vec<mcp::ServerView> = |app, _params| mcp::list(app);
    /// Adds an MCP server to the configuration.
    McpAdd "mcp.add" (mcp::AddParams) -> mcp::ServerView = |app, params| mcp::add(app, params);
    /// Lists registered agents.
    AgentList "agent.list" (Nothing) -> Vec<agents::AgentView> = |app, _params| agents::list(app);
    /// Shows one agent, field by field.
    AgentShow "agent.show" (agents::NameParams) -> agents::AgentDetail = |app, params| agents::show(app, params);
    /// Registers an agent.
    AgentRegister "agent.register" (agents::RegisterParams) -> agents::Registered = |app, params| agents::register(app, params);
    /// Writes that an agent is retired.
    AgentRetire "agent.retire" (agents::NameParams) -> agents::Retired = |app, params| agents::retire(app, params);
    /// Looks at the registry in git now.
    RegistrySync "registry.sync" (registry::SyncParams) -> registry::SyncView = |app, params| registry::sync(app, params);
    /// Writes the personal agent and its budget.
    ManifestInit "manifest.init" (manifests::InitParams) -> manifests::Initialised = |app, params| manifests::init(app, params);
    /// Writes the demo's agent and budget.
    ManifestDemo "manifest.demo" (Nothing) -> manifests::Initialised = |app, _params| manifests::demo(app);
    /// What the daemon is and does.
    DaemonStatus "daemon.status" (Nothing) -> daemon::Status = |app, _params| daemon::status(app);
    /// Ends the daemon; runs go on without it. Never changes: any client can end any daemon.
    DaemonStop "daemon.stop" (Nothing) -> daemon::Stopping = |app, _params| daemon::stop(app);
}

/// Parameters of an op that needs none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Nothing {}

fn parse<T: DeserializeOwned>(op: &str, params: &RawValue) -> Result<T, Failure> {
    serde_json::from_str(params.get())
        .map_err(|error| Failure::new(Code::Usage, format!("`{op}` cannot be asked like that: {error}")))
}

fn encode(reply: &impl Serialize) -> Result<Box<RawValue>, Failure> {
    serde_json::value::to_raw_value(reply).map_err(|error| Failure::internal(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_noun_and_verb_and_unique() {
        for name in NAMES {
            let (noun, verb) = name.split_once('.').unwrap();
            assert!(
                [noun, verb].iter().all(|word| word.bytes().all(|byte| byte.is_ascii_lowercase())),
                "{name}"
            );
        }
        let mut unique = NAMES.to_vec();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), NAMES.len());
    }
}
