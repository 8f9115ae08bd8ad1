//! Policies looked at on this side of the socket: files that are to come into force, and their tests.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::core::error::{Code, Failure};
use crate::core::policy::cases::{self, Tried};
use crate::core::policy::{Layer, Pack, PolicySet, PolicySource, own};
use crate::core::principal::AgentRef;
use crate::core::problem::Problem;
use crate::registry::{Registry, agt, is_policy};
use crate::sys::paths::Home;

/// The largest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// What is wrong with policies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// How many files of policies were looked at, the pack apart.
    pub files: usize,
    /// How many policies they hold, the pack's included; none where there is a problem.
    pub policies: usize,
    /// How many of them each layer has that has any, from the highest; `default` is the pack.
    pub layers: Vec<LayerView>,
    /// Every problem with its file, line and column.
    pub problems: Vec<String>,
    /// What to write instead, each said once.
    pub hints: Vec<String>,
}

/// How many policies a layer has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerView {
    /// Its name.
    pub layer: String,
    /// How many.
    pub policies: usize,
}

impl Checked {
    fn of(files: usize, policies: &PolicySet, problems: &[Problem]) -> Self {
        let mut layers: BTreeMap<Layer, usize> = BTreeMap::new();
        for policy in policies.policies() {
            *layers.entry(policy.layer).or_default() += 1;
        }
        let view = |(layer, policies): (Layer, usize)| LayerView { layer: layer.name().to_owned(), policies };
        let mut hints: Vec<String> = problems.iter().filter_map(|problem| problem.hint.clone()).collect();
        hints.sort();
        hints.dedup();
        Self {
            files,
            policies: policies.len(),
            layers: layers.into_iter().map(view).collect(),
            problems: problems.iter().map(ToString::to_string).collect(),
            hints,
        }
    }
}

/// The tests of one file of policies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tested {
    /// The file, or the pack.
    pub policies: String,
    /// What came of each case.
    pub cases: Vec<CaseView>,
}

/// What came of a case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaseView {
    /// Its name.
    pub name: String,
    /// Why it failed; none if it passed.
    pub failure: Option<String>,
}

/// A document of another toolkit as policies of ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    /// The policies, as a file; empty where there is a problem.
    pub cedar: String,
    /// How many there are.
    pub policies: usize,
    /// What was left out although it is well-formed.
    pub notes: Vec<String>,
    /// What cannot be taken over, with its line and what to write instead.
    pub problems: Vec<Problem>,
}

/// Reads a document of the Agent Governance Toolkit; `agents` are those that it is to be about instead of its own.
///
/// # Errors
/// When the file cannot be read.
pub fn import(file: &Path, agents: &[AgentRef]) -> Result<Imported, Failure> {
    let refused = |problems| Imported { cedar: String::new(), policies: 0, notes: Vec::new(), problems };
    let read = match agt::read(file, &text(file)?, agents) {
        Ok(read) => read,
        Err(problems) => return Ok(refused(problems)),
    };
    let cedar = read.toolkit.cedar();
    let source = PolicySource { layer: Layer::Org, team: None, file: file.to_owned(), text: cedar.clone() };
    Ok(match PolicySet::load(&[source]) {
        Ok(set) => Imported { cedar, policies: set.len(), notes: read.notes, problems: Vec::new() },
        Err(problems) => refused(problems),
    })
}

/// Checks the files in a layer of their own beside the pack, or what lies in the manifests directory. Where no layer is
/// told, it is the repository's in a directory of its name, and else the organisation's.
///
/// # Errors
/// When a file cannot be read.
pub fn check(home: &Home, paths: &[PathBuf], layer: Option<Layer>) -> Result<Checked, Failure> {
    if paths.is_empty() {
        let files = Registry::read(home);
        let policies = files.policies.policies();
        let own = policies.iter().filter(|policy| policy.layer != Layer::Default);
        let own: BTreeSet<&Path> = own.map(|policy| policy.origin.file.as_path()).collect();
        return Ok(Checked::of(own.len(), &files.policies, &files.problems));
    }
    let pack = Registry::read(home).config.policy_pack;
    let mut sources = vec![PolicySource::pack(pack)];
    for file in files(paths)? {
        let (text, layer) = (text(&file)?, layer.unwrap_or_else(|| usual_layer(&file)));
        sources.push(PolicySource { layer, team: None, file, text });
    }
    let files = sources.len() - 1;
    Ok(match PolicySet::load(&sources) {
        Ok(set) => Checked::of(files, &set, &[]),
        Err(problems) => Checked::of(files, &PolicySet::default(), &problems),
    })
}

/// Whose a file is by where it lies.
fn usual_layer(file: &Path) -> Layer {
    let whole = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let directory = whole.parent().and_then(Path::file_name);
    if directory.is_some_and(|name| name == own::DIRECTORY) { Layer::Repository } else { Layer::Org }
}

/// Runs the tests of the files, each `tests/NAME.json` beside its `NAME.cedar`; without files those of the packs.
///
/// # Errors
/// When policies or cases cannot be read, or a file has none.
pub fn test(paths: &[PathBuf]) -> Result<Vec<Tested>, Failure> {
    if paths.is_empty() {
        let each = |pack: Pack| tried(pack.to_string(), pack.text(), pack.cases());
        return Pack::ALL.into_iter().map(each).collect();
    }
    let each = |file: PathBuf| {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let cases = file.with_file_name("tests").join(format!("{name}.json"));
        tried(file.display().to_string(), &text(&file)?, &text(&cases)?)
    };
    files(paths)?.into_iter().map(each).collect()
}

fn tried(policies: String, text: &str, cases: &str) -> Result<Tested, Failure> {
    let tried = cases::run(text, cases)
        .map_err(|problem| Failure::new(Code::ConfigInvalid, format!("{policies}: {problem}")))?;
    let view = |Tried { name, failure }| CaseView { name, failure };
    Ok(Tested { policies, cases: tried.into_iter().map(view).collect() })
}

/// The policy files among these and directly in them.
fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let entries = fs::read_dir(path).map_err(|error| unreadable(path, &error))?;
        let mut found: Vec<PathBuf> =
            entries.flatten().map(|entry| entry.path()).filter(|path| is_policy(path)).collect();
        if found.is_empty() {
            let message = format!("`{}` holds no policies", path.display());
            return Err(Failure::new(Code::Usage, message).hint("their names end in .cedar"));
        }
        found.sort();
        files.append(&mut found);
    }
    Ok(files)
}

fn text(file: &Path) -> Result<String, Failure> {
    let size = fs::metadata(file).map_err(|error| unreadable(file, &error))?.len();
    if size > MAX_FILE_BYTES {
        let message = format!("`{}` is larger than {MAX_FILE_BYTES} bytes", file.display());
        return Err(Failure::new(Code::Usage, message));
    }
    fs::read_to_string(file).map_err(|error| unreadable(file, &error))
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Code::Usage, format!("`{}` cannot be read: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_repositorys_policies_are_checked_as_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::rooted(&dir.path().join("home"));
        let own = dir.path().join(own::DIRECTORY);
        fs::create_dir(&own).unwrap();
        let file = own.join("a.cedar");
        fs::write(&file, "@id(\"no\") forbid (principal, action == Action::\"mcp\", resource);").unwrap();
        let checked = check(&home, std::slice::from_ref(&own), None).unwrap();
        let layers: Vec<&str> = checked.layers.iter().map(|layer| layer.layer.as_str()).collect();
        assert_eq!((checked.files, layers, checked.hints), (1, vec!["default", "repository"], vec![]));
        fs::write(&file, "\n@id(\"all\") permit (principal, action, resource);").unwrap();
        let checked = check(&home, std::slice::from_ref(&file), None).unwrap();
        let told = format!("{}:2:1: all: a policy of the repository layer can only forbid", file.display());
        assert_eq!((checked.problems, checked.layers), (vec![told], vec![]));
        assert!(checked.hints[0].starts_with("write a `forbid`"), "{:?}", checked.hints);
        let elsewhere = check(&home, &[file], Some(Layer::Org)).unwrap();
        assert_eq!(elsewhere.problems, Vec::<String>::new());
    }
}
