//! The git that the daemon works with: which program it is, and what it may see of the environment.

use std::ffi::OsStr;
use std::path::Path;

use agentsup_worktree::Git;

use super::env::Env;
use super::spawn::{self, Program};

/// What reaches another machine needs beside that: where the user's agents and helpers for credentials are, and the way
/// out of the network.
const FOR_REMOTES: &[&str] = &[
    "ALL_PROXY",
    "DBUS_SESSION_BUS_ADDRESS",
    "GNUPGHOME",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "KRB5CCNAME",
    "NO_PROXY",
    "PASSWORD_STORE_DIR",
    "SSH_AUTH_SOCK",
    "all_proxy",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];

/// The git that looks at repositories on this machine. Its environment is what programs may see that a repository's
/// configuration names.
pub fn local() -> Git {
    let own = Env::current();
    // By its path: a program that has to be looked for is started by a fork of the whole daemon.
    let program = match spawn::find_program("git", own.var("PATH"), Path::new("/")) {
        Program::File(file) => file.into_os_string(),
        _ => "git".into(),
    };
    let gits = own.iter().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"GIT_"));
    own.for_children().chain(gits).fold(Git::new(program), |git, (name, value)| git.with_env(name, value))
}

/// The git that reaches repositories elsewhere with the user's own credentials. Only for a repository whose
/// configuration nobody else writes.
pub fn remote() -> Git {
    let named = |(name, _): &(&OsStr, &OsStr)| name.to_str().is_some_and(|name| FOR_REMOTES.contains(&name));
    let own = Env::current().iter().filter(named);
    own.fold(local(), |git, (name, value)| git.with_env(name, value))
}
