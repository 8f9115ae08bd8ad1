//! All configured servers: follows the configuration, finds a server by name, lists tools over all of them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use futures_util::future::join_all;

use super::catalogue::{self, Tool};
use super::naming;
use super::upstream::{Connection, Server, ServerError, ServerStatus, Surroundings};
use crate::registry::McpServerConfig;

/// The configured servers.
pub(super) struct Fleet {
    servers: RwLock<BTreeMap<String, Arc<Server>>>,
    surroundings: Surroundings,
    closed: AtomicBool,
}

impl Fleet {
    pub(super) fn new(surroundings: Surroundings) -> Self {
        Self { servers: RwLock::default(), surroundings, closed: AtomicBool::new(false) }
    }

    /// Makes the servers those of the configuration: what changed or went is stopped, the rest goes on undisturbed.
    pub(super) fn apply(&self, configured: &BTreeMap<String, McpServerConfig>) {
        let mut servers = self.servers.write().unwrap_or_else(PoisonError::into_inner);
        let prefixes = naming::prefixes(configured.keys());
        servers.retain(|name, server| {
            let stays =
                configured.get(name) == Some(&server.config) && prefixes.get(name) == Some(&server.prefix);
            if !stays {
                server.close();
            }
            stays
        });
        if self.closed.load(Ordering::Acquire) {
            return;
        }
        for ((name, config), prefix) in configured.iter().zip(prefixes.into_values()) {
            servers.entry(name.clone()).or_insert_with(|| {
                Server::new(name.clone(), prefix, config.clone(), self.surroundings.clone())
            });
        }
    }

    /// Stops every server and starts none from here on.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.apply(&BTreeMap::new());
    }

    /// In order of name.
    pub(super) fn all(&self) -> Vec<Arc<Server>> {
        self.servers.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    pub(super) fn statuses(&self) -> Vec<ServerStatus> {
        self.all().iter().map(|server| server.status()).collect()
    }

    /// Begins to start every server; does not wait.
    pub(super) fn rouse(&self) {
        for server in self.all() {
            server.rouse();
        }
    }

    /// Which tool of which server an agent means by a name; the server is `None` if none is configured for it.
    pub(super) async fn find(&self, name: &str) -> Option<Target> {
        let (prefix, rest) = naming::split(name)?;
        let Some(server) = self.all().into_iter().find(|server| server.prefix == prefix) else {
            return Some(Target { server: None, server_name: prefix.to_owned(), tool: rest.to_owned() });
        };
        let server_name = server.name.clone();
        let mut tool = rest.to_owned();
        // A shortened name: only the server's own list says what it stands for.
        if naming::may_be_shortened(name)
            && let Ok(connection) = server.connection(server.patience()).await
            && let Some(found) = catalogue::find(&connection.tools(&self.surroundings).await, name)
        {
            tool.clone_from(&found.name);
        }
        Some(Target { server: Some(server), server_name, tool })
    }

    /// Every server that answers in time, with its tools.
    pub(super) async fn tools(&self) -> Vec<Listed> {
        let lists = self.all().into_iter().map(async |server| {
            let listed = async {
                let connection = server.connection(server.patience()).await?;
                let tools = connection.tools(&self.surroundings).await;
                Ok::<_, ServerError>(Listed { server: Arc::clone(&server), connection, tools })
            };
            let listed = listed.await;
            if let Err(error) = &listed {
                tracing::info!(server = server.name, %error, "tools are listed without this MCP server");
            }
            listed.ok()
        });
        join_all(lists).await.into_iter().flatten().collect()
    }

    /// What servers that are ready, or are so within `patience`, have to say and offer.
    pub(super) async fn ready(&self, patience: std::time::Duration) -> Vec<Listed> {
        let ready = self.all().into_iter().map(async |server| {
            let connection = server.connection(patience).await.ok()?;
            let tools = connection.known_tools();
            Some(Listed { server, connection, tools })
        });
        join_all(ready).await.into_iter().flatten().collect()
    }
}

/// What a name means.
pub(super) struct Target {
    /// The server, if it is configured.
    pub(super) server: Option<Arc<Server>>,
    /// Its name, or what stands in the name's place.
    pub(super) server_name: String,
    /// The tool, as the server calls it.
    pub(super) tool: String,
}

/// A server that answers, with its tools.
pub(super) struct Listed {
    pub(super) server: Arc<Server>,
    pub(super) connection: Arc<Connection>,
    pub(super) tools: Arc<[Tool]>,
}
