//! The manifest, widened by just what was wanted.

use super::super::action::{Action, ToolSource};
use super::super::billing::Payers;
use super::{Changed, Tries};

pub(super) fn tries(tries: &mut Tries<'_>) {
    let environment = tries.case.run.environment;
    if !tries.case.agent.environments.contains(&environment) {
        attempt(tries, "environments", environment.name(), |changed| {
            changed.agent.environments.push(environment);
        });
    }
    match tries.case.action.clone() {
        Action::Launch(launch) => {
            let repository = launch.repository.to_string_lossy().into_owned();
            attempt(tries, "adapters", &launch.adapter, |changed| {
                changed.agent.adapters.push(launch.adapter.clone());
            });
            attempt(tries, "repositories", &repository, |changed| {
                changed.agent.repositories.push(repository.clone());
            });
            if tries.case.agent.billing != Payers::Either {
                tries.attempt(of_manifest(tries, "`billing: either`"), |changed| {
                    changed.agent.billing = Payers::Either;
                });
            }
        }
        Action::Llm(llm) => attempt(tries, "models", &llm.model, |changed| {
            changed.agent.models.push(llm.model.clone());
        }),
        Action::Tool(tool) => match tool.source {
            ToolSource::Builtin(class) => attempt(tries, "tools.builtin", class.name(), |changed| {
                changed.agent.tools.builtin.push(class);
            }),
            ToolSource::Mcp(server) => {
                let name = format!("{server}/{}", tool.tool);
                attempt(tries, "tools.mcp", &name, |changed| changed.agent.tools.mcp.push(name.clone()));
            }
            // No manifest can hold it.
            ToolSource::Foreign => {}
        },
        Action::Egress(_) => {}
    }
}

fn attempt(tries: &mut Tries<'_>, field: &str, value: &str, change: impl FnOnce(&mut Changed)) {
    let text = of_manifest(tries, &format!("`{value}` in `{field}`"));
    tries.attempt(text, change);
}

fn of_manifest(tries: &Tries<'_>, what: &str) -> String {
    format!("{what} of the manifest of {}", tries.case.agent.reference)
}
