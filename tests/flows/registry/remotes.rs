//! The ways to a registry: a path is in the other flows; here `file://`, HTTP with a password, and SSH.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::json;

use super::{Org, SAID, changes};
use crate::fakes::git_http::{self, PASSWORD};

/// What ssh does, without another machine: the last argument is run by a shell.
const SSH: &str = "#!/bin/sh\n[ \"$1\" = -G ] && exit 0\nwhile [ $# -gt 2 ]; do shift; done\n\
                   [ \"$1\" = git@agents.invalid ] && exec sh -c \"$2\"\nexit 255\n";

impl Org {
    /// Takes the registry from another address, and adds lines to the user's configuration of git.
    fn at(self, git: &str, settings: &str) -> Self {
        let config = format!("[registry]\ngit = \"{git}\"\npath = \"agents\"\n");
        std::fs::write(self.home.agentsup().join("config.toml"), config).unwrap();
        let file = self.home.path("user/.gitconfig");
        let before = std::fs::read_to_string(&file).unwrap();
        std::fs::write(file, before + settings).unwrap();
        self
    }

    /// Fetched, proposed to, merged, in force.
    fn is_used(&self) {
        let first = self.git(&["rev-parse", "HEAD"]);
        assert_eq!(self.sync(0, &[])["commit"], json!(first));
        self.home.run(&[&["agent", "register", "reviewer@team-a"], SAID.as_slice()].concat()).ok();
        assert_eq!(self.sync(0, &[])["changes"], json!([]));
        self.merge_branch("register/team-a-reviewer");
        let expected = ["added agent agent/reviewer@team-a", "added budget team-a/reviewer"];
        assert_eq!(changes(&self.sync(0, &[])), expected);
        self.home.run(&["run", "--agent", "reviewer", "command", "--", "true"]).ok();
    }
}

#[test]
fn a_registry_is_used_from_a_file_address() {
    let org = Org::new("");
    let git = format!("file://{}", org.home.path("org/agents.git").display());
    org.at(&git, "").is_used();
}

#[test]
fn a_registry_is_used_over_ssh() {
    let org = Org::new("");
    let ssh = org.home.path("user/ssh");
    std::fs::write(&ssh, SSH).unwrap();
    std::fs::set_permissions(&ssh, std::fs::Permissions::from_mode(0o755)).unwrap();
    let git = format!("git@agents.invalid:{}", org.home.path("org/agents.git").display());
    org.at(&git, &format!("[core]\n\tsshCommand = {}\n", ssh.display())).is_used();
}

#[test]
fn a_registry_is_used_over_http_with_the_users_own_credentials() {
    let org = Org::new("");
    let served = org.home.path("org/agents.git");
    org.home.git_in(&served, &["config", "http.receivepack", "true"]);
    let mut forge = git_http::forge(&org.home.path("org"));
    let git = format!("{}/agents.git", forge.url());
    let org = org.at(&git, "");
    let refused = org.home.run(&["sync"]);
    refused.exits(97);
    assert!(refused.stderr.contains("cannot be had"), "nobody is asked: {refused}");
    assert!(!org.home.run(&["run", "command", "--", "true"]).status.success());

    let program = format!("!f() {{ echo username=alice; echo password={PASSWORD}; }}; f");
    let org = org.at(&git, &format!("[credential]\n\thelper = \"{program}\"\n"));
    org.is_used();
    // The password is git's, and stays there.
    assert_eq!(files_with(&org.home.agentsup(), PASSWORD), Vec::<String>::new());

    forge.stop();
    let gone = org.home.run(&["sync"]);
    gone.exits(97);
    assert!(gone.stderr.contains("what was fetched last stays in force"), "{gone}");
    org.home.run(&["run", "--agent", "reviewer", "command", "--", "true"]).ok();
}

/// The files below a directory that hold a text.
fn files_with(directory: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() {
            found.extend(files_with(&path, text));
        } else if kind.is_file() {
            let bytes = std::fs::read(&path).unwrap_or_default();
            if bytes.windows(text.len()).any(|part| part == text.as_bytes()) {
                found.push(path.display().to_string());
            }
        }
    }
    found
}
