//! Qwen Code with a provider that the configuration adds, headless and in a terminal.

use serde_json::json;

use super::{Place, Terminal, World, assert_denied, assert_told};
use crate::fakes::ask::Ask;
use crate::fakes::home::OPENAI_KEY;
use crate::fakes::model::{Turn, Usage};

const MODEL: &str = "qwen3-coder-plus";

#[test]
fn it_edits_calls_a_tool_meets_a_denial_and_goes_on() {
    let world = World::new("qwen", OPENAI_KEY, "10.00 USD", |script, place| {
        let [read, edit, secret, look] = [place; 4].map(Clone::clone);
        script
            .step(move |_| Turn::tool("read_file", json!({ "file_path": read.file("README.md") })))
            .step(move |ask| {
                assert_told(ask, "The first line.");
                let (old, new) = ("The first line.", "The line as edited.");
                let path = edit.file("README.md");
                Turn::tool("edit", json!({ "file_path": path, "old_string": old, "new_string": new }))
            })
            .step(|_| {
                Turn::tool("mcp__agentsup__notes_write_note", json!({ "name": "made", "text": "a note" }))
            })
            .step(|ask| {
                assert_told(ask, "wrote made");
                Turn::tool("mcp__agentsup__docs_echo", json!({ "text": "over http" }))
            })
            .step(|ask| {
                assert_told(ask, "echo: over http");
                let command = "echo ran > by-shell.txt";
                Turn::tool("run_shell_command", json!({ "command": command, "is_background": false }))
            })
            .step(move |_| Turn::tool("read_file", json!({ "file_path": secret.secret() })))
            .step(move |ask| {
                assert_denied(ask);
                look.assert_no_key_inside();
                Turn::text("All is done but the secret.")
            })
    });
    let run = world.run(&["qwen", "--", "-p", "Improve the readme"]);
    assert!(run.ok().stdout.contains("All is done but the secret."), "{run}");
    let readme = std::fs::read_to_string(world.place.file("README.md")).unwrap();
    assert_eq!(readme, "# A repository\n\nThe line as edited.\n");
    assert_eq!(std::fs::read_to_string(world.place.file("by-shell.txt")).unwrap(), "ran\n");
    assert_eq!((world.notes.calls().len(), world.docs.calls().len()), (1, 1));

    let audit = world.audit();
    assert_eq!(audit.targets("llm", "allow"), [MODEL; 7]);
    let allowed = ["read_file", "edit", "notes/write_note", "docs/echo", "run_shell_command"];
    assert_eq!(audit.targets("tool", "allow"), allowed);
    let ends: Vec<String> = audit.of("tool", "allow").into_iter().map(|(_, _, outcome)| outcome).collect();
    assert!(ends.iter().all(|outcome| !outcome.contains("not reported")), "{ends:?}");
    assert_eq!(audit.targets("tool", "deny"), ["read_file"]);
    let who = "agent/bot@team-test, owned by user:tester,";
    audit.require_sentence(&[who, "called the model `qwen3-coder-plus` of added", "allowed by"]);
    audit.require_sentence(&[who, "called `edit` on", "README.md", "allowed by"]);
    audit.require_sentence(&[who, "wanted to call `read_file` on", ".ssh/id_rsa", "denied by"]);
    world.assert_books();
}

/// As dear as it may be: no second call fits.
fn dearest(turn: Turn, ask: &Ask) -> Turn {
    let limit = ask.body["max_tokens"].as_u64().expect("a limit of the answer");
    assert!(limit < super::MAX_OUTPUT, "the budget admits {limit} tokens");
    turn.usage(Usage::new(u64::try_from(ask.request.body.len()).expect("a length"), limit))
}

#[test]
fn at_the_budgets_end_one_request_is_refused_and_the_message_is_seen() {
    let world = World::new("qwen", OPENAI_KEY, "0.25 USD", |script, place: &Place| {
        let (write, look) = (place.clone(), place.clone());
        script.step(move |ask| {
            look.assert_no_key_inside();
            let input = json!({ "file_path": write.file("new.txt"), "content": "new\n" });
            dearest(Turn::tool("write_file", input), ask)
        })
    });
    let run = world.run(&["qwen", "--", "-p", "Write a file"]);
    run.exits(1);
    world.assert_exhausted(&run.stderr, "0.25 USD");
    world.assert_stopped_after_its_file(MODEL);
}

#[test]
fn in_a_terminal_it_talks_is_left_found_again_and_told_of_the_budgets_end() {
    let world = World::greeting("qwen", OPENAI_KEY, "0.25 USD", dearest);
    world.talk_twice(&Terminal {
        agent: "qwen",
        args: &[],
        ready: "Type your message",
        figures: None,
        leave: &["/quit", "\r"],
        model: MODEL,
    });
}
