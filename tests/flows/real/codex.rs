//! Codex CLI, headless and in a terminal.

use serde_json::{Value, json};

use super::{SCREEN_TIMEOUT, Terminal, World, assert_denied, assert_told, longest};
use crate::fakes::home::OPENAI_KEY;
use crate::fakes::model::{Block, Turn, Usage};
use crate::fakes::pty::Pty;

const MODEL: &str = "gpt-6.1-sol";
const PATCH: &str =
    "*** Begin Patch\n*** Update File: README.md\n@@\n-The first line.\n+The line as edited.\n*** End Patch";

/// A line of the tools' script language.
fn script(line: &str) -> Turn {
    Turn::text("I will use a tool.").and(Block::Custom { name: "exec".to_owned(), input: line.to_owned() })
}

fn patch() -> Turn {
    script(&format!("text(await tools.apply_patch({}))", json!(PATCH)))
}

/// What the agent printed that says `message`.
fn errors(lines: &[Value]) -> Vec<String> {
    let errors = lines.iter().filter(|line| line["type"] == "error");
    errors.map(|line| line["message"].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn it_edits_calls_a_tool_meets_a_denial_and_goes_on() {
    let world = World::new("codex", OPENAI_KEY, "10.00 USD", |steps, place| {
        let look = place.clone();
        steps
            .turn(patch())
            .turn(script(
                "text(await tools.mcp__agentsup__notes_write_note({ name: \"made\", text: \"a note\" }))",
            ))
            .step(|ask| {
                assert_told(ask, "wrote made");
                script("text(await tools.mcp__agentsup__docs_echo({ text: \"over http\" }))")
            })
            .step(|ask| {
                assert_told(ask, "echo: over http");
                script("text(await tools.exec_command({ cmd: \"cat ~/.ssh/id_rsa\" }))")
            })
            .step(move |ask| {
                assert_denied(ask);
                look.assert_no_key_inside();
                Turn::text("All is done but the secret.")
            })
    });
    let run = world.run(&["codex", "--", "exec", "--json", "Improve the readme"]);
    let lines = run.ok().json_lines();
    let said = |text: &str| lines.iter().any(|line| line["item"]["text"] == text);
    assert!(said("All is done but the secret."), "{run}");
    let readme = std::fs::read_to_string(world.place.file("README.md")).unwrap();
    assert_eq!(readme, "# A repository\n\nThe line as edited.\n");
    assert_eq!((world.notes.calls().len(), world.docs.calls().len()), (1, 1));
    assert_eq!(std::fs::read_to_string(world.notes.notes().join("made")).unwrap(), "a note");

    let audit = world.audit();
    assert_eq!(audit.targets("llm", "allow"), [MODEL; 5]);
    assert_eq!(audit.targets("tool", "allow"), ["apply_patch", "notes/write_note", "docs/echo"]);
    assert_eq!(audit.targets("tool", "deny"), ["Bash"]);
    let who = "agent/bot@team-test, owned by user:tester,";
    audit.require_sentence(&[who, "called the model `gpt-6.1-sol` of openai", "allowed by"]);
    audit.require_sentence(&[who, "called `apply_patch` on", "README.md", "allowed by"]);
    audit.require_sentence(&[who, "called `notes/write_note`", "allowed by"]);
    audit.require_sentence(&[who, "wanted to call `Bash` on", "denied by"]);
    world.assert_books();
}

#[test]
fn at_the_budgets_end_one_request_is_refused_and_the_message_is_seen() {
    let world = World::new("codex", OPENAI_KEY, "0.40 USD", |steps, place| {
        let look = place.clone();
        steps.step(move |ask| {
            look.assert_no_key_inside();
            longest(patch(), ask)
        })
    });
    let run = world.run(&["codex", "--", "exec", "--json", "Improve the readme"]);
    let told = errors(&run.exits(1).json_lines());
    assert_eq!(told.len(), 1, "{run}");
    world.assert_exhausted(&told[0], "0.40 USD");
    let readme = std::fs::read_to_string(world.place.file("README.md")).unwrap();
    assert_eq!(readme, "# A repository\n\nThe line as edited.\n", "work is kept");
    world.assert_one_refusal(MODEL);
}

#[test]
fn in_a_terminal_it_talks_is_left_found_again_and_told_of_the_budgets_end() {
    let world = World::greeting("codex", OPENAI_KEY, "0.40 USD", longest);
    // Its own code at the end, which is not always the same after a turn that failed.
    let leave = &["\x03", "\x03"];
    world.talk_twice(&Terminal {
        agent: "codex",
        args: &[],
        ready: "Ask Codex to do anything",
        figures: None,
        leave,
        model: MODEL,
    });
}

#[test]
fn its_own_meter_shows_a_budget_that_is_nearly_spent() {
    let world = World::new("codex", OPENAI_KEY, "1.00 USD", |steps, place| {
        let look = place.clone();
        steps
            .step(move |_| {
                look.assert_no_key_inside();
                Turn::text("Good morning from the model.").usage(Usage::new(0, 85_000))
            })
            .turn(Turn::text("And once more."))
    });
    let pty = Pty::start(&world.home.cli(&["run", "codex"]), 40, 120);
    pty.wait_for("Ask Codex to do anything", SCREEN_TIMEOUT);
    for (words, answer) in [("Say good morning", "Good morning from the model."), ("Again", "And once more.")]
    {
        pty.keys(words);
        pty.wait_for(words, SCREEN_TIMEOUT);
        pty.keys("\r");
        pty.wait_for(answer, SCREEN_TIMEOUT);
    }
    // Nothing offers another model in the way of what is typed.
    let screen = pty.wait_for("monthly limit: 15% left", SCREEN_TIMEOUT);
    assert!(!screen.contains("Switch to"), "{screen}");
    world.home.run(&["stop", "latest"]).ok();
    world.assert_books();
}
