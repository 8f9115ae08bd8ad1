//! Labels: gained before they are needed, kept, never lost.

use super::*;
use crate::core::label::Label;
use crate::store::runs;

/// Asks about every tool once something untrusted was read, refuses it once a secret was.
const CAREFUL: &str = r#"
@id("in-scope") permit (principal, action, resource) when { context.in_scope };
@id("untrusted") @decision("ask") @reason("it has read what is untrusted")
forbid (principal, action in Action::"tool", resource) when { context.session.contains("untrusted") };
@id("secret") @reason("it has read what is confidential")
forbid (principal, action, resource) when { context.session.contains("confidential") };
"#;

async fn careful(results: &[(&str, Labels)]) -> World {
    let source = PolicySource {
        layer: Layer::Org,
        team: None,
        file: "careful.cedar".into(),
        text: CAREFUL.to_owned(),
    };
    let mut config = Config::default();
    for (server, labels) in results {
        config.data.servers.entry((*server).to_owned()).or_default().results = Some(*labels);
    }
    let tools = ToolScope { mcp: vec!["*".into()], builtin: vec![BuiltinClass::Read] };
    let agent = Agent { tools, ..agent() };
    let policies = PolicySet::load(&[source]).unwrap();
    world_of(Snapshot { config, policies, ..snapshot(agent, vec![purse(100, 0)]) }).await
}

fn shown(labels: Labels) -> String {
    labels.to_string()
}

async fn stored(world: &World) -> Labels {
    let id = world.live.run.id;
    world.store.read(move |connection| runs::by_id(connection, id)).await.unwrap().unwrap().labels
}

async fn allowed(world: &World, server: &str) -> Permit {
    world.gate.decide(&world.live, tool(server)).await.unwrap_or_else(|refusal| panic!("{refusal:?}"))
}

#[tokio::test]
async fn the_next_decision_sees_what_an_allowed_call_may_bring() {
    let world = careful(&[("notes", Labels::NONE), ("house", Labels::of(Label::Internal))]).await;
    for server in ["notes", "house", "notes"] {
        allowed(&world, server).await.settle(Outcome::free("ok")).await.unwrap();
    }
    assert_eq!(
        (shown(world.live.labels()), shown(stored(&world).await)),
        ("internal".into(), "internal".into())
    );
    let permit = allowed(&world, "mail").await;
    // Nothing of the result was seen yet, and the next decision knows already.
    assert_eq!(shown(stored(&world).await), "untrusted, internal");
    assert_eq!(world.gate.preview(&world.live, &tool("notes")), Decision::Ask);
    permit.settle(Outcome::free("ok")).await.unwrap();
    let labelled: Vec<String> =
        sentences(&world.store).await.into_iter().filter(|sentence| sentence.contains("labelled")).collect();
    assert_eq!(
        labelled,
        [
            "agent/bot@team, owned by user:alice, was labelled internal by calling `house/echo` in dev at TIME.",
            "agent/bot@team, owned by user:alice, was labelled untrusted by calling `mail/echo` in dev at TIME.",
        ]
    );
    verified(&world.store).await;
}

#[tokio::test]
async fn a_call_that_is_refused_brings_nothing() {
    let world = careful(&[]).await;
    world.live.gain(Labels::of(Label::Secret));
    assert!(world.gate.decide(&world.live, tool("mail")).await.is_err());
    assert_eq!(shown(world.live.labels()), "internal, confidential, secret");
    assert_eq!(stored(&world).await, Labels::NONE);
}

#[tokio::test]
async fn what_is_found_in_a_result_is_kept_with_its_outcome_and_names_the_call() {
    let world = careful(&[("notes", Labels::NONE)]).await;
    let mut permit = allowed(&world, "notes").await;
    let record = permit.record().unwrap();
    permit.bring(Labels::of(Label::Secret));
    assert_eq!(world.gate.preview(&world.live, &tool("notes")), Decision::Deny);
    permit.settle(Outcome::free("ok")).await.unwrap();
    assert_eq!(shown(stored(&world).await), "internal, confidential, secret");
    let events =
        world.store.read(|connection| crate::store::records::page(connection, 0, 100)).await.unwrap();
    let facts = events.iter().find_map(|stored| match stored.record().unwrap().entry {
        Entry::Event(event) if event.event == "labelled" => Some(event.facts),
        _ => None,
    });
    let expected = [
        ("by".to_owned(), record.to_string()),
        ("labels".to_owned(), "internal, confidential, secret".to_owned()),
    ];
    assert_eq!(facts, Some(expected.into()));
}

#[tokio::test]
async fn a_permit_that_is_dropped_leaves_its_labels() {
    let world = careful(&[("notes", Labels::NONE)]).await;
    let mut permit = allowed(&world, "notes").await;
    permit.bring(Labels::of(Label::Confidential));
    drop(permit);
    assert_eq!(shown(world.live.labels()), "internal, confidential");
    // Whatever is written next comes after it.
    world.gate.note(EventEntry::new("x", "happened")).await.unwrap();
    assert_eq!(shown(stored(&world).await), "internal, confidential");
}

#[tokio::test]
async fn the_next_daemon_knows() {
    let world = careful(&[]).await;
    allowed(&world, "mail").await.settle(Outcome::free("ok")).await.unwrap();
    let rows = world.store.read(runs::unfinished).await.unwrap();
    let gate = Gate::new(world.store.clone(), Registry::fixed(snapshot(agent(), vec![])));
    let live = gate.readmit(&rows[0]);
    assert_eq!(shown(live.labels()), "untrusted");
}
