//! Rules of the Agent Governance Toolkit (documents with `apiVersion: governance.toolkit/v1`) as Cedar.
//!
//! They are written as its `govern()` of version 5.0.0 decides: any deny wins, then the rule of the highest priority, of
//! equal ones the first, then the default. A document becomes policies that forbid or ask and never permit, so that they
//! can stand in any layer; what it allows is what they leave alone. Invariant: what cannot be said in Cedar, and what
//! the toolkit reads otherwise than it is written, is refused, never left out.

mod condition;
#[cfg(test)]
mod tests;

use super::principal::AgentRef;
use condition::Hosts;
pub use condition::{Condition, Unread};

/// The name of the policy that stands for what happens where no rule matches.
pub const DEFAULT: &str = "default";

/// A document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toolkit {
    /// Its name.
    pub name: String,
    /// Whom it is about; everybody if empty.
    pub agents: Vec<AgentRef>,
    /// What happens where no rule matches.
    pub otherwise: Otherwise,
    /// Its rules, in the order of the text.
    pub rules: Vec<Rule>,
}

/// What happens where no rule matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Otherwise {
    /// It is allowed.
    Allow,
    /// It is denied, which is the toolkit's own default.
    Deny,
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its name.
    pub name: String,
    /// Why, for people.
    pub description: Option<String>,
    /// When it applies.
    pub condition: Condition,
    /// What it says then.
    pub says: Says,
    /// Of rules that do not deny, the highest wins.
    pub priority: i64,
}

/// What a rule says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Says {
    /// It may happen.
    Allow,
    /// A person is asked.
    Ask,
    /// It does not happen.
    Deny,
}

impl Toolkit {
    /// The document as a file of policies.
    pub fn cedar(&self) -> String {
        let mut text = format!(
            "// `{}` of the Agent Governance Toolkit (governance.toolkit/v1), written by `agentsup policy import`.\n\
             // It permits nothing by itself: what it allows is what these policies leave alone.\n",
            printable(&self.name)
        );
        for rule in &self.rules {
            text.push_str(&match rule.says {
                Says::Allow => continue,
                Says::Deny => self.policy(&rule.name, "", rule, ""),
                Says::Ask => self.policy(&rule.name, "@decision(\"ask\")\n", rule, &self.unless(rule)),
            });
        }
        if self.otherwise == Otherwise::Deny {
            let matching: Vec<String> =
                self.rules.iter().map(|rule| rule.condition.cedar(Hosts::Every)).collect();
            text.push_str(&self.written(
                DEFAULT,
                "",
                &format!("no rule of `{}` allows it", self.name),
                &self.about(None),
                &any("unless", &matching),
            ));
        }
        text
    }

    /// The `@id` of the policy that a rule becomes. Two rules may have the same, which the reader refuses.
    pub fn id(&self, rule: &str) -> String {
        format!("{}-{}", slug(&self.name), slug(rule))
    }

    fn policy(&self, name: &str, decision: &str, rule: &Rule, unless: &str) -> String {
        let reason =
            rule.description.clone().unwrap_or_else(|| format!("rule `{}` of `{}`", name, self.name));
        self.written(name, decision, &reason, &self.about(Some(&rule.condition)), unless)
    }

    fn written(&self, name: &str, decision: &str, reason: &str, when: &str, unless: &str) -> String {
        format!(
            "\n@id(\"{}\")\n{decision}@reason({})\nforbid (principal, action in Action::\"tool\", resource){when}{unless};\n",
            self.id(name),
            literal(reason),
        )
    }

    /// Allow rules that win over one that asks.
    fn unless(&self, asking: &Rule) -> String {
        let position = self.rules.iter().position(|rule| std::ptr::eq(rule, asking));
        let wins = |(at, rule): &(usize, &Rule)| {
            rule.says == Says::Allow
                && (rule.priority > asking.priority
                    || rule.priority == asking.priority && position.is_some_and(|asking| *at < asking))
        };
        let winning: Vec<String> = self
            .rules
            .iter()
            .enumerate()
            .filter(wins)
            .map(|(_, rule)| rule.condition.cedar(Hosts::Every))
            .collect();
        any("unless", &winning)
    }

    fn about(&self, condition: Option<&Condition>) -> String {
        let names: Vec<String> =
            self.agents.iter().map(|agent| format!("Agent::{}", literal(&agent.to_string()))).collect();
        let agents = (!names.is_empty()).then(|| format!("[{}].contains(principal)", names.join(", ")));
        let condition = condition.map(|condition| match agents {
            Some(_) => format!("({})", condition.cedar(Hosts::Any)),
            None => condition.cedar(Hosts::Any),
        });
        let all: Vec<String> = agents.into_iter().chain(condition).collect();
        if all.is_empty() { String::new() } else { format!("\nwhen {{ {} }}", all.join(" && ")) }
    }
}

/// A clause that holds where one of the conditions does; nothing without conditions.
fn any(word: &str, conditions: &[String]) -> String {
    if conditions.is_empty() {
        return String::new();
    }
    format!("\n{word} {{\n  {}\n}}", conditions.join(" ||\n  "))
}

/// A name as the `@id` of a policy.
fn slug(name: &str) -> String {
    let words = name.split(|char: char| !char.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let words: Vec<String> = words.map(str::to_ascii_lowercase).collect();
    words.join("-")
}

/// A text as Cedar's literal.
fn literal(text: &str) -> String {
    format!("\"{}\"", text.escape_debug())
}

/// On one line, for a comment.
fn printable(text: &str) -> String {
    text.escape_debug().collect()
}
