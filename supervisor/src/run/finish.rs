//! The end of a run, whatever ended it: its credential is revoked at once, its worktree taken away if nothing was done in
//! it and kept otherwise, and the end recorded. Every step may be repeated, so a crash in between is no loss.

use std::sync::Arc;

use super::Runs;
use super::keeper::{self, EndCause, Exit, ExitRecord, Found};
use super::worktrees::{self, Fate};
use crate::core::error::Failure;
use crate::core::record::EventEntry;
use crate::core::run::{Run, RunState};
use crate::gate::LiveRun;

/// The file in a run's directory that says why its worktree was kept.
const KEPT: &str = "kept";
/// The signal of a kill.
const SIGKILL: i32 = 9;

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct End {
    /// A final state.
    pub(super) state: RunState,
    /// `exit 0`, `signal 9`, or why it failed.
    pub(super) text: String,
}

impl End {
    /// From what the keeper wrote down.
    pub(super) fn of(exit: &ExitRecord) -> Self {
        let text = match exit.exit {
            Exit::Code(code) => format!("exit {code}"),
            Exit::Signal(signal) => format!("signal {signal}"),
        };
        let state = match (exit.cause, exit.exit) {
            (EndCause::Kill, _) | (EndCause::Stop, Exit::Signal(SIGKILL)) => RunState::Killed,
            _ => RunState::Exited,
        };
        Self { state, text }
    }

    /// Of a run that never came to life, or whose keeper was lost.
    pub(super) fn failed(why: impl Into<String>) -> Self {
        Self { state: RunState::Failed, text: why.into() }
    }
}

/// Ends the run. The store may fail: then the run is over in memory all the same, and the next daemon finds it again.
pub(super) async fn finish(runs: &Runs, live: &Arc<LiveRun>, mut end: End) {
    let run = live.run.clone();
    if let Some(why) = live.ending() {
        end.text = format!("{}, because {why}", end.text);
    }
    if let Err(error) = runs.gate().set_state(live, end.state, Some(end.text.clone())).await {
        tracing::error!(%error, run = %run.id, "the end of a run could not be stored");
    }
    (runs.inner.after_run)(Arc::clone(live)).await;
    let fate = tidy(runs, &run).await;
    if let Err(error) = runs.gate().note(event(&run, live.state(), &end, &fate)).await {
        tracing::error!(%error, run = %run.id, "the end of a run could not be recorded");
    }
    tracing::info!(run = %run.id, state = live.state().name(), exit = end.text, "a run ended");
    runs.end(run.id);
}

/// Takes the worktree of an ended run away if nothing was done in it, and whatever a launch left that came to nothing.
pub(super) async fn tidy(runs: &Runs, run: &Run) -> Fate {
    let (home, of) = (runs.home().clone(), run.clone());
    let work = move || {
        let never_lived = matches!(keeper::find(&of.dir), Ok(Found::Nothing));
        if never_lived && let Err(failure) = worktrees::take_back(&home, &of) {
            tracing::warn!(%failure, run = %of.id, "what a launch left could not be taken back");
        }
        let fate = worktrees::tidy(&home, &of);
        if let Fate::Kept(why) = &fate {
            // If it can't be written, the worktree is looked at once more.
            let _again = std::fs::write(of.dir.join(KEPT), why);
        }
        if never_lived && !matches!(fate, Fate::Kept(_)) {
            // Only what we wrote: the agent's private configuration, with a token that stands for nothing any more.
            let _absent = std::fs::remove_dir_all(&of.dir);
        }
        Ok::<_, Failure>(fate)
    };
    worktrees::blocking(work).await.unwrap_or_else(|failure| Fate::Kept(failure.message))
}

/// Whether the worktree was looked at and kept: from then on it is the user's, who may be working in it.
pub(super) fn was_kept(run: &Run) -> bool {
    run.dir.join(KEPT).exists()
}

fn event(run: &Run, state: RunState, end: &End, fate: &Fate) -> EventEntry {
    let predicate = match state {
        RunState::Killed => "was killed",
        RunState::Failed => "failed",
        _ => "ended",
    };
    let worktree = match fate {
        Fate::Removed => "worktree removed, nothing was changed".to_owned(),
        Fate::Kept(why) => format!("worktree kept: {why}"),
        Fate::Absent => "no worktree".to_owned(),
    };
    EventEntry::of_run(run, "run-ended", format!("{predicate} ({}), {worktree}", end.text))
        .fact("state", state.name())
        .fact("exit", &end.text)
        .fact("branch", &run.branch)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(exit: Exit, cause: EndCause) -> ExitRecord {
        ExitRecord { exit, cause, ended_at_ms: 0, killed_processes: 0, survivors: 0 }
    }

    #[test]
    fn what_the_keeper_wrote_decides_the_state() {
        let cases = [
            (exit(Exit::Code(0), EndCause::Agent), RunState::Exited, "exit 0"),
            (exit(Exit::Code(3), EndCause::Stop), RunState::Exited, "exit 3"),
            (exit(Exit::Signal(11), EndCause::Agent), RunState::Exited, "signal 11"),
            (exit(Exit::Signal(15), EndCause::Stop), RunState::Exited, "signal 15"),
            (exit(Exit::Signal(9), EndCause::Stop), RunState::Killed, "signal 9"),
            (exit(Exit::Signal(9), EndCause::Kill), RunState::Killed, "signal 9"),
            (exit(Exit::Code(0), EndCause::Kill), RunState::Killed, "exit 0"),
        ];
        for (record, state, text) in cases {
            assert_eq!(End::of(&record), End { state, text: text.to_owned() }, "{record:?}");
        }
    }
}
