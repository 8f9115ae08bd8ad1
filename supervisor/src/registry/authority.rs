//! Who may say what, where a registry in git is configured. Pure.
//!
//! The registry says who is an agent, what it may do and what it may spend. A file on this machine can tighten that with
//! policies of the user's own layer, and nothing else, unless the configuration lets the user's own agents in: those of
//! one namespace that no registry can declare, and under every policy of the registry.

use crate::core::policy::Layer;
use crate::core::problem::Problem;

use super::fields::Kind;
use super::files::File;
use super::manifest::Document;
use super::source::{Local, PERSONAL, Source};

/// Where a team's manifests and policies are, below the directory of manifests.
pub(super) const TEAMS: &str = "teams";

/// What is against policies of this layer in this file.
pub(super) fn of_policies(source: &Source, file: &File<'_>, layer: Layer) -> Option<Problem> {
    let (message, hint) = of_layer(source, file, layer)?;
    let file = file.shown.clone();
    Some(Problem { file, line: 0, column: 0, field: String::new(), message, hint: Some(hint) })
}

/// What is against the documents of this file.
pub(super) fn of_documents(
    source: &Source,
    file: &File<'_>,
    layer: Layer,
    documents: &[Document],
) -> Vec<Problem> {
    let objection = |document: &Document| match (document.kind, file.commit) {
        (Kind::Policy, _) => {
            let (message, hint) = of_layer(source, file, layer)?;
            Some(Problem { hint: Some(hint), ..document.problem("kind", message) })
        }
        (_, Some(_)) => of_registry(file, document),
        (_, None) => of_machine(source, document),
    };
    documents.iter().filter_map(objection).collect()
}

/// What is against policies and labels of this layer in this file, and what to do.
fn of_layer(source: &Source, file: &File<'_>, layer: Layer) -> Option<(String, String)> {
    let (message, hint) = match (file.commit, layer) {
        (None, Layer::User) | (Some(_), Layer::Org | Layer::Team) => return None,
        (None, _) => (
            format!("policies come from `{}`; on this machine they can only be the user's own", source.git),
            "move it below manifests/user/, where it can only tighten",
        ),
        (Some(_), _) => (
            "policies below `user/` are for a user's own machine, not for a registry".to_owned(),
            "move it out of `user/`",
        ),
    };
    Some((message, hint.to_owned()))
}

/// Whoever may merge into a team's directory speaks for that team and no other.
fn of_registry(file: &File<'_>, document: &Document) -> Option<Problem> {
    let namespace = &document.namespace;
    if namespace == PERSONAL {
        let message = format!("namespace `{PERSONAL}` is for agents of a user's own machine");
        return Some(document.problem("metadata.namespace", message));
    }
    let mut parts = file.below.components().map(|part| part.as_os_str().to_string_lossy());
    let team = parts.next().filter(|first| first == TEAMS).and_then(|_| parts.next());
    let other = team.filter(|team| parts.next().is_some() && team != namespace)?;
    let message = format!("`{namespace}` cannot be declared in the directory of `{other}`");
    Some(document.problem("metadata.namespace", message))
}

fn of_machine(source: &Source, document: &Document) -> Option<Problem> {
    if source.is_left_to_machine(&document.namespace) {
        return None;
    }
    let hint = match source.local {
        Local::Policies if document.namespace == PERSONAL => {
            "write `local = \"personal\"` into [registry] of config.toml, or take the file away"
        }
        _ => "agentsup agent register proposes it there; take the file away",
    };
    let kind = document.kind.name();
    let message = format!(
        "{kind} `{}` of `{}` is declared on this machine, but agents and budgets come from `{}`",
        document.name, document.namespace, source.git
    );
    Some(Problem { hint: Some(hint.to_owned()), ..document.problem("metadata.name", message) })
}
