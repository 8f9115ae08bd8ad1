//! Checking that the log is whole: every hash, every link, every number, and that ledger and log agree.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::core::canonical;
use crate::core::decision::Decision;
use crate::core::record::{Entry, GENESIS, hash};
use crate::store::records::{self, StoredRecord};
use crate::store::{Connection, StoreError, ledger};

/// Rows read at a time.
const PAGE: u32 = 1024;

/// A whole log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// How many records it has.
    pub records: u64,
    /// The hash of the last one, hexadecimal; compare it with one noted elsewhere to see that nothing was cut off.
    pub head: String,
    /// Reservations that were checked against their records.
    pub reservations: u64,
}

/// What is wrong with a log, and where it begins to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("record {seq} is broken: {what}")]
pub struct Finding {
    /// The first broken number.
    pub seq: u64,
    /// What is wrong there.
    pub what: String,
}

/// Money as the log tells it, by the record of the decision: reserved, and posted once its outcome is known.
#[derive(Default)]
struct Told {
    seq: u64,
    reserved: i64,
    posted: Option<i64>,
}

/// Checks the whole log. `Ok(Err)` is a broken log, `Err` a database that cannot be read at all.
///
/// # Errors
/// Those of the database.
pub fn verify(connection: &Connection) -> Result<Result<Summary, Finding>, StoreError> {
    let mut prev = GENESIS;
    let mut seq = 0;
    let mut money = HashMap::new();
    loop {
        let page = records::page(connection, seq, PAGE)?;
        if page.is_empty() {
            break;
        }
        for stored in &page {
            seq += 1;
            match check(stored, seq, prev, &mut money) {
                Ok(hash) => prev = hash,
                Err(what) => return Ok(Err(Finding { seq, what })),
            }
        }
    }
    Ok(agree(connection, &money)?.map(|reservations| Summary {
        records: seq,
        head: hex::encode(prev),
        reservations,
    }))
}

fn check(
    stored: &StoredRecord,
    seq: u64,
    prev: [u8; 32],
    money: &mut HashMap<String, Told>,
) -> Result<[u8; 32], String> {
    if stored.seq != seq {
        return Err(format!("it is missing; the next one is {}", stored.seq));
    }
    let record = stored.record().map_err(|error| error.to_string())?;
    let canonical = canonical::to_bytes(&record).map_err(|error| error.to_string())?;
    if canonical != stored.body {
        return Err("its bytes are not in canonical form".to_owned());
    }
    if record.seq != seq || record.id.to_string() != stored.id {
        return Err("its number or id is another record's".to_owned());
    }
    if record.prev != hex::encode(prev) {
        return Err("it does not follow the record before it".to_owned());
    }
    let hash = hash(&stored.body);
    if hash.as_slice() != stored.hash {
        return Err("its bytes do not have the stored hash".to_owned());
    }
    match &record.entry {
        Entry::Decision(decision) if decision.decision == Decision::Allow => {
            if let Some(reserved) = decision.reserved_nano_usd {
                money.insert(stored.id.clone(), Told { seq, reserved, posted: None });
            }
        }
        Entry::Outcome(outcome) => {
            if let Some(told) = money.get_mut(&outcome.of.to_string()) {
                if told.posted.is_some() {
                    return Err("it is the second outcome of one decision".to_owned());
                }
                told.posted = Some(outcome.cost_nano_usd.unwrap_or(0));
            }
        }
        Entry::Decision(_) | Entry::Event(_) => {}
    }
    Ok(hash)
}

/// Every reservation has its decision, with the same amounts, and every amount of the log is in the ledger.
fn agree(connection: &Connection, money: &HashMap<String, Told>) -> Result<Result<u64, Finding>, StoreError> {
    let booked = ledger::booked(connection)?;
    let found = |seq: u64, what: String| Ok(Err(Finding { seq, what }));
    for row in &booked {
        let Some(told) = money.get(&row.record) else {
            let head = records::head(connection)?.seq;
            return found(
                head + 1,
                format!("the ledger names `{}`, which the log does not have", row.record),
            );
        };
        if told.reserved != row.reserved_nano_usd || told.posted != row.posted_nano_usd {
            return found(told.seq, "the ledger has other amounts for it".to_owned());
        }
    }
    if booked.len() != money.len() {
        let known: std::collections::HashSet<&str> = booked.iter().map(|row| row.record.as_str()).collect();
        let lost =
            money.iter().filter(|(id, _)| !known.contains(id.as_str())).map(|(_, told)| told.seq).min();
        return found(lost.unwrap_or(0), "the ledger has no reservation for it".to_owned());
    }
    Ok(Ok(u64::try_from(booked.len()).unwrap_or(u64::MAX)))
}
