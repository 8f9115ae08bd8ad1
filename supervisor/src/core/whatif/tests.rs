#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use super::super::action::{CommandPart, Facts, LaunchAction, LlmAction};
use super::super::billing::Billing;
use super::super::data::{Carried, DataRules, Treatment};
use super::super::detect::Kind;
use super::super::fixture;
use super::super::manifest::BuiltinClass;
use super::super::policy::own::Own;
use super::super::policy::{Layer, Pack, PolicySet, PolicySource};
use super::super::shell;
use super::*;

fn tool(source: ToolSource, name: &str, facts: Facts) -> Action {
    Action::Tool(ToolAction { source, tool: name.into(), args_digest: [0; 32], facts, call_id: None })
}

fn line(text: &str) -> Action {
    let part = |call| CommandPart { call, ..CommandPart::default() };
    let parts = shell::read(text).into_iter().map(part).collect();
    let facts = Facts { command: Some(text.into()), parts, ..Facts::default() };
    tool(ToolSource::Builtin(BuiltinClass::Shell), "Bash", facts)
}

fn prompt(model: &str, data: Carried) -> Action {
    Action::Llm(LlmAction { data, ..LlmAction::new("anthropic", model) })
}

fn edit(path: &str, place: Place) -> Action {
    let facts = Facts { paths: vec![PathFact { path: path.into(), place }], ..Facts::default() };
    tool(ToolSource::Builtin(BuiltinClass::Edit), "Edit", facts)
}

fn at(hour: u8) -> Circumstances {
    Circumstances { hour, weekday: 6, budget_left_percent: Some(7), ..Circumstances::default() }
}

fn told(more: &str, action: &Action, now: &Circumstances) -> Vec<String> {
    told_by(&DataRules::default(), more, action, now)
}

fn told_by(data: &DataRules, more: &str, action: &Action, now: &Circumstances) -> Vec<String> {
    let org = PolicySource { layer: Layer::Org, team: None, file: "org.cedar".into(), text: more.into() };
    let policies = PolicySet::load(&[PolicySource::pack(Pack::Standard), org]).unwrap();
    let (agent, run) = (fixture::agent(), fixture::run());
    let ways = ways(
        Rules { policies: &policies, data, own: &Own::None },
        Case { agent: &agent, run: &run, action, now },
    );
    ways.into_iter().map(|way| format!("{:?}: {}", way.decision, way.change).to_lowercase()).collect()
}

#[test]
fn what_is_allowed_needs_nothing() {
    assert_eq!(told("", &line("make"), &at(1)), Vec::<String>::new());
}

/// What the standard pack and the manifest keep from happening.
#[test]
fn each_change_that_is_told_was_tried() {
    let billing = Billing::Subscription;
    let launch = LaunchAction { adapter: "claude".into(), repository: "/r".into(), remote: None, billing };
    let mut facts = Facts::default();
    facts.data.kinds.insert(Kind::Jwt, 1);
    let mcp = |server: &str, facts: &Facts| tool(ToolSource::Mcp(server.into()), "post", facts.clone());
    for (action, expected) in [
        (edit("/etc/x", Place::Outside), &["allow: paths in the run's worktree only"][..]),
        (line("cargo test && git push"), &["allow: a person's yes", "allow: the line without `git push`"]),
        (
            line("curl -s x | sh"),
            &[
                "allow: a person's yes",
                "allow: the line without `sh`",
                "allow: a line that shows what it runs",
            ],
        ),
        (
            prompt("gpt-6", Carried::default()),
            &["allow: `gpt-6` in `models` of the manifest of agent/bot@team"],
        ),
        (Action::Launch(launch), &["allow: `billing: either` of the manifest of agent/bot@team"]),
        (mcp("github", &facts), &["allow: the same without the data that was found in it"]),
        (
            mcp("jira", &Facts::default()),
            &["allow: `jira/post` in `tools.mcp` of the manifest of agent/bot@team"],
        ),
        // Two things stand in the way, and no single change helps.
        (mcp("jira", &facts), &[]),
    ] {
        assert_eq!(told("", &action, &at(1)), expected, "{action:?}");
    }
}

/// What other policies keep from happening.
#[test]
fn each_change_is_tried_whatever_policies_look_at() {
    for (when, text, expected) in [
        ("context.hour < 8 || context.hour >= 18", "make", &["allow: between 08:00 and 18:00 utc"][..]),
        ("context.weekday > 5", "make", &["allow: from monday to friday"]),
        (
            "context has budget_left_percent && context.budget_left_percent < 20",
            "make",
            &["allow: 20 % left in its budgets"],
        ),
        (r#"!(principal.purpose like "*Deploy*")"#, "make", &["allow: an agent whose purpose is `deploy`"]),
        (
            r#"principal.lifecycle == "production""#,
            "make",
            &["allow: an agent with `lifecycle: experimental`"],
        ),
        // Denied as it is, asked without what denies it.
        (
            r#"context has program && context.program == "rm""#,
            "git push; rm x",
            &["ask: the line without `rm x`"],
        ),
        // How the line would be written without it is not known.
        (
            r#"context has program && context.program == "rm"
            || !(context has command && context.command like "*rm*")"#,
            "make; rm x",
            &[],
        ),
        ("true", "make", &[]),
    ] {
        let forbid =
            format!(r#"@id("x") forbid (principal, action == Action::"shell", resource) when {{ {when} }};"#);
        assert_eq!(told(&forbid, &line(text), &at(1)), expected, "{when}");
    }
}

#[test]
fn what_a_run_has_seen_can_stand_in_the_way() {
    let forbid = |label: &str| {
        format!(
            r#"@id("{label}") forbid (principal, action == Action::"shell", resource)
            when {{ context.session.contains("{label}") }};"#
        )
    };
    let seen = |labels: &[&str]| {
        let session = labels.iter().map(|label| (*label).to_owned()).collect();
        Circumstances { session, ..at(12) }
    };
    let one = told(&forbid("untrusted"), &line("make"), &seen(&["untrusted", "internal"]));
    assert_eq!(
        one,
        [
            "allow: a run that has not seen anything `untrusted`",
            "allow: a run that has not seen anything yet"
        ]
    );
    let both = forbid("untrusted") + &forbid("secret");
    let both = told(&both, &line("make"), &seen(&["untrusted", "secret"]));
    assert_eq!(both, ["allow: a run that has not seen anything yet"]);
}

/// Rules about data are rules like any other.
#[test]
fn a_person_is_asked_about_data_too() {
    let mut facts = Facts { command: Some("x".into()), ..Facts::default() };
    facts.data.kinds.insert(Kind::Jwt, 1);
    let action = tool(ToolSource::Builtin(BuiltinClass::Shell), "Bash", facts);
    assert_eq!(
        DataRules::default().treatment(super::super::data::Destination::Shell, Kind::Jwt).0,
        Treatment::Ask
    );
    assert_eq!(
        told("", &action, &at(1)),
        ["allow: a person's yes", "allow: the same without the data that was found in it"]
    );
}

#[test]
fn what_a_prompt_holds_can_stand_in_the_way() {
    let data = Carried { kinds: [(Kind::Jwt, 1)].into(), ..Carried::default() };
    let mut rules = DataRules::default();
    assert_eq!(told_by(&rules, "", &prompt("claude-x", data.clone()), &at(1)), Vec::<String>::new());
    rules.model.kinds.insert(Kind::Jwt, Treatment::Block);
    let told = told_by(&rules, "", &prompt("claude-x", data), &at(1));
    assert_eq!(told, ["allow: the same without the data that was found in it"]);
}
