//! All files together: find them, read them, check what spans files, digest them. Bounded in files, size and depth.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::core::canonical;
use crate::core::manifest::{Agent, TokenBudget};
use crate::core::policy::{Layer, Pack, PolicySet, PolicySource};
use crate::core::principal::AgentRef;
use crate::core::problem::Problem;
use crate::sys::paths::Home;

use super::config::{Config, PriceOverride};
use super::fields::Kind;
use super::files::{File, is_policy, load_files, read_text, unreadable, whole_file};
use super::manifest::{Body, Document};
use super::remote::{Remote, kept};
use super::source::Source;
use super::{Acs, Origin, Snapshot, acs, authority, chain, config_file, labelled, manifest};

/// Where the user's own policies are, below the directory of manifests.
const USER: &str = "user";

/// Reads everything. With problems the rest of the snapshot must not come into force.
pub(super) fn load(home: &Home) -> Snapshot {
    load_with(home, None)
}

/// As [`load`], as if one more file were there.
pub(super) fn load_with(home: &Home, more: Option<(&Path, &str)>) -> Snapshot {
    let mut machine = Machine::read(home);
    machine.files.extend(more.map(|(path, text)| (path.to_owned(), text.to_owned())));
    assemble(&machine, machine.remote(home).as_ref())
}

/// As [`load`], as if the manifests lay elsewhere, all of them, or another pack were chosen.
pub(super) fn load_other(home: &Home, root: Option<&Path>, pack: Option<Pack>) -> Snapshot {
    let mut machine = Machine::read_at(home, root.map_or_else(|| home.manifests_dir(), Path::to_owned));
    machine.config.policy_pack = pack.unwrap_or(machine.config.policy_pack);
    if root.is_some() {
        machine.config.registry = None;
    }
    assemble(&machine, machine.remote(home).as_ref())
}

/// What lies on this machine: the configuration, and files of manifests and policies.
#[derive(Debug, Clone)]
pub(super) struct Machine {
    pub(super) config: Config,
    root: PathBuf,
    files: BTreeMap<PathBuf, String>,
    part: Part,
    acs: Option<Acs>,
    acs_files: acs::Files,
    /// What is wrong with files of manifests and policies that could not be read.
    unread: Vec<Problem>,
    problems: Vec<Problem>,
}

/// What of a machine's files counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Whole,
    /// What a registry leaves to every machine: policies of the user's own layer, and the labels that they look at.
    OwnPolicies,
}

impl Machine {
    /// Reads it; what is wrong with it is found again in what is assembled of it.
    pub(super) fn read(home: &Home) -> Self {
        Self::read_at(home, home.manifests_dir())
    }

    fn read_at(home: &Home, root: PathBuf) -> Self {
        let (mut problems, mut unread) = (Vec::new(), Vec::new());
        let config = load_config(home, &mut problems);
        let mut files = load_files(&root, &mut unread);
        let (acs, acs_files) = load_acs(home, (&config, &root), &mut files, &mut problems);
        Self { config, root, files, part: Part::Whole, acs, acs_files, unread, problems }
    }

    /// A machine without files of its own.
    pub(super) fn bare(config: Config) -> Self {
        let (root, files, acs_files) = (PathBuf::new(), BTreeMap::new(), acs::Files::new());
        let (unread, problems) = (Vec::new(), Vec::new());
        Self { config, root, files, part: Part::Whole, acs: None, acs_files, unread, problems }
    }

    /// The same with nothing but the user's own policies, and the labels that they look at.
    pub(super) fn own_policies(&self) -> Self {
        let mut own = Self { part: Part::OwnPolicies, ..self.clone() };
        own.files.retain(|path, _| layer(path.strip_prefix(&self.root).unwrap_or(path)).0 == Layer::User);
        // One with the directory itself may hide what lies below it.
        let is_others = |below: &Path| below != Path::new("") && !below.starts_with(USER);
        own.unread.retain(|problem| !problem.file.strip_prefix(&self.root).is_ok_and(is_others));
        own
    }

    /// The registry's part, where the configuration names one.
    pub(super) fn remote(&self, home: &Home) -> Option<Remote> {
        self.config.registry.as_ref().map(|source| kept::load(home, source))
    }

    fn files<'m>(&'m self) -> impl Iterator<Item = File<'m>> {
        let below = |path: &'m PathBuf| path.strip_prefix(&self.root).unwrap_or(path);
        self.files.iter().map(move |(path, text)| File {
            below: below(path),
            shown: path.clone(),
            text,
            commit: None,
        })
    }
}

/// `config.toml`, with newer list prices.
pub(super) fn load_config(home: &Home, problems: &mut Vec<Problem>) -> Config {
    let mut config = read_config(&home.config_file(), problems);
    config.list_prices = load_prices(&home.prices_file(), problems);
    config
}

fn remote_files(remote: &Remote) -> Vec<File<'_>> {
    let Some((in_force, files)) = &remote.kept else { return Vec::new() };
    let mut all = Vec::with_capacity(files.0.len());
    for (below, text) in &files.0 {
        let shown = remote.source.shown(below, &in_force.commit);
        all.push(File { below, shown, text, commit: Some(&in_force.commit) });
    }
    all
}

/// One set of what lies here and what came from the registry. With problems it must not come into force.
pub(super) fn assemble(machine: &Machine, remote: Option<&Remote>) -> Snapshot {
    let mut problems: Vec<Problem> = machine.problems.iter().chain(&machine.unread).cloned().collect();
    problems.extend(remote.and_then(|remote| remote.problem.clone()));
    let source = remote.map(|remote| &remote.source);
    let mut documents = Vec::new();
    let mut origins = BTreeMap::new();
    let mut layers = BTreeMap::new();
    let mut sources = vec![PolicySource::pack(machine.config.policy_pack)];
    for file in machine.files().chain(remote.into_iter().flat_map(remote_files)) {
        let (layer, team) = layer(file.below);
        if is_policy(file.below) {
            problems.extend(source.and_then(|source| authority::of_policies(source, &file, layer)));
            sources.push(PolicySource { layer, team, file: file.shown, text: file.text.to_owned() });
        } else {
            let mut read = manifest::read(&file.shown, file.text, &mut problems);
            if file.commit.is_none() && machine.part == Part::OwnPolicies {
                read.retain(|document| document.kind == Kind::Policy);
            }
            let objections =
                source.into_iter().flat_map(|source| authority::of_documents(source, &file, layer, &read));
            problems.extend(objections);
            origins.extend(origins_of(&read, &file, source));
            layers.insert(file.shown, (layer, team));
            documents.extend(read);
        }
    }
    let layer_of = |file: &Path| layers.get(file).cloned().unwrap_or((Layer::User, None));
    let labels = labelled::collect(&documents, layer_of, &mut problems);
    let policies = PolicySet::load_with(&sources, labels).unwrap_or_else(|found| {
        problems.extend(found);
        PolicySet::default()
    });
    check_duplicates(&documents, layer_of, &mut problems);
    check_budgets(&documents, &mut problems);
    chain::check(&documents, &mut problems);
    problems.sort();
    problems.dedup();
    let (agents, budgets) = bodies(documents);
    let config = machine.config.clone();
    let digest = digest(config.policy_pack, machine, remote);
    let registry = remote.and_then(|remote| remote.kept.as_ref()).map(|(in_force, _)| in_force.clone());
    Snapshot {
        config,
        agents,
        budgets,
        policies,
        acs: machine.acs.clone(),
        origins,
        digest,
        registry,
        problems,
    }
}

/// The ACS manifest, if one is configured. A directory of its own below the manifests belongs to it alone, also where
/// they lie elsewhere.
fn load_acs(
    home: &Home,
    (config, lie_at): (&Config, &Path),
    files: &mut BTreeMap<PathBuf, String>,
    problems: &mut Vec<Problem>,
) -> (Option<Acs>, acs::Files) {
    let Some(file) = acs_file(home, config) else { return Default::default() };
    let (root, dir) = (home.manifests_dir(), file.parent().unwrap_or(&file));
    if dir == root {
        let message = "lies among the manifests of agents: it needs a directory of its own".to_owned();
        problems.push(whole_file(&file, message));
        return Default::default();
    }
    if let Ok(below) = dir.strip_prefix(&root) {
        let its = lie_at.join(below);
        files.retain(|path, _| !path.starts_with(&its));
    }
    acs::load(&file, problems)
}

/// Where the configured ACS manifest lies.
pub(super) fn acs_file(home: &Home, config: &Config) -> Option<PathBuf> {
    let written = config.acs_manifest.as_ref()?;
    let of_config = home.config_file();
    Some(of_config.parent().unwrap_or(&of_config).join(written))
}

/// Whose policies lie in a file below the manifests directory: a team's below `teams/<namespace>/`, the user's own below
/// `user/`, the organisation's anywhere else.
fn layer(path: &Path) -> (Layer, Option<String>) {
    let mut names = path.components().map(|part| part.as_os_str().to_string_lossy());
    match (names.next().as_deref(), names.next(), names.next()) {
        (Some("teams"), Some(team), Some(_)) => (Layer::Team, Some(team.into_owned())),
        (Some(USER), Some(_), _) => (Layer::User, None),
        _ => (Layer::Org, None),
    }
}

fn read_config(path: &Path, problems: &mut Vec<Problem>) -> Config {
    match read_text(path) {
        Ok(text) => config_file::read(path, &text, problems),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Config::default(),
        Err(error) => {
            problems.push(unreadable(path, &error));
            Config::default()
        }
    }
}

fn load_prices(path: &Path, problems: &mut Vec<Problem>) -> BTreeMap<String, PriceOverride> {
    match read_text(path) {
        Ok(text) => config_file::read_prices(path, &text, problems),
        Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
        Err(error) => {
            problems.push(unreadable(path, &error));
            BTreeMap::new()
        }
    }
}

/// Two documents of one kind and name: both cannot be in force. Nothing refers to a Policy document, so that each layer
/// has names of its own, and nobody takes one of those above.
fn check_duplicates(
    documents: &[Document],
    layer_of: impl Fn(&Path) -> (Layer, Option<String>),
    problems: &mut Vec<Problem>,
) {
    let mut seen: BTreeMap<(&str, &str, &str, _), &Document> = BTreeMap::new();
    for document in documents {
        let layer = (document.kind == Kind::Policy).then(|| layer_of(&document.file));
        let key = (document.kind.name(), document.namespace.as_str(), document.name.as_str(), layer);
        if let Some(first) = seen.get(&key) {
            let message = format!(
                "{} `{}` of namespace `{}` is already declared in `{}:{}`",
                key.0,
                key.2,
                key.1,
                first.file.display(),
                first.at.line
            );
            problems.push(document.problem("metadata.name", message));
        } else {
            seen.insert(key, document);
        }
    }
}

/// Every agent's budget must be declared; one that is declared with problems of its own is not reported twice.
fn check_budgets(documents: &[Document], problems: &mut Vec<Problem>) {
    let declared = |namespace: &str, name: &str| {
        documents.iter().any(|document| {
            document.kind == Kind::TokenBudget && document.namespace == namespace && document.name == name
        })
    };
    for document in documents {
        let Some(Body::Agent { agent, budget_at }) = &document.body else { continue };
        if !declared(&document.namespace, &agent.budget) {
            let message = format!(
                "no TokenBudget `{}` is declared in namespace `{}`",
                agent.budget, document.namespace
            );
            let place = Document { at: *budget_at, ..document.clone() };
            problems.push(place.problem("spec.budget", message));
        }
    }
}

/// Where each agent of a file is declared.
fn origins_of(
    documents: &[Document],
    file: &File<'_>,
    source: Option<&Source>,
) -> BTreeMap<AgentRef, Origin> {
    let agents = documents.iter().filter_map(|document| match &document.body {
        Some(Body::Agent { agent, .. }) => Some((agent, document)),
        _ => None,
    });
    let path = match (file.commit, source) {
        (Some(_), Some(source)) => source.path.join(file.below),
        _ => file.shown.clone(),
    };
    let origin = |agent: &Agent, document: &Document| Origin {
        file: path.clone(),
        line: document.at.line,
        // A manifest is text and numbers, so it has a canonical form.
        digest: canonical::digest(agent).map(hex::encode).unwrap_or_default(),
        commit: file.commit.map(str::to_owned),
        given: document.given.clone(),
    };
    agents.map(|(agent, document)| (agent.reference.clone(), origin(agent, document))).collect()
}

fn bodies(documents: Vec<Document>) -> (Vec<Agent>, Vec<TokenBudget>) {
    let (mut agents, mut budgets) = (Vec::new(), Vec::new());
    for body in documents.into_iter().filter_map(|document| document.body) {
        match body {
            Body::Agent { agent, .. } => agents.push(*agent),
            Body::Budget { budget, .. } => budgets.push(budget),
            // They are part of the policies.
            Body::Rules(_) => {}
        }
    }
    agents.sort_by(|a, b| by_namespace(&a.reference).cmp(&by_namespace(&b.reference)));
    budgets.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    (agents, budgets)
}

fn by_namespace(reference: &AgentRef) -> (&str, &str) {
    (reference.namespace(), reference.name())
}

/// SHA-256 over the built-in pack and every file, path and content each preceded by its length, those of the ACS manifest
/// among them; then the registry's commit and its files, where there is one.
fn digest(pack: Pack, machine: &Machine, remote: Option<&Remote>) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    part(pack.text().as_bytes());
    for file in machine.files() {
        part(file.below.as_os_str().as_encoded_bytes());
        part(file.text.as_bytes());
    }
    for (path, text) in &machine.acs_files {
        part(path.as_os_str().as_encoded_bytes());
        part(text.as_bytes());
    }
    if let Some((in_force, files)) = remote.and_then(|remote| remote.kept.as_ref()) {
        part(in_force.commit.as_bytes());
        for (path, text) in &files.0 {
            part(path.as_os_str().as_encoded_bytes());
            part(text.as_bytes());
        }
    }
    hash.finalize().into()
}
