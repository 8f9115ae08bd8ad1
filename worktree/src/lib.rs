//! Git worktrees for parallel runs, made so that no work is lost.
//!
//! A library: synchronous, no async runtime, knowing nothing of agents. It opens a [`Repository`], adds a
//! [`Worktree`] on a branch of its own, says what changed in it, lands it, and takes it away again.
//!
//! ```no_run
//! use agentsup_worktree::{Git, NewWorktree, Repository, Signature, Target, Trash};
//! # fn main() -> Result<(), agentsup_worktree::WorktreeError> {
//! let git = Git::new("git").with_env("PATH", "/usr/bin:/bin").with_env("HOME", "/home/alice");
//! let repository = Repository::discover(git, "/src/shop".as_ref())?;
//! let trash = Trash::at("/state/trash")?;
//! let base = repository.require_commit()?;
//! let worktree = repository.add(
//!     &NewWorktree { path: "/state/worktrees/run-1".into(), branch: "agentsup/run-1".into(), base },
//!     &trash,
//! )?;
//! // … something works in `worktree.path()` …
//! let signature = Signature { name: "Alice".into(), email: "alice@example.invalid".into(), at_s: 1_790_000_000 };
//! if worktree.status()?.is_clean() {
//!     worktree.land(&Target::Checkout, &signature, &[])?;
//!     worktree.remove_clean(&trash)?;
//! } else {
//!     worktree.discard(&trash, &signature)?; // can be undone with `Repository::restore`
//! }
//! # Ok(()) }
//! ```
//!
//! # Invariants
//!
//! 1. **Nothing is deleted.** A working directory leaves by a rename into the caller's [`Trash`], its
//!    registration by a rename into `<git dir>/agentsup/trash`. The only files this crate unlinks are scratch
//!    indexes it wrote itself. Nothing is ever passed `--force`.
//! 2. **Nothing becomes unreachable.** Before a registration or a branch goes, every commit that only it could
//!    reach (branch tip, `HEAD`, reflogs, a rebase's autostash) gets a ref under `refs/agentsup/kept/`, and
//!    `discard` first makes a snapshot of every tracked and untracked file under `refs/agentsup/snapshots/`.
//! 3. **Looking changes nothing.** `status`, `diff` and `snapshot` work on a copy of the index; they touch
//!    neither index, `HEAD`, branch nor files of the worktree.
//! 4. **A refusal comes first.** Every check runs before the first change, every change of a ref names the
//!    value it expects, and a half-made worktree is taken back. Whatever can't be decided is an error.
//! 5. **Nobody else's code runs.** Hooks and file-system monitors are off in every git command here: the
//!    directories they live in are writable by what runs in a worktree, and this crate runs outside its
//!    confinement. A caller that wants `post-checkout` runs it inside the confinement. Filters and merge
//!    drivers (LFS) stay on, without them files would be wrong; so git gets the caller's [`Git`] environment and
//!    nothing else, and a secret of the caller's is nothing they could read.
//! 6. **The worktree does not choose its repository.** Commands name git directory, common directory and
//!    working directory themselves; the `.git` file in a worktree is never followed.
//!
//! # Why the git command and not a library
//!
//! libgit2 can't open SHA-256, reftable, partial-clone or sparse-index repositories and does not run clean and
//! smudge filters, so its status and its snapshots would be wrong in repositories that people have. One
//! command costs about 2 ms. Needs git 2.34; landing with a merge commit needs 2.38.
//!
//! # What a snapshot does not hold
//!
//! Ignored files, empty directories, what is inside nested repositories and changed submodules (their paths
//! are in [`Snapshot::uncovered`]), and the exact bytes of a file that git itself calls unchanged although a
//! filter hides a difference. All of that is in the trash directory after a `discard`.
//!
//! # Code map
//!
//! | file | owns |
//! |---|---|
//! | `git.rs` | the only place that starts a process |
//! | `names.rs`, `error.rs` | ids, heads, signatures; the one error type |
//! | `repository.rs` | finding a repository, its `HEAD`, refs |
//! | `registration.rs` | `<git dir>/worktrees/<id>`: finding and retiring it |
//! | `create.rs` | `add`, `open` |
//! | `status.rs`, `diff.rs` | what changed |
//! | `committed.rs` | what a commit has in one directory |
//! | `scratch.rs` | the copy of the index that everything above works on |
//! | `snapshot.rs`, `snapshot/exact.rs`, `snapshot/message.rs` | taking and listing snapshots |
//! | `restore.rs` | a worktree out of a snapshot |
//! | `keep.rs` | hidden refs for commits that would become unreachable |
//! | `remove.rs`, `trash.rs` | `remove_clean`, `discard` |
//! | `commit.rs` | what an agent left uncommitted, as a commit |
//! | `land.rs`, `land/checkout.rs` | a branch onto its target |
//! | `mirror.rs` | a bare copy of a branch that lives elsewhere, and proposals to it |

mod commit;
mod committed;
mod create;
mod diff;
mod error;
mod git;
mod keep;
mod land;
mod mirror;
mod names;
mod registration;
mod remove;
mod repository;
mod restore;
mod scratch;
mod snapshot;
mod status;
mod trash;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod property_tests;

pub use committed::{Committed, CommittedKind};
pub use create::{NewWorktree, Worktree};
pub use diff::{Diff, DiffStat, FileStat};
pub use error::WorktreeError;
pub use git::{Git, Interrupt};
pub use land::{Landed, LandedAs, Target};
pub use mirror::{Entry, EntryKind, Mirror, NewFile};
pub use names::{CommitId, Head, Signature};
pub use remove::{BranchFate, Discarded, Removed};
pub use repository::Repository;
pub use snapshot::Snapshot;
pub use status::{Change, ChangeKind, Operation, Status};
pub use trash::Trash;
