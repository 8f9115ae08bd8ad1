//! Calls on a subscription, told of afterwards.

use super::*;
use crate::core::amount::Amount;
use crate::core::billing::Payers;
use crate::core::policy::own::Own;

fn told(call: &str, cost: i64) -> Reported {
    Reported {
        call: call.into(),
        provider: "anthropic".into(),
        model: "model-a".into(),
        priced_as: None,
        prices: "v1".into(),
        usage: Usage { input_tokens: 3, output_tokens: 4, ..Usage::default() },
        cost: nano(cost),
    }
}

/// A run on a subscription, with a cap of its own below a budget.
async fn subscribed(own: i64, cap: i64) -> (World, Arc<LiveRun>) {
    let agent = Agent { billing: Payers::Either, ..agent() };
    let world = world_of(snapshot(agent, vec![purse(cap, 0)])).await;
    let cap = Some(Amount::Money(nano(own)));
    let run = Run { billing: Billing::Subscription, cap, ..run() };
    let live = world.gate.admit(run, "ast_subscribed").await.unwrap();
    assert!(world.gate.set_state(&live, RunState::Running, None).await.unwrap());
    (world, live)
}

#[tokio::test]
async fn a_call_counts_once_in_every_budget_and_the_last_one_closes_everything() {
    let (world, live) = subscribed(100, 1000).await;
    let overspending = world.gate.overspending();
    let calls = || vec![told("req_1", 40), told("req_2", 59)];
    assert_eq!(world.gate.report(&live, calls()).await.unwrap(), 2);
    assert_eq!(world.gate.report(&live, calls()).await.unwrap(), 0);
    assert_eq!(total(&world.store).await, (99, 0));
    world.gate.decide(&live, tool("notes")).await.unwrap().settle(Outcome::free("done")).await.unwrap();
    assert_eq!((live.overspent(), overspending.has_changed().unwrap()), (None, false));

    assert_eq!(world.gate.report(&live, vec![told("req_3", 1)]).await.unwrap(), 1);
    let over = "over budget: 0.0000001 USD of 0.0000001 USD are spent in run/";
    assert!(live.overspent().unwrap().starts_with(over), "{:?}", live.overspent());
    assert!(overspending.has_changed().unwrap());
    let refusal = world.gate.decide(&live, tool("notes")).await.err().unwrap();
    assert!(refusal.message.contains("over budget"), "{refusal}");
    assert!(world.gate.used_up(&live.run).await.unwrap().is_some(), "nor may another one begin");
    // A later daemon finds that out by itself.
    let later = Arc::new(LiveRun::new(live.run.clone(), RunState::Running, Own::None));
    world.gate.weigh(&later).await.unwrap();
    assert!(later.overspent().is_some());
    verified(&world.store).await;
}

#[tokio::test]
async fn a_run_that_is_paid_by_keys_is_not_believed() {
    let world = world(100, 0).await;
    assert_eq!(world.gate.report(&world.live, vec![told("req_1", 100)]).await.unwrap(), 0);
    assert_eq!(total(&world.store).await, (0, 0));
    assert_eq!(world.live.overspent(), None);
}

#[tokio::test]
async fn many_tools_without_a_word_of_what_models_cost_suspend_until_somebody_resumes() {
    let (world, live) = subscribed(100, 1000).await;
    let work = async |times: u32| {
        for _ in 0..times {
            world
                .gate
                .decide(&live, tool("notes"))
                .await
                .unwrap()
                .settle(Outcome::free("done"))
                .await
                .unwrap();
        }
    };
    work(49).await;
    world.gate.report(&live, vec![told("req_1", 1)]).await.unwrap();
    work(49).await;
    // What it told before is no news.
    world.gate.report(&live, vec![told("req_1", 1)]).await.unwrap();
    assert_eq!(live.state(), RunState::Running);
    work(1).await;
    assert_eq!(live.state(), RunState::Suspended);
    assert!(live.suspension().unwrap().starts_with("its telemetry is silent: 50 tool calls"));
    assert!(world.gate.decide(&live, tool("notes")).await.is_err());
    assert!(world.gate.resume(&live).await.unwrap());
    work(1).await;
    assert_eq!(live.state(), RunState::Running);
}
