//! Decisions looked at afterwards and beforehand: why, under other policies, and before anything happens.

use serde_json::{Value, json};

use crate::fakes::home::Home;

/// A repository's own.
const OWN: &str = "@id(\"no-servers\")\nforbid (principal, action == Action::\"mcp\", resource)\n\
                   when { context.environment == \"dev\" };\n";

fn texts(values: &Value, field: &str) -> Vec<String> {
    let values = values.as_array().unwrap().iter();
    values.map(|value| value[field].as_str().unwrap_or_default().to_owned()).collect()
}

/// The demo's decisions: why one was refused, what other policies make of all, and what none of that changed.
#[test]
fn what_was_decided_is_judged_again_under_other_policies() {
    let home = Home::new();
    home.run(&["run", "demo"]).ok();
    let same = home.run(&["policy", "replay", "--check", "--json"]).ok().json();
    assert_eq!((&same["judged"], &same["same"], &same["counts"]), (&json!(9), &json!(9), &json!({})));
    assert_eq!(same["left"], json!({ "not_kept": 0, "erased": 0, "changed": 0 }));

    let record = home.run(&["audit", "list", "--json"]).ok().json_lines();
    let denied = record.iter().find(|line| line["target"] == "demo/delete_repository").unwrap();
    let why = home.run(&["why", denied["id"].as_str().unwrap(), "--json"]).ok().json();
    let way = "`demo/delete_repository` in `tools.mcp` of the manifest of agent/demo@personal";
    assert_eq!(why["ways"], json!([{ "change": way, "decision": "allow" }]));

    // Somebody has a draft of tighter policies, and a wider manifest.
    let draft = home.path("draft");
    std::fs::create_dir(&draft).unwrap();
    let manifest = std::fs::read_to_string(home.agentsup().join("manifests/demo.yaml")).unwrap();
    std::fs::write(draft.join("demo.yaml"), manifest.replace("demo/write_*", "demo/*")).unwrap();
    std::fs::write(
        draft.join("org.cedar"),
        "@id(\"no-shell\")\n@reason(\"shells are for people\")\nforbid (principal, action == Action::\"shell\", resource);\n",
    )
    .unwrap();
    let labels = "apiVersion: agentsup.dev/v1alpha1\nkind: Policy\nmetadata: { name: data }\nspec:\n  paths:\n    \"pay/**\": [pci]\n";
    std::fs::write(draft.join("labels.yaml"), labels).unwrap();
    let draft = draft.to_str().unwrap();
    home.run(&["policy", "replay", "--policies", draft]).ok();
    let other = home.run(&["policy", "replay", "--policies", draft, "--check", "--json"]).exits(98).json();
    assert_eq!(other["counts"], json!({ "allow → deny": 1, "deny → allow": 1 }));
    assert_eq!(other["other_manifests"], json!(["agent/demo@personal"]));
    let changes = &other["changes"];
    assert_eq!(texts(changes, "to"), ["allow", "deny"]);
    assert_eq!(changes[1]["by"][0]["source"], "org/no-shell");
    assert!(changes[1]["by"][0]["at"].as_str().unwrap().ends_with("/draft/org.cedar:1"), "{changes}");
    assert!(changes[1]["command"].as_str().unwrap().contains("git commit"), "{changes}");
    assert!(changes[0]["sentence"].as_str().unwrap().contains("wanted to call `demo/delete_repository`"));

    let diff = home.run(&["policy", "diff", draft, "--json"]).ok().json();
    assert_eq!(texts(&diff["policies"]["added"], "source"), ["org/no-shell"]);
    assert_eq!(texts(&diff["policies"]["labels_added"], "pattern"), ["pay/**"]);
    assert_eq!(diff["policies"]["agents"], json!({ "agent/demo@personal": "changed" }));
    assert_eq!(diff["decisions"]["counts"], other["counts"]);
    let none =
        home.run(&["policy", "replay", "--policies", draft, "--since", "2099-01-01", "--json"]).ok().json();
    assert_eq!(none["judged"], 0);
    home.run(&["policy", "replay", "--policies", "nowhere"]).exits(2);

    // What a run had of its repository it is judged by again.
    home.commit(".agentsup/own.cedar", OWN, "Keep agents off servers");
    home.run(&["run", "demo"]);
    let own = home.run(&["policy", "replay", "--run", "latest", "--check", "--json"]).ok().json();
    assert_eq!((own["judged"].as_u64() > Some(0), &own["counts"]), (true, &json!({})), "{own}");
    home.run(&["audit", "verify"]).ok();
}

/// What is asked about beforehand is read as it is when it happens, and nothing of it is recorded.
#[test]
fn what_would_be_decided_is_told_before_it_happens() {
    let home = Home::new();
    home.run(&["run", "demo"]).ok();
    let records = home.run(&["audit", "list", "--json"]).ok().json_lines().len();
    let explain = |args: &[&str]| home.run(&[&["policy", "explain", "--json"], args].concat()).ok().json();

    let line = explain(&["--command", "cargo test && bash -c 'env A=b git push origin'"]);
    assert_eq!(line["decision"], "ask");
    assert_eq!(
        line["commands"],
        json!([
            "cargo test",
            "bash -c env A=b git push origin",
            "env A=b git push origin",
            "git push origin"
        ])
    );
    assert_eq!(
        line["stages"][1]["reasons"][0]["looked_at"],
        json!([{ "name": "program", "value": "\"git\"" }, { "name": "verb", "value": "\"push\"" }])
    );
    assert_eq!(texts(&line["ways"], "change"), ["a person's yes", "the line without `git push`"]);

    // A link inside the worktree of a run leads where it leads.
    let run = &home.run(&["ps", "--json"]).ok().json()[0];
    let worktree = std::path::PathBuf::from(run["worktree"].as_str().unwrap());
    std::os::unix::fs::symlink("/etc", worktree.join("link")).unwrap();
    let edit = explain(&["--run", "latest", "--tool", "edit:Edit", "--path", "link/passwd"]);
    assert_eq!(edit["paths"], json!(["/etc/passwd (outside)"]));
    assert_eq!(texts(&edit["others"], "text"), ["the run is over"]);
    assert_eq!(edit["stages"][1]["reasons"][0]["source"], "default/edit-in-worktree");
    assert_eq!(texts(&edit["ways"], "change"), ["paths in the run's worktree only"]);

    assert_eq!(explain(&["--mcp", "demo/write_note"])["decision"], "allow");
    assert_eq!(explain(&["--mcp", "demo/drop"])["decision"], "deny");
    assert_eq!(explain(&["--host", "example.com"])["decision"], "deny");

    // Only runs that start from here are held to what is committed here.
    home.commit(".agentsup/own.cedar", OWN, "Keep agents off servers");
    let commit = home.git(&["rev-parse", "HEAD"]);
    let own = explain(&["--mcp", "demo/write_note"]);
    let reason = &own["stages"][1]["reasons"][0];
    assert_eq!(
        (&reason["source"], &reason["at"], &reason["looked_at"]),
        (
            &json!("repository/no-servers"),
            &json!(format!("{}:.agentsup/own.cedar:1", &commit[..12])),
            &json!([{ "name": "environment", "value": "\"dev\"" }])
        ),
        "{own}"
    );
    let before = explain(&["--run", "latest", "--mcp", "demo/write_note"]);
    assert!(!before.to_string().contains("no-servers"), "{before}");
    let launch = explain(&["--launch", "--adapter", "codex", "--agent", "demo"]);
    assert_eq!(
        texts(&launch["ways"], "change"),
        ["`codex` in `adapters` of the manifest of agent/demo@personal"]
    );
    home.run(&["policy", "explain"]).exits(2);
    assert_eq!(home.run(&["audit", "list", "--json"]).ok().json_lines().len(), records);
}
