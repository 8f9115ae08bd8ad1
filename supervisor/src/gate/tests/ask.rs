//! Questions to people as the gate asks them: what an answer covers, and what nobody is asked about.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::*;
use crate::approvals::{Answer, Lasts, PER_MINUTE, Question};
use crate::core::effect::{EFFECT_MAX, Effect, PLAIN, Shown};

fn asks(id: &str) -> PolicySource {
    PolicySource {
        team: None,
        layer: Layer::Org,
        file: "org.cedar".into(),
        text: format!(
            "@id(\"{id}\")\n@decision(\"ask\")\n@reason(\"{id}\")\nforbid (principal, action == Action::\"mcp\", resource);"
        ),
    }
}

fn with(policies: &[&str]) -> Snapshot {
    let sources = policies.iter().map(|id| asks(id));
    let sources: Vec<PolicySource> =
        std::iter::once(PolicySource::pack(Pack::Standard)).chain(sources).collect();
    Snapshot { policies: PolicySet::load(&sources).unwrap(), ..snapshot(agent(), vec![purse(100, 0)]) }
}

fn of(args: [u8; 32]) -> Action {
    let Action::Tool(tool) = tool("notes") else { unreachable!() };
    Action::Tool(ToolAction { args_digest: args, ..tool })
}

fn shows(text: &str) -> Show {
    let shown = vec![Shown::Arguments { text: text.to_owned() }];
    Arc::new(move || Ok(Effect { shown: shown.clone(), ..PLAIN }))
}

type Deciding = tokio::task::JoinHandle<Result<RecordId, Refusal>>;

fn decide(world: &World, action: Action, show: Option<Show>) -> Deciding {
    let (gate, live) = (world.gate.clone(), Arc::clone(&world.live));
    tokio::spawn(async move {
        let told = Told { show, ..Told::default() };
        gate.decide_told(&live, action, told).await.map(|permit| permit.record().unwrap())
    })
}

/// The question that is asked, or none if the decision comes without one.
async fn question(world: &World, deciding: &Deciding) -> Option<Question> {
    loop {
        match world.gate.approvals().questions().pop() {
            Some(question) => return Some(question),
            None if deciding.is_finished() => return None,
            None => tokio::task::yield_now().await,
        }
    }
}

fn allow(lasts: Lasts) -> Answer {
    Answer::Allow { by: "user:alice".into(), lasts }
}

fn no(reason: &str) -> Answer {
    Answer::Deny { by: "user:alice".into(), reason: Some(reason.to_owned()) }
}

fn answer(world: &World, question: &Question, answer: Answer) {
    let lasts = match &answer {
        Answer::Allow { lasts, .. } => *lasts,
        Answer::Deny { .. } => Lasts::Once,
    };
    world.gate.approvals().take(question.id, lasts, 0).unwrap().give(answer, Instant::now()).unwrap();
}

/// Asks, answers, and gives what came of it.
async fn asked(world: &World, action: Action, show: Option<Show>, with: Answer) -> Result<RecordId, Refusal> {
    let deciding = decide(world, action, show);
    let question = question(world, &deciding).await.expect("a question");
    answer(world, &question, with);
    deciding.await.unwrap()
}

/// What came of it without anybody being asked.
async fn unasked(world: &World, action: Action, show: Option<Show>) -> Option<Result<RecordId, Refusal>> {
    let deciding = decide(world, action, show);
    match question(world, &deciding).await {
        None => Some(deciding.await.unwrap()),
        Some(question) => {
            answer(world, &question, no("it was a test"));
            assert!(deciding.await.unwrap().is_err());
            None
        }
    }
}

#[test]
fn an_approval_is_bound_to_everything_that_was_decided_about() {
    let paths = |names: &[&str]| -> Vec<PathFact> {
        names.iter().map(|name| PathFact { path: name.into(), place: Place::Worktree }).collect()
    };
    let of = |facts: Facts| {
        let Action::Tool(tool) = tool("notes") else { unreachable!() };
        digest(&Action::Tool(ToolAction { facts, ..tool })).unwrap()
    };
    let all = [
        Facts { paths: paths(&["/a", "/b"]), ..Facts::default() },
        Facts { paths: paths(&["/a", "/c"]), ..Facts::default() },
        Facts { command: Some("a".into()), ..Facts::default() },
        Facts { hosts: vec!["a".into()], ..Facts::default() },
    ];
    let mut digests: Vec<_> = all.into_iter().map(of).collect();
    digests.sort_unstable();
    digests.dedup();
    assert_eq!(digests.len(), 4);
}

#[tokio::test]
async fn an_answer_does_not_cover_what_other_policies_ask_since() {
    let world = world_of(with(&["first"])).await;
    for (in_force, allowed) in [("first", true), ("second", false)] {
        let deciding = decide(&world, tool("notes"), None);
        let question = question(&world, &deciding).await.unwrap();
        world.gate.inner.registry.replace(with(&[in_force]));
        answer(&world, &question, allow(Lasts::Once));
        assert_eq!(deciding.await.unwrap().is_ok(), allowed, "{in_force}");
    }
}

#[tokio::test]
async fn an_answer_that_lasts_is_used_on_the_record_and_void_where_other_policies_ask() {
    let world = world_of(with(&["first"])).await;
    asked(&world, of([1; 32]), Some(shows("a")), allow(Lasts::Run)).await.unwrap();
    let record = unasked(&world, of([1; 32]), Some(shows("a"))).await.unwrap().unwrap();
    let standing = world.gate.approvals().standing(0);
    let id = standing[0].id;
    let row = world.store.read(|connection| audit::list(connection, &List::default())).await.unwrap();
    let line = row.iter().find(|line| line.id == record).unwrap();
    let reason = line.reasons.iter().find(|reason| reason.source == "approval/user:alice").unwrap();
    assert_eq!(reason.text, format!("a person allowed exactly this for the whole run ({id})"));

    assert_eq!(unasked(&world, of([1; 32]), Some(shows("b"))).await, None, "it would do something else");
    world.gate.inner.registry.replace(with(&["first", "second"]));
    assert_eq!(unasked(&world, of([1; 32]), Some(shows("a"))).await, None, "more is asked");
    world.gate.inner.registry.replace(with(&["first"]));
    world.gate.set_state(&world.live, RunState::Killed, None).await.unwrap();
    assert_eq!(world.gate.approvals().standing(0), []);
}

#[tokio::test]
async fn what_would_be_done_is_looked_at_again_after_the_answer() {
    let world = world_of(with(&["first"])).await;
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let changing: Show = Arc::new(move || {
        let text = counted.fetch_add(1, Ordering::SeqCst).to_string();
        Ok(Effect { shown: vec![Shown::Arguments { text }], ..PLAIN })
    });
    let refusal = asked(&world, of([1; 32]), Some(changing), allow(Lasts::Once)).await.unwrap_err();
    assert!(refusal.message.contains("what it would do changed while a person was asked"), "{refusal}");
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn nobody_is_asked_about_what_cannot_be_shown_whole() {
    let world = world_of(with(&["first"])).await;
    let long = shows(&"x".repeat(EFFECT_MAX + 1));
    let refusal = unasked(&world, of([1; 32]), Some(long)).await.unwrap().unwrap_err();
    assert!(refusal.message.contains("longer than the 256 KiB that are shown"), "{refusal}");
    let hidden: Show = Arc::new(|| Err("`f` cannot be shown".to_owned()));
    let refusal = unasked(&world, of([1; 32]), Some(hidden)).await.unwrap().unwrap_err();
    assert!(refusal.message.contains("`f` cannot be shown"), "{refusal}");
}

#[tokio::test]
async fn a_no_is_told_again_without_asking_and_another_action_is_asked_about() {
    let world = world_of(with(&["first"])).await;
    let refusal = asked(&world, of([1; 32]), Some(shows("a")), no("not on a Friday")).await.unwrap_err();
    assert!(refusal.message.starts_with("agentsup denied `notes/echo`: not on a Friday ("), "{refusal}");
    let again = unasked(&world, of([1; 32]), Some(shows("a"))).await.unwrap().unwrap_err();
    let expected = "a person said no to exactly this 0 s ago, and was not asked again: not on a Friday";
    assert!(again.message.contains(expected), "{again}");
    assert_eq!(unasked(&world, of([1; 32]), Some(shows("b"))).await, None);
    assert_eq!(unasked(&world, of([2; 32]), Some(shows("a"))).await, None);
}

#[tokio::test]
async fn a_run_that_asks_too_often_is_told_so() {
    let world = world_of(with(&["first"])).await;
    for number in 0..PER_MINUTE {
        let args = [u8::try_from(number).unwrap(); 32];
        asked(&world, of(args), None, allow(Lasts::Once)).await.unwrap();
    }
    let refusal = unasked(&world, of([99; 32]), None).await.unwrap().unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::Busy);
    assert!(refusal.message.contains("this run asked a person 20 times within a minute"), "{refusal}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// The whole gate: what was allowed for the run and for an hour is allowed again, and nothing else is.
    #[test]
    fn an_approval_for_one_digest_never_authorises_another(
        one in (any::<[u8; 2]>(), "[ab]{1,2}"), other in (any::<[u8; 2]>(), "[ab]{1,2}"), for_run in any::<bool>(),
    ) {
        let args = |two: [u8; 2]| { let mut all = [0; 32]; all[..2].copy_from_slice(&two); all };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let world = world_of(with(&["first"])).await;
            let lasts = if for_run { Lasts::Run } else { Lasts::Until { at_ms: i64::MAX } };
            asked(&world, of(args(one.0)), Some(shows(&one.1)), allow(lasts)).await.unwrap();
            for (args_of, text) in [(one.0, &other.1), (other.0, &one.1), (other.0, &other.1), (one.0, &one.1)] {
                let same = args_of == one.0 && *text == one.1;
                let came = unasked(&world, of(args(args_of)), Some(shows(text))).await;
                // A no of a moment ago is none of an approval's business.
                assert_eq!(came.is_some_and(|decided| decided.is_ok()), same);
            }
        });
    }
}

/// Whoever asked is gone: nothing was allowed, and that it was asked is on the record.
#[tokio::test]
async fn a_question_that_nobody_waits_for_any_more_is_on_the_record() {
    let world = world_of(with(&["look"])).await;
    let sentences = async || {
        let lines = world.store.read(|connection| audit::list(connection, &List::default())).await.unwrap();
        let lines = lines.into_iter().map(|line| line.sentence);
        lines.filter(|line| line.contains("notes")).collect::<Vec<_>>()
    };
    let deciding = decide(&world, of([1; 32]), None);
    assert!(question(&world, &deciding).await.is_some());
    deciding.abort();
    assert!(deciding.await.unwrap_err().is_cancelled());
    assert_eq!(world.gate.approvals().questions().len(), 0);
    let told = sentences().await;
    let words = "did not wait for what was asked about tool `notes/echo`";
    assert!(matches!(told.as_slice(), [one] if one.contains(words)), "{told:?}");
    asked(&world, of([2; 32]), None, no("not that")).await.unwrap_err();
    assert_eq!(sentences().await.iter().filter(|line| line.contains("did not wait")).count(), 1);
}
