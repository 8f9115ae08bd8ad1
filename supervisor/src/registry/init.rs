//! The manifests that agentsup itself can write: the personal agent of `agentsup init` and the one of `run demo`.
//! Only when asked for, only into files that do not exist, and whole: a reader never sees half of one.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::core::money::NanoUsd;
use crate::core::principal::Owner;
use crate::sys::paths::Home;

/// The agent that `agentsup init` writes.
pub const PERSONAL_AGENT: &str = "agent/default@personal";
/// The agent that `agentsup run demo` writes.
pub const DEMO_AGENT: &str = "agent/demo@personal";

/// A manifest that could be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// Where.
    pub path: PathBuf,
    /// What.
    pub text: String,
}

/// What became of a draft.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// The file is new.
    New,
    /// A file was there and stays as it is.
    Kept,
}

/// Why a draft could not be written.
#[derive(Debug, thiserror::Error)]
#[error("`{}` cannot be written: {source}", .path.display())]
pub struct WriteError {
    path: PathBuf,
    source: io::Error,
}

/// The owner that a login name stands for; what no catalog would take is left out of the name.
pub fn owner_of(login: &str) -> Option<Owner> {
    let plain = |letter: &char| letter.is_ascii_alphanumeric() || "-_.".contains(*letter);
    let name: String = login.chars().filter(plain).take(63).collect();
    format!("user:default/{name}").parse().ok()
}

/// Where the personal agent and its budget are written.
fn personal_file(home: &Home) -> PathBuf {
    home.manifests_dir().join("personal.yaml")
}

/// The file of the personal agent, if anything is there.
pub fn existing(home: &Home) -> Result<Option<PathBuf>, WriteError> {
    let path = personal_file(home);
    match fs::symlink_metadata(&path) {
        Ok(_) => Ok(Some(path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(WriteError { path, source }),
    }
}

/// The personal agent and its budget, in one file: everything a developer's own agent needs, within a monthly cap.
pub fn personal(home: &Home, owner: &Owner, adapters: &[&str], cap: NanoUsd) -> Draft {
    // A tenth above the cap, so that the last call of a month does not stop half-way.
    let burst = cap.scaled_up(1, 10);
    let text = format!(
        "\
# Written by `agentsup init`. Edit it freely: changes come into force by themselves.
apiVersion: agentsup.dev/v1alpha1
kind: Agent
metadata:
  name: default
  namespace: personal
spec:
  owner: {owner}
  purpose: Work on my own repositories
  lifecycle: experimental
  environments: [dev]
  adapters: [{adapters}]
  repositories: [\"*\"]
  models: [\"*\"]
  tools:
    mcp: [\"*\"]
    builtin: [read, edit, shell, web, other]
  budget: default
  credentials: {{ ttl: 15m }}
---
apiVersion: agentsup.dev/v1alpha1
kind: TokenBudget
metadata:
  name: default
  namespace: personal
spec:
  period: monthly
  cap: {cap}
  burst: {burst}
  alertAt: 80%
",
        owner = owner.reference(),
        adapters = adapters.join(", "),
    );
    Draft { path: personal_file(home), text }
}

/// The demo's agent and its budget, so small that the demo meets its end.
pub fn demo(home: &Home, owner: &Owner) -> Draft {
    let text = DEMO.replace("OWNER", &owner.reference());
    Draft { path: home.manifests_dir().join("demo.yaml"), text }
}

const DEMO: &str = "\
# Written by `agentsup run demo`. Delete it when you have seen enough.
apiVersion: agentsup.dev/v1alpha1
kind: Agent
metadata:
  name: demo
  namespace: personal
spec:
  owner: OWNER
  purpose: Show what agentsup does
  lifecycle: experimental
  environments: [dev]
  adapters: [demo]
  models: [\"*\"]
  tools:
    mcp: [\"demo/write_*\"]             # nothing that deletes: the demo tries, and is denied
    builtin: [read, edit, shell]
  budget: demo
---
apiVersion: agentsup.dev/v1alpha1
kind: TokenBudget
metadata:
  name: demo
  namespace: personal
spec:
  period: daily
  cap: 0.25 USD                      # the demo ends with a call that could cost more than this
  alertAt: 50%
";

/// Writes a draft where no file is.
pub fn write(draft: &Draft) -> Result<Written, WriteError> {
    write_new(&draft.path, &draft.text).map_err(|source| WriteError { path: draft.path.clone(), source })
}

fn write_new(path: &Path, text: &str) -> io::Result<Written> {
    let dir = path.parent().unwrap_or(path);
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    if fs::symlink_metadata(path).is_ok() {
        return Ok(Written::Kept);
    }
    // Hidden, so that nobody reads it; a link then gives it its name at once, or not at all if the name is taken.
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = dir.join(format!(".{name}.{}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    let linked = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    let linked = linked.and_then(|()| fs::hard_link(&beside, path));
    fs::remove_file(&beside)?;
    match linked {
        Ok(()) => Ok(Written::New),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Written::Kept),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::super::load::load;
    use super::*;

    #[test]
    fn what_is_written_is_valid_and_written_once() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::rooted(dir.path());
        let owner = owner_of("alice").unwrap();
        let cap: NanoUsd = "50.00 USD".parse().unwrap();
        let drafts = [personal(&home, &owner, &["claude", "command"], cap), demo(&home, &owner)];
        assert_eq!(existing(&home).unwrap(), None);
        assert_eq!(drafts.each_ref().map(|draft| write(draft).unwrap()), [Written::New, Written::New]);

        assert_eq!(existing(&home).unwrap().as_ref(), Some(&drafts[0].path));
        let snapshot = load(&home);
        assert_eq!(snapshot.problems, []);
        let names: Vec<String> = snapshot.agents.iter().map(|agent| agent.reference.to_string()).collect();
        assert_eq!(names, [PERSONAL_AGENT, DEMO_AGENT]);
        assert!(
            snapshot.agents.iter().all(|agent| snapshot.budget_of(agent).is_some() && agent.owner == owner)
        );
        assert_eq!(snapshot.default_agent("claude").unwrap().reference.to_string(), PERSONAL_AGENT);
        assert_eq!(snapshot.default_agent("demo").unwrap().reference.to_string(), DEMO_AGENT);

        let other = Draft { text: "other".into(), ..drafts[0].clone() };
        assert_eq!(write(&other).unwrap(), Written::Kept);
        assert_eq!(fs::read_to_string(&other.path).unwrap(), drafts[0].text);
        let mut files: Vec<_> =
            fs::read_dir(home.manifests_dir()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        files.sort();
        assert_eq!(files, ["demo.yaml", "personal.yaml"]);
    }

    #[test]
    fn an_owner_is_made_of_a_login_name() {
        assert_eq!(owner_of("alice").unwrap().reference(), "user:default/alice");
        assert_eq!(owner_of("CORP\\bob smith").unwrap().reference(), "user:default/CORPbobsmith");
        assert_eq!(owner_of("ü"), None);
    }
}
