//! Chains of budgets, as manifests declare them.

use super::*;
use crate::core::manifest::BudgetRef;

const CAP: &str = "  period: total\n  cap: 1.00 USD\n";

fn with_parent(name: &str, parent: &str) -> String {
    budget(name, &format!("{CAP}  parent: {parent}\n"))
}

fn all(documents: &[String]) -> String {
    documents.join("\n---\n")
}

#[test]
fn a_parent_is_found_in_the_same_namespace_or_in_the_one_it_names() {
    let elsewhere = "apiVersion: agentsup.dev/v1alpha1\nkind: TokenBudget\nmetadata: { name: all, namespace: org }\n\
                     spec:\n  period: monthly\n  cap: 5000 tokens\n";
    let text =
        all(&[agent(GOOD_AGENT), with_parent("b", "team"), with_parent("team", "org/all"), elsewhere.into()]);
    let snapshot = Fixture::new(&[("manifests/b.yaml", &text)]).load();
    assert_eq!(snapshot.problems, []);
    let own = snapshot.budget_of(&snapshot.agents[0]).unwrap();
    assert_eq!(own.parent, Some(BudgetRef { namespace: "t".into(), name: "team".into() }));
    let chain: Vec<String> =
        snapshot.chain(own).unwrap().iter().map(|budget| budget.reference().to_string()).collect();
    assert_eq!(chain, ["t/b", "t/team", "org/all"]);
}

#[test]
fn a_parent_that_cannot_be_is_told_with_its_place() {
    let text = all(&[
        with_parent("lost", "nobody"),
        with_parent("away", "org/nobody"),
        with_parent("self", "self"),
        with_parent("a", "c"),
        with_parent("c", "a"),
        with_parent("below", "a"),
        with_parent("odd", "No/Such"),
        with_parent("under", "odd"),
    ]);
    assert_eq!(
        Fixture::new(&[("manifests/b.yaml", &text)]).problems(),
        [
            "manifests/b.yaml:7:11: spec.parent: no TokenBudget `nobody` is declared in namespace `t`",
            "manifests/b.yaml:16:11: spec.parent: no TokenBudget `nobody` is declared in namespace `org`",
            "manifests/b.yaml:25:11: spec.parent: makes a circle: t/self → t/self",
            "manifests/b.yaml:34:11: spec.parent: makes a circle: t/a → t/c → t/a",
            "manifests/b.yaml:43:11: spec.parent: makes a circle: t/c → t/a → t/c",
            "manifests/b.yaml:61:11: spec.parent: `Such` is not a name (expected lower-case letters, digits and `-`, at \
             most 63, starting with a letter)",
        ]
    );
}

#[test]
fn a_chain_has_eight_budgets_at_most() {
    let chain = |count: usize| {
        let below = (1..count).map(|number| with_parent(&format!("b{number}"), &format!("b{}", number + 1)));
        let documents: Vec<String> = below.chain([budget(&format!("b{count}"), CAP)]).collect();
        all(&documents)
    };
    assert_eq!(Fixture::new(&[("manifests/b.yaml", &chain(8))]).problems(), [""; 0]);
    // The first that is too deep is told, not all below it.
    for (count, line) in [(9, 7), (12, 34)] {
        assert_eq!(
            Fixture::new(&[("manifests/b.yaml", &chain(count))]).problems(),
            [format!(
                "manifests/b.yaml:{line}:11: spec.parent: makes a chain of 9 budgets, and 8 are the most"
            )]
        );
    }
}
