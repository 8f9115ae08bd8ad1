//! What is kept of a registry on the disk, and what comes of it when that is not what was written.

use serde_json::{Value, json};

use super::{ORG, Org};

#[test]
fn nothing_comes_after_what_nobody_knows_any_more_until_somebody_accepts_it() {
    let org = Org::new("");
    let first = org.git(&["rev-parse", "HEAD"]);
    assert_eq!(org.sync(0, &[])["commit"], json!(first));
    let state = org.home.agentsup().join("state/registry/state.json");
    std::fs::write(&state, "{").unwrap();
    let second = org.merge("agents/org.cedar", ORG, "Forbid tools");

    let refused = || {
        let refused = org.home.run(&["sync"]);
        refused.exits(96);
        assert!(refused.stderr.contains("is not known"), "{refused}");
        assert!(refused.stderr.contains(&format!("agentsup sync --accept {}", &second[..12])), "{refused}");
        assert!(org.doctor(96)["problems"][0].as_str().unwrap().contains("is not known"));
        assert_eq!(std::fs::read_to_string(&state).unwrap(), "{", "it is not replaced");
    };
    refused();
    assert_eq!(org.agents(), ["bot active"], "what is in force stays");
    org.home.run(&["daemon", "stop"]).ok();
    assert_eq!(org.agents(), Vec::<String>::new(), "and nothing is after a restart");
    refused();
    // What has problems is not accepted, and nothing is known afterwards either.
    org.write("agents/more.cedar", "forbid (");
    let broken = org.push("Break it");
    assert_eq!(org.sync(96, &["--accept", &broken])["state"], "invalid");
    assert_eq!(std::fs::read_to_string(&state).unwrap(), "{");
    org.git(&["push", "--quiet", "--force", "origin", &format!("{second}:main")]);

    let accepted = org.sync(0, &["--accept", &second]);
    assert_eq!((&accepted["commit"], &accepted["before"]), (&json!(second), &Value::Null));
    assert_eq!(org.agents(), ["bot active"]);
    let told = org.events("registry-commit-accepted");
    assert!(told.len() == 1 && told[0].contains("without knowing what was in force before"), "{told:?}");
    assert_eq!(org.sync(0, &[])["commit"], json!(second));
}

#[test]
fn a_rewind_comes_into_force_once_it_is_on_the_record_that_it_was_accepted() {
    let org = Org::new("");
    let first = org.git(&["rev-parse", "HEAD"]);
    let second = org.merge("agents/org.cedar", ORG, "Forbid tools");
    assert_eq!(org.sync(0, &[])["commit"], json!(second));
    org.git(&["push", "--quiet", "--force", "origin", &format!("{first}:main")]);
    let database = || rusqlite::Connection::open(org.home.agentsup().join("state/agentsup.db")).unwrap();
    let refuse = "CREATE TRIGGER not_now BEFORE INSERT ON records
                  WHEN instr(CAST(NEW.body AS TEXT), 'registry-rewind-accepted') > 0
                  BEGIN SELECT RAISE(ABORT, 'not now'); END";
    database().execute_batch(refuse).unwrap();
    let unheard = org.home.run(&["sync", "--accept", &first]);
    assert!(!unheard.status.success(), "{unheard}");
    database().execute_batch("DROP TRIGGER not_now").unwrap();
    org.home.run(&["daemon", "stop"]).ok();
    let synced = org.sync(96, &[]);
    assert_eq!((&synced["state"], &synced["commit"]), (&json!("rewound"), &json!(second)));
    assert_eq!(org.sync(0, &["--accept", &first])["commit"], json!(first));
    assert_eq!(org.events("registry-rewind-accepted").len(), 1);
}

#[test]
fn what_cannot_be_cleared_away_keeps_nothing_from_coming_into_force() {
    let org = Org::new("");
    org.sync(0, &[]);
    std::fs::write(org.home.agentsup().join("state/registry").join("3".repeat(40)), "").unwrap();
    let second = org.merge("agents/org.cedar", ORG, "Forbid tools");
    assert_eq!(org.sync(0, &[])["commit"], json!(second));
    let listed = org.home.run(&["policy", "list", "--json"]);
    assert!(listed.stdout.contains("org/no-tools"), "{listed}");
}
