#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod authority;
mod billing;
mod chain;
mod facts;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::*;
use crate::core::billing::Payers;
use crate::core::manifest::{BuiltinClass, Cap, Environment, Lifecycle, Period, TimeZone, ToolScope};
use crate::core::money::NanoUsd;
use crate::core::policy::{Pack, PolicySet, PolicySource};
use crate::core::principal::AgentRef;
use crate::sys::paths::Home;

pub(super) const CONTRACT: &str = "\
apiVersion: agentsup.dev/v1alpha1
kind: Agent
metadata:
  name: code-review-bot
  namespace: team-platform
spec:
  owner: user:default/alice          # accountable human: a User, never a group
  purpose: Review pull requests and propose fixes
  lifecycle: experimental            # experimental | production | retired
  environments: [dev]                # dev | staging | production
  adapters: [claude, command]
  repositories: [\"*\"]
  models: [\"claude-*\"]
  tools:
    mcp: [\"github/*\"]
    builtin: [read, edit, shell]
  budget: code-review-bot
  credentials: { ttl: 15m }
  deprovision: { at: 2027-06-30 }
---
apiVersion: agentsup.dev/v1alpha1
kind: TokenBudget
metadata:
  name: code-review-bot
  namespace: team-platform
spec:
  period: monthly                    # UTC calendar month unless timezone is given
  cap: 50.00 USD                     # a decimal string with a currency, or \"5000000 tokens\"
  burst: 5.00 USD                    # hard ceiling = cap + burst
  alertAt: 80%
";

struct Fixture {
    dir: tempfile::TempDir,
    home: Home,
}

impl Fixture {
    fn new(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::rooted(dir.path());
        home.prepare().unwrap();
        let fixture = Self { dir, home };
        for (name, text) in files {
            fixture.write(name, text);
        }
        fixture
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn load(&self) -> Snapshot {
        load::load(&self.home)
    }

    /// The problems, without the directory.
    fn problems(&self) -> Vec<String> {
        shown(&self.load(), self.dir.path())
    }
}

fn shown(snapshot: &Snapshot, root: &Path) -> Vec<String> {
    let prefix = format!("{}/", root.display());
    snapshot.problems.iter().map(|problem| problem.to_string().replace(&prefix, "")).collect()
}

fn agent(spec: &str) -> String {
    format!(
        "apiVersion: agentsup.dev/v1alpha1\nkind: Agent\nmetadata: {{ name: a, namespace: t }}\nspec:\n{spec}"
    )
}

fn budget(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: agentsup.dev/v1alpha1\nkind: TokenBudget\nmetadata: {{ name: {name}, namespace: t }}\nspec:\n{spec}"
    )
}

const GOOD_AGENT: &str =
    "  owner: user:alice\n  purpose: x\n  adapters: [claude]\n  models: [\"*\"]\n  budget: b\n";
const GOOD_BUDGET: &str = "  period: total\n  cap: 1.00 USD\n";

#[test]
fn nothing_at_all_is_fine_and_has_no_agents() {
    let snapshot = Fixture::new(&[]).load();
    assert_eq!((snapshot.agents.len(), snapshot.budgets.len(), snapshot.problems), (0, 0, Vec::new()));
    assert_eq!(snapshot.config, Config::default());
    let pack = PolicySet::load(&[PolicySource::pack(Pack::Standard)]).unwrap();
    assert_eq!(snapshot.policies.len(), pack.len());
}

#[test]
fn the_contracts_manifests_are_read() {
    let snapshot = Fixture::new(&[("manifests/team/bot.yaml", CONTRACT)]).load();
    assert_eq!(snapshot.problems, []);
    assert_eq!(
        snapshot.agents,
        [Agent {
            reference: AgentRef::new("code-review-bot", "team-platform").unwrap(),
            owner: "user:alice".parse().unwrap(),
            purpose: "Review pull requests and propose fixes".into(),
            lifecycle: Lifecycle::Experimental,
            environments: vec![Environment::Dev],
            adapters: vec!["claude".into(), "command".into()],
            repositories: vec!["*".into()],
            models: vec!["claude-*".into()],
            tools: ToolScope {
                mcp: vec!["github/*".into()],
                builtin: vec![BuiltinClass::Read, BuiltinClass::Edit, BuiltinClass::Shell],
            },
            budget: "code-review-bot".into(),
            billing: Payers::Keys,
            credential_ttl_ms: 900_000,
            deprovision_at_ms: Some(1_814_313_600_000),
        }]
    );
    let expected = TokenBudget {
        name: "code-review-bot".into(),
        namespace: "team-platform".into(),
        parent: None,
        period: Period::Monthly(TimeZone("UTC".into())),
        cap: Cap::Money {
            cap: NanoUsd::new(50_000_000_000).unwrap(),
            burst: NanoUsd::new(5_000_000_000).unwrap(),
        },
        alert_at_percent: 80,
    };
    assert_eq!(snapshot.budgets, std::slice::from_ref(&expected));
    let agent = snapshot.require_agent("code-review-bot").unwrap();
    assert_eq!(snapshot.budget_of(agent), Some(&expected));
}

#[test]
fn what_is_left_out_has_a_narrow_default() {
    let files = [("manifests/a.yml", agent(GOOD_AGENT)), ("manifests/b.yaml", budget("b", GOOD_BUDGET))];
    let snapshot = Fixture::new(&files.each_ref().map(|(name, text)| (*name, text.as_str()))).load();
    assert_eq!(snapshot.problems, []);
    let agent = &snapshot.agents[0];
    assert_eq!(
        (
            agent.lifecycle,
            &agent.environments,
            &agent.tools,
            agent.credential_ttl_ms,
            agent.deprovision_at_ms
        ),
        (Lifecycle::Experimental, &vec![Environment::Dev], &ToolScope::default(), 900_000, None)
    );
    assert_eq!(
        (&snapshot.budgets[0].period, snapshot.budgets[0].cap, snapshot.budgets[0].alert_at_percent),
        (&Period::Total, Cap::Money { cap: NanoUsd::new(1_000_000_000).unwrap(), burst: NanoUsd::ZERO }, 80)
    );
}

#[test]
fn an_agent_with_one_kind_of_tools_is_registered() {
    for (tools, expected) in [
        ("{ builtin: [read] }", ToolScope { builtin: vec![BuiltinClass::Read], ..ToolScope::default() }),
        ("{ mcp: [notes/*] }", ToolScope { mcp: vec!["notes/*".into()], ..ToolScope::default() }),
    ] {
        let text = agent(&format!("{GOOD_AGENT}  tools: {tools}\n"));
        let files = [("manifests/a.yml", text), ("manifests/b.yaml", budget("b", GOOD_BUDGET))];
        let snapshot = Fixture::new(&files.each_ref().map(|(name, text)| (*name, text.as_str()))).load();
        let scopes: Vec<&ToolScope> = snapshot.agents.iter().map(|agent| &agent.tools).collect();
        assert_eq!((snapshot.problems.len(), scopes), (0, vec![&expected]), "{tools}");
    }
}

#[test]
fn every_problem_of_an_agent_names_its_place() {
    let spec = "  owner: group:default/team
  purpose:
  lifecycle: prod
  environments: []
  adapters: [Claude, claude, claude]
  repositories: \"*\"
  models: [\"gpt-[45]\"]
  tools:
    mcp: [github]
    builtin: [read, bash]
    extra: 1
  budget: \"No Such\"
  credentials: { ttl: 15 }
  deprovision: { at: 30.06.2027 }
  colour: red
";
    let bad = agent(spec);
    assert_eq!(
        Fixture::new(&[("manifests/a.yaml", &bad)]).problems(),
        [
            "manifests/a.yaml:5:10: spec.owner: `group:default/team` is not an owner (expected \
             `user:<namespace>/<name>`; a group cannot be accountable)",
            "manifests/a.yaml:6:3: spec.purpose: has no value",
            "manifests/a.yaml:7:14: spec.lifecycle: `prod` is not one of experimental, production, retired",
            "manifests/a.yaml:8:17: spec.environments: is an empty list",
            "manifests/a.yaml:9:14: spec.adapters[0]: `Claude` is not an adapter's name (lower-case letters, \
             digits and `-`)",
            "manifests/a.yaml:9:30: spec.adapters[2]: appears twice",
            "manifests/a.yaml:10:17: spec.repositories: is text, expected a list",
            "manifests/a.yaml:11:12: spec.models[0]: `gpt-[45]`: globs know `*` and `?` only",
            "manifests/a.yaml:13:11: spec.tools.mcp[0]: `github` does not name a tool as `server/tool`",
            "manifests/a.yaml:14:21: spec.tools.builtin[1]: `bash` is not one of read, edit, shell, web, other",
            "manifests/a.yaml:15:5: spec.tools.extra: is not a known field",
            "manifests/a.yaml:16:11: spec.budget: `No Such` is not a name (expected lower-case letters, digits \
             and `-`, at most 63, starting with a letter)",
            "manifests/a.yaml:17:23: spec.credentials.ttl: `15` is not a duration (such as `90s`, `15m` or `2h`, \
             at most 24h)",
            "manifests/a.yaml:18:22: spec.deprovision.at: `30.06.2027` is not a date (`2027-06-30`) or a time \
             (`2027-06-30T12:00:00Z`)",
            "manifests/a.yaml:19:3: spec.colour: is not a known field",
        ]
    );
}

#[test]
fn every_problem_of_a_budget_names_its_place() {
    let one =
        budget("b", "  period: yearly\n  cap: 50\n  burst: 1 EUR\n  alertAt: 80\n  timezone: Mars/Base\n");
    let two = budget("c", "  period: total\n  cap: 5 tokens\n  burst: 1 USD\n  timezone: UTC\n");
    let three = "apiVersion: v1\nkind: Group\nmetadata: { name: x }\nspec: {}\n";
    let four = "kind: TokenBudget\nmetadata: { name: Upper, owner: me }\nspec: 5\n";
    let text = [one.as_str(), &two, three, four].join("\n---\n");
    assert_eq!(
        Fixture::new(&[("manifests/b.yaml", &text)]).problems(),
        [
            "manifests/b.yaml:5:11: spec.period: `yearly` is not one of daily, weekly, monthly, total",
            "manifests/b.yaml:6:8: spec.cap: `50` is not an amount (expected a decimal with a currency, such as \
             `50.00 USD`)",
            "manifests/b.yaml:7:10: spec.burst: `1 EUR` has a currency other than USD",
            "manifests/b.yaml:8:12: spec.alertAt: `80` is not a percentage from `1%` to `100%`",
            "manifests/b.yaml:9:13: spec.timezone: `Mars/Base` is not a time zone that this machine knows (such \
             as `Europe/Berlin`)",
            "manifests/b.yaml:18:10: spec.burst: is not in the unit of `cap`",
            "manifests/b.yaml:19:13: spec.timezone: has no meaning with the period `total`",
            "manifests/b.yaml:22:13: apiVersion: is not `agentsup.dev/v1alpha1`",
            "manifests/b.yaml:23:7: kind: `Group` is not one of Agent, TokenBudget, Policy",
            "manifests/b.yaml:28:1: apiVersion: is missing",
            "manifests/b.yaml:29:19: metadata.name: `Upper` is not a name (expected lower-case letters, digits \
             and `-`, at most 63, starting with a letter)",
            "manifests/b.yaml:29:26: metadata.owner: is not a known field",
        ]
    );
}

#[test]
fn broken_syntax_is_told_with_its_place() {
    let deep = "[".repeat(200) + &"]".repeat(200);
    let fixture = Fixture::new(&[
        ("manifests/alias.yaml", "a: &x 1\nb: *x\n"),
        ("manifests/cut.yaml", "a: [1, 2\nb: 3\n"),
        ("manifests/tag.yaml", "a: !!python/object x\n"),
        ("manifests/twice.yaml", "a: 1\na: 2\n"),
        ("manifests/list.yaml", "- a\n"),
        ("manifests/deep.yaml", &deep),
        ("manifests/bad.cedar", "permit (principal, action, resource)"),
        ("manifests/notes.txt", "not looked at: ["),
        ("manifests/.draft.yaml", "not looked at: ["),
    ]);
    fs::write(fixture.dir.path().join("manifests/latin.yaml"), b"a: \xff\n").unwrap();
    let problems = fixture.problems();
    let starts: Vec<&str> = problems.iter().map(|line| line.split(": ").next().unwrap()).collect();
    assert_eq!(
        starts,
        [
            "manifests/alias.yaml:1:7",
            "manifests/bad.cedar:1:37",
            "manifests/cut.yaml:2:2",
            "manifests/deep.yaml:1:34",
            "manifests/latin.yaml",
            "manifests/list.yaml:1:1",
            "manifests/tag.yaml:1:20",
            "manifests/twice.yaml:2:1",
        ],
        "{problems:#?}"
    );
}

#[test]
fn what_spans_files_is_checked() {
    let a = agent(GOOD_AGENT);
    let missing = agent(GOOD_AGENT).replace("name: a", "name: z").replace("budget: b", "budget: none");
    let broken = budget("b", "  period: total\n  cap: x\n");
    let fixture = Fixture::new(&[
        ("manifests/a.yaml", &a),
        ("manifests/deep/er/b.yaml", &a),
        ("manifests/c.yaml", &missing),
        ("manifests/d.yaml", &broken),
    ]);
    let root = fixture.dir.path().display();
    assert_eq!(
        fixture.problems(),
        [
            "manifests/c.yaml:9:11: spec.budget: no TokenBudget `none` is declared in namespace `t`".to_owned(),
            "manifests/d.yaml:6:8: spec.cap: `x` is not an amount (expected a decimal with a currency, such as \
             `50.00 USD`)"
                .to_owned(),
            "manifests/deep/er/b.yaml:3:19: metadata.name: Agent `a` of namespace `t` is already declared in \
             `manifests/a.yaml:3`"
                .to_owned(),
        ],
        "{root}"
    );
}

#[test]
fn the_digest_is_of_names_and_contents() {
    let fixture = Fixture::new(&[("manifests/b.yaml", &budget("b", GOOD_BUDGET))]);
    let first = fixture.load().digest;
    assert_eq!(fixture.load().digest, first);
    fs::rename(fixture.dir.path().join("manifests/b.yaml"), fixture.dir.path().join("manifests/c.yaml"))
        .unwrap();
    let renamed = fixture.load().digest;
    fixture.write("config.toml", "[prices.m]\ninput = 1\noutput = 2\n");
    assert_eq!(fixture.load().digest, renamed);
    fixture.write("manifests/c.yaml", &budget("b", "  period: total\n  cap: 2.00 USD\n"));
    let changed = fixture.load().digest;
    assert!(first != renamed && renamed != changed && first != changed);
}

#[test]
fn an_agent_is_found_by_any_of_its_names() {
    let files = [
        ("manifests/a.yaml", agent(GOOD_AGENT)),
        ("manifests/b.yaml", budget("b", GOOD_BUDGET)),
        ("manifests/c.yaml", agent(GOOD_AGENT).replace("namespace: t", "namespace: u")),
        ("manifests/d.yaml", budget("b", GOOD_BUDGET).replace("namespace: t", "namespace: u")),
    ];
    let snapshot = Fixture::new(&files.each_ref().map(|(name, text)| (*name, text.as_str()))).load();
    assert_eq!(snapshot.problems, []);
    assert_eq!(snapshot.require_agent("a@u").unwrap().reference.to_string(), "agent/a@u");
    let candidates = vec!["agent/a@t".to_owned(), "agent/a@u".to_owned()];
    assert_eq!(
        snapshot.require_agent("a"),
        Err(RegistryError::AmbiguousAgent { name: "a".into(), candidates: candidates.clone() })
    );
    assert_eq!(
        snapshot.require_agent("x"),
        Err(RegistryError::UnknownAgent { name: "x".into(), registered: candidates.clone() })
    );
    assert_eq!(
        snapshot.default_agent("claude"),
        Err(RegistryError::ChooseAgent { adapter: "claude".into(), candidates })
    );
    assert_eq!(snapshot.default_agent("codex"), Err(RegistryError::NoAgentFor("codex".into())));
}

#[test]
fn a_pipe_among_the_manifests_is_a_problem_and_no_wait() {
    let fixture = Fixture::new(&[]);
    fs::create_dir_all(fixture.home.manifests_dir()).unwrap();
    let pipe = fixture.home.manifests_dir().join("a.yaml");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_eq!(fixture.problems(), ["manifests/a.yaml: cannot be read: is not a file"]);
}

async fn until(
    watch: &mut watch::Receiver<Arc<Snapshot>>,
    mut wanted: impl FnMut(&Snapshot) -> bool,
) -> Arc<Snapshot> {
    let found =
        tokio::time::timeout(Duration::from_secs(20), watch.wait_for(|snapshot| wanted(snapshot))).await;
    found.expect("the registry did not notice").unwrap().clone()
}

#[tokio::test]
async fn changes_come_into_force_by_themselves_and_bad_ones_do_not() {
    let fixture = Fixture::new(&[]);
    let registry = Registry::start(&fixture.home).unwrap();
    let mut watch = registry.watch();
    assert_eq!(registry.current().agents, []);

    // The directory did not exist at the start.
    fixture.write("manifests/team/bot.yaml", CONTRACT);
    let good = until(&mut watch, |snapshot| !snapshot.agents.is_empty()).await;
    assert_eq!(good.problems, []);

    // A broken file changes the problems and nothing else.
    fixture.write("manifests/team/other.yaml", "kind: Agent\n");
    let bad = until(&mut watch, |snapshot| !snapshot.problems.is_empty()).await;
    assert_eq!(
        shown(&bad, fixture.dir.path()),
        [
            "manifests/team/other.yaml:1:1: apiVersion: is missing",
            "manifests/team/other.yaml:1:1: metadata: is missing",
            "manifests/team/other.yaml:1:1: spec: is missing",
        ]
    );
    assert_eq!((&bad.agents, &bad.budgets, bad.digest), (&good.agents, &good.budgets, good.digest));

    // Mended as editors do it: a new file renamed over the old one.
    let new = agent(GOOD_AGENT) + "\n---\n" + &budget("b", GOOD_BUDGET);
    fixture.write("manifests/team/.other.yaml.swp", &new);
    let from = fixture.dir.path().join("manifests/team/.other.yaml.swp");
    fs::rename(from, fixture.dir.path().join("manifests/team/other.yaml")).unwrap();
    let mended = until(&mut watch, |snapshot| snapshot.agents.len() == 2).await;
    assert_eq!(mended.problems, []);

    // The configuration likewise.
    fixture.write("config.toml", "colour = 1\n");
    let bad = until(&mut watch, |snapshot| !snapshot.problems.is_empty()).await;
    assert_eq!(shown(&bad, fixture.dir.path()), ["config.toml:1:1: colour: is not a known field"]);
    assert_eq!(bad.agents, mended.agents);
    fixture.write("config.toml", "[approvals]\ntimeout = \"30s\"\n");
    let mended = until(&mut watch, |snapshot| snapshot.problems.is_empty()).await;
    assert_eq!(mended.config.approval_timeout_ms, 30_000);

    // Taken away: nothing is left in force of what was there.
    fs::remove_dir_all(fixture.dir.path().join("manifests")).unwrap();
    until(&mut watch, |snapshot| snapshot.agents.is_empty() && snapshot.budgets.is_empty()).await;
    // And back again.
    fixture.write("manifests/again/bot.yaml", CONTRACT);
    until(&mut watch, |snapshot| snapshot.agents.len() == 1).await;
}

#[test]
fn a_bad_start_has_nothing_in_force() {
    let fixture = Fixture::new(&[("manifests/a.yaml", CONTRACT), ("config.toml", "nope = 1\n")]);
    let registry = Registry::start(&fixture.home).unwrap();
    let snapshot = registry.current();
    assert_eq!((snapshot.agents.len(), snapshot.budgets.len(), snapshot.policies.len()), (0, 0, 0));
    assert_eq!(
        snapshot
            .require_agent("code-review-bot")
            .unwrap_err()
            .to_string()
            .replace(&format!("{}/", fixture.dir.path().display()), ""),
        "nothing is in force, because the configuration has 1 problem(s): config.toml:1:1: nope: is not a known field"
    );
    fixture.write("config.toml", "");
    assert_eq!(registry.reload().agents.len(), 1);
}

#[test]
fn a_home_that_does_not_exist_cannot_be_watched() {
    let dir = tempfile::tempdir().unwrap();
    let started = Registry::start(&Home::rooted(&dir.path().join("none")));
    assert!(matches!(started.map(|_| ()), Err(RegistryError::Watch(_))));
}

mod robust {
    use proptest::prelude::*;

    use super::super::{config_file, manifest};
    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever is written there, it is read or told, and every problem has a place inside the text.
        #[test]
        fn any_text_is_read_or_told(
            text in "([a-z:{}\\[\\],&*!#|>'\"%@ \t\n0-9.-]|apiVersion: |kind: Agent|\n  - |---\n|spec:\n  ){0,60}",
        ) {
            let mut found = Vec::new();
            manifest::read(Path::new("x.yaml"), &text, &mut found);
            config_file::read(Path::new("x.toml"), &text, &mut found);
            let lines = u32::try_from(text.matches('\n').count()).unwrap() + 1;
            for problem in &found {
                prop_assert!((1..=lines + 1).contains(&problem.line), "{problem}");
                prop_assert!(problem.column >= 1 && !problem.message.is_empty(), "{problem}");
            }
        }
    }
}
