//! A clock that is set back, a bound that was wrong, and what passes by itself.

use std::sync::atomic::{AtomicI64, Ordering};

use super::*;
use crate::core::decision::Finality;
use crate::core::manifest::{Cap, Period, TimeZone};
use crate::sys::clock::Clock;

/// 2025-11-30 22:59:59Z.
const NOVEMBER_MS: i64 = 1_764_543_599_000;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// A gate over a month's budget of 100, and the clock that it sees.
async fn monthly(dir: &TempDir) -> (Gate, Store, Arc<LiveRun>, Arc<AtomicI64>) {
    let store = Store::open(&dir.path().join("agentsup.db")).unwrap();
    let shown = Arc::new(AtomicI64::new(NOVEMBER_MS));
    let clock = Clock::of({
        let shown = Arc::clone(&shown);
        move || shown.load(Ordering::Relaxed)
    });
    let gate = Gate::by_clock(store.clone(), Registry::fixed(snapshot(agent(), vec![month()])), clock);
    let live = gate.admit(run(), "ast_token").await.unwrap();
    (gate, store, live, shown)
}

fn month() -> TokenBudget {
    TokenBudget { period: Period::Monthly(TimeZone("UTC".into())), ..purse(100, 0) }
}

/// Whoever asks first after the clock was set back finds it, a person who raises a budget too.
#[tokio::test]
async fn a_budget_is_raised_in_the_period_that_calls_are_held_in() {
    let dir = tempfile::tempdir().unwrap();
    let (gate, store, live, shown) = monthly(&dir).await;
    shown.store(NOVEMBER_MS + DAY_MS, Ordering::Relaxed);
    gate.decide(&live, llm(100)).await.unwrap().settle(settled(100)).await.unwrap();
    shown.store(NOVEMBER_MS, Ordering::Relaxed);
    let by = "user:alice".to_owned();
    let amount = crate::core::amount::Amount::Money(nano(50));
    let change = Change { budget: month(), direction: Direction::Raise, amount, by, reason: None };
    gate.adjust(change).await.unwrap();
    gate.decide(&live, llm(50)).await.unwrap().settle(settled(50)).await.unwrap();
    let lines = sentences(&store).await;
    let told = |start: &str| lines.iter().filter(|line| line.starts_with(start)).count();
    assert_eq!((told("the clock was set back to"), told("user:alice raised")), (1, 1), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("to 0.00000015 USD in 2025-12@UTC")), "{lines:?}");
}

#[tokio::test]
async fn a_clock_set_back_does_not_open_a_spent_month_again() {
    let dir = tempfile::tempdir().unwrap();
    let (gate, store, live, shown) = monthly(&dir).await;
    let spend =
        async |cost| gate.decide(&live, llm(cost)).await.unwrap().settle(settled(cost)).await.unwrap();
    spend(60).await;
    shown.store(NOVEMBER_MS + DAY_MS, Ordering::Relaxed);
    spend(100).await;
    // November has 40 left, but it is December, whatever the clock says.
    shown.store(NOVEMBER_MS, Ordering::Relaxed);
    for _ in 0..2 {
        assert_eq!(gate.decide(&live, llm(40)).await.err().unwrap().kind, RefusalKind::Budget);
    }
    let events = sentences(&store).await;
    let told: Vec<&String> = events.iter().filter(|line| line.starts_with("the clock")).collect();
    assert_eq!(
        told,
        [
            "the clock was set back to 2025-11-30 22:59:59Z, and budgets stayed in the periods of 2025-12-01 22:59:59Z at \
          TIME."
        ]
    );
    let balances = store.read(|connection| {
        let of = |period: &str| {
            balance(connection, &Account { budget: "team/purse".into(), period: period.into() })
        };
        Ok((of("2025-11@UTC")?.posted.nano(), of("2025-12@UTC")?.posted.nano()))
    });
    assert_eq!(balances.await.unwrap(), (60, 100));
}

fn priced(version: &str, cost: i64) -> Action {
    let Action::Llm(call) = llm(cost) else { unreachable!() };
    Action::Llm(LlmAction { prices: version.into(), ..call })
}

#[tokio::test]
async fn a_model_that_cost_more_than_its_bound_is_frozen_until_its_prices_change() {
    let world = world(1000, 0).await;
    world.gate.decide(&world.live, priced("v1", 40)).await.unwrap().settle(settled(45)).await.unwrap();
    assert_eq!(total(&world.store).await, (45, 0), "the truth is posted");
    let refusal = world.gate.decide(&world.live, priced("v1", 1)).await.err().unwrap();
    let record = refusal.record.unwrap();
    assert_eq!(
        refusal,
        Refusal {
            kind: RefusalKind::Denied,
            message: format!(
                "agentsup denied `model-a`: the model `model-a` is frozen, because a call cost 0.000000005 USD more than \
                 its prices (version v1) allow for ({record})"
            ),
            hint: Some("correct its price in config.toml: [prices.\"model-a\"]".into()),
            record: Some(record),
        }
    );
    assert_eq!(
        sentences(&world.store).await[1],
        "a call of the model `model-a` cost 0.000000005 USD more than was held for it in team/purse, and the model was \
         frozen until its prices change at TIME."
    );
    world.gate.decide(&world.live, priced("v2", 40)).await.unwrap().settle(settled(40)).await.unwrap();
    assert_eq!(total(&world.store).await, (85, 0));
    verified(&world.store).await;
}

#[tokio::test]
async fn more_tokens_than_were_held_freeze_a_model_where_tokens_are_counted() {
    let usage = Usage { output_tokens: 21, ..Usage::default() };
    let over = Outcome::charged("200 OK", Charge::Settled { usage, cost: nano(1) });
    let tokens = TokenBudget { cap: Cap::Tokens { cap: 1000, burst: 0 }, ..purse(0, 0) };
    for (budget, frozen) in [(tokens, true), (purse(1000, 0), false)] {
        let world = world_of(snapshot(agent(), vec![budget])).await;
        world.gate.decide(&world.live, llm(40)).await.unwrap().settle(over.clone()).await.unwrap();
        assert_eq!(world.gate.decide(&world.live, llm(1)).await.is_err(), frozen);
    }
}

/// There is money left, so the client is told to come again, and not that the budget is at its end.
#[tokio::test]
async fn a_call_that_has_waited_long_enough_is_told_to_come_again() {
    let world = world(100, 0).await;
    let first = world.gate.decide(&world.live, llm(90)).await.unwrap();
    world.gate.inner.line.set_patience(std::time::Duration::ZERO);
    let refusal = world.gate.decide(&world.live, llm(50)).await.err().unwrap();
    assert_eq!((refusal.kind, refusal.kind.finality()), (RefusalKind::Busy, Finality::Transient));
    let record = refusal.record.unwrap();
    assert_eq!(
        refusal.message,
        format!(
            "agentsup: no room in the budget just now: the budget `purse` has spent 0.00 USD of 0.0000001 USD \
             (total) and holds 0.00000009 USD for calls under way; this call could cost up to 0.00000005 USD. \
             Nothing was billed ({record})"
        )
    );
    // What does not fit beside what is spent is no question of waiting.
    first.settle(settled(90)).await.unwrap();
    let refusal = world.gate.decide(&world.live, llm(50)).await.err().unwrap();
    assert_eq!((refusal.kind, refusal.kind.finality()), (RefusalKind::Budget, Finality::Terminal));
}

/// The next daemon opens the store again, so work need not end because this one does.
#[test]
fn a_store_that_is_closed_is_worth_another_try_and_one_that_fails_is_not() {
    assert_eq!(refuse::unwritten(&StoreError::Closed).kind, RefusalKind::Busy);
    assert_eq!(refuse::unwritten(&StoreError::corrupt("row", "x")).kind, RefusalKind::Unavailable);
}

/// After the clock was ahead by a year and was put right: what was spent meanwhile counts in the present.
#[tokio::test]
async fn a_person_can_accept_a_clock_that_was_ahead() {
    let dir = tempfile::tempdir().unwrap();
    let (gate, store, live, shown) = monthly(&dir).await;
    let spend =
        async |cost| gate.decide(&live, llm(cost)).await.unwrap().settle(settled(cost)).await.unwrap();
    spend(30).await;
    shown.store(NOVEMBER_MS + 365 * DAY_MS, Ordering::Relaxed);
    spend(50).await;
    shown.store(NOVEMBER_MS, Ordering::Relaxed);
    assert_eq!(gate.clock().await.unwrap().1.at_ms, NOVEMBER_MS + 365 * DAY_MS);

    let open = gate.decide(&live, llm(10)).await.unwrap();
    let refused = gate.accept_clock("user:alice".into()).await.err().unwrap();
    assert!(matches!(refused, ClockError::UnderWay(1)), "{refused}");
    open.settle(settled(0)).await.unwrap();
    let accepted = gate.accept_clock("user:alice".into()).await.unwrap();
    let november = Account { budget: "team/purse".into(), period: "2025-11@UTC".into() };
    let fifty = crate::core::amount::Amount::Money(nano(50));
    assert_eq!(accepted.carried, [(november, fifty)]);
    assert_eq!(gate.clock().await.unwrap().1.at_ms, NOVEMBER_MS);
    // November has spent 30 and has 50 less: 20 are left.
    assert_eq!(gate.decide(&live, llm(21)).await.err().unwrap().kind, RefusalKind::Budget);
    spend(20).await;
    // Doing it again takes nothing along again.
    assert_eq!(gate.accept_clock("user:alice".into()).await.unwrap().carried, []);
    // When the time has come, that month has what it had to spend.
    shown.store(NOVEMBER_MS + 365 * DAY_MS, Ordering::Relaxed);
    spend(100).await;
    assert_eq!(gate.decide(&live, llm(1)).await.err().unwrap().kind, RefusalKind::Budget);
    let lines = sentences(&store).await;
    let told = "user:alice accepted the clock, which shows 2025-11-30 TIME; budgets were in the periods of 2026-11-30 TIME \
                at TIME.";
    assert!(lines.iter().any(|line| line == told), "{lines:?}");
    verified(&store).await;
}

/// What was carried into a month in which nothing else was spent is carried on when that month was ahead as well.
#[tokio::test]
async fn what_was_carried_once_is_carried_again_with_the_next_clock() {
    let dir = tempfile::tempdir().unwrap();
    let (gate, store, live, shown) = monthly(&dir).await;
    let spend =
        async |cost| gate.decide(&live, llm(cost)).await.unwrap().settle(settled(cost)).await.unwrap();
    let fifty = crate::core::amount::Amount::Money(nano(50));
    spend(50).await;
    for (days, month) in [(31, "2025-10@UTC"), (61, "2025-09@UTC")] {
        shown.store(NOVEMBER_MS - days * DAY_MS, Ordering::Relaxed);
        let account = Account { budget: "team/purse".into(), period: month.into() };
        assert_eq!(gate.accept_clock("user:alice".into()).await.unwrap().carried, [(account, fifty)]);
    }
    assert_eq!(gate.decide(&live, llm(51)).await.err().unwrap().kind, RefusalKind::Budget);
    spend(50).await;
    verified(&store).await;
}

/// What was carried away from a month must not come back into it as room when it turns out to have been less.
#[tokio::test]
async fn a_call_made_while_the_clock_was_ahead_and_stated_later_leaves_its_month_what_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let (gate, store, live, shown) = monthly(&dir).await;
    shown.store(NOVEMBER_MS + 31 * DAY_MS, Ordering::Relaxed);
    let permit = gate.decide(&live, llm(50)).await.unwrap();
    let record = permit.record().unwrap();
    permit.settle(Outcome::charged("cut", Charge::Assumed)).await.unwrap();
    shown.store(NOVEMBER_MS, Ordering::Relaxed);
    assert_eq!(gate.accept_clock("user:alice".into()).await.unwrap().carried.len(), 1);
    let stated = crate::core::reconcile::Stated { usage: None, cost: Some(nano(20)) };
    let statement = Statement { record, stated, source: "a.csv".into(), by: "user:alice".into() };
    gate.reconcile(statement).await.unwrap().unwrap();
    assert_eq!(gate.accept_clock("user:alice".into()).await.unwrap().carried, []);
    let spend =
        async |cost| gate.decide(&live, llm(cost)).await.unwrap().settle(settled(cost)).await.unwrap();
    spend(50).await;
    shown.store(NOVEMBER_MS + 31 * DAY_MS, Ordering::Relaxed);
    assert_eq!(gate.decide(&live, llm(101)).await.err().unwrap().kind, RefusalKind::Budget);
    spend(100).await;
    verified(&store).await;
}

#[tokio::test]
async fn a_clock_that_is_set_forward_into_another_period_is_told_until_it_is_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("agentsup.db")).unwrap();
    let (shown, boot) = (Arc::new(AtomicI64::new(NOVEMBER_MS)), Arc::new(AtomicI64::new(0)));
    let read = |clock: &Arc<AtomicI64>| {
        let clock = Arc::clone(clock);
        move || clock.load(Ordering::Relaxed)
    };
    let clock = Clock::of(read(&shown)).since_boot(read(&boot));
    let gate = Gate::by_clock(store.clone(), Registry::fixed(snapshot(agent(), vec![month()])), clock);
    let live = gate.admit(run(), "ast_token").await.unwrap();
    let call = async || gate.decide(&live, llm(1)).await.unwrap().settle(settled(1)).await.unwrap();
    let told = async || {
        let lines = sentences(&store).await;
        lines.iter().filter(|line| line.starts_with("the clock was set forward")).count()
    };
    call().await;
    // An hour passes, and the day after that: the machine slept, or the clock was corrected within the month.
    for (wall, since_boot) in [(60_000, 60_000), (10 * 60_000 + 60_000, 60_000)] {
        shown.store(NOVEMBER_MS - 2 * DAY_MS + wall, Ordering::Relaxed);
        boot.store(since_boot, Ordering::Relaxed);
        call().await;
    }
    shown.store(NOVEMBER_MS, Ordering::Relaxed);
    boot.store(2 * DAY_MS, Ordering::Relaxed);
    call().await;
    assert_eq!(told().await, 0);
    // The month passes as it should.
    shown.fetch_add(DAY_MS, Ordering::Relaxed);
    boot.fetch_add(DAY_MS, Ordering::Relaxed);
    call().await;
    assert_eq!(told().await, 0);
    shown.fetch_add(40 * DAY_MS, Ordering::Relaxed);
    call().await;
    call().await;
    assert_eq!(told().await, 1);
    let forward = gate.clock().await.unwrap().1.forward;
    assert_eq!(forward, Some((NOVEMBER_MS + DAY_MS, NOVEMBER_MS + 41 * DAY_MS)));
    gate.accept_clock("user:alice".into()).await.unwrap();
    assert_eq!(gate.clock().await.unwrap().1.forward, None);
    verified(&store).await;
}
