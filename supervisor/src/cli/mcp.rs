//! `agentsup mcp`: the MCP servers behind the proxy.

use std::collections::BTreeMap;

use super::output::{self, Answer, Cell, Tone, cell};
use super::{Outcome, ask};
use crate::api::answers::mcp::{AddParams, ServerState, ServerView};
use crate::api::ops::{McpAdd, McpList, Nothing};
use crate::core::error::{Code, Failure};

/// List and add MCP servers
///
/// Agents see them all through one proxy, filtered by what their manifest allows.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    List(ListArgs),
    Add(AddArgs),
}

/// List the configured servers and what they are doing
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  agentsup mcp list

A server is started when the first agent needs it.")]
struct ListArgs {
    #[command(flatten)]
    answer: Answer,
}

/// Add a server to config.toml
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  agentsup mcp add github --set GITHUB_TOKEN=keyring:github -- github-mcp-server stdio
  agentsup mcp add docs --url https://example.com/mcp
  agentsup mcp add docs --url https://example.com/mcp --set Authorization=keyring:docs")]
struct AddArgs {
    /// Its name, in front of its tools' names
    name: String,
    /// An endpoint of streamable HTTP, instead of a command
    #[arg(long)]
    url: Option<String>,
    /// A variable of the program, or a header; a value may be `keyring:NAME` or `env:NAME`
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// The program and its arguments
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
    #[command(flatten)]
    answer: Answer,
}

pub(super) fn perform(args: Args) -> Outcome {
    match args.verb {
        Verb::List(args) => list(&args),
        Verb::Add(args) => add(args),
    }
}

fn list(args: &ListArgs) -> Outcome {
    let servers = ask(async |client| client.call::<McpList>(Nothing {}).await)?;
    Ok(args.answer.give(&servers, |servers| {
        let rows: Vec<_> = servers.iter().map(row).collect();
        let empty = "no MCP servers; agentsup mcp add NAME -- COMMAND adds one";
        output::table(&["SERVER", "TRANSPORT", "STATE", "TOOLS"], &rows, empty);
        for server in servers {
            if let Some(error) = &server.last_error {
                output::line(format_args!(
                    "{}: {}",
                    output::printable(&server.name),
                    output::printable(error)
                ));
            }
        }
    }))
}

fn row(server: &ServerView) -> Vec<Cell> {
    let state = match server.state {
        ServerState::Idle => cell("idle").tone(Tone::Faint),
        ServerState::Starting => cell("starting").tone(Tone::Warning),
        ServerState::Ready => cell("ready").tone(Tone::Good),
        ServerState::Failed => cell("failed").tone(Tone::Bad),
    };
    let tools = server.tools.map_or_else(|| "?".to_owned(), |tools| tools.to_string());
    vec![cell(&server.name).tone(Tone::Strong), cell(&server.transport), state, cell(tools)]
}

fn add(args: AddArgs) -> Outcome {
    let settings = args.set.iter().map(|text| setting(text)).collect::<Result<BTreeMap<_, _>, _>>()?;
    let params = AddParams { name: args.name, command: args.command, url: args.url, settings };
    let server = ask(async |client| client.call::<McpAdd>(params).await)?;
    Ok(args.answer.give(&server, |server| {
        output::line(format_args!("`{}` is configured", server.name));
        output::hint(format_args!("agents need `{}/*` in their manifest's `tools.mcp`", server.name));
    }))
}

fn setting(text: &str) -> Result<(String, String), Failure> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(Failure::new(Code::Usage, format!("`{text}` is not NAME=VALUE"))),
    }
}
