//! What tells this machine who is an agent, and what is told of its agents elsewhere: one file per kind.
//!
//! Must not stand in the way of a run: what cannot be reached is left as it was and tried again later.

pub mod git;

use tokio_util::sync::CancellationToken;

/// Follows all of them in the background, until the daemon ends.
pub async fn follow(registry: git::GitRegistry, shutdown: CancellationToken) {
    registry.follow(shutdown).await;
}
