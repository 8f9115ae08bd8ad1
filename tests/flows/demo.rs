//! The demo: the whole product in one run, without a key. What `make run` shows is asserted here.

use crate::fakes::home::Home;

#[test]
fn the_demo_shows_every_part_and_leaves_a_whole_record() {
    let home = Home::new();
    let shown = home.run(&["run", "demo"]).ok().stdout.clone();
    for line in [
        " agent │ MCP tools I am shown: demo_write_note.",
        "  gate │ agentsup denied `demo/delete_repository`: the tool `demo/delete_repository` is not in the agent's scope",
        "  tool │ committed: Add a note from the demo agent",
        "  gate │ model call refused (402 Payment Required): agentsup: budget exhausted: the budget `demo` has spent \
         0.01275 USD of 0.25 USD",
        "the record is whole: ",
    ] {
        assert!(shown.lines().any(|shown| shown.starts_with(line)), "`{line}` is missing:\n{shown}");
    }

    let record = home.run(&["audit", "list", "--json"]).ok().json_lines();
    let told: Vec<(&str, &str, &str, &str)> = record
        .iter()
        .filter(|line| line["run"].is_string())
        .map(|line| {
            let text = |field: &str| line[field].as_str().unwrap_or_default();
            (text("action"), text("target"), text("decision"), text("outcome"))
        })
        .collect();
    let model = "agentsup-demo-1";
    assert_eq!(
        told,
        [
            ("launch", "demo", "allow", "started"),
            ("llm", model, "allow", "200 OK"),
            ("tool", "demo/write_note", "allow", "ok"),
            ("labelled", "was labelled untrusted by calling `demo/write_note`", "", ""),
            ("llm", model, "allow", "200 OK"),
            ("tool", "demo/delete_repository", "deny", "denied"),
            ("llm", model, "allow", "200 OK"),
            ("tool", "shell", "allow", "done"),
            ("llm", model, "allow", "200 OK"),
            ("llm", model, "deny", "denied"),
            ("run-ended", "ended (exit 0), worktree kept: 1 commit", "", ""),
        ]
    );
    // 612 + 731 + 842 + 935 tokens in at 3000, 74 + 58 + 63 + 31 out at 15 000 nano-USD.
    let spent: i64 = record.iter().filter_map(|line| line["cost_nano_usd"].as_i64()).sum();
    assert_eq!(spent, 3120 * 3000 + 226 * 15_000);
    let budget = home.run(&["budget", "show", "demo", "--json"]).ok().json();
    assert_eq!(
        (budget["posted_nano_usd"].as_i64(), budget["pending_nano_usd"].as_i64()),
        (Some(spent), Some(0))
    );

    let runs = home.run(&["ps", "--json"]).ok().json();
    let branch = runs[0]["branch"].as_str().unwrap().to_owned();
    assert_eq!(
        home.git(&["show", "--format=%s", "--name-only", &branch]),
        "Add a note from the demo agent\n\nNOTES.md"
    );
    home.run(&["land", &branch]).ok();
    assert!(home.repo().join("NOTES.md").exists());
    home.run(&["audit", "verify"]).ok();
}
