//! A registry that never changes, for tests of what stands above it.

use std::sync::Arc;

use tokio::sync::watch;

use super::{Registry, Snapshot};

impl Registry {
    /// The given set is in force for good.
    pub(crate) fn fixed(snapshot: Snapshot) -> Self {
        Self { current: watch::channel(Arc::new(snapshot)).1 }
    }
}
