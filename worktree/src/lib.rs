//! Git worktrees for parallel runs.
