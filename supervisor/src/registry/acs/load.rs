//! Reading a manifest: it, its parents and what its policies name, all below one directory; nothing is ever fetched.
//!
//! The core's own loader could fetch parents from URLs, so it is not used: documents are read here, with the strict
//! reader of all our files, and handed over as values.

use std::collections::BTreeMap;
use std::collections::hash_map::Entry as Slot;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use agent_control_specification_core as spec;
use serde_json::{Map, Value as Json};
use sha2::{Digest as _, Sha256};

use super::super::files::{is_policy, read_text, unreadable, whole_file};
use super::super::syntax;
use super::super::tree::{At, Entry, Faults, Field, Node, Value};
use super::cedar::Cedar;
use super::engines::{Engines, Key, NoAnnotators};
use super::fault::{Fault, Source};
use super::rego::{Data, Rego};
use super::{Acs, Loaded, strict};
use crate::core::problem::Problem;

/// The longest chain of parents.
const DEPTH_MAX: usize = 16;
/// The most files of one manifest.
const FILES_MAX: usize = 1_000;

/// Everything that was read, by its path: what is in force changes when one of them does.
pub(in crate::registry) type Files = BTreeMap<PathBuf, String>;

/// Loads a manifest. With problems there is none.
pub(in crate::registry) fn load(file: &Path, problems: &mut Vec<Problem>) -> (Option<Acs>, Files) {
    let (parts, files) = parts(file, problems);
    let Some((manifest, engines)) = parts else { return (None, files) };
    let bound = manifest.intervention_points.iter().map(|(point, config)| (*point, config.policy.id.clone()));
    let bound = bound.collect();
    let timeout_ms = manifest.approval.as_ref().and_then(|approval| approval.timeout_seconds);
    let timeout_ms = timeout_ms.map(|seconds| seconds.saturating_mul(1000));
    match spec::Runtime::new(manifest, Arc::new(NoAnnotators), Arc::new(engines)) {
        Ok(runtime) => {
            let (file, made_of) = (file.to_owned(), files.keys().cloned().collect());
            let digest = digest(&files);
            (Some(Acs(Arc::new(Loaded { file, files: made_of, digest, runtime, bound, timeout_ms }))), files)
        }
        Err(error) => {
            problems.push(whole_file(file, error.detail().to_owned()));
            (None, files)
        }
    }
}

fn digest(files: &Files) -> [u8; 32] {
    let each = files.iter().fold(Sha256::new(), |all, (path, text)| {
        all.chain_update(Sha256::digest(path.as_os_str().as_encoded_bytes()))
            .chain_update(Sha256::digest(text))
    });
    each.finalize().into()
}

/// What a runtime is made of, and what was read for it.
pub(super) fn parts(file: &Path, problems: &mut Vec<Problem>) -> (Option<(spec::Manifest, Engines)>, Files) {
    let before = problems.len();
    let root = match file.parent().unwrap_or(file).canonicalize() {
        Ok(root) => root,
        Err(error) => {
            problems.push(unreadable(file, &error));
            return (None, Files::new());
        }
    };
    let path = root.join(file.file_name().unwrap_or_default());
    let mut loader = Loader {
        root,
        file: path.clone(),
        files: Files::new(),
        problems,
        open: Vec::new(),
        read: Vec::new(),
        chain: Vec::new(),
    };
    loader.document(&path);
    let parts = if loader.problems.len() == before { loader.prepare(&path) } else { None };
    let Loader { files, problems, .. } = loader;
    (parts.filter(|_| problems.len() == before), files)
}

struct Loader<'p> {
    root: PathBuf,
    file: PathBuf,
    files: Files,
    problems: &'p mut Vec<Problem>,
    /// The documents that are being read, a child before its parents.
    open: Vec<PathBuf>,
    read: Vec<(PathBuf, Node)>,
    /// Parents before their children.
    chain: Vec<spec::Manifest>,
}

impl Loader<'_> {
    fn document(&mut self, path: &Path) {
        if self.read.iter().any(|(read, _)| read == path) {
            return;
        }
        if self.open.len() >= DEPTH_MAX || self.open.iter().any(|open| open == path) {
            let message = "extends itself, or too long a chain of parents leads to it".to_owned();
            return self.problems.push(whole_file(path, message));
        }
        let Some(text) = self.text(path) else { return };
        let before = self.problems.len();
        let mut faults = Faults::new(path, self.problems);
        let documents = syntax::yaml(&text, &mut faults);
        let [node] = documents.as_slice() else {
            if faults.count() == before {
                self.problems.push(whole_file(path, "is not one document".to_owned()));
            }
            return;
        };
        let parents = strict::check(&Field::document(node), &mut faults);
        self.open.push(path.to_owned());
        for parent in parents {
            if let Some(parent) = self.below(path, Path::new(&parent)) {
                self.document(&parent);
            }
        }
        self.open.pop();
        let mut whole = json(node);
        if let Json::Object(members) = &mut whole {
            members.remove("extends");
        }
        match serde_json::from_value::<spec::Manifest>(whole) {
            Ok(mut manifest) => {
                manifest.resolve_relative_paths(path.parent().unwrap_or(&self.root));
                self.chain.push(manifest);
            }
            // What is strict about it was told already, with its line.
            Err(error) if self.problems.len() == before => {
                self.problems.push(whole_file(path, format!("is not a manifest: {error}")));
            }
            Err(_) => {}
        }
        self.read.push((path.to_owned(), node.clone()));
    }

    /// The text of a file, noted as part of what is in force.
    fn text(&mut self, path: &Path) -> Option<String> {
        if self.files.len() >= FILES_MAX {
            self.problems.push(whole_file(path, format!("is one of more than {FILES_MAX} files")));
            return None;
        }
        match read_text(path) {
            Ok(text) => {
                self.files.insert(path.to_owned(), text.clone());
                Some(text)
            }
            Err(error) => {
                self.problems.push(unreadable(path, &error));
                None
            }
        }
    }

    /// A path as written in a document: where it leads, if that is below the manifest's directory.
    fn below(&mut self, document: &Path, written: &Path) -> Option<PathBuf> {
        let whole = document.parent().unwrap_or(&self.root).join(written);
        match whole.canonicalize() {
            Ok(real) if real.starts_with(&self.root) => Some(real),
            Ok(_) => {
                let message = format!("`{}` leads out of the manifest's directory", written.display());
                self.problems.push(whole_file(document, message));
                None
            }
            Err(error) => {
                self.problems.push(unreadable(&whole, &error));
                None
            }
        }
    }

    fn source(&mut self, path: &str) -> Option<Source> {
        let file = self.below(&self.file.clone(), Path::new(path))?;
        let text = self.text(&file)?;
        Some(Source { file, text })
    }

    fn prepare(&mut self, path: &Path) -> Option<(spec::Manifest, Engines)> {
        let chain = std::mem::take(&mut self.chain);
        let manifest = match spec::Manifest::merge_chain(chain) {
            Ok(manifest) => manifest,
            Err(error) => {
                let problem = self.placed(path, error.detail());
                self.problems.push(problem);
                return None;
            }
        };
        let mut engines = Engines::default();
        for (name, config) in &manifest.policies {
            let bound = manifest.intervention_points.values().map(|point| &point.policy);
            let queries = bound.filter(|policy| policy.id == *name).map(|policy| policy.query.as_deref());
            let queries: Vec<Option<&str>> = queries.collect();
            let faults = match config {
                spec::PolicyConfig::Cedar(_) if queries.iter().any(Option::is_some) => {
                    Err(vec![Fault::whole("a binding's `query` is for policies of type rego")])
                }
                spec::PolicyConfig::Cedar(config) => self.cedar(config, &manifest, &mut engines),
                spec::PolicyConfig::Rego(config) => self.rego(config, &queries, &mut engines),
                _ => Err(vec![Fault::whole("policies of this type are not evaluated here")]),
            };
            for fault in faults.err().unwrap_or_default() {
                let problem = self.blamed(path, name, fault);
                self.problems.push(problem);
            }
        }
        Some((manifest, engines))
    }

    fn cedar(
        &mut self,
        config: &spec::CedarPolicyConfig,
        manifest: &spec::Manifest,
        engines: &mut Engines,
    ) -> Result<(), Vec<Fault>> {
        let mut sources = Vec::new();
        if let Some(text) = &config.policy_set {
            sources.push(Source { file: PathBuf::new(), text: text.clone() });
        }
        let found = config.policy_path.as_deref().map(|path| self.walk(path, is_policy));
        for file in found.into_iter().flatten() {
            sources.extend(self.source(&file.to_string_lossy()));
        }
        let entities = config.entities_path.as_deref().and_then(|path| self.source(path));
        let schema = config.schema_path.as_deref().and_then(|path| self.source(path));
        if sources.is_empty() || entities.is_none() && config.entities_path.is_some() {
            return Err(vec![Fault::whole("has no policies that can be read")]);
        }
        let tools: Map<String, Json> =
            manifest.tools.iter().map(|(name, tool)| (name.clone(), tool.to_projected_value(name))).collect();
        let cedar = Cedar::load(&sources, entities.as_ref(), schema.as_ref(), &tools)?;
        let key = Key::cedar(&config.policy_set, &config.policy_path, &config.entities_path);
        engines.cedar.insert(key, cedar);
        Ok(())
    }

    fn rego(
        &mut self,
        config: &spec::RegoPolicyConfig,
        queries: &[Option<&str>],
        engines: &mut Engines,
    ) -> Result<(), Vec<Fault>> {
        let (mut modules, mut data) = (Vec::new(), Vec::new());
        let found = config.bundle.as_deref().map(|path| self.walk(path, is_module_or_data));
        for file in found.into_iter().flatten() {
            let Some(source) = self.source(&file.to_string_lossy()) else { continue };
            if is_data(&source.file) {
                data.push(Data { at: self.mount(config.bundle.as_deref(), &source.file), source });
            } else {
                modules.push(source);
            }
        }
        for path in paths(config.adapter_config.values()) {
            let Some(source) = self.source(&path) else { continue };
            if is_module(&source.file) {
                modules.push(source);
            } else {
                data.push(Data { at: Vec::new(), source });
            }
        }
        let mut wanted: Vec<&str> =
            queries.iter().filter_map(|query| query.or(config.query.as_deref())).collect();
        if wanted.is_empty() {
            wanted.extend(config.query.as_deref());
        }
        for query in wanted {
            if !is_rule(query) {
                let message = format!("`{query}` is not a rule (`data.PACKAGE.RULE`)");
                return Err(vec![Fault::whole(message)]);
            }
            let key = Key::rego(&config.bundle, |name| config.adapter_config.get(name), query);
            if let Slot::Vacant(free) = engines.rego.entry(key) {
                free.insert(Rego::load(&modules, &data, query)?);
            }
        }
        Ok(())
    }

    /// The files of a directory, or the file itself, in order of path. Hidden ones are left out. What might have been a
    /// policy and is not read is a problem: it could be the one that forbids.
    fn walk(&mut self, path: &str, wanted: fn(&Path) -> bool) -> Vec<PathBuf> {
        let Some(start) = self.below(&self.file.clone(), Path::new(path)) else { return Vec::new() };
        if !start.is_dir() {
            return vec![start];
        }
        let (mut found, mut open) = (Vec::new(), vec![start]);
        while let Some(dir) = open.pop() {
            let entries = match std::fs::read_dir(&dir) {
                Ok(entries) => entries,
                Err(error) => {
                    self.problems.push(unreadable(&dir, &error));
                    continue;
                }
            };
            for entry in entries {
                let (path, kind) = match entry.and_then(|entry| Ok((entry.path(), entry.file_type()?))) {
                    Ok(entry) => entry,
                    Err(error) => {
                        self.problems.push(unreadable(&dir, &error));
                        break;
                    }
                };
                if path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.')) {
                    continue;
                }
                if open.len() + found.len() > FILES_MAX {
                    self.problems.push(whole_file(&dir, format!("holds more than {FILES_MAX} files")));
                    return found;
                }
                if kind.is_dir() {
                    open.push(path);
                } else if wanted(&path) {
                    // Where a link leads out is found when it is read.
                    found.push(path);
                } else if kind.is_symlink() && path.is_dir() {
                    self.problems
                        .push(whole_file(&path, "is a link to a directory, which is not followed".into()));
                }
            }
        }
        found.sort();
        found
    }

    /// Where a file of data in a bundle lies below `data`: as its directories lie below the bundle.
    fn mount(&self, bundle: Option<&str>, file: &Path) -> Vec<String> {
        let base = bundle.and_then(|bundle| self.root.join(bundle).canonicalize().ok());
        let dir = base.and_then(|base| file.parent()?.strip_prefix(base).ok().map(Path::to_path_buf));
        let parts = dir.unwrap_or_default();
        parts.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect()
    }

    /// The core names what it has something against, and not the line.
    fn placed(&self, path: &Path, detail: &str) -> Problem {
        let entries = self.read.iter().flat_map(|(file, node)| {
            ["policies", "intervention_points"].into_iter().flat_map(move |key| {
                node.entry(key)
                    .into_iter()
                    .flat_map(|entry| map(&entry.value))
                    .map(move |entry| (file, entry))
            })
        });
        let is_part = |letter: char| letter.is_alphanumeric() || "_-/.".contains(letter);
        let words: Vec<&str> = detail.split(|letter| !is_part(letter)).collect();
        let named = entries.filter(|(_, entry)| words.contains(&entry.key.as_str()));
        // A policy that is unknown is named by the point that wants it.
        match named.max_by_key(|(_, entry)| entry.key.len()) {
            Some((file, entry)) => problem(file, entry.at, &entry.key, detail),
            None => whole_file(path, detail.to_owned()),
        }
    }

    /// A policy's fault: in its own file, or where the manifest names it.
    fn blamed(&self, path: &Path, name: &str, fault: Fault) -> Problem {
        if let Some(file) = fault.file.filter(|file| !file.as_os_str().is_empty()) {
            return problem(&file, At { line: fault.line, column: 1 }, "", &fault.message);
        }
        let policies = self.read.iter().filter_map(|(file, node)| Some((file, node.entry("policies")?)));
        let entries =
            policies.flat_map(|(file, entry)| map(&entry.value).iter().map(move |entry| (file, entry)));
        match entries.into_iter().find(|(_, entry)| entry.key == name) {
            Some((file, entry)) => problem(file, entry.at, name, &fault.message),
            None => whole_file(path, format!("{name}: {}", fault.message)),
        }
    }
}

fn problem(file: &Path, at: At, field: &str, message: &str) -> Problem {
    Problem {
        file: file.to_owned(),
        line: at.line,
        column: at.column,
        field: field.to_owned(),
        message: message.to_owned(),
        hint: None,
    }
}

fn map(node: &Node) -> &[Entry] {
    match &node.value {
        Value::Map(entries) => entries,
        _ => &[],
    }
}

/// The paths that an adapter's fields name: texts and lists of texts.
fn paths<'v>(values: impl Iterator<Item = &'v Json>) -> Vec<String> {
    let each = |value: &'v Json| match value {
        Json::Array(items) => items.iter().filter_map(Json::as_str).map(str::to_owned).collect(),
        other => other.as_str().map(str::to_owned).into_iter().collect::<Vec<_>>(),
    };
    values.flat_map(each).collect()
}

fn is_rule(query: &str) -> bool {
    let name = |part: &str| {
        let mut bytes = part.bytes();
        bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
            && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    query.strip_prefix("data.").is_some_and(|rest| rest.contains('.') && rest.split('.').all(name))
}

fn is_module(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "rego")
}

fn is_data(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "data.json")
}

fn is_module_or_data(path: &Path) -> bool {
    is_module(path) || is_data(path)
}

/// A document as JSON; scalars without quotes have the type that YAML's core schema gives them.
fn json(node: &Node) -> Json {
    match &node.value {
        Value::Null | Value::Other(_) => Json::Null,
        Value::Text(text) | Value::Integer(text) => Json::from(text.as_str()),
        Value::Plain(text) => match text.as_str() {
            "true" => Json::Bool(true),
            "false" => Json::Bool(false),
            text => text.parse::<serde_json::Number>().map_or_else(|_| Json::from(text), Json::Number),
        },
        Value::List(items) => items.iter().map(json).collect(),
        Value::Map(entries) => {
            Json::Object(entries.iter().map(|entry| (entry.key.clone(), json(&entry.value))).collect())
        }
    }
}
