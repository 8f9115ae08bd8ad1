//! Runs that behave like runaways, and what becomes of them.

use super::*;
use crate::core::run::RunState;
use crate::registry::Config;
use crate::store::runs;

async fn spending() -> World {
    let mut config = Config::default();
    config.breakers.spend_per_minute = Some(nano(100));
    world_of(Snapshot { config, ..snapshot(agent(), vec![purse(1000, 0)]) }).await
}

async fn call(world: &World, cost: i64) -> Result<(), Refusal> {
    world.gate.decide(&world.live, llm(cost)).await?.settle(settled(cost)).await.unwrap();
    Ok(())
}

#[tokio::test]
async fn who_spends_too_fast_is_suspended_until_somebody_resumes_it() {
    let world = spending().await;
    call(&world, 60).await.unwrap();
    assert_eq!(world.live.state(), RunState::Running);
    call(&world, 60).await.unwrap();
    assert_eq!(world.live.state(), RunState::Suspended);
    let short = world.live.run.id.short();
    let text = format!(
        "the run is suspended: it spent 0.00000012 USD in a minute; `agentsup resume {short}` lets it go on"
    );
    for action in [llm(1), tool("notes")] {
        let refusal = world.gate.decide(&world.live, action).await.err().unwrap();
        assert!(refusal.message.contains(&text), "{refusal}");
    }
    assert!(world.gate.authenticate("ast_token").is_some(), "it is told why, as the one it is");

    assert!(world.gate.resume(&world.live).await.unwrap());
    assert!(!world.gate.resume(&world.live).await.unwrap(), "once is enough");
    call(&world, 60).await.unwrap();
    assert_eq!(world.live.state(), RunState::Running);
    let lines = sentences(&world.store).await;
    let of = |word: &str| lines.iter().filter(|line| line.contains(word)).cloned().collect::<Vec<_>>();
    assert_eq!(
        of("was suspended"),
        [
            "agent/bot@team, owned by user:alice, was suspended: it spent 0.00000012 USD in a minute in dev at TIME."
        ]
    );
    assert_eq!(of("was resumed"), ["agent/bot@team, owned by user:alice, was resumed in dev at TIME."]);
    verified(&world.store).await;
}

#[tokio::test]
async fn a_storm_of_refused_calls_suspends() {
    let world = world(100, 0).await;
    for _ in 0..121 {
        assert_eq!(call(&world, 1000).await.unwrap_err().kind, RefusalKind::Budget);
    }
    let refusal = call(&world, 1).await.unwrap_err();
    assert!(refusal.message.contains("it repeated refused model calls 121 times in a minute"), "{refusal}");
}

#[tokio::test]
async fn calls_that_fail_in_a_row_suspend() {
    let world = world(100, 0).await;
    for _ in 0..51 {
        let permit = world.gate.decide(&world.live, llm(1)).await.unwrap();
        permit.settle(Outcome::charged("500", Charge::Void)).await.unwrap();
    }
    assert_eq!(world.live.suspension().as_deref(), Some("51 model calls in a row failed"));
}

/// It would be forwarded only to be cut off, and would count as spent.
#[tokio::test]
async fn the_call_that_is_one_too_many_is_not_made() {
    let mut config = Config::default();
    config.breakers.calls_per_minute = Some(10);
    let world = world_of(Snapshot { config, ..snapshot(agent(), vec![purse(1000, 0)]) }).await;
    let mut made = 0;
    let refusal = loop {
        match call(&world, 1).await {
            Ok(()) => made += 1,
            Err(refusal) => break refusal,
        }
    };
    assert!(refusal.message.contains("agentsup: the run is suspended: it made "), "{refusal}");
    assert_eq!((refusal.kind, total(&world.store).await), (RefusalKind::Denied, (made, 0)));
    let lines = sentences(&world.store).await;
    assert!(lines.iter().any(|line| line.contains("suspended before it began")), "{lines:?}");
    verified(&world.store).await;
}

/// Clients count tokens often, and always for nothing.
#[tokio::test]
async fn what_is_free_neither_fails_nor_counts_as_a_call() {
    let mut config = Config::default();
    config.breakers.calls_per_minute = Some(10);
    let world = world_of(Snapshot { config, ..snapshot(agent(), vec![purse(1000, 0)]) }).await;
    let Action::Llm(free) = llm(0) else { unreachable!("it is one") };
    let bound = Some(Bound { input_tokens: 0, output_tokens: 0, cost: NanoUsd::ZERO });
    for _ in 0..60 {
        let permit = world.gate.decide(&world.live, Action::Llm(LlmAction { bound, ..free.clone() })).await;
        permit.unwrap().settle(Outcome::charged("200 OK", Charge::Void)).await.unwrap();
    }
    assert_eq!(world.live.suspension(), None);
}

#[tokio::test]
async fn a_later_daemon_knows_that_a_run_is_suspended_and_why() {
    let world = spending().await;
    assert!(world.gate.suspend(&world.live, "somebody wants to look first").await.unwrap());
    let id = world.live.run.id;
    let row = world.store.read(move |connection| runs::by_id(connection, id)).await.unwrap().unwrap();
    assert_eq!((row.state, row.exit.as_deref()), (RunState::Suspended, Some("somebody wants to look first")));
    let again = Gate::new(world.store.clone(), Registry::fixed(snapshot(agent(), vec![purse(1000, 0)])));
    let live = again.readmit(&row);
    let refusal = again.decide(&live, llm(1)).await.err().unwrap();
    assert!(refusal.message.contains("suspended: somebody wants to look first"), "{refusal}");
    assert!(again.resume(&live).await.unwrap());
    let row = world.store.read(move |connection| runs::by_id(connection, id)).await.unwrap().unwrap();
    assert_eq!((row.state, row.exit), (RunState::Running, None));
}

/// A killed run stays killed.
#[tokio::test]
async fn what_is_over_is_neither_suspended_nor_resumed() {
    let world = spending().await;
    world.gate.set_state(&world.live, RunState::Killed, None).await.unwrap();
    assert!(!world.gate.suspend(&world.live, "x").await.unwrap());
    assert!(!world.gate.resume(&world.live).await.unwrap());
}
