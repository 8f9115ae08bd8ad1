//! What became of a file that an earlier version wrote.

#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::store::{Store, db};
use crate::sys::ids;

/// The ledger's tables as the first schema had them, for good.
const FIRST: &str = "
CREATE TABLE accounts (
  budget           TEXT NOT NULL,
  period           TEXT NOT NULL,
  posted_nano_usd  INTEGER NOT NULL DEFAULT 0 CHECK (posted_nano_usd >= 0),
  pending_nano_usd INTEGER NOT NULL DEFAULT 0 CHECK (pending_nano_usd >= 0),
  posted_tokens    INTEGER NOT NULL DEFAULT 0 CHECK (posted_tokens >= 0),
  pending_tokens   INTEGER NOT NULL DEFAULT 0 CHECK (pending_tokens >= 0),
  alerted          INTEGER NOT NULL DEFAULT 0 CHECK (alerted IN (0, 1)),
  PRIMARY KEY (budget, period)
) STRICT, WITHOUT ROWID;
CREATE TABLE reservations (
  id                TEXT PRIMARY KEY,
  record            TEXT NOT NULL UNIQUE,
  run               TEXT NOT NULL,
  budget            TEXT NOT NULL,
  period            TEXT NOT NULL,
  model             TEXT NOT NULL,
  reserved_nano_usd INTEGER NOT NULL CHECK (reserved_nano_usd >= 0),
  reserved_tokens   INTEGER NOT NULL CHECK (reserved_tokens >= 0),
  state             TEXT NOT NULL CHECK (state IN ('forwarding', 'settled', 'assumed', 'void')),
  posted_nano_usd   INTEGER NOT NULL DEFAULT 0 CHECK (posted_nano_usd >= 0),
  posted_tokens     INTEGER NOT NULL DEFAULT 0 CHECK (posted_tokens >= 0),
  opened_at_ms      INTEGER NOT NULL,
  closed_at_ms      INTEGER,
  FOREIGN KEY (budget, period) REFERENCES accounts (budget, period)
) STRICT, WITHOUT ROWID;
CREATE INDEX reservations_by_run ON reservations (run);
CREATE INDEX reservations_open ON reservations (state) WHERE state = 'forwarding';
";

fn account(budget: &str) -> Account {
    Account { budget: budget.into(), period: "2026-11@UTC".into() }
}

fn held(posted: i64, pending: i64, posted_tokens: u64, pending_tokens: u64) -> Balance {
    Balance {
        posted: money(posted).unwrap(),
        pending: money(pending).unwrap(),
        posted_tokens,
        pending_tokens,
        ..Balance::default()
    }
}

#[tokio::test]
async fn accounts_and_open_reservations_of_the_first_schema_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agentsup.db");
    let open = ids::new_reservation_id().unwrap();
    {
        let connection = Connection::open(&path).unwrap();
        for table in
            [crate::store::meta::SCHEMA, crate::store::records::SCHEMA, crate::store::runs::SCHEMA, FIRST]
        {
            connection.execute_batch(table).unwrap();
        }
        connection
            .execute_batch(
                "INSERT INTO accounts VALUES ('team/a', '2026-11@UTC', 25, 40, 7, 20, 1),
                   ('team/b', '2026-11@UTC', 40, 0, 20, 0, 0);",
            )
            .unwrap();
        let (run, closed, other) = (
            ids::new_run_id().unwrap(),
            ids::new_reservation_id().unwrap(),
            ids::new_reservation_id().unwrap(),
        );
        for (id, budget, state, posted, tokens) in [
            (closed, "team/a", "settled", 25, 7),
            (open, "team/a", "forwarding", 0, 0),
            (other, "team/b", "assumed", 40, 20),
        ] {
            connection
                .execute(
                    "INSERT INTO reservations VALUES (?1, ?2, ?3, ?4, '2026-11@UTC', 'm', 40, 20, ?5, ?6, ?7, 1, NULL)",
                    params![
                        id.to_string(),
                        ids::new_record_id().unwrap().to_string(),
                        run.to_string(),
                        budget,
                        state,
                        posted,
                        tokens
                    ],
                )
                .unwrap();
        }
        connection.pragma_update(None, "user_version", 1).unwrap();
    }

    let store = Store::open(&path).unwrap();
    let read = move |connection: &Connection| {
        let alerted = alerted(connection, &account("team/a"))?;
        let orphans: Vec<ReservationId> = orphans(connection)?.iter().map(|orphan| orphan.id).collect();
        let mut booked: Vec<Vec<Account>> = booked(connection)?.into_iter().map(|row| row.accounts).collect();
        booked.sort();
        let (a, b) = (balance(connection, &account("team/a"))?, balance(connection, &account("team/b"))?);
        Ok((a, b, alerted, orphans, booked, unbalanced(connection)?))
    };
    let (a, b, was_alerted, orphans, booked, unbalanced_account) = store.read(read).await.unwrap();
    assert_eq!((a, b), (held(25, 40, 7, 20), held(40, 0, 20, 0)));
    assert!(was_alerted, "nobody is told twice");
    assert_eq!(orphans, [open]);
    assert_eq!(booked, [[account("team/a")], [account("team/a")], [account("team/b")]]);
    assert_eq!(unbalanced_account, None);

    // What was open is closed where it was held.
    let closed = store.write(move |tx| close(tx, open, Charge::Assumed, 2)).await.unwrap().unwrap();
    assert_eq!((closed.accounts, closed.posted.nano()), (vec![account("team/a")], 40));
    let after =
        store.read(|connection| Ok((balance(connection, &account("team/a"))?, unbalanced(connection)?)));
    assert_eq!(after.await.unwrap(), (held(65, 0, 27, 0), None));
    let version =
        store.read(|connection| Ok(connection.pragma_query_value(None, "user_version", |row| row.get(0))?));
    let version: i64 = version.await.unwrap();
    assert_eq!(usize::try_from(version).unwrap(), db::MIGRATIONS.len());
}
