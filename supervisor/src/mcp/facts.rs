//! What a call's arguments say it would touch, as far as their names and shapes show it without knowing the tool.
//!
//! A string counts as a path if its member is named like one or if it is spelt like one that begins at the root or at
//! home, or climbs; as a host if it is an address. Whatever is nested counts too. Facts only ever tighten a decision: a
//! string that merely looks like a path can deny, never allow. Invariant: nothing is left out to save work. What is too
//! much or too deep to be looked at is refused, or an agent could hide a path behind it.

use std::path::{Component, Path};

use url::Url;

use super::canonical;
use super::wire::{Object, WireError, elements, fold, string};
use crate::core::action::{Facts, PathFact, Place, ToolAction, ToolSource};
use crate::core::place::place;
use crate::core::run::Run;
use crate::sys::files::{is_of_a_process, resolve};
use crate::sys::grounds::Homes;

/// Members whose strings are paths, in folded spelling and without separators.
const PATH_NAMES: &[&str] = &[
    "path",
    "paths",
    "file",
    "files",
    "filepath",
    "filepaths",
    "filename",
    "directory",
    "dir",
    "folder",
    "cwd",
    "workdir",
    "workingdirectory",
    "source",
    "destination",
    "target",
    "oldpath",
    "newpath",
    "rootpath",
    "repopath",
];
/// The most paths and hosts of one call; no real tool takes more.
const FACTS_MAX: usize = 1_000;
/// As deep as `canonical` goes.
const DEPTH_MAX: usize = 64;
/// The longest path that the system takes. A longer string that is only spelt like one is content, unless it is long
/// by detours.
const PATH_BYTES_MAX: usize = 4_096;

/// The call of a server's tool with these arguments, a JSON object, and what it would touch.
pub(super) fn tool(
    (server, tool): (&str, &str),
    arguments: &str,
    run: &Run,
    homes: &Homes,
) -> Result<ToolAction, WireError> {
    Ok(ToolAction {
        source: ToolSource::Mcp(server.to_owned()),
        tool: tool.to_owned(),
        args_digest: canonical::digest(arguments)?,
        facts: of(arguments, run, homes)?,
        call_id: None,
    })
}

/// The facts of `arguments`, a JSON object.
fn of(arguments: &str, run: &Run, homes: &Homes) -> Result<Facts, WireError> {
    let mut found = Found::default();
    members(arguments, &mut found, 0)?;
    found.hosts.sort();
    found.hosts.dedup();
    let mut facts = Facts { hosts: found.hosts, ..Facts::default() };
    if found.paths.is_empty() {
        return Ok(facts);
    }
    let grounds = homes.grounds(run);
    for text in found.paths {
        let spelt = Path::new(&text);
        let whole = match (spelt.strip_prefix("~"), &homes.home) {
            (Ok(below), Some(home)) => home.join(below),
            _ => spelt.to_owned(),
        };
        let fact = match resolve(&whole, &run.worktree) {
            Some(path) if !is_of_a_process(&whole) && !is_of_a_process(&path) => {
                PathFact { place: place(&path, &grounds), path }
            }
            // What cannot be followed, or leads through another process's eyes, could be anything.
            _ => PathFact { path: whole, place: Place::Secret },
        };
        if !facts.paths.contains(&fact) {
            facts.paths.push(fact);
        }
    }
    Ok(facts)
}

#[derive(Default)]
struct Found {
    paths: Vec<String>,
    hosts: Vec<String>,
}

fn members(object: &str, found: &mut Found, depth: usize) -> Result<(), WireError> {
    for (name, value) in Object::parse(object)?.iter() {
        let folded = fold(name).replace(['_', '-'], "");
        let is_path = PATH_NAMES.contains(&folded.as_str());
        look(value, is_path, found, depth + 1)?;
    }
    Ok(())
}

fn look(value: &str, is_path: bool, found: &mut Found, depth: usize) -> Result<(), WireError> {
    if depth > DEPTH_MAX {
        return Err(WireError::Shape("nested too deeply"));
    }
    if found.paths.len() + found.hosts.len() > FACTS_MAX {
        return Err(WireError::Shape("too many paths and hosts in one call"));
    }
    match value.as_bytes().first() {
        Some(b'{') => members(value, found, depth),
        Some(b'[') => elements(value)?.into_iter().try_for_each(|each| look(each, is_path, found, depth + 1)),
        Some(b'"') => {
            if let Some(text) = string(value) {
                judge(&text, is_path, found);
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn judge(text: &str, is_path: bool, found: &mut Found) {
    if let Some((scheme, rest)) = text.split_once("://")
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    {
        match Url::parse(text) {
            Ok(url) if url.scheme() == "file" => {
                found.paths.push(
                    url.to_file_path().map_or_else(|()| rest.to_owned(), |path| path.display().to_string()),
                );
                return;
            }
            Ok(url) => {
                found.hosts.extend(url.host_str().map(|host| host.trim_end_matches('.').to_lowercase()))
            }
            Err(_) => {}
        }
    }
    // An address can be a path as well: `x://../../../etc` leads to `/etc` for a server that takes it for one.
    if !text.is_empty() && !text.contains('\0') && (is_path || is_spelt_like_a_path(text)) {
        found.paths.push(text.to_owned());
    }
}

fn is_spelt_like_a_path(text: &str) -> bool {
    let begins = ["/", "~/", "../"].iter().any(|start| text.starts_with(start));
    let climbs = begins || text.contains("/../");
    climbs && !text.contains('\n') && (text.len() <= PATH_BYTES_MAX || straight(text) <= PATH_BYTES_MAX)
}

/// The length, in bytes, of a path without its detours.
fn straight(text: &str) -> usize {
    let kept = Path::new(text).components().fold(Vec::new(), |mut kept, part| {
        match part {
            Component::ParentDir => drop(kept.pop()),
            part => kept.push(part.as_os_str().len() + 1),
        }
        kept
    });
    kept.into_iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(arguments: &str) -> (Vec<String>, Vec<String>) {
        let mut found = Found::default();
        members(arguments, &mut found, 0).unwrap();
        (found.paths, found.hosts)
    }

    #[test]
    fn paths_and_hosts_are_found_by_name_and_by_shape() {
        let arguments = r#"{"path":"a.rs","File_Path":"b","q":"text","note":"/etc/x","deep":[{"paths":["c","~/d"]}],
            "url":"https://Example.COM./x","u":"file:///e%20f","n":1,"oldPath":"g","b":{"x":["http://[::1]:8/"]}}"#;
        let (paths, hosts) = found(arguments);
        assert_eq!(paths, ["a.rs", "b", "/etc/x", "c", "~/d", "/e f", "g"]);
        assert_eq!(hosts, ["example.com", "[::1]"]);
    }

    #[test]
    fn processes_are_out_of_bounds() {
        let is = |path: &str| is_of_a_process(Path::new(path));
        assert!(["/proc/1/environ", "/proc/self/cwd/x", "/proc/../proc/thread-self/mem"].into_iter().all(is));
        assert!(!["/proc/cpuinfo", "/process/1", "proc/1"].into_iter().any(is));
    }

    #[test]
    fn content_is_no_path() {
        let long = format!("/* {} */", "x".repeat(PATH_BYTES_MAX));
        let (paths, hosts) = found(&format!(
            r#"{{"content":"/ first\nline","text":"see http :// x","path":"","f":"a/b","code":"{long}"}}"#
        ));
        assert_eq!((paths, hosts), (Vec::<String>::new(), Vec::<String>::new()));
    }

    #[test]
    fn a_path_cannot_hide_behind_its_spelling() {
        let dots = "/.".repeat(PATH_BYTES_MAX);
        let escaped = "\\u002f\\u002e".repeat(PATH_BYTES_MAX);
        for (arguments, path) in [
            (format!(r#"{{"q":"{dots}/etc/shadow"}}"#), format!("{dots}/etc/shadow")),
            (format!(r#"{{"q":"{escaped}/etc/shadow"}}"#), format!("{dots}/etc/shadow")),
            (format!(r#"{{"path":"{dots}/etc/shadow"}}"#), format!("{dots}/etc/shadow")),
            (r#"{"q":"../x"}"#.into(), "../x".into()),
            (r#"{"q":"a/../../x"}"#.into(), "a/../../x".into()),
            (r#"{"path":"a\nb"}"#.into(), "a\nb".into()),
            (r#"{"path":"x://../../../etc/shadow"}"#.into(), "x://../../../etc/shadow".into()),
        ] {
            assert!(found(&arguments).0 == [path], "{}", &arguments[..40.min(arguments.len())]);
        }
        let address = found(r#"{"url":"https://example.com/a/../b"}"#);
        assert_eq!(address, (vec!["https://example.com/a/../b".to_owned()], vec!["example.com".to_owned()]));
    }

    #[test]
    fn what_is_too_much_to_look_at_is_refused() {
        let refused = |arguments: &str| members(arguments, &mut Found::default(), 0).is_err();
        let hosts = r#""http://h","#.repeat(5_000);
        assert!(refused(&format!(r#"{{"urls":[{hosts}"/etc/shadow"]}}"#)));
        let deep = format!(r#"{{"a":{}"/x"{}}}"#, "[".repeat(70), "]".repeat(70));
        assert!(refused(&deep));
        let deep = format!(r#"{{"a":{}"/x"{}}}"#, "[".repeat(40), "]".repeat(40));
        assert_eq!(found(&deep).0, ["/x"]);
    }
}
