//! Whatever happens in whatever order: the provider never bills more than any budget of the chain allows.
//!
//! A billing oracle stands beside the ledger. It bills every call that was let through, at once and whatever becomes of
//! the answer, and knows budgets only by their manifests. Calls race, hang up, are settled twice or never; the daemon
//! dies and finds its file again; months pass and clocks are set back; people raise and lower budgets.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use proptest::sample::Index;
use tokio::task::JoinSet;

use super::*;
use crate::core::amount::Amount;
use crate::core::budget::{ceiling, period_id};
use crate::core::ids::ReservationId;
use crate::core::manifest::{BudgetRef, Period, TimeZone};
use crate::core::principal::AgentRef;
use crate::store::Connection;
use crate::store::time::TOLERANCE_MS;
use crate::sys::clock::Clock;

/// 2025-11-29 22:59:59Z: two days to the end of the month.
const START_MS: i64 = 1_764_457_199_000;
const HOUR_MS: i64 = 60 * 60 * 1000;
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, Clone)]
enum Step {
    /// A run asks for a call of which so many percent of the bound are billed.
    Call { run: usize, bound: i64, share: i64 },
    /// A call that is under way ends.
    End { which: Index, fate: Fate },
    /// Everything that was ever closed is closed again.
    Again,
    /// The daemon is killed, and the next one opens the file.
    Crash,
    /// The clock goes on, or back.
    Clock { hours: i64 },
    /// Somebody changes a budget.
    Adjust { which: usize, direction: Direction, amount: i64 },
}

#[derive(Debug, Clone, Copy)]
enum Fate {
    /// The provider tells the usage.
    Told,
    /// The client hangs up, and the flow says that nobody knows.
    HungUp,
    /// The flow drops the permit.
    Dropped,
    /// The provider refuses, if it has not billed anything.
    Refused,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let fate = prop_oneof![
        4 => Just(Fate::Told), 1 => Just(Fate::HungUp), 1 => Just(Fate::Dropped), 1 => Just(Fate::Refused)
    ];
    let direction = prop_oneof![Just(Direction::Raise), Just(Direction::Lower)];
    let step = prop_oneof![
        12 => (0_usize..4, 1_i64..60, prop_oneof![2 => 0_i64..=100, 1 => Just(0), 1 => Just(100)])
            .prop_map(|(run, bound, share)| Step::Call { run, bound, share }),
        8 => (any::<Index>(), fate).prop_map(|(which, fate)| Step::End { which, fate }),
        1 => Just(Step::Again),
        1 => Just(Step::Crash),
        2 => prop_oneof![3 => 1_i64..40, 1 => -80_i64..0].prop_map(|hours| Step::Clock { hours }),
        1 => (0_usize..3, direction, 1_i64..60)
            .prop_map(|(which, direction, amount)| Step::Adjust { which, direction, amount }),
    ];
    proptest::collection::vec(step, 1..60)
}

fn budget(name: &str, cap: i64, burst: i64, period: Period, parent: Option<&str>) -> TokenBudget {
    let parent = parent.map(|name| BudgetRef { namespace: "team".into(), name: name.into() });
    TokenBudget { name: name.into(), period, parent, ..purse(cap, burst) }
}

/// A call under way, and what the provider bills for it.
struct Open {
    permit: Permit,
    billed: i64,
}

/// What a call came to: its permit, its bill, and the greatest time that was known when it was asked for.
type Asked = (Result<Permit, Refusal>, i64, i64);

struct Schedule {
    dir: TempDir,
    budgets: Vec<TokenBudget>,
    shown: Arc<AtomicI64>,
    /// The greatest time at which anybody asked.
    kept_ms: i64,
    gate: Gate,
    store: Store,
    runs: Vec<Arc<LiveRun>>,
    asking: JoinSet<Asked>,
    open: Vec<Open>,
    /// What the provider bills, by budget and period.
    billed: BTreeMap<(String, String), i64>,
    /// The highest ceiling that each account ever had.
    highest: BTreeMap<(String, String), i128>,
}

impl Schedule {
    async fn new(caps: [(i64, i64); 3], run_cap: i64) -> Self {
        let utc = || TimeZone("UTC".into());
        let [one, two, all] = caps;
        let budgets = vec![
            budget("one", one.0, one.1, Period::Monthly(utc()), Some("all")),
            budget("two", two.0, two.1, Period::Daily(utc()), Some("all")),
            budget("all", all.0, all.1, Period::Monthly(utc()), None),
        ];
        let dir = tempfile::tempdir().unwrap();
        let shown = Arc::new(AtomicI64::new(START_MS));
        let (store, gate) = open(&path(&dir), &budgets, &shown);
        let mut runs = Vec::new();
        for (number, name) in ["one", "one", "two", "two"].into_iter().enumerate() {
            let cap = (number == 1).then(|| Amount::Money(nano(run_cap)));
            let run = Run { agent: AgentRef::new(name, "team").unwrap(), cap, ..run() };
            runs.push(gate.admit(run, &format!("ast_{number}")).await.unwrap());
        }
        Self {
            dir,
            budgets,
            shown,
            kept_ms: 0,
            gate,
            store,
            runs,
            asking: JoinSet::new(),
            open: Vec::new(),
            billed: BTreeMap::new(),
            highest: BTreeMap::new(),
        }
    }

    async fn perform(&mut self, step: Step) {
        match step {
            Step::Call { run, bound, share } => self.call(run, bound, bound * share / 100).await,
            Step::End { which, fate } if !self.open.is_empty() => {
                let open = self.open.swap_remove(which.index(self.open.len()));
                end(open, fate).await;
            }
            Step::End { .. } => {}
            Step::Again => self.close_again().await,
            Step::Crash => self.crash().await,
            Step::Clock { hours } => {
                self.shown.fetch_add(hours * HOUR_MS, Ordering::Relaxed);
            }
            Step::Adjust { which, direction, amount } => {
                let (budget, amount) = (self.budgets[which].clone(), Amount::Money(nano(amount)));
                self.kept_ms = self.kept_ms.max(self.shown.load(Ordering::Relaxed));
                let change = Change { budget, direction, amount, by: "user:alice".into(), reason: None };
                match self.gate.adjust(change).await {
                    Ok(()) | Err(AdjustError::Range { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
        self.collect().await;
        self.check().await;
    }

    /// Asks, and goes on once the call was decided or waits in line.
    async fn call(&mut self, run: usize, bound: i64, billed: i64) {
        self.kept_ms = self.kept_ms.max(self.shown.load(Ordering::Relaxed));
        let arrivals = self.gate.inner.line.arrivals();
        let (gate, live, kept_ms) = (self.gate.clone(), Arc::clone(&self.runs[run]), self.kept_ms);
        let asked = self.asking.spawn(async move { (gate.decide(&live, llm(bound)).await, billed, kept_ms) });
        let heard = async {
            while !asked.is_finished() && self.gate.inner.line.arrivals() == arrivals {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, heard).await.unwrap();
    }

    /// Lets the oracle bill what was let through.
    async fn collect(&mut self) {
        while let Some(asked) = self.asking.try_join_next() {
            self.take(asked.unwrap()).await;
        }
    }

    async fn take(&mut self, (decided, billed, kept_ms): Asked) {
        let Ok(permit) = decided else { return };
        let record = permit.record().unwrap().to_string();
        let held = self.store.read(move |connection| {
            let mut statement = connection.prepare(
                "SELECT h.budget, h.period FROM holds h JOIN reservations r ON r.id = h.reservation WHERE r.record = ?1",
            )?;
            let rows = statement.query_map([record], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(rows.collect::<Result<Vec<(String, String)>, _>>()?)
        });
        for account in held.await.unwrap() {
            if let Some(budget) =
                self.budgets.iter().find(|budget| budget.reference().to_string() == account.0)
            {
                let earliest = period_id(&budget.period, kept_ms - TOLERANCE_MS);
                assert!(account.1 >= earliest, "{account:?} was over: it is {earliest}");
            }
            *self.billed.entry(account).or_default() += billed;
        }
        self.open.push(Open { permit, billed });
    }

    async fn close_again(&self) {
        let write = self.store.write(|tx| {
            let closed: Vec<String> = {
                let mut rows = tx.prepare("SELECT id FROM reservations WHERE state <> 'forwarding'")?;
                let rows = rows.query_map([], |row| row.get(0))?;
                rows.collect::<Result<_, _>>()?
            };
            for id in closed {
                let id: ReservationId = id.parse().unwrap();
                assert_eq!(ledger::close(tx, id, Charge::Assumed, 1)?, None);
            }
            Ok(())
        });
        write.await.unwrap();
    }

    /// What a killed daemon leaves is what is in its file: nobody settles, nothing is dropped in order.
    async fn crash(&mut self) {
        self.collect().await;
        self.asking.abort_all();
        while let Some(asked) = self.asking.join_next().await {
            if let Ok(asked) = asked {
                self.take(asked).await;
            }
        }
        for open in self.open.drain(..) {
            std::mem::forget(open.permit);
        }
        self.store.sync().await.unwrap();
        let (store, gate) = open(&path(&self.dir), &self.budgets, &self.shown);
        (self.store, self.gate) = (store, gate);
        self.gate.recover().await.unwrap();
        for live in &mut self.runs {
            let id = live.run.id;
            let row = self.store.read(move |connection| runs::by_id(connection, id)).await.unwrap().unwrap();
            *live = self.gate.readmit(&row);
        }
    }

    async fn check(&mut self) {
        let (budgets, runs) = (self.budgets.clone(), self.runs.clone());
        let read = self.store.read(move |connection| {
            let balances = balances(connection)?;
            assert_eq!(ledger::unbalanced(connection)?, None);
            let cap = |name: &str| {
                let own = runs.iter().find_map(|live| {
                    let cap = TokenBudget::of_run(live.run.id, live.run.cap?, budgets[0].reference());
                    (cap.reference().to_string() == name).then_some(cap.cap)
                });
                let known = budgets.iter().find(|budget| budget.reference().to_string() == name);
                own.or(known.map(|budget| budget.cap)).unwrap()
            };
            Ok(balances
                .into_iter()
                .map(|(account, balance)| (ceiling(&cap(&account.0), &balance), account, balance))
                .collect::<Vec<_>>())
        });
        for (ceiling, account, balance) in read.await.unwrap() {
            let highest = self.highest.entry(account.clone()).or_default();
            *highest = (*highest).max(ceiling);
            let billed = self.billed.get(&account).copied().unwrap_or(0);
            let used = balance.posted.nano() + balance.pending.nano();
            assert!(billed <= used, "{account:?}: {billed} billed, {used} posted and pending");
            assert!(i128::from(used) <= *highest, "{account:?}: {used} posted and pending of {highest}");
        }
    }

    /// Everything under way comes to its end, and whoever waited gets his answer.
    async fn finish(&mut self) {
        loop {
            self.collect().await;
            while let Some(open) = self.open.pop() {
                end(open, Fate::Told).await;
            }
            match tokio::time::timeout(PATIENCE, self.asking.join_next()).await.unwrap() {
                Some(asked) => self.take(asked.unwrap()).await,
                None if self.open.is_empty() => break,
                None => {}
            }
        }
        self.store.sync().await.unwrap();
        self.check().await;
        let pending = self.store.read(|connection| {
            Ok(connection.query_row(
                "SELECT COALESCE(SUM(pending_nano_usd), 0) FROM accounts",
                [],
                |row| row.get(0),
            )?)
        });
        let pending: i64 = pending.await.unwrap();
        assert_eq!(pending, 0, "nothing is held for ever");
        verified(&self.store).await;
    }
}

fn path(dir: &TempDir) -> PathBuf {
    dir.path().join("agentsup.db")
}

fn open(path: &std::path::Path, budgets: &[TokenBudget], shown: &Arc<AtomicI64>) -> (Store, Gate) {
    let store = Store::open(path).unwrap();
    let of = |name: &str| Agent {
        reference: AgentRef::new(name, "team").unwrap(),
        budget: name.into(),
        ..agent()
    };
    let snapshot = Snapshot { agents: vec![of("one"), of("two")], ..snapshot(agent(), budgets.to_vec()) };
    let shown = Arc::clone(shown);
    let clock = Clock::of(move || shown.load(Ordering::Relaxed));
    (store.clone(), Gate::by_clock(store, Registry::fixed(snapshot), clock))
}

async fn end(Open { permit, billed }: Open, fate: Fate) {
    match fate {
        Fate::Refused if billed == 0 => {
            permit.settle(Outcome::charged("refused", Charge::Void)).await.unwrap();
        }
        Fate::Told | Fate::Refused => permit.settle(settled(billed)).await.unwrap(),
        Fate::HungUp => permit.settle(Outcome::charged("cut", Charge::Assumed)).await.unwrap(),
        Fate::Dropped => drop(permit),
    }
}

type Balances = Vec<((String, String), crate::core::budget::Balance)>;

fn balances(connection: &Connection) -> Result<Balances, StoreError> {
    let mut statement = connection.prepare("SELECT budget, period FROM accounts")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let accounts: Vec<(String, String)> = rows.collect::<Result<_, _>>()?;
    let of = |(budget, period): (String, String)| {
        let account = Account { budget: budget.clone(), period: period.clone() };
        balance(connection, &account).map(|balance| ((budget, period), balance))
    };
    accounts.into_iter().map(of).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn no_budget_of_a_chain_is_ever_overspent(
        steps in steps(),
        caps in [(1_i64..200, 0_i64..50), (1_i64..200, 0_i64..50), (1_i64..300, 0_i64..50)],
        run_cap in 1_i64..150,
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let mut schedule = Schedule::new(caps, run_cap).await;
            for step in steps {
                schedule.perform(step).await;
            }
            schedule.finish().await;
        });
    }
}
