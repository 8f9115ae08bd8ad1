//! A manifest of the Agent Control Specification beside our own policies, with the real binary.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::approvals::asked;
use super::daemon::view;
use crate::fakes::home::{Home, Manifest};
use crate::fakes::mcp::Stdio;
use crate::fakes::scripted;
use crate::fakes::wait::until;

const PATIENCE: Duration = Duration::from_secs(30);

const MANIFEST: &str = "\
agent_control_specification_version: 0.3.1-beta
policies:
  start: { type: cedar, policy_set: 'permit (principal, action, resource);' }
  tools: { type: cedar, policy_path: tools.cedar }
  words: { type: rego, bundle: rules, query: data.notes.verdict }
intervention_points:
  agent_startup: { policy_target: $.agent_init, policy_target_kind: agent, policy: { id: start } }
  pre_tool_call:
    policy_target: $.tool_call.args
    tool_name_from: $.tool_call.name
    policy: { id: tools }
  agent_shutdown: { policy_target: $.summary, policy: { id: words } }
tools:
  notes/write_note: { clearance: internal }
approval: { timeout_seconds: 600 }
";
const TOOLS: &str = r#"
@id("all") permit (principal, action, resource);
@id("no-plans") @reason("plans stay with us")
forbid (principal, action == Action::"pre_tool_call", resource)
when { context.tool_call.args.name like "plan*" };
@id("mail") @advice("{\"verdict\": \"escalate\", \"message\": \"a person reads what is mailed\"}")
permit (principal, action == Action::"pre_tool_call", resource)
when { context.tool_call.args.name == "mail" };
"#;
const WORDS: &str = "package notes\n\nimport rego.v1\n\n\
    verdict := {\"decision\": \"deny\", \"reason\": \"too_short\"} if input.snapshot.summary.duration_seconds < 3600\n";

fn note(name: &str) -> Value {
    json!({ "mcp": "tools/call", "params": { "name": "notes_write_note",
        "arguments": { "name": name, "text": "x" } } })
}

fn start(home: &Home, steps: &[Value]) -> String {
    let agent = scripted::agent(&json!(steps));
    let words: Vec<&str> =
        ["run", "--detach", "command", "--"].into_iter().chain(agent.iter().map(String::as_str)).collect();
    home.run(&words).ok().stdout.trim().to_owned()
}

fn log(home: &Home, run: &str) -> String {
    home.run(&["logs", run]).ok().stdout.replace(['\r', '\n'], "")
}

fn wait_over(home: &Home, run: &str) {
    assert!(until(PATIENCE, || view(home, run)["state"] == "exited"), "{}", log(home, run));
}

/// A home with an agent and a server `notes`.
fn home() -> (Home, Stdio) {
    let mut home = Home::new();
    let notes = Stdio::new(&home.path("notes"));
    home.mcp_stdio("notes", &notes).agent("bot", &Manifest::default());
    (home, notes)
}

fn write(dir: &Path) {
    fs::create_dir_all(dir.join("rules")).unwrap();
    fs::write(dir.join("manifest.yaml"), MANIFEST).unwrap();
    fs::write(dir.join("tools.cedar"), TOOLS).unwrap();
    fs::write(dir.join("rules/words.rego"), WORDS).unwrap();
}

#[test]
fn a_manifest_denies_and_asks_what_our_policies_allow() {
    let (mut home, notes) = home();
    home.config("[acs]\nmanifest = \"acs/manifest.yaml\"\n");
    write(&home.agentsup().join("acs"));
    let doctor = home.run(&["doctor"]);
    assert!(doctor.stdout.contains("not declared and therefore denied: pre_model_call"), "{doctor}");

    let run = start(&home, &[note("diary"), note("plan-b"), note("mail")]);
    let question = asked(&home, &run);
    assert_eq!(question["why"], json!(["acs/tools: mail: a person reads what is mailed"]), "{question}");
    home.run(&["approve", question["id"].as_str().unwrap()]).ok();
    wait_over(&home, &run);
    assert_eq!(notes.calls().len(), 2, "the diary, and what a person allowed");
    let told = log(&home, &run);
    assert!(
        told.contains("agentsup denied `notes/write_note`: no-plans: plans stay with us (rec_"),
        "{told}"
    );

    let lines = home.run(&["audit", "list", "--json"]).ok().json_lines();
    let reasons = lines.iter().flat_map(|line| line["reasons"].as_array().into_iter().flatten());
    let its: Vec<String> = reasons
        .filter(|reason| reason["source"].as_str().unwrap().starts_with("acs/"))
        .map(|reason| {
            format!("{} {}", reason["source"].as_str().unwrap(), reason["decision"].as_str().unwrap())
        })
        .collect();
    assert_eq!(its, ["acs/start allow", "acs/tools allow", "acs/tools deny", "acs/tools ask"]);
    let ended = "ended, and acs/words said: too_short";
    let told = |words: &str| {
        let lines = home.run(&["audit", "list", "--json"]).ok().json_lines();
        lines.iter().any(|line| line["sentence"].as_str().unwrap().contains(words))
    };
    assert!(until(PATIENCE, || told(ended)), "its end was not seen");
    home.run(&["audit", "verify"]).ok();
}

#[test]
fn a_manifest_is_followed_and_one_with_problems_never_comes_into_force() {
    let (mut home, notes) = home();
    // Somewhere that is not there yet.
    let dir = home.path("elsewhere/acs");
    home.config(&format!("[acs]\nmanifest = \"{}\"\n", dir.join("manifest.yaml").display()));
    // What is configured and cannot be read is not left out: nothing runs.
    let any = || home.run(&["run", "--detach", "command", "--", "true"]);
    let refused = any();
    refused.exits(96);
    assert!(format!("{refused}").contains("acs/manifest.yaml: cannot be read"), "{refused}");
    write(&dir);
    assert!(until(PATIENCE, || any().code() == 0), "the directory was not seen coming");
    let denied = |home: &Home| {
        let before = notes.calls().len();
        let run = start(home, &[note("plan")]);
        wait_over(home, &run);
        notes.calls().len() == before
    };
    assert!(denied(&home));
    // It wants something that agentsup does not do: the last good one stays.
    let bad = format!("{MANIFEST}annotators: {{ a: {{ type: llm }} }}\n");
    fs::write(dir.join("manifest.yaml"), bad).unwrap();
    fs::write(dir.join("tools.cedar"), "permit (principal, action, resource);").unwrap();
    let doctor = home.run(&["doctor"]);
    doctor.exits(96);
    assert!(format!("{doctor}").contains("acs/manifest.yaml:16:"), "{doctor}");
    assert!(denied(&home));
    // Only a file that it names has changed.
    fs::write(dir.join("manifest.yaml"), MANIFEST).unwrap();
    assert!(until(PATIENCE, || !denied(&home)), "the policies were not read again");
}

/// The specification's core comes with an HTTP client, for manifests that lie elsewhere. None of its functions is in the
/// program, because nothing that is in the program calls one of them.
#[test]
fn the_program_has_no_way_to_fetch_anything_for_a_manifest() {
    let program = fs::read(env!("CARGO_BIN_EXE_agentsup")).unwrap();
    let has = |name: &str| program.windows(name.len()).any(|window| window == name.as_bytes());
    // A crate's functions are named after it, with the length of its name before it.
    assert!(has("32agent_control_specification_core"), "the program has no names, so that nothing is known");
    assert!(!has("4ureq"), "the HTTP client of the ACS core became reachable");
}
