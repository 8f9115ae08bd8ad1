//! What is kept beside the record of a decision.

use super::*;
use crate::core::data::{DataRules, Treatment};
use crate::core::detect::{Class, Kind};
use crate::core::judged::Judged;
use crate::core::record::DecisionEntry;
use crate::store::{Connection, facts};

/// The newest decision, and what is kept beside it.
async fn newest(store: &Store) -> (DecisionEntry, Option<Judged>) {
    let read = |connection: &Connection| {
        let page = records::page(connection, 0, 100)?;
        let mut decisions = page.iter().filter_map(|stored| match stored.record().unwrap().entry {
            Entry::Decision(decision) => Some((stored.seq, *decision)),
            _ => None,
        });
        let (seq, decision) = decisions.next_back().unwrap();
        Ok((decision, facts::of(connection, seq)?))
    };
    let (decision, kept) = store.read(read).await.unwrap();
    (decision, kept.map(|bytes| Judged::read(&bytes).unwrap()))
}

fn shell(command: &str, kinds: &[Kind]) -> Action {
    let mut facts = Facts { command: Some(command.into()), ..Facts::default() };
    facts.data.kinds = kinds.iter().map(|kind| (*kind, 1)).collect();
    Action::Tool(ToolAction {
        source: ToolSource::Builtin(BuiltinClass::Shell),
        tool: "Bash".into(),
        args_digest: [1; 32],
        facts,
        call_id: None,
    })
}

fn with_shell(change: impl FnOnce(&mut Snapshot)) -> Snapshot {
    let mut agent = agent();
    agent.tools.builtin.push(BuiltinClass::Shell);
    let mut snapshot = snapshot(agent, vec![purse(100, 0)]);
    change(&mut snapshot);
    snapshot
}

#[tokio::test]
async fn every_decision_has_what_it_was_about_beside_it() {
    let world = world(100, 0).await;
    for (action, allowed) in
        [(tool("notes"), true), (tool("payments"), false), (llm(40), true), (llm(90), false)]
    {
        let decided = world.gate.decide(&world.live, action.clone()).await;
        assert_eq!(decided.is_ok(), allowed);
        let (entry, kept) = newest(&world.store).await;
        let kept = kept.unwrap();
        assert_eq!(kept.action.name(), action.name());
        assert_eq!(entry.facts, Some(crate::core::judged::digest(&kept.to_bytes().unwrap().unwrap())));
        if let Ok(permit) = decided {
            permit.settle(Outcome::free("ok")).await.unwrap();
        }
    }
    assert!(verified(&world.store).await > 4);
}

/// Neither where rules about data found it, nor where they had no reason to look.
#[tokio::test]
async fn nothing_that_holds_a_secret_is_kept() {
    let key = format!("export T=ghp_{}", "a1B2c3D4e5F6g7H8i9J0".repeat(2).get(..36).unwrap());
    let open = |snapshot: &mut Snapshot| {
        snapshot.config.data.shell.classes =
            [(Class::Secret, Treatment::Allow), (Class::Personal, Treatment::Allow)].into();
    };
    let found = world_of(with_shell(|snapshot| snapshot.config.data = DataRules::default())).await;
    let unlooked = world_of(with_shell(open)).await;
    for (world, action, is_kept) in [
        (&found, shell("make", &[]), true),
        (&found, shell("make", &[Kind::GithubToken]), false),
        (&found, shell("mail alice@example.com", &[Kind::Email]), true),
        (&unlooked, shell("make", &[]), true),
        (&unlooked, shell(&key, &[]), false),
    ] {
        // A question is asked where rules say so; the record comes with its end.
        world.gate.inner.registry.replace({
            let mut snapshot = (*world.gate.inner.registry.current()).clone();
            snapshot.config.approval_timeout_ms = 1;
            snapshot
        });
        let decided = world.gate.decide(&world.live, action.clone()).await;
        drop(decided);
        let (entry, kept) = newest(&world.store).await;
        assert_eq!((entry.facts.is_some(), kept.is_some()), (is_kept, is_kept), "{action:?}");
    }
}

#[tokio::test]
async fn nothing_is_kept_where_the_configuration_says_so() {
    let world = world_of(with_shell(|snapshot| snapshot.config.facts_kept_ms = None)).await;
    drop(world.gate.decide(&world.live, shell("make", &[])).await);
    let (entry, kept) = newest(&world.store).await;
    assert_eq!((entry.facts, kept), (None, None));
}

/// Erased is no damage; changed, put beside something else or left over is.
#[tokio::test]
async fn verifying_tells_what_was_changed_from_what_is_gone() {
    for (sql, expected) in [
        ("DELETE FROM facts", None),
        (
            "UPDATE facts SET body = CAST('{}' AS BLOB)",
            Some("record 1 is broken: what is kept beside it is not what was decided about"),
        ),
        (
            "INSERT INTO facts (seq, at_ms, body) VALUES (2, 0, X'00')",
            Some("record 2 is broken: something stands beside it that it does not name"),
        ),
        (
            "INSERT INTO facts (seq, at_ms, body) VALUES (9, 0, X'00')",
            Some("record 3 is broken: something is kept of record 9, which the log does not have"),
        ),
    ] {
        let world = world(100, 0).await;
        let permit = world.gate.decide(&world.live, tool("notes")).await.unwrap_or_else(|_| unreachable!());
        permit.settle(Outcome::free("ok")).await.unwrap();
        let act = move |tx: &Transaction<'_>| {
            tx.execute_batch("DROP TRIGGER facts_never_change")?;
            Ok(tx.execute_batch(sql)?)
        };
        world.store.write(act).await.unwrap();
        let found = world.store.read(audit::verify).await.unwrap().err();
        assert_eq!(found.map(|found| found.to_string()).as_deref(), expected, "{sql}");
    }
}

/// A command line is beside its sentence, as long as it is kept and is what the record says it is.
#[tokio::test]
async fn the_log_shows_command_lines_that_are_kept() {
    let world = world_of(with_shell(|_| ())).await;
    let permit = world.gate.decide(&world.live, shell("make test", &[])).await.unwrap();
    permit.settle(Outcome::free("done")).await.unwrap();
    let shown = async || {
        let lines = world.store.read(|connection| audit::list(connection, &List::default())).await.unwrap();
        lines.into_iter().find(|line| line.target == "Bash").unwrap().command
    };
    assert_eq!(shown().await.as_deref(), Some("make test"));
    let change = "INSERT OR REPLACE INTO facts (seq, at_ms, body)
        SELECT seq, at_ms, CAST(replace(CAST(body AS TEXT), 'make', 'fake') AS BLOB) FROM facts";
    world.store.write(move |tx| Ok(tx.execute(change, [])?)).await.unwrap();
    assert_eq!(shown().await, None, "it was changed");
    world.store.write(|tx| Ok(tx.execute("DELETE FROM facts", [])?)).await.unwrap();
    assert_eq!(shown().await, None, "it was erased");
}
