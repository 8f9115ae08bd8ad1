//! OpenCode, headless and in a terminal.

use serde_json::{Value, json};

use super::{Terminal, World, assert_denied, assert_told, longest};
use crate::fakes::home::ANTHROPIC_KEY;
use crate::fakes::model::Turn;

const MODEL: &str = "claude-sonnet-5";

/// The messages of the errors that it printed.
fn errors(lines: &[Value]) -> Vec<String> {
    let errors = lines.iter().filter(|line| line["type"] == "error");
    errors.map(|line| line["error"]["data"]["message"].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn it_edits_calls_a_tool_meets_a_denial_and_goes_on() {
    let world = World::new("opencode", ANTHROPIC_KEY, "10.00 USD", |script, place| {
        let [read, edit, secret, look] = [place; 4].map(Clone::clone);
        script
            .step(move |_| Turn::tool("read", json!({ "filePath": read.file("README.md") })))
            .step(move |ask| {
                assert_told(ask, "The first line.");
                let (old, new) = ("The first line.", "The line as edited.");
                let path = edit.file("README.md");
                Turn::tool("edit", json!({ "filePath": path, "oldString": old, "newString": new }))
            })
            .step(|ask| {
                let input = json!({ "name": "made", "text": "a note" });
                Turn::tool(&ask.require_tool("notes_write_note"), input)
            })
            .step(|ask| {
                assert_told(ask, "wrote made");
                Turn::tool(&ask.require_tool("docs_echo"), json!({ "text": "over http" }))
            })
            .step(move |ask| {
                assert_told(ask, "echo: over http");
                Turn::tool("read", json!({ "filePath": secret.secret() }))
            })
            .step(move |ask| {
                assert_denied(ask);
                look.assert_no_key_inside();
                Turn::text("All is done but the secret.")
            })
    });
    let run = world.run(&["opencode", "--", "run", "--format", "json", "Improve the readme"]);
    let lines = run.ok().json_lines();
    let said = |text: &str| lines.iter().any(|line| line["part"]["text"] == text);
    assert!(said("All is done but the secret."), "{run}");
    let readme = std::fs::read_to_string(world.place.file("README.md")).unwrap();
    assert_eq!(readme, "# A repository\n\nThe line as edited.\n");
    assert_eq!((world.notes.calls().len(), world.docs.calls().len()), (1, 1));
    assert_eq!(std::fs::read_to_string(world.notes.notes().join("made")).unwrap(), "a note");

    let audit = world.audit();
    assert_eq!(audit.targets("llm", "allow"), [MODEL; 6]);
    assert_eq!(audit.targets("tool", "allow"), ["read", "edit", "notes/write_note", "docs/echo"]);
    assert_eq!(audit.targets("tool", "deny"), ["read"]);
    let who = "agent/bot@team-test, owned by user:tester,";
    audit.require_sentence(&[who, "called the model `claude-sonnet-5` of anthropic", "allowed by"]);
    audit.require_sentence(&[who, "called `edit` on", "README.md", "allowed by"]);
    audit.require_sentence(&[who, "called `notes/write_note`", "allowed by"]);
    audit.require_sentence(&[who, "wanted to call `read` on", ".ssh/id_rsa", "denied by"]);
    world.assert_books();
}

#[test]
fn at_the_budgets_end_one_request_is_refused_and_the_message_is_seen() {
    let world = World::new("opencode", ANTHROPIC_KEY, "0.30 USD", |script, place| {
        let (write, look) = (place.clone(), place.clone());
        script.step(move |ask| {
            look.assert_no_key_inside();
            let input = json!({ "filePath": write.file("new.txt"), "content": "new\n" });
            longest(Turn::tool("write", input), ask)
        })
    });
    let run = world.run(&["opencode", "--", "run", "--format", "json", "Write a file"]);
    let told = errors(&run.exits(1).json_lines());
    assert_eq!(told.len(), 1, "{run}");
    world.assert_exhausted(&told[0], "0.30 USD");
    world.assert_stopped_after_its_file(MODEL);
}

#[test]
fn in_a_terminal_it_talks_is_left_found_again_and_told_of_the_budgets_end() {
    let world = World::greeting("opencode", ANTHROPIC_KEY, "0.30 USD", longest);
    world.talk_twice(&Terminal {
        agent: "opencode",
        args: &[],
        ready: "Ask anything",
        figures: None,
        leave: &["\x03"],
        model: MODEL,
    });
}
