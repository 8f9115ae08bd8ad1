//! Agents on a login of the user's own, made up here, straight to their provider: what they cost is told afterwards.

mod claude;
mod codex;

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::{RUN_TIMEOUT, collect, price};
use crate::fakes::cli::Output;
use crate::fakes::home::{Home, Manifest, agent_binary, search_path};
use crate::fakes::model::{ModelServer, Script};
use crate::fakes::server::{Server, dead_url};

/// A user who is logged in, and a provider that is not behind the gateway.
struct World {
    home: Home,
    model: ModelServer,
    programs: PathBuf,
    /// What else answers.
    others: Vec<Server>,
}

impl World {
    /// Where the program's provider is would be built in; here a program of that name says it, with what `there` makes for
    /// its shell. `before` is run by it too.
    fn new(
        program: &str,
        manifest: &Manifest,
        script: Script,
        before: &str,
        there: impl FnOnce(&ModelServer) -> String,
    ) -> Self {
        let mut home = Home::new();
        let model = ModelServer::start(script);
        home.providers(&dead_url(), &(dead_url() + "/v1"));
        home.agent("bot", manifest);
        let programs = home.path("programs");
        std::fs::create_dir_all(&programs).unwrap();
        let real = agent_binary(program);
        let shell = there(&model);
        let script = format!("#!/bin/sh\n{shell}\n{before}\nexec '{}' \"$@\"\n", real.display());
        let wrapper = programs.join(program);
        std::fs::write(&wrapper, script).unwrap();
        std::fs::set_permissions(&wrapper, std::fs::Permissions::from_mode(0o755)).unwrap();
        Self { home, model, programs, others: Vec::new() }
    }

    fn run(&self, args: &[&str]) -> Output {
        let path = format!("{}:{}", self.programs.display(), search_path());
        self.home.cli(args).env("PATH", &path).timeout(RUN_TIMEOUT).run()
    }

    fn show(&self, args: &[&str]) -> Value {
        self.home.run(args).ok().json()
    }

    fn sentences(&self) -> Vec<String> {
        let lines = self.home.run(&["audit", "list", "--json"]).ok().json_lines();
        lines.iter().filter_map(|line| line["sentence"].as_str()).map(str::to_owned).collect()
    }

    /// Asserts that the ledger has what the provider would bill at its list prices, and that log and ledger agree.
    fn assert_books(&self) -> u64 {
        let billed = self.model.billed_nano_usd(price);
        let budget = self.show(&["budget", "show", "bot", "--json"]);
        let ledger = (&budget["posted_nano_usd"], &budget["pending_nano_usd"], &budget["reported_nano_usd"]);
        assert_eq!(ledger, (&json!(billed), &json!(0), &json!(billed)), "{budget}");
        self.home.run(&["audit", "verify"]).ok();
        billed
    }

    /// Asserts that no file of agentsup's holds the login.
    fn assert_no_login_inside(&self, login: &str) {
        let mut files = Vec::new();
        collect(&self.home.agentsup(), &mut files);
        for file in files {
            let bytes = std::fs::read(&file).unwrap_or_default();
            let found = bytes.windows(login.len()).any(|window| window == login.as_bytes());
            assert!(!found, "the user's login in `{}`", file.display());
        }
    }
}
