//! Label rules: which files, repositories, hosts, models, tools and agents have which labels, classes and roles, and
//! where data is kept. `Policy` documents give them; policies look at them.
//!
//! Invariant: **a layer sees what it and the layers above it give, and nothing of those below.** So whatever is added
//! in a lower layer, the policies above it say what they said before, `unless` and all. Case does not matter, except in
//! names of tools and agents, which are exact everywhere else too.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::super::action::{PathFact, Place, ToolAction, ToolSource};
use super::super::principal::AgentRef;
use super::super::run::Run;
use super::glob::{Case, NameGlob, PairGlob, PathGlob, names};
use super::index::{Index, Wanted};
use super::{Layer, Origin};

/// Where data is kept of which nobody says so.
pub const UNKNOWN: &str = "unknown";

/// What a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// Files: labels.
    Path,
    /// Repositories: labels.
    Repository,
    /// Hosts: labels.
    Host,
    /// Models: labels.
    Model,
    /// Tools: classes.
    Tool,
    /// Agents: roles.
    Agent,
    /// Hosts: where they keep data.
    HostResidency,
    /// Models: where they keep data.
    ModelResidency,
}

impl Subject {
    /// As people read it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Repository => "repository",
            Self::Host => "host",
            Self::Model => "model",
            Self::Tool => "tool",
            Self::Agent => "agent",
            Self::HostResidency => "residency of host",
            Self::ModelResidency => "residency of model",
        }
    }
}

/// A rule: what matches has the words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    subject: Subject,
    /// As it is written.
    text: String,
    pattern: Pattern,
    words: Vec<String>,
    origin: Option<Origin>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    Path(PathGlob),
    Remote(PathGlob),
    Name(NameGlob),
    Pair(PairGlob),
}

/// What is compared with what: a rule about one form of a subject is never held against another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Form {
    /// Within the repository.
    Relative,
    /// From the root.
    Absolute,
    /// `host/path` of a remote.
    Remote,
    Name,
    Pair,
}

impl Pattern {
    const fn form(&self) -> Form {
        match self {
            Self::Path(glob) if glob.is_absolute() => Form::Absolute,
            Self::Path(_) => Form::Relative,
            Self::Remote(_) => Form::Remote,
            Self::Name(_) => Form::Name,
            Self::Pair(_) => Form::Pair,
        }
    }

    fn texts(&self) -> Vec<&str> {
        match self {
            Self::Path(glob) | Self::Remote(glob) => glob.texts(),
            Self::Name(glob) => vec![glob.text()],
            Self::Pair(glob) => glob.texts().to_vec(),
        }
    }

    fn matches(&self, names: &[&str]) -> bool {
        match (self, names) {
            (Self::Path(glob) | Self::Remote(glob), names) => glob.matches(names),
            (Self::Name(glob), [name]) => glob.matches(name),
            (Self::Pair(glob), [first, second]) => glob.matches(first, second),
            (Self::Name(_) | Self::Pair(_), _) => false,
        }
    }
}

impl Rule {
    /// Reads a pattern; `home` is what `~` stands for.
    ///
    /// # Errors
    /// What is wrong with the pattern or a word, as a fragment.
    pub fn new(
        subject: Subject,
        pattern: &str,
        words: Vec<String>,
        home: Option<&Path>,
    ) -> Result<Self, String> {
        if let Some(objection) = words.iter().find_map(|word| objection_to_word(word)) {
            return Err(objection);
        }
        let text = pattern.to_owned();
        let pattern = match subject {
            Subject::Path => Pattern::Path(PathGlob::new(&at_home(pattern, home)?)?),
            Subject::Repository if pattern.starts_with(['/', '~']) => {
                Pattern::Path(PathGlob::new(&at_home(pattern, home)?)?)
            }
            Subject::Repository => Pattern::Remote(PathGlob::new(pattern)?),
            Subject::Host | Subject::HostResidency => Pattern::Name(host_pattern(pattern)?),
            Subject::Model | Subject::ModelResidency => {
                Pattern::Pair(PairGlob::new(pattern, '/', Case::Ignored)?)
            }
            Subject::Tool if pattern.contains('/') => {
                Pattern::Pair(PairGlob::new(pattern, '/', Case::Matters)?)
            }
            Subject::Tool => Pattern::Name(NameGlob::new(pattern, Case::Matters)?),
            Subject::Agent => Pattern::Pair(PairGlob::new(pattern, '@', Case::Matters)?),
        };
        Ok(Self { subject, text, pattern, words, origin: None })
    }

    /// The same, written there.
    #[must_use]
    pub fn at(self, origin: Origin) -> Self {
        Self { origin: Some(origin), ..self }
    }
}

/// Why a text cannot be a label, a class or a role; none if it can.
pub fn objection_to_word(text: &str) -> Option<String> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let begins = text.starts_with(|first: char| first.is_ascii_lowercase());
    if text.len() > 63 || !begins || !text.bytes().all(plain) {
        return Some(format!("`{text}` is not a label (lower-case letters, digits and `-`, at most 63)"));
    }
    (text == UNKNOWN).then(|| format!("`{UNKNOWN}` is what has no rule"))
}

fn at_home(pattern: &str, home: Option<&Path>) -> Result<String, String> {
    let Some(rest) = pattern.strip_prefix('~') else { return Ok(pattern.to_owned()) };
    match (home.and_then(Path::to_str), rest.is_empty() || rest.starts_with('/')) {
        (Some(home), true) => Ok(format!("{}{rest}", home.trim_end_matches('/'))),
        (None, true) => Err("`~` means nothing without a home directory".into()),
        (_, false) => Err("another user's home is written out".into()),
    }
}

/// The rules of one layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerRules {
    /// Who gives them.
    pub layer: Layer,
    /// Whose agents see them, in the team's layer.
    pub team: Option<String>,
    /// They.
    pub rules: Vec<Rule>,
}

/// All rules, in order of layer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels(Vec<Given>);

/// The rules of one layer, and where to find them.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Given {
    of: LayerRules,
    found: BTreeMap<(Subject, Form), Index>,
}

impl Given {
    fn new(of: LayerRules) -> Self {
        let mut found: BTreeMap<(Subject, Form), Index> = BTreeMap::new();
        for (at, rule) in of.rules.iter().enumerate() {
            let index = found.entry((rule.subject, rule.pattern.form())).or_default();
            index.add(&rule.pattern.texts(), at);
        }
        Self { of, found }
    }
}

impl Labels {
    /// Puts them in order.
    pub fn new(mut layers: Vec<LayerRules>) -> Self {
        layers.retain(|layer| !layer.rules.is_empty());
        layers.sort_by_key(|layer| layer.layer);
        Self(layers.into_iter().map(Given::new).collect())
    }

    /// Every rule, described.
    pub fn rules(&self) -> impl Iterator<Item = DescribedRule<'_>> {
        self.0.iter().map(|given| &given.of).flat_map(|given| {
            given.rules.iter().map(|rule| DescribedRule {
                subject: rule.subject,
                pattern: &rule.text,
                words: &rule.words,
                layer: given.layer,
                team: given.team.as_deref(),
                origin: rule.origin.as_ref(),
            })
        })
    }

    /// What the layers see, from the highest, for agents of a team: each view with the layers whose view it is.
    pub(super) fn views(&self, team: &str) -> Vec<View<'_>> {
        let mut views = vec![View { from: Layer::Default, before: None, given: Vec::new() }];
        for given in self.0.iter().filter(|given| given.of.team.as_deref().is_none_or(|of| of == team)) {
            let layer = given.of.layer;
            let Some(last) = views.last_mut() else { continue };
            // What the organisation gives the pack that it chose sees too.
            if layer <= Layer::Org || layer == last.from {
                last.given.push(given);
            } else {
                last.before = Some(layer);
                let all = last.given.iter().copied().chain([given]).collect();
                views.push(View { from: layer, before: None, given: all });
            }
        }
        views
    }

    /// What is seen below all layers: all of it.
    pub(super) fn below(&self, team: &str) -> View<'_> {
        let given = self.views(team).pop().map_or_else(Vec::new, |view| view.given);
        View { from: Layer::Repository, before: None, given }
    }
}

/// A rule, described.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DescribedRule<'r> {
    /// What it is about.
    pub subject: Subject,
    /// What has the words.
    pub pattern: &'r str,
    /// The labels, classes, roles or places.
    pub words: &'r [String],
    /// Who gives it.
    pub layer: Layer,
    /// Whose agents it is about; none for everybody's.
    pub team: Option<&'r str>,
    /// Where it is written.
    pub origin: Option<&'r Origin>,
}

/// Layers that see the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Seen {
    from: Layer,
    before: Option<Layer>,
}

/// What policies of some layers see.
#[derive(Debug, Clone)]
pub(super) struct View<'l> {
    /// The first layer whose view it is.
    from: Layer,
    /// The first after it that sees more.
    before: Option<Layer>,
    given: Vec<&'l Given>,
}

impl<'l> View<'l> {
    /// Whether it is that of the highest layers.
    pub(super) fn is_first(&self) -> bool {
        self.from == Layer::Default
    }

    /// Whose it is, whatever is seen.
    pub(super) fn seen(&self) -> Seen {
        Seen { from: self.from, before: self.before }
    }

    /// Whether it is that of a layer.
    pub(super) fn is_of(&self, layer: Layer) -> bool {
        self.from <= layer && self.before.is_none_or(|before| layer < before)
    }

    fn words(&self, subject: Subject, form: Form, names: &[&str]) -> BTreeSet<&'l str> {
        let mut words = BTreeSet::new();
        let mut wanted = None;
        for given in &self.given {
            let Some(index) = given.found.get(&(subject, form)) else { continue };
            let wanted = &*wanted.get_or_insert_with(|| Wanted::new(names));
            let rules = index.candidates(wanted).filter_map(|at| given.of.rules.get(at));
            let applying = rules.filter(|rule| rule.pattern.matches(names));
            words.extend(applying.flat_map(|rule| rule.words.iter().map(String::as_str)));
        }
        words
    }

    fn has(&self, subject: Subject, form: Form) -> bool {
        self.given.iter().any(|given| given.found.contains_key(&(subject, form)))
    }

    fn of_path(&self, subject: Subject, form: Form, path: &Path) -> BTreeSet<&'l str> {
        if !self.has(subject, form) {
            return BTreeSet::new();
        }
        self.words(subject, form, &names(&path.to_string_lossy()))
    }

    /// The labels of a file: by its path, and in the run's repository by its path there.
    pub(super) fn path(&self, fact: &PathFact, run: &Run) -> BTreeSet<&'l str> {
        let mut words = match in_repository(fact, run) {
            Some(relative) => self.of_path(Subject::Path, Form::Relative, relative),
            None => BTreeSet::new(),
        };
        if fact.path.is_absolute() {
            words.extend(self.of_path(Subject::Path, Form::Absolute, &fact.path));
        }
        words
    }

    /// The labels of the run's repository: by its path and by its remote.
    pub(super) fn repository(&self, run: &Run) -> BTreeSet<&'l str> {
        let mut words = self.of_path(Subject::Repository, Form::Absolute, &run.repository);
        if self.has(Subject::Repository, Form::Remote)
            && let Some(remote) = run.remote.as_deref().and_then(remote)
        {
            words.extend(self.of_path(Subject::Repository, Form::Remote, &remote));
        }
        words
    }

    /// The labels of a host, which must be as [`host`] writes it.
    pub(super) fn host(&self, host: &str) -> BTreeSet<&'l str> {
        self.words(Subject::Host, Form::Name, &[host])
    }

    /// Where a host keeps data.
    pub(super) fn host_residency(&self, host: &str) -> BTreeSet<&'l str> {
        or_unknown(self.words(Subject::HostResidency, Form::Name, &[host]))
    }

    /// The labels of a model.
    pub(super) fn model(&self, provider: &str, model: &str) -> BTreeSet<&'l str> {
        self.words(Subject::Model, Form::Pair, &[provider, model])
    }

    /// Where a model keeps data.
    pub(super) fn model_residency(&self, provider: &str, model: &str) -> BTreeSet<&'l str> {
        or_unknown(self.words(Subject::ModelResidency, Form::Pair, &[provider, model]))
    }

    /// The classes of a tool; one of the agent's own has that of its kind too.
    pub(super) fn tool(&self, tool: &ToolAction) -> BTreeSet<&'l str> {
        match &tool.source {
            ToolSource::Mcp(server) => self.words(Subject::Tool, Form::Pair, &[server, &tool.tool]),
            ToolSource::Builtin(class) => {
                let mut classes = self.words(Subject::Tool, Form::Name, &[&tool.tool]);
                classes.insert(class.name());
                classes
            }
            ToolSource::Foreign => BTreeSet::new(),
        }
    }

    /// The roles of an agent.
    pub(super) fn roles(&self, agent: &AgentRef) -> BTreeSet<&'l str> {
        self.words(Subject::Agent, Form::Pair, &[agent.name(), agent.namespace()])
    }
}

fn or_unknown(words: BTreeSet<&str>) -> BTreeSet<&str> {
    if words.is_empty() { BTreeSet::from([UNKNOWN]) } else { words }
}

/// The path within the run's repository, seen from its worktree or from the main checkout.
fn in_repository<'p>(fact: &'p PathFact, run: &Run) -> Option<&'p Path> {
    let path = fact.path.as_path();
    let known = path.strip_prefix(&run.worktree).or_else(|_| path.strip_prefix(&run.repository));
    known.ok().or_else(|| {
        // The directory of worktrees may be known under a name that is a link; a worktree's own name is like no other.
        let own = run.worktree.file_name().filter(|_| fact.place == Place::Worktree)?;
        let mut parts = path.components();
        parts.find(|part| part.as_os_str() == own).map(|_| parts.as_path())
    })
}

/// A host in the one spelling: lower case, without a trailing dot, international names in ASCII, addresses as numbers,
/// those with colons in brackets.
pub(super) fn host(text: &str) -> String {
    let text = text.trim_end_matches('.');
    address(text).unwrap_or_else(|| {
        url::Host::parse(text).map_or_else(|_| text.to_ascii_lowercase(), |host| host.to_string())
    })
}

/// An address of colons, with brackets.
fn address(text: &str) -> Option<String> {
    url::Host::parse(&format!("[{text}]")).ok().map(|host| host.to_string())
}

/// The same for a pattern, name by name. One that no host could match is refused.
fn host_pattern(pattern: &str) -> Result<NameGlob, String> {
    let plain = pattern.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(pattern);
    if let Some(address) = address(plain) {
        return Ok(NameGlob::exactly(address));
    }
    let is_wild = |name: &str| name.contains(['*', '?']);
    let glob = NameGlob::new(pattern, Case::Ignored)?;
    if pattern.contains([':', '/', '@']) {
        return Err(format!(
            "`{pattern}` is no host (without scheme and port; an address of colons without `*`)"
        ));
    }
    if !is_wild(pattern) {
        return NameGlob::new(&host(pattern), Case::Ignored);
    }
    let name = |name: &str| match (name.is_ascii(), is_wild(name)) {
        (true, _) => Ok(name.to_ascii_lowercase()),
        (false, false) => Ok(host(name)),
        (false, true) => Err(format!("`{name}` has `*` or `?` beside letters that hosts write as `xn--…`")),
    };
    let names: Vec<String> =
        glob.text().trim_end_matches('.').split('.').map(name).collect::<Result<_, String>>()?;
    NameGlob::new(&names.join("."), Case::Ignored)
}

/// A remote's address as `host/path`, whatever it is fetched with; none for a directory of this machine.
fn remote(address: &str) -> Option<PathBuf> {
    let (authority, path) = match address.split_once("://") {
        Some((_, rest)) => rest.split_once('/')?,
        None => address.split_once(':').filter(|(before, _)| !before.contains('/'))?,
    };
    let named = authority.rsplit_once('@').map_or(authority, |(_, named)| named);
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let named = named.rsplit_once(':').filter(|(_, port)| is_port(port)).map_or(named, |(named, _)| named);
    let path = path.trim_matches('/');
    let path = path.strip_suffix(".git").unwrap_or(path);
    (!named.is_empty() && !path.is_empty()).then(|| Path::new(&host(named)).join(path))
}

#[cfg(test)]
mod tests;
