//! `agentsup policy explain`: whether something would be allowed, and why.

use clap::ArgGroup;

use super::super::output::{self, Answer, Cell, Tone, cell};
use super::super::{Outcome, ask};
use super::{ended, says, staged};
use crate::api::answers::explain::{ExplainParams, ExplainView, Wanted};
use crate::api::ops::PolicyExplain;
use crate::core::error::{Code, Failure};
use crate::core::manifest::{BuiltinClass, Environment};
use crate::sys::env;

/// Say whether something would be allowed, and why
///
/// Nothing happens and nothing is recorded. What you name is read as it is when an agent does it:
/// command lines by a shell's grammar, paths through symlinks, arguments by the rules about data.
/// Without --run it is a run that would be started from here, whose worktree does not exist yet.
/// Budgets, people and an ACS manifest are asked only when it happens.
#[derive(Debug, clap::Args)]
#[command(
    group = ArgGroup::new("wanted").required(true).multiple(true)
        .args(["tool", "command", "path", "host", "mcp", "model", "launch"]),
    after_help = "\
Examples:
  agentsup policy explain --command 'git push'
  agentsup policy explain --run latest --tool edit --path ../other/file
  agentsup policy explain --agent bot --mcp github/create_issue --arguments '{\"title\":\"x\"}'
  agentsup policy explain --model gpt-6 --environment production
  agentsup policy explain --launch --adapter codex"
)]
pub(super) struct Args {
    /// One of the agent's own tools: read, edit, shell, web or other, and its name
    #[arg(long, value_name = "CLASS[:NAME]", conflicts_with_all = ["mcp", "model", "launch"])]
    tool: Option<String>,
    /// The command line of a shell
    #[arg(long, value_name = "LINE", conflicts_with_all = ["mcp", "model", "launch"])]
    command: Option<String>,
    /// A path that the tool touches, relative to the worktree; without --tool an edit
    #[arg(long, value_name = "PATH", conflicts_with_all = ["mcp", "model", "launch"])]
    path: Vec<String>,
    /// A host that the agent's web tool fetches from
    #[arg(long, value_name = "HOST", conflicts_with_all = ["mcp", "model", "launch", "command"])]
    host: Option<String>,
    /// A tool of an MCP server
    #[arg(long, value_name = "SERVER/TOOL", conflicts_with_all = ["model", "launch"])]
    mcp: Option<String>,
    /// Its arguments, a JSON object
    #[arg(long, value_name = "JSON", requires = "mcp", default_value = "{}")]
    arguments: String,
    /// A model, at the provider whose it is or at the one that is named
    #[arg(long, value_name = "[PROVIDER/]MODEL", conflicts_with = "launch")]
    model: Option<String>,
    /// The start of a run
    #[arg(long)]
    launch: bool,
    /// Who acts; your personal agent if not given
    #[arg(long, value_name = "NAME", conflicts_with = "run")]
    agent: Option<String>,
    /// In this run, with what it has seen: its id, an ending of it, its branch, or `latest`
    #[arg(long, value_name = "RUN")]
    run: Option<String>,
    /// How the run would be launched
    #[arg(long, value_name = "ADAPTER", conflicts_with = "run")]
    adapter: Option<String>,
    /// Where it would act: dev, staging or production
    #[arg(long, value_name = "ENVIRONMENT", value_parser = environment)]
    environment: Option<Environment>,
    /// A label of what the run would have seen, such as `untrusted`
    #[arg(long = "label", value_name = "LABEL")]
    labels: Vec<String>,
    #[command(flatten)]
    answer: Answer,
}

fn environment(text: &str) -> Result<Environment, String> {
    [Environment::Dev, Environment::Staging, Environment::Production]
        .into_iter()
        .find(|environment| environment.name() == text)
        .ok_or_else(|| "one of dev, staging, production".to_owned())
}

pub(super) fn perform(args: Args) -> Outcome {
    let directory = env::working_directory().map_err(|error| Failure::new(Code::Usage, error.to_string()))?;
    let wanted = wanted(&args)?;
    let params = ExplainParams {
        wanted,
        agent: args.agent,
        run: args.run,
        adapter: args.adapter,
        environment: args.environment,
        labels: args.labels,
        directory,
    };
    let explained = ask(async |client| client.call::<PolicyExplain>(params).await)?;
    Ok(args.answer.give(&explained, show))
}

fn wanted(args: &Args) -> Result<Wanted, Failure> {
    if let Some(name) = &args.mcp {
        let (server, tool) = name
            .split_once('/')
            .filter(|(server, tool)| !server.is_empty() && !tool.is_empty())
            .ok_or_else(|| {
                Failure::new(Code::Usage, format!("`{name}` names no tool of a server"))
                    .hint("agentsup policy explain --mcp SERVER/TOOL")
            })?;
        let (server, tool, arguments) = (server.to_owned(), tool.to_owned(), args.arguments.clone());
        return Ok(Wanted::Mcp { server, tool, arguments });
    }
    if let Some(model) = &args.model {
        return Ok(Wanted::Model(model.clone()));
    }
    if args.launch {
        return Ok(Wanted::Launch);
    }
    let (class, name) = match &args.tool {
        Some(text) => {
            let (class, name) =
                text.split_once(':').map_or((text.as_str(), None), |(class, name)| (class, Some(name)));
            let found = BuiltinClass::ALL.into_iter().find(|one| one.name() == class).ok_or_else(|| {
                Failure::new(Code::Usage, format!("`{class}` is no class of tools"))
                    .hint("one of: read, edit, shell, web, other")
            })?;
            (found, name)
        }
        None if args.command.is_some() => (BuiltinClass::Shell, None),
        None if args.host.is_some() => (BuiltinClass::Web, None),
        None => (BuiltinClass::Edit, None),
    };
    let url = |host: &String| if host.contains("://") { host.clone() } else { format!("https://{host}/") };
    Ok(Wanted::Tool {
        class,
        name: name.unwrap_or(class.name()).to_owned(),
        command: args.command.clone(),
        paths: args.path.clone(),
        urls: args.host.iter().map(url).collect(),
    })
}

fn show(view: &ExplainView) {
    let what =
        if view.on.is_empty() { view.target.clone() } else { format!("{} on {}", view.target, view.on) };
    let run = view.run.map_or_else(|| format!("a new one, with {}", view.adapter), |run| run.short());
    let mut facts: Vec<(&str, Cell)> = vec![
        ("agent", cell(&view.agent).tone(Tone::Strong)),
        ("run", cell(format_args!("{run}, in {}", view.environment.name()))),
        ("wanted", cell(format_args!("{} {what}", view.action))),
    ];
    facts.extend(view.commands.iter().map(|command| ("would run", cell(command))));
    facts.extend(view.paths.iter().map(|path| ("touches", cell(path))));
    facts.push(("decision", says(view.decision)));
    staged(&mut facts, &view.stages, &view.others);
    ended(&mut facts, &view.ways);
    output::facts(&facts);
}
