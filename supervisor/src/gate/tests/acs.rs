//! The ACS manifest beside our own policies: what it is asked, and that it can only tighten.

use std::sync::atomic::{AtomicI64, Ordering};

use serde_json::json;

use super::*;
use crate::approvals::{Answer, Lasts, Question};
use crate::core::action::EgressAction;
use crate::registry::Acs;
use crate::sys::aside;
use crate::sys::clock::Clock;

const MANIFEST: &str = r#"agent_control_specification_version: 0.3.1-beta
policies:
  p:
    type: cedar
    policy_set: |
      @id("all") permit (principal, action, resource);
      @id("rich") forbid (principal, action == Action::"pre_model_call", resource)
      when { context.model.params.max_tokens > 50 };
      @id("where") forbid (principal, action == Action::"agent_startup", resource)
      when { context.agent_init.repository like "/secret/*" };
      @id("plan") forbid (principal, action == Action::"pre_tool_call", resource)
      when { context.tool_call.args has name && context.tool_call.args.name == "plan" };
      @id("hosts") forbid (principal, action == Action::"pre_tool_call", resource)
      when { context.facts.hosts.contains("example.invalid") };
      @id("look") @advice("{\"verdict\": \"warn\"}")
      permit (principal, action == Action::"pre_tool_call", resource)
      when { context.tool_call.args has name && context.tool_call.args.name == "odd" };
      @id("ask") @advice("{\"verdict\": \"escalate\"}")
      permit (principal, action == Action::"pre_tool_call", resource)
      when { context.tool_call.args has name && context.tool_call.args.name == "mail" };
intervention_points:
  agent_startup: { policy_target: $.agent_init, policy: { id: p } }
  pre_model_call: { policy_target: $.model, policy: { id: p } }
  pre_tool_call: { policy_target: $.tool_call.args, policy: { id: p } }
approval: { timeout_seconds: 7 }
"#;

fn with(manifest: &str) -> Snapshot {
    Snapshot { acs: Some(Acs::of(manifest, "")), ..snapshot(agent(), vec![purse(1000, 0)]) }
}

fn named(name: &'static str) -> Told {
    Told { arguments: Some(Arc::new(move || Ok(json!({ "name": name })))), ..Told::default() }
}

async fn open_question(world: &World) -> Question {
    loop {
        match world.gate.approvals().questions().pop() {
            Some(question) => return question,
            None => tokio::task::yield_now().await,
        }
    }
}

/// What comes within a moment.
async fn within_a_moment<T>(coming: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(std::time::Duration::from_millis(200), coming).await.ok()
}

/// What the manifest said about an action, and what came of all.
async fn considered(world: &World, action: &Action, told: &Told) -> (Decision, Vec<String>) {
    let evaluation = world.gate.consider(&world.live, action, told).await.evaluation;
    let its = evaluation.reasons.iter().filter(|reason| reason.source.starts_with("acs/"));
    let its = its.map(|reason| format!("{} {:?}: {}", reason.source, reason.decision, reason.text));
    (evaluation.decision, its.collect())
}

#[tokio::test]
async fn each_action_is_asked_about_at_its_point_and_only_tightened() {
    let snapshot = with(MANIFEST);
    let world = world_of(snapshot.clone()).await;
    let none = Told::default();
    let launch = |repository: &str| {
        Action::Launch(LaunchAction {
            adapter: "command".into(),
            repository: repository.into(),
            remote: None,
            billing: Billing::Keys,
        })
    };
    let mut contacting = tool("notes");
    if let Action::Tool(tool) = &mut contacting {
        tool.facts.hosts.push("example.invalid".into());
    }
    let rows = [
        (launch("/repo"), &none, Decision::Allow, "acs/p Allow: "),
        (launch("/secret/repo"), &none, Decision::Deny, "acs/p Deny: where"),
        (llm(50), &none, Decision::Allow, "acs/p Allow: "),
        (tool("notes"), &named("diary"), Decision::Allow, "acs/p Allow: "),
        (tool("notes"), &named("plan"), Decision::Deny, "acs/p Deny: plan"),
        (tool("notes"), &named("odd"), Decision::Allow, "acs/p Allow: a warning: look"),
        (tool("notes"), &named("mail"), Decision::Ask, "acs/p Ask: ask"),
        (contacting, &named("diary"), Decision::Deny, "acs/p Deny: hosts"),
        // Out of the agent's scope: that the manifest allows it is of no use.
        (tool("payments"), &named("diary"), Decision::Deny, "acs/p Allow: "),
    ];
    for (action, told, decision, its) in rows {
        assert_eq!(considered(&world, &action, told).await, (decision, vec![its.to_owned()]));
    }
    let rich = Action::Llm(LlmAction {
        bound: Some(Bound { input_tokens: 1, output_tokens: 51, cost: nano(51) }),
        ..match llm(50) {
            Action::Llm(llm) => llm,
            _ => unreachable!(),
        }
    });
    assert_eq!(considered(&world, &rich, &none).await.1, ["acs/p Deny: rich"]);
    // It has no point for connections.
    let egress = Action::Egress(EgressAction { host: "example.invalid".into(), port: 443 });
    assert!(considered(&world, &egress, &none).await.1.is_empty());
}

#[tokio::test]
async fn a_point_that_is_not_declared_is_denied_and_on_the_record() {
    let (before, after) = MANIFEST.split_once("  agent_startup:").unwrap();
    let rest = after.split_once('\n').unwrap().1;
    let snapshot = with(&format!("{before}{rest}"));
    let world = world_of(snapshot).await;
    let launch = LaunchAction {
        adapter: "command".into(),
        repository: "/repo".into(),
        remote: None,
        billing: Billing::Keys,
    };
    let refusal = world.gate.decide(&world.live, Action::Launch(launch)).await.map(drop).unwrap_err();
    let why = "runtime_error:intervention_point_unknown: the manifest does not declare this point";
    assert!(refusal.message.contains(why), "{refusal:?}");
}

/// No argument at all is something else than arguments that nobody can tell.
#[tokio::test]
async fn a_call_whose_arguments_cannot_be_told_is_denied_and_left_in_lists() {
    let world = world_of(with(MANIFEST)).await;
    assert_eq!(world.gate.preview(&world.live, &tool("notes")), Decision::Allow);
    let broken = Told { arguments: Some(Arc::new(|| Err("out of range".into()))), ..Told::default() };
    for (told, why) in [(Told::default(), "nobody tells them"), (broken, "out of range")] {
        let decided = world.gate.decide_told(&world.live, tool("notes"), told).await;
        let refusal = decided.map(drop).unwrap_err();
        assert!(refusal.message.contains(&format!("its arguments cannot be told: {why}")), "{refusal:?}");
    }
}

/// Whatever it says about whatever our policies say: never less strict than either.
#[tokio::test]
async fn it_never_loosens_what_our_policies_say() {
    let ours = r#"
@id("in-scope") permit (principal, action, resource) when { context.in_scope };
@id("asks") @decision("ask") @reason("it asks") forbid (principal, action in Action::"tool", resource)
when { context.hosts.contains("asked.invalid") };
@id("denies") @reason("it denies") forbid (principal, action in Action::"tool", resource)
when { context.hosts.contains("denied.invalid") };
"#;
    let source =
        PolicySource { layer: Layer::Org, team: None, file: "ours.cedar".into(), text: ours.to_owned() };
    let verdicts = [
        ("permit (principal, action, resource);", Decision::Allow),
        (r#"@advice("{\"verdict\": \"warn\"}") permit (principal, action, resource);"#, Decision::Allow),
        (r#"@advice("{\"verdict\": \"escalate\"}") permit (principal, action, resource);"#, Decision::Ask),
        (
            r#"@advice("{\"verdict\": \"transform\", \"transform\": {\"path\": \"$policy_target.name\", \"value\": 1}}") permit (principal, action, resource);"#,
            Decision::Deny,
        ),
        ("forbid (principal, action, resource);", Decision::Deny),
        ("permit (principal, action, resource) when { context.nothing };", Decision::Deny),
    ];
    let hosts = [("", Decision::Allow), ("asked.invalid", Decision::Ask), ("denied.invalid", Decision::Deny)];
    for (policy, its) in verdicts {
        let manifest = format!(
            "agent_control_specification_version: 0.3.1-beta
policies:
  p:
    type: cedar
    policy_set: |
      {policy}
intervention_points:
  pre_tool_call: {{ policy_target: $.tool_call.args, policy: {{ id: p }} }}
"
        );
        let policies = PolicySet::load(std::slice::from_ref(&source)).unwrap();
        let snapshot = Snapshot { policies, ..with(&manifest) };
        let world = world_of(snapshot.clone()).await;
        for (host, said) in hosts {
            let mut action = tool("notes");
            if let Action::Tool(tool) = &mut action {
                tool.facts.hosts.extend((!host.is_empty()).then(|| host.to_owned()));
            }
            let without =
                world.gate.evaluate(&snapshot, &world.live, &action, &world.gate.circumstances(&world.live));
            assert_eq!(without.decision, said, "{host}");
            let (decision, texts) = considered(&world, &action, &named("x")).await;
            assert_eq!((decision, texts.len()), (said.max(its), 1), "{policy} {host}");
        }
    }
}

#[tokio::test]
async fn how_it_labels_a_result_the_next_decision_sees() {
    let manifest = "agent_control_specification_version: 0.3.1-beta
policies: { p: { type: rego, bundle: module.rego, query: data.acs.verdict } }
intervention_points:
  pre_tool_call: { policy_target: $.tool_call.args, policy: { id: p } }
";
    let module = r#"package acs

import rego.v1

decision := {"diary": "allow", "plan": "deny", "mail": "escalate"}[input.policy_target.value.name]
labels := {"diary": ["internal"], "plan": ["secret"], "mail": ["confidential", "untrusted"]}
said := sprintf("%v %v", [concat(" ", input.snapshot.ifc.source_labels), input.snapshot.ifc.untrusted])
verdict := {"decision": decision, "reason": said, "result_labels": labels[input.policy_target.value.name]}
"#;
    let acs = Some(Acs::of(manifest, module));
    let world = world_of(Snapshot { acs, ..snapshot(agent(), vec![purse(100, 0)]) }).await;
    let call = |name| world.gate.decide_told(&world.live, tool("notes"), named(name));
    let denied = |refusal: Refusal| refusal.message.split_once(": ").unwrap().1[..14].to_owned();
    assert_eq!(denied(call("plan").await.map(drop).unwrap_err()), "public false (");
    assert_eq!(world.live.labels(), Labels::NONE);
    call("diary").await.unwrap().settle(Outcome::free("ok")).await.unwrap();
    assert_eq!(world.live.labels().to_string(), "internal");
    let asked = async {
        let question = open_question(&world).await;
        answer_yes(&world).await;
        question.why
    };
    let (permit, why) = tokio::join!(call("mail"), asked);
    assert_eq!(why, ["acs/p: internal false"]);
    permit.unwrap().settle(Outcome::free("ok")).await.unwrap();
    assert_eq!(world.live.labels().to_string(), "untrusted, internal, confidential");
    let refusal = call("plan").await.map(drop).unwrap_err();
    assert!(refusal.message.contains("confidential internal true"), "{refusal:?}");
}

#[tokio::test]
async fn a_question_waits_no_longer_than_the_manifest_says() {
    let mut snapshot = with(MANIFEST);
    let ask = |source: &str| Reason::new(source, Decision::Ask, "");
    let waits = |snapshot: &Snapshot, source: &str| super::super::ask::timeout_ms(snapshot, &[&ask(source)]);
    assert_eq!((waits(&snapshot, "acs/p"), waits(&snapshot, "org/p")), (7_000, 300_000));
    snapshot.config.approval_timeout_ms = 1_000;
    assert_eq!(waits(&snapshot, "acs/p"), 1_000);
}

/// What was allowed while another manifest was in force is asked about again.
#[tokio::test]
async fn a_manifest_that_came_while_a_person_was_asked_counts() {
    let world = world_of(with(MANIFEST)).await;
    let (gate, live) = (world.gate.clone(), Arc::clone(&world.live));
    let deciding =
        tokio::spawn(async move { gate.decide_told(&live, tool("notes"), named("mail")).await.map(drop) });
    let question = open_question(&world).await;
    assert_eq!(question.why, ["acs/p: ask"]);
    world.gate.inner.registry.replace(with(&MANIFEST.replace("name == \"plan\"", "name == \"mail\"")));
    answer_yes(&world).await;
    let refusal = deciding.await.unwrap().unwrap_err();
    assert!(refusal.message.contains("plan"), "{refusal:?}");
}

/// What the manifest says may be another text each time; what counts is that it is the same manifest, and that the run
/// has seen nothing since that a person was not told of.
#[tokio::test]
async fn a_yes_to_what_the_same_manifest_says_at_another_time_is_enough() {
    let manifest = "agent_control_specification_version: 0.3.1-beta
policies: { p: { type: rego, bundle: module.rego, query: data.acs.verdict } }
intervention_points:
  pre_tool_call: { policy_target: $.tool_call.args, policy: { id: p } }
";
    let module = |verdict: &str| {
        format!(
            "package acs\n\nimport rego.v1\n\n\
             verdict := {{\"decision\": \"{verdict}\", \"reason\": input.snapshot.envelope.timestamp}}\n"
        )
    };
    let of = |verdict: &str| Snapshot { acs: Some(Acs::of(manifest, &module(verdict))), ..with(MANIFEST) };
    let first = of("escalate");
    let other = "other policies came into force, or the run saw more, while a person was asked";
    let rows = [
        (first.clone(), false, None),
        (of("deny"), false, Some("2026-09-21")),
        (first.clone(), true, Some(other)),
    ];
    for (changed, sees_more, expected) in rows {
        let world = world_by(ticking(), first.clone()).await;
        let answer = async {
            open_question(&world).await;
            if sees_more {
                world.gate.miss_result(&world.live).await;
            }
            world.gate.inner.registry.replace(changed);
            answer_yes(&world).await;
        };
        let deciding = world.gate.decide_told(&world.live, tool("notes"), named("mail"));
        let (decided, ()) = tokio::join!(deciding, answer);
        let refused = decided.map(drop).err().map(|refusal| refusal.message);
        assert_eq!(refused.is_some(), expected.is_some(), "{refused:?}");
        assert!(expected.is_none_or(|text| refused.as_ref().unwrap().contains(text)), "{refused:?}");
    }
}

/// A clock that is a second further each time.
fn ticking() -> Clock {
    let now_ms = Arc::new(AtomicI64::new(1_790_000_000_000));
    Clock::of(move || now_ms.fetch_add(1000, Ordering::Relaxed))
}

async fn answer_yes(world: &World) {
    let question = open_question(world).await;
    let answer = Answer::Allow { by: "user:alice".into(), lasts: Lasts::Once };
    let taken = world.gate.approvals().take(question.id, Lasts::Once, 0).unwrap();
    taken.give(answer, std::time::Instant::now()).unwrap();
}

/// While its policies take their time, everything else goes on, and counts.
#[tokio::test]
async fn what_happens_while_the_manifest_is_asked_counts() {
    let suspends = async |world: &World| {
        world.gate.set_state(&world.live, RunState::Suspended, Some("look".into())).await.unwrap();
    };
    let forbids = async |world: &World| {
        let mut agent = agent();
        agent.tools.mcp = vec!["other".into()];
        let snapshot = Snapshot { acs: Some(Acs::of(MANIFEST, "")), ..snapshot(agent, vec![purse(1000, 0)]) };
        world.gate.inner.registry.replace(snapshot);
    };
    let replaces = async |world: &World| {
        world.gate.inner.registry.replace(with(&MANIFEST.replace("\"plan\"", "\"diary\"")));
    };
    let learns = async |world: &World| world.gate.miss_result(&world.live).await;
    assert_eq!(decided_while(suspends).await.unwrap_err().kind, RefusalKind::Denied);
    for (refused, why) in [(decided_while(forbids).await, "scope"), (decided_while(replaces).await, "diary")]
    {
        let refusal = refused.unwrap_err();
        assert!(refusal.message.contains(why), "{refusal:?}");
    }
    decided_while(learns).await.unwrap();
}

/// What comes of a call during whose consideration something happens.
async fn decided_while(happens: impl AsyncFnOnce(&World)) -> Result<(), Refusal> {
    let world = world_of(with(MANIFEST)).await;
    let places = aside::all_places().await;
    let deciding = world.gate.decide_told(&world.live, tool("notes"), named("diary"));
    tokio::pin!(deciding);
    assert!(within_a_moment(&mut deciding).await.is_none(), "decided without a place");
    happens(&world).await;
    drop(places);
    deciding.await.map(drop)
}

/// A run that is killed waits for no manifest, neither for what it asked nor for its end.
#[tokio::test]
async fn a_kill_does_not_wait_for_the_manifest() {
    let world = world_of(with(&MANIFEST.replace(
        "  agent_startup:",
        "  agent_shutdown: { policy_target: $.summary, policy: { id: p } }\n  agent_startup:",
    )))
    .await;
    let places = aside::all_places().await;
    let deciding = world.gate.decide_told(&world.live, tool("notes"), named("diary"));
    tokio::pin!(deciding);
    assert!(within_a_moment(&mut deciding).await.is_none(), "decided without a place");
    assert!(world.gate.set_state(&world.live, RunState::Killed, None).await.unwrap());
    assert_eq!(deciding.await.map(drop).unwrap_err().kind, RefusalKind::Killed);
    drop(places);
}

/// Policies that take their time hold up nobody else, for they have threads of their own.
#[tokio::test]
async fn policies_are_evaluated_aside() {
    let world = world_of(with(MANIFEST)).await;
    let deciding = world.gate.decide_told(&world.live, tool("notes"), named("diary"));
    tokio::pin!(deciding);
    let places = aside::all_places().await;
    assert!(within_a_moment(&mut deciding).await.is_none(), "decided without a place");
    drop(places);
    deciding.await.unwrap().settle(Outcome::free("ok")).await.unwrap();
}

#[tokio::test]
async fn what_was_looked_through_by_rules_that_changed_since_is_not_sent() {
    let before = with(MANIFEST);
    let world = world_of(before.clone()).await;
    let (looked, told) = (Arc::new(before.clone()), named("diary"));
    let told = Told { looked: Some(looked), ..told };
    world.gate.decide_told(&world.live, tool("notes"), told.clone()).await.map(drop).unwrap();
    let mut after = before;
    after.config.data.mcp.results = None;
    world.gate.inner.registry.replace(after);
    let refusal = world.gate.decide_told(&world.live, tool("notes"), told).await.map(drop).unwrap_err();
    assert!(refusal.message.contains("the rules about data changed while it was decided"), "{refusal:?}");
}
