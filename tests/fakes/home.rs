//! A throwaway world for one test: a user's home, an `AGENTSUP_HOME`, a git repository, and the built binary run in
//! them with a clean environment.
//!
//! Invariants: nothing of the machine's own configuration is read or written; every process started in the world
//! carries its path in the environment, and [`Home`] ends and reports those that outlive it. Ends processes by id only.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::cli::{Cli, Output};
use super::mcp::Stdio;
use super::model::{ModelServer, Price};
use super::wait;

/// The key that the scripted Anthropic provider expects.
pub(crate) const ANTHROPIC_KEY: &str = "sk-ant-fake-provider-key-7f3a91";
/// The key that the scripted OpenAI provider expects.
pub(crate) const OPENAI_KEY: &str = "sk-openai-fake-provider-key-52c8d0";

/// The key that the scripted Gemini provider expects.
pub(crate) const GEMINI_KEY: &str = "AIza-fake-provider-key-31d7";

/// How long processes may take to go away once the daemon was told to stop.
const END_TIMEOUT: Duration = Duration::from_secs(10);

/// The world. Its directory disappears with it.
pub(crate) struct Home {
    root: tempfile::TempDir,
    config: String,
    /// Keep the directory for a look at it; set by `KEEP_HOME=1` in the test's environment.
    keep: bool,
}

impl Home {
    /// A home with a git repository of one commit, and no configuration or manifest yet.
    pub(crate) fn new() -> Self {
        // Short, because socket paths are limited; outside of any repository; and not below /tmp, which some agents
        // treat differently.
        let root = tempfile::Builder::new().prefix("aup-").tempdir_in("/var/tmp").expect("create the home");
        let home = Self { root, config: String::new(), keep: std::env::var_os("KEEP_HOME").is_some() };
        for directory in ["user", "agentsup/manifests", "repo"] {
            std::fs::create_dir_all(home.path(directory)).expect("create a directory");
        }
        home.git(&["init", "--quiet", "--initial-branch=main"]);
        home.git(&["config", "user.name", "Test User"]);
        home.git(&["config", "user.email", "user@example.invalid"]);
        home.commit("README.md", "# A repository\n\nThe first line.\n", "Begin");
        home
    }

    /// A path in the world: `user`, `agentsup`, `repo`, or a directory of the test's own.
    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.root.path().join(relative)
    }

    /// The user's repository.
    pub(crate) fn repo(&self) -> PathBuf {
        self.path("repo")
    }

    /// `AGENTSUP_HOME`.
    pub(crate) fn agentsup(&self) -> PathBuf {
        self.path("agentsup")
    }

    /// Runs git in the repository and returns its output, trimmed.
    pub(crate) fn git(&self, args: &[&str]) -> String {
        self.git_in(&self.repo(), args)
    }

    /// Runs git in a directory and returns its output, trimmed.
    pub(crate) fn git_in(&self, directory: &Path, args: &[&str]) -> String {
        let output = self.program("git").dir(directory).args(args).run();
        output.ok().stdout.trim().to_owned()
    }

    /// Writes a file of the repository and commits it.
    pub(crate) fn commit(&self, file: &str, text: &str, message: &str) {
        let path = self.repo().join(file);
        std::fs::create_dir_all(path.parent().expect("a file has a directory")).expect("create a directory");
        std::fs::write(path, text).expect("write a file");
        self.git(&["add", "--force", "--", file]);
        self.git(&["commit", "--quiet", "--message", message]);
    }

    /// A program in this world: clean environment, the repository as directory.
    pub(crate) fn program(&self, program: &str) -> Cli {
        Cli::new(program, &self.repo())
            .env("PATH", &search_path())
            .env("HOME", &self.path("user").display().to_string())
            .env("AGENTSUP_HOME", &self.agentsup().display().to_string())
            .env("LANG", "C.UTF-8")
            .env("TERM", "xterm-256color")
            // Nothing of a test shows up on the desktop of whoever runs it.
            .env("DBUS_SESSION_BUS_ADDRESS", "disabled:")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("FAKE_ANTHROPIC_KEY", ANTHROPIC_KEY)
            .env("FAKE_OPENAI_KEY", OPENAI_KEY)
            .env("FAKE_GEMINI_KEY", GEMINI_KEY)
    }

    /// The built binary with these arguments.
    pub(crate) fn cli(&self, args: &[&str]) -> Cli {
        self.program(env!("CARGO_BIN_EXE_agentsup")).args(args)
    }

    /// Runs the built binary with these arguments.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.cli(args).run()
    }

    /// Adds lines to `config.toml`.
    pub(crate) fn config(&mut self, lines: &str) -> &mut Self {
        self.config += lines;
        self.config += "\n";
        std::fs::write(self.agentsup().join("config.toml"), &self.config).expect("write config.toml");
        self
    }

    /// Routes both providers to the scripted server, each with its own key.
    pub(crate) fn providers(&mut self, anthropic: &str, openai: &str) -> &mut Self {
        self.config(&format!(
            "[providers.anthropic]\nbase_url = \"{anthropic}\"\nkey = \"env:FAKE_ANTHROPIC_KEY\"\n\n\
             [providers.openai]\nbase_url = \"{openai}\"\nkey = \"env:FAKE_OPENAI_KEY\"\n"
        ))
    }

    /// Routes Anthropic to this server; OpenAI to a closed port.
    pub(crate) fn anthropic(&mut self, server: &ModelServer) -> &mut Self {
        self.providers(&server.url(), &(super::server::dead_url() + "/v1"))
    }

    /// Routes OpenAI to this server; Anthropic to a closed port.
    pub(crate) fn openai(&mut self, server: &ModelServer) -> &mut Self {
        self.providers(&super::server::dead_url(), &server.openai_url())
    }

    /// Overrides the price of a model (the contract's table has input and output only).
    pub(crate) fn price(&mut self, model: &str, price: &Price) -> &mut Self {
        self.config(&format!("[prices.\"{model}\"]\ninput = {}\noutput = {}\n", price.input, price.output))
    }

    /// Adds a streamable HTTP server.
    pub(crate) fn mcp_http(&mut self, name: &str, url: &str) -> &mut Self {
        self.config(&format!("[mcp.servers.{name}]\nurl = \"{url}\"\n"))
    }

    /// Adds the scripted stdio server.
    pub(crate) fn mcp_stdio(&mut self, name: &str, server: &Stdio) -> &mut Self {
        let command = serde_json::json!(Stdio::command());
        // An empty value is an error in the configuration.
        let given = server.env().into_iter().filter(|(_, value)| !value.is_empty());
        let env: Vec<String> =
            given.map(|(key, value)| format!("{key} = {}", serde_json::json!(value))).collect();
        self.config(&format!("[mcp.servers.{name}]\ncommand = {command}\nenv = {{ {} }}\n", env.join(", ")))
    }

    /// Writes a file below `manifests/`.
    pub(crate) fn manifest(&self, file: &str, text: &str) {
        let path = self.agentsup().join("manifests").join(file);
        std::fs::create_dir_all(path.parent().expect("a file has a directory")).expect("create a directory");
        std::fs::write(path, text).expect("write a manifest");
    }

    /// Writes the manifests of one agent and its budget, both called `name`.
    pub(crate) fn agent(&self, name: &str, manifest: &Manifest) {
        self.manifest(&format!("{name}.yaml"), &manifest.text(name));
    }

    /// The processes of this world: those whose environment names its directory.
    pub(crate) fn processes(&self) -> Vec<(i32, String)> {
        let marker = self.root.path().display().to_string();
        let own = i32::try_from(std::process::id()).unwrap_or_default();
        processes_with(&marker).into_iter().filter(|(pid, _)| *pid != own).collect()
    }

    /// Ends what runs, as a user would, and asserts that nothing is left. Daemon and keepers hide their environment from
    /// everybody but root, so what they leave in the home tells whether there are any.
    fn end(&self) {
        let has_entries = |dir: &str| {
            std::fs::read_dir(self.agentsup().join(dir)).is_ok_and(|mut entries| entries.next().is_some())
        };
        let has_daemon = self.agentsup().join("state/agentsup.sock").exists();
        if !has_daemon && !has_entries("runs") && self.processes().is_empty() {
            return;
        }
        if has_entries("runs") {
            self.cli(&["kill", "--all", "--json"]).timeout(END_TIMEOUT).run();
        }
        let stopped = self.cli(&["daemon", "stop"]).timeout(END_TIMEOUT).run();
        assert!(stopped.status.success() || std::thread::panicking(), "the daemon does not stop: {stopped}");
        let gone = wait::until(END_TIMEOUT, || self.processes().is_empty());
        let left = self.processes();
        for (pid, _) in &left {
            let _ =
                nix::sys::signal::kill(nix::unistd::Pid::from_raw(*pid), nix::sys::signal::Signal::SIGKILL);
        }
        assert!(gone || std::thread::panicking(), "still running after `daemon stop`: {left:?}");
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        self.end();
        if self.keep {
            self.root.disable_cleanup(true);
        }
    }
}

/// The agent and budget manifests of one test agent.
#[derive(Debug, Clone)]
pub(crate) struct Manifest {
    pub(crate) adapters: Vec<String>,
    pub(crate) models: Vec<String>,
    pub(crate) mcp: Vec<String>,
    pub(crate) builtin: Vec<String>,
    pub(crate) cap: String,
    pub(crate) burst: String,
    /// Who may pay: `keys`, `subscription` or `either`.
    pub(crate) billing: String,
}

impl Default for Manifest {
    /// Everything allowed, ten dollars a month.
    fn default() -> Self {
        let list = |items: &[&str]| items.iter().map(|&item| item.to_owned()).collect();
        Self {
            adapters: list(&[
                "aider", "claude", "codex", "copilot", "cursor", "gemini", "opencode", "qwen", "command",
                "demo",
            ]),
            models: list(&["*"]),
            mcp: list(&["*"]),
            builtin: list(&["read", "edit", "shell"]),
            cap: "10.00 USD".to_owned(),
            burst: "0.00 USD".to_owned(),
            billing: "keys".to_owned(),
        }
    }
}

impl Manifest {
    /// The same with another cap, such as `0.05 USD`.
    pub(crate) fn cap(mut self, cap: &str) -> Self {
        cap.clone_into(&mut self.cap);
        self
    }

    /// The same, paid by whom this says.
    pub(crate) fn billing(mut self, payers: &str) -> Self {
        payers.clone_into(&mut self.billing);
        self
    }

    /// The same with these MCP tools only (`server/tool` patterns).
    pub(crate) fn mcp(mut self, tools: &[&str]) -> Self {
        self.mcp = tools.iter().map(|&tool| tool.to_owned()).collect();
        self
    }

    /// The same with these built-in tools only.
    pub(crate) fn builtin(mut self, tools: &[&str]) -> Self {
        self.builtin = tools.iter().map(|&tool| tool.to_owned()).collect();
        self
    }

    /// The same for these models only.
    pub(crate) fn models(mut self, models: &[&str]) -> Self {
        self.models = models.iter().map(|&model| model.to_owned()).collect();
        self
    }

    /// The manifest of an agent and its budget.
    pub(crate) fn text(&self, name: &str) -> String {
        let list = |items: &[String]| serde_json::json!(items).to_string();
        format!(
            "apiVersion: agentsup.dev/v1alpha1\nkind: Agent\nmetadata:\n  name: {name}\n  namespace: team-test\n\
             spec:\n  owner: user:default/tester\n  purpose: Run in tests\n  lifecycle: experimental\n  \
             environments: [dev]\n  adapters: {}\n  repositories: [\"*\"]\n  models: {}\n  tools:\n    mcp: {}\n    \
             builtin: {}\n  budget: {name}\n  billing: {}\n  credentials: {{ ttl: 15m }}\n---\n\
             apiVersion: agentsup.dev/v1alpha1\nkind: TokenBudget\nmetadata:\n  name: {name}\n  \
             namespace: team-test\nspec:\n  period: monthly\n  cap: {}\n  burst: {}\n  alertAt: 80%\n",
            list(&self.adapters),
            list(&self.models),
            list(&self.mcp),
            list(&self.builtin),
            self.billing,
            self.cap,
            self.burst
        )
    }
}

/// Where the pinned agents are installed.
pub(crate) fn agents() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/agents")
}

/// Where one of the pinned agents is; panics with the set-up's name when they are not installed.
pub(crate) fn agent_binary(name: &str) -> PathBuf {
    let agents = agents();
    let binary = agents.join("node_modules/.bin").join(name);
    assert!(
        agents.join("node_modules/.installed-lock").exists() && binary.exists(),
        "the coding agents are not installed; run `tests/agents/setup`"
    );
    binary
}

/// Where the pinned agents keep what they unpack, so that not every test does that again.
pub(crate) fn agents_cache() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/agents/node_modules/.cache")
}

/// The pinned agents first, then the tools of the machine (git, node, a shell).
pub(crate) fn search_path() -> String {
    let agents = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/agents/node_modules/.bin");
    let machine = std::env::var("PATH").unwrap_or_else(|_| "/usr/local/bin:/usr/bin:/bin".to_owned());
    format!("{}:{machine}", agents.display())
}

/// Processes whose environment contains `marker`, with their command lines.
#[cfg(target_os = "linux")]
fn processes_with(marker: &str) -> Vec<(i32, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        // A zombie has neither; it is its parent's business.
        if String::from_utf8_lossy(&environment).contains(marker) {
            found.push((pid, String::from_utf8_lossy(&command).replace('\0', " ")));
        }
    }
    found
}

/// Processes whose environment contains `marker`, with their command lines.
#[cfg(not(target_os = "linux"))]
fn processes_with(marker: &str) -> Vec<(i32, String)> {
    let output = std::process::Command::new("ps").args(["-axEww", "-o", "pid=,command="]).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines()
        .filter(|line| line.contains(marker) && !line.contains("ps -axEww"))
        .filter_map(|line| line.trim().split_once(' '))
        .filter_map(|(pid, command)| Some((pid.parse().ok()?, command.to_owned())))
        .collect()
}
