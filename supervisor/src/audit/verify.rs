//! Checking that the log is whole: every hash, every link, every number and column, that ledger and log agree, that
//! every account is the sum of its reservations, and that the file is sound.
//!
//! What it cannot see by itself is an end that was cut off or written anew by someone who can write the file: for that
//! the head is told, to be compared with one that was noted elsewhere.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::core::canonical;
use crate::core::decision::Decision;
use crate::core::record::{DecisionEntry, Entry, EventEntry, GENESIS, Record, hash};
use crate::core::usage::Usage;
use crate::store::adjustments;
use crate::store::corrections::{self, Entered};
use crate::store::ledger::{self, Account, Booked};
use crate::store::records::{self, StoredRecord};
use crate::store::reported::{self, Posted};
use crate::store::{self, Connection, StoreError};

mod beside;
mod calls;

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
struct Told {
    seq: u64,
    /// None in records from before accounts were named.
    accounts: Option<Vec<Account>>,
    reserved: i64,
    posted: Option<i64>,
    /// Tokens posted, as far as the outcome says so.
    tokens: Option<i64>,
    provider: String,
    model: String,
    /// None in records from before it was kept.
    prices: Option<String>,
    usage: Option<Usage>,
    assumed: bool,
}

/// Checks the whole log. `Ok(Err)` is a broken log, `Err` a database that cannot be read at all.
///
/// # Errors
/// Those of the database.
pub fn verify(connection: &Connection) -> Result<Result<Summary, Finding>, StoreError> {
    let mut log = Log {
        prev: GENESIS,
        seq: 0,
        money: HashMap::new(),
        adjusted: BTreeMap::new(),
        corrected: BTreeMap::new(),
        reported: BTreeMap::new(),
    };
    // Runs go on: all of it is read as it was at one moment.
    let moment = connection.unchecked_transaction()?;
    let found = log.walk(&moment).and_then(|walked| match walked {
        Ok(()) => log.agree(&moment),
        Err(what) => Ok(Err(Finding { seq: log.seq, what })),
    });
    match found {
        // A file that cannot be read through is not whole, and that is the answer.
        Err(error) if error.is_damage() => Ok(Err(Finding { seq: log.seq + 1, what: error.to_string() })),
        Err(error) => Err(error),
        Ok(found) => Ok(found.map(|reservations| Summary {
            records: log.seq,
            head: hex::encode(log.prev),
            reservations,
        })),
    }
}

/// As much of the log as was read.
struct Log {
    prev: [u8; 32],
    seq: u64,
    money: HashMap<String, Told>,
    /// By how much people changed budgets, by the record that says so.
    adjusted: BTreeMap<String, (u64, Adjusted)>,
    /// What calls were found to have cost, by the record that says so.
    corrected: BTreeMap<String, (u64, Entered)>,
    /// Calls that were told of afterwards, likewise.
    reported: BTreeMap<String, (u64, Posted)>,
}

/// A budget in a period, nano-USD, tokens.
type Adjusted = (Account, i64, i64);

impl Log {
    fn walk(&mut self, connection: &Connection) -> Result<Result<(), String>, StoreError> {
        loop {
            let page = records::page(connection, self.seq, PAGE)?;
            if page.is_empty() {
                return Ok(Ok(()));
            }
            for stored in &page {
                self.seq += 1;
                match self.check(stored) {
                    Ok(hash) => self.prev = hash,
                    Err(what) => return Ok(Err(what)),
                }
                if let Some(what) = beside::differs(connection, stored)? {
                    return Ok(Err(what));
                }
            }
        }
    }

    /// Every reservation has its decision, with the same amounts, every amount of the log is in the ledger, and what
    /// budgets have spent is the sum of it.
    fn agree(&self, connection: &Connection) -> Result<Result<u64, Finding>, StoreError> {
        let booked = ledger::booked(connection)?;
        let after = self.seq + 1;
        let known: HashSet<&str> = booked.iter().map(|row| row.record.as_str()).collect();
        let lost = self.money.iter().filter(|(id, _)| !known.contains(id.as_str()));
        let lost = lost.map(|(_, told)| (told.seq, "the ledger has no reservation for it".to_owned()));
        let found = |seq: u64, what: String| Ok(Err(Finding { seq, what }));
        let corrections = match self.corrections(connection)? {
            Ok(corrections) => corrections,
            Err((seq, what)) => return found(seq, what),
        };
        let first = booked.iter().filter_map(|row| self.differs(row, &corrections)).chain(lost).min();
        if let Some((seq, what)) = first {
            return found(seq, what);
        }
        if let Some((seq, what)) = self.misnoted(connection, &booked, &corrections)? {
            return found(seq, what);
        }
        if let Some(Account { budget, period }) = ledger::unbalanced(connection)? {
            let what = format!("the budget `{budget}` has not spent in `{period}` what its calls did");
            return found(after, what);
        }
        if let Some((seq, what)) = self.misadjusted(connection)? {
            return found(seq, what);
        }
        if let Some((seq, what)) = self.misreported(connection)? {
            return found(seq, what);
        }
        if let Some(what) = beside::stray(connection, self.seq)? {
            return found(after, what);
        }
        if !records::is_guarded(connection)? {
            return found(after, "the triggers that keep the log append-only are gone".to_owned());
        }
        if let Some(damage) = store::damage(connection)? {
            return found(after, format!("the file is damaged: {damage}"));
        }
        Ok(Ok(u64::try_from(booked.len()).unwrap_or(u64::MAX)))
    }

    fn check(&mut self, stored: &StoredRecord) -> Result<[u8; 32], String> {
        let (seq, prev) = (self.seq, self.prev);
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
        if record.at_ms != stored.at_ms || record.run().map(|run| run.to_string()) != stored.run {
            return Err("its columns are not what its bytes say".to_owned());
        }
        let hash = hash(&stored.body);
        if hash.as_slice() != stored.hash {
            return Err("its bytes do not have the stored hash".to_owned());
        }
        self.take(&record)?;
        Ok(hash)
    }

    /// Keeps what a record says about money.
    fn take(&mut self, record: &Record) -> Result<(), String> {
        let seq = record.seq;
        match &record.entry {
            Entry::Decision(decision) if decision.decision == Decision::Allow => {
                if let Some(reserved) = decision.reserved_nano_usd {
                    let told = Told {
                        seq,
                        accounts: accounts(decision),
                        reserved,
                        posted: None,
                        tokens: None,
                        provider: decision.on.clone(),
                        model: decision.target.clone(),
                        prices: decision.prices.clone(),
                        usage: None,
                        assumed: false,
                    };
                    self.money.insert(record.id.to_string(), told);
                }
            }
            Entry::Outcome(outcome) => {
                if let Some(told) = self.money.get_mut(&outcome.of.to_string()) {
                    if told.posted.is_some() {
                        return Err("it is the second outcome of one decision".to_owned());
                    }
                    told.posted = Some(outcome.cost_nano_usd.unwrap_or(0));
                    told.tokens = outcome.tokens.and_then(|tokens| i64::try_from(tokens).ok());
                    told.usage = outcome.usage;
                    // Records of before say it by what they leave out.
                    told.assumed = outcome.assumed || outcome.usage.is_none();
                }
            }
            Entry::Event(event) if event.event == adjustments::EVENT => {
                self.adjusted.insert(record.id.to_string(), (seq, adjusted(event)));
            }
            Entry::Event(event) if event.event == corrections::EVENT => {
                let id = record.id.to_string();
                self.corrected.insert(id.clone(), (seq, calls::entered(id, event)));
            }
            Entry::Event(event) if event.event == reported::EVENT => {
                self.reported.insert(record.id.to_string(), (seq, posted(event)));
            }
            Entry::Decision(_) | Entry::Event(_) => {}
        }
        Ok(())
    }

    /// The first change of a budget of which log and ledger tell differently.
    fn misadjusted(&self, connection: &Connection) -> Result<Option<(u64, String)>, StoreError> {
        let mut told = self.adjusted.clone();
        let mut wrong = Vec::new();
        for (record, account, nano_usd, tokens) in adjustments::list(connection)? {
            match told.remove(&record) {
                Some((seq, said)) if said != (account, nano_usd, tokens) => {
                    wrong.push((seq, "the ledger has another change of the budget for it".to_owned()));
                }
                Some(_) => {}
                None => {
                    let what = format!(
                        "the ledger has a change of a budget by `{record}`, which the log does not have"
                    );
                    wrong.push((self.seq + 1, what));
                }
            }
        }
        let lost = told
            .values()
            .map(|(seq, _)| (*seq, "the ledger does not have the change of the budget".to_owned()));
        Ok(wrong.into_iter().chain(lost).min())
    }

    /// The first call told of afterwards of which log and ledger tell differently.
    fn misreported(&self, connection: &Connection) -> Result<Option<(u64, String)>, StoreError> {
        let mut told = self.reported.clone();
        let mut wrong = Vec::new();
        for (record, posted) in reported::list(connection)? {
            match told.remove(&record) {
                Some((seq, said)) if said != posted => {
                    wrong.push((seq, "the ledger has other amounts for the call".to_owned()));
                }
                Some(_) => {}
                None => {
                    let what = format!("the ledger has a call by `{record}`, which the log does not have");
                    wrong.push((self.seq + 1, what));
                }
            }
        }
        let lost = told.values().map(|(seq, _)| (*seq, "the ledger does not have the call".to_owned()));
        Ok(wrong.into_iter().chain(lost).min())
    }

    /// Where and how a reservation is not what the log tells.
    fn differs(&self, row: &Booked, corrections: &Corrections) -> Option<(u64, String)> {
        let Some(told) = self.money.get(&row.record) else {
            return Some((
                self.seq + 1,
                format!("the ledger names `{}`, which the log does not have", row.record),
            ));
        };
        let (nano_usd, tokens) = match calls::last(told, corrections.get(&row.id).map_or(&[], Vec::as_slice))
        {
            Ok(last) => last,
            Err(found) => return Some(found),
        };
        let is_same = told.reserved == row.reserved_nano_usd
            && nano_usd == row.posted_nano_usd
            && tokens.is_none_or(|tokens| row.posted_nano_usd.is_none() || tokens == row.posted_tokens);
        let what = if !is_same || !row.is_held_whole {
            "the ledger has other amounts for it"
        } else if told.accounts.as_ref().is_some_and(|accounts| *accounts != row.accounts) {
            "the ledger has it in other budgets or periods"
        } else {
            return None;
        };
        Some((told.seq, what.to_owned()))
    }
}

/// By the reservation: where the log has them, in order.
type Corrections = HashMap<String, Vec<(u64, Entered)>>;

/// What a record says of a change; what it does not say is nothing the ledger could have.
fn adjusted(event: &EventEntry) -> Adjusted {
    let fact = |name: &str| event.facts.get(name).cloned().unwrap_or_default();
    let number = |name: &str| fact(name).parse().unwrap_or(0);
    (Account { budget: fact("budget"), period: fact("period") }, number("nano_usd"), number("tokens"))
}

/// What a record says of a call that was told of afterwards.
fn posted(event: &EventEntry) -> Posted {
    let fact = |name: &str| event.facts.get(name).map(String::as_str).unwrap_or_default();
    let number = |name: &str| fact(name).parse().unwrap_or(0);
    let account = |(budget, period): (&str, &str)| Account { budget: budget.into(), period: period.into() };
    let mut accounts: Vec<Account> =
        fact("accounts").split(", ").filter_map(|named| named.split_once(' ')).map(account).collect();
    accounts.sort();
    Posted { nano_usd: number("nano_usd"), tokens: number("tokens"), accounts }
}

/// Where a decision says that its amount was reserved, in order.
fn accounts(decision: &DecisionEntry) -> Option<Vec<Account>> {
    let first = (decision.budget.as_ref()?, decision.period.as_ref()?);
    let also = decision.also.iter().map(|payer| (&payer.budget, &payer.period));
    let account =
        |(budget, period): (&String, &String)| Account { budget: budget.clone(), period: period.clone() };
    let mut accounts: Vec<Account> = std::iter::once(first).chain(also).map(account).collect();
    accounts.sort();
    Some(accounts)
}

#[cfg(test)]
mod tests;
