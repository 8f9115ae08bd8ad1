//! Keys of providers and MCP servers: where they come from. Their values go in and never come out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::api::App;
use crate::core::error::{Code, Failure};
use crate::core::record::EventEntry;
use crate::registry::{McpServerConfig, Setting, Snapshot};
use crate::sys::env::Env;
use crate::sys::secrets::{self, Secret, SecretError, SecretRef};

/// A key, without its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyView {
    /// Its name in the keyring or the variable's.
    pub name: String,
    /// Where it comes from: `keyring:…` or `env:…`.
    pub place: String,
    /// Who needs it, such as `provider anthropic`.
    pub used_by: Vec<String>,
    /// Whether it is there.
    pub state: KeyState,
}

/// Whether a key is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyState {
    /// It was put into the keyring from this home, or the variable is set.
    Set,
    /// Nobody put it there.
    Missing,
}

/// Parameters of [`set`].
#[derive(Serialize, Deserialize)]
pub struct SetParams {
    /// The key's name in the keyring.
    pub name: String,
    /// The key itself.
    pub value: String,
}

impl std::fmt::Debug for SetParams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SetParams").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Parameters of [`remove`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameParams {
    /// The key's name in the keyring.
    pub name: String,
}

/// Every key that is stored or needed.
pub async fn list(app: &App) -> Result<Vec<KeyView>, Failure> {
    let home = app.home.clone();
    let stored = blocking(move || secrets::list_secrets(&home)).await?;
    let mut needed = needs(&app.registry.current());
    for name in &stored {
        needed.entry(SecretRef::Keyring(name.clone()).to_string()).or_default();
    }
    let view = |(place, used_by): (String, Vec<String>)| {
        let (kind, name) = place.split_once(':').unwrap_or(("", &place));
        let is_set = match kind {
            "env" => Env::current().var(name).is_some(),
            _ => stored.contains(name),
        };
        let state = if is_set { KeyState::Set } else { KeyState::Missing };
        KeyView { name: name.to_owned(), place: place.clone(), used_by, state }
    };
    Ok(needed.into_iter().map(view).collect())
}

/// Puts a key into the keyring.
pub async fn set(app: &App, params: SetParams) -> Result<KeyView, Failure> {
    let (home, name) = (app.home.clone(), params.name.clone());
    let secret = Secret::new(params.value);
    blocking(move || secrets::set_secret(&home, &name, secret)).await?;
    let event = EventEntry::new("key-set", format!("the key {} was put into the keyring", params.name));
    app.gate.note(event).await?;
    show(app, &params.name).await
}

/// Takes a key out of the keyring.
pub async fn remove(app: &App, params: NameParams) -> Result<KeyView, Failure> {
    let (home, name) = (app.home.clone(), params.name.clone());
    if !blocking(move || secrets::remove_secret(&home, &name)).await? {
        return Err(Failure::new(Code::NotFound, format!("the keyring has no key `{}`", params.name))
            .hint("agentsup key list"));
    }
    let event =
        EventEntry::new("key-removed", format!("the key {} was taken out of the keyring", params.name));
    app.gate.note(event).await?;
    show(app, &params.name).await
}

async fn show(app: &App, name: &str) -> Result<KeyView, Failure> {
    let place = SecretRef::Keyring(name.to_owned()).to_string();
    let listed = list(app).await?.into_iter().find(|key| key.place == place);
    Ok(listed.unwrap_or_else(|| KeyView {
        name: name.to_owned(),
        place,
        used_by: Vec::new(),
        state: KeyState::Missing,
    }))
}

/// Who needs which key.
fn needs(snapshot: &Snapshot) -> BTreeMap<String, Vec<String>> {
    let mut needs: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, provider) in &snapshot.config.providers {
        if let Some(key) = &provider.key {
            needs.entry(key.to_string()).or_default().push(format!("provider {name}"));
        }
    }
    for (name, server) in &snapshot.config.mcp_servers {
        let settings = match server {
            McpServerConfig::Stdio { env, .. } => env,
            McpServerConfig::Http { headers, .. } => headers,
        };
        for setting in settings.values() {
            if let Setting::Secret(place) = setting {
                needs.entry(place.to_string()).or_default().push(format!("MCP server {name}"));
            }
        }
    }
    needs
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SecretError> + Send + 'static,
) -> Result<T, Failure> {
    Ok(tokio::task::spawn_blocking(work).await.map_err(|error| Failure::internal(&error))??)
}
