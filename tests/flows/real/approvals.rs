//! A person is asked about what a real agent wants to do, sees it, and is heard by its model.

use serde_json::{Value, json};

use super::{World, assert_told};
use crate::fakes::home::ANTHROPIC_KEY;
use crate::fakes::model::Turn;
use crate::flows::approvals::asked;

#[test]
fn what_claude_edits_is_shown_as_a_difference_and_a_no_reaches_its_model() {
    let world = World::new("claude", ANTHROPIC_KEY, "10.00 USD", |script, place| {
        let [read, edit, write, look] = [place; 4].map(Clone::clone);
        script
            .step(move |_| {
                look.assert_no_key_inside();
                Turn::tool("Read", json!({ "file_path": read.file("README.md") }))
            })
            .step(move |_| {
                let (old, new) = ("The first line.", "The line as edited.");
                let path = edit.file("README.md");
                Turn::tool("Edit", json!({ "file_path": path, "old_string": old, "new_string": new }))
            })
            .step(move |ask| {
                assert_told(ask, "has been updated");
                let path = write.file("new.txt");
                Turn::tool("Write", json!({ "file_path": path, "content": "first\nsecond\n" }))
            })
            .step(|ask| {
                assert_told(ask, "put it below docs");
                Turn::text("As you wish.")
            })
    });
    world.home.manifest(
        "ask.cedar",
        "@id(\"look\")\n@decision(\"ask\")\n@reason(\"a person looks at edits\")\n\
         forbid (principal, action == Action::\"edit\", resource);\n",
    );
    let run = std::thread::scope(|scope| {
        let running = scope
            .spawn(|| world.run(&["claude", "--", "-p", "Improve the readme", "--output-format", "json"]));
        let run = loop {
            let runs = world.home.run(&["ps", "--json"]).ok().json();
            if let Some(id) = runs[0]["id"].as_str() {
                break id.to_owned();
            }
        };
        let first = asked(&world.home, &run);
        assert_eq!(
            (&first["target"], &first["effect"]["shown"][0]["kind"]),
            (&json!("Edit"), &json!("diff"))
        );
        let text = first["effect"]["shown"][0]["text"].as_str().unwrap();
        assert!(text.ends_with(" \n-The first line.\n+The line as edited.\n"), "{text}");
        world.home.run(&["approve", id(&first)]).ok();
        let second = loop {
            let next = asked(&world.home, &run);
            if next["id"] != first["id"] {
                break next;
            }
        };
        let text = second["effect"]["shown"][0]["text"].as_str().unwrap();
        assert!(text.ends_with("@@ -0,0 +1,2 @@\n+first\n+second\n"), "{text}");
        world.home.run(&["deny", id(&second), "--reason", "put it below docs"]).ok();
        running.join().unwrap()
    });
    assert_eq!(run.ok().json()["result"], "As you wish.", "{run}");
    let readme = std::fs::read_to_string(world.place.file("README.md")).unwrap();
    assert_eq!(readme, "# A repository\n\nThe line as edited.\n");
    assert!(!std::path::Path::new(&world.place.file("new.txt")).exists());
    world.audit().require_sentence(&["called `Edit`", "approval/user:"]);
    world.assert_books();
}

fn id(question: &Value) -> &str {
    question["id"].as_str().unwrap()
}
