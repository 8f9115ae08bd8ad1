//! Reading `Policy` documents: rules by which files, repositories, hosts, models, tools and agents have labels, classes
//! and roles. Whose rules they are follows from where the file lies, as with policies.

use std::path::Path;

use crate::core::policy::labels::{self, Labels, LayerRules, Rule, Subject};
use crate::core::policy::{Layer, Origin};
use crate::core::problem::Problem;
use crate::sys::env::Env;

use super::fields::Kind;
use super::manifest::{Body, Document};
use super::tree::{Faults, Field, Fields};

/// The most rules of all documents: each is held against everything that is decided.
const MAX_RULES: usize = 2000;

const SECTIONS: [(&str, Subject); 6] = [
    ("paths", Subject::Path),
    ("repositories", Subject::Repository),
    ("hosts", Subject::Host),
    ("models", Subject::Model),
    ("tools", Subject::Tool),
    ("agents", Subject::Agent),
];

const RESIDENCY: [(&str, Subject); 2] =
    [("hosts", Subject::HostResidency), ("models", Subject::ModelResidency)];

/// The `spec` of a document.
pub(super) fn rules(file: &Path, spec: &mut Fields<'_>, faults: &mut Faults<'_>) -> Option<Body> {
    let before = faults.count();
    let mut rules = Vec::new();
    sections(file, spec, &SECTIONS, &mut rules, faults);
    if let Some(mut fields) = spec.take("residency", faults).and_then(|field| field.fields(faults)) {
        sections(file, &mut fields, &RESIDENCY, &mut rules, faults);
        fields.done(faults);
    }
    (faults.count() == before).then_some(Body::Rules(rules))
}

fn sections(
    file: &Path,
    fields: &mut Fields<'_>,
    sections: &[(&'static str, Subject)],
    rules: &mut Vec<Rule>,
    faults: &mut Faults<'_>,
) {
    for (key, subject) in sections {
        let Some(field) = fields.take(key, faults) else { continue };
        let Some(map) = field.fields(faults) else { continue };
        let before = rules.len();
        for (pattern, at, words) in map.named() {
            let Some(list) = words.each(faults, word) else { continue };
            let origin = Origin { file: file.to_owned(), line: at.line };
            match Rule::new(*subject, pattern, list, home(pattern).as_deref()) {
                Ok(rule) => rules.push(rule.at(origin)),
                Err(message) => faults.add(at, words.path(), message, None),
            }
        }
        if rules.len() == before {
            field.fault_if_empty(faults);
        }
    }
}

fn word(field: &Field<'_>, faults: &mut Faults<'_>) -> Option<String> {
    field.map(faults, |text| labels::objection_to_word(text).map_or_else(|| Ok(text.to_owned()), Err))
}

/// What `~` stands for, where it is written.
fn home(pattern: &str) -> Option<std::path::PathBuf> {
    pattern.starts_with('~').then(|| Env::current().home_dir()).flatten()
}

/// All rules of the documents, each layer's together. `layer` says whose a file's are.
pub(super) fn collect(
    documents: &[Document],
    layer: impl Fn(&Path) -> (Layer, Option<String>),
    problems: &mut Vec<Problem>,
) -> Labels {
    let mut layers: Vec<LayerRules> = Vec::new();
    let mut count = 0;
    for document in documents.iter().filter(|document| document.kind == Kind::Policy) {
        let (layer, team) = layer(&document.file);
        if let Some(team) = team.as_ref().filter(|team| **team != document.namespace) {
            let message = format!(
                "is `{}`, and in the directory of a team it is that team's: `{team}`",
                document.namespace
            );
            problems.push(document.problem("metadata.namespace", message));
        }
        let Some(Body::Rules(rules)) = &document.body else { continue };
        count += rules.len();
        match layers.iter_mut().find(|given| given.layer == layer && given.team == team) {
            Some(given) => given.rules.extend(rules.iter().cloned()),
            None => layers.push(LayerRules { layer, team, rules: rules.clone() }),
        }
        if count > MAX_RULES {
            problems.push(document.problem("spec", format!("is beyond {MAX_RULES} rules of all documents")));
            break;
        }
    }
    Labels::new(layers)
}

#[cfg(test)]
mod tests;
