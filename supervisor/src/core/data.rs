//! What may leave for where: rules about secrets and personal data, and the texts that they are held against. And what
//! is to be thought of what comes back.
//!
//! Invariants: a rule that names a kind wins over one that names its class, a destination's own name over its family;
//! what is to be redacted and still there is denied; reasons name kinds and rules, never a text. Must not: look for
//! anything where every rule of a destination allows it.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::decision::{Decision, Reason};
use super::detect::{self, Class, Finding, Form, Found, Kind};
use super::label::{Label, Labels};
use super::manifest::BuiltinClass;

/// What happens to something found, in order of strictness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Treatment {
    /// It may leave.
    Allow,
    /// It leaves as a mark that says what was there.
    Redact,
    /// A person is asked.
    Ask,
    /// Nothing leaves.
    Block,
}

/// The rules of one destination; what is not named is its family's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// For whole classes: `secrets`, `personal`.
    pub classes: BTreeMap<Class, Treatment>,
    /// For single kinds.
    pub kinds: BTreeMap<Kind, Treatment>,
    /// What is to be thought of what comes back from there.
    pub results: Option<Labels>,
}

/// All rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataRules {
    /// For every MCP server.
    pub mcp: Rules,
    /// For single MCP servers, by name.
    pub servers: BTreeMap<String, Rules>,
    /// For what the agent's own tools send into the web.
    pub web: Rules,
    /// For what stands in a command line.
    pub shell: Rules,
    /// For prompts to every provider of models.
    pub model: Rules,
    /// For prompts to single providers, by name.
    pub providers: BTreeMap<String, Rules>,
    /// What is to be thought of files that lie elsewhere than the run works.
    pub file_results: Labels,
}

/// What nobody has said anything about.
const OUTSIDE: Labels = Labels::of(Label::Untrusted);

impl Default for DataRules {
    /// Secrets stay here; a person may let one into a command. Personal data goes where the agent sends it. Models get
    /// what they are asked about.
    fn default() -> Self {
        let rules = |secrets| Rules {
            classes: [(Class::Secret, secrets), (Class::Personal, Treatment::Allow)].into(),
            kinds: BTreeMap::new(),
            results: None,
        };
        Self {
            mcp: rules(Treatment::Block),
            servers: BTreeMap::new(),
            web: rules(Treatment::Block),
            shell: rules(Treatment::Ask),
            model: rules(Treatment::Allow),
            providers: BTreeMap::new(),
            file_results: OUTSIDE,
        }
    }
}

/// Where something goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination<'a> {
    /// To an MCP server.
    Server(&'a str),
    /// Into the web, by a tool of the agent's own.
    Web,
    /// Into a command line.
    Shell,
    /// To the models of a provider.
    Model(&'a str),
}

impl Destination<'_> {
    /// Where one of the agent's own tools sends something, if anywhere.
    pub const fn of_class(class: BuiltinClass) -> Option<Self> {
        match class {
            BuiltinClass::Web => Some(Self::Web),
            BuiltinClass::Shell => Some(Self::Shell),
            BuiltinClass::Read | BuiltinClass::Edit | BuiltinClass::Other => None,
        }
    }
}

impl fmt::Display for Destination<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(name) => write!(f, "the MCP server `{name}`"),
            Self::Web => f.write_str("the web"),
            Self::Shell => f.write_str("a command line"),
            Self::Model(provider) => write!(f, "the models of `{provider}`"),
        }
    }
}

/// What a tool call holds, by kind. Without any text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Carried {
    /// What goes out as it is, and how many.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub kinds: BTreeMap<Kind, u32>,
    /// What was taken out, and how many.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub redacted: BTreeMap<Kind, u32>,
    /// Whether there may be more that could not be looked at or told.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_partial: bool,
}

impl Carried {
    /// Whether nothing was found in all that was looked at.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it holds, or may hold, what lets somebody act as somebody else.
    pub fn may_hold_secrets(&self) -> bool {
        self.is_partial || self.kinds.keys().any(|kind| kind.class() == Class::Secret)
    }
}

impl DataRules {
    /// What happens to a kind at a destination, and which rule says so.
    pub fn treatment(&self, to: Destination<'_>, kind: Kind) -> (Treatment, String) {
        let family = match to {
            Destination::Server(_) => ("mcp".to_owned(), &self.mcp),
            Destination::Web => ("web".to_owned(), &self.web),
            Destination::Shell => ("shell".to_owned(), &self.shell),
            Destination::Model(_) => ("model".to_owned(), &self.model),
        };
        let own = match to {
            Destination::Server(name) => {
                self.servers.get(name).map(|rules| (format!("servers.{name}"), rules))
            }
            Destination::Model(name) => {
                self.providers.get(name).map(|rules| (format!("providers.{name}"), rules))
            }
            Destination::Web | Destination::Shell => None,
        };
        let said = own.into_iter().chain([family]).find_map(|(name, rules)| {
            let by_kind = rules.kinds.get(&kind).map(|treatment| (*treatment, kind.name()));
            let by_class =
                || rules.classes.get(&kind.class()).map(|treatment| (*treatment, class_name(kind.class())));
            let (treatment, what) = by_kind.or_else(by_class)?;
            Some((treatment, format!("data.{name}.{what}")))
        });
        // Families always have their classes; where one had not, nothing leaves.
        said.unwrap_or((Treatment::Block, "data".to_owned()))
    }

    /// What is to be thought of what comes back from somewhere; from outside, unless somebody says otherwise.
    pub fn results(&self, from: Destination<'_>) -> Labels {
        let (own, family) = match from {
            Destination::Server(name) => (self.servers.get(name), &self.mcp),
            Destination::Web => (None, &self.web),
            Destination::Shell => (None, &self.shell),
            Destination::Model(name) => (self.providers.get(name), &self.model),
        };
        own.and_then(|rules| rules.results).or(family.results).unwrap_or(OUTSIDE)
    }

    /// Whether anything has to be looked for on the way there.
    pub fn looks_at(&self, to: Destination<'_>) -> bool {
        Kind::ALL.into_iter().any(|kind| self.treatment(to, kind).0 != Treatment::Allow)
    }

    /// What a text holds on its way there.
    pub fn carried(&self, to: Destination<'_>, text: &str, form: Form) -> Carried {
        if !self.looks_at(to) {
            return Carried::default();
        }
        self.held(to, &detect::scan(text.as_bytes(), form))
    }

    /// What was found on its way there. Where there is more of a kind than was told, it is told all the same what becomes
    /// of all of it, unless all of it must be redacted.
    fn held(&self, to: Destination<'_>, found: &Found) -> Carried {
        let is_redacted = |kind: &Kind| self.treatment(to, *kind).0 == Treatment::Redact;
        Carried {
            kinds: count(found.findings.iter()),
            redacted: BTreeMap::new(),
            is_partial: !found.complete || found.untold.iter().any(is_redacted),
        }
    }

    /// JSON as it may go there: what is to be redacted is, within the strings that are values, and no other byte is
    /// touched. None if it may go as it is. And what it then holds.
    pub fn cleared(&self, to: Destination<'_>, text: &str) -> (Option<String>, Carried) {
        self.cleared_by(to, text, |text| detect::scan(text.as_bytes(), Form::Json))
    }

    /// As [`DataRules::cleared`]; `look` finds what is in a text.
    pub fn cleared_by(
        &self,
        to: Destination<'_>,
        text: &str,
        look: impl Fn(&str) -> Found,
    ) -> (Option<String>, Carried) {
        if !self.looks_at(to) {
            return (None, Carried::default());
        }
        let found = look(text);
        let values = values(text);
        let is_within = |finding: &&Finding| {
            let range = &finding.range;
            let index = values.partition_point(|value| value.end < range.end);
            values.get(index).is_some_and(|value| value.start <= range.start && range.end <= value.end)
        };
        let redact = |finding: &&Finding| self.treatment(to, finding.kind).0 == Treatment::Redact;
        let marked: Vec<&Finding> = found.findings.iter().filter(redact).filter(is_within).collect();
        let changed =
            marked_out(text, &marked).filter(|text| serde_json::from_str::<&RawValue>(text).is_ok());
        let Some(changed) = changed else { return (None, self.held(to, &found)) };
        let redacted = count(marked.into_iter());
        let carried = Carried { redacted, ..self.held(to, &look(&changed)) };
        (Some(changed), carried)
    }

    /// What follows from what a tool call holds.
    pub fn reasons(&self, to: Destination<'_>, carried: &Carried) -> Vec<Reason> {
        let mut reasons = Vec::new();
        for (kind, count) in &carried.kinds {
            let (treatment, rule) = self.treatment(to, *kind);
            let what = match (treatment, to) {
                // A conversation says the same things again and again, and a yes to them is bound to what they are.
                (Treatment::Ask, Destination::Model(_)) => kind.name().to_owned(),
                _ => counted(*kind, *count),
            };
            reasons.push(match treatment {
                Treatment::Allow => {
                    reason(Decision::Allow, format!("it holds {what}; `{rule}` allows that for {to}"))
                }
                Treatment::Ask => reason(
                    Decision::Ask,
                    format!("it holds {what}, and `{rule}` asks before that goes to {to}"),
                ),
                Treatment::Block => {
                    reason(Decision::Deny, format!("it holds {what}, which `{rule}` keeps from {to}"))
                }
                Treatment::Redact => {
                    let text = format!(
                        "it holds {what}, which `{rule}` has redacted for {to}, and that cannot be done here"
                    );
                    reason(Decision::Deny, text)
                }
            });
        }
        for (kind, count) in &carried.redacted {
            let (_, rule) = self.treatment(to, *kind);
            reasons.push(reason(Decision::Allow, format!("{} redacted (`{rule}`)", counted(*kind, *count))));
        }
        if carried.is_partial && self.looks_at(to) {
            let text = format!("it holds more than can be looked at, and `data` has rules for {to}");
            reasons.push(reason(Decision::Deny, text));
        }
        reasons
    }
}

fn reason(decision: Decision, text: String) -> Reason {
    Reason::new("data", decision, text)
}

fn count<'a>(findings: impl Iterator<Item = &'a Finding>) -> BTreeMap<Kind, u32> {
    let mut counts = BTreeMap::new();
    for finding in findings {
        *counts.entry(finding.kind).or_insert(0) += 1;
    }
    counts
}

fn counted(kind: Kind, count: u32) -> String {
    format!("{count} × {}", kind.name())
}

/// As rules write a class.
pub const fn class_name(class: Class) -> &'static str {
    match class {
        Class::Secret => "secrets",
        Class::Personal => "personal",
    }
}

/// The insides of every string in a JSON text that is a value, not a name.
fn values(text: &str) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(start) =
        memchr::memchr(b'"', bytes.get(at..).unwrap_or_default()).map(|open| at + open + 1)
    {
        let mut end = start;
        while let Some(stop) = memchr::memchr2(b'"', b'\\', bytes.get(end..).unwrap_or_default()) {
            end += stop;
            if bytes.get(end) == Some(&b'"') {
                break;
            }
            end += 2;
        }
        let after = bytes.get(end + 1..).unwrap_or_default().iter().find(|byte| !byte.is_ascii_whitespace());
        if after != Some(&b':') {
            found.push(start..end);
        }
        at = end + 1;
    }
    found
}

/// The text with a mark in place of each finding; none if there are no findings.
fn marked_out(text: &str, findings: &[&Finding]) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for finding in findings {
        out.push_str(text.get(at..finding.range.start)?);
        out.push_str("[redacted: ");
        out.push_str(finding.kind.name());
        out.push(']');
        at = finding.range.end;
    }
    out.push_str(text.get(at..)?);
    (!findings.is_empty()).then_some(out)
}

#[cfg(test)]
mod tests;
