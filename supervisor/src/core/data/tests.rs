#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;

const SERVER: Destination<'_> = Destination::Server("notes");

/// In one piece it would look like somebody's.
fn token() -> String {
    format!("{}_{}", "npm", "q7Xv2LmZ0pRtYw9KbN4sDcJ6hGf1Ae8UoTi3")
}

fn rules(said: &[(Kind, Treatment)]) -> DataRules {
    let mut rules = DataRules::default();
    rules.mcp.kinds.extend(said.iter().copied());
    rules
}

fn decisions(rules: &DataRules, to: Destination<'_>, carried: &Carried) -> Vec<(Decision, String)> {
    rules.reasons(to, carried).into_iter().map(|reason| (reason.decision, reason.text)).collect()
}

#[test]
fn the_nearer_rule_wins() {
    let mut rules = rules(&[(Kind::Email, Treatment::Redact)]);
    let own = Rules {
        classes: [(Class::Personal, Treatment::Ask)].into(),
        kinds: [(Kind::Jwt, Treatment::Allow)].into(),
        ..Rules::default()
    };
    rules.servers.insert("notes".into(), own);
    let said = |to, kind| rules.treatment(to, kind);
    let elsewhere = Destination::Server("other");
    assert_eq!(said(elsewhere, Kind::Email), (Treatment::Redact, "data.mcp.email".into()));
    assert_eq!(said(elsewhere, Kind::Phone), (Treatment::Allow, "data.mcp.personal".into()));
    assert_eq!(said(SERVER, Kind::Email), (Treatment::Ask, "data.servers.notes.personal".into()));
    assert_eq!(said(SERVER, Kind::Jwt), (Treatment::Allow, "data.servers.notes.jwt".into()));
    assert_eq!(said(SERVER, Kind::NpmToken), (Treatment::Block, "data.mcp.secrets".into()));
    assert_eq!(said(Destination::Shell, Kind::NpmToken), (Treatment::Ask, "data.shell.secrets".into()));
    assert_eq!(said(Destination::Web, Kind::NpmToken), (Treatment::Block, "data.web.secrets".into()));
}

#[test]
fn a_secret_is_kept_and_never_repeated() {
    let rules = DataRules::default();
    let (changed, carried) =
        rules.cleared(SERVER, &format!(r#"{{"body":"use {} or bob@acme.io"}}"#, token()));
    assert_eq!(changed, None);
    let expected = Carried { kinds: [(Kind::NpmToken, 1), (Kind::Email, 1)].into(), ..Carried::default() };
    assert_eq!(carried, expected);
    assert_eq!(
        decisions(&rules, SERVER, &carried),
        [
            (
                Decision::Deny,
                "it holds 1 × npm-token, which `data.mcp.secrets` keeps from the MCP server `notes`".into()
            ),
            (
                Decision::Allow,
                "it holds 1 × email; `data.mcp.personal` allows that for the MCP server `notes`".into()
            ),
        ]
    );
    let asked = decisions(&rules, Destination::Shell, &carried);
    assert_eq!(asked[0].0, Decision::Ask);
}

#[test]
fn redaction_touches_nothing_else() {
    let rules = rules(&[(Kind::Email, Treatment::Redact), (Kind::NpmToken, Treatment::Redact)]);
    let text = format!(r#" {{ "a" : "x\nbob@acme.io\t{}" , "n":1.50, "b":["\u00e9"] }}"#, token());
    let (changed, carried) = rules.cleared(SERVER, &text);
    let expected = r#" { "a" : "x\n[redacted: email]\t[redacted: npm-token]" , "n":1.50, "b":["\u00e9"] }"#;
    assert_eq!(changed.as_deref(), Some(expected));
    let redacted = [(Kind::NpmToken, 1), (Kind::Email, 1)].into();
    assert_eq!(carried, Carried { redacted, ..Carried::default() });
    assert!(decisions(&rules, SERVER, &carried).iter().all(|(decision, _)| *decision == Decision::Allow));
}

#[test]
fn what_cannot_be_redacted_stays_here() {
    let card = format!("{}{}", "45327", "23694810371");
    let rules = rules(&[
        (Kind::Email, Treatment::Redact),
        (Kind::NpmToken, Treatment::Redact),
        (Kind::Card, Treatment::Redact),
    ]);
    let (front, back) = (&token()[..12], &token()[12..]);
    for text in [
        r#"{"bob@acme.io":1}"#.to_owned(),
        format!(r#"{{"n":{card}}}"#),
        format!(r#"{{"parts":["{front}","{back}"]}}"#),
    ] {
        let (changed, carried) = rules.cleared(SERVER, &text);
        assert_eq!(changed, None, "{text}");
        let decisions = decisions(&rules, SERVER, &carried);
        assert!(decisions.iter().any(|(decision, _)| *decision == Decision::Deny), "{text}: {decisions:?}");
    }
}

#[test]
fn nothing_is_looked_for_where_all_is_allowed() {
    let mut rules = DataRules::default();
    rules.servers.insert(
        "notes".into(),
        Rules { classes: [(Class::Secret, Treatment::Allow)].into(), ..Rules::default() },
    );
    assert!(!rules.looks_at(SERVER));
    assert_eq!(rules.cleared(SERVER, &format!(r#"{{"a":"{}"}}"#, token())), (None, Carried::default()));
}

#[test]
fn too_much_to_be_told_is_kept() {
    let many: String = (0..100).map(|n| format!("bob{n}@acme.io ")).collect();
    let strictest = |treatment| {
        let rules = rules(&[(Kind::Email, treatment)]);
        let carried = rules.carried(SERVER, &many, Form::Plain);
        decisions(&rules, SERVER, &carried).into_iter().map(|(decision, _)| decision).max()
    };
    assert_eq!(strictest(Treatment::Redact), Some(Decision::Deny));
    // Of what may leave or may not it does not matter how much there is.
    assert_eq!(
        [Treatment::Allow, Treatment::Ask, Treatment::Block].map(strictest),
        [Some(Decision::Allow), Some(Decision::Ask), Some(Decision::Deny)]
    );
    let unseen = Carried { is_partial: true, ..Carried::default() };
    assert_eq!(decisions(&DataRules::default(), SERVER, &unseen)[0].0, Decision::Deny);
}
