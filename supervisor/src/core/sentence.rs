//! Records as sentences, for people.

use super::decision::{Decision, Reason};
use super::manifest::Environment;
use super::money::NanoUsd;
use super::principal::{AgentRef, Owner};

/// A record with its outcome joined, as far as a sentence needs it.
#[derive(Debug, Clone, Copy)]
pub struct Told<'a> {
    /// Who, if a run did it.
    pub who: Option<(&'a AgentRef, &'a Owner, Environment)>,
    /// `launch`, `llm`, `tool`, `egress`, or an event's name.
    pub action: &'a str,
    /// Adapter, model, tool, host; for an event its predicate.
    pub target: &'a str,
    /// What it acted upon; may be empty.
    pub on: &'a str,
    /// The decision, if the gate decided.
    pub decision: Option<Decision>,
    /// Its reasons.
    pub reasons: &'a [Reason],
    /// Tokens posted.
    pub tokens: Option<u64>,
    /// Money posted.
    pub cost: Option<NanoUsd>,
    /// How it ended; `None` while it has not.
    pub outcome: Option<&'a str>,
    /// The time of day, `14:32:17Z`.
    pub at: &'a str,
}

/// The sentence.
pub fn sentence(told: &Told<'_>) -> String {
    let mut text = match told.who {
        Some((agent, owner, _)) => format!("{agent}, owned by {owner}, "),
        None => String::new(),
    };
    text.push_str(&predicate(told));
    if let Some((_, _, environment)) = told.who {
        text.push_str(&format!(" in {}", environment.name()));
    }
    text.push_str(&format!(" at {}", told.at));
    if let Some(tokens) = told.tokens {
        text.push_str(&format!(", {tokens} tokens"));
    }
    if let Some(cost) = told.cost {
        text.push_str(&format!(", {cost}"));
    }
    if let Some(decision) = told.decision {
        text.push_str(&verdict(decision, told.reasons));
        if decision == Decision::Allow {
            text.push_str(&format!(", {}", told.outcome.unwrap_or("still under way")));
        }
    }
    text.push('.');
    text
}

fn predicate(told: &Told<'_>) -> String {
    let denied = told.decision == Some(Decision::Deny);
    let on = if told.on.is_empty() { String::new() } else { format!(" on {}", told.on) };
    let target = told.target;
    match (told.action, denied) {
        ("launch", false) => format!("was launched with {target} in {}", told.on),
        ("launch", true) => format!("was to be launched with {target} in {}", told.on),
        ("llm", false) => format!("called the model `{target}` of {}", told.on),
        ("llm", true) => format!("wanted to call the model `{target}` of {}", told.on),
        ("tool", false) => format!("called `{target}`{on}"),
        ("tool", true) => format!("wanted to call `{target}`{on}"),
        ("egress", false) => format!("connected to {target}"),
        ("egress", true) => format!("wanted to connect to {target}"),
        _ => target.to_owned(),
    }
}

fn verdict(decision: Decision, reasons: &[Reason]) -> String {
    let decisive: Vec<&Reason> = reasons.iter().filter(|reason| reason.decision == decision).collect();
    let sources = |reasons: &[&Reason]| {
        reasons.iter().map(|reason| reason.source.as_str()).collect::<Vec<_>>().join(" and ")
    };
    match decision {
        Decision::Allow => {
            // A permission in words (a policy, a person) tells more than the checks that merely passed.
            let named: Vec<&Reason> =
                decisive.iter().copied().filter(|reason| reason.source.contains('/')).collect();
            let shown = if named.is_empty() { decisive } else { named };
            format!(", allowed by {}", sources(&shown))
        }
        Decision::Ask => format!(", held for approval by {}", sources(&decisive)),
        Decision::Deny => {
            let words: Vec<&str> =
                decisive.iter().map(|reason| reason.text.as_str()).filter(|text| !text.is_empty()).collect();
            let because = if words.is_empty() { String::new() } else { format!(": {}", words.join("; ")) };
            format!(", denied by {}{because}", sources(&decisive))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(source: &str, decision: Decision, text: &str) -> Reason {
        Reason::new(source, decision, text)
    }

    #[test]
    fn a_tool_call_reads_as_the_house_says() {
        let agent: AgentRef = "agent/code-review-bot@team-platform".parse().unwrap();
        let owner: Owner = "user:default/alice".parse().unwrap();
        let reasons = [reason("scope", Decision::Allow, ""), reason("org/write-src", Decision::Allow, "")];
        let told = Told {
            who: Some((&agent, &owner, Environment::Dev)),
            action: "tool",
            target: "write_file",
            on: "/src/payments/checkout.py",
            decision: Some(Decision::Allow),
            reasons: &reasons,
            tokens: Some(847),
            cost: None,
            outcome: Some("200 OK"),
            at: "14:32:17Z",
        };
        assert_eq!(
            sentence(&told),
            "agent/code-review-bot@team-platform, owned by user:alice, called `write_file` on \
             /src/payments/checkout.py in dev at 14:32:17Z, 847 tokens, allowed by org/write-src, 200 OK."
        );
    }

    #[test]
    fn a_denial_gives_its_reason() {
        let reasons = [
            reason("scope", Decision::Allow, ""),
            reason("default/secrets", Decision::Deny, "credentials are not for agents"),
        ];
        let agent: AgentRef = "agent/a@t".parse().unwrap();
        let owner: Owner = "user:bob".parse().unwrap();
        let told = Told {
            who: Some((&agent, &owner, Environment::Dev)),
            action: "tool",
            target: "Read",
            on: "/home/bob/.ssh/id_rsa",
            decision: Some(Decision::Deny),
            reasons: &reasons,
            tokens: None,
            cost: None,
            outcome: None,
            at: "00:00:01Z",
        };
        assert_eq!(
            sentence(&told),
            "agent/a@t, owned by user:bob, wanted to call `Read` on /home/bob/.ssh/id_rsa in dev at 00:00:01Z, \
             denied by default/secrets: credentials are not for agents."
        );
    }

    #[test]
    fn an_event_without_a_run_is_its_predicate() {
        let told = Told {
            who: None,
            action: "daemon-started",
            target: "the daemon started",
            on: "",
            decision: None,
            reasons: &[],
            tokens: None,
            cost: None,
            outcome: None,
            at: "00:00:01Z",
        };
        assert_eq!(sentence(&told), "the daemon started at 00:00:01Z.");
    }
}
