//! Every error that can leave the daemon, turned into what a person reads: the one place for wording, hints and codes.

use crate::core::error::{Code, Failure};
use crate::store::StoreError;
use crate::sys::lock::LockError;

impl From<LockError> for Failure {
    fn from(error: LockError) -> Self {
        Self::new(Code::DaemonUnreachable, error.to_string())
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let failure = Self::new(Code::AuditBroken, error.to_string());
        match error {
            StoreError::Newer { .. } => {
                failure.hint("install the version of agentsup that wrote it, or a newer one")
            }
            _ => failure.hint("agentsup audit verify"),
        }
    }
}
