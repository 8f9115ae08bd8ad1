//! Gemini CLI, headless, through the `command` adapter: it has none of its own yet.

use std::sync::{Arc, Mutex};

use serde_json::json;

use crate::fakes::cli::Output;
use crate::fakes::home::{Home, Manifest, agent_binary};
use crate::fakes::server::{Answer, Recorded, Server};

/// The key that the scripted provider expects.
const KEY: &str = "AIza-fake-provider-key-31d7";
/// What every answer is billed: 1000 tokens in, 200 of them cached, and 70 out, thinking included.
const USAGE: &str = r#"{"promptTokenCount":1000,"cachedContentTokenCount":200,"candidatesTokenCount":20,"thoughtsTokenCount":50,"totalTokenCount":1070,"serviceTier":"standard"}"#;

/// Nano-USD a token of the models it asks: input, cached input, output.
fn prices(model: &str) -> (u64, u64, u64) {
    match model {
        "gemini-2.5-flash" | "gemini-3.5-flash-lite" => (300, 30, 2500),
        "gemini-2.5-flash-lite" => (100, 10, 400),
        other => panic!("the model `{other}` was not expected"),
    }
}

/// A home with one agent, and a scripted Google that answers every call with one sentence.
struct World {
    home: Home,
    server: Server,
    calls: Arc<Mutex<Vec<Recorded>>>,
}

impl World {
    fn new(cap: &str) -> Self {
        agent_binary("gemini");
        let calls: Arc<Mutex<Vec<Recorded>>> = Arc::default();
        let log = calls.clone();
        let server = Server::start(move |request| {
            log.lock().expect("the calls").push(request.clone());
            let piece = format!(
                r#"{{"candidates":[{{"content":{{"parts":[{{"text":"Good morning from the model."}}],"role":"model"}},"finishReason":"STOP","index":0}}],"usageMetadata":{USAGE},"modelVersion":"m"}}"#
            );
            let streams = request.path.contains("alt=sse");
            let kind = if streams { "text/event-stream" } else { "application/json; charset=UTF-8" };
            let body = if streams { format!("data: {piece}\r\n\r\n") } else { piece };
            let answer = Answer::head(200, &[("content-type", kind)]).stream(|sink| async move {
                sink.send(body).await;
            });
            async move { answer }
        });
        let mut home = Home::new();
        home.config(&format!(
            "[providers.gemini]\nbase_url = \"{}\"\nkey = \"env:FAKE_GEMINI_KEY\"\n",
            server.url()
        ));
        home.agent("bot", &Manifest::default().cap(cap));
        Self { home, server, calls }
    }

    /// The CLI's own settings, and its whole run with a prompt.
    fn run(&self) -> Output {
        let settings = json!({
            "security": {"auth": {"selectedType": "gemini-api-key"}},
            "privacy": {"usageStatisticsEnabled": false},
            "general": {"enableAutoUpdate": false},
            "telemetry": {"enabled": false},
        });
        let directory = self.home.path("user/.gemini");
        std::fs::create_dir_all(&directory).expect("create a directory");
        std::fs::write(directory.join("settings.json"), settings.to_string()).expect("write the settings");
        // After an error it writes whole conversations to the temporary directory.
        let scratch = format!("TMPDIR={}", directory.display());
        let words = ["run", "command", "--", "env", &scratch, "GEMINI_CLI_NO_RELAUNCH=true", "gemini"];
        let words =
            [&words[..], &["--skip-trust", "--model", "gemini-2.5-flash", "--prompt", "Say good morning"]]
                .concat();
        self.home.cli(&words).env("FAKE_GEMINI_KEY", KEY).timeout(super::RUN_TIMEOUT).run()
    }

    fn calls(&self) -> Vec<Recorded> {
        self.calls.lock().expect("the calls").clone()
    }

    /// What the provider bills.
    fn billed(&self) -> u64 {
        let model = |call: &Recorded| {
            let named = call.path.rsplit('/').next().and_then(|rest| rest.split(':').next());
            named.unwrap_or_default().to_owned()
        };
        let billed = self.calls().into_iter().filter(|call| call.path.contains("enerateContent"));
        billed
            .map(|call| prices(&model(&call)))
            .map(|(input, cached, output)| 800 * input + 200 * cached + 70 * output)
            .sum()
    }

    fn audit(&self, decision: &str) -> usize {
        let lines = self.home.run(&["audit", "list", "--json"]).ok().json_lines();
        lines.iter().filter(|line| line["action"] == "llm" && line["decision"] == decision).count()
    }

    fn posted(&self) -> (u64, u64) {
        let budget = self.home.run(&["budget", "show", "bot", "--json"]).ok().json();
        let amount = |field: &str| budget[field].as_u64().expect("an amount");
        (amount("posted_nano_usd"), amount("pending_nano_usd"))
    }
}

#[test]
fn it_answers_and_the_ledger_equals_the_bill() {
    let mut world = World::new("10.00 USD");
    let run = world.run();
    assert!(run.ok().stdout.contains("Good morning from the model."), "{run}");
    let calls = world.calls();
    assert!(!calls.is_empty(), "the provider was asked");
    for call in &calls {
        assert_eq!(call.header("x-goog-api-key"), Some(KEY), "{} {}", call.method, call.path);
        assert!(!call.contains("ast_"), "the run's token at the provider: {call:?}");
    }
    assert!(world.billed() > 0);
    assert_eq!(world.posted(), (world.billed(), 0));
    assert_eq!(world.audit("deny"), 0);
    world.server.stop();
}

/// Nothing goes out, the message is seen, and there is no storm of retries.
#[test]
fn at_the_budgets_end_it_stops_at_once_and_shows_the_message() {
    let mut world = World::new("0.000001 USD");
    let run = world.run();
    assert_ne!(run.code(), 0, "{run}");
    assert!(format!("{run}").contains("budget exhausted"), "{run}");
    assert_eq!(world.audit("deny"), 1, "one refused request: {run}");
    assert_eq!((world.calls().len(), world.posted()), (0, (0, 0)));
    world.server.stop();
}
