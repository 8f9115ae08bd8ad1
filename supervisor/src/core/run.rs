//! A run: one supervised process tree in one worktree, and the states it goes through.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::amount::Amount;
use super::billing::Billing;
use super::ids::RunId;
use super::manifest::Environment;
use super::principal::{AgentRef, Owner};
use super::refusal::RefusalStyle;

/// What stays the same from a run's first step to its last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// Who acts.
    pub agent: AgentRef,
    /// Who answers for it.
    pub owner: Owner,
    /// Where it acts.
    pub environment: Environment,
    /// How it was launched.
    pub adapter: String,
    /// The repository's main checkout.
    pub repository: PathBuf,
    /// The fetch address of its remote `origin`, without a password, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<String>,
    /// The run's own checkout.
    pub worktree: PathBuf,
    /// The run's own branch.
    pub branch: String,
    /// The commit it started from, hexadecimal.
    pub base: String,
    /// The branch it started from, onto which its commits land; none where `HEAD` was detached.
    #[serde(default)]
    pub onto: Option<String>,
    /// The agent's private configuration, keeper socket and scrollback.
    pub dir: PathBuf,
    /// The refusals that this client takes as they are meant.
    pub refusal: RefusalStyle,
    /// Whether the run's hooks must announce themselves before its first model call.
    pub hooks: HookDuty,
    /// Who pays for its model calls.
    #[serde(default)]
    pub billing: Billing,
    /// How many tools it may call on a subscription without a word of what its model calls cost.
    #[serde(default = "untold_tools_max")]
    pub untold_tools_max: u32,
    /// What it may spend itself, whatever its agent's budget leaves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cap: Option<Amount>,
    /// Milliseconds since 1970.
    pub started_at_ms: i64,
}

/// So many tool calls without a word of what the models cost are no chance, where a client tells within seconds.
pub const UNTOLD_TOOLS_MAX: u32 = 50;

const fn untold_tools_max() -> u32 {
    UNTOLD_TOOLS_MAX
}

/// How the end of a run begins that was killed because its budget was used up.
pub const OVER_BUDGET: &str = "over budget";

/// The state of a run, as `ps` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// Being prepared.
    Starting,
    /// Its agent's process is alive.
    Running,
    /// It waits for a person's answer.
    Waiting,
    /// Frozen; may go on.
    Suspended,
    /// Asked to end.
    Stopping,
    /// Its agent ended by itself.
    Exited,
    /// It was killed.
    Killed,
    /// It never came to life, or its keeper was lost.
    Failed,
}

impl RunState {
    /// Every state.
    pub const ALL: [Self; 8] = [
        Self::Starting,
        Self::Running,
        Self::Waiting,
        Self::Suspended,
        Self::Stopping,
        Self::Exited,
        Self::Killed,
        Self::Failed,
    ];

    /// As `ps` and the store write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Suspended => "suspended",
            Self::Stopping => "stopping",
            Self::Exited => "exited",
            Self::Killed => "killed",
            Self::Failed => "failed",
        }
    }

    /// From the name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Whether the run is over; there is no way back.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Exited | Self::Killed | Self::Failed)
    }

    /// Whether the run's credential works in this state.
    pub const fn may_act(self) -> bool {
        matches!(self, Self::Starting | Self::Running | Self::Waiting | Self::Stopping)
    }

    /// Whether the state may be followed by `next`.
    pub const fn may_become(self, next: Self) -> bool {
        use RunState::{Exited, Failed, Killed, Running, Starting, Stopping, Suspended, Waiting};
        match self {
            Starting => matches!(next, Running | Stopping | Exited | Killed | Failed),
            Running => matches!(next, Waiting | Suspended | Stopping | Exited | Killed | Failed),
            Waiting => matches!(next, Running | Suspended | Stopping | Exited | Killed | Failed),
            Suspended => matches!(next, Running | Waiting | Stopping | Exited | Killed | Failed),
            Stopping => matches!(next, Exited | Killed | Failed),
            Exited | Killed | Failed => false,
        }
    }
}

/// Whether hooks must be heard before the first model call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HookDuty {
    /// The agent's own tools are decided through hooks: without a sign of them, models are refused.
    Required,
    /// The adapter has no hooks.
    None,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for state in RunState::ALL {
            assert_eq!(RunState::from_name(state.name()), Some(state));
        }
        assert_eq!(RunState::from_name("gone"), None);
    }

    #[test]
    fn a_final_state_stays_and_grants_nothing() {
        for state in RunState::ALL.into_iter().filter(|state| state.is_final()) {
            assert!(!state.may_act());
            assert!(RunState::ALL.into_iter().all(|next| !state.may_become(next)), "{state:?}");
        }
        assert!(!RunState::Suspended.may_act());
    }
}
