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
/// credential here is one there.
pub(super) fn expand(word: &str, homes: &Homes) -> PathBuf {
    let names = ["$HOME", "${HOME}", "$AGENTSUP_HOME"];
    let (name, rest) = match word.split_once('/') {
        Some((name, rest)) => (name, rest.trim_start_matches('/')),
        None => (word, ""),
    };
    if !name.starts_with('~') && !names.contains(&name) {
        return PathBuf::from(word);
    }
    match (&homes.home, homes.own.first()) {
        (_, Some(own)) if name == "$AGENTSUP_HOME" => own.join(rest),
        // The directory that it is in.
        _ if name == "~+" => Path::new(".").join(rest),
        (Some(home), _) => home.join(rest),
        _ => PathBuf::from(word),
    }
}
