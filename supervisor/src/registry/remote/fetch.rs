//! Fetching: what is on the branch comes into force if it goes on from what is, and if all of it is good. Blocks on the
//! network, within the bounds of the worktree library.

use std::io;
use std::path::PathBuf;

use agentsup_worktree::{CommitId, Mirror, WorktreeError};

use crate::core::error::{Code, Failure};
use crate::core::problem::Problem;
use crate::sys::git;
use crate::sys::paths::Home;

use super::super::changes::{self, Change};
use super::super::config::Config;
use super::super::load::{Machine, assemble};
use super::super::source::{Source, short};
use super::kept::{self, Found, Kept, Look, State};
use super::{Files, InForce, Remote, judge};

/// Why a repository could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// git did not get it.
    #[error("`{git}` cannot be had: {source}")]
    Git {
        /// The repository.
        git: String,
        /// What git says.
        source: WorktreeError,
    },
    /// What somebody accepted is not what is there.
    #[error("branch `{branch}` is at `{tip}`, not at `{accepted}`")]
    Moved {
        /// The branch.
        branch: String,
        /// Where it is.
        tip: String,
        /// What was accepted.
        accepted: String,
    },
    /// What was in force is not known any more, so that nobody can say what may come after it.
    #[error("what was in force of `{git}` is not known: `{}`: {source}", .file.display())]
    Forgotten {
        /// The repository.
        git: String,
        /// Where it was kept.
        file: PathBuf,
        /// Where the branch is.
        tip: String,
        /// Why it cannot be read.
        source: io::Error,
    },
    /// It cannot be kept.
    #[error("what was fetched cannot be kept: {0}")]
    Disk(#[from] io::Error),
}

impl From<RemoteError> for Failure {
    fn from(error: RemoteError) -> Self {
        let (code, hint) = match &error {
            RemoteError::Git { git, .. } => (
                Code::CatalogRefused,
                Some(format!("try `git ls-remote {git}`; what was fetched last stays in force")),
            ),
            RemoteError::Moved { tip, .. } => {
                (Code::Conflict, Some(format!("agentsup sync --accept {tip}, once it is known why")))
            }
            RemoteError::Forgotten { tip, .. } => {
                let hint =
                    format!("agentsup sync --accept {tip}, once it is known that it is not an older one");
                (Code::ConfigInvalid, Some(hint))
            }
            RemoteError::Disk(_) => (Code::Internal, None),
        };
        Self { code, message: error.to_string(), hint }
    }
}

/// What came of a look at the repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Synced {
    /// What is in force of it now; none if nothing ever was.
    pub in_force: Option<InForce>,
    /// What was before.
    pub before: Option<InForce>,
    /// What is different.
    pub changes: Vec<Change>,
    /// What was found.
    pub look: Look,
    /// What the look before found.
    pub found_before: Option<Found>,
    /// What somebody accepted so that it came into force.
    pub accepted: Option<Break>,
    /// Whether its files are written, also where they are those that were in force and not whole any more.
    pub was_kept: bool,
}

impl Synced {
    /// Whether this look found something else than the one before.
    pub fn is_news(&self) -> bool {
        self.was_kept || self.found_before.as_ref() != Some(&self.look.found)
    }

    /// Whether what was in force had to be fetched anew, because somebody or something had changed it on the disk.
    pub fn was_restored(&self) -> bool {
        self.was_kept
            && self.before.as_ref().map(|before| &before.commit)
                == self.in_force.as_ref().map(|now| &now.commit)
    }
}

/// Why a commit is not known to go on from what was in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Break {
    /// It does not.
    Rewound,
    /// Nobody knows what was.
    Forgotten,
}

/// Which commit somebody lets come after one that it does not go on from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Accepted<'a>(pub(super) Option<&'a str>);

/// The shortest beginning of a commit's id that names it.
const MIN_PREFIX: usize = 7;

impl Accepted<'_> {
    fn covers(self, tip: &CommitId) -> bool {
        self.0.is_some_and(|accepted| accepted.len() >= MIN_PREFIX && tip.as_str().starts_with(accepted))
    }
}

/// What a look found, not in force yet: whoever records what came of it does so before it is.
#[derive(Debug)]
#[must_use]
pub struct Looked {
    synced: Synced,
    /// What is to be remembered; none where nobody knows what was in force and that stays so.
    state: Option<State>,
    /// The files that are to be kept.
    files: Option<(CommitId, Files)>,
}

impl Looked {
    /// What came of it.
    pub fn synced(&self) -> &Synced {
        &self.synced
    }

    /// Lets it be so.
    ///
    /// # Errors
    /// Then what was in force stays.
    pub fn conclude(self, home: &Home) -> Result<Synced, RemoteError> {
        if let Err(error) = self.write(home) {
            let error = RemoteError::from(error);
            let Look { source, at_ms, .. } = &self.synced.look;
            remember(home, unreachable(source, *at_ms, &error));
            return Err(error);
        }
        if let Some((commit, _)) = &self.files {
            let before = self.synced.before.as_ref().map_or("", |before| &before.commit);
            // It is in force already, and the next set takes the others along.
            if let Err(error) = kept::remove_others(home, &[commit.as_str(), before]) {
                tracing::warn!(%error, "older sets of the registry could not be removed");
            }
        }
        Ok(self.synced)
    }

    fn write(&self, home: &Home) -> io::Result<()> {
        if let Some((commit, files)) = &self.files {
            kept::keep(home, commit, files)?;
        }
        self.state.as_ref().map_or(Ok(()), |state| kept::set_state(home, state))
    }
}

/// Looks at the repository: what is there and may come into force, or why not. The configuration is that of the set it
/// would come into force with.
///
/// # Errors
/// Then what was in force stays, and the look is remembered.
pub fn look(
    home: &Home,
    source: &Source,
    config: &Config,
    accepted: Option<&str>,
    now_ms: i64,
) -> Result<Looked, RemoteError> {
    let looked = attempt(home, source, config, Accepted(accepted), now_ms);
    if let Err(error @ (RemoteError::Git { .. } | RemoteError::Disk(_))) = &looked {
        remember(home, unreachable(source, now_ms, error));
    }
    looked
}

fn attempt(
    home: &Home,
    source: &Source,
    config: &Config,
    accepted: Accepted<'_>,
    now_ms: i64,
) -> Result<Looked, RemoteError> {
    let git = |error| RemoteError::Git { git: source.git.clone(), source: error };
    let mirror = mirror(home);
    let missing = || git(WorktreeError::TargetMissing { branch: source.branch.clone() });
    let there = mirror.remote_tip(&source.git, &source.branch).map_err(git)?.ok_or_else(missing)?;
    let (state, forgotten) = match kept::state(home) {
        Ok(state) => {
            // From the first fetch on there is one.
            if state == State::default() {
                kept::set_state(home, &state)?;
            }
            (state, None)
        }
        Err(_) if accepted.0.is_some() => (State::default(), Some(Break::Forgotten)),
        Err(error) => {
            let (git, file, tip) =
                (source.git.clone(), kept::state_file(home), short(there.as_str()).to_owned());
            return Err(RemoteError::Forgotten { git, file, tip, source: error });
        }
    };
    let before = state.in_force.clone().filter(|kept| kept.in_force.source.is_same_place(source));
    let old = before.as_ref().and_then(|kept| kept::files(home, kept));
    let find = |copy: Copy| -> Result<(CommitId, Candidate), WorktreeError> {
        let tip = mirror.fetch(&source.git, &source.branch, &there)?;
        let kept = (before.as_ref(), old.as_ref());
        let candidate = candidate(&mirror, (source, config), kept, &tip, accepted, copy)?;
        Ok((tip, candidate))
    };
    let found = match find(Copy::of(&state, &there)) {
        // What was fetched once is not fetched again, whatever became of it.
        Err(error) if is_damage(&error) && !ended_so(&state, &error.to_string()) => {
            tracing::warn!(%error, "the copy of the registry cannot be used, and is fetched anew");
            kept::set_mirror_aside(home)?;
            find(Copy::Anew)
        }
        found => found,
    };
    let (tip, candidate) = found.map_err(git)?;
    if let Some(text) = accepted.0.filter(|_| !accepted.covers(&tip)) {
        if let Candidate::Stays(found) = candidate {
            remember(home, Look::new(source.clone(), now_ms, found));
        }
        let (branch, tip) = (source.branch.clone(), short(tip.as_str()).to_owned());
        return Err(RemoteError::Moved { branch, tip, accepted: text.to_owned() });
    }
    Ok(looked((source, config, now_ms), (state, forgotten), (before, old.as_ref()), tip, candidate))
}

/// What it means that the copy has not what is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Copy {
    /// It has lost it, since it was fetched into it.
    Had,
    /// It was fetched after that, and what is in force is not on the branch.
    Anew,
}

impl Copy {
    /// Where the last look found the same, the copy is one that was fetched for that.
    fn of(state: &State, tip: &CommitId) -> Self {
        match state.last.as_ref().map(|last| &last.found) {
            Some(Found::Rewound { commit }) if commit == tip.as_str() => Self::Anew,
            _ => Self::Had,
        }
    }
}

/// Whether another copy may be better: the repository itself has answered before.
fn is_damage(error: &WorktreeError) -> bool {
    matches!(
        error,
        WorktreeError::Git { .. } | WorktreeError::GitUnreadable { .. } | WorktreeError::CommitMissing { .. }
    )
}

/// Whether the last look ended so: then it is the repository, and another copy of it is no better.
fn ended_so(state: &State, why: &str) -> bool {
    let last = state.last.as_ref().map(|last| &last.found);
    // What is kept of it is cut.
    matches!(last, Some(Found::Unreachable { why: before }) if why.starts_with(before.as_str()))
}

fn unreachable(source: &Source, at_ms: i64, error: &RemoteError) -> Look {
    let why = match error {
        RemoteError::Git { source, .. } => source.to_string(),
        other => other.to_string(),
    };
    Look::new(source.clone(), at_ms, Found::Unreachable { why })
}

/// Remembers a look that failed. Where nobody knows what is in force, that stays so.
fn remember(home: &Home, look: Look) {
    let Ok(state) = kept::state(home) else { return };
    if let Err(error) = kept::set_state(home, &State { last: Some(look), ..state }) {
        tracing::warn!(%error, "how a look at the registry ended could not be written");
    }
}

/// What comes of a candidate.
fn looked(
    (source, config, now_ms): (&Source, &Config, i64),
    (state, forgotten): (State, Option<Break>),
    (before, old): (Option<Kept>, Option<&Files>),
    tip: CommitId,
    candidate: Candidate,
) -> Looked {
    let found_before = state.last.filter(|last| last.source.is_same_place(source)).map(|last| last.found);
    let (kept, found, accepted, changes, files) = match candidate {
        Candidate::Stays(found) => (before.clone(), found, None, Vec::new(), None),
        Candidate::Comes { files, was_rewound } => {
            let in_force = InForce { source: source.clone(), commit: tip.to_string(), since_ms: now_ms };
            let kept = Kept { in_force, digest: kept::digest(&files) };
            let accepted = forgotten.or(was_rewound.then_some(Break::Rewound));
            let changes = differences(source, config, old, &files, tip.as_str());
            (Some(kept), Found::Current, accepted, changes, Some((tip, files)))
        }
    };
    let look = Look::new(source.clone(), now_ms, found);
    let synced = Synced {
        in_force: kept.as_ref().map(|kept| kept.in_force.clone()),
        before: before.map(|kept| kept.in_force),
        changes,
        look: look.clone(),
        found_before,
        accepted,
        was_kept: files.is_some(),
    };
    // Whatever else was kept is of another place now. What is not known stays so until something is in force.
    let state = (files.is_some() || forgotten.is_none())
        .then(|| State { in_force: kept.or(state.in_force), last: Some(look) });
    Looked { synced, state, files }
}

pub(super) fn mirror(home: &Home) -> Mirror {
    Mirror::at(git::remote(), kept::mirror_dir(home))
}

enum Candidate {
    /// What is in force stays.
    Stays(Found),
    /// These files come into force.
    Comes {
        files: Files,
        /// Somebody accepted that they do not go on from what was.
        was_rewound: bool,
    },
}

fn candidate(
    mirror: &Mirror,
    (source, config): (&Source, &Config),
    (before, old): (Option<&Kept>, Option<&Files>),
    tip: &CommitId,
    accepted: Accepted<'_>,
    copy: Copy,
) -> Result<Candidate, WorktreeError> {
    let commit = tip.to_string();
    let mut was_rewound = false;
    if let Some(kept) = before {
        if kept.in_force.commit == commit && old.is_some() {
            return Ok(Candidate::Stays(Found::Current));
        }
        was_rewound = !goes_on(mirror, kept, tip, copy)?;
        if was_rewound && !accepted.covers(tip) {
            return Ok(Candidate::Stays(Found::Rewound { commit }));
        }
    }
    Ok(match read(mirror, source, tip)?.and_then(|files| check(source, config, files, &commit)) {
        Ok(files) => Candidate::Comes { files, was_rewound },
        Err(problems) => Candidate::Stays(Found::Invalid { commit, problems }),
    })
}

/// Whether a commit goes on from what is in force.
fn goes_on(mirror: &Mirror, kept: &Kept, tip: &CommitId, copy: Copy) -> Result<bool, WorktreeError> {
    let Some(in_force) = CommitId::parse(&kept.in_force.commit) else { return Ok(false) };
    match mirror.contains(tip, &in_force) {
        Err(WorktreeError::CommitMissing { .. }) if copy == Copy::Anew => Ok(false),
        answer => answer,
    }
}

/// The files of a commit, if nothing is wrong with their names and sizes.
fn read(
    mirror: &Mirror,
    source: &Source,
    tip: &CommitId,
) -> Result<Result<Files, Vec<Problem>>, WorktreeError> {
    let shown = |path: &std::path::Path| source.shown(path, tip.as_str());
    let whole = |message: String| Ok(Err(vec![kept::of_source(source, message, None)]));
    let entries = match mirror.entries(tip, &source.path, judge::MAX_ENTRIES) {
        Ok(Some(entries)) => entries,
        Ok(None) => {
            return whole(format!("has no directory `{}` at {}", source.path.display(), short(tip.as_str())));
        }
        Err(error @ WorktreeError::TooMany { .. }) => return whole(format!("cannot be read: {error}")),
        Err(error) => return Err(error),
    };
    let wanted = match judge::wanted(&entries, shown) {
        Ok(wanted) => wanted,
        Err(problems) => return Ok(Err(problems)),
    };
    let ids: Vec<&CommitId> = wanted.iter().map(|entry| &entry.id).collect();
    let limit_bytes = usize::try_from(judge::MAX_SET_BYTES).unwrap_or(usize::MAX);
    let contents = mirror.contents(&ids, limit_bytes)?;
    Ok(judge::files(&wanted, contents, shown))
}

/// The files, if they are good as a set of their own: what lies on this machine cannot keep them out.
pub(super) fn check(
    source: &Source,
    config: &Config,
    files: Files,
    commit: &str,
) -> Result<Files, Vec<Problem>> {
    let in_force = InForce { source: source.clone(), commit: commit.to_owned(), since_ms: 0 };
    let remote = Remote { source: source.clone(), kept: Some((in_force, files)), problem: None };
    let problems = assemble(&Machine::bare(config.clone()), Some(&remote)).problems;
    match remote.kept {
        Some((_, files)) if problems.is_empty() => Ok(files),
        _ => Err(problems),
    }
}

fn differences(
    source: &Source,
    config: &Config,
    old: Option<&Files>,
    new: &Files,
    commit: &str,
) -> Vec<Change> {
    let nothing = Files::default();
    let set = |files: &Files| {
        let in_force = InForce { source: source.clone(), commit: commit.to_owned(), since_ms: 0 };
        let kept = Some((in_force, files.clone()));
        assemble(
            &Machine::bare(config.clone()),
            Some(&Remote { source: source.clone(), kept, problem: None }),
        )
    };
    let old = old.unwrap_or(&nothing);
    changes::between((&set(old), &old.0), (&set(new), &new.0))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::registry::source::Local;

    #[test]
    fn a_copy_is_made_anew_for_a_failure_once() {
        let (git, branch, path) = ("/srv/agents".into(), "main".into(), PathBuf::new());
        let source = Source { git, branch, path, every_ms: 1, local: Local::Policies };
        let of = |why: &str| WorktreeError::Git { command: "git".into(), code: None, stderr: why.into() };
        let remembered = |error: WorktreeError| {
            let error = RemoteError::Git { git: "/srv/agents".into(), source: error };
            State { in_force: None, last: Some(unreachable(&source, 1, &error)) }
        };
        let long = "x".repeat(1 << 12);
        for why in ["bad tree", &long] {
            assert!(is_damage(&of(why)) && ended_so(&remembered(of(why)), &of(why).to_string()));
            assert!(!ended_so(&remembered(of("no route")), &of(why).to_string()));
            assert!(!ended_so(&State::default(), &of(why).to_string()));
        }
    }
}
