//! The user's window to a run.

use super::keeper::Exit;

/// How an attached session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attached {
    /// The run has ended.
    Exited(Exit),
    /// The user detached, or their terminal went away; the run goes on.
    Detached,
    /// The keeper is gone without a word.
    Lost,
}
