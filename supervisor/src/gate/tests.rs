//! The gate over a real store: what is denied first, then what is allowed, then what the money does.

mod acs;
mod adjust;
mod ask;
mod breaker;
mod chain;
mod crash;
mod facts;
mod guards;
mod labels;
mod reconcile;
mod reported;
mod schedules;

use std::sync::Arc;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::audit::{self, List};
use crate::core::action::{
    Bound, Facts, LaunchAction, LlmAction, Objection, PathFact, Place, ToolAction, ToolSource,
};
use crate::core::billing::Billing;
use crate::core::fixture::{self, purse};
use crate::core::label::Labels;
use crate::core::manifest::{BuiltinClass, TokenBudget, ToolScope};
use crate::core::money::NanoUsd;
use crate::core::policy::{Layer, Pack, PolicySet, PolicySource};
use crate::core::run::HookDuty;
use crate::core::usage::Usage;
use crate::registry::Config;
use crate::store::ledger::{Account, balance};
use crate::sys::ids;

fn nano(amount: i64) -> NanoUsd {
    NanoUsd::new(amount).unwrap()
}

fn agent() -> Agent {
    Agent {
        adapters: vec!["command".into()],
        models: vec!["model-*".into()],
        tools: ToolScope { mcp: vec!["notes/*".into()], builtin: vec![BuiltinClass::Read] },
        budget: "purse".into(),
        ..fixture::agent()
    }
}

fn snapshot(agent: Agent, budgets: Vec<TokenBudget>) -> Snapshot {
    let mut config = Config::default();
    // What these tests are about is told apart from what tests of labels are about.
    config.data.mcp.results = Some(Labels::NONE);
    Snapshot {
        config,
        agents: vec![agent],
        budgets,
        policies: PolicySet::load(&[PolicySource::pack(Pack::Standard)]).unwrap(),
        acs: None,
        origins: std::collections::BTreeMap::new(),
        digest: [0; 32],
        registry: None,
        problems: Vec::new(),
    }
}

struct World {
    gate: Gate,
    store: Store,
    live: Arc<LiveRun>,
    _dir: TempDir,
}

fn run() -> Run {
    let id = ids::new_run_id().unwrap();
    Run { id, adapter: "command".into(), hooks: HookDuty::None, ..fixture::run() }
}

async fn world_of(snapshot: Snapshot) -> World {
    world_by(Clock::wall(), snapshot).await
}

async fn world_by(clock: Clock, snapshot: Snapshot) -> World {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("agentsup.db")).unwrap();
    let gate = Gate::by_clock(store.clone(), Registry::fixed(snapshot), clock);
    let live = gate.admit(run(), "ast_token").await.unwrap();
    assert!(gate.set_state(&live, RunState::Running, None).await.unwrap());
    World { gate, store, live, _dir: dir }
}

async fn world(cap: i64, burst: i64) -> World {
    world_of(snapshot(agent(), vec![purse(cap, burst)])).await
}

fn llm(cost: i64) -> Action {
    let bound = Bound { input_tokens: 10, output_tokens: 10, cost: nano(cost) };
    Action::Llm(LlmAction {
        bound: Some(bound),
        prices: "v1".into(),
        ..LlmAction::new("anthropic", "model-a")
    })
}

fn tool(server: &str) -> Action {
    Action::Tool(ToolAction {
        source: ToolSource::Mcp(server.into()),
        tool: "echo".into(),
        args_digest: [1; 32],
        facts: Facts::default(),
        call_id: Some("toolu_1".into()),
    })
}

fn settled(cost: i64) -> Outcome {
    let usage = Usage { input_tokens: 3, output_tokens: 4, ..Usage::default() };
    Outcome::charged("200 OK", Charge::Settled { usage, cost: nano(cost) })
}

async fn total(store: &Store) -> (i64, i64) {
    let account = Account { budget: "team/purse".into(), period: "total".into() };
    let balance = store.read(move |connection| balance(connection, &account)).await.unwrap();
    (balance.posted.nano(), balance.pending.nano())
}

async fn sentences(store: &Store) -> Vec<String> {
    let lines = store.read(|connection| audit::list(connection, &List::default())).await.unwrap();
    lines
        .into_iter()
        .map(|line| {
            let id = line.id.to_string();
            let time = format!("{}Z", &line.at[11..19]);
            line.sentence.replace(&id, "rec").replace(&time, "TIME")
        })
        .collect()
}

async fn verified(store: &Store) -> u64 {
    store.read(audit::verify).await.unwrap().unwrap().records
}

#[tokio::test]
async fn a_tool_outside_the_scope_is_denied_and_recorded() {
    let world = world(100, 0).await;
    let refusal = world.gate.decide(&world.live, tool("payments")).await.err().unwrap();
    let record = refusal.record.unwrap();
    assert_eq!(
        refusal,
        Refusal {
            kind: RefusalKind::Denied,
            message: format!(
                "agentsup denied `payments/echo`: the tool `payments/echo` is not in the agent's scope ({record}). Do \
                 without it, or ask your user, who can run: agentsup why {record}"
            ),
            hint: None,
            record: Some(record),
        }
    );
    assert_eq!(
        sentences(&world.store).await,
        [
            "agent/bot@team, owned by user:alice, wanted to call `payments/echo` in dev at TIME, denied by scope: the \
          tool `payments/echo` is not in the agent's scope."
        ]
    );
}

#[tokio::test]
async fn without_a_budget_or_a_bound_no_model_is_called() {
    let world = world_of(snapshot(agent(), Vec::new())).await;
    let refusal = world.gate.decide(&world.live, llm(1)).await.err().unwrap();
    assert!(refusal.message.contains("the budget `purse` does not exist"), "{refusal}");

    let world = self::world(100, 0).await;
    let unbounded = LlmAction::new("p", "model-a");
    let refusal = world.gate.decide(&world.live, Action::Llm(unbounded.clone())).await.err().unwrap();
    assert!(refusal.message.contains("the cost of the call cannot be bounded"), "{refusal}");

    let objection = Objection { reason: "no price is known".into(), hint: Some("[prices.x]".into()) };
    let refusal = world
        .gate
        .decide(&world.live, Action::Llm(LlmAction { objection: Some(objection), ..unbounded }))
        .await
        .err()
        .unwrap();
    assert_eq!(refusal.hint.as_deref(), Some("[prices.x]"));
    assert_eq!(total(&world.store).await, (0, 0));
}

#[tokio::test]
async fn a_run_whose_hooks_are_silent_gets_no_model() {
    let world = world(100, 0).await;
    let silent = Run { hooks: HookDuty::Required, ..run() };
    let live = world.gate.admit(silent, "ast_other").await.unwrap();
    let refusal = world.gate.decide(&live, llm(1)).await.err().unwrap();
    assert!(refusal.message.contains("hooks have not announced themselves"), "{refusal}");
    world.gate.hear_hooks(&live);
    world.gate.decide(&live, llm(1)).await.unwrap().settle(settled(1)).await.unwrap();
}

#[tokio::test]
async fn after_a_crash_models_are_open_only_to_runs_that_had_them() {
    let world = world(100, 0).await;
    let silent = Run { hooks: HookDuty::Required, ..run() };
    let id = silent.id;
    let live = world.gate.admit(silent, "ast_other").await.unwrap();
    assert!(world.gate.set_state(&live, RunState::Running, None).await.unwrap());
    for heard in [false, true] {
        let row = world.store.read(move |connection| runs::by_id(connection, id)).await.unwrap().unwrap();
        let next = Gate::new(world.store.clone(), Registry::fixed(snapshot(agent(), vec![purse(100, 0)])));
        assert_eq!(next.readmit(&row).hooks_heard(), heard);
        world.gate.hear_hooks(&live);
        world.gate.decide(&live, llm(1)).await.unwrap().settle(settled(1)).await.unwrap();
    }
}

#[tokio::test]
async fn a_killed_run_is_over_for_its_token_and_its_permits() {
    let world = world(100, 0).await;
    assert!(world.gate.authenticate("ast_token").is_some());
    assert!(world.gate.authenticate("ast_toke").is_none());
    world.gate.set_state(&world.live, RunState::Killed, Some("killed".into())).await.unwrap();
    assert!(world.gate.authenticate("ast_token").is_none());
    world.live.cancelled().await;
    let refusal = world.gate.decide(&world.live, llm(1)).await.err().unwrap();
    assert_eq!((refusal.kind, total(&world.store).await), (RefusalKind::Killed, (0, 0)));
    // A final state stays, in memory and on disk.
    assert!(!world.gate.set_state(&world.live, RunState::Running, None).await.unwrap());
}

#[tokio::test]
async fn a_settled_call_costs_what_the_provider_counted() {
    let world = world(100, 0).await;
    let permit = world.gate.decide(&world.live, llm(40)).await.unwrap();
    assert_eq!(total(&world.store).await, (0, 40));
    permit.settle(settled(25)).await.unwrap();
    assert_eq!(total(&world.store).await, (25, 0));
    assert_eq!(
        sentences(&world.store).await,
        [
            "agent/bot@team, owned by user:alice, called the model `model-a` of anthropic in dev at TIME, 7 tokens, \
          0.000000025 USD, allowed by default/in-scope, 200 OK."
        ]
    );
    assert_eq!(verified(&world.store).await, 2);
}

#[tokio::test]
async fn a_dropped_permit_is_abandoned_and_counts_in_full() {
    let world = world(100, 0).await;
    drop(world.gate.decide(&world.live, llm(40)).await.unwrap());
    drop(world.gate.decide(&world.live, tool("notes")).await.unwrap());
    // A write that waits comes after those that do not.
    world.gate.note(EventEntry::new("mark", "a mark was made")).await.unwrap();
    assert_eq!(total(&world.store).await, (40, 0));
    assert_eq!(
        sentences(&world.store).await,
        [
            "agent/bot@team, owned by user:alice, called the model `model-a` of anthropic in dev at TIME, 20 tokens, \
             0.00000004 USD, allowed by default/in-scope, abandoned.",
            "agent/bot@team, owned by user:alice, called `notes/echo` in dev at TIME, allowed by default/in-scope, abandoned.",
            "a mark was made at TIME.",
        ]
    );
}

#[tokio::test]
async fn the_end_of_a_budget_refuses_with_what_is_left() {
    let world = world(100, 10).await;
    world.gate.decide(&world.live, llm(80)).await.unwrap().settle(settled(80)).await.unwrap();
    let refusal = world.gate.decide(&world.live, llm(31)).await.err().unwrap();
    let record = refusal.record.unwrap();
    assert_eq!(refusal.kind, RefusalKind::Budget);
    assert_eq!(
        refusal.message,
        format!(
            "agentsup: budget exhausted: the budget `purse` has spent 0.00000008 USD of 0.00000011 USD (total); this \
             call could cost up to 0.000000031 USD. Nothing was billed. Ask user:alice to raise the \
             budget or wait for its next period ({record})"
        )
    );
    world.gate.decide(&world.live, llm(30)).await.unwrap().settle(settled(30)).await.unwrap();
    assert_eq!(total(&world.store).await, (110, 0));
    let lines = sentences(&world.store).await;
    assert_eq!(lines[1], "budget team/purse reached 80 % of its cap in total: 0.00000008 USD spent at TIME.");
}

#[tokio::test]
async fn a_call_waits_for_headroom_that_is_only_pending() {
    let world = world(100, 0).await;
    let first = world.gate.decide(&world.live, llm(90)).await.unwrap();
    let (gate, live) = (world.gate.clone(), Arc::clone(&world.live));
    let second = tokio::spawn(async move { gate.decide(&live, llm(50)).await });
    first.settle(settled(10)).await.unwrap();
    second.await.unwrap().unwrap().settle(settled(50)).await.unwrap();
    assert_eq!(total(&world.store).await, (60, 0));
}

/// A small call does not overtake a large one that waits, or the large one would never get its turn.
#[tokio::test]
async fn those_who_wait_for_headroom_get_it_in_order() {
    let world = world(100, 0).await;
    let first = world.gate.decide(&world.live, llm(90)).await.unwrap();
    let (gate, live) = (world.gate.clone(), Arc::clone(&world.live));
    let large = tokio::spawn(async move { gate.decide(&live, llm(50)).await });
    let in_line = async {
        while world.gate.inner.line.before(None, &["team/purse".to_owned()]).is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), in_line).await.unwrap();
    let mut small = Box::pin(world.gate.decide(&world.live, llm(10)));
    let early = tokio::time::timeout(std::time::Duration::from_millis(200), &mut small).await;
    assert!(early.is_err(), "the small call fits, but it is not its turn");
    // What waiting cannot help is refused at once all the same, and what is free is served.
    assert_eq!(world.gate.decide(&world.live, llm(101)).await.err().unwrap().kind, RefusalKind::Budget);
    let free = Bound { input_tokens: 0, output_tokens: 0, cost: NanoUsd::ZERO };
    let free = LlmAction { bound: Some(free), ..LlmAction::new("p", "model-a") };
    let free = world.gate.decide(&world.live, Action::Llm(free)).await.unwrap();
    free.settle(Outcome::charged("200 OK", Charge::Void)).await.unwrap();

    first.settle(settled(45)).await.unwrap();
    let large = large.await.unwrap().unwrap();
    assert_eq!(total(&world.store).await, (45, 50));
    large.settle(settled(10)).await.unwrap();
    small.await.unwrap().settle(settled(10)).await.unwrap();
    assert_eq!(total(&world.store).await, (65, 0));
}

#[tokio::test]
async fn after_a_crash_an_open_call_counts_in_full() {
    let world = world(100, 0).await;
    let permit = world.gate.decide(&world.live, llm(40)).await.unwrap();
    // What a killed daemon leaves: an open reservation and no destructor.
    std::mem::forget(permit);
    let next = Gate::new(world.store.clone(), Registry::fixed(snapshot(agent(), vec![purse(100, 0)])));
    assert_eq!(next.recover().await.unwrap(), 1);
    assert_eq!(next.recover().await.unwrap(), 0);
    assert_eq!(total(&world.store).await, (40, 0));
    assert_eq!(verified(&world.store).await, 2);
}

#[tokio::test]
async fn launching_is_an_action_like_any_other() {
    let world = world(100, 0).await;
    let launch = |adapter: &str| {
        Action::Launch(LaunchAction {
            adapter: adapter.into(),
            repository: "/repo".into(),
            remote: None,
            billing: Billing::Keys,
        })
    };
    let refusal = world.gate.decide(&world.live, launch("claude")).await.err().unwrap();
    assert!(refusal.message.contains("the adapter `claude` is not in the agent's scope"), "{refusal}");
    let permit = world.gate.decide(&world.live, launch("command")).await.unwrap();
    permit.settle(Outcome::free("started")).await.unwrap();
    assert_eq!(
        sentences(&world.store).await[1],
        "agent/bot@team, owned by user:alice, was launched with command in /repo in dev at TIME, allowed by default/in-scope, \
         started."
    );
}

#[tokio::test]
async fn a_changed_record_is_found() {
    let world = world(100, 0).await;
    for _ in 0..3 {
        world
            .gate
            .decide(&world.live, tool("notes"))
            .await
            .unwrap()
            .settle(Outcome::free("ok"))
            .await
            .unwrap();
    }
    let refused = world
        .store
        .write(|tx| Ok(tx.execute("UPDATE records SET at_ms = 0 WHERE seq = 2", [])?))
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("records are append-only"), "{refused}");
    world
        .store
        .write(|tx| {
            tx.execute_batch("DROP TRIGGER records_never_change")?;
            let body: Vec<u8> =
                tx.query_row("SELECT body FROM records WHERE seq = 3", [], |row| row.get(0))?;
            let forged = String::from_utf8_lossy(&body).replace("notes/echo", "notes/read").into_bytes();
            let hash = crate::core::record::hash(&forged);
            tx.execute("UPDATE records SET body = ?1, hash = ?2 WHERE seq = 3", (forged, hash.as_slice()))?;
            Ok(())
        })
        .await
        .unwrap();
    let finding = world.store.read(audit::verify).await.unwrap().unwrap_err();
    assert_eq!(finding, audit::Finding { seq: 4, what: "it does not follow the record before it".into() });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// However many calls race, whatever becomes of them: never more than the ceiling is held and spent, what was
    /// truly billed never exceeds what is posted, and the log tells the same amounts.
    #[test]
    fn a_budget_is_never_overspent(
        calls in proptest::collection::vec((1_i64..60, 0_u8..=100, 0_u8..4), 1..24),
        cap in 1_i64..200,
        burst in 0_i64..50,
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let world = world(cap, burst).await;
            let mut racing = Vec::new();
            for (bound, share, fate) in calls {
                let (gate, live) = (world.gate.clone(), Arc::clone(&world.live));
                racing.push(tokio::spawn(async move {
                    let Ok(permit) = gate.decide(&live, llm(bound)).await else { return 0 };
                    let billed = bound * i64::from(share) / 100;
                    match fate {
                        0 => { drop(permit); bound }
                        1 => { permit.settle(Outcome::charged("cut", Charge::Assumed)).await.unwrap(); billed }
                        2 => { permit.settle(Outcome::charged("refused", Charge::Void)).await.unwrap(); 0 }
                        _ => { permit.settle(settled(billed)).await.unwrap(); billed }
                    }
                }));
            }
            let mut billed = 0;
            for call in racing {
                billed += call.await.unwrap();
            }
            world.gate.note(EventEntry::new("mark", "a mark was made")).await.unwrap();
            let (posted, pending) = total(&world.store).await;
            assert_eq!(pending, 0);
            assert!(billed <= posted && posted <= cap + burst, "{billed} <= {posted} <= {cap} + {burst}");
            verified(&world.store).await;
        });
    }
}
