//! What providers state afterwards of calls that nobody counted.

use super::*;
use crate::core::manifest::Cap;
use crate::core::reconcile::{Known, Stated, Verdict};

fn stated(cost: Option<i64>, usage: Option<Usage>) -> Stated {
    Stated { usage, cost: cost.map(nano) }
}

fn counted() -> Usage {
    Usage { input_tokens: 4, cache_read_tokens: 2, output_tokens: 3, ..Usage::default() }
}

/// A call that may cost 40 and that nobody counted.
async fn lost(world: &World) -> RecordId {
    lost_at(world, "v1").await
}

async fn lost_at(world: &World, prices: &str) -> RecordId {
    let Action::Llm(call) = llm(40) else { unreachable!() };
    let call = Action::Llm(LlmAction { prices: prices.into(), ..call });
    let mut permit = world.gate.decide(&world.live, call).await.unwrap();
    let record = permit.record().unwrap();
    permit.name_upstream("req_1");
    permit.settle(Outcome::charged("cut", Charge::Assumed)).await.unwrap();
    record
}

async fn state(world: &World, record: RecordId, stated: Stated) -> Reconciled {
    let statement = Statement { record, stated, source: "a.csv".into(), by: "user:alice".into() };
    world.gate.reconcile(statement).await.unwrap().unwrap()
}

#[tokio::test]
async fn what_was_assumed_is_lowered_once_in_every_budget_and_on_the_record() {
    let world = world(50, 0).await;
    let record = lost(&world).await;
    assert_eq!(total(&world.store).await, (40, 0));
    // There is no room for another one until the statement comes.
    assert!(world.gate.decide(&world.live, llm(20)).await.is_err());
    let done = state(&world, record, stated(Some(12), Some(counted()))).await;
    assert_eq!(
        (done.verdict, done.after.known, done.record.is_some()),
        (Verdict::Lowered, Known::Whole, true)
    );
    assert_eq!(total(&world.store).await, (12, 0));
    for cost in [12, 11] {
        let again = state(&world, record, stated(Some(cost), Some(counted()))).await;
        assert_eq!((again.verdict, again.record), (Verdict::Agrees, None));
    }
    let named = world.store.read(|connection| crate::store::corrections::calls(connection, "req_1"));
    let named: Vec<RecordId> = named.await.unwrap().into_iter().map(|call| call.record).collect();
    assert_eq!(named, [record]);
    world.gate.decide(&world.live, llm(38)).await.unwrap().settle(settled(38)).await.unwrap();
    let lines = sentences(&world.store).await;
    let told = "user:alice lowered what a call of `model-a` cost from 0.00000004 USD to 0.000000012 USD, as a.csv \
                states at TIME.";
    assert!(lines.iter().any(|line| line == told), "{lines:?}");
    verified(&world.store).await;
}

#[tokio::test]
async fn a_statement_without_tokens_leaves_them_and_a_later_one_may_tell_them() {
    let tokens = TokenBudget { cap: Cap::Tokens { cap: 1000, burst: 0 }, ..purse(0, 0) };
    let world = world_of(snapshot(agent(), vec![tokens])).await;
    let record = lost(&world).await;
    let posted = async || {
        let account = Account { budget: "team/purse".into(), period: "total".into() };
        let balance = world.store.read(move |connection| balance(connection, &account)).await.unwrap();
        (balance.posted.nano(), balance.posted_tokens)
    };
    assert_eq!(posted().await, (40, 20));
    assert_eq!(state(&world, record, stated(Some(12), None)).await.verdict, Verdict::Lowered);
    assert_eq!(posted().await, (12, 20));
    assert_eq!(state(&world, record, stated(None, Some(counted()))).await.verdict, Verdict::Lowered);
    assert_eq!(posted().await, (12, 9));
    assert_eq!(state(&world, record, stated(None, Some(Usage::default()))).await.verdict, Verdict::Agrees);
    verified(&world.store).await;
}

#[tokio::test]
async fn what_is_stated_above_the_bound_is_posted_and_freezes_the_model() {
    let world = world(1000, 0).await;
    let record = lost(&world).await;
    assert_eq!(state(&world, record, stated(Some(45), None)).await.verdict, Verdict::Overrun);
    assert_eq!(total(&world.store).await, (45, 0), "the truth is posted");
    let refusal = world.gate.decide(&world.live, llm(1)).await.err().unwrap();
    assert!(refusal.message.contains("is frozen, because a call cost 0.000000005 USD more"), "{refusal}");
    verified(&world.store).await;
}

#[tokio::test]
async fn what_is_under_way_or_was_not_billed_is_left_alone_and_a_preview_changes_nothing() {
    let world = world(1000, 0).await;
    let open = world.gate.decide(&world.live, llm(40)).await.unwrap();
    let record = open.record().unwrap();
    assert_eq!(state(&world, record, stated(Some(1), None)).await.verdict, Verdict::Open);
    open.settle(Outcome::charged("refused", Charge::Void)).await.unwrap();
    assert_eq!(state(&world, record, stated(Some(1), None)).await.verdict, Verdict::Contradicts);
    let lost = lost_at(&world, "v2").await;
    let statement =
        Statement { record: lost, stated: stated(Some(1), None), source: "a".into(), by: "user:a".into() };
    let preview = world.gate.preview_statement(statement).await.unwrap().unwrap();
    assert_eq!((preview.verdict, preview.record, preview.after.cost), (Verdict::Lowered, None, nano(1)));
    assert_eq!(total(&world.store).await, (40, 0));
    let unknown = ids::new_record_id().unwrap();
    let statement =
        Statement { record: unknown, stated: stated(Some(1), None), source: "a".into(), by: "user:a".into() };
    assert!(world.gate.reconcile(statement).await.unwrap().is_none());
    verified(&world.store).await;
}

#[tokio::test]
async fn names_are_kept_before_a_call_is_settled() {
    let world = world(1000, 0).await;
    let mut permit = world.gate.decide(&world.live, llm(40)).await.unwrap();
    for name in ["req_2", "", "with space", "req_2", &"x".repeat(201)] {
        permit.name_upstream(name);
    }
    permit.keep_names();
    permit.name_upstream("msg_2");
    let record = permit.record().unwrap();
    let named = async |name: &'static str| {
        let calls = world.store.read(move |connection| crate::store::corrections::calls(connection, name));
        calls.await.unwrap().into_iter().map(|call| call.record).collect::<Vec<_>>()
    };
    world.store.sync().await.unwrap();
    assert_eq!((named("req_2").await, named("msg_2").await), (vec![record], vec![]));
    drop(permit);
    world.store.sync().await.unwrap();
    assert_eq!((named("msg_2").await, named("with space").await), (vec![record], vec![]));
}
