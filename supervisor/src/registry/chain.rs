//! Chains of budgets: every parent exists, none is its own ancestor, and no chain is too long.

use std::collections::BTreeMap;

use crate::core::budget::CHAIN_MAX;
use crate::core::manifest::BudgetRef;
use crate::core::problem::Problem;

use super::fields::Kind;
use super::manifest::{Body, Document};

/// The field that is told.
const FIELD: &str = "spec.parent";

/// The parents of all budgets that are declared; one that is declared with problems of its own ends a chain.
type Parents<'d> = BTreeMap<BudgetRef, Option<&'d BudgetRef>>;

/// Checks every chain; what spans documents is told where the parent is named.
pub(super) fn check(documents: &[Document], problems: &mut Vec<Problem>) {
    let budgets = || documents.iter().filter(|document| document.kind == Kind::TokenBudget);
    let parents: Parents<'_> = budgets().map(|document| (reference(document), parent(document))).collect();
    for document in budgets() {
        let Some(Body::Budget { budget, parent_at: Some(parent_at) }) = &document.body else { continue };
        if let Some(message) = objection(&budget.reference(), &parents) {
            let place = Document { at: *parent_at, ..document.clone() };
            problems.push(place.problem(FIELD, message));
        }
    }
}

fn reference(document: &Document) -> BudgetRef {
    BudgetRef { namespace: document.namespace.clone(), name: document.name.clone() }
}

fn parent(document: &Document) -> Option<&BudgetRef> {
    match &document.body {
        Some(Body::Budget { budget, .. }) => budget.parent.as_ref(),
        _ => None,
    }
}

/// What is wrong with a budget's own parent. What is wrong further up is told there.
fn objection(budget: &BudgetRef, parents: &Parents<'_>) -> Option<String> {
    let first = parents.get(budget).copied().flatten()?;
    if !parents.contains_key(first) {
        return Some(format!(
            "no TokenBudget `{}` is declared in namespace `{}`",
            first.name, first.namespace
        ));
    }
    let mut chain = vec![budget];
    let mut next = Some(first);
    while let Some(parent) = next {
        chain.push(parent);
        if parent == budget {
            let names: Vec<String> = chain.iter().map(ToString::to_string).collect();
            return Some(format!("makes a circle: {}", names.join(" → ")));
        }
        if chain.len() > parents.len() {
            // The circle is further up.
            return None;
        }
        next = parents.get(parent).copied().flatten();
    }
    // Those below are too deep as well; told is the first.
    let count = chain.len();
    (count == CHAIN_MAX + 1)
        .then(|| format!("makes a chain of {count} budgets, and {CHAIN_MAX} are the most"))
}
