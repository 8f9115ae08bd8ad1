//! Claude Code, headless and in a terminal.

use serde_json::json;

use super::{Terminal, World, assert_denied, assert_told, longest};
use crate::fakes::home::ANTHROPIC_KEY;
use crate::fakes::model::{Script, Turn, Usage};

const MODEL: &str = "claude-opus-5-5";

#[test]
fn it_edits_calls_a_tool_meets_a_denial_and_goes_on() {
    let world = World::new("claude", ANTHROPIC_KEY, "10.00 USD", |script, place| {
        let [read, edit, secret, look] = [place; 4].map(Clone::clone);
        script
            .step(move |_| {
                Turn::tool("Read", json!({ "file_path": read.file("README.md") }))
                    .usage(Usage::new(200, 40).cache(0, 5000, 0))
            })
            .step(move |ask| {
                assert_told(ask, "The first line.");
                let (old, new) = ("The first line.", "The line as edited.");
                let path = edit.file("README.md");
                let input = json!({ "file_path": path, "old_string": old, "new_string": new });
                Turn::tool("Edit", input).usage(Usage::new(200, 40).cache(5000, 0, 0))
            })
            .step(|_| {
                let tools = "select:mcp__agentsup__notes_write_note,mcp__agentsup__docs_echo";
                Turn::tool("ToolSearch", json!({ "query": tools, "max_results": 5 }))
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
                let tools = ask.tools();
                assert!(!tools.iter().any(|name| name.ends_with("read_note")), "out of scope: {tools:?}");
                Turn::tool("Read", json!({ "file_path": secret.secret() }))
            })
            .step(move |ask| {
                assert_denied(ask);
                look.assert_no_key_inside();
                Turn::text("All is done but the secret.")
            })
    });
    let run = world.run(&["claude", "--", "-p", "Improve the readme", "--output-format", "json"]);
    let result = run.ok().json();
    assert_eq!(
        (&result["is_error"], &result["result"]),
        (&json!(false), &json!("All is done but the secret.")),
        "{run}"
    );
    let readme = std::fs::read_to_string(world.place.file("README.md")).unwrap();
    assert_eq!(readme, "# A repository\n\nThe line as edited.\n");
    assert_eq!(world.home.git(&["status", "--porcelain"]), "", "the user's checkout is untouched");
    assert_eq!((world.notes.calls().len(), world.docs.calls().len()), (1, 1));
    assert_eq!(std::fs::read_to_string(world.notes.notes().join("made")).unwrap(), "a note");

    let audit = world.audit();
    assert_eq!(audit.targets("llm", "allow"), [MODEL; 7]);
    assert_eq!(audit.targets("tool", "allow"), ["Read", "Edit", "notes/write_note", "docs/echo"]);
    assert_eq!(audit.targets("tool", "deny"), ["Read"]);
    let who = "agent/bot@team-test, owned by user:tester,";
    audit.require_sentence(&[who, "called the model `claude-opus-5-5` of anthropic", "allowed by"]);
    audit.require_sentence(&[who, "called `Edit` on", "README.md", "allowed by"]);
    audit.require_sentence(&[who, "called `notes/write_note`", "allowed by"]);
    audit.require_sentence(&[who, "wanted to call `Read` on", ".ssh/id_rsa", "denied by"]);
    world.assert_books();
}

/// One call, so dear that no second one fits.
fn one_call(script: Script, place: &super::Place) -> Script {
    let (write, look) = (place.clone(), place.clone());
    script.step(move |ask| {
        look.assert_no_key_inside();
        let input = json!({ "file_path": write.file("new.txt"), "content": "new\n" });
        longest(Turn::tool("Write", input), ask)
    })
}

#[test]
fn at_the_budgets_end_one_request_is_refused_and_the_message_is_seen() {
    let world = World::new("claude", ANTHROPIC_KEY, "0.80 USD", one_call);
    let run = world.run(&["claude", "--", "-p", "Write a file", "--output-format", "json"]);
    let result = run.exits(1).json();
    assert_eq!((&result["is_error"], &result["api_error_status"]), (&json!(true), &json!(402)), "{run}");
    let told = result["result"].as_str().unwrap();
    world.assert_exhausted(told, "0.80 USD");
    world.assert_stopped_after_its_file(MODEL);
}

#[test]
fn in_a_terminal_it_talks_is_left_found_again_and_told_of_the_budgets_end() {
    let world = World::greeting("claude", ANTHROPIC_KEY, "0.80 USD", longest);
    world.talk_twice(&Terminal {
        agent: "claude",
        args: &[],
        ready: " left",
        figures: Some("spent · "),
        leave: &["/exit", "\r"],
        model: MODEL,
    });
}
