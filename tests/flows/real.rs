//! The real coding agents under agentsup: Aider, Claude Code, Codex, Copilot, Gemini CLI, OpenCode and Qwen Code as they are
//! installed, against a scripted model and scripted MCP servers. Here is the world they share; each agent has a room, and
//! hostile repositories have one.

mod aider;
mod approvals;
mod beyond;
mod claude;
mod codex;
mod copilot;
mod gemini;
mod hostile;
mod opencode;
mod qwen;
mod subscription;
mod told;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::fakes::ask::{Ask, Kind};
use crate::fakes::cli::Output;
use crate::fakes::home::{ANTHROPIC_KEY, GEMINI_KEY, Home, Manifest, OPENAI_KEY, agent_binary, agents_cache};
use crate::fakes::mcp::{McpScript, McpServer, Stdio};
use crate::fakes::model::{ModelServer, Price, Script, Turn, Usage};
use crate::fakes::pty::Pty;
use crate::fakes::wait;

/// An agent's whole run, on a machine that is busy with other tests.
const RUN_TIMEOUT: Duration = Duration::from_secs(180);
/// One thing on an agent's screen.
const SCREEN_TIMEOUT: Duration = Duration::from_secs(90);
/// What the file holds that no agent may read.
const SECRET: &str = "the-private-key-of-the-user";
/// The longest answer that Claude Code and OpenCode ask for under agentsup; Codex asks for no limit, which is more.
const MAX_OUTPUT: u64 = 32_000;

/// The list prices that the fakes bill, in nano-USD a token.
fn price(model: &str) -> Price {
    match model {
        "claude-opus-5-5" => {
            Price { input: 4000, output: 20_000, cache_read: 200, cache_write_5m: 5000, cache_write_1h: 8000 }
        }
        "claude-sonnet-5" => {
            Price { input: 2000, output: 10_000, cache_read: 200, cache_write_5m: 2500, cache_write_1h: 4000 }
        }
        "gpt-6.1-sol" => {
            Price { input: 2000, output: 10_000, cache_read: 100, cache_write_5m: 2500, cache_write_1h: 5000 }
        }
        "gemini-2.5-flash" => {
            Price { input: 300, output: 2500, cache_read: 30, cache_write_5m: 0, cache_write_1h: 0 }
        }
        // Added by the configuration, which tells input and output only: the rest costs the dearest that is known.
        "qwen3-coder-plus" => {
            Price { input: 1000, output: 5000, cache_read: 1000, cache_write_5m: 2000, cache_write_1h: 2000 }
        }
        other => panic!("the model `{other}` was not expected"),
    }
}

/// A home with one agent `bot`, a model and two MCP servers: `notes` over stdio, `docs` over HTTP.
struct World {
    home: Home,
    model: ModelServer,
    notes: Stdio,
    docs: McpServer,
    place: Place,
}

/// An agent in a terminal.
struct Terminal<'a> {
    agent: &'a str,
    /// What it is started with.
    args: &'a [&'a str],
    /// What the screen says when a prompt can be typed.
    ready: &'a str,
    /// What its screen says of the run's figures, where it has a place for them.
    figures: Option<&'a str>,
    /// What is typed to end it, in pieces.
    leave: &'a [&'a str],
    /// The model that it asks by itself.
    model: &'a str,
}

/// Where things are, and what the run looked like from outside while the model was asked.
#[derive(Clone)]
struct Place {
    root: PathBuf,
    token: Arc<Mutex<Option<String>>>,
}

impl Place {
    /// The only worktree.
    fn worktree(&self) -> PathBuf {
        let entries = std::fs::read_dir(self.root.join("agentsup/worktrees")).expect("the worktrees");
        let found: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
        assert_eq!(found.len(), 1, "one worktree: {found:?}");
        found[0].clone()
    }

    /// A path in the worktree, as agents name files.
    fn file(&self, name: &str) -> String {
        self.worktree().join(name).display().to_string()
    }

    /// A path in the directory of the only run.
    fn run_file(&self, name: &str) -> String {
        let mut runs = std::fs::read_dir(self.root.join("agentsup/runs")).expect("the runs");
        let run = runs.next().expect("a run").expect("an entry").path();
        run.join(name).display().to_string()
    }

    /// The path of the file that no agent may read.
    fn secret(&self) -> String {
        self.root.join("user/.ssh/id_rsa").display().to_string()
    }

    /// Asserts that no process of the run and no file of it holds a provider's key. To be asked while the agent runs.
    fn assert_no_key_inside(&self) {
        let mut processes = 0;
        for entry in std::fs::read_dir("/proc").expect("the processes").flatten() {
            let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
            let environment = String::from_utf8_lossy(&environment);
            let is_ours = environment.contains(&self.root.display().to_string());
            let token = environment.split('\0').find_map(|line| line.strip_prefix("AGENTSUP_RUN_TOKEN="));
            let Some(token) = token.filter(|_| is_ours) else { continue };
            processes += 1;
            *self.token.lock().expect("the token") = Some(token.to_owned());
            for key in [ANTHROPIC_KEY, GEMINI_KEY, OPENAI_KEY] {
                assert!(!environment.contains(key), "a provider's key in the agent's environment");
            }
        }
        assert!(processes > 0, "the agent is found by its token");
        self.assert_no_key_in_files();
    }

    fn assert_no_key_in_files(&self) {
        let mut files = Vec::new();
        collect(&self.root.join("agentsup/runs"), &mut files);
        collect(&self.root.join("agentsup/worktrees"), &mut files);
        for file in files {
            let bytes = std::fs::read(&file).unwrap_or_default();
            for key in [ANTHROPIC_KEY, GEMINI_KEY, OPENAI_KEY] {
                let found = bytes.windows(key.len()).any(|window| window == key.as_bytes());
                assert!(!found, "a provider's key in `{}`", file.display());
            }
        }
    }
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => collect(&entry.path(), files),
            Ok(kind) if kind.is_file() => files.push(entry.path()),
            _ => {}
        }
    }
}

impl World {
    /// The world of the program `agent`, whose provider has the key `key`.
    fn new(agent: &str, key: &str, cap: &str, script: impl FnOnce(Script, &Place) -> Script) -> Self {
        agent_binary(agent);
        let mut home = Home::new();
        if agent == "copilot" {
            let cache = home.path("user/.cache");
            std::fs::create_dir_all(&cache).expect("create a directory");
            std::os::unix::fs::symlink(agents_cache().join(agent), cache.join(agent))
                .expect("link the cache");
        }
        let place = Place { root: home.path(""), token: Arc::default() };
        // What a prompt is by its bytes is never too little, so that `longest` spends what was held.
        let model = ModelServer::start(script(Script::new(key).count(u64::from(u32::MAX)), &place));
        let notes = Stdio::new(&home.path("notes"));
        let docs = McpServer::start(McpScript::default());
        home.providers(&model.url(), &model.openai_url());
        let url = model.url();
        home.config(&format!("[providers.gemini]\nbase_url = \"{url}\"\nkey = \"env:FAKE_GEMINI_KEY\"\n"));
        home.config(&format!(
            "[providers.added]\nbase_url = \"{}\"\nwire = \"openai\"\nkey = \"env:FAKE_OPENAI_KEY\"\n",
            model.openai_url()
        ));
        home.price("qwen3-coder-plus", &price("qwen3-coder-plus"));
        home.mcp_stdio("notes", &notes).mcp_http("docs", &docs.url());
        home.agent("bot", &Manifest::default().mcp(&["notes/write_note", "docs/echo"]).cap(cap));
        std::fs::create_dir_all(home.path("user/.ssh")).expect("create a directory");
        std::fs::write(home.path("user/.ssh/id_rsa"), SECRET).expect("write the secret");
        Self { home, model, notes, docs, place }
    }

    /// One whose model bids good morning once, which `spent` makes cost the whole budget.
    fn greeting(agent: &str, key: &str, cap: &str, spent: fn(Turn, &Ask) -> Turn) -> Self {
        Self::new(agent, key, cap, |script, place| {
            let look = place.clone();
            script.step(move |ask| {
                look.assert_no_key_inside();
                spent(Turn::text("Good morning from the model."), ask)
            })
        })
    }

    /// `agentsup run` with these words, to its end.
    fn run(&self, args: &[&str]) -> Output {
        let words: Vec<&str> = std::iter::once("run").chain(args.iter().copied()).collect();
        self.home.cli(&words).timeout(RUN_TIMEOUT).run()
    }

    /// Talks to the agent in a terminal, leaves it, finds it again, and meets the budget's end: the model answers once.
    fn talk_twice(&self, terminal: &Terminal<'_>) {
        let say = |pty: &Pty, words: &str| {
            pty.keys(words);
            pty.wait_for(words, SCREEN_TIMEOUT);
            pty.keys("\r");
            // Gemini CLI takes a return that follows too closely for a part of what was pasted.
            let sent = || terminal.agent != "gemini" || pty.screen().contains(terminal.ready);
            let again = || {
                wait::until(Duration::from_secs(2), sent) || {
                    pty.keys("\r");
                    false
                }
            };
            assert!((0..20).any(|_| again()), "it was not sent: {}", pty.screen());
        };
        let words = [&["run", terminal.agent, "--"], terminal.args].concat();
        let first = Pty::start(&self.home.cli(&words), 40, 120);
        first.wait_for(terminal.ready, SCREEN_TIMEOUT);
        say(&first, "Say good morning");
        first.wait_for("Good morning from the model.", SCREEN_TIMEOUT);
        if let Some(figures) = terminal.figures {
            first.wait_for(figures, SCREEN_TIMEOUT);
        }
        first.keys("\x1cd");
        assert_eq!(first.wait_exit(SCREEN_TIMEOUT), 0);

        let runs = self.home.run(&["ps", "--json"]).ok().json();
        assert_eq!(runs.as_array().map(Vec::len), Some(1), "it goes on: {runs}");
        let again = Pty::start(&self.home.cli(&["attach", runs[0]["id"].as_str().unwrap()]), 40, 120);
        again.wait_for("Good morning from the model.", SCREEN_TIMEOUT);
        say(&again, "Say it twice");
        again.wait_for("budget exhausted", SCREEN_TIMEOUT);
        for keys in terminal.leave {
            again.keys(keys);
            if !keys.chars().all(char::is_control) {
                again.wait_for(keys, SCREEN_TIMEOUT);
            }
        }
        // Codex has a code of its own after a turn that failed.
        assert!(again.wait_exit(SCREEN_TIMEOUT) <= u32::from(terminal.agent == "codex"));
        self.assert_one_refusal(terminal.model);
    }

    /// Asserts that the message tells the end of this budget, with what was spent of it.
    fn assert_exhausted(&self, message: &str, cap: &str) {
        let spent = format!("{:010}", self.model.billed_nano_usd(price));
        let (dollars, nano) = spent.split_at(spent.len() - 9);
        let nano = nano.trim_end_matches('0');
        let told =
            format!("agentsup: budget exhausted: the budget `bot` has spent {dollars}.{nano} USD of {cap}");
        assert!(message.contains(&told), "`{told}` is not in `{message}`");
    }

    /// Asserts that a run that wrote `new.txt` met the end of its budget at its next call, and kept what it had done.
    fn assert_stopped_after_its_file(&self, model: &str) {
        let written = std::fs::read_to_string(self.place.file("new.txt")).expect("the file");
        assert_eq!(written, "new\n", "work is kept");
        self.assert_one_refusal(model);
    }

    /// Asserts that the model was let be called once, refused once and sent nothing then, and that the books balance.
    fn assert_one_refusal(&self, model: &str) {
        let audit = self.audit();
        // Beside it the prompt may have been counted, for nothing.
        let billed = audit.0.iter().filter(|line| line["cost_nano_usd"].as_u64() > Some(0));
        assert_eq!(billed.map(|line| &line["target"]).collect::<Vec<_>>(), [model]);
        assert_eq!(audit.targets("llm", "deny"), [model], "one refused request, no storm");
        assert_eq!(self.model.seen_kind(Kind::Main).len(), 1, "nothing was sent to the provider");
        self.assert_books();
    }

    fn audit(&self) -> Audit {
        Audit(self.home.run(&["audit", "list", "--json"]).ok().json_lines())
    }

    /// Asserts that the books balance: the ledger holds what the provider bills, the log is whole, keys are where they
    /// belong, and the token is worth nothing any more.
    fn assert_books(&self) {
        let budget = self.home.run(&["budget", "show", "bot", "--json"]).ok().json();
        let billed = self.model.billed_nano_usd(price);
        let ledger = (&budget["posted_nano_usd"], &budget["pending_nano_usd"]);
        assert_eq!(ledger, (&json!(billed), &json!(0)), "{budget}");
        self.home.run(&["audit", "verify"]).ok();
        let token = self.place.token.lock().expect("the token").clone().expect("a step looked inside");
        self.model.assert_only_its_key(&token);
        self.place.assert_no_key_in_files();
        for call in self.docs.requests() {
            assert!(!call.contains(&token), "the run's token at an MCP server: {call:?}");
        }
    }
}

/// The lines of `audit list --json`.
struct Audit(Vec<Value>);

impl Audit {
    /// `(target, what it acted upon, outcome)` of what was decided so.
    fn of(&self, action: &str, decision: &str) -> Vec<(String, String, String)> {
        let text = |line: &Value, field: &str| line[field].as_str().unwrap_or_default().to_owned();
        self.0
            .iter()
            .filter(|line| line["action"] == action && line["decision"] == decision)
            .map(|line| (text(line, "target"), text(line, "on"), text(line, "outcome")))
            .collect()
    }

    fn targets(&self, action: &str, decision: &str) -> Vec<String> {
        self.of(action, decision).into_iter().map(|(target, _, _)| target).collect()
    }

    /// The sentence that contains all of these.
    fn require_sentence(&self, words: &[&str]) -> String {
        let sentences: Vec<&str> = self.0.iter().filter_map(|line| line["sentence"].as_str()).collect();
        let found = sentences.iter().find(|sentence| words.iter().all(|word| sentence.contains(word)));
        (*found.unwrap_or_else(|| panic!("no sentence with {words:?} in {sentences:#?}"))).to_owned()
    }
}

/// Asserts that one of the last tools' answers to the model contains `text`.
fn assert_told(ask: &Ask, text: &str) {
    let results = ask.results();
    assert!(results.iter().any(|result| result.contains(text)), "`{text}` is not in {results:?}");
}

/// Asserts that the last tool was denied, in words, and gave nothing away.
fn assert_denied(ask: &Ask) {
    assert_told(ask, "agentsup denied");
    assert!(!ask.request.contains(SECRET), "the secret reached the model");
}

/// An answer as long and a prompt as dear as they may be, so that what was held for the call is spent. The budgets of
/// these tests are smaller than what the agents ask for, so the gateway lowers the limit of the answer.
fn longest(turn: Turn, ask: &Ask) -> Turn {
    let request = ask.request.json();
    let limits = ["max_tokens", "max_output_tokens"];
    let of_gemini = request["generationConfig"]["maxOutputTokens"].as_u64();
    let limit = limits.iter().find_map(|name| request[name].as_u64()).or(of_gemini);
    let limit = limit.expect("a limit of the answer");
    assert!(limit < MAX_OUTPUT, "the budget admits {limit} tokens");
    let prompt = u64::try_from(ask.request.body.len()).expect("a length");
    // Gemini bills no writing to a cache.
    let usage = if of_gemini.is_some() {
        Usage::new(prompt, limit)
    } else {
        Usage::new(100, limit).cache(0, prompt, 0)
    };
    turn.usage(usage)
}
