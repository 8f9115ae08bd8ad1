//! MCP servers: what they are doing, and adding one to the configuration.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::api::App;
use crate::core::error::{Code, Failure};
use crate::core::record::EventEntry;
use crate::mcp::ServerStatus;

pub use crate::mcp::ServerState;

/// A server and what it is doing.
pub type ServerView = ServerStatus;

/// Parameters of [`add`]: a command or a URL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddParams {
    /// Its name; tools are called `<name>_<tool>` by agents and `<name>/<tool>` in manifests.
    pub name: String,
    /// A program and its arguments.
    #[serde(default)]
    pub command: Vec<String>,
    /// An endpoint of streamable HTTP.
    #[serde(default)]
    pub url: Option<String>,
    /// Variables of the program, or headers; a value may be `env:NAME` or `keyring:name`.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
}

/// The servers, in order of name.
pub async fn list(app: &App) -> Result<Vec<ServerView>, Failure> {
    Ok(app.proxy.servers())
}

/// Adds a server to `config.toml`. A file that would not be valid with it stays as it was.
pub async fn add(app: &App, params: AddParams) -> Result<ServerView, Failure> {
    let table = table(&params)?;
    if app.registry.current().config.mcp_servers.contains_key(&params.name) {
        return Err(Failure::new(
            Code::Conflict,
            format!("there is an MCP server `{}` already", params.name),
        )
        .hint(format!("edit `{}`", app.home.config_file().display())));
    }
    let (file, registry, name) = (app.home.config_file(), app.registry.clone(), params.name.clone());
    let work = move || {
        let before = match std::fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(unwritable(&file, &error)),
        };
        let gap = if before.is_empty() || before.ends_with("\n\n") { "" } else { "\n" };
        let line_end = if before.is_empty() || before.ends_with('\n') { "" } else { "\n" };
        replace(&file, &format!("{before}{line_end}{gap}{table}"))?;
        let snapshot = registry.reload();
        if snapshot.config.mcp_servers.contains_key(&name) {
            return Ok(());
        }
        replace(&file, &before)?;
        registry.reload();
        let why = snapshot.problems.first().map_or_else(String::new, ToString::to_string);
        Err(Failure::new(Code::ConfigInvalid, format!("`{name}` was not added: {why}")))
    };
    tokio::task::spawn_blocking(work).await.map_err(|error| Failure::internal(&error))??;
    let text = format!("the MCP server {} was added to the configuration", params.name);
    app.gate.note(EventEntry::new("mcp-server-added", text)).await?;
    // The proxy follows the registry by itself, in a moment.
    let transport = if params.url.is_some() { "http" } else { "stdio" };
    Ok(ServerView {
        name: params.name,
        transport: transport.to_owned(),
        state: ServerState::Idle,
        tools: None,
        last_error: None,
        pid: None,
        restarts: 0,
    })
}

fn table(params: &AddParams) -> Result<String, Failure> {
    let fits = !params.name.is_empty()
        && params.name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if !fits {
        return Err(Failure::new(Code::Usage, format!("`{}` is not a name for a server", params.name))
            .hint("letters, digits, `-` and `_`"));
    }
    let mut table = toml::Table::new();
    let settings: toml::Table =
        params.settings.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
    let settings_key = match (&params.url, params.command.is_empty()) {
        (Some(url), true) => {
            table.insert("url".to_owned(), url.clone().into());
            "headers"
        }
        (None, false) => {
            let command: Vec<toml::Value> = params.command.iter().map(|word| word.clone().into()).collect();
            table.insert("command".to_owned(), command.into());
            "env"
        }
        _ => {
            return Err(Failure::new(Code::Usage, "a server is either a command or a URL")
                .hint("agentsup mcp add NAME -- COMMAND ARGS…, or agentsup mcp add NAME --url URL"));
        }
    };
    let body = toml::to_string(&table).map_err(|error| Failure::internal(&error))?;
    let mut text = format!("[mcp.servers.{}]\n{body}", params.name);
    if !settings.is_empty() {
        let settings = toml::to_string(&settings).map_err(|error| Failure::internal(&error))?;
        text.push_str(&format!("\n[mcp.servers.{}.{settings_key}]\n{settings}", params.name));
    }
    Ok(text)
}

/// Replaces a file whole or not at all.
pub(super) fn replace(file: &Path, text: &str) -> Result<(), Failure> {
    let beside = file.with_extension("toml.new");
    let write = || {
        let mut open =
            std::fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&beside)?;
        open.write_all(text.as_bytes())?;
        open.sync_all()?;
        std::fs::rename(&beside, file)
    };
    write().map_err(|error| unwritable(file, &error))
}

fn unwritable(file: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Code::ConfigInvalid, format!("`{}`: {error}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params() -> AddParams {
        AddParams { name: "github".into(), command: Vec::new(), url: None, settings: BTreeMap::new() }
    }

    #[test]
    fn a_command_or_a_url_becomes_a_table() {
        let command = AddParams {
            command: vec!["github-mcp-server".into(), "std\"io".into()],
            settings: BTreeMap::from([("GITHUB_TOKEN".into(), "keyring:github".into())]),
            ..params()
        };
        assert_eq!(
            table(&command).unwrap(),
            "[mcp.servers.github]\ncommand = [\"github-mcp-server\", 'std\"io']\n\n\
             [mcp.servers.github.env]\nGITHUB_TOKEN = \"keyring:github\"\n"
        );
        let url = AddParams { url: Some("https://example.invalid/mcp".into()), ..params() };
        assert_eq!(table(&url).unwrap(), "[mcp.servers.github]\nurl = \"https://example.invalid/mcp\"\n");
        let both = AddParams { command: vec!["x".into()], ..url };
        for bad in [params(), both, AddParams { name: "a.b".into(), ..command }] {
            assert_eq!(table(&bad).unwrap_err().code, Code::Usage);
        }
    }
}
