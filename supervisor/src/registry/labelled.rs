//! The rules of all `Policy` documents together, each layer's for itself.

use std::path::Path;

use crate::core::policy::Layer;
use crate::core::policy::labels::{Labels, LayerRules};
use crate::core::problem::Problem;

use super::fields::Kind;
use super::manifest::{Body, Document};

/// The most rules of all documents: each is held against everything that is decided.
const MAX_RULES: usize = 2000;

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
