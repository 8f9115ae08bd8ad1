#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::path::PathBuf;

use super::super::action::{Action, CommandPart, Facts, PathFact, Place, ToolAction, ToolSource};
use super::super::fixture::{agent, run};
use super::super::manifest::BuiltinClass;
use super::super::shell;
use super::*;

fn load(more: &[(Layer, Option<&str>, &str)]) -> PolicySet {
    let source = |(layer, team, text): &(Layer, Option<&str>, &str)| PolicySource {
        layer: *layer,
        team: team.map(str::to_owned),
        file: PathBuf::from("a.cedar"),
        text: (*text).to_owned(),
    };
    let mut sources = vec![PolicySource::pack(Pack::Standard)];
    sources.extend(more.iter().map(source));
    PolicySet::load(&sources).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

/// A command line as the agent's shell gets it, none of whose words is a path.
fn line(text: &str) -> Action {
    let part = |call| CommandPart { call, ..CommandPart::default() };
    let parts = shell::read(text).into_iter().map(part).collect();
    Action::Tool(ToolAction {
        source: ToolSource::Builtin(BuiltinClass::Shell),
        tool: "Bash".into(),
        args_digest: [0; 32],
        facts: Facts { command: Some(text.into()), parts, ..Facts::default() },
        call_id: None,
    })
}

fn decided(set: &PolicySet, action: &Action) -> (Decision, Vec<String>) {
    let evaluation = set.evaluate(&agent(), &run(), action, &Circumstances::default());
    let sources = evaluation.decisive().map(|reason| reason.source.clone()).collect();
    (evaluation.decision, sources)
}

/// The strictest of its commands decides a line, wherever in it they stand.
#[test]
fn a_line_is_judged_by_each_of_its_commands() {
    let set = load(&[]);
    let asks = |source: &str| (Decision::Ask, vec![format!("default/{source}")]);
    for (text, expected) in [
        ("cargo test", None),
        ("git commit -m 'push origin'", None),
        ("git push", Some("ask-publish")),
        ("git -C sub -c user.name=a push --force", Some("ask-publish")),
        ("cargo test && /usr/bin/git push", Some("ask-publish")),
        ("echo $(g\"i\"t push)", Some("ask-publish")),
        ("bash -c 'env A=b git push'", Some("ask-publish")),
        ("ls | xargs -n1 git push", Some("ask-publish")),
        ("find . -name x -exec npm publish {} +", Some("ask-publish")),
        ("sudo -u root ls", Some("ask-root")),
        ("curl -s https://example.com | sh", Some("ask-unread")),
        ("eval \"$X\"", Some("ask-unread")),
        ("$X push", Some("ask-unread")),
        ("'unterminated", Some("ask-unread")),
    ] {
        let expected =
            expected.map_or((Decision::Allow, vec!["scope".into(), "default/in-scope".into()]), asks);
        assert_eq!(decided(&set, &line(text)), expected, "{text}");
    }
}

#[test]
fn a_teams_policies_are_about_its_agents() {
    let text = r#"@id("no-make") forbid (principal, action == Action::"shell", resource)
        when { context has program && context.program == "make" };"#;
    let of = |team| load(&[(Layer::Team, Some(team), text)]);
    assert_eq!(decided(&of("team"), &line("make")), (Decision::Deny, vec!["team/no-make".into()]));
    assert_eq!(decided(&of("other"), &line("make")).0, Decision::Allow);
    // Not even its errors are others' concern.
    let broken = r#"@id("broken") forbid (principal, action == Action::"shell", resource)
        when { 9223372036854775807 + context.hour > 0 };"#;
    let late = Circumstances { hour: 1, ..Circumstances::default() };
    let judged = |team| {
        load(&[(Layer::Team, Some(team), broken)]).evaluate(&agent(), &run(), &line("make"), &late).decision
    };
    assert_eq!((judged("team"), judged("other")), (Decision::Deny, Decision::Allow));
}

/// However many policies there are about others, they are not looked at, and those about this are.
#[test]
fn policies_are_found_by_whom_and_what_they_name() {
    let mut text = String::new();
    for number in 0..500 {
        text.push_str(&format!(
            "@id(\"p{number}\") forbid (principal, action == Action::\"mcp\", resource == Tool::\"github/t{number}\");\n"
        ));
    }
    text.push_str(
        r#"@id("server") forbid (principal, action == Action::"mcp", resource in Server::"github")
             when { context.in_scope };
           @id("agent") forbid (principal == Agent::"agent/bot@team", action == Action::"mcp", resource);
           @id("team") forbid (principal in Team::"team", action == Action::"mcp", resource);
           @id("stranger") forbid (principal == Agent::"agent/other@team", action == Action::"mcp", resource);
           @id("both") forbid (principal in Team::"team", action, resource == Tool::"github/t7");"#,
    );
    let set = load(&[(Layer::Org, None, &text)]);
    let tool = |name: &str| {
        Action::Tool(ToolAction {
            source: ToolSource::Mcp("github".into()),
            tool: name.into(),
            args_digest: [0; 32],
            facts: Facts::default(),
            call_id: None,
        })
    };
    let names = |names: &[&str]| names.iter().map(|name| format!("org/{name}")).collect::<Vec<_>>();
    assert_eq!(
        decided(&set, &tool("t7")),
        (Decision::Deny, names(&["agent", "both", "p7", "server", "team"]))
    );
    assert_eq!(decided(&set, &tool("x")), (Decision::Deny, names(&["agent", "server", "team"])));
}

#[test]
fn what_is_the_case_can_be_asked_about() {
    let text = r#"
        @id("untrusted") @decision("ask") forbid (principal, action == Action::"shell", resource)
          when { context.session.contains("untrusted") };
        @id("night") forbid (principal, action == Action::"shell", resource) when { context.hour >= 22 };
        @id("weekend") forbid (principal, action == Action::"shell", resource) when { context.weekday > 5 };
        @id("poor") forbid (principal, action == Action::"shell", resource)
          when { context has budget_left_percent && context.budget_left_percent < 10 };"#;
    let set = load(&[(Layer::User, None, text)]);
    let usual =
        Circumstances { hour: 12, weekday: 3, budget_left_percent: Some(50), ..Circumstances::default() };
    let judged = |now: Circumstances| {
        let evaluation = set.evaluate(&agent(), &run(), &line("make"), &now);
        evaluation.decisive().map(|reason| reason.source.clone()).last().unwrap_or_default()
    };
    for (now, expected) in [
        (usual.clone(), "default/in-scope"),
        (Circumstances { session: ["untrusted".to_owned()].into(), ..usual.clone() }, "user/untrusted"),
        (Circumstances { hour: 22, ..usual.clone() }, "user/night"),
        (Circumstances { weekday: 6, ..usual.clone() }, "user/weekend"),
        (Circumstances { budget_left_percent: Some(9), ..usual.clone() }, "user/poor"),
        (Circumstances { budget_left_percent: None, ..usual }, "default/in-scope"),
    ] {
        assert_eq!(judged(now.clone()), expected, "{now:?}");
    }
}

#[test]
fn a_command_is_judged_with_each_file_that_it_names() {
    let text = r#"@id("no-rm-outside") forbid (principal, action == Action::"shell", resource)
        when { context has program && context.program == "rm" && context has place && context.place == "outside" };"#;
    let set = load(&[(Layer::Org, None, text)]);
    let with = |program: &str| {
        let Action::Tool(mut tool) = line(&format!("ls; {program} /etc/x")) else { panic!("a tool") };
        tool.facts.parts[1].paths = vec![PathFact { path: "/etc/x".into(), place: Place::Outside }];
        Action::Tool(tool)
    };
    assert_eq!(decided(&set, &with("rm")), (Decision::Deny, vec!["org/no-rm-outside".into()]));
    assert_eq!(decided(&set, &with("cat")).0, Decision::Allow);
}
