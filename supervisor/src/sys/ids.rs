//! Randomness: new identifiers and tokens.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::core::ids::{ApprovalId, RecordId, ReservationId, RunId};

/// The operating system gave no random bytes; nothing that needs an id or a token may go on.
#[derive(Debug, thiserror::Error)]
#[error("the operating system has no random bytes: {0}")]
pub struct RandomError(getrandom::Error);

fn random<const N: usize>() -> Result<[u8; N], RandomError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(RandomError)?;
    Ok(bytes)
}

fn now() -> u64 {
    u64::try_from(super::clock::now_ms()).unwrap_or(0)
}

/// A new run id.
pub fn new_run_id() -> Result<RunId, RandomError> {
    Ok(RunId::from_parts(now(), random()?))
}

/// A new record id.
pub fn new_record_id() -> Result<RecordId, RandomError> {
    Ok(RecordId::from_parts(now(), random()?))
}

/// A new approval id.
pub fn new_approval_id() -> Result<ApprovalId, RandomError> {
    Ok(ApprovalId::from_parts(now(), random()?))
}

/// A new reservation id.
pub fn new_reservation_id() -> Result<ReservationId, RandomError> {
    Ok(ReservationId::from_parts(now(), random()?))
}

/// A new id for a client's MCP session: it tells clients of one run apart and grants nothing.
pub fn new_session_id() -> Result<String, RandomError> {
    let bytes: [u8; 16] = random()?;
    Ok(format!("mcp_{}", URL_SAFE_NO_PAD.encode(bytes)))
}

/// A new bearer token of 256 random bits, `ast_` and 43 URL-safe characters. Shown once, stored only as a hash.
pub fn new_token() -> Result<String, RandomError> {
    let bytes: [u8; 32] = random()?;
    Ok(format!("ast_{}", URL_SAFE_NO_PAD.encode(bytes)))
}

/// A number from zero, below the bound; zero if that is zero. For what must merely not be the same everywhere.
pub fn below(bound: u64) -> Result<u64, RandomError> {
    let number = u64::from_le_bytes(random()?);
    Ok(number.checked_rem(bound).unwrap_or(0))
}
