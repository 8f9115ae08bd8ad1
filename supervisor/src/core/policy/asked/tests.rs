#![allow(clippy::unwrap_used, reason = "tests")]

use cedar_policy::Authorizer;
use proptest::prelude::*;

use super::super::super::action::Facts as ToolFacts;
use super::super::super::action::Place::{Outside, Worktree};
use super::super::super::fixture::{agent, run};
use super::super::super::manifest::BuiltinClass;
use super::super::super::scope;
use super::super::tightening_tests::{action, corpus, load, now, pack};
use super::super::{Circumstances, Decision, Layer, PolicySet, Reason, request};
use super::*;

/// What the policies say when they are told everything, and nothing is remembered.
fn told_everything(set: &PolicySet, question: &Question<'_>) -> Vec<Reason> {
    let loaded = set.0.as_ref().unwrap();
    let mut reasons = Vec::new();
    for view in loaded.labels.views(question.agent.reference.namespace()) {
        if !view.is_first() && !loaded.layers.iter().any(|layer| view.is_of(*layer)) {
            continue;
        }
        let (slice, pair) = loaded.pair(question, &view).unwrap();
        for values in whole_contexts(question, &view, &Needs::ALL).unwrap() {
            let who = (&pair.principal, &slice.action, &pair.resource);
            let request = request::request(who, &values, Some(&loaded.schema)).unwrap();
            let response = Authorizer::new().is_authorized(&request, &pair.policies.set, &pair.entities);
            for reason in loaded.answer(&response, question.agent.reference.namespace(), &view) {
                if !reasons.contains(&reason) {
                    reasons.push(reason);
                }
            }
        }
    }
    reasons
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// What no policy looks at makes no difference, and an answer is that of its own question.
    #[test]
    fn leaving_out_and_remembering_change_nothing(
        pack in pack(), corpus in corpus(), asked in proptest::collection::vec((action(), now()), 1..12),
    ) {
        let Ok(set) = load(pack, &corpus) else { return Ok(()) };
        prop_assume!(set.0.is_some());
        let (agent, run) = (agent(), run());
        for (action, now) in asked.iter().chain(&asked) {
            let in_scope = scope::check(&agent, &run, action).iter().all(|one| one.decision == Decision::Allow);
            let question = Question { agent: &agent, run: &run, action, now, in_scope };
            let said = set.0.as_ref().unwrap().judge(&question).unwrap();
            prop_assert_eq!(said, told_everything(&set, &question), "{:?}", corpus);
        }
    }
}

#[test]
fn what_looks_the_same_is_asked_about_once() {
    let policy = r#"permit (principal, action in Action::"tool", resource)
        when { context has place && context.place == "worktree" };"#;
    let set = load(None, &[(Layer::Org, None, policy.to_owned())]).unwrap();
    let path = |path: &str, place| PathFact { path: path.into(), place };
    let of = |paths: Vec<PathFact>| {
        let facts = ToolFacts { paths, ..Default::default() };
        let source = ToolSource::Builtin(BuiltinClass::Edit);
        let tool = ToolAction { source, tool: "Edit".into(), args_digest: [0; 32], facts, call_id: None };
        let (agent, run, action, now) = (agent(), run(), Action::Tool(tool), Circumstances::default());
        let question = Question { agent: &agent, run: &run, action: &action, now: &now, in_scope: true };
        let loaded = set.0.as_ref().unwrap();
        let view = loaded.labels.below("team");
        let (_, pair) = loaded.pair(&question, &view).unwrap();
        contexts(&question, &view, &pair.policies.needs)
    };
    let place = |name: &str| vec![("place", text(name))];
    assert_eq!(of(vec![path("/a", Worktree), path("/b", Worktree)]).unwrap(), [place("worktree")]);
    let mixed = vec![path("/a", Worktree), path("/b", Outside), path("/c", Worktree), path("/d", Outside)];
    assert_eq!(of(mixed).unwrap(), [place("worktree"), place("outside")]);
    assert_eq!(of(Vec::new()).unwrap(), [Vec::new()]);
    let many = (0..5000).map(|n| path(&format!("/{n}"), Worktree)).collect();
    assert_eq!(of(many).unwrap(), [place("worktree")]);
    // Bounds hold for what nobody looks at, too.
    let all = (0..=MAX_PATHS).map(|n| path(&format!("/{n}"), Worktree)).collect();
    assert_eq!(of(all).unwrap_err(), "the call names more than 20000 paths and hosts");
    assert!(of(vec![path(&format!("/{}", "x".repeat(5000)), Worktree)]).is_err());
}
