//! GitHub Copilot CLI with a provider of the user's own, headless and in a terminal.

use serde_json::{Value, json};

use super::{Terminal, World, assert_denied, assert_told, longest};
use crate::fakes::home::{ANTHROPIC_KEY, OPENAI_KEY};
use crate::fakes::model::{Block, Turn};

const MODEL: &str = "claude-sonnet-5";

/// What it said at last.
fn said(lines: &[Value]) -> &str {
    let message = lines.iter().rfind(|line| line["type"] == "assistant.message");
    message.and_then(|line| line["data"]["content"].as_str()).unwrap_or_default()
}

#[test]
fn it_edits_calls_a_tool_meets_a_denial_and_goes_on() {
    let world = World::new("copilot", ANTHROPIC_KEY, "10.00 USD", |script, place| {
        let [read, edit, secret, look] = [place; 4].map(Clone::clone);
        script
            .step(move |_| Turn::tool("view", json!({ "path": read.file("README.md") })))
            .step(move |ask| {
                assert_told(ask, "The first line.");
                let (old, new) = ("The first line.", "The line as edited.");
                let path = edit.file("README.md");
                Turn::tool("edit", json!({ "path": path, "old_str": old, "new_str": new }))
            })
            .step(|ask| {
                let input = json!({ "name": "made", "text": "a note" });
                Turn::tool(&ask.require_tool("notes_write_note"), input)
            })
            .step(|ask| {
                assert_told(ask, "wrote made");
                Turn::tool(&ask.require_tool("docs_echo"), json!({ "text": "over http" }))
            })
            .step(|ask| {
                assert_told(ask, "echo: over http");
                let command = "printenv | grep -c PROVIDER_BEARER; echo ran > by-shell.txt";
                Turn::tool("bash", json!({ "command": command, "description": "Run" }))
            })
            .step(move |_| {
                Turn::tool("view", json!({ "path": secret.secret() })).and(Block::Tool {
                    namespace: None,
                    name: "grep".to_owned(),
                    input: json!({ "pattern": "key", "paths": [secret.secret()], "output_mode": "content" }),
                })
            })
            .step(move |ask| {
                assert_denied(ask);
                look.assert_no_key_inside();
                Turn::text("All is done but the secret.")
            })
    });
    let run = world.run(&["copilot", "--", "-p", "Improve the readme", "--output-format", "json"]);
    assert_eq!(said(&run.ok().json_lines()), "All is done but the secret.", "{run}");
    let readme = std::fs::read_to_string(world.place.file("README.md")).unwrap();
    assert_eq!(readme, "# A repository\n\nThe line as edited.\n");
    assert_eq!(std::fs::read_to_string(world.place.file("by-shell.txt")).unwrap(), "ran\n");
    assert_eq!((world.notes.calls().len(), world.docs.calls().len()), (1, 1));

    let audit = world.audit();
    assert_eq!(audit.targets("llm", "allow"), [MODEL; 7]);
    let allowed = ["Read", "Edit", "notes/write_note", "docs/echo", "Bash"];
    assert_eq!(audit.targets("tool", "allow"), allowed);
    let ends: Vec<String> = audit.of("tool", "allow").into_iter().map(|(_, _, outcome)| outcome).collect();
    assert!(ends.iter().all(|outcome| !outcome.contains("not reported")), "{ends:?}");
    assert_eq!(audit.targets("tool", "deny"), ["Read", "Grep"]);
    let who = "agent/bot@team-test, owned by user:tester,";
    audit.require_sentence(&[who, "called the model `claude-sonnet-5` of anthropic", "allowed by"]);
    audit.require_sentence(&[who, "called `Edit` on", "README.md", "allowed by"]);
    audit.require_sentence(&[who, "wanted to call `Read` on", ".ssh/id_rsa", "denied by"]);
    world.assert_books();
}

#[test]
fn with_a_model_of_openai_it_patches_over_responses() {
    let world = World::new("copilot", OPENAI_KEY, "10.00 USD", |script, place| {
        let [edit, look] = [place; 2].map(Clone::clone);
        script
            .step(move |_| {
                let path = edit.file("README.md");
                let patch = format!(
                    "*** Begin Patch\n*** Update File: {path}\n@@\n-The first line.\n+The line as patched.\n*** End Patch\n"
                );
                Turn::text("I will patch.").and(Block::Custom { name: "apply_patch".to_owned(), input: patch })
            })
            .step(move |_| {
                look.assert_no_key_inside();
                Turn::text("Patched.")
            })
    });
    let args = ["-p", "Patch it", "--model", "gpt-6.1-sol", "--output-format", "json"];
    let run = world.run(&[&["copilot", "--"], &args[..]].concat());
    assert_eq!(said(&run.ok().json_lines()), "Patched.", "{run}");
    let readme = std::fs::read_to_string(world.place.file("README.md")).unwrap();
    assert_eq!(readme, "# A repository\n\nThe line as patched.\n");
    let audit = world.audit();
    assert_eq!(audit.targets("llm", "allow"), ["gpt-6.1-sol"; 2]);
    audit.require_sentence(&["called `Edit` on", "README.md", "allowed by"]);
    world.assert_books();
}

#[test]
fn at_the_budgets_end_one_request_is_refused_and_the_message_is_seen() {
    let world = World::new("copilot", ANTHROPIC_KEY, "0.30 USD", |script, place| {
        let (write, look) = (place.clone(), place.clone());
        script.step(move |ask| {
            look.assert_no_key_inside();
            let input = json!({ "path": write.file("new.txt"), "file_text": "new\n" });
            longest(Turn::tool("create", input), ask)
        })
    });
    let run = world.run(&["copilot", "--", "-p", "Write a file"]);
    run.exits(1);
    world.assert_exhausted(&run.stderr, "0.30 USD");
    world.assert_stopped_after_its_file(MODEL);
}

#[test]
fn in_a_terminal_it_talks_is_left_found_again_and_told_of_the_budgets_end() {
    let world = World::greeting("copilot", ANTHROPIC_KEY, "0.30 USD", longest);
    world.talk_twice(&Terminal {
        agent: "copilot",
        args: &[],
        ready: "? help",
        figures: None,
        leave: &["/exit", "\r"],
        model: MODEL,
    });
}
