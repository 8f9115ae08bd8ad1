//! Reading `Policy` documents: rules by which files, repositories, hosts, models, tools and agents have labels, classes
//! and roles. Whose rules they are follows from where the file lies, as with policies.

use std::path::Path;

use crate::core::policy::Origin;
use crate::core::policy::labels::{self, Rule, Subject};
use crate::sys::env::Env;

use super::tree::{Faults, Field, Fields};

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
pub(super) fn rules(file: &Path, spec: &mut Fields<'_>, faults: &mut Faults<'_>) -> Option<Vec<Rule>> {
    let before = faults.count();
    let mut rules = Vec::new();
    sections(file, spec, &SECTIONS, &mut rules, faults);
    if let Some(mut fields) = spec.take("residency", faults).and_then(|field| field.fields(faults)) {
        sections(file, &mut fields, &RESIDENCY, &mut rules, faults);
        fields.done(faults);
    }
    (faults.count() == before).then_some(rules)
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
        let Some(map) = field.fields_like(faults, "a map such as `\"PATTERN\": [WORD]`") else { continue };
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

#[cfg(test)]
mod tests;
