//! What a decision costs, and whether that depends on how many policies there are: agentsup's beside `govern()` of the Agent
//! Governance Toolkit and the Agent Control Specification's core with the Cedar that it brings, each with as many rules that
//! name a tool. And what the gate takes for a whole decision, with its record.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent_control_specification_core as spec;
use agentsup_supervisor::core::action::{
    Action, CommandPart, Facts, LlmAction, PathFact, Place, ToolAction, ToolSource,
};
use agentsup_supervisor::core::decision::Decision;
use agentsup_supervisor::core::manifest::BuiltinClass;
use agentsup_supervisor::core::policy::Circumstances;
use agentsup_supervisor::core::rules::Case;
use agentsup_supervisor::core::run::{HookDuty, Run, RunState};
use agentsup_supervisor::core::shell;
use agentsup_supervisor::core::usage::Outcome;
use agentsup_supervisor::gate::{Gate, LiveRun};
use agentsup_supervisor::registry::{Registry, Snapshot};
use agentsup_supervisor::store::Store;
use agentsup_supervisor::sys::{ids, paths};

use serde_json::{Value, json};

use super::fakes::home::{Home, Manifest};
use super::{median, percentile, ratio, row};

const SIZES: [usize; 4] = [10, 100, 1_000, 5_000];
const ROUNDS: usize = 5_000;
/// Some of theirs take more than a tenth of a second each.
const THEIR_ROUNDS: usize = 100;
/// Calls that the whole gate decides.
const CALLS: usize = 1_000;

/// Prints the rows.
pub(crate) fn print() {
    for size in SIZES {
        let world = World::new(&named(size));
        let ours = world.times(|number| world.edit(number));
        let (p50, p99) = (median(ours.clone()), percentile(ours, 99));
        let beside = |whose: &str, theirs: [Duration; 2]| {
            tell_fine(&format!("decision at {size} policies: {whose} / agentsup"), theirs[0], p50);
            tell_fine("the same, 99th percentile", theirs[1], p99);
        };
        beside("ACS with its Cedar", bundled(size));
        match govern(size) {
            Some(theirs) => beside("AGT's govern()", theirs),
            None => println!("(the Agent Governance Toolkit is not installed: tests/bench/setup)"),
        }
        let models = world.times(|_| world.model());
        row("the same, a model that was asked about before", "", &fine(median(models)), "");
    }
    unnamed();
    anew();
}

/// What no answer is remembered for: policies look at what is another thing each time.
fn anew() {
    let looks = "@id(\"etc\") @reason(\"r\") forbid (principal, action in Action::\"tool\", resource) \
                 when { context has path && context.path like \"/etc/*\" };\n";
    let world = World::new(&(named(100) + looks));
    for (name, times) in [
        ("decision at 101 policies, one looks at each file's path", world.times(|number| world.edit(number))),
        ("decision about a command line, each another", world.times(|number| world.command(number))),
    ] {
        row(name, "", &fine(median(times.clone())), "");
        row("the same, 99th percentile", "", &fine(percentile(times, 99)), "");
    }
}

/// Policies that look at every action can be found by nothing.
fn unnamed() {
    let mut text = String::new();
    for number in 0..100 {
        let _ = writeln!(
            text,
            "@id(\"r{number}\") @reason(\"r\") forbid (principal, action, resource) \
             when {{ context.session.contains(\"x{number}\") }};"
        );
    }
    let world = World::new(&text);
    let times = world.times(|number| world.edit(number));
    row("decision at 100 policies that name nothing", "", &fine(median(times.clone())), "");
    row("the same, 99th percentile", "", &fine(percentile(times, 99)), "");
}

/// Deciding and keeping the record of it, which is on the disk a tenth of a second later.
pub(crate) fn whole() {
    let world = World::new(&named(100));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (gate, live) = runtime.block_on(world.gate());
    let decide = |number| {
        let action = world.edit(number);
        let start = Instant::now();
        let permit = runtime.block_on(gate.decide(&live, action));
        let time = start.elapsed();
        // An end that is told, or the next decision would wait for what is made of it.
        runtime.block_on(permit.unwrap().settle(Outcome::free("done"))).unwrap();
        time
    };
    let times: Vec<Duration> = (0..CALLS).map(decide).collect();
    row("a whole decision with its record", "", &fine(median(times.clone())), "");
    row("the same, 99th percentile", "", &fine(percentile(times, 99)), "");
}

/// Policies that name an agent, a team or a tool, as those of an organisation do.
fn named(size: usize) -> String {
    let mut text = String::new();
    for number in 0..size {
        let (major, minor) = (number / 20, number % 20);
        let _ = match number % 3 {
            0 => writeln!(
                text,
                "@id(\"r{number}\") @reason(\"r\") forbid (principal, action == Action::\"mcp\", \
                 resource == Tool::\"server{major}/tool{minor}\") when {{ context.environment == \"production\" }};"
            ),
            1 => writeln!(
                text,
                "@id(\"r{number}\") @reason(\"r\") forbid (principal == Agent::\"agent/bot{minor}@team{major}\", \
                 action in Action::\"tool\", resource) when {{ context.session.contains(\"untrusted\") }};"
            ),
            _ => writeln!(
                text,
                "@id(\"r{number}\") @reason(\"r\") forbid (principal in Team::\"team{number}\", action == Action::\"edit\", \
                 resource) when {{ context has path && context.path like \"/etc/*\" }};"
            ),
        };
    }
    text
}

/// What `govern()` takes: median and 99th percentile.
fn govern(rules: usize) -> Option<[Duration; 2]> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/bench");
    let python = beside.join(".agt/bin/python");
    if !python.exists() {
        return None;
    }
    let output = Command::new(python)
        .arg(beside.join("agt.py"))
        .args([rules.to_string(), THEIR_ROUNDS.to_string()])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let times: Vec<Duration> =
        text.split_whitespace().map(|nanos| Duration::from_nanos(nanos.parse().unwrap())).collect();
    times.try_into().ok()
}

/// What the specification's core takes with the Cedar that it brings: median and 99th percentile.
fn bundled(size: usize) -> [Duration; 2] {
    let mut policies = "permit (principal, action, resource);\n".to_owned();
    for number in 0..size {
        let tool = format!("server{}/tool{}", number / 20, number % 20);
        let _ = writeln!(
            policies,
            "forbid (principal, action == Action::\"pre_tool_call\", resource == Tool::\"{tool}\") \
             when {{ context.envelope.environment == \"production\" }};"
        );
    }
    let manifest = json!({
        "agent_control_specification_version": "0.3.1-beta",
        "policies": { "p": { "type": "cedar", "policy_set": policies } },
        "intervention_points": { "pre_tool_call": {
            "policy_target": "$.tool_call.args", "policy_target_kind": "tool_args",
            "tool_name_from": "$.tool_call.name", "policy": { "id": "p" },
        } },
        "tools": { "Edit": { "clearance": "internal" } },
    });
    let manifest: spec::Manifest = serde_json::from_value(manifest).unwrap();
    let engine = Arc::new(spec::CedarBuiltinDispatcher::new());
    let runtime = spec::Runtime::new(manifest, Arc::new(NoAnnotators), engine).unwrap();
    let decide = |number| {
        let snapshot = json!({
            "envelope": { "agent": { "id": "bot" }, "environment": "dev" },
            "tool_call": { "id": "1", "name": "Edit", "args": { "path": format!("src/f{number}.rs") } },
        });
        let request = spec::InterventionPointRequest {
            intervention_point: spec::InterventionPoint::PreToolCall,
            snapshot,
            mode: spec::EnforcementMode::Enforce,
        };
        let start = Instant::now();
        let verdict = runtime.evaluate_intervention_point(request).verdict;
        let time = start.elapsed();
        assert_eq!(verdict.decision, spec::Decision::Allow, "{verdict:?}");
        time
    };
    let times: Vec<Duration> = (0..THEIR_ROUNDS).map(decide).collect();
    [median(times.clone()), percentile(times, 99)]
}

struct NoAnnotators;

impl spec::AnnotatorDispatcher for NoAnnotators {
    fn dispatch(
        &self,
        name: &str,
        _: &spec::AnnotatorInvocation,
        _: &Value,
    ) -> Result<Value, spec::RuntimeError> {
        Err(spec::RuntimeError::AnnotationFailed(name.to_owned()))
    }
}

/// Manifests with policies of an organisation beside the pack, and a run.
struct World {
    home: Home,
    paths: paths::Home,
    snapshot: Snapshot,
    run: Run,
}

impl World {
    fn new(policies: &str) -> Self {
        let home = Home::new();
        home.agent("bench", &Manifest::default().cap("1000000.00 USD"));
        std::fs::write(home.agentsup().join("manifests/org.cedar"), policies).unwrap();
        let paths = paths::Home::rooted(&home.agentsup());
        let snapshot = Registry::read(&paths);
        assert_eq!(snapshot.problems, []);
        let agent = &snapshot.agents[0];
        let run = Run {
            id: ids::new_run_id().unwrap(),
            agent: agent.reference.clone(),
            owner: agent.owner.clone(),
            environment: agent.environments[0],
            adapter: "command".into(),
            repository: home.repo(),
            remote: None,
            worktree: home.path("tree"),
            branch: "agentsup/bench".into(),
            base: "0".repeat(40),
            onto: None,
            dir: home.path("run"),
            refusal: agentsup_supervisor::core::refusal::RefusalStyle::PLAIN,
            hooks: HookDuty::None,
            billing: agentsup_supervisor::core::billing::Billing::Keys,
            untold_tools_max: 50,
            cap: None,
            started_at_ms: 0,
        };
        Self { home, paths, snapshot, run }
    }

    /// What each decision takes.
    fn times(&self, action: impl Fn(usize) -> Action) -> Vec<Duration> {
        let (agent, rules) = (&self.snapshot.agents[0], self.snapshot.rules());
        let decide = |number| {
            let (action, now) = (action(number), Circumstances::default());
            let case = Case { agent, run: &self.run, action: &action, now: &now };
            let start = Instant::now();
            let evaluation = rules.judge(case);
            let time = start.elapsed();
            assert_eq!(evaluation.decision, Decision::Allow, "{evaluation:?}");
            time
        };
        decide(0);
        (0..ROUNDS).map(decide).collect()
    }

    /// Of a file that was not asked about before.
    fn edit(&self, number: usize) -> Action {
        let path: PathBuf = self.run.worktree.join(format!("src/f{number}.rs"));
        Action::Tool(ToolAction {
            source: ToolSource::Builtin(BuiltinClass::Edit),
            tool: "Edit".into(),
            args_digest: [0; 32],
            facts: Facts { paths: vec![PathFact { path, place: Place::Worktree }], ..Facts::default() },
            call_id: None,
        })
    }

    /// That was not run before.
    fn command(&self, number: usize) -> Action {
        let line = format!("git commit --message 'Change number {number}'");
        let part = |call| CommandPart { call, ..CommandPart::default() };
        let parts = shell::read(&line).into_iter().map(part).collect();
        Action::Tool(ToolAction {
            source: ToolSource::Builtin(BuiltinClass::Shell),
            tool: "Bash".into(),
            args_digest: [0; 32],
            facts: Facts { command: Some(line), parts, ..Facts::default() },
            call_id: None,
        })
    }

    fn model(&self) -> Action {
        Action::Llm(LlmAction::new("anthropic", "claude-sonnet-5"))
    }

    async fn gate(&self) -> (Gate, Arc<LiveRun>) {
        let store = Store::open(&self.home.path("bench.db")).unwrap();
        let gate = Gate::new(store, Registry::start(&self.paths).unwrap());
        let live = gate.admit(self.run.clone(), "ast_bench").await.unwrap();
        assert!(gate.set_state(&live, RunState::Running, None).await.unwrap());
        (gate, live)
    }
}

fn tell_fine(name: &str, without: Duration, with: Duration) {
    row(name, &fine(without), &fine(with), &small(without, with));
}

/// A ratio that may be far below a hundredth.
fn small(without: Duration, with: Duration) -> String {
    let times = ratio(with.as_nanos(), without.as_nanos());
    format!("1/{times}")
}

fn fine(time: Duration) -> String {
    format!("{}.{} µs", time.as_micros(), time.as_nanos() / 100 % 10)
}
