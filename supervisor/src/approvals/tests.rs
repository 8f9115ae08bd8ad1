use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::core::decision::Decision;

fn run(number: u64) -> RunId {
    RunId::from_parts(number, [0; 10])
}

fn agent(name: &str) -> AgentRef {
    format!("agent/{name}@t").parse().unwrap()
}

fn question(number: u64, of: u64) -> Question {
    Question {
        id: ApprovalId::from_parts(number, [0; 10]),
        run: run(of),
        agent: agent("a"),
        action: "tool".into(),
        target: "Bash".into(),
        on: String::new(),
        command: Some("rm -r build".into()),
        effect: Effect::default(),
        why: vec!["org/careful".into()],
        digest: "00".into(),
        expires_at_ms: 1,
    }
}

fn reason(source: &str) -> Reason {
    Reason::new(source, Decision::Ask, "")
}

fn allow(lasts: Lasts) -> Answer {
    Answer::Allow { by: "user:alice".into(), lasts }
}

fn open(approvals: &Approvals, question: Question) -> Waiting {
    open_at(approvals, question, Instant::now())
}

fn open_at(approvals: &Approvals, question: Question, now: Instant) -> Waiting {
    approvals.ask(question, vec![reason("org/careful")], now).unwrap()
}

fn give(approvals: &Approvals, id: ApprovalId, answer: Answer) -> Result<Question, ApprovalError> {
    let lasts = match &answer {
        Answer::Allow { lasts, .. } => *lasts,
        Answer::Deny { .. } => Lasts::Once,
    };
    approvals.take(id, lasts, 0)?.give(answer, Instant::now())
}

#[tokio::test]
async fn an_answer_reaches_who_asked_and_is_used_once() {
    let approvals = Approvals::default();
    let mut waiting = open(&approvals, question(1, 1));
    let id = question(1, 1).id;
    assert_eq!(give(&approvals, id, allow(Lasts::Once)), Ok(question(1, 1)));
    assert_eq!(waiting.answer().await, Some(allow(Lasts::Once)));
    assert_eq!(give(&approvals, id, allow(Lasts::Once)), Err(ApprovalError::Unknown(id)));
    assert_eq!(approvals.using((&agent("a"), run(1)), "00", &[&reason("org/careful")], 0), None);
}

#[tokio::test]
async fn a_question_that_is_taken_and_not_answered_has_no_answer() {
    let approvals = Approvals::default();
    let mut waiting = open(&approvals, question(1, 1));
    drop(approvals.take(question(1, 1).id, Lasts::Once, 0).unwrap());
    assert_eq!(waiting.answer().await, None);
}

#[test]
fn a_question_nobody_waits_for_is_closed_and_no_answer_to_it_lasts() {
    let approvals = Approvals::default();
    drop(open(&approvals, question(1, 1)));
    assert_eq!(approvals.questions(), []);
    let waiting = open(&approvals, question(2, 1));
    let taken = approvals.take(question(2, 1).id, Lasts::Run, 0).unwrap();
    drop(waiting);
    assert_eq!(taken.give(allow(Lasts::Run), Instant::now()), Err(ApprovalError::Unknown(question(2, 1).id)));
    assert_eq!(approvals.standing(0), []);
}

#[tokio::test]
async fn many_questions_of_many_runs_do_not_overwrite_each_other() {
    let approvals = Approvals::default();
    let ids: Vec<(u64, u64)> = (0..16).flat_map(|of| (0..16).map(move |n| (of * 16 + n, of))).collect();
    let mut waiting: Vec<_> =
        ids.iter().map(|(number, of)| (*number, open(&approvals, question(*number, *of)))).collect();
    let full = approvals.ask(question(999, 99), Vec::new(), Instant::now()).err();
    assert_eq!(full, Some(ApprovalError::Flood(256)));
    assert_eq!(approvals.questions().len(), 256);
    // In another order than they were asked in.
    for (number, of) in ids.iter().rev() {
        let answer = match number % 3 {
            0 => allow(Lasts::Once),
            1 => Answer::Deny { by: format!("user:{number}"), reason: Some(format!("because {number}")) },
            _ => continue,
        };
        assert_eq!(
            give(&approvals, question(*number, *of).id, answer).unwrap().id,
            question(*number, *of).id
        );
    }
    for (number, waiting) in &mut waiting {
        match *number % 3 {
            0 => assert_eq!(waiting.answer().await, Some(allow(Lasts::Once))),
            1 => {
                let expected =
                    Answer::Deny { by: format!("user:{number}"), reason: Some(format!("because {number}")) };
                assert_eq!(waiting.answer().await, Some(expected));
            }
            _ => {}
        }
    }
    assert_eq!(approvals.questions().len(), 85, "those that nobody answered");
    drop(waiting);
    assert_eq!(approvals.questions(), []);
}

#[test]
fn a_run_cannot_flood() {
    let approvals = Approvals::default();
    let waiting: Vec<_> = (0..16).map(|n| open(&approvals, question(n, 1))).collect();
    assert_eq!(
        approvals.ask(question(99, 1), Vec::new(), Instant::now()).err(),
        Some(ApprovalError::Flood(16))
    );
    assert!(approvals.ask(question(100, 2), Vec::new(), Instant::now()).is_ok());
    assert_eq!(waiting.len(), 16);
}

#[test]
fn a_run_that_asks_too_often_waits_and_others_do_not() {
    let approvals = Approvals::default();
    let begin = Instant::now();
    let at = |seconds: u64| begin + Duration::from_secs(seconds);
    for number in 0..20 {
        drop(open_at(&approvals, question(number, 1), at(number * 2)));
    }
    let refused = |seconds: u64| approvals.ask(question(99, 1), Vec::new(), at(seconds)).err();
    assert_eq!(refused(40), Some(ApprovalError::TooOften(21)));
    drop(open_at(&approvals, question(99, 2), at(40)));
    drop(open_at(&approvals, question(99, 1), at(60)));
    assert_eq!(refused(60), Some(ApprovalError::TooOften(3)));
}

#[test]
fn a_no_holds_for_a_minute_in_its_run_for_the_same() {
    let approvals = Approvals::default();
    let begin = Instant::now();
    let at = |seconds: u64| begin + Duration::from_secs(seconds);
    let _waiting = open(&approvals, question(1, 1));
    let no = Answer::Deny { by: "user:alice".into(), reason: Some("not today".into()) };
    approvals.take(question(1, 1).id, Lasts::Once, 0).unwrap().give(no, begin).unwrap();
    let denied = Denied { by: "user:alice".into(), reason: Some("not today".into()), ago_s: 59 };
    assert_eq!(approvals.denied(run(1), "00", at(59)), Some(denied));
    assert_eq!(approvals.denied(run(2), "00", at(59)), None);
    assert_eq!(approvals.denied(run(1), "01", at(59)), None);
    assert_eq!(approvals.denied(run(1), "00", at(60)), None);
}

#[test]
fn what_is_shown_at_once_is_bounded() {
    let approvals = Approvals::default();
    let long = |number: u64| {
        let text = "x".repeat(EFFECT_MAX);
        let effect =
            Effect { shown: vec![crate::core::effect::Shown::Arguments { text }], ..Effect::default() };
        Question { effect, ..question(number, number) }
    };
    let waiting: Vec<_> = (0..24).map(|number| open(&approvals, long(number))).collect();
    assert_eq!(approvals.ask(long(99), Vec::new(), Instant::now()).err(), Some(ApprovalError::Flood(24)));
    assert_eq!(waiting.len(), 24);
}

/// What a standing answer is asked about.
fn used(approvals: &Approvals, name: &str, of: u64, digest: &str, asks: &[&str], now_ms: i64) -> bool {
    let asks: Vec<Reason> = asks.iter().map(|source| reason(source)).collect();
    let asks: Vec<&Reason> = asks.iter().collect();
    approvals.using((&agent(name), run(of)), digest, &asks, now_ms).is_some()
}

#[test]
fn an_answer_for_a_run_covers_the_same_there_and_dies_with_it() {
    let approvals = Approvals::default();
    let _waiting = open(&approvals, question(1, 1));
    give(&approvals, question(1, 1).id, allow(Lasts::Run)).unwrap();
    let seen = ["org/careful"];
    assert!(used(&approvals, "a", 1, "00", &seen, 5) && used(&approvals, "a", 1, "00", &seen, 5));
    assert!(!used(&approvals, "a", 1, "01", &seen, 5), "another action");
    assert!(!used(&approvals, "a", 2, "00", &seen, 5), "another run");
    assert!(!used(&approvals, "a", 1, "00", &["org/careful", "user/new"], 5), "asked for more reasons");
    assert!(!used(&approvals, "a", 1, "00", &[], 5), "for none");
    let standing = approvals.standing(5);
    assert_eq!((standing.len(), standing[0].used, standing[0].run), (1, 2, Some(run(1))));
    approvals.forget(run(2));
    assert_eq!(approvals.standing(5).len(), 1);
    approvals.forget(run(1));
    assert_eq!(approvals.standing(5), []);
}

#[test]
fn an_answer_until_a_time_covers_every_run_of_the_agent_until_then_or_until_it_is_taken_back() {
    let approvals = Approvals::default();
    let _waiting = [open(&approvals, question(1, 1)), open(&approvals, question(2, 1))];
    for number in [1, 2] {
        give(&approvals, question(number, 1).id, allow(Lasts::Until { at_ms: 10 })).unwrap();
    }
    let seen = ["org/careful"];
    assert!(used(&approvals, "a", 7, "00", &seen, 9));
    assert!(!used(&approvals, "b", 7, "00", &seen, 9), "another agent");
    assert_eq!(approvals.revoke(question(1, 1).id).unwrap().used, 1);
    assert!(used(&approvals, "a", 7, "00", &seen, 9), "the other one is in force");
    assert_eq!(approvals.revoke(question(1, 1).id), Err(ApprovalError::Unknown(question(1, 1).id)));
    assert!(!used(&approvals, "a", 7, "00", &seen, 10), "its time is over");
    assert_eq!(approvals.standing(10), []);
}

#[test]
fn not_too_many_answers_last_at_once() {
    let approvals = Approvals::default();
    for number in 0..32 {
        let _waiting = open(&approvals, question(number, number));
        give(&approvals, question(number, number).id, allow(Lasts::Run)).unwrap();
    }
    let _waiting = open(&approvals, question(99, 99));
    let id = question(99, 99).id;
    assert_eq!(give(&approvals, id, allow(Lasts::Run)), Err(ApprovalError::Many(32)));
    assert!(give(&approvals, id, allow(Lasts::Once)).is_ok(), "it is still open for an answer that does not");
}

proptest! {
    /// Whatever was answered: only the digest that was shown is covered.
    #[test]
    fn an_answer_never_covers_another_digest(
        shown in prop::collection::vec(("[0-9a-f]{1,2}", 0u64..3, 0u8..3), 1..12),
        wanted in "[0-9a-f]{1,2}", of in 0u64..3, now_ms in 0i64..20,
    ) {
        let approvals = Approvals::default();
        let mut covered = false;
        for (number, (digest, run_of, kind)) in (0..).zip(&shown) {
            let asked = Question { digest: digest.clone(), ..question(number, *run_of) };
            let _waiting = open(&approvals, asked.clone());
            let lasts = [Lasts::Once, Lasts::Run, Lasts::Until { at_ms: 10 }][usize::from(*kind)];
            give(&approvals, asked.id, allow(lasts)).unwrap();
            covered |= *digest == wanted && match lasts {
                Lasts::Once => false,
                Lasts::Run => *run_of == of,
                Lasts::Until { at_ms } => now_ms < at_ms,
            };
        }
        prop_assert_eq!(used(&approvals, "a", of, &wanted, &["org/careful"], now_ms), covered);
    }
}
