//! The log as people and scripts read it: one line per decision, its outcome joined.

use std::collections::{HashMap, VecDeque};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::core::action::Action;
use crate::core::decision::{Decision, Reason};
use crate::core::ids::{RecordId, RunId};
use crate::core::judged::{self, Judged};
use crate::core::manifest::Environment;
use crate::core::money::NanoUsd;
use crate::core::principal::{AgentRef, Owner};
use crate::core::record::{Entry, OutcomeEntry, Record, Who};
use crate::core::sentence::{Told, sentence};
use crate::store::{Connection, StoreError, facts, records, reported};

/// Rows read at a time.
const PAGE: u32 = 512;
/// Lines of one answer at most; who wants more asks again after the last.
const LIMIT: usize = if cfg!(test) { 20 } else { 10_000 };

/// What to list.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct List {
    /// Only records after this number.
    pub after: u64,
    /// Only this run.
    pub run: Option<RunId>,
    /// Only agents that answer to this.
    pub agent: Option<String>,
    /// Only so many lines, the newest ones, at most 10 000. Without it the oldest 10 000, so that the next question can
    /// begin after them.
    pub last: Option<usize>,
}

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// The number of the decision's or event's record.
    pub seq: u64,
    /// Its id.
    pub id: RecordId,
    /// RFC 3339, UTC, milliseconds.
    pub at: String,
    /// The agent, if a run did it.
    pub agent: Option<AgentRef>,
    /// Its accountable human.
    pub owner: Option<Owner>,
    /// The run.
    pub run: Option<RunId>,
    /// `launch`, `llm`, `tool`, `egress`, or the event's name.
    pub action: String,
    /// The adapter, model, tool or host; for an event its predicate.
    pub target: String,
    /// What it acted upon; may be empty.
    pub on: String,
    /// The gate's decision; none for events.
    pub decision: Option<Decision>,
    /// Every reason of the decision.
    pub reasons: Vec<Reason>,
    /// Tokens posted to the budget.
    pub tokens: Option<u64>,
    /// Money posted to the budget, in nano-USD.
    pub cost_nano_usd: Option<i64>,
    /// How the effect ended; none while it has not.
    pub outcome: Option<String>,
    /// Where it acted.
    pub environment: Option<Environment>,
    /// The command line, as long as what the decision was about is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// The line as a sentence.
    pub sentence: String,
    /// The digest of what is kept beside the record.
    #[serde(skip)]
    facts: Option<String>,
}

/// The lines of the log, oldest first.
///
/// # Errors
/// Those of the database, or when a row holds no record.
pub fn list(connection: &Connection, query: &List) -> Result<Vec<Listed>, StoreError> {
    let mut lines = Lines::default();
    let mut after = query.after;
    while !lines.is_done(query) {
        let page = records::page(connection, after, PAGE)?;
        let Some(last) = page.last() else { break };
        after = last.seq;
        for stored in &page {
            lines.take(query, stored.record()?);
        }
    }
    let mut lines = Vec::from(lines.kept);
    for line in &mut lines {
        line.sentence = tell(line);
        line.command = command(connection, line)?;
    }
    Ok(lines)
}

/// What is kept beside the record and is what the record says it is, as far as it is a command line.
fn command(connection: &Connection, line: &Listed) -> Result<Option<String>, StoreError> {
    let Some(digest) = line.facts.as_ref().filter(|_| line.action == "tool") else { return Ok(None) };
    let kept = facts::of(connection, line.seq)?.filter(|kept| judged::digest(kept) == *digest);
    Ok(match kept.and_then(|kept| Judged::read(&kept).ok()).map(|judged| judged.action) {
        Some(Action::Tool(tool)) => tool.facts.command,
        _ => None,
    })
}

/// The lines found so far, never more than [`LIMIT`].
#[derive(Default)]
struct Lines {
    kept: VecDeque<Listed>,
    /// Lines that were kept for a while and gave way to newer ones.
    dropped: usize,
    /// Where the lines stand whose effects have not ended yet, counted from the first that was ever kept.
    open: HashMap<RecordId, usize>,
}

impl Lines {
    fn take(&mut self, query: &List, record: Record) {
        if let Entry::Outcome(outcome) = &record.entry {
            let at = self.open.remove(&outcome.of).and_then(|at| at.checked_sub(self.dropped));
            if let Some(line) = at.and_then(|at| self.kept.get_mut(at)) {
                join(line, outcome);
            }
            return;
        }
        let is_full = query.last.is_none() && self.kept.len() >= LIMIT;
        if is_full || !wanted(query, &record) {
            return;
        }
        if matches!(&record.entry, Entry::Decision(decision) if decision.decision != Decision::Deny) {
            self.open.insert(record.id, self.dropped + self.kept.len());
        }
        self.kept.push_back(line(record));
        if self.kept.len() > query.last.unwrap_or(LIMIT).min(LIMIT) {
            let gone = self.kept.pop_front();
            self.dropped += 1;
            gone.map(|line| self.open.remove(&line.id));
        }
    }

    /// Whether nothing that follows matters any more.
    fn is_done(&self, query: &List) -> bool {
        query.last.is_none() && self.kept.len() >= LIMIT && self.open.is_empty()
    }
}

fn who(record: &Record) -> Option<&Who> {
    match &record.entry {
        Entry::Decision(decision) => Some(&decision.who),
        Entry::Event(event) => event.who.as_ref(),
        Entry::Outcome(_) => None,
    }
}

fn wanted(query: &List, record: &Record) -> bool {
    let run = query.run.is_none_or(|run| record.run() == Some(run));
    let agent =
        query.agent.as_ref().is_none_or(|name| who(record).is_some_and(|who| who.agent.answers_to(name)));
    run && agent
}

fn line(record: Record) -> Listed {
    let who = who(&record).cloned();
    let base = Listed {
        seq: record.seq,
        id: record.id,
        at: rfc3339(record.at_ms),
        agent: who.as_ref().map(|who| who.agent.clone()),
        owner: who.as_ref().map(|who| who.owner.clone()),
        run: who.as_ref().map(|who| who.run),
        environment: who.as_ref().map(|who| who.environment),
        action: String::new(),
        target: String::new(),
        on: String::new(),
        decision: None,
        reasons: Vec::new(),
        tokens: None,
        cost_nano_usd: None,
        outcome: None,
        command: None,
        sentence: String::new(),
        facts: None,
    };
    match record.entry {
        Entry::Decision(decision) => Listed {
            outcome: (decision.decision == Decision::Deny).then(|| "denied".to_owned()),
            action: decision.action,
            target: decision.target,
            on: decision.on,
            decision: Some(decision.decision),
            reasons: decision.reasons,
            facts: decision.facts,
            ..base
        },
        Entry::Event(event) if event.event == reported::EVENT => Listed {
            tokens: event.facts.get("tokens").and_then(|tokens| tokens.parse().ok()),
            cost_nano_usd: event.facts.get("nano_usd").and_then(|cost| cost.parse().ok()),
            action: event.event,
            target: event.text,
            ..base
        },
        Entry::Event(event) => Listed { action: event.event, target: event.text, ..base },
        Entry::Outcome(_) => base,
    }
}

fn join(line: &mut Listed, outcome: &OutcomeEntry) {
    line.tokens = outcome.tokens;
    line.cost_nano_usd = outcome.cost_nano_usd;
    line.outcome = Some(outcome.status.clone());
}

/// RFC 3339 in UTC with milliseconds.
pub(super) fn rfc3339(at_ms: i64) -> String {
    let at = Timestamp::from_millisecond(at_ms).unwrap_or(Timestamp::UNIX_EPOCH);
    at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

fn tell(line: &Listed) -> String {
    let time_of_day = line.at.get(11..19).map(|time| format!("{time}Z")).unwrap_or_default();
    let who = match (&line.agent, &line.owner, line.environment) {
        (Some(agent), Some(owner), Some(environment)) => Some((agent, owner, environment)),
        _ => None,
    };
    sentence(&Told {
        who,
        action: &line.action,
        target: &line.target,
        on: &line.on,
        decision: line.decision,
        reasons: &line.reasons,
        tokens: line.tokens,
        cost: line.cost_nano_usd.and_then(|nano| NanoUsd::new(nano).ok()),
        outcome: line.outcome.as_deref(),
        at: &time_of_day,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::core::record::EventEntry;
    use crate::store::Store;

    async fn listed(store: &Store, query: List) -> Vec<u64> {
        let lines = store.read(move |connection| list(connection, &query)).await.unwrap();
        lines.iter().map(|line| line.seq).collect()
    }

    #[tokio::test]
    async fn a_long_log_is_read_page_by_page_and_no_line_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("a.db")).unwrap();
        for number in 0..50 {
            let event = Entry::Event(EventEntry::new("tried", format!("event {number}")));
            store.write(move |tx| records::append(tx, event)).await.unwrap();
        }
        let mut all = Vec::new();
        while let page =
            listed(&store, List { after: all.last().copied().unwrap_or(0), ..List::default() }).await
            && !page.is_empty()
        {
            assert!(page.len() <= LIMIT);
            all.extend(page);
        }
        assert_eq!(all, (1..=50).collect::<Vec<u64>>());
        let last = |last| List { last: Some(last), ..List::default() };
        assert_eq!(listed(&store, last(3)).await, [48, 49, 50]);
        assert_eq!(listed(&store, last(1_000)).await, (31..=50).collect::<Vec<u64>>());
        assert_eq!(listed(&store, last(0)).await, [0_u64; 0]);
    }
}
