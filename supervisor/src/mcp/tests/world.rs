//! A whole proxy over a real gate, store and registry, in a home of its own, reached over loopback like agents do.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::audit::{self, List};
use crate::core::manifest::Environment;
use crate::core::refusal::RefusalStyle;
use crate::core::run::{HookDuty, Run, RunState};
use crate::gate::{Gate, LiveRun};
use crate::mcp::{Limits, Proxy, ServerStatus, serve};
use crate::registry::Registry;
use crate::store::Store;
use crate::sys::ids;
use crate::sys::paths::Home;
use crate::sys::upstream::Upstream;

pub(super) const TOKEN: &str = "ast_token";
const SERVER: &str = include_str!("server.py");

const MANIFESTS: &str = "
apiVersion: agentsup.dev/v1alpha1
kind: Agent
metadata: { name: bot, namespace: team }
spec:
  owner: user:default/alice
  purpose: tests
  lifecycle: experimental
  environments: [dev]
  adapters: [command]
  repositories: [\"*\"]
  models: [\"*\"]
  tools: { mcp: [\"a/*\", \"b/echo\", \"down/*\", \"web/*\"], builtin: [read] }
  budget: purse
  credentials: { ttl: 15m }
---
apiVersion: agentsup.dev/v1alpha1
kind: TokenBudget
metadata: { name: purse, namespace: team }
spec: { period: total, cap: 1.00 USD, burst: 0 USD, alertAt: 80% }
";

pub(super) struct World {
    pub(super) proxy: Proxy,
    pub(super) gate: Gate,
    pub(super) live: Arc<LiveRun>,
    pub(super) registry: Registry,
    pub(super) home: Home,
    pub(super) url: String,
    pub(super) client: Upstream,
    store: Store,
    dir: TempDir,
}

/// A `config.toml` section for the Python server.
pub(super) fn python(name: &str, dir: &Path, mode: &str) -> String {
    let script = dir.join("server.py");
    std::fs::write(&script, SERVER).unwrap();
    format!(
        "[mcp.servers.{name}]\ncommand = [\"python3\", \"-u\", {:?}]\nenv = {{ MODE = \"{mode}\", OWN = \"given\" }}\n",
        script.display().to_string()
    )
}

impl World {
    /// `config` makes the `[mcp.servers]` part out of a directory that lives as long as the world.
    pub(super) async fn new(config: impl FnOnce(&Path) -> String) -> Self {
        Self::with_limits(config, |_| {}).await
    }

    pub(super) async fn with_limits(
        config: impl FnOnce(&Path) -> String,
        change: impl FnOnce(&mut Limits),
    ) -> Self {
        let dir = tempfile::Builder::new().prefix("agentsup-mcp").tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("home/manifests")).unwrap();
        let home = Home::rooted(&dir.path().join("home"));
        home.prepare().unwrap();
        std::fs::write(home.manifests_dir().join("bot.yaml"), MANIFESTS).unwrap();
        std::fs::write(home.config_file(), config(dir.path())).unwrap();
        let registry = Registry::start(&home).unwrap();
        assert_eq!(registry.current().problems, []);
        let store = Store::open(&home.database()).unwrap();
        let gate = Gate::new(store.clone(), registry.clone());
        let live = gate.admit(run(dir.path()), TOKEN).await.unwrap();
        gate.set_state(&live, RunState::Running, None).await.unwrap();
        let mut limits = Limits::default();
        change(&mut limits);
        let client = Upstream::new().unwrap();
        let proxy = Proxy::with_limits(gate.clone(), &registry, &home, client.clone(), limits);
        let url = listen(proxy.clone()).await;
        Self { proxy, gate, live, registry, home, url, client, store, dir }
    }

    pub(super) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(super) async fn send(&self, request: Request<Full<Bytes>>) -> Response<Incoming> {
        self.client.send(request).await.unwrap()
    }

    /// A request with the run's token.
    pub(super) fn request(&self, body: &str) -> http::request::Builder {
        Request::post(&self.url)
            .header("authorization", format!("Bearer {TOKEN}"))
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .header("x-length", body.len())
    }

    /// Posts a message; gives the status and the whole body.
    pub(super) async fn post(&self, body: &str) -> (u16, String) {
        let request = self.request(body).body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).unwrap();
        whole(self.send(request).await).await
    }

    /// Posts a request that succeeds; gives the response.
    pub(super) async fn ask(&self, body: &str) -> Value {
        let (status, text) = self.post(body).await;
        assert_eq!(status, 200, "{text}");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// Calls a tool; gives the response.
    pub(super) async fn call(&self, tool: &str, arguments: &str) -> Value {
        self.ask(&call(1, tool, arguments)).await
    }

    /// The names of the listed tools.
    pub(super) async fn names(&self) -> Vec<String> {
        let listed = self.ask(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#).await;
        let tools = listed["result"]["tools"].as_array().unwrap();
        tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
    }

    pub(super) fn status(&self, name: &str) -> ServerStatus {
        self.proxy.servers().into_iter().find(|status| status.name == name).unwrap()
    }

    /// The record so far, as sentences without what differs each time; of labels [`World::labelled`] tells.
    pub(super) async fn sentences(&self) -> Vec<String> {
        let all = self.record().await.into_iter();
        all.filter(|sentence| !sentence.contains(", was labelled ")).collect()
    }

    /// Which labels the record tells of.
    pub(super) async fn labelled(&self) -> Vec<String> {
        let all = self.record().await;
        let told = all.iter().filter_map(|sentence| Some(sentence.split_once(", was labelled ")?.1));
        told.map(str::to_owned).collect()
    }

    async fn record(&self) -> Vec<String> {
        let lines = self.store.read(|connection| audit::list(connection, &List::default())).await.unwrap();
        lines
            .into_iter()
            .map(|line| {
                let sentence = line.sentence.replace(&line.id.to_string(), "rec");
                sentence.replace(&format!("{}Z", &line.at[11..19]), "TIME")
            })
            .collect()
    }

    /// Waits until `holds`, at most ten seconds.
    pub(super) async fn until(&self, holds: impl Fn(&Self) -> bool) {
        let waiting = async {
            while !holds(self) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(10), waiting).await.expect("it never held");
    }

    /// Changes `config.toml`; it is in force when this returns.
    pub(super) fn configure(&self, config: &str) {
        std::fs::write(self.home.config_file(), config).unwrap();
        assert_eq!(self.registry.reload().problems, []);
    }
}

/// A `tools/call` request.
pub(super) fn call(id: u64, tool: &str, arguments: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{tool}","arguments":{arguments}}}}}"#
    )
}

/// The text of a tool's result.
pub(super) fn text(response: &Value) -> &str {
    response["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{response}"))
}

pub(super) async fn whole(response: Response<Incoming>) -> (u16, String) {
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

fn run(dir: &Path) -> Run {
    std::fs::create_dir_all(dir.join("worktree")).unwrap();
    Run {
        id: ids::new_run_id().unwrap(),
        agent: "agent/bot@team".parse().unwrap(),
        owner: "user:default/alice".parse().unwrap(),
        environment: Environment::Dev,
        adapter: "command".into(),
        repository: dir.join("repo"),
        remote: None,
        worktree: dir.join("worktree"),
        branch: "agentsup/bot".into(),
        base: "0".repeat(40),
        onto: None,
        dir: dir.join("run"),
        refusal: RefusalStyle::PLAIN,
        hooks: HookDuty::None,
        billing: crate::core::billing::Billing::Keys,
        untold_tools_max: crate::core::run::UNTOLD_TOOLS_MAX,
        cap: None,
        started_at_ms: 0,
    }
}

async fn listen(proxy: Proxy) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            socket.set_nodelay(true).unwrap();
            let proxy = proxy.clone();
            let answer = service_fn(move |request| {
                let proxy = proxy.clone();
                async move { Ok::<_, std::convert::Infallible>(serve(&proxy, request, "").await) }
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), answer),
            );
        }
    });
    let mut url = String::new();
    write!(url, "http://127.0.0.1:{port}/mcp").unwrap();
    url
}
