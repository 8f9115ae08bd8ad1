//! A run that is suspended and goes on, by hand.

use super::daemon::{detached, registered};

#[test]
fn a_run_is_suspended_found_so_by_the_next_daemon_and_resumed() {
    let home = registered();
    let id = detached(&home, "sleep 1000")["id"].as_str().unwrap().to_owned();
    let state = || {
        let runs = home.run(&["ps", "--json"]).ok().json();
        (runs[0]["state"].as_str().unwrap().to_owned(), runs[0]["exit"].as_str().map(str::to_owned))
    };
    let suspended =
        home.run(&["suspend", "latest", "--reason", "I want to look first", "--json"]).ok().json();
    assert_eq!((&suspended["id"], &suspended["state"]), (&id.as_str().into(), &"suspended".into()));
    let why = Some("I want to look first".to_owned());
    assert_eq!(state(), ("suspended".to_owned(), why.clone()));
    home.run(&["suspend", &id]).exits(2);

    home.run(&["daemon", "stop"]).ok();
    assert_eq!(state(), ("suspended".to_owned(), why));
    assert_eq!(home.run(&["resume", &id, "--json"]).ok().json()["state"], "running");
    assert_eq!(state(), ("running".to_owned(), None));
    let again = home.run(&["resume", &id]);
    again.exits(2);
    assert!(again.stderr.contains("is running and cannot be resumed"), "{again}");

    home.run(&["kill", &id]).ok();
    home.run(&["suspend", &id]).exits(2);
    let sentences: Vec<String> = home
        .run(&["audit", "list", "--json"])
        .ok()
        .json_lines()
        .iter()
        .map(|line| line["sentence"].as_str().unwrap().to_owned())
        .collect();
    for words in ["was suspended: I want to look first in dev", "was resumed in dev"] {
        assert!(sentences.iter().any(|sentence| sentence.contains(words)), "{words}: {sentences:#?}");
    }
    home.run(&["audit", "verify"]).ok();
}
