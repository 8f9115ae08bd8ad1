#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::path::PathBuf;

use serde::Deserialize;

use super::*;
use crate::core::action::{Action, Facts, PathFact, Place, ToolAction, ToolSource};
use crate::core::decision::Decision;
use crate::core::fixture;
use crate::core::manifest::BuiltinClass;
use crate::core::policy::{Circumstances, Layer, Pack, PolicySet, PolicySource};

const GOOD: &str = "\
apiVersion: governance.toolkit/v1
name: rules
version: '1.0'
default_action: allow
rules:
  - name: one
    condition: tool_name == 'Bash'
    action: deny
";

fn shown(text: &str) -> String {
    match read(Path::new("g.yaml"), text, &[]) {
        Ok(read) => format!("{} rules, notes {:?}", read.toolkit.rules.len(), read.notes),
        Err(problems) => problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
    }
}

#[test]
fn what_would_be_ignored_is_refused_with_its_line() {
    assert_eq!(shown(GOOD), "1 rules, notes []");
    for (from, to, expected) in [
        ("version:", "vresion:", "g.yaml:3:1: vresion: is not a known field"),
        ("/v1", "/v2", "g.yaml:1:13: apiVersion: is not `governance.toolkit/v1`"),
        ("version: '1.0'", "extends: [base.yaml]", "g.yaml:3:10: extends: is not followed"),
        ("default_action: allow", "default_action: log", "g.yaml:4:17: default_action: "),
        (
            "    action: deny",
            "    action: warn",
            "g.yaml:8:13: rules[0].action: sounds like leave, but `govern()` denies it",
        ),
        ("    action: deny", "    action: log", "g.yaml:8:13: rules[0].action: sounds like leave"),
        ("    action: deny", "    limit: 10/hour", "g.yaml:8:12: rules[0].limit: cannot be said by a policy"),
        ("    action: deny", "    approvers: [bob]", "g.yaml:8:16: rules[0].approvers: would not be kept to"),
        ("    action: deny", "    stage: post_tool", "g.yaml:8:12: rules[0].stage: is not `pre_tool`"),
        ("    action: deny", "    conditions: {}", "g.yaml:8:5: rules[0].conditions: is not a known field"),
        (
            "tool_name == 'Bash'",
            "not tool_name == 'x'",
            "g.yaml:7:16: rules[0].condition: `not tool_name == 'x'` begins with",
        ),
        (
            "version: '1.0'",
            "agents: [did:mesh:1]",
            "g.yaml:3:10: agents[0]: `did:mesh:1` is no agent of yours",
        ),
        ("name: rules\n", "", "g.yaml:1:1: name: "),
        ("name: rules", "name: '!'", "g.yaml:2:7: name: has no letter or digit"),
        ("rules:\n", "---\nrules:\n", "g.yaml:6:1: is a second document"),
    ] {
        let told = shown(&GOOD.replacen(from, to, 1));
        assert!(told.contains(expected), "{to}: {told}");
    }
    let twice = format!("{GOOD}{}", GOOD[GOOD.find("  - name").unwrap()..].replace("one", "O-n-e"));
    assert_eq!(
        shown(&twice),
        "g.yaml:9:5: rules[1].name: has the same name as the rule in line 6, or nearly so"
    );
    let named =
        GOOD.replace("default_action: allow", "default_action: deny").replace("name: one", "name: Default");
    assert!(
        shown(&named).contains("g.yaml:6:5: rules[0].name: is the name of the policy"),
        "{}",
        shown(&named)
    );
    let off = format!("{GOOD}    enabled: false\n");
    assert_eq!(shown(&off), "0 rules, notes [\"rule `one` (line 6) is switched off and left out\"]");
}

#[test]
fn whom_it_is_about_can_be_said_instead() {
    let text = GOOD.replace("version: '1.0'", "agents: [did:mesh:1]");
    let agents = [fixture::agent().reference];
    assert_eq!(read(Path::new("g.yaml"), &text, &agents).unwrap().toolkit.agents, agents);
    let everybody = GOOD.replace("version: '1.0'", "agents: ['*']");
    assert_eq!(read(Path::new("g.yaml"), &everybody, &[]).unwrap().toolkit.agents, []);
}

#[derive(Deserialize)]
struct Golden {
    calls: Vec<Call>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Call {
    tool: String,
    path: Option<String>,
    command: Option<String>,
}

#[derive(Deserialize)]
struct Case {
    document: String,
    decisions: Vec<Decision>,
}

impl Call {
    fn action(&self) -> Action {
        let source = match self.tool.as_str() {
            "Read" => ToolSource::Builtin(BuiltinClass::Read),
            "Edit" => ToolSource::Builtin(BuiltinClass::Edit),
            "Bash" => ToolSource::Builtin(BuiltinClass::Shell),
            _ => ToolSource::Mcp("github".into()),
        };
        let paths = self.path.iter().map(|path| PathFact { path: path.into(), place: Place::Worktree });
        let facts = Facts { paths: paths.collect(), command: self.command.clone(), ..Facts::default() };
        Action::Tool(ToolAction {
            source,
            tool: self.tool.clone(),
            args_digest: [0; 32],
            facts,
            call_id: None,
        })
    }
}

/// `golden.py` beside this file wrote down what the toolkit itself decides.
#[test]
fn the_policies_decide_as_the_toolkit_does() {
    let golden: Golden = serde_json::from_str(include_str!("golden.json")).unwrap();
    let (agent, run) = (fixture::agent(), fixture::run());
    for case in &golden.cases {
        let read =
            read(Path::new("g.yaml"), &case.document, &[]).unwrap_or_else(|found| panic!("{found:#?}"));
        let text = read.toolkit.cedar();
        let source = PolicySource { layer: Layer::User, team: None, file: PathBuf::from("g.cedar"), text };
        let set = PolicySet::load(&[PolicySource::pack(Pack::Observe), source]).unwrap();
        let decide =
            |call: &Call| set.evaluate(&agent, &run, &call.action(), &Circumstances::default()).decision;
        let decided: Vec<Decision> = golden.calls.iter().map(decide).collect();
        assert_eq!(decided, case.decisions, "{}\n{}", case.document, read.toolkit.cedar());
    }
    assert_eq!((golden.cases.len(), golden.calls.len()), (120, 7));
}

/// The toolkit knows of one host. A call that names a good one beside another must not pass by it.
#[test]
fn of_several_hosts_the_worst_counts() {
    let (agent, run) = (fixture::agent(), fixture::run());
    let decided = |default: &str, condition: &str, action: &str, hosts: &[&str]| {
        let text = GOOD
            .replace("action: deny", &format!("action: {action}"))
            .replace("default_action: allow", &format!("default_action: {default}"))
            .replace("tool_name == 'Bash'", condition);
        let text = read(Path::new("g.yaml"), &text, &[]).unwrap().toolkit.cedar();
        let source = PolicySource { layer: Layer::User, team: None, file: PathBuf::from("g.cedar"), text };
        let set = PolicySet::load(&[PolicySource::pack(Pack::Observe), source]).unwrap();
        let facts = Facts { hosts: hosts.iter().map(|&host| host.to_owned()).collect(), ..Facts::default() };
        let (source, tool) = (ToolSource::Builtin(BuiltinClass::Shell), "Bash".to_owned());
        let tool = ToolAction { source, tool, args_digest: [0; 32], facts, call_id: None };
        set.evaluate(&agent, &run, &Action::Tool(tool), &Circumstances::default()).decision
    };
    let [good, evil, both] = [&["good.com"][..], &["evil.com"], &["evil.com", "good.com"]];
    let (allow, deny) = (Decision::Allow, Decision::Deny);
    for (default, condition, action, expected) in [
        ("allow", "host != 'good.com'", "deny", [allow, deny, deny, deny]),
        ("allow", "host == 'evil.com'", "deny", [allow, deny, deny, allow]),
        ("deny", "host == 'good.com'", "allow", [allow, deny, deny, deny]),
        ("deny", "host in ['good.com', 'x.com']", "allow", [allow, deny, deny, deny]),
        ("deny", "host != 'evil.com'", "allow", [allow, deny, deny, allow]),
    ] {
        let told = [good, evil, both, &[]].map(|hosts| decided(default, condition, action, hosts));
        assert_eq!(told, expected, "{default} {condition} {action}");
    }
}
