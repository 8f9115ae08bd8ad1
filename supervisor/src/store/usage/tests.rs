#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::core::action::Bound;
use crate::core::fixture;
use crate::core::ids::RecordId;
use crate::core::manifest::Cap;
use crate::core::money::NanoUsd;
use crate::core::run::Run;
use crate::store::ledger::{self, Account, Paying};
use crate::store::reported::{self, Row};
use crate::store::{db, runs};

const DAY_MS: i64 = 86_400_000;
/// 2026-11-22T00:00:00Z.
const SUNDAY_MS: i64 = 1_795_305_600_000;

fn nano(amount: i64) -> NanoUsd {
    NanoUsd::new(amount).unwrap()
}

fn all() -> Selection {
    Selection { since_ms: 0, until_ms: i64::MAX, agent: None }
}

struct Book {
    connection: Connection,
    calls: u64,
    _dir: tempfile::TempDir,
}

impl Book {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let connection = db::open_writer(&dir.path().join("agentsup.db")).unwrap();
        Self { connection, calls: 0, _dir: dir }
    }

    fn run(&mut self, number: u8, agent: &str, branch: &str) -> RunId {
        let run = Run {
            id: RunId::from_parts(1, [number; 10]),
            agent: agent.parse().unwrap(),
            branch: branch.into(),
            ..fixture::run()
        };
        let tx = Transaction::begin(&mut self.connection).unwrap();
        runs::insert(&tx, &run, [number; 32]).unwrap();
        tx.commit().unwrap();
        run.id
    }

    /// Lets a call through that may cost 100.
    fn open(&mut self, run: RunId, model: &str, at_ms: i64) -> ReservationId {
        self.calls += 1;
        let hold = Hold {
            id: ReservationId::from_parts(self.calls, [0; 10]),
            record: RecordId::from_parts(self.calls, [0; 10]),
            run,
            payers: vec![Paying {
                account: Account { budget: "team/purse".into(), period: "total".into() },
                cap: Cap::Money { cap: nano(i64::MAX), burst: nano(0) },
            }],
            provider: "anthropic".into(),
            model: model.into(),
            prices: "v1".into(),
            bound: Bound { input_tokens: 60, output_tokens: 40, cost: nano(100) },
            at_ms,
        };
        let tx = Transaction::begin(&mut self.connection).unwrap();
        ledger::reserve(&tx, &hold).unwrap();
        tx.commit().unwrap();
        hold.id
    }

    fn close(&mut self, id: ReservationId, charge: Charge) {
        let tx = Transaction::begin(&mut self.connection).unwrap();
        ledger::close(&tx, id, charge, i64::MAX).unwrap();
        tx.commit().unwrap();
    }

    fn call(&mut self, run: RunId, model: &str, at_ms: i64, cost: i64) {
        let id = self.open(run, model, at_ms);
        let usage = Usage {
            input_tokens: 1,
            cache_write_5m_tokens: 2,
            cache_write_1h_tokens: 3,
            cache_read_tokens: 4,
            output_tokens: 5,
        };
        self.close(id, Charge::Settled { usage, cost: nano(cost) });
    }

    /// A call that is told of afterwards.
    fn report(&mut self, run: RunId, call: &str, model: &str, at_ms: i64, cost: i64) {
        self.calls += 1;
        let row = Row {
            run,
            call: call.into(),
            record: RecordId::from_parts(self.calls, [0; 10]),
            at_ms,
            provider: "anthropic".into(),
            model: model.into(),
            prices: "v1".into(),
            usage: Usage { input_tokens: 1, output_tokens: 2, ..Usage::default() },
            cost: nano(cost),
        };
        let account = Account { budget: "team/purse".into(), period: "total".into() };
        let tx = Transaction::begin(&mut self.connection).unwrap();
        reported::post(&tx, &row, &[account]).unwrap();
        tx.commit().unwrap();
    }

    fn sums(&self, by: Grouping, selection: &Selection) -> Vec<(String, u64, i64)> {
        let sums = sums(&self.connection, by, selection).unwrap();
        sums.into_iter().map(|sum| (sum.key, sum.calls, sum.cost_nano_usd)).collect()
    }
}

fn sum(key: &str, calls: u64, cost: i64) -> (String, u64, i64) {
    (key.into(), calls, cost)
}

#[test]
fn an_empty_ledger_has_no_sums() {
    let book = Book::new();
    for by in [Grouping::Day, Grouping::Month, Grouping::Agent, Grouping::Model, Grouping::Run] {
        assert_eq!(book.sums(by, &all()), []);
    }
    let run = RunId::from_parts(1, [1; 10]);
    assert_eq!(of_run(&book.connection, run).unwrap(), Sum { key: run.to_string(), ..Sum::default() });
}

#[test]
fn calls_are_summed_by_what_they_have_in_common() {
    let mut book = Book::new();
    let one = book.run(1, "agent/bot@team", "agentsup/one");
    let two = book.run(2, "agent/cat@team", "agentsup/two");
    book.call(one, "model-a", SUNDAY_MS - 1, 1);
    book.call(one, "model-b", SUNDAY_MS, 10);
    book.call(two, "model-b", SUNDAY_MS + 9 * DAY_MS, 100);
    for (by, expected) in [
        (Grouping::Day, vec![sum("2026-11-21", 1, 1), sum("2026-11-22", 1, 10), sum("2026-12-01", 1, 100)]),
        (Grouping::Month, vec![sum("2026-11", 2, 11), sum("2026-12", 1, 100)]),
        (Grouping::Agent, vec![sum("agent/bot@team", 2, 11), sum("agent/cat@team", 1, 100)]),
        (Grouping::Repository, vec![sum("/repo", 3, 111)]),
        (Grouping::Branch, vec![sum("agentsup/one", 2, 11), sum("agentsup/two", 1, 100)]),
        (Grouping::Model, vec![sum("model-a", 1, 1), sum("model-b", 2, 110)]),
        (Grouping::Run, vec![sum(&one.to_string(), 2, 11), sum(&two.to_string(), 1, 100)]),
    ] {
        assert_eq!(book.sums(by, &all()), expected, "{by:?}");
    }
    let sunday = Selection { since_ms: SUNDAY_MS, until_ms: SUNDAY_MS + DAY_MS, agent: None };
    assert_eq!(book.sums(Grouping::Model, &sunday), [sum("model-b", 1, 10)]);
    let cat = Selection { agent: Some("agent/cat@team".into()), ..all() };
    assert_eq!(book.sums(Grouping::Day, &cat), [sum("2026-12-01", 1, 100)]);
    assert_eq!(
        of_run(&book.connection, one).unwrap(),
        Sum {
            key: one.to_string(),
            calls: 2,
            assumed_calls: 0,
            assumed_nano_usd: 0,
            usage: Usage {
                input_tokens: 2,
                cache_write_5m_tokens: 4,
                cache_write_1h_tokens: 6,
                cache_read_tokens: 8,
                output_tokens: 10,
            },
            cost_nano_usd: 11,
            ..Sum::default()
        }
    );
}

#[test]
fn what_was_told_of_afterwards_counts_as_such_beside_the_rest() {
    let mut book = Book::new();
    let run = book.run(1, "agent/bot@team", "agentsup/one");
    let paid = book.open(run, "model-a", SUNDAY_MS);
    book.close(paid, Charge::Assumed);
    book.report(run, "req_1", "model-a", SUNDAY_MS, 7);
    let usage = Usage { input_tokens: 60, output_tokens: 40, ..Usage::default() };
    let told = Usage { input_tokens: 1, output_tokens: 2, ..Usage::default() };
    let expected = Sum {
        key: "model-a".into(),
        calls: 2,
        assumed_calls: 1,
        assumed_nano_usd: 100,
        usage: usage.plus(&told),
        cost_nano_usd: 107,
        reported_calls: 1,
        reported_nano_usd: 7,
    };
    assert_eq!(sums(&book.connection, Grouping::Model, &all()).unwrap(), [expected]);
    let recent = recent(&book.connection, SUNDAY_MS).unwrap();
    let recent: Vec<_> = recent.iter().map(|one| (one.cost_nano_usd, one.tokens)).collect();
    assert_eq!(recent, [(107, 103)]);
}

#[test]
fn what_is_under_way_or_was_not_billed_is_not_counted_and_what_nobody_knows_is_in_full() {
    let mut book = Book::new();
    let run = book.run(1, "agent/bot@team", "agentsup/one");
    let held = book.open(run, "model-a", SUNDAY_MS);
    assert_eq!(book.sums(Grouping::Day, &all()), []);
    book.close(held, Charge::Void);
    let lost = book.open(run, "model-a", SUNDAY_MS);
    book.close(lost, Charge::Assumed);
    let expected = Sum {
        key: "2026-11-22".into(),
        calls: 1,
        assumed_calls: 1,
        assumed_nano_usd: 100,
        usage: Usage { input_tokens: 60, output_tokens: 40, ..Usage::default() },
        cost_nano_usd: 100,
        ..Sum::default()
    };
    assert_eq!(sums(&book.connection, Grouping::Day, &all()).unwrap(), std::slice::from_ref(&expected));
    // broken off after its prompt was counted
    let cut = book.open(run, "model-a", SUNDAY_MS);
    let usage = Usage { input_tokens: 5, cache_read_tokens: 30, output_tokens: 40, ..Usage::default() };
    book.close(cut, Charge::AtMost { usage, cost: NanoUsd::new(70).unwrap() });
    let expected = Sum {
        calls: 2,
        assumed_calls: 2,
        assumed_nano_usd: 170,
        usage: expected.usage.plus(&usage),
        cost_nano_usd: 170,
        ..expected
    };
    assert_eq!(sums(&book.connection, Grouping::Day, &all()).unwrap(), [expected]);
    let rows: i64 = book.connection.query_row("SELECT COUNT(*) FROM usage", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 2);
}

#[test]
fn each_row_names_who_billed_it_and_at_which_prices() {
    let mut book = Book::new();
    let run = book.run(1, "agent/bot@team", "agentsup/one");
    book.call(run, "model-a", SUNDAY_MS, 7);
    let row: (String, String, String) = book
        .connection
        .query_row("SELECT provider, model, prices FROM usage", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .unwrap();
    assert_eq!(row, ("anthropic".into(), "model-a".into(), "v1".into()));
}

#[test]
fn what_was_spent_lately_is_told_by_the_account_that_paid() {
    let mut book = Book::new();
    let run = book.run(1, "agent/bot@team", "agentsup/one");
    book.call(run, "model-a", SUNDAY_MS - 1, 1);
    book.call(run, "model-a", SUNDAY_MS, 10);
    book.call(run, "model-a", SUNDAY_MS + 5, 100);
    book.open(run, "model-a", SUNDAY_MS + 6);
    let account = Account { budget: "team/purse".into(), period: "total".into() };
    let expected = Recent { account, first_ms: SUNDAY_MS, cost_nano_usd: 110, tokens: 30 };
    assert_eq!(recent(&book.connection, SUNDAY_MS).unwrap(), [expected]);
    assert_eq!(recent(&book.connection, SUNDAY_MS + 6).unwrap(), []);
}

#[test]
fn an_agent_that_ran_once_is_known() {
    let mut book = Book::new();
    for (number, agent) in [(1, "agent/bot@team"), (2, "agent/bot@team"), (3, "agent/cat@team")] {
        book.run(number, agent, "agentsup/x");
    }
    let names: Vec<String> = agents(&book.connection).unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(names, ["agent/bot@team", "agent/cat@team"]);
}
