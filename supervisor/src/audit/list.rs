//! The log as people and scripts read it: one line per decision, its outcome joined.

use std::collections::HashMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::core::decision::{Decision, Reason};
use crate::core::ids::{RecordId, RunId};
use crate::core::manifest::Environment;
use crate::core::money::NanoUsd;
use crate::core::principal::{AgentRef, Owner};
use crate::core::record::{Entry, OutcomeEntry, Record, Who};
use crate::core::sentence::{Told, sentence};
use crate::store::{Connection, StoreError, records};

/// Rows read at a time.
const PAGE: u32 = 512;
/// Lines of one answer at most; who wants more asks again after the last.
const LIMIT: usize = 10_000;

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
    /// At most so many lines, the newest ones; 10 000 if absent or more.
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
    /// The line as a sentence.
    pub sentence: String,
}

/// The lines of the log, oldest first.
///
/// # Errors
/// Those of the database, or when a row holds no record.
pub fn list(connection: &Connection, query: &List) -> Result<Vec<Listed>, StoreError> {
    let mut lines: Vec<Listed> = Vec::new();
    let mut of: HashMap<RecordId, usize> = HashMap::new();
    let mut after = query.after;
    loop {
        let page = records::page(connection, after, PAGE)?;
        let Some(last) = page.last() else { break };
        after = last.seq;
        for stored in &page {
            let record = stored.record()?;
            if let Entry::Outcome(outcome) = &record.entry {
                if let Some(line) = of.get(&outcome.of).and_then(|index| lines.get_mut(*index)) {
                    join(line, outcome);
                }
            } else if wanted(query, &record) {
                of.insert(record.id, lines.len());
                lines.push(line(record));
            }
        }
    }
    let keep = query.last.unwrap_or(LIMIT).min(LIMIT);
    lines.drain(..lines.len().saturating_sub(keep));
    for line in &mut lines {
        line.sentence = tell(line);
    }
    Ok(lines)
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
        sentence: String::new(),
    };
    match record.entry {
        Entry::Decision(decision) => Listed {
            outcome: (decision.decision == Decision::Deny).then(|| "denied".to_owned()),
            action: decision.action,
            target: decision.target,
            on: decision.on,
            decision: Some(decision.decision),
            reasons: decision.reasons,
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
