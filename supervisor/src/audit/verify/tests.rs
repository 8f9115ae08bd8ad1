//! Every kind of damage that one can do to a file that is all there.

mod whole;

use std::path::Path;

use super::*;
use crate::core::action::Bound;
use crate::core::ids::RecordId;
use crate::core::manifest::{Cap, Environment};
use crate::core::money::NanoUsd;
use crate::core::reconcile::{Known, Standing};
use crate::core::record::{DecisionEntry, EventEntry, OutcomeEntry, Who};
use crate::core::usage::{Charge, Usage};
use crate::store::adjustments::Adjustment;
use crate::store::corrections::Correction;
use crate::store::ledger::{Hold, Paying};
use crate::store::{Store, Transaction};
use crate::sys::ids;

fn nano(amount: i64) -> NanoUsd {
    NanoUsd::new(amount).unwrap()
}

/// A call that held 40: its decision and, if it cost something, its outcome.
fn call(tx: &Transaction<'_>, who: &Who, cost: Option<i64>) -> Result<RecordId, StoreError> {
    let bound = Bound { input_tokens: 1, output_tokens: 1, cost: nano(40) };
    let account = Account { budget: "team/purse".into(), period: "2026-11@UTC".into() };
    let hold = Hold {
        id: ids::new_reservation_id()?,
        record: ids::new_record_id()?,
        run: who.run,
        payers: vec![Paying {
            account: account.clone(),
            cap: Cap::Money { cap: nano(1000), burst: nano(0) },
        }],
        provider: "p".into(),
        model: "m".into(),
        prices: "v1".into(),
        bound,
        at_ms: 1,
    };
    ledger::reserve(tx, &hold)?;
    let decision = DecisionEntry {
        who: who.clone(),
        action: "llm".into(),
        target: "m".into(),
        on: "p".into(),
        decision: Decision::Allow,
        reasons: Vec::new(),
        digest: String::new(),
        facts: None,
        call_id: None,
        reserved_nano_usd: Some(40),
        budget: Some(account.budget),
        period: Some(account.period),
        prices: Some(hold.prices.clone()),
        also: Vec::new(),
    };
    records::append_as(tx, hold.record, 1, Entry::Decision(Box::new(decision)))?;
    if let Some(cost) = cost {
        let charge = Charge::Settled { usage: Default::default(), cost: nano(cost) };
        ledger::close(tx, hold.id, charge, 2)?;
        let (of, run, status) = (hold.record, who.run, "200 OK".to_owned());
        let usage = Some(Usage::default());
        let (tokens, cost_nano_usd) = (Some(0), Some(cost));
        let outcome = OutcomeEntry { of, run, status, usage, assumed: false, tokens, cost_nano_usd };
        records::append(tx, Entry::Outcome(outcome))?;
    }
    Ok(hold.record)
}

fn who() -> Who {
    Who {
        agent: "agent/bot@team".parse().unwrap(),
        owner: "user:default/alice".parse().unwrap(),
        run: ids::new_run_id().unwrap(),
        environment: Environment::Dev,
    }
}

/// Records: decision, outcome, event, decision, outcome, open decision.
async fn store(dir: &Path) -> Store {
    let store = Store::open(&dir.join("agentsup.db")).unwrap();
    let who = who();
    let fill = move |tx: &Transaction<'_>| {
        call(tx, &who, Some(25))?;
        records::append(tx, Entry::Event(EventEntry::new("mark", "a mark was made")))?;
        call(tx, &who, Some(0))?;
        call(tx, &who, None)
    };
    store.write(fill).await.unwrap();
    store
}

/// What is found after somebody has put his hand to it, guards and all.
async fn after(sql: &'static str) -> Result<Summary, Finding> {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path()).await;
    let act = move |tx: &Transaction<'_>| {
        let guards: Vec<(String, String)> = {
            let mut rows = tx.prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'")?;
            let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect::<Result<_, _>>()?
        };
        for (name, _) in &guards {
            tx.execute_batch(&format!("DROP TRIGGER {name}"))?;
        }
        tx.execute_batch(sql)?;
        for (_, guard) in &guards {
            tx.execute_batch(guard)?;
        }
        Ok(())
    };
    store.write(act).await.unwrap();
    store.read(verify).await.unwrap()
}

/// What is done, and which record is then the first broken one, and why.
const DAMAGE: &[(&str, u64, &str)] = &[
    // edited, with and without a hash that fits
    (
        "UPDATE records SET body = CAST(REPLACE(CAST(body AS TEXT), 'a mark', 'a bark') AS BLOB) WHERE seq = 3",
        3,
        "its bytes do not have the stored hash",
    ),
    ("UPDATE records SET hash = zeroblob(32) WHERE seq = 3", 3, "its bytes do not have the stored hash"),
    (
        "UPDATE records SET body = CAST(CAST(body AS TEXT) || ' ' AS BLOB) WHERE seq = 3",
        3,
        "its bytes are not in canonical form",
    ),
    (
        "UPDATE records SET body = CAST(REPLACE(CAST(body AS TEXT), '\"v\":1', '\"v\":1,\"x\":1') AS BLOB) WHERE seq = 3",
        3,
        "its bytes are not in canonical form",
    ),
    // beside the bytes
    ("UPDATE records SET at_ms = at_ms + 1 WHERE seq = 3", 3, "its columns are not what its bytes say"),
    ("UPDATE records SET run = NULL WHERE seq = 2", 2, "its columns are not what its bytes say"),
    (
        "UPDATE records SET id = (SELECT id || 'x' FROM records WHERE seq = 3) WHERE seq = 3",
        3,
        "its number or id is another record's",
    ),
    // gone, moved, put in
    ("DELETE FROM records WHERE seq = 1", 1, "it is missing; the next one is 2"),
    ("DELETE FROM records WHERE seq = 3", 3, "it is missing; the next one is 4"),
    (
        "DELETE FROM records WHERE seq = 3; UPDATE records SET seq = seq - 1 WHERE seq > 3",
        3,
        "its number or id is another record's",
    ),
    (
        "UPDATE records SET seq = 99 WHERE seq = 2; UPDATE records SET seq = 2 WHERE seq = 3; UPDATE records SET seq = 3 WHERE seq = 99",
        2,
        "its number or id is another record's",
    ),
    (
        "INSERT INTO records SELECT 7, id || 'x', at_ms, run, body, hash FROM records WHERE seq = 6",
        7,
        "its number or id is another record's",
    ),
    // the end cut off, as far as money tells
    ("DELETE FROM records WHERE seq = 6", 6, "the ledger names `"),
    ("DELETE FROM records WHERE seq >= 5", 4, "the ledger has other amounts for it"),
    // the ledger
    (
        "UPDATE reservations SET posted_nano_usd = 1 WHERE posted_nano_usd = 25",
        1,
        "the ledger has other amounts for it",
    ),
    (
        "UPDATE reservations SET reserved_nano_usd = 1 WHERE state = 'forwarding'",
        6,
        "the ledger has other amounts for it",
    ),
    (
        "UPDATE reservations SET state = 'void' WHERE state = 'forwarding'",
        6,
        "the ledger has other amounts for it",
    ),
    (
        "DELETE FROM holds WHERE reservation IN (SELECT id FROM reservations WHERE posted_nano_usd = 25); DELETE FROM reservations WHERE posted_nano_usd = 25",
        1,
        "the ledger has no reservation for it",
    ),
    (
        "INSERT INTO accounts (budget, period) VALUES ('team/other', 'total'); UPDATE holds SET budget = 'team/other', period = 'total' WHERE reservation = (SELECT id FROM reservations WHERE posted_nano_usd = 25)",
        1,
        "the ledger has it in other budgets or periods",
    ),
    (
        "INSERT INTO accounts (budget, period) VALUES ('team/other', 'total'); INSERT INTO holds SELECT id, 'team/other', 'total', 40, 2 FROM reservations WHERE posted_nano_usd = 25",
        1,
        "the ledger has it in other budgets or periods",
    ),
    (
        "DELETE FROM holds WHERE reservation = (SELECT id FROM reservations WHERE posted_nano_usd = 25)",
        1,
        "the ledger has it in other budgets or periods",
    ),
    (
        "UPDATE holds SET nano_usd = 1 WHERE reservation = (SELECT id FROM reservations WHERE posted_nano_usd = 25)",
        1,
        "the ledger has other amounts for it",
    ),
    // what calls used
    (
        "UPDATE usage SET cost_nano_usd = 24 WHERE cost_nano_usd = 25",
        1,
        "its usage is noted with other amounts",
    ),
    (
        "UPDATE usage SET state = 'assumed' WHERE cost_nano_usd = 25",
        1,
        "its usage is noted with other amounts",
    ),
    (
        "UPDATE usage SET input_tokens = 1 WHERE cost_nano_usd = 25",
        1,
        "its usage is noted with other amounts",
    ),
    (
        "UPDATE usage SET input_tokens = 0, output_tokens = 2 WHERE state = 'open'; UPDATE usage SET model = 'n' WHERE state = 'open'",
        6,
        "its usage is noted for another model, provider or price",
    ),
    (
        "UPDATE usage SET prices = 'v2' WHERE cost_nano_usd = 25",
        1,
        "its usage is noted for another model, provider or price",
    ),
    ("DELETE FROM usage WHERE cost_nano_usd = 25", 1, "its usage is not noted"),
    (
        "INSERT INTO usage SELECT 9, reservation || 'x', run, provider, model, prices, state, 1, 0, 0, 0, 1, 25 FROM usage WHERE cost_nano_usd = 25",
        7,
        "the usage of a call is noted that the ledger does not have",
    ),
    // what a budget has left
    (
        "UPDATE accounts SET posted_nano_usd = 0",
        7,
        "the budget `team/purse` has not spent in `2026-11@UTC` what its calls did",
    ),
    (
        "UPDATE accounts SET pending_nano_usd = 0",
        7,
        "the budget `team/purse` has not spent in `2026-11@UTC` what its calls did",
    ),
    (
        "UPDATE accounts SET posted_tokens = 1000000",
        7,
        "the budget `team/purse` has not spent in `2026-11@UTC` what its calls did",
    ),
];

#[tokio::test]
async fn every_kind_of_damage_is_found_where_it_is() {
    for &(sql, seq, what) in DAMAGE {
        let finding = after(sql).await.unwrap_err();
        assert!(finding.seq == seq && finding.what.starts_with(what), "{sql}: {finding}");
    }
}

/// As [`after`], with a budget that was raised in between: record 7.
async fn after_a_raise(sql: &'static str) -> Result<Summary, Finding> {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path()).await;
    let record = ids::new_record_id().unwrap();
    let account = Account { budget: "team/purse".into(), period: "2026-11@UTC".into() };
    let raise = move |tx: &Transaction<'_>| {
        let event = EventEntry::new(adjustments::EVENT, "somebody raised it")
            .fact("budget", &account.budget)
            .fact("period", &account.period)
            .fact("nano_usd", 50)
            .fact("tokens", 0);
        records::append_as(tx, record, 1, Entry::Event(event))?;
        let by = "user:alice".to_owned();
        let row = Adjustment { record, account, nano_usd: 50, tokens: 0, by, reason: None, at_ms: 1 };
        adjustments::insert(tx, &row)
    };
    store.write(raise).await.unwrap();
    store.write(move |tx| Ok(tx.execute_batch(sql)?)).await.unwrap();
    store.read(verify).await.unwrap()
}

#[tokio::test]
async fn a_change_of_a_budget_is_in_the_log_and_in_the_ledger() {
    assert_eq!(after_a_raise("").await.unwrap().records, 7);
    for (sql, seq, what) in [
        ("UPDATE adjustments SET nano_usd = 51", 7, "the ledger has another change of the budget for it"),
        ("DELETE FROM adjustments", 7, "the ledger does not have the change of the budget"),
        (
            "INSERT INTO adjustments SELECT 'rec_x', budget, period, 9, 0, made_by, reason, at_ms FROM adjustments",
            8,
            "the ledger has a change of a budget by `rec_x`, which the log does not have",
        ),
    ] {
        let finding = after_a_raise(sql).await.unwrap_err();
        assert_eq!((finding.seq, finding.what.as_str()), (seq, what), "{sql}");
    }
}

/// As [`after`], with a call that nobody counted and that was corrected twice: records 7 to 10.
async fn after_corrections(sql: &'static str) -> Result<Summary, Finding> {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path()).await;
    let correct = move |tx: &Transaction<'_>| {
        let who = Who {
            agent: "agent/bot@team".parse().unwrap(),
            owner: "user:default/alice".parse().unwrap(),
            run: ids::new_run_id()?,
            environment: Environment::Dev,
        };
        let of = call(tx, &who, None)?;
        let open = corrections::calls(tx, &of.to_string())?.remove(0);
        let closed = ledger::close(tx, open.reservation, Charge::Assumed, 2)?.unwrap();
        let (tokens, cost_nano_usd) = (Some(closed.tokens), Some(closed.posted.nano()));
        let status = "cut".to_owned();
        let outcome =
            OutcomeEntry { of, run: who.run, status, usage: None, assumed: true, tokens, cost_nano_usd };
        records::append(tx, Entry::Outcome(outcome))?;
        let usage = Usage { output_tokens: 1, ..Usage::default() };
        for (stated, cost, known) in [(None, 30, Known::Cost), (Some(usage), 30, Known::Whole)] {
            let now = corrections::calls(tx, &of.to_string())?.remove(0);
            let tokens = stated.map_or(now.standing.tokens, |usage| usage.total());
            let after = Standing { known, cost: nano(cost), tokens };
            let correction = Correction {
                record: ids::new_record_id()?,
                reservation: now.reservation,
                before: now.standing,
                after,
                usage: stated,
                source: "a.csv".into(),
                by: "user:alice".into(),
                at_ms: 3,
            };
            corrections::insert(tx, &now, &correction)?;
            let event = EventEntry::new(corrections::EVENT, "somebody lowered it")
                .fact("reservation", now.reservation)
                .fact("old_nano_usd", now.standing.cost.nano())
                .fact("new_nano_usd", cost)
                .fact("old_tokens", now.standing.tokens)
                .fact("new_tokens", tokens);
            let event = match stated {
                None => event,
                Some(_) => {
                    let zero = [
                        "input_tokens",
                        "cache_write_5m_tokens",
                        "cache_write_1h_tokens",
                        "cache_read_tokens",
                    ];
                    zero.iter().fold(event, |event, name| event.fact(name, 0)).fact("output_tokens", 1)
                }
            };
            records::append_as(tx, correction.record, 3, Entry::Event(event))?;
        }
        Ok(())
    };
    store.write(correct).await.unwrap();
    let act = move |tx: &Transaction<'_>| {
        let free = "DROP TRIGGER corrections_never_change; DROP TRIGGER corrections_never_go;";
        Ok(tx.execute_batch(&format!("{free} {sql}"))?)
    };
    store.write(act).await.unwrap();
    store.read(verify).await.unwrap()
}

#[tokio::test]
async fn a_correction_is_in_the_log_and_in_the_ledger() {
    assert_eq!(after_corrections("").await.unwrap().records, 10);
    for (sql, seq, what) in [
        (
            "UPDATE corrections SET new_nano_usd = 31 WHERE old_nano_usd = 40",
            9,
            "the ledger has another correction for it",
        ),
        (
            "UPDATE corrections SET output_tokens = 2 WHERE new_tokens = 1",
            10,
            "the ledger has another correction for it",
        ),
        ("DELETE FROM corrections WHERE new_tokens = 1", 10, "the ledger does not have the correction"),
        (
            "UPDATE reservations SET posted_nano_usd = 40 WHERE posted_nano_usd = 30",
            7,
            "the ledger has other amounts for it",
        ),
        (
            "UPDATE usage SET state = 'assumed' WHERE cost_nano_usd = 30",
            7,
            "its usage is noted with other amounts",
        ),
        (
            "UPDATE usage SET output_tokens = 0, input_tokens = 1 WHERE cost_nano_usd = 30",
            7,
            "its usage is noted with other kinds of tokens",
        ),
        (
            "UPDATE accounts SET posted_nano_usd = posted_nano_usd + 10",
            11,
            "the budget `team/purse` has not spent in `2026-11@UTC` what its calls did",
        ),
    ] {
        let finding = after_corrections(sql).await.unwrap_err();
        assert_eq!((finding.seq, finding.what.as_str()), (seq, what), "{sql}");
    }
}

/// What is found after a call was told of, and then somebody put his hand to the ledger.
async fn after_a_report(sql: &'static str) -> Result<Summary, Finding> {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path()).await;
    let account = Account { budget: "team/purse".into(), period: "2026-11@UTC".into() };
    let row = reported::Row {
        run: ids::new_run_id().unwrap(),
        call: "req_1".into(),
        record: ids::new_record_id().unwrap(),
        at_ms: 1,
        provider: "p".into(),
        model: "m".into(),
        prices: "v1".into(),
        usage: Usage { input_tokens: 3, ..Usage::default() },
        cost: nano(7),
    };
    let tell = move |tx: &Transaction<'_>| {
        let event = EventEntry::new(reported::EVENT, "somebody called a model")
            .fact("tokens", 3)
            .fact("nano_usd", 7)
            .fact("accounts", "team/purse 2026-11@UTC");
        reported::post(tx, &row, &[account])?;
        records::append_as(tx, row.record, 1, Entry::Event(event))
    };
    store.write(tell).await.unwrap();
    store.write(move |tx| Ok(tx.execute_batch(sql)?)).await.unwrap();
    store.read(verify).await.unwrap()
}

#[tokio::test]
async fn a_call_that_was_told_of_is_in_the_log_and_in_the_ledger() {
    assert_eq!(after_a_report("").await.unwrap().records, 7);
    let (other, gone) = ("the ledger has other amounts for the call", "the ledger does not have the call");
    for (sql, seq, what) in [
        ("UPDATE reported SET cost_nano_usd = 8", 7, other),
        (
            "UPDATE reported_posts SET nano_usd = 8;
             UPDATE accounts SET posted_nano_usd = posted_nano_usd + 1",
            7,
            other,
        ),
        (
            "DELETE FROM reported_posts; DELETE FROM reported;
             UPDATE accounts SET posted_nano_usd = posted_nano_usd - 7, posted_tokens = posted_tokens - 3",
            7,
            gone,
        ),
        (
            "UPDATE accounts SET posted_nano_usd = posted_nano_usd - 7",
            8,
            "the budget `team/purse` has not spent in `2026-11@UTC` what its calls did",
        ),
    ] {
        let finding = after_a_report(sql).await.unwrap_err();
        assert_eq!((finding.seq, finding.what.as_str()), (seq, what), "{sql}");
    }
}

#[tokio::test]
async fn a_log_without_its_guards_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path()).await;
    store.write(|tx| Ok(tx.execute_batch("DROP TRIGGER records_never_go")?)).await.unwrap();
    let finding = store.read(verify).await.unwrap().unwrap_err();
    assert_eq!(finding.what, "the triggers that keep the log append-only are gone");
}

/// A page of the file overwritten.
#[tokio::test]
async fn a_damaged_file_is_a_broken_log() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agentsup.db");
    drop(store(dir.path()).await);
    let copy = tempfile::tempdir().unwrap();
    let damaged = copy.path().join("agentsup.db");
    {
        let connection = Connection::open(&path).unwrap();
        connection.execute("VACUUM INTO ?1", [damaged.to_str().unwrap()]).unwrap();
    }
    let mut bytes = std::fs::read(&damaged).unwrap();
    for page in bytes.chunks_mut(4096).skip(1) {
        page.fill(0xa5);
    }
    std::fs::write(&damaged, bytes).unwrap();
    let finding = verify(&Connection::open(&damaged).unwrap()).unwrap().unwrap_err();
    assert_eq!(finding.seq, 1);
}
