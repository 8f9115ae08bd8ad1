//! Whatever happens in whatever order: the provider never bills more than any budget of the chain allows, the ledger has
//! all that it bills at every moment, and nobody is refused while there is money.
//!
//! A billing oracle stands beside the ledger. It bills every call that was let through, at once and whatever becomes of
//! the answer, and knows budgets only by their manifests and time only by the clock. Sixty-four runs call at once, hang
//! up, are killed, are settled twice or never; the daemon dies and finds its file again; months pass, clocks are set
//! forward and back and accepted; people raise and lower budgets and bring in what providers state.
//!
//! `SCHEDULES=1000 cargo test …` tries so many schedules instead of the usual number.

mod oracle;
mod spending;
mod steps;

use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use proptest::sample::Index;
use tokio::task::JoinSet;

use super::*;
use crate::core::amount::Amount;
use crate::core::breaker::Limits;
use crate::core::ids::ReservationId;
use crate::core::manifest::{BudgetRef, Cap, Period, TimeZone};
use crate::core::principal::AgentRef;
use crate::core::reconcile::Stated;
use crate::store::Connection;
use crate::sys::clock::Clock;
use oracle::{Lasts, Oracle, Purse};
use steps::{Fate, Step, steps};

/// 2025-11-29 22:59:59Z: two days to the end of the month.
const START_MS: i64 = 1_764_457_199_000;
const HOUR_MS: i64 = 60 * 60 * 1000;
const PATIENCE: Duration = Duration::from_secs(20);
const RUNS: usize = 64;
/// A thousandth of a dollar: what schedules count in.
const UNIT: i64 = 1_000_000;

fn budget(name: &str, cap: i64, burst: i64, period: Period, parent: Option<&str>) -> TokenBudget {
    let parent = parent.map(|name| BudgetRef { namespace: "team".into(), name: name.into() });
    TokenBudget { name: name.into(), period, parent, ..purse(cap * UNIT, burst * UNIT) }
}

/// A call under way, and what the provider bills for it.
struct Open {
    permit: Permit,
    billed: i64,
    run: RunId,
}

/// What a call came to, and how the oracle knows it.
struct Asked {
    decided: Result<Permit, Refusal>,
    billed: i64,
    at_ms: i64,
    payers: Vec<Purse>,
    run: RunId,
}

struct Schedule {
    dir: TempDir,
    budgets: Vec<TokenBudget>,
    shown: Arc<AtomicI64>,
    gate: Gate,
    store: Store,
    runs: Vec<Arc<LiveRun>>,
    started: usize,
    run_cap: i64,
    asking: JoinSet<Asked>,
    open: Vec<Open>,
    /// Calls that nobody counted, and what they were billed.
    lost: Vec<(RecordId, i64)>,
    oracle: Oracle,
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
        let mut schedule = Self {
            dir,
            budgets,
            shown,
            gate,
            store,
            runs: Vec::new(),
            started: 0,
            run_cap,
            asking: JoinSet::new(),
            open: Vec::new(),
            lost: Vec::new(),
            oracle: Oracle::default(),
        };
        for _ in 0..RUNS {
            let live = schedule.start().await;
            schedule.runs.push(live);
        }
        schedule
    }

    /// Another run; every fourth has a cap of its own.
    async fn start(&mut self) -> Arc<LiveRun> {
        let number = self.started;
        self.started += 1;
        let name = if number.is_multiple_of(2) { "one" } else { "two" };
        let cap = number.is_multiple_of(4).then(|| Amount::Money(nano(self.run_cap * UNIT)));
        let run = Run { agent: AgentRef::new(name, "team").unwrap(), cap, ..run() };
        self.gate.admit(run, &format!("ast_{number}")).await.unwrap()
    }

    fn shown_ms(&self) -> i64 {
        self.shown.load(Ordering::Relaxed)
    }

    /// The budgets by their manifests.
    fn purses(&self) -> Vec<Purse> {
        let purse = |budget: &TokenBudget| {
            let Cap::Money { cap, burst } = budget.cap else { unreachable!() };
            let lasts = if budget.name == "two" { Lasts::Day } else { Lasts::Month };
            Purse { name: format!("team/{}", budget.name), lasts, ceiling: cap.nano() + burst.nano() }
        };
        self.budgets.iter().map(purse).collect()
    }

    /// Who pays for a run.
    fn payers(&self, run: &Run) -> Vec<Purse> {
        let own = run.cap.map(|_| Purse {
            name: format!("run/{}", run.id),
            lasts: Lasts::Ever,
            ceiling: self.run_cap * UNIT,
        });
        let agent =
            format!("team/{}", run.agent.to_string().trim_start_matches("agent/").trim_end_matches("@team"));
        own.into_iter()
            .chain(self.purses().into_iter().filter(|purse| purse.name == agent || purse.name == "team/all"))
            .collect()
    }

    async fn perform(&mut self, step: Step) {
        match step {
            Step::Calls(calls) => self.call(calls).await,
            Step::End { which, fate } => self.end(&which, fate).await,
            Step::Again => self.close_again().await,
            Step::Kill { run } => self.kill(run).await,
            Step::Crash => self.crash().await,
            Step::Clock { hours } => {
                self.answer_all().await;
                self.shown.fetch_add(hours * HOUR_MS, Ordering::Relaxed);
            }
            Step::Right { hours } => {
                self.answer_all().await;
                self.end_all().await;
                self.shown.fetch_add(-hours * HOUR_MS, Ordering::Relaxed);
                self.accept().await;
            }
            Step::Accept => self.accept().await,
            Step::Adjust { which, direction, amount } => self.adjust(which, direction, amount * UNIT).await,
            Step::State { which } => self.state(&which).await,
        }
        self.collect().await;
        self.check().await;
    }

    /// Asks, and goes on once every call was decided or waits in line.
    async fn call(&mut self, calls: Vec<(usize, i64, i64)>) {
        let at_ms = self.oracle.asked(self.shown_ms());
        let arrivals = self.gate.inner.line.arrivals();
        let mut asked = Vec::new();
        for (run, bound, share) in calls {
            let (gate, live) = (self.gate.clone(), Arc::clone(&self.runs[run]));
            let (billed, payers) = (bound * UNIT * share / 100, self.payers(&live.run));
            asked.push(self.asking.spawn(async move {
                let decided = gate.decide(&live, llm(bound * UNIT)).await;
                Asked { decided, billed, at_ms, payers, run: live.run.id }
            }));
        }
        let heard = async {
            let waiting = || usize::try_from(self.gate.inner.line.arrivals() - arrivals).unwrap();
            while asked.iter().filter(|asked| asked.is_finished()).count() + waiting() < asked.len() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, heard).await.unwrap();
    }

    /// Lets the oracle bill what was let through.
    async fn collect(&mut self) {
        while let Some(asked) = self.asking.try_join_next() {
            self.take(asked.unwrap());
        }
    }

    fn take(&mut self, asked: Asked) {
        let Ok(permit) = asked.decided else { return };
        self.oracle.bill(&asked.payers, asked.at_ms, asked.billed);
        self.open.push(Open { permit, billed: asked.billed, run: asked.run });
    }

    async fn end(&mut self, which: &[Index], fate: Fate) {
        let mut ending = JoinSet::new();
        for which in which {
            if !self.open.is_empty() {
                let open = self.open.swap_remove(which.index(self.open.len()));
                self.lose(&open, fate);
                ending.spawn(end(open, fate));
            }
        }
        ending.join_all().await;
    }

    /// Notes that nobody counted a call.
    fn lose(&mut self, open: &Open, fate: Fate) {
        if matches!(fate, Fate::HungUp | Fate::Cut | Fate::Dropped) {
            self.lost.push((open.permit.record().unwrap(), open.billed));
        }
    }

    async fn kill(&mut self, run: usize) {
        let live = Arc::clone(&self.runs[run]);
        self.gate.set_state(&live, RunState::Killed, None).await.unwrap();
        self.collect().await;
        let (killed, open) = self.open.drain(..).partition::<Vec<Open>, _>(|open| open.run == live.run.id);
        self.open = open;
        for open in killed {
            self.lose(&open, Fate::HungUp);
            end(open, Fate::HungUp).await;
        }
        self.runs[run] = self.start().await;
    }

    /// Nobody waits any more.
    async fn answer_all(&mut self) {
        loop {
            self.collect().await;
            if self.asking.is_empty() {
                return;
            }
            match self.open.pop() {
                Some(open) => end(open, Fate::Told).await,
                None => {
                    let asked = tokio::time::timeout(PATIENCE, self.asking.join_next()).await.unwrap();
                    self.take(asked.unwrap().unwrap());
                }
            }
        }
    }

    async fn end_all(&mut self) {
        while let Some(open) = self.open.pop() {
            end(open, Fate::Told).await;
        }
    }

    async fn accept(&mut self) {
        self.answer_all().await;
        self.store.sync().await.unwrap();
        match self.gate.accept_clock("user:alice".into()).await {
            Ok(_) => {
                assert!(self.open.is_empty(), "calls are under way");
                self.oracle.accept(&self.purses(), self.shown_ms());
            }
            Err(ClockError::UnderWay(_)) => assert!(!self.open.is_empty(), "nothing is under way"),
            Err(error) => panic!("{error}"),
        }
    }

    async fn adjust(&mut self, which: usize, direction: Direction, amount: i64) {
        self.answer_all().await;
        let budget = self.budgets[which].clone();
        let (amount, by) =
            (Amount::Money(nano(amount)), if direction == Direction::Raise { amount } else { -amount });
        let change = Change { budget, direction, amount, by: "user:alice".into(), reason: None };
        let shown_ms = self.shown_ms();
        match self.gate.adjust(change).await {
            Ok(()) => self.oracle.adjust(&self.purses()[which], shown_ms, by),
            Err(AdjustError::Range { .. }) => drop(self.oracle.asked(shown_ms)),
            Err(error) => panic!("{error}"),
        }
    }

    /// The truth lowers what was assumed; whatever is stated below it afterwards does not.
    async fn state(&mut self, which: &Index) {
        if self.lost.is_empty() {
            return;
        }
        let (record, billed) = self.lost[which.index(self.lost.len())];
        for cost in [billed, billed / 2] {
            let stated = Stated { usage: None, cost: Some(nano(cost)) };
            let by = "user:alice".to_owned();
            let statement = Statement { record, stated, source: "a.csv".into(), by };
            assert!(self.gate.reconcile(statement).await.unwrap().is_some());
        }
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
                self.take(asked);
            }
        }
        for open in std::mem::take(&mut self.open) {
            self.lose(&open, Fate::HungUp);
            std::mem::forget(open.permit);
        }
        self.store.sync().await.unwrap();
        (self.store, self.gate) = open(&path(&self.dir), &self.budgets, &self.shown);
        self.gate.recover().await.unwrap();
        for live in &mut self.runs {
            let id = live.run.id;
            let row = self.store.read(move |connection| runs::by_id(connection, id)).await.unwrap().unwrap();
            *live = self.gate.readmit(&row);
        }
    }

    async fn check(&self) {
        self.oracle.check();
        let accounts = self.store.read(accounts).await.unwrap();
        for (key, billed) in &self.oracle.billed {
            let used = accounts.iter().find(|(account, ..)| account == key).map_or(0, |(_, used, _)| *used);
            assert!(*billed <= used, "{key:?}: {billed} billed, {used} posted and pending");
        }
        for (account, _, is_sum) in accounts {
            assert!(is_sum, "{account:?} is not the sum of its calls");
        }
    }

    /// Everything under way comes to its end, and whoever waited gets his answer.
    async fn finish(&mut self) {
        self.answer_all().await;
        self.end_all().await;
        self.store.sync().await.unwrap();
        self.check().await;
        let pending = self.store.read(|connection| {
            let sum = "SELECT COALESCE(SUM(pending_nano_usd), 0) FROM accounts";
            Ok(connection.query_row(sum, [], |row| row.get(0))?)
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
    let off =
        Limits { times_usual: None, failures_in_a_row: None, refusals_per_minute: None, ..Limits::default() };
    let config = Config { breakers: off, ..Config::default() };
    let snapshot =
        Snapshot { config, agents: vec![of("one"), of("two")], ..snapshot(agent(), budgets.to_vec()) };
    let shown = Arc::clone(shown);
    let clock = Clock::of(move || shown.load(Ordering::Relaxed));
    (store.clone(), Gate::by_clock(store, Registry::fixed(snapshot), clock))
}

async fn end(Open { permit, billed, .. }: Open, fate: Fate) {
    match fate {
        Fate::Refused if billed == 0 => {
            permit.settle(Outcome::charged("refused", Charge::Void)).await.unwrap();
        }
        Fate::Told | Fate::Refused => permit.settle(settled(billed)).await.unwrap(),
        Fate::HungUp => permit.settle(Outcome::charged("hung up", Charge::Assumed)).await.unwrap(),
        Fate::Cut => {
            let usage = Usage { input_tokens: 3, output_tokens: 10, ..Usage::default() };
            let charge = Charge::AtMost { usage, cost: nano(billed) };
            permit.settle(Outcome::charged("cut", charge)).await.unwrap();
        }
        Fate::Dropped => drop(permit),
    }
}

/// Each account: what is posted and pending, and whether that is what its calls say, added up anew.
type Accounts = Vec<((String, String), i64, bool)>;

fn accounts(connection: &Connection) -> Result<Accounts, StoreError> {
    let mut statement = connection.prepare(
        "SELECT budget, period, posted_nano_usd, pending_nano_usd,
           (SELECT COALESCE(SUM(r.posted_nano_usd), 0) FROM holds h JOIN reservations r ON r.id = h.reservation
            WHERE h.budget = a.budget AND h.period = a.period),
           (SELECT COALESCE(SUM(r.reserved_nano_usd), 0) FROM holds h JOIN reservations r ON r.id = h.reservation
            WHERE h.budget = a.budget AND h.period = a.period AND r.state = 'forwarding')
         FROM accounts a",
    )?;
    let rows = statement.query_map([], |row| {
        let (posted, pending): (i64, i64) = (row.get(2)?, row.get(3)?);
        let (posted_sum, pending_sum): (i64, i64) = (row.get(4)?, row.get(5)?);
        let is_sum = (posted, pending) == (posted_sum, pending_sum);
        Ok(((row.get(0)?, row.get(1)?), posted + pending, is_sum))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// How many schedules are tried.
fn cases(usual: u32) -> ProptestConfig {
    let asked = std::env::var("SCHEDULES").ok().and_then(|text| text.parse().ok());
    ProptestConfig { cases: asked.unwrap_or(usual), max_shrink_iters: 200, ..ProptestConfig::default() }
}

fn block_on(work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(work);
}

proptest! {
    #![proptest_config(cases(24))]

    #[test]
    fn no_budget_of_a_chain_is_ever_overspent(
        steps in steps(),
        caps in [(1_i64..200, 0_i64..50), (1_i64..200, 0_i64..50), (1_i64..300, 0_i64..50)],
        run_cap in 1_i64..150,
    ) {
        block_on(async {
            let mut schedule = Schedule::new(caps, run_cap).await;
            for step in steps {
                schedule.perform(step).await;
            }
            schedule.finish().await;
        });
    }
}
