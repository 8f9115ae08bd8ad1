//! A bare copy of one branch of a repository that lives elsewhere: fetched, read without a checkout, and proposed to by
//! pushing a branch of its own. Nothing it fetches is ever written as a file, run, or followed as a link.
//!
//! Must not: push to a branch that exists, or push with any kind of force.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::git::{Call, Git, Location};
use crate::names::path_of;
use crate::{CommitId, Signature, WorktreeError};

/// Where what was fetched last is kept, so that it stays reachable.
const FETCHED: &str = "refs/agentsup/fetched";
/// The most bytes that a listing of a tree may take.
const LISTING_LIMIT_BYTES: usize = 16 << 20;

/// What holds for every call that talks to another machine. Credentials come from the user's own helpers and keys, never
/// from a question, for nobody is there to answer; an address is only ever an address, never a command.
const REMOTE_SETTINGS: [&str; 10] = [
    "protocol.allow=never",
    "protocol.https.allow=always",
    "protocol.ssh.allow=always",
    "protocol.file.allow=always",
    "core.askPass=",
    "credential.interactive=false",
    // One that says nothing any more is given up on long before the time is over.
    "http.lowSpeedLimit=1",
    "http.lowSpeedTime=60",
    "transfer.fsckObjects=true",
    "push.gpgSign=false",
];

/// The bare copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    git: Git,
    dir: PathBuf,
}

/// An entry of a tree, directories excepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Relative to the directory that was listed, as git has it: nothing about it was checked.
    pub path: PathBuf,
    /// What it is.
    pub kind: EntryKind,
    /// Where its content is.
    pub id: CommitId,
    /// The size of its content in bytes; zero for a submodule.
    pub size_bytes: u64,
}

/// What an entry of a tree is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A file.
    File,
    /// A file with the executable bit.
    Executable,
    /// A symbolic link.
    Link,
    /// Another repository.
    Submodule,
}

/// A file of a commit that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewFile<'a> {
    /// From the root of the repository.
    pub path: &'a Path,
    /// Its content.
    pub content: &'a [u8],
    /// What it is to be.
    pub kind: EntryKind,
}

impl Mirror {
    /// The copy in this directory, which is made by the first fetch.
    pub fn at(git: Git, dir: PathBuf) -> Self {
        Self { git, dir }
    }

    /// The commit that a branch of the repository at `url` is at; none if there is no such branch. The copy has no part in
    /// it.
    ///
    /// # Errors
    /// `Git` with git's own words when the repository cannot be reached or does not let the user in.
    pub fn remote_tip(&self, url: &str, branch: &str) -> Result<Option<CommitId>, WorktreeError> {
        let beside = self.dir.parent().unwrap_or(&self.dir);
        std::fs::create_dir_all(beside).map_err(WorktreeError::io("make", beside))?;
        let full = format!("refs/heads/{branch}");
        let args = ["ls-remote", "--quiet", "--", url, &full];
        // In no repository: what is wrong with the copy, or is configured above it, has no part in the answer.
        let nowhere = Location { git_dir: beside.to_owned(), common_dir: beside.to_owned(), work_tree: None };
        let found = remote(self.git.at(&nowhere), url).args(args).run()?;
        let line = String::from_utf8_lossy(&found.stdout);
        let of_branch = |line: &str| {
            let (id, name) = line.split_once('\t')?;
            (name == full).then(|| CommitId::parse(id))
        };
        match line.lines().find_map(of_branch) {
            Some(Some(id)) => Ok(Some(id)),
            Some(None) => Err(found.unreadable()),
            None => Ok(None),
        }
    }

    /// Fetches a branch that was found at `tip`: its commits and all they hold. Tags, notes and other branches stay where
    /// they are. Returns where the branch is by now.
    ///
    /// # Errors
    /// `CommitMissing` when it did not come; `Git` when it cannot be reached, when it holds what git takes for broken, and
    /// when the copy cannot be read or written.
    pub fn fetch(&self, url: &str, branch: &str, tip: &CommitId) -> Result<CommitId, WorktreeError> {
        self.init(tip)?;
        let fetched = &OsString::from(format!("{FETCHED}^{{commit}}"));
        // The ref moves once all was received and found whole.
        if self.parsed(fetched)?.as_ref() == Some(tip) {
            return Ok(tip.clone());
        }
        let refspec = format!("+refs/heads/{branch}:{FETCHED}");
        let args = [
            "fetch",
            "--quiet",
            "--no-tags",
            "--no-recurse-submodules",
            "--no-write-fetch-head",
            "--no-auto-maintenance",
            "--refmap=",
            "--",
            url,
            &refspec,
        ];
        remote(self.call(), url).transfers().args(args).run()?;
        self.parsed(fetched)?.ok_or_else(|| WorktreeError::CommitMissing { commit: tip.clone() })
    }

    /// Whether everything in `ancestor` is in `descendant`.
    ///
    /// # Errors
    /// `CommitMissing` when `ancestor` is not here, or not whole: a copy that had it once has lost it. When the copy cannot
    /// be read.
    pub fn contains(&self, descendant: &CommitId, ancestor: &CommitId) -> Result<bool, WorktreeError> {
        if !self.has_commit(ancestor)? {
            return Err(WorktreeError::CommitMissing { commit: ancestor.clone() });
        }
        let args = ["merge-base", "--is-ancestor", ancestor.as_str(), descendant.as_str()];
        let answer = self.call().args(args).outcome()?;
        match answer.code {
            Some(0) => Ok(true),
            Some(1) => Ok(false),
            _ => Err(answer.failure()),
        }
    }

    /// Everything below a directory of a commit, in git's order; none if the commit has no such directory.
    ///
    /// # Errors
    /// `TooMany` beyond `limit` entries. When the copy cannot be read.
    pub fn entries(
        &self,
        commit: &CommitId,
        directory: &Path,
        limit: usize,
    ) -> Result<Option<Vec<Entry>>, WorktreeError> {
        let Some(tree) = self.tree_at(commit, directory)? else { return Ok(None) };
        let args = ["ls-tree", "-r", "-z", "--long", "--full-tree", tree.as_str()];
        let listed = self.call().cut_at(LISTING_LIMIT_BYTES).args(args).run()?;
        let entries: Option<Vec<Entry>> = listed.records().take(limit.saturating_add(1)).map(entry).collect();
        match entries {
            _ if listed.cut => Err(WorktreeError::TooMany { what: "files in the repository", limit }),
            Some(entries) if entries.len() > limit => {
                Err(WorktreeError::TooMany { what: "files in the repository", limit })
            }
            Some(entries) => Ok(Some(entries)),
            None => Err(listed.unreadable()),
        }
    }

    /// The contents of files, in the order of their ids.
    ///
    /// # Errors
    /// When one is not here, or all together are larger than `limit_bytes`.
    pub fn contents(&self, ids: &[&CommitId], limit_bytes: usize) -> Result<Vec<Vec<u8>>, WorktreeError> {
        /// What stands around each content.
        const AROUND_BYTES: usize = 128;
        let asked = ids.iter().flat_map(|id| [id.as_str(), "\n"]).collect::<String>();
        let limit_bytes = limit_bytes.saturating_add(ids.len().saturating_mul(AROUND_BYTES));
        let call = self.call().cut_at(limit_bytes).args(["cat-file", "--batch"]);
        let output = call.input(asked.into_bytes()).run()?;
        if output.cut {
            return Err(WorktreeError::GitOutput { command: "git cat-file --batch".into(), limit_bytes });
        }
        let mut rest = output.stdout.as_slice();
        let mut contents = Vec::with_capacity(ids.len());
        for id in ids {
            let (content, after) = batched(rest, id).ok_or_else(|| output.unreadable())?;
            contents.push(content.to_vec());
            rest = after;
        }
        Ok(contents)
    }

    /// The name and address under which the user commits; none unless both are configured.
    ///
    /// # Errors
    /// When the configuration cannot be read.
    pub fn identity(&self) -> Result<Option<(String, String)>, WorktreeError> {
        let setting = |key: &str| -> Result<Option<String>, WorktreeError> {
            let found = self.call().args(["config", "--get", key]).outcome()?;
            match found.code {
                Some(0) => found.line().map(Some),
                Some(1) => Ok(None),
                _ => Err(found.failure()),
            }
        };
        Ok(setting("user.name")?.zip(setting("user.email")?))
    }

    /// A commit on top of `base` with one file new or changed. It is on no branch.
    ///
    /// # Errors
    /// When git cannot write.
    pub fn commit_file(
        &self,
        base: &CommitId,
        file: &NewFile<'_>,
        message: &str,
        signature: &Signature,
    ) -> Result<CommitId, WorktreeError> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let index = Scratch(self.dir.join(format!("agentsup-index-{}-{number}", std::process::id())));
        let call = || self.call().index(&index.0);
        call().args(["read-tree", base.as_str()]).run()?;
        // `--no-filters`: what is committed is what was checked.
        let hashed = call().args(["hash-object", "-w", "--no-filters", "--stdin"]);
        let blob = hashed.input(file.content.to_vec()).run()?.id()?;
        let mode = if file.kind == EntryKind::Executable { "100755" } else { "100644" };
        let mut line = format!("{mode} {blob}\t").into_bytes();
        line.extend_from_slice(crate::names::bytes_of(file.path));
        line.push(0);
        call().args(["update-index", "-z", "--index-info"]).input(line).run()?;
        let tree = call().args(["write-tree"]).run()?.id()?;
        let args = ["commit-tree", tree.as_str(), "-p", base.as_str(), "-F", "-"];
        let call = self.call().signature(signature).args(args);
        call.input(message.as_bytes().to_vec()).run()?.id()
    }

    /// Pushes a commit as a branch that does not exist there yet.
    ///
    /// # Errors
    /// `BranchExists`, with nothing changed; `Git` when the repository cannot be reached or refuses.
    pub fn push_new(&self, url: &str, commit: &CommitId, branch: &str) -> Result<(), WorktreeError> {
        if self.remote_tip(url, branch)?.is_some() {
            return Err(WorktreeError::BranchExists { branch: branch.to_owned() });
        }
        // Somebody who makes the branch meanwhile wins: what does not continue theirs is rejected.
        let refspec = format!("{commit}:refs/heads/{branch}");
        let args = ["push", "--quiet", "--no-follow-tags", "--recurse-submodules=no", "--", url, &refspec];
        remote(self.call(), url).args(args).run().map(drop)
    }

    /// The tree of a directory; none if the commit has no such directory.
    fn tree_at(&self, commit: &CommitId, directory: &Path) -> Result<Option<CommitId>, WorktreeError> {
        let names = directory.components().filter_map(|part| match part {
            Component::Normal(name) => Some(name.as_bytes()),
            _ => None,
        });
        let path = names.collect::<Vec<_>>().join(&b'/');
        if path.is_empty() {
            return Ok(Some(commit.clone()));
        }
        // It fails where a tree on the way there cannot be read, which `rev-parse` does not tell from one that is not there.
        let args = ["ls-tree", "-z", "--full-tree", commit.as_str(), "--"].map(OsStr::new);
        let listed = self.call().args(args.into_iter().chain([OsStr::from_bytes(&path)])).run()?;
        let Some(record) = listed.records().next() else { return Ok(None) };
        let facts = record.split(|byte| *byte == b'\t').next().unwrap_or_default();
        let facts = String::from_utf8_lossy(facts);
        match facts.split(' ').collect::<Vec<_>>()[..] {
            [_, "tree", id] => CommitId::parse(id).map(Some).ok_or_else(|| listed.unreadable()),
            [_, _, _] => Ok(None),
            _ => Err(listed.unreadable()),
        }
    }

    /// The object that a revision names; none if there is no such object.
    fn parsed(&self, revision: &OsStr) -> Result<Option<CommitId>, WorktreeError> {
        let args = ["rev-parse", "--verify", "-q", "--end-of-options"].map(OsStr::new);
        let found = self.call().args(args.into_iter().chain([revision])).outcome()?;
        match found.code {
            Some(0) => found.id().map(Some),
            Some(1 | 128) => Ok(None),
            _ => Err(found.failure()),
        }
    }

    fn has_commit(&self, commit: &CommitId) -> Result<bool, WorktreeError> {
        let object = format!("{commit}^{{commit}}");
        Ok(self.call().args(["cat-file", "-e", &object]).outcome()?.code == Some(0))
    }

    fn make_directory(&self) -> Result<(), WorktreeError> {
        std::fs::create_dir_all(&self.dir).map_err(WorktreeError::io("make", &self.dir))
    }

    /// Makes the bare repository, with ids as long as those that will come; does nothing to one that is there.
    fn init(&self, tip: &CommitId) -> Result<(), WorktreeError> {
        if ["HEAD", "config", "objects", "refs"].iter().all(|part| self.dir.join(part).exists()) {
            return Ok(());
        }
        self.make_directory()?;
        let format = if tip.as_str().len() == 64 { "--object-format=sha256" } else { "--object-format=sha1" };
        let args = ["init", "--quiet", "--bare", "--template=", format, "--", "."];
        self.git.discover(&self.dir).args(args).run().map(drop)
    }

    fn call(&self) -> Call {
        let (git_dir, common_dir) = (self.dir.clone(), self.dir.clone());
        self.git.at(&Location { git_dir, common_dir, work_tree: None })
    }
}

/// An index that is removed when dropped.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let mut lock = self.0.clone().into_os_string();
        lock.push(".lock");
        for path in [self.0.as_path(), Path::new(&lock)] {
            // Absent when nothing was written.
            let _removed = std::fs::remove_file(path);
        }
    }
}

/// A call that talks to the repository at `url`: in the clear only where that itself says so, and then with nobody it leads
/// to. Forges lead from names of before to those of now; an encrypted address leads to encrypted ones only.
fn remote(call: Call, url: &str) -> Call {
    let own = if url.starts_with("http://") {
        ["protocol.http.allow=always", "http.followRedirects=false"]
    } else {
        ["protocol.http.allow=never", "http.followRedirects=initial"]
    };
    REMOTE_SETTINGS.into_iter().chain(own).fold(call, Call::setting)
}

/// `<mode> <type> <id> <size, padded>\t<path>`.
fn entry(record: &[u8]) -> Option<Entry> {
    let tab = record.iter().position(|byte| *byte == b'\t')?;
    let (facts, path) = (std::str::from_utf8(&record[..tab]).ok()?, &record[tab + 1..]);
    let [mode, _, id, size] = facts.split_ascii_whitespace().collect::<Vec<_>>().try_into().ok()?;
    let kind = match mode {
        "100755" => EntryKind::Executable,
        "120000" => EntryKind::Link,
        "160000" => EntryKind::Submodule,
        // Old repositories have other bits there.
        _ if mode.starts_with("100") => EntryKind::File,
        _ => return None,
    };
    let size_bytes = if size == "-" { 0 } else { size.parse().ok()? };
    Some(Entry { path: path_of(path), kind, id: CommitId::parse(id)?, size_bytes })
}

/// The first content of a batch, `<id> blob <size>\n<content>\n`, and what follows it.
fn batched<'b>(bytes: &'b [u8], id: &CommitId) -> Option<(&'b [u8], &'b [u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let size: usize = head.strip_prefix(&format!("{id} blob "))?.parse().ok()?;
    let rest = bytes.get(end + 1..)?;
    let after = rest.get(size..)?.strip_prefix(b"\n")?;
    Some((&rest[..size], after))
}

#[cfg(test)]
mod tests;
