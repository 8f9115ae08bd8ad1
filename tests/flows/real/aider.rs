//! Aider, headless. It has no hooks, so there is nothing to be denied but its models. It needs a Python that it supports:
//! where there is none, its set-up says so and these tests do nothing.

use super::{Place, World, longest};
use crate::fakes::ask::Kind;
use crate::fakes::home::{ANTHROPIC_KEY, agents};
use crate::fakes::model::{Script, Turn};

const MODEL: &str = "claude-sonnet-5";
/// What the model says to change a line, in the form that this client asks for.
const EDIT: &str =
    "README.md\n```\n<<<<<<< SEARCH\nThe first line.\n=======\nThe line as edited.\n>>>>>>> REPLACE\n```\n";

fn is_missing() -> bool {
    !agents().join("node_modules/.bin/aider").exists()
}

/// One edit, as dear as it may be if that is wanted.
fn edits(script: Script, place: &Place, spent: fn(Turn, &crate::fakes::ask::Ask) -> Turn) -> Script {
    let look = place.clone();
    script.step(move |ask| {
        look.assert_no_key_inside();
        spent(Turn::text(EDIT), ask)
    })
}

const ARGS: &[&str] =
    &["aider", "--", "--no-stream", "--edit-format", "diff", "--message", "Improve the readme", "README.md"];

#[test]
fn it_edits_and_commits_metered_and_leaves_nothing_else() {
    if is_missing() {
        return;
    }
    let world = World::new("aider", ANTHROPIC_KEY, "10.00 USD", |script, place| {
        // The second is for the message of its commit.
        edits(script, place, |turn, _| turn).then(|_| Turn::text("docs: improve the readme"))
    });
    world.run(ARGS).ok();
    let tree = world.place.worktree();
    assert_eq!(
        world.home.git_in(&tree, &["show", "HEAD:README.md"]),
        "# A repository\n\nThe line as edited."
    );
    assert_eq!(world.home.git_in(&tree, &["log", "-1", "--format=%s"]), "docs: improve the readme");
    assert_eq!(world.home.git_in(&tree, &["status", "--porcelain", "--ignored"]), "");
    assert_eq!(world.home.git(&["status", "--porcelain"]), "", "the user's checkout is untouched");
    let own = world.home.path("user");
    let left: Vec<_> = std::fs::read_dir(own).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, [".ssh"], "the user's home directory is untouched");
    let audit = world.audit();
    assert_eq!(audit.targets("llm", "allow"), [MODEL; 2]);
    assert_eq!(audit.targets("tool", "allow"), Vec::<String>::new(), "nothing of it is asked about");
    world.assert_books();
}

#[test]
fn at_the_budgets_end_one_request_is_refused_and_the_message_is_seen() {
    if is_missing() {
        return;
    }
    // The second change does not fit the file, which it tells its model.
    let world = World::new("aider", ANTHROPIC_KEY, "0.30 USD", |script, place| {
        edits(script, place, |_, ask| {
            let stale = EDIT.replace("The first line.", "No such line.");
            longest(Turn::text(&format!("{EDIT}\n{stale}")), ask)
        })
    });
    let run = world.run(&[ARGS, &["--no-auto-commits"]].concat());
    // It breaks lines where its terminal would end.
    let said: Vec<&str> = run.ok().stdout.split_whitespace().collect();
    world.assert_exhausted(&said.join(" "), "0.30 USD");
    let readme = std::fs::read_to_string(world.place.file("README.md")).unwrap();
    assert_eq!(readme, "# A repository\n\nThe line as edited.\n", "work is kept");
    world.assert_one_refusal(MODEL);
}

#[test]
fn a_repository_that_would_redirect_it_is_refused() {
    if is_missing() {
        return;
    }
    for (file, text) in [
        (".env", "ANTHROPIC_API_BASE=http://127.0.0.1:9\n"),
        (".aider.conf.yml", "openai-api-base: http://127.0.0.1:9\nlint-cmd: touch lint\n"),
        (".aider.model.settings.yml", "[]\n"),
    ] {
        let world = World::new("aider", ANTHROPIC_KEY, "10.00 USD", |script, _| script);
        world.home.commit(file, text, "Add settings");
        let run = world.run(ARGS);
        run.exits(2);
        assert!(run.stderr.contains(file) && run.stderr.contains("hint:"), "{run}");
        assert!(world.model.seen_kind(Kind::Main).is_empty());
    }
}
