//! Proposing a change: one commit on a branch of its own, ready for review. Nothing of it is in force until it is on the
//! registry's branch. What would make a set with problems is not proposed.

use std::path::{Path, PathBuf};

use agentsup_worktree::{CommitId, EntryKind, Mirror, NewFile, Signature, WorktreeError};
use serde::{Deserialize, Serialize};

use crate::core::error::{Code, Failure};
use crate::core::principal::AgentRef;
use crate::core::problem::Problem;
use crate::sys::paths::Home;

use super::super::config::Config;
use super::super::register::Registration;
use super::super::retire::{self, RetireError};
use super::super::source::Source;
use super::{Files, fetch, judge, kept};

/// A branch that waits for review.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// The repository.
    pub git: String,
    /// The branch.
    pub branch: String,
    /// Its commit.
    pub commit: String,
    /// The branch that it is to be merged into.
    pub onto: String,
    /// The manifest, from the root of the repository.
    pub file: PathBuf,
    /// Where a review of it is opened; none if the address does not say which forge it is.
    pub review: Option<String>,
}

/// Why nothing was proposed.
#[derive(Debug, thiserror::Error)]
pub enum ProposeError {
    /// The repository has such a file already.
    #[error("`{}` is there already", .0.display())]
    Exists(PathBuf),
    /// The set with the change would have problems; the first.
    #[error("nothing is proposed, because it could not come into force: {}", .problem)]
    Refused {
        /// The problem.
        problem: Problem,
        /// Whether it is with what would be new.
        is_new: bool,
    },
    /// Nothing is in force that a change could be made to.
    #[error("nothing of `{0}` is in force yet")]
    Nothing(String),
    /// The manifest cannot be changed so.
    #[error(transparent)]
    Retire(#[from] RetireError),
    /// git does not know who the user is.
    #[error("git does not know in whose name to commit")]
    Nobody,
    /// Somebody proposed it already.
    #[error("`{git}` has a branch `{branch}` already")]
    BranchExists {
        /// The repository.
        git: String,
        /// The branch.
        branch: String,
    },
    /// git did not do it.
    #[error("`{git}` did not take the branch: {source}")]
    Git {
        /// The repository.
        git: String,
        /// What git says.
        source: WorktreeError,
    },
}

impl From<ProposeError> for Failure {
    fn from(error: ProposeError) -> Self {
        let code = match &error {
            ProposeError::Exists(_) | ProposeError::BranchExists { .. } => Code::Conflict,
            ProposeError::Refused { is_new: true, .. } => Code::Usage,
            ProposeError::Refused { .. } | ProposeError::Retire(_) | ProposeError::Nothing(_) => {
                Code::ConfigInvalid
            }
            ProposeError::Nobody => Code::Usage,
            ProposeError::Git { .. } => Code::CatalogRefused,
        };
        let hint = match &error {
            ProposeError::Refused { problem, is_new: true } => {
                let message = format!("{}: {}", problem.field, problem.message);
                return Self { code, message, hint: problem.hint.clone() };
            }
            ProposeError::BranchExists { .. } => {
                Some("it waits for review there; merge it or delete it, then try again".to_owned())
            }
            ProposeError::Nobody => Some(
                "git config --global user.name 'NAME'; git config --global user.email ADDRESS".to_owned(),
            ),
            ProposeError::Refused { .. } | ProposeError::Nothing(_) => Some("agentsup sync".to_owned()),
            ProposeError::Exists(_) | ProposeError::Retire(_) | ProposeError::Git { .. } => None,
        };
        Self { code, message: error.to_string(), hint }
    }
}

/// What a branch is to say.
struct Change<'c> {
    verb: &'static str,
    agent: &'c AgentRef,
    /// Below the registry's directory.
    below: &'c Path,
    text: String,
    message: String,
}

/// Proposes an agent and its budget, on top of what is in force. Blocks on the network.
///
/// # Errors
/// Then nothing was pushed.
pub fn propose_agent(
    home: &Home,
    source: &Source,
    config: &Config,
    registration: &Registration,
    now_ms: i64,
) -> Result<Proposal, ProposeError> {
    let below = registration.file();
    let (commit, files) = in_force(home, source)?;
    if files.0.contains_key(&below) {
        return Err(ProposeError::Exists(source.path.join(below)));
    }
    let agent = &registration.agent;
    let message = format!(
        "Register {agent}\n\nPurpose: {}\nOwner: {}\nEnds: {}\n",
        one_line(&registration.terms.purpose),
        registration.owner.reference(),
        one_line(&registration.terms.expires),
    );
    let change = Change { verb: "register", agent, below: &below, text: registration.text(), message };
    propose(home, source, config, (commit, files), change, now_ms)
}

/// Proposes that an agent is retired: one word of its manifest.
///
/// # Errors
/// Then nothing was pushed.
pub fn propose_retirement(
    home: &Home,
    source: &Source,
    config: &Config,
    agent: &AgentRef,
    file: &Path,
    now_ms: i64,
) -> Result<Proposal, ProposeError> {
    let (commit, files) = in_force(home, source)?;
    let below = file.strip_prefix(&source.path).unwrap_or(file);
    let text = files.0.get(below).map_or("", String::as_str);
    let text = retire::edited(file, text, agent)?;
    let message = format!("Retire {agent}\n\nIt starts no more runs, and those that run are stopped.\n");
    let change = Change { verb: "retire", agent, below, text, message };
    propose(home, source, config, (commit, files), change, now_ms)
}

fn in_force(home: &Home, source: &Source) -> Result<(CommitId, Files), ProposeError> {
    let nothing = || ProposeError::Nothing(source.git.clone());
    let (in_force, files) = kept::load(home, source).kept.ok_or_else(nothing)?;
    Ok((CommitId::parse(&in_force.commit).ok_or_else(nothing)?, files))
}

fn propose(
    home: &Home,
    source: &Source,
    config: &Config,
    (base, mut files): (CommitId, Files),
    change: Change<'_>,
    now_ms: i64,
) -> Result<Proposal, ProposeError> {
    let shown = source.shown(change.below, base.as_str());
    files.0.insert(change.below.to_owned(), change.text.clone());
    fetch::check(source, config, files, base.as_str()).map_err(|problems| {
        let first = problems.iter().position(|problem| problem.file == shown);
        let problem = problems.into_iter().nth(first.unwrap_or(0));
        let problem = problem.unwrap_or_else(|| kept::of_source(source, "has a problem".into(), None));
        ProposeError::Refused { problem, is_new: first.is_some() }
    })?;
    let git = |error: WorktreeError| match error {
        WorktreeError::BranchExists { branch } => {
            ProposeError::BranchExists { git: source.git.clone(), branch }
        }
        error => ProposeError::Git { git: source.git.clone(), source: error },
    };
    let mirror = fetch::mirror(home);
    let (name, email) = mirror.identity().map_err(git)?.ok_or(ProposeError::Nobody)?;
    let signature = Signature { name, email, at_s: u64::try_from(now_ms / 1000).unwrap_or(0) };
    let file = source.path.join(change.below);
    let kind = kind(&mirror, &base, source, change.below).map_err(git)?;
    let new = NewFile { path: &file, content: change.text.as_bytes(), kind };
    let commit = mirror.commit_file(&base, &new, &change.message, &signature).map_err(git)?;
    let branch = format!("{}/{}-{}", change.verb, change.agent.namespace(), change.agent.name());
    mirror.push_new(&source.git, &commit, &branch).map_err(git)?;
    let review = source.review_link(&branch);
    let onto = source.branch.clone();
    Ok(Proposal { git: source.git.clone(), branch, commit: commit.to_string(), onto, file, review })
}

/// What a file is in a commit: it stays that.
fn kind(
    mirror: &Mirror,
    commit: &CommitId,
    source: &Source,
    below: &Path,
) -> Result<EntryKind, WorktreeError> {
    let entries = mirror.entries(commit, &source.path, judge::MAX_ENTRIES)?.unwrap_or_default();
    let found = entries.iter().find(|entry| entry.path == below);
    Ok(found.map_or(EntryKind::File, |entry| entry.kind))
}

/// A text that stays on its line of a commit's message.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
