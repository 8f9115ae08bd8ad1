#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::core::data::Rules;
use crate::core::detect::{Class, Kind};

/// In one piece it would look like somebody's.
pub(crate) fn token() -> String {
    format!("{}_{}", "npm", "q7Xv2LmZ0pRtYw9KbN4sDcJ6hGf1Ae8UoTi3")
}

fn rules(secrets: Treatment, personal: Treatment) -> DataRules {
    let classes = [(Class::Secret, secrets), (Class::Personal, personal)].into();
    DataRules { model: Rules { classes, ..Rules::default() }, ..DataRules::default() }
}

fn sent(known: &Known, rules: &DataRules, body: &str) -> Sent {
    cleared(known, rules, "anthropic", Bytes::copy_from_slice(body.as_bytes()))
}

fn text(sent: &Sent) -> &str {
    std::str::from_utf8(&sent.body).unwrap_or_default()
}

#[test]
fn all_of_a_body_is_looked_through_in_parts_that_come_again() {
    let body = br#"{"model":"m","system":"be kind", "messages" : [ {"role":"user","content":"a"} ,{"x":[1]}],"n":1.0}"#;
    let parts = messages(body).into_iter().map(|part| std::str::from_utf8(part).unwrap_or_default());
    assert_eq!(
        parts.collect::<Vec<_>>(),
        [
            r#""m""#,
            "model",
            r#""be kind""#,
            "system",
            r#"{"role":"user","content":"a"}"#,
            r#"{"x":[1]}"#,
            "messages",
            "1.0",
            "n"
        ]
    );
    assert_eq!(messages(b"no JSON"), [b"no JSON"]);
}

#[test]
fn what_is_redacted_is_all_that_changes_and_comes_out_the_same_each_time() {
    let known = Known::default();
    let rules = rules(Treatment::Redact, Treatment::Allow);
    let first = format!(r#"{{ "messages":[{{"role":"user","content":"use {}\n"}}],"n" : 1.50}}"#, token());
    let expected = r#"{ "messages":[{"role":"user","content":"use [redacted: npm-token]\n"}],"n" : 1.50}"#;
    let once = sent(&known, &rules, &first);
    assert_eq!(text(&once), expected);
    let redacted = [(Kind::NpmToken, 1)].into();
    assert_eq!(once.data, Carried { redacted, ..Carried::default() });
    let second = first.replace("}],", r#"},{"role":"user","content":"mail bob@acme.io"}],"#);
    let twice = sent(&known, &rules, &second);
    assert!(text(&twice).starts_with(&expected[..expected.len() - 13]), "{}", text(&twice));
    assert_eq!(twice.data.kinds, [(Kind::Email, 1)].into());
}

/// What was known is told from what is new by all of its bytes.
#[test]
fn a_message_is_looked_through_once_and_told_of_every_time() {
    let (known, rules) = (Known::default(), rules(Treatment::Block, Treatment::Allow));
    let clean = r#"{"messages":[{"role":"user","content":"nothing of interest"}]}"#;
    assert_eq!(sent(&known, &rules, clean).data, Carried::default());
    let looked = known.generations.lock().unwrap()[0].len();
    assert_eq!(sent(&known, &rules, clean).data, Carried::default());
    assert_eq!(known.generations.lock().unwrap()[0].len(), looked);
    let secret = clean.replace("interest", &token());
    for _ in 0..2 {
        assert_eq!(sent(&known, &rules, &secret).data.kinds, [(Kind::NpmToken, 1)].into());
    }
    // Names, too, and members that nobody knows.
    let named = format!(r#"{{"messages":[],"{}":1}}"#, token());
    assert_eq!(sent(&known, &rules, &named).data.kinds, [(Kind::NpmToken, 1)].into());
}

#[test]
fn what_is_known_is_bounded_and_what_is_used_stays() {
    let known = Known::default();
    let used = br#""used""#;
    for n in 0..3 * KNOWN {
        known.look(used);
        known.look(n.to_string().as_bytes());
    }
    let generations = known.generations.lock().unwrap();
    assert!(generations.iter().all(|generation| generation.len() <= KNOWN));
    assert!(generations[0].contains_key(<[u8; 32]>::from(Sha256::digest(used)).as_slice()));
}

#[test]
fn a_person_is_asked_about_things_not_about_the_conversation_around_them() {
    let (known, rules) = (Known::default(), rules(Treatment::Ask, Treatment::Allow));
    let asked = |body: &str| sent(&known, &rules, body).asked;
    let one = format!(r#"{{"messages":["use {}"]}}"#, token());
    let longer = format!(r#"{{"messages":["use {0}","yes, {0}","mail bob@acme.io"]}}"#, token());
    let other = one.replace("q7Xv2", "q7Xv3");
    assert!(asked(&one).is_some());
    assert_eq!(asked(&one), asked(&longer));
    assert_ne!(asked(&one), asked(&other));
    assert_eq!(asked(r#"{"messages":["mail bob@acme.io"]}"#), None);
    // Beyond what is told of one message nobody knows what else there is.
    let many = |more: &str| format!(r#"{{"messages":["{}{more}"]}}"#, format!("{} ", token()).repeat(80));
    assert_ne!(asked(&many("")), asked(&many(&token().replace("q7Xv2", "q7Xv3"))));
}
