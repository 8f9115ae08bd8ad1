//! Gemini CLI, headless and in a terminal.

use serde_json::json;

use super::{Terminal, World, assert_denied, assert_told, longest};
use crate::fakes::home::GEMINI_KEY;
use crate::fakes::model::Turn;

const MODEL: &str = "gemini-2.5-flash";

#[test]
fn it_edits_calls_a_tool_meets_a_denial_and_goes_on() {
    let world = World::new("gemini", GEMINI_KEY, "10.00 USD", |script, place| {
        let [secret, look] = [place; 2].map(Clone::clone);
        script
            .step(|_| Turn::tool("read_file", json!({ "file_path": "README.md" })))
            .step(|ask| {
                assert_told(ask, "The first line.");
                let (old, new) = ("The first line.", "The line as edited.");
                let input = json!({
                    "file_path": "README.md", "old_string": old, "new_string": new, "instruction": "Improve" });
                Turn::tool("replace", input)
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
                for gone in ["google_web_search", "invoke_agent"] {
                    assert!(!tools.iter().any(|name| name == gone), "taken away: {tools:?}");
                }
                Turn::tool("run_shell_command", json!({ "command": format!("cat {}", secret.secret()) }))
            })
            .step(move |ask| {
                assert_denied(ask);
                look.assert_no_key_inside();
                Turn::tool("run_shell_command", json!({ "command": "echo still here" }))
            })
            .step(|ask| {
                assert_told(ask, "still here");
                Turn::text("All is done but the secret.")
            })
    });
    let run = world.run(&["gemini", "--", "--model", MODEL, "--prompt", "Improve the readme"]);
    assert!(run.ok().stdout.contains("All is done but the secret."), "{run}");
    let readme = std::fs::read_to_string(world.place.file("README.md")).unwrap();
    assert_eq!(readme, "# A repository\n\nThe line as edited.\n");
    assert_eq!(world.home.git(&["status", "--porcelain"]), "", "the user's checkout is untouched");
    assert_eq!((world.notes.calls().len(), world.docs.calls().len()), (1, 1));
    assert_eq!(std::fs::read_to_string(world.notes.notes().join("made")).unwrap(), "a note");

    let audit = world.audit();
    assert_eq!(audit.targets("llm", "allow"), [MODEL; 7]);
    let tools = ["read_file", "replace", "notes/write_note", "docs/echo", "run_shell_command"];
    assert_eq!(audit.targets("tool", "allow"), tools);
    assert_eq!(audit.targets("tool", "deny"), ["run_shell_command"]);
    let who = "agent/bot@team-test, owned by user:tester,";
    audit.require_sentence(&[who, "called the model `gemini-2.5-flash` of gemini", "allowed by"]);
    audit.require_sentence(&[who, "called `replace` on", "README.md", "allowed by", "done"]);
    audit.require_sentence(&[who, "called `notes/write_note`", "allowed by"]);
    audit.require_sentence(&[who, "wanted to call `run_shell_command` on", ".ssh/id_rsa", "denied by"]);
    world.assert_books();
}

#[test]
fn at_the_budgets_end_one_request_is_refused_and_the_message_is_seen() {
    let world = World::new("gemini", GEMINI_KEY, "0.07 USD", |script, place| {
        let look = place.clone();
        script.step(move |ask| {
            look.assert_no_key_inside();
            longest(Turn::tool("write_file", json!({ "file_path": "new.txt", "content": "new\n" })), ask)
        })
    });
    let run = world.run(&["gemini", "--", "--model", MODEL, "--prompt", "Write a file"]);
    world.assert_exhausted(&run.exits(1).stderr, "0.07 USD");
    world.assert_stopped_after_its_file(MODEL);
}

#[test]
fn in_a_terminal_it_talks_is_left_found_again_and_told_of_the_budgets_end() {
    let world = World::greeting("gemini", GEMINI_KEY, "0.07 USD", longest);
    world.talk_twice(&Terminal {
        agent: "gemini",
        args: &["--model", MODEL],
        ready: "Type your message",
        figures: None,
        leave: &["\x03", "\x03"],
        model: MODEL,
    });
}
