//! Real throwaway repositories for the tests: own home, no user or system configuration.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::names::path_of;
use crate::{CommitId, Git, NewWorktree, Repository, Signature, Trash, Worktree};

pub(crate) struct Fixture {
    root: tempfile::TempDir,
    pub(crate) git: Git,
}

/// What a directory holds: path → (is executable, content); a link's content is its target.
pub(crate) type Tree = BTreeMap<PathBuf, (bool, Vec<u8>)>;

impl Fixture {
    /// A repository `my repo` with one commit on `main`.
    pub(crate) fn new() -> Self {
        let fixture = Self::unborn(&[]);
        fixture.write(&fixture.main(), "README", "hello\n");
        fixture.write(&fixture.main(), "src/lib.rs", "one\ntwo\nthree\n");
        fixture.write(&fixture.main(), ".gitignore", "*.log\n/ignored/\n");
        fixture.commit(&fixture.main(), "first");
        fixture
    }

    /// A repository without commits.
    pub(crate) fn unborn(init: &[&str]) -> Self {
        let root = tempfile::tempdir().unwrap();
        let git = Git::new("git")
            .with_env("PATH", env!("PATH"))
            .with_env("HOME", root.path())
            .with_env("XDG_CONFIG_HOME", root.path())
            .with_env("GIT_CONFIG_GLOBAL", "/dev/null")
            .with_env("GIT_CONFIG_NOSYSTEM", "1");
        let fixture = Self { root, git };
        fs::create_dir(fixture.main()).unwrap();
        fixture.run(&fixture.main(), ["init", "-q", "-b", "main"].iter().chain(init));
        fixture
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.root.path().canonicalize().unwrap()
    }

    pub(crate) fn main(&self) -> PathBuf {
        self.root().join("my repo")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root().join("worktrees").join(name)
    }

    pub(crate) fn repository(&self) -> Repository {
        Repository::discover(self.git.clone(), &self.main()).unwrap()
    }

    pub(crate) fn trash(&self) -> Trash {
        Trash::at(self.root().join("trash")).unwrap()
    }

    pub(crate) fn new_worktree(&self, name: &str) -> NewWorktree {
        let base = self.repository().require_commit().unwrap();
        NewWorktree { path: self.path(name), branch: format!("agentsup/{name}"), base }
    }

    pub(crate) fn add(&self, name: &str) -> Worktree {
        self.repository().add(&self.new_worktree(name), &self.trash()).unwrap()
    }

    /// Runs git as a user in that directory would, and returns what it printed.
    pub(crate) fn run<S: AsRef<str>>(&self, directory: &Path, args: impl IntoIterator<Item = S>) -> String {
        let args = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect::<Vec<_>>();
        let call = self.git.discover(directory).signature(&signature()).args(&args);
        String::from_utf8_lossy(&call.run().unwrap().stdout).trim_end().to_owned()
    }

    pub(crate) fn commit(&self, directory: &Path, message: &str) -> CommitId {
        self.run(directory, ["add", "-A"]);
        self.run(directory, ["commit", "-q", "--allow-empty", "-m", message]);
        self.tip(directory, "HEAD")
    }

    pub(crate) fn tip(&self, directory: &Path, revision: &str) -> CommitId {
        CommitId::parse(&self.run(directory, ["rev-parse", "--verify", revision])).unwrap()
    }

    pub(crate) fn write(&self, directory: &Path, name: &str, content: impl AsRef<[u8]>) {
        let path = directory.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// A hook of the repository.
    pub(crate) fn hook(&self, name: &str, script: &str) {
        let path = self.main().join(".git/hooks").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Every ref and where it points.
    pub(crate) fn refs(&self) -> String {
        self.run(&self.main(), ["for-each-ref", "--format=%(refname) %(objectname)"])
    }

    /// What must be the same after something that only looks or that refused.
    pub(crate) fn state(&self, worktree: &Worktree) -> (Tree, Vec<u8>, String, String) {
        let index = fs::read(worktree.git_dir.join("index")).unwrap_or_default();
        let head = fs::read_to_string(worktree.git_dir.join("HEAD")).unwrap();
        (tree(worktree.path()), index, head, self.refs())
    }
}

pub(crate) fn signature() -> Signature {
    Signature { name: "Alice".into(), email: "alice@example.invalid".into(), at_s: 1_790_000_000 }
}

/// All files below a directory, without git's own.
pub(crate) fn tree(directory: &Path) -> Tree {
    let mut files = Tree::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(next) = pending.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(directory).unwrap().to_owned();
            let metadata = fs::symlink_metadata(&path).unwrap();
            if name == path_of(b".git") {
            } else if metadata.is_symlink() {
                let target = fs::read_link(&path).unwrap();
                files.insert(name, (false, crate::names::bytes_of(&target).to_vec()));
            } else if metadata.is_dir() {
                pending.push(path);
            } else {
                files.insert(name, (metadata.permissions().mode() & 0o100 != 0, fs::read(&path).unwrap()));
            }
        }
    }
    files
}
