#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fs;

use super::super::Registry;
use crate::core::action::{Action, Facts, PathFact, Place, ToolAction, ToolSource};
use crate::core::decision::Decision;
use crate::core::fixture::{agent, run};
use crate::core::manifest::BuiltinClass;
use crate::core::policy::Circumstances;
use crate::sys::paths::Home;

const POLICY: &str = "apiVersion: agentsup.dev/v1alpha1\nkind: Policy\nmetadata: { name: data }\nspec:\n";

fn home(files: &[(&str, String)]) -> (tempfile::TempDir, Home) {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::rooted(dir.path());
    home.prepare().unwrap();
    for (name, text) in files {
        let path = home.manifests_dir().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    (dir, home)
}

fn told(files: &[(&str, String)]) -> Vec<String> {
    let (_guard, home) = home(files);
    let root = home.manifests_dir();
    let shown = |problem: &crate::core::problem::Problem| {
        problem.to_string().replace(&format!("{}/", root.display()), "")
    };
    Registry::read(&home).problems.iter().map(shown).collect()
}

#[test]
fn what_a_document_labels_a_policy_beside_it_refuses() {
    let policy = format!("{POLICY}  paths:\n    \"src/payments/**\": [pci]\n");
    let cedar = r#"@id("no-pci") @reason("cards are people's business")
        forbid (principal, action in Action::"tool", resource) when { context.labels.contains("pci") };"#;
    let (_guard, home) = home(&[("data.yaml", policy), ("team.cedar", cedar.to_owned())]);
    let snapshot = Registry::read(&home);
    assert_eq!(snapshot.problems, []);
    let rules: Vec<_> = snapshot.policies.labels().unwrap().rules().collect();
    assert_eq!(rules.len(), 1);
    let (origin, pattern) = (rules[0].origin.unwrap(), rules[0].pattern);
    assert_eq!((pattern, rules[0].words, origin.line), ("src/payments/**", &["pci".to_owned()][..], 6));
    for (path, expected) in [("src/payments/card.rs", Decision::Deny), ("src/main.rs", Decision::Allow)] {
        let fact = PathFact { path: run().worktree.join(path), place: Place::Worktree };
        let action = Action::Tool(ToolAction {
            source: ToolSource::Builtin(BuiltinClass::Read),
            tool: "Read".into(),
            args_digest: [0; 32],
            facts: Facts { paths: vec![fact], ..Facts::default() },
            call_id: None,
        });
        let judged = snapshot.policies.evaluate(&agent(), &run(), &action, &Circumstances::default());
        assert_eq!(judged.decision, expected, "{path}");
    }
}

#[test]
fn every_problem_is_told_with_its_place() {
    let policy = format!(
        "{POLICY}  paths:\n    \"src/\": [pci]\n    \"a\": [PCI, unknown]\n    \"b\": pci\n  models:\n    \
         \"gpt-5\": [us]\n  residency: {{}}\n  labels: {{}}\n"
    );
    assert_eq!(
        told(&[("a.yaml", policy)]),
        [
            "a.yaml:6:5: spec.paths.src/: has an empty name between slashes (`dir/**` is a directory and all below)",
            "a.yaml:7:11: spec.paths.a[0]: `PCI` is not a label (lower-case letters, digits and `-`, at most 63)",
            "a.yaml:7:16: spec.paths.a[1]: `unknown` is what has no rule",
            "a.yaml:8:10: spec.paths.b: is text, expected a list",
            "a.yaml:10:5: spec.models.gpt-5: is not two names with `/` between them",
            "a.yaml:12:3: spec.labels: is not a known field",
        ]
    );
}

#[test]
fn a_teams_document_is_that_teams() {
    let rules = format!("{POLICY}  hosts: {{ a: [b] }}\n");
    let own = rules.replace("name: data", "name: data, namespace: red");
    assert_eq!(told(&[("teams/red/a.yaml", own)]), Vec::<String>::new());
    assert_eq!(
        told(&[("teams/red/a.yaml", rules)]),
        [
            "teams/red/a.yaml:3:19: metadata.namespace: is `default`, and in the directory of a team it is that \
             team's: `red`"
        ]
    );
}

#[test]
fn there_are_only_so_many_rules() {
    let many = |name: &str, count: usize| {
        let rules: String = (0..count).map(|at| format!("    h{at}: [a]\n")).collect();
        (format!("{POLICY}  hosts:\n{rules}")).replace("name: data", &format!("name: {name}"))
    };
    assert_eq!(told(&[("a.yaml", many("a", 1999)), ("b.yaml", many("b", 1))]), Vec::<String>::new());
    assert_eq!(
        told(&[("a.yaml", many("a", 1999)), ("b.yaml", many("b", 2))]),
        ["b.yaml:3:19: spec: is beyond 2000 rules of all documents"]
    );
}
