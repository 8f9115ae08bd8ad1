#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::*;

fn rule(name: &str, says: Says, priority: i64, condition: &str) -> Rule {
    let condition = Condition::parse(condition).unwrap();
    Rule { name: name.into(), description: None, condition, says, priority }
}

#[test]
fn a_document_becomes_policies_that_permit_nothing() {
    let deny = Rule {
        description: Some("no \"force\"\nhere".into()),
        ..rule("No pushing!", Says::Deny, 0, "command == 'git push -f' and environment != 'dev'")
    };
    let toolkit = Toolkit {
        name: "Team rules".into(),
        agents: vec!["agent/bot@team".parse().unwrap()],
        otherwise: Otherwise::Deny,
        rules: vec![
            rule("look", Says::Allow, 10, "tool_name in ['Read', 'github/get_file']"),
            rule("ask", Says::Ask, 10, "tool_name != 'Bash' or path == '/etc/hosts'"),
            rule("later", Says::Allow, 10, "host == 'Example.com'"),
            deny,
        ],
    };
    insta::assert_snapshot!(toolkit.cedar(), @r#"
    // `Team rules` of the Agent Governance Toolkit (governance.toolkit/v1), written by `agentsup policy import`.
    // It permits nothing by itself: what it allows is what these policies leave alone.

    @id("team-rules-ask")
    @decision("ask")
    @reason("rule `ask` of `Team rules`")
    forbid (principal, action in Action::"tool", resource)
    when { [Agent::"agent/bot@team"].contains(principal) && (!(resource.name == "Bash") || (context has path && context.path == "/etc/hosts")) }
    unless {
      (resource == Tool::"github/get_file" || resource.name == "Read")
    };

    @id("team-rules-no-pushing")
    @reason("no \"force\"\nhere")
    forbid (principal, action in Action::"tool", resource)
    when { [Agent::"agent/bot@team"].contains(principal) && ((context has command && context.command == "git push -f") && !(context.environment == "dev")) };

    @id("team-rules-default")
    @reason("no rule of `Team rules` allows it")
    forbid (principal, action in Action::"tool", resource)
    when { [Agent::"agent/bot@team"].contains(principal) }
    unless {
      (resource == Tool::"github/get_file" || resource.name == "Read") ||
      !(resource.name == "Bash") || (context has path && context.path == "/etc/hosts") ||
      (!(context.hosts.isEmpty()) && ["example.com"].containsAll(context.hosts)) ||
      (context has command && context.command == "git push -f") && !(context.environment == "dev")
    };
    "#);
}

/// What the toolkit makes of each without a word, as its own evaluator was seen to.
#[test]
fn what_the_toolkit_reads_otherwise_than_it_is_written_is_refused() {
    for (condition, why) in [
        ("not tool_name == 'x'", "begins with a negation"),
        ("(tool_name == 'x')", "holds parentheses"),
        ("tool_name == 'x' and (path == '/a' or path == '/b')", "holds parentheses"),
        ("command.startswith('rm')", "holds parentheses"),
        ("command == 'this or that'", "a text that holds ` or `"),
        ("command == 'this and that'", "a text that holds ` or ` or ` and `"),
        ("'x' in tool_name", "does not begin with a field"),
        ("tool_name == 'x' tool_name", "has more, or less"),
        ("tool_name == x", "has more, or less"),
        ("tool_name = 'x'", "has more, or less"),
        ("tool_name == ''", "has more, or less"),
        ("tool_name in []", "has more, or less"),
        ("tool_name in ['a', b]", "has more, or less"),
        ("tool_name in ['a'] or", "has more, or less"),
        ("tool_name", "asks whether a field is true"),
        ("command > 5", "compares a number"),
        ("", "does not begin with a field"),
        (" tool_name == 'x'", "begins with a space"),
        ("tool_name == 'x' AND path == '/a'", "has more, or less"),
        ("data.contains_pii == 'yes'", "`data.contains_pii` is nothing that policies here can look at"),
        ("path == 'a/b'", "is no absolute path"),
        ("environment == 'prod'", "there is no environment `prod` here"),
    ] {
        let unread = Condition::parse(condition).expect_err(condition);
        assert!(unread.message.contains(why), "{condition}: {}", unread.message);
        assert!(!unread.hint.is_empty());
    }
    let long = format!("tool_name == '{}'", "x".repeat(2000));
    assert!(Condition::parse(&long).unwrap_err().message.starts_with("is longer than 2000"));
}

#[test]
fn of_rules_that_do_not_deny_the_highest_wins_and_of_equal_ones_the_first() {
    let rules = |asks: i64, allows: i64| Toolkit {
        name: "t".into(),
        agents: Vec::new(),
        otherwise: Otherwise::Allow,
        rules: vec![
            rule("ask", Says::Ask, asks, "tool_name == 'a'"),
            rule("allow", Says::Allow, allows, "tool_name == 'b'"),
        ],
    };
    for (asks, allows, yields) in [(0, 0, false), (1, 0, false), (0, 1, true)] {
        assert_eq!(rules(asks, allows).cedar().contains("unless"), yields, "{asks} {allows}");
    }
}
