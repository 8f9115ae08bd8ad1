//! Runs: what was started, in which state it is, how to find its keeper again.

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::{StoreError, Transaction, own_policies};
use crate::core::ids::RunId;
use crate::core::label::Labels;
use crate::core::policy::own::OwnFile;
use crate::core::run::{Run, RunState};

pub(super) const SCHEMA: &str = "
CREATE TABLE runs (
  id             TEXT PRIMARY KEY,
  state          TEXT NOT NULL,
  token_hash     BLOB NOT NULL UNIQUE,
  run            TEXT NOT NULL,
  keeper_pid     INTEGER,
  keeper_started INTEGER,
  agent_pid      INTEGER,
  ended_at_ms    INTEGER,
  exit           TEXT
) STRICT, WITHOUT ROWID;
";

/// What it has seen.
pub(super) const LABELS: &str = "ALTER TABLE runs ADD COLUMN labels INTEGER NOT NULL DEFAULT 0;";

/// A run with what changes about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRow {
    /// What stays the same.
    pub run: Run,
    /// Its state.
    pub state: RunState,
    /// SHA-256 of its token.
    pub token_hash: [u8; 32],
    /// Its keeper's process, once there is one.
    pub keeper: Option<KeeperRef>,
    /// When it ended, milliseconds since 1970.
    pub ended_at_ms: Option<i64>,
    /// How it ended: `exit 0`, `signal 9`, or why it failed.
    pub exit: Option<String>,
    /// What its model calls cost so far, in nano-USD, calls under way not counted.
    pub spend_nano_usd: i64,
    /// How many model calls were let through.
    pub calls: u32,
    /// Labels of what it has seen.
    pub labels: Labels,
    /// Its repository's own policies.
    pub own: Vec<OwnFile>,
}

/// A keeper's process: the id and the start time that tells it from a later process of the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeeperRef {
    /// The keeper's process id.
    pub pid: u32,
    /// Its start time, in the kernel's own units.
    pub start_time: u64,
    /// The agent's process id.
    pub agent_pid: Option<u32>,
}

/// How a run changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunChange {
    /// The new state.
    pub state: RunState,
    /// When it ended, for a final state.
    pub ended_at_ms: Option<i64>,
    /// How it ended, for a final state.
    pub exit: Option<String>,
}

/// Adds a run in the state `starting`.
///
/// # Errors
/// Those of the database; a second run with the same id or token.
pub fn insert(tx: &Transaction<'_>, run: &Run, token_hash: [u8; 32]) -> Result<(), StoreError> {
    let json = serde_json::to_string(run).map_err(|error| StoreError::corrupt("run", error))?;
    tx.prepare_cached("INSERT INTO runs (id, state, token_hash, run) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![run.id.to_string(), RunState::Starting.name(), token_hash.as_slice(), json])?;
    Ok(())
}

/// Sets where the keeper is.
///
/// # Errors
/// Those of the database.
pub fn set_keeper(tx: &Transaction<'_>, id: RunId, keeper: KeeperRef) -> Result<(), StoreError> {
    let start = i64::try_from(keeper.start_time).map_err(|error| StoreError::corrupt("start time", error))?;
    tx.prepare_cached("UPDATE runs SET keeper_pid = ?2, keeper_started = ?3, agent_pid = ?4 WHERE id = ?1")?
        .execute(params![id.to_string(), keeper.pid, start, keeper.agent_pid])?;
    Ok(())
}

/// Sets the state. A final state never changes again: answers whether the row was changed.
///
/// # Errors
/// Those of the database.
pub fn set_state(tx: &Transaction<'_>, id: RunId, change: &RunChange) -> Result<bool, StoreError> {
    let changed = tx
        .prepare_cached(
            "UPDATE runs SET state = ?2, ended_at_ms = COALESCE(?3, ended_at_ms), exit = ?4
             WHERE id = ?1 AND state NOT IN ('exited', 'killed', 'failed')",
        )?
        .execute(params![id.to_string(), change.state.name(), change.ended_at_ms, change.exit])?;
    Ok(changed == 1)
}

/// Adds labels to those that the run has; none ever goes. Answers which are new.
///
/// # Errors
/// Those of the database.
pub fn label(tx: &Transaction<'_>, id: RunId, labels: Labels) -> Result<Labels, StoreError> {
    let had: u8 = tx
        .prepare_cached("SELECT labels FROM runs WHERE id = ?1")?
        .query_row([id.to_string()], |row| row.get(0))?;
    let new = labels.beyond(Labels::from_bits(had));
    if !new.is_empty() {
        tx.prepare_cached("UPDATE runs SET labels = labels | ?2 WHERE id = ?1")?
            .execute(params![id.to_string(), new.bits()])?;
    }
    Ok(new)
}

const COLUMNS: &str = "SELECT r.run, r.state, r.token_hash, r.keeper_pid, r.keeper_started, r.agent_pid,
  r.ended_at_ms, r.exit,
  COALESCE((SELECT SUM(posted_nano_usd) FROM reservations WHERE run = r.id), 0)
    + COALESCE((SELECT SUM(cost_nano_usd) FROM reported WHERE run = r.id), 0),
  (SELECT COUNT(*) FROM reservations WHERE run = r.id), r.labels,
  (SELECT files FROM own_policies WHERE run = r.id)
  FROM runs r";

/// The run of that id.
///
/// # Errors
/// Those of the database.
pub fn by_id(connection: &Connection, id: RunId) -> Result<Option<RunRow>, StoreError> {
    connection
        .prepare_cached(&format!("{COLUMNS} WHERE r.id = ?1"))?
        .query_row([id.to_string()], |row| Ok(read(row)))
        .optional()?
        .transpose()
}

/// The newest `limit` runs, newest first.
///
/// # Errors
/// Those of the database.
pub fn list(connection: &Connection, limit: u32) -> Result<Vec<RunRow>, StoreError> {
    let mut statement = connection.prepare_cached(&format!("{COLUMNS} ORDER BY r.id DESC LIMIT ?1"))?;
    let rows = statement.query_map([limit], |row| Ok(read(row)))?;
    rows.map(|row| row?).collect()
}

/// Runs that are not over.
///
/// # Errors
/// Those of the database.
pub fn unfinished(connection: &Connection) -> Result<Vec<RunRow>, StoreError> {
    let mut statement = connection.prepare_cached(&format!(
        "{COLUMNS} WHERE r.state NOT IN ('exited', 'killed', 'failed') ORDER BY r.id"
    ))?;
    let rows = statement.query_map([], |row| Ok(read(row)))?;
    rows.map(|row| row?).collect()
}

fn read(row: &Row<'_>) -> Result<RunRow, StoreError> {
    let json: String = row.get(0)?;
    let state: String = row.get(1)?;
    let token_hash: Vec<u8> = row.get(2)?;
    let keeper_pid: Option<u32> = row.get(3)?;
    let keeper_started: Option<i64> = row.get(4)?;
    let agent_pid = row.get(5)?;
    let keeper = match (keeper_pid, keeper_started) {
        (Some(pid), Some(start)) => Some(KeeperRef {
            pid,
            start_time: u64::try_from(start).map_err(|error| StoreError::corrupt("start time", error))?,
            agent_pid,
        }),
        _ => None,
    };
    Ok(RunRow {
        run: serde_json::from_str(&json).map_err(|error| StoreError::corrupt("run", error))?,
        state: RunState::from_name(&state).ok_or_else(|| StoreError::corrupt("run state", state))?,
        token_hash: token_hash.try_into().map_err(|_| StoreError::corrupt("token hash", "wrong length"))?,
        keeper,
        ended_at_ms: row.get(6)?,
        exit: row.get(7)?,
        spend_nano_usd: row.get(8)?,
        calls: row.get(9)?,
        labels: Labels::from_bits(row.get(10)?),
        own: own_policies::read(row, 11)?,
    })
}
