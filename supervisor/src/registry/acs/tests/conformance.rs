//! The specification's own language-neutral cases, where `tests/acs/setup` could fetch them. They are not part of this
//! repository.
//!
//! Each case says what a policy answers. Here a Rego module is made that answers it, so that a case goes through our
//! reader, our engine and the core, as a user's manifest does.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::super::engines::NoAnnotators;
use super::super::load::parts;
use super::super::spec;

/// How many there are: of evaluation, of failing closed.
const CASES: (usize, usize) = (25, 14);

/// What does not apply, and why the specification lets it be so.
const NOT_OURS: [(&str, &str); 4] = [
    ("spec-10-annotators.case-01", NO_ANNOTATORS),
    ("annotation-failed", NO_ANNOTATORS),
    ("annotation-timeout", NO_ANNOTATORS),
    (
        "spec-17-approval.case-01",
        "section 17.1: how an escalation is answered is the host's concern and no part of the policy's input, and an SDK \
         may offer resolvers. No resolver is offered here: the gate asks a person, binds the answer to the digest of the \
         action, and evaluates everything again once it is there",
    ),
];
const NO_ANNOTATORS: &str = "section 10: the specification has no engine for annotators, each is the host's to provide. \
    None is provided here: a manifest that wants one is refused when it is loaded";

/// The manifest of a case with a policy that answers as the case says.
fn written(case: &Value, dir: &Path) -> PathBuf {
    let answer = match case.get("policy_behavior") {
        Some(_) => "verdict := 1 if input.never".to_owned(),
        None => format!("verdict := {}", case.get("policy_response").unwrap_or(&Value::Null)),
    };
    fs::write(dir.join("case.rego"), format!("package acs\n\nimport rego.v1\n\n{answer}\n")).unwrap();
    let text = case["manifest_yaml"].as_str().unwrap();
    let rego = "type: rego\n    bundle: case.rego\n    query: data.acs.verdict";
    let text = text
        .replace("type: rego\n    query: data.acs.verdict", rego)
        .replace("type: test\n", &format!("{rego}\n"))
        .replace("type: custom\n    adapter: fixture", rego);
    let file = dir.join("manifest.yaml");
    fs::write(&file, text).unwrap();
    file
}

fn limits(case: &Value) -> spec::Limits {
    let mut limits = spec::Limits::default();
    if let Some(bytes) = case.pointer("/limits/max_snapshot_bytes").and_then(Value::as_u64) {
        limits.max_snapshot_bytes = usize::try_from(bytes).unwrap();
    }
    limits
}

fn evaluated(case: &Value) -> Result<spec::InterventionPointResult, String> {
    let dir = tempfile::tempdir().unwrap();
    let file = written(case, dir.path());
    let mut problems = Vec::new();
    let Some((manifest, engines)) = parts(&file, &mut problems).0 else {
        return Err(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
    };
    let runtime =
        spec::Runtime::with_limits(manifest, Arc::new(NoAnnotators), Arc::new(engines), limits(case))
            .unwrap();
    let mode = if case["mode"] == "evaluate_only" {
        spec::EnforcementMode::EvaluateOnly
    } else {
        spec::EnforcementMode::Enforce
    };
    Ok(runtime.evaluate_intervention_point(spec::InterventionPointRequest {
        intervention_point: case["intervention_point"].as_str().unwrap().parse().unwrap(),
        snapshot: case["snapshot"].clone(),
        mode,
    }))
}

fn check(id: &str, case: &Value) {
    let result = evaluated(case).unwrap_or_else(|problems| panic!("{id}: {problems}"));
    let expected = &case["expected"];
    assert_eq!(result.verdict.decision.as_str(), expected["decision"], "{id}");
    let input = |pointer: &str| {
        let input = result.policy_input.as_ref().unwrap_or_else(|| panic!("{id}: no policy input"));
        input.pointer(pointer).cloned().unwrap_or_default()
    };
    for (name, expected) in expected.as_object().unwrap() {
        let found = match name.as_str() {
            "decision" => continue,
            "reason" => result.verdict.reason.clone().map_or(Value::Null, Value::from),
            "transformed_policy_target" => result.transformed_policy_target.clone().unwrap_or_default(),
            "policy_target" => input("/policy_target/value"),
            "tool_name" => input("/tool/name"),
            "action_identity" => {
                Value::from(if result.action_identity.is_some() { "present" } else { "absent" })
            }
            other => panic!("{id}: `{other}` is not known"),
        };
        assert_eq!(found, *expected, "{id}: {name}");
    }
}

fn check_parity(id: &str, case: &Value) {
    let reason = case["expected_reason"].as_str().unwrap();
    if case["operation"] == "build" {
        assert!(evaluated(case).is_err(), "{id}: it was loaded");
        return;
    }
    let result = evaluated(case).unwrap_or_else(|problems| panic!("{id}: {problems}"));
    let found = (result.verdict.decision.as_str(), result.verdict.reason.as_deref());
    assert_eq!(found, ("deny", Some(reason)), "{id}");
}

#[test]
fn the_specifications_own_cases_hold_where_they_apply() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/acs/.cases");
    if !dir.join(".fetched").exists() {
        return println!("left out: `tests/acs/setup` has not fetched the cases");
    }
    let read = |path: &Path| serde_json::from_str::<Value>(&fs::read_to_string(path).unwrap()).unwrap();
    let mut files: Vec<PathBuf> =
        fs::read_dir(dir.join("cases")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let parity = read(&dir.join("fail_closed_error_parity.json"));
    let parity = parity["cases"].as_array().unwrap();
    assert_eq!((files.len(), parity.len()), CASES);
    let cases = files.iter().map(|path| (read(path), check as fn(&str, &Value)));
    let all = cases.chain(parity.iter().map(|case| (case.clone(), check_parity as fn(&str, &Value))));
    let (mut passed, mut not_ours) = (0, 0);
    for (case, check) in all {
        let id = case["id"].as_str().unwrap().to_owned();
        if let Some((_, why)) = NOT_OURS.iter().find(|(name, _)| *name == id) {
            println!("does not apply: {id}: {why}");
            not_ours += 1;
        } else {
            check(&id, &case);
            println!("passed: {id}");
            passed += 1;
        }
    }
    println!("{passed} passed, {not_ours} do not apply");
    assert_eq!((passed, not_ours), (CASES.0 + CASES.1 - NOT_OURS.len(), NOT_OURS.len()));
}
