//! What is kept of a registry on the disk, and what comes of it when that is not what was written.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{NO_RUNS, ORG, Org};

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
fn what_was_in_force_is_not_known_either_where_the_file_that_says_it_is_gone() {
    let org = Org::new("");
    let first = org.git(&["rev-parse", "HEAD"]);
    let second = org.merge("agents/org.cedar", ORG, "Forbid tools");
    // Before anything was in force there is nothing to forget, whatever came of the first look.
    let bad = org.bad_commit();
    org.git(&["push", "--quiet", "--force", "origin", &format!("{bad}:main")]);
    org.home.run(&["sync"]).exits(97);
    org.home.run(&["sync"]).exits(97);
    assert_eq!(org.doctor(96)["registry"]["look"]["found"]["state"], "unreachable");
    org.git(&["push", "--quiet", "--force", "origin", &format!("{second}:main")]);
    assert_eq!(org.sync(0, &[])["commit"], json!(second));

    org.git(&["push", "--quiet", "--force", "origin", &format!("{first}:main")]);
    let state = org.home.agentsup().join("state/registry/state.json");
    std::fs::remove_file(&state).unwrap();
    let refused = org.home.run(&["sync"]);
    refused.exits(96);
    assert!(refused.stderr.contains(&format!("agentsup sync --accept {}", &first[..12])), "{refused}");
    assert!(org.doctor(96)["problems"][0].as_str().unwrap().contains("is not known"));
    assert!(!state.exists(), "it stays so");
    assert_eq!(org.sync(0, &["--accept", &first])["commit"], json!(first));
    assert_eq!(org.sync(0, &[])["commit"], json!(first));
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

impl Org {
    /// A commit that git does not fetch: nobody has made it.
    fn bad_commit(&self) -> String {
        let tree = self.git(&["rev-parse", "HEAD^{tree}"]);
        self.write("nobody", &format!("tree {tree}\nauthor nobody\n\nBreak it\n"));
        let id = self.git(&["hash-object", "-t", "commit", "-w", "--literally", "nobody"]);
        std::fs::remove_file(self.checkout().join("nobody")).unwrap();
        id
    }
}

/// The copy of the registry.
fn mirror(org: &Org) -> PathBuf {
    org.home.agentsup().join("state/registry/mirror.git")
}

/// Writes over an object in the packs of the copy.
fn damage(org: &Org, object: &str) {
    let mirror = mirror(org);
    let packs = std::fs::read_dir(mirror.join("objects/pack")).unwrap().map(|entry| entry.unwrap().path());
    for pack in packs.filter(|path| path.extension().is_some_and(|end| end == "pack")) {
        let index = pack.with_extension("idx").display().to_string();
        let listed = org.home.git_in(&mirror, &["verify-pack", "-v", &index]);
        let Some(line) = listed.lines().find(|line| line.starts_with(object)) else { continue };
        let number = |at: usize| line.split_whitespace().nth(at).unwrap().parse::<usize>().unwrap();
        let (length, offset) = (number(3), number(4));
        let mut bytes = std::fs::read(&pack).unwrap();
        bytes[offset..offset + length].fill(0);
        // Packs are read-only.
        std::fs::remove_file(&pack).unwrap();
        std::fs::write(&pack, bytes).unwrap();
        return;
    }
    panic!("{object} is in no pack");
}

#[test]
fn a_copy_that_cannot_be_read_any_more_is_set_aside_and_fetched_anew() {
    let org = Org::new("");
    org.merge("agents/org.cedar", ORG, "Forbid tools");
    let first = org.sync(0, &[])["commit"].as_str().unwrap().to_owned();
    let aside = org.home.agentsup().join("state/registry/mirror.git.aside");
    for lost in ["HEAD:agents/org.cedar", "HEAD^{tree}", "HEAD:agents"] {
        damage(&org, &org.git(&["rev-parse", lost]));
        let kept = org.home.agentsup().join("state/registry").join(&first).join("org.cedar");
        std::fs::remove_file(&kept).unwrap();
        let synced = org.sync(0, &[]);
        assert_eq!((&synced["state"], &synced["commit"]), (&json!("current"), &json!(first)), "{lost}");
        assert!(kept.exists());
        std::fs::remove_dir_all(&aside).unwrap();
    }
    // What is in force is known to be in what comes after it, or not, by a copy that has it.
    let second = org.merge("agents/org.cedar", NO_RUNS, "Forbid runs");
    damage(&org, &first);
    assert_eq!(org.sync(0, &[])["commit"], json!(second));
    std::fs::remove_dir_all(&aside).unwrap();
    damage(&org, &second);
    org.git(&["push", "--quiet", "--force", "origin", &format!("{first}:main")]);
    assert_eq!(org.sync(96, &[])["state"], "rewound");
    std::fs::remove_dir_all(&aside).unwrap();
    assert_eq!(org.sync(96, &[])["state"], "rewound");
    assert!(!aside.exists(), "another copy of the same says the same");
}

#[test]
fn a_copy_that_cannot_be_fetched_into_any_more_is_set_aside_and_fetched_anew() {
    let org = Org::new("");
    org.sync(0, &[]);
    let (copy, aside) = (mirror(&org), org.home.agentsup().join("state/registry/mirror.git.aside"));
    for (number, file) in
        ["refs/agentsup/fetched", "HEAD", "config", "refs/agentsup/fetched.lock"].iter().enumerate()
    {
        std::fs::write(copy.join(file), "[").unwrap();
        let next = org.merge("agents/org.cedar", &format!("{ORG}// {number}\n"), "Forbid tools");
        assert_eq!(org.sync(0, &[])["commit"], json!(next), "{file}");
        std::fs::remove_dir_all(&aside).unwrap();
    }
    // What the repository itself holds is no better in another copy, and no reason to fetch that again and again.
    let bad = org.bad_commit();
    org.git(&["push", "--quiet", "--force", "origin", &format!("{bad}:main")]);
    org.home.run(&["sync"]).exits(97);
    std::fs::remove_dir_all(&aside).unwrap();
    org.home.run(&["sync"]).exits(97);
    assert!(!aside.exists());
}

#[test]
fn how_a_look_ended_is_known_afterwards_whatever_it_was() {
    let org = Org::new("");
    let first = org.git(&["rev-parse", "HEAD"]);
    org.sync(0, &[]);
    let second = org.merge("agents/org.cedar", ORG, "Forbid tools");
    // Something lies where it is to be kept.
    let place = org.home.agentsup().join("state/registry").join(&second);
    std::fs::write(&place, "").unwrap();
    org.home.run(&["sync"]).exits(1);
    let found = org.doctor(0)["registry"]["look"]["found"].clone();
    assert_eq!(found["state"], "unreachable", "{found}");
    assert!(found["why"].as_str().unwrap().starts_with("what was fetched cannot be kept: "), "{found}");
    std::fs::remove_file(&place).unwrap();
    assert_eq!(org.sync(0, &[])["commit"], json!(second));

    // Another commit was accepted than what is there, and what is there does not go on.
    org.git(&["push", "--quiet", "--force", "origin", &format!("{first}:main")]);
    org.home.run(&["sync", "--accept", &second]).exits(2);
    assert!(org.doctor(96)["problems"][0].as_str().unwrap().contains("was rewound"));
}
