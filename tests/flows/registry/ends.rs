//! What the registry ends, ends here: agents that are retired, and those whose time is over, with the next look at it.

use serde_json::{Value, json};

use super::super::daemon::{detached, view};
use super::{NO_RUNS, Org, PATIENCE, POLITE, changes};
use crate::fakes::home::Manifest;
use crate::fakes::wait::until;

impl Org {
    /// A run of `bot` that ends when it is asked to.
    fn polite_run(&self) -> String {
        let id = detached(&self.home, POLITE)["id"].as_str().unwrap().to_owned();
        assert!(until(PATIENCE, || self.home.run(&["logs", &id]).stdout.contains("up")));
        id
    }

    fn end_of(&self, run: &str) -> Value {
        assert!(until(PATIENCE, || !view(&self.home, run)["ended_at_ms"].is_null()));
        view(&self.home, run)["exit"].clone()
    }

    fn refuses_to_run(&self, why: &str) {
        let refused = self.home.run(&["run", "--agent", "bot", "command", "--", "true"]);
        refused.exits(90);
        assert!(refused.stderr.contains(why), "{refused}");
    }
}

#[test]
fn an_agent_that_is_retired_on_the_branch_starts_nothing_and_its_run_ends() {
    let org = Org::new("");
    org.sync(0, &[]);
    let id = org.polite_run();
    let retired = org.home.run(&["agent", "retire", "bot", "--json"]).ok().json();
    assert_eq!(
        (&retired["standing"], &retired["proposal"]["branch"]),
        (&json!("active"), &json!("retire/team-test-bot"))
    );
    assert_eq!(org.sync(0, &[])["changes"], json!([]));
    assert!(view(&org.home, &id)["ended_at_ms"].is_null(), "it is not retired before that is merged");
    org.merge_branch("retire/team-test-bot");
    assert_eq!(changes(&org.sync(0, &[])), ["retired agent agent/bot@team-test"]);
    assert_eq!(org.end_of(&id), "exit 7, because agent/bot@team-test is retired");
    org.refuses_to_run("retired");
    assert_eq!(org.events("agent-retirement-proposed").len(), 1);
    org.home.run(&["audit", "verify"]).ok();
}

#[test]
fn an_agent_whose_time_is_over_on_the_branch_starts_nothing_and_its_run_ends() {
    let org = Org::new("");
    org.sync(0, &[]);
    let id = org.polite_run();
    let bot = Manifest::default().text("bot");
    let over = bot.replace("  credentials:", "  deprovision: { at: 2020-01-01 }\n  credentials:");
    org.merge("agents/teams/team-test/bot.yaml", &over, "End it");
    assert_eq!(changes(&org.sync(0, &[])), ["changed agent agent/bot@team-test"]);
    assert_eq!(org.end_of(&id), "exit 7, because the time of agent/bot@team-test is over");
    org.refuses_to_run("is over");
    assert_eq!(org.agents(), ["bot expired"]);

    org.merge("agents/teams/team-test/bot.yaml", &bot, "Give it more time");
    org.sync(0, &[]);
    org.home.run(&["run", "--agent", "bot", "command", "--", "true"]).ok();
}

#[test]
fn a_refusal_names_the_file_and_the_commit_of_the_policy() {
    let org = Org::new("");
    let commit = org.merge("agents/org.cedar", NO_RUNS, "Forbid runs");
    assert_eq!(org.sync(0, &[])["commit"], json!(commit));
    org.home.run(&["run", "command", "--", "true"]).exits(90);
    let why = org.home.run(&["why"]).ok().stdout.clone();
    assert!(why.contains(&format!("denied by org/no-runs (agents/org.cedar@{}:1)", &commit[..12])), "{why}");
}
