//! Budgets that people raise and lower, and runs with a cap of their own.

use super::*;
use crate::core::amount::Amount;

fn change(direction: Direction, amount: i64, reason: Option<&str>) -> Change {
    Change {
        budget: purse(100, 0),
        direction,
        amount: Amount::Money(nano(amount)),
        by: "user:alice".into(),
        reason: reason.map(str::to_owned),
    }
}

#[tokio::test]
async fn a_raised_budget_pays_more_and_tells_of_its_new_edge() {
    let world = world(100, 0).await;
    world.gate.decide(&world.live, llm(90)).await.unwrap().settle(settled(90)).await.unwrap();
    assert_eq!(world.gate.decide(&world.live, llm(50)).await.err().unwrap().kind, RefusalKind::Budget);
    world.gate.adjust(change(Direction::Raise, 100, Some("release week"))).await.unwrap();
    world.gate.decide(&world.live, llm(50)).await.unwrap().settle(settled(50)).await.unwrap();
    world.gate.decide(&world.live, llm(30)).await.unwrap().settle(settled(30)).await.unwrap();
    let refusal = world.gate.decide(&world.live, llm(31)).await.err().unwrap();
    assert!(refusal.message.contains("has spent 0.00000017 USD of 0.0000002 USD"), "{refusal}");
    let lines: Vec<String> =
        sentences(&world.store).await.into_iter().filter(|line| !line.starts_with("agent/")).collect();
    assert_eq!(
        lines,
        [
            "budget team/purse reached 80 % of its cap in total: 0.00000009 USD spent at TIME.",
            "user:alice raised the budget team/purse by 0.0000001 USD to 0.0000002 USD in total (release week) at TIME.",
            "budget team/purse reached 80 % of its cap in total: 0.00000017 USD spent at TIME.",
        ]
    );
    verified(&world.store).await;
}

#[tokio::test]
async fn whoever_waits_for_headroom_goes_on_when_the_budget_is_raised() {
    let world = world(100, 0).await;
    let first = world.gate.decide(&world.live, llm(90)).await.unwrap();
    let (gate, live) = (world.gate.clone(), Arc::clone(&world.live));
    let second = tokio::spawn(async move { gate.decide(&live, llm(50)).await });
    while world.gate.inner.line.before(None, &["team/purse".to_owned()]).is_empty() {
        tokio::task::yield_now().await;
    }
    world.gate.adjust(change(Direction::Raise, 40, None)).await.unwrap();
    second.await.unwrap().unwrap().settle(settled(50)).await.unwrap();
    first.settle(settled(90)).await.unwrap();
    assert_eq!(total(&world.store).await, (140, 0));
}

#[tokio::test]
async fn a_lowered_budget_refuses_at_once_and_tells_of_the_edge_that_is_crossed_by_it() {
    let world = world(100, 0).await;
    let open = world.gate.decide(&world.live, llm(40)).await.unwrap();
    world.gate.decide(&world.live, llm(30)).await.unwrap().settle(settled(30)).await.unwrap();
    world.gate.adjust(change(Direction::Lower, 70, None)).await.unwrap();
    let refusal = world.gate.decide(&world.live, llm(1)).await.err().unwrap();
    assert_eq!(refusal.kind, RefusalKind::Budget);
    // What is under way goes on, and the truth is posted.
    open.settle(settled(40)).await.unwrap();
    assert_eq!(total(&world.store).await, (70, 0));
    let lines = sentences(&world.store).await;
    let alerts: Vec<&String> = lines.iter().filter(|line| line.starts_with("budget ")).collect();
    assert_eq!(alerts, ["budget team/purse reached 80 % of its cap in total: 0.00000003 USD spent at TIME."]);
    verified(&world.store).await;
}

#[tokio::test]
async fn a_change_that_makes_no_sense_changes_nothing() {
    let world = world(100, 0).await;
    let tokens = Change { amount: Amount::Tokens(5), ..change(Direction::Raise, 0, None) };
    let long = "x".repeat(201);
    for (change, text) in [
        (tokens, "the budget `team/purse` is not counted in the unit of `5 tokens`"),
        (change(Direction::Raise, 0, None), "`0.00 USD` changes nothing"),
        (
            change(Direction::Lower, 101, None),
            "the budget `team/purse` ends at 0.0000001 USD, which cannot be changed by 0.000000101 USD",
        ),
        (
            change(Direction::Raise, i64::MAX, None),
            "the budget `team/purse` ends at 0.0000001 USD, which cannot be changed by 9223372036.854775807 USD",
        ),
        (change(Direction::Raise, 1, Some("a\nb")), "the reason must be one line of at most 200 characters"),
        (change(Direction::Raise, 1, Some(&long)), "the reason must be one line of at most 200 characters"),
    ] {
        assert_eq!(world.gate.adjust(change).await.unwrap_err().to_string(), text);
    }
    assert_eq!(verified(&world.store).await, 0, "nothing was recorded");
}

#[tokio::test]
async fn a_run_with_a_cap_of_its_own_ends_there_and_others_go_on() {
    let world = world(100, 0).await;
    let capped = Run { cap: Some(Amount::Money(nano(50))), ..run() };
    let id = capped.id;
    let live = world.gate.admit(capped, "ast_capped").await.unwrap();
    world.gate.decide(&live, llm(40)).await.unwrap().settle(settled(40)).await.unwrap();
    let refusal = world.gate.decide(&live, llm(11)).await.err().unwrap();
    let record = refusal.record.unwrap();
    assert_eq!(
        refusal.message,
        format!(
            "agentsup: budget exhausted: this run has spent 0.00000004 USD of its own cap of 0.00000005 USD; this call \
             could cost up to 0.000000011 USD. Nothing was billed. Ask user:alice to raise it ({record})"
        )
    );
    assert_eq!(refusal.hint, Some(format!("agentsup budget show run/{id}")));
    world.gate.decide(&world.live, llm(60)).await.unwrap().settle(settled(60)).await.unwrap();
    assert_eq!(total(&world.store).await, (100, 0));
    assert_eq!(world.gate.alerted(&live.run).await.unwrap(), [format!("run/{id}"), "team/purse".into()]);
    assert_eq!(world.gate.alerted(&world.live.run).await.unwrap(), ["team/purse"]);
    verified(&world.store).await;

    // It can be raised like any other budget.
    let budget = world.gate.chain(&live.run).unwrap().remove(0);
    let raise = Change { budget, ..change(Direction::Raise, 10, None) };
    world.gate.adjust(raise).await.unwrap();
    let refusal = world.gate.decide(&live, llm(11)).await.err().unwrap();
    assert!(refusal.message.contains("the budget `purse` has spent"), "{refusal}");
}
