//! What is refused when it is loaded, each with its line.

use super::*;

fn refused(policy: &str, files: &[(&str, &str)]) -> String {
    let text = manifest(policy);
    refused_text(&text, files)
}

fn refused_text(text: &str, files: &[(&str, &str)]) -> String {
    let mut all = vec![("manifest.yaml", text)];
    all.extend(files);
    Dir::of(&all).problems().join("\n")
}

const PERMIT: &str = "    type: cedar\n    policy_set: 'permit (principal, action, resource);'";

#[test]
fn nothing_can_make_this_process_fetch_anything() {
    let all = manifest(PERMIT);
    let rows = [
        (
            all.clone() + "extends: [\"https://example.invalid/base.yaml\"]\n",
            "extends[0]: agentsup fetches no manifest from a URL",
        ),
        (
            all.clone() + "extends:\n- { url: \"https://example.invalid/b\", sha256: x }\n",
            "extends[0]: agentsup fetches no manifest from a URL",
        ),
        (
            all.clone() + "annotators: { a: { type: endpoint, url: \"https://example.invalid\" } }\n",
            "annotators.a: agentsup asks no classifier, model or endpoint while it decides",
        ),
        (
            all.clone() + "annotators: { a: { type: llm } }\n",
            "annotators.a: agentsup asks no classifier, model or endpoint while it decides",
        ),
    ];
    for (text, expected) in rows {
        let told = refused_text(&text, &[]);
        assert!(told.starts_with("manifest.yaml:") && told.ends_with(expected), "{told}");
    }
    let bundle = "    type: rego\n    query: data.a.b\n    bundle_url: { url: \"https://example.invalid/b\", sha256: x }";
    let told = refused(bundle, &[]);
    assert!(
        told.starts_with("manifest.yaml:6:17: policies.p.bundle_url: agentsup fetches no bundle"),
        "{told}"
    );
    // Asking over the network is not compiled into the interpreter either.
    let send =
        "package a\n\nb := {\"decision\": \"allow\"} if http.send({\"url\": input.u}).status_code == 200\n";
    let told = refused("    type: rego\n    query: data.a.b\n    bundle: a.rego", &[("a.rego", send)]);
    assert_eq!(told, "a.rego:3:1: `http.send` is not offered: nothing is fetched to decide");
}

#[test]
fn what_is_not_done_is_not_accepted() {
    let all = manifest(PERMIT);
    let with = |from: &str, to: &str| refused_text(&all.replace(from, to), &[]);
    let approval = |fields: &str| refused_text(&format!("{all}approval:\n  {fields}\n"), &[]);
    let rows = [
        (
            refused("    type: test", &[]),
            "manifest.yaml:4:11: policies.p.type: policies of type `test` are not evaluated here (cedar, rego)",
        ),
        (
            refused("    type: custom\n    adapter: x", &[]),
            "manifest.yaml:4:11: policies.p.type: policies of type `custom` are not evaluated here (cedar, rego)",
        ),
        (
            with("  pre_tool_call:", "  before_tool:"),
            "manifest.yaml:8:5: intervention_points.before_tool: `before_tool` is not an intervention point",
        ),
        (
            with("{ id: p }", "{ id: p, principal: x }"),
            "manifest.yaml:11:22: intervention_points.pre_tool_call.policy.principal: is not a known field\nmanifest.yaml:15:22: intervention_points.agent_startup.policy.principal: is not a known field",
        ),
        (
            with("{ id: p }", "{ id: q }"),
            "manifest.yaml:12:3: agent_startup: intervention point agent_startup references unknown policy 'q'",
        ),
        (
            with("{ id: p }", "{ id: p, query: data.a.b }"),
            "manifest.yaml:3:3: p: a binding's `query` is for policies of type rego",
        ),
        (
            with("0.3.1-beta", "0.9-x"),
            "manifest.yaml: unsupported agent_control_specification_version '0.9-x'; supported versions are 0.3.1-beta, 0.3.1-beta-agt, 0.3.0-alpha, 0.3.0-alpha-agt",
        ),
        (with("tools:", "tool:"), "manifest.yaml:16:1: tool: is not a known field"),
        (
            approval("on_timeout: allow"),
            "manifest.yaml:20:15: approval.on_timeout: where nobody answers in time, agentsup denies (`deny`)",
        ),
        (
            approval("fatigue_threshold: 3"),
            "manifest.yaml:20:22: approval.fatigue_threshold: agentsup bounds by itself how often people are asked",
        ),
        (
            approval("timeout_seconds: 0"),
            "manifest.yaml:20:20: approval.timeout_seconds: is not from 1 to 2700, as long as agents wait",
        ),
        (
            approval("default_resolver: boss"),
            "manifest.yaml:20:21: approval.default_resolver: no resolver `boss` is declared",
        ),
        (
            approval("resolvers: { boss: { type: webhook } }"),
            "manifest.yaml:20:30: approval.resolvers.boss.type: who answers here is a person at agentsup (`agentsup`)",
        ),
    ];
    let wrong: Vec<_> = rows.into_iter().filter(|(told, expected)| told != expected).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn policies_with_faults_are_told_with_their_line() {
    let cedar = |text: &str| refused("    type: cedar\n    policy_path: p.cedar", &[("p.cedar", text)]);
    let rego =
        |text: &str| refused("    type: rego\n    query: data.a.b\n    bundle: p.rego", &[("p.rego", text)]);
    let advised =
        |advice: &str| cedar(&format!("\n@advice(\"{advice}\")\npermit (principal, action, resource);"));
    let rows = [
        (cedar("\npermit (principal, action);"), "p.cedar:2:1: "),
        (
            cedar("permit (principal == ?principal, action, resource);"),
            "p.cedar:1:1: templates are not supported",
        ),
        (advised("{}"), "p.cedar:2:1: `@advice` has no `verdict` of warn, escalate or transform"),
        (
            advised("{\\\"verdict\\\": \\\"allow\\\"}"),
            "p.cedar:2:1: `@advice` has no `verdict` of warn, escalate or transform",
        ),
        (advised("{\\\"verdict\\\": \\\"transform\\\"}"), "p.cedar:2:1: `@advice` has no `transform`"),
        (
            advised(
                "{\\\"verdict\\\": \\\"transform\\\", \\\"transform\\\": {\\\"path\\\": \\\"$policy_targets\\\", \\\"value\\\": 1}}",
            ),
            "p.cedar:2:1: `@advice` changes something else than `$policy_target`",
        ),
        (
            advised("{\\\"verdict\\\": \\\"warn\\\", \\\"reason\\\": \\\"runtime_error:x\\\"}"),
            "p.cedar:2:1: `@advice` gives a reserved reason",
        ),
        (
            cedar("@advice(\"{}\") forbid (principal, action, resource);"),
            "p.cedar:1:1: `@advice` says how a permission is given: a `forbid` has none",
        ),
        (rego("package a\n\nb := {"), "p.rego:3:1: "),
        (rego("package a\n\nc := 1"), "manifest.yaml:3:3: p: `data.a.b`: "),
        (rego("package a\n\nb := numbers.range(1, input.n)"), "p.rego:3:1: `numbers.range` is not offered"),
    ];
    for (told, expected) in rows {
        assert!(told.starts_with(expected), "{told}\n  expected {expected}");
    }
}

#[test]
fn a_schema_holds_policies_to_what_it_knows() {
    let schema = r#"entity Agent; entity Tool; entity PolicyTarget;
        action "pre_tool_call" appliesTo { principal: [Agent], resource: [Tool], context: { tool_call: { name: String } } };"#;
    let policy = |text: &str| {
        let files = [("p.cedar", text), ("s.cedarschema", schema)];
        let fields = "    type: cedar\n    policy_path: p.cedar\n    schema_path: s.cedarschema";
        let text = manifest(fields);
        let mut all = vec![("manifest.yaml", text.as_str())];
        all.extend(files);
        Dir::of(&all).load()
    };
    let good = policy(
        "permit (principal, action == Action::\"pre_tool_call\", resource) when { context.tool_call.name == \"notes/read\" };",
    );
    assert_eq!(said(&good.unwrap(), "notes/read", json!({})).0, Decision::Allow);
    let bad = policy(
        "permit (principal, action == Action::\"pre_tool_call\", resource) when { context.tool_call.nmae == \"x\" };",
    );
    assert_eq!(bad.unwrap_err().len(), 1);
}

#[test]
fn files_are_read_from_the_directory_of_the_manifest_only() {
    let outside = Dir::of(&[("p.cedar", "permit (principal, action, resource);")]);
    let out = outside.path("p.cedar");
    let told = refused(&format!("    type: cedar\n    policy_path: {}", out.display()), &[]);
    assert!(
        told.starts_with("manifest.yaml: `") && told.contains("leads out of the manifest's directory"),
        "{told}"
    );
    let loops = "agent_control_specification_version: 0.3.1-beta\nextends: [manifest.yaml]\n";
    assert_eq!(
        refused_text(loops, &[]),
        "manifest.yaml: extends itself, or too long a chain of parents leads to it"
    );
    let missing = refused("    type: cedar\n    policy_path: nowhere.cedar", &[]);
    assert!(missing.starts_with("nowhere.cedar: cannot be read"), "{missing}");
}

/// What is left out of a directory of policies could be the one that forbids.
#[test]
fn a_directory_of_policies_is_read_whole_or_not_at_all() {
    let cedar = manifest("    type: cedar\n    policy_path: policies");
    let all = "permit (principal, action, resource);";
    let dir = |more: &[(&str, &str)]| {
        let mut files = vec![("manifest.yaml", cedar.as_str()), ("policies/a.cedar", all)];
        files.extend(more);
        Dir::of(&files)
    };
    assert!(dir(&[("policies/.hidden/b.cedar", "not read")]).load().is_ok());
    let forbids = "forbid (principal, action, resource);";
    let linked = dir(&[("elsewhere/b.cedar", forbids)]);
    std::os::unix::fs::symlink("../elsewhere/b.cedar", linked.path("policies/b.cedar")).unwrap();
    assert_eq!(said(&linked.load().unwrap(), "notes/read", json!({})).0, Decision::Deny, "a link inside");
    let linked = dir(&[("elsewhere/b.cedar", forbids)]);
    std::os::unix::fs::symlink("../elsewhere", linked.path("policies/more")).unwrap();
    assert_eq!(linked.problems(), ["policies/more: is a link to a directory, which is not followed"]);
    let outside = Dir::of(&[("b.cedar", forbids)]);
    let linked = dir(&[]);
    std::os::unix::fs::symlink(outside.path("b.cedar"), linked.path("policies/b.cedar")).unwrap();
    assert!(
        linked.problems()[0].contains("leads out of the manifest's directory"),
        "{:?}",
        linked.problems()
    );
    let broken = dir(&[]);
    std::os::unix::fs::symlink("nowhere", broken.path("policies/b.cedar")).unwrap();
    assert!(broken.problems()[0].contains("cannot be read"), "{:?}", broken.problems());
    let names: Vec<String> = (0..1002).map(|n| format!("policies/{n}.cedar")).collect();
    let many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
    assert!(dir(&many).problems()[0].contains("holds more than"), "{:?}", dir(&many).problems());
}
