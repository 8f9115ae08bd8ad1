#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::path::PathBuf;

use proptest::prelude::*;

use super::super::super::action::{Action, EgressAction, Facts, LlmAction, PathFact, Place};
use super::super::super::data::Carried;
use super::super::super::decision::{Decision, Stage};
use super::super::super::fixture::{agent, run};
use super::super::super::manifest::BuiltinClass;
use super::super::{Circumstances, Pack, PolicySet, PolicySource};
use super::*;

fn rule(subject: Subject, pattern: &str, words: &[&str]) -> Rule {
    let words = words.iter().map(|word| (*word).to_owned()).collect();
    Rule::new(subject, pattern, words, Some(Path::new("/u"))).unwrap()
}

fn org(rules: Vec<Rule>) -> LayerRules {
    LayerRules { layer: Layer::Org, team: None, rules }
}

fn source(layer: Layer, text: &str) -> PolicySource {
    let team = (layer == Layer::Team).then(|| "team".to_owned());
    PolicySource { layer, team, file: PathBuf::from("a.cedar"), text: text.into() }
}

fn set(policies: &[(Layer, &str)], layers: Vec<LayerRules>) -> PolicySet {
    let mut sources = vec![PolicySource::pack(Pack::Observe)];
    sources.extend(policies.iter().map(|(layer, text)| source(*layer, text)));
    PolicySet::load_with(&sources, Labels::new(layers)).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

fn tool(source: ToolSource, name: &str, facts: Facts) -> Action {
    let (tool, args_digest) = (name.to_owned(), [0; 32]);
    Action::Tool(ToolAction { source, tool, args_digest, facts, call_id: None })
}

fn read(path: &str, hosts: &[&str]) -> Action {
    let place = if path.starts_with("/trees/1") { Place::Worktree } else { Place::Outside };
    let paths = vec![PathFact { path: path.into(), place }];
    let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
    tool(ToolSource::Builtin(BuiltinClass::Read), "Read", Facts { paths, hosts, ..Facts::default() })
}

fn web(hosts: &[&str]) -> Action {
    let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
    tool(ToolSource::Builtin(BuiltinClass::Read), "Fetch", Facts { hosts, ..Facts::default() })
}

fn mcp(server: &str, name: &str) -> Action {
    tool(ToolSource::Mcp(server.into()), name, Facts::default())
}

fn llm(provider: &str, model: &str) -> Action {
    let (provider, model, prices) = (provider.to_owned(), model.to_owned(), String::new());
    let data = Carried::default();
    Action::Llm(LlmAction { prices, data, ..LlmAction::new(provider, model) })
}

/// The stricter of what was said, with the last word of each source that said it.
fn told(set: &PolicySet, run: &Run, action: &Action) -> (Decision, Vec<String>) {
    let evaluation = set.evaluate(&agent(), run, action, &Circumstances::default());
    let decisive = evaluation.decisive().map(|reason| reason.source.clone()).collect();
    (evaluation.decision, decisive)
}

fn denied(set: &PolicySet, run: &Run, action: &Action) -> bool {
    told(set, run, action).0 == Decision::Deny
}

#[test]
fn a_file_has_the_labels_of_its_path_wherever_the_repository_is_seen_from() {
    let rules = vec![
        rule(Subject::Path, "src/payments/**", &["pci"]),
        rule(Subject::Path, "/etc/**", &["pci"]),
        rule(Subject::Path, "~/notes/*", &["pci"]),
    ];
    let no = r#"@id("no-pci") forbid (principal, action in Action::"tool", resource)
        when { context.labels.contains("pci") };"#;
    let set = set(&[(Layer::Org, no)], vec![org(rules)]);
    for (path, expected) in [
        ("/trees/1/src/payments/card.rs", true),
        ("/trees/1/SRC/Payments/card.rs", true),
        ("/trees/1/src/payments", true),
        ("/repo/src/payments/card.rs", true),
        ("/trees/1/src/other.rs", false),
        ("/trees/1/deep/src/payments/card.rs", false),
        ("/other/src/payments/card.rs", false),
        ("/etc/hosts", true),
        ("/u/notes/a", true),
        ("/u/notes/a/b", false),
    ] {
        assert_eq!(denied(&set, &run(), &read(path, &[])), expected, "{path}");
    }
    // A directory of worktrees that is known by a link's name.
    let linked = Run { worktree: "/link/shop-0a1b".into(), ..run() };
    let fact = PathFact { path: "/real/shop-0a1b/src/payments/a".into(), place: Place::Worktree };
    let action = tool(
        ToolSource::Builtin(BuiltinClass::Read),
        "Read",
        Facts { paths: vec![fact], ..Facts::default() },
    );
    assert!(denied(&set, &linked, &action));
}

#[test]
fn a_repository_has_the_labels_of_its_path_and_of_its_remote() {
    let rules = vec![
        rule(Subject::Repository, "github.com/acme/secret-*", &["confidential"]),
        rule(Subject::Repository, "~/work/**", &["confidential"]),
    ];
    let no = r#"@id("no") forbid (principal, action, resource)
        when { context.repository_labels.contains("confidential") };"#;
    let set = set(&[(Layer::Org, no)], vec![org(rules)]);
    for (repository, remote, expected) in [
        ("/repo", None, false),
        ("/repo", Some("https://github.com/acme/secret-a.git"), true),
        ("/repo", Some("https://bob@GitHub.com:443/Acme/Secret-A"), true),
        ("/repo", Some("git@github.com:acme/secret-a.git"), true),
        ("/repo", Some("ssh://git@github.com.:22/acme/secret-a/"), true),
        ("/repo", Some("https://github.com/acme/open"), false),
        ("/repo", Some("https://evil.example/github.com/acme/secret-a"), false),
        ("/repo", Some("/srv/github.com/acme/secret-a"), false),
        ("/u/work/a/b", None, true),
        // Asked once more, it is another question.
        ("/repo", None, false),
    ] {
        let run = Run { repository: repository.into(), remote: remote.map(str::to_owned), ..run() };
        assert_eq!(denied(&set, &run, &mcp("github", "x")), expected, "{repository} {remote:?}");
    }
}

#[test]
fn of_several_hosts_the_one_without_a_label_counts() {
    let rules = vec![
        rule(Subject::Host, "*.internal.example", &["internal", "de"]),
        rule(Subject::Host, "*.Bücher.example.", &["internal"]),
        rule(Subject::Host, "127.0.0.1", &["internal"]),
        rule(Subject::Host, "::1", &["internal"]),
        rule(Subject::Host, "[FD00:0:0::2]", &["internal"]),
        rule(Subject::HostResidency, "*.internal.example", &["eu"]),
    ];
    let texts = r#"
        @id("only-internal") forbid (principal, action in Action::"tool", resource)
          when { !context.hosts.isEmpty() } unless { context.common_host_labels.contains("internal") };
        @id("de") @decision("ask") forbid (principal, action in Action::"tool", resource)
          when { context.host_labels.contains("de") };
        @id("eu") forbid (principal, action in Action::"tool", resource)
          unless { ["eu"].containsAll(context.host_residency) };"#;
    let set = set(&[(Layer::Org, texts)], vec![org(rules)]);
    let only = "org/only-internal";
    for (hosts, expected) in [
        (&[][..], vec![]),
        (&["a.b.internal.example"], vec!["org/de"]),
        (&["A.INTERNAL.example."], vec!["org/de"]),
        (&["internal.example"], vec!["org/eu", only]),
        (&["a.internal.example", "b.internal.example"], vec!["org/de"]),
        (&["a.internal.example", "evil.example"], vec!["org/eu", only]),
        (&["x.xn--bcher-kva.example"], vec!["org/eu"]),
        (&["0x7f.1"], vec!["org/eu"]),
        (&["[::1]"], vec!["org/eu"]),
        (&["[fd00::2]", "0:0::1"], vec!["org/eu"]),
        (&["[fd00::3]"], vec!["org/eu", only]),
    ] {
        let (decision, sources) = told(&set, &run(), &web(hosts));
        let sources = if decision == Decision::Allow { Vec::new() } else { sources };
        assert_eq!(sources, expected, "{hosts:?}");
    }
    let egress = r#"@id("out") permit (principal, action == Action::"egress", resource)
        when { resource.labels.contains("internal") && resource.residency == ["eu"] };"#;
    let rules = vec![
        rule(Subject::Host, "*.internal.example", &["internal"]),
        rule(Subject::HostResidency, "de.*", &["eu"]),
        rule(Subject::HostResidency, "*.both.internal.example", &["us"]),
    ];
    let set = PolicySet::load_with(&[source(Layer::Org, egress)], Labels::new(vec![org(rules)])).unwrap();
    for (host, expected) in [
        ("de.internal.example", false),
        ("us.internal.example", true),
        ("de.both.internal.example", true),
        ("de.example", true),
    ] {
        let action = Action::Egress(EgressAction { host: host.into(), port: 443 });
        assert_eq!(denied(&set, &run(), &action), expected, "{host}");
    }
}

#[test]
fn a_model_is_known_by_its_provider_and_name() {
    let rules = vec![
        rule(Subject::Model, "*/claude-opus-*", &["frontier"]),
        rule(Subject::ModelResidency, "eu/*", &["eu"]),
    ];
    let texts = r#"
        @id("eu") forbid (principal, action == Action::"llm", resource) unless { resource.residency == ["eu"] };
        @id("frontier") @decision("ask") forbid (principal, action == Action::"llm", resource)
          when { resource.labels.contains("frontier") };"#;
    let set = set(&[(Layer::Org, texts)], vec![org(rules)]);
    for (provider, model, expected) in [
        ("eu", "claude-sonnet-5", Decision::Allow),
        ("eu", "claude-opus-5", Decision::Ask),
        ("us", "claude-sonnet-5", Decision::Deny),
    ] {
        assert_eq!(told(&set, &run(), &llm(provider, model)).0, expected, "{provider}/{model}");
    }
    let evaluation = set.evaluate(&agent(), &run(), &llm("us", "claude-x"), &Circumstances::default());
    assert_eq!(evaluation.decisive().map(|reason| reason.stage).collect::<Vec<_>>(), [Some(Stage::Pbac)]);
}

#[test]
fn roles_and_classes_of_tools_are_what_policies_name() {
    let rules = vec![
        rule(Subject::Agent, "b?t@team", &["reviewer"]),
        rule(Subject::Tool, "github/create_*", &["publish"]),
        rule(Subject::Tool, "github/get_*", &["read"]),
        rule(Subject::Tool, "Task", &["publish"]),
    ];
    let texts = r#"
        @id("no-publish") forbid (principal in Role::"reviewer", action, resource in ToolClass::"publish");
        @id("reads") @decision("ask") forbid (principal, action, resource in ToolClass::"read");
        @id("others") forbid (principal in Role::"deployer", action, resource);"#;
    let set = set(&[(Layer::Org, texts)], vec![org(rules)]);
    for (action, expected) in [
        (mcp("github", "create_issue"), Decision::Deny),
        (mcp("github", "get_issue"), Decision::Ask),
        (mcp("github", "Create_issue"), Decision::Allow),
        (read("/trees/1/a", &[]), Decision::Ask),
        (tool(ToolSource::Builtin(BuiltinClass::Edit), "Task", Facts::default()), Decision::Deny),
        (tool(ToolSource::Builtin(BuiltinClass::Edit), "Edit", Facts::default()), Decision::Allow),
    ] {
        assert_eq!(told(&set, &run(), &action).0, expected, "{action:?}");
    }
}

#[test]
fn a_rule_that_means_nothing_is_refused() {
    for (subject, pattern, word, told) in [
        (
            Subject::Path,
            "src/",
            "a",
            "has an empty name between slashes (`dir/**` is a directory and all below)",
        ),
        (Subject::Path, "~bob/x", "a", "another user's home is written out"),
        (Subject::Model, "gpt-5", "a", "is not two names with `/` between them"),
        (Subject::Agent, "bot", "a", "is not two names with `@` between them"),
        (Subject::Host, "{a,b}", "a", "patterns know `*` and `?` only"),
        (
            Subject::Host,
            "b\u{fc}*.example",
            "a",
            "`b\u{fc}*` has `*` or `?` beside letters that hosts write as `xn--…`",
        ),
        (
            Subject::HostResidency,
            "fd00::*",
            "a",
            "`fd00::*` is no host (without scheme and port; an address of colons without `*`)",
        ),
        (
            Subject::Host,
            "a.example:443",
            "a",
            "`a.example:443` is no host (without scheme and port; an address of colons without `*`)",
        ),
        (Subject::Host, "a", "A b", "`A b` is not a label (lower-case letters, digits and `-`, at most 63)"),
        (Subject::HostResidency, "a", "unknown", "`unknown` is what has no rule"),
    ] {
        let made = Rule::new(subject, pattern, vec![word.to_owned()], Some(Path::new("/u")));
        assert_eq!(made.unwrap_err(), told, "{pattern}");
    }
    assert!(Rule::new(Subject::Path, "~/x", vec!["a".to_owned()], None).is_err());
}

#[test]
fn a_name_too_long_to_be_looked_at_is_denied() {
    let set = set(&[], vec![]);
    let long = "x".repeat(4097);
    for action in [read(&format!("/{long}"), &[]), web(&[&long]), mcp("github", &long), llm("p", &long)] {
        assert!(denied(&set, &run(), &action));
    }
}

/// A team sees its own rules, and no other team's; what the organisation says does not change for it.
#[test]
fn a_layer_sees_what_it_and_those_above_it_give() {
    let of = |layer, team: Option<&str>, word: &str| LayerRules {
        layer,
        team: team.map(str::to_owned),
        rules: vec![rule(Subject::Path, "**", &[word])],
    };
    let layers = vec![
        of(Layer::User, None, "user"),
        of(Layer::Team, Some("team"), "team"),
        of(Layer::Team, Some("other"), "other"),
        of(Layer::Org, None, "org"),
    ];
    let asks = ["org", "team", "other", "user"].map(|word| {
        format!(
            r#"@id("{word}") forbid (principal, action in Action::"tool", resource)
                 when {{ context.labels.contains("{word}") }};"#
        )
    });
    let asks = asks.join("\n");
    let all = [Layer::Org, Layer::Team, Layer::User, Layer::Repository].map(|layer| (layer, asks.as_str()));
    let (_, mut sources) = told(&set(&all, layers), &run(), &read("/trees/1/a", &[]));
    sources.sort();
    assert_eq!(
        sources,
        [
            "org/org",
            "repository/org",
            "repository/team",
            "repository/user",
            "team/org",
            "team/team",
            "user/org",
            "user/team",
            "user/user"
        ]
    );
}

const WORDS: [&str; 2] = ["a", "b"];

fn any_rule() -> impl Strategy<Value = Rule> {
    let subjects = [
        (Subject::Path, "**"),
        (Subject::Path, "src/*"),
        (Subject::Repository, "/repo"),
        (Subject::Host, "*"),
        (Subject::Host, "h.example"),
        (Subject::Model, "*/*"),
        (Subject::Tool, "github/*"),
        (Subject::Tool, "Read"),
        (Subject::Agent, "*@*"),
        (Subject::HostResidency, "*"),
        (Subject::ModelResidency, "*/*"),
    ];
    (0..subjects.len(), 0..WORDS.len())
        .prop_map(move |(at, word)| rule(subjects[at].0, subjects[at].1, &[WORDS[word]]))
}

/// Policies that look at labels in every way that could loosen them.
fn any_policy(layer: Layer) -> impl Strategy<Value = String> {
    let heads = if layer.may_permit() { &["forbid", "permit", "ask"][..] } else { &["forbid", "ask"] };
    let scopes = [
        "principal, action, resource",
        r#"principal in Role::"a", action, resource"#,
        r#"principal, action in Action::"tool", resource in ToolClass::"a""#,
    ];
    let conditions = [
        ("", ""),
        (r#"action in Action::"tool""#, r#"context.labels.contains("a")"#),
        (r#"action in Action::"tool""#, "context.labels.isEmpty()"),
        (r#"action in Action::"tool""#, r#"context.host_labels == ["a"]"#),
        (r#"action in Action::"tool""#, r#"context.common_host_labels.contains("a")"#),
        (r#"action in Action::"tool""#, r#"context.host_residency == ["unknown"]"#),
        ("action", r#"context.repository_labels.contains("a")"#),
        ("action", r#"principal in Role::"b""#),
        (r#"action in Action::"tool""#, r#"resource in ToolClass::"b""#),
        (r#"action == Action::"llm""#, r#"resource.residency == ["a"]"#),
        (r#"action == Action::"llm""#, "resource.labels.isEmpty()"),
    ];
    (0..heads.len(), 0..scopes.len(), 0..conditions.len(), any::<bool>()).prop_map(
        move |(head, scope, condition, is_unless)| {
            let head = match heads[head] {
                "ask" => "@decision(\"ask\") forbid",
                head => head,
            };
            match conditions[condition] {
                ("", _) => format!("{head} ({});", scopes[scope]),
                (action, condition) => format!(
                    "{head} (principal, {action}, resource) {} {{ {condition} }};",
                    if is_unless { "unless" } else { "when" }
                ),
            }
        },
    )
}

/// Policies and rules.
type Written = (Vec<String>, Vec<Rule>);

fn any_layer(layer: Layer) -> impl Strategy<Value = Written> {
    (proptest::collection::vec(any_policy(layer), 0..4), proptest::collection::vec(any_rule(), 0..4))
}

fn any_action() -> impl Strategy<Value = Action> {
    prop_oneof![
        Just(read("/trees/1/src/a", &["h.example"])),
        Just(read("/etc/a", &[])),
        Just(web(&["h.example", "i.example"])),
        Just(mcp("github", "create")),
        Just(llm("p", "claude-1")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever a layer adds, policies and labels, roles and classes: what those above it say stays as it was, so the
    /// answer never becomes easier.
    #[test]
    fn what_is_added_below_never_loosens(
        org_layer in any_layer(Layer::Org),
        team in any_layer(Layer::Team),
        user in any_layer(Layer::User),
        repository in proptest::collection::vec(any_policy(Layer::Repository), 0..3),
        action in any_action(),
        added in 1..4_usize,
    ) {
        let all = [(Layer::Org, org_layer), (Layer::Team, team), (Layer::User, user),
                   (Layer::Repository, (repository, Vec::new()))];
        let said_by = |layers: &[(Layer, Written)]| {
            let text = |policies: &[String]| {
                let named = policies.iter().enumerate().map(|(at, text)| format!("@id(\"p{at}\") {text}\n"));
                named.collect::<String>()
            };
            let texts: Vec<(Layer, String)> =
                layers.iter().map(|(layer, (policies, _))| (*layer, text(policies))).collect();
            let texts: Vec<(Layer, &str)> = texts.iter().map(|(layer, text)| (*layer, text.as_str())).collect();
            let given = |(layer, (_, rules)): &(Layer, Written)| LayerRules {
                layer: *layer,
                team: (*layer == Layer::Team).then(|| "team".to_owned()),
                rules: rules.clone(),
            };
            let set = set(&texts, layers.iter().map(given).collect());
            set.evaluate(&agent(), &run(), &action, &Circumstances::default())
        };
        let (before, after) = (said_by(&all[..added]), said_by(&all[..=added]));
        prop_assert!(after.decision >= before.decision, "{:?} became {:?}", before.decision, after.decision);
        let kept = before.reasons.iter().all(|reason| after.reasons.contains(reason));
        prop_assert!(kept, "{:?} became {:?}", before.reasons, after.reasons);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// What is found by beginning and end is what is found by holding all rules against it.
    #[test]
    fn no_rule_is_missed(
        patterns in proptest::collection::vec(
            proptest::collection::vec("([aAbäÄσςΣ]{1,2}|[*]|[*][*]|[?]|[aΣ][*]|[*][aςΣ])", 1..5),
            1..12,
        ),
        path in proptest::collection::vec("[aAbäÄσςΣ]{1,2}", 1..6),
    ) {
        let written: Vec<String> = patterns.iter().map(|names| names.join("/")).collect();
        let path = path.join("/");
        let each = |(at, text): (usize, &String)| rule(Subject::Path, text, &[&format!("w{at}")]);
        let rules: Vec<Rule> = written.iter().enumerate().map(each).collect();
        let expected: BTreeSet<&str> = rules
            .iter()
            .filter(|rule| rule.pattern.matches(&names(&path)))
            .map(|rule| rule.words[0].as_str())
            .collect();
        let labels = Labels::new(vec![org(rules.clone())]);
        let fact = PathFact { path: run().worktree.join(&path), place: Place::Worktree };
        prop_assert_eq!(labels.views("team")[0].path(&fact, &run()), expected);
    }
}
