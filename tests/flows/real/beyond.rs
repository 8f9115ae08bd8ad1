//! What agents do beyond their own tools in one conversation: agents that they start, tools of the provider, plans,
//! commits, commands that are typed into.

use serde_json::json;

use super::{World, assert_denied, assert_told};
use crate::fakes::home::{ANTHROPIC_KEY, OPENAI_KEY};
use crate::fakes::model::{Block, Turn};

/// A line of Codex's script language.
fn script(line: &str) -> Turn {
    Turn::text("I will use a tool.").and(Block::Custom { name: "exec".to_owned(), input: line.to_owned() })
}

/// Codex runs a command of the shell.
fn shell(command: &str) -> Turn {
    script(&format!("text(await tools.exec_command({{ cmd: {} }}))", json!(command)))
}

#[test]
fn a_claude_that_claude_starts_is_metered_and_asked_about_its_tools() {
    let mut world = World::new("claude", ANTHROPIC_KEY, "10.00 USD", |script, place| {
        let [secret, look] = [place; 2].map(Clone::clone);
        // Both conversations begin with the same step; the inner one has the word in its prompt.
        script
            .step(move |ask| {
                look.assert_no_key_inside();
                if ask.request.contains("You are the inner one") {
                    return Turn::tool("Read", json!({ "file_path": secret.secret() }));
                }
                let command =
                    "ANTHROPIC_AUTH_TOKEN=$AGENTSUP_RUN_TOKEN claude -p 'You are the inner one' </dev/null";
                Turn::tool("Bash", json!({ "command": command, "description": "Start another" }))
            })
            .step(|ask| {
                if ask.results().concat().contains("The inner one was denied.") {
                    return Turn::text("Both are done.");
                }
                assert_denied(ask);
                Turn::text("The inner one was denied.")
            })
    });
    world.home.config("[policy]\npack = \"observe\""); // The standard pack asks first.
    let run = world.run(&["claude", "--", "-p", "Start another", "--output-format", "json"]);
    assert_eq!(run.ok().json()["result"], "Both are done.", "{run}");
    let audit = world.audit();
    assert_eq!(audit.targets("llm", "allow").len(), 4, "two calls each");
    assert_eq!(audit.targets("tool", "allow"), ["Bash"]);
    assert_eq!(audit.targets("tool", "deny"), ["Read"]);
    world.assert_books();
}

#[test]
fn a_claude_that_claude_starts_has_no_credential_by_itself() {
    let mut world = World::new("claude", ANTHROPIC_KEY, "10.00 USD", |script, place| {
        let look = place.clone();
        script
            .step(move |_| {
                look.assert_no_key_inside();
                let command = "claude -p 'You are the inner one' </dev/null || true";
                Turn::tool("Bash", json!({ "command": command, "description": "Start another" }))
            })
            .step(|ask| {
                assert_told(ask, "Not logged in");
                Turn::text("It cannot.")
            })
    });
    world.home.config("[policy]\npack = \"observe\""); // The standard pack asks first.
    let run = world.run(&["claude", "--", "-p", "Start another", "--output-format", "json"]);
    assert_eq!(run.ok().json()["result"], "It cannot.", "{run}");
    assert_eq!(world.audit().targets("llm", "allow").len(), 2);
    world.assert_books();
}

#[test]
fn claude_is_without_the_search_of_its_provider_and_goes_on() {
    let world = World::new("claude", ANTHROPIC_KEY, "10.00 USD", |script, place| {
        let look = place.clone();
        script
            .step(move |ask| {
                look.assert_no_key_inside();
                assert!(!ask.request.contains("WebSearch"), "it is not offered");
                Turn::tool("WebSearch", json!({ "query": "rust" }))
            })
            .step(|ask| {
                assert_told(ask, "No such tool available: WebSearch");
                Turn::text("Without, then.")
            })
    });
    let run = world.run(&["claude", "--", "-p", "Search the web", "--output-format", "json"]);
    assert_eq!(run.ok().json()["result"], "Without, then.", "{run}");
    let audit = world.audit();
    assert_eq!((audit.targets("llm", "allow").len(), audit.targets("llm", "deny").len()), (2, 0));
    world.assert_books();
}

#[test]
fn claude_writes_its_plan_and_nothing_else_of_its_run() {
    let world = World::new("claude", ANTHROPIC_KEY, "10.00 USD", |script, place| {
        let [plan, settings, look] = [place; 3].map(Clone::clone);
        script
            .step(move |_| {
                look.assert_no_key_inside();
                let file = plan.run_file("claude/plans/quiet-walrus.md");
                Turn::tool("Write", json!({ "file_path": file, "content": "# A plan\n" }))
            })
            .step(move |ask| {
                assert_told(ask, "File created successfully");
                let file = settings.run_file("claude/skills/x.md");
                Turn::tool("Write", json!({ "file_path": file, "content": "x" }))
            })
            .step(|ask| {
                assert_denied(ask);
                Turn::text("Planned.")
            })
    });
    let run = world.run(&["claude", "--", "-p", "Make a plan", "--output-format", "json"]);
    assert_eq!(run.ok().json()["result"], "Planned.", "{run}");
    let audit = world.audit();
    assert_eq!(audit.targets("tool", "allow"), ["Write"]);
    assert_eq!(audit.targets("tool", "deny"), ["Write"]);
    world.assert_books();
}

#[test]
fn codex_commits_in_its_worktree_and_changes_nothing_else_of_the_repository() {
    let mut world = World::new("codex", OPENAI_KEY, "10.00 USD", |steps, place| {
        let [repository, look] = [place; 2].map(Clone::clone);
        steps
            .step(move |_| {
                look.assert_no_key_inside();
                shell("echo more >> README.md && git commit -qam 'Say more' && echo committed")
            })
            .step(move |ask| {
                assert_told(ask, "committed");
                let git = repository.root.join("repo/.git").display().to_string();
                shell(&format!(
                    "echo x > \"{git}/hooks/pre-commit\"; git config core.editor x; git branch theirs; \
                     echo elsewhere > \"$(git rev-parse --git-dir)/commondir\"; echo all tried"
                ))
            })
            .step(|ask| {
                assert_told(ask, "all tried");
                Turn::text("Committed.")
            })
    });
    // The other packs ask about git's own files before Codex's sandbox sees the command.
    world.home.config("[policy]\npack = \"observe\"");
    let run = world.run(&["codex", "--", "exec", "--json", "Commit"]);
    run.ok();
    let branches = world.home.git(&["for-each-ref", "--format=%(refname) %(subject)", "refs/heads"]);
    let lines: Vec<&str> = branches.lines().collect();
    assert!(
        lines[0].starts_with("refs/heads/agentsup/bot-") && lines[0].ends_with(" Say more"),
        "{branches}"
    );
    assert_eq!(lines[1..], ["refs/heads/main Begin"]);
    let git = world.home.repo().join(".git");
    assert!(!git.join("hooks/pre-commit").exists());
    assert!(!std::fs::read_to_string(git.join("config")).unwrap().contains("editor"));
    world.assert_books();
}

#[test]
fn what_codex_types_into_a_command_does_not_run_unasked() {
    let mut world = World::new("codex", OPENAI_KEY, "10.00 USD", |steps, place| {
        let look = place.clone();
        let typed = "const shell = await tools.exec_command({ cmd: 'bash', tty: true, yield_time_ms: 300 });\n\
                     text(JSON.stringify(await tools.write_stdin({ session_id: shell.session_id, \
                     chars: 'cat ~/.ssh/id_rsa\\n', yield_time_ms: 500 })))";
        steps
            .step(move |_| {
                look.assert_no_key_inside();
                script(typed)
            })
            .step(move |ask| {
                assert_told(ask, "TTY execution is disabled");
                script(&typed.replace("tty: true, ", ""))
            })
            .step(|ask| {
                assert!(!ask.request.contains(super::SECRET), "the secret reached the model");
                Turn::text("No way.")
            })
    });
    // The standard pack asks a person about a shell that reads what is typed, before there is anything to type.
    world.home.config("[policy]\npack = \"observe\"");
    let run = world.run(&["codex", "--", "exec", "--json", "Try"]);
    assert!(run.ok().stdout.contains("No way."), "{run}");
    world.assert_books();
}
