//! The scope of a manifest: what an agent may do at all, before any policy speaks. Policies can only narrow it.

use super::action::{Action, LaunchAction, ToolAction, ToolSource};
use super::decision::{Decision, Reason};
use super::manifest::{Agent, Lifecycle};
use super::run::Run;

/// Whether the agent's time is over at the given instant, in milliseconds since 1970.
pub fn expired(agent: &Agent, now_ms: i64) -> bool {
    agent.deprovision_at_ms.is_some_and(|at| now_ms >= at)
}

/// What the manifest says about an action: one reason per thing it judges, never none.
pub fn check(agent: &Agent, run: &Run, action: &Action) -> Vec<Reason> {
    let mut reasons = Vec::with_capacity(2);
    let mut deny =
        |text: String| reasons.push(Reason { source: SOURCE.into(), decision: Decision::Deny, text });
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
        reasons.push(Reason { source: SOURCE.into(), decision: Decision::Allow, text: String::new() });
    }
    reasons
}

const SOURCE: &str = "scope";

fn check_launch(agent: &Agent, launch: &LaunchAction, mut deny: impl FnMut(String)) {
    if !agent.adapters.contains(&launch.adapter) {
        deny(format!("the adapter `{}` is not in the agent's scope", launch.adapter));
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
