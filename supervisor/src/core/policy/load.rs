//! From text to policies: parse, validate strictly, check names and layers. All problems of all files are found in one
//! go; with any of them nothing is loaded.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::str::FromStr as _;
use std::sync::Arc;

use cedar_policy::{
    Effect, EntityId, EntityTypeName, EntityUid, Policy, PolicyId, Schema, ValidationError, ValidationMode,
    Validator,
};
use miette::Diagnostic;

use super::super::decision::{Decision, Stage};
use super::super::problem::{Problem, position};
use super::asked::ACTION_NAMES;
use super::attributes::Looks;
use super::labels::Labels;
use super::request::Types;
use super::slice::Slice;
use super::{Layer, Loaded, Meta, Origin, Pack, PolicySet, PolicySource, stage};

/// What policies can speak about.
pub const SCHEMA: &str = include_str!("../../../policies/agentsup.cedarschema");

/// Annotations that mean something; any other is a slip of the pen.
const ANNOTATIONS: [&str; 4] = ["id", "reason", "decision", "owner"];

/// What to write where nothing can be permitted.
const ONLY_FORBIDS: &str = "write a `forbid`, with `unless` for what may go on; what is permitted at all the pack and the \
                            policies of the organisation say";

/// A policy that passed every check of its own.
struct Checked {
    policy: Policy,
    meta: Meta,
}

impl PolicySource {
    /// A pack that agentsup brings.
    pub fn pack(pack: Pack) -> Self {
        let (file, text) = (PathBuf::from(format!("{pack}.cedar")), pack.text().to_owned());
        Self { layer: Layer::Default, team: None, file, text }
    }
}

impl PolicySet {
    /// Loads files of policies, all or none, where nothing has a label. The problems are in order of file and line.
    pub fn load(sources: &[PolicySource]) -> Result<Self, Vec<Problem>> {
        Self::load_with(sources, Labels::default())
    }

    /// As [`PolicySet::load`], with the rules by which things have labels.
    pub fn load_with(sources: &[PolicySource], labels: Labels) -> Result<Self, Vec<Problem>> {
        let schema = schema().map_err(|problem| vec![problem])?;
        let validator = Validator::new(schema.clone());
        let mut problems = Vec::new();
        let mut checked: Vec<Checked> = Vec::new();
        for source in sources {
            for candidate in read(source, &validator, &mut problems) {
                match checked.iter().find(|other| other.policy.id() == candidate.policy.id()) {
                    Some(first) => problems.push(duplicate(&candidate.meta, &first.meta)),
                    None => checked.push(candidate),
                }
            }
        }
        if !problems.is_empty() {
            problems.sort();
            return Err(problems);
        }
        let loaded = assemble(schema, checked, labels);
        loaded.map(|loaded| Self(Some(Arc::new(loaded)))).map_err(|text| vec![embedded(text)])
    }
}

pub(super) fn schema() -> Result<Schema, Problem> {
    let parsed = Schema::from_cedarschema_str(SCHEMA).map_err(|error| embedded(error.to_string()))?;
    Ok(parsed.0)
}

/// A problem with what is built in; tests keep it from ever being seen.
fn embedded(message: String) -> Problem {
    let file = PathBuf::from("agentsup.cedarschema");
    Problem { file, line: 0, column: 0, field: String::new(), message, hint: None }
}

fn duplicate(this: &Meta, first: &Meta) -> Problem {
    Problem {
        file: this.origin.file.clone(),
        line: this.origin.line,
        column: 1,
        field: this.source.clone(),
        message: format!("is already declared in `{}:{}`", first.origin.file.display(), first.origin.line),
        hint: None,
    }
}

/// Parses and checks one file.
fn read(source: &PolicySource, validator: &Validator, problems: &mut Vec<Problem>) -> Vec<Checked> {
    let set = match cedar_policy::PolicySet::from_str(&source.text) {
        Ok(set) => set,
        Err(errors) => {
            problems.extend(errors.iter().map(|error| diagnosed(source, "", 0, error)));
            return Vec::new();
        }
    };
    let lines = Lines::of(source, &set);
    for template in set.templates() {
        let message = "templates are not supported: write the principal and the resource out";
        problems.push(at(source, lines.line(template.id()), "", message));
    }
    validate(source, &set, &lines, validator, problems);
    let check = |policy: &Policy| check(source, policy, lines.line(policy.id()), problems);
    set.policies().filter_map(check).collect()
}

/// What the schema has against the policies of one file. A policy with one error often earns more that only repeat it;
/// those are left out.
fn validate(
    source: &PolicySource,
    set: &cedar_policy::PolicySet,
    lines: &Lines,
    validator: &Validator,
    problems: &mut Vec<Problem>,
) {
    let verdict = validator.validate(set, ValidationMode::Strict);
    let name = |id: &PolicyId| set.annotation(id, "id").unwrap_or_default();
    let errors: Vec<&ValidationError> = verdict.validation_errors().collect();
    for error in &errors {
        let id = error.policy_id();
        let follows = matches!(error, ValidationError::InvalidActionApplication(_));
        if !follows || errors.iter().filter(|other| other.policy_id() == id).count() == 1 {
            problems.push(diagnosed(source, name(id), lines.line(id), *error));
        }
    }
    for warning in verdict.validation_warnings() {
        let id = warning.policy_id();
        if !errors.iter().any(|error| error.policy_id() == id) {
            problems.push(diagnosed(source, name(id), lines.line(id), warning));
        }
    }
}

/// Name, layer and annotations of one policy.
fn check(source: &PolicySource, policy: &Policy, line: u32, problems: &mut Vec<Problem>) -> Option<Checked> {
    let before = problems.len();
    let id = policy.annotation("id").unwrap_or_default();
    if policy.effect() == Effect::Permit && !source.layer.may_permit() {
        let message = format!("a policy of the {} layer can only forbid", source.layer.name());
        let hint = Some(ONLY_FORBIDS.to_owned());
        problems.push(Problem { hint, ..at(source, line, id, &message) });
    }
    let mut problem = |message: String| problems.push(at(source, line, id, &message));
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if id.is_empty() {
        problem("the policy has no name: begin it with `@id(\"…\")`".into());
    } else if !id.bytes().all(plain) {
        problem(format!("`{id}` is not a policy's name (lower-case letters, digits and `-`)"));
    }
    for (name, _) in policy.annotations().filter(|(name, _)| !ANNOTATIONS.contains(name)) {
        problem(format!("the annotation `@{name}` means nothing (known: {})", ANNOTATIONS.join(", ")));
    }
    let decision = match (policy.effect(), policy.annotation("decision")) {
        (Effect::Permit, None | Some("allow")) => Decision::Allow,
        (Effect::Forbid, None | Some("deny")) => Decision::Deny,
        (Effect::Forbid, Some("ask")) => Decision::Ask,
        (effect, Some(other)) => {
            problem(format!("`@decision(\"{other}\")` does not go with `{effect}`"));
            Decision::Deny
        }
    };
    let stage = stage::stage(policy).unwrap_or_else(|text| {
        problem(text);
        Stage::Pbac
    });
    let looks = Looks::of(policy).unwrap_or_else(|text| {
        problem(text);
        Looks::default()
    });
    let name = format!("{}/{id}", source.layer.name());
    let meta = Meta {
        layer: source.layer,
        source: name.clone(),
        text: policy.annotation("reason").unwrap_or_default().to_owned(),
        decision,
        stage,
        origin: Origin { file: source.file.clone(), line },
        team: source.team.clone(),
        looks,
    };
    (problems.len() == before).then(|| Checked { policy: policy.new_id(PolicyId::new(name)), meta })
}

fn at(source: &PolicySource, line: u32, field: &str, message: &str) -> Problem {
    let file = source.file.clone();
    Problem { file, line, column: 1, field: field.to_owned(), message: message.to_owned(), hint: None }
}

/// A parser's or validator's error, at its own place where it names one.
fn diagnosed<E: Diagnostic>(source: &PolicySource, field: &str, line: u32, error: &E) -> Problem {
    let label = error.labels().and_then(|mut labels| labels.next());
    let (line, column) = label.map_or((line, 1), |label| position(&source.text, label.offset()));
    let mut message = error.to_string();
    // Cedar begins with "for policy `policy3`, ", a number that nobody wrote.
    if let Some((head, rest)) = message.split_once(", ")
        && head.starts_with("for policy `")
    {
        message = rest.to_owned();
    }
    let hint = error.help().map(|help| help.to_string());
    Problem { file: source.file.clone(), line, column, field: field.to_owned(), message, hint }
}

/// The first line of each policy and template of one file.
struct Lines(HashMap<PolicyId, u32>);

impl Lines {
    /// Cedar numbers policies in the order of the text, and gives back the text of each.
    fn of(source: &PolicySource, set: &cedar_policy::PolicySet) -> Self {
        let policies = set.policies().filter_map(|policy| Some((policy.id(), policy.to_cedar()?)));
        let templates = set.templates().map(|template| (template.id(), template.to_cedar()));
        let mut texts: Vec<(usize, &PolicyId, String)> =
            policies.chain(templates).map(|(id, text)| (number(id), id, text)).collect();
        texts.sort();
        let mut from = 0;
        let mut lines = HashMap::new();
        for (_, id, text) in texts {
            if let Some(found) = source.text.get(from..).and_then(|rest| rest.find(&text)) {
                lines.insert(id.clone(), position(&source.text, from + found).0);
                from += found + text.len();
            }
        }
        Self(lines)
    }

    fn line(&self, id: &PolicyId) -> u32 {
        self.0.get(id).copied().unwrap_or(0)
    }
}

fn number(id: &PolicyId) -> usize {
    let text: &str = id.as_ref();
    text.trim_start_matches(|letter: char| !letter.is_ascii_digit()).parse().unwrap_or(usize::MAX)
}

/// Sorts the policies by the actions to which they can apply and by what they say.
fn assemble(schema: Schema, checked: Vec<Checked>, labels: Labels) -> Result<Loaded, String> {
    let kind = EntityTypeName::from_str("Action").map_err(|error| error.to_string())?;
    let types = Types::new()?;
    let actions = schema.action_entities().map_err(|error| error.to_string())?;
    let mut slices = BTreeMap::new();
    for name in ACTION_NAMES {
        let action = EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(name));
        let entity = actions.get(&action).ok_or_else(|| format!("no action `{name}`"))?.clone();
        let mut slice = Slice::new(action, entity);
        for one in &checked {
            if one.policy.get_valid_request_envs(&schema).any(|env| *env.action() == slice.action) {
                slice.add(&one.policy, &one.meta.looks.needs)?;
            }
        }
        slices.insert(name, slice);
    }
    let layers = checked.iter().map(|one| one.meta.layer).collect();
    let policies = checked.into_iter().map(|one| (one.policy.id().clone(), one.meta)).collect();
    let labels = Arc::new(labels);
    Ok(Loaded { schema, types, slices, labels, layers, policies })
}
