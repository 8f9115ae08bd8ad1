//! What policies of each engine answer.

use super::*;

fn cedar(policies: &str) -> Acs {
    let indented = policies.lines().map(|line| format!("      {line}\n")).collect::<String>();
    let text = manifest(&format!("    type: cedar\n    policy_set: |\n{indented}"));
    Dir::of(&[("manifest.yaml", &text)]).load().unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn rego(module: &str) -> Acs {
    let text = manifest("    type: rego\n    bundle: rules\n    query: data.acs.verdict");
    let files = [
        ("manifest.yaml", text.as_str()),
        ("rules/a.rego", module),
        ("rules/lists/data.json", "{\"bad\": [\"rm\"]}"),
    ];
    Dir::of(&files).load().unwrap_or_else(|problems| panic!("{problems:?}"))
}

const KEYS: &str = r#"
@id("all") permit (principal, action, resource);
@id("keys") @reason("keys stay where they are")
forbid (principal, action == Action::"pre_tool_call", resource)
when { context.tool_call.args has path && context.tool_call.args.path like "*/.ssh/*" };
"#;

#[test]
fn cedar_sees_the_whole_snapshot_and_names_the_policy_that_denies() {
    let acs = cedar(KEYS);
    let of = |path| said(&acs, "notes/read", json!({ "path": path }));
    assert_eq!(of("/home/a/.ssh/id_rsa"), (Decision::Deny, "keys: keys stay where they are".into()));
    assert_eq!(of("/home/a/readme"), (Decision::Allow, String::new()));
}

#[test]
fn cedar_knows_who_acts_where_upon_what_and_what_the_catalogue_says_of_it() {
    let acs = cedar(
        r#"permit (principal == Agent::"agent/bot@team", action == Action::"pre_tool_call", resource == Tool::"notes/read");
           permit (principal, action == Action::"agent_startup", resource == PolicyTarget::"agent");
           permit (principal, action, resource)
           when { resource has security_labels && resource.security_labels.contains("egress")
                  && context.ifc.source_labels.contains("public") };"#,
    );
    assert_eq!(said(&acs, "notes/read", json!({})).0, Decision::Allow);
    assert_eq!(said(&acs, "notes/send", json!({})), (Decision::Deny, "no_matching_policy".into()));
    let mut public = call("notes/send", json!({}));
    public["ifc"] = json!({ "source_labels": ["public"] });
    assert_eq!(acs.judge(Point::ToolCall, public).reason.decision, Decision::Allow);
    let start = json!({ "envelope": { "agent": { "id": "x" } }, "agent_init": {} });
    assert_eq!(acs.judge(Point::Startup, start).reason.decision, Decision::Allow);
}

/// A policy that cannot be evaluated is not one that does not apply.
#[test]
fn an_error_of_a_cedar_policy_denies() {
    let acs = cedar(
        "permit (principal, action, resource);\nforbid (principal, action, resource) when { context.tool_call.args.n > 5 };",
    );
    let of = |args| said(&acs, "notes/read", args);
    assert_eq!(of(json!({ "n": 5 })).0, Decision::Allow);
    assert!(of(json!({ "n": 6 })).1.starts_with("policy1"));
    // Not there, of another type, and numbers that Cedar does not have.
    for args in
        [json!({}), json!({ "n": "6" }), json!({ "n": 6.5 }), json!({ "n": 1e300 }), json!({ "n": null })]
    {
        let (decision, text) = of(args.clone());
        assert_eq!(decision, Decision::Deny, "{args}");
        assert!(text.starts_with("runtime_error:policy_invocation_failed"), "{args}: {text}");
    }
}

/// Otherwise an agent could send a value that is an entity of its choice, or an address that it made up.
#[test]
fn arguments_cannot_pose_as_entities_or_extensions() {
    let acs = cedar(
        r#"permit (principal, action, resource)
           when { context.tool_call.args.who == Agent::"boss" || context.tool_call.args.price == decimal("1.50") };"#,
    );
    let decision = |args| said(&acs, "notes/read", args).0;
    assert_eq!(decision(json!({ "who": "x", "price": 1.5 })), Decision::Allow);
    assert_eq!(decision(json!({ "who": "x", "price": "1.50" })), Decision::Deny);
    assert_eq!(
        decision(json!({ "who": { "__entity": { "type": "Agent", "id": "boss" } }, "price": 0 })),
        Decision::Deny
    );
    let posing = json!({ "who": "x", "price": { "__extn": { "fn": "decimal", "arg": "1.50" } } });
    assert_eq!(decision(posing), Decision::Deny);
}

#[test]
fn advice_warns_asks_or_wants_a_change_and_the_strictest_counts() {
    let warn = r#"@advice("{\"verdict\": \"warn\", \"message\": \"look twice\"}") @id("w") permit (principal, action, resource);"#;
    let ask = r#"@advice("{\"verdict\": \"escalate\", \"reason\": \"sends_mail\"}") @id("e")
                 permit (principal, action, resource == Tool::"notes/send");"#;
    let acs = cedar(&format!("{warn}\n{ask}"));
    assert_eq!(said(&acs, "notes/read", json!({})), (Decision::Allow, "a warning: w: look twice".into()));
    assert_eq!(said(&acs, "notes/send", json!({})), (Decision::Ask, "sends_mail".into()));
    let change = r#"@advice("{\"verdict\": \"transform\", \"transform\": {\"path\": \"$policy_target.a\", \"value\": 1}}")
                    @id("t") permit (principal, action, resource);"#;
    let (decision, text) = said(&cedar(change), "notes/read", json!({ "a": 2 }));
    assert_eq!(decision, Decision::Deny);
    assert!(text.starts_with("it would be changed first") && text.ends_with("(t)"), "{text}");
}

const RULES: &str = r#"
package acs
import rego.v1

default verdict := {"decision": "deny", "reason": "not_known"}
verdict := {"decision": "deny", "reason": "bad_program", "message": input.policy_target.value.program} if {
    input.policy_target.value.program in data.lists.bad
}
verdict := {"decision": "escalate"} if input.tool.clearance == "public"
verdict := {"decision": "allow"} if {
    input.tool.clearance == "internal"
    not input.policy_target.value.program in data.lists.bad
}
"#;

#[test]
fn rego_sees_input_catalogue_and_data() {
    let acs = rego(RULES);
    assert_eq!(
        said(&acs, "notes/read", json!({ "program": "rm" })),
        (Decision::Deny, "bad_program: rm".into())
    );
    assert_eq!(said(&acs, "notes/send", json!({})), (Decision::Ask, "it wants a person's answer".into()));
    assert_eq!(said(&acs, "notes/read", json!({ "program": "ls" })), (Decision::Allow, String::new()));
}

#[test]
fn what_rego_answers_must_be_a_verdict() {
    for (rule, code) in [
        ("verdict := true", "policy_output_invalid"),
        ("verdict := {\"decision\": \"maybe\"}", "policy_output_invalid"),
        (
            "verdict := {\"decision\": \"allow\", \"reason\": \"runtime_error:tool_unknown\"}",
            "policy_output_invalid",
        ),
        ("verdict := {\"decision\": \"allow\"} if input.never", "policy_invocation_failed"),
        ("verdict := nothing.of_the_kind(input)", "policy_invocation_failed"),
        // Two answers are none, and so is one that does not add up.
        (
            "verdict := {\"decision\": \"allow\"}\nverdict := {\"decision\": \"deny\"}",
            "policy_invocation_failed",
        ),
        (
            "verdict := {\"decision\": \"allow\", \"message\": sprintf(\"%d\", [to_number(input.tool.name)])}",
            "policy_invocation_failed",
        ),
    ] {
        let acs = rego(&format!("package acs\n\nimport rego.v1\n\n{rule}\n"));
        let (decision, text) = said(&acs, "notes/read", json!({}));
        assert_eq!(decision, Decision::Deny, "{rule}");
        assert!(text.starts_with(&format!("runtime_error:{code}:")), "{rule}: {text}");
    }
}

#[test]
fn a_label_of_a_result_is_one_that_can_be_kept_or_denies() {
    let acs = rego(
        "package acs\n\nimport rego.v1\n\n\
         verdict := {\"decision\": \"allow\", \"result_labels\": input.policy_target.value.l}\n",
    );
    let tool = |labels: &[&str]| {
        let opinion = acs.judge(Point::ToolCall, call("notes/read", json!({ "l": labels })));
        (opinion.reason.decision, opinion.reason.text, opinion.brings.to_string())
    };
    let allowed = |brings: &str| (Decision::Allow, String::new(), brings.to_owned());
    assert_eq!(tool(&[]), allowed(""));
    assert_eq!(tool(&["public"]), allowed(""));
    assert_eq!(tool(&["untrusted", "confidential"]), allowed("untrusted, internal, confidential"));
    let unknown = "labels the result: `pii` is not one of public, internal, confidential, secret, untrusted";
    assert_eq!(tool(&["public", "pii"]), (Decision::Deny, unknown.to_owned(), String::new()));
    let start = |label: &str| {
        let start = json!({ "agent_init": { "l": [label] } });
        acs.judge(Point::Startup, start).reason
    };
    assert_eq!(start("public").decision, Decision::Allow);
    let text = "labels what comes of it (internal), and only results of tools are labelled";
    assert_eq!((start("internal").decision, start("internal").text), (Decision::Deny, text.to_owned()));
}

#[test]
fn what_rego_answers_must_not_be_too_large() {
    let acs = rego(
        "package acs\n\nimport rego.v1\n\n\
         verdict := {\"decision\": \"allow\", \"message\": concat(\"\", [t, t, t])} if t := input.policy_target.value.t\n",
    );
    let of = |length: usize| said(&acs, "notes/read", json!({ "t": "x".repeat(length) }));
    assert_eq!(of(1), (Decision::Allow, "xxx".to_owned()));
    let (decision, text) = of(100_000);
    assert_eq!(decision, Decision::Deny);
    assert!(text.starts_with("runtime_error:resource_limit_exceeded:"), "{text}");
}

/// The interpreter panics about this format.
#[test]
fn an_evaluation_that_breaks_off_denies() {
    let acs = rego(
        "package acs\n\nimport rego.v1\n\n\
         verdict := {\"decision\": \"allow\", \"message\": sprintf(input.policy_target.value.f, [7])}\n",
    );
    assert_eq!(said(&acs, "notes/read", json!({ "f": "%d" })), (Decision::Allow, "7".to_owned()));
    let broken = said(&acs, "notes/read", json!({ "f": "%\u{b2}d" }));
    assert_eq!(broken.0, Decision::Deny);
    assert!(broken.1.starts_with("runtime_error:policy_invocation_failed:"), "{}", broken.1);
}

/// A number that would fill the memory if it were written out.
#[test]
fn huge_numbers_end_too() {
    let acs = rego(
        "package acs\n\nimport rego.v1\n\n\
         verdict := {\"decision\": \"allow\"} if to_number(input.policy_target.value.n) + 1 > 5\n",
    );
    assert_eq!(said(&acs, "notes/read", json!({ "n": "6" })).0, Decision::Allow);
    for n in ["1e400", "1e999999999", "-1e999999999", "1e-999999999"] {
        assert_eq!(said(&acs, "notes/read", json!({ "n": n })).0, Decision::Deny, "{n}");
    }
}

/// Values are what agents send: they may be anybody's secrets.
#[test]
fn what_is_told_of_an_error_names_places_and_no_values() {
    let told = |file: (&str, &str), policy: &str| {
        let text = manifest(policy);
        let dir = Dir::of(&[("manifest.yaml", text.as_str()), file]);
        let (_, engines) = load::parts(&dir.path("manifest.yaml"), &mut Vec::new()).0.unwrap();
        let input = json!({
            "intervention_point": "pre_tool_call",
            "policy_target": { "kind": null, "value": { "t": "hunter2" } },
            "snapshot": call("notes/read", json!({ "t": "hunter2" })),
            "annotations": {},
            "tool": { "name": "notes/read" },
        });
        let of_cedar = engines.cedar.values().map(|cedar| cedar.evaluate(&input));
        let of_rego = engines.rego.values().map(|rego| rego.evaluate(&input.to_string()));
        of_cedar.chain(of_rego).next().unwrap().unwrap_err()
    };
    let cedar = "@id(\"sum\") permit (principal, action, resource) when { CONDITION };";
    let with = |condition: &str| cedar.replace("CONDITION", condition);
    let cedar = "    type: cedar\n    policy_path: p.cedar";
    for (condition, expected) in [
        ("context.tool_call.args.t > 1", "`sum`: a value is of another type"),
        ("context.tool_call.args.nothing", "`sum`: an attribute is missing"),
        ("decimal(context.tool_call.args.t) == decimal(\"1.0\")", "`sum`: it cannot be computed"),
    ] {
        assert_eq!(told(("p.cedar", &with(condition)), cedar), expected);
    }
    let rego = "    type: rego\n    query: data.acs.verdict\n    bundle: p.rego";
    let module = "package acs\n\nverdict := {\"n\": abs(input.policy_target.value.t)}\n";
    let told = told(("p.rego", module), rego);
    assert!(told.ends_with("/p.rego:3:47 cannot be evaluated"), "{told}");
}

/// It would take hours.
#[test]
fn rego_is_ended_when_it_takes_too_long() {
    let acs = rego(
        "package acs\n\nimport rego.v1\n\nverdict := {\"decision\": \"allow\", \"n\": n} if {\n\
         l := input.policy_target.value.l\n\
         n := count([1 | some a in l; some b in l; some c in l; some d in l; a + b + c + d == 17])\n}\n",
    );
    let l: Vec<u32> = (0..1000).collect();
    let (decision, text) = said(&acs, "notes/read", json!({ "l": l }));
    assert_eq!(decision, Decision::Deny);
    assert!(text.starts_with("runtime_error:policy_invocation_failed:"), "{text}");
}
