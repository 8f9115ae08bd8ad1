//! Who may pay, as manifests say it.

use super::*;

/// What a file of one agent with this line in its `spec` makes of it.
fn billed(line: &str) -> Snapshot {
    let agent = format!(
        "apiVersion: agentsup.dev/v1alpha1\nkind: Agent\nmetadata: {{ name: a, namespace: t }}\nspec:\n{GOOD_AGENT}{line}"
    );
    let text = format!("{agent}---\n{}", budget("b", GOOD_BUDGET));
    Fixture::new(&[("manifests/a.yaml", &text)]).load()
}

#[test]
fn who_may_pay_is_one_of_three_words() {
    for (word, payers) in Payers::WORDS {
        assert_eq!(billed(&format!("  billing: {word}\n")).agents[0].billing, payers);
    }
    assert_eq!(billed("").agents[0].billing, Payers::Keys);
    let wrong: Vec<String> = billed("  billing: card\n").problems.iter().map(ToString::to_string).collect();
    assert_eq!(wrong.len(), 1, "{wrong:?}");
    assert!(wrong[0].contains("`card` is not one of keys, subscription, either"), "{wrong:?}");
}
