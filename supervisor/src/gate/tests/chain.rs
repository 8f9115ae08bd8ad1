//! Calls that several budgets pay for: all of them or none, and whoever waits for one holds nobody else up.

use std::time::Duration;

use super::*;
use crate::core::action::Elastic;
use crate::core::manifest::BudgetRef;
use crate::core::principal::AgentRef;

fn budget(name: &str, cap: i64, parent: Option<&str>) -> TokenBudget {
    let parent = parent.map(|name| BudgetRef { namespace: "team".into(), name: name.into() });
    TokenBudget { name: name.into(), parent, ..purse(cap, 0) }
}

fn agent_of(name: &str) -> Agent {
    Agent { reference: AgentRef::new(name, "team").unwrap(), budget: name.into(), ..agent() }
}

/// Two agents, each with its own budget, and the team's above both.
struct Team {
    world: World,
    one: Arc<LiveRun>,
    two: Arc<LiveRun>,
}

async fn team(one: i64, two: i64, all: i64) -> Team {
    let budgets =
        vec![budget("one", one, Some("all")), budget("two", two, Some("all")), budget("all", all, None)];
    let snapshot =
        Snapshot { agents: vec![agent_of("one"), agent_of("two"), agent()], ..snapshot(agent(), budgets) };
    let world = world_of(snapshot).await;
    let admit = async |name: &str| {
        let run = Run { agent: agent_of(name).reference, ..run() };
        let live = world.gate.admit(run, &format!("ast_{name}")).await.unwrap();
        assert!(world.gate.set_state(&live, RunState::Running, None).await.unwrap());
        live
    };
    let (one, two) = (admit("one").await, admit("two").await);
    Team { world, one, two }
}

/// Posted and pending of the three budgets.
async fn balances(store: &Store) -> [(i64, i64); 3] {
    let read = |connection: &crate::store::Connection| {
        let one = |name: &str| {
            let account = Account { budget: format!("team/{name}"), period: "total".into() };
            balance(connection, &account).map(|balance| (balance.posted.nano(), balance.pending.nano()))
        };
        Ok([one("one")?, one("two")?, one("all")?])
    };
    store.read(read).await.unwrap()
}

async fn in_line(gate: &Gate, budget: &str) {
    let wanted = [budget.to_owned()];
    let waits = async {
        while gate.inner.line.before(None, &wanted).is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waits).await.unwrap();
}

fn spawn(gate: &Gate, live: &Arc<LiveRun>, cost: i64) -> tokio::task::JoinHandle<Result<Permit, Refusal>> {
    let (gate, live) = (gate.clone(), Arc::clone(live));
    tokio::spawn(async move { gate.decide(&live, llm(cost)).await })
}

#[tokio::test]
async fn a_call_is_held_in_the_whole_chain_and_settled_in_all_of_it() {
    let Team { world, one, two } = team(100, 100, 150).await;
    let first = world.gate.decide(&one, llm(60)).await.unwrap();
    let second = world.gate.decide(&two, llm(40)).await.unwrap();
    assert_eq!(balances(&world.store).await, [(0, 60), (0, 40), (0, 100)]);
    first.settle(settled(25)).await.unwrap();
    drop(second);
    world.gate.note(EventEntry::new("mark", "a mark was made")).await.unwrap();
    assert_eq!(balances(&world.store).await, [(25, 0), (40, 0), (65, 0)]);
    let void = world.gate.decide(&one, llm(60)).await.unwrap();
    void.settle(Outcome::charged("refused", Charge::Void)).await.unwrap();
    // What a killed daemon leaves counts in full, in all of the chain.
    std::mem::forget(world.gate.decide(&two, llm(30)).await.unwrap());
    assert_eq!(world.gate.recover().await.unwrap(), 1);
    assert_eq!(balances(&world.store).await, [(25, 0), (70, 0), (95, 0)]);
    verified(&world.store).await;
}

#[tokio::test]
async fn the_refusal_names_the_budget_that_refuses_and_nothing_is_held() {
    let Team { world, one, two } = team(100, 100, 120).await;
    world.gate.decide(&one, llm(90)).await.unwrap().settle(settled(90)).await.unwrap();
    let refusal = world.gate.decide(&two, llm(50)).await.err().unwrap();
    assert_eq!(refusal.kind, RefusalKind::Budget);
    let text = "the budget `all` has spent 0.00000009 USD of 0.00000012 USD (total); this call could cost up to \
                0.00000005 USD";
    assert!(refusal.message.contains(text), "{refusal}");
    assert_eq!(refusal.hint.as_deref(), Some("agentsup budget show all"));
    assert_eq!(balances(&world.store).await, [(90, 0), (0, 0), (90, 0)]);
    let own = world.gate.decide(&one, llm(11)).await.err().unwrap();
    assert!(own.message.contains("the budget `one` has spent"), "{own}");
    // What fits into all is let through.
    world.gate.decide(&two, llm(30)).await.unwrap().settle(settled(30)).await.unwrap();
    assert_eq!(balances(&world.store).await, [(90, 0), (30, 0), (120, 0)]);
    verified(&world.store).await;
}

#[tokio::test]
async fn a_chain_that_is_not_whole_lets_nothing_through() {
    let broken = Snapshot {
        agents: vec![Agent { budget: "one".into(), ..agent() }],
        ..snapshot(agent(), vec![budget("one", 100, Some("gone"))])
    };
    let world = world_of(broken).await;
    let refusal = world.gate.decide(&world.live, llm(1)).await.err().unwrap();
    assert!(refusal.message.contains("a budget above `one` does not exist"), "{refusal}");
}

#[tokio::test]
async fn a_call_waits_for_whichever_budget_of_the_chain_is_only_pending() {
    let Team { world, one, two } = team(100, 100, 120).await;
    let first = world.gate.decide(&one, llm(90)).await.unwrap();
    let waiting = spawn(&world.gate, &two, 50);
    in_line(&world.gate, "team/all").await;
    assert_eq!(balances(&world.store).await, [(0, 90), (0, 0), (0, 90)]);
    // Its own budget could never pay for this one, whatever becomes of the other: it is told so at once.
    assert_eq!(world.gate.decide(&two, llm(101)).await.err().unwrap().kind, RefusalKind::Budget);
    first.settle(settled(10)).await.unwrap();
    waiting.await.unwrap().unwrap().settle(settled(50)).await.unwrap();
    assert_eq!(balances(&world.store).await, [(10, 0), (50, 0), (60, 0)]);
}

#[tokio::test]
async fn whoever_is_suspended_waits_no_longer() {
    let Team { world, one, two } = team(100, 100, 120).await;
    let first = world.gate.decide(&one, llm(90)).await.unwrap();
    let waiting = spawn(&world.gate, &two, 50);
    in_line(&world.gate, "team/all").await;
    assert!(world.gate.suspend(&two, "look first").await.unwrap());
    let refusal = waiting.await.unwrap().err().unwrap();
    assert!(refusal.message.contains("the run is suspended: look first"), "{refusal}");
    assert_eq!(balances(&world.store).await, [(0, 90), (0, 0), (0, 90)]);
    first.settle(settled(10)).await.unwrap();
}

#[tokio::test]
async fn whoever_waits_for_the_team_is_not_overtaken_and_whoever_waits_for_itself_holds_nobody_up() {
    let Team { world, one, two } = team(100, 1000, 1000).await;
    let first = world.gate.decide(&one, llm(90)).await.unwrap();
    let waiting = spawn(&world.gate, &one, 50);
    in_line(&world.gate, "team/one").await;
    // The team has room, and the agent of the other budget need not care.
    let other = tokio::time::timeout(Duration::from_secs(20), world.gate.decide(&two, llm(800))).await;
    let other = other.unwrap().unwrap();
    first.settle(settled(10)).await.unwrap();
    let waiting = waiting.await.unwrap().unwrap();

    // Now the team is full: the large call of the one is before the small call of the other.
    let large = spawn(&world.gate, &two, 190);
    in_line(&world.gate, "team/all").await;
    let mut small = Box::pin(world.gate.decide(&one, llm(5)));
    let early = tokio::time::timeout(Duration::from_millis(200), &mut small).await;
    assert!(early.is_err(), "the small call fits, but it is not its turn");
    other.settle(settled(700)).await.unwrap();
    let large = large.await.unwrap().unwrap();
    small.await.unwrap().settle(settled(5)).await.unwrap();
    large.settle(settled(190)).await.unwrap();
    waiting.settle(settled(50)).await.unwrap();
    assert_eq!(balances(&world.store).await, [(65, 0), (890, 0), (955, 0)]);
    verified(&world.store).await;
}

#[tokio::test]
async fn every_budget_of_the_chain_alerts_once_when_it_crosses_its_own_edge() {
    let Team { world, one, two } = team(100, 100, 120).await;
    let mut told = world.gate.alerts();
    for (live, cost) in [(&one, 85), (&two, 11), (&two, 1)] {
        world.gate.decide(live, llm(cost)).await.unwrap().settle(settled(cost)).await.unwrap();
    }
    let alert = |budget: &str, text: &str| Alert { budget: budget.into(), at_percent: 80, text: text.into() };
    assert_eq!(
        [told.try_recv().unwrap(), told.try_recv().unwrap()],
        [
            alert("team/one", "0.000000085 USD of 0.0000001 USD spent in total"),
            alert("team/all", "0.000000096 USD of 0.00000012 USD spent in total"),
        ]
    );
    assert!(told.try_recv().is_err(), "once");
    let lines = sentences(&world.store).await;
    let alerts: Vec<&String> = lines.iter().filter(|line| line.starts_with("budget ")).collect();
    assert_eq!(
        alerts,
        [
            "budget team/one reached 80 % of its cap in total: 0.000000085 USD spent at TIME.",
            "budget team/all reached 80 % of its cap in total: 0.000000096 USD spent at TIME.",
        ]
    );
}

#[tokio::test]
async fn an_answer_is_cut_to_what_the_tightest_budget_of_the_chain_has_left() {
    let Team { world, one, two } = team(100, 100, 120).await;
    world.gate.decide(&one, llm(90)).await.unwrap().settle(settled(90)).await.unwrap();
    let Action::Llm(call) = llm(50) else { unreachable!() };
    let elastic = |least_output_tokens| {
        let elastic = Elastic { least_output_tokens, output_token_cost: nano(4) };
        Action::Llm(LlmAction { elastic: Some(elastic), ..call.clone() })
    };
    // 30 are left above: five of the ten output tokens have to go.
    let refusal = world.gate.decide(&two, elastic(6)).await.err().unwrap();
    let text = "the budget `all` has spent 0.00000009 USD of 0.00000012 USD (total); this call could cost up to \
                0.00000005 USD, with the shortest answer 0.000000034 USD. Nothing was billed.";
    assert!(refusal.message.contains(text), "{refusal}");
    let permit = world.gate.decide(&two, elastic(5)).await.unwrap();
    assert_eq!(permit.granted_output(), Some(5));
    assert_eq!(balances(&world.store).await, [(90, 0), (0, 30), (90, 30)]);
    // What is pending would leave room for a part: that is waited for.
    let waiting = {
        let (gate, two, action) = (world.gate.clone(), Arc::clone(&two), elastic(5));
        tokio::spawn(async move { gate.decide(&two, action).await })
    };
    in_line(&world.gate, "team/all").await;
    permit.settle(settled(0)).await.unwrap();
    let second = waiting.await.unwrap().unwrap();
    assert_eq!(second.granted_output(), Some(5));
    assert_eq!(second.gauge().map(|gauge| gauge.used_percent), Some(75), "90 of 120 above, nothing below");
    second.settle(settled(30)).await.unwrap();
    assert_eq!(balances(&world.store).await, [(90, 0), (30, 0), (120, 0)]);
    verified(&world.store).await;
}
