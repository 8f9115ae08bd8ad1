//! Where a path lies, seen from a run: in its worktree, in scratch space, among secrets, in git's own files.

use std::path::{Component, Path, PathBuf};

use super::action::Place;

/// What belongs to a run and to its human, as resolved absolute paths.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grounds {
    /// The run's checkout.
    pub worktree: PathBuf,
    /// The repository's main checkout.
    pub repository: PathBuf,
    /// Directories of the run's own in which anything may be written.
    pub scratch: Vec<PathBuf>,
    /// Credentials and agentsup's own files.
    pub secrets: Vec<PathBuf>,
    /// The system's temporary directories; what is secret in them stays secret.
    pub temporary: Vec<PathBuf>,
}

/// Where below a human's home directory credentials lie.
pub const SECRETS_AT_HOME: &[&str] = &[
    ".aws",
    ".azure",
    ".cargo/credentials",
    ".cargo/credentials.toml",
    ".claude/.credentials.json",
    ".codex/auth.json",
    ".config/gcloud",
    ".config/gh",
    ".config/glab-cli",
    ".config/op",
    ".docker/config.json",
    ".gemini/oauth_creds.json",
    ".git-credentials",
    ".config/git/credentials",
    ".gnupg",
    ".kube",
    ".local/share/keyrings",
    ".local/share/opencode/auth.json",
    ".netrc",
    ".npmrc",
    ".password-store",
    ".pypirc",
    ".ssh",
    ".terraform.d/credentials.tfrc.json",
    "Library/Keychains",
];

/// Where the path lies. It must be absolute and resolved: no `..`, no symlinks.
pub fn place(path: &Path, grounds: &Grounds) -> Place {
    let below = |dir: &PathBuf| !dir.as_os_str().is_empty() && path.starts_with(dir);
    // The worktree usually lies among agentsup's own files, so it comes first.
    if below(&grounds.worktree) {
        return if has_git_component(path, &grounds.worktree) { Place::GitMetadata } else { Place::Worktree };
    }
    if grounds.scratch.iter().any(below) {
        return Place::Scratch;
    }
    if grounds.secrets.iter().any(below) {
        return Place::Secret;
    }
    if below(&grounds.repository) && has_git_component(path, &grounds.repository) {
        return Place::GitMetadata;
    }
    // A bare repository is metadata throughout.
    if below(&grounds.repository) && grounds.repository.extension().is_some_and(|name| name == "git") {
        return Place::GitMetadata;
    }
    if grounds.temporary.iter().any(below) && !below(&grounds.repository) {
        Place::Scratch
    } else {
        Place::Outside
    }
}

fn has_git_component(path: &Path, base: &Path) -> bool {
    path.strip_prefix(base).is_ok_and(|rest| {
        // Some file systems fold case, and the answer must be the same on all.
        rest.components()
            .any(|part| matches!(part, Component::Normal(name) if name.eq_ignore_ascii_case(".git")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_holds_decides() {
        let grounds = Grounds {
            worktree: "/h/.local/state/agentsup/worktrees/w".into(),
            repository: "/tmp/code/repo".into(),
            scratch: vec!["/h/.local/state/agentsup/runs/r/tmp".into()],
            secrets: vec!["/h/.ssh".into(), "/h/.local/state/agentsup".into(), "/tmp/agentsup-home".into()],
            temporary: vec!["/tmp".into()],
        };
        for (path, expected) in [
            ("/h/.local/state/agentsup/worktrees/w/src/main.rs", Place::Worktree),
            ("/h/.local/state/agentsup/worktrees/w", Place::Worktree),
            ("/h/.local/state/agentsup/worktrees/w/.git", Place::GitMetadata),
            ("/h/.local/state/agentsup/worktrees/w/sub/.GIT/hooks/pre-commit", Place::GitMetadata),
            ("/h/.local/state/agentsup/worktrees/w2/src", Place::Secret),
            ("/h/.local/state/agentsup/runs/r/tmp/x", Place::Scratch),
            ("/h/.local/state/agentsup/runs/r/claude/settings.json", Place::Secret),
            ("/h/.ssh/id_ed25519", Place::Secret),
            ("/h/.sshx", Place::Outside),
            ("/tmp/agentsup-home/state/agentsup.db", Place::Secret),
            ("/tmp/code/repo/.git/config", Place::GitMetadata),
            ("/tmp/code/repo/src/main.rs", Place::Outside),
            ("/tmp/other", Place::Scratch),
            ("/etc/passwd", Place::Outside),
        ] {
            assert_eq!(place(Path::new(path), &grounds), expected, "{path}");
        }
        assert_eq!(place(Path::new("/x"), &Grounds::default()), Place::Outside);
    }
}
