//! What a tool's words mean on this machine: paths resolved and placed, hosts in one spelling.

use std::path::{Path, PathBuf};

use crate::core::action::{PathFact, Place};
use crate::core::place::{Grounds, place};
use crate::sys::files::{is_of_a_process, resolve};
use crate::sys::grounds::Homes;

/// A path and its place. One that cannot be followed, or leads through a process, could be anything.
pub(super) fn fact(path: &Path, dir: &Path, grounds: &Grounds) -> PathFact {
    match resolve(path, dir) {
        Some(found) if !is_of_a_process(path) && !is_of_a_process(&found) => {
            PathFact { place: place(&found, grounds), path: found }
        }
        _ => PathFact { path: dir.join(path), place: Place::Secret },
    }
}

/// The host of an address, lower case; none if it cannot be read.
pub(super) fn host(address: &str) -> Option<String> {
    let host = url::Url::parse(address).ok()?.host_str()?.trim_end_matches('.').to_ascii_lowercase();
    Some(host)
}

/// A word of a command line as a path, home directories put in. Another user's is taken for this one's, so that what is a
/// credential here is one there, and a directory that the line was in before for the one that it is in.
pub(super) fn expand(word: &str, homes: &Homes) -> PathBuf {
    let of_shell = ["$PWD", "${PWD}", "$OLDPWD", "${OLDPWD}"];
    let below_slash = word.trim_start_matches('/');
    if let Some(name) = of_shell.iter().find(|name| below_slash.starts_with(**name)) {
        let rest = &below_slash[name.len()..];
        // No path has a zero in it: what begins with its name is a directory beside it, which could be anything.
        let is_below = rest.is_empty() || rest.starts_with('/');
        return PathBuf::from(if is_below { format!(".{rest}") } else { "\0".to_owned() });
    }
    let (name, rest) = word.split_once('/').unwrap_or((word, ""));
    if matches!(name, "~+" | "~-") {
        return Path::new(".").join(rest.trim_start_matches('/'));
    }
    let mut made = word.to_owned();
    for (names, dir) in [
        (["${AGENTSUP_HOME}", "$AGENTSUP_HOME"], homes.own.first()),
        (["${HOME}", "$HOME"], homes.home.as_ref()),
    ] {
        let Some(dir) = dir.and_then(|dir| dir.to_str()) else { continue };
        made = names.iter().fold(made, |made, name| made.replace(name, dir));
    }
    let rest = made.split_once('/').map_or("", |(_, rest)| rest.trim_start_matches('/'));
    match &homes.home {
        Some(home) if name.starts_with('~') => home.join(rest),
        _ => PathBuf::from(made),
    }
}
