//! Manifests as people write them: what each engine answers, what is refused with its line, what fails closed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod conformance;
mod engines;
mod refused;

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::core::problem::Problem;

/// A directory with a manifest and what it names.
pub(super) struct Dir(TempDir);

impl Dir {
    pub(super) fn of(files: &[(&str, &str)]) -> Self {
        let dir = Self(tempfile::tempdir().unwrap());
        for (name, text) in files {
            let path = dir.path(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().canonicalize().unwrap().join(name)
    }

    pub(super) fn load(&self) -> Result<Acs, Vec<Problem>> {
        let mut problems = Vec::new();
        let (acs, _) = load(&self.path("manifest.yaml"), &mut problems);
        assert_eq!(acs.is_none(), !problems.is_empty(), "{problems:?}");
        acs.ok_or(problems)
    }

    /// `file:line: field: message` of each problem.
    pub(super) fn problems(&self) -> Vec<String> {
        let root = format!("{}/", self.path("").display());
        let told = |problem: &Problem| problem.to_string().replace(root.trim_end_matches('/'), "");
        self.load()
            .unwrap_err()
            .iter()
            .map(|problem| told(problem).trim_start_matches('/').to_owned())
            .collect()
    }
}

/// A manifest with one policy for every tool call of two tools.
pub(super) fn manifest(policy: &str) -> String {
    format!(
        "agent_control_specification_version: 0.3.1-beta
policies:
  p:
{policy}
intervention_points:
  pre_tool_call:
    policy_target: $.tool_call.args
    policy_target_kind: tool_args
    tool_name_from: $.tool_call.name
    policy: {{ id: p }}
  agent_startup:
    policy_target: $.agent_init
    policy_target_kind: agent
    policy: {{ id: p }}
tools:
  notes/read: {{ clearance: internal }}
  notes/send: {{ clearance: public, security_labels: [egress] }}
"
    )
}

pub(super) fn call(tool: &str, args: Value) -> Value {
    json!({
        "envelope": { "agent": { "id": "agent/bot@team" } },
        "tool_call": { "name": tool, "args": args, "id": null },
        "ifc": { "source_labels": ["internal"] },
    })
}

/// Decision and text.
pub(super) fn said(acs: &Acs, tool: &str, args: Value) -> (Decision, String) {
    let reason = acs.judge(Point::ToolCall, call(tool, args)).reason;
    assert_eq!(reason.source, "acs/p");
    (reason.decision, reason.text)
}

#[test]
fn what_cannot_be_evaluated_is_denied_and_says_why() {
    let files = Dir::of(&[(
        "manifest.yaml",
        &manifest("    type: cedar\n    policy_set: 'permit (principal, action, resource);'"),
    )]);
    let acs = files.load().unwrap();
    let told = |point, snapshot| {
        let reason = acs.judge(point, snapshot).reason;
        assert_eq!(reason.decision, Decision::Deny, "{reason:?}");
        format!("{} {}", reason.source, reason.text.split(':').take(2).collect::<Vec<_>>().join(":"))
    };
    let deep = (0..70).fold(json!(1), |inner, _| json!([inner]));
    let rows = [
        (Point::ModelCall, json!({}), "acs/pre_model_call runtime_error:intervention_point_unknown"),
        (Point::ToolCall, json!({}), "acs/p runtime_error:path_missing"),
        (Point::ToolCall, json!({ "tool_call": 1 }), "acs/p runtime_error:path_type_mismatch"),
        (Point::ToolCall, call("notes/other", json!({})), "acs/p runtime_error:tool_unknown"),
        (Point::ToolCall, call("notes/read", deep), "acs/p runtime_error:resource_limit_exceeded"),
        (
            Point::ToolCall,
            call("notes/read", json!({ "a": "x".repeat(1 << 20) })),
            "acs/p runtime_error:resource_limit_exceeded",
        ),
        // Nobody who acts.
        (Point::Startup, json!({ "agent_init": {} }), "acs/p runtime_error:policy_invocation_failed"),
    ];
    for (point, snapshot, expected) in rows {
        assert_eq!(told(point, snapshot), expected);
    }
    assert_eq!(said(&acs, "notes/read", json!({})), (Decision::Allow, String::new()));
}

#[test]
fn what_is_denied_because_it_is_not_declared_is_told_and_what_is_declared_in_vain() {
    let text = manifest("    type: cedar\n    policy_set: 'permit (principal, action, resource);'");
    let acs = Dir::of(&[("manifest.yaml", &text)]).load().unwrap();
    let expected =
        "agent_startup by `p`, pre_tool_call by `p`; not declared and therefore denied: pre_model_call";
    assert_eq!(acs.coverage().to_string(), expected);
    let text = text.replace("  agent_startup:", "  output:");
    let acs = Dir::of(&[("manifest.yaml", &text)]).load().unwrap();
    let expected = "pre_tool_call by `p`; not declared and therefore denied: agent_startup, pre_model_call; \
                    never asked here: output";
    assert_eq!(acs.coverage().to_string(), expected);
}

/// Without its file there is no manifest, and with a problem no set of files comes into force.
#[test]
fn a_manifest_that_is_not_there_is_a_problem() {
    let dir = Dir::of(&[]);
    assert!(dir.problems()[0].starts_with("manifest.yaml: cannot be read: "), "{:?}", dir.problems());
    let mut problems = Vec::new();
    assert!(load(&dir.path("nowhere/manifest.yaml"), &mut problems).0.is_none());
    assert_eq!(problems.len(), 1, "{problems:?}");
}

#[test]
fn parents_are_read_from_the_same_directory_and_merged() {
    let child = "agent_control_specification_version: 0.3.1-beta
extends: [base/all.yaml]
policies: {}
intervention_points:
  pre_tool_call: { policy_target: $.tool_call.args, policy: { id: p } }
";
    let base = "agent_control_specification_version: 0.3.1-beta
policies: { p: { type: cedar, policy_path: p.cedar } }
intervention_points:
  agent_startup: { policy_target: $.agent_init, policy: { id: p } }
approval: { timeout_seconds: 30, on_timeout: deny }
";
    let files = [
        ("manifest.yaml", child),
        ("base/all.yaml", base),
        ("base/p.cedar", "@id(\"no\") forbid (principal, action, resource);"),
    ];
    let dir = Dir::of(&files);
    let mut problems = Vec::new();
    let (acs, read) = load(&dir.path("manifest.yaml"), &mut problems);
    assert_eq!(problems, []);
    let acs = acs.unwrap();
    assert_eq!(said(&acs, "any", json!({})), (Decision::Deny, "no".into()));
    assert_eq!(acs.approval_timeout_ms(), Some(30_000));
    let read: Vec<PathBuf> = read.into_keys().collect();
    assert_eq!(read, ["base/all.yaml", "base/p.cedar", "manifest.yaml"].map(|name| dir.path(name)));
}
