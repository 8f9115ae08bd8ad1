//! The plain SDKs of the providers, as any program uses them, under `agentsup run command`: what they make of each kind
//! of refusal.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::fakes::cli::Output;
use crate::fakes::faults::Fault;
use crate::fakes::home::{ANTHROPIC_KEY, GEMINI_KEY, Home, Manifest, OPENAI_KEY};
use crate::fakes::model::{Block, ModelServer, Script, Turn};
use crate::fakes::server::dead_url;

/// Each SDK by its wire, with a model and the key that its provider expects.
const SDKS: [(&str, &str, &str); 4] = [
    ("anthropic", "claude-opus-5-5", ANTHROPIC_KEY),
    ("responses", "gpt-6.1-sol", OPENAI_KEY),
    ("chat", "gpt-6.1-sol", OPENAI_KEY),
    ("gemini", "gemini-2.5-flash", GEMINI_KEY),
];

/// A home with one agent, all of whose providers are at this address.
fn home(url: &str, cap: &str) -> Home {
    let sdks = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/agents/sdks/node_modules");
    assert!(sdks.exists(), "the SDKs are not installed; run `tests/agents/setup`");
    let mut home = Home::new();
    home.providers(url, &format!("{url}/v1"));
    home.config(&format!("[providers.gemini]\nbase_url = \"{url}\"\nkey = \"env:FAKE_GEMINI_KEY\"\n"));
    home.agent("bot", &Manifest::default().cap(cap));
    home
}

/// One call with an SDK; `words` are its wire, its model, and whether it streams.
fn call(home: &Home, words: &[&str]) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/agents/sdks/call.mjs");
    let script = script.canonicalize().expect("the program").display().to_string();
    let all = [&["run", "command", "--", "node", &script], words].concat();
    home.cli(&all).timeout(Duration::from_secs(180)).run()
}

/// What it was thrown at.
fn thrown(run: &Output) -> String {
    let said: Vec<Value> = run.exits(1).json_lines();
    said[0]["message"].as_str().unwrap_or_else(|| panic!("nothing was thrown: {run}")).to_owned()
}

/// How often a model call was decided so.
fn decided(home: &Home, decision: &str) -> usize {
    let lines = home.run(&["audit", "list", "--json"]).ok().json_lines();
    lines.iter().filter(|line| line["action"] == "llm" && line["decision"] == decision).count()
}

#[test]
fn at_the_budgets_end_each_asks_once_and_its_caller_reads_why() {
    for (wire, model, _) in SDKS {
        for how in [&[wire, model][..], &[wire, model, "stream"]] {
            let home = home(&dead_url(), "0.000001 USD");
            let run = call(&home, how);
            let told = thrown(&run);
            assert!(
                told.contains("agentsup: budget exhausted: the budget `bot` has spent"),
                "{how:?}: {told}"
            );
            assert!(told.contains("Nothing was billed"), "{how:?}: {told}");
            assert_eq!((decided(&home, "allow"), decided(&home, "deny")), (0, 1), "{how:?}: one request");
        }
    }
}

/// Two of the SDKs come again twice, after the pause that they are told; Google's leaves that to its caller.
#[test]
fn what_passes_is_tried_again_within_bounds_and_then_its_caller_reads_why() {
    std::thread::scope(|scope| {
        for (wire, model, _) in SDKS {
            scope.spawn(move || {
                let home = home(&dead_url(), "10.00 USD");
                let told = thrown(&call(&home, &[wire, model]));
                assert!(told.contains("cannot be reached"), "{wire}: {told}");
                assert!(told.contains("Please try again in 20s."), "{wire}: {told}");
                let tries = if wire == "gemini" { 1 } else { 3 };
                assert_eq!((decided(&home, "allow"), decided(&home, "deny")), (tries, 0), "{wire}");
                let budget = home.run(&["budget", "show", "bot", "--json"]).ok().json();
                assert_eq!((&budget["posted_nano_usd"], &budget["pending_nano_usd"]), (&0.into(), &0.into()));
            });
        }
    });
}

#[test]
fn an_answer_that_is_broken_off_is_asked_for_once_and_its_caller_reads_why() {
    for (wire, model, key) in SDKS {
        let cut =
            Turn::text("It begins well").and(Block::Text("and goes on".into())).fault(Fault::EndAfter(1));
        let provider = ModelServer::start(Script::new(key).turn(cut).then(|_| Turn::text("A second time.")));
        let home = home(&provider.url(), "10.00 USD");
        let run = call(&home, &[wire, model, "stream"]);
        let told = thrown(&run);
        assert!(told.contains("agentsup: the provider ended its answer too early"), "{wire}: {told}");
        assert_eq!(provider.seen().len(), 1, "{wire}: {run}");
    }
}

#[test]
fn each_gets_its_answer_whole_and_in_pieces() {
    for (wire, model, key) in SDKS {
        let provider = ModelServer::start(Script::new(key).then(|_| Turn::text("Good morning.")));
        let home = home(&provider.url(), "10.00 USD");
        for how in [&[wire, model][..], &[wire, model, "stream"]] {
            let said = call(&home, how).ok().json_lines();
            assert_eq!(said[0]["text"], "Good morning.", "{how:?}");
        }
        assert_eq!(provider.seen().len(), 2, "{wire}");
    }
}
