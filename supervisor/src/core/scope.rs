//! The scope of a manifest: what an agent may do at all, before any policy speaks. Policies can only narrow it.

use super::action::{Action, LaunchAction, ToolAction, ToolSource};
use super::decision::{Decision, Reason, Stage};
use super::manifest::{Agent, Lifecycle};
use super::run::Run;

/// Whether the agent's time is over at the given instant, in milliseconds since 1970.
pub fn expired(agent: &Agent, now_ms: i64) -> bool {
    agent.deprovision_at_ms.is_some_and(|at| now_ms >= at)
}

/// What the manifest says about an action: one reason per thing it judges, never none.
pub fn check(agent: &Agent, run: &Run, action: &Action) -> Vec<Reason> {
    let mut reasons = Vec::with_capacity(2);
    let mut deny = |text: String| reasons.push(Reason::new(SOURCE, Decision::Deny, text).at(Stage::Rbac));
    if run.agent != agent.reference {
        deny(format!("the run belongs to `{}`, not to `{}`", run.agent, agent.reference));
    }
    if agent.lifecycle == Lifecycle::Retired {
        deny("the agent is retired".into());
    }
    if !agent.environments.contains(&run.environment) {
        deny(format!("the environment `{}` is not in the agent's scope", run.environment.name()));
    }
    match action {
        Action::Launch(launch) => check_launch(agent, launch, deny),
        Action::Llm(llm) if !any(&agent.models, &llm.model) => {
            deny(format!("the model `{}` is not in the agent's scope", llm.model));
        }
        Action::Tool(tool) => {
            if let Some(text) = objection_to_tool(agent, tool) {
                deny(text);
            }
        }
        Action::Llm(_) | Action::Egress(_) => {}
    }
    if reasons.is_empty() {
        reasons.push(Reason::new(SOURCE, Decision::Allow, "").at(Stage::Rbac));
    }
    reasons
}

const SOURCE: &str = "scope";

fn check_launch(agent: &Agent, launch: &LaunchAction, mut deny: impl FnMut(String)) {
    if !agent.adapters.contains(&launch.adapter) {
        deny(format!("the adapter `{}` is not in the agent's scope", launch.adapter));
    }
    if !agent.billing.permit(launch.billing) {
        let billing = launch.billing.name();
        deny(format!(
            "`billing: {billing}` is not in the agent's manifest, so its runs are not paid that way"
        ));
    }
    let path = launch.repository.to_string_lossy();
    let remote = launch.remote.as_deref();
    if !any(&agent.repositories, &path) && !remote.is_some_and(|remote| any(&agent.repositories, remote)) {
        deny(format!("the repository `{path}` is not in the agent's scope"));
    }
}

fn objection_to_tool(agent: &Agent, tool: &ToolAction) -> Option<String> {
    match &tool.source {
        ToolSource::Builtin(class) if agent.tools.builtin.contains(class) => None,
        ToolSource::Builtin(class) => {
            Some(format!("`{}` is a {} tool, which is not in the agent's scope", tool.tool, class.name()))
        }
        ToolSource::Mcp(server) => {
            let name = format!("{server}/{}", tool.tool);
            let outside = !any(&agent.tools.mcp, &name);
            outside.then(|| format!("the tool `{name}` is not in the agent's scope"))
        }
        ToolSource::Foreign => Some(format!("`{}` is a tool of a server that is not agentsup's", tool.tool)),
    }
}

fn any(globs: &[String], text: &str) -> bool {
    globs.iter().any(|glob| matches(glob, text))
}

/// Whether a text matches a glob: `*` stands for any characters, `/` included, `?` for exactly one; everything else
/// for itself, case and all.
pub fn matches(glob: &str, text: &str) -> bool {
    let glob: Vec<char> = glob.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let (mut g, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        if glob.get(g) == Some(&'*') {
            retry = Some((g, t));
            g += 1;
        } else if glob.get(g).is_some_and(|&want| want == '?' || want == text[t]) {
            g += 1;
            t += 1;
        } else if let Some((star, from)) = retry {
            retry = Some((star, from + 1));
            g = star + 1;
            t = from + 1;
        } else {
            return false;
        }
    }
    glob[g..].iter().all(|&rest| rest == '*')
}

/// Why a text is not a glob of manifests; `None` if it is one.
pub fn objection_to_glob(glob: &str) -> Option<&'static str> {
    if glob.is_empty() {
        Some("an empty glob matches nothing")
    } else if glob.contains(['[', ']', '{', '}', '\\', '!']) {
        Some("globs know `*` and `?` only")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use crate::core::billing::{Billing, Payers};
    use proptest::prelude::*;

    use super::super::action::Facts;
    use super::super::fixture::{agent, run};
    use super::super::principal::AgentRef;
    use super::*;

    #[test]
    fn globs_know_two_signs() {
        for (glob, text, expected) in [
            ("*", "", true),
            ("*", "/home/u/repo", true),
            ("claude-*", "claude-sonnet-5", true),
            ("claude-*", "claude", false),
            ("claude-*", "Claude-x", false),
            ("*-mini", "gpt-6-mini", true),
            ("*-mini", "gpt-6-mini-x", false),
            ("gpt-?", "gpt-6", true),
            ("gpt-?", "gpt-", false),
            ("gpt-?", "gpt-66", false),
            ("github/*", "github/create_issue", true),
            ("github/*", "githubx/y", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("", "", true),
            ("", "x", false),
            ("é?", "éü", true),
            ("a.c", "abc", false),
        ] {
            assert_eq!(matches(glob, text), expected, "{glob:?} over {text:?}");
        }
        assert_eq!(objection_to_glob("claude-*?"), None);
        assert_eq!(objection_to_glob(""), Some("an empty glob matches nothing"));
        for glob in ["[ab]", "{a,b}", "\\*", "!a"] {
            assert_eq!(objection_to_glob(glob), Some("globs know `*` and `?` only"));
        }
    }

    /// The plain definition, to compare with.
    fn matches_slowly(glob: &[char], text: &[char]) -> bool {
        match (glob.split_first(), text.split_first()) {
            (None, None) => true,
            (Some(('*', rest)), None) => matches_slowly(rest, text),
            (Some(('*', rest)), Some((_, more))) => matches_slowly(rest, text) || matches_slowly(glob, more),
            (Some((want, rest)), Some((have, more))) => {
                (*want == '?' || want == have) && matches_slowly(rest, more)
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn globs_match_as_defined(glob in "[ab*?]{0,6}", text in "[ab]{0,8}") {
            let slow = matches_slowly(&glob.chars().collect::<Vec<_>>(), &text.chars().collect::<Vec<_>>());
            prop_assert_eq!(matches(&glob, &text), slow);
        }
    }

    #[test]
    fn an_agents_time_ends_at_its_instant() {
        let mut agent = agent();
        assert!(!expired(&agent, i64::MAX));
        agent.deprovision_at_ms = Some(1000);
        assert_eq!([999, 1000, 1001].map(|now| expired(&agent, now)), [false, true, true]);
    }

    #[test]
    fn a_subscription_pays_only_where_the_manifest_says_so() {
        let mut agent = agent();
        let launch = |billing| LaunchAction {
            adapter: "claude".into(),
            repository: "/repo".into(),
            remote: None,
            billing,
        };
        let reasons = |agent: &Agent, billing| check(agent, &run(), &Action::Launch(launch(billing)));
        let text =
            "`billing: subscription` is not in the agent's manifest, so its runs are not paid that way";
        let denied = Reason::new("scope", Decision::Deny, text).at(Stage::Rbac);
        assert_eq!(reasons(&agent, Billing::Subscription), [denied]);
        agent.billing = Payers::Either;
        let allowed = [Reason::new("scope", Decision::Allow, "").at(Stage::Rbac)];
        assert_eq!(reasons(&agent, Billing::Subscription), allowed);
        assert_eq!(reasons(&agent, Billing::Keys), allowed);
    }

    #[test]
    fn no_manifest_holds_the_tools_of_a_foreign_server() {
        let mut agent = agent();
        agent.tools.mcp = vec!["*".into()];
        let tool = |source| {
            let tool = ToolAction {
                source,
                tool: "mcp__evil__run".into(),
                args_digest: [0; 32],
                facts: Facts::default(),
                call_id: None,
            };
            check(&agent, &run(), &Action::Tool(tool)).remove(0)
        };
        assert_eq!(tool(ToolSource::Mcp("foreign".into())).decision, Decision::Allow);
        let text = "`mcp__evil__run` is a tool of a server that is not agentsup's".to_owned();
        assert_eq!(tool(ToolSource::Foreign), Reason::new("scope", Decision::Deny, text).at(Stage::Rbac));
    }

    #[test]
    fn a_repository_is_known_by_its_path_or_its_remote() {
        let mut agent = agent();
        agent.repositories = vec!["/work/*".into(), "*github.com?acme/*".into()];
        let launch = |repository: &str, remote: Option<&str>| {
            let launch = LaunchAction {
                adapter: "claude".into(),
                repository: repository.into(),
                remote: remote.map(Into::into),
                billing: Billing::Keys,
            };
            check(&agent, &run(), &Action::Launch(launch))
        };
        let allowed = [Reason::new("scope", Decision::Allow, "").at(Stage::Rbac)];
        assert_eq!(launch("/work/x", None), allowed);
        assert_eq!(launch("/home/x", Some("git@github.com:acme/x.git")), allowed);
        let text = "the repository `/home/x` is not in the agent's scope".to_owned();
        let denied = [Reason::new("scope", Decision::Deny, text).at(Stage::Rbac)];
        assert_eq!(launch("/home/x", None), denied);
        assert_eq!(launch("/home/x", Some("git@github.com:other/x.git")), denied);
    }

    #[test]
    fn a_run_of_another_agent_is_denied() {
        let mut run = run();
        run.agent = AgentRef::new("other", "team").unwrap();
        let reasons = check(
            &agent(),
            &run,
            &Action::Launch(LaunchAction {
                adapter: "claude".into(),
                repository: "/repo".into(),
                remote: None,
                billing: Billing::Keys,
            }),
        );
        let text = "the run belongs to `agent/other@team`, not to `agent/bot@team`".to_owned();
        assert_eq!(reasons, [Reason::new("scope", Decision::Deny, text).at(Stage::Rbac)]);
    }
}
