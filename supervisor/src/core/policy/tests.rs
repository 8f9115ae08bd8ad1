#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::path::PathBuf;

use proptest::prelude::*;

use super::super::action::{
    EgressAction, Facts, LaunchAction, LlmAction, PathFact, Place, ToolAction, ToolSource,
};
use super::super::billing::Billing;
use super::super::fixture::{agent, run};
use super::super::manifest::{BuiltinClass, Environment, Lifecycle};
use super::*;

fn tool(source: ToolSource, name: &str, paths: &[(&str, Place)]) -> Action {
    let paths = paths.iter().map(|(path, place)| PathFact { path: path.into(), place: *place }).collect();
    Action::Tool(ToolAction {
        source,
        tool: name.into(),
        args_digest: [0; 32],
        facts: Facts { paths, ..Facts::default() },
        call_id: None,
    })
}

fn edit(paths: &[(&str, Place)]) -> Action {
    tool(ToolSource::Builtin(BuiltinClass::Edit), "Edit", paths)
}

fn shell() -> Action {
    tool(ToolSource::Builtin(BuiltinClass::Shell), "Bash", &[])
}

fn mcp(server: &str, name: &str, paths: &[(&str, Place)]) -> Action {
    tool(ToolSource::Mcp(server.into()), name, paths)
}

fn llm(model: &str) -> Action {
    Action::Llm(LlmAction::new("anthropic", model))
}

fn launch(adapter: &str) -> Action {
    Action::Launch(LaunchAction {
        adapter: adapter.into(),
        repository: "/repo".into(),
        remote: None,
        billing: Billing::Keys,
    })
}

fn source(layer: Layer, text: &str) -> PolicySource {
    PolicySource {
        layer,
        team: None,
        file: PathBuf::from(format!("{}.cedar", layer.name())),
        text: text.into(),
    }
}

fn now() -> Circumstances {
    Circumstances::default()
}

fn load(more: &[(Layer, &str)]) -> PolicySet {
    let mut sources = vec![PolicySource::pack(Pack::Standard)];
    sources.extend(more.iter().map(|(layer, text)| source(*layer, text)));
    PolicySet::load(&sources).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

fn shown(evaluation: &Evaluation) -> Vec<String> {
    let line = |reason: &Reason| {
        format!("{} {:?} {}", reason.source, reason.decision, reason.text).trim_end().to_owned()
    };
    evaluation.reasons.iter().map(line).collect()
}

fn reasons(set: &PolicySet, action: &Action) -> Vec<String> {
    shown(&set.evaluate(&agent(), &run(), action, &now()))
}

#[test]
fn without_policies_everything_is_denied() {
    let evaluation = PolicySet::default().evaluate(&agent(), &run(), &shell(), &now());
    assert_eq!(evaluation.decision, Decision::Deny);
    assert_eq!(shown(&evaluation), ["scope Allow", "default Deny no policies are in force"]);
    let none = PolicySet::load(&[]).unwrap();
    assert_eq!(reasons(&none, &shell()), ["scope Allow", "default Deny no policy permits it"]);
}

#[test]
fn the_default_pack_permits_what_is_in_scope() {
    let set = load(&[]);
    for action in [
        launch("claude"),
        llm("claude-sonnet-5"),
        shell(),
        edit(&[("/trees/1/a", Place::Worktree), ("/tmp/b", Place::Scratch)]),
        tool(ToolSource::Builtin(BuiltinClass::Read), "Read", &[("/usr/include/stdio.h", Place::Outside)]),
        mcp("github", "create_issue", &[]),
    ] {
        let evaluation = set.evaluate(&agent(), &run(), &action, &now());
        assert_eq!(evaluation.decision, Decision::Allow, "{action:?}");
        assert_eq!(shown(&evaluation), ["scope Allow", "default/in-scope Allow"], "{action:?}");
    }
    let egress = Action::Egress(EgressAction { host: "example.com".into(), port: 443 });
    assert_eq!(reasons(&set, &egress), ["scope Allow", "default Deny no policy permits it"]);
}

#[test]
fn the_default_pack_keeps_edits_in_the_worktree() {
    let set = load(&[]);
    let outside = "default/edit-in-worktree Deny files outside the run's worktree are not to be changed";
    let secret = "default/no-secrets Deny credentials and agentsup's own files are out of bounds";
    let git = "default/git-metadata Deny git metadata is changed by git, not by hand";
    let permit = "default/in-scope Allow";
    for (action, expected) in [
        (edit(&[]), vec!["scope Allow", permit, outside]),
        (edit(&[("/etc/x", Place::Outside)]), vec!["scope Allow", permit, outside]),
        (
            edit(&[("/trees/1/a", Place::Worktree), ("/etc/x", Place::Outside)]),
            vec!["scope Allow", permit, outside],
        ),
        (edit(&[("/h/.ssh/id", Place::Secret)]), vec!["scope Allow", permit, outside, secret]),
        (edit(&[("/trees/1/.git", Place::GitMetadata)]), vec!["scope Allow", permit, outside, git]),
        (
            tool(ToolSource::Builtin(BuiltinClass::Read), "Read", &[("/h/.ssh/id", Place::Secret)]),
            vec!["scope Allow", permit, secret],
        ),
        (mcp("github", "put", &[("/h/.aws/x", Place::Secret)]), vec!["scope Allow", permit, secret]),
    ] {
        assert_eq!(reasons(&set, &action), expected, "{action:?}");
    }
}

#[test]
fn what_the_manifest_leaves_out_is_denied_with_every_reason() {
    let set = load(&[]);
    for (action, text) in [
        (launch("codex"), "the adapter `codex` is not in the agent's scope"),
        (llm("gpt-6"), "the model `gpt-6` is not in the agent's scope"),
        (mcp("jira", "x", &[]), "the tool `jira/x` is not in the agent's scope"),
        (
            tool(ToolSource::Builtin(BuiltinClass::Web), "WebFetch", &[]),
            "`WebFetch` is a web tool, which is not in the agent's scope",
        ),
    ] {
        assert_eq!(reasons(&set, &action), [format!("scope Deny {text}")]);
    }
    let mut retired = agent();
    retired.lifecycle = Lifecycle::Retired;
    retired.environments = vec![Environment::Staging];
    assert_eq!(
        shown(&set.evaluate(&retired, &run(), &shell(), &now())),
        ["scope Deny the agent is retired", "scope Deny the environment `dev` is not in the agent's scope",]
    );
}

#[test]
fn a_forbid_with_ask_asks_and_permits_nothing() {
    let ask = r#"@id("ask-shell") @decision("ask") @reason("a person confirms commands")
        forbid (principal, action == Action::"shell", resource);"#;
    let set = load(&[(Layer::User, ask)]);
    let evaluation = set.evaluate(&agent(), &run(), &shell(), &now());
    assert_eq!(evaluation.decision, Decision::Ask);
    assert_eq!(
        shown(&evaluation),
        ["scope Allow", "default/in-scope Allow", "user/ask-shell Ask a person confirms commands"]
    );
    let alone = PolicySet::load(&[source(Layer::User, ask)]).unwrap();
    assert_eq!(alone.evaluate(&agent(), &run(), &shell(), &now()).decision, Decision::Deny);
}

#[test]
fn a_policy_can_judge_each_path() {
    let set = load(&[(
        Layer::Org,
        r#"@id("no-infra") forbid (principal, action == Action::"edit", resource)
           when { context has path && context.path like "*/infra/*" };"#,
    )]);
    let tree = Place::Worktree;
    assert_eq!(
        reasons(&set, &edit(&[("/trees/1/a", tree), ("/trees/1/infra/b", tree)])),
        ["scope Allow", "default/in-scope Allow", "org/no-infra Deny"]
    );
    assert_eq!(reasons(&set, &edit(&[("/trees/1/a", tree)])).len(), 2);
}

#[test]
fn an_error_of_evaluation_denies() {
    // Overflow is the one error that strict validation cannot rule out.
    let set = load(&[(
        Layer::Org,
        r#"@id("broken") permit (principal, action == Action::"egress", resource)
           when { 9223372036854775807 + context.port > 0 };"#,
    )]);
    let egress = Action::Egress(EgressAction { host: "example.com".into(), port: 443 });
    let evaluation = set.evaluate(&agent(), &run(), &egress, &now());
    assert_eq!(evaluation.decision, Decision::Deny);
    assert_eq!(
        shown(&evaluation),
        [
            "scope Allow",
            "policy Deny error while evaluating policy `org/broken`: integer overflow while attempting to add \
             the values `9223372036854775807` and `443`",
            "default Deny no policy permits it",
        ]
    );
}

#[test]
fn too_many_paths_that_look_different_are_denied() {
    let paths: Vec<(String, Place)> = (0..257).map(|n| (format!("/trees/1/{n}"), Place::Worktree)).collect();
    let paths: Vec<(&str, Place)> = paths.iter().map(|(path, place)| (path.as_str(), *place)).collect();
    assert_eq!(load(&[]).evaluate(&agent(), &run(), &edit(&paths), &now()).decision, Decision::Allow);
    let looks = r#"@id("x") forbid (principal, action == Action::"edit", resource)
        when { context has path && context.path like "*.lock" };"#;
    let set = load(&[(Layer::Org, looks)]);
    assert_eq!(set.evaluate(&agent(), &run(), &edit(&paths[..256]), &now()).decision, Decision::Allow);
    assert_eq!(
        reasons(&set, &edit(&paths)),
        [
            "scope Allow",
            "policy Deny the policies cannot be evaluated: the call touches more than 256 different paths and commands",
        ]
    );
}

#[test]
fn problems_name_file_line_and_policy() {
    let bad = "// a comment\n@id(\"typo\")\npermit (principal, action == Action::\"shel\", resource);\n\n\
               permit (principal, action, resource);\n\
               @id(\"x\") @decison(\"ask\")\nforbid (principal, action, resource);\n\
               @id(\"y\") @decision(\"ask\")\npermit (principal, action, resource);\n\
               @id(\"Z\")\npermit (principal == ?principal, action, resource);\n";
    let syntax = "@id(\"a\")\npermit (principal, action resource);\n";
    let twice =
        "@id(\"t\") forbid (principal, action, resource);\n@id(\"t\") forbid (principal, action, resource);";
    let repository = "@id(\"p\") permit (principal, action, resource);";
    let sources = [
        source(Layer::Org, bad),
        source(Layer::Team, syntax),
        source(Layer::User, twice),
        source(Layer::Repository, repository),
    ];
    let problems = PolicySet::load(&sources).unwrap_err();
    let shown: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "org.cedar:3:30: typo: unrecognized action `Action::\"shel\"`",
            "org.cedar:5:1: the policy has no name: begin it with `@id(\"…\")`",
            "org.cedar:6:1: x: the annotation `@decison` means nothing (known: id, reason, decision, owner)",
            "org.cedar:8:1: y: `@decision(\"ask\")` does not go with `permit`",
            "org.cedar:10:1: templates are not supported: write the principal and the resource out",
            "repository.cedar:1:1: p: a policy of the repository layer can only forbid",
            "team.cedar:2:27: unexpected token `resource`",
            "user.cedar:2:1: user/t: is already declared in `user.cedar:1`",
        ]
    );
}

#[test]
fn a_reason_leads_to_its_policy() {
    let set = load(&[]);
    let origin = set.origin("default/no-secrets").unwrap();
    let line =
        Pack::Standard.text().lines().position(|line| line.starts_with("@id(\"no-secrets\")")).unwrap() + 1;
    assert_eq!((origin.file.to_str(), origin.line as usize), (Some("standard.cedar"), line));
    assert_eq!(set.origin("default/none"), None);
    assert!(Pack::Standard.text().lines().count() < 60);
}

fn any_place() -> impl Strategy<Value = Place> {
    prop_oneof![
        Just(Place::Worktree),
        Just(Place::Scratch),
        Just(Place::Secret),
        Just(Place::GitMetadata),
        Just(Place::Outside)
    ]
}

fn any_action() -> impl Strategy<Value = Action> {
    let class = prop_oneof![
        Just(BuiltinClass::Read),
        Just(BuiltinClass::Edit),
        Just(BuiltinClass::Shell),
        Just(BuiltinClass::Web),
        Just(BuiltinClass::Other)
    ];
    let paths = || proptest::collection::vec(("/[a-z]{1,3}/[a-z]{1,3}", any_place()), 0..3);
    let build = |source: ToolSource, name: String, paths: Vec<(String, Place)>| {
        let paths: Vec<(&str, Place)> = paths.iter().map(|(path, place)| (path.as_str(), *place)).collect();
        tool(source, &name, &paths)
    };
    prop_oneof![
        "(claude|codex)".prop_map(|name| launch(&name)),
        "(claude-[a-z]{0,3}|gpt-[0-9])".prop_map(|name| llm(&name)),
        (class, "[A-Z][a-z]{0,3}", paths()).prop_map(move |(class, name, paths)| build(
            ToolSource::Builtin(class),
            name,
            paths
        )),
        ("(github|jira)", "[a-z]{1,3}", paths()).prop_map(move |(server, name, paths)| build(
            ToolSource::Mcp(server),
            name,
            paths
        )),
        (any::<u16>()).prop_map(|port| Action::Egress(EgressAction { host: "h".into(), port })),
    ]
}

const SCOPES: [&str; 4] = [
    "action",
    r#"action == Action::"edit""#,
    r#"action in Action::"tool""#,
    r#"action in [Action::"llm", Action::"mcp"]"#,
];

const CONDITIONS: [&str; 3] = ["", "when { context.in_scope }", "unless { context.environment == \"dev\" }"];

fn any_policy(head: &'static str) -> impl Strategy<Value = String> {
    (0..SCOPES.len(), 0..CONDITIONS.len()).prop_map(move |(scope, when)| {
        format!("{head} (principal, {}, resource) {};", SCOPES[scope], CONDITIONS[when])
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever anybody permits, the manifest's scope is the limit.
    #[test]
    fn no_policy_allows_what_the_scope_denies(action in any_action()) {
        let all = r#"@id("all") permit (principal, action, resource);"#;
        let set = PolicySet::load(&[source(Layer::Org, all)]).unwrap();
        let scope = Evaluation::of(scope::check(&agent(), &run(), &action));
        prop_assert_eq!(set.evaluate(&agent(), &run(), &action, &now()).decision, scope.decision);
    }

    /// A forbid that applies wins over every permit.
    #[test]
    fn a_forbid_wins(action in any_action(), permit in any_policy("@id(\"p\") permit")) {
        let forbid = r#"@id("no") forbid (principal, action, resource);"#;
        let set = load(&[(Layer::Org, &permit), (Layer::Repository, forbid)]);
        let evaluation = set.evaluate(&agent(), &run(), &action, &now());
        prop_assert_eq!(evaluation.decision, Decision::Deny);
        prop_assert!(evaluation.reasons.iter().any(|reason| reason.source == "repository/no"));
    }

    /// A policy that only forbids or asks never makes anything easier, in any layer.
    #[test]
    fn tightening_never_widens(
        action in any_action(),
        tighter in prop_oneof![any_policy("@id(\"t\") forbid"), any_policy("@id(\"t\") @decision(\"ask\") forbid")],
        layer in prop_oneof![Just(Layer::Org), Just(Layer::Team), Just(Layer::User), Just(Layer::Repository)],
    ) {
        let before = load(&[]).evaluate(&agent(), &run(), &action, &now()).decision;
        let after = load(&[(layer, &tighter)]).evaluate(&agent(), &run(), &action, &now()).decision;
        prop_assert!(after >= before, "{before:?} became {after:?}");
    }

    /// What was answered before is answered only to the same question.
    #[test]
    fn an_answer_is_that_of_its_own_question(asked in proptest::collection::vec(any_question(), 1..24)) {
        let texts = [
            r#"@id("dev") forbid (principal, action, resource) when { context.environment == "production" };"#,
            r#"@id("why") @decision("ask") forbid (principal, action, resource) when { principal.purpose == "Other" };
            "#,
            r#"@id("who") forbid (principal, action, resource) when { context.adapter == "codex" };"#,
            r#"@id("m") forbid (principal, action == Action::"llm", resource == Model::"gpt-1");"#,
            r#"@id("p") forbid (principal, action == Action::"llm", resource) when { context.provider == "other" };"#,
        ]
        .join("\n");
        let (set, forgetful) = (load(&[(Layer::User, &texts)]), load(&[(Layer::User, &texts)]));
        for (agent, run, action) in asked.iter().chain(&asked) {
            forgetful.0.as_ref().unwrap().slices.values().for_each(Slice::forget);
            let first = forgetful.evaluate(agent, run, action, &now());
            prop_assert_eq!(set.evaluate(agent, run, action, &now()), first);
        }
    }
}

/// Questions that may differ in everything that a policy can read.
fn any_question() -> impl Strategy<Value = (Agent, Run, Action)> {
    let few =
        prop_oneof![any_action(), Just(llm("gpt-1")), Just(llm("gpt-2")), Just(mcp("jira", "read", &[]))];
    (few, any::<[bool; 5]>()).prop_map(
        |(mut action, [purpose, environment, adapter, repository, provider])| {
            let (mut agent, mut run) = (agent(), run());
            agent.environments = vec![Environment::Dev, Environment::Production];
            if purpose {
                agent.purpose = "Other".into();
            }
            if environment {
                run.environment = Environment::Production;
            }
            if adapter {
                run.adapter = "codex".into();
            }
            if repository {
                run.repository = "/other".into();
            }
            if let Action::Llm(llm) = &mut action
                && provider
            {
                llm.provider = "other".into();
            }
            (agent, run, action)
        },
    )
}
