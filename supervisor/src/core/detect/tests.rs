#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;

mod corpus;
mod lookalikes;

use corpus::{Draw, WRAPPINGS, positive, wrapped};
use lookalikes::{LOOKALIKES, lookalike};

const ROUNDS: usize = 200;

fn kinds(text: &str, form: Form) -> Vec<Kind> {
    scan(text.as_bytes(), form).findings.into_iter().map(|finding| finding.kind).collect()
}

fn form(wrapping: &str) -> Form {
    if wrapping.starts_with("json") { Form::Json } else { Form::Plain }
}

/// What stands around it is not looked at in text that was put together here.
fn needs_neighbours(kind: Kind) -> bool {
    kind.class() == Class::Personal || matches!(kind, Kind::ConnectionString | Kind::Credential)
}

/// How many of a hundred must be found.
fn floor(kind: Kind, wrapping: &str) -> usize {
    match (kind, wrapping) {
        (kind, "split") if needs_neighbours(kind) => 0,
        // Half of them are secret halves, which only their name gives away.
        (Kind::AwsKey, "split") => 40,
        // A password without a digit is taken for a word, a number that begins a line for what a patch adds.
        (Kind::Credential, _) => 92,
        (Kind::Phone, _) => 85,
        _ => 96,
    }
}

#[test]
fn every_kind_is_found_in_every_wrapping() {
    let mut draw = Draw::seeded(4);
    println!("{:<18} {}", "found of 100", WRAPPINGS.join(" | "));
    let mut short = Vec::new();
    for kind in Kind::ALL {
        let mut row = Vec::new();
        for wrapping in WRAPPINGS {
            let mut missed = None;
            let mut found = 0;
            for _ in 0..ROUNDS {
                let text = wrapped(wrapping, &positive(kind, &mut draw), &mut draw);
                if kinds(&text, form(wrapping)).contains(&kind) { found += 1 } else { missed = Some(text) }
            }
            let percent = found * 100 / ROUNDS;
            row.push(percent.to_string());
            if percent < floor(kind, wrapping) {
                short.push(format!(
                    "{} {wrapping}: {percent} of 100, not\n{}",
                    kind.name(),
                    missed.unwrap_or_default()
                ));
            }
        }
        println!("{:<18} {}", kind.name(), row.join(" | "));
    }
    assert!(short.is_empty(), "{}", short.join("\n\n"));
}

#[test]
fn what_only_looks_like_it_is_not_found() {
    let mut draw = Draw::seeded(5);
    let mut wrong = Vec::new();
    for source in LOOKALIKES {
        let mut found = 0;
        for _ in 0..ROUNDS * 5 {
            let text = lookalike(source, &mut draw);
            let kinds = kinds(&text, Form::Plain);
            if !kinds.is_empty() {
                found += 1;
                wrong.push(format!("{source}: {kinds:?} in {text}"));
            }
        }
        println!("{source:<14} {found} of {}", ROUNDS * 5);
    }
    // One of a thousand, over all of them.
    assert!(
        wrong.len() * 1000 <= LOOKALIKES.len() * ROUNDS * 5,
        "{}: {}",
        wrong.len(),
        wrong[..wrong.len().min(8)].join("\n")
    );
}

/// This repository's own code and lock files: no secret, and no person's data.
#[test]
fn real_code_has_none() {
    let sources = [
        include_str!("../../../../Cargo.lock"),
        include_str!("../../../../ui/package-lock.json"),
        include_str!("../../gate.rs"),
        include_str!("../../mcp/wire.rs"),
        include_str!("../../sys/secrets.rs"),
        include_str!("../../gateway/exchange.rs"),
        include_str!("../../cli/output.rs"),
        include_str!("../../../../README.md"),
        include_str!("../../../../Makefile"),
    ];
    for source in sources {
        let found = scan(source.as_bytes(), Form::Plain);
        let shown: Vec<_> =
            found.findings.iter().map(|finding| (finding.kind, &source[finding.range.clone()])).collect();
        assert_eq!((shown, found.complete), (vec![], true));
    }
}

#[test]
fn a_finding_says_where_and_never_what() {
    let mut draw = Draw::seeded(6);
    let token = positive(Kind::NpmToken, &mut draw);
    let text = format!("//registry.npmjs.org/:_authToken={token}\n");
    let found = scan(text.as_bytes(), Form::Plain);
    assert_eq!(found.findings, [Finding::certain(Kind::NpmToken, 33..33 + token.len())]);
    let shown = format!("{found:?}");
    assert!(!(4..token.len() - 8).any(|at| shown.contains(&token[at..at + 8])), "{shown}");
}

#[test]
fn a_range_takes_escapes_and_encodings_whole() {
    let mut draw = Draw::seeded(7);
    let key = positive(Kind::GithubToken, &mut draw);
    let ranges = |text: &str| {
        let found = scan(text.as_bytes(), Form::Json).findings;
        found.iter().map(|finding| text[finding.range.clone()].to_owned()).collect::<Vec<_>>()
    };
    // The `n` of the line break is not the address's, nor are the backslashes anybody's.
    assert_eq!(ranges(r#"{"a":"x\nbob@acme.io\n"}"#), ["bob@acme.io"]);
    let escaped: String = key.bytes().map(|byte| format!("\\u{:04X}", u32::from(byte))).collect();
    assert_eq!(ranges(&format!(r#"{{"a":"\t{escaped}\t"}}"#)), [escaped]);
    let encoded = hex::encode(&key);
    assert_eq!(ranges(&format!(r#"{{"a":"{encoded}"}}"#)), [encoded]);
    let (front, back) = key.split_at(9);
    let split = format!(r#"{front}\" + \"{back}"#);
    assert_eq!(ranges(&format!(r#"{{"a":"x = \"{split}\""}}"#)), [split]);
    // What comes behind a whole one is no part of it.
    assert_eq!(ranges(&format!(r#"{{"a":"{key}","b":1}}"#)), [key.as_str()]);
    let address = positive(Kind::ConnectionString, &mut draw);
    let password = address.split([':', '@']).nth(2).unwrap();
    assert_eq!(ranges(&format!(r#"{{"a":"{address}"}}"#)), [password]);
}

/// What stands before an encoded text in the same run, a path or a name, shifts it.
#[test]
fn an_encoding_is_read_wherever_in_its_run_it_begins() {
    let mut draw = Draw::seeded(10);
    for front in ["", "x", "xy", "xyz", "in/x", "in/xy"] {
        for back in ["", "/y"] {
            let key = positive(Kind::GithubToken, &mut draw);
            let text = format!("the token is {key} and it is good for all of them");
            let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD_NO_PAD, text);
            let run = format!("{front}{encoded}{back}");
            let found = scan(format!("see {run} there").as_bytes(), Form::Plain).findings;
            assert_eq!(found, [Finding::certain(Kind::GithubToken, 4..4 + run.len())], "{front} {back}");
        }
    }
}

/// Other languages' letters are no reason to take a text for bytes.
#[test]
fn an_encoding_of_a_text_with_other_letters_is_read() {
    let key = positive(Kind::NpmToken, &mut Draw::seeded(12));
    let text =
        format!("für schöne Grüße nach Berlin und über den Fluss in die Stadt nimm {key} und sonst nichts");
    let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, text);
    assert_eq!(kinds(&format!("see {encoded}"), Form::Plain), [Kind::NpmToken]);
}

/// Everything that a run of digits can begin and end with.
#[test]
fn spaced_hex_is_found_among_other_digits() {
    let mut draw = Draw::seeded(11);
    let key = positive(Kind::NpmToken, &mut draw);
    for sign in [" ", ":", "\n"] {
        let pairs: Vec<String> = key.bytes().map(|byte| format!("{byte:02x}")).collect();
        let pairs = pairs.join(sign);
        for (front, back) in
            [("", ""), ("z", "z"), ("0010: ", " 0020"), ("a ", " a"), ("bad face ", "\nfeed")]
        {
            let text = format!("{}{front}{pairs}{back}", "words ".repeat(9));
            assert_eq!(kinds(&text, Form::Plain), [Kind::NpmToken], "{sign:?} {front:?}");
        }
    }
}

#[test]
fn a_value_must_be_drawn_at_random() {
    let given = |value: &str| kinds(&format!("password = \"{value}\""), Form::Plain);
    assert_eq!(given("q7XvL2mZ"), [Kind::Credential]);
    assert_eq!([given("q7q7Lm2m"), given("q7XvL2mm")], [vec![], vec![Kind::Credential]]);
}

#[test]
fn nothing_is_lost_between_windows() {
    let mut draw = Draw::seeded(8);
    for step in 0..40 {
        let kind = Kind::ALL[step % Kind::ALL.len()];
        let thing = positive(kind, &mut draw);
        for base in [WINDOW, WINDOW - OVERLAP, 2 * WINDOW - OVERLAP] {
            let before = base - step * thing.len() / 40;
            let text = format!("{}{thing}{}", "word ".repeat(before / 5), " more".repeat(20_000));
            let found = scan(text.as_bytes(), Form::Plain).findings;
            assert_eq!(found.iter().map(|finding| finding.kind).collect::<Vec<_>>(), [kind], "{step} {base}");
        }
        let long = base64::Engine::encode(
            &base64::engine::general_purpose::STANDARD,
            format!("{}{thing} {}", "word ".repeat(39_000 + step * 7), "more ".repeat(9_000)),
        );
        assert_eq!(kinds(&long, Form::Plain), [kind], "{step}");
    }
}

#[test]
fn what_could_not_be_told_is_said() {
    let mut draw = Draw::seeded(9);
    let many: String = (0..200).map(|_| positive(Kind::Email, &mut draw) + " ").collect();
    let told = |text: &str| {
        let found = scan(text.as_bytes(), Form::Plain);
        (found.findings.len(), found.untold, found.complete)
    };
    assert_eq!(told(&many), (64, vec![Kind::Email], true));
    assert_eq!(told(&positive(Kind::Email, &mut draw)), (1, vec![], true));
}

proptest::proptest! {
    /// Whatever it is fed, it ends, its ranges lie in the text and do not overlap.
    #[test]
    fn any_bytes_are_looked_at(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400), text in "[-+.@:=\"'%0-9a-f\\\\u{}/ gh_pAKI]{0,300}") {
        for text in [&bytes[..], text.as_bytes()] {
            for form in [Form::Plain, Form::Json] {
                let found = scan(text, form).findings;
                for pair in found.windows(2) {
                    proptest::prop_assert!(pair[0].range.end <= pair[1].range.start);
                }
                proptest::prop_assert!(found.iter().all(|finding| finding.range.start < finding.range.end && finding.range.end <= text.len()));
            }
        }
    }
}
